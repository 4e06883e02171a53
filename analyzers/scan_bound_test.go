package analyzers

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// TestARPSweep: the tool's pace is medium, less than fifty targets low, and a router that asks for another's targets low.
func TestARPSweep(t *testing.T) {
	sweep := func(w *world, src string, n int, per time.Duration) {
		for i := range n {
			end := silent
			if i%40 == 3 {
				end = conn.StageAnswered
			}
			w.try(time.Duration(i)*per, src, fmt.Sprintf("192.168.1.%d", i+1), 0, conn.ProbeARP, end)
		}
	}
	w := newWorld()
	sweep(w, "192.168.1.71", 245, 10*time.Millisecond)
	got := w.judge()
	if len(got) == 0 {
		t.Fatal("no sweep found")
	}
	last := got[len(got)-1]
	if last.Kind != "arp_sweep" || last.Subject.Prefix.String() != "192.168.1.71/32" || last.Victim.Prefix.String() != "192.168.1.0/24" ||
		severityScore(&last) < 50 || severityScore(&last) > 69 {
		t.Errorf("%+v", last)
	}
	if got[0].Score >= 50 || len(distinct(got)) != 1 {
		t.Errorf("first %d, %v", got[0].Score, distinct(got))
	}

	w = newWorld()
	sweep(w, "192.168.1.71", 45, 10*time.Millisecond)
	for _, f := range w.judge() {
		if severityScore(&f) >= 50 {
			t.Errorf("45 targets: %d", f.Score)
		}
	}

	w = newWorld() // an outside scan, and the router's requests for its targets
	for i := range 245 {
		w.try(time.Duration(i)*10*time.Millisecond, scanner, fmt.Sprintf("192.168.1.%d", i+1), 22, syn, silent)
	}
	sweep(w, "192.168.1.254", 245, 10*time.Millisecond)
	router := 0
	for _, f := range w.judge() {
		if f.Kind == "arp_sweep" {
			router++
			if severityScore(&f) >= 50 || len(f.Notes) == 0 {
				t.Errorf("router: %d %v", severityScore(&f), f.Notes)
			}
		}
	}
	if router == 0 {
		t.Error("router not seen at all")
	}
}

// TestOneWayView: outcomes are not judged, ports of one host and hosts of an unusual port are, and findings say so.
func TestOneWayView(t *testing.T) {
	view := func(w *world) []Finding {
		es := w.epochs()
		first := &tally.Epoch{Tick: es[0].Tick - 1, SketchKey: 7, Link: tally.Link{VisibleOneWay: 19, VisibleTwoWay: 1}}
		return judgeAll(NewScan(DefaultScan()), append([]*tally.Epoch{first}, es...))
	}
	web := newWorld()
	for i := range 300 {
		web.try(time.Duration(i)*time.Second/5, "10.20.0.5", internet(i), 443, syn, silent)
		web.try(time.Duration(i)*time.Second/5, "10.20.0.6", internet(i), 25, syn, silent)
		web.try(time.Duration(i)*time.Second/5, "10.20.0.7", internet(i), uint16(2000+37*i), syn, silent)
	}
	if got := view(web); len(got) != 0 {
		t.Errorf("clients in a one-way view: %s", got[0].Summary)
	}
	for _, c := range []struct {
		kind     string
		low, top int
		build    func(w *world)
	}{
		{"vertical", 50, 69, func(w *world) {
			for i := range 200 {
				w.try(time.Duration(i)*100*time.Millisecond, scanner, "10.1.2.3", uint16(i*7+1), syn, silent)
			}
		}},
		{"horizontal", 25, 49, func(w *world) {
			for i := range 200 {
				w.try(time.Duration(i)*100*time.Millisecond, scanner, fmt.Sprintf("10.1.2.%d", i), 445, syn, silent)
			}
		}},
		{"null", 50, 69, func(w *world) {
			for i := range 200 {
				w.try(time.Duration(i)*100*time.Millisecond, scanner, "10.1.2.3", uint16(i+1), conn.ProbeNull, silent)
			}
		}},
	} {
		w := newWorld()
		c.build(w)
		got := view(w)
		if len(got) == 0 {
			t.Errorf("%s: no finding", c.kind)
			continue
		}
		f := &got[0]
		if s := severityScore(f); f.Kind != c.kind || s < c.low || s > c.top || f.Confidence > 50 || len(f.Notes) == 0 || f.Subject.ReturnPath {
			t.Errorf("%s: %+v", c.kind, f)
		}
	}
}

