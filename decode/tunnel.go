package decode

// ipInIP enters IP in IP (RFC 2003, 2473, 4213).
func (w *walk) ipInIP(inner uint8, off int) {
	kind := TunnelIPIP
	switch outer := w.p.Key.Ver; {
	case outer == 4 && inner == protoIPv6:
		kind = Tunnel6in4
	case outer == 6 && inner == protoIPv4:
		kind = Tunnel4in6
	}
	if !w.enter(kind) {
		return
	}
	if inner == protoIPv4 {
		w.ipv4(off)
	} else {
		w.ipv6(off)
	}
}

// Flags of a GRE header (RFC 1701, 2784, 2890, 2637).
const (
	greChecksum = 0x8000
	greRouting  = 0x4000
	greKey      = 0x2000
	greSeq      = 0x1000
	greAck      = 0x0080
	greVersion  = 0x0007
)

// Protocols that only GRE carries.
const (
	greERSPAN    = 0x88be
	greERSPANIII = 0x22eb
)

// gre reads a GRE header of version 0, or 1 as PPTP has it, and enters what it carries.
func (w *walk) gre(off int) {
	if !w.need(off, 4) {
		return
	}
	flags, proto := be16(w.b[off:]), be16(w.b[off+2:])
	start := off
	off += 4
	for _, f := range [...]uint16{greChecksum | greRouting, greKey, greSeq} {
		if flags&f != 0 {
			off += 4
		}
	}
	switch flags & greVersion {
	case 0:
		if flags&greRouting != 0 && !w.greRoutes(&off) {
			return
		}
	case 1:
		if flags&greAck != 0 {
			off += 4
		}
		if proto != etherPPP {
			w.stop(WhyNotIP)
			return
		}
	default:
		w.stop(WhyVersion)
		return
	}
	if off >= w.wire && off <= len(w.b) { // an acknowledgement without payload
		w.p.Why = WhyProto
		return
	}
	if !w.need(start, off-start) {
		return
	}
	w.greCarries(off, proto, flags&greSeq != 0)
}

// greRoutes skips source route entries up to the empty one (RFC 1701).
func (w *walk) greRoutes(off *int) bool {
	for range maxTags {
		if !w.need(*off, 4) {
			return false
		}
		family, size := be16(w.b[*off:]), int(w.b[*off+3])
		*off += 4 + size
		if family == 0 && size == 0 {
			return true
		}
	}
	w.stop(WhyDepth)
	return false
}

// greCarries enters the payload of protocol proto. ERSPAN's first type has no header, which the absent sequence number
// shows; the second has 8 bytes, the third 12 and by its last bit 8 more (draft-foschiano-erspan-03).
func (w *walk) greCarries(off int, proto uint16, seq bool) {
	kind := TunnelGRE
	if proto == greERSPAN || proto == greERSPANIII {
		kind = TunnelERSPAN
	}
	if !w.enter(kind) {
		return
	}
	switch {
	case proto == greERSPAN && !seq:
		w.ethernet(off)
	case proto == greERSPAN:
		w.ethernet(off + 8)
	case proto == greERSPANIII:
		if !w.need(off, 12) {
			return
		}
		if w.b[off+11]&1 != 0 {
			off += 8
		}
		w.ethernet(off + 12)
	case aruba(proto):
		w.ieee80211(off, false)
	case proto < etherMin:
		w.stop(WhyNotIP)
	default:
		w.etherType(off, proto)
	}
}

// aruba reports the protocol numbers under which Aruba's access points send 802.11 frames
// (https://github.com/zeek/zeek, src/packet_analysis/protocol/gre/GRE.cc).
func aruba(proto uint16) bool {
	return proto&0xff0f == 0x8200 || proto&0xff8f == 0x8300 || proto == 0x9000
}

// nsh reads a network service header (RFC 8300).
func (w *walk) nsh(off int) {
	if !w.shim() || !w.need(off, 8) {
		return
	}
	size := int(w.b[off+1]&0x3f) * 4
	if w.b[off]>>6 != 0 || size < 8 {
		w.stop(WhyLength)
		return
	}
	w.nextProtocol(off+size, w.b[off+3])
}

// nextProtocol reads what NSH or VXLAN-GPE say that they carry.
func (w *walk) nextProtocol(off int, next uint8) {
	switch next {
	case 1:
		w.ipv4(off)
	case 2:
		w.ipv6(off)
	case 3:
		w.ethernet(off)
	case 4:
		w.nsh(off)
	case 5:
		w.mpls(off)
	default:
		w.stop(WhyNotIP)
	}
}
