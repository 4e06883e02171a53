package tally

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
	"weir/decode"
	"weir/decode/conn"
)

// twin counts what a Shard counts, by the words of epoch.go alone, in maps without bounds.
type twin struct {
	link     Link
	services map[ServiceKey]*Service
	senders  map[ServiceKey]map[decode.Addr]bool
	sources  map[decode.Addr]*twinSource
	memory   map[twinContact]*twinMemory // outlives the tick
	headers  int
	oddities
}

type twinSource struct {
	Source
	hosts    map[decode.Addr]bool
	ports    map[[2]uint16]bool
	contacts map[twinContact]conn.Contact // at their highest stage
}

// twinContact names a first contact; probe is 0 but for odd flags.
type twinContact struct {
	src, dst decode.Addr
	port     uint16
	proto    uint8
	probe    conn.Probe
}

type twinMemory struct {
	outcome  bool // one was counted
	answered bool // ever
	asFirst  bool // the counted outcome is Answered
	proven   bool // counted
}

func newTwin() *twin {
	t := &twin{memory: map[twinContact]*twinMemory{}}
	t.reset()
	return t
}

func (t *twin) reset() {
	t.link, t.headers = Link{}, 0
	t.services = map[ServiceKey]*Service{}
	t.senders = map[ServiceKey]map[decode.Addr]bool{}
	t.sources = map[decode.Addr]*twinSource{}
	t.oddities = oddities{odds: map[Odd]uint64{}, echoes: map[Echo]*twinEcho{}}
}

func (t *twin) service(k ServiceKey) *Service {
	if t.services[k] == nil {
		t.services[k] = &Service{Key: k}
		t.senders[k] = map[decode.Addr]bool{}
	}
	return t.services[k]
}

func has(ev, b conn.Event) bool { return ev&b != 0 }

func (t *twin) packet(p *decode.Packet, ev conn.Event) {
	if has(ev, conn.EvOuter) {
		return
	}
	t.onLink(p, ev)
	t.oddities.packet(p, ev)
	if p.Kind != decode.KindIPv4 && p.Kind != decode.KindIPv6 {
		return
	}
	src, srcPort := p.Src()
	dst, dstPort := p.Dst()
	icmp := p.Key.Proto == 1 || p.Key.Proto == 58
	tcp := p.Key.Proto == 6
	k := ServiceKey{Addr: dst, Port: dstPort, Proto: p.Key.Proto, Ver: p.Key.Ver}
	to := true
	switch {
	case p.FragOff > 0: // no ports
		k.Port = 0
	case has(ev, conn.EvStray):
	case has(ev, conn.EvUnasked):
		k.Role, k.Port = RoleAnswer, srcPort
	case p.HasQuote, has(ev, conn.EvUntracked), has(ev, conn.EvOrig):
	default:
		k.Addr, k.Port, to = src, srcPort, false
	}
	if icmp {
		k.Port = 0
	}
	v, n := t.service(k), uint64(p.WireLen)
	if tcp && p.PayloadLen > 0 {
		if v.Payload++; has(ev, conn.EvRetrans) {
			v.Retrans++
		}
	}
	if !to {
		v.BackPackets, v.BackBytes = v.BackPackets+1, v.BackBytes+n
		if has(ev, conn.EvNew) {
			v.Opened++
		}
		if tcp && p.Flags&decode.FlagSYN != 0 && p.Flags&decode.FlagACK != 0 && !has(ev, conn.EvRetrans) {
			v.SYNACK++
		}
		if has(ev, conn.EvRefusal) {
			v.Refused++
		}
	} else {
		t.toService(v, p, ev, tcp, n)
		if has(ev, conn.EvNew) || has(ev, conn.EvAttempt) || has(ev, conn.EvStray) || has(ev, conn.EvUnasked) || has(ev, conn.EvFragment) {
			t.senders[k][src] = true
		}
	}
	if p.HasQuote && has(ev, conn.EvRefusal) {
		q := ServiceKey{Addr: p.Quote.B, Port: p.Quote.PortB, Proto: p.Quote.Proto, Ver: p.Quote.Ver}
		if p.QuoteReverse {
			q.Addr, q.Port = p.Quote.A, p.Quote.PortA
		}
		t.service(q).Refused++
	}
}