// TestView: a tenth of the connections two-way at most, ten of them at least, and the last judgement stands.
func TestView(t *testing.T) {
	var v View
	tick := int64(1000)
	see := func(one, two uint64, ticks int64) {
		tick += ticks
		v.Observe(&tally.Epoch{Tick: tick, Link: tally.Link{VisibleOneWay: one, VisibleTwoWay: two}})
	}
	for _, c := range []struct {
		one, two uint64
		ticks    int64
		want     bool
	}{{9, 0, 1, false}, {9, 2, 1, true}, {0, 1, 1, false}, {30, 0, 50, true}, {0, 4, 10000, true}, {0, 10, 10000, false}} {
		see(c.one, c.two, c.ticks)
		if v.OneWay() != c.want {
			t.Errorf("%+v: %v", c, v.OneWay())
		}
	}
	if !v.Mute() {
		t.Error("not mute")
	}
	v.Observe(&tally.Epoch{Tick: tick, Services: []tally.Service{{BackPackets: 1}}})
	if v.Mute() {
		t.Error("mute")
	}
	if see(0, 0, 700); !v.Mute() {
		t.Error("not mute again")
	}
}

// TestScanGrows: a scan that becomes a block scan is a second alert, one that goes on is none; a second kind right after the
// first is a second alert.
func TestScanGrows(t *testing.T) {
	w := newWorld()
	for i := range 30 * 250 {
		w.try(time.Duration(i)*10*time.Millisecond, scanner, fmt.Sprintf("10.1.2.%d", i%250+1), uint16(1000+i/250), syn, refused)
	}
	got := distinct(w.judge())
	if len(got) < 2 || len(got) > 3 || got[0] != "horizontal 198.51.100.9/32 10.1.2.0/24" || got[len(got)-1] != "block 198.51.100.9/32 10.1.2.0/24" {
		t.Errorf("growing: %v", got)
	}

	w = newWorld() // one /24 after the other
	for i := range 20 * 256 {
		w.try(time.Duration(i)*10*time.Millisecond, scanner, fmt.Sprintf("10.1.%d.%d", i/256, i%256), 22, syn, refused)
	}
	if got = distinct(w.judge()); len(got) < 2 || len(got) > 3 {
		t.Errorf("widening: %v", got)
	}

	w = newWorld()
	for i := range 300 {
		w.try(time.Duration(i)*20*time.Millisecond, scanner, "10.1.2.3", uint16(i+1), syn, refused)
		w.try(6*time.Second+time.Duration(i)*20*time.Millisecond, scanner, "10.1.2.4", uint16(i+1), conn.ProbeNull, refused)
	}
	got = distinct(w.judge())
	if len(got) != 2 || got[1] != "null 198.51.100.9/32 10.1.2.4/32" {
		t.Errorf("second kind: %v", got)
	}
}

// TestDistributed: eight sources that share a network's targets are one more finding; decoys, who repeat each other, are not.
func TestDistributed(t *testing.T) {
	for _, share := range []int{1, 0} {
		w := newWorld()
		for i := range 16 * 30 {
			bot := i % 16
			w.try(time.Duration(i)*20*time.Millisecond, fmt.Sprintf("203.0.113.%d", 100+bot), fmt.Sprintf("10.20.0.%d", (i/16+share*bot*15)%250), 445+uint16(i&share), syn, silent, conn.MarkMasscan)
		}
		crews := 0
		for _, f := range w.judge() {
			if f.Kind == "distributed" {
				crews++
				if s := severityScore(&f); s < 50 || s > 69 || f.Victim.Prefix.String() != "10.20.0.0/24" || f.Subject.Prefix.IsValid() {
					t.Errorf("%+v", f)
				}
			}
		}
		if (crews > 0) != (share == 1) {
			t.Errorf("share %d: %d findings", share, crews)
		}
	}
}

