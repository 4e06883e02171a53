package hunt

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// Noise is the label of what is in no cluster.
const Noise = -1

// Points are rows of Dims numbers, one after the other. Searching is quickest if the first numbers of a row vary most. Weight says how many
// rows of the input a point stands for; nil: one each.
type Points struct {
	Dims   int
	At     []float32
	Weight []uint32
}

// Len is the number of points.
func (p *Points) Len() int {
	if p.Dims == 0 {
		return 0
	}
	return len(p.At) / p.Dims
}

func (p *Points) row(i int32) []float32 {
	n := p.Dims
	return p.At[int(i)*n : int(i)*n+n : int(i)*n+n]
}

func (p *Points) weight(i int32) int {
	if p.Weight == nil {
		return 1
	}
	return int(p.Weight[i])
}

// DBSCAN labels points by density (Ester, Kriegel, Sander and Xu 1996): a point that has minSamples within eps, itself counted, is a core;
// cores within eps of each other are one cluster; others within eps of a core belong to its cluster, and what is left is Noise. Labels are
// those of scikit-learn: clusters are numbered in the order of their first core, and a point at the border of several belongs to the first
// of these. They do not depend on the number of cores. It is exact in float32. tell, if not nil, hears of the share done, from one goroutine.
//
// Points are gathered in groups first, each within eps/2 of one of its members, and the kd-tree holds these only: who is in a group is
// within eps of all of it, so that most points need no search (see groups).
func DBSCAN(ctx context.Context, p *Points, eps float64, minSamples int, tell func(float64)) ([]int32, error) {
	if tell == nil {
		tell = func(float64) {}
	}
	g, err := gather(ctx, p, eps, func(share float64) { tell(share / 3) })
	if err != nil {
		return nil, err
	}
	if err := g.findCores(ctx, minSamples, func(share float64) { tell((1 + share) / 3) }); err != nil {
		return nil, err
	}
	g.linkNear()
	if err := g.linkFar(ctx, func(share float64) { tell((2 + share) / 3) }); err != nil {
		return nil, err
	}
	return g.labels(ctx)
}

// findCores decides which points are cores.
func (g *groups) findCores(ctx context.Context, minSamples int, tell func(float64)) error {
	g.core = make([]bool, g.len())
	err := parallel(ctx, len(g.all), tell, func(n int) {
		one := &g.all[n]
		if one.weight >= minSamples {
			for i := one.begin; i < one.end; i++ {
				g.core[i] = true
			}
			return
		}
		for i := one.begin; i < one.end; i++ {
			g.core[i] = g.reaches(i, one, minSamples)
		}
	})
	for n := range g.all {
		one := &g.all[n]
		for i := one.begin; i < one.end && !one.cores; i++ {
			one.cores = g.core[i]
		}
	}
	return err
}

// reaches tells whether the weight within eps of a point of a group is enough.
func (g *groups) reaches(i int32, own *group, enough int) bool {
	sum := own.weight
	q := g.row(i)
	g.near(q, 1.5*g.eps, func(other *group, distance float64) (done bool) {
		switch {
		case other == own || distance > g.eps*above+other.radius:
		case distance+other.radius <= g.eps*below:
			sum += other.weight
		default:
			for k := other.begin; k < other.end && sum < enough; k++ {
				if within(q, g.row(k), g.epsSq) {
					sum += g.weightOf(k)
				}
			}
		}
		return sum >= enough
	})
	return sum >= enough
}

// linkNear joins dense groups whose leaders are within eps: both are cores.
func (g *groups) linkNear() {
	for n := range g.all {
		g.all[n].parent.Store(int32(n))
	}
	_ = parallel(context.Background(), len(g.all), nil, func(n int) {
		one := &g.all[n]
		if !one.cores || !g.core[one.lead] {
			return
		}
		g.near(g.row(one.lead), g.eps*above, func(other *group, _ float64) bool {
			if other.id < one.id && g.core[other.lead] && within(g.row(one.lead), g.row(other.lead), g.epsSq) {
				g.join(one.id, other.id)
			}
			return false
		})
	})
}

