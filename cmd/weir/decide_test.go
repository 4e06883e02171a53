package main

import (
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// deciders are sensors of one site, with one server.
type deciders struct {
	dir   string // of the server
	state *bus.State
	all   []*decider
}

func newDeciders(t *testing.T, n int) *deciders {
	t.Helper()
	dir, log := t.TempDir(), slog.New(slog.DiscardHandler)
	settings := defaults()
	settings.NATS.Listen = "127.0.0.1:0"
	b, err := bus.Open(t.Context(), settings.NATS, bus.Identity{Site: "site", Sensor: "sensor"}, dir, log)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := bus.OpenKeys(filepath.Join(dir, "keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		work.Wait()
		if err := b.Close(context.Background()); err != nil {
			t.Log(err)
		}
	})
	s := &deciders{dir: dir, state: b.State(keys)}
	for range n {
		p := &protected{log: log}
		if err := p.configure(&settings); err != nil {
			t.Fatal(err)
		}
		d, err := newDecider(p, b, s.state, t.TempDir(), log)
		if err != nil {
			t.Fatal(err)
		}
		work.Go(func() { d.run(ctx) })
		work.Go(func() { d.follow(ctx) })
		s.all = append(s.all, d)
	}
	return s
}

// drops asks a decider for a drop of 192.0.2.9.
func (s *deciders) drops(t *testing.T, which int, last time.Duration) *policy.Drop {
	t.Helper()
	d := s.all[which]
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.policy.Add(policy.Drop{
		Scope: policy.ScopeAddress, IP: netip.MustParseAddr("192.0.2.9"), Action: policy.DropAll, Until: time.Now().Add(last).Unix(), By: "a", Reason: "b",
	}, now())
	d.tell(out)
	if one := out[len(out)-1]; one.Drop != nil {
		return one.Drop
	}
	t.Fatalf("refused: %+v", out[len(out)-1].Refusal)
	return nil
}

func (s *deciders) removes(which int, id string) {
	d := s.all[which]
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tell(d.policy.Remove(id, "a", "b", now()))
}

// soon waits until the bucket has a drop of 192.0.2.9 that is so.
func (s *deciders) soon(t *testing.T, what string, is func(*policy.Drop) bool) {
	t.Helper()
	var last *policy.Drop
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		last = nil
		err := s.state.Read(t.Context(), func(e bus.Signed) {
			if e.Key == "address.192.0.2.9" && e.Err == nil {
				last, _ = policy.ParseDrop(e.Body)
			}
		})
		if err == nil && last != nil && is(last) {
			return
		}
	}
	t.Fatalf("%s: the bucket has %+v", what, last)
}

// TestTwoSensors: of one key the bucket has one entry, and two sensors may want the same source dropped. The end of the one's drop is not
// that of the other's, whichever was written last.
func TestTwoSensors(t *testing.T) {
	s := newDeciders(t, 2)
	first := s.drops(t, 0, time.Hour)
	s.soon(t, "the first", func(d *policy.Drop) bool { return d.ID == first.ID })
	second := s.drops(t, 1, 2*time.Hour)
	isSecond := func(d *policy.Drop) bool {
		return d.ID == second.ID && d.State == policy.Requested && d.Until == second.Until
	}
	s.soon(t, "the second", isSecond)
	time.Sleep(100 * time.Millisecond) // the first hears of it
	s.removes(0, first.ID)
	time.Sleep(300 * time.Millisecond)
	s.soon(t, "after the end of the first", isSecond)

	third := s.drops(t, 0, 3*time.Hour)
	s.soon(t, "the third", func(d *policy.Drop) bool { return d.ID == third.ID })
	s.removes(0, third.ID)
	s.soon(t, "after the end of the third", isSecond)
	s.removes(1, second.ID)
	s.soon(t, "after the end of all", func(d *policy.Drop) bool { return d.State == policy.Removed })
}

// TestPanicEndsTheDropsOfAll: what two sensors want is not brought back by the one when the other ends it.
func TestPanicEndsTheDropsOfAll(t *testing.T) {
	s := newDeciders(t, 2)
	s.drops(t, 0, time.Hour)
	second := s.drops(t, 1, 2*time.Hour)
	s.soon(t, "the second", func(d *policy.Drop) bool { return d.ID == second.ID })
	body, err := marshal(enforce.Panic{Schema: enforce.PanicSchema, Held: true, By: "a", Generation: uint64(time.Now().UnixMicro())})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.state.Put(t.Context(), enforce.PanicKey, body); err != nil {
		t.Fatal(err)
	}
	s.soon(t, "the panic", func(d *policy.Drop) bool { return d.State == policy.Removed })
	time.Sleep(500 * time.Millisecond)
	s.soon(t, "long after the panic", func(d *policy.Drop) bool { return d.State == policy.Removed })
	for i, d := range s.all {
		if n := d.stats().Drops; n != 0 {
			t.Errorf("sensor %d wants %d drops", i, n)
		}
	}
}

// TestBroughtBack: a drop that was removed, and that somebody writes into the bucket again, is buried again: a gate that begins anew
// would believe it.
func TestBroughtBack(t *testing.T) {
	s := newDeciders(t, 1)
	drop := s.drops(t, 0, time.Hour)
	s.soon(t, "the drop", func(d *policy.Drop) bool { return d.ID == drop.ID })
	body, err := marshal(drop)
	if err != nil {
		t.Fatal(err)
	}
	removed := func(d *policy.Drop) bool { return d.State == policy.Removed }
	s.removes(0, drop.ID)
	s.soon(t, "its end", removed)
	if err := s.state.Put(t.Context(), drop.Key(), body); err != nil {
		t.Fatal(err)
	}
	s.soon(t, "its end again", removed)
}
