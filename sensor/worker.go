package sensor

import (
	"runtime/debug"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// batch is how many packets go through the connection table at once: enough to overlap the cache misses of a look-up,
// few enough to stay in the first-level cache.
const batch = 64

// worker owns the shards of tallies whose number is its own modulo the number of workers, and the connections' shards that
// share them.
type worker struct {
	e      *Engine
	id     int
	shards []int
	events [batch]conn.Event
	out    conn.Out
	stats  []conn.Stats // by own shard: as of the last tick, to tell the loss of each
	recs   []conn.Record
	kept   [decode.Shards]int // records of this tick by shard
	lost   uint64             // records that did not fit in their tick
	most   int                // records of one shard in one tick

	next    int64 // block to consume
	cut     int   // run within it
	start   int   // where the run begins in this worker's part
	closing bool  // at the end of a tick: waits for the judge
	until   int64 // the tick in which traffic goes on after it
	ticks   int64 // ticks this worker has closed
}

func newWorker(e *Engine, id int) *worker {
	w := &worker{e: e, id: id}
	for s := range decode.Shards {
		if s%tally.Shards%e.cfg.Workers == id {
			w.shards = append(w.shards, s)
		}
	}
	w.stats = make([]conn.Stats, len(w.shards))
	w.most = (e.cfg.Conn.Conns + e.cfg.Conn.HalfOpen) / decode.Shards
	if e.sinks.Record != nil {
		w.out.Record = w.keepRecord
	}
	return w
}

// run is the whole life of a worker: consume what is ready, else decode ahead, else wait.
func (w *worker) run() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // see outside
	r := w.e.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.failed:
			return
		case w.closing && r.judged == w.ticks:
			w.reopen()
		case !w.closing && w.next < r.read && r.slot(w.next).decoded:
			w.consume(r.slot(w.next))
		case r.mayRead():
			if s := r.readBlock(); s != nil {
				w.outside(func() { w.decode(s) })
				s.decoded = true
				r.wake.Broadcast()
			}
		case !w.closing && r.ended && !r.reading && w.next == r.read:
			return
		default:
			r.wake.Wait()
		}
	}
}

// outside runs f without the ring's lock, which the caller holds. Frames borrow from mapped files: if somebody truncates
// one meanwhile, touching it faults, and the input ends there with an error.
func (w *worker) outside(f func()) {
	r := w.e.ring
	var err error
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		if err != nil {
			r.fail(err)
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			if err = fault(r.src, v); err == nil {
				panic(v)
			}
		}
	}()
	f()
}

// decode fills the slot's packets and deals them out to the workers that own their shards.
func (w *worker) decode(s *slot) {
	e := w.e
	for i := range s.parts {
		s.parts[i] = s.parts[i][:0]
	}
	if s.packets == nil {
		s.packets = make([]decode.Packet, 0, 2*len(s.block.Frames))
	}
	s.packets = s.packets[:0]
	frame := 0
	for i := range s.cuts {
		c := &s.cuts[i]
		for ; frame < c.frames; frame++ {
			p := s.grow()
			e.decoder.Decode(&s.block.Frames[frame], p)
			if e.cfg.Keep != nil && !e.cfg.Keep(p) {
				s.packets = s.packets[:len(s.packets)-1]
				continue
			}
			outers := int(p.Depth)
			s.deal(len(s.packets) - 1)
			if e.cfg.Outer && outers > 0 {
				w.decodeOuters(s, frame, outers)
			}
		}
		for i := range s.parts {
			c.ends[i] = len(s.parts[i])
		}
	}
}

// decodeOuters adds the tunnels' own connections of a frame.
func (w *worker) decodeOuters(s *slot, frame, tunnels int) {
	for depth := range tunnels {
		p := s.grow()
		if !w.e.decoder.DecodeOuter(&s.block.Frames[frame], p, depth) {
			s.packets = s.packets[:len(s.packets)-1]
			continue
		}
		s.deal(len(s.packets) - 1)
	}
}

// grow adds a packet whose memory is that of an earlier block.
func (s *slot) grow() *decode.Packet {
	if n := len(s.packets); n < cap(s.packets) {
		s.packets = s.packets[:n+1]
	} else {
		s.packets = append(s.packets, decode.Packet{})
	}
	return &s.packets[len(s.packets)-1]
}

