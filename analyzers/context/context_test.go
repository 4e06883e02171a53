package context

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

const sample = `
inside: [203.0.113.0/24, 2001:db8::/32]
own: [203.0.113.1]
trusted_proxies: [198.51.100.0/28]
known_destinations: ["192.0.2.77"]
never: ["2001:db8:5::/48", 192.0.2.0/25, "::ffff:9.9.9.9"]
lists:
  - {name: office, file: /etc/weir/office.csv, format: csv, never: true}
  - {name: drop, file: /etc/weir/drop.txt, format: drop}
`

func networks(t *testing.T) *Networks {
	t.Helper()
	var cfg Config
	if err := yaml.UnmarshalWithOptions([]byte(sample), &cfg, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	office, err := ReadList(cfg.Lists[0], strings.NewReader("network,who\n\"192.0.2.192/26\",main office\n198.18.7.7,gate # home\n"))
	if err != nil {
		t.Fatal(err)
	}
	spam, err := ReadList(cfg.Lists[1], strings.NewReader("; Spamhaus DROP List\n198.18.0.0/16 ; SBL1\n"))
	if err != nil {
		t.Fatal(err)
	}
	return New(cfg, []*List{office, spam}, origins{addr("198.18.7.7"): {64500, "DE"}})
}

type origins map[netip.Addr]struct {
	asn     uint32
	country string
}

func (o origins) Of(ip netip.Addr) (uint32, string) { return o[ip].asn, o[ip].country }

func TestRoles(t *testing.T) {
	n := networks(t).WithHost(Host{
		Addresses: []netip.Addr{addr("203.0.113.2"), addr("fe80::1%eth0")}, Gateways: []netip.Addr{addr("203.0.113.254")},
		Resolvers: []netip.Addr{addr("::ffff:203.0.113.53")}, NATSServers: []netip.Addr{addr("203.0.113.42"), {}},
		SSHPeers: []netip.Addr{addr("2001:db8::22")},
	})
	for _, c := range []struct {
		role Role
		ip   string
		want bool
	}{
		{Inside, "203.0.113.9", true},
		{Inside, "2001:db8:ffff::1", true},
		{Inside, "10.0.0.1", false}, // only where nothing is named
		{Own, "203.0.113.1", true},
		{Own, "203.0.113.2", true},
		{Own, "::ffff:203.0.113.2", true},
		{Own, "fe80::1", true},
		{Own, "fe80::1%eth1", true},
		{Own, "203.0.113.3", false},
		{Gateway, "203.0.113.254", true},
		{Gateway, "203.0.113.253", false},
		{Resolver, "203.0.113.53", true},
		{NATSServer, "203.0.113.42", true},
		{SSHPeer, "2001:db8::22", true},
		{SSHPeer, "2001:db8::23", false},
		{TrustedProxy, "198.51.100.15", true},
		{TrustedProxy, "198.51.100.16", false},
		{KnownDestination, "192.0.2.77", true},
		{Never, "192.0.2.127", true},
		{Never, "192.0.2.128", false},
		{Never, "192.0.2.192", true}, // list office
		{Never, "9.9.9.9", true},
		{Never, "198.18.7.7", true},
		{Never, "198.18.7.8", false}, // list drop is not of what is never dropped
		{Never, "2001:db8:5:ffff::", true},
	} {
		if got := n.Is(c.role, addr(c.ip)); got != c.want {
			t.Errorf("%s is %s: %v, want %v", c.ip, c.role, got, c.want)
		}
	}
	if n.Is(Own, netip.Addr{}) || n.Hits(Own, netip.Prefix{}) {
		t.Error("no address is own")
	}
	if networks(t).Is(Gateway, addr("203.0.113.254")) {
		t.Error("WithHost changed what it was made of")
	}
	again := n.WithHost(Host{})
	if again.Is(SSHPeer, addr("2001:db8::22")) || !again.Is(Own, addr("203.0.113.1")) {
		t.Error("another host has the peers of the one before, or not the configuration's addresses")
	}
}

func TestHits(t *testing.T) {
	n := networks(t)
	for _, c := range []struct{ p, find string }{
		{"192.0.2.0/24", "192.0.2.0/25"},
		{"192.0.2.5/32", "192.0.2.0/25"},
		{"0.0.0.0/0", "9.9.9.9/32"},
		{"192.0.2.200/32", "list office"},
		{"::ffff:192.0.2.0/120", "192.0.2.0/25"},
		{"2001:db8::/32", "2001:db8:5::/48"},
		{"198.51.0.0/16", ""},
	} {
		got, ok := n.Find(Never, prefix(c.p))
		if got != c.find || ok != (c.find != "") || n.Hits(Never, prefix(c.p)) != ok {
			t.Errorf("%s: %q (%v), want %q", c.p, got, ok, c.find)
		}
	}
	if got := n.Listed(prefix("198.18.7.7/32")); strings.Join(got, " ") != "office drop" {
		t.Errorf("listed on %q", got)
	}
	if got := n.Listed(prefix("198.18.0.0/15")); got != nil {
		t.Errorf("a prefix that is half on a list: %q", got)
	}
	if asn, country := n.Origin(addr("::ffff:198.18.7.7")); asn != 64500 || country != "DE" {
		t.Errorf("origin %d %s", asn, country)
	}
	if asn, country := New(Config{}, nil, nil).Origin(addr("198.18.7.7")); asn != 0 || country != "" {
		t.Errorf("origin without a source of it: %d %s", asn, country)
	}
	if m := n.Members(Never); len(m) != 3 || m[0] != prefix("9.9.9.9/32") {
		t.Errorf("members %v", m)
	}
}

// TestTwin holds the tables against a plain walk over all prefixes.
func TestTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(anyPrefix(), 0, 30).Draw(t, "list")
		var cfg Config
		for _, p := range list {
			cfg.Never = append(cfg.Never, Prefix{p})
		}
		n := New(cfg, nil, nil)
		for _, p := range rapid.SliceOfN(anyPrefix(), 1, 30).Draw(t, "asked") {
			want := false
			for _, q := range list {
				want = want || q.Overlaps(p)
			}
			if n.Hits(Never, p) != want {
				t.Fatalf("%v: hits %v, want %v", p, !want, want)
			}
			what, ok := n.Find(Never, p)
			if ok != want || ok && !prefix(what).Overlaps(p) {
				t.Fatalf("%v: found %q, %v", p, what, ok)
			}
		}
	})
}

