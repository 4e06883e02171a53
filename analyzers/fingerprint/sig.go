// Package fingerprint names TCP stacks by the header of their SYN and SYN-ACK.
//
// The raw signature is text of p0f's public form (p0f README, section 5):
//
//	version:ittl:optlen:mss:wsize,scale:options:quirks:payload
//
// It differs from p0f 3.09b's own output in three things. ittl is the estimate of the initial TTL alone (32, 64, 128 or 255,
// the least that is not below the TTL seen), where p0f writes "ttl+distance": hop counts do not split prints. "ack+" is set
// for every acknowledgement number without ACK, as its README says; p0f itself looks at one bit of the number. A SYN-ACK's
// window that is a multiple of the peer's MSS alone is written as a plain number: one packet does not know its peer.
//
// Labels come from our own table of systems and tools that were run and recorded for it (table.go).
package fingerprint

import (
	"math/bits"

	"weir/decode"
)

// Sig is the raw signature of one SYN or SYN-ACK. Comparable, 40 bytes, no pointer. Equal Sigs have equal text (but for
// SYNACK, which the text does not say).
type Sig struct {
	Layout  [3]uint64 // option kinds in order, a byte each, the first in the lowest byte; NOpt of them
	Quirks  Quirks
	MSS     uint16 // 0 without the option
	Window  uint16 // unscaled
	NOpt    uint8  // at most MaxOptions
	EOLPad  uint8  // bytes after an end-of-list option
	WScale  uint8  // 0 without the option
	TTL     uint8  // initial TTL estimate: 32, 64, 128, 255
	IPOpt   uint8  // bytes of IPv4 options or IPv6 extension headers, saturating
	Ver     uint8  // 4 or 6
	SYNACK  bool
	Payload bool // carries data
}

// MaxOptions is how many options a signature lists; a longer list is marked bad, as p0f does.
const MaxOptions = 24

// Quirks is a set of header peculiarities, named as in p0f's README.
type Quirks uint32

// Quirks, in the order in which they are written.
const (
	QuirkDF    Quirks = 1 << iota // df: IPv4 don't fragment
	QuirkNZID                     // id+: DF and an IP id
	QuirkZID                      // id-: neither DF nor an IP id
	QuirkECN                      // ecn: ECT, CE, ECE, CWR or AE is set
	QuirkMBZ                      // 0+: the IPv4 reserved flag is set
	QuirkFlow                     // flow: IPv6 flow label
	QuirkZSeq                     // seq-: sequence number 0
	QuirkNZAck                    // ack+: acknowledgement number without ACK
	QuirkZAck                     // ack-: ACK of 0
	QuirkNZUrg                    // uptr+: urgent pointer without URG
	QuirkUrg                      // urgf+: URG
	QuirkPush                     // pushf+: PSH
	QuirkZTS1                     // ts1-: own timestamp 0
	QuirkNZTS2                    // ts2+: peer's timestamp in a SYN
	QuirkEOLNZ                    // opt+: data after the end of the option list
	QuirkExWS                     // exws: window scale above 14
	QuirkBad                      // bad: malformed options
)

var quirkNames = [...]string{
	"df", "id+", "id-", "ecn", "0+", "flow", "seq-", "ack+", "ack-", "uptr+", "urgf+", "pushf+", "ts1-", "ts2+", "opt+", "exws", "bad",
}

// TCP option kinds (IANA TCP Option Kind Numbers).
const (
	kindEOL    = 0
	kindNOP    = 1
	kindMSS    = 2
	kindWScale = 3
	kindSACKOK = 4
	kindSACK   = 5
	kindTS     = 8
)

// FromPacket reads the signature of a SYN or SYN-ACK; false for every other packet and for a cut header. It does not
// allocate; about 30 ns with a usual option list, less with none. Reads the packet's borrowed bytes, keeps none.
func FromPacket(p *decode.Packet) (Sig, bool) {
	const ends = decode.FlagSYN | decode.FlagFIN | decode.FlagRST
	if p.Flags&ends != decode.FlagSYN || p.Key.Proto != protoTCP || p.Why != decode.WhyOK || p.Kind < decode.KindIPv4 {
		return Sig{}, false
	}
	data, l3, l4 := p.Data, int(p.L3), int(p.L4)
	if l4+tcpMin > int(p.Payload) || int(p.Payload) > len(data) || l3+ipv4Min > l4 {
		return Sig{}, false
	}
	s := Sig{
		Window:  p.Window,
		TTL:     initialTTL(p.TTL),
		SYNACK:  p.Flags&decode.FlagACK != 0,
		Payload: p.PayloadLen != 0,
	}
	s.network(p, data[l3:l4])
	s.transport(p, data[l4:l4+tcpMin])
	s.options(data[l4+tcpMin : p.Payload])
	return s, true
}

const (
	protoTCP = 6
	tcpMin   = 20
	ipv4Min  = 20
	ipv6Min  = 40
)

