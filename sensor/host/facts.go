package host

import (
	"net/netip"
	"slices"
)

// Facts are addresses that this host must never drop, as its kernel and its configuration tell them. Each list is sorted,
// without duplicates, and has at most 65,536 addresses. IPv4 addresses are plain, and IPv6 addresses have no zone.
type Facts struct {
	Addresses []netip.Addr // of all interfaces, up or down, loopback and link-local ones too
	Gateways  []netip.Addr // next hops of all routes in all tables, nexthop objects, and the far ends of point-to-point links
	Resolvers []netip.Addr // nameservers; where they are only systemd-resolved's or NetworkManager's stub, those behind it too
	SSHPeers  []netip.Addr // remote ends of TCP connections that a local SSH server accepted, logged in or not
	Left      int          // addresses that did not fit
}

// Equal tells whether both say the same.
func (f Facts) Equal(o Facts) bool {
	return slices.Equal(f.Addresses, o.Addresses) && slices.Equal(f.Gateways, o.Gateways) &&
		slices.Equal(f.Resolvers, o.Resolvers) && slices.Equal(f.SSHPeers, o.SSHPeers) && f.Left == o.Left
}

const maxFacts = 1 << 16 // of a kind: 1.6 MB

// addrSet collects addresses of one kind.
type addrSet struct {
	all  map[netip.Addr]struct{}
	left int
}

// add takes an address as it stands in a packet. What is no address of a host is left out.
func (s *addrSet) add(a netip.Addr) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || a.IsUnspecified() {
		return
	}
	if _, ok := s.all[a]; ok {
		return
	}
	if len(s.all) == maxFacts {
		s.left++
		return
	}
	if s.all == nil {
		s.all = map[netip.Addr]struct{}{}
	}
	s.all[a] = struct{}{}
}

func (s *addrSet) addSlice(b []byte) {
	if a, ok := netip.AddrFromSlice(b); ok {
		s.add(a)
	}
}

func (s *addrSet) sorted() []netip.Addr {
	out := make([]netip.Addr, 0, len(s.all))
	for a := range s.all {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
