package alert

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/analyzers"
	"weir/analyzers/tally"
)

// story runs a manager by hand.
type story struct {
	t    testing.TB
	m    *Manager
	seen []*Alert
}

func (s *story) add(at int64, change func(f *analyzers.Finding)) {
	f := finding()
	f.Time, f.First, f.Last, f.Count = base+at, base+at-1, base+at, 1
	if change != nil {
		change(f)
	}
	s.m.Add(f)
}

func (s *story) emit(a *Alert) { s.seen = append(s.seen, a) }

// expect compares what was emitted since the last time, one "rev state severity count time-in-ms" an alert.
func (s *story) expect(want ...string) {
	s.t.Helper()
	var got []string
	for _, a := range s.seen {
		got = append(got, fmt.Sprintf("%d %v %v %d %d", a.Rev, a.State, a.Severity, a.Count, (int64(a.Time)-base)/1e6))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("got  %q\nwant %q", got, want)
	}
	s.seen = nil
}

func score(n int) func(*analyzers.Finding) {
	return func(f *analyzers.Finding) { f.Score, f.MaxScore = n, 0 }
}

func TestOneStoryOneAlert(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	s.add(1*second, score(50))
	s.m.Advance(base+1*second, s.emit)
	s.expect("1 open medium 1 1000")
	id := ""
	for i := int64(2); i < 50; i++ {
		s.add(i*second, score(51))
		s.m.Advance(base+i*second, s.emit)
	}
	s.expect()
	s.add(50*second, score(70))
	s.add(50*second+1e8, score(20)) // weaker again
	s.m.Advance(base+51*second, s.emit)
	id = s.seen[0].ID
	s.expect("2 update high 50 50000")
	s.m.Advance(base+110*second, s.emit)
	s.expect()
	s.m.Advance(base+111*second, s.emit)
	if s.seen[0].ID != id || s.seen[0].Score != 70 || int64(s.seen[0].First) != base+second-1 || int64(s.seen[0].Last) != base+50*second+1e8 {
		t.Errorf("closed as %+v", s.seen[0])
	}
	if s.seen[0].Early {
		t.Error("closed early after its quiet time")
	}
	s.expect("3 closed high 51 110100")
	s.add(112*second, score(50))
	s.m.Flush(s.emit)
	if !s.seen[1].Early {
		t.Error("closed by the end of input, and that does not show")
	}
	if s.seen[0].ID == id {
		t.Error("a new story has the old identity")
	}
	s.expect("1 open medium 1 112000", "2 closed medium 1 112000")
	if got := s.m.Stats(); got != (Stats{Findings: 52, Opened: 2, Updated: 1, Closed: 2, Repeats: 50}) {
		t.Errorf("%+v", got)
	}
}

// TestRepeatAtTheEndOfQuiet comes just when the alert would close, and a nanosecond later.
func TestRepeatAtTheEndOfQuiet(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	s.add(0, score(50))
	s.add(60*second, score(50))
	s.add(120*second+1, score(50))
	s.m.Flush(s.emit)
	s.expect("1 open medium 1 0", "2 closed medium 2 120000", "1 open medium 1 120000", "2 closed medium 1 120000")
}

func TestOtherVictimIsAnotherAlert(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	s.add(1, nil)
	s.add(2, func(f *analyzers.Finding) { f.Victim.Port = 23 })
	s.add(3, func(f *analyzers.Finding) { f.Victim.Prefix = netip.MustParsePrefix("198.51.100.0/25") })
	s.add(4, func(f *analyzers.Finding) { f.Subject = analyzers.Party{} })
	s.add(5, func(f *analyzers.Finding) { f.Kind = "horizontal" })
	s.add(6, func(f *analyzers.Finding) { f.Analyzer = "flood" })
	s.m.Advance(base+7, s.emit)
	ids := map[string]bool{}
	for _, a := range s.seen {
		ids[a.ID] = true
	}
	if len(s.seen) != 6 || len(ids) != 6 {
		t.Errorf("%d alerts, %d ids, want 6", len(s.seen), len(ids))
	}
}

func TestTotalsDoNotAddUp(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	for i, n := range []uint64{12, 40, 30} { // a window slid
		s.add(int64(i)*second, func(f *analyzers.Finding) { f.Count, f.Total = n, true })
	}
	s.m.Flush(s.emit)
	s.expect("1 open medium 12 0", "2 closed medium 40 2000")
}

func TestReturnPathIsKept(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	s.add(1, nil)
	s.add(2, func(f *analyzers.Finding) { f.Subject.ReturnPath = true })
	s.add(3, nil)
	s.m.Flush(s.emit)
	if len(s.seen) != 2 || s.seen[0].Subject.ReturnPath != "unproven" || s.seen[1].Subject.ReturnPath != "proven" {
		t.Errorf("%d alerts, %+v", len(s.seen), s.seen)
	}
}

