package rehearsal

import (
	"encoding/binary"
	"time"
)

// lan is what hosts say to their own network: ARP, neighbour discovery, DHCP, the router's advertisements, names.
func (g *generator) lan(all []*host) {
	for _, h := range all {
		g.every(4*time.Minute, 40*time.Second, func(now int64) { g.neighbour(now, h) })
	}
	for _, h := range g.workstations {
		g.every(4*time.Hour, 10*time.Minute, func(now int64) { g.lease(now, h, false) })
		g.habit(office, 12*time.Hour, func(now int64) { g.lease(now, h, true) }) // switched on
		switch h.system {
		case macos:
			g.habit(office, 20*time.Minute, func(now int64) { g.announce(now, h) })
		case windows:
			g.habit(office, 15*time.Minute, func(now int64) { g.discover(now, h) })
		}
	}
	g.every(5*time.Minute, 3*time.Minute, g.advertise)
}

// group is a host that stands for many: a multicast or broadcast address.
func group(ip4 [4]byte, mac [6]byte) *host { return &host{ip4: ip4, mac: mac, system: linux} }

var everybody = group([4]byte{255, 255, 255, 255}, broadcast)

// neighbour asks for the link address of the router or of a server.
func (g *generator) neighbour(now int64, h *host) {
	to := g.gateway
	if g.r.IntN(2) == 0 {
		to = pick(g.r, g.servers)
	}
	if to == h {
		return
	}
	answered := now + 100_000 + g.r.Int64N(300_000)
	if h.dual() && to.dual() {
		g.solicit(now, h, to)
		g.at(answered, func(now int64) { g.icmp6(now, to, h, 136, to.ip6[:], append([]byte{2, 1}, to.mac[:]...)) })
		return
	}
	g.out.arp(now, 1, h, to)
	g.at(answered, func(now int64) { g.out.arp(now, 2, to, h) })
}

// solicit asks the group of a host for its link address (RFC 4861, section 4.3).
func (g *generator) solicit(now int64, h, to *host) {
	last := to.ip6[13:16]
	all := group([4]byte{}, [6]byte{0x33, 0x33, 0xff, last[0], last[1], last[2]})
	copy(all.ip6[:], []byte{0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, last[0], last[1], last[2]})
	g.icmp6(now, h, all, 135, to.ip6[:], append([]byte{1, 1}, h.mac[:]...))
}

// icmp6 is a message of neighbour discovery, which has a hop limit of 255.
func (g *generator) icmp6(now int64, from, to *host, kind byte, body, option []byte) {
	b := append(g.header[:0], kind, 0, 0, 0)
	flags := []byte{0, 0, 0, 0}
	switch kind {
	case 134: // advertisement: hop limit 64, lifetime 30 min
		flags = []byte{64, 0, 7, 8}
	case 136: // solicited, override
		flags[0] = 0x60
	}
	b = append(b, flags...)
	data := append(append([]byte(nil), body...), option...)
	g.out.send(&datagram{at: now, from: near(from), to: to, v6: true, proto: 58, l4: b, sum: 2, data: data, size: len(data)})
}

// near is a host that shows by a TTL of 255 that it is on the link.
func near(h *host) *host {
	n, s := *h, *h.system
	s.ttl = 255
	n.system, n.hops = &s, 0
	return &n
}

// advertise is the router's advertisement of fd00:20::/64.
func (g *generator) advertise(now int64) {
	from := *g.gateway
	copy(from.ip6[:], []byte{0xfe, 0x80})
	from.ip6[15] = 1
	all := group([4]byte{}, [6]byte{0x33, 0x33, 0, 0, 0, 1})
	copy(all.ip6[:], []byte{0xff, 2})
	all.ip6[15] = 1
	prefix := []byte{3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0, 0xfd, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	body := make([]byte, 8) // reachable time, retransmission timer: not said
	g.icmp6(now, &from, all, 134, body, append(append([]byte{1, 1}, routerMAC[:]...), prefix...))
}

// lease is DHCP (RFC 2131): a host that was switched on asks everybody, the others renew with their server.
func (g *generator) lease(now int64, h *host, fresh bool) {
	server, client, to := g.directory1, h, g.directory1
	transaction := g.r.Uint32()
	if fresh {
		nobody := *h
		nobody.ip4 = [4]byte{}
		client, to = &nobody, everybody
	}
	say := func(at int64, from, to *host, sport, dport uint16, kind byte) {
		x := &exchange{g: g, from: from, to: to, sport: sport, dport: dport, now: at}
		x.list = []message{{at, 0, 300, dhcp(transaction, h, server, kind, fresh)}}
		x.end()
	}
	const discover, offer, request, ack = 1, 2, 3, 5
	if fresh {
		say(now, client, everybody, 68, 67, discover)
		say(now+1e6, server, h, 67, 68, offer)
		now += 4e6
	}
	say(now, client, to, 68, 67, request)
	say(now+1e6, server, h, 67, 68, ack)
}

// dhcp is a message of 300 bytes.
func dhcp(transaction uint32, h, server *host, kind byte, fresh bool) []byte {
	reply := kind == 2 || kind == 5
	b := make([]byte, 236, 300)
	b[0], b[1], b[2] = 1, 1, 6
	if reply {
		b[0] = 2
		copy(b[16:], h.ip4[:])
		copy(b[20:], server.ip4[:])
	} else if !fresh {
		copy(b[12:], h.ip4[:])
	}
	binary.BigEndian.PutUint32(b[4:], transaction)
	copy(b[28:], h.mac[:])
	b = append(b, 0x63, 0x82, 0x53, 0x63, 53, 1, kind)
	if reply {
		b = append(append(b, 54, 4), server.ip4[:]...)
		b = append(b, 51, 4, 0, 0, 0x70, 0x80, 3, 4, 10, 20, 1, 1)
	}
	b = append(b, 255)
	return b[:300]
}

// announce is multicast DNS.
func (g *generator) announce(now int64, h *host) {
	x := g.udp(now, near(h), group([4]byte{224, 0, 0, 251}, [6]byte{1, 0, 0x5e, 0, 0, 0xfb}), 5353)
	x.sport = 5353
	x.ask(question(0, "_airplay._tcp.local", typePTR), 0)
	x.end()
}

// discover is SSDP's search, and NetBIOS' question for a name.
func (g *generator) discover(now int64, h *host) {
	x := g.udp(now, h, group([4]byte{239, 255, 255, 250}, [6]byte{1, 0, 0x5e, 0x7f, 0xff, 0xfa}), 1900)
	for range 3 {
		x.ask([]byte("M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: urn:dial-multiscreen-org:service:dial:1\r\n\r\n"), 0)
		x.now += int64(time.Second)
	}
	x.end()
	n := g.udp(now, h, group([4]byte{10, 20, 255, 255}, broadcast), 137)
	n.sport = 137
	n.ask(append([]byte{byte(g.r.Uint32()), 1, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 0, 32}, "FHFAEBEECACACACACACACACACACACAAA\x00\x00\x20\x00\x01"...), 0)
	n.end()
}
