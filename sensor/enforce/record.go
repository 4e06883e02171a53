package enforce

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

// record is what is known of a key.
type record struct {
	drop  *policy.Drop // of the highest generation; replaced, never changed
	want  Entry        // that the kernel is to hold, if the drop stands
	body  [32]byte     // hash of the instruction; zero if it came from the state file
	keep  int64        // unix s: the latest end of all generations seen; until then an older one could come back
	void  uint64       // generation up to which a panic ended it for ever, besides Enforcer.void
	early bool         // it came with the state file or the first whole read: the cap on new ones is not for it

	stand    standing
	guard    string    // of refused
	why      string    // of refused and failed
	asked    uint64    // guards that let it pass, as Enforcer.asked; 0: they were not asked
	admitted bool      // it counts for the caps
	told     complaint // last refusal that was told
	wrong    complaint // last complaint about what the bus said of the key; zero again once it says right
	applied  uint64    // generation that was told to be applied, and whose end was not; 0: none
	since    time.Time // in force

	inKernel bool   // the kernel may hold something of this key
	walked   uint64 // reconcile that found it there

	counted        uint64 // packets in the kernel's entry when it was read last
	countedBytes   uint64
	packets, bytes uint64
	last           int64 // unix ns

	seen    uint64 // whole read that had it
	missing bool
}

// standing is where a drop stands. Only inForce is in the kernel as wanted.
type standing uint8

const (
	waiting standing = iota // its turn has not come
	inForce
	refused
	failed
	pending
	void // of before a panic
	ended
	removed
)

var standings = [...]string{"waiting", "applied", "refused", "failed", "pending", "void", "expired", "removed"}

// complaint is a refusal, told once.
type complaint struct {
	generation uint64
	guard      string
}

// maxBody is how many bytes an instruction may have, maxBad how many keys without a record are remembered for having been bad.
const (
	maxBody = 16 << 10
	maxBad  = 4096
)

// learn looks at an instruction; what it changed goes to changed. It returns whether to reconcile at once.
func (e *Enforcer) learn(in *Instruction, now time.Time, changed *[]*record) (again bool) {
	r := e.records[in.Key]
	switch {
	case in.Deleted:
		if r != nil && (r.wanted() || r.stand == pending) || in.Key == PanicKey && e.panic != nil { // else it is garbage that was collected
			e.complain(in.Key, r, complaint{0, "bare_delete"}, now, "it was deleted without a signed removal, and stays as it was")
		} else if r != nil {
			r.wrong = complaint{} // it is gone with the value
		}
		return false
	case in.Err != nil:
		guard := in.Guard
		if guard == "" {
			guard = "unsigned"
		}
		e.complain(in.Key, r, complaint{0, guard}, now, in.Err.Error())
		return false
	case len(in.Body) > maxBody:
		e.complain(in.Key, r, complaint{0, "malformed"}, now, fmt.Sprintf("%d bytes, at most %d", len(in.Body), maxBody))
		return false
	case in.Key == PanicKey:
		return e.learnPanic(in, now)
	}
	hash := sha256.Sum256(in.Body)
	if r != nil && r.body == hash {
		r.confirm(hash, e.read) // as most of a whole read
		return false
	}
	d, err := policy.ParseDrop(in.Body)
	if err == nil && d.Key() != in.Key {
		err = fmt.Errorf("it is a drop of %s", d.Key())
	}
	switch {
	case err != nil:
		e.complain(in.Key, r, complaint{0, "malformed"}, now, err.Error())
	case r == nil && d.Until <= now.Unix():
		if d.State == policy.Requested && !e.reading { // in a whole read it is garbage
			e.complain(in.Key, nil, complaint{d.Generation, "expired"}, now, "its end, "+clock(d.Until)+", is past")
		}
	case r == nil:
		if r = e.remember(d, now); r != nil {
			r.confirm(hash, e.read)
			*changed = append(*changed, r)
		}
	case d.Generation < r.drop.Generation:
		e.complain(in.Key, r, complaint{d.Generation, "replayed"}, now,
			fmt.Sprintf("generation %d is older than %d, which is known", d.Generation, r.drop.Generation))
	case d.Generation == r.drop.Generation && !same(d, r.drop):
		e.complain(in.Key, r, complaint{d.Generation, "replayed"}, now, fmt.Sprintf("generation %d is known with another body", d.Generation))
	case d.Generation == r.drop.Generation:
		r.confirm(hash, e.read)
	default:
		r.replace(d, e.rehearse)
		r.confirm(hash, e.read)
		e.dirty = true
		*changed = append(*changed, r)
	}
	return false
}

func (e *Enforcer) learnPanic(in *Instruction, now time.Time) bool {
	p, err := ParsePanic(in.Body)
	if err != nil {
		e.complain(in.Key, nil, complaint{0, "malformed"}, now, err.Error())
		return false
	}
	if q := e.heard; p.Generation < q.Generation || p.Generation == q.Generation && *p != q {
		e.complain(in.Key, nil, complaint{p.Generation, "replayed"}, now, fmt.Sprintf("generation %d is known, held %v", q.Generation, q.Held))
		return false
	}
	e.heard = *p
	return e.panicked(p, true, now)
}

// same compares drops by their JSON.
func same(a, b *policy.Drop) bool {
	x, err1 := a.AppendLine(nil)
	y, err2 := b.AppendLine(nil)
	return err1 == nil && err2 == nil && slices.Equal(x, y)
}

