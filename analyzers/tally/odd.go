package tally

import (
	"cmp"
	"encoding/binary"

	"weir/decode"
	"weir/decode/conn"
)

// OddKind is a peculiarity that packets showed.
type OddKind uint8

// Kinds.
const (
	OddLand       OddKind = iota // TCP or UDP whose source and destination are the same, port included (LAND)
	OddFlags                     // TCP flags that no stack sends: see badFlags
	OddFragment                  // overlapping fragments (teardrop): conn.EvOverlap
	OddSource                    // a source that cannot be, of packets that had no answer: loopback, multicast, broadcast, 0.0.0.0/8, 240.0.0.0/4; DHCP's 0.0.0.0 is none
	OddTTL                       // the hop limit of one side changed within a connection by more than 8: conn.EvTTL
	OddSplit                     // TCP split handshake: a SYN answered by a bare SYN, from Src
	OddOverlap                   // a TCP segment again with another length that overlaps what was seen: conn.EvResend
	OddARPClaim                  // no oddity by itself: who said to have which address. Src the address, MAC whose
	OddARPGratuit                // gratuitous ARP: likewise
	OddDHCPServer                // a DHCP server answered: Src
	OddRouter                    // an IPv6 router advertisement: Src
	OddKindCount
)

var oddNames = [OddKindCount]string{
	"land", "flags", "fragment", "source", "ttl", "split", "overlap", "arp_claim", "arp_gratuitous", "dhcp_server", "router",
}

// String is the kind as alerts show it.
func (k OddKind) String() string { return oddNames[k] }

// Odd counts one peculiarity between two hosts in one tick. Zero where a field has no meaning.
type Odd struct {
	Kind        OddKind
	Ver         uint8
	Src, Dst    decode.Addr
	MAC         uint64 // 48 bits
	Count       uint64
	First, Last int64
}

// oddKey names a peculiarity.
type oddKey struct {
	Src, Dst decode.Addr
	MAC      uint64
	Kind     OddKind
	Ver      uint8
}

func (k *keys) odd(o *oddKey) uint64 {
	return k.addrWith(o.Dst, k.addrWith(o.Src, o.MAC<<16|uint64(o.Ver)<<8|uint64(o.Kind)))
}

func (v *Odd) start(k oddKey) {
	*v = Odd{Kind: k.Kind, Ver: k.Ver, Src: k.Src, Dst: k.Dst, MAC: k.MAC}
}
func (v *Odd) is(k oddKey) bool { return oddKey{v.Src, v.Dst, v.MAC, v.Kind, v.Ver} == k }
func (v *Odd) weight() uint64   { return v.Count }
func (v *Odd) order() ref {
	return ref{ver: uint8(v.Kind)<<3 | v.Ver&7, hi: v.Src.Hi, lo: v.Src.Lo, sub: lead(v.Dst, v.Ver)}
}

func (v *Odd) compare(o *Odd) int {
	return cmp.Or(
		cmp.Compare(v.Kind, o.Kind), cmp.Compare(v.Ver, o.Ver), compareAddr(v.Src, o.Src), compareAddr(v.Dst, o.Dst), cmp.Compare(v.MAC, o.MAC),
	)
}

func (v *Odd) add(o *Odd) {
	v.Count += o.Count
	v.First, v.Last = earliest(v.First, o.First), max(v.Last, o.Last)
}

// badFlags are the sets of FIN, SYN, RST, ACK and URG, by these bits, that no stack sends: those that are not in the table of
// Linux's connection tracking (tcp_valid_flags of net/netfilter/nf_conntrack_proto_tcp.c), which drops them as invalid. PSH, ECE
// and CWR do not matter. RFC 9293 section 3.10.7: what is not a SYN or RST carries ACK; SYN with FIN was T/TCP (RFC 6247: historic).
const (
	flagBits             = decode.FlagFIN | decode.FlagSYN | decode.FlagRST | decode.FlagACK | decode.FlagURG
	fin, syn, rst        = decode.FlagFIN, decode.FlagSYN, decode.FlagRST
	ack, urg             = decode.FlagACK, decode.FlagURG
	goodFlags            = 1<<syn | 1<<(syn|urg) | 1<<(syn|ack) | 1<<rst | 1<<(rst|ack) | 1<<(fin|ack) | 1<<(fin|ack|urg) | 1<<ack | 1<<(ack|urg)
	badFlags      uint64 = ^uint64(goodFlags)
)

// oddEvents are the events that tell a peculiarity, and which.
var oddEvents = [...]struct {
	event conn.Event
	kind  OddKind
}{{conn.EvOverlap, OddFragment}, {conn.EvTTL, OddTTL}, {conn.EvSplit, OddSplit}, {conn.EvResend, OddOverlap}}

