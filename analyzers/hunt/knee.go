package hunt

import (
	"context"
	"math"
	"slices"
)

// kneeRows is at how many rows, evenly spread over the input, the k-distance is measured.
const kneeRows = 2000

// knee proposes eps: the distance to the minSamples-th neighbour, the row itself counted, of evenly spread rows, in ascending order, is a
// curve that runs flat and then turns upwards. The knee is its point farthest below the line from its first to its last point, both axes
// scaled to 1 (Satopää, Albrecht, Irwin and Raghavan 2011, "Kneedle", for a curve without noise: it is sorted). eps is never below the
// diagonal of the cells that rows were joined in.
func knee(ctx context.Context, p *condensed, rows, minSamples int, tell func(float64)) (float64, error) {
	m := min(rows, kneeRows)
	curve := make([]float64, m)
	err := parallel1(ctx, m, func(i int) {
		curve[i] = math.Sqrt(float64(p.reach(p.of[i*rows/m], minSamples)))
	})
	if err != nil {
		return 0, err
	}
	tell(1)
	slices.Sort(curve)
	least := p.step * math.Sqrt(float64(p.Dims))
	return max(turning(curve), least), nil
}

// turning is the value of an ascending curve at its knee; its last one if it is straight.
func turning(curve []float64) float64 {
	last := len(curve) - 1
	low, high := curve[0], curve[last]
	if high <= low {
		return high
	}
	best, at := 0.0, last
	for i, y := range curve {
		if below := float64(i)/float64(last) - (y-low)/(high-low); below > best {
			best, at = below, i
		}
	}
	return curve[at]
}
