package baseline

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// walk judges and learns a rate by second, as an analyzer does it: z 5, multiple 5, 3 of 5 seconds, a floor
// (or a tenth of what it should be); while alarmed the
// series is frozen. It returns the seconds in which alarms began, and ends at the limit of them.
func walk(seed uint64, r *Series, from, to int64, limit int, rate func(int64) float64) (found []int64) {
	const floor = 20
	rng := rand.New(rand.NewPCG(seed, uint64(from)))
	var c Crossing
	for s := from; s < to && len(found) < limit; s++ {
		now := (monday + s) * second
		v := poisson(rng, rate(s))
		n := r.Normal(now)
		c.Add(monday+s, v > floor && n.Exceeds(v, 5, 5) || n.FallsBelow(v, 5, 0.1))
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

// TestOrdinaryWeek: nine days from any day of the week raise no alarm, neither while the first week is learned nor later.
func TestOrdinaryWeek(t *testing.T) {
	for _, where := range sites {
		for from := int64(36_000); from < 7*day; from += 4 * day {
			t.Run(where.name, func(t *testing.T) {
				t.Parallel()
				r := New(Defaults()).Series(Key{}, 0)
				if found := walk(1, r, from, from+9*day, 10, where.rate); len(found) > 0 {
					t.Errorf("from day %d: alarms after %v", from/day, hours(found, from))
				}
			})
		}
	}
}

func hours(at []int64, from int64) (out []string) {
	for _, s := range at[:min(len(at), 10)] {
		out = append(out, fmt.Sprintf("%.1f h", float64(s-from)/3600))
	}
	return out
}

// clone is a series of its own that knows the same.
func clone(r *Series) *Series {
	s := *r.store
	s.series, s.profiles = [][]Series{{*r}}, slices.Clone(s.profiles)
	s.series[0][0].store = &s
	return &s.series[0][0]
}

// learn goes through ordinary days.
func learn(t *testing.T, r *Series, where site, from, to int64) {
	if found := walk(2, r, from, to, 10, where.rate); len(found) > 0 {
		t.Errorf("alarms before the attack, after %v", hours(found, 0))
	}
}

// TestDoubling: an attacker begins with what a site has at that time and doubles it each hour. It is found before traffic is 17
// times the highest that the site knows in the first week, and seven times later.
func TestDoubling(t *testing.T) {
	for _, where := range sites {
		peak := 0.0
		for s := int64(0); s < day; s += 600 {
			peak = max(peak, where.rate(s))
		}
		t.Run(where.name, func(t *testing.T) {
			t.Parallel()
			known, until := New(Defaults()).Series(Key{}, 0), int64(0)
			for _, from := range []int64{27.5 * 3600, 34.5 * 3600, 42.5 * 3600, 202.5 * 3600, 210.5 * 3600} {
				learn(t, known, where, until, from)
				until = from
				first := where.rate(from)
				attack := func(s int64) float64 { return where.rate(s) + first*(math.Pow(2, float64(s-from)/3600)-1) }
				found := walk(3, clone(known), from, from+12*3600, 1, attack)
				if len(found) == 0 {
					t.Fatal("not found in 12 h")
				}
				total := attack(found[0])
				t.Logf("from hour %d found after %.1f h, at %.0f times the first rate, %.1f times the peak of the day, %.1f times what is ordinary",
					from/3600, float64(found[0]-from)/3600, total/first, total/peak, total/where.rate(found[0]))
				if from < 7*day && total > 17*peak || from > 7*day && total > 7*peak {
					t.Error("too late")
				}
			}
		})
	}
}

// TestGrowth: traffic that grows by any factor from a half a day on is found; after two weeks of learning, and told how soon.
func TestGrowth(t *testing.T) {
	where := sites[0]
	from := int64(14*day + 10*3600)
	known := New(Defaults()).Series(Key{}, 0)
	learn(t, known, where, 0, from)
	for _, c := range []struct {
		name   string
		factor float64 // a day
		hours  int64   // found within
	}{
		{"doubles every 10 minutes", math.Pow(2, 144), 1},
		{"doubles every hour", math.Pow(2, 24), 3},
		{"doubles every 3 hours", math.Pow(2, 8), 12},
		{"doubles every 12 hours", 4, 60},
		{"doubles every day", 2, 96},
		{"half more every day", 1.5, 240},
		{"a fifth more every day", 1.2, 0}, // never
	} {
		t.Run(c.name, func(t *testing.T) {
			attack := func(s int64) float64 { return where.rate(s) * math.Pow(c.factor, float64(s-from)/day) }
			found := walk(4, clone(known), from, from+14*day, 1, attack)
			switch {
			case c.hours == 0 && len(found) > 0:
				t.Logf("found after %v", hours(found, from))
			case c.hours == 0:
				t.Log("not found in two weeks")
			case len(found) == 0 || found[0] > from+c.hours*3600:
				t.Errorf("found after %v, want within %d h", hours(found, from), c.hours)
			default:
				t.Logf("found after %.1f h, at %.1f times what is ordinary", float64(found[0]-from)/3600, attack(found[0])/where.rate(found[0]))
			}
		})
	}
}

// TestBackup: what runs every night at the same hour is an alarm the first time, and then known.
func TestBackup(t *testing.T) {
	rate := func(s int64) float64 {
		if h := hourOf(s); h >= 2 && h < 2.5 {
			return 1e6
		}
		return 10
	}
	r := New(Defaults()).Series(Key{}, 0)
	for s := int64(0); s < 3*day; s++ {
		now := (monday + s) * second
		over := r.Normal(now).Exceeds(rate(s), 5, 5)
		if over && s > day {
			t.Fatalf("alarm after %d h", s/3600)
		}
		r.Learn(now, rate(s))
	}
}

// TestAcceptedLevel: a step that lasts is one alarm; when it was accepted there is none on the days after, day and night.
func TestAcceptedLevel(t *testing.T) {
	where := sites[0]
	from := int64(8*day + 10*3600)
	r := New(Defaults()).Series(Key{}, 0)
	learn(t, r, where, 0, from)
	rate := func(s int64) float64 { return 8 * where.rate(s) }
	if found := walk(5, r, from, from+3600, 10, rate); len(found) != 1 || found[0] > from+5 {
		t.Fatalf("alarms after %v, want one at once", hours(found, from))
	}
	r.Accept((monday + from + 3600) * second)
	if found := walk(5, r, from+3600, from+9*day, 10, rate); len(found) > 0 {
		t.Errorf("accepted, alarms after %v", hours(found, from))
	}
	if n := r.Normal((monday + from + 9*day) * second); !n.AnchorWarm || !near(n.Anchor, 8*550, 0.1) {
		t.Errorf("%+v", n)
	}
}
