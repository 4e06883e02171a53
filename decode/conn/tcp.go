package conn

import "weir/decode"

// The endpoint states and their transitions are those of Zeek's TCP session adapter
// (src/packet_analysis/protocol/tcp/TCPSessionAdapter.cc), so that conn_state and history mean the same.

// endpoint is the state of one side of a TCP connection.
type endpoint uint8

const (
	inactive    endpoint = iota // sent nothing
	synSent                     // sent a SYN
	synAckSent                  // opened with a SYN-ACK
	partial                     // sent something, but no SYN
	established                 // handshake done on this side
	closed                      // sent a FIN
	reset                       // sent a RST
)

const (
	flagFIN = decode.FlagFIN
	flagSYN = decode.FlagSYN
	flagRST = decode.FlagRST
	flagACK = decode.FlagACK
)

// farSeq is the jump in sequence numbers beyond which a SYN or RST is not believed (Zeek's TOO_LARGE_SEQ_DELTA).
const farSeq = 1 << 20

func (x *side) enter(e endpoint) {
	if e != x.state {
		x.before, x.state = x.state, e
	}
}

// tcp moves the state of both sides by one segment of side d.
func (c *conn) tcp(d int, seg *segment, t *timeouts) Event {
	c.partialStatus(d, seg)
	x, y := &c.side[d], &c.side[1-d]
	end := seg.seq + seg.space()
	x.number(seg, end)
	underflow := x.wraps == 0 && int32(seg.seq-x.start) < 0
	ev := c.letters(d, seg)
	if seg.window == 0 && seg.flags&flagRST == 0 && y.state != closed && x.state != reset {
		ev |= EvZeroWindow
		c.scaled(d, 'W', &x.zero)
	}
	if c.bits&(bitShutOrig|bitShutResp) != bitShutOrig|bitShutResp {
		c.last = seg.now
	}
	x.flags |= seg.flags & flagMask
	if seg.flags&flagFIN != 0 {
		x.fin = end
	}
	believed := seg.flags&flagACK != 0 && y.acknowledge(seg)
	ev |= c.advance(d, seg, end)
	d, shut := c.transition(d, seg)
	x = &c.side[d]
	if believed {
		c.findGap(1-d, seg.ack)
	}
	if seg.payload > 0 && seg.flags&flagRST == 0 && !underflow {
		from := seg.seq
		if seg.flags&flagSYN != 0 {
			from++
		}
		x.saw(from, from+seg.payload)
	}
	if shut {
		ev |= c.shut(d, seg.now, t)
	}
	return ev
}

// space is the sequence space a segment takes. What a RST carries is not part of the stream.
func (seg *segment) space() uint32 {
	var n uint32
	if seg.flags&flagSYN != 0 {
		n++
	}
	if seg.flags&flagFIN != 0 {
		n++
	}
	if seg.flags&flagRST == 0 {
		n += seg.payload
	}
	return n
}

// partialStatus notes whether the connection was picked up without its opening. packets counts this one already.
func (c *conn) partialStatus(d int, seg *segment) {
	if c.side[d].packets > 1 {
		return
	}
	if d == 0 && seg.flags&(flagSYN|flagACK) != flagSYN || d == 1 && seg.flags&flagSYN == 0 {
		c.bits |= bitPartial
	}
}

// begin numbers a side as if its ISN were isn.
func (x *side) begin(isn, end uint32) {
	x.start, x.ack, x.last = isn, isn, end
	x.next, x.lo, x.hi, x.holes = isn+1, 0, 0, 0
	x.wraps, x.ackWraps = 0, 0
}

// number sets a side's numbering where a segment begins it or begins it anew.
func (x *side) number(seg *segment, end uint32) {
	syn := seg.flags&flagSYN != 0
	switch x.state {
	case inactive:
		if syn {
			x.begin(seg.seq, end)
		} else {
			x.begin(seg.seq-1, seg.seq)
		}
	case synSent, synAckSent:
		if syn && seg.seq != x.start {
			x.begin(seg.seq, end)
		}
	case established, partial:
		if syn {
			x.begin(seg.seq, end)
		}
	case reset:
		if syn && x.before == inactive { // the RST before it may have been forged
			x.begin(seg.seq, end)
		}
	}
}

// acknowledge takes an acknowledgement of what this side sent. It reports whether a gap may be concluded from it.
func (x *side) acknowledge(seg *segment) bool {
	if x.state == inactive && x.packets == 0 {
		x.begin(seg.ack-1, seg.ack-1)
		return false
	}
	if x.ackWraps == 0 && int32(seg.ack-x.start) < 0 {
		return false
	}
	delta := int32(seg.ack - x.ack)
	if seg.flags&flagRST == 0 && delta > 0 && !(seg.ack == 0 && delta > farSeq) {
		if seg.ack < x.ack {
			x.ackWraps++
		}
		x.ack = seg.ack
	}
	return true
}

