package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"slices"

	"weir/analyzers/hunt"
)

//go:embed hunt_page.html
var huntPage string

//go:embed hunt_page.css
var huntStyle string

var huntTemplate = template.Must(template.New("hunt").Parse(huntPage))

// Size of the scatter plot, and the share of the dots at each end of an axis that are put on its border: a few far ones are not to press
// all others together.
const (
	plotWidth  = 960.0
	plotHeight = 480.0
	plotMargin = 14.0
	plotFar    = 0.002
)

// pageData is what the template shows. All text is escaped by html/template, for the place where it stands.
type pageData struct {
	Policy  string
	Style   template.CSS // ours
	Of      string
	Head    []string
	Truth   []string
	Width   float64
	Height  float64
	Dots    []pageDot
	Stories []pageStory
	Rare    []*hunt.Cluster
	Usual   []*hunt.Cluster
	More    int // outliers that no story tells
}

type pageDot struct {
	X, Y  string
	Class string
	R     string
	Rank  int
	Text  string
}

type pageStory struct {
	*hunt.Outlier
	When, Who, Score string
}

// page writes one HTML page: no script, and nothing that it asks anyone for.
func (r *huntReport) page(out *bytes.Buffer) error {
	sum := sha256.Sum256([]byte(huntStyle))
	d := pageData{
		Policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'",
		Style:  template.CSS(huntStyle), Of: r.Of, Head: r.head(), Truth: r.truth.lines(), Width: plotWidth, Height: plotHeight, Dots: r.dots(),
		Rare: r.rare(), More: r.Noise,
	}
	d.Rare = d.Rare[:min(len(d.Rare), r.cmd.Top)]
	for i := range r.Stories {
		o := &r.Stories[i]
		d.More -= 1 + o.More
		who := o.Row.Subject
		if o.Row.Object != "" {
			who += " → " + o.Row.Object
		}
		when := ""
		if o.Row.Time != 0 {
			when = stamp(o.Row.Time / 1e9 * 1e9)
		}
		d.Stories = append(d.Stories, pageStory{Outlier: o, When: when, Who: who, Score: fmt.Sprintf("%.1f", o.Score)})
	}
	for i := range r.Clusters {
		if !r.Clusters[i].Rare {
			d.Usual = append(d.Usual, &r.Clusters[i])
		}
	}
	return huntTemplate.Execute(out, &d)
}

// dots are those of the plot, those of the outliers last and so on top.
func (r *huntReport) dots() (all []pageDot) {
	var xs, ys []float64
	for _, dot := range r.Plot {
		xs, ys = append(xs, float64(dot.X)), append(ys, float64(dot.Y))
	}
	x, y := axisOf(xs, plotMargin, plotWidth-plotMargin), axisOf(ys, plotHeight-plotMargin, plotMargin)
	place := map[int32]int{}
	for i := range r.Clusters {
		place[r.Clusters[i].Label] = i
	}
	words := map[int]string{}
	for i := range r.Stories {
		o := &r.Stories[i]
		words[o.Rank] = fmt.Sprintf("outlier %d: %s", o.Rank, describeRow(&o.Row))
	}
	for _, dot := range r.Plot {
		one := pageDot{X: fmt.Sprintf("%.1f", x(float64(dot.X))), Y: fmt.Sprintf("%.1f", y(float64(dot.Y))), R: "2", Class: "o"}
		switch at := place[dot.Label]; {
		case dot.Rank > 0:
			one.R, one.Class, one.Rank, one.Text = "4", "s", dot.Rank, words[dot.Rank]
		case dot.Label == hunt.Noise:
		case at < 6:
			one.Class = fmt.Sprintf("c%d", at)
		default:
			one.Class = "c"
		}
		all = append(all, one)
	}
	return all
}

// axisOf maps values to pixels from low to high; the farthest few go to the border.
func axisOf(values []float64, low, high float64) func(float64) float64 {
	if len(values) == 0 {
		return func(float64) float64 { return low }
	}
	sorted := slices.Sorted(slices.Values(values))
	cut := int(math.Floor(float64(len(sorted)) * plotFar))
	first, last := sorted[cut], sorted[len(sorted)-1-cut]
	if last <= first {
		last = first + 1
	}
	return func(v float64) float64 { return low + (high-low)*min(max((v-first)/(last-first), 0), 1) }
}
