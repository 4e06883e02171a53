package baseline

import (
	"fmt"
	"math"
	"time"
)

// timeLimit is the second up to which times are taken: 2262, as far as ns go.
const timeLimit = math.MaxInt64 / second

// lineReader checks the values of a line and keeps the first error.
type lineReader struct{ err error }

func (p *lineReader) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *lineReader) time(name, text string) int64 {
	if text == "" {
		return 0
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Unix() > timeLimit || t.Unix() < -timeLimit {
		p.fail("%s: %.40q is not a time", name, text)
		return 0
	}
	return t.Unix()
}

// number checks that a value may be calculated with: its square times n seconds, too, is finite.
func (p *lineReader) number(name string, v float64) float64 {
	if !(v >= 0 && v <= 1e30) {
		p.fail("%s: %v is out of range", name, v)
		return 0
	}
	return v
}

func (p *lineReader) moments(name string, m *Moments) (mean, variance float64, n uint32, from int64) {
	if m == nil {
		return 0, 0, 0, 0
	}
	stddev := p.number(name+".stddev", m.Stddev)
	return p.number(name+".mean", m.Mean), float64(stddev * stddev), m.N, p.time(name+".from", m.From)
}

func (s *Store) importSeries(l *Line, p *lineReader) {
	k, err := ParseKey(l.Series)
	if err != nil {
		p.fail("%w", err)
		return
	}
	r := Series{
		begin: p.time("first", l.First), last: p.time("last", l.Last), active: p.time("active", l.Active), begun: l.Last != "",
		pinned: l.Pinned, samples: l.Samples, held: l.Held, values: l.Values, busy: float32(p.number("busy", float64(l.Busy))),
	}
	r.active = max(r.active, r.begin)
	r.roll = p.window(l, floorDiv(r.last, s.span))
	mean, variance, n, from := p.moments("hour", l.Hour)
	r.hour = hourSum{hour: floorDiv(from, hourSeconds), n: n, busy: l.HourBusy}
	r.hour.sum, r.hour.sq = float64(mean*float64(n)), float64((variance+float64(mean*mean))*float64(n))
	a := &r.anchor
	if mean, variance, n, from = p.moments("day", l.Day); n > 0 {
		a.daySum, a.dayVar, a.dayHours, a.dayFrom = float64(mean*float64(n)), float64(variance*float64(n)), n, floorDiv(from, hourSeconds)
	}
	a.hours = n
	if l.Anchor != nil {
		a.mean, a.variance, a.hours, _ = p.moments("anchor", l.Anchor)
		a.warm, a.days = true, l.Days
	}
	if r.pinned && !a.warm {
		p.fail("pinned, but without an anchor")
	}
	if b := l.Bursts; b != nil {
		r.bursts = p.bursts(b)
	}
	r.quant = p.quantiles(l)
	hours := p.hours(l)
	if p.err == nil {
		s.put(&k, &r, hours)
	}
}

// put replaces a series.
func (s *Store) put(k *Key, r *Series, hours *profile) {
	to := s.place(k)
	r.store, r.place, r.profile = s, to.place, to.profile
	r.known, r.next = hourNormal{hour: -1}, hourNormal{hour: -1}
	*to = *r
	if r.pinned || r.values >= uint32(s.cfg.WarmupSamples) {
		s.table.settle(to.place)
	}
	if hours == nil {
		return
	}
	if own := s.profileOf(to); own != nil {
		hours.owner = to.place
		*own = *hours
	}
}

func (s *Store) importSpread(l *Line, p *lineReader) {
	k, err := ParseKey(l.Spread)
	if err != nil {
		p.fail("%w", err)
		return
	}
	d := Spread{store: s, begin: p.time("first", l.First), last: p.time("last", l.Last), begun: true, pinned: l.Pinned}
	d.roll, d.quant = p.window(l, floorDiv(d.last, s.span)), p.quantiles(l)
	if p.err == nil {
		*s.placeSpread(&k) = d
	}
}

// window is a rolling window with all in one part.
func (p *lineReader) window(l *Line, part int64) window {
	mean, variance, n, _ := p.moments("rolling", l.Rolling)
	w := window{part: part}
	w.n[0], w.sum[0], w.sq[0] = n, float64(mean*float64(n)), float64((variance+float64(mean*mean))*float64(n))
	return w
}

func (p *lineReader) bursts(l *Bursts) (b bursts) {
	if len(l.Levels) > maxRecurring {
		p.fail("bursts: %d levels, at most %d", len(l.Levels), maxRecurring)
		return b
	}
	b.hours = uint8(len(l.Levels))
	for i, v := range l.Levels {
		b.tops[i] = float32(p.number("bursts.levels", float64(v)))
	}
	b.last, b.used = floorDiv(p.time("bursts.last", l.Last), hourSeconds), floorDiv(p.time("bursts.used", l.Used), hourSeconds)
	return b
}

func (p *lineReader) quantiles(l *Line) (q quantiles) {
	total := float64(l.Zeros)
	for _, b := range l.Quantiles {
		low, n := b[0], b[1]
		if !(low >= quantileLeast && low <= edge(quantileBuckets-1)) || !(n >= 1 && n <= quantileLimit) || n != math.Trunc(n) || edge(bucket(low)) != low {
			p.fail("quantiles: [%v, %v] is not a bucket and its count", low, n)
			return q
		}
		q.count[bucket(low)] = uint16(n)
		total += n
	}
	if total > quantileLimit {
		p.fail("quantiles: %v values, at most %d", total, quantileLimit)
		return quantiles{}
	}
	q.zero = l.Zeros
	for _, n := range q.count {
		q.n += uint32(n)
	}
	q.age()
	return q
}

func (p *lineReader) hours(l *Line) *profile {
	if len(l.Hours) == 0 {
		return nil
	}
	out := &profile{}
	for name, v := range l.Hours { // each to its own place: the order does not show, but in which of several errors is told
		i, ok := hourIndex(name)
		if !ok || !(v[2] >= 1 && v[2] <= math.MaxUint16) {
			p.fail("hours: %.20q: want \"Mon 00\" to \"Sun 23\", with mean, deviation and a count from 1 to %d", name, math.MaxUint16)
			return nil
		}
		out.mean[i], out.stddev[i], out.n[i] = float32(p.number("hours", v[0])), float32(p.number("hours", v[1])), uint16(v[2])
	}
	return out
}
