package analyzers

import (
	"math"
	"slices"
)

// beaconScore is how much a pair looks like a beacon, each from 0 to 1.
type beaconScore struct {
	interval, size, histogram, duration float64
	median, mad                         float64 // of the intervals, s
	bytes                               float64 // median of the sizes
}

func (s *beaconScore) total() float64 {
	return (s.interval + s.size + s.histogram + s.duration) / 4
}

// score weighs a pair's contacts; see the comment of the analyzer.
func (a *Beacon) score(s *beaconPair) (out beaconScore) {
	scratch := a.scratch[:s.kept]
	copy(scratch, s.intervals[:s.kept])
	skew, median, mad := evenness(scratch, a.scratch[beaconKept:], 1000)
	out.interval = regularity(skew, median, mad)
	out.median, out.mad = median/1000, mad/1000

	copy(scratch, s.sizes[:s.kept])
	skew, median, mad = evenness(scratch, a.scratch[beaconKept:], 32)
	out.size = regularity(skew, median, mad)
	out.bytes = median

	out.histogram = evenBins(s)
	out.duration = math.Min(float64(s.last-s.first)/float64(a.cfg.Duration), 1)
	return out
}

// regularity is the mean of 1-|skewness| and 1-MAD/median.
func regularity(skew, median, mad float64) float64 {
	spread := 1.0 // all are 0: nothing was sent, which is as even as can be
	if median > 0 {
		spread = math.Max(1-mad/median, 0)
	} else if mad > 0 {
		spread = 0
	}
	return (1 - math.Abs(skew) + spread) / 2
}

// evenness sorts the values and returns Bowley's skewness (Q1+Q3-2·Q2)/(Q3-Q1), the median, and the median absolute deviation
// from it. Quartiles that are closer together than fine, or than a twentieth of the median, have no skewness: it would be
// that of the clock.
func evenness(values, scratch []uint32, fine float64) (skew, median, mad float64) {
	if len(values) == 0 {
		return 0, 0, 0
	}
	slices.Sort(values)
	q1, q2, q3 := quantile(values, 1), quantile(values, 2), quantile(values, 3)
	if width := q3 - q1; width >= fine && width >= q2/20 {
		skew = (q1 + q3 - 2*q2) / width
	}
	away := scratch[:len(values)]
	for i, v := range values {
		away[i] = uint32(math.Abs(float64(v) - q2))
	}
	slices.Sort(away)
	return skew, q2, quantile(away, 2)
}

// quantile is the n-th quartile of sorted values, between two of them in proportion.
func quantile(sorted []uint32, n int) float64 {
	at := float64(len(sorted)-1) * float64(n) / 4
	i := int(at)
	v := float64(sorted[i])
	if i+1 < len(sorted) {
		v += float64((at - float64(i)) * (float64(sorted[i+1]) - v))
	}
	return v
}

// evenBins is 1 - the coefficient of variation of the bins that are over, in groups of at least eight contacts in the mean or six bins.
func evenBins(s *beaconPair) float64 {
	n := int((s.last - s.first) / s.width) // the last bin is not over
	if n < 6 {
		return 0
	}
	var counts [beaconBins]float64
	sum := 0.0
	for i := range n {
		counts[i] = float64(s.bins[i])
		sum += counts[i]
	}
	for n >= 12 && sum < 8*float64(n) {
		n /= 2
		sum = 0
		for i := range n {
			counts[i] = counts[2*i] + counts[2*i+1]
			sum += counts[i]
		}
	}
	mean, squares := sum/float64(n), 0.0
	if mean == 0 {
		return 0
	}
	for _, c := range counts[:n] {
		squares += float64((c - mean) * (c - mean))
	}
	return math.Max(1-math.Sqrt(squares/float64(n))/mean, 0)
}