func (t *twin) toService(v *Service, p *decode.Packet, ev conn.Event, tcp bool, n uint64) {
	v.Packets, v.Bytes = v.Packets+1, v.Bytes+n
	answered := has(ev, conn.EvAnswered) || has(ev, conn.EvEstablished)
	syn := tcp && p.Flags&decode.FlagSYN != 0
	switch {
	case has(ev, conn.EvStray), tcp && !syn && p.FragOff == 0 && !answered && !has(ev, conn.EvUntracked) && !has(ev, conn.EvUnasked):
		if p.Flags&decode.FlagRST != 0 {
			v.StrayRST, v.StrayRSTBytes = v.StrayRST+1, v.StrayRSTBytes+n
		} else {
			v.StrayACK, v.StrayACKBytes = v.StrayACK+1, v.StrayACKBytes+n
		}
	case syn && !has(ev, conn.EvEstablished), !syn && !answered && !has(ev, conn.EvUntracked) && !has(ev, conn.EvRefusal):
		v.Unanswered, v.UnansweredBytes = v.Unanswered+1, v.UnansweredBytes+n
	}
	if has(ev, conn.EvNew) {
		v.Opened++
	}
	if has(ev, conn.EvAttempt) {
		v.SYN++
	}
	if has(ev, conn.EvProven) {
		v.Proven++
	}
	if has(ev, conn.EvFragment) {
		v.Fragments, v.FragBytes = v.Fragments+1, v.FragBytes+n
	}
}

func (t *twin) onLink(p *decode.Packet, ev conn.Event) {
	l := &t.link
	l.Packets, l.Bytes = l.Packets+1, l.Bytes+uint64(p.WireLen)
	l.Why[p.Why]++
	if p.Why == decode.WhyCut {
		l.Loss[LossCut]++
	}
	proto := map[uint8]*uint64{1: &l.ICMP, 58: &l.ICMP, 6: &l.TCP, 17: &l.UDP}[p.Key.Proto]
	switch {
	case p.Kind == decode.KindARP:
		l.ARP++
	case p.Kind == decode.KindNone || proto == nil:
		l.Other++
	default:
		*proto++
	}
	if p.Kind >= decode.KindIPv4 && p.Key.Proto == 6 && p.PayloadLen > 0 {
		l.Payload++
		if has(ev, conn.EvRetrans) {
			l.Retrans++
		}
	}
	for b, n := range map[conn.Event]*uint64{conn.EvNew: &l.Opened, conn.EvClosed: &l.Closed, conn.EvProven: &l.Proven, conn.EvFragment: &l.Fragments} {
		if has(ev, b) {
			*n++
		}
	}
	if has(ev, conn.EvVisible) {
		if has(ev, conn.EvAnswered) {
			l.VisibleTwoWay++
		} else {
			l.VisibleOneWay++
		}
	}
}

func (t *twin) source(c *conn.Contact) *twinSource {
	s := t.sources[c.Src]
	if s == nil {
		s = &twinSource{
			Source: Source{Addr: c.Src, Ver: c.Ver, First: c.Time, Last: c.Time},
			hosts:  map[decode.Addr]bool{}, ports: map[[2]uint16]bool{}, contacts: map[twinContact]conn.Contact{},
		}
		t.sources[c.Src] = s
	}
	s.First, s.Last = min(s.First, c.Time), max(s.Last, c.Time)
	return s
}

func (t *twin) contact(c *conn.Contact) {
	odd := c.Probe >= conn.ProbeNull && c.Probe <= conn.ProbeOddTCP
	k := twinContact{src: c.Src, dst: c.Dst, port: c.Port, proto: c.Proto}
	plain := t.memory[k]
	if odd {
		k.probe = c.Probe
	}
	m := t.memory[k]
	switch c.Stage {
	case conn.StageOpened:
		s := t.source(c)
		if m != nil || odd && plain != nil && plain.answered {
			s.Repeats++
			return
		}
		t.memory[k] = &twinMemory{}
		s.Opened++
		s.Probes[c.Probe]++
		s.hosts[c.Dst], s.ports[[2]uint16{uint16(c.Proto), c.Port}] = true, true
		if c.Marks != 0 {
			s.Marks, s.MarkHits = s.Marks|c.Marks, s.MarkHits+1
		}
		s.contacts[k] = *c
	case conn.StageProven:
		if m != nil && m.asFirst && !m.proven {
			m.proven = true
			t.source(c).Proven++
			t.source(c).contacts[k] = *c
		}
		if m != nil && m.outcome {
			m.answered = true
		}
	default:
		t.outcome(c, k, m)
	}
}

