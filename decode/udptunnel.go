package decode

// Ports of tunnels over UDP (https://www.iana.org/assignments/service-names-port-numbers).
const (
	portL2TP     = 1701
	portGTP      = 2152
	portTeredo   = 3544
	portVXLAN    = 4789
	portVXLANGPE = 4790
	portAYIYA    = 5072
	portGENEVE   = 6081
)

// udpTunnel enters a tunnel if a port names one and the bytes at off have the look of its header; otherwise the packet
// stays UDP. Teredo's clients and relays speak on any port.
func (w *walk) udpTunnel(off int, src, dst uint16) {
	if !w.udpTunnelAt(off, dst) && !w.udpTunnelAt(off, src) && off < len(w.b) && w.b[off]>>4 == 6 {
		w.teredoPeer(off)
	}
}

// lies reports whether a length that ends at end runs past the packet. In a first fragment it may.
func (w *walk) lies(end int) bool { return end > w.wire && !w.p.Frag }

// tunnelPort is false of most ports that name no tunnel, and of none that does.
func tunnelPort(port uint16) bool { return port >= portL2TP && port <= portGENEVE }

// udpTunnelAt returns false if port names no tunnel.
func (w *walk) udpTunnelAt(off int, port uint16) bool {
	if !tunnelPort(port) {
		return false
	}
	switch port {
	case portL2TP:
		w.l2tp(off)
	case portGTP:
		w.gtp(off)
	case portTeredo:
		w.teredo(off)
	case portVXLAN:
		w.vxlan(off)
	case portVXLANGPE:
		w.vxlanGPE(off)
	case portAYIYA:
		w.ayiya(off)
	case portGENEVE:
		w.geneve(off)
	default:
		return false
	}
	return true
}

// vni is the discriminator of a virtual network; the top bit tells it from VLAN ids.
func (w *walk) vni(b []byte) {
	w.disc = fold(w.disc, 1<<31|uint32(b[0])<<16|uint32(b[1])<<8|uint32(b[2]))
}

// vxlan reads a VXLAN header (RFC 7348). The valid bit is set; reserved bits are to be 0 but to be ignored, and group
// policy uses some of them (draft-smith-vxlan-group-policy): where one is set, an Ethernet header has to be recognised.
func (w *walk) vxlan(off int) {
	if off+8 > len(w.b) {
		return
	}
	h := w.b[off:]
	clean := be32(h) == 0x08000000 && h[7] == 0
	if h[0]&0x08 == 0 || !clean && !w.looksEthernet(off+8) || !w.enter(TunnelVXLAN) {
		return
	}
	w.vni(h[4:])
	w.ethernet(off + 8)
}

// vxlanGPE reads the generic protocol extension (draft-ietf-nvo3-vxlan-gpe-12): version 0, valid and next-protocol bits.
func (w *walk) vxlanGPE(off int) {
	if off+8 > len(w.b) {
		return
	}
	h := w.b[off:]
	if h[0]&0xf8 != 0x08 || (h[1]|h[2]|h[7]) != 0 || !w.enter(TunnelVXLAN) {
		return
	}
	w.vni(h[4:])
	next := h[3]
	if h[0]&0x04 == 0 { // as plain VXLAN
		next = 3
	}
	w.nextProtocol(off+8, next)
}

// geneve reads a GENEVE header (RFC 8926): version 0, reserved bits 0, options skipped.
func (w *walk) geneve(off int) {
	if off+8 > len(w.b) {
		return
	}
	h := w.b[off:]
	if h[0]>>6 != 0 || h[1]&0x3f != 0 || h[7] != 0 || be16(h[2:]) < etherMin || !w.enter(TunnelGENEVE) {
		return
	}
	w.vni(h[4:])
	w.etherType(off+8+int(h[0]&0x3f)*4, be16(h[2:]))
}

// gtp reads a user packet (G-PDU) of GTP version 1 with its extension headers (3GPP TS 29.281 section 5).
func (w *walk) gtp(off int) {
	if off+8 > len(w.b) {
		return
	}
	const version, extensions, optional, gpdu = 0xf0, 0x04, 0x07, 255 // version 1 with the protocol type bit is 0x30
	h := w.b[off:]
	flags := h[0]
	if flags&version != 0x30 || flags&0x08 != 0 || h[1] != gpdu || w.lies(off+8+int(be16(h[2:]))) {
		return
	}
	off += 8
	if flags&optional != 0 {
		off += 4
		if off > len(w.b) {
			return
		}
		next := w.b[off-1]
		for n := 0; flags&extensions != 0 && next != 0; n++ {
			if n == maxExtensions || off >= len(w.b) {
				return
			}
			size := int(w.b[off]) * 4
			if size == 0 || off+size > len(w.b) {
				return
			}
			off += size
			next = w.b[off-1]
		}
	}
	if w.enter(TunnelGTP) {
		w.ip(off)
	}
}

// teredo reads IPv6 behind optional authentication and origin indications (RFC 4380 section 5.1.1). The IPv6 header has to
// fill the datagram.
func (w *walk) teredo(off int) {
	if off+13 <= len(w.b) && be16(w.b[off:]) == 0x0001 {
		off += 13 + int(w.b[off+2]) + int(w.b[off+3])
	}
	if off+8 <= len(w.b) && be16(w.b[off:]) == 0x0000 {
		off += 8
	}
	if off+40 > len(w.b) || w.b[off]>>4 != 6 || w.lies(off+40+int(be16(w.b[off+4:]))) {
		return
	}
	if w.enter(TunnelTeredo) {
		w.ipv6(off)
	}
}

// teredoPeer recognises Teredo without its server's port: IPv6 that fills the datagram exactly, between ends of which one
// is in Teredo's prefix 2001::/32 (RFC 4380 section 2.6).
func (w *walk) teredoPeer(off int) {
	if off+40 > len(w.b) || off+40+int(be16(w.b[off+4:])) != w.wire {
		return
	}
	const prefix = 0x20010000
	if (be32(w.b[off+8:]) == prefix || be32(w.b[off+24:]) == prefix) && w.enter(TunnelTeredo) {
		w.ipv6(off)
	}
}

// ayiya reads a forwarded packet of Anything In Anything (draft-massar-v6ops-ayiya-02).
func (w *walk) ayiya(off int) {
	if off+8 > len(w.b) {
		return
	}
	h := w.b[off:]
	size := 8 + 1<<(h[0]>>4) + int(h[1]>>4)*4
	next := h[3]
	if h[2]&15 != 1 || next != protoIPv4 && next != protoIPv6 || off+size >= w.wire || !w.enter(TunnelAYIYA) {
		return
	}
	w.ip(off + size)
}
