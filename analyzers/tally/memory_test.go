package tally

import (
	"testing"
	"time"

	"weir/decode/conn"
	"weir/decode/slab"
)

// TestMemoryLapses: an attempt is a repeat for the configured time after the last one, and then a first contact again.
func TestMemoryLapses(t *testing.T) {
	s := NewShard(Defaults(), 7)
	at := time.Duration(0)
	for _, c := range []struct {
		after time.Duration
		first bool
	}{{0, true}, {5*time.Hour + 59*time.Minute, false}, {5*time.Hour + 59*time.Minute, false}, {6 * time.Hour, true}, {-time.Minute, false}} {
		at += c.after
		s.Contact(&conn.Contact{Time: int64(at), Src: v4(1), Dst: v4(2), Port: 80, Proto: 6, Ver: 4})
		var e Epoch
		NewMerger(Defaults()).Merge(&e, 0, []*Shard{s})
		if first := e.Sources[0].Opened == 1; first != c.first || e.Sources[0].Opened+e.Sources[0].Repeats != 1 {
			t.Errorf("at %v: %d opened, %d repeats", at, e.Sources[0].Opened, e.Sources[0].Repeats)
		}
	}
}

// TestMemoryForgetsOldest: a set of eight contacts forgets the one that was not tried for longest.
func TestMemoryForgetsOldest(t *testing.T) {
	m := newMemory(slab.Heap(64), 8, 60)
	try := func(contact uint64) state {
		hash := contact << 20
		place, st := m.find(hash, 1)
		m.store(hash, 1, place, max(st, stateOpened))
		return st
	}
	for contact := range uint64(8) {
		if try(contact+1) != 0 {
			t.Fatal("known before it was tried")
		}
	}
	if try(1) == 0 {
		t.Error("eight contacts do not fit")
	}
	try(9)
	if try(1) == 0 || try(9) == 0 {
		t.Error("a contact just tried was forgotten")
	}
	if try(2) != 0 {
		t.Error("the oldest contact was not forgotten")
	}
}

// TestForgottenOutcome: the outcome of a contact that is not remembered counts for nobody.
func TestForgottenOutcome(t *testing.T) {
	s := NewShard(Defaults(), 7)
	s.Contact(&conn.Contact{Src: v4(1), Dst: v4(2), Port: 80, Proto: 6, Ver: 4, Stage: conn.StageSilent})
	var e Epoch
	NewMerger(Defaults()).Merge(&e, 0, []*Shard{s})
	if len(e.Sources) != 0 || e.Link.ContactsKnown != 1 {
		t.Errorf("%d sources, %d known contacts", len(e.Sources), e.Link.ContactsKnown)
	}
}
