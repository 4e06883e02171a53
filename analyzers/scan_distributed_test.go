package analyzers

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// crowdWorld judges a world of many sources whose SYNs have a print each: sources of one system share it.
func crowdFindings(w *world, print func(src string) uint64) (found []Finding) {
	cfg := DefaultScan()
	cfg.Sources = 4096
	a := NewScan(cfg)
	sent := map[int64][]worldStep{}
	for _, s := range w.steps {
		if s.c.Stage == conn.StageOpened {
			sent[s.at/tally.Tick] = append(sent[s.at/tally.Tick], s)
		}
	}
	emit := func(f *Finding) {
		g := *f
		g.Why = append([]Measure(nil), f.Why...)
		found = append(found, g)
	}
	for _, e := range w.epochs() {
		seen := map[uint64]bool{}
		for _, s := range sent[e.Tick] {
			if h := print(s.src.String()); h != 0 && !seen[h] {
				seen[h] = true
				e.Prints = append(e.Prints, tally.Print{Hash: h, Src: decode.AddrFrom(s.src), Ver: 4, Count: 1})
			}
		}
		a.Judge(e, emit)
	}
	a.Finish(emit)
	return found
}

// TestScanCrowd: many sources, each below every threshold; and what looks like it.
func TestScanCrowd(t *testing.T) {
	one := func(string) uint64 { return 77 }
	bot := func(i int) string { return fmt.Sprintf("203.0.%d.%d", 113+i%7, 10+i) }
	at := func(i int) time.Duration { return time.Duration(i) * 130 * time.Millisecond }
	for _, c := range []struct {
		name     string
		from, to int // of the score
		print    func(string) uint64
		build    func(w *world)
	}{
		{"twenty sources, five targets each", 55, 69, one, func(w *world) {
			for i := range 100 {
				w.try(at(i), bot(i%20), fmt.Sprintf("10.20.0.%d", 100+i), 445, syn, silent)
			}
		}},
		{"ports of one host", 55, 69, one, func(w *world) {
			for i := range 100 {
				w.try(at(i), bot(i%20), "10.20.0.10", uint16(2000+i), syn, refused)
			}
		}},
		{"a tool's marks, ten sources", 55, 69, nil, func(w *world) {
			for i := range 60 {
				w.try(at(i), bot(i%10), fmt.Sprintf("10.20.0.%d", 100+i), 445, syn, silent, conn.MarkZMap)
			}
		}},
		{"other systems", 0, 0, func(src string) uint64 { return 1 + uint64(src[len(src)-1]) }, func(w *world) {
			for i := range 100 {
				w.try(at(i), bot(i%20), fmt.Sprintf("10.20.0.%d", 100+i), 445, syn, silent)
			}
		}},
		{"a service that is down", 0, 0, one, func(w *world) {
			for i := range 400 {
				w.try(at(i), bot(i%60), fmt.Sprintf("10.20.0.%d", 10+i/60%4), 443, syn, silent)
			}
		}},
		{"a crawler fleet", 0, 0, one, func(w *world) {
			for i := range 400 {
				end := ok
				if i%11 == 0 {
					end = silent
				}
				w.try(at(i), bot(i%20), fmt.Sprintf("10.20.%d.%d", i/200, i%200), 80, syn, end)
			}
		}},
		{"a crawler fleet at a farm that is down", 0, 49, one, func(w *world) {
			for i := range 100 {
				w.try(at(i), bot(i%20), fmt.Sprintf("10.20.0.%d", 100+i), 443, syn, silent)
			}
		}},
		{"background noise", 0, 0, nil, func(w *world) {
			for i := range 400 {
				w.try(at(i), fmt.Sprintf("198.%d.%d.9", 18+i%2, i%250), fmt.Sprintf("10.20.0.%d", i%250), 23, syn, silent, conn.MarkMirai)
			}
		}},
		{"P2P", 0, 0, one, func(w *world) {
			for i := range 200 {
				w.try(at(i), bot(i%40), fmt.Sprintf("10.20.0.%d", 5+i%3), 51413, conn.ProbeUDP, silent)
			}
		}},
		{"over hours", 0, 0, one, func(w *world) {
			for i := range 100 {
				w.try(time.Duration(i)*4*time.Minute, bot(i%20), fmt.Sprintf("10.20.0.%d", 100+i), 445, syn, silent)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			for i := range 30 { // somebody is answered
				w.try(at(10*i), "198.51.100.7", fmt.Sprintf("10.99.0.%d", i), 443, syn, ok)
			}
			c.build(w)
			print := c.print
			if print == nil {
				print = func(string) uint64 { return 0 }
			}
			found := crowdFindings(w, print)
			worst := 0
			for i := range found {
				f := &found[i]
				if f.Kind != "distributed" || f.Subject.Prefix.IsValid() || !f.Victim.Prefix.IsValid() {
					t.Errorf("%s: %s", f.Kind, f.Summary)
				}
				worst = max(worst, min(f.Score, f.MaxScore))
			}
			if worst < c.from || worst > c.to {
				t.Errorf("score %d, want %d to %d", worst, c.from, c.to)
			}
			if again := crowdFindings(w, print); !reflect.DeepEqual(found, again) {
				t.Error("not the same again")
			}
		})
	}
}

// TestScanCrowdBounds: crowds and their members are bounded.
func TestScanCrowdBounds(t *testing.T) {
	a := NewScan(DefaultScan())
	for i := range 3 * maxCrowds {
		c := a.crowdOf(crowdKey{net: decode.Addr{Lo: uint64(i) << 16}, ver: 4}, int64(i))
		if len(c.members) != 0 || c.told != never {
			t.Fatal("a new crowd knows of another")
		}
		c.last = int64(i)
		c.members = append(c.members, crowdMember{})
	}
	if n := len(a.crowds); n != maxCrowds {
		t.Errorf("%d crowds", n)
	}
}
