package doctor

import (
	"hash/maphash"
	"math/bits"

	"weir/decode"
)

// Sample is what a few seconds of traffic showed, over all interfaces.
type Sample struct {
	Why     string // why there is none; "": there is one
	Seconds float64
	Workers int

	Packets, Bytes  uint64
	Kernel, Freezes uint64 // packets that the rings dropped, times that they stood still

	Connections int // TCP connections with payload
	OneWay      int // those of them with packets of one direction only
	Untold      int // packets of connections beyond the bound

	Told      uint64     // IPv4 packets with an identification: doubling can be told of them only
	Doubled   uint64     // those of them that came a second time
	Routed    uint64     // … with another TTL: seen before and after a router
	Across    uint64     // … over another interface
	Distances [64]uint64 // … by the logarithm to base 2 of the time between the two, ns

	Super, Largest  uint64 // IP packets above the interface's MTU; bytes of the largest
	Cut, CutHeaders uint64 // frames that snaplen cut; those of them where it took headers
	Tagged, Stacked uint64 // frames with VLAN tags; with two or more
	VLANs           int    // distinct outer VLAN ids
	Tunnelled       [tunnelKinds]uint64
	Unicast, Own    uint64 // Ethernet frames to one station; those of them to or from this host
	IP, ARP, Other  uint64
	Unreadable      [decode.WhyCount]uint64 // by reason, those above WhyEncrypted
	vlans           [4096 / 64]uint64
	connections     map[uint64]byte
}

const tunnelKinds = 11 // bits of decode.Tunnels

// Bounds of a worker's share of the sample.
const (
	maxConnections = 1 << 16
	recents        = 1 << 16 // packets that are remembered: 64 ms at 1 Mpps, 1.5 MiB
	doubledWithin  = 10e6    // ns: the two copies of a switch or router are microseconds apart, a few milliseconds at worst
)

// What is known of a connection.
const (
	seenForward = 1 << iota
	seenReverse
	seenPayload
)

// Counter counts one worker's share of a sample. Memory is bounded: 64 Ki connections and as many recent packets.
type Counter struct {
	Sample
	mtu    int
	own    map[[6]byte]bool
	seed   maphash.Seed
	recent []recent
}

// recent is a packet that came lately.
type recent struct {
	hash  uint64
	time  int64
	iface uint16
	ttl   uint8
}

// NewCounter returns a counter. A packet above mtu is a super-packet; own are this host's addresses.
func NewCounter(mtu int, own map[[6]byte]bool) *Counter {
	c := &Counter{mtu: mtu, own: own, seed: maphash.MakeSeed(), recent: make([]recent, recents)}
	c.connections = make(map[uint64]byte)
	return c
}

// Count takes one frame and what it decoded to.
func (c *Counter) Count(f *decode.Frame, p *decode.Packet) {
	c.Packets++
	c.Bytes += uint64(f.WireLen)
	c.link(f, p)
	if p.Cut {
		c.Cut++
	}
	if p.Why == decode.WhyCut {
		c.CutHeaders++
	} else if p.Why > decode.WhyEncrypted {
		c.Unreadable[p.Why]++
	}
	for t := p.Tunnels; t != 0; t &= t - 1 {
		c.Tunnelled[min(bits.TrailingZeros16(uint16(t)), tunnelKinds-1)]++
	}
	switch p.Kind {
	case decode.KindIPv4, decode.KindIPv6:
		c.IP++
		c.Largest = max(c.Largest, uint64(p.IPLen))
		if int(p.IPLen) > c.mtu {
			c.Super++
		}
		c.connection(p)
		c.double(f, p)
	case decode.KindARP:
		c.ARP++
	default:
		c.Other++
	}
}

// link counts what the outermost Ethernet header tells.
func (c *Counter) link(f *decode.Frame, p *decode.Packet) {
	if p.VLANs > 0 {
		c.Tagged++
		id := p.VLAN[0] & 0xfff
		c.vlans[id/64] |= 1 << (id % 64)
		if p.VLANs > 1 {
			c.Stacked++
		}
	}
	if f.Link != decode.LinkEthernet || len(f.Data) < 14 || f.Data[0]&1 != 0 {
		return
	}
	c.Unicast++
	if c.own[[6]byte(f.Data)] || c.own[[6]byte(f.Data[6:12])] {
		c.Own++
	}
}

