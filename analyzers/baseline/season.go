package baseline

import "math"

const (
	hourSeconds = 3600
	dayHours    = 24
	weekHours   = 168

	// dayLearned hours at least make a day that the anchor follows.
	dayLearned = 12
	// strangeHour is how much more than the anchor an hour of the week may have that was never seen (or while the anchor is
	// younger than a week): a Monday after a first weekend, whose peak may be 15 times the weekend's with a multiplier of 5.
	strangeHour = 3
	// hourStep is the most by which the mean of an hour of the week counts when it is folded in, in multiples of what was known.
	hourStep = 3
	// hourEdge seconds before the turn of an hour may have what the next one has.
	hourEdge = 300
)

// hourSum are the seconds of the hour that is being learned.
type hourSum struct {
	hour    int64 // since 1970
	sum, sq float64
	n       uint32
	busy    uint32 // of them with traffic
}

// anchor is the slow memory: the mean of the day, which moves at most by Config.Growth a day in either direction, and the
// mean of the variances within its hours.
type anchor struct {
	mean, variance float64
	hours          uint32 // learned, in all
	days           uint32 // since it is warm
	daySum, dayVar float64
	dayHours       uint32
	dayFrom        int64 // hour
	warm           bool
}

// close takes in an hour.
func (a *anchor) close(hour int64, mean, variance, growth float64) {
	if a.dayHours == 0 || hour < a.dayFrom {
		a.dayFrom = hour
	}
	a.hours++
	a.daySum += mean
	a.dayVar += variance
	a.dayHours++
	if hour+1-a.dayFrom < dayHours || a.dayHours < dayLearned {
		return
	}
	mean, variance = a.daySum/float64(a.dayHours), a.dayVar/float64(a.dayHours)
	if a.warm {
		a.mean = follow(a.mean, mean, growth)
		a.variance = follow(a.variance, variance, float64(growth*growth))
		a.days++
	} else {
		a.mean, a.variance, a.warm = mean, variance, true
	}
	a.daySum, a.dayVar, a.dayHours = 0, 0, 0
}

// follow moves a value towards another, by at most a factor.
func follow(from, to, factor float64) float64 {
	return min(max(to, from/factor), max(from, quantileLeast)*factor)
}

// profile are the means of the hours of the week: hours of one time of the day lie side by side.
type profile struct {
	mean, stddev [weekHours]float32
	n            [weekHours]uint16 // seconds or samples; 0 is not known
	owner        int32             // series
}

// place is where an hour since 1970 stands; 1970 began on a Thursday.
func place(hour int64) (at, day int) {
	h := int((hour%weekHours + weekHours + 3*dayHours) % weekHours) // since Monday
	day = h / dayHours
	return h%dayHours*7 + day, day
}

// learn folds an hour in: half of what was known, half new, which counts as at most hourStep times (or a part of) what was
// known, or as the anchor if that is more.
func (p *profile) learn(hour int64, mean, stddev, anchor float64, n uint32) {
	at, _ := place(hour)
	if p.n[at] > 0 {
		old := float64(p.mean[at])
		mean = old + float64(0.5*(min(max(mean, old/hourStep), max(float64(old*hourStep), anchor))-old))
		stddev = float64(p.stddev[at]) + float64(0.5*(stddev-float64(p.stddev[at])))
	}
	p.mean[at], p.stddev[at], p.n[at] = float32(mean), float32(stddev), uint16(min(n, math.MaxUint16))
}

// hourNormal is what a profile says of an hour.
type hourNormal struct {
	hour         int64
	mean, stddev float32
	n            uint16
	own          bool // of this hour of the week; else the highest of this time of day that is known
}

// at returns the normal of an hour. If that of the hour of the week is not known, it is the highest of the other days.
func (p *profile) at(hour int64) (h hourNormal) {
	at, day := place(hour)
	h.hour = hour
	if p.n[at] > 0 {
		h.mean, h.stddev, h.n, h.own = p.mean[at], p.stddev[at], p.n[at], true
		return h
	}
	for other := at - day; other < at-day+7; other++ {
		if p.n[other] > 0 && (h.n == 0 || p.mean[other] > h.mean) {
			h.mean, h.stddev, h.n = p.mean[other], p.stddev[other], p.n[other]
		}
	}
	return h
}
