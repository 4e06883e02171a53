package analyzers

import (
	"fmt"
	"time"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
	"weir/decode"
)

// lastingSource is what a source did at a service, or (without Server in its key) at all of the site, by minutes and by five
// minutes.
type lastingSource struct {
	minute   int64 // that is being filled
	minutes  [lastingSlots]lastingSlot
	fives    [lastingFives]lastingSlot
	since    int64           // ns: of the first minute that was over
	open     int64           // ns: over; 0: not
	over     int64           // minute that was over last
	accepted bool            // for so long that it is normal
	known    [2]lastingKnown // by span
}

// lastingKnown is how a source stands to the distribution over a span.
type lastingKnown struct {
	judged   bool
	resident bool // it was there before the distribution was known: part of what is normal, however it lasts
	cold     bool // and was above a floor then
}

// lastingSlot is what it did in one of these.
type lastingSlot struct {
	number          int64
	requests, bytes uint64
	targets         tally.HLL
	web             bool // requests were read
}

const (
	lastingSlots  = 5               // minutes
	lastingFives  = 12              // of five minutes
	lastingQuiet  = 3 * time.Minute // it is judged once a minute
	lastingForget = int64(10 * time.Minute)
	// lastingLeast requests in ten seconds begin the record of a source: half the pace that an hour's floor asks for.
	lastingLeast = 2
	// hourFactor times the floors of five minutes are those of an hour: a third of the pace.
	hourFactor = 4
	// askBytes of payload of the quieter side are taken for a request where none can be read: what a browser sends.
	askBytes = 512
)

// lastingSum is what a source did within five minutes, or an hour.
type lastingSum struct {
	span            int64 // s
	requests, bytes uint64
	targets         tally.HLL
	web             bool
	slots, busy     int // of the span, and those with half their share of the floor at least
}

// judgeLasting takes a window of ten seconds in; when it begins another minute, what is complete is judged.
func (r *Rate) judgeLasting(window int64, k *tally.PairKey, v *rateTalk) {
	requests := v.requests
	if !v.web {
		requests = max(v.begun, v.asked/askBytes)
	}
	now := window * windowSeconds * 1e9
	hash := pairHash(k, r.key)
	at := r.lasting.find(k, hash)
	if at < 0 {
		if requests < lastingLeast {
			return
		}
		if at, _ = r.lasting.at(k, hash, now, lastingForget); at < 0 {
			return
		}
	}
	_, s := r.lasting.value(at)
	if minute := window / 6; minute != s.minute {
		if s.minute != 0 {
			r.closeMinute(k, s)
		}
		s.minute = minute
	}
	s.slot(s.minutes[:], s.minute).add(requests, v)
	s.slot(s.fives[:], s.minute/5).add(requests, v)
	r.lasting.keep(at, s.minutes[s.minute%lastingSlots].requests, now+lastingForget)
}

// slot is the slot of a number, emptied if it was of another.
func (s *lastingSource) slot(slots []lastingSlot, number int64) *lastingSlot {
	at := &slots[number%int64(len(slots))]
	if at.number != number {
		*at = lastingSlot{number: number}
	}
	return at
}

func (s *lastingSlot) add(requests uint64, v *rateTalk) {
	s.requests += requests
	s.bytes += v.bytes + v.webBytes
	s.targets.Merge(&v.targets)
	s.web = s.web || v.web
}

// sumOf adds up the slots up to a number.
func sumOf(slots []lastingSlot, last, slotSeconds int64, floor uint64) (sum lastingSum) {
	sum.slots, sum.span = len(slots), int64(len(slots))*slotSeconds
	for i := range slots {
		s := &slots[i]
		if s.number > last || s.number <= last-int64(len(slots)) {
			continue
		}
		sum.requests += s.requests
		sum.bytes += s.bytes
		sum.targets.Merge(&s.targets)
		sum.web = sum.web || s.web
		if s.requests*2*uint64(len(slots)) >= floor {
			sum.busy++
		}
	}
	return sum
}