// TestReturnPath: only a handshake that the evidence holds proves it.
func TestReturnPath(t *testing.T) {
	for _, end := range []conn.Stage{conn.StageAnswered, conn.StageProven} {
		w := newWorld()
		for i := range 40 {
			e := refused
			if i == 5 {
				e = end
			}
			w.try(time.Duration(i)*100*time.Millisecond, scanner, "10.1.2.3", uint16(i+1), syn, e)
		}
		got := w.judge()
		if len(got) == 0 || got[len(got)-1].Subject.ReturnPath != (end == conn.StageProven) {
			t.Errorf("stage %d: %+v", end, got)
		}
	}
}

// TestSlowScan: one probe a minute, among other sources, is found within ten contacts, by the filter of single contacts.
func TestSlowScan(t *testing.T) {
	w := newWorld()
	for i := range 10 {
		w.try(time.Duration(i)*time.Minute, scanner, fmt.Sprintf("10.1.2.%d", i+1), 3389, syn, silent)
		for j := range 2000 {
			w.try(time.Duration(i)*time.Minute, internet(i*2000+j), "10.1.2.3", 443, syn, silent)
		}
	}
	got := w.judge()
	if len(got) == 0 || got[0].Subject.Prefix.Addr().String() != scanner {
		t.Fatalf("%d findings", len(got))
	}
	if n := got[0].measure("failed_contacts"); n > 10 {
		t.Errorf("after %v contacts", n)
	}
}

// TestScanBounds: a million spoofed sources change counters, not memory; they make no findings; and a scanner that was half
// convicted before is not pushed out. A pool of sources that all look like scanners of one host makes 16 of them known.
func TestScanBounds(t *testing.T) {
	if size := unsafe.Sizeof(scanSource{}); size > 690 {
		t.Errorf("a source takes %d bytes", size)
	}
	cfg := DefaultScan()
	a := NewScan(cfg)
	before := len(a.table.source)
	w := newWorld()
	for i := range 6 {
		w.try(time.Duration(i)*100*time.Millisecond, scanner, fmt.Sprintf("10.1.2.%d", i+1), 22, syn, refused)
	}
	if got := judgeAll(a, w.epochs()); len(got) != 0 {
		t.Fatal("too early")
	}
	tick := worldStart/tally.Tick + 10
	e := &tally.Epoch{SketchKey: 7}
	found := 0
	for round := range 100 { // each source twice, so that half of the rounds meet the table
		e.Tick, e.Sources = tick+int64(round), e.Sources[:0]
		for i := range 20_000 {
			n := uint64(round/2*20_000 + i)
			s := tally.Source{Addr: decode.Addr{Lo: 0xffff<<32 | n*2654435761&0xffffffff}, Ver: 4, First: e.Start(), Last: e.Start(), Opened: 1, Silent: uint32(round & 1), NContacts: 1}
			s.Contacts[0] = tally.SampledContact{Rank: n*2 + uint64(round&1), Dst: decode.Addr{Lo: 0xffff_0a010203}, Port: 443 + uint16(round&1), Proto: 6, Stage: conn.StageOpened + conn.Stage(round&1)*2}
			e.Sources = append(e.Sources, s)
		}
		a.Judge(e, func(*Finding) { found++ })
	}
	if found != 0 || len(a.table.source) != before || a.Stats.Evicted == 0 {
		t.Errorf("%d findings, %d entries, %d evicted", found, len(a.table.source), a.Stats.Evicted)
	}
	w = newWorld()
	for i := range 4 {
		w.try(20*time.Second+time.Duration(i)*time.Second, scanner, fmt.Sprintf("10.1.2.%d", i+20), 22, syn, refused)
	}
	if got := judgeAll(a, w.epochs()); len(got) == 0 {
		t.Error("the scanner was forgotten")
	}

	w = newWorld()
	for i := range 3000 {
		for p := range 15 {
			w.try(time.Duration(p)*50*time.Millisecond, internet(i), "10.1.2.3", uint16(p+1), syn, refused)
		}
	}
	a = NewScan(cfg)
	if got := distinct(judgeAll(a, w.epochs())); len(got) != maxSameHost || a.Stats.Held == 0 {
		t.Errorf("%d alerts of a pool, %d held", len(got), a.Stats.Held)
	}
}

