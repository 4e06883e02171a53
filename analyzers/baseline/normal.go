package baseline

import "math"

// Normal is what is normal for a key: all values are by second, or of a sample.
type Normal struct {
	Mean, Stddev float64 // rolling, over Config.Window
	N            uint64

	Hour, HourStddev float64 // of this hour of the week; if that is not known yet the highest of this hour on other days
	HourN            uint64  // seconds or samples of that hour

	Anchor, AnchorStddev float64 // the mean of the day, which moves slowly; deviation within its hours
	AnchorN              uint64  // hours learned

	P50, P99 float64 // of the last hours
	Burst    float64 // level of short bursts that recur: they were alarmed in several hours; 0 if there are none

	Warm       bool // Mean may be judged by
	HourWarm   bool // Hour is known
	OwnHour    bool // and is of this hour of the week
	AnchorWarm bool // Anchor is known
	Pinned     bool // Hour, Anchor, P50 and P99 do not move any more
	Frozen     bool
	Held       uint64 // values that were above the floor while it was cold

	strange float64 // what the slow memory is multiplied by, because it is young
}

// Normal is what is normal as of now. Call it before Learn of the same second.
func (r *Series) Normal(now int64) Normal {
	sec := floorDiv(now, second)
	r.settle(sec)
	r.lookUp(sec)
	return r.rolling()
}

// rolling is the normal with the hour that was looked up last.
func (r *Series) rolling() Normal {
	n := Normal{
		N: uint64(r.roll.count()), Warm: r.warm(), Held: uint64(r.held), Frozen: r.frozen, Pinned: r.pinned,
		P50: float64(r.quant.p50), P99: float64(r.quant.p99), AnchorN: uint64(r.anchor.hours), strange: strangeHour,
	}
	n.Mean, n.Stddev = r.roll.moments()
	n.Burst = r.bursts.known(r.known.hour, r.store.cfg.Recurring)
	if r.anchor.warm {
		n.AnchorWarm, n.Anchor, n.AnchorStddev = true, r.anchor.mean, math.Sqrt(r.anchor.variance)
	}
	h := &r.known
	if r.next.n > 0 && r.next.own == h.own && r.next.mean > h.mean || h.n == 0 {
		h = &r.next
	}
	if h.n > 0 {
		n.HourWarm, n.OwnHour, n.Hour, n.HourStddev, n.HourN = true, h.own, float64(h.mean), float64(h.stddev), uint64(h.n)
	}
	if n.OwnHour && r.anchor.days >= 6 || n.Pinned {
		n.strange = 1
	}
	return n
}

// lookUp finds the hour of the week, once an hour, and in its last minutes the next one, too: what begins at the turn of an hour
// may be early. (What runs late is in the rolling mean.)
func (r *Series) lookUp(sec int64) {
	hour := floorDiv(sec, hourSeconds)
	near := floorDiv(sec+hourEdge, hourSeconds)
	if r.known.hour == hour && r.next.hour == near {
		return
	}
	r.known, r.next = hourNormal{hour: hour}, hourNormal{hour: near}
	if r.profile >= 0 {
		p := &r.store.profiles[r.profile]
		r.known = p.at(hour)
		if near != hour {
			r.next = p.at(near)
		}
	}
}

// ready tells whether anything is known.
func (n Normal) ready() bool { return n.Warm || n.HourWarm || n.Pinned }

// Expected is what a value is compared with: the rolling mean, but never less than what this hour of the week has, and never
// more than the slow memory allows, which is the anchor or this hour, whichever is more (three times that in the first week).
// Of a pinned series it is the pinned hour, or if that is not known the pinned mean or the highest of this hour on other days. Its standard deviation is of what was chosen, and n its
// seconds or samples; 0 if nothing is known.
func (n Normal) Expected() (mean, stddev float64, samples uint64) { return n.known() }

func (n Normal) known() (mean, stddev float64, samples uint64) {
	switch {
	case n.Pinned && (n.OwnHour || n.HourWarm && n.Hour > n.Anchor), !n.Pinned && !n.Warm && n.HourWarm:
		return n.Hour, n.HourStddev, n.HourN
	case n.Pinned:
		return n.Anchor, n.AnchorStddev, n.AnchorN
	case !n.Warm:
		return 0, 0, 0
	}
	mean, stddev, samples = n.Mean, n.Stddev, n.N
	if n.AnchorWarm {
		if top := float64(max(n.Anchor, n.Hour) * n.strange); top < mean {
			mean = top
			if n.Hour > n.Anchor {
				stddev, samples = min(stddev, float64(n.HourStddev*n.strange)), n.HourN
			} else {
				stddev, samples = min(stddev, float64(n.AnchorStddev*n.strange)), n.AnchorN
			}
		}
	}
	if n.HourWarm && n.Hour > mean {
		return n.Hour, n.HourStddev, n.HourN
	}
	return mean, stddev, samples
}

// leastStddev is the least standard deviation that is believed, as a share of the mean: nothing is so even that a tenth more is
// a finding.
const leastStddev = 0.1

// Score is the z-score of a value and its multiple of the mean; both are infinite or 0 if the mean is 0.
func (n Normal) Score(value float64) (z, multiple float64) {
	mean, stddev, _ := n.known()
	stddev = max(stddev, float64(leastStddev*mean))
	return ratio(value-mean, stddev), ratio(value, mean)
}

func ratio(a, b float64) float64 {
	if a == 0 {
		return 0
	}
	return a / b
}

// Exceeds tells whether a value is more than z standard deviations above what is expected, more than a multiple of it, and
// more than twice the bursts that recur. It is false while nothing is known. The absolute floor, and k of n seconds, are the
// caller's.
func (n Normal) Exceeds(value, z, multiple float64) bool {
	if !n.ready() {
		return false
	}
	byZ, times := n.Score(value)
	return byZ > z && times > multiple && value > burstSpan*n.Burst
}

// FallsBelow tells whether a value is more than z standard deviations below what is expected at least, and less than a
// fraction of it: the rolling mean, or this hour of the week if that has less.
func (n Normal) FallsBelow(value, z, fraction float64) bool {
	if !n.ready() {
		return false
	}
	mean, stddev, _ := n.Least()
	return value < float64(fraction*mean) && mean-value > float64(z*max(stddev, float64(leastStddev*mean)))
}

// Least is the lowest level that is normal now, which FallsBelow compares with.
func (n Normal) Least() (mean, stddev float64, samples uint64) {
	mean, stddev, samples = n.known()
	if n.Warm && !n.Pinned {
		mean, stddev, samples = n.Mean, n.Stddev, n.N
	}
	if n.HourWarm && n.Hour < mean {
		return n.Hour, n.HourStddev, n.HourN
	}
	return mean, stddev, samples
}
