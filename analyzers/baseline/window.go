package baseline

import "math"

const windowParts = 6

// window is an exact sliding sum over the last Config.Window of learned time, in six parts: it covers from five to six of
// them. Sums of the closed parts are added up anew when a part closes, so that no error of rounding gathers.
type window struct {
	sum, sq       [windowParts]float64
	n             [windowParts]uint32
	part          int64   // time of the open part, in parts since 1970
	oldSum, oldSq float64 // of the closed parts
	oldN          uint32
	open          uint8 // which is open
}

// advance opens the part of a time; what is older than the window goes.
func (w *window) advance(part int64) {
	if part <= w.part {
		return
	}
	if part-w.part >= windowParts {
		*w = window{part: part}
		return
	}
	for ; w.part < part; w.part++ {
		w.open = (w.open + 1) % windowParts
		w.sum[w.open], w.sq[w.open], w.n[w.open] = 0, 0, 0
	}
	w.addUp()
}

// addUp adds the closed parts up.
func (w *window) addUp() {
	w.oldSum, w.oldSq, w.oldN = 0, 0, 0
	for i := range w.sum {
		if i != int(w.open) {
			w.oldSum += w.sum[i]
			w.oldSq += w.sq[i]
			w.oldN += w.n[i]
		}
	}
}

// add takes a value into the open part.
func (w *window) add(v float64) {
	w.sum[w.open] += v
	w.sq[w.open] += float64(v * v)
	w.n[w.open]++
}

// zeros takes the seconds from first to last, which had nothing; span is the seconds of a part.
func (w *window) zeros(first, last, span int64) {
	for first = max(first, last-windowParts*span); first <= last; {
		part := floorDiv(first, span)
		w.advance(part)
		end := min(last, (part+1)*span-1)
		w.n[w.open] += uint32(end - first + 1)
		first = end + 1
	}
}

func (w *window) count() uint32 { return w.oldN + w.n[w.open] }

// moments are the mean and the standard deviation (of the population).
func (w *window) moments() (mean, stddev float64) {
	return moments(w.oldSum+w.sum[w.open], w.oldSq+w.sq[w.open], float64(w.count()))
}

func moments(sum, sq, n float64) (mean, stddev float64) {
	if n <= 0 {
		return 0, 0
	}
	mean = sum / n
	return mean, math.Sqrt(max(sq/n-float64(mean*mean), 0))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
