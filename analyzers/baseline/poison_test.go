package baseline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// site is the rate of a service over the week, by second since a Monday 00:00.
type site struct {
	name string
	rate func(sec int64) float64
}

const day = 86400

func hourOf(sec int64) float64 { return float64(sec%day) / 3600 }

// weekend goes from 0 on Friday evening to 1, and back on Sunday night.
func weekend(sec int64) float64 {
	h := float64(sec%(7*day)) / 3600
	if h < 12 {
		h += weekHours
	}
	return 1 / (1 + math.Exp(-(h - 118))) / (1 + math.Exp(h-168))
}

// sites are ordinary shapes of traffic, peak to trough ten and more.
var sites = []site{
	{"sinus 10x", func(s int64) float64 { return 550 - 450*math.Cos(2*math.Pi*(hourOf(s)-4)/24) }},
	{"sinus 10x, weekend a third", func(s int64) float64 {
		return (550 - 450*math.Cos(2*math.Pi*(hourOf(s)-4)/24)) * (1 - weekend(s)*2/3)
	}},
	{"office, weekend a tenth", func(s int64) float64 {
		h := hourOf(s)
		v := 40.0
		if h > 7 && h < 19 {
			v += 1000 * math.Sin(math.Pi*(h-7)/12)
		}
		return v * (1 - 0.9*weekend(s))
	}},
	{"office, steep", func(s int64) float64 { // from a twentieth to full in 45 minutes
		h := hourOf(s)
		full := 1 / (1 + math.Exp(-(h-8.5)*12)) / (1 + math.Exp((h-18)*6))
		return 50 + 950*full*(1-0.9*weekend(s))
	}},
	{"evening", func(s int64) float64 { // homes: a peak at 21
		h := hourOf(s)
		return (100 + 900*math.Exp(-(h-21)*(h-21)/8)) * (1 + weekend(s)/2)
	}},
	{"small", func(s int64) float64 { return 11 - 9*math.Cos(2*math.Pi*(hourOf(s)-4)/24) }},
	{"flat", func(int64) float64 { return 300 }},
}

func poisson(rng *rand.Rand, mean float64) float64 {
	if mean > 50 {
		return max(0, math.Round(mean+math.Sqrt(mean)*rng.NormFloat64()))
	}
	n, p := 0.0, math.Exp(-mean)
	for u := rng.Float64(); u > p; n++ {
		u *= rng.Float64()
	}
	return n
}

const monday = 1_700_438_400 // 2023-11-20 00:00 UTC

// walk judges and learns a rate by second, as an analyzer does it: z 5, multiple 5, 3 of 5 seconds, a floor; while alarmed the
// series is frozen, and an hour after the crossing ended it thaws. It returns the seconds of the first crossings.
func walk(rng *rand.Rand, r *Series, from, to int64, floor float64, rate func(int64) float64) (found []int64) {
	var c Crossing
	for s := from; s < to; s++ {
		now := (monday + s) * second
		v := poisson(rng, rate(s))
		n := r.Normal(now)
		c.Add(monday+s, v > floor && n.Exceeds(v, 5, 5))
		met := c.Met(3, 5)
		if met && !r.Frozen() {
			found = append(found, s)
			r.Freeze(now)
		} else if !met && r.Frozen() {
			r.Thaw(now)
		}
		r.Learn(now, v)
	}
	return found
}

func TestOrdinaryWeek(t *testing.T) {
	for _, where := range sites {
		for start := int64(0); start < 7; start += 2 {
			r := New(Defaults()).Series(Key{}, 0)
			rng := rand.New(rand.NewPCG(1, uint64(start)))
			from := start*day + 36_000
			if found := walk(rng, r, from, from+9*day, 20, where.rate); len(found) > 0 {
				t.Errorf("%s from day %d: alarms at hours %v", where.name, start, hours(found, from))
			}
		}
	}
}

func hours(at []int64, from int64) (out []string) {
	for _, s := range at[:min(len(at), 10)] {
		out = append(out, fmt.Sprintf("%.1f", float64(s-from)/3600))
	}
	return out
}

func TestDoubling(t *testing.T) {
	for _, where := range sites {
		for _, days := range []int64{1, 2, 4, 8} {
			for _, begin := range []int64{3, 10, 18} {
				r := New(Defaults()).Series(Key{}, 0)
				rng := rand.New(rand.NewPCG(2, uint64(days)))
				from := days*day + begin*3600 + 1800
				if found := walk(rng, r, 0, from, 20, where.rate); len(found) > 0 {
					t.Errorf("%s: alarms before the attack, at hours %v", where.name, hours(found, 0))
				}
				base := where.rate(from)
				found := walk(rng, r, from, from+12*3600, 20, func(s int64) float64 {
					return where.rate(s) + base*(math.Pow(2, float64(s-from)/3600)-1)
				})
				if len(found) == 0 {
					t.Errorf("%s, doubled each hour from day %d %d:30: not found in 12 h", where.name, days, begin)
					continue
				}
				after := float64(found[0]-from) / 3600
				t.Logf("%-28s day %d %2d:30  found after %.1f h, at %.0f times its first rate, %.1f times the ordinary", where.name, days, begin, after,
					math.Pow(2, after), (where.rate(found[0])+base*(math.Pow(2, after)-1))/where.rate(found[0]))
			}
		}
	}
}
