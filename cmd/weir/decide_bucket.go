package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// want has a drop written. The end of ours is not that of another sensor's, which has taken its place.
func (d *decider) want(drop *policy.Drop) {
	key := drop.Key()
	other := d.others[key]
	delete(d.others, key)
	if other != nil && drop.State != policy.Requested && other.Until > time.Now().Unix() {
		delete(d.unwritten, key)
		return
	}
	d.unwritten[key] = drop
	if delete(d.buried, key); drop.State == policy.Removed && len(d.buried) < maxBuried {
		d.buried[key] = drop
	}
}

// maxBuried bounds the removed drops that are remembered. Gates that were there remember them, too.
const maxBuried = 65536

// write puts into the bucket what is decided. What it does not take now is tried again a second later.
func (d *decider) write(ctx context.Context) {
	d.mu.Lock()
	waiting := maps.Clone(d.unwritten)
	unsaid, last := d.unsaid, d.panic
	d.mu.Unlock()
	var err error
	if unsaid {
		err = d.say(ctx, &last)
	}
	for some := range slices.Chunk(inOrder(waiting), writers) {
		if err != nil && !errors.Is(err, bus.ErrHeld) { // a full bucket still takes what is there already
			break
		}
		if failed := d.putAll(ctx, some); failed != nil {
			err = failed
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil { // nobody needs to know of what has ended: new ones must not add up while there is no way
		maps.DeleteFunc(d.unwritten, func(_ string, drop *policy.Drop) bool { return drop.Until <= time.Now().Unix() })
	}
	if d.failed = err; err != nil && ctx.Err() == nil {
		d.seldom.Warn("wanted drops cannot be written; enforcers keep what they have, and it is tried on", "waiting", len(d.unwritten), "error", err)
	}
}

// inOrder has what relieves first, and then what was decided first.
func inOrder(waiting map[string]*policy.Drop) []*policy.Drop {
	return slices.SortedFunc(maps.Values(waiting), func(a, b *policy.Drop) int {
		if relieves := a.State != policy.Requested; relieves != (b.State != policy.Requested) {
			if relieves {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Generation, b.Generation)
	})
}

// writers is how many drops are on their way to the bucket at once: a server 10 ms away takes 1,000 in less than a second.
const writers = 16

// putAll writes drops of different keys side by side.
func (d *decider) putAll(ctx context.Context, drops []*policy.Drop) error {
	failed := make([]error, len(drops))
	var work sync.WaitGroup
	for i, drop := range drops {
		work.Go(func() {
			if failed[i] = d.put(ctx, drop); failed[i] != nil {
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.unwritten[drop.Key()] == drop {
				delete(d.unwritten, drop.Key())
			}
		})
	}
	work.Wait()
	for _, err := range failed {
		if err != nil && !errors.Is(err, bus.ErrHeld) {
			return err
		}
	}
	return errors.Join(failed...)
}

// put writes a drop into the bucket.
func (d *decider) put(ctx context.Context, drop *policy.Drop) error {
	body, err := drop.AppendLine(nil)
	if err != nil {
		return err
	}
	once, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return d.state.Put(once, drop.Key(), body[:len(body)-1])
}

// say writes a panic, or its end, into the bucket: one that came by the file of the state folder, or that somebody deleted.
func (d *decider) say(ctx context.Context, p *enforce.Panic) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	once, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := d.state.Put(once, enforce.PanicKey, body); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsaid = d.panic != *p
	return nil
}

// follow compares the bucket with the policy: at each look at all of it, and at each change, until ctx ends.
func (d *decider) follow(ctx context.Context) {
	err := d.state.Watch(ctx, d.begin, d.see, func(complete bool) {
		if complete {
			d.whole(ctx)
		}
	})
	if err != nil && ctx.Err() == nil {
		d.log.Error("the bucket of wanted drops is not looked after any more", "error", err)
	}
}

// begin is the begin of a look at all of the bucket.
func (d *decider) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found, d.old, d.unsaid = map[string]uint64{}, nil, d.panic.Generation > 0
}

// see is one entry of the bucket.
func (d *decider) see(s bus.Signed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case s.Key == enforce.PanicKey:
		d.seePanic(s)
		return
	case s.Deleted || s.Err != nil: // by hand, or by somebody whom nobody trusts
		d.mend(s.Key, 0)
		return
	}
	drop, err := policy.ParseDrop(s.Body)
	if err != nil || drop.Key() != s.Key {
		d.mend(s.Key, 0)
		return
	}
	if d.found != nil {
		d.found[s.Key] = drop.Generation
		if drop.Until < time.Now().Add(-garbageAge).Unix() {
			d.old = append(d.old, s.Key)
		}
	}
	if own := d.policy.Drop(drop.ID); own != nil && drop.State == policy.Removed && drop.Generation > own.Generation {
		d.tell(d.policy.Remove(drop.ID, cmp.Or(s.Name, s.Signer), drop.Summary, now())) // while no sensor answered
		return
	}
	d.hear(drop)
	d.mend(s.Key, drop.Generation)
}

// hear sees to it that a drop of ours stands beside another sensor's, which has its key: of one key the bucket has one.
func (d *decider) hear(drop *policy.Drop) {
	d.policy.After(drop.Generation) // else gates take what comes for old
	own := d.policy.Wanted(drop.Key())
	if own == nil || own.ID == drop.ID || own.Generation >= drop.Generation {
		return
	}
	if delete(d.others, drop.Key()); drop.State == policy.Requested {
		d.others[drop.Key()] = drop
	}
	d.tell(d.policy.Heard(drop, now()))
}

// mend has what is wanted of a key written again, if the bucket has less: within decideEvery, so that gates see, too, and tell, what
// somebody did, and a writer who does not stop is not answered faster.
func (d *decider) mend(key string, generation uint64) {
	drop := d.policy.Wanted(key)
	if drop == nil && generation > 0 { // removed, and brought back
		drop = d.buried[key]
	}
	if drop != nil && drop.Generation > generation && d.unwritten[key] == nil {
		d.unwritten[key] = drop
	}
}

// whole is the end of a look at all of the bucket.
func (d *decider) whole(ctx context.Context) {
	d.mu.Lock()
	for _, drop := range d.policy.Drops() {
		if key := drop.Key(); d.found[key] < drop.Generation && d.unwritten[key] == nil {
			d.unwritten[key] = drop
		}
	}
	maps.DeleteFunc(d.buried, func(_ string, drop *policy.Drop) bool { return drop.Until <= time.Now().Unix() })
	old := d.old
	d.found, d.old = nil, nil
	d.mu.Unlock()
	d.signal()
	for _, key := range old {
		if d.state.Purge(ctx, key) != nil {
			return // next time
		}
	}
}

// seePanic follows a panic, or its end, that somebody else wrote into the bucket.
func (d *decider) seePanic(s bus.Signed) {
	if s.Deleted || s.Err != nil {
		return // enforcers tell
	}
	if p, err := enforce.ParsePanic(s.Body); err == nil {
		d.hold(p)
		d.unsaid = d.panic.Generation > p.Generation
	}
}