// remember makes a record of a key; nil if there is no room.
func (e *Enforcer) remember(d *policy.Drop, now time.Time) *record {
	if len(e.records) >= e.maxKnown() && !e.forgetTombstones() {
		e.complain(d.Key(), nil, complaint{d.Generation, "cap_total"}, now, fmt.Sprintf("%d keys are known, which is the most", e.maxKnown()))
		return nil
	}
	r := &record{seen: e.read, early: e.reading && e.status.Whole.IsZero()}
	r.replace(d, e.rehearse)
	e.records[r.want.Key] = r
	delete(e.bad, r.want.Key)
	if e.unknown[r.want.Key] {
		delete(e.unknown, r.want.Key)
		e.status.Adopted, e.status.Alien = e.status.Adopted+1, e.status.Alien-1
	}
	e.dirty = true
	return r
}

// confirm notes that the bus has the record's drop.
func (r *record) confirm(body [32]byte, read uint64) {
	r.body, r.seen, r.missing, r.wrong = body, read, false, complaint{}
}

func (r *record) replace(d *policy.Drop, rehearse bool) {
	want := EntryOf(rehearsed(d, rehearse))
	if r.stand == inForce && want != r.want {
		r.stand = waiting // to be put anew
	}
	if r.drop != nil && r.drop.ID != d.ID {
		r.packets, r.bytes, r.last = 0, 0, 0
	}
	r.drop, r.want, r.asked = d, want, 0
	r.keep = max(r.keep, d.Until)
}

// rehearsed is a drop as the kernel is to have it: in a rehearsal it is only counted, whatever was asked for.
func rehearsed(d *policy.Drop, rehearse bool) *policy.Drop {
	if !rehearse || d.Action == policy.Shadow {
		return d
	}
	shadow := *d
	shadow.Action, shadow.Would = policy.Shadow, d.Action
	return &shadow
}

// forgetTombstones makes room: a sixteenth of what can be known, of those that stand for nothing in the kernel, what ends first. An
// older generation of such a key is not known as replayed any more.
func (e *Enforcer) forgetTombstones() bool {
	if e.full {
		return false
	}
	var list []*record
	for _, r := range e.records {
		if !r.inKernel && !r.wanted() && r.stand != pending {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b *record) int { return int(a.keep - b.keep) })
	for _, r := range list[:min(len(list), e.maxKnown()/16+1)] {
		e.drop(r)
		e.status.Forgotten++
	}
	e.full = len(list) == 0
	return len(list) > 0
}

// drop forgets a record.
func (e *Enforcer) drop(r *record) {
	e.leave(r)
	delete(e.records, r.want.Key)
	e.dirty = true
}

// wanted reports whether a drop is asked for: it stands, or something holds it back.
func (r *record) wanted() bool {
	return r.stand == inForce || r.stand == waiting || r.stand == refused || r.stand == failed
}

// complain counts a refusal, and tells it unless it was told: r is the record of the key, nil if there is none.
func (e *Enforcer) complain(key string, r *record, c complaint, now time.Time, why string) {
	subject := key
	receipt := Receipt{State: ReceiptRefused, Guard: c.guard, Key: key, Generation: c.generation}
	if len(key) > 200 { // unsigned keys are anybody's
		subject, receipt.Key = key[:200], key[:200]
	}
	if r != nil {
		if r.wrong == c {
			return
		}
		r.wrong = c
		subject, receipt.Drop = target(r.drop), r.drop.ID
	} else if !e.firstBad(key, c) {
		return
	}
	e.status.Refusals[c.guard]++
	receipt.Sentence = fmt.Sprintf("No change of %s (guard %s): %s.", subject, c.guard, why)
	e.tell(receipt, now)
	e.warn("refused "+c.guard, now, "instruction refused", "key", receipt.Key, "guard", c.guard, "why", why)
}

// firstBad reports whether a key was not bad in this way in this whole read, nor in the one before.
func (e *Enforcer) firstBad(key string, c complaint) bool {
	told := e.bad[key] == c || e.badBefore[key] == c
	if _, known := e.bad[key]; !known && len(e.bad) >= maxBad {
		e.status.Refusals[c.guard]++ // and no more
		return false
	}
	e.bad[key] = c
	return !told
}

// tell completes a receipt. It is told when the lock is free.
func (e *Enforcer) tell(r Receipt, now time.Time) {
	r.Schema, r.Time = ReceiptSchema, alert.Time(now.UnixNano())
	r.Enforcer, r.Interface, r.Table = e.o.Host, e.o.Interface, e.status.Table
	switch r.State {
	case ReceiptApplied:
		e.status.Applied++
	case ReceiptExpired:
		e.status.Expired++
	case ReceiptRemoved:
		e.status.Removed++
	}
	e.out = append(e.out, r)
}

// receipt of a drop.
func (e *Enforcer) receipt(r *record, state string) Receipt {
	return Receipt{
		State: state, Drop: r.drop.ID, Generation: r.drop.Generation, Key: r.want.Key,
		Packets: r.packets, Bytes: r.bytes, Last: alert.Time(r.last),
	}
}

// at names the place, for sentences.
func (e *Enforcer) at() string { return fmt.Sprintf("at %s (%s)", e.o.Interface, e.status.Table) }
