package conn

import (
	"unsafe"

	"weir/decode"
)

// IP protocol numbers (IANA).
const (
	protoICMP  = 1
	protoTCP   = 6
	protoUDP   = 17
	protoICMP6 = 58
	protoSCTP  = 132
	protoLite  = 136 // UDP-Lite
)

// batch is how many packets one round of early loads covers: more would push the first ones out of L1 again.
const batch = 64

// Process updates the tables with pkts[idx[i]] in order and sets ev[i]. All packets belong to shards that the caller
// owns. Results of a shard depend on its packets and Expire calls alone, never on how packets were cut into batches.
// It allocates only where out.Contacts must grow. len(ev) is at least len(idx).
func (t *Tables) Process(pkts []decode.Packet, idx []uint16, ev []Event, out *Out) {
	for len(idx) > 0 {
		n := min(len(idx), batch)
		t.process(pkts, idx[:n], ev[:n], out)
		idx, ev = idx[n:], ev[n:]
	}
}

// process works in stages, so that the cache misses of many packets overlap: prefetch the index slots, then the connections
// or the sets of the half-open cache, then what these point to; then update one after the other. Nothing that the early
// stages found is believed: a packet of the batch may have changed it.
func (t *Tables) process(pkts []decode.Packet, idx []uint16, ev []Event, out *Out) {
	var (
		slots [batch]*uint64
		found [batch]*conn
		l     lines
	)
	for i, k := range idx {
		p := &pkts[k]
		s := &t.shards[p.Shard%decode.Shards]
		slots[i] = &s.index[p.Hash>>s.shift]
		l.addr[i] = uintptr(unsafe.Pointer(slots[i]))
	}
	prefetch(&l.addr[0], len(idx))
	for i, k := range idx {
		p := &pkts[k]
		s := &t.shards[p.Shard%decode.Shards]
		if v := *slots[i]; v != 0 && (v^p.Hash)>>24 == 0 {
			found[i] = s.conns.at(int(v&slotMask - 1))
			l.add(unsafe.Pointer(found[i]), 2)
		} else {
			l.add(unsafe.Pointer(&s.sets[p.Hash&uint64(len(s.sets)-1)]), 0)
		}
	}
	l.load()
	for i, k := range idx {
		p := &pkts[k]
		s := &t.shards[p.Shard%decode.Shards]
		if c := found[i]; c == nil {
			l.add(unsafe.Pointer(&s.halves[s.place(p.Hash)]), 1)
		} else if n := c.more & slotMask; n != 0 && p.PayloadLen > 0 {
			l.add(unsafe.Pointer(&s.extras.at(int(n - 1)).side[c.sender(p.Reverse)]), 0)
		}
	}
	l.load()
	for i, k := range idx {
		p := &pkts[k]
		ev[i] = t.shards[p.Shard%decode.Shards].packet(p, out)
		if ev[i]&(EvOpening|EvProven) != 0 && out.Opening != nil {
			out.Opening(p, ev[i])
		}
	}
}

// packet updates the shard with one packet.
func (s *shard) packet(p *decode.Packet, out *Out) Event {
	if p.Time > s.now {
		s.now = p.Time
	} else if p.Time < s.now {
		s.stats.TimeBack++
	}
	switch {
	case p.Kind == decode.KindNone:
		return EvUntracked
	case p.Kind == decode.KindARP:
		return s.arp(p, out)
	case p.FragOff != 0:
		return s.laterFragment(p, out)
	case p.End-p.L4 < headerSize(p.Key.Proto):
		return s.headless(p)
	}
	var ev Event
	if p.Frag {
		ev = EvFragment | s.firstFragment(p)
	}
	if p.HasQuote {
		ev |= s.refusal(p, out)
	}
	return ev | s.flow(p, out)
}

// headless counts a packet whose transport header is not there: a first fragment that leaves it out on purpose (RFC 1858),
// whose rest may come with the second.
func (s *shard) headless(p *decode.Packet) Event {
	if !p.Frag {
		return EvUntracked
	}
	ev := EvUntracked | EvFragment
	if !p.Cut {
		s.stats.FragTiny++
		ev |= s.firstFragment(p)
	}
	return ev
}

// headerSize is how much of a transport header has to be captured for its packet to count: TCP options are not needed.
func headerSize(proto uint8) uint32 {
	switch proto {
	case protoTCP:
		return 20
	case protoUDP, protoLite, protoICMP, protoICMP6:
		return 8
	}
	return 0
}