// TestAnyEpoch: whatever epochs hold, findings are well-formed and bounded, and no more than one a second for the same alert.
func TestAnyEpoch(t *testing.T) {
	cfg := DefaultScan()
	cfg.Sources = 1024
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 9))
		a, last, tick := NewScan(cfg), map[string]int64{}, worldStart/tally.Tick
		for range 300 {
			tick += []int64{1, 1, 1, 5, 50, 5000, 1e6}[r.IntN(7)]
			e := &tally.Epoch{Tick: tick, SketchKey: seed, Link: tally.Link{Packets: 100, VisibleOneWay: r.Uint64N(40), VisibleTwoWay: r.Uint64N(8)}}
			e.Link.Loss[tally.LossKernel] = r.Uint64N(30)
			for i := range r.IntN(40) {
				s := tally.Source{
					Addr: decode.Addr{Lo: 0xffff<<32 | uint64(i)}, Ver: [...]uint8{0, 4, 4, 6}[r.IntN(4)], First: e.Start(), Last: e.Start(),
					Opened: r.Uint32N(50), Unknown: r.Uint32N(3), Silent: r.Uint32N(30), Refused: r.Uint32N(30), Answered: r.Uint32N(30), Proven: r.Uint32N(3),
					MarkHits: r.Uint32N(50), Marks: conn.Marks(r.UintN(16)), NContacts: uint8(r.IntN(tally.SampleSize + 1)),
				}
				s.Probes[r.IntN(int(conn.ProbeCount))] = s.Opened
				for range s.Opened {
					s.Hosts.Add(r.Uint64())
					s.Ports.Add(r.Uint64N(60) * 0x9e3779b97f4a7c15)
				}
				base := decode.Addr{Hi: r.Uint64N(3) << 60, Lo: 0xffff<<32 | r.Uint64N(4)<<24}
				for k := range s.Contacts[:s.NContacts] {
					s.Contacts[k] = tally.SampledContact{
						Rank: r.Uint64(), Dst: decode.Addr{Hi: base.Hi, Lo: base.Lo + r.Uint64N(1<<r.UintN(20))}, Port: uint16(r.UintN(1 << r.UintN(17))),
						Proto: 6, Probe: conn.Probe(r.UintN(uint(conn.ProbeCount))), Stage: conn.Stage(r.UintN(6)),
					}
				}
				e.Sources = append(e.Sources, s)
			}
			a.Judge(e, func(f *Finding) {
				k := fmt.Sprint(f.Kind, f.Subject.Prefix, f.Victim.Prefix, f.Victim.Port)
				if at, ok := last[k]; ok && f.Time-at < int64(time.Second) {
					t.Fatalf("%s after %d ms", k, (f.Time-at)/1e6)
				}
				last[k] = f.Time
				if f.Score < 0 || f.Score > 100 || f.MaxScore < 1 || f.MaxScore > capScan || f.Confidence < 0 || f.Confidence > 100 || f.Summary == "" || f.Quiet <= 0 || f.Last < f.First {
					t.Fatalf("%+v", f)
				}
			})
			if len(a.active.list) > maxActive || len(a.table.source) > 1024 {
				t.Fatal("unbounded")
			}
		}
	}
}

// BenchmarkScan: 100,000 sources with one contact each in a tick: those never seen, and those that the table holds.
func BenchmarkScan(b *testing.B) {
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("known=%v", known), func(b *testing.B) {
			e := &tally.Epoch{SketchKey: 7, Sources: make([]tally.Source, 100_000)}
			a := NewScan(DefaultScan())
			round := uint64(0)
			fill := func() {
				e.Tick = int64(round) + 1e10
				for i := range e.Sources {
					s := &e.Sources[i]
					*s = tally.Source{Ver: 4, First: e.Start(), Last: e.Start(), Opened: 1, NContacts: 1}
					s.Addr.Lo = 0xffff<<32 | (uint64(i)+round*100_000)*2654435761&0xffffffff
					s.Contacts[0] = tally.SampledContact{Rank: uint64(i), Dst: decode.Addr{Lo: 0xffff_0a010203}, Port: 443, Proto: 6}
				}
			}
			if known {
				for i := 0; i < 2; i++ {
					fill()
					a.Judge(e, func(*Finding) {})
				}
			}
			for b.Loop() {
				b.StopTimer()
				if !known {
					round++
				}
				fill()
				b.StartTimer()
				a.Judge(e, func(*Finding) {})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e5, "ns/source")
		})
	}
}
