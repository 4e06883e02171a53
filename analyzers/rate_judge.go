package analyzers

import (
	"weir/analyzers/baseline"
)

// rateAlarms are the keys that are above their limit, or were so a moment ago. Those that come when it is full are lost.
type rateAlarms[K comparable] struct {
	most  int
	lost  uint64
	place map[K]int
	list  []rateAlarm[K]
}

// rateMeasures is the most that one key is judged by.
const rateMeasures = 4

// rateAlarm is one of them.
type rateAlarm[K comparable] struct {
	key     K
	cross   [rateMeasures]baseline.Crossing
	over    [rateMeasures]rateOver // what was over last
	now     int64                  // second of over
	since   int64                  // ns: began
	open    int64                  // ns: k of n were over for the first time; 0: not yet
	count   uint64                 // events since it was told last
	samples int64                  // in all, where crossings go by samples
	cold    bool                   // there was nothing to compare with
	started bool                   // when the sensor was
}

// rateOver is a value that is over, and what it was compared with; zero if it is not.
type rateOver struct {
	value, limit, mean, stddev float64
	n                          uint64
	z                          float64
}

func newRateAlarms[K comparable](most int) rateAlarms[K] {
	return rateAlarms[K]{most: most, place: map[K]int{}}
}

// find returns the entry of a key, nil if there is none. Valid until the next at or drop.
func (t *rateAlarms[K]) find(k K) *rateAlarm[K] {
	if i, ok := t.place[k]; ok {
		return &t.list[i]
	}
	return nil
}

// at is find, and makes the entry; nil if there is no room.
func (t *rateAlarms[K]) at(k K, ns int64) *rateAlarm[K] {
	if a := t.find(k); a != nil {
		return a
	}
	if len(t.list) >= t.most {
		t.lost++
		return nil
	}
	t.place[k] = len(t.list)
	t.list = append(t.list, rateAlarm[K]{key: k, since: ns})
	return &t.list[len(t.list)-1]
}

// expire forgets what was not over since a second, or what is to go by itself. The order of the others is kept.
func (t *rateAlarms[K]) expire(before int64, goes func(*rateAlarm[K]) bool) {
	kept := t.list[:0]
	for i := range t.list {
		a := &t.list[i]
		if a.now < before || goes(a) {
			delete(t.place, a.key)
			continue
		}
		t.place[a.key] = len(kept)
		kept = append(kept, *a)
	}
	clear(t.list[len(kept):])
	t.list = kept
}

// note takes in that a measure was over, or was not, in a second (or window).
func (a *rateAlarm[K]) note(m int, second, unit int64, over *rateOver) {
	if a.now != second*unit {
		if over == nil {
			a.cross[m].Add(second, false)
			return
		}
		a.now, a.over = second*unit, [rateMeasures]rateOver{}
	}
	a.cross[m].Add(second, over != nil)
	if over != nil {
		a.over[m] = *over
	}
}

// met reports whether k of the last n were over, by any measure that is over now.
func (a *rateAlarm[K]) met(k, n int) bool {
	for m := range a.over {
		if a.over[m].value > 0 && a.cross[m].Met(k, n) {
			return true
		}
	}
	return false
}

// enter goes on to a second: what the one before showed is told.
func (r *Rate) enter(second int64) {
	if second != r.judged {
		r.conclude()
		r.judged = second
	}
}

// judgeLoad judges a key's second, and learns it.
func (r *Rate) judgeLoad(second int64, k *baseline.Key, v *rateLoad) {
	r.enter(second)
	at := second * 1e9
	a := r.alarms.find(*k)
	frozen := a != nil && a.open != 0 || r.withheld(k, at)
	floors := r.loadFloors(k.Kind)
	for m := range loadRules {
		if v[m] == 0 && m == loadConnections {
			continue // most seconds of most keys; the baseline takes them for zeros
		}
		if m != loadConnections && (k.Kind == baseline.KindASN || k.Kind == baseline.KindCountry) {
			break
		}
		key, value := *k, float64(v[m])
		key.Measure = loadRules[m].measure
		s := r.site.Baseline.Series(key, at)
		n := s.Normal(at)
		over := r.overLoad(&n, value, floors[m])
		if over == nil {
			r.nearLoad(k, m, &n, value, floors[m])
		}
		if over != nil && a == nil {
			a = r.alarms.at(*k, at)
		}
		if a != nil {
			a.note(m, second, 1, over)
			a.cold = a.cold || over != nil && over.n == 0
			a.started = a.started || n.Held > 0
		}
		low := m == loadPackets && r.steady.judge(r, &key, second, &n, value)
		if over != nil && over.n > 0 || frozen || low {
			s.Freeze(at)
			continue
		}
		s.Thaw(at)
		s.LearnBelow(at, value, startFactor*floors[m])
	}
	if a != nil && a.now == second {
		a.count += max(v[loadConnections], 1)
		if a.met(r.base.Need, r.base.Of) {
			if a.open == 0 {
				a.open = at
			}
			if at-a.open < int64(r.base.Window) {
				r.fresh = at + int64(r.cfg.Quiet)
			}
			r.crossed = append(r.crossed, r.alarms.place[*k])
		}
	}
}

