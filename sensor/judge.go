package sensor

import (
	"cmp"
	"math"
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

// judge runs once a tick, on whichever worker closed it: merge, analyzers, alerts, summary.
type judge struct {
	e       *Engine
	merger  *tally.Merger
	epoch   tally.Epoch
	view    analyzers.View
	alerts  *alert.Manager
	summary Summary
	out     conn.Out
	records []conn.Record  // left at the end of input
	ended   []*conn.Record // to hand on; they stand in records or with the workers
	last    int64          // the last tick that had traffic
	now     int64          // the last tick judged
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
	j.merge(tick)
	if j.epoch.Link.Packets > 0 {
		j.last = tick
	}
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
func (j *judge) merge(tick int64) {
	e := &j.epoch
	j.merger.Merge(e, tick, j.e.shards)
	j.now = tick
	j.summary.add(e)
	j.view.Observe(e)
	if !e.Empty() || tick <= j.last+silence {
		for _, a := range j.e.cfg.Analyzers {
			a.Judge(e, j.found)
		}
	}
	j.alerts.Advance(e.End(), j.emit)
}

func (j *judge) found(f *analyzers.Finding) { j.alerts.Add(f, &j.epoch.Link, j.view.OneWay()) }

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
func (j *judge) finish() {
	r := j.e.ring
	for _, w := range j.e.workers {
		if r.started {
			w.expire(r.tick)
		}
		j.summary.RecordsLost += w.lost
	}
	j.drainRecords()
	for s := range decode.Shards {
		j.e.conns.Flush(s, &j.out)
		for i := range j.out.Contacts {
			c := &j.out.Contacts[i]
			if c.Stage != conn.StageUnknown { // the end of input is nothing that a source did, nor a loss of the sensor
				j.e.shards[c.Shard%tally.Shards].Contact(c)
			}
		}
		j.out.Contacts = j.out.Contacts[:0] // shard by shard: few at a time
	}
	j.writeFinal()
	if r.started {
		j.merge(r.tick)
		for _, a := range j.e.cfg.Analyzers {
			a.Finish(j.found)
		}
	}
	j.alerts.Flush(j.emit)
	stats := j.alerts.Stats()
	j.summary.Limits = []analyzers.Cost{{Limit: "alerts closed early", N: stats.Early}, {Limit: "alerts folded", N: stats.Folded}}
	for _, a := range j.e.cfg.Analyzers {
		if b, ok := a.(analyzers.Bounded); ok {
			j.summary.Limits = append(j.summary.Limits, b.Costs()...)
		}
	}
	j.summary.First, j.summary.Last = r.first, r.last
	j.summary.Backward, j.summary.Discontinuities = r.backward, r.jumps
}