// linkFar joins groups any of whose cores are within eps. Those of the largest cluster so far are only looked at from outside of it.
func (g *groups) linkFar(ctx context.Context, tell func(float64)) error {
	sizes := make([]int32, len(g.all))
	largest := int32(0)
	for n := range g.all {
		if g.all[n].cores {
			root := g.root(int32(n))
			if sizes[root]++; sizes[root] > sizes[largest] {
				largest = root
			}
		}
	}
	rest := make([]int32, 0, len(g.all))
	for n := range g.all {
		if g.all[n].cores && g.root(int32(n)) != largest {
			rest = append(rest, int32(n))
		}
	}
	return parallel(ctx, len(rest), tell, func(n int) {
		one := &g.all[rest[n]]
		g.near(g.row(one.lead), 1.5*g.eps+one.radius, func(other *group, distance float64) bool {
			if other.cores && other != one && distance <= g.eps*above+one.radius+other.radius &&
				g.root(one.id) != g.root(other.id) && g.touch(one, other) {
				g.join(one.id, other.id)
			}
			return false
		})
	})
}

// touch tells whether any cores of two groups are within eps.
func (g *groups) touch(a, b *group) bool {
	if a.end-a.begin > b.end-b.begin {
		a, b = b, a
	}
	reach := float32((g.eps*above + b.radius) * (g.eps*above + b.radius))
	for i := a.begin; i < a.end; i++ {
		q := g.row(i)
		if !g.core[i] || !within(q, g.row(b.lead), reach) {
			continue
		}
		for k := b.begin; k < b.end; k++ {
			if g.core[k] && within(q, g.row(k), g.epsSq) {
				return true
			}
		}
	}
	return false
}

// labels numbers the clusters by their first core in the order of the input, and gives border points to the first that they touch.
func (g *groups) labels(ctx context.Context) ([]int32, error) {
	out := make([]int32, g.len())
	place := make([]int32, g.len()) // in group order, by number of the input
	for k, i := range g.order {
		place[i] = int32(k)
	}
	next := int32(0)
	number := make([]int32, len(g.all)) // by root, one more than the label
	for i := range out {
		k := place[i]
		if out[i] = Noise; !g.core[k] {
			continue
		}
		root := g.root(g.of[k])
		if number[root] == 0 {
			next++
			number[root] = next
		}
		out[i] = number[root] - 1
	}
	for n := range g.all {
		if g.all[n].cores {
			g.all[n].label = number[g.root(int32(n))] - 1
		}
	}
	err := parallel(ctx, len(g.all), nil, func(n int) {
		for k := g.all[n].begin; k < g.all[n].end; k++ {
			if !g.core[k] {
				out[g.order[k]] = g.borders(k)
			}
		}
	})
	return out, err
}

// borders is the first cluster with a core within eps of a point.
func (g *groups) borders(i int32) int32 {
	best := int32(math.MaxInt32)
	q := g.row(i)
	g.near(q, 1.5*g.eps, func(other *group, distance float64) bool {
		if !other.cores || other.label >= best || distance > g.eps*above+other.radius {
			return false
		}
		for k := other.begin; k < other.end; k++ {
			if g.core[k] && within(q, g.row(k), g.epsSq) {
				best = other.label
				break
			}
		}
		return best == 0
	})
	if best == math.MaxInt32 {
		return Noise
	}
	return best
}

// within tells whether the squared distance of two points is at most a limit. It stops early.
func within(a, b []float32, limit float32) bool {
	var sum float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		d0, d1, d2, d3 := a[i]-b[i], a[i+1]-b[i+1], a[i+2]-b[i+2], a[i+3]-b[i+3]
		if sum += d0*d0 + d1*d1 + d2*d2 + d3*d3; sum > limit {
			return false
		}
	}
	for ; i < len(a); i++ {
		d := a[i] - b[i]
		sum += d * d
	}
	return sum <= limit
}

// squared is the squared distance of two points.
func squared(a, b []float32) float32 {
	var sum float32
	b = b[:len(a)]
	for i, x := range a {
		d := x - b[i]
		sum += d * d
	}
	return sum
}

// parallel calls do for 0 to n-1 on all cores, in pieces. It ends early with the context's error.
func parallel(ctx context.Context, n int, tell func(float64), do func(i int)) error {
	const piece = 256
	var next, over atomic.Int64
	var all sync.WaitGroup
	for w := range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for ctx.Err() == nil {
				begin := int(next.Add(piece)) - piece
				if begin >= n {
					return
				}
				for i := begin; i < min(begin+piece, n); i++ {
					do(i)
				}
				if share := float64(over.Add(piece)) / float64(n); w == 0 && tell != nil {
					tell(min(share, 1))
				}
			}
		})
	}
	all.Wait()
	return ctx.Err()
}
