package baseline

import "math"

// quantiles is a histogram of values in half octaves from 2⁻⁸ to 2⁴⁰: [1, 1.5), [1.5, 2), [2, 3)…. What is below counts as
// zero, what is above as the highest. When quantileLimit values are in it all counts are halved, so that it remembers the last
// few hours. Within a bucket values are taken to be spread evenly: an error of at most a quarter of the value.
type quantiles struct {
	zero     uint32
	n        uint32 // others
	count    [quantileBuckets]uint16
	due      uint32  // total at which the next three are computed again
	p50, p99 float32 // of all
	top      float32 // 99th percentile of what is not zero
}

const (
	quantileBuckets = 96
	quantileLowest  = -8
	quantileLimit   = 7200
)

// bucket is the place of a value that is at least 2⁻⁸: its exponent and the first bit behind its leading one.
func bucket(v float64) int {
	b := math.Float64bits(v)
	return min(int(b>>51)-(1023+quantileLowest)<<1, quantileBuckets-1)
}

// edge is the least value of a bucket.
func edge(i int) float64 {
	return math.Float64frombits(uint64(i+(1023+quantileLowest)<<1) << 51)
}

const quantileLeast = 1.0 / 256

func (q *quantiles) add(v float64) {
	if v < quantileLeast {
		q.zeros(1)
		return
	}
	q.count[bucket(v)]++
	q.n++
	q.age()
}

func (q *quantiles) zeros(n int64) {
	q.zero += uint32(min(n, quantileLimit))
	q.age()
}

func (q *quantiles) age() {
	for q.zero+q.n >= quantileLimit {
		q.zero /= 2
		q.n = 0
		for i := range q.count {
			q.count[i] /= 2
			q.n += uint32(q.count[i])
		}
		q.due = 0
	}
	if q.zero+q.n >= q.due {
		all := q.zero + q.n
		q.due = all + max(all/16, 1)
		q.p50, q.p99 = float32(q.at(0.5)), float32(q.at(0.99))
		q.top = float32(q.rank(0.99 * float64(q.n)))
	}
}

// at is a quantile of all values, exact as of now.
func (q *quantiles) at(share float64) float64 {
	rank := float64(share*float64(q.zero+q.n)) - float64(q.zero)
	if rank <= 0 {
		return 0
	}
	return q.rank(rank)
}

// rank is the value below which so many of those lie that are not zero.
func (q *quantiles) rank(rank float64) float64 {
	for i := range q.count {
		n := float64(q.count[i])
		if n > 0 && rank <= n {
			low := edge(i)
			return low + float64((edge(i+1)-low)*(rank/n))
		}
		rank -= n
	}
	return 0
}
