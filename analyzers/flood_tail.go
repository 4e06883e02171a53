package analyzers

// floodTail is what came after a finding, within the second in which it must not be repeated. If the flood then goes on, the
// next finding tells it; if not, it is told when the second is over.
type floodTail struct {
	finding *Finding // the one before; nil: repeated since
	tick    int64    // when it was told
	events  uint64   // since
	last    int64    // ns, end of the last tick with them
	v       *floodVictim
	kind    floodKind
}

// told begins the tail of a finding.
func (f *Flood) told(v *floodVictim, kind floodKind, w *Finding) {
	if before := v.tail[kind]; before != nil {
		before.finding = nil
	}
	v.tail[kind] = &floodTail{finding: w, tick: f.epoch.Tick, v: v, kind: kind}
	f.tails = append(f.tails, v.tail[kind])
}

// follow adds this tick to the tail of the finding before.
func (f *Flood) follow(v *floodVictim, kind floodKind, alarms []floodAlarm) {
	t := v.tail[kind]
	if t == nil {
		return
	}
	before := t.events
	for i := range alarms {
		t.events += alarms[i].latest()
	}
	if t.events > before {
		t.last = f.epoch.End()
	}
}

// latest is how many packets or handshakes of the alarm the newest tick counted.
func (a *floodAlarm) latest() uint64 {
	slot := &a.v.slots[slotOf(a.v.tick)]
	n := uint64(slot[floodRules[a.kind].packets])
	if a.load.again {
		return uint64(slot[mAgain])
	}
	if a.kind == kindSYN {
		n -= min(n, uint64(slot[mDone]))
	}
	return min(n, a.sum[floodRules[a.kind].packets])
}

// tellTails tells the tails whose second is over, or all of them.
func (f *Flood) tellTails(all bool) {
	kept := f.tails[:0]
	for _, t := range f.tails {
		switch {
		case t.finding == nil:
		case !all && f.epoch.Tick-t.tick < ticksPerSecond:
			kept = append(kept, t)
		case t.events > 0:
			w := *t.finding
			w.Time, w.Last, w.Count = f.epoch.End(), t.last, t.events
			f.emit(&w)
			if t.v.tail[t.kind] == t { // else the victim's place is another's by now
				t.v.said[t.kind], t.v.ran[t.kind], t.v.tail[t.kind] = f.epoch.Tick, f.epoch.Tick, nil
			}
		}
	}
	clear(f.tails[len(kept):])
	f.tails = kept
}

// Finish implements Analyzer.
func (f *Flood) Finish(emit func(*Finding)) {
	if f.epoch != nil {
		f.emit = emit
		f.base.seconds.flush(f.compare)
		f.tellTails(true)
	}
}
