package conn

import (
	"unsafe"

	"weir/decode"
)

// Every flow starts here: a SYN without an answer, a first datagram, a stray packet. An entry keeps what its first packet
// said, and the flow moves to the table with its second packet (a repeated SYN excepted). Floods of single packets thus
// overwrite each other and never reach the table.

// ways is the associativity of the cache.
const ways = 4

// set is one cache line: what a lookup in four entries needs.
type set struct {
	tag  [ways]uint64 // hash|1; 0 empty
	last [ways]int64  // of the last packet; 0 while empty
}

// half is a flow of which one packet was seen, or several equal SYNs: two cache lines, the first being all that
// overwriting it has to read.
type half struct {
	a, b         decode.Addr
	portA, portB uint16
	disc         uint32
	asked        int64 // when the contact was opened: before first if the attempt took over another's
	layout       uint32
	window       uint16
	length       uint16
	proto, ver   uint8
	bits         truths // bitOrigB, bitPending, bitUnasked, bitOuter, bitMidstream
	sender       uint8  // side of the packet
	probe        Probe
	marks        Marks
	ttl          uint8

	first       int64
	seq, ack    uint32
	ipLen       uint32
	payload     uint32
	vlan        [2]uint16
	tunnels     decode.Tunnels
	flags       uint16
	repeats     uint16 // of the same SYN, and fragments of the packet
	repeatBytes uint32 // IP bytes of those
	born        uint32
	looks       uint8 // as in conn.more
	app         App
	_           [18]byte
}

func (h *half) is(k *decode.Key) bool {
	return h.a == k.A && h.b == k.B && h.portA == k.PortA && h.portB == k.PortB &&
		h.disc == k.Disc && h.proto == k.Proto && h.ver == k.Ver
}

// findHalf returns the index of a key's entry, or -1.
func (s *shard) findHalf(hash uint64, k *decode.Key) int {
	at := int(hash & uint64(len(s.sets)-1))
	for w := range ways {
		if n := at*ways + w; s.sets[at].tag[w] == hash|1 && s.halves[n].is(k) {
			return n
		}
	}
	return -1
}

// place is where an entry of a hash stands or would be put: at its tag, or over the one of its set that was idle longest,
// free ones first. Without a branch that depends on times: a flood makes those unpredictable.
func (s *shard) place(hash uint64) int {
	at := int(hash & uint64(len(s.sets)-1))
	line := &s.sets[at]
	low, high := 0, 2
	lowLast, highLast := line.last[0], line.last[2]
	if line.last[1] < lowLast {
		low, lowLast = 1, line.last[1]
	}
	if line.last[3] < highLast {
		high, highLast = 3, line.last[3]
	}
	if highLast < lowLast {
		low = high
	}
	for w := range ways {
		if line.tag[w] == hash|1 {
			low = w
		}
	}
	return at*ways + low
}

// addHalf makes room for an entry, which may overwrite another.
func (s *shard) addHalf(hash uint64, out *Out) *half {
	n := s.place(hash)
	line, way := &s.sets[n/ways], n%ways
	if line.tag[way] != 0 {
		s.stats.Overwritten++
		s.endHalf(n, CloseEvicted, out)
	}
	line.tag[way], line.last[way] = hash|1, s.now
	s.stats.LiveHalfOpen++
	h := &s.halves[n]
	*h = half{}
	return h
}

// dropHalf frees an entry without a record: it moved to the table.
func (s *shard) dropHalf(n int) {
	s.sets[n/ways].tag[n%ways], s.sets[n/ways].last[n%ways] = 0, 0
	s.stats.LiveHalfOpen--
}

// endHalf takes an entry out: a contact that still waits ends with it, and the record goes out.
func (s *shard) endHalf(n int, why Close, out *Out) {
	h := &s.halves[n]
	if h.bits&bitPending != 0 {
		h.bits &^= bitPending
		s.emit(h, s.unanswered(h.asked), out)
	}
	if out.Record != nil && h.ver != 0 {
		var c conn
		c.fill(h, s.sets[n/ways].tag[n%ways])
		c.replay(h, s.timeouts)
		c.last = s.sets[n/ways].last[n%ways]
		s.record(&c, why, out)
	}
	s.stats.Ended++
	s.dropHalf(n)
}

// halfExpired tells whether an entry is over. A SYN lives from its first packet on, repeats or not.
func (s *shard) halfExpired(n int) bool {
	h, last := &s.halves[n], s.sets[n/ways].last[n%ways]
	switch {
	case h.proto == protoTCP && h.ver != 0:
		if h.sender == 0 && h.flags&(flagSYN|flagFIN|flagRST) == flagSYN {
			return s.now-h.first >= s.timeouts.attempt
		}
		if h.flags&(flagFIN|flagRST) != 0 {
			return s.now-h.first >= s.timeouts.close
		}
		return s.now-last >= s.timeouts.idle
	case h.proto == protoICMP || h.proto == protoICMP6:
		return s.now-last >= s.timeouts.icmp
	}
	return s.idleUDP(s.now-last, &h.first, h.proto == protoUDP && (dnsPort(h.portA) || dnsPort(h.portB)))
}

// promote moves an entry to the table, as if its first packet had been counted there.
func (s *shard) promote(hash uint64, n int, out *Out) *conn {
	h := s.halves[n]
	s.dropHalf(n)
	s.stats.Promoted++
	c := s.add(hash, out)
	c.fill(&h, hash)
	c.replay(&h, s.timeouts)
	if c.bits&bitPending != 0 {
		s.waiting++
	}
	if h.payload > 0 && out.Record != nil {
		s.features(c, int(h.sender), h.payload, h.first)
	}
	return c
}

// fill names the connection and copies what the first packet said about it.
func (c *conn) fill(h *half, hash uint64) {
	c.a, c.b, c.portA, c.portB, c.disc, c.proto, c.ver = h.a, h.b, h.portA, h.portB, h.disc, h.proto, h.ver
	c.hash, c.bits = hash, h.bits|bitLive
	c.first, c.last, c.born = h.first, h.first, h.born
	c.vlan, c.tunnels, c.length, c.layout = h.vlan, h.tunnels, h.length, h.layout
	c.window, c.ttl, c.probe, c.marks = h.window, h.ttl, h.probe, h.marks
	c.hops[h.sender], c.more, c.app = h.ttl, uint32(h.looks)<<looksAt, h.app
}

// replay counts the first packet and its repeats.
func (c *conn) replay(h *half, t timeouts) {
	if h.sender == 1 && c.proto != protoICMP && c.proto != protoICMP6 {
		c.note('^')
	}
	c.apply(int(h.sender), &segment{
		now: h.first, seq: h.seq, ack: h.ack, ipLen: h.ipLen, payload: h.payload,
		flags: h.flags, window: h.window,
	}, &t)
	x := &c.side[h.sender]
	x.packets += uint32(h.repeats)
	x.ipBytes += uint64(h.repeatBytes)
}

// slot is the connection's number in the slab.
func (s *shard) slot(c *conn) uint32 {
	return uint32((uintptr(unsafe.Pointer(c)) - uintptr(unsafe.Pointer(s.conns.at(0)))) / unsafe.Sizeof(*c) / decode.Shards)
}
