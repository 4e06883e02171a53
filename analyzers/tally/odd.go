package tally

import (
	"cmp"

	"weir/decode"
)

// OddKind is a peculiarity that packets showed.
type OddKind uint8

// Kinds.
const (
	OddLand       OddKind = iota // source and destination are the same (LAND)
	OddFlags                     // TCP flags that no stack sends: SYN with FIN or RST, FIN without ACK in a connection, …
	OddFragment                  // overlapping fragments (teardrop)
	OddSource                    // a source that cannot be: loopback, multicast, broadcast, 0.0.0.0/8, 240.0.0.0/4 (Packet.Src); DHCP's 0.0.0.0 is none
	OddTTL                       // the hop limit of one side changed within a connection by more than 8
	OddSplit                     // TCP split handshake: a SYN answered by a bare SYN
	OddOverlap                   // a TCP segment again with another length that overlaps what was seen
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
