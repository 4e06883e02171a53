package tally

import (
	"cmp"
	"net/netip"
	"slices"

	"weir/decode"
)

// Bounds of what an epoch tells of a gate.
const (
	MaxGateDrops    = 1 << 12
	MaxGateServices = 1 << 12
	MaxGateName     = 64 // bytes of an id or kind
)

// Gate is what a gate in front of the sensor did in the tick: packets that no shard counts. What drops counted is exact.
// Samples of dropped frames only say how they are distributed: one stands for hundreds, all in the tick in which it came,
// so they are no evidence of a rate.
type Gate struct {
	Packets, Bytes             uint64        // dropped
	ShadowPackets, ShadowBytes uint64        // would have been dropped, and passed: the rest of the epoch counts them, too
	Other, OtherBytes          uint64        // of those dropped: by drops that Drops has no room for
	Unplaced                   uint64        // packets that samples stood for and Services does not tell: not IP, cut, or no room
	Drops                      []GateDrop    // by ID, that in force before its shadow; those with the most packets
	Services                   []GateService // by key; those with the most packets
}

// GateDrop is what met one drop.
type GateDrop struct {
	ID             string       // of the drop
	Alert          string       // id of the alert that it answers; "" none
	Kind           string       // "flood.syn", of that alert; the engine sets it where the alert is open here, else ""
	Source         netip.Prefix // whose packets; zero: not by source
	Victim         netip.Prefix // packets to whom; zero: unknown. Where its alert is open here, the engine takes the alert's
	Port           uint16       // of Victim; 0: any
	Proto          uint8        // likewise
	Shadow         bool         // counted only: the packets passed
	Packets, Bytes uint64
	Last           int64 // ns, of the last packet
}

// GateService is what was dropped on the way to one service.
type GateService struct {
	Key                          ServiceKey // RoleServer; a drop may name the host alone (Port 0), and no protocol
	Packets, Bytes               uint64     // exact: by drops that name it
	SampledPackets, SampledBytes uint64     // that samples stand for, whatever dropped them
}

// Empty reports that the gate told nothing.
func (g *Gate) Empty() bool {
	return g.Packets|g.Bytes|g.ShadowPackets|g.ShadowBytes|g.Other|g.OtherBytes|g.Unplaced == 0 && len(g.Drops)+len(g.Services) == 0
}

// Estimate is the number of packets that were dropped on the way to the service, as well as is known.
func (s *GateService) Estimate() uint64 { return max(s.Packets, s.SampledPackets) }

// compare is the order of Gate.Drops.
func (d *GateDrop) compare(o *GateDrop) int {
	return cmp.Or(cmp.Compare(d.ID, o.ID), cmp.Compare(boolBit(d.Shadow), boolBit(o.Shadow)))
}

// merge adds what another gate counted of the same drop. Where they differ in what it is, the greater stands: the order of
// merges does not show.
func (d *GateDrop) merge(o *GateDrop) {
	d.Alert, d.Kind = max(d.Alert, o.Alert), max(d.Kind, o.Kind)
	d.Source = greater(d.Source, o.Source)
	if c := cmp.Or(d.Victim.Compare(o.Victim), cmp.Compare(d.Proto, o.Proto), cmp.Compare(d.Port, o.Port)); c < 0 {
		d.Victim, d.Proto, d.Port = o.Victim, o.Proto, o.Port
	}
	d.Packets += o.Packets
	d.Bytes += o.Bytes
	d.Last = max(d.Last, o.Last)
}

func greater(a, b netip.Prefix) netip.Prefix {
	if a.Compare(b) < 0 {
		return b
	}
	return a
}

func (s *GateService) compare(o *GateService) int {
	switch {
	case s.Key.Less(&o.Key):
		return -1
	case o.Key.Less(&s.Key):
		return 1
	}
	return 0
}

func (s *GateService) merge(o *GateService) {
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.SampledPackets += o.SampledPackets
	s.SampledBytes += o.SampledBytes
}

// Add counts what met a drop. It reports whether the drop can be told: its name fits, and its prefixes are some.
func (g *Gate) Add(d GateDrop) bool {
	if d.ID == "" || len(d.ID) > MaxGateName || len(d.Alert) > MaxGateName || len(d.Kind) > MaxGateName {
		return false
	}
	d.Source, d.Victim = plain(d.Source), plain(d.Victim)
	if !d.Victim.IsValid() {
		d.Port, d.Proto = 0, 0
	}
	if d.Shadow {
		g.ShadowPackets += d.Packets
		g.ShadowBytes += d.Bytes
	} else {
		g.Packets += d.Packets
		g.Bytes += d.Bytes
	}
	g.Drops = append(g.Drops, d)
	g.serve(&d)
	return true
}

// serve counts what met a drop for the service that it names.
func (g *Gate) serve(d *GateDrop) {
	if !d.Shadow && d.Victim.IsSingleIP() {
		k := ServiceKey{Addr: decode.AddrFrom(d.Victim.Addr()), Port: d.Port, Proto: d.Proto, Ver: verOf(d.Victim.Addr())}
		g.Services = append(g.Services, GateService{Key: k, Packets: d.Packets, Bytes: d.Bytes})
	}
}

