package decode

import "net/netip"

// Shards is the number of state shards. A packet's shard follows from its canonical innermost address pair alone, so both
// directions of a connection, the ICMP errors that quote it and its later fragments meet in one shard.
const Shards = 64

// Addr is an address in network byte order. IPv4 is held as ::ffff:a.b.c.d; Key.Ver tells the two families apart, so an
// IPv6 packet between mapped addresses is not taken for IPv4. Comparable; the order is numerical.
type Addr struct{ Hi, Lo uint64 }

// Key names a connection: its two ends in canonical order (A ≤ B by address, then port), so that both directions have one
// key. Comparable, no padding, no pointer: fit for off-heap tables.
//
// Ports of ICMP and ICMPv6 follow Zeek: the type at the sender of a request, and at the other end the type of the answer
// that belongs to it (echo 8/0, 128/129, …), or the code where there is none.
type Key struct {
	A, B         Addr
	PortA, PortB uint16
	Disc         uint32 // VLAN ids and tunnel identifiers folded to 32 bits; 0 without any
	Proto        uint8  // IP protocol number; for ARP 0
	Ver          uint8  // 4, 6; 0 for ARP
	_            [6]byte
}

// Kind says what the innermost decoded header is.
type Kind uint8

// Kinds of packet.
const (
	KindNone Kind = iota // nothing that weir reads (LLDP, STP, …) or not readable: see Why
	KindARP
	KindIPv4
	KindIPv6
)

// TCP flag bits of Packet.Flags (RFC 9293 section 3.1; AE: RFC 9768).
const (
	FlagFIN uint16 = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
	FlagECE
	FlagCWR
	FlagAE
)

// Tunnels is the set of encapsulations around the innermost header.
type Tunnels uint16

// Tunnel kinds. VLAN, MPLS and PPPoE are link layers, not tunnels.
const (
	TunnelGRE Tunnels = 1 << iota
	TunnelERSPAN
	TunnelIPIP // any of 4in4, 6in6
	Tunnel6in4
	Tunnel4in6
	TunnelTeredo
	TunnelVXLAN
	TunnelGENEVE
	TunnelGTP
	TunnelL2TP
	TunnelAYIYA
)

// TCPOptions summarises the options of a TCP header. Valid iff Proto is TCP and the whole header was captured.
type TCPOptions struct {
	Layout  uint32 // hash of the sequence of option kinds (padding included); 0 without options
	TSVal   uint32 // timestamp value, 0 without the option
	TSEcr   uint32
	MSS     uint16 // 0 without the option
	Len     uint8  // bytes of options
	WScale  uint8  // shift count
	Present uint8  // OptMSS…
}

// Bits of TCPOptions.Present.
const (
	OptMSS uint8 = 1 << iota
	OptWScale
	OptSACKOK
	OptSACK
	OptTS
	OptBad // malformed list: a length that runs past the header or is below 2
)

