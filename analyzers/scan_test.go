package analyzers

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// world makes epochs from contacts, as the tally does: by tick and source, with exact counts, sketches and a sample of the
// 16 contacts of least rank.
type world struct {
	steps []worldStep
	seen  map[string]bool
	back  bool // somebody answers something
}

type worldStep struct {
	at    int64
	src   netip.Addr
	c     tally.SampledContact
	marks conn.Marks
}

const worldStart = int64(1_700_000_000e9)

func newWorld() *world { return &world{seen: map[string]bool{}, back: true} }

// try lets src contact dst; the answer comes after 20 ms, silence after 5 s. A repeated contact is none, as in the tally.
func (w *world) try(at time.Duration, src, dst string, port uint16, probe conn.Probe, end conn.Stage, marks ...conn.Marks) {
	proto := map[conn.Probe]uint8{conn.ProbeUDP: 17, conn.ProbeEcho: 1, conn.ProbeARP: 0}
	p, ok := proto[probe]
	if !ok {
		p = 6
	}
	key := fmt.Sprint(src, dst, port, p)
	if w.seen[key] {
		return
	}
	w.seen[key] = true
	d := decode.AddrFrom(netip.MustParseAddr(dst))
	step := worldStep{
		at: worldStart + int64(at), src: netip.MustParseAddr(src),
		c: tally.SampledContact{Rank: scramble(d.Hi^d.Lo, uint64(port)<<8|uint64(p)), Dst: d, Port: port, Proto: p, Probe: probe},
	}
	if len(marks) > 0 {
		step.marks = marks[0]
	}
	add := func(after time.Duration, stage conn.Stage) {
		s := step
		s.at += int64(after)
		s.c.Stage = stage
		w.steps = append(w.steps, s)
	}
	add(0, conn.StageOpened)
	switch end {
	case conn.StageSilent:
		add(5*time.Second, end)
	case conn.StageUnknown:
		add(300*time.Millisecond, end)
	case conn.StageRefused, conn.StageAnswered:
		add(20*time.Millisecond, end)
	case conn.StageProven:
		add(20*time.Millisecond, conn.StageAnswered)
		add(40*time.Millisecond, conn.StageProven)
	}
}

func (w *world) epochs() (out []*tally.Epoch) {
	slices.SortStableFunc(w.steps, func(a, b worldStep) int { return cmp.Compare(a.at, b.at) })
	for i := 0; i < len(w.steps); {
		tick := w.steps[i].at / tally.Tick
		j := i
		for j < len(w.steps) && w.steps[j].at/tally.Tick == tick {
			j++
		}
		out = append(out, epochOf(tick, w.steps[i:j], w.back))
		i = j
	}
	return out
}

func epochOf(tick int64, steps []worldStep, back bool) *tally.Epoch {
	e := &tally.Epoch{Tick: tick, SketchKey: 7, Link: tally.Link{Packets: uint64(len(steps))}}
	if back {
		e.Services = []tally.Service{{BackPackets: 1}}
	}
	sources := map[netip.Addr]*tally.Source{}
	contacts := map[netip.Addr]map[uint64]tally.SampledContact{}
	for _, s := range steps {
		x := sources[s.src]
		if x == nil {
			x = &tally.Source{Addr: decode.AddrFrom(s.src), Ver: 4, First: s.at}
			if s.src.Is6() {
				x.Ver = 6
			}
			sources[s.src], contacts[s.src] = x, map[uint64]tally.SampledContact{}
		}
		x.Last = s.at
		switch s.c.Stage {
		case conn.StageOpened:
			x.Opened++
			x.Probes[s.c.Probe]++
			x.Hosts.Add(scramble(s.c.Dst.Lo, s.c.Dst.Hi))
			x.Ports.Add(scramble(uint64(s.c.Port), uint64(s.c.Proto)))
			x.Marks |= s.marks
			x.MarkHits += one(s.marks != 0)
		case conn.StageUnknown:
			x.Unknown++
		case conn.StageSilent:
			x.Silent++
		case conn.StageRefused:
			x.Refused++
		case conn.StageAnswered:
			x.Answered++
		case conn.StageProven:
			x.Proven++
		}
		old, ok := contacts[s.src][s.c.Rank]
		if !ok || old.Stage < s.c.Stage {
			contacts[s.src][s.c.Rank] = s.c
		}
	}
	for a, x := range sources {
		var all []tally.SampledContact
		for _, c := range contacts[a] {
			all = append(all, c)
		}
		slices.SortFunc(all, func(a, b tally.SampledContact) int { return cmp.Compare(a.Rank, b.Rank) })
		x.NContacts = uint8(copy(x.Contacts[:], all))
		e.Sources = append(e.Sources, *x)
	}
	slices.SortFunc(e.Sources, func(a, b tally.Source) int {
		if a.Addr.Less(b.Addr) {
			return -1
		}
		return 1
	})
	return e
}

