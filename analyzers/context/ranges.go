package context

import "net/netip"

// Class is why a range is special.
type Class uint8

// Classes.
const (
	Private  Class = iota // networks of a site: may be dropped where the configuration allows it
	Reserved              // never a source on the Internet: may be dropped
	Vital                 // neighbour discovery, DHCP, multicast, loopback: never dropped
)

// Range is an entry of the special-purpose address registries.
type Range struct {
	Prefix netip.Prefix
	Name   string
	RFC    string
	Class  Class
}

// Ranges are the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, as updated), with multicast (RFC 5771, 4291).
// Globally reachable entries, which are ordinary sources, are left out.
//
// NAT64 prefixes stand for IPv4 hosts, among them possibly vital ones behind a translator that is ours: vital, too.
var Ranges = []Range{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network", "RFC 791", Vital},
	{netip.MustParsePrefix("10.0.0.0/8"), "private use", "RFC 1918", Private},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared address space", "RFC 6598", Private},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", "RFC 1122", Vital},
	{netip.MustParsePrefix("169.254.0.0/16"), "link local", "RFC 3927", Vital},
	{netip.MustParsePrefix("172.16.0.0/12"), "private use", "RFC 1918", Private},
	{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments", "RFC 6890", Vital},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation", "RFC 5737", Reserved},
	{netip.MustParsePrefix("192.168.0.0/16"), "private use", "RFC 1918", Private},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking", "RFC 2544", Reserved},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation", "RFC 5737", Reserved},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation", "RFC 5737", Reserved},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast", "RFC 5771", Vital},
	{netip.MustParsePrefix("255.255.255.255/32"), "limited broadcast", "RFC 919", Vital},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved", "RFC 1112", Reserved},

	{netip.MustParsePrefix("::/128"), "unspecified", "RFC 4291", Vital},
	{netip.MustParsePrefix("::1/128"), "loopback", "RFC 4291", Vital},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped", "RFC 4291", Vital},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4-IPv6 translation", "RFC 6052", Vital},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "IPv4-IPv6 translation", "RFC 8215", Vital},
	{netip.MustParsePrefix("100::/64"), "discard only", "RFC 6666", Reserved},
	{netip.MustParsePrefix("2001:2::/48"), "benchmarking", "RFC 5180", Reserved},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation", "RFC 3849", Reserved},
	{netip.MustParsePrefix("3fff::/20"), "documentation", "RFC 9637", Reserved},
	{netip.MustParsePrefix("5f00::/16"), "segment routing", "RFC 9602", Reserved},
	{netip.MustParsePrefix("fc00::/7"), "unique local", "RFC 4193", Private},
	{netip.MustParsePrefix("fe80::/10"), "link local", "RFC 4291", Vital},
	{netip.MustParsePrefix("ff00::/8"), "multicast", "RFC 4291", Vital},
}

// InRange is the first special range of a class that has an address in common with p.
func InRange(p netip.Prefix, c Class) (Range, bool) {
	for _, r := range Ranges {
		if r.Class == c && r.Prefix.Overlaps(p) {
			return r, true
		}
	}
	return Range{}, false
}

func privatePrefixes() (list []Prefix) {
	for _, r := range Ranges {
		if r.Class == Private {
			list = append(list, Prefix{r.Prefix})
		}
	}
	return list
}
