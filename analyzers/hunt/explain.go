package hunt

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Reason is a feature that sets a row, or a cluster, apart.
type Reason struct {
	Feature string  `json:"feature"`
	Value   float64 `json:"value"`
	Median  float64 `json:"median"`    // of all rows; for what is so or not, the share of rows for which it is
	Units   float64 `json:"deviation"` // from the median, in interquartile ranges or what stands for them
	Text    string  `json:"text"`
	about   string
	leads   bool
}

// Cluster is rows that are alike.
type Cluster struct {
	Label    int32      `json:"label"`
	Rows     int        `json:"rows"`
	Share    float64    `json:"share"`
	Rare     bool       `json:"rare"` // at most Config.Rare of the rows
	First    int64      `json:"-"`
	Last     int64      `json:"-"`
	Usual    [][]string `json:"-"` // for each tag the commonest values with their share, in words
	Subjects int        `json:"subjects"`
	Top      string     `json:"top_subject"` // and the share of rows that are its
	TopShare float64    `json:"top_share"`
	Why      []Reason   `json:"why"`
	Text     string     `json:"text"`
	Example  Row        `json:"example"`
}

// Limits of what is told.
const (
	reasons    = 4   // of a row
	worth      = 1.0 // units from the middle that are worth telling
	leading    = 3.0 // that let the leading feature about a thing stand for the others
	rowsTold   = 4000
	foldLimit  = 20_000 // outliers, the farthest first, that become stories
	groupsTold = 1000   // clusters that are described
)

// describe puts outliers and clusters in words.
func (r *Result) describe(in Input, t *table, cfg Config) {
	share := t.shares()
	for i := range r.Outliers[:min(foldLimit, len(r.Outliers))] {
		o := r.Outliers[i]
		o.Row = in.Row(o.Index)
		o.Why = t.reasons(t.row(o.Index), share)
		at := slices.IndexFunc(r.Stories, o.like)
		if at >= 0 {
			r.Stories[at].More++
		} else if len(r.Stories) < cfg.Top {
			r.Stories = append(r.Stories, o)
		}
	}
	for i := range r.Labels {
		if at := in.Row(i).Time; at != 0 {
			if r.First == 0 || at < r.First {
				r.First = at
			}
			r.Last = max(r.Last, at)
		}
	}
	r.clusters(in, t, share, cfg)
}

// like tells whether two outliers are one story: of one source or one destination, and set apart by the same two features.
func (o Outlier) like(p Outlier) bool {
	if (o.Row.Subject == "" || o.Row.Subject != p.Row.Subject) && (o.Row.Object == "" || o.Row.Object != p.Row.Object) {
		return false
	}
	n := min(2, len(o.Why))
	if min(2, len(p.Why)) != n {
		return false
	}
	for _, why := range o.Why[:n] {
		if !slices.ContainsFunc(p.Why[:n], func(r Reason) bool { return r.Feature == why.Feature }) {
			return false
		}
	}
	return true
}

// shares is, by feature, the mean: for those that are so or not, the share of rows for which they are.
func (t *table) shares() []float64 {
	out := make([]float64, len(t.features))
	for i := range t.n {
		for d, x := range t.row(i) {
			out[d] += float64(x) / float64(t.n)
		}
	}
	return out
}

// reasons are the features that are farthest from the middle.
func (t *table) reasons(v []float32, share []float64) []Reason {
	var all []Reason
	for _, d := range t.used {
		f := &t.features[d]
		one := Reason{about: f.About, leads: t.leads(d), Feature: f.Name, Value: round(f.Kind.value(v[d])), Median: round(f.Kind.value(t.median[d]))}
		switch f.Kind {
		case Hash:
			continue
		case Class:
			if v[d] < 0.5 {
				continue
			}
			one.Median = round(share[d])
			one.Units = -math.Log10(math.Max(share[d], 1e-9)) // a tenth of the rows: 1; a hundredth: 2
			one.Text = fmt.Sprintf("%s, as %s are", f.Brief, Percent.in(share[d]))
		default:
			one.Units = float64((v[d] - t.median[d]) / t.spread[d])
			one.Text = fmt.Sprintf("%s %s where the middle %s %s", f.Did, f.Unit.in(f.Kind.value(v[d])), f.Does, f.Unit.in(f.Kind.value(t.median[d])))
		}
		one.Units = math.Round(one.Units*10) / 10
		if math.Abs(one.Units) >= worth {
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b Reason) int { return cmp.Compare(math.Abs(b.Units), math.Abs(a.Units)) })
	var told []Reason
	about := map[string]bool{}
	for _, one := range all {
		if len(told) == reasons || one.about != "" && about[one.about] {
			continue
		}
		about[one.about] = true
		lead := slices.IndexFunc(all, func(r Reason) bool { return r.about == one.about && r.leads && math.Abs(r.Units) >= leading })
		if one.about != "" && lead >= 0 {
			one = all[lead]
		}
		told = append(told, one)
	}
	return told
}