// judge runs an analyzer over the world and returns copies of its findings.
func (w *world) judge() []Finding { return judgeAll(NewScan(DefaultScan()), w.epochs()) }

func judgeAll(a *Scan, epochs []*tally.Epoch) (out []Finding) {
	for _, e := range epochs {
		a.Judge(e, func(f *Finding) {
			c := *f
			c.Why, c.Notes = slices.Clone(f.Why), slices.Clone(f.Notes)
			out = append(out, c)
		})
	}
	return out
}

func severityScore(f *Finding) int { return min(f.Score, f.MaxScore) }

func (f *Finding) measure(name string) float64 {
	for _, m := range f.Why {
		if m.Name == name {
			return m.Value
		}
	}
	return -1
}

// TestWalkArithmetic holds the numbers that the paper's formula gives: ln(P_D/P_F) / ln(0.8/0.2) straight failures.
func TestWalkArithmetic(t *testing.T) {
	for _, c := range []struct {
		falseAlarm float64
		failures   int
	}{{1e-2, 4}, {1e-5, 9}, {1e-6, 10}} {
		cfg := DefaultScan()
		cfg.FalseAlarm = c.falseAlarm
		if s := newSteps(&cfg); s.need != c.failures {
			t.Errorf("P_F %g: %d straight failures, want %d", c.falseAlarm, s.need, c.failures)
		}
		w := newWorld()
		for i := range c.failures - 1 {
			w.try(time.Duration(i)*time.Second, "192.0.2.1", fmt.Sprintf("10.0.0.%d", 10+i), 22, conn.ProbeSYN, conn.StageRefused)
		}
		if got := judgeAll(NewScan(cfg), w.epochs()); len(got) != 0 {
			t.Errorf("P_F %g: finding after %d failures: %s", c.falseAlarm, c.failures-1, got[0].Summary)
		}
		w.try(20*time.Second, "192.0.2.1", "10.0.0.99", 22, conn.ProbeSYN, conn.StageRefused)
		if got := judgeAll(NewScan(cfg), w.epochs()); len(got) != 1 || int(got[0].measure("failed_contacts")) != c.failures {
			t.Errorf("P_F %g: %d findings after %d failures", c.falseAlarm, len(got), c.failures)
		}
	}
	s := newSteps(&ScanConfig{Benign: 0.8, Scanner: 0.2, Detect: 0.99, FalseAlarm: 1e-5})
	if s.up != 1386294 || s.down != 1386294 || s.threshold != 11502875 { // ln 4 and ln 99000
		t.Errorf("steps %+v", s)
	}
}

const (
	scanner = "198.51.100.9"
	syn     = conn.ProbeSYN
	silent  = conn.StageSilent
	refused = conn.StageRefused
	ok      = conn.StageProven
)

