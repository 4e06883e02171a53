package rehearsal

import (
	"encoding/binary"
	"net/netip"
)

// mapping says which addresses take the place of those of a capture. Headers are rewritten with their checksums, brought up to date
// by what changed (RFC 1624), so that a checksum that was wrong stays wrong. Payload is left alone.
type mapping struct {
	exact map[netip.Addr]netip.Addr
	nets  []swap
	macs  map[[6]byte][6]byte // of hosts that ARP told of
	owner map[netip.Addr][6]byte
}

// swap puts one network in the place of another of the same length.
type swap struct{ from, to netip.Prefix }

func newMapping() *mapping {
	return &mapping{exact: map[netip.Addr]netip.Addr{}, macs: map[[6]byte][6]byte{}, owner: map[netip.Addr][6]byte{}}
}

// addr is what takes the place of an address; it may be itself.
func (m *mapping) addr(a netip.Addr) netip.Addr {
	if to, ok := m.exact[a]; ok {
		return to
	}
	for _, s := range m.nets {
		if s.from.Contains(a) {
			b, base := a.AsSlice(), s.to.Addr().AsSlice()
			copy(b[:s.to.Bits()/8], base)
			to, _ := netip.AddrFromSlice(b)
			return to
		}
	}
	return a
}

// frame rewrites an Ethernet frame in place. It is false for frames of the lab's own line between its routers, which no site has.
func (m *mapping) frame(b []byte) bool {
	if len(b) < ethernetHeader {
		return false
	}
	kind, at := binary.BigEndian.Uint16(b[12:]), ethernetHeader
	for kind == 0x8100 && len(b) >= at+4 {
		kind = binary.BigEndian.Uint16(b[at+2:])
		at += 4
	}
	p := b[at:]
	switch {
	case kind == etherARP && len(p) >= 28:
		return m.arp(b, p)
	case kind == etherIPv4 && len(p) >= 20:
		src, dst := netip.AddrFrom4([4]byte(p[12:])), netip.AddrFrom4([4]byte(p[16:]))
		if labLine.Contains(src) || labLine.Contains(dst) {
			return false
		}
		m.ipv4(p)
		m.link(b[6:12], src)
		m.link(b[0:6], dst)
	case kind == etherIPv6 && len(p) >= 40:
		src, dst := netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:]))
		m.ipv6(p)
		m.link(b[6:12], src)
		m.link(b[0:6], dst)
	}
	return true
}

// labLine is between the routers of pcaps/lab.sh.
var labLine = netip.MustParsePrefix("192.0.2.0/30")

// link rewrites the link address of a host: its own inside, the router's for the outside. Addresses of groups stay, and those of
// hosts without an address.
func (m *mapping) link(mac []byte, old netip.Addr) {
	now := m.addr(old)
	switch {
	case mac[0]&1 != 0 || now.IsMulticast() || now.IsUnspecified() || now.IsLinkLocalUnicast() || now == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
	case m.macs[[6]byte(mac)] != [6]byte{}:
		to := m.macs[[6]byte(mac)]
		copy(mac, to[:])
	default:
		to := linkOf(now)
		copy(mac, to[:])
	}
}

// linkOf is the link address at which the site reaches an address.
func linkOf(a netip.Addr) [6]byte {
	switch {
	case !Inside[0].Contains(a) && !Inside[1].Contains(a) || a == netip.AddrFrom4([4]byte{10, 20, 1, 1}):
		return routerMAC
	case a.Is6():
		b := a.As16()
		return macOf([4]byte{10, 20, b[13], b[15]})
	}
	return macOf(a.As4())
}

// arp rewrites ARP. The first link address that says it has an address becomes that of the host who has the new address; another
// that claims the same address stays what it is.
func (m *mapping) arp(frame, p []byte) bool {
	sender, target := netip.AddrFrom4([4]byte(p[14:])), netip.AddrFrom4([4]byte(p[24:]))
	if labLine.Contains(sender) || labLine.Contains(target) {
		return false
	}
	m.learn([6]byte(p[8:]), sender)
	for _, mac := range [][]byte{frame[6:12], frame[0:6], p[8:14], p[18:24]} {
		if to, ok := m.macs[[6]byte(mac)]; ok {
			copy(mac, to[:])
		}
	}
	s, t := m.addr(sender).As4(), m.addr(target).As4()
	copy(p[14:], s[:])
	copy(p[24:], t[:])
	return true
}

func (m *mapping) learn(mac [6]byte, a netip.Addr) {
	if _, known := m.macs[mac]; known || a.IsUnspecified() {
		return
	}
	if owner, taken := m.owner[a]; taken && owner != mac {
		m.macs[mac] = mac
		return
	}
	m.owner[a] = mac
	m.macs[mac] = linkOf(m.addr(a))
}