// advance moves the end of what side d sent, and tells repeats and jumps.
func (c *conn) advance(d int, seg *segment, end uint32) Event {
	x := &c.side[d]
	var ev Event
	jump := int32(seg.seq - x.last)
	if seg.payload > 0 && jump > 0 {
		ev = EvGap
	}
	delta := int32(end - x.last)
	switch {
	case seg.flags&(flagSYN|flagRST) != 0 && (delta > farSeq || delta < -farSeq):
	case seg.flags&flagFIN != 0 && x.last == x.start+1:
		x.sent(end)
	case x.state == reset:
	case delta > 0:
		if jump < -1 && seg.payload > 0 { // by one byte: a window probe that was not taken (RFC 9293 section 3.8.6.1)
			ev |= EvResend
		}
		x.sent(end)
	case seg.payload > 0 && x.packets > 1:
		ev |= EvRetrans
		c.scaled(d, 'T', &x.retrans)
	}
	return ev
}

func (x *side) sent(end uint32) {
	if end < x.last {
		x.wraps++
	}
	x.last = end
}

// size is the payload a side sent by sequence numbers: what was sent or acknowledged, without SYN and FIN.
func (x *side) size(peer *side) uint64 {
	if x.before == synSent && x.state == reset && peer.state == inactive && x.ack-x.start > 1 {
		return 0 // a half-open connection was found and dropped: its numbers mislead
	}
	end := max(uint64(x.wraps)<<32|uint64(x.last), uint64(x.ackWraps)<<32|uint64(x.ack))
	if end <= uint64(x.start) {
		return 0
	}
	n := end - uint64(x.start) - 1
	if x.flags&flagFIN != 0 && n > 0 {
		n--
	}
	return n
}

// transition moves the endpoint states. It returns the sender's side, which changes if the roles turned out to be
// reversed, and whether the sender closed.
func (c *conn) transition(d int, seg *segment) (int, bool) {
	x, y := &c.side[d], &c.side[1-d]
	switch x.state {
	case inactive:
		return c.fromInactive(d, seg)
	case synSent, synAckSent:
		return d, x.leave(seg)
	case established, partial:
		if seg.flags&(flagSYN|flagACK) == flagSYN && x.state == partial && y.state == inactive {
			x.enter(synSent)
		}
		if seg.flags&(flagFIN|flagRST) == flagFIN && y.state == reset && y.before == closed {
			y.enter(closed) // FIN, then RST: a normal end after all
		}
		return d, x.leave(seg)
	case closed:
		if seg.flags&flagRST != 0 && y.state != closed {
			x.enter(reset)
			return d, true
		}
	}
	return d, false
}

// leave closes a side by its FIN or RST.
func (x *side) leave(seg *segment) bool {
	switch {
	case seg.flags&flagRST != 0:
		x.enter(reset)
	case seg.flags&flagFIN != 0:
		x.enter(closed)
	default:
		return false
	}
	return true
}

// fromInactive moves a side by the first segment it sent.
func (c *conn) fromInactive(d int, seg *segment) (int, bool) {
	x, y := &c.side[d], &c.side[1-d]
	if seg.flags&flagSYN != 0 {
		switch {
		case d == 0 && seg.flags&flagACK != 0:
			x.enter(synAckSent)
		case d == 0:
			x.enter(synSent)
		default:
			d = c.answerSYN(seg)
			x, y = &c.side[d], &c.side[1-d]
		}
	}
	if x.leave(seg) {
		return d, true
	}
	if x.state != inactive {
		return d, false
	}
	switch {
	case d == 1 && seg.payload == 0 && y.state == synSent:
		// some stacks acknowledge a SYN before they answer it
	case seg.flags&flagACK != 0 && y.state == established:
		x.enter(established) // the SYN was missed
		c.bits &^= bitPartial
	default:
		x.enter(partial)
	}
	return d, false
}

// answerSYN establishes a connection by the responder's first SYN: a SYN-ACK, a simultaneous open, or the originator's SYN
// that was captured after its answer, which turns the roles round. It returns the sender's side.
func (c *conn) answerSYN(seg *segment) int {
	x, y := &c.side[1], &c.side[0]
	if seg.flags&flagACK == 0 && y.state == synAckSent && seg.seq == x.start {
		c.bits &^= bitPartial | bitMidstream | bitUnasked
		c.bits ^= bitOrigB
		c.layout, c.window, c.length, c.ttl = 0, 0, 0, 0 // were the answer's
		c.hops[0], c.hops[1] = c.hops[1], c.hops[0]
		shut := c.bits & (bitShutOrig | bitShutResp)
		c.bits &^= bitShutOrig | bitShutResp
		c.bits |= (shut&bitShutOrig)<<1 | (shut&bitShutResp)>>1
		c.side[0], c.side[1] = c.side[1], c.side[0]
		c.note('^')
		c.side[0].enter(established)
		c.side[1].enter(established)
		return 0
	}
	if y.state == synSent {
		y.enter(established)
	}
	x.enter(established)
	return 1
}