// overLoad is what makes a value a candidate, nil if nothing does. While there is nothing to compare with it is that many values
// above the highest floor were not learned: as many as make a baseline warm.
func (r *Rate) overLoad(n *baseline.Normal, value, floor float64) *rateOver {
	if value < floor {
		return nil
	}
	mean, stddev, samples := n.Expected()
	if samples == 0 {
		if value > startFactor*floor && n.Held >= uint64(r.base.WarmupSamples) {
			return &rateOver{value: value, limit: startFactor * floor}
		}
		return nil
	}
	if !n.Exceeds(value, r.base.Z, r.base.Multiplier) {
		return nil
	}
	return &rateOver{
		value: value, mean: mean, stddev: stddev, n: samples, z: rateZ(value, mean, stddev),
		limit: r.loadLimit(mean, stddev, floor),
	}
}

// rateZ is how many standard deviations a value is above the mean, at most a million; a tenth of the mean at least is one.
func rateZ(value, mean, stddev float64) float64 {
	return min((value-mean)/max(stddev, float64(0.1*mean), 1e-9), 1e6)
}

// withheld reports whether what a key does is not normal for a reason that others told.
func (r *Rate) withheld(k *baseline.Key, now int64) bool {
	switch k.Kind {
	case baseline.KindService, baseline.KindHost:
		return r.site.Alarmed(addrOfKey(k).Netip(k.Ver), k.Port, k.Proto, now)
	case baseline.KindLink, baseline.KindPrefix:
		return r.gated || r.site.Flooding(now) || now < r.fresh
	}
	return r.site.Flooding(now) || now < r.fresh
}

// conclude tells what the second that was judged showed: parts before their wholes.
func (r *Rate) conclude() {
	if r.judged == never {
		return
	}
	r.crowd()
	for _, kind := range [...]baseline.Kind{
		baseline.KindService, baseline.KindHost, baseline.KindPrefix, baseline.KindLink, baseline.KindASN, baseline.KindCountry,
	} {
		for i, at := range r.crossed {
			switch {
			case at < 0 || r.alarms.list[at].key.Kind != kind:
			case r.explained(at):
				r.crossed[i] = untold
			default:
				r.tellLoad(&r.alarms.list[at])
			}
		}
	}
	r.crossed = r.crossed[:0]
	r.steady.conclude(r)
	quiet := r.judged - int64(r.cfg.Quiet/1e9)
	r.alarms.expire(quiet, r.accepts)
	r.sources.expire(quiet-2*windowSeconds, func(*rateAlarm[sourceKey]) bool { return false })
	r.judged = never
}

// untold stands in Rate.crossed for what another finding tells.
const untold = -1

// crowd drops the parts of wholes of which more than maxParts spike at once: the whole is told.
func (r *Rate) crowd() {
	for _, whole := range r.crossed {
		if whole < 0 || partOf(r.alarms.list[whole].key.Kind) == baseline.KindCount {
			continue
		}
		w := &r.alarms.list[whole]
		parts := 0
		for _, at := range r.crossed {
			if at >= 0 && r.alarms.list[at].key.Kind == partOf(w.key.Kind) && covers(&w.key, &r.alarms.list[at].key) {
				parts++
			}
		}
		if parts <= maxParts {
			continue
		}
		for i, at := range r.crossed {
			if at >= 0 && covers(&w.key, &r.alarms.list[at].key) {
				r.crossed[i] = untold
			}
		}
	}
}

// explained reports whether what is told of its parts makes half of what a whole has above its normal, by what it exceeds most in.
func (r *Rate) explained(at int) bool {
	w := &r.alarms.list[at]
	m := w.lead()
	sum := 0.0
	for _, i := range r.crossed {
		if i < 0 || i == at {
			continue
		}
		if p := &r.alarms.list[i]; covers(&w.key, &p.key) && p.over[m].value > 0 {
			sum += p.over[m].value - p.over[m].mean
		}
	}
	return sum*2 >= w.over[m].value-w.over[m].mean && sum > 0
}

// lead is the measure that is furthest above its limit.
func (a *rateAlarm[K]) lead() (lead int) {
	best := -1.0
	for m := range a.over {
		if o := &a.over[m]; o.value > 0 && o.value/o.limit > best {
			lead, best = m, o.value/o.limit
		}
	}
	return lead
}

// partOf is the kind whose crowd makes a whole.
func partOf(kind baseline.Kind) baseline.Kind {
	switch kind {
	case baseline.KindHost:
		return baseline.KindService
	case baseline.KindPrefix:
		return baseline.KindHost
	case baseline.KindLink:
		return baseline.KindPrefix
	}
	return baseline.KindCount
}

// covers reports whether p is a part of w.
func covers(w, p *baseline.Key) bool {
	switch w.Kind {
	case baseline.KindLink:
		return p.Kind == baseline.KindPrefix || p.Kind == baseline.KindHost || p.Kind == baseline.KindService
	case baseline.KindPrefix:
		return (p.Kind == baseline.KindHost || p.Kind == baseline.KindService) && p.Ver == w.Ver && prefixKey(addrOfKey(p), p.Ver).Addr == w.Addr
	case baseline.KindHost:
		return p.Kind == baseline.KindService && p.Ver == w.Ver && p.Addr == w.Addr
	case baseline.KindCountry:
		return p.Kind == baseline.KindASN // of which country is not kept: the network is told, and explains it
	}
	return false
}

// accepts takes a level that stayed for long enough for normal: its baseline begins anew.
func (r *Rate) accepts(a *rateAlarm[baseline.Key]) bool {
	if r.cfg.Accept == 0 || a.open == 0 || a.now*1e9-a.open < int64(r.cfg.Accept) {
		return false
	}
	for m := range loadRules {
		k := a.key
		k.Measure = loadRules[m].measure
		if s := r.site.Baseline.Find(k); s != nil {
			s.Accept(a.now * 1e9)
		}
	}
	return true
}