func (t *twin) outcome(c *conn.Contact, k twinContact, m *twinMemory) {
	if c.Stage == conn.StageUnknown {
		t.link.ContactsUnknown++
	} else {
		t.link.ContactsKnown++
	}
	if m == nil {
		return
	}
	if c.Stage == conn.StageAnswered {
		m.answered = true
	}
	if m.outcome {
		return
	}
	m.outcome, m.asFirst = true, c.Stage == conn.StageAnswered
	s := t.source(c)
	*map[conn.Stage]*uint32{conn.StageUnknown: &s.Unknown, conn.StageSilent: &s.Silent, conn.StageRefused: &s.Refused, conn.StageAnswered: &s.Answered}[c.Stage]++
	old := s.contacts[k]
	now := *c
	now.Stage = max(old.Stage, c.Stage)
	s.contacts[k] = now
}

// epoch is what a Merger should make of it.
func (t *twin) epoch(tick int64, key uint64) *Epoch {
	k := newKeys(key)
	e := &Epoch{Tick: tick, SketchKey: key, Link: t.link}
	for key, v := range t.services {
		for a := range t.senders[key] {
			v.Sources.Add(k.addr(a))
		}
		e.Services = append(e.Services, *v)
	}
	slices.SortFunc(e.Services, func(a, b Service) int {
		if a.Key.Less(&b.Key) {
			return -1
		}
		return 1
	})
	for _, s := range t.sources {
		for a := range s.hosts {
			s.Hosts.Add(k.addr(a))
		}
		for p := range s.ports {
			s.Ports.Add(k.port(uint8(p[0]), p[1]))
		}
		var all []SampledContact
		for id, c := range s.contacts {
			all = append(all, SampledContact{
				Rank: k.rankContact(&conn.Contact{Dst: id.dst, Port: id.port, Proto: id.proto, Probe: id.probe}),
				Dst:  c.Dst, Port: c.Port, Proto: c.Proto, Probe: c.Probe, Stage: c.Stage,
			})
		}
		slices.SortFunc(all, func(a, b SampledContact) int { return map[bool]int{true: -1, false: 1}[a.Rank < b.Rank] })
		s.NContacts = uint8(copy(s.Contacts[:], all))
		e.Sources = append(e.Sources, s.Source)
	}
	slices.SortFunc(e.Sources, func(a, b Source) int { return map[bool]int{true: -1, false: 1}[a.Addr.Less(b.Addr)] })
	e.Odds, e.Echoes = t.oddities.lists(&k)
	return e
}

// anyPacket draws a packet of few addresses and ports, so that keys meet.
func anyPacket(t *rapid.T) *decode.Packet {
	p := &decode.Packet{
		Time:       1e9 + rapid.Int64Range(0, 99e6).Draw(t, "time"),
		Kind:       rapid.SampledFrom([]decode.Kind{decode.KindIPv4, decode.KindIPv4, decode.KindIPv4, decode.KindARP, decode.KindNone}).Draw(t, "kind"),
		WireLen:    rapid.Uint32Range(40, 1500).Draw(t, "len"),
		PayloadLen: rapid.Uint32Range(0, 1).Draw(t, "payload"),
		Flags:      rapid.Uint16Range(0, 63).Draw(t, "flags"),
		Seq:        rapid.Uint32().Draw(t, "seq"),
		Hash:       rapid.Uint64().Draw(t, "hash"),
		Reverse:    rapid.Bool().Draw(t, "reverse"),
		FragOff:    rapid.SampledFrom([]uint32{0, 0, 0, 0, 0, 8}).Draw(t, "frag"),
		Why:        rapid.SampledFrom([]decode.Why{decode.WhyOK, decode.WhyOK, decode.WhyCut}).Draw(t, "why"),
	}
	if p.Kind == decode.KindARP {
		anyARP(t, p)
	}
	if p.Kind != decode.KindIPv4 {
		return p
	}
	p.Key = anyKey(t)
	anyOdd(t, p)
	if p.Key.Proto == 1 {
		p.ICMPType = rapid.SampledFrom([]uint8{0, 3, 8, 8}).Draw(t, "type")
		if p.HasQuote = rapid.Bool().Draw(t, "quotes"); p.HasQuote {
			p.Quote = anyKey(t)
			p.Quote.Proto = 17
			p.QuoteReverse = rapid.Bool().Draw(t, "quoteReverse")
		}
	}
	return p
}