// anyPrefix is one of few, so that many overlap.
func anyPrefix() *rapid.Generator[netip.Prefix] {
	return rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "v6") {
			b := [16]byte{0x20, 0x01, 0xd, 0xb8, rapid.Byte().Draw(t, "site") & 3, 15: rapid.Byte().Draw(t, "host") & 3}
			return netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(0, 128).Draw(t, "bits")).Masked()
		}
		b := [4]byte{192, 0, rapid.Byte().Draw(t, "net") & 3, rapid.Byte().Draw(t, "host") & 7}
		return netip.PrefixFrom(netip.AddrFrom4(b), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
	})
}

// TestRanges holds the table of special ranges against what net/netip knows of the same RFCs.
func TestRanges(t *testing.T) {
	vital := func(a netip.Addr) bool {
		return a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a.IsUnspecified()
	}
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"); rapid.Bool().Draw(t, "v6") {
			b[0] |= rapid.SampledFrom([]byte{0, 0xfe, 0xfc, 0xff}).Draw(t, "high")
			a = netip.AddrFrom16([16]byte(b))
		} else {
			b[0] = rapid.SampledFrom([]byte{b[0], 10, 127, 169, 172, 192, 224}).Draw(t, "first")
			b[1] = rapid.SampledFrom([]byte{b[1], 16, 31, 168, 254}).Draw(t, "second")
			a = netip.AddrFrom4([4]byte(b[:4]))
		}
		if _, ok := InRange(Single(a), Vital); vital(a) && !ok {
			t.Fatalf("%v is not vital", a)
		}
		if _, ok := InRange(Single(a), Private); a.IsPrivate() != ok && !prefix("100.64.0.0/10").Contains(a) {
			t.Fatalf("%v is private: %v", a, ok)
		}
	})
	// An ordinary address, and one of each kind that net/netip does not know (https://www.iana.org/assignments/iana-ipv4-special-registry,
	// …/iana-ipv6-special-registry).
	for ip, want := range map[string]Class{
		"0.1.2.3": Vital, "100.64.0.1": Private, "192.0.0.170": Vital, "255.255.255.255": Vital, "198.19.0.1": Reserved,
		"240.0.0.1": Reserved, "64:ff9b::8.8.8.8": Vital, "64:ff9b:1::1": Vital, "100::1": Reserved, "2001:2::1": Reserved,
	} {
		if _, ok := InRange(Single(addr(ip)), want); !ok {
			t.Errorf("%s is not of class %d", ip, want)
		}
	}
	for c := Private; c <= Vital; c++ {
		for _, ip := range []string{"8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1", "2a00::1"} {
			if r, ok := InRange(Single(addr(ip)), c); ok {
				t.Errorf("%s is special: %v", ip, r)
			}
		}
	}
	for _, r := range Ranges {
		if r.Prefix != r.Prefix.Masked() {
			t.Errorf("%v has bits beyond its length", r.Prefix)
		}
	}
	if !New(Config{}, nil, nil).Is(Inside, addr("172.31.255.255")) {
		t.Error("private ranges are not inside by default")
	}
}

func TestConfigErrors(t *testing.T) {
	for text, want := range map[string]string{
		"never: [10.1.2.3/8]":                             "bits beyond its length: write 10.0.0.0/8",
		"never: [example.org]":                            "no address and no prefix",
		"never: [\"fe80::1%eth0\"]":                       "has a zone",
		"never: [10.0.0.0/33]":                            "is no prefix",
		"lists: [{name: a}]":                              "needs a name, and either file or url",
		"lists: [{name: a, file: b, format: xml}]":        "is no format of a list",
		"lists: [{name: a, file: b}, {name: a, file: c}]": "two lists have the name",
	} {
		var cfg Config
		err := yaml.UnmarshalWithOptions([]byte(text), &cfg, yaml.Strict())
		if err == nil {
			err = cfg.Check()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
