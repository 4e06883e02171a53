package enforce

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"weir/sensor/policy"
)

// settle decides where a drop stands, but for the caps: a drop that passes is waiting, or in force already.
func (e *Enforcer) settle(r *record, now time.Time) {
	stand := r.stand
	switch d := r.drop; {
	case d.State == policy.Removed:
		stand = removed
	case d.State == policy.Expired || d.Until <= now.Unix():
		stand = ended
	case d.Generation <= max(e.void, r.void):
		stand = void
	case d.State == policy.Pending:
		stand = pending
	case e.panic != nil && e.panic.Held:
		e.refuse(r, now, "panic", fmt.Sprintf("nothing is enforced since the panic by %s, until it is resumed", e.panic.By))
		return
	default:
		if r.asked != e.asked {
			if no := e.guards.Check(d, now.UnixNano()); no != nil {
				e.refuse(r, now, no.Guard, no.Sentence)
				return
			}
			r.asked = e.asked
		}
		if stand != inForce && stand != failed {
			stand = waiting
		}
	}
	r.stand = stand
	if !r.wanted() {
		e.leave(r)
	}
}

// refuse holds a drop back, and tells so once for each generation and guard.
func (e *Enforcer) refuse(r *record, now time.Time, guard, why string) {
	r.stand, r.guard, r.why = refused, guard, why
	e.leave(r)
	c := complaint{r.drop.Generation, guard}
	if r.told == c {
		return
	}
	r.told = c
	e.status.Refusals[guard]++
	receipt := e.receipt(r, ReceiptRefused)
	receipt.Guard, receipt.Sentence = guard, why
	e.tell(receipt, now)
}

// leave gives back a drop's place within the caps.
func (e *Enforcer) leave(r *record) {
	if r.admitted {
		r.admitted = false
		e.admitted--
	}
}

// admit lets drops in, oldest first, as far as the caps allow. Those that stand are admitted, and no others.
func (e *Enforcer) admit(list []*record, now time.Time) {
	most := float64(burst * e.o.Caps.PerSecond)
	e.tokens = min(most, e.tokens+max(now.Sub(e.filled).Seconds(), 0)*float64(e.o.Caps.PerSecond))
	e.filled = now
	slices.SortFunc(list, byGeneration)
	for _, r := range list {
		switch {
		case e.admitted >= e.o.Caps.Drops:
			e.refuse(r, now, "cap_total", fmt.Sprintf("No drop of %s (guard cap_total): %d are enforced, and no more may be.", target(r.drop), e.admitted))
		case !r.early && e.tokens < 1:
			e.refuse(r, now, "cap_rate", fmt.Sprintf("No drop of %s yet (guard cap_rate): more than %d new ones a second came in.",
				target(r.drop), e.o.Caps.PerSecond))
		default:
			if !r.early {
				e.tokens--
			}
			r.admitted = true
			e.admitted++
		}
	}
}

func byGeneration(a, b *record) int { return cmp.Compare(a.drop.Generation, b.drop.Generation) }

// enforce brings some drops to where they stand.
func (e *Enforcer) enforce(list []*record, now time.Time) {
	if len(list) == 0 {
		return
	}
	e.setNever(now)
	var fresh []*record
	for _, r := range list {
		e.settle(r, now)
		if r.stands() && !r.admitted {
			fresh = append(fresh, r)
		}
	}
	e.admit(fresh, now)
	for _, r := range list {
		if r.stand == inForce {
			e.inForce(r, now) // of a new generation that changes nothing in the kernel
		}
	}
	e.end(list, now)
	e.put(list, now)
}

// end takes off the kernel what is not wanted there, and tells of those that were in force.
func (e *Enforcer) end(list []*record, now time.Time) {
	var keys []string
	var gone []*record
	for _, r := range list {
		if r.stands() {
			continue
		}
		if r.inKernel {
			keys, gone = append(keys, r.want.Key), append(gone, r)
		} else {
			e.tellEnd(r, now)
		}
	}
	if len(keys) == 0 {
		return
	}
	e.lastHits(gone, now)
	err := e.o.Table.Delete(keys)
	e.trouble("delete", now, err)
	if err != nil {
		return // the next reconcile sees what is left, and takes it off
	}
	for _, r := range gone {
		r.inKernel, r.counted, r.countedBytes = false, 0, 0
		e.tellEnd(r, now)
	}
}

// lastHitsOf is up to how many entries a table is read before some are deleted: a few milliseconds. Of a larger one, what met them since
// the last reading is lost.
const lastHitsOf = 4096

