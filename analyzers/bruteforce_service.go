package analyzers

import (
	"fmt"
	"math"
	"time"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// Counters of a login service's window, over all sources.
const (
	svcAll     = iota // short sessions
	svcAlike          // of these, like the majority
	svcPrinted        // of these, with the majority's SYN print
	svcFresh          // of these, of sources that the service had not met an hour before
)

// loginService is what all sources did at one login service.
type loginService struct {
	told
	span     span
	sources  [spanParts]tally.HLL // by part of the window
	like     likeness
	print    uint64 // of the majority
	vote     uint32
	began    int64 // number of the part in which it was met
	second   int64 // number of the second that was judged last
	crossing baseline.Crossing
}

func (s *loginService) weight() uint64 {
	if s.emitted != 0 {
		return 1 << 40
	}
	return uint64(s.span.sum[svcAll])
}

// coldFactor is how many times more evidence an absolute floor asks for than one with a baseline.
const coldFactor = 5

// atService adds a source's tries to those of its service.
func (a *Bruteforce) atService(t *loginTries, p *tally.Pair, e *tally.Epoch, size [2]uint32, sized bool) {
	k := p.Key
	k.Client.Hi, k.Client.Lo = 0, 0
	s := a.services.at(&k, a.now, a.idle())
	if s == nil {
		return
	}
	a.turnService(&k, s, a.part(e))
	s.rest(s.span.sum[svcAll] == 0, a.now, int64(a.cfg.Quiet))
	if s.first == 0 {
		s.first = p.First
	}
	s.last, s.news = p.Last, true
	s.total += uint64(p.Short)
	s.span.add(svcAll, p.Short)
	if a.now-t.since < loginFresh {
		s.span.add(svcFresh, p.Short)
	}
	s.sources[s.span.at%spanParts].Add(hashOf(a.services.key, p.Key.Client))
	if sized {
		alike, changed := s.like.add(size, p.Short)
		if changed {
			s.forget(svcAlike)
		}
		if alike {
			s.span.add(svcAlike, p.Short)
		}
	}
	if t.print != 0 {
		s.printed(t.print, p.Short)
	}
	if second := (a.now - 1) / 1e9; second != s.second {
		s.second = second
		a.judgeService(&k, s)
	}
}

// turnService goes on to a part of the window; sketches of parts that are out of it are emptied.
func (a *Bruteforce) turnService(k *tally.PairKey, s *loginService, part int64) {
	if s.began == 0 {
		s.began = part
	}
	a.learnService(k, s, part)
	for i := max(s.span.at+1, part-spanParts+1); i <= part; i++ {
		s.sources[i%spanParts] = tally.HLL{}
	}
	s.span.turn(part)
}

func (s *loginService) forget(counter int) {
	for i := range s.span.part {
		s.span.part[i][counter] = 0
	}
	s.span.sum[counter] = 0
}

// printed votes for a print.
func (s *loginService) printed(print uint64, n uint32) {
	switch {
	case print == s.print && s.vote > 0:
		s.vote = min(s.vote+n, likenessMost)
	case s.vote > n:
		s.vote -= n
		return
	default:
		s.print, s.vote = print, min(n, likenessMost)
		s.forget(svcPrinted)
	}
	s.span.add(svcPrinted, n)
}

func (s *loginService) distinct() int {
	var all tally.HLL
	for i := range s.sources {
		all.Merge(&s.sources[i])
	}
	return int(all.Count())
}

// series is the baseline of a service's tries in a part of the window.
func (a *Bruteforce) series(k *tally.PairKey) *baseline.Series {
	return a.site.Baseline.Series(baseline.Key{
		Kind: baseline.KindService, Measure: baseline.MeasureShortSessions, Ver: k.Ver, Proto: k.Proto, Port: k.Port,
		Addr: [2]uint64{k.Server.Hi, k.Server.Lo}, Num: uint32(a.cfg.Window / time.Second),
	}, a.now)
}

// learnService has the baseline learn the parts that leave the window: what is in it is still being judged.
func (a *Bruteforce) learnService(k *tally.PairKey, s *loginService, part int64) {
	const quiet = 60 // parts without tries that are learned at most
	from, to := max(s.span.at-spanParts+1, s.began, part-spanParts-quiet), part-spanParts
	if s.span.at == 0 || from > to {
		return
	}
	series := a.series(k)
	length := int64(a.cfg.Window) / spanParts
	for i := from; i <= to; i++ {
		if s.alarmed() {
			series.Freeze(i * length)
			continue
		}
		n := uint32(0)
		if i <= s.span.at {
			n = s.span.part[i%spanParts][svcAll]
		}
		series.Thaw(i * length)
		series.LearnSample(i*length, float64(n))
	}
}

// stuffingTest is what the judgement of a service rests on.
type stuffingTest struct {
	sources  int
	expected float64 // tries within the window
	stddev   float64
	n        uint64
	cold     bool
}

// judgeService judges the window of a service, once in a second in which it has tries.
func (a *Bruteforce) judgeService(k *tally.PairKey, s *loginService) {
	second := (a.now - 1) / 1e9
	all := uint64(s.span.sum[svcAll])
	most := func(counter int) bool { return uint64(s.span.sum[counter])*100 >= all*loginShare }
	if int(all) < a.cfg.StuffingSources || !most(svcAlike) || !most(svcPrinted) || !a.site.younger(2*loginFresh, a.now) && !most(svcFresh) {
		s.crossing.Add(second, false)
		return
	}
	t := stuffingTest{sources: s.distinct()}
	normal := a.series(k).Normal(a.now - 1)
	mean, stddev, n := normal.Expected()
	t.expected, t.stddev, t.n = mean*spanParts, stddev*math.Sqrt(spanParts), n
	t.cold = n == 0
	need := a.cfg.StuffingSources
	if t.cold {
		need *= coldFactor
	}
	over := t.sources >= need && int(all) < t.sources*a.cfg.Tries
	if !t.cold {
		over = over && float64(all) > a.cfg.Multiplier*t.expected && float64(all)-t.expected > a.site.Baseline.Config().Z*t.stddev
	}
	s.crossing.Add(second, over)
	set := a.site.Baseline.Config()
	if !over || !s.crossing.Met(set.Need, set.Of) && s.emitted == 0 {
		return
	}
	if score := scoreOf(t.sources, need); s.due(score, a.now) {
		a.reportService(k, s, score, t)
	}
}

// reportService emits a finding of kind stuffing.
func (a *Bruteforce) reportService(k *tally.PairKey, s *loginService, score int, t stuffingTest) {
	f := a.finding("stuffing", &s.told, score)
	f.Victim = server(k)
	f.Attack = []string{"T1110.004", "T1110.003"}
	f.Notes = append(f.Notes, noteHeaders, "the number of sources is an estimate")
	a.opening(k)
	sum := &s.span.sum
	need := a.cfg.StuffingSources
	all := float64(sum[svcAll])
	compared := fmt.Sprintf("%.0f are usual", t.expected)
	if t.cold {
		need *= coldFactor
		compared = "nothing is known of it yet"
		a.add("tries", all, "short sessions", 0)
	} else {
		a.add("tries", all, "short sessions", a.cfg.Multiplier*t.expected)
		f.Why[0].Baseline = &Baseline{Mean: t.expected, Stddev: t.stddev, N: t.n}
	}
	a.add("sources", float64(t.sources), "addresses", float64(need))
	a.add("tries_per_source", all/float64(max(t.sources, 1)), "short sessions", float64(a.cfg.Tries))
	a.add("alike", 100*float64(sum[svcAlike])/all, "%", loginShare)
	a.add("one_print", 100*float64(sum[svcPrinted])/all, "%", loginShare)
	a.add("new_sources", 100*float64(sum[svcFresh])/all, "%", loginShare)
	f.Summary = fmt.Sprintf("About %d sources had %d short sessions with the login service %s within the last %s, %.0f %% of them alike (%s)",
		t.sources, sum[svcAll], where(k), a.cfg.Window, 100*float64(sum[svcAlike])/all, compared)
	a.done()
}