// Explain says what the alerts of drops are about; a drop that names no victim defends that of its alert.
func (g *Gate) Explain(about func(alert string) (kind string, victim netip.Prefix, port uint16, proto uint8)) {
	for i := range g.Drops {
		d := &g.Drops[i]
		kind, victim, port, proto := about(d.Alert)
		d.Kind = kind[:min(len(kind), MaxGateName)]
		if !d.Victim.IsValid() && victim.IsValid() {
			d.Victim, d.Port, d.Proto = plain(victim), port, proto
			g.serve(d)
		}
	}
}

// Sample counts a sampled frame that was dropped and stands for so many of its size.
func (g *Gate) Sample(p *decode.Packet, weight uint64) {
	if p.Kind < decode.KindIPv4 {
		g.Unplaced += weight
		return
	}
	dst, port := p.Dst()
	k := ServiceKey{Addr: dst, Port: port, Proto: p.Key.Proto, Ver: p.Key.Ver}
	if !hasPorts(k.Proto) || p.FragOff != 0 {
		k.Port = 0
	}
	g.Services = append(g.Services, GateService{Key: k, SampledPackets: weight, SampledBytes: weight * uint64(p.WireLen)})
}

// Unsample forgets what samples tell.
func (g *Gate) Unsample() {
	g.Unplaced = 0
	g.Services = slices.DeleteFunc(g.Services, func(s GateService) bool { return s.Packets == 0 })
	for i := range g.Services {
		g.Services[i].SampledPackets, g.Services[i].SampledBytes = 0, 0
	}
}

// Settle brings what was added in order, equal keys together, within the bounds.
func (g *Gate) Settle() {
	g.Drops = gather(g.Drops, (*GateDrop).compare, (*GateDrop).merge)
	g.Services = gather(g.Services, (*GateService).compare, (*GateService).merge)
	g.Drops = most(g.Drops, MaxGateDrops, func(d *GateDrop) uint64 { return d.Packets }, func(d *GateDrop) {
		if !d.Shadow {
			g.Other += d.Packets
			g.OtherBytes += d.Bytes
		}
	})
	g.Services = most(g.Services, MaxGateServices, (*GateService).Estimate, func(s *GateService) { g.Unplaced += s.SampledPackets })
}

// Reset empties g and keeps its memory.
func (g *Gate) Reset() {
	clear(g.Drops)
	*g = Gate{Drops: g.Drops[:0], Services: g.Services[:0]}
}

// Take adds what o holds; both may be unsettled.
func (g *Gate) Take(o *Gate) {
	g.Packets += o.Packets
	g.Bytes += o.Bytes
	g.ShadowPackets += o.ShadowPackets
	g.ShadowBytes += o.ShadowBytes
	g.Other += o.Other
	g.OtherBytes += o.OtherBytes
	g.Unplaced += o.Unplaced
	g.Drops = append(g.Drops, o.Drops...)
	g.Services = append(g.Services, o.Services...)
}

// merged is the union of two gates, which shares no memory with them.
func (g *Gate) merged(o *Gate) Gate {
	var sum Gate
	sum.Take(g)
	sum.Take(o)
	sum.Settle()
	return sum
}

// gather sorts a list and adds up entries of equal keys. Entries are large: their places are sorted.
func gather[T any](list []T, compare func(a, b *T) int, merge func(a, b *T)) []T {
	place := make([]int32, len(list))
	for i := range place {
		place[i] = int32(i)
	}
	slices.SortFunc(place, func(i, j int32) int { return cmp.Or(compare(&list[i], &list[j]), cmp.Compare(i, j)) })
	kept := make([]T, 0, len(list))
	for _, i := range place {
		if n := len(kept); n > 0 && compare(&kept[n-1], &list[i]) == 0 {
			merge(&kept[n-1], &list[i])
		} else {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// most keeps the n entries with the most weight, among equals those that come first, in their order.
func most[T any](list []T, n int, weight func(*T) uint64, gone func(*T)) []T {
	if len(list) <= n {
		return list
	}
	weights := make([]uint64, len(list))
	for i := range list {
		weights[i] = weight(&list[i])
	}
	bar := slices.Clone(weights)
	slices.Sort(bar)
	least := bar[len(bar)-n] // of the last that stays
	over, _ := slices.BinarySearch(bar, least+1)
	room := n - (len(bar) - over) // for entries of that weight
	kept := list[:0]
	for i := range list {
		stays := weights[i] > least
		if weights[i] == least && room > 0 {
			stays, room = true, room-1
		}
		if stays {
			kept = append(kept, list[i])
		} else {
			gone(&list[i])
		}
	}
	clear(list[len(kept):])
	return kept
}

// plain is a prefix in its one form: masked, IPv4 as IPv4; the zero Prefix if it is none.
func plain(p netip.Prefix) netip.Prefix {
	if !p.IsValid() {
		return netip.Prefix{}
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func verOf(a netip.Addr) uint8 {
	if a.Is4() {
		return 4
	}
	return 6
}

func boolBit(b bool) int {
	if b {
		return 1
	}
	return 0
}
