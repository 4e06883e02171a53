package decode

// transport reads the headers that are rarer than TCP and UDP, tunnels among them.
func (w *walk) transport(proto uint8, off int) {
	switch proto {
	case protoUDPLite:
		w.udpLite(off)
	case protoSCTP:
		w.sctp(off)
	case protoICMP:
		w.icmp(off, 4)
	case protoICMPv6:
		w.icmp(off, 6)
	case protoIPv4, protoIPv6:
		w.ipInIP(proto, off)
	case protoGRE:
		w.gre(off)
	case protoL2TP:
		w.l2tpIP(off)
	default:
		w.p.Why = WhyProto
	}
}

// ports reads the two ports that TCP, UDP, UDP-Lite and SCTP begin with, if they were captured.
func (w *walk) ports(off int) {
	if off+4 <= len(w.b) {
		w.p.Key.PortA, w.p.Key.PortB = be16(w.b[off:]), be16(w.b[off+2:])
	}
}

// incomplete is a transport header of size bytes that was not captured whole. The ports are valid if they were, and the
// payload's length supposes a header of that size.
func (w *walk) incomplete(off, size int) {
	p := w.p
	w.ports(off)
	p.Payload, p.PayloadLen = p.End, uint32(max(w.wire-off-size, 0))
	p.Why = w.missing(off + size)
	if p.Key.Proto == protoTCP {
		p.Opt = TCPOptions{}
	}
}

// tcp reads a TCP header (RFC 9293). With the fixed 20 bytes captured but not all options, everything but Opt is valid.
func (w *walk) tcp(off int) {
	if off+20 > len(w.b) {
		w.incomplete(off, 20)
		return
	}
	p, h := w.p, w.b[off:off+20:off+20]
	p.Key.PortA, p.Key.PortB = be16(h), be16(h[2:])
	p.Seq, p.Ack = be32(h[4:]), be32(h[8:])
	p.Flags = uint16(h[12]&1)<<8 | uint16(h[13])
	p.Window = be16(h[14:])
	size := int(h[12]>>4) * 4
	p.Opt = TCPOptions{}
	switch {
	case size == 20:
	case size < 20:
		p.Why, size = WhyLength, 20
	case off+size > len(w.b):
		w.incomplete(off, size)
		return
	default:
		p.Opt.parse(w.b[off+20 : off+size])
	}
	p.Payload, p.PayloadLen = uint32(off+size), uint32(w.wire-off-size)
}

// Option kinds of TCP (https://www.iana.org/assignments/tcp-parameters).
const (
	tcpEnd    = 0
	tcpNop    = 1
	tcpMSS    = 2
	tcpWScale = 3
	tcpSACKOK = 4
	tcpSACK   = 5
	tcpTS     = 8
)

// parse reads the options b.
func (o *TCPOptions) parse(b []byte) {
	o.Len = uint8(len(b))
	if len(b) == 12 && be32(b) == 0x0101080a {
		o.Layout, o.Present = layoutNNT, OptTS
		o.TSVal, o.TSEcr = be32(b[4:]), be32(b[8:])
		return
	}
	var h uint32 = layoutBasis
	for i := 0; i < len(b); {
		kind := b[i]
		h = (h ^ (uint32(kind) + 1)) * layoutPrime
		if kind == tcpNop {
			i++
			continue
		}
		if kind == tcpEnd { // what follows is padding
			for range len(b) - i - 1 {
				h = (h ^ (tcpEnd + 1)) * layoutPrime
			}
			break
		}
		if i+2 > len(b) || b[i+1] < 2 || i+int(b[i+1]) > len(b) {
			o.Present |= OptBad
			break
		}
		end := i + int(b[i+1])
		o.value(kind, b[i+2:end])
		i = end
	}
	if len(b) > 0 {
		o.Layout = max(h, 1)
	}
}

// value reads one option's value; an option of the wrong size counts for the layout only.
func (o *TCPOptions) value(kind uint8, v []byte) {
	switch uint16(kind)<<8 | uint16(len(v)) {
	case tcpMSS<<8 | 2:
		o.MSS = be16(v)
		o.Present |= OptMSS
	case tcpWScale<<8 | 1:
		o.WScale = v[0]
		o.Present |= OptWScale
	case tcpSACKOK << 8:
		o.Present |= OptSACKOK
	case tcpSACK<<8 | 8, tcpSACK<<8 | 16, tcpSACK<<8 | 24, tcpSACK<<8 | 32:
		o.Present |= OptSACK
	case tcpTS<<8 | 8:
		o.TSVal, o.TSEcr = be32(v), be32(v[4:])
		o.Present |= OptTS
	}
}

// A layout is the 32-bit FNV-1a hash of the option kinds, each plus 1, and never 0
// (http://www.isthe.com/chongo/tech/comp/fnv/).
const (
	layoutBasis = 2166136261
	layoutPrime = 16777619

	// NOP, NOP, timestamps: nearly all segments but SYNs.
	layoutN   = (layoutBasis ^ (tcpNop + 1)) * layoutPrime % (1 << 32)
	layoutNN  = (layoutN ^ (tcpNop + 1)) * layoutPrime % (1 << 32)
	layoutNNT = (layoutNN ^ (tcpTS + 1)) * layoutPrime % (1 << 32)
)

// udp reads a UDP header and enters the tunnels that UDP carries. A length of 0 stands in jumbograms (RFC 2675) and in
// packets that were still to be cut; one beyond the IP packet lies.
func (w *walk) udp(off int) {
	if off+8 > len(w.b) {
		w.incomplete(off, 8)
		return
	}
	p, h := w.p, w.b[off:off+8:off+8]
	src, dst, size := be16(h), be16(h[2:]), int(be16(h[4:]))
	p.Key.PortA, p.Key.PortB = src, dst
	rest := w.wire - off - 8
	switch {
	case size >= 8:
		rest = min(rest, size-8)
	case size != 0:
		p.Why = WhyLength
	}
	p.Payload, p.PayloadLen = uint32(off+8), uint32(rest)
	if size == 0 || size >= 8 {
		w.udpTunnel(off+8, src, dst)
	}
}

// udpLite reads a UDP-Lite header (RFC 3828): what UDP calls length is the checksum's coverage.
func (w *walk) udpLite(off int) { w.portsOnly(off, 8) }

// sctp reads an SCTP common header (RFC 9260).
func (w *walk) sctp(off int) { w.portsOnly(off, 12) }

func (w *walk) portsOnly(off, size int) {
	if off+size > len(w.b) {
		w.incomplete(off, size)
		return
	}
	w.ports(off)
	w.p.Payload, w.p.PayloadLen = uint32(off+size), uint32(w.wire-off-size)
}
