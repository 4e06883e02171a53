package sensor

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// Bounds of live work.
const (
	// grace is how many ticks the judge waits for a worker that lags behind the foremost: what it counted is then judged
	// in a later epoch.
	grace = 2
	// recordsPerTick is how many connections that end in one tick all workers together keep for the judge, who hands them on
	// before it judges the next tick: at 10 µs each, for JSON and the bus, 160 ms. More would keep alerts up. 6.9 MB in each
	// of two shares.
	recordsPerTick = 16 << 10
)

// live is what the goroutines of a live run share.
type live struct {
	workers []*follower
	keep    atomic.Pointer[func(*decode.Packet) bool]
	change  chan func([]analyzers.Analyzer, *alert.Manager) // to run between two ticks
	wake    chan struct{}                                   // a worker has closed a tick
	ended   chan struct{}                                   // closed when the judge has
	status  atomic.Pointer[Status]
	view    atomic.Pointer[View]
}

// share is what a worker counted in one tick, or in several if the judge had not given back the share before.
type share struct {
	set    int   // of tallies
	closed int64 // the last tick that it counts
	recs   []conn.Record
	totals // as of then
}

// totals are a follower's counters since the start.
type totals struct {
	course
	conns   conn.Stats // of its shards
	drops   capture.Drops
	packets uint64
	lost    uint64 // records
	late    uint64 // ticks with traffic that were joined to the next one
}

// follower is a worker of live traffic. It swaps shares with the judge over two atomic pointers: a full one is handed over
// when the judge has given back the empty one, else the worker counts on in the one it has. Neither ever waits.
type follower struct {
	worker
	src     capture.LiveSource
	recent  *recent // nil: none
	block   capture.Block
	packets []decode.Packet
	part    []uint16
	home    [decode.Shards]uint8 // the own shard that takes the packets of a shard
	totals
	now    *share // that it counts in
	joined uint64 // packets when the last share was handed over

	full    atomic.Pointer[share]
	empty   atomic.Pointer[share]
	reached atomic.Int64 // ticks before this one are closed; MinInt64 before the first, MaxInt64 at the end
	err     error
}

// Live runs live traffic, a source a worker, until all sources are at their end. Event time follows the sources; ticks close
// without traffic, too. It returns the errors of sources that ended otherwise than asked.
func (e *Engine) Live(sources []capture.LiveSource) (*Summary, error) {
	if len(sources) != e.cfg.Workers || !e.cfg.Live {
		return nil, fmt.Errorf("live: %d sources for %d workers", len(sources), e.cfg.Workers)
	}
	var wg sync.WaitGroup
	for id, src := range sources {
		w := newFollower(e, id, src)
		e.workers = append(e.workers, &w.worker)
		e.live.workers = append(e.live.workers, w)
	}
	for _, w := range e.live.workers {
		wg.Go(w.run)
	}
	j := &liveJudge{judge: e.judge, workers: e.live.workers}
	go func() {
		j.run()
		close(e.live.ended)
	}()
	wg.Wait()
	close(e.live.wake)
	<-e.live.ended
	return &e.judge.summary, j.finish()
}

// SetKeep replaces Config.Keep while the engine runs.
func (e *Engine) SetKeep(keep func(*decode.Packet) bool) { e.live.keep.Store(&keep) }

// Reconfigure runs change between two ticks of a live engine, on the goroutine that owns what it is given, and waits for it.
// An engine that has ended takes no change.
func (e *Engine) Reconfigure(change func([]analyzers.Analyzer, *alert.Manager)) {
	ran := make(chan struct{})
	select {
	case e.live.change <- func(all []analyzers.Analyzer, alerts *alert.Manager) {
		change(all, alerts)
		close(ran)
	}:
		<-ran
	case <-e.live.ended:
	}
}

// Status is the newest status of a live engine, nil in its first second. Any goroutine may ask.
func (e *Engine) Status() *Status { return e.live.status.Load() }

func newFollower(e *Engine, id int, src capture.LiveSource) *follower {
	w := &follower{src: src, recent: e.recent[id]}
	w.init(e, id, recordsPerTick/decode.Shards)
	for s := range w.home {
		w.home[s] = uint8(w.shards[s%len(w.shards)])
	}
	w.now = &share{set: 0}
	w.empty.Store(&share{set: 1})
	w.reached.Store(math.MinInt64)
	return w
}

// run is the whole life of a follower.
func (w *follower) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		err := w.src.Next(&w.block)
		w.take(&w.block)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.err = err
			}
			break
		}
	}
	if w.recent != nil {
		w.recent.close()
	}
	w.reached.Store(math.MaxInt64) // the open tick is closed with the run
	w.rouse()
}