// ipv4 rewrites a packet, whole or cut, and what it carries.
func (m *mapping) ipv4(p []byte) {
	var old, now [8]byte
	copy(old[:], p[12:20])
	src, dst := m.addr(netip.AddrFrom4([4]byte(old[:4]))).As4(), m.addr(netip.AddrFrom4([4]byte(old[4:]))).As4()
	copy(now[:4], src[:])
	copy(now[4:], dst[:])
	copy(p[12:], now[:])
	adjust(p[10:12], old[:], now[:])
	head := int(p[0]&15) * 4
	first := binary.BigEndian.Uint16(p[6:])&0x1fff == 0
	if head < 20 || len(p) < head || !first {
		return
	}
	l4 := p[head:]
	if p[9] == protoTCP && len(l4) >= 14 { // masscan's mark, before the sequence number changes
		id, was := binary.BigEndian.Uint16(p[4:]), mark(old[4:], l4)
		marked := l4[13] == flagSYN && id == was
		m.transport(p[9], l4, old[:], now[:], true)
		if marked {
			before := [2]byte(p[4:])
			binary.BigEndian.PutUint16(p[4:], mark(now[4:], l4))
			adjust(p[10:12], before[:], p[4:6])
		}
		return
	}
	m.transport(p[9], l4, old[:], now[:], true)
}

// mark is the IP identification that masscan computes (masscan, templ-pkt.c: ip_dst ^ port_dst ^ seqno).
func mark(dst, tcp []byte) uint16 {
	v := binary.BigEndian.Uint32(dst) ^ uint32(binary.BigEndian.Uint16(tcp[2:])) ^ binary.BigEndian.Uint32(tcp[4:])
	return uint16(v)
}

// ipv6 rewrites a packet without extension headers and what it carries.
func (m *mapping) ipv6(p []byte) {
	var old, now [32]byte
	copy(old[:], p[8:40])
	src, dst := m.addr(netip.AddrFrom16([16]byte(old[:16]))).As16(), m.addr(netip.AddrFrom16([16]byte(old[16:]))).As16()
	copy(now[:16], src[:])
	copy(now[16:], dst[:])
	copy(p[8:], now[:])
	m.transport(p[6], p[40:], old[:], now[:], false)
}

// transport brings the checksum of what a packet carries up to date with its addresses, and rewrites what a tool computed of them:
// Mirai's first sequence number is the address it goes to.
func (m *mapping) transport(proto byte, l4, old, now []byte, v4 bool) {
	switch {
	case proto == protoTCP:
		if v4 && len(l4) >= 14 {
			before := [8]byte(l4[4:12])
			m.marks(l4, old, now)
			if len(l4) >= 18 {
				adjust(l4[16:18], before[:], l4[4:12])
			}
		}
		if len(l4) >= 18 {
			adjust(l4[16:18], old, now)
		}
	case proto == protoUDP && len(l4) >= 8 && (l4[6] != 0 || l4[7] != 0):
		adjust(l4[6:8], old, now)
	case proto == protoICMP && v4 && len(l4) >= 8+20 && isError(l4[0]):
		m.quote(l4, func(q []byte) { m.ipv4(q) })
	case proto == 58 && !v4 && len(l4) >= 4:
		adjust(l4[2:4], old, now)
		switch {
		case l4[0] < 128 && len(l4) >= 8+40:
			m.quote(l4, func(q []byte) { m.ipv6(q) })
		case (l4[0] == 135 || l4[0] == 136) && len(l4) >= 24: // neighbour discovery: the target
			before := [16]byte(l4[8:])
			to := m.addr(netip.AddrFrom16(before)).As16()
			copy(l4[8:], to[:])
			adjust(l4[2:4], before[:], to[:])
		}
	}
}

// marks rewrites sequence numbers that are the address a SYN goes to, and the answers' acknowledgements of them.
func (m *mapping) marks(tcp, old, now []byte) {
	const seq, ack = 4, 8
	if tcp[13] == flagSYN && [4]byte(tcp[seq:]) == [4]byte(old[4:]) {
		copy(tcp[seq:], now[4:])
	}
	if tcp[13]&flagACK != 0 && binary.BigEndian.Uint32(tcp[ack:]) == binary.BigEndian.Uint32(old)+1 {
		binary.BigEndian.PutUint32(tcp[ack:], binary.BigEndian.Uint32(now)+1)
	}
	if tcp[13] == flagRST && binary.BigEndian.Uint32(tcp[seq:]) == binary.BigEndian.Uint32(old[4:])+1 {
		binary.BigEndian.PutUint32(tcp[seq:], binary.BigEndian.Uint32(now[4:])+1)
	}
}

// isError tells ICMP messages that quote a packet.
func isError(kind byte) bool { return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12 }

// quote rewrites the packet that an ICMP error quotes.
func (m *mapping) quote(icmp []byte, rewrite func([]byte)) {
	before := append([]byte(nil), icmp[8:]...)
	rewrite(icmp[8:])
	adjust(icmp[2:4], before, icmp[8:])
}

// adjust updates a checksum for bytes that changed (RFC 1624, equation 3). They begin at an even offset of what it is over.
func adjust(check, old, now []byte) {
	s := uint32(^binary.BigEndian.Uint16(check)) + sum(now)
	for b := old; len(b) > 0; b = b[min(2, len(b)):] {
		w := uint32(b[0]) << 8
		if len(b) > 1 {
			w |= uint32(b[1])
		}
		s += w ^ 0xffff
	}
	binary.BigEndian.PutUint16(check, ^fold(s))
}
