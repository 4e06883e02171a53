package sensor

import (
	"errors"
	"math"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// statusTicks is how often a status is made.
const statusTicks = 10

// liveJudge runs the judge on its own goroutine, a tick at a time as the workers close them.
type liveJudge struct {
	*judge
	workers []*follower
	shards  []*tally.Shard // of the tick
	taken   []*share       // by worker; nil: none
	seen    []totals       // by worker, as of its newest share
	next    int64          // the first tick that is not judged
	started bool
	absent  uint64
	shown   int64 // second of the newest status
	viewer  viewer
}

// run judges until the workers have ended.
func (j *liveJudge) run() {
	j.taken, j.seen = make([]*share, len(j.workers)), make([]totals, len(j.workers))
	l := &j.e.live
	for open := true; open; {
		select {
		case _, open = <-l.wake:
		case change := <-l.change:
			change(j.e.cfg.Analyzers, j.alerts)
		}
		for j.ready() {
			j.judgeNext()
		}
	}
}

// ready tells whether a tick can be judged: all workers have closed it, or the foremost is too far ahead to wait.
func (j *liveJudge) ready() bool {
	low, high := int64(math.MaxInt64), int64(math.MinInt64)
	for _, w := range j.workers {
		at := w.reached.Load()
		low = min(low, at)
		if at < math.MaxInt64 {
			high = max(high, at)
		}
	}
	pending := j.pending()
	switch {
	case low == math.MaxInt64: // all have ended, and left at most a share each
		j.next = max(j.next, pending)
		return pending < math.MaxInt64
	case !j.started:
		if j.started = low > math.MinInt64; j.started {
			j.next = low - 1
		}
		return j.started
	case low > j.next:
		j.skip(min(low-1, pending))
		return true
	case high-grace > j.next:
		j.skip(min(high-grace-1, pending))
		j.absent++
		return true
	}
	return false
}

// skip leaves out ticks up to one in which something may be to judge, if nothing can fall due before.
func (j *liveJudge) skip(to int64) {
	if j.next > j.last+silence {
		j.next = max(j.next, to)
	}
}

// pending is the first tick that a share waits for; MaxInt64: none.
func (j *liveJudge) pending() int64 {
	first := int64(math.MaxInt64)
	for _, w := range j.workers {
		if s := w.full.Load(); s != nil {
			first = min(first, s.closed)
		}
	}
	return first
}

// judgeNext takes the workers' shares up to the next tick, merges and judges them, and gives them back.
func (j *liveJudge) judgeNext() {
	tick := j.next
	j.take(tick)
	j.merge(tick, j.shards)
	j.viewer.tick(&j.epoch)
	j.handRecords()
	j.giveBack()
	j.next = tick + 1
	if at := tick / statusTicks; at > j.shown {
		j.shown = at
		j.publish()
	}
}

// take gathers the shares that hold nothing later than the tick, their shards by number.
func (j *liveJudge) take(tick int64) {
	j.shards = j.shards[:0]
	for i, w := range j.workers {
		j.taken[i] = nil
		if s := w.full.Load(); s != nil && s.closed <= tick {
			j.taken[i] = w.full.Swap(nil)
		}
	}
	for n := range tally.Shards {
		if s := j.taken[n%len(j.workers)]; s != nil {
			j.shards = append(j.shards, j.e.sets[s.set][n])
		}
	}
}

// giveBack lets the workers use their shares again.
func (j *liveJudge) giveBack() {
	for i, s := range j.taken {
		if s == nil {
			continue
		}
		j.seen[i] = s.totals
		j.workers[i].empty.Store(s)
	}
}

// handRecords hands on the connections that ended.
func (j *liveJudge) handRecords() {
	if j.e.sinks.Record == nil {
		return
	}
	for _, s := range j.taken {
		if s != nil {
			j.writeLater(s.recs)
		}
	}
	j.writeRecords()
}

// publish makes a status.
func (j *liveJudge) publish() {
	s := &Status{
		Time: j.epoch.End(), Epochs: j.summary.Epochs, Link: j.summary.Link, OneWay: j.view.OneWay(), Mute: j.view.Mute(),
		Loss: j.view.Loss(), Limits: j.limits(), Alerts: j.alerts.Stats(), Records: j.summary.Records, Absent: j.absent,
		Gate: j.e.gate.Stats(),
	}
	for i := range j.seen {
		w := &j.seen[i]
		s.Conn.Add(&w.conns)
		s.RecordsLost += w.lost
		s.Late += w.late
		s.Backward += w.backward
		s.Discontinuities = max(s.Discontinuities, w.jumps)
		s.Workers = append(s.Workers, WorkerStatus{
			Time: w.tick * tally.Tick, Packets: w.packets, Kernel: w.drops.Kernel, Freezes: w.drops.Freezes,
		})
	}
	s.States = j.states(&s.Conn)
	j.e.live.status.Store(s)
	j.e.live.view.Store(j.viewer.view(s.Time, &s.Link, j.e.cfg.Analyzers))
}

// states is how full the bounded tables are.
func (j *liveJudge) states(c *conn.Stats) []StateSize {
	cfg := &j.e.cfg
	return []StateSize{
		{Name: "connections", Used: c.LiveConns, Limit: uint64(cfg.Conn.Conns), Bytes: uint64(cfg.Conn.Bytes())},
		{Name: "half_open", Used: c.LiveHalfOpen, Limit: uint64(cfg.Conn.HalfOpen)},
		{Name: "alerts", Used: uint64(j.alerts.Open()), Limit: uint64(cfg.Alert.MaxOpen)},
	}
}

// finish ends the run after the workers': the open tick, all connections, all alerts.
func (j *liveJudge) finish() error {
	var errs []error
	all := course{first: math.MaxInt64}
	for i, w := range j.workers {
		errs = append(errs, w.err)
		if !w.started {
			continue
		}
		w.dropped()
		all.started = true
		all.tick, all.first, all.last = max(all.tick, w.tick), min(all.first, w.first), max(all.last, w.course.last)
		all.backward, all.jumps = all.backward+w.backward, max(all.jumps, w.jumps)
		w.sum() // of a last tick that was never handed over, too
		j.seen[i] = w.totals
	}
	j.judge.finish(&all)
	j.publish()
	return errors.Join(errs...)
}
