package analyzers

import (
	"cmp"
	"slices"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// Near is a party that is below a limit, and how near: what would be found next.
type Near struct {
	Analyzer, Kind  string // Kind may be empty: it is chosen when the limit is crossed
	Subject, Victim Party
	Measure         string
	Value           float64
	Threshold       float64 // more than Value
	Unit            string
	Time            int64 // ns: when this was so
}

// Share is how much of the threshold is reached, 0 to 1.
func (n *Near) Share() float64 { return n.Value / n.Threshold }

// Approaching is an analyzer that tells what came nearest to its limits within the last seconds. On the judge's goroutine, between
// two ticks.
type Approaching interface {
	Nearest(now int64, yield func(*Near))
}

// Bounds of what is near.
const (
	nearPlaces = 16              // of an analyzer; those further from their limits go
	nearFrom   = 0.25            // share of a limit from which it is worth a word: normal load is a fifth of its limit
	nearKeep   = int64(10e9)     // ns that it is remembered after it was so last
	nearNever  = 1 - 1.0/(1<<20) // shares from here on are at their limit, and some other test holds
)

// nearest keeps what came nearest to an analyzer's limits. The zero value is empty.
type nearest struct {
	list []Near
	last float64 // the lowest share that is kept while it is full
}

// wants reports whether a share of a limit is worth telling. A few ns.
func (n *nearest) wants(share float64) bool {
	return share >= nearFrom && share < nearNever && (len(n.list) < nearPlaces || share > n.last)
}

// put takes in what wants wanted, in place of what it said of the same parties before.
func (n *nearest) put(x Near) {
	x.Subject.ReturnPath = false
	i := slices.IndexFunc(n.list, func(o Near) bool {
		return o.Subject == x.Subject && o.Victim == x.Victim && o.Kind == x.Kind && o.Measure == x.Measure
	})
	switch {
	case i >= 0:
		n.list[i] = x
	case len(n.list) < nearPlaces:
		n.list = append(n.list, x)
	default:
		n.list[n.lowest()] = x
	}
	n.last = n.list[n.lowest()].Share()
}

func (n *nearest) lowest() (at int) {
	for i := range n.list {
		if n.list[i].Share() < n.list[at].Share() {
			at = i
		}
	}
	return at
}

// each yields what is near, nearest first.
func (n *nearest) each(now int64, yield func(*Near)) {
	n.list = slices.DeleteFunc(n.list, func(x Near) bool { return now-x.Time > nearKeep })
	slices.SortStableFunc(n.list, func(a, b Near) int { return cmp.Compare(b.Share(), a.Share()) })
	for i := range n.list {
		yield(&n.list[i])
	}
}

// Nearest implements Approaching.
func (a *Scan) Nearest(now int64, yield func(*Near)) { a.near.each(now, yield) }

// Nearest implements Approaching.
func (f *Flood) Nearest(now int64, yield func(*Near)) { f.near.each(now, yield) }

// Nearest implements Approaching.
func (r *Rate) Nearest(now int64, yield func(*Near)) { r.near.each(now, yield) }

// Nearest implements Approaching.
func (a *Bruteforce) Nearest(now int64, yield func(*Near)) { a.near.each(now, yield) }

// Band is what a rate is compared with: what is expected, and the level above which it is told. N is 0 while nothing is known.
type Band struct {
	Mean, Stddev float64
	Alarm        float64 // least rate that is told if it lasts
	N            uint64  // seconds or samples behind the mean
}

// LinkBands are the bands of the whole link's packets and bits a second.
func (r *Rate) LinkBands(now int64) (packets, bits Band) {
	floors := r.loadFloors(baseline.KindLink)
	of := func(m int) (b Band) {
		scale := loadRules[m].scale
		b.Alarm = startFactor * floors[m] * scale
		s := r.site.Baseline.Find(baseline.Key{Kind: baseline.KindLink, Measure: loadRules[m].measure})
		if s == nil {
			return b
		}
		n := s.Normal(now)
		if b.Mean, b.Stddev, b.N = n.Expected(); b.N > 0 {
			b = Band{b.Mean * scale, b.Stddev * scale, r.loadLimit(b.Mean, b.Stddev, floors[m]) * scale, b.N}
		}
		return b
	}
	return of(loadPackets), of(loadBytes)
}

// loadLimit is the rate above which a load is told if it lasts.
func (r *Rate) loadLimit(mean, stddev, floor float64) float64 {
	return max(floor, r.base.Multiplier*mean, mean+float64(r.base.Z*stddev))
}

// nearLoad notes a load that is below its limit.
func (r *Rate) nearLoad(k *baseline.Key, m int, n *baseline.Normal, value, floor float64) {
	if value < nearFrom*floor {
		return
	}
	mean, stddev, samples := n.Expected()
	limit := r.loadLimit(mean, stddev, floor)
	if samples == 0 || !r.near.wants(value/limit) {
		return
	}
	rule := &loadRules[m]
	x := Near{
		Analyzer: r.Name(), Kind: "spike", Victim: partyOfKey(k), Measure: rule.name, Value: value * rule.scale, Threshold: limit * rule.scale,
		Unit: rule.unit, Time: r.end(),
	}
	switch k.Kind {
	case baseline.KindASN:
		x.Subject = Party{ASN: k.Num}
	case baseline.KindCountry:
		x.Subject = Party{Country: countryText(k.Num)}
	}
	r.near.put(x)
}

// nearWalk notes a source whose walk is on its way.
func (a *Scan) nearWalk(s *scanSource, now int64) {
	if share := float64(s.llr) / float64(a.step.threshold); a.near.wants(share) {
		a.near.put(Near{
			Analyzer: a.Name(), Subject: Party{Prefix: hostVictim(s.addr, s.ver).prefix()}, Measure: "log_likelihood_ratio",
			Value: round3(float64(s.llr) / micro), Threshold: round3(float64(a.step.threshold) / micro), Unit: "nats", Time: now,
		})
	}
}

// nearFloor notes a victim whose load is below a kind's floor.
func (f *Flood) nearFloor(k floodKind, level floodLevel, v *floodVictim, l floodLoad) {
	if f.near.wants(l.ratio()) {
		f.near.put(Near{
			Analyzer: f.Name(), Kind: floodRules[k].name, Victim: party(&v.key, level), Measure: l.measure(k),
			Value: float64(l.value), Threshold: float64(l.floor), Unit: l.unit, Time: f.epoch.End(),
		})
	}
}

// nearTries notes a source whose tries at a login service are not enough yet.
func (a *Bruteforce) nearTries(k *tally.PairKey, alike uint32) {
	if a.near.wants(float64(alike) / float64(a.cfg.Tries)) {
		a.near.put(Near{
			Analyzer: a.Name(), Kind: "password", Subject: client(k), Victim: server(k), Measure: "tries",
			Value: float64(alike), Threshold: float64(a.cfg.Tries), Unit: "short sessions", Time: a.now,
		})
	}
}