// take decodes a block and takes its packets through the worker's shards, tick by tick.
func (w *follower) take(b *capture.Block) {
	keep := w.e.live.keep.Load()
	w.packets, w.part = w.packets[:0], w.part[:0]
	for i := range b.Frames {
		f := &b.Frames[i]
		f.Time = min(max(f.Time, 0), latest)
		if over, closes := w.frame(f.Time); closes {
			w.flush()
			w.closeUntil(over, w.tick)
		}
		p := w.grow()
		w.e.decoder.Decode(f, p)
		if keep != nil && *keep != nil && !(*keep)(p) {
			w.packets = w.packets[:len(w.packets)-1]
			continue
		}
		if w.recent != nil {
			w.recent.add(f)
		}
		p.Shard = w.home[p.Shard]
		w.part = append(w.part, uint16(len(w.packets)-1))
		if w.e.cfg.Outer {
			w.outers(f, int(p.Depth))
		}
	}
	w.flush()
	if until := min(b.Until, latest) / tally.Tick; until > 0 {
		w.silent(until)
	}
}

// silent closes the ticks before until, in which nothing more comes.
func (w *follower) silent(until int64) {
	if !w.started {
		w.started, w.tick, w.first, w.lastTime = true, until, until*tally.Tick, until*tally.Tick
		w.last = w.first
		w.reached.Store(until)
		w.rouse()
		return
	}
	if over := w.tick; until > over {
		if until-over > discontinuity {
			w.jumps++
		}
		w.tick = until
		w.closeUntil(over, until)
	}
}

// outers adds a frame's tunnels' own connections.
func (w *follower) outers(f *decode.Frame, tunnels int) {
	for depth := range tunnels {
		p := w.grow()
		if !w.e.decoder.DecodeOuter(f, p, depth) {
			w.packets = w.packets[:len(w.packets)-1]
			continue
		}
		p.Shard = w.home[p.Shard]
		w.part = append(w.part, uint16(len(w.packets)-1))
	}
}

// grow adds a packet whose memory is that of an earlier block.
func (w *follower) grow() *decode.Packet {
	if n := len(w.packets); n < cap(w.packets) {
		w.packets = w.packets[:n+1]
	} else {
		w.packets = append(w.packets, decode.Packet{})
	}
	return &w.packets[len(w.packets)-1]
}

// flush takes the packets decoded so far through the shards: they are of one tick.
func (w *follower) flush() {
	if len(w.part) == 0 {
		return
	}
	w.process(w.packets, w.part)
	w.totals.packets += uint64(len(w.part))
	w.packets, w.part = w.packets[:0], w.part[:0]
}

// closeUntil closes the tick over and those without traffic up to until. After a long gap only those in which something can
// fall due, and the last, are closed one by one.
func (w *follower) closeUntil(over, until int64) {
	for tick := over; tick < until; tick++ {
		if tick > over+silence && tick < until-1 {
			tick = until - 1
		}
		w.close(tick)
		w.advance(tick + 1)
	}
}

// close ends a tick: expiry, and the loss in it.
func (w *follower) close(tick int64) {
	w.dropped()
	w.expire(tick)
}

// dropped makes what the source lost since the last look loss of this tick.
func (w *follower) dropped() {
	now, to := w.src.Drops(), w.tallies[w.shards[0]%tally.Shards]
	to.Lose(tally.LossKernel, now.Kernel-w.drops.Kernel)
	to.Lose(tally.LossFreeze, now.Freezes-w.drops.Freezes)
	to.Lose(tally.LossInterface, now.Interface-w.drops.Interface)
	w.drops = now
}

// advance hands the share over, if the judge has given back the other one, and says which tick begins.
func (w *follower) advance(next int64) {
	if other := w.empty.Swap(nil); other != nil {
		w.handOver(other, next-1)
	} else if w.totals.packets > w.joined {
		w.late++
	}
	if w.recent != nil {
		w.recent.tick()
	}
	w.reached.Store(next)
	w.rouse()
}

func (w *follower) handOver(other *share, closed int64) {
	w.sum()
	w.joined = w.totals.packets
	s := w.now
	s.closed, s.totals = closed, w.totals
	s.recs, w.recs = w.recs, other.recs[:0]
	w.kept = [decode.Shards]int{}
	w.now, w.tallies = other, w.e.sets[other.set]
	w.full.Store(s)
}

// sum brings the totals up to date.
func (w *follower) sum() {
	w.conns = conn.Stats{}
	for _, shard := range w.shards {
		w.conns.Add(w.e.conns.Stats(shard))
	}
	w.totals.lost = w.worker.lost
}

// rouse wakes the judge, if it sleeps.
func (w *follower) rouse() {
	select {
	case w.e.live.wake <- struct{}{}:
	default:
	}
}