// shut notes that a side closed, and sets the time at which the connection is over.
func (c *conn) shut(d int, now int64, t *timeouts) Event {
	x, y := &c.side[d], &c.side[1-d]
	mine, other := bitShutOrig, bitShutResp
	if d == 1 {
		mine, other = other, mine
	}
	if c.bits&mine != 0 {
		if x.state == reset && c.bits&bitDone == 0 {
			c.setDue(now + t.close) // RST after FIN
		}
		return 0
	}
	c.bits |= mine
	if x.state == reset || c.bits&other != 0 || y.state == inactive {
		first := c.bits&bitDone == 0
		c.bits |= bitDone
		if first {
			c.setDue(now + t.close)
			return EvClosed
		}
	} else if x.before == inactive {
		c.setDue(now + t.partial)
	}
	return 0
}

// setDue sets the end of the connection, to the millisecond above.
func (c *conn) setDue(at int64) {
	c.due = uint32(min((max(at-c.first, 0)+999_999)/1e6, 1<<32-1))
	c.bits |= bitDue
}

// reopenedBy tells whether a SYN starts a new connection between the same ends: a SYN with another ISN, or any after
// both sides closed (Zeek's IsReuse). A SYN that answers a SYN without an answer is a simultaneous open instead.
func (c *conn) reopenedBy(p *decode.Packet) bool {
	opener := &c.side[0]
	if p.Flags&flagACK != 0 {
		if opener.state != inactive {
			return false
		}
		opener = &c.side[1]
	}
	if c.bits&(bitShutOrig|bitShutResp) == bitShutOrig|bitShutResp {
		return true
	}
	if p.Seq == opener.start {
		return false
	}
	if c.sender(p.Reverse) == 1 && p.Flags&flagACK == 0 && c.side[1].state == inactive {
		crossing := c.side[0].state == synSent
		reversed := c.side[0].state == synAckSent && p.Seq == c.side[1].start
		return !crossing && !reversed
	}
	return true
}

// findGap concludes from an acknowledgement of what side d sent which of it was never seen. Only gaps of connections that
// were opened and closed in order count: elsewhere sequence numbers mislead.
func (c *conn) findGap(d int, ack uint32) {
	y := &c.side[d]
	if y.flags&flagFIN != 0 && int32(ack-y.fin) >= 0 {
		ack = y.fin - 1
	}
	if int32(ack-y.next) <= 0 || c.bits&bitPartial != 0 && ack-y.start <= 2 {
		return
	}
	missing := ack - y.next
	if y.lo != y.hi && int32(ack-y.lo) > 0 {
		missing = y.lo - y.next
		if int32(ack-y.hi) >= 0 {
			missing += y.holes + ack - y.hi
			y.next = ack
		} else {
			y.next = y.hi
		}
		y.lo, y.hi, y.holes = 0, 0, 0
	} else {
		y.next = ack
	}
	if missing > 0 && y.clean() && c.side[1-d].clean() {
		y.gap = saturate32(y.gap, missing)
		c.scaled(d, 'G', &y.gaps)
	}
}

func (x *side) clean() bool {
	return x.state == established || x.state == closed && x.before == established
}

// saw enters payload into what was seen of a side. Of the payload beyond the first hole only the range is kept and how
// much of it is missing, which is exact for one hole at a time.
func (x *side) saw(from, to uint32) {
	switch {
	case int32(to-x.next) <= 0:
	case int32(from-x.next) <= 0:
		x.next = to
		if x.lo != x.hi && int32(to-x.lo) >= 0 {
			if int32(x.hi-to) > 0 {
				x.next = x.hi
			}
			x.lo, x.hi, x.holes = 0, 0, 0
		}
	case x.lo == x.hi:
		x.lo, x.hi, x.holes = from, to, 0
	case int32(from-x.hi) > 0:
		x.holes = saturate32(x.holes, from-x.hi)
		x.hi = to
	case int32(x.lo-to) > 0:
		x.holes = saturate32(x.holes, x.lo-to)
		x.lo = from
	default:
		if int32(from-x.lo) >= 0 && int32(x.hi-to) >= 0 {
			x.holes -= min(x.holes, to-from)
		}
		if int32(x.lo-from) > 0 {
			x.lo = from
		}
		if int32(to-x.hi) > 0 {
			x.hi = to
		}
	}
}

func saturate32(n, by uint32) uint32 {
	if n > 1<<32-1-by {
		return 1<<32 - 1
	}
	return n + by
}
