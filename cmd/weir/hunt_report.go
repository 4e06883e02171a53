package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"weir/analyzers/hunt"
	"weir/sensor/alert"
)

// huntReport is what a hunt found, with where it looked.
type huntReport struct {
	*hunt.Result
	rows  *huntRows
	cmd   *huntCmd
	truth *huntScore
}

// head says in sentences what was done.
func (r *huntReport) head() (lines []string) {
	span := ""
	if r.First != 0 {
		span = fmt.Sprintf(", from %s to %s UTC", moment(alert.Time(r.First)), moment(alert.Time(r.Last)))
	}
	lines = append(lines, fmt.Sprintf("%d %s%s: %d outliers (%s), %d clusters.", r.Rows, r.Of, span, r.Noise,
		percent(float64(r.Noise)/float64(r.Rows)), len(r.Clusters)))
	eps := "given"
	if r.Proposed {
		eps = "the knee of the k-distances"
	}
	lines = append(lines, fmt.Sprintf("Radius %.3g (%s), %d rows make a cluster; %d points stand for the rows, %s of the variance in %d principal components.",
		r.Eps, eps, r.MinSamples, r.Points, percent(r.Kept), hunt.Components-1))
	if len(r.Dropped) > 0 {
		lines = append(lines, fmt.Sprintf("The same in all rows, so left out: %s.", strings.Join(r.Dropped, ", ")))
	}
	return append(lines, r.rows.notes()...)
}

func percent(share float64) string { return fmt.Sprintf("%.3g %%", share*100) }

// rare are the odd groups: small clusters, the smallest first.
func (r *huntReport) rare() (all []*hunt.Cluster) {
	for i := len(r.Clusters) - 1; i >= 0; i-- {
		if c := &r.Clusters[i]; c.Rare {
			all = append(all, c)
		}
	}
	return all
}

// table writes it for people.
func (r *huntReport) table(out *bytes.Buffer, columns int) {
	for _, line := range r.head() {
		fmt.Fprintln(out, printable(line))
	}
	if len(r.Stories) > 0 {
		fmt.Fprintf(out, "\nOUTLIERS, the farthest from all else first (score: distance to %d others, in radii)\n", r.MinSamples)
	}
	for i := range r.Stories {
		o := &r.Stories[i]
		fmt.Fprintf(out, "%4d  %6.1f  %s\n", o.Rank, o.Score, printable(fit(describeRow(&o.Row), max(columns-14, 40))))
		for _, why := range o.Why {
			fmt.Fprintf(out, "              %s\n", printable(why.Text))
		}
		if o.More > 0 {
			fmt.Fprintf(out, "              and %d more like it\n", o.More)
		}
	}
	if rare := r.rare(); len(rare) > 0 {
		fmt.Fprintf(out, "\nODD GROUPS, alike among themselves, and at most %s of the rows\n", percent(r.cmd.Rare))
		r.groups(out, rare[:min(r.cmd.Top, len(rare))])
	}
	var usual []*hunt.Cluster
	for i := range r.Clusters {
		if !r.Clusters[i].Rare {
			usual = append(usual, &r.Clusters[i])
		}
	}
	if len(usual) > 0 {
		fmt.Fprintf(out, "\nTHE USUAL\n")
		r.groups(out, usual)
	}
}

func (r *huntReport) groups(out io.Writer, all []*hunt.Cluster) {
	for _, c := range all {
		fmt.Fprintf(out, "%8d  %6s  %s\n", c.Rows, percent(c.Share), printable(c.Text))
	}
}

// describeRow is a row in a line.
func describeRow(r *hunt.Row) string {
	var parts []string
	if r.Time != 0 {
		parts = append(parts, moment(alert.Time(r.Time)))
	}
	who := r.Subject
	if r.Object != "" {
		who += " → " + r.Object
	}
	if who != "" {
		parts = append(parts, who)
	}
	return strings.Join(append(parts, r.What), "  ")
}

// fit cuts a text to a width.
func fit(s string, n int) string {
	if all := []rune(s); len(all) > n {
		return string(all[:n-1]) + "…"
	}
	return s
}

// Forms of the JSON lines. Each has one of "hunt", "outlier", "group" and "cluster".
type huntHead struct {
	Schema     string   `json:"schema"`
	Of         string   `json:"of"`
	Rows       int      `json:"rows"`
	Seen       int      `json:"rows_seen"`
	First      string   `json:"first,omitempty"`
	Last       string   `json:"last,omitempty"`
	Outliers   int      `json:"outliers"`
	Clusters   int      `json:"clusters"`
	Eps        float64  `json:"eps"`
	Proposed   bool     `json:"eps_proposed"`
	MinSamples int      `json:"min_samples"`
	Points     int      `json:"points"`
	Step       float64  `json:"step"`
	Variance   float64  `json:"variance_kept"`
	Dropped    []string `json:"constant,omitempty"`
	BadLines   int      `json:"bad_lines,omitempty"`
	FirstBad   string   `json:"first_bad_line,omitempty"`
	Faults     int      `json:"unread_files,omitempty"`
	FirstFault string   `json:"first_unread_file,omitempty"`
}

type huntOutlier struct {
	Rank  int     `json:"rank"`
	Score float64 `json:"score"`
	More  int     `json:"more"` // outliers of the same story
	Time  string  `json:"time,omitempty"`
	hunt.Row
	Why []hunt.Reason `json:"why"`
}

type huntCluster struct {
	First string `json:"first,omitempty"`
	Last  string `json:"last,omitempty"`
	*hunt.Cluster
}

const huntSchema = "weir.hunt/1"

// jsonl writes it for programs.
func (r *huntReport) jsonl(out *bytes.Buffer) error {
	line := func(name string, v any) error {
		text, err := marshal(map[string]any{name: v})
		if err != nil {
			return err
		}
		return writeLine(out, text)
	}
	err := line("hunt", &huntHead{
		huntSchema, r.Of, r.Rows, r.rows.seen, stamp(r.First), stamp(r.Last), r.Noise, len(r.Clusters), short4(r.Eps), r.Proposed, r.MinSamples, r.Points, short4(r.Step),
		short4(r.Kept), r.Dropped, r.rows.bad, r.rows.firstBad, r.rows.faults, r.rows.firstFault,
	})
	for i := range r.Stories {
		o := &r.Stories[i]
		if err == nil {
			err = line("outlier", &huntOutlier{o.Rank, short4(o.Score), o.More, stamp(o.Row.Time), o.Row, o.Why})
		}
	}
	for i := range r.Clusters {
		c := &r.Clusters[i]
		if err == nil {
			err = line(map[bool]string{true: "group", false: "cluster"}[c.Rare], &huntCluster{stamp(c.First), stamp(c.Last), c})
		}
	}
	if err == nil && r.truth != nil {
		err = line("truth", r.truth)
	}
	return err
}

// stamp is a time as RFC 3339 writes it; "" if it is unknown.
func stamp(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
}

// short4 is a number to four decimals: more would say nothing.
func short4(v float64) float64 { return float64(int64(v*1e4+0.5)) / 1e4 }