func subject(i int) analyzers.Party {
	return analyzers.Party{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
}

// TestManySubjectsAreFolded makes findings of a million subjects in a hundred seconds.
func TestManySubjectsAreFolded(t *testing.T) {
	s := &story{t: t, m: New(Config{MaxNew: 10, MaxOpen: 500})}
	for i := range 1_000_000 {
		s.add(int64(i)*1e5, func(f *analyzers.Finding) { f.Subject, f.Score = subject(i), 30 })
		if i == 555_555 {
			s.add(int64(i)*1e5, score(95)) // among the noise
		}
		if i%1000 == 999 {
			s.m.Advance(base+int64(i)*1e5, s.emit)
			if open := len(s.m.alerts); open > 502 {
				t.Fatalf("%d alerts are open", open)
			}
		}
	}
	s.m.Flush(s.emit)
	count, severe, fold := uint64(0), 0, []*Alert{}
	for _, a := range s.seen {
		if a.State == Closed {
			count += a.Count
		}
		if a.Severity == Critical && a.State == Open {
			severe++
		}
		if a.Subject == nil {
			fold = append(fold, a)
		}
	}
	if len(s.seen) > 2*(100*10+10) || count != 1_000_001 || severe != 1 {
		t.Errorf("%d revisions with a count of %d, %d critical", len(s.seen), count, severe)
	}
	if len(fold) != 2 || fold[0].ID != fold[1].ID || fold[1].Count != 999_000 || !strings.HasPrefix(fold[1].Summary, "999000 findings") || fold[1].Victim != nil {
		t.Errorf("folded: %d, %+v", len(fold), fold[len(fold)-1])
	}
	if got := s.m.Stats(); got.Folded != 999_000 || got.Early != 501 || got.Opened != got.Closed {
		t.Errorf("%+v", got)
	}
}

func TestFullClosesTheWeakestFirst(t *testing.T) {
	s := &story{t: t, m: New(Config{MaxOpen: 3})}
	for i, n := range []int{50, 30, 30} {
		s.add(int64(i)*second, func(f *analyzers.Finding) { f.Subject, f.Score = subject(i), n })
	}
	s.add(3*second, func(f *analyzers.Finding) { f.Subject, f.Score = subject(3), 60 })
	s.add(4*second, func(f *analyzers.Finding) { f.Subject, f.Score = subject(4), 10 }) // weaker than all: folded
	s.m.Advance(base+4*second, s.emit)
	if !s.seen[3].Early {
		t.Error("closed to make room, and that does not show")
	}
	s.expect("1 open medium 1 0", "1 open low 1 1000", "1 open low 1 2000", "2 closed low 1 3000", "1 open medium 1 3000", "1 open info 1 4000")
	if s.m.Stats().Early != 1 || s.m.Stats().Folded != 1 {
		t.Errorf("%+v", s.m.Stats())
	}
}

// drawn is a list of findings in order of time, and after which of them Advance is called.
type drawn struct {
	findings []*analyzers.Finding
	advance  []bool
}

func draw(r *rapid.T) drawn {
	var d drawn
	at := base
	for range rapid.IntRange(0, 80).Draw(r, "findings") {
		at += rapid.SampledFrom([]int64{0, 1, 1e8, second, 20 * second}).Draw(r, "after")
		f := finding()
		f.Analyzer = rapid.SampledFrom([]string{"flood", "scan"}).Draw(r, "analyzer")
		f.Kind = rapid.SampledFrom([]string{"a", "b"}).Draw(r, "kind")
		f.Subject = subject(rapid.IntRange(0, 5).Draw(r, "subject"))
		f.Score = rapid.IntRange(0, 100).Draw(r, "score")
		f.MaxScore = 0
		f.Count = uint64(rapid.IntRange(0, 9).Draw(r, "count"))
		f.Quiet = rapid.SampledFrom([]int64{0, second, 30 * second}).Draw(r, "quiet")
		f.Time, f.First, f.Last = at, at-second, at
		d.findings = append(d.findings, f)
		d.advance = append(d.advance, rapid.Bool().Draw(r, "advance"))
	}
	return d
}

// run feeds the findings; Advance is called after the last finding of a time where often or the draw says so.
func (d drawn) run(cfg Config, often bool) []*Alert {
	m := New(cfg)
	var seen []*Alert
	emit := func(a *Alert) { seen = append(seen, a) }
	for i, f := range d.findings {
		m.Add(f)
		if last := i+1 == len(d.findings) || d.findings[i+1].Time > f.Time; last && (often || d.advance[i]) {
			m.Advance(f.Time, emit)
		}
	}
	m.Flush(emit)
	return seen
}

func TestLifeOfAlerts(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := draw(r)
		cfg := Config{MaxOpen: rapid.IntRange(1, 12).Draw(r, "open"), MaxNew: rapid.IntRange(1, 5).Draw(r, "new")}
		got := d.run(cfg, true)
		if diff := Diff(got, d.run(cfg, false)); diff != "" {
			r.Fatalf("how often Advance is called shows:\n%s", diff)
		}
		want, sum := uint64(0), uint64(0)
		for _, f := range d.findings {
			want += f.Count
		}
		last := map[string]*Alert{}
		for i, a := range got {
			before := last[a.ID]
			switch {
			case before == nil && (a.Rev != 1 || a.State != Open):
				r.Fatalf("%s begins with %d %v", a.ID, a.Rev, a.State)
			case before != nil && (a.Rev != before.Rev+1 || a.State == Open || before.State == Closed || a.Severity < before.Severity || a.Count < before.Count):
				r.Fatalf("%s: %+v after %+v", a.ID, a, before)
			case before != nil && a.State == Update && a.Severity == before.Severity:
				r.Fatalf("%s: an update without a rise", a.ID)
			case i > 0 && !(a.State == Closed && a.Time == got[len(got)-1].Time) && cmp.Or(cmp.Compare(a.Time, got[i-1].Time), strings.Compare(a.Analyzer, got[i-1].Analyzer), strings.Compare(a.Kind, got[i-1].Kind)) < 0:
				r.Fatalf("%s comes too late", title(a))
			}
			last[a.ID] = a
			if a.State == Closed {
				sum += a.Count
			}
		}
		for id, a := range last {
			if a.State != Closed {
				r.Fatalf("%s is not closed", id)
			}
		}
		if sum != want {
			r.Fatalf("counts sum up to %d, want %d", sum, want)
		}
	})
}

