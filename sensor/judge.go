package sensor

import (
	"cmp"
	"math"
	"net/netip"
	"slices"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/sensor/alert"
)

// Bounds of the judge.
const (
	// recordsSorted records are put in order at once at the end of input.
	recordsSorted = 65536
	// silence is how long after the last traffic something can fall due that the next traffic must not delay: a contact
	// is silent after 5 s, and its entry gone within one more.
	silence = 6 * int64(1e9) / tally.Tick
	// discontinuity is a jump of event time that counts as one: an hour.
	discontinuity = 3600 * int64(1e9) / tally.Tick
)

// judge runs once a tick: merge, analyzers, alerts, summary. One goroutine at a time: in a replay whichever worker closed the
// tick, live its own.
type judge struct {
	e       *Engine
	merger  *tally.Merger
	epoch   tally.Epoch
	view    analyzers.View
	alerts  *alert.Manager
	summary Summary
	out     conn.Out
	peers   []netip.Addr   // told
	records []conn.Record  // left at the end of input
	ended   []*conn.Record // to hand on; they stand in records or with the workers
	last    int64          // the last tick that had traffic
	now     int64          // the last tick judged
	saving  saving
}

func newJudge(e *Engine) *judge {
	j := &judge{e: e, merger: tally.NewMerger(e.cfg.Tally), alerts: alert.New(e.cfg.Alert), last: math.MinInt64}
	j.out.Record = j.keepFinal
	if e.sinks.Record == nil {
		j.out.Record = nil
	}
	return j
}

// tick judges a tick, and says which one to close next: until, in which traffic goes on, or one before it without traffic.
func (j *judge) tick(tick, until int64) int64 {
	j.merge(tick, j.e.sets[0])
	j.drainRecords()
	switch {
	case tick+1 < until && tick < j.last+silence:
		return tick + 1
	case tick+1 < until-1:
		return until - 1
	}
	return until
}

// merge makes the shards' counts one epoch and has it judged.
func (j *judge) merge(tick int64, shards []*tally.Shard) {
	e := &j.epoch
	j.merger.Merge(e, tick, shards)
	j.now = tick
	j.e.gate.take(e, j.alerts)
	j.tellPeers(e.Peers)
	if e.Link.Packets > 0 {
		j.last = tick
	}
	j.summary.add(e)
	j.view.Observe(e)
	j.alerts.Observe(&e.Link, j.view.OneWay(), e.End())
	if site := j.e.cfg.Site; site != nil {
		site.Begin(e.End())
		site.Observe(e)
		j.alerts.SetSite(site)
	}
	if !e.Empty() || tick <= j.last+silence {
		for _, a := range j.e.cfg.Analyzers {
			a.Judge(e, j.found)
		}
	}
	j.alerts.Advance(e.End(), j.emit)
	j.save(tick)
}

// tellPeers hands on who completed a handshake.
func (j *judge) tellPeers(peers []tally.Peer) {
	if j.e.sinks.Established == nil || len(peers) == 0 {
		return
	}
	j.peers = j.peers[:0]
	for i := range peers {
		j.peers = append(j.peers, peers[i].Addr.Netip(peers[i].Ver))
	}
	j.e.sinks.Established(j.peers)
}

// alarming is the least score of a finding whose parties nobody learns from: low severity.
const alarming = 25

func (j *judge) found(f *analyzers.Finding) {
	if site := j.e.cfg.Site; site != nil && min(f.Score, f.MaxScore) >= alarming {
		site.Alarm(f)
	}
	j.alerts.Add(f)
}

func (j *judge) emit(a *alert.Alert) {
	j.summary.Alerts[a.State]++
	if j.e.sinks.Alert != nil {
		j.e.sinks.Alert(a)
	}
}

// drainRecords hands on the connections that ended in this tick.
func (j *judge) drainRecords() {
	if j.e.sinks.Record == nil {
		return
	}
	for _, w := range j.e.workers {
		j.writeLater(w.recs)
	}
	j.writeRecords()
	for _, w := range j.e.workers {
		w.recs = w.recs[:0]
		w.kept = [decode.Shards]int{}
	}
}

// keepFinal gathers what is left in the tables at the end of input.
func (j *judge) keepFinal(r *conn.Record) {
	j.records = append(j.records, *r)
	if len(j.records) >= recordsSorted {
		j.writeFinal()
	}
}

func (j *judge) writeFinal() {
	j.writeLater(j.records)
	j.writeRecords()
	j.records = j.records[:0]
}

func (j *judge) writeLater(records []conn.Record) {
	for i := range records {
		j.ended = append(j.ended, &records[i])
	}
}

// writeRecords hands on what was gathered, in an order that does not know of workers.
func (j *judge) writeRecords() {
	slices.SortStableFunc(j.ended, func(a, b *conn.Record) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Shard, b.Shard))
	})
	for _, r := range j.ended {
		j.e.sinks.Record(r)
	}
	j.summary.Records += uint64(len(j.ended))
	clear(j.ended)
	j.ended = j.ended[:0]
}

// finish closes the last tick, all connections and all alerts. No worker runs any more.
func (j *judge) finish(c *course) {
	tallies := make([]*tally.Shard, tally.Shards)
	for _, w := range j.e.workers {
		if c.started {
			w.expire(c.tick)
		}
		j.summary.RecordsLost += w.lost
		for _, s := range w.shards {
			tallies[s%tally.Shards] = w.tallies[s%tally.Shards]
		}
	}
	j.drainRecords()
	for s := range decode.Shards {
		j.e.conns.Flush(s, &j.out)
		for i := range j.out.Contacts {
			step := &j.out.Contacts[i]
			if step.Stage != conn.StageUnknown { // the end of input is nothing that a source did, nor a loss of the sensor
				tallies[step.Shard%tally.Shards].Contact(step)
			}
		}
		for i := range j.out.Sessions {
			v := &j.out.Sessions[i]
			tallies[v.Shard%tally.Shards].Session(v)
		}
		j.out.Contacts, j.out.Sessions = j.out.Contacts[:0], j.out.Sessions[:0] // shard by shard: few at a time
	}
	j.writeFinal()
	if c.started {
		j.merge(c.tick, tallies)
		for _, a := range j.e.cfg.Analyzers {
			a.Finish(j.found)
		}
	}
	j.alerts.Flush(j.emit)
	j.summary.Limits = j.limits()
	j.summary.First, j.summary.Last = c.first, c.last
	j.summary.Backward, j.summary.Discontinuities = c.backward, c.jumps
}

// limits is what the bounds of analyzers and alerts have cost so far.
func (j *judge) limits() []analyzers.Cost {
	stats := j.alerts.Stats()
	all := []analyzers.Cost{{Limit: "alerts closed early", N: stats.Early}, {Limit: "alerts folded", N: stats.Folded}}
	for _, a := range j.e.cfg.Analyzers {
		if b, ok := a.(analyzers.Bounded); ok {
			all = append(all, b.Costs()...)
		}
	}
	return all
}
