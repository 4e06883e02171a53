package context

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// maxDatabase is how large a database of origins may be: those of whole cities have some 60 MB.
const maxDatabase = 128 << 20

// databases are the origins of several files, the first that knows an answer.
type databases []*maxminddb.Reader

// originRecord is what is read of an entry, in the names that MaxMind, DB-IP and IPinfo give in their files for countries, cities
// and autonomous systems.
type originRecord struct {
	Number  uint32 `maxminddb:"autonomous_system_number"`
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Registered struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"registered_country"`
}

// ReadOrigins reads databases in the MaxMind DB format 2.0 (.mmdb), whole into memory, so that a file may be replaced meanwhile.
// One that is damaged is an error. Without any, nil: nothing is known.
func ReadOrigins(files ...io.Reader) (Origin, error) {
	var all databases
	for _, f := range files {
		b, err := io.ReadAll(io.LimitReader(f, maxDatabase+1))
		if err != nil {
			return nil, err
		}
		if len(b) > maxDatabase {
			return nil, fmt.Errorf("larger than %d MiB", maxDatabase>>20)
		}
		r, err := maxminddb.OpenBytes(b)
		if err == nil {
			err = r.Verify()
		}
		if err != nil {
			return nil, err
		}
		if kind := strings.ToLower(r.Metadata.DatabaseType); !strings.Contains(kind, "asn") && !strings.Contains(kind, "isp") &&
			!strings.Contains(kind, "country") && !strings.Contains(kind, "city") {
			return nil, errors.New("a database of type " + r.Metadata.DatabaseType + " has neither ASN nor country")
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

// Of implements Origin.
func (all databases) Of(ip netip.Addr) (asn uint32, country string) {
	for _, r := range all {
		var found originRecord
		if r.Lookup(ip).Decode(&found) != nil { // an IPv6 address in a database of IPv4
			continue
		}
		if asn == 0 {
			asn = found.Number
		}
		for _, code := range []string{found.Country.Code, found.Registered.Code} {
			if country == "" && len(code) == 2 {
				country = code
			}
		}
	}
	return asn, country
}
