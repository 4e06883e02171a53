package conn

import (
	"cmp"
	"slices"
	"time"
)

// SlowEvery is the event time between two looks of the census at a connection.
const SlowEvery = 10 * time.Second

// PeerEvery is the event time after which a connection that goes on tells its originator again.
const PeerEvery = peerRounds * SlowEvery

// peerRounds of the census tell a share of the connections each.
const peerRounds = 16

// tellTurns is in how many turns all connections tell what they carry: a turn is a round of the sweep.
const tellTurns = int(int64(SessionEvery) / sweepEvery)

const (
	sweepEvery = int64(1e9)  // event time in which the sweep visits every entry
	slowAge    = int64(30e9) // younger connections are not slow
	slowRate   = 100         // payload bytes a second, both sides; more is not slow
)

// sweep is the progress of the incremental sweep.
type sweep struct {
	at     int64 // event time of the last step
	slot   int
	set    int
	census int64 // event time of the round that takes the next census
	slow   bool  // this round takes it
	round  int   // of the census, modulo peerRounds
	tell   int64 // event time of the round in which the next connections tell what they carry
	turn   int   // which: those of slots that are the same modulo tellTurns
	tells  bool  // this round does
}

// Expire advances the clock of a shard and does what is due: contacts without an answer become silent, connections that
// timed out end, and the census looks for slow ones. It visits a share of the entries that fits the time passed, at most
// each of them once.
func (t *Tables) Expire(shard int, now int64, out *Out) {
	s := &t.shards[shard]
	s.now = max(s.now, now)
	s.silence(out)
	w := &s.sweep
	passed := min(s.now-w.at, sweepEvery)
	if w.at == 0 {
		passed = 0
	}
	w.at = s.now
	s.sweepConns(share(s.used, passed), out)
	s.sweepHalves(share(len(s.sets), passed), out)
}

// share is how many of n entries are due, rounded up.
func share(n int, passed int64) int {
	return int((int64(n)*passed + sweepEvery - 1) / sweepEvery)
}

func (s *shard) sweepConns(n int, out *Out) {
	w := &s.sweep
	for range n {
		if w.slot == 0 {
			if w.slow = s.now >= w.census; w.slow {
				w.census = s.now + int64(SlowEvery)
				w.round = (w.round + 1) % peerRounds
			}
			if w.tells = s.now >= w.tell; w.tells {
				w.tell = max(w.tell, s.now-2*sweepEvery) + sweepEvery // catches up with rounds that came late
				w.turn = (w.turn + 1) % tellTurns
			}
		}
		if w.slot < s.used {
			if c := s.conns.at(w.slot); c.bits&bitLive != 0 {
				if why, over := s.expired(c); over {
					s.end(c, why, out)
				} else {
					if w.slow {
						s.census(c, out)
					}
					if w.tells && w.slot%tellTurns == w.turn {
						s.sample(c, out)
					}
				}
			}
		}
		if w.slot++; w.slot >= s.used {
			w.slot = 0
		}
	}
}

func (s *shard) sweepHalves(n int, out *Out) {
	w := &s.sweep
	for range n {
		line := &s.sets[w.set]
		for way := range ways {
			if line.tag[way] != 0 && s.halfExpired(w.set*ways+way) {
				s.endHalf(w.set*ways+way, CloseIdle, out)
			}
		}
		w.set = (w.set + 1) & (len(s.sets) - 1)
	}
}

// expired tells whether a connection is over, and why.
func (s *shard) expired(c *conn) (Close, bool) {
	if c.bits&bitDue != 0 && s.now-c.first >= int64(c.due)*1e6 {
		return CloseEnd, true
	}
	idle := s.now - c.last
	switch c.proto {
	case protoTCP:
		o, r := c.side[0].state, c.side[1].state
		if (o == synSent || o == synAckSent) && r == inactive {
			return CloseIdle, s.now-c.first >= s.timeouts.attempt
		}
		if o <= synAckSent && r <= synAckSent {
			return CloseIdle, idle >= s.timeouts.handshake
		}
		return CloseIdle, idle >= s.timeouts.idle
	case protoICMP, protoICMP6:
		return CloseIdle, idle >= s.timeouts.icmp
	}
	return CloseIdle, s.idleUDP(idle, &c.first, c.proto == protoUDP && (dnsPort(c.portA) || dnsPort(c.portB)))
}

