package decode

// IP protocol numbers (https://www.iana.org/assignments/protocol-numbers).
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoIPv4        = 4
	protoTCP         = 6
	protoUDP         = 17
	protoIPv6        = 41
	protoRouting     = 43
	protoFragment    = 44
	protoGRE         = 47
	protoAH          = 51
	protoICMPv6      = 58
	protoNone        = 59
	protoDestination = 60
	protoL2TP        = 115
	protoSCTP        = 132
	protoMobility    = 135
	protoUDPLite     = 136
	protoHIP         = 139
	protoShim6       = 140
)

// mapped is the upper part of the lower half of an IPv4 address held as ::ffff:a.b.c.d.
const mapped = 0xffff << 32

// ip reads an IP header of either version.
func (w *walk) ip(off int) {
	if !w.need(off, 1) {
		return
	}
	switch w.b[off] >> 4 {
	case 4:
		w.ipv4(off)
	case 6:
		w.ipv6(off)
	default:
		w.stop(WhyVersion)
	}
}

// ipv4 reads an IPv4 header (RFC 791). A total length of 0 stands in packets that the sending host's card was to cut into
// segments: their length is the frame's.
func (w *walk) ipv4(off int) {
	if !w.need(off, 20) {
		return
	}
	h := w.b[off : off+20 : off+20]
	size, total, end := int(h[0]&15)*4, int(be16(h[2:])), w.wire
	if h[0]>>4 != 4 {
		w.stop(WhyVersion)
		return
	}
	if size < 20 || total != 0 && total < size {
		w.stop(WhyLength)
		return
	}
	if total != 0 {
		end = min(end, off+total)
	}
	w.claim(KindIPv4, 4, off)
	w.limit(off, end)
	p := w.p
	p.TOS, p.TTL, p.IPID = h[1], h[8], be16(h[4:])
	p.Key.A.Hi, p.Key.A.Lo = 0, mapped|uint64(be32(h[12:])) // not as one struct: its copy stalls on the two stores
	p.Key.B.Hi, p.Key.B.Lo = 0, mapped|uint64(be32(h[16:]))
	frag := be16(h[6:])
	p.DF = frag&0x4000 != 0
	if frag&0x3fff != 0 {
		p.Frag, p.MoreFrag = true, frag&0x2000 != 0
		p.FragID, p.FragOff = uint32(p.IPID), uint32(frag&0x1fff)*8
	}
	w.upper(h[9], off+size)
}

// limit bounds the walk by the IP packet from off to end (on the wire).
func (w *walk) limit(off, end int) {
	w.wire = end
	w.b = w.b[:min(len(w.b), end)]
	w.p.End, w.p.IPLen = uint32(len(w.b)), uint32(end-off)
}

// ipv6 reads an IPv6 header (RFC 8200). A payload length of 0 means a jumbogram (RFC 2675), or like 0 in IPv4 a packet that
// was still to be cut: the length is the jumbo option's, else the frame's. Only with no next header it is really 0.
func (w *walk) ipv6(off int) {
	if !w.need(off, 40) {
		return
	}
	h := w.b[off : off+40 : off+40]
	if h[0]>>4 != 6 {
		w.stop(WhyVersion)
		return
	}
	size, end := int(be16(h[4:])), w.wire
	switch {
	case size != 0 || h[6] == protoNone:
		end = min(end, off+40+size)
	case h[6] == protoHopByHop:
		if size = w.jumbo(off + 40); size != 0 {
			end = min(end, off+40+size)
		}
	}
	w.claim(KindIPv6, 6, off)
	w.limit(off, end)
	p := w.p
	p.TOS, p.TTL = h[0]<<4|h[1]>>4, h[7]
	p.Key.A.Hi, p.Key.A.Lo = be64(h[8:]), be64(h[16:])
	p.Key.B.Hi, p.Key.B.Lo = be64(h[24:]), be64(h[32:])
	w.upper(h[6], off+40)
}

