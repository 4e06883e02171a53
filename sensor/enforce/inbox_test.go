package enforce

import (
	"errors"
	"testing"
	"time"
)

// TestTakeWaits: what was not looked at yet is bounded, and whoever waits is let go when the enforcer looks, and when it ends.
func TestTakeWaits(t *testing.T) {
	d := newDesk(t, func(o *Options) { o.Caps = Caps{Drops: 1, PerSecond: 1} })
	bad := Instruction{Key: "address.10.8.0.2", Err: errors.New("no")}
	d.Take(make([]Instruction, d.maxKnown()-2)) // keys of nothing
	took := make(chan bool, 2)
	take := func() {
		d.Take([]Instruction{bad, bad, bad})
		took <- true
	}
	waits := func() bool {
		select {
		case <-took:
			return false
		case <-time.After(50 * time.Millisecond):
			return true
		}
	}
	go take()
	if !waits() {
		t.Error("Take takes more than it may")
	}
	d.step(d.apply)
	if waits() {
		t.Error("Take waits although there is room")
	}
	d.step(d.apply)
	if s := d.Status(); s.Refusals["unsigned"] != 1 {
		t.Errorf("%+v", s)
	}
	d.Take(make([]Instruction, d.maxKnown()))
	go take()
	if !waits() {
		t.Error("Take takes more than it may")
	}
	d.inbox.close() // as Run does at its end
	if waits() {
		t.Error("Take waits for an enforcer that has ended")
	}
}