// idleUDP tells whether a flow was idle too long. Zeek's DNS analyzer looks at a session every dns_session_timeout from
// its start, and ends it if it was idle for as long less a second. The start is read only if needed: it lies in a cache
// line of its own.
func (s *shard) idleUDP(idle int64, first *int64, dns bool) bool {
	every := s.timeouts.dns
	if !dns || idle < every-1e9 {
		return idle >= s.timeouts.udp
	}
	age := s.now - *first
	looks := max((age-idle+every-1e9+every-1)/every, 1)
	return age >= looks*every
}

// census looks at a connection that goes on.
func (s *shard) census(c *conn, out *Out) {
	if s.isSlow(c) {
		out.Slow = append(out.Slow, slowOf(c, s.id))
	}
	if s.sweep.slot%peerRounds == s.sweep.round && s.goesOn(c) {
		s.tellPeer(c, out)
	}
}

// sample tells what a session that goes on has carried.
func (s *shard) sample(c *conn, out *Out) {
	if (c.more&moreBegun != 0 || c.oneWay()) && s.now-c.last < 2*int64(SessionEvery) {
		s.goOn(c, SessionOn, out)
	}
}

// goesOn tells whether a connection whose originator is real has carried packets since it told so last.
func (s *shard) goesOn(c *conn) bool {
	if c.proto != protoTCP || c.bits&bitDone != 0 || s.now-c.last >= int64(PeerEvery) {
		return false
	}
	return c.bits&bitProven != 0 || c.bits&bitMidstream != 0 && c.side[0].flags&c.side[1].flags&seenData != 0
}

// tellPeer tells the originator of a connection. It stays out of what every packet runs through.
//
//go:noinline
func (s *shard) tellPeer(c *conn, out *Out) {
	p := Peer{Addr: c.a, Ver: c.ver, Shard: s.id}
	if c.bits&bitOrigB != 0 {
		p.Addr = c.b
	}
	out.Peers = append(out.Peers, p)
}

// isSlow tells whether an established connection holds the responder without giving it anything to do: the responder has
// said nothing, or the originator closed its window.
func (s *shard) isSlow(c *conn) bool {
	age := s.now - c.first
	if c.proto != protoTCP || c.bits&(bitProven|bitDone) != bitProven || age < slowAge {
		return false
	}
	o, r := &c.side[0], &c.side[1]
	sent, said := o.size(r), r.size(o)
	return (said == 0 || o.zero > 0) && sent+said < uint64(age/1e9)*slowRate
}

func slowOf(c *conn, shard uint8) Slow {
	w := Slow{Resp: c.b, RespPort: c.portB, Ver: c.ver, Shard: shard}
	if c.bits&bitOrigB != 0 {
		w.Resp, w.RespPort = c.a, c.portA
	}
	return w
}

// Flush ends the input of a shard: contacts that waited long enough are silent, the others unknown, and all connections
// end, in order of their first packet. It allocates; it is not for the hot path.
func (t *Tables) Flush(shard int, out *Out) {
	s := &t.shards[shard]
	s.silence(out)
	type entry struct {
		first int64
		born  uint32
		half  bool
		n     int
	}
	var all []entry
	for i := range s.used {
		if c := s.conns.at(i); c.bits&bitLive != 0 {
			all = append(all, entry{c.first, c.born, false, i})
		}
	}
	for i := range s.halves {
		if s.sets[i/ways].tag[i%ways] != 0 {
			all = append(all, entry{s.halves[i].first, s.halves[i].born, true, i})
		}
	}
	slices.SortFunc(all, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.born, b.born), cmp.Compare(a.n, b.n))
	})
	for _, e := range all {
		if e.half {
			s.endHalf(e.n, CloseFinal, out)
		} else {
			s.end(s.conns.at(e.n), CloseFinal, out)
		}
	}
	s.head = s.tail
}
