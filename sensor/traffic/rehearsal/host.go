package rehearsal

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"
)

// system is how a TCP/IP stack looks from outside: the fields that differ between systems, as recordings of them show.
type system struct {
	name     string
	ttl      uint8
	window   uint16 // of a SYN
	synack   uint16 // of a SYN-ACK
	later    uint16 // of what follows, scaled
	scale    byte   // window scale; 0 with no ws in the layout
	layout   string // options of a SYN, in the letters of options
	ids      idKind
	browsers []int // clients of hello.go that run on it
	agents   []string
}

// idKind is how a system fills the IPv4 identification.
type idKind uint8

const (
	idFlow idKind = iota // from a random start, one up a packet of a connection; zero in a SYN-ACK
	idHost               // one up a packet of the host
	idZero
)

// Systems. Layouts: m MSS, s SACK permitted, t timestamps, n NOP, w window scale, e end.
var (
	linux   = &system{name: "linux", ttl: 64, window: 64240, synack: 65160, later: 501, scale: 7, layout: "mstnw", browsers: []int{firefox, chrome, openssl}, agents: linuxAgents}
	windows = &system{name: "windows", ttl: 128, window: 64240, synack: 65535, later: 1026, scale: 8, layout: "mnwnns", ids: idHost, browsers: []int{chrome, chrome, firefox, schannel}, agents: windowsAgents}
	macos   = &system{name: "macos", ttl: 64, window: 65535, synack: 65535, later: 2058, scale: 6, layout: "mnwnntse", ids: idZero, browsers: []int{safari, chrome}, agents: macAgents}
	phone   = &system{name: "android", ttl: 64, window: 65535, synack: 65535, later: 343, scale: 9, layout: "mstnw", browsers: []int{chrome}, agents: phoneAgents}
	device  = &system{name: "device", ttl: 64, window: 5840, synack: 5792, later: 5840, layout: "m", ids: idHost, browsers: []int{openssl}, agents: []string{"Printer/4.1"}}
	router  = &system{name: "router", ttl: 255, window: 4128, synack: 4128, later: 4128, layout: "m", ids: idHost, browsers: []int{openssl}, agents: []string{"-"}}
)

// host is an end of conversations.
type host struct {
	name   string
	ip4    [4]byte
	ip6    [16]byte // zero: none
	mac    [6]byte  // of the router, if the host is outside
	system *system
	hops   uint8 // routers between it and the sensor
	delay  int64 // ns, one way to the sensor
	id     uint16
	clock  uint32 // start of its timestamps, ms
	client int    // its TLS client
	agent  string // its User-Agent
	rate   int64  // bits per second of its line
}

func (h *host) dual() bool { return h.ip6 != [16]byte{} }

func (h *host) addr() netip.Addr { return netip.AddrFrom4(h.ip4) }

// addrs are all its addresses.
func (h *host) addrs() []netip.Addr {
	if !h.dual() {
		return []netip.Addr{h.addr()}
	}
	return []netip.Addr{h.addr(), netip.AddrFrom16(h.ip6)}
}

// macOf is the locally administered address of an inside host.
func macOf(ip [4]byte) [6]byte { return [6]byte{2, 20, ip[0], ip[1], ip[2], ip[3]} }

var routerMAC = [6]byte{2, 20, 0, 0, 0, 1}

// inside makes a host of the site: 10.20.net.n, and fd00:20::net:n if it speaks IPv6.
func inside(r *rand.Rand, name string, net, n byte, s *system, six bool) *host {
	h := newHost(r, name, s)
	h.ip4 = [4]byte{10, 20, net, n}
	h.mac = macOf(h.ip4)
	h.delay = int64(40_000 + r.IntN(200_000))
	h.rate = 900e6
	if six {
		copy(h.ip6[:], []byte{0xfd, 0, 0, 0x20})
		h.ip6[13], h.ip6[15] = net, n
	}
	return h
}

// outside makes a host of the internet behind the router.
func outside(r *rand.Rand, name string, ip [4]byte, s *system, six bool) *host {
	h := newHost(r, name, s)
	h.ip4, h.mac = ip, routerMAC
	h.hops = uint8(5 + r.IntN(14))
	h.delay = int64(time.Millisecond) * int64(4+r.IntN(12)+r.IntN(12)*r.IntN(12))
	h.rate = int64(20+r.IntN(180)) * 1e6
	if six {
		copy(h.ip6[:], []byte{0x20, 0x01, 0x0d, 0xb8, ip[0], ip[1]})
		h.ip6[6], h.ip6[15] = ip[2], ip[3]
	}
	return h
}

func newHost(r *rand.Rand, name string, s *system) *host {
	return &host{
		name: name, system: s, id: uint16(r.Uint32()), clock: r.Uint32(),
		client: s.browsers[r.IntN(len(s.browsers))], agent: s.agents[r.IntN(len(s.agents))],
	}
}

// publicBlocks are where addresses of the outside come from: /8 blocks that are assigned and hardly used on the internet (IANA IPv4
// Address Space Registry: US DoD), so that a made-up capture names no bystander and its sources are no martians.
var publicBlocks = [...]byte{6, 7, 11, 21, 22, 26, 28, 29, 30, 33, 55, 214, 215}

// publicAddr is a random address of the outside.
func publicAddr(r *rand.Rand) [4]byte {
	v := r.Uint32()
	return [4]byte{publicBlocks[r.IntN(len(publicBlocks))], byte(v), byte(v >> 8), byte(1 + v>>16%254)}
}

// options appends the TCP options of a SYN or SYN-ACK. A side that answers leaves out what the other did not offer.
func options(b []byte, s *system, mss uint16, other *system, answer bool, now, echo uint32) []byte {
	stamps := !answer || offers(other, 't')
	layout := s.layout
	if answer && offers(s, 't') && !stamps {
		layout = "mnnsnw"
	}
	for _, o := range layout {
		if answer && !offers(other, byte(o)) && o != 'n' && o != 'e' {
			o = 'n'
		}
		switch o {
		case 'm':
			b = append(b, 2, 4, byte(mss>>8), byte(mss))
		case 's':
			b = append(b, 4, 2)
		case 't':
			b = append(b, 8, 10)
			b = binary.BigEndian.AppendUint32(b, now)
			b = binary.BigEndian.AppendUint32(b, echo)
		case 'w':
			b = append(b, 3, 3, s.scale)
		case 'n':
			b = append(b, 1)
		case 'e':
			b = append(b, 0)
		}
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func offers(s *system, option byte) bool {
	for i := range len(s.layout) {
		if s.layout[i] == option {
			return true
		}
	}
	return false
}