// jumbo finds the payload length option in the hop-by-hop header at off; 0 without a captured one.
func (w *walk) jumbo(off int) int {
	if off+8 > len(w.b) {
		return 0
	}
	end := min(off+8+int(w.b[off+1])*8, len(w.b))
	for off += 2; off+2 <= end; {
		switch kind := w.b[off]; kind {
		case 0: // Pad1
			off++
		case 0xc2:
			if w.b[off+1] == 4 && off+6 <= end {
				return int(be32(w.b[off+2:]))
			}
			return 0
		default:
			off += 2 + int(w.b[off+1])
		}
	}
	return 0
}

// upper reads on from an IP header to its transport header, through extension headers.
func (w *walk) upper(proto uint8, off int) {
	if proto != protoTCP && proto != protoUDP && w.p.Key.Ver == 6 || proto == protoAH {
		var ok bool
		if proto, off, ok = w.extensions(proto, off); !ok {
			return
		}
	}
	p := w.p
	p.Key.Proto = proto
	w.carry(off)
	switch {
	case p.FragOff != 0:
		p.Why = WhyFragment
	case proto == protoTCP:
		w.tcp(off)
	case proto == protoUDP:
		w.udp(off)
	default:
		w.transport(proto, off)
	}
}

// carry notes that the IP packet's payload begins at off.
func (w *walk) carry(off int) {
	p := w.p
	p.L4 = uint32(min(off, len(w.b)))
	p.Payload, p.PayloadLen = p.L4, uint32(max(w.wire-off, 0))
}

// extensions follows extension headers to the transport protocol and its offset. Behind IPv4 only AH is one.
func (w *walk) extensions(proto uint8, off int) (uint8, int, bool) {
	v6 := w.p.Key.Ver == 6
	for range maxExtensions {
		w.p.Key.Proto = proto
		var size int
		switch {
		case proto == protoAH:
			if !w.header(off, 8) {
				return 0, 0, false
			}
			size = (int(w.b[off+1]) + 2) * 4
		case !v6 || !extension(proto):
			return proto, off, true
		case !w.header(off, 8):
			return 0, 0, false
		case proto == protoFragment:
			size = 8
			w.fragment(off)
		default:
			size = (int(w.b[off+1]) + 1) * 8
		}
		next := w.b[off]
		if next == protoNone && proto >= protoMobility {
			return proto, off, true // these end a packet
		}
		if proto == protoFragment && w.p.FragOff != 0 {
			return next, off + size, true
		}
		if off+size > w.wire {
			w.carry(off)
			w.stop(WhyLength)
			return 0, 0, false
		}
		proto, off = next, off+size
	}
	w.carry(off)
	w.stop(WhyDepth)
	return 0, 0, false
}

// header is need for an extension header: a packet that ends before it has its payload there.
func (w *walk) header(off, n int) bool {
	if off+n <= len(w.b) {
		return true
	}
	w.carry(off)
	w.stop(w.missing(off + n))
	return false
}

// extension reports whether proto is an extension header of IPv6 other than AH.
func extension(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoDestination, protoMobility, protoHIP, protoShim6:
		return true
	}
	return false
}

// fragment reads IPv6's fragment header. One with neither offset nor more to come is no fragment (RFC 6946).
func (w *walk) fragment(off int) {
	p, f := w.p, be16(w.b[off+2:])
	p.FragOff, p.MoreFrag = uint32(f&^7), f&1 != 0
	if p.Frag = p.FragOff != 0 || p.MoreFrag; p.Frag {
		p.FragID = be32(w.b[off+4:])
	}
}

// arp reads ARP for IPv4 (RFC 826) over hardware addresses of any length.
func (w *walk) arp(off int) {
	if !w.need(off, 8) {
		return
	}
	h := w.b[off:]
	size := 8 + 2*(int(h[4])+4)
	if be16(h[2:]) != etherIPv4 || h[5] != 4 {
		w.stop(WhyNotIP)
		return
	}
	if !w.need(off, size) {
		return
	}
	w.claim(KindARP, 0, off)
	p := w.p
	sender := 8 + int(h[4])
	target := sender + 4 + int(h[4])
	p.ARPOp = be16(h[6:])
	p.Key.A = Addr{0, mapped | uint64(be32(h[sender:]))}
	p.Key.B = Addr{0, mapped | uint64(be32(h[target:]))}
	p.End = uint32(off + size)
	p.L4, p.Payload = p.End, p.End
}