// flow finds the connection of a packet, opens or reopens it, and updates it.
func (s *shard) flow(p *decode.Packet, out *Out) Event {
	if c := s.find(p.Hash, &p.Key); c != nil {
		why, over := s.over(c, p)
		if !over {
			return s.update(c, p, out)
		}
		asked := notAsked
		if why == CloseReuse {
			if asked = s.takeOver(&c.bits, c.first, p); asked != notAsked {
				s.waiting--
			}
		}
		s.end(c, why, out)
		return s.open(p, asked, out)
	}
	n := s.findHalf(p.Hash, &p.Key)
	if n < 0 {
		return s.open(p, notAsked, out)
	}
	h := &s.halves[n]
	switch {
	case s.halfExpired(n):
		s.endHalf(n, CloseIdle, out)
		return s.open(p, notAsked, out)
	case h.repeatedBy(p):
		s.sets[n/ways].last[n%ways] = s.now
		h.repeats = saturate16(h.repeats, 1)
		h.repeatBytes = saturate32(h.repeatBytes, p.IPLen)
		return EvRetrans | h.senderEvent() | outerEvent(p)
	case h.reopenedBy(p):
		asked := s.takeOver(&h.bits, h.asked, p)
		s.endHalf(n, CloseReuse, out)
		return s.open(p, asked, out)
	}
	c := s.promote(p.Hash, n, out)
	if why, over := s.over(c, p); over {
		s.end(c, why, out)
		return s.open(p, notAsked, out)
	}
	return s.update(c, p, out)
}

// over tells whether a packet finds its connection over: timed out, or about to start anew.
func (s *shard) over(c *conn, p *decode.Packet) (Close, bool) {
	if why, ok := s.expired(c); ok {
		return why, true
	}
	return CloseReuse, c.proto == protoTCP && p.Flags&flagSYN != 0 && c.reopenedBy(p)
}

// notAsked stands for no contact that a new attempt would take over.
const notAsked = int64(-1)

// takeOver keeps a contact that still waits from ending with its connection, because a new attempt of the same sender goes
// on waiting for it: else a source that retries every few seconds would never be found unanswered. It returns when the
// contact was opened.
func (s *shard) takeOver(b *truths, asked int64, p *decode.Packet) int64 {
	_, asks := probeOf(p)
	if *b&bitPending == 0 || !asks || p.Outer || p.Reverse != (*b&bitOrigB != 0) {
		return notAsked
	}
	*b &^= bitPending
	return asked
}

// open enters the first packet of a flow.
func (s *shard) open(p *decode.Packet, asked int64, out *Out) Event {
	s.stats.Opened++
	s.born++
	h := s.addHalf(p.Hash, out)
	h.a, h.b, h.portA, h.portB, h.disc, h.proto, h.ver = p.Key.A, p.Key.B, p.Key.PortA, p.Key.PortB, p.Key.Disc, p.Key.Proto, p.Key.Ver
	h.first, h.born = s.now, s.born
	h.vlan, h.tunnels, h.ttl = p.VLAN, p.Tunnels, p.TTL
	h.ipLen, h.payload, h.length = p.IPLen, p.PayloadLen, uint16(min(p.IPLen, 0xffff))
	if h.proto == protoTCP {
		h.seq, h.ack, h.flags, h.window, h.layout = p.Seq, p.Ack, p.Flags, p.Window, p.Opt.Layout
	}
	if p.Outer {
		h.bits |= bitOuter
	}
	if flipped(p) {
		h.sender = 1
	}
	if p.Reverse != (h.sender == 1) {
		h.bits |= bitOrigB
	}
	ev := EvNew | h.senderEvent() | outerEvent(p) | s.classify(h, p)
	if h.proto == protoUDP && p.PayloadLen > 0 && !p.Outer {
		h.looks = 1
		ev |= EvOpening
	}
	s.contact(h, p, asked, out)
	return ev
}

// classify tells what a first packet looks like.
func (s *shard) classify(h *half, p *decode.Packet) Event {
	var ev Event
	switch {
	case h.proto != protoTCP:
		if answerShaped(p) {
			ev = EvUnasked
		}
	case p.Flags&(flagSYN|flagACK) == flagSYN|flagACK:
		h.bits |= bitMidstream
		ev = EvUnasked
	case p.Flags&flagSYN != 0:
		ev = EvAttempt
	default:
		h.bits |= bitMidstream
		ev = EvStray
	}
	if h.proto == protoTCP && p.Window == 0 && p.Flags&flagRST == 0 {
		ev |= EvZeroWindow
	}
	if ev&EvUnasked != 0 {
		h.bits |= bitUnasked
	}
	return ev
}

func (h *half) senderEvent() Event {
	if h.sender == 0 {
		return EvOrig
	}
	return 0
}