// Packet is one decoded frame. A worker reuses an array of them. "Cut" means that snaplen took bytes away.
//
// Why says where decoding stopped, not whether the packet counts: the key is valid with every Why if Kind is not KindNone.
// Its ports are 0 where they were not captured. A tunnel whose inner packet cannot be read leaves its carrier as the packet,
// complete with ports and payload, and Why tells what stood in the way inside.
type Packet struct {
	Time    int64  // ns, from the frame
	Data    []byte // the frame's captured bytes; borrowed like Frame.Data
	Key     Key    // valid iff Kind is not KindNone
	Hash    uint64 // of Key under the decoder's seed; valid with Key
	WireLen uint32 // of the frame, with the tags that the kernel took off

	L2      uint32 // offset of the innermost Ethernet header; valid iff HasMAC
	L3      uint32 // offset of the innermost IP or ARP header; valid iff Kind is not KindNone
	L4      uint32 // offset of the transport header; valid iff Kind is IP and FragOff is 0
	Payload uint32 // offset of the transport payload, or of a later fragment's bytes; at most End
	End     uint32 // end of the captured part of the IP packet (link-layer padding is beyond); at most len(Data)

	IPLen      uint32 // bytes of the innermost IP packet on the wire, header included; never beyond the frame's wire length
	PayloadLen uint32 // bytes of transport payload on the wire; may exceed End-Payload when cut

	Seq, Ack uint32     // TCP, valid iff HasTCP; else 0
	Window   uint16     // likewise; unscaled
	Flags    uint16     // likewise: FlagFIN…
	Opt      TCPOptions // TCP

	FragID   uint32 // IPv4 identification, or the IPv6 fragment header's; valid iff Frag
	FragOff  uint32 // bytes
	IPID     uint16 // IPv4 identification
	Ether    uint16 // EtherType of the innermost link layer where it has one
	VLAN     [2]uint16
	Tunnels  Tunnels
	Why      Why
	Kind     Kind
	Frag     bool // a fragment: first (FragOff 0), middle or last
	MoreFrag bool
	DF       bool // IPv4 don't fragment
	TTL      uint8
	TOS      uint8
	VLANs    uint8 // how many tags stood before the innermost header (VLAN holds the first two)
	Depth    uint8 // tunnels around the innermost header
	Shard    uint8
	Reverse  bool // the sender is Key.B
	HasMAC   bool
	Cut      bool // snaplen took bytes of this frame
	Outer    bool // an outer tunnel connection, decoded by DecodeOuter for flow records only

	ICMPType uint8 // ICMP and ICMPv6
	ICMPCode uint8
	ARPOp    uint16 // ARP: 1 request, 2 reply; Key holds sender and target protocol addresses

	// The packet that an ICMP error quotes. Its Shard is this packet's Shard.
	HasQuote     bool
	QuoteReverse bool // the quoted packet's sender is Quote.B
	QuoteSeq     uint32
	Quote        Key
	QuoteHash    uint64
}

// AddrFrom converts a netip address, mapped or not.
func AddrFrom(a netip.Addr) Addr {
	b := a.As16()
	return Addr{be64(b[:8]), be64(b[8:])}
}

// Netip returns the address in its family: ver 4 gives an IPv4 address.
func (a Addr) Netip(ver uint8) netip.Addr {
	if ver != 6 {
		return netip.AddrFrom4([4]byte{byte(a.Lo >> 24), byte(a.Lo >> 16), byte(a.Lo >> 8), byte(a.Lo)})
	}
	var b [16]byte
	for i := range 8 {
		b[i], b[8+i] = byte(a.Hi>>(56-8*i)), byte(a.Lo>>(56-8*i))
	}
	return netip.AddrFrom16(b)
}

// Less orders addresses numerically.
func (a Addr) Less(b Addr) bool { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }

// HasTCP reports whether the fixed part of a TCP header was captured. Without it no flag is set, which does not make the
// packet a probe without flags.
func (p *Packet) HasTCP() bool {
	return p.Key.Proto == protoTCP && p.Kind >= KindIPv4 && p.FragOff == 0 && p.End >= p.L4+20
}

// Src is the sender's end of the packet.
func (p *Packet) Src() (Addr, uint16) {
	if p.Reverse {
		return p.Key.B, p.Key.PortB
	}
	return p.Key.A, p.Key.PortA
}

// Dst is the receiver's end of the packet.
func (p *Packet) Dst() (Addr, uint16) {
	if p.Reverse {
		return p.Key.A, p.Key.PortA
	}
	return p.Key.B, p.Key.PortB
}

func be64(b []byte) uint64 {
	_ = b[7]
	return uint64(b[0])<<56 | uint64(b[1])<<48 | uint64(b[2])<<40 | uint64(b[3])<<32 |
		uint64(b[4])<<24 | uint64(b[5])<<16 | uint64(b[6])<<8 | uint64(b[7])
}