// lastHits reads what met drops since the last reading, before they are deleted.
func (e *Enforcer) lastHits(gone []*record, now time.Time) {
	entries := 0
	for _, c := range e.o.Table.Counts() {
		entries += c.Used
	}
	if entries > lastHitsOf {
		return
	}
	ending := map[string]*record{}
	for _, r := range gone {
		ending[r.want.Key] = r
	}
	e.trouble("read", now, e.o.Table.Read(func(h Held) {
		if r := ending[h.Key]; r != nil {
			e.hit(r, &h)
		}
	}))
}

// stands reports whether the kernel is to hold a drop.
func (r *record) stands() bool { return r.stand == inForce || r.stand == waiting || r.stand == failed }

// tellEnd tells that what was told to be applied is not in force any more. A refusal was told already, and a panic is told as one.
func (e *Enforcer) tellEnd(r *record, now time.Time) {
	if r.applied == 0 {
		return
	}
	r.applied, r.since = 0, time.Time{}
	e.dirty = true
	what, met := fmt.Sprintf("The drop of %s %s", target(r.drop), e.at()), fmt.Sprintf("%d packets (%d bytes) met it", r.packets, r.bytes)
	if rehearsed(r.drop, e.rehearse).Action == policy.Shadow {
		what += ", which was only counted (shadow),"
	}
	switch r.stand {
	case ended:
		receipt := e.receipt(r, ReceiptExpired)
		receipt.Sentence = fmt.Sprintf("%s ended at %s: %s.", what, clock(r.drop.Until), met)
		e.tell(receipt, now)
	case removed, pending:
		receipt := e.receipt(r, ReceiptRemoved)
		receipt.Guard = r.drop.Guard
		receipt.Sentence = fmt.Sprintf("%s was removed: %s.", what, met)
		e.tell(receipt, now)
	}
}

// put puts in the kernel what stands and is not in force as wanted.
func (e *Enforcer) put(list []*record, now time.Time) {
	var in []*record
	for _, r := range list {
		if r.stand != waiting && r.stand != failed {
			continue
		}
		// A guard may have been asked long ago: its answer depends on the time, and on this map write.
		if no := e.guards.Check(r.drop, now.UnixNano()); no != nil {
			e.refuse(r, now, no.Guard, no.Sentence)
			continue
		}
		in = append(in, r)
	}
	if len(in) == 0 || !e.neverSet {
		return // the kernel's own guard comes first
	}
	slices.SortFunc(in, byGeneration) // when not all have room
	drops := make([]*policy.Drop, len(in))
	for i, r := range in {
		drops[i] = rehearsed(r.drop, e.rehearse)
	}
	failures := e.o.Table.Put(drops)
	var first error
	for _, r := range in {
		if err := failures[r.want.Key]; err != nil {
			first = err
			e.fail(r, now, err)
			continue
		}
		e.inForce(r, now)
	}
	if first != nil {
		first = fmt.Errorf("%d of %d drops are not in force: %w", len(failures), len(drops), first)
	}
	e.trouble("put", now, first)
}

// inForce notes that the kernel holds a drop as wanted, and tells so once for each generation.
func (e *Enforcer) inForce(r *record, now time.Time) {
	r.stand, r.inKernel, r.guard, r.why, r.told = inForce, true, "", "", complaint{}
	if r.since.IsZero() {
		r.since = now
	}
	if r.applied == r.drop.Generation {
		return
	}
	r.applied = r.drop.Generation
	e.dirty = true
	receipt := e.receipt(r, ReceiptApplied)
	receipt.Sentence = fmt.Sprintf("%s %s %s until %s: %s", target(r.drop), doing(rehearsed(r.drop, e.rehearse)), e.at(), clock(r.drop.Until), r.drop.Reason)
	e.tell(receipt, now)
}

// fail notes that the kernel did not take a drop. It is tried again at each reconcile.
func (e *Enforcer) fail(r *record, now time.Time, err error) {
	r.stand, r.why = failed, err.Error()
	c := complaint{r.drop.Generation, "failed"}
	if r.told == c {
		return
	}
	r.told = c
	receipt := e.receipt(r, ReceiptRefused)
	receipt.Error = err.Error()
	receipt.Sentence = fmt.Sprintf("No drop of %s %s: %v.", target(r.drop), e.at(), err)
	e.tell(receipt, now)
}

func (e *Enforcer) setNever(now time.Time) {
	if e.neverSet {
		return
	}
	err := e.o.Table.Never(e.never)
	e.trouble("never-list", now, err)
	e.neverSet = err == nil
}

