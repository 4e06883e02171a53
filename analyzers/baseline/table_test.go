package baseline

import (
	"math/rand/v2"
	"testing"
)

// TestTable compares with a map, under a flood of keys; the chain of the young is whole at the end.
func TestTable(t *testing.T) {
	table, twin := newTable(200, 1), map[Key]int32{}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100_000 {
		k := service(rng.Uint32N(500))
		id := table.find(&k)
		want, ok := twin[k]
		if ok != (id != none) || ok && id != want {
			t.Fatalf("found at %d, want %d %v", id, want, ok)
		}
		switch {
		case ok && rng.IntN(3) == 0:
			table.settle(id)
		case ok && (table.full() || rng.IntN(2) == 0):
			table.remove(id)
			delete(twin, k)
		case !ok && !table.full():
			twin[k] = table.add(&k)
		}
		if table.len() != len(twin) {
			t.Fatalf("%d, want %d", table.len(), len(twin))
		}
	}
	n := 0
	for id := table.head; id != none; id = table.nodes[id].next {
		n++
	}
	if n != table.young {
		t.Errorf("%d in the chain, %d young", n, table.young)
	}
}

// TestFlood: a million keys that come once push out none that lasts.
func TestFlood(t *testing.T) {
	cfg := Defaults()
	cfg.Keys = 1000
	s := New(cfg)
	now := start
	for range 120 {
		now += second
		for i := range uint32(700) {
			s.Series(service(i), now).Learn(now, 10)
		}
	}
	for i := range uint32(1_000_000) {
		s.Series(service(1000+i), now).Learn(now, 1)
	}
	for i := range uint32(700) {
		if s.Find(service(i)) == nil {
			t.Fatalf("service %d is gone", i)
		}
	}
	if got := s.Stats().Evicted; got != 1_000_000-300 {
		t.Errorf("evicted %d", got)
	}
}

// TestSeen: within a set the one goes that was seen longest ago.
func TestSeen(t *testing.T) {
	cfg := Defaults()
	cfg.Seen = 1 << 12
	s := New(cfg)
	if _, _, known := s.Seen(service(0), start); known {
		t.Error("known at the first time")
	}
	for i := range uint32(200_000) {
		now := start + int64(i)*second/100
		s.Seen(service(1+i), now)
		if i%64 == 0 {
			if first, _, known := s.Seen(service(0), now); !known || first != start {
				t.Fatalf("forgotten after %d others", i)
			}
		}
	}
	if n := s.seen.n + int(s.Stats().Forgotten); n != 200_001 || s.seen.n > 1<<12 {
		t.Errorf("%d remembered, %d forgotten", s.seen.n, s.Stats().Forgotten)
	}
	if s.Since() != start {
		t.Error("since", s.Since())
	}
}
