// Package hunt finds connections, hosts and requests that are unlike all others: vectors, robust scaling, density clusters.
//
// Rows of an Input become vectors of documented features. Each feature is scaled by its median and interquartile range and clipped; the
// vectors are turned onto their principal components, of which the first Components-1 stay, with the length of what is left as one more
// coordinate. Rows that are alike become one point with a weight, so that there are at most MaxPoints. DBSCAN labels the points: who has
// fewer than MinSamples rows around is an outlier. Everything is deterministic: the same rows in the same order give the same result.
package hunt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Limits of a run. They bound time and memory: 1 M rows take some 400 MB.
const (
	MaxRows    = 1_000_000 // rows that are held; of more, a uniform sample (see Reservoir)
	MaxPoints  = 50_000    // points that are clustered: rows closer than Step count as one
	Components = 8         // coordinates of a point
	MaxDims    = 1024      // numbers of a vector
)

// Config says how to cluster.
type Config struct {
	Eps        float64 // radius in scaled units; 0: from the knee of the k-distances
	MinSamples int     // rows within Eps, the row itself counted, that make a core
	Rare       float64 // clusters of at most this share of the rows are told as groups
	Top        int     // outliers and groups that are explained
}

// Defaults are the settings unless somebody says otherwise. MinSamples is that of the plan: 20 alike are a habit.
func Defaults() Config { return Config{MinSamples: 20, Rare: 0.01, Top: 50} }

// Check tells which setting cannot be.
func (c *Config) Check() error {
	switch {
	case math.IsNaN(c.Eps) || math.IsInf(c.Eps, 0) || c.Eps < 0:
		return fmt.Errorf("eps is %v, must be above 0", c.Eps)
	case c.MinSamples < 2 || c.MinSamples > 100_000:
		return fmt.Errorf("min-samples is %d, must be within 2 to 100000", c.MinSamples)
	case !(c.Rare >= 0 && c.Rare <= 0.5):
		return fmt.Errorf("rare is %v, must be within 0 to 0.5", c.Rare)
	case c.Top < 1 || c.Top > 100_000:
		return fmt.Errorf("top is %d, must be within 1 to 100000", c.Top)
	}
	return nil
}

// Input is what is hunted in.
type Input interface {
	Of() string // what rows are: "connections"
	Features() []Feature
	Len() int
	Vector(i int, v []float32) // one number a feature
	Row(i int) Row
}

// Row is a row in words. All of it may be hostile text.
type Row struct {
	Time    int64    `json:"-"`                 // ns; 0: unknown
	ID      string   `json:"id,omitempty"`      // of embeddings
	Subject string   `json:"subject,omitempty"` // address of who acted
	Object  string   `json:"object,omitempty"`  // address, or host, of whom it was done to
	What    string   `json:"what,omitempty"`    // "tcp/443 SF", or the request
	Tags    []string `json:"-"`                 // what rows of a cluster have in common: the same number for each row, "" is no tag
}

// Result is what was found.
type Result struct {
	Of         string
	Rows       int
	Points     int     // that stood for the rows
	Step       float64 // rows closer than this in each coordinate were one point
	Kept       float64 // share of the variance that the principal components hold
	Dropped    []string
	Eps        float64
	Proposed   bool // Eps is from the knee
	MinSamples int
	First      int64 // ns, of rows with a time
	Last       int64
	Labels     []int32   // by row; Noise is an outlier
	Noise      int       // rows
	Outliers   []Outlier // all, the farthest first
	Stories    []Outlier // those that are told: of outliers of one story the first
	Clusters   []Cluster // largest first
	Plot       []Dot
}

// Outlier is a row in no cluster.
type Outlier struct {
	Index int
	Row   Row
	Score float64 // distance to its MinSamples-th neighbour, in Eps
	Why   []Reason
	Rank  int
	More  int // outliers of the same story after it
}

// Run finds outliers. tell, if not nil, hears what is done and the share of it.
func Run(ctx context.Context, in Input, cfg Config, tell func(stage string, share float64)) (*Result, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if tell == nil {
		tell = func(string, float64) {}
	}
	n := in.Len()
	if n < 2*cfg.MinSamples {
		return nil, fmt.Errorf("%d %s are too few to say what is usual: %d are needed at least (twice --min-samples)", n, in.Of(), 2*cfg.MinSamples)
	}
	t, err := scale(ctx, in, tell)
	if err != nil {
		return nil, err
	}
	if len(t.used) == 0 {
		return nil, errors.New("all rows are the same: nothing sets any apart")
	}
	axes := t.turn()
	p := axes.condense(n)
	r := &Result{
		Of: in.Of(), Rows: n, Points: p.Len(), Step: p.step, Kept: axes.kept, Dropped: t.dropped, MinSamples: cfg.MinSamples, Eps: cfg.Eps,
	}
	if r.Eps == 0 {
		r.Proposed = true
		if r.Eps, err = knee(ctx, p, n, cfg.MinSamples, func(share float64) { tell("radius", share) }); err != nil {
			return nil, err
		}
	}
	labels, err := DBSCAN(ctx, &p.Points, r.Eps, cfg.MinSamples, func(share float64) { tell("clusters", share) })
	if err != nil {
		return nil, err
	}
	r.Labels = make([]int32, n)
	for i := range r.Labels {
		r.Labels[i] = labels[p.of[i]]
	}
	tell("words", 0)
	if err := r.rank(ctx, p, cfg); err != nil {
		return nil, err
	}
	r.describe(in, t, cfg)
	r.plot(axes, p)
	return r, nil
}

// rank lists the outliers, the farthest first: all of them by row and score.
func (r *Result) rank(ctx context.Context, p *condensed, cfg Config) error {
	score := make([]float64, p.Len())
	noise := make([]int32, 0, 1024)
	for i, l := range r.Labels {
		if l != Noise {
			continue
		}
		r.Noise++
		if k := p.of[i]; score[k] == 0 {
			score[k] = -1
			noise = append(noise, k)
		}
	}
	err := parallel(ctx, len(noise), nil, func(i int) {
		score[noise[i]] = math.Max(math.Sqrt(float64(p.reach(noise[i], cfg.MinSamples)))/r.Eps, 1)
	})
	r.Outliers = make([]Outlier, 0, r.Noise)
	for i, l := range r.Labels {
		if l == Noise {
			r.Outliers = append(r.Outliers, Outlier{Index: i, Score: score[p.of[i]]})
		}
	}
	slices.SortStableFunc(r.Outliers, func(a, b Outlier) int { return cmp.Compare(b.Score, a.Score) })
	for i := range r.Outliers {
		r.Outliers[i].Rank = i + 1
	}
	return err
}