// closeMinute judges the five minutes and the hour that end with a source's minute.
func (r *Rate) closeMinute(k *tally.PairKey, s *lastingSource) {
	sum := sumOf(s.minutes[:], s.minute, 60, r.cfg.SustainedRequests)
	over := r.isLasting(k, s, &sum, 0)
	hour := sumOf(s.fives[:], s.minute/5, 300, hourFactor*r.cfg.SustainedRequests)
	if wide := r.isLasting(k, s, &hour, 1); over == nil {
		over, sum = wide, hour
	}
	now := (s.minute + 1) * 60e9
	switch {
	case over != nil && !s.accepted:
		if s.open == 0 {
			s.open, s.since = now, now-sum.span*1e9
		}
		s.over = s.minute
		if r.cfg.Accept != 0 && now-s.open > int64(r.cfg.Accept) {
			s.accepted = true
		}
		r.tellLasting(k, s, &sum, over)
	case s.open != 0 && (s.minute-s.over)*60e9 > int64(lastingQuiet):
		s.open = 0
		s.known[0].cold, s.known[1].cold = false, false
	}
}

// lastingOver are the measures of a source that lasts: requests, targets, bytes.
type lastingOver [3]rateOver

var lastingMeasures = [3]baseline.Measure{baseline.MeasureRequests, baseline.MeasureTargets, baseline.MeasureBytesOut}

// isLasting compares what a source did in a span with the distribution over the sources, and learns it. Nil if it is not over: it
// must go on in five of six slots, with more requests than others, for more targets or larger answers. Who goes on like that is
// learned only if it did so before the distribution was known, else it would be most of it: it is always there.
func (r *Rate) isLasting(k *tally.PairKey, s *lastingSource, sum *lastingSum, span int) *lastingOver {
	now := (s.minute + 1) * 60e9
	known, lasts := &s.known[span], sum.busy*6 >= sum.slots*5
	learns := s.open == 0 && !r.site.Alarmed(k.Client.Netip(k.Ver), 0, 0, now)
	values := [3]float64{float64(sum.requests), float64(min(sum.targets.Count(), sum.requests)), float64(sum.bytes)}
	floors := r.lastingFloors(span)
	var over lastingOver
	for m, value := range values {
		d := r.site.Baseline.Spread(lastingKey(k, lastingMeasures[m], sum.span), now)
		n := d.Normal(now)
		if !known.judged {
			known.judged, known.resident = true, !n.Warm
		}
		known.cold = known.cold || !n.Warm && value >= floors[m]
		if value >= floors[m] && n.Exceeds(value, r.base.Z, r.base.Multiplier) {
			over[m] = rateOver{
				value: value, mean: n.Mean, stddev: n.Stddev, n: n.N, z: rateZ(value, n.Mean, n.Stddev),
				limit: max(floors[m], r.base.Multiplier*n.Mean, n.Mean+float64(r.base.Z*n.Stddev), n.P99),
			}
		}
		switch {
		case s.accepted, learns && n.Warm && over[m].value == 0 && (known.resident || !lasts), learns && !n.Warm && value < r.base.Multiplier*floors[m]:
			d.Add(now, value)
		}
	}
	broad := over[1].value > 0 || over[2].value > 0 && k.Server != decode.Addr{}
	if over[0].value == 0 || !broad || !lasts || r.lastingCrowd(k) < r.cfg.Sources {
		return nil
	}
	return &over
}

// lastingFloors are the floors of a span: requests, targets, bytes.
func (r *Rate) lastingFloors(span int) [3]float64 {
	f := [3]float64{float64(r.cfg.SustainedRequests), float64(r.cfg.SustainedTargets), float64(r.cfg.SustainedBytes)}
	if span == 1 {
		for m := range f {
			f[m] *= hourFactor
		}
	}
	return f
}

// lastingCrowd is how many sources the distribution is of; that of the site is of all that reach anything.
func (r *Rate) lastingCrowd(k *tally.PairKey) uint64 { return r.crowds.count(k, r.key) }

