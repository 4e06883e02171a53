package decode

// EtherTypes (IEEE 802 numbers, https://www.iana.org/assignments/ieee-802-numbers).
const (
	etherIPv4       = 0x0800
	etherARP        = 0x0806
	etherTEB        = 0x6558 // transparent Ethernet bridging
	etherVLAN       = 0x8100
	etherIPv6       = 0x86dd
	etherPPP        = 0x880b
	etherMPLS       = 0x8847
	etherMPLSMulti  = 0x8848
	etherPPPoE      = 0x8864
	etherQinQ       = 0x88a8
	etherPBB        = 0x88e7
	etherFabricPath = 0x8903
	etherCisco      = 0x8909 // Cisco metadata: security group tag
	etherVNTag      = 0x8926
	etherNSH        = 0x894f
	etherQinQ9100   = 0x9100
	etherQinQ9200   = 0x9200

	etherMin = 0x0600 // below: an IEEE 802.3 length, and LLC follows
)

// link reads the link-layer header of the frame.
func (w *walk) link(t LinkType) {
	switch t {
	case LinkEthernet:
		w.ethernet(0)
	case LinkRaw, linkRawBSD, linkRawOpenBSD:
		w.ip(0)
	case LinkIPv4:
		w.ipv4(0)
	case LinkIPv6:
		w.ipv6(0)
	case LinkLinuxSLL:
		w.sll()
	case LinkLinuxSLL2:
		w.sll2()
	case LinkNull, LinkLoop:
		w.loopback()
	case LinkNFLOG:
		w.nflog()
	case LinkPPP:
		w.ppp(0)
	case LinkPPPHDLC, LinkCiscoHDLC:
		w.hdlc()
	case LinkPPPoE:
		w.pppoe(0)
	case LinkFrameRly:
		w.frameRelay()
	case LinkFDDI:
		w.fddi()
	case LinkIEEE80211, LinkPrism, LinkRadiotap, LinkAVS:
		w.wireless(t)
	default:
		w.stop(WhyLinkType)
	}
}

// Values of DLT_RAW that files written without libpcap's mapping hold.
const (
	linkRawBSD     LinkType = 12
	linkRawOpenBSD LinkType = 14
)

func (w *walk) ethernet(off int) {
	if !w.need(off, 14) {
		return
	}
	w.l2, w.hasMAC = uint32(off), true
	w.etherType(off+14, be16(w.b[off+12:]))
}

// etherType follows tags, labels and shims from off, where the payload of an EtherType t begins.
func (w *walk) etherType(off int, t uint16) {
	for {
		w.ether = t
		switch t {
		case etherIPv4:
			w.ipv4(off)
			return
		case etherIPv6:
			w.ipv6(off)
			return
		case etherVLAN, etherQinQ, etherQinQ9100, etherQinQ9200:
			if !w.shim() || !w.need(off, 4) {
				return
			}
			w.tag(be16(w.b[off:]))
			t = be16(w.b[off+2:])
			off += 4
		case etherVNTag: // 802.1BR: 4 bytes, then an EtherType
			if !w.shim() || !w.need(off, 6) {
				return
			}
			t = be16(w.b[off+4:])
			off += 6
		case etherCisco: // 6 bytes, then an EtherType
			if !w.shim() || !w.need(off, 8) {
				return
			}
			t = be16(w.b[off+6:])
			off += 8
		default:
			w.etherOther(off, t)
			return
		}
	}
}

func (w *walk) etherOther(off int, t uint16) {
	switch t {
	case etherARP:
		w.arp(off)
	case etherMPLS, etherMPLSMulti:
		w.mpls(off)
	case etherPPPoE:
		w.pppoe(off)
	case etherPPP:
		w.ppp(off)
	case etherNSH:
		w.nsh(off)
	case etherPBB: // 802.1ah: a service tag of 4 bytes, then the customer's frame
		if w.shim() {
			w.ethernet(off + 4)
		}
	case etherFabricPath: // Cisco: a tag of 2 bytes, then the customer's frame
		if w.shim() {
			w.ethernet(off + 2)
		}
	case etherTEB:
		if w.shim() {
			w.ethernet(off)
		}
	default:
		if t < etherMin {
			w.ether = 0
			w.llc(off)
			return
		}
		w.stop(WhyNotIP)
	}
}

// llc reads an IEEE 802.2 header: IP in SNAP (RFC 1042), or IP with its own service access point.
func (w *walk) llc(off int) {
	if !w.need(off, 3) {
		return
	}
	switch dsap, ssap, control := w.b[off], w.b[off+1], w.b[off+2]; {
	case dsap == 0xaa && ssap == 0xaa && control == 0x03:
		w.snap(off + 3)
	case dsap == 0x06 && ssap == 0x06 && control == 0x03:
		w.ip(off + 3)
	default:
		w.stop(WhyNotIP)
	}
}

