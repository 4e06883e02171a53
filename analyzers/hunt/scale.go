package hunt

import (
	"context"
	"math"
	"slices"
)

// Kind says what a feature's number is, and so how it is scaled and told.
type Kind uint8

// Kinds of features.
const (
	Amount Kind = iota // ln(1 + value): bytes, packets, times; robust, by at least half a unit: a factor of 1.6 is nothing
	Ratio              // ln(a / b); likewise
	Share              // 0 to 1; by a quarter at least
	Class              // 0 or 1: something is so; not scaled
	Hash               // a coordinate of hashed words; not scaled, and not told
	Plain              // a number of unknown meaning (embeddings); robust
)

// Clip is how far a scaled number may be from the middle, in interquartile ranges: one huge number is not to hide all others.
const Clip = 8

// Feature is one number of a vector.
type Feature struct {
	Name  string
	Kind  Kind
	Unit  Unit
	Did   string // "sent": what a row did, before its value
	Does  string // "sends": what the middle does
	Brief string // for Class: "was refused"
	About string // what it is about; of several features about one thing one is told. The first of them leads
}

// table is all rows as numbers.
type table struct {
	features []Feature
	n        int
	values   []float32 // row after row, not scaled
	used     []int     // features that vary
	dropped  []string  // that do not
	median   []float32 // by feature
	spread   []float32 // what one scaled unit is
	mean     []float64 // of the scaled numbers, by used feature
	total    float64   // variance of the scaled numbers
}

// scale computes the vectors, and by feature the median and the interquartile range. Constants are dropped.
func scale(ctx context.Context, in Input, tell func(string, float64)) (*table, error) {
	t := &table{features: in.Features(), n: in.Len()}
	dims := len(t.features)
	t.values = make([]float32, t.n*dims)
	err := parallel(ctx, t.n, func(share float64) { tell("vectors", share) }, func(i int) {
		v := t.row(i)
		in.Vector(i, v)
		for d, x := range v {
			if x != x || x > math.MaxFloat32 || x < -math.MaxFloat32 { // not a number, or too large for one
				v[d] = 0
			}
		}
	})
	if err != nil {
		return nil, err
	}
	t.median, t.spread = make([]float32, dims), make([]float32, dims)
	constant := make([]bool, dims)
	err = parallel1(ctx, dims, func(d int) {
		column := make([]float32, t.n)
		for i := range column {
			column[i] = t.values[i*dims+d]
		}
		slices.Sort(column)
		constant[d] = column[0] == column[t.n-1]
		t.median[d] = column[t.n/2]
		t.spread[d] = t.unit(d, column)
	})
	for d, f := range t.features {
		if constant[d] {
			t.dropped = append(t.dropped, f.Name)
		} else {
			t.used = append(t.used, d)
		}
	}
	return t, err
}

// unit is what one scaled unit of a feature is: the interquartile range, and no less than what is worth telling.
func (t *table) unit(d int, sorted []float32) float32 {
	n := len(sorted)
	iqr := sorted[n*3/4] - sorted[n/4]
	switch t.features[d].Kind {
	case Amount, Ratio:
		return max(iqr, 0.5)
	case Share:
		return max(iqr, 0.25)
	case Class, Hash:
		return 1
	}
	if iqr > 0 {
		return iqr
	}
	var sum, sq float64 // more than half of the rows are the same: the standard deviation
	for _, x := range sorted {
		sum += float64(x)
		sq += float64(x) * float64(x)
	}
	mean := sum / float64(n)
	if deviation := float32(math.Sqrt(max(sq/float64(n)-mean*mean, 0))); deviation > 0 {
		return deviation
	}
	return 1
}

func (t *table) row(i int) []float32 {
	d := len(t.features)
	return t.values[i*d : i*d+d : i*d+d]
}

// scaled writes the numbers of a row that vary, in units from the middle.
func (t *table) scaled(i int, out []float32) {
	v := t.row(i)
	for k, d := range t.used {
		out[k] = t.deviation(v, d)
	}
}

// deviation is how far a feature is from the middle.
func (t *table) deviation(v []float32, d int) float32 {
	switch t.features[d].Kind {
	case Class, Hash:
		return v[d]
	}
	return min(max((v[d]-t.median[d])/t.spread[d], -Clip), Clip)
}

// parallel1 is parallel for few, long pieces.
func parallel1(ctx context.Context, n int, do func(i int)) error {
	return parallel(ctx, n*256, nil, func(i int) {
		if i%256 == 0 {
			do(i / 256)
		}
	})
}
