package decode

// icmp reads ICMP (RFC 792) or ICMPv6 (RFC 4443), of ver 4 or 6, and the packet that an error quotes.
func (w *walk) icmp(off int, ver uint8) {
	p := w.p
	if p.Key.Ver != ver {
		p.Why = WhyProto
		return
	}
	if off+2 <= len(w.b) {
		p.ICMPType, p.ICMPCode = w.b[off], w.b[off+1]
		p.Key.PortA, p.Key.PortB = icmpPorts(ver, p.ICMPType, p.ICMPCode)
	}
	if off+8 > len(w.b) {
		p.Payload, p.PayloadLen = p.End, uint32(max(w.wire-off-8, 0))
		p.Why = w.missing(off + 8)
		return
	}
	p.Payload, p.PayloadLen = uint32(off+8), uint32(w.wire-off-8)
	switch t := p.ICMPType; {
	case ver == 4 && (t == 3 || t == 4 || t == 5 || t == 11 || t == 12):
		w.quoteIPv4(off + 8)
	case ver == 6 && t >= 1 && t <= 4:
		w.quoteIPv6(off + 8)
	}
}

// icmpPorts gives the ports that Zeek would: type and answering type, or type and code where there is no answer
// (https://github.com/zeek/zeek, ICMP4_counterpart and ICMP6_counterpart in src/packet_analysis/protocol/icmp/ICMP.cc).
func icmpPorts(ver, kind, code uint8) (uint16, uint16) {
	other := code
	if ver == 4 {
		switch kind {
		case 0:
			other = 8 // echo
		case 8:
			other = 0
		case 9, 10: // router advertisement, solicitation
			other = 19 - kind
		case 13, 15, 17: // timestamp, information and mask requests
			other = kind + 1
		case 14, 16, 18:
			other = kind - 1
		}
	} else {
		switch kind {
		case 128, 144: // echo, home agent discovery
			other = kind + 1
		case 129, 145:
			other = kind - 1
		case 130, 131: // multicast listener query, report
			other = kind ^ 1
		case 133, 135, 139: // router and neighbour solicitation, node information query
			other = kind + 1
		case 134, 136, 140:
			other = kind - 1
		}
	}
	return uint16(kind), uint16(other)
}

// quoteIPv4 reads the IPv4 packet that an error quotes at off.
func (w *walk) quoteIPv4(off int) {
	if off+20 > len(w.b) {
		return
	}
	h := w.b[off:]
	size := int(h[0]&15) * 4
	if h[0]>>4 != 4 || size < 20 || be16(h[6:])&0x1fff != 0 {
		return
	}
	q := &w.p.Quote
	q.A = Addr{0, mapped | uint64(be32(h[12:]))}
	q.B = Addr{0, mapped | uint64(be32(h[16:]))}
	w.quote(4, h[9], off+size)
}

// quoteIPv6 reads the IPv6 packet that an error quotes at off.
func (w *walk) quoteIPv6(off int) {
	if off+40 > len(w.b) || w.b[off]>>4 != 6 {
		return
	}
	h := w.b[off:]
	q := &w.p.Quote
	q.A = Addr{be64(h[8:]), be64(h[16:])}
	q.B = Addr{be64(h[24:]), be64(h[32:])}
	proto := h[6]
	off += 40
	for range maxExtensions {
		if !extension(proto) || off+8 > len(w.b) {
			break
		}
		size := (int(w.b[off+1]) + 1) * 8
		if proto == protoFragment {
			if be16(w.b[off+2:])&^7 != 0 {
				return
			}
			size = 8
		}
		proto, off = w.b[off], off+size
	}
	w.quote(6, proto, off)
}

// quote completes the quoted key from the transport header at off. A flow with ports is quoted only if they were captured.
func (w *walk) quote(ver, proto uint8, off int) {
	p := w.p
	q := &p.Quote
	q.Ver, q.Proto, q.Disc, q.PortA, q.PortB = ver, proto, p.Key.Disc, 0, 0
	switch proto {
	case protoTCP, protoUDP, protoUDPLite, protoSCTP:
		if off+4 > len(w.b) {
			return
		}
		q.PortA, q.PortB = be16(w.b[off:]), be16(w.b[off+2:])
		if proto == protoTCP && off+8 <= len(w.b) {
			p.QuoteSeq = be32(w.b[off+4:])
		}
	case protoICMP, protoICMPv6:
		if off+2 > len(w.b) {
			return
		}
		q.PortA, q.PortB = icmpPorts(ver, w.b[off], w.b[off+1])
	}
	p.HasQuote = true
}
