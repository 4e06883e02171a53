package alert

import (
	"net/netip"

	"weir/decode"
)

// Limits of the evidence of one alert, out of a capture that stays.
const (
	EvidenceFrames = 1000
	EvidenceBytes  = 256 << 10 // of captured frames
)

// Selector picks the packets that are evidence of one alert out of the input that it came from: those between its subject
// and its victim (where one of them is nobody, to and from the other) from first to last, in either direction, and ICMP
// errors that quote such a packet; up to EvidenceFrames and EvidenceBytes, unless Widen says otherwise. An alert that names nobody has none. Not safe for
// concurrent use; no allocation.
type Selector struct {
	subject, victim       end
	first, last           int64
	frames, bytes         int
	mostFrames, mostBytes int
}

// end is one side of a connection that a selector looks for.
type end struct {
	addr, mask decode.Addr
	ver        uint8
	port       uint16 // 0: any
	anybody    bool
}

// NewSelector returns the selector of an alert; the last revision knows the whole time of the evidence.
func NewSelector(a *Alert) *Selector {
	return &Selector{
		subject: endOf(a.Subject), victim: endOf(a.Victim), first: int64(a.First), last: int64(a.Last),
		mostFrames: EvidenceFrames, mostBytes: EvidenceBytes,
	}
}

// Widen sets other limits: event time in ns, frames, and bytes of them.
func (s *Selector) Widen(first, last int64, frames, bytes int) {
	s.first, s.last, s.mostFrames, s.mostBytes = first, last, frames, bytes
}

func endOf(p *Party) end {
	if p == nil || !p.IP.IsValid() && !p.Prefix.IsValid() {
		return end{anybody: true}
	}
	prefix := p.Prefix
	if p.IP.IsValid() {
		prefix = netip.PrefixFrom(p.IP, p.IP.BitLen())
	}
	e := end{addr: decode.AddrFrom(prefix.Masked().Addr()), ver: 6, port: p.Port}
	bits := prefix.Bits()
	if prefix.Addr().Is4() {
		e.ver = 4
		bits += 96 // ::ffff:0:0/96
	}
	e.mask = decode.Addr{Hi: ^uint64(0) << max(0, 64-bits), Lo: ^uint64(0) << min(64, 128-bits)}
	return e
}

// Take reports whether a packet is evidence for which there is still room, and counts it.
func (s *Selector) Take(p *decode.Packet) bool {
	if s.frames >= s.mostFrames || p.Time < s.first || p.Time > s.last || p.Outer || !s.between(p) {
		return false
	}
	if s.bytes+len(p.Data) > s.mostBytes {
		return false
	}
	s.frames++
	s.bytes += len(p.Data)
	return true
}

// During reports whether a time is within that of the evidence.
func (s *Selector) During(t int64) bool { return t >= s.first && t <= s.last }

// Full reports whether there is no room for another packet.
func (s *Selector) Full() bool { return s.frames >= s.mostFrames || s.bytes >= s.mostBytes }

func (s *Selector) between(p *decode.Packet) bool {
	if s.subject.anybody && s.victim.anybody || p.Kind == decode.KindNone {
		return false
	}
	return s.joins(&p.Key) || p.HasQuote && s.joins(&p.Quote)
}

// joins reports whether the ends of a connection are subject and victim.
func (s *Selector) joins(k *decode.Key) bool {
	// An ARP key has version 0; its protocol addresses are IPv4.
	ver := k.Ver
	if ver == 0 {
		ver = 4
	}
	return s.subject.is(k.A, k.PortA, ver) && s.victim.is(k.B, k.PortB, ver) ||
		s.subject.is(k.B, k.PortB, ver) && s.victim.is(k.A, k.PortA, ver)
}

func (e *end) is(a decode.Addr, port uint16, ver uint8) bool {
	return e.anybody || e.ver == ver && a.Hi&e.mask.Hi == e.addr.Hi && a.Lo&e.mask.Lo == e.addr.Lo && (e.port == 0 || e.port == port)
}
