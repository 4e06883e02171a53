package conn

// Letters of a side's history that are noted once, or only with another sequence number: the upper bits of side.flags.
const (
	seenSYN uint16 = 1 << (9 + iota)
	seenFIN
	seenRST
	seenData
	seenACK
	seenMulti
	seenFINRST

	flagMask = seenSYN - 1
)

// note appends a letter to the history, up to its room.
func (c *conn) note(letter byte) {
	if int(c.histLen) < len(c.hist) {
		c.hist[c.histLen] = letter
		c.histLen++
	}
}

// noteFrom appends a letter of side d: the responder's are lower case.
func (c *conn) noteFrom(d int, letter byte) {
	if d == 1 {
		letter += 'a' - 'A'
	}
	c.note(letter)
}

// once notes a letter of side d at its first time. It reports whether it was noted before.
func (c *conn) once(d int, seen uint16, letter byte) bool {
	x := &c.side[d]
	if x.flags&seen != 0 {
		return true
	}
	x.flags |= seen
	c.noteFrom(d, letter)
	return false
}

// scaled counts an event of side d and notes its letter at the first, tenth, hundredth… time.
func (c *conn) scaled(d int, letter byte, n *uint16) {
	if *n == 0xffff {
		return
	}
	*n++
	switch *n {
	case 1, 10, 100, 1000, 10000:
		c.noteFrom(d, letter)
	}
}

// letters notes what a segment's flags say. Repeated SYN and FIN are retransmissions.
func (c *conn) letters(d int, seg *segment) Event {
	x := &c.side[d]
	switch seg.flags & (flagSYN | flagFIN | flagRST) {
	case 0:
		if seg.payload > 0 {
			c.once(d, seenData, 'D')
		} else if seg.flags&flagACK != 0 {
			c.once(d, seenACK, 'A')
		}
	case flagSYN:
		letter := byte('S')
		if seg.flags&flagACK != 0 {
			letter = 'H'
		}
		if c.once(d, seenSYN, letter) {
			if seg.seq == x.start {
				return EvRetrans
			}
			c.noteFrom(d, letter)
		}
		switch {
		case seg.flags&flagACK != 0:
		case d == 1 && x.state == inactive && c.side[0].state == synSent:
			return EvAttempt | EvSplit
		default:
			return EvAttempt
		}
	case flagFIN:
		end := seg.seq + seg.payload + 1
		if c.once(d, seenFIN, 'F') {
			if end == x.fin {
				return EvRetrans
			}
			c.noteFrom(d, 'F')
		}
	case flagRST:
		if c.once(d, seenRST, 'R') && seg.seq != x.rst {
			c.noteFrom(d, 'R')
		}
		x.rst = seg.seq
	case flagFIN | flagRST, flagFIN | flagRST | flagSYN:
		c.once(d, seenFINRST, 'I')
	default:
		c.once(d, seenMulti, 'Q')
	}
	return 0
}

// state is Zeek's conn_state (scripts/base/protocols/conn/main.zeek).
func (c *conn) state() State {
	switch c.proto {
	case protoTCP:
		return c.tcpState()
	case protoUDP, protoLite:
		o, r := c.side[0].packets > 0, c.side[1].packets > 0
		switch {
		case o && r:
			return StateSF
		case o:
			return StateS0
		case r:
			return StateSHR
		}
	}
	return StateOTH
}

func (c *conn) tcpState() State {
	o, r := c.side[0].state, c.side[1].state
	oSilent, rSilent := o == inactive || o == partial, r == inactive || r == partial
	pick := func(cond bool, yes, no State) State {
		if cond {
			return yes
		}
		return no
	}
	switch {
	case r == reset:
		empty := c.side[0].size(&c.side[1]) == 0 && c.side[1].size(&c.side[0]) == 0
		if o == synSent || o == synAckSent || o == reset && empty {
			return StateREJ
		}
		return pick(oSilent, StateRSTRH, StateRSTR)
	case o == reset:
		if rSilent {
			return pick(c.abandoned(), StateRSTOS0, StateOTH)
		}
		return StateRSTO
	case r == closed && o == closed:
		return StateSF
	case o == closed:
		return pick(rSilent, StateSH, StateS2)
	case r == closed:
		return pick(oSilent, StateSHR, StateS3)
	case o == synSent && r == inactive:
		return StateS0
	case o == established && r == established:
		return StateS1
	}
	return StateOTH
}

// abandoned tells whether the history says that the originator sent a SYN, then a RST, and nothing but repeats between:
// Zeek's pattern /\^?S[^HAFGIQ]*R.*/.
func (c *conn) abandoned() bool {
	h := c.hist[:c.histLen]
	if len(h) > 0 && h[0] == '^' {
		h = h[1:]
	}
	if len(h) == 0 || h[0] != 'S' {
		return false
	}
	for _, l := range h[1:] {
		switch l {
		case 'R':
			return true
		case 'H', 'A', 'F', 'G', 'I', 'Q':
			return false
		}
	}
	return false
}