// TestAgreesWithTwin compares opening, end and count of every alert with an obvious twin where no bound is reached.
func TestAgreesWithTwin(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := draw(r)
		opened := map[string]Time{}
		var got []string
		for _, a := range d.run(Config{}, true) {
			switch a.State {
			case Open:
				opened[a.ID] = a.Time
			case Closed:
				got = append(got, fmt.Sprint(a.Analyzer, a.Kind, a.Subject.IP, int64(opened[a.ID]), int64(a.Time), a.Count))
			}
		}
		want := twin(d.findings)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			r.Fatalf("got  %q\nwant %q", got, want)
		}
	})
}

// twin follows the findings of one key after the other.
func twin(all []*analyzers.Finding) (stories []string) {
	byKey := map[key][]*analyzers.Finding{}
	for _, f := range all {
		byKey[keyOf(f)] = append(byKey[keyOf(f)], f)
	}
	for _, findings := range byKey {
		for len(findings) > 0 {
			first, end, count := findings[0], int64(0), uint64(0)
			for len(findings) > 0 && (end == 0 || findings[0].Time <= end) {
				end = max(end, findings[0].Time+max(findings[0].Quiet, 1e8))
				count += findings[0].Count
				findings = findings[1:]
			}
			end = min(end, all[len(all)-1].Time)
			stories = append(stories, fmt.Sprint(first.Analyzer, first.Kind, first.Subject.Prefix.Addr(), first.Time, end, count))
		}
	}
	return stories
}

// TestLossOfOneTick adds several findings of a tick to one alert, and then one of the next tick: each tick's loss counts
// once.
func TestLossOfOneTick(t *testing.T) {
	for name, most := range map[string]int{"repeats": 10, "folded": 1} {
		m := New(Config{MaxNew: most})
		link := &tally.Link{Packets: 90}
		link.Loss[tally.LossKernel], link.Loss[tally.LossSources] = 10, 7
		var last *Alert
		emit := func(a *Alert) {
			if (a.Subject == nil) == (most == 1) {
				last = a
			}
		}
		for tick := range int64(2) {
			m.Observe(link, false, base+tick*tally.Tick)
			for i := range 5 {
				f := finding()
				f.Time = base + tick*tally.Tick
				if most == 1 { // only the first has an alert of its own, all others are folded into one
					f.Subject.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(tick)*5 + byte(i)}), 32)
				}
				m.Add(f)
			}
			m.Advance(base+tick*tally.Tick, emit)
		}
		m.Flush(emit)
		if last.Loss.Ratio != 0.1 || last.Loss.Causes["kernel"] != 20 || last.Loss.Causes["sources"] != 14 {
			t.Errorf("%s: the loss of two ticks is %+v, count %d", name, last.Loss, last.Count)
		}
	}
}

// TestLossBefore counts what was lost within the minute before an alert's first finding, and until its end, but not what was
// lost earlier.
func TestLossBefore(t *testing.T) {
	lost := &tally.Link{Packets: 90}
	lost.Loss[tally.LossInterface] = 10
	for ago, want := range map[int64]uint64{120: 0, 61: 0, 50: 10, 1: 10} {
		m := New(Config{})
		f := finding()
		m.Observe(lost, false, f.Time-ago*second)
		m.Observe(&tally.Link{Packets: 50}, false, f.Time)
		m.Add(f)
		var last *Alert
		m.Advance(f.Time, func(a *Alert) { last = a })
		if got := last.Loss.Causes["interface"]; got != want {
			t.Errorf("lost %d s before: %d, want %d", ago, got, want)
		}
		m.Observe(lost, false, f.Time+second)
		m.Flush(func(a *Alert) { last = a })
		if got := last.Loss.Causes["interface"]; got != want+10 {
			t.Errorf("lost %d s before and once after: %d, want %d", ago, got, want+10)
		}
	}
}
