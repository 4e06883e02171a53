package analyzers

import (
	"net/netip"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// openedMost is how many services are remembered whose connections open with something else than their port says. Whose
// connections did so in the fewest ticks goes first, unseen: a name by port is told in its place.
const openedMost = 4096

// opened is what the connections of a service open with.
type opened struct {
	ticks [conn.AppCount]uint16 // by application: once for each client and tick
}

func (o *opened) weight() (all uint64) {
	for _, n := range o.ticks {
		all += uint64(n)
	}
	return all
}

// most is what the service speaks: of several applications that with the most, so that a stray client does not rename it.
func (o *opened) most() (most conn.App) {
	for app := conn.AppNone + 1; app < conn.AppCount; app++ {
		if o.ticks[app] > o.ticks[most] {
			most = app
		}
	}
	return most
}

// add counts what a client's connections opened with. What is old weighs less and less.
func (o *opened) add(seen conn.Apps) {
	const enough = 1024
	for app := range conn.AppCount {
		if !seen.Has(app) {
			continue
		}
		if o.ticks[app]++; o.ticks[app] >= enough {
			for i := range o.ticks {
				o.ticks[i] /= 2
			}
		}
	}
}

// Observe takes in what an epoch tells of services, before the analyzers judge it: what they speak that their port does not tell.
func (s *Site) Observe(e *tally.Epoch) {
	s.opened.begin(e)
	for i := range e.Pairs {
		p := &e.Pairs[i]
		if p.Apps == 0 {
			continue
		}
		k := p.Key
		k.Client = decode.Addr{}
		o := s.opened.find(&k)
		if o == nil && p.Apps.String() != conn.ServiceName(k.Proto, k.Port, 0) {
			o = s.opened.at(&k, e.End(), 1<<62)
		}
		if o != nil {
			o.add(p.Apps)
		}
	}
}

// Speaks reports whether most connections of a service open with an application that its port does not tell. The client of k does not
// matter.
func (s *Site) Speaks(k *tally.PairKey, app conn.App) bool {
	service := *k
	service.Client = decode.Addr{}
	o := s.opened.find(&service)
	return o != nil && o.most() == app
}

// ServiceName is what the operator calls a service, else Zeek's name by what its connections open with, else by its port; "" if
// nothing is known.
func (s *Site) ServiceName(host netip.Addr, proto uint8, port uint16) string {
	if port == 0 {
		return ""
	}
	k := tally.PairKey{Server: decode.AddrFrom(host), Port: port, Proto: proto, Ver: 4}
	if host.Is6() {
		k.Ver = 6
	}
	var seen conn.Apps
	if o := s.opened.find(&k); o != nil {
		seen = o.most().Set()
	}
	return s.Networks.Service(host, proto, port, conn.ServiceName(proto, port, seen))
}
