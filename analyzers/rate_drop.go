package analyzers

import (
	"fmt"

	"weir/analyzers/baseline"
)

// steadyTable are the keys whose packets come so evenly that their silence says something: z standard deviations are less than
// the mean, over ten minutes at least. They are judged every second, also when nothing of them came. When it is full, others are
// not judged.
type steadyTable struct {
	most  int
	lost  uint64
	place map[baseline.Key]int // with the measure
	list  []steadyKey
}

type steadyKey struct {
	key           baseline.Key
	low           baseline.Crossing
	second        int64 // judged last
	value         float64
	mean, stddev  float64
	n             uint64
	traffic       int64 // second in which it had any last
	since, open   int64 // ns; 0: not low
	lastLow, even int64 // seconds: low, and even, last
}

const (
	steadySeconds = 600 // of a baseline that can be called even
	dropOf        = 10  // seconds, of which dropNeed must be low: TCP's retransmissions wait for three of them
	dropNeed      = 8
	dropTold      = 16   // findings a second
	dropLoss      = 0.01 // share of lost packets above which nothing is judged
)

// judge judges a second of a key, and reports whether it is low: not to be learned.
func (t *steadyTable) judge(r *Rate, k *baseline.Key, second int64, n *baseline.Normal, value float64) bool {
	i, known := t.place[*k]
	if !known {
		if !r.isSteady(k, n) {
			return false
		}
		if len(t.list) >= t.most {
			t.lost++
			return false
		}
		i = len(t.list)
		t.place[*k] = i
		t.list = append(t.list, steadyKey{key: *k})
	}
	s := &t.list[i]
	if value > 0 {
		s.traffic = second
	}
	if r.isSteady(k, n) {
		s.even = second
	}
	return s.judge(r, second, n, value)
}

// isSteady reports whether a baseline is even enough.
func (r *Rate) isSteady(k *baseline.Key, n *baseline.Normal) bool {
	mean, stddev, samples := n.Least()
	floor := float64(r.cfg.DropPackets)
	if isWhole(k.Kind) {
		floor *= wholeFactor
	}
	return n.Warm && samples >= steadySeconds && mean >= floor && stddev*r.base.Z < mean
}

func (s *steadyKey) judge(r *Rate, second int64, n *baseline.Normal, value float64) bool {
	s.second = second
	low := !r.gated && r.view.Loss() <= dropLoss && n.FallsBelow(value, r.base.Z, 1/r.base.Multiplier)
	s.low.Add(second, low)
	if !low {
		return false
	}
	s.lastLow, s.value = second, value
	s.mean, s.stddev, s.n = n.Least()
	if s.since == 0 {
		s.since = second * 1e9
	}
	if s.open == 0 && s.low.Count(dropOf) >= dropNeed {
		s.open = second * 1e9
	}
	return true
}

// conclude judges those of which nothing came, tells of drops, and forgets what is even no more.
func (t *steadyTable) conclude(r *Rate) {
	second := r.judged
	for i := range t.list {
		s := &t.list[i]
		if s.second == second {
			continue
		}
		if series := r.site.Baseline.Find(s.key); series != nil {
			n := series.Normal(second * 1e9)
			if s.judge(r, second, &n, 0) {
				series.Freeze(second * 1e9)
			}
		}
	}
	told := 0
	for i := range t.list {
		if s := &t.list[i]; told < dropTold && s.open != 0 && s.lastLow == second && !t.explained(s) && !s.silent() {
			told++
			r.tellDrop(s)
		}
	}
	kept := t.list[:0]
	for i := range t.list {
		s := &t.list[i]
		if s.open != 0 && second-s.lastLow > int64(r.cfg.Quiet/1e9) {
			s.open = 0
		}
		if s.open == 0 && second-s.lastLow > dropOf {
			s.since = 0
		}
		if s.since == 0 && second-s.even > steadySeconds || t.accepts(r, s) {
			delete(t.place, s.key)
			continue
		}
		t.place[s.key] = len(kept)
		kept = append(kept, *s)
	}
	clear(t.list[len(kept):])
	t.list = kept
}

// explained reports whether the drop is told of another key: of a whole of which two parts or more dropped, or of the one part
// that did.
func (t *steadyTable) explained(s *steadyKey) bool {
	for i := range t.list {
		w := &t.list[i]
		if w.open == 0 || w.lastLow != s.lastLow || w == s {
			continue
		}
		if covers(&w.key, &s.key) && t.parts(w) > 1 || covers(&s.key, &w.key) && t.parts(s) == 1 {
			return true
		}
	}
	return false
}

// parts is how many hosts of a prefix or link dropped, or services of a host.
func (t *steadyTable) parts(w *steadyKey) (n int) {
	part := baseline.KindHost
	if w.key.Kind == baseline.KindHost {
		part = baseline.KindService
	}
	for i := range t.list {
		if p := &t.list[i]; p.key.Kind == part && p.open != 0 && p.lastLow == w.lastLow && covers(&w.key, &p.key) {
			n++
		}
	}
	return n
}

// silent reports whether nothing at all came of a service or host since it is low: analyzer change tells that.
func (s *steadyKey) silent() bool {
	return (s.key.Kind == baseline.KindService || s.key.Kind == baseline.KindHost) && s.traffic*1e9 < s.since
}

// accepts takes a level that stayed low for normal.
func (t *steadyTable) accepts(r *Rate, s *steadyKey) bool {
	if r.cfg.Accept == 0 || s.open == 0 || s.lastLow*1e9-s.open < int64(r.cfg.Accept) {
		return false
	}
	if series := r.site.Baseline.Find(s.key); series != nil {
		series.Accept(s.lastLow * 1e9)
	}
	return true
}

func (r *Rate) tellDrop(s *steadyKey) {
	f := r.finding("drop", s.since, s.lastLow)
	k := s.key
	k.Measure = 0
	r.nameKey(f, &k)
	rule := &loadRules[loadPackets]
	limit := min(s.mean/r.base.Multiplier, s.mean-float64(r.base.Z*s.stddev))
	f.MaxScore, f.Count = volumeCap, 1
	f.Score = min(40+10*s.low.Count(64)/64, volumeCap)
	f.Why = []Measure{
		{
			Name: rule.name, Value: round(s.value), Unit: rule.unit, Threshold: round(limit), Window: 1e9,
			Baseline: &Baseline{round(s.mean), round(s.stddev), s.n},
		},
		{Name: "packets_low", Value: float64(s.low.Count(dropOf)), Unit: "s", Threshold: dropNeed, Window: dropOf * 1e9},
	}
	f.Summary = fmt.Sprintf("Traffic dropped %s: %s packets/s where %s ± %s are normal, for %s.",
		keyText(&k), amount(s.value), amount(s.mean), amount(s.stddev), spanText(s.lastLow*1e9-s.since+1e9))
	r.emit(f)
}
