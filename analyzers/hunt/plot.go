package hunt

// Dot is a row of the scatter plot: its first two principal components.
type Dot struct {
	X, Y  float32
	Label int32
	Rank  int // of a story; else 0
}

// Dots that are plotted, of each sort.
const (
	plotOutliers = 2000
	plotOthers   = 3000
)

// plot chooses the dots: the first outliers, and points of clusters, evenly spread.
func (r *Result) plot(a *axes, p *condensed) {
	dot := func(v []float32, label int32, rank int) {
		d := Dot{X: v[0], Label: label, Rank: rank}
		if len(v) > 1 {
			d.Y = v[1]
		}
		r.Plot = append(r.Plot, d)
	}
	label := make([]int32, p.Len())
	for i, k := range p.of {
		label[k] = r.Labels[i]
	}
	stride := max(1, p.Len()/plotOthers)
	for k := 0; k < p.Len(); k += stride {
		if label[k] != Noise {
			dot(p.row(int32(k)), label[k], 0)
		}
	}
	for _, o := range r.Outliers[:min(plotOutliers, len(r.Outliers))] {
		dot(a.row(o.Index), Noise, 0)
	}
	for _, o := range r.Stories {
		dot(a.row(o.Index), Noise, o.Rank)
	}
}
