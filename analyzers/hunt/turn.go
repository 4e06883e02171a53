package hunt

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// axes are all rows in coordinates of principal components: a rotation, so that distances stay, cut to the first ones. What is cut off
// stays as one coordinate, its length: a row that differs from all others in a way that few do is still far from them. No distance grows.
type axes struct {
	dims int
	at   []float32 // row after row
	kept float64   // share of the variance in the components that stay
	load [][]float64
}

// sampleRows is of how many rows, evenly spread, the directions are computed.
const sampleRows = 50_000

// turn computes the principal components and the coordinates of all rows.
func (t *table) turn() *axes {
	d := len(t.used)
	variance, vectors := t.principal(min(d, Components-1))
	a := &axes{dims: len(vectors), load: vectors}
	for _, v := range variance {
		a.kept += v / t.total
	}
	a.kept = min(a.kept, 1)
	rest := d > len(vectors)
	if rest {
		a.dims++
	}
	a.at = make([]float32, t.n*a.dims)
	each(t.n, func(begin, end int) {
		v := make([]float32, d)
		for i := begin; i < end; i++ {
			t.scaled(i, v)
			out := a.row(i)
			length := 0.0
			for k, x := range v {
				y := float64(x) - t.mean[k]
				length += y * y
			}
			for c, load := range vectors {
				sum := 0.0
				for k, x := range v {
					sum += load[k] * (float64(x) - t.mean[k])
				}
				out[c] = float32(sum)
				length -= sum * sum
			}
			if rest {
				out[len(vectors)] = float32(math.Sqrt(max(length, 0)))
			}
		}
	})
	return a
}

func (a *axes) row(i int) []float32 { return a.at[i*a.dims : i*a.dims+a.dims : i*a.dims+a.dims] }

// each calls do for pieces of 0 to n on all cores.
func each(n int, do func(begin, end int)) {
	const piece = 4096
	_ = parallel1(background, (n+piece-1)/piece, func(i int) { do(i*piece, min(i*piece+piece, n)) })
}

// condensed is rows that are alike as points with a weight.
type condensed struct {
	Points
	of   []int32 // point, by row
	step float64
}

// firstStep is the side of the cells at first, in scaled units; growth is what it grows by while there are too many points.
const (
	firstStep = 1.0 / 16
	growth    = 1.25
)

// condense makes points of rows: those in one cell of a grid become the first of them, with all their weight.
func (a *axes) condense(n int) *condensed {
	for step := firstStep; ; step *= growth {
		if c := a.cells(n, step, MaxPoints); c != nil {
			return c
		}
	}
}

// cells is condense with cells of one side; nil if there are too many.
func (a *axes) cells(n int, step float64, limit int) *condensed {
	c := &condensed{Points: Points{Dims: a.dims}, of: make([]int32, n), step: step}
	seen := map[string]int32{}
	key := make([]byte, 4*a.dims)
	scale := float32(1 / step)
	for i := range n {
		row := a.row(i)
		for d, x := range row {
			binary.LittleEndian.PutUint32(key[4*d:], uint32(int32(math.Floor(float64(x*scale)))))
		}
		k, is := seen[string(key)]
		if !is {
			if k = int32(len(c.Weight)); int(k) == limit {
				return nil
			}
			seen[string(key)] = k
			c.At = append(c.At, row...)
			c.Weight = append(c.Weight, 0)
		}
		c.Weight[k]++
		c.of[i] = k
	}
	return c
}

// reach is the squared distance within which a point has so much weight, its own counted.
func (c *condensed) reach(i int32, weight int) float32 {
	if weight -= c.weight(i); weight <= 0 {
		return 0
	}
	type one struct {
		sq     float32
		weight int
	}
	q := c.row(i)
	var near []one // ascending; what is beyond the weight goes
	sum, limit := 0, float32(math.MaxFloat32)
	for k := range int32(c.Len()) {
		if k == i || !within(q, c.row(k), limit) {
			continue
		}
		sq := squared(q, c.row(k))
		at, _ := slices.BinarySearchFunc(near, sq, func(o one, sq float32) int { return cmp.Compare(o.sq, sq) })
		near = slices.Insert(near, at, one{sq, c.weight(k)})
		sum += c.weight(k)
		for last := len(near) - 1; sum-near[last].weight >= weight; last-- {
			sum -= near[last].weight
			near = near[:last]
		}
		if sum >= weight {
			limit = near[len(near)-1].sq
		}
	}
	return limit
}
