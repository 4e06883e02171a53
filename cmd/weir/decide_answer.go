package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"weir/sensor/bus"
	"weir/sensor/policy"
)

// serve answers what humans ask, until ctx ends.
func (d *decider) serve(ctx context.Context, keys *bus.Keys) {
	var work sync.WaitGroup
	work.Go(func() { d.bus.Serve(ctx, keys, commandDecide, commandDecide, d.add) })
	work.Go(func() { d.bus.Serve(ctx, keys, commandChange, "", d.change) })
	work.Go(func() { d.bus.Serve(ctx, keys, commandDrops, "", d.list) })
	work.Wait()
}

// add takes a drop that a human asks for.
func (d *decider) add(_, name string, body []byte) [][]byte {
	var ask decideRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		return reply(&decisionsReply{Error: err.Error()})
	}
	if ask.Op != opAdd || ask.Drop == nil {
		return reply(&decisionsReply{Error: fmt.Sprintf("%q is no operation of decide, or has no drop", ask.Op)})
	}
	ask.Drop.By = signedBy(ask.By, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.policy.Add(*ask.Drop, now())
	d.tell(out)
	return reply(decisionsOf(out))
}

// change removes or approves a drop, or begins or ends a panic.
func (d *decider) change(_, name string, body []byte) [][]byte {
	var ask changeRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		return reply(&decisionsReply{Error: err.Error()})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ask.By = signedBy(ask.By, name)
	wanted := d.policy.Drop(ask.ID)
	if ask.ID == "" {
		wanted = d.policy.Wanted(ask.Key)
	}
	var out []policy.Decision
	switch {
	case ask.Op == opPanic && ask.Panic != nil, ask.Op == opResume && ask.Panic != nil:
		d.hold(ask.Panic)
		return reply(decisionsOf(nil))
	case ask.Op != opRemove && ask.Op != opApprove:
		return reply(&decisionsReply{Error: fmt.Sprintf("%q is no operation of change, or lacks what it is about", ask.Op)})
	case wanted == nil:
		return reply(&decisionsReply{Decisions: []decision{}})
	case ask.Op == opRemove:
		out = d.policy.Remove(wanted.ID, ask.By, ask.Reason, now())
	default:
		out = d.policy.Approve(wanted.ID, ask.By, now())
	}
	d.tell(out)
	return reply(decisionsOf(out))
}

// reply is an answer of one part.
func reply(r *decisionsReply) [][]byte {
	text, err := marshal(r)
	if err != nil {
		text = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	return [][]byte{text}
}

// list tells all that is wanted, or waits for approval.
func (d *decider) list(_, _ string, _ []byte) [][]byte {
	d.mu.Lock()
	all := d.policy.Drops()
	d.mu.Unlock()
	parts, err := replyParts(all)
	if err != nil {
		d.seldom.Error("drops cannot be listed", "error", err)
	}
	return parts
}

// held tells of a panic that was not resumed.
func (d *decider) held() (by, reason string, since time.Time, held bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.policy.Held()
	if h == nil {
		return "", "", time.Time{}, false
	}
	if d.panic.Held {
		reason = d.panic.Reason
	}
	return h.By, reason, time.Unix(h.Since, 0).UTC(), true
}
