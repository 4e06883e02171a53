package hunt

import (
	"context"
	"math"
	"sync/atomic"

	"gonum.org/v1/gonum/spatial/kdtree"
)

// Distances from which groups are concluded are rounded to the careful side, by more than float32 is off.
const (
	above = 1 + 1e-4
	below = 1 - 1e-4
)

// group is points within eps/2 of one of them, its leader: so all are within eps of each other, and all cores among them in one cluster.
type group struct {
	id         int32
	lead       int32 // the leader's place in order
	begin, end int32 // of its members in order
	weight     int
	radius     float64 // distance of the member farthest from the leader
	cores      bool    // any member is a core
	label      int32   // if cores
	parent     atomic.Int32
}

// groups is all points in groups.
type groups struct {
	points Points  // in group order
	order  []int32 // number in the input, by place
	of     []int32 // group, by place
	all    []group
	core   []bool // by place
	tree   *kdtree.Tree
	eps    float64
	epsSq  float32
}

func (g *groups) len() int              { return len(g.order) }
func (g *groups) row(i int32) []float32 { return g.points.row(i) }
func (g *groups) weightOf(i int32) int  { return g.points.weight(i) }

// gather makes the groups. Points come in the order of a fixed shuffle, in batches: what an earlier leader covers is found on all cores,
// the rest one after the other. The tree grows by insertion only, so that it is the same in each run.
func gather(ctx context.Context, p *Points, eps float64, tell func(float64)) (*groups, error) {
	const batch = 1024
	n := p.Len()
	g := &groups{eps: eps, epsSq: float32(eps * eps), tree: &kdtree.Tree{}}
	half := float32(eps / 2 * eps / 2 * below)
	var leaders []int32 // numbers in the input
	in := make([]int32, n)
	queue := shuffled(n)
	for begin := 0; begin < n; begin += batch {
		part := queue[begin:min(begin+batch, n)]
		if err := parallel(ctx, len(part), nil, func(i int) { in[part[i]] = g.cover(p.row(part[i]), half) }); err != nil {
			return nil, err
		}
		old := len(leaders)
		for _, i := range part {
			for k := old; k < len(leaders) && in[i] < 0; k++ {
				if within(p.row(i), p.row(leaders[k]), half) {
					in[i] = int32(k)
				}
			}
			if in[i] < 0 {
				in[i] = int32(len(leaders))
				leaders = append(leaders, i)
			}
		}
		for k := old; k < len(leaders); k++ {
			g.tree.Insert(&node{at: p.row(leaders[k]), id: int32(k)}, false)
		}
		tell(float64(begin) / float64(n))
	}
	g.arrange(p, in, leaders)
	return g, nil
}

// shuffled is 0 to n-1 in an order that is always the same and no input's: by the steps of the golden ratio, without a repeat.
func shuffled(n int) []int32 {
	out := make([]int32, 0, n)
	if n == 0 {
		return out
	}
	step := max(int(float64(n)*(math.Sqrt(5)-1)/2), 1)
	for divisor(step, n) != 1 {
		step++
	}
	for at := 0; len(out) < n; at = (at + step) % n {
		out = append(out, int32(at))
	}
	return out
}

func divisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// cover is a leader within a squared radius; -1 if there is none.
func (g *groups) cover(q []float32, limit float32) int32 {
	found := int32(-1)
	if g.tree.Root == nil {
		return found
	}
	g.tree.NearestSet(&search{limit: float64(limit), take: func(at *node, _ float64) bool {
		found = at.id
		return true
	}}, &node{at: q})
	return found
}

// arrange puts the members of each group next to each other.
func (g *groups) arrange(p *Points, in, leaders []int32) {
	n := p.Len()
	g.all = make([]group, len(leaders))
	count := make([]int32, len(leaders)+1)
	for _, k := range in {
		count[k+1]++
	}
	for k := range leaders {
		count[k+1] += count[k]
		g.all[k].id, g.all[k].begin, g.all[k].end = int32(k), count[k], count[k]
	}
	g.order, g.of = make([]int32, n), make([]int32, n)
	g.points = Points{Dims: p.Dims, At: make([]float32, n*p.Dims)}
	if p.Weight != nil {
		g.points.Weight = make([]uint32, n)
	}
	for i, k := range in {
		one := &g.all[k]
		at := one.end
		one.end++
		g.order[at], g.of[at] = int32(i), k
		copy(g.row(at), p.row(int32(i)))
		if p.Weight != nil {
			g.points.Weight[at] = p.Weight[i]
		}
		one.weight += p.weight(int32(i))
		if leaders[k] == int32(i) {
			one.lead = at
		}
		one.radius = max(one.radius, math.Sqrt(float64(squared(p.row(int32(i)), p.row(leaders[k])))))
	}
}

// near calls take with each group whose leader is within a radius of a point, and how far that is, until it has had enough. The order is
// the tree's.
func (g *groups) near(q []float32, radius float64, take func(other *group, distance float64) (done bool)) {
	s := search{limit: radius * radius * above, take: func(at *node, sq float64) bool { return take(&g.all[at.id], math.Sqrt(sq)) }}
	g.tree.NearestSet(&s, &node{at: q})
}

// join makes two groups one cluster. Any goroutine may call it.
func (g *groups) join(a, b int32) {
	for {
		a, b = g.root(a), g.root(b)
		if a == b {
			return
		}
		if a < b {
			a, b = b, a
		}
		if g.all[a].parent.CompareAndSwap(a, b) { // the smaller number stays root: no circles
			return
		}
	}
}

// root names the cluster of a group, as far as it is known. Any goroutine may call it.
func (g *groups) root(a int32) int32 {
	for {
		up := g.all[a].parent.Load()
		if up == a {
			return a
		}
		if top := g.all[up].parent.Load(); top != up {
			g.all[a].parent.CompareAndSwap(up, top)
		}
		a = up
	}
}

// planes is by how many of the first numbers of a row the tree divides: with all of them it would divide by each once or twice only.
const planes = 8

// node is a leader as the tree holds it.
type node struct {
	at []float32
	id int32
}

// Compare implements kdtree.Comparable.
func (a *node) Compare(b kdtree.Comparable, d kdtree.Dim) float64 {
	return float64(a.at[d]) - float64(b.(*node).at[d])
}

// Dims implements kdtree.Comparable.
func (a *node) Dims() int { return min(len(a.at), planes) }

// Distance implements kdtree.Comparable. It counts all numbers, which is never less than those that the tree divides by.
func (a *node) Distance(b kdtree.Comparable) float64 { return float64(squared(a.at, b.(*node).at)) }

// search is a kdtree.Keeper that keeps nothing: it hands on what is within the limit, and ends the search when take has had enough.
type search struct {
	limit float64 // squared
	take  func(*node, float64) bool
}

// Keep implements kdtree.Keeper.
func (s *search) Keep(c kdtree.ComparableDist) {
	if c.Dist <= s.limit && s.take(c.Comparable.(*node), c.Dist) {
		s.limit = -1
	}
}

// Max implements kdtree.Keeper: how far the search goes.
func (s *search) Max() kdtree.ComparableDist { return kdtree.ComparableDist{Dist: s.limit} }

// Len implements heap.Interface, as do the rest: it is always empty.
func (*search) Len() int { return 0 }

// Less implements heap.Interface.
func (*search) Less(int, int) bool { return false }

// Swap implements heap.Interface.
func (*search) Swap(int, int) {}

// Push implements heap.Interface.
func (*search) Push(any) {}

// Pop implements heap.Interface.
func (*search) Pop() any { return nil }