func outerEvent(p *decode.Packet) Event {
	if p.Outer {
		return EvOuter
	}
	return 0
}

// repeatedBy tells whether a packet is the same SYN again, and the entry has room to count it.
func (h *half) repeatedBy(p *decode.Packet) bool {
	return h.proto == protoTCP && h.sender == 0 && h.repeats != 0xffff &&
		h.flags == p.Flags && p.Flags&(flagSYN|flagACK|flagRST|flagFIN) == flagSYN &&
		p.Seq == h.seq && p.Reverse == (h.bits&bitOrigB != 0)
}

// reopenedBy tells whether a packet is a SYN of the same sender with another ISN.
func (h *half) reopenedBy(p *decode.Packet) bool {
	return h.proto == protoTCP && h.sender == 0 && p.Flags&(flagSYN|flagACK) == flagSYN &&
		p.Seq != h.seq && p.Reverse == (h.bits&bitOrigB != 0)
}

// segment is what a packet says to its connection.
type segment struct {
	now      int64
	seq, ack uint32
	ipLen    uint32
	payload  uint32
	flags    uint16
	window   uint16
}

// update counts a packet of a known connection.
func (s *shard) update(c *conn, p *decode.Packet, out *Out) Event {
	seg := segment{now: s.now, ipLen: p.IPLen, payload: p.PayloadLen}
	if c.proto == protoTCP {
		seg.seq, seg.ack, seg.flags, seg.window = p.Seq, p.Ack, p.Flags, p.Window
	}
	quiet := s.now - c.last
	ev := c.apply(c.sender(p.Reverse), &seg, &s.timeouts)
	d := c.sender(p.Reverse) // the packet may have turned the roles round
	if c.bits&(bitPending|bitProven) != bitProven {
		ev |= s.progress(c, d, &seg, out)
	}
	if seg.payload > 0 {
		if quiet >= int64(BurstPause) && d == 0 && c.more&moreBegun != 0 && ev&EvRetrans == 0 {
			s.goOn(c, SessionBurst, out)
		}
		if seg.flags&flagRST == 0 && out.Record != nil {
			s.features(c, d, seg.payload, s.now)
		}
	}
	if seg.flags&(flagSYN|flagFIN|flagRST) != 0 || seg.payload > 0 && c.more&moreLooks != moreLooks {
		ev |= c.closer(d, p)
	}
	return ev | c.standing(d) | outerEvent(p)
}

// standing are the bits that follow from the connection's state.
func (c *conn) standing(d int) Event {
	var ev Event
	if d == 0 {
		ev = EvOrig
	}
	if c.bits&bitAnswered != 0 {
		ev |= EvAnswered
	}
	if c.bits&bitProven != 0 {
		ev |= EvEstablished
	}
	if c.bits&bitUnasked != 0 {
		ev |= EvUnasked
	}
	if c.proto == protoTCP && c.bits&(bitVisible|bitPayload) == bitPayload && c.side[0].packets+c.side[1].packets >= 4 {
		c.bits |= bitVisible
		ev |= EvVisible
	}
	return ev
}

// sender is the side that sent a packet: 0 the originator.
func (c *conn) sender(reverse bool) int {
	if reverse == (c.bits&bitOrigB != 0) {
		return 0
	}
	return 1
}

// apply counts a packet of side d and moves the connection's state.
func (c *conn) apply(d int, seg *segment, t *timeouts) Event {
	x := &c.side[d]
	if x.packets != 1<<32-1 {
		x.packets++
	}
	x.ipBytes += uint64(seg.ipLen)
	if seg.payload > 0 {
		c.bits |= bitPayload
	}
	if c.side[1-d].packets > 0 {
		c.bits |= bitAnswered
		c.bits &^= bitUnasked
	}
	switch c.proto {
	case protoTCP:
		return c.tcp(d, seg, t)
	case protoUDP, protoLite:
		c.once(d, seenData, 'D')
		x.addBytes(seg.payload)
	case protoICMP, protoICMP6:
		x.addBytes(seg.payload)
	}
	c.last = seg.now
	return 0
}

// addBytes and bytes keep the payload sum of a side without sequence numbers.
func (x *side) addBytes(n uint32) {
	sum := x.bytes() + uint64(n)
	x.start, x.last = uint32(sum), uint32(sum>>32)
}

func (x *side) bytes() uint64 { return uint64(x.last)<<32 | uint64(x.start) }

func saturate16(n uint16, by uint16) uint16 {
	if n > 0xffff-by {
		return 0xffff
	}
	return n + by
}