// snap reads an organisation code and the type that it defines: EtherTypes under 00-00-00, bridged frames under 00-80-c2
// (RFC 2427).
func (w *walk) snap(off int) {
	if !w.need(off, 5) {
		return
	}
	oui := uint32(w.b[off])<<16 | uint32(be16(w.b[off+1:]))
	t := be16(w.b[off+3:])
	switch {
	case oui == 0 && t >= etherMin:
		if w.shim() {
			w.etherType(off+5, t)
		}
	case oui == 0x0080c2 && (t == 0x0001 || t == 0x0007):
		if w.shim() {
			w.ethernet(off + 5)
		}
	default:
		w.stop(WhyNotIP)
	}
}

// mpls follows a label stack (RFC 3032). It does not say what it carries: the first nibble tells IPv4 and IPv6, 0 is the
// control word of a pseudowire (RFC 4385), and an Ethernet pseudowire without one is known by the type of its frame.
func (w *walk) mpls(off int) {
	for bottom := false; !bottom; off += 4 {
		if !w.shim() || !w.need(off, 4) {
			return
		}
		bottom = w.b[off+2]&1 != 0
	}
	if !w.need(off, 1) {
		return
	}
	switch nibble := w.b[off] >> 4; {
	case nibble == 4 && w.b[off]&15 >= 5:
		w.ip(off)
	case nibble == 6 && !w.looksEthernet(off):
		w.ip(off)
	case nibble == 0 && w.looksEthernet(off+4):
		w.ethernet(off + 4)
	case w.looksEthernet(off):
		w.ethernet(off)
	case nibble == 6:
		w.ip(off)
	default:
		w.stop(WhyNotIP)
	}
}

// looksEthernet reports whether the bytes at off may well be an Ethernet header: a type that weir reads, and for IP the
// version that belongs to it.
func (w *walk) looksEthernet(off int) bool {
	if off+15 > len(w.b) {
		return false
	}
	switch be16(w.b[off+12:]) {
	case etherIPv4:
		return w.b[off+14]>>4 == 4
	case etherIPv6:
		return w.b[off+14]>>4 == 6
	case etherARP, etherVLAN, etherQinQ, etherMPLS, etherPPPoE:
		return true
	}
	return false
}

// sll reads Linux cooked mode (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html).
func (w *walk) sll() {
	if w.need(0, 16) {
		w.cooked(16, be16(w.b[2:]), be16(w.b[14:]))
	}
}

// sll2 reads the second version (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html).
func (w *walk) sll2() {
	if w.need(0, 20) {
		w.cooked(20, be16(w.b[8:]), be16(w.b[0:]))
	}
}

// Device types of Linux (include/uapi/linux/if_arp.h) whose protocol field is no EtherType.
const (
	arphrdNetlink  = 824
	arphrd80211    = 801
	arphrdPrism    = 802
	arphrdRadiotap = 803
)

func (w *walk) cooked(off int, device, proto uint16) {
	switch device {
	case arphrdNetlink:
		w.stop(WhyNotIP)
	case arphrd80211:
		w.ieee80211(off, false)
	case arphrdPrism:
		w.prism(off)
	case arphrdRadiotap:
		w.radiotap(off)
	default:
		if proto == 0x0004 { // ETH_P_802_2
			w.llc(off)
			return
		}
		if proto < etherMin {
			w.stop(WhyNotIP)
			return
		}
		w.etherType(off, proto)
	}
}

// loopback reads the address family of BSD's loopback, in network order (LOOP) or that of the capturing host (NULL): the
// numbers are small, so the order shows. IPv6 has another number in each system. Some drivers of serial lines wrote their
// own headers under NULL.
func (w *walk) loopback() {
	if !w.need(0, 4) {
		return
	}
	if start := be16(w.b); start == 0x0f00 || start == 0x8f00 || start == 0xff03 {
		w.hdlc()
		return
	}
	family := be32(w.b)
	if family > 0xffff {
		family = family>>24 | family>>8&0xff00
	}
	switch family {
	case 2:
		w.ipv4(4)
	case 10, 23, 24, 28, 30:
		w.ipv6(4)
	default:
		w.stop(WhyNotIP)
	}
}

// nflog walks the attributes of Linux netfilter log messages (https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html) to the
// payload. Lengths and types are in the order of the capturing host: types stay below 256, so the order shows.
func (w *walk) nflog() {
	const payload = 9 // NFULA_PAYLOAD
	if !w.need(0, 4) {
		return
	}
	for off, n := 4, 0; w.need(off, 4); n++ {
		if n == maxAttributes {
			w.stop(WhyDepth)
			return
		}
		size, kind := int(be16(w.b[off:])), be16(w.b[off+2:])
		if kind&0xff == 0 || w.b[off+3] == 0 {
			size, kind = size>>8|size&0xff<<8, kind>>8|kind<<8
		}
		if size < 4 {
			w.stop(WhyLength)
			return
		}
		if kind&0x7fff == payload {
			w.ip(off + 4)
			return
		}
		off += (size + 3) &^ 3
	}
}

// fddi reads a frame control byte and two addresses; LLC follows.
func (w *walk) fddi() {
	if !w.need(0, 13) {
		return
	}
	if w.b[0]&0xf0 != 0x50 { // asynchronous LLC frames only (ISO 9314-2)
		w.stop(WhyNotIP)
		return
	}
	w.llc(13)
}
