package conn

import (
	"encoding/binary"
	"math/bits"

	"weir/decode"
)

// frag is a fragmented datagram whose first fragment was seen: it lends its ports to the later ones.
type frag struct {
	a, b         decode.Addr
	time         int64 // of the first fragment; 0 unused
	hash         uint64
	id           uint32
	end          uint32 // bytes of the datagram seen without a hole
	disc         uint32
	portA, portB uint16
	proto, ver   uint8
	reverse      bool
	headless     bool   // a TCP header whose flags come with the second fragment
	first        uint32 // bytes of the first fragment; of a headless one its sequence number
}

// flight is where a datagram's fragments are found: the first of as many entries as a set of the half-open cache has.
func (s *shard) flight(p *decode.Packet) []frag {
	h := s.seed ^ uint64(p.FragID)<<8 ^ uint64(p.Key.Proto)
	for _, w := range [...]uint64{p.Key.A.Hi, p.Key.A.Lo, p.Key.B.Hi, p.Key.B.Lo} {
		hi, lo := bits.Mul64(h^w, 0x9e3779b97f4a7c15)
		h = hi ^ lo ^ w
	}
	at := int(h>>32) & (len(s.frags)/ways - 1)
	return s.frags[at*ways : at*ways+ways]
}

func (f *frag) is(p *decode.Packet) bool {
	return f.time != 0 && f.a == p.Key.A && f.b == p.Key.B && f.id == p.FragID && f.proto == p.Key.Proto &&
		f.ver == p.Key.Ver && f.disc == p.Key.Disc && f.reverse == p.Reverse
}

// firstFragment remembers a datagram. A full set forgets its oldest.
func (s *shard) firstFragment(p *decode.Packet) Event {
	if !p.MoreFrag {
		return 0 // an atomic fragment is the whole datagram
	}
	length := p.IPLen - min(p.IPLen, p.L4-p.L3)
	set := s.flight(p)
	f := &set[0]
	for i := range set {
		g := &set[i]
		if g.is(p) && s.now-g.time < s.timeouts.fragment {
			s.stats.FragOverlap++ // the first one counts: another cannot take its datagram over
			if length != g.size() {
				return EvOverlap
			}
			return 0
		}
		if g.time < f.time {
			f = g
		}
	}
	if f.time != 0 && s.now-f.time < s.timeouts.fragment {
		s.stats.FragFull++
	}
	headless := p.Key.Proto == protoTCP && length == 8 && int(p.L4)+8 <= len(p.Data)
	*f = frag{
		a: p.Key.A, b: p.Key.B, time: max(s.now, 1), hash: p.Hash, id: p.FragID, end: length, disc: p.Key.Disc,
		portA: p.Key.PortA, portB: p.Key.PortB, proto: p.Key.Proto, ver: p.Key.Ver, reverse: p.Reverse, headless: headless, first: length,
	}
	if headless {
		f.first = binary.BigEndian.Uint32(p.Data[p.L4+4:])
	}
	return 0
}

// size is the length of the first fragment.
func (f *frag) size() uint32 {
	if f.headless {
		return 8
	}
	return f.first
}

// overlaps tells whether a later fragment overlaps others and is no duplicate of one: senders cut datagrams into pieces of one
// size, so that it begins where none does, or ends beyond what came before.
func (f *frag) overlaps(p *decode.Packet) bool {
	first := max(f.size(), 1)
	return p.FragOff < f.end && (p.FragOff < first || p.FragOff%first != 0 || p.FragOff+p.PayloadLen > f.end)
}

// laterFragment counts a fragment without ports for the connection of its first one.
func (s *shard) laterFragment(p *decode.Packet, out *Out) Event {
	var f *frag
	set := s.flight(p)
	for i := range set {
		if g := &set[i]; g.is(p) && s.now-g.time < s.timeouts.fragment {
			f = g
		}
	}
	if f == nil {
		s.stats.FragOrphan++
		return EvUntracked | EvFragment
	}
	ev := EvFragment
	if f.overlaps(p) {
		ev |= EvOverlap
	}
	switch {
	case p.FragOff < f.end:
		s.stats.FragOverlap++
	case p.FragOff == f.end:
		f.end += p.PayloadLen
	}
	if p.Key.Proto == protoTCP && p.FragOff < 20 {
		s.stats.FragTiny++
	}
	if f.headless && p.FragOff == 8 {
		return ev | s.tinyTCP(f, p, out)
	}
	key := decode.Key{A: f.a, B: f.b, PortA: f.portA, PortB: f.portB, Disc: f.disc, Proto: f.proto, Ver: f.ver}
	return ev | s.attribute(f.hash, &key, p)
}

// tinyTCP takes a datagram of tiny fragments for what it is once the second one brings the flags: a scanner's segment that
// was cut to pass filters (nmap -f). The first fragment had the ports and the sequence number, this has the rest.
func (s *shard) tinyTCP(f *frag, p *decode.Packet, out *Out) Event {
	if p.End < p.Payload+8 || int(p.End) > len(p.Data) {
		return EvUntracked | EvFragment
	}
	seq := f.first
	f.headless, f.first = false, 8
	rest := p.Data[p.Payload : p.Payload+8]
	q := *p
	q.Key.PortA, q.Key.PortB, q.Hash = f.portA, f.portB, f.hash
	q.Seq, q.Ack, q.Window = seq, binary.BigEndian.Uint32(rest), binary.BigEndian.Uint16(rest[6:])
	q.Flags = binary.BigEndian.Uint16(rest[4:]) & 0x1ff
	q.PayloadLen -= min(q.PayloadLen, max(uint32(rest[4]>>4)*4, 20)-8)
	q.Opt = decode.TCPOptions{}
	return EvFragment | s.flow(&q, out)
}

// attribute adds a later fragment to the counts of a connection. It moves no state.
func (s *shard) attribute(hash uint64, key *decode.Key, p *decode.Packet) Event {
	if c := s.find(hash, key); c != nil {
		d := c.sender(p.Reverse)
		x := &c.side[d]
		x.packets = saturate32(x.packets, 1)
		x.ipBytes += uint64(p.IPLen)
		if c.proto != protoTCP {
			x.addBytes(p.PayloadLen)
			c.last = s.now
		}
		return c.standing(d) | outerEvent(p)
	}
	n := s.findHalf(hash, key)
	if n < 0 {
		return EvUntracked
	}
	h := &s.halves[n]
	h.repeats = saturate16(h.repeats, 1)
	h.repeatBytes = saturate32(h.repeatBytes, p.IPLen)
	if h.proto != protoTCP {
		h.payload = saturate32(h.payload, p.PayloadLen)
	}
	s.sets[n/ways].last[n%ways] = s.now
	ev := h.senderEvent() | outerEvent(p)
	if h.bits&bitUnasked != 0 {
		ev |= EvUnasked
	}
	return ev
}