// reconcile reads what the kernel holds and makes it what is wanted.
func (e *Enforcer) reconcile(now time.Time) bool {
	begun := time.Now()
	e.walk++
	if e.walk == 1 {
		e.lookForPanic(now)
		e.clear(now)
	}
	e.mend(now)
	e.setNever(now)
	all, fresh := make([]*record, 0, len(e.records)), []*record(nil)
	for _, r := range e.records {
		e.settle(r, now)
		if r.stands() && !r.admitted {
			fresh = append(fresh, r)
		}
		all = append(all, r)
	}
	e.admit(fresh, now)
	if e.walk == 1 {
		e.recall(all)
	}
	if e.compare(now) {
		e.clear(now)
		e.end(all, now)
		e.put(all, now)
		e.forget(all, now)
	}
	e.account(now)
	e.full = false
	e.status.Reconciled, e.status.Took = now, time.Since(begun)
	return false
}

// mend makes the table judge the interface's traffic, if it does not.
func (e *Enforcer) mend(now time.Time) {
	anew, err := e.o.Table.Mend()
	if err == nil && !e.status.Attached {
		e.o.Log.Info("the gate judges the interface's traffic again", "interface", e.o.Interface, "table", e.status.Table)
	}
	e.status.Attached = err == nil
	e.trouble("attach", now, err)
	if anew {
		if e.neverSet {
			e.warn("never-list", now, "the kernel's never-list was not what was put there: put there again")
		}
		e.neverSet = false
	}
	if t, ok := e.o.Table.(pinner); ok {
		repinned, err := t.Repin()
		e.trouble("pins", now, err)
		if repinned && err == nil {
			e.warn("pins", now, "the gate's pins were gone: pinned anew")
		}
	}
}

func (e *Enforcer) recall(all []*record) {
	t, ok := e.o.Table.(recaller)
	if !ok {
		return
	}
	var drops []*policy.Drop
	for _, r := range all {
		if r.stands() {
			drops = append(drops, rehearsed(r.drop, e.rehearse))
		}
	}
	t.Recall(drops)
}

// compare reads the kernel: what hit is counted, what is foreign goes, and what is missing or different waits to be put. False: it
// could not be read.
func (e *Enforcer) compare(now time.Time) bool {
	var drift Drift
	var foreign []string
	adopted, alien := 0, 0
	err := e.o.Table.Read(func(h Held) {
		r := e.records[h.Key]
		switch {
		case r == nil:
			foreign = append(foreign, h.Key)
			return
		case e.walk == 1:
			r.adopt(&h)
			if r.stands() {
				adopted++
			} else {
				alien++
			}
		case !r.stands() && !r.inKernel:
			drift.Foreign++ // for end to take off
		}
		r.walked = e.walk
		switch as := r.want.is(h.Entry, now.Unix()); {
		case r.stand == inForce && !as:
			drift.Changed++
			r.stand = waiting
		case (r.stand == waiting || r.stand == failed) && as:
			e.inForce(r, now)
		}
		r.inKernel = true
		e.hit(r, &h)
	})
	e.trouble("read", now, err)
	if err != nil {
		return false
	}
	for _, r := range e.records {
		if r.walked == e.walk || !r.inKernel {
			continue
		}
		r.inKernel, r.counted, r.countedBytes = false, 0, 0
		if r.stand == inForce {
			r.stand = waiting
			if r.drop.Until > now.Unix()+1 { // else its end came a moment earlier there
				drift.Missing++
			}
		}
	}
	if e.walk == 1 {
		e.status.Adopted, e.status.Alien = adopted, alien+len(foreign)
		if adopted+alien+len(foreign) > 0 {
			e.o.Log.Info("drops of an earlier process were in force", "interface", e.o.Interface, "wanted", adopted, "others", alien,
				"unknown", len(foreign))
		}
	}
	if foreign = e.strange(foreign, &drift); len(foreign) > 0 {
		e.trouble("delete", now, e.o.Table.Delete(foreign))
	}
	e.drifted(drift, now)
	return true
}

// strange are those keys of the kernel that have no record and are to go: drift, but for what was there at the start.
func (e *Enforcer) strange(keys []string, drift *Drift) (gone []string) {
	if e.walk == 1 {
		e.unknown = map[string]bool{}
		for _, key := range keys {
			e.unknown[key] = true
		}
	}
	for _, key := range keys {
		switch {
		case !e.unknown[key]:
			drift.Foreign++
		case e.adopting:
			continue
		}
		gone = append(gone, key)
	}
	if !e.adopting {
		e.unknown = nil
	}
	return gone
}

// adopt takes an entry's counters as they are: what it counted before this process was told by another.
func (r *record) adopt(h *Held) {
	r.counted, r.countedBytes = h.Packets, h.Bytes
	r.packets, r.bytes, r.last = h.Packets, h.Bytes, h.Last
}