// connection notes the direction of a TCP packet.
func (c *Counter) connection(p *decode.Packet) {
	if !p.HasTCP() {
		return
	}
	was, known := c.connections[p.Hash]
	if !known && len(c.connections) >= maxConnections {
		c.Untold++
		return
	}
	is := was | seenForward
	if p.Reverse {
		is = was | seenReverse
	}
	if p.PayloadLen > 0 {
		is |= seenPayload
	}
	if is != was {
		c.connections[p.Hash] = is
	}
}

// double tells whether the same packet came a moment ago. A retransmission is another packet: it has an identification of
// its own (RFC 6864 allows others for packets that are not fragmented, so those with 0 do not count).
func (c *Counter) double(f *decode.Frame, p *decode.Packet) {
	if p.Kind != decode.KindIPv4 || p.IPID == 0 || int(p.L3)+20 > len(p.Data) || p.Why > decode.WhyEncrypted {
		return
	}
	c.Told++
	h := c.identity(p)
	r := &c.recent[h%recents]
	apart := f.Time - r.time
	if r.hash != h || apart > doubledWithin || apart < -doubledWithin {
		*r = recent{h, f.Time, f.Iface, p.TTL}
		return
	}
	c.Doubled++
	c.Distances[bits.Len64(uint64(max(apart, -apart)))]++
	if r.ttl != p.TTL {
		c.Routed++
	}
	if r.iface != f.Iface {
		c.Across++
	}
}

// identity hashes what a switch or router leaves alone: lengths, identification, fragment bits, protocol, addresses and the
// first 20 bytes of the transport header with its checksum, but not TTL and header checksum.
func (c *Counter) identity(p *decode.Packet) uint64 {
	var b [35]byte
	ip := p.Data[p.L3:]
	copy(b[0:6], ip[2:8])
	b[6] = ip[9]
	copy(b[7:15], ip[12:20])
	if end := min(int(p.End), len(p.Data)); p.FragOff == 0 && int(p.L4) <= end {
		copy(b[15:], p.Data[p.L4:min(end, int(p.L4)+20)])
	}
	return maphash.Bytes(c.seed, b[:])
}

// Merge adds another worker's share. Neither may be counted into afterwards.
func (s *Sample) Merge(o *Sample) {
	s.Packets += o.Packets
	s.Bytes += o.Bytes
	s.Kernel += o.Kernel
	s.Freezes += o.Freezes
	s.Untold += o.Untold
	s.Told += o.Told
	s.Doubled += o.Doubled
	s.Routed += o.Routed
	s.Across += o.Across
	s.Super += o.Super
	s.Largest = max(s.Largest, o.Largest)
	s.Cut += o.Cut
	s.CutHeaders += o.CutHeaders
	s.Tagged += o.Tagged
	s.Stacked += o.Stacked
	s.Unicast += o.Unicast
	s.Own += o.Own
	s.IP += o.IP
	s.ARP += o.ARP
	s.Other += o.Other
	add := func(to, from []uint64) {
		for i := range to {
			to[i] += from[i]
		}
	}
	add(s.Distances[:], o.Distances[:])
	add(s.Tunnelled[:], o.Tunnelled[:])
	add(s.Unreadable[:], o.Unreadable[:])
	for i := range s.vlans {
		s.vlans[i] |= o.vlans[i]
	}
	if s.connections == nil {
		s.connections = make(map[uint64]byte, len(o.connections))
	}
	for k, v := range o.connections { // a connection whose fragments or directions went to two workers is one
		s.connections[k] |= v
	}
}

// Close works out what is known at the end only.
func (s *Sample) Close() {
	s.VLANs = 0
	for _, w := range s.vlans {
		s.VLANs += bits.OnesCount64(w)
	}
	s.Connections, s.OneWay = 0, 0
	for _, v := range s.connections {
		if v&seenPayload == 0 {
			continue
		}
		s.Connections++
		if v&(seenForward|seenReverse) != seenForward|seenReverse {
			s.OneWay++
		}
	}
}

// distance is the median time between the two copies of doubled packets, ns, to a factor of two.
func (s *Sample) distance() int64 {
	var sum uint64
	for i, n := range s.Distances {
		if sum += n; 2*sum >= s.Doubled && sum > 0 {
			return 1 << i
		}
	}
	return 0
}
