package hunt

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// obvious is DBSCAN as scikit-learn goes about it: each point's neighbours, then each cluster from its first core.
func obvious(p *Points, eps float64, minSamples int) []int32 {
	n := int32(p.Len())
	near := make([][]int32, n)
	core := make([]bool, n)
	for i := range n {
		weight := 0
		for k := range n {
			if squared(p.row(i), p.row(k)) <= float32(eps*eps) {
				near[i] = append(near[i], k)
				weight += p.weight(k)
			}
		}
		core[i] = weight >= minSamples
	}
	labels := slices.Repeat([]int32{Noise}, int(n))
	next := int32(0)
	for i := range n {
		if labels[i] != Noise || !core[i] {
			continue
		}
		labels[i] = next
		for stack := []int32{i}; len(stack) > 0; {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			for _, k := range near[at] {
				if core[at] && labels[k] == Noise {
					labels[k] = next
					stack = append(stack, k)
				}
			}
		}
		next++
	}
	return labels
}

// TestDBSCANIsExact compares with brute force on clumps, grids with many equal distances, and weights.
func TestDBSCANIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.IntRange(1, 12).Draw(t, "dims")
		n := rapid.IntRange(0, 300).Draw(t, "points")
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		grid := rapid.Bool().Draw(t, "grid")
		p := &Points{Dims: dims}
		centres := make([]float32, dims*rapid.IntRange(1, 6).Draw(t, "centres"))
		for i := range centres {
			centres[i] = chance.Float32() * 8
		}
		for range n {
			c := chance.IntN(len(centres)/dims) * dims
			for d := range dims {
				x := centres[c+d] + float32(chance.NormFloat64())
				if grid { // in quarters, so that sums are exact and distances often just eps
					x = float32(math.Round(float64(x)*2)) / 4
				}
				p.At = append(p.At, x)
			}
		}
		if rapid.Bool().Draw(t, "weights") {
			for range n {
				p.Weight = append(p.Weight, 1+chance.Uint32N(4))
			}
		}
		eps := rapid.SampledFrom([]float64{0.25, 0.5, 1, 2, 3.5}).Draw(t, "eps")
		least := rapid.IntRange(1, 20).Draw(t, "min_samples")
		got, err := DBSCAN(context.Background(), p, eps, least, nil)
		if err != nil {
			t.Fatal(err)
		}
		if want := obvious(p, eps, least); !slices.Equal(got, want) {
			t.Fatalf("eps %v, min_samples %d\n got %v\nwant %v", eps, least, got, want)
		}
	})
}

// TestDBSCANAnyCores gives the same labels on one core and on several.
func TestDBSCANAnyCores(t *testing.T) {
	p := clumps(6000, 10, 3)
	var first string
	for _, cores := range []int{1, 2, 5} {
		old := runtime.GOMAXPROCS(cores)
		labels, err := DBSCAN(context.Background(), p, 1.6, 20, nil)
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		if s := fmt.Sprint(labels); first == "" {
			first = s
		} else if s != first {
			t.Errorf("%d cores: other labels", cores)
		}
	}
}

// clumps are points around a few centres, and a twentieth anywhere.
func clumps(n, dims int, seed uint64) *Points {
	chance := rand.New(rand.NewPCG(seed, 2))
	const centres = 12
	at := make([]float32, centres*dims)
	for i := range at {
		at[i] = chance.Float32()*12 - 6
	}
	p := &Points{Dims: dims}
	for range n {
		c := chance.IntN(centres) * dims
		anywhere := chance.IntN(20) == 0
		for d := range dims {
			x := at[c+d] + float32(chance.NormFloat64())*0.5
			if anywhere {
				x = chance.Float32()*12 - 6
			}
			p.At = append(p.At, x)
		}
	}
	return p
}

// TestDBSCANStops ends when it is told to.
func TestDBSCANStops(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if _, err := DBSCAN(ctx, clumps(5000, 4, 1), 1, 20, nil); err == nil {
		t.Error("it went on")
	}
}

func BenchmarkDBSCAN(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		p := clumps(n, 8, 7)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := DBSCAN(context.Background(), p, 1.2, 20, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/point")
		})
	}
}
