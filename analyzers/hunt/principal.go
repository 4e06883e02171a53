package hunt

import (
	"context"
	"math"
)

var background = context.Background()

// principal computes the first principal components of the scaled rows and their variances by orthogonal iteration, from a start that is
// always the same. Sums run in the order of the rows, so that the result does not depend on the number of cores.
func (t *table) principal(count int) (variance []float64, vectors [][]float64) {
	d := len(t.used)
	stride := max(1, t.n/sampleRows)
	m := (t.n + stride - 1) / stride
	rows := make([]float32, m*d)
	t.mean = make([]float64, d)
	for i := range m {
		r := rows[i*d : i*d+d]
		t.scaled(i*stride, r)
		for k, x := range r {
			t.mean[k] += float64(x) / float64(m)
		}
	}
	spread := covariance(rows, t.mean, d)
	t.total = 0
	for k := range d {
		t.total += spread[k*d+k]
	}
	vectors = make([][]float64, count)
	for c := range vectors { // any start that no component is at right angles to
		vectors[c] = make([]float64, d)
		for k := range d {
			vectors[c][k] = math.Sin(float64((c+1)*(k+1)) * math.Phi)
		}
	}
	orthonormal(vectors)
	next := make([][]float64, count)
	for c := range next {
		next[c] = make([]float64, d)
	}
	for range 60 {
		for c, v := range vectors {
			for i := range d {
				sum := 0.0
				for k, x := range spread[i*d : i*d+d] {
					sum += x * v[k]
				}
				next[c][i] = sum
			}
		}
		vectors, next = next, vectors
		orthonormal(vectors)
	}
	variance = make([]float64, count)
	for c, v := range vectors {
		for i := range d {
			for k, x := range spread[i*d : i*d+d] {
				variance[c] += v[i] * x * v[k]
			}
		}
	}
	return variance, vectors
}

// covariance is that of rows of d numbers; each row of the matrix is computed by one core.
func covariance(rows []float32, mean []float64, d int) []float64 {
	m := len(rows) / d
	out := make([]float64, d*d)
	_ = parallel1(background, d, func(i int) {
		line := out[i*d : i*d+d]
		for r := range m {
			row := rows[r*d : r*d+d]
			x := (float64(row[i]) - mean[i]) / float64(m)
			if x == 0 {
				continue
			}
			for k := i; k < d; k++ {
				line[k] += x * (float64(row[k]) - mean[k])
			}
		}
	})
	for i := range d {
		for k := range i {
			out[i*d+k] = out[k*d+i]
		}
	}
	return out
}

// orthonormal is Gram and Schmidt's method. A vector that is nothing beside those before becomes zero.
func orthonormal(vectors [][]float64) {
	for c, v := range vectors {
		before := math.Sqrt(dot(v, v))
		for range 2 { // once more, for what rounding left
			for _, w := range vectors[:c] {
				x := dot(v, w)
				for k := range v {
					v[k] -= x * w[k]
				}
			}
		}
		length := math.Sqrt(dot(v, v))
		for k := range v {
			if length > 1e-10*before && length > 0 {
				v[k] /= length
			} else {
				v[k] = 0
			}
		}
	}
}

func dot(a, b []float64) (sum float64) {
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}
