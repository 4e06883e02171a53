package rehearsal

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// talk is a TCP connection while it is written: a script of who says what fills in the packets with the times at which they pass
// the sensor, and end hands them to the queue.
type talk struct {
	g            *generator
	from, to     *host
	sport, dport uint16
	v6, stamps   bool
	mss          int
	now          int64     // when the next side to speak can pass the sensor
	next         [2]uint32 // sequence numbers, of the client and of the server
	congestion   [2]int    // segments a flight
	owed         int64     // when the last data was at its receiver and back, if an ACK is owed for it; else 0
	owes         int       // side
	packets      []packet
}

// packet is one of a talk. Its sender is the client, or the server (side 1).
type packet struct {
	at       int64
	seq, ack uint32
	size     int32 // payload on the wire
	side     uint8
	flags    uint8
	data     []byte // payload as captured
}

// Timers of TCP.
const (
	delayedACK    = int64(40 * time.Millisecond)
	retransmit    = int64(200 * time.Millisecond) // least (Linux TCP_RTO_MIN)
	firstFlight   = 10                            // segments (RFC 6928)
	largestFlight = 64
)

// dial begins a connection with its handshake.
func (g *generator) dial(now int64, from, to *host, port uint16) *talk {
	t := g.newTalk(now, from, to, port)
	if g.r.IntN(2000) == 0 { // the first SYN was lost behind the sensor
		t.add(0, flagSYN, 0, 0, nil, 0)
		t.now += int64(time.Second)
	}
	t.add(0, flagSYN, 0, 0, nil, 0)
	t.now += 2*to.delay + int64(20_000+g.r.IntN(60_000))
	t.next[0]++
	t.add(1, flagSYN|flagACK, 0, 0, nil, 0)
	t.next[1]++
	t.now += 2*from.delay + int64(10_000+g.r.IntN(30_000))
	t.add(0, flagACK, 0, 0, nil, 0)
	return t
}

func (g *generator) newTalk(now int64, from, to *host, port uint16) *talk {
	t := &talk{
		g: g, from: from, to: to, sport: uint16(32768 + g.r.IntN(28000)), dport: port, now: now,
		congestion: [2]int{firstFlight, firstFlight},
		next:       [2]uint32{g.r.Uint32(), g.r.Uint32()},
		stamps:     offers(from.system, 't') && offers(to.system, 't'),
		mss:        1460,
	}
	if from.dual() && to.dual() && g.r.IntN(10) < 6 {
		t.v6 = true
		t.mss -= 20
	}
	if t.stamps {
		t.mss -= 12
	}
	return t
}

// attempts sends SYNs that nobody answers (Linux: 1, 2, 4 s apart), or that are refused.
func (g *generator) attempts(now int64, from, to *host, port uint16, refused bool) {
	t := g.newTalk(now, from, to, port)
	for i := range 3 {
		t.add(0, flagSYN, 0, 0, nil, 0)
		if refused {
			t.now += 2*to.delay + 50_000
			t.next[0]++
			t.next[1] = 0
			t.add(1, flagRST|flagACK, 0, 0, nil, 0)
			break
		}
		t.now += int64(time.Second) << i
	}
	t.end()
}

// add is a packet of a side at t.now.
func (t *talk) add(side int, flags uint8, seqOffset, size int, data []byte, later int64) {
	p := packet{
		at: t.now + later, seq: t.next[side] + uint32(seqOffset), ack: t.next[1-side],
		size: int32(size), side: uint8(side), flags: flags, data: data,
	}
	if flags&flagACK == 0 {
		p.ack = 0
	}
	t.packets = append(t.packets, p)
}

// line is how long a full segment takes on the slower line of both ends, ns.
func (t *talk) line() int64 { return 1514 * 8 * 1e9 / min(t.from.rate, t.to.rate) }

func (t *talk) ends(side int) (sender, receiver *host) {
	if side == 0 {
		return t.from, t.to
	}
	return t.to, t.from
}

// wait lets the side that speaks next think.
func (t *talk) wait(d time.Duration) { t.now += int64(d) }

// say sends size bytes of which the first are data, in segments and flights, and the ACKs for them.
func (t *talk) say(side int, data []byte, size int) {
	size = max(size, len(data))
	sender, receiver := t.ends(side)
	t.pay(side)
	gap := t.line()
	back := 2 * receiver.delay // from the sensor to the receiver and back
	round := back + 2*sender.delay
	count, acked, missing := 0, 0, int64(0)
	for sent := 0; sent < size; {
		flight := t.congestion[side]
		start := t.now
		for i := 0; i < flight && sent < size; i++ {
			n := min(t.mss, size-sent)
			part := data[min(sent, len(data)):min(sent+n, len(data))]
			flags := uint8(flagACK)
			if sent+n == size {
				flags |= flagPSH
			}
			t.add(side, flags, sent, n, part, 0)
			if t.g.r.IntN(1500) == 0 { // lost behind the sensor: it comes again, and the conversation waits for it
				later := max(retransmit, 2*round) + int64(t.g.r.IntN(20e6))
				t.add(side, flags, sent, n, part, later)
				missing = t.now + later
			}
			sent += n
			if count++; count%2 == 0 {
				t.acknowledge(side, sent, back)
				acked = count
			}
			t.now += gap
		}
		if sent < size {
			t.now = max(t.now, start+round)
			t.congestion[side] = min(2*flight, largestFlight)
		}
	}
	t.next[side] += uint32(size)
	t.now = max(t.now, missing) + back + 20_000
	if acked < count {
		t.owed, t.owes = t.now, 1-side
	}
}