// hit adds what met an entry since it was read last. Counters begin anew with an entry that was gone meanwhile.
func (e *Enforcer) hit(r *record, h *Held) {
	if h.Packets < r.counted || h.Bytes < r.countedBytes {
		r.counted, r.countedBytes = 0, 0
	}
	packets, bytes := h.Packets-r.counted, h.Bytes-r.countedBytes
	r.counted, r.countedBytes = h.Packets, h.Bytes
	if packets == 0 {
		return
	}
	r.packets, r.bytes, r.last = r.packets+packets, r.bytes+bytes, max(r.last, h.Last)
	t := e.hits[r.drop.ID]
	if t == nil {
		if len(e.hits) >= e.maxKnown() {
			e.status.Unasked++
			return
		}
		t = &Hit{ID: r.drop.ID}
		e.hits[r.drop.ID] = t
	}
	d := r.drop
	t.Alert, t.Key, t.Source, t.Service, t.Action = d.Alert, r.want.Key, d.Source(), d.Service, rehearsed(d, e.rehearse).Action
	t.Packets, t.Bytes, t.Last = t.Packets+packets, t.Bytes+bytes, max(t.Last, h.Last)
}

// drifted notes what nobody asked for.
func (e *Enforcer) drifted(d Drift, now time.Time) {
	if d.Sum() == 0 {
		return
	}
	d.Time = now
	e.status.Drift = d
	t := &e.status.DriftTotal
	t.Missing, t.Foreign, t.Changed, t.Time = t.Missing+d.Missing, t.Foreign+d.Foreign, t.Changed+d.Changed, now
	e.warn("drift", now, "the kernel's drops were not what was put there: mended", "missing", d.Missing, "foreign", d.Foreign, "changed", d.Changed)
}

// forget ends records of which no older generation could come back.
func (e *Enforcer) forget(all []*record, now time.Time) {
	for _, r := range all {
		if r.keep <= now.Unix() && !r.inKernel && !r.wanted() && r.applied == 0 {
			e.drop(r)
		}
	}
}

// account reads the table's own figures.
func (e *Enforcer) account(now time.Time) {
	totals, err := e.o.Table.Totals()
	e.trouble("totals", now, err)
	if err == nil {
		e.status.Totals = totals
	}
	e.status.Counts = e.o.Table.Counts()
}

// lookForPanic reads the file of a panic, which the command line may have written.
func (e *Enforcer) lookForPanic(now time.Time) bool {
	if e.o.Panic == "" {
		return false
	}
	p, err := Panicked(e.o.Panic)
	if p != nil { // it counts, whatever its form: a panic is no trouble
		err = nil
	}
	e.trouble("file of a panic", now, err)
	return p != nil && e.panicked(p, false, now)
}

// panicked takes a panic or its end, unless a newer one is known. It returns whether to reconcile at once.
func (e *Enforcer) panicked(p *Panic, write bool, now time.Time) bool {
	if e.panic != nil && p.Generation <= e.panic.Generation {
		return false
	}
	p.Schema = PanicSchema
	if p.Held || e.panic == nil { // of a panic that was not seen here only the end is known
		e.void = p.Generation
	}
	e.panic, e.cleared, e.dirty = p, false, true
	if p.Held {
		for _, r := range e.records { // also what a clock ahead of the panic's made
			r.void = r.drop.Generation
		}
		e.clear(now)
	} else {
		e.o.Log.Warn("resumed: drops are enforced again", "interface", e.o.Interface, "by", p.By, "reason", p.Reason)
	}
	if write { // the kernel did not wait for the disk
		e.trouble("file of a panic", now, e.writePanic(p))
	}
	return true
}

// writePanic keeps what the bus told. A file that knows of something newer, which the bus may never tell, stays.
func (e *Enforcer) writePanic(p *Panic) error {
	if e.o.Panic == "" {
		return nil
	}
	if have, _ := Panicked(e.o.Panic); have != nil && have.Generation >= p.Generation {
		return nil
	}
	return WritePanic(e.o.Panic, *p)
}

// clear ends all drops of a panic that is held, once.
func (e *Enforcer) clear(now time.Time) {
	if e.panic == nil || !e.panic.Held || e.cleared {
		return
	}
	err := e.o.Table.Clear()
	e.trouble("clear", now, err)
	if err != nil {
		return // tried again at each reconcile
	}
	e.cleared = true
	n := 0
	for _, r := range e.records {
		if r.inKernel {
			n++
		}
		r.inKernel, r.applied, r.since, r.counted, r.countedBytes = false, 0, time.Time{}, 0, 0
		e.settle(r, now)
	}
	receipt := Receipt{State: ReceiptRemoved, Guard: "panic"}
	receipt.Sentence = fmt.Sprintf("Panic by %s: %d drops %s were ended, and nothing is enforced until it is resumed.", e.panic.By, n, e.at())
	e.tell(receipt, now)
	e.o.Log.Warn("panic: all drops are ended, and nothing is enforced until it is resumed", "interface", e.o.Interface, "drops", n,
		"by", e.panic.By, "reason", e.panic.Reason)
}
