package decode

// l2tp reads a data message of L2TP over UDP, version 2 (RFC 2661 section 3.1) with PPP inside, or version 3 (RFC 3931
// section 4.1.2). Control messages stay UDP.
func (w *walk) l2tp(off int) {
	if off+8 > len(w.b) {
		return
	}
	const control, length, sequence, offset, reserved, version = 0x8000, 0x4000, 0x0800, 0x0200, 0x34f0, 0x000f
	flags := be16(w.b[off:])
	start := off
	switch {
	case flags&control != 0 || flags&reserved != 0:
		return
	case flags&version == 3 && flags == 3 && be16(w.b[off+2:]) == 0:
		w.l2tpv3(off + 8)
		return
	case flags&version != 2:
		return
	}
	off += 2
	if flags&length != 0 {
		if w.lies(start + int(be16(w.b[off:]))) {
			return
		}
		off += 2
	}
	off += 4 // tunnel and session
	if flags&sequence != 0 {
		off += 4
	}
	if flags&offset != 0 {
		if off+2 > len(w.b) {
			return
		}
		off += 2 + int(be16(w.b[off:]))
	}
	if w.enter(TunnelL2TP) {
		w.ppp(off)
	}
}

// l2tpIP reads L2TP version 3 directly over IP (RFC 3931 section 4.1.1). Session 0 is control.
func (w *walk) l2tpIP(off int) {
	if !w.need(off, 4) {
		return
	}
	w.p.Why = WhyProto
	if be32(w.b[off:]) != 0 {
		w.l2tpv3(off + 4)
	}
}

// l2tpv3 finds the payload behind the session id. The lengths of the cookie (0, 4 or 8 bytes) and of the sublayer (0 or 4)
// stand only in the control messages: the first at which an Ethernet or PPP header makes sense is taken.
func (w *walk) l2tpv3(off int) {
	for skip := 0; skip <= 12; skip += 4 {
		at := off + skip
		if w.looksEthernet(at) {
			if w.enter(TunnelL2TP) {
				w.ethernet(at)
			}
			return
		}
		if at+5 <= len(w.b) && be32(w.b[at:])&^0x7f == 0xff030000 && w.b[at+4]>>4&^2 == 4 {
			if w.enter(TunnelL2TP) {
				w.ppp(at)
			}
			return
		}
	}
}