// leads tells whether a feature is the first about its thing.
func (t *table) leads(d int) bool {
	return slices.IndexFunc(t.features, func(f Feature) bool { return f.About == t.features[d].About }) == d
}

// round keeps five digits: float32 and its logarithm have no more.
func round(v float64) float64 {
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
	return r
}

// clusters describes each cluster by what its rows have in common and how they differ from the middle.
func (r *Result) clusters(in Input, t *table, share []float64, cfg Config) {
	members := map[int32][]int32{}
	for i, l := range r.Labels {
		if l != Noise {
			members[l] = append(members[l], int32(i))
		}
	}
	for l, rows := range members {
		r.Clusters = append(r.Clusters, Cluster{Label: l, Rows: len(rows), Share: float64(len(rows)) / float64(r.Rows)})
	}
	slices.SortFunc(r.Clusters, func(a, b Cluster) int { return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Label, b.Label)) })
	for i := range r.Clusters {
		c := &r.Clusters[i]
		c.Rare = c.Share <= cfg.Rare && i > 0
		if i < groupsTold || i >= len(r.Clusters)-groupsTold {
			c.describe(in, t, members[c.Label], share)
		}
	}
}

// describe looks at the rows of a cluster; of many, at some thousand of them evenly spread.
func (c *Cluster) describe(in Input, t *table, rows []int32, share []float64) {
	first, last := in.Row(int(rows[0])).Time, in.Row(int(rows[len(rows)-1])).Time
	c.First, c.Last = min(first, last), max(first, last)
	stride := max(1, len(rows)/rowsTold)
	subjects, tags := tallyOf{}, []tallyOf{}
	column := make([][]float32, len(t.features))
	n := 0
	for at := 0; at < len(rows); at += stride {
		row := in.Row(int(rows[at]))
		subjects[row.Subject]++
		for k, tag := range row.Tags {
			if k == len(tags) {
				tags = append(tags, tallyOf{})
			}
			tags[k][tag]++
		}
		for d, x := range t.row(int(rows[at])) {
			column[d] = append(column[d], x)
		}
		n++
	}
	c.Example = in.Row(int(rows[0]))
	top := subjects.most(1)
	c.Subjects = len(subjects)
	c.Top, c.TopShare = top[0], round(float64(subjects[top[0]])/float64(n))
	middle := make([]float32, len(t.features))
	for d := range column {
		slices.Sort(column[d])
		middle[d] = column[d][n/2]
	}
	c.Why = t.reasons(middle, share)
	var parts []string
	for k := range tags {
		var words []string
		for _, word := range tags[k].most(2) {
			if of := float64(tags[k][word]) / float64(n); word != "" && of >= 0.1 {
				if of < 0.995 {
					word += fmt.Sprintf(" (%s)", Percent.in(of))
				}
				words = append(words, word)
			}
		}
		if c.Usual = append(c.Usual, words); len(words) > 0 {
			parts = append(parts, strings.Join(words, ", "))
		}
	}
	switch {
	case c.Top == "":
	case c.Subjects == 1:
		parts = append(parts, "all from "+c.Top)
	case c.TopShare >= 0.5:
		parts = append(parts, fmt.Sprintf("%s from %s", Percent.in(c.TopShare), c.Top))
	default:
		parts = append(parts, fmt.Sprintf("from %s sources", grouped(int64(c.Subjects))))
	}
	for _, why := range c.Why {
		parts = append(parts, why.Text)
	}
	c.Text = strings.Join(parts, "; ")
}

// tallyOf counts words.
type tallyOf map[string]int

// most are the commonest words.
func (t tallyOf) most(n int) []string {
	all := make([]string, 0, len(t))
	for word := range t {
		all = append(all, word)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(t[b], t[a]), cmp.Compare(a, b)) })
	return all[:min(n, len(all))]
}