func (s *slot) deal(i int) {
	to := int(s.packets[i].Shard) % tally.Shards % len(s.parts)
	s.parts[to] = append(s.parts[to], uint16(i))
}

// consume takes the worker's packets of one run through its shards. The caller holds the ring's lock.
func (w *worker) consume(s *slot) {
	r := w.e.ring
	c := s.cuts[w.cut]
	w.outside(func() {
		w.process(s.packets, s.parts[w.id][w.start:c.ends[w.id]])
		if c.closes {
			w.expire(c.tick)
		}
	})
	w.start = c.ends[w.id]
	w.cut++
	if w.cut == len(s.cuts) {
		w.next, w.cut, w.start = w.next+1, 0, 0
		if s.left--; s.left == 0 {
			r.done++
			r.wake.Broadcast()
		}
	}
	if c.closes {
		w.until = c.next
		w.arrive(c.tick)
	}
}

// arrive says that the worker's shards are ready for the tick to be judged. The last worker to arrive judges it, while
// the others decode ahead. The caller holds the ring's lock.
func (w *worker) arrive(tick int64) {
	r := w.e.ring
	w.closing = true
	w.ticks++
	if r.arrived++; r.arrived < r.workers {
		return
	}
	r.arrived = 0
	w.outside(func() { r.idle = w.e.judge.tick(tick, w.until) })
	r.judged++
	r.wake.Broadcast()
}

// reopen goes on after a judged tick: with traffic, or with a tick without traffic in which something falls due. The
// caller holds the ring's lock.
func (w *worker) reopen() {
	r := w.e.ring
	if r.idle >= w.until {
		w.closing = false
		return
	}
	tick := r.idle
	w.outside(func() { w.expire(tick) })
	w.arrive(tick)
}

// expire runs the clock of the worker's shards to the end of the tick and accounts their loss.
func (w *worker) expire(tick int64) {
	for i, s := range w.shards {
		w.e.conns.Expire(s, (tick+1)*tally.Tick, &w.out)
		w.account(i, s)
	}
	w.drain()
}

// account turns what a shard's connection table lost since the last tick into loss of this epoch.
func (w *worker) account(i, shard int) {
	now, was, to := w.e.conns.Stats(shard), &w.stats[i], w.e.shards[shard%tally.Shards]
	to.Lose(tally.LossConnTable, now.Evicted+now.LongProbe-was.Evicted-was.LongProbe)
	to.Lose(tally.LossHalfOpen, now.Overwritten+now.SilentLost-was.Overwritten-was.SilentLost)
	to.Lose(tally.LossFragTable, now.FragFull-was.FragFull)
	*was = *now
}

// keepRecord copies a record for the judge to hand on. After a jump of time a shard ends all its connections in one tick:
// that many fit. A shard that ends more (only an input whose time stands still can) loses the rest, counted.
func (w *worker) keepRecord(r *conn.Record) {
	if w.kept[r.Shard] == w.most {
		w.lost++
		return
	}
	w.kept[r.Shard]++
	w.recs = append(w.recs, *r)
}

// process is the hot path: the packets of a run to connections to tallies, a batch at a time. Their contacts are counted after
// all of them: packets and contacts compete for entries where a table is full, and where batches end depends on the number of
// workers, where runs end does not.
func (w *worker) process(packets []decode.Packet, part []uint16) {
	for len(part) > 0 {
		idx := part[:min(batch, len(part))]
		part = part[len(idx):]
		w.e.conns.Process(packets, idx, w.events[:len(idx)], &w.out)
		tally.Packets(w.e.shards, packets, idx, w.events[:len(idx)])
	}
	w.drain()
}

// drain hands contacts and slow connections to the tallies of their shards.
func (w *worker) drain() {
	tally.Contacts(w.e.shards, w.out.Contacts)
	for i := range w.out.Slow {
		s := &w.out.Slow[i]
		w.e.shards[s.Shard%tally.Shards].Slow(s)
	}
	w.out.Contacts, w.out.Slow = w.out.Contacts[:0], w.out.Slow[:0]
}