// network reads the IP header h, extension headers included.
func (s *Sig) network(p *decode.Packet, h []byte) {
	least := ipv4Min
	if s.Ver = 4; p.Kind == decode.KindIPv6 {
		s.Ver, least = 6, ipv6Min
		if h[1]&0x0f|h[2]|h[3] != 0 {
			s.Quirks |= QuirkFlow
		}
	} else {
		if h[6]&0x80 != 0 {
			s.Quirks |= QuirkMBZ
		}
		switch {
		case p.DF && p.IPID != 0:
			s.Quirks |= QuirkDF | QuirkNZID
		case p.DF:
			s.Quirks |= QuirkDF
		case p.IPID == 0:
			s.Quirks |= QuirkZID
		}
	}
	if p.TOS&3 != 0 {
		s.Quirks |= QuirkECN
	}
	s.IPOpt = uint8(min(max(len(h)-least, 0), 255))
}

// transport reads the fixed TCP header h.
func (s *Sig) transport(p *decode.Packet, h []byte) {
	if p.Flags&(decode.FlagECE|decode.FlagCWR|decode.FlagAE) != 0 {
		s.Quirks |= QuirkECN
	}
	if p.Seq == 0 {
		s.Quirks |= QuirkZSeq
	}
	if s.SYNACK && p.Ack == 0 {
		s.Quirks |= QuirkZAck
	} else if !s.SYNACK && p.Ack != 0 {
		s.Quirks |= QuirkNZAck
	}
	if p.Flags&decode.FlagURG != 0 {
		s.Quirks |= QuirkUrg
	} else if h[18]|h[19] != 0 {
		s.Quirks |= QuirkNZUrg
	}
	if p.Flags&decode.FlagPSH != 0 {
		s.Quirks |= QuirkPush
	}
}

// options reads the option list. A wrong length of a known option is marked and the option's own size is stepped over; a
// length that cannot be ends the list.
func (s *Sig) options(b []byte) {
	for len(b) > 0 {
		if s.NOpt >= MaxOptions {
			s.Quirks |= QuirkBad
			return
		}
		kind := b[0]
		s.Layout[s.NOpt>>3] |= uint64(kind) << (s.NOpt & 7 * 8)
		s.NOpt++
		switch kind {
		case kindNOP:
			b = b[1:]
			continue
		case kindEOL:
			s.padding(b[1:])
			return
		}
		size := s.value(kind, b)
		if size == 0 {
			s.Quirks |= QuirkBad
			return
		}
		b = b[size:]
	}
}

// value keeps what the option at the head of b says and returns its size, 0 if b ends before it does.
func (s *Sig) value(kind uint8, b []byte) int {
	size := optionSize(kind, b)
	if size > len(b) || size < 2 {
		return 0
	}
	if int(b[1]) != size {
		s.Quirks |= QuirkBad
	}
	switch v := b[2:size]; kind {
	case kindMSS:
		s.MSS = uint16(v[0])<<8 | uint16(v[1])
	case kindWScale:
		if s.WScale = v[0]; s.WScale > maxScale {
			s.Quirks |= QuirkExWS
		}
	case kindTS:
		if v[0]|v[1]|v[2]|v[3] == 0 {
			s.Quirks |= QuirkZTS1
		}
		if !s.SYNACK && v[4]|v[5]|v[6]|v[7] != 0 {
			s.Quirks |= QuirkNZTS2
		}
	}
	return size
}

// maxScale is the greatest window scale that RFC 7323 allows.
const maxScale = 14

// optionSize is the size of the option at the head of b: the only one it may have, or what it says; 0 for what cannot be.
func optionSize(kind uint8, b []byte) int {
	switch kind {
	case kindMSS:
		return 4
	case kindWScale:
		return 3
	case kindSACKOK:
		return 2
	case kindTS:
		return 10
	}
	if len(b) < 2 || kind == kindSACK && (b[1] < 10 || b[1] > 34) {
		return 0
	}
	return int(b[1])
}

// padding judges the bytes after an end-of-list option.
func (s *Sig) padding(b []byte) {
	s.EOLPad = uint8(len(b))
	for _, c := range b {
		if c != 0 {
			s.Quirks |= QuirkEOLNZ
		}
	}
}

// initialTTL is the least usual initial TTL that is not below ttl.
func initialTTL(ttl uint8) uint8 {
	switch {
	case ttl <= 32:
		return 32
	case ttl <= 64:
		return 64
	case ttl <= 128:
		return 128
	}
	return 255
}

// option is the kind at place i of the layout.
func (s *Sig) option(i uint8) uint8 { return uint8(s.Layout[i>>3] >> (i & 7 * 8)) }

// Hash is a fixed function of the signature: the same in every process, machine and release of this form, so that prints
// of several sensors meet. It is not keyed: who can choose headers can make two prints collide, and gains one joint count.
func (s Sig) Hash() uint64 {
	flags := uint64(0)
	if s.SYNACK {
		flags = 1
	}
	if s.Payload {
		flags |= 2
	}
	a := uint64(s.Quirks)<<32 | uint64(s.MSS)<<16 | uint64(s.Window)
	b := uint64(s.NOpt) | uint64(s.EOLPad)<<8 | uint64(s.WScale)<<16 | uint64(s.TTL)<<24 | uint64(s.IPOpt)<<32 | uint64(s.Ver)<<40 | flags<<48
	h := fold(a^0x9e3779b97f4a7c15, b^0xd1b54a32d192ed03)
	h = fold(h^s.Layout[0], s.Layout[1]^0xaef17502108ef2d9)
	return fold(h^s.Layout[2], 0xd6e8feb86659fd93)
}

// fold multiplies to 128 bits and folds the halves.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
