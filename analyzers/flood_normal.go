package analyzers

import (
	"weir/analyzers/tally"
	"weir/decode"
)

// Bounds of the normal samples.
const (
	// keepNormals headers are kept of a host: with 256 the share of 1 % that a signature may hit is two of them.
	keepNormals = 256
	// normalTries are looked at for the least when there is no room for a new host.
	normalTries = 8
)

// normals keeps a bounded sample of the headers of answered traffic for a bounded number of hosts: what a signature must
// spare. Each host's sample is uniform over all that was offered (Vitter's algorithm R, its dice being the headers' ranks).
// A full table gives up the host with the fewest offers among the next few in turn, counted down with each try, so that
// hosts which fell silent make room in time. 20 kB a host.
type normals struct {
	limit int
	place map[normalHost]int // never walked
	hosts []normalSample
	hand  int
}

type normalHost struct {
	addr decode.Addr
	ver  uint8
}

type normalSample struct {
	host  normalHost
	seen  uint64 // offered
	worth uint64 // offered, halved by each try to replace it
	heads []tally.Header
}

func newNormals(limit int) normals { return normals{limit: limit, place: map[normalHost]int{}} }

// add offers a header.
func (n *normals) add(h *tally.Header) {
	k := normalHost{h.Dst, h.Ver}
	at, ok := n.place[k]
	if !ok {
		at = n.room()
		if at < 0 {
			return
		}
		delete(n.place, n.hosts[at].host)
		n.hosts[at] = normalSample{host: k, heads: n.hosts[at].heads[:0]}
		n.place[k] = at
	}
	s := &n.hosts[at]
	s.seen++
	s.worth++
	if len(s.heads) < keepNormals {
		s.heads = append(s.heads, *h)
	} else if i := placeHash(&tally.ServiceKey{Addr: decode.Addr{Hi: h.Rank, Lo: s.seen}}) % s.seen; i < keepNormals {
		s.heads[i] = *h
	}
}

// room finds the place for a new host, -1 if all tried are worth more than one header.
func (n *normals) room() int {
	if len(n.hosts) < n.limit {
		n.hosts = append(n.hosts, normalSample{})
		return len(n.hosts) - 1
	}
	least := -1
	for range min(normalTries, n.limit) {
		n.hand = (n.hand + 1) % n.limit
		s := &n.hosts[n.hand]
		if s.worth /= 2; s.worth == 0 {
			least = n.hand
		}
	}
	return least
}

// of returns the normal headers of a victim.
func (n *normals) of(k *tally.ServiceKey, level floodLevel) (heads []tally.Header) {
	keep := func(s *normalSample) {
		for i := range s.heads {
			if level.at(k, &s.heads[i]) {
				heads = append(heads, s.heads[i])
			}
		}
	}
	if level != levelPrefix {
		if at, ok := n.place[normalHost{k.Addr, k.Ver}]; ok {
			keep(&n.hosts[at])
		}
		return heads
	}
	for i := range n.hosts {
		keep(&n.hosts[i])
	}
	return heads
}
