package decode

// Protocol numbers of PPP (https://www.iana.org/assignments/ppp-numbers).
const (
	pppIPv4 = 0x0021
	pppIPv6 = 0x0057
	pppMPLS = 0x0281
)

// ppp reads a PPP header with or without address and control bytes, the protocol in one byte or two (RFC 1661, 1662).
func (w *walk) ppp(off int) {
	if !w.need(off, 2) {
		return
	}
	if w.b[off] == 0xff && w.b[off+1] == 0x03 {
		off += 2
		if !w.need(off, 2) {
			return
		}
	}
	proto, size := be16(w.b[off:]), 2
	if w.b[off]&1 != 0 {
		proto, size = uint16(w.b[off]), 1
	}
	off += size
	switch proto {
	case pppIPv4:
		w.ipv4(off)
	case pppIPv6:
		w.ipv6(off)
	case pppMPLS:
		w.mpls(off)
	default:
		w.stop(WhyNotIP)
	}
}

// pppoe reads a PPPoE session header (RFC 2516). Discovery has another EtherType and other codes.
func (w *walk) pppoe(off int) {
	if !w.shim() || !w.need(off, 6) {
		return
	}
	if w.b[off] != 0x11 || w.b[off+1] != 0 {
		w.stop(WhyNotIP)
		return
	}
	w.ppp(off + 6)
}

// hdlc reads PPP in HDLC-like framing or Cisco HDLC, told apart by the address byte (RFC 1547 section 4.3.1).
func (w *walk) hdlc() {
	if !w.need(0, 4) {
		return
	}
	switch w.b[0] {
	case 0x0f, 0x8f: // Cisco: unicast, multicast
		w.etherType(4, be16(w.b[2:]))
	default:
		w.ppp(0)
	}
}

// frameRelay reads a Q.922 address of two to four bytes, then RFC 2427 encapsulation or, without its control byte, Cisco's
// (an EtherType).
func (w *walk) frameRelay() {
	off := 0
	for last := false; !last; off++ {
		if off == 4 {
			w.stop(WhyLength)
			return
		}
		if !w.need(off, 1) {
			return
		}
		last = w.b[off]&1 != 0
	}
	if !w.need(off, 2) {
		return
	}
	if w.b[off] != 0x03 {
		w.etherType(off+2, be16(w.b[off:]))
		return
	}
	off++
	if w.b[off] == 0 { // padding to an even length
		off++
		if !w.need(off, 1) {
			return
		}
	}
	switch w.b[off] { // network layer protocol identifiers (ISO/IEC TR 9577)
	case 0xcc:
		w.ipv4(off + 1)
	case 0x8e:
		w.ipv6(off + 1)
	case 0x80:
		w.snap(off + 1)
	case 0xcf:
		w.ppp(off + 1)
	default:
		w.stop(WhyNotIP)
	}
}
