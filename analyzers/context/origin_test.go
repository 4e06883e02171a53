package context

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// database is a file of one entry.
func database(t *testing.T, kind, prefix string, value mmdbtype.Map) []byte {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: kind, IncludeReservedNetworks: true, Description: map[string]string{"en": "for a test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, network, err := net.ParseCIDR(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Insert(network, value); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func code(s string) mmdbtype.Map { return mmdbtype.Map{"iso_code": mmdbtype.String(s)} }

func TestOrigins(t *testing.T) {
	asn := database(t, "GeoLite2-ASN", "203.0.113.0/24", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64500)})
	country := database(t, "DBIP-Country-Lite", "203.0.113.128/25", mmdbtype.Map{"country": code("NL")})
	registered := database(t, "GeoLite2-Country", "2001:db8::/32", mmdbtype.Map{"registered_country": code("SE")})
	o, err := ReadOrigins(bytes.NewReader(asn), bytes.NewReader(country), bytes.NewReader(registered))
	if err != nil {
		t.Fatal(err)
	}
	n := New(Config{}, nil, o)
	for _, c := range []struct {
		ip      string
		asn     uint32
		country string
	}{
		{"203.0.113.9", 64500, ""},
		{"203.0.113.200", 64500, "NL"},
		{"::ffff:203.0.113.200", 64500, "NL"},
		{"2001:db8::1", 0, "SE"},
		{"192.0.2.1", 0, ""},
	} {
		if a, where := n.Origin(netip.MustParseAddr(c.ip)); a != c.asn || where != c.country {
			t.Errorf("%s: %d %q, want %d %q", c.ip, a, where, c.asn, c.country)
		}
	}
}

func TestOriginsRefused(t *testing.T) {
	good := database(t, "GeoLite2-ASN", "203.0.113.0/24", mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(64500)})
	bad := bytes.Clone(good)
	for i := range 40 {
		bad[i] ^= 0xff // of the tree
	}
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("192.0.2.0/24\n"), "cut": good[:len(good)/2], "damaged": bad,
		"other type": database(t, "GeoIP2-Domain", "203.0.113.0/24", mmdbtype.Map{"domain": mmdbtype.String("example.org")}),
	} {
		if o, err := ReadOrigins(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: taken, as %v", name, o)
		}
	}
	if o, err := ReadOrigins([]io.Reader{}...); o != nil || err != nil {
		t.Errorf("none: %v, %v", o, err)
	}
}
