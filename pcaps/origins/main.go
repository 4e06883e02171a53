// Command origins makes the database of origins that golden cases read: of the lab's outside networks (lab.sh), as if they were of autonomous
// systems and countries. The numbers are for documentation (RFC 5398), the countries user-assigned (ISO 3166-1).
//
//	go run ./pcaps/origins >pcaps/<case>/origins.mmdb
package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// origins are the networks: the sites and stores that everybody uses, and another provider's.
var origins = []struct {
	network string
	asn     uint32
	country string
}{
	{"198.51.100.0/24", 64496, "XB"},
	{"203.0.113.0/24", 64500, "XA"},
}

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// write writes the database: one with both facts, as City and ISP databases together have them. The same bytes each time.
func write(w io.Writer) error {
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		BuildEpoch: 1793577600, DatabaseType: "weir-ASN-Country", Description: map[string]string{"en": "networks of weir's golden captures"},
		IncludeReservedNetworks: true, IPVersion: 4, RecordSize: 24,
	})
	if err != nil {
		return err
	}
	for _, o := range origins {
		_, network, err := net.ParseCIDR(o.network)
		if err != nil {
			return err
		}
		err = tree.Insert(network, mmdbtype.Map{
			"autonomous_system_number": mmdbtype.Uint32(o.asn),
			"country":                  mmdbtype.Map{"iso_code": mmdbtype.String(o.country)},
		})
		if err != nil {
			return err
		}
	}
	_, err = tree.WriteTo(w)
	return err
}