// acknowledge is the receiver's ACK of what was sent so far, which passes the sensor a while later.
func (t *talk) acknowledge(side, sent int, later int64) {
	t.packets = append(t.packets, packet{
		at: t.now + later + 15_000, seq: t.next[1-side], ack: t.next[side] + uint32(sent), side: uint8(1 - side), flags: flagACK,
	})
}

// pay sends the ACK that a side owes: with its own data if it speaks within the delay, else alone.
func (t *talk) pay(speaker int) {
	if t.owed != 0 && (speaker != t.owes || t.now-t.owed >= delayedACK) {
		at := t.now
		t.now = min(t.now, t.owed+delayedACK)
		t.add(t.owes, flagACK, 0, 0, nil, 0)
		t.now = at
	}
	t.owed = 0
}

// close ends the connection, one side first. Some clients reset it.
func (t *talk) close(side int) {
	t.pay(side)
	a, b := t.ends(side)
	if side == 0 && t.g.r.IntN(40) == 0 {
		t.add(0, flagRST|flagACK, 0, 0, nil, 0)
		t.end()
		return
	}
	t.add(side, flagFIN|flagACK, 0, 0, nil, 0)
	t.next[side]++
	t.now += 2*b.delay + 30_000
	t.add(1-side, flagFIN|flagACK, 0, 0, nil, 0)
	t.next[1-side]++
	t.now += 2*a.delay + 20_000
	t.add(side, flagACK, 0, 0, nil, 0)
	t.end()
}

// end queues the packets.
func (t *talk) end() {
	slices.SortStableFunc(t.packets, func(a, b packet) int { return cmp.Compare(a.at, b.at) })
	i := 0
	id := [2]uint16{uint16(t.g.r.Uint32()), uint16(t.g.r.Uint32())}
	t.g.queue.push(t.packets[0].at, func(int64) int64 {
		t.send(&t.packets[i], &id)
		if i++; i == len(t.packets) {
			return done
		}
		return t.packets[i].at
	})
}

// send writes a packet.
func (t *talk) send(p *packet, id *[2]uint16) {
	sender, receiver := t.ends(int(p.side))
	sport, dport := t.sport, t.dport
	if p.side == 1 {
		sport, dport = dport, sport
	}
	b := t.g.header[:0]
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint32(b, p.seq)
	b = binary.BigEndian.AppendUint32(b, p.ack)
	s := sender.system
	window := s.later
	if !offers(s, 'w') || !offers(receiver.system, 'w') {
		window = s.window
	}
	if p.flags&flagRST != 0 {
		window = 0
	}
	b = append(b, 0, p.flags, 0, 0, 0, 0, 0, 0)
	now := sender.clock + uint32((p.at-t.g.start)/1e6)
	echo := receiver.clock + uint32((p.at-t.g.start-2*receiver.delay)/1e6)
	switch {
	case p.flags&flagSYN != 0:
		window = s.window
		answer := p.flags&flagACK != 0
		if answer {
			window = s.synack
		} else {
			echo = 0
		}
		mss := uint16(1460)
		if t.v6 {
			mss = 1440
		}
		b = options(b, s, mss, receiver.system, answer, now, echo)
	case t.stamps && p.flags&flagRST == 0:
		b = append(b, 1, 1, 8, 10)
		b = binary.BigEndian.AppendUint32(b, now)
		b = binary.BigEndian.AppendUint32(b, echo)
	}
	binary.BigEndian.PutUint16(b[14:], window)
	b[12] = byte(len(b) / 4 << 4)
	d := datagram{
		at: p.at, from: sender, to: receiver, v6: t.v6, proto: protoTCP, dontFrag: true,
		id: t.id(sender, p, id), l4: b, sum: 16, data: p.data, size: int(p.size),
	}
	t.g.out.send(&d)
}

// id is the next IPv4 identification of a sender.
func (t *talk) id(sender *host, p *packet, id *[2]uint16) uint16 {
	switch {
	case sender.system.ids == idHost:
		sender.id++
		return sender.id
	case sender.system.ids == idZero || p.flags == flagSYN|flagACK:
		return 0
	}
	id[p.side]++
	return id[p.side]
}