// lastingKey is where the distribution of a service's sources over a span is kept, or of the site's.
func lastingKey(k *tally.PairKey, m baseline.Measure, span int64) baseline.Key {
	if k.Server == (decode.Addr{}) {
		return baseline.Key{Kind: baseline.KindLink, Measure: m, Num: uint32(span)}
	}
	key := serviceKey(k.Server, k.Ver, k.Proto, k.Port)
	key.Measure, key.Num = m, uint32(span)
	return key
}

// tellLasting tells of a source that goes on.
func (r *Rate) tellLasting(k *tally.PairKey, s *lastingSource, sum *lastingSum, over *lastingOver) {
	f := r.finding("sustained", s.since, s.minute*60+59)
	r.namePair(f, k)
	f.Quiet, f.MaxScore = int64(lastingQuiet), spikeCap
	f.Count = s.minutes[s.minute%lastingSlots].requests
	site := k.Server == decode.Addr{}
	targets := map[bool]string{true: "hosts and ports", false: "paths"}[site]
	rules := [3]rateRule{
		{name: "requests", unit: "requests", scale: 1}, {name: "targets", unit: targets, scale: 1}, {name: "answer_bytes", unit: "bytes", scale: 1},
	}
	for m := range over {
		o := &over[m]
		if o.value == 0 {
			continue
		}
		f.Score = max(f.Score, doublings(o.value/o.limit))
		f.Why = append(f.Why, Measure{
			Name: rules[m].name, Value: round(o.value), Unit: rules[m].unit, Threshold: round(o.limit), Window: sum.span * 1e9,
			Baseline: &Baseline{round(o.mean), round(o.stddev), o.n},
		}, Measure{Name: rules[m].name + "_z", Value: round(o.z), Threshold: r.base.Z})
	}
	sources := r.lastingCrowd(k)
	f.Why = append(f.Why, Measure{Name: "busy_slots", Value: float64(sum.busy), Unit: spanText(sum.span / int64(sum.slots) * 1e9), Window: sum.span * 1e9},
		Measure{Name: "sources", Value: float64(sources), Unit: "sources", Threshold: float64(r.cfg.Sources)})
	r.limitLasting(f, k, s, sum)
	what := fmt.Sprintf("%s requests", amount(over[0].value))
	if over[1].value > 0 {
		what += fmt.Sprintf(" of %s %s", amount(over[1].value), targets)
	}
	if over[2].value > 0 {
		what += fmt.Sprintf(", answered by %sB", amount(over[2].value))
	}
	where := "at this site"
	if !site {
		where = "at " + victimText(&f.Victim)
	}
	f.Summary = fmt.Sprintf("%v goes on and on %s: %s in %s, where %s ± %s requests are normal for a source, for %s.", f.Subject.Prefix.Addr(), where, what,
		spanText(sum.span*1e9), amount(over[0].mean), amount(over[0].stddev), spanText((s.minute+1)*60e9-s.since))
	r.emit(f)
}

// limitLasting notes what weakens the evidence.
func (r *Rate) limitLasting(f *Finding, k *tally.PairKey, s *lastingSource, sum *lastingSum) {
	if !sum.web && k.Server != (decode.Addr{}) {
		f.Notes = append(f.Notes, fmt.Sprintf("requests cannot be read: connections, bursts and %d bytes of questions are taken for one each", askBytes))
	}
	if s.known[0].cold || s.known[1].cold && sum.span > 300 {
		f.MaxScore = volumeCap
		f.Notes = append(f.Notes, "it did so before the distribution over sources was known")
	}
	if k.Server == (decode.Addr{}) && r.site.Inside(f.Subject.Prefix.Addr()) {
		f.MaxScore = volumeCap
		f.Notes = append(f.Notes, "a host of the inside: monitoring and inventories look like this")
	}
	if s.accepted {
		f.Notes = append(f.Notes, "it is taken for normal from now on, as it went on for "+r.cfg.Accept.String())
	}
}
