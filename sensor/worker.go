package sensor

import (
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
	e       *Engine
	id      int
	shards  []int
	tallies []*tally.Shard          // by number; only its own are the worker's
	opened  [tally.Shards]*openings // likewise
	events  [batch]conn.Event
	out     conn.Out
	stats   []conn.Stats // by own shard: as of the last tick, to tell the loss of each
	recs    []conn.Record
	kept    [decode.Shards]int // records of this tick by shard
	lost    uint64             // records that did not fit in their tick
	most    int                // records of one shard in one tick
}

// init makes w the worker of that number, which keeps at most so many records of a shard in a tick.
func (w *worker) init(e *Engine, id, most int) {
	w.e, w.id, w.most, w.tallies = e, id, most, e.sets[0]
	for s := range decode.Shards {
		if s%tally.Shards%e.cfg.Workers == id {
			w.shards = append(w.shards, s)
		}
	}
	for s := id; s < tally.Shards; s += e.cfg.Workers {
		w.opened[s] = newOpenings(&e.openings, e.conns, e.cfg.Seed)
	}
	w.out.Opening = w.open
	w.stats = make([]conn.Stats, len(w.shards))
	if e.sinks.Record != nil {
		w.out.Record = w.keepRecord
	}
}

// expire runs the clock of the worker's shards to the end of the tick and accounts their loss.
func (w *worker) expire(tick int64) {
	for i, s := range w.shards {
		w.e.conns.Expire(s, (tick+1)*tally.Tick, &w.out)
		w.account(i, s)
	}
	for s, o := range w.opened {
		if o != nil {
			w.tallies[s].Lose(tally.LossOpenings, o.lost)
			o.lost, o.initials = 0, 0
		}
	}
	w.drain()
}

// account turns what a shard's connection table lost since the last tick into loss of this epoch.
func (w *worker) account(i, shard int) {
	now, was, to := w.e.conns.Stats(shard), &w.stats[i], w.tallies[shard%tally.Shards]
	to.Lose(tally.LossConnTable, now.Evicted+now.LongProbe-was.Evicted-was.LongProbe)
	to.Lose(tally.LossHalfOpen, now.Overwritten+now.SilentLost-was.Overwritten-was.SilentLost)
	to.Lose(tally.LossFragTable, now.FragFull-was.FragFull)
	*was = *now
}

// keepRecord copies a record for the judge to hand on. A shard that ends more connections in one tick than fit loses the
// rest, counted.
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
		tally.Packets(w.tallies, packets, idx, w.events[:len(idx)])
	}
	w.drain()
}

// open reads what connections open with. A new connection under a known key begins anew.
func (w *worker) open(p *decode.Packet, ev conn.Event) {
	s := p.Shard % tally.Shards
	if ev&conn.EvProven != 0 {
		w.opened[s].forget(p)
	}
	if ev&conn.EvOpening != 0 {
		w.opened[s].packet(p, ev, w.tallies[s])
	}
}

// drain hands contacts, slow connections, peers and sessions to the tallies of their shards.
func (w *worker) drain() {
	tally.Contacts(w.tallies, w.out.Contacts)
	for i := range w.out.Slow {
		s := &w.out.Slow[i]
		w.tallies[s.Shard%tally.Shards].Slow(s)
	}
	for i := range w.out.Peers {
		p := &w.out.Peers[i]
		w.tallies[p.Shard%tally.Shards].Peer(p)
	}
	for i := range w.out.Sessions {
		v := &w.out.Sessions[i]
		w.tallies[v.Shard%tally.Shards].Session(v)
	}
	w.out.Contacts, w.out.Slow, w.out.Peers, w.out.Sessions = w.out.Contacts[:0], w.out.Slow[:0], w.out.Peers[:0], w.out.Sessions[:0]
}