// unusual tells whether a packet needs a closer look: few do while nothing is wrong.
func unusual(p *decode.Packet, ev conn.Event) bool {
	const settled, told = conn.EvAnswered | conn.EvEstablished, conn.EvOverlap | conn.EvTTL | conn.EvSplit | conn.EvResend
	return ev&settled == 0 || ev&told != 0 || p.Key.Proto == protoICMP || p.Key.Proto == protoICMPv6 ||
		p.Key.Proto == protoTCP && badFlags>>(p.Flags&flagBits)&1 != 0
}

// peculiar counts what is peculiar about a packet, and echoes.
//
//go:noinline
func (s *Shard) peculiar(p *decode.Packet, ev conn.Event) {
	src, srcPort := p.Src()
	dst, dstPort := p.Dst()
	if ev&(conn.EvAnswered|conn.EvEstablished) == 0 && cannotBe(src, dst, p) {
		s.odd(OddSource, p, src, dst)
	}
	if p.FragOff == 0 {
		switch p.Key.Proto {
		case protoTCP:
			if badFlags>>(p.Flags&flagBits)&1 != 0 && p.HasTCP() {
				s.odd(OddFlags, p, src, dst)
			}
		case protoUDP:
			const server, client, reply = 67, 68, 2 // RFC 2131 sections 2 and 4.1
			if srcPort == server && dstPort == client && p.Payload < p.End && int(p.End) <= len(p.Data) && p.Data[p.Payload] == reply {
				s.odd(OddDHCPServer, p, src, decode.Addr{})
			}
		case protoICMP:
			s.echo(p, ev, 8, 0)
		case protoICMPv6:
			s.echo(p, ev, 128, 129)
			if p.ICMPType == 134 { // RFC 4861 section 4.2
				s.odd(OddRouter, p, src, decode.Addr{})
			}
		}
		if src == dst && srcPort == dstPort && (p.Key.Proto == protoTCP || p.Key.Proto == protoUDP) && !loopback(src, p.Key.Ver) {
			s.odd(OddLand, p, src, dst)
		}
	}
	for _, o := range &oddEvents {
		if ev&o.event != 0 {
			s.odd(o.kind, p, src, dst)
		}
	}
}

// cannotBe tells whether no host can have sent a packet from an address (RFC 1122 section 3.2.1.3, RFC 4291 section 2). What
// asks for an address has none yet: DHCP, IGMP (RFC 4541), duplicate address detection. Loopback may speak to itself.
func cannotBe(src, dst decode.Addr, p *decode.Packet) bool {
	const igmp, dhcp = 2, 67
	if p.Key.Ver == 6 {
		switch {
		case src.Hi != 0:
			return src.Hi>>56 == 0xff
		case src.Lo == 0:
			return p.Key.Proto != protoICMPv6
		}
		return src.Lo == 1 && dst != src
	}
	switch top := uint32(src.Lo) >> 24; {
	case top == 0:
		_, port := p.Dst()
		return uint32(src.Lo) != 0 || p.Key.Proto != igmp && (p.Key.Proto != protoUDP || port != dhcp)
	case top == 127:
		return !loopback(dst, 4)
	default:
		return top >= 224
	}
}

func loopback(a decode.Addr, ver uint8) bool {
	if ver == 6 {
		return a == decode.Addr{Lo: 1}
	}
	return uint32(a.Lo)>>24 == 127
}

// odd counts a peculiarity of a packet.
func (s *Shard) odd(kind OddKind, p *decode.Packet, src, dst decode.Addr) {
	s.oddity(oddKey{Kind: kind, Ver: p.Key.Ver, Src: src, Dst: dst}, p.Time)
}

func (s *Shard) oddity(k oddKey, time int64) {
	v := s.odds.at(k, s.keys.odd(&k))
	v.Count++
	v.First, v.Last = earliest(v.First, time), max(v.Last, time)
}

// arp counts who says to have which address (RFC 826; RFC 5227 for probes, which say nothing, and announcements).
func (s *Shard) arp(p *decode.Packet) {
	h := p.Data[min(int(p.L3), len(p.Data)):]
	if len(h) < 28 || h[4] != 6 || h[5] != 4 {
		return
	}
	src, _ := p.Src()
	dst, _ := p.Dst()
	if uint32(src.Lo) == 0 {
		return
	}
	k := oddKey{Kind: OddARPClaim, Ver: 4, Src: src, MAC: binary.BigEndian.Uint64(h[6:]) & (1<<48 - 1)} // behind the operation
	if src == dst {
		k.Kind = OddARPGratuit
	}
	s.oddity(k, p.Time)
}