// TestScanKinds: each kind is found, by its name, subject and victim, within ten failed contacts where outcomes are failures.
func TestScanKinds(t *testing.T) {
	every := func(n int, gap time.Duration, f func(i int, at time.Duration)) {
		for i := range n {
			f(i, time.Duration(i)*gap)
		}
	}
	host := func(i int) string { return fmt.Sprintf("10.1.2.%d", i%250+1) }
	flags := func(p conn.Probe) func(w *world) {
		return func(w *world) {
			every(200, 10*time.Millisecond, func(i int, at time.Duration) { w.try(at, scanner, host(7), uint16(20+i), p, refused) })
		}
	}
	for _, c := range []struct {
		name, kind, victim string
		port               uint16
		make               func(w *world)
		contacts           int // named within
	}{
		{"vertical", "vertical", "10.1.2.8/32", 0, func(w *world) {
			every(1000, 5*time.Millisecond, func(i int, at time.Duration) {
				end := silent
				if i%80 == 40 {
					end = conn.StageAnswered
				}
				w.try(at, scanner, host(7), uint16(i+1), syn, end)
			})
		}, 1000},
		{"vertical refused", "vertical", "10.1.2.8/32", 0, func(w *world) {
			every(1000, time.Second, func(i int, at time.Duration) { w.try(at, scanner, host(7), uint16(i+1), syn, refused) })
		}, 10},
		{"horizontal", "horizontal", "10.1.2.0/24", 445, func(w *world) {
			every(250, 300*time.Millisecond, func(i int, at time.Duration) { w.try(at, scanner, host(i), 445, syn, refused) })
		}, 10},
		{"horizontal slow", "horizontal", "10.1.2.0/24", 23, func(w *world) {
			every(20, time.Minute, func(i int, at time.Duration) { w.try(at, scanner, host(i), 23, syn, silent) })
		}, 10},
		{"strobe", "strobe", "10.1.2.0/24", 0, func(w *world) {
			every(240, 200*time.Millisecond, func(i int, at time.Duration) {
				w.try(at, scanner, host(i/3), [...]uint16{22, 23, 3389}[i*7%3], syn, refused)
			})
		}, 10},
		{"block", "block", "10.1.2.0/24", 0, func(w *world) {
			r := rand.New(rand.NewPCG(1, 2))
			every(2000, 50*time.Millisecond, func(i int, at time.Duration) {
				w.try(at, scanner, host(r.IntN(250)), uint16(1+r.IntN(1000)), syn, silent)
			})
		}, 200},
		{"vertical six", "vertical", "2001:db8::1/128", 0, func(w *world) {
			every(100, time.Second, func(i int, at time.Duration) {
				w.try(at, "2001:db8:9::1", "2001:db8::1", uint16(i+1), syn, refused)
			})
		}, 10},
		{"horizontal six", "horizontal", "2001:db8::/64", 22, func(w *world) {
			every(100, time.Second, func(i int, at time.Duration) {
				w.try(at, "2001:db8:9::1", fmt.Sprintf("2001:db8::%x", i+1), 22, syn, refused)
			})
		}, 10},
		{"null", "null", "10.1.2.8/32", 0, flags(conn.ProbeNull), 100},
		{"fin", "fin", "10.1.2.8/32", 0, flags(conn.ProbeFIN), 100},
		{"xmas", "xmas", "10.1.2.8/32", 0, flags(conn.ProbeXmas), 100},
		{"ack", "ack", "10.1.2.8/32", 0, flags(conn.ProbeACK), 100},
		{"maimon", "maimon", "10.1.2.8/32", 0, flags(conn.ProbeMaimon), 100},
		{"udp", "udp", "10.1.2.8/32", 0, func(w *world) { // nmap -sU: one port unreachable a second, the rest is silent
			every(300, 100*time.Millisecond, func(i int, at time.Duration) {
				end := silent
				if i%10 == 0 {
					end = refused
				}
				w.try(at, scanner, host(7), uint16(1000+97*i), conn.ProbeUDP, end)
			})
		}, 300},
		{"udp sweep", "udp", "10.1.2.0/24", 161, func(w *world) {
			every(100, 100*time.Millisecond, func(i int, at time.Duration) { w.try(at, scanner, host(i), 161, conn.ProbeUDP, silent) })
		}, 70},
		{"icmp sweep", "icmp_sweep", "10.1.2.0/24", 0, func(w *world) {
			every(250, 10*time.Millisecond, func(i int, at time.Duration) {
				end := silent
				if i%3 == 0 {
					end = conn.StageAnswered
				}
				w.try(at, scanner, host(i), 0, conn.ProbeEcho, end)
			})
		}, 250},
		{"open ports", "vertical", "10.1.2.8/32", 0, func(w *world) {
			every(40, time.Second, func(i int, at time.Duration) { w.try(at, scanner, host(7), uint16(20+10*i), syn, ok) })
		}, 40},
		{"marked", "horizontal", "10.1.2.0/24", 443, func(w *world) {
			every(200, 100*time.Millisecond, func(i int, at time.Duration) {
				w.try(at, scanner, host(i), 443, syn, conn.StageAnswered, conn.MarkZMap)
			})
		}, 40},
		{"worm in a NAT", "horizontal", "10.1.2.0/24", 445, func(w *world) { // one port fails, everything else is answered
			every(600, 20*time.Millisecond, func(i int, at time.Duration) { w.try(at, scanner, internet(i), 443, syn, ok) })
			every(60, 200*time.Millisecond, func(i int, at time.Duration) { w.try(at, scanner, host(i), 445, syn, refused) })
		}, 700},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			c.make(w)
			got := w.judge()
			if len(got) == 0 {
				t.Fatal("no finding")
			}
			f := &got[0]
			if f.Kind != c.kind {
				t.Errorf("kind %s, want %s: %s", f.Kind, c.kind, f.Summary)
			}
			if f.Victim.Prefix.String() != c.victim {
				// A prefix may be a part of it at the first crossing.
				if want := netip.MustParsePrefix(c.victim); !f.Victim.Prefix.IsValid() || !want.Overlaps(f.Victim.Prefix) {
					t.Errorf("victim %v, want %s", f.Victim.Prefix, c.victim)
				}
			}
			if f.Victim.Port != c.port {
				t.Errorf("port %d, want %d", f.Victim.Port, c.port)
			}
			top := f // fan-out may see it first, with a low score; failures follow
			for i := range got {
				if severityScore(&got[i]) > severityScore(top) {
					top = &got[i]
				}
			}
			if s := severityScore(top); s < 50 || s > 69 {
				t.Errorf("score %d of %d is not medium", top.Score, top.MaxScore)
			}
			if n := max(f.measure("failed_contacts")+f.measure("answered_contacts"), f.measure("tried_contacts")); int(n) > c.contacts {
				t.Errorf("named after %v contacts, want %d", n, c.contacts)
			}
			if alerts := distinct(got); len(alerts) > 4 {
				t.Errorf("%d alerts: %v", len(alerts), alerts)
			}
			for i := range got {
				if got[i].Subject.Prefix != f.Subject.Prefix || got[i].Summary == "" {
					t.Errorf("finding %+v", got[i])
				}
			}
			t.Log(f.Summary, f.Score, f.Why)
			t.Log(got[len(got)-1].Summary, got[len(got)-1].Score)
		})
	}
}