func anyKey(t *rapid.T) decode.Key {
	port := rapid.Uint16Range(1, 3)
	return decode.Key{
		A: v4(rapid.Uint32Range(1, 3).Draw(t, "a")), B: v4(rapid.Uint32Range(3, 6).Draw(t, "b")),
		PortA: port.Draw(t, "portA"), PortB: port.Draw(t, "portB"),
		Proto: rapid.SampledFrom([]uint8{6, 6, 17, 1, 47}).Draw(t, "proto"), Ver: 4,
	}
}

func anyContact(t *rapid.T) *conn.Contact {
	c := &conn.Contact{
		Time: 1e9 + rapid.Int64Range(0, 99e6).Draw(t, "time"),
		Src:  v4(rapid.Uint32Range(1, 2).Draw(t, "src")), Dst: v4(rapid.Uint32Range(10, 14).Draw(t, "dst")),
		Port: rapid.Uint16Range(1, 2).Draw(t, "port"), Proto: 6, Ver: 4,
		Probe: rapid.SampledFrom([]conn.Probe{conn.ProbeSYN, conn.ProbeSYN, conn.ProbeSYN, conn.ProbeFIN, conn.ProbeACK}).Draw(t, "probe"),
		Stage: conn.Stage(rapid.IntRange(0, int(conn.StageProven)).Draw(t, "stage")),
	}
	if rapid.Bool().Draw(t, "marked") {
		c.Marks = conn.MarkZMap
	}
	return c
}

// pair spreads address pairs over shards, as the decoder does.
func pair(a, b decode.Addr, n int) int { return int(a.Lo+b.Lo) % n }

// ignoreSamples leaves out what the twin does not keep.
var ignoreSamples = cmp.Options{
	cmpopts.IgnoreFields(Epoch{}, "Suspects", "Normals", "Prints"),
	ignoreBlanks,
}

var ignoreBlanks = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(ServiceKey{}, "_"), cmpopts.IgnoreFields(Header{}, "_"), cmpopts.IgnoreFields(PairKey{}, "_"), cmpopts.IgnoreFields(OpeningKey{}, "_")}

func TestShardAgreesWithTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Defaults()
		n := rapid.SampledFrom([]int{1, 2, 7}).Draw(t, "shards")
		sh, m, tw := shards(n, cfg), NewMerger(cfg), newTwin()
		var e Epoch
		for tick := range int64(3) {
			for range rapid.IntRange(0, 150).Draw(t, "steps") {
				switch rapid.IntRange(0, 9).Draw(t, "what") {
				case 0:
					s := conn.Slow{Resp: v4(2), RespPort: 2, Ver: 4}
					sh[0].Slow(&s)
					tw.service(ServiceKey{Addr: s.Resp, Port: s.RespPort, Proto: 6, Ver: 4}).Slow++
				case 1, 2, 3, 4:
					c := anyContact(t)
					sh[pair(c.Src, c.Dst, n)].Contact(c)
					tw.contact(c)
				default:
					p, ev := anyPacket(t), conn.Event(rapid.Uint32Range(0, 1<<22-1).Draw(t, "event"))
					sh[pair(p.Key.A, p.Key.B, n)].Packet(p, ev)
					tw.packet(p, ev)
				}
			}
			m.Merge(&e, tick, sh)
			if d := cmp.Diff(tw.epoch(tick, 7), &e, ignoreSamples); d != "" {
				t.Fatalf("tick %d (-twin +shard):\n%s", tick, d)
			}
			tw.reset()
		}
	})
}