// distinct lists the alerts that findings would make.
func distinct(fs []Finding) (out []string) {
	for i := range fs {
		k := fmt.Sprint(fs[i].Kind, " ", fs[i].Subject.Prefix, " ", fs[i].Victim.Prefix)
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func internet(i int) string {
	h := scramble(uint64(i), 99)
	return fmt.Sprintf("%d.%d.%d.%d", 1+h>>8%200, h>>16&255, h>>24&255, 1+h>>32%250)
}

// TestFindingsAreTimed: at most one finding a second for a (kind, subject, victim).
func TestFindingsAreTimed(t *testing.T) {
	w := newWorld()
	for i := range 5000 {
		w.try(time.Duration(i)*2*time.Millisecond, scanner, "10.1.2.3", uint16(i+1), syn, refused)
	}
	last := map[string]int64{}
	for _, f := range w.judge() {
		k := fmt.Sprint(f.Kind, f.Subject, f.Victim)
		if at, ok := last[k]; ok && f.Time-at < int64(time.Second) {
			t.Errorf("%s repeated after %d ms", k, (f.Time-at)/1e6)
		}
		last[k] = f.Time
	}
}

// TestScanDeterministic: the same epochs give the same findings.
func TestScanDeterministic(t *testing.T) {
	w := newWorld()
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 20000 {
		src := fmt.Sprintf("192.0.2.%d", r.IntN(200))
		w.try(time.Duration(i)*time.Millisecond, src, fmt.Sprintf("10.1.%d.%d", r.IntN(4), r.IntN(250)), uint16(r.IntN(500)), syn,
			[]conn.Stage{silent, refused, ok}[r.IntN(3)])
	}
	a, b := w.judge(), w.judge()
	if len(a) == 0 || !reflect.DeepEqual(a, b) {
		t.Errorf("two runs differ: %d and %d findings", len(a), len(b))
	}
}

// TestScanLoss loses nine packets in ten while answers would have come, and none when the silence of forty contacts is judged.
func TestScanLoss(t *testing.T) {
	w := newWorld()
	for i := range 40 {
		w.try(time.Duration(i)*20*time.Millisecond, "192.0.2.9", fmt.Sprintf("10.0.0.%d", i+1), 22, conn.ProbeSYN, conn.StageSilent)
	}
	epochs := w.epochs()
	for _, e := range epochs {
		if e.Tick < epochs[0].Tick+50 {
			e.Link.Loss[tally.LossKernel] = 9 * e.Link.Packets
		}
	}
	found := judgeAll(NewScan(DefaultScan()), epochs)
	if len(found) == 0 {
		t.Fatal("no finding")
	}
	for _, f := range found {
		if f.Confidence > 20 {
			t.Errorf("%s: confidence %d", f.Summary, f.Confidence)
		}
	}
}
