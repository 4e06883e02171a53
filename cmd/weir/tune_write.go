package main

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"weir/sensor/alert"
)

// write writes the proposal.
func (t *tuning) write(out io.Writer) error {
	w := bufio.NewWriter(out)
	if t.cmd.Format == "jsonl" {
		if err := t.lines(w); err != nil {
			return err
		}
		return w.Flush()
	}
	for _, line := range t.head() {
		fmt.Fprintf(w, "# %s\n", printable(line))
	}
	t.yaml(w)
	t.rest(w)
	return w.Flush()
}

// head says what the proposal stands on.
func (t *tuning) head() (lines []string) {
	length := t.watched.length()
	in := "the defaults"
	if t.cmd.Config != "" {
		in = t.cmd.Config
	}
	var before, after int
	for _, n := range t.before {
		before += n
	}
	for _, n := range t.after {
		after += n
	}
	lines = append(lines,
		fmt.Sprintf("weir tune: %v of traffic, %d packets, from %s to %s UTC.", length.Round(time.Second), t.packets, moment(alert.Time(t.watched.first)),
			moment(alert.Time(t.watched.last))),
		fmt.Sprintf("Alerts with %s: %s; with what is proposed: %s.", in, t.often(before), t.often(after)),
		fmt.Sprintf("Proposed is %g times the highest value of this traffic, and never less than what is argued beside the setting.", t.cmd.Margin))
	switch {
	case length < tuneDay:
		lines = append(lines, "A sample of less than a day proves little, and lowers nothing: nights, backups and weekends are not in it.")
	case length < tuneWeek:
		lines = append(lines, "A sample of less than a week proves little: weekends and ends of months are not in it.")
	}
	if t.grave > 0 {
		slices.Sort(t.graveNow)
		lines = append(lines, fmt.Sprintf("Of medium severity or more: %d (%s). Look at them first ('weir replay'): an attack is no normal traffic.",
			t.grave, strings.Join(slices.Compact(t.graveNow), ", ")))
	}
	return lines
}

// yaml writes what changes as settings, and what stays as comments.
func (t *tuning) yaml(w *bufio.Writer) {
	sections := map[string]bool{} // with a change
	for _, one := range t.all {
		section, _, _ := strings.Cut(one.path, ".")
		sections[section] = sections[section] || one.proposed != one.now
	}
	mark := func(settled bool) string { return map[bool]string{true: "", false: "# "}[settled] }
	fmt.Fprintf(w, "\n%sanalyzers:\n", mark(slices.Contains(slices.Collect(maps.Values(sections)), true)))
	last := ""
	for _, one := range t.all {
		section, name, _ := strings.Cut(one.path, ".")
		if section != last {
			fmt.Fprintf(w, "  %s%s:\n", mark(sections[section]), section)
			last = section
		}
		if one.proposed == one.now {
			fmt.Fprintf(w, "    # %s: %s %s; %s\n", name, one.text(&t.now.Analyzers, one.now), one.reason, printable(t.seen(one)))
			continue
		}
		fmt.Fprintf(w, "    # %s; %s; it was %s; alerts: %s now, %s with this\n", one.reason, printable(t.seen(one)), one.text(&t.now.Analyzers, one.now),
			t.often(one.alertsOf(t.before)), t.often(one.alertsOf(t.after)))
		fmt.Fprintf(w, "    %s: %s\n", name, one.text(&t.next.Analyzers, one.proposed))
	}
}

// seen says how far the traffic went.
func (t *tuning) seen(one *tuningOf) string {
	if one.top == nil {
		text := "none came to " + strings.TrimSpace(one.text(&t.now.Analyzers, one.probed)+" "+one.unit)
		if len(one.stories) > 0 {
			text = "none counts, of those that came to " + strings.TrimSpace(one.text(&t.now.Analyzers, one.probed)+" "+one.unit)
		}
		return text
	}
	text := fmt.Sprintf("highest %s (%s at %s)", strings.TrimSpace(one.text(&t.now.Analyzers, one.top.value)+" "+one.unit), one.top.who, moment(alert.Time(one.top.at)))
	if one.left > 0 {
		text += fmt.Sprintf(", %d findings were not looked at", one.left)
	}
	return text
}

// rest lists the kinds whose alerts stay.
func (t *tuning) rest(w *bufio.Writer) {
	kinds := slices.Sorted(maps.Keys(t.after))
	if len(kinds) == 0 {
		return
	}
	fmt.Fprintln(w, "\n# Alerts that are left, by kind; not all of them are a threshold's (docs/tuning.md):")
	for _, kind := range kinds {
		fmt.Fprintf(w, "#   %s: %s\n", kind, t.often(t.after[kind]))
	}
}

// lines writes JSON: an object about the sample, and one for each threshold.
func (t *tuning) lines(w *bufio.Writer) error {
	type sample struct {
		Sample struct {
			Seconds float64        `json:"seconds"`
			Packets uint64         `json:"packets"`
			First   alert.Time     `json:"first"`
			Last    alert.Time     `json:"last"`
			Alerts  map[string]int `json:"alerts"`
			Left    map[string]int `json:"alerts_left"`
			Grave   int            `json:"medium_or_more"`
			Notes   []string       `json:"notes"`
		} `json:"sample"`
	}
	type line struct {
		Setting  string     `json:"setting"`
		Unit     string     `json:"unit,omitempty"`
		Now      string     `json:"now"`
		Proposed string     `json:"proposed"`
		Least    string     `json:"least"`
		Why      string     `json:"why_least"`
		Highest  string     `json:"highest,omitempty"`
		Who      string     `json:"who,omitempty"`
		At       alert.Time `json:"at,omitzero"`
		Reason   string     `json:"reason"`
		Alerts   int        `json:"alerts"`
		Left     int        `json:"alerts_left"`
	}
	var head sample
	s := &head.Sample
	s.Seconds, s.Packets, s.First, s.Last = t.watched.length().Seconds(), t.packets, alert.Time(t.watched.first), alert.Time(t.watched.last)
	s.Alerts, s.Left, s.Grave, s.Notes = t.before, t.after, t.grave, t.head()
	all := []any{head}
	for _, one := range t.all {
		text := func(v float64) string { return one.text(&t.now.Analyzers, v) }
		l := line{
			Setting: "analyzers." + one.path, Unit: one.unit, Now: text(one.now), Proposed: text(one.proposed), Least: text(one.least), Why: one.why,
			Reason: one.reason, Alerts: one.alertsOf(t.before), Left: one.alertsOf(t.after),
		}
		if one.top != nil {
			l.Highest, l.Who, l.At = text(one.top.value), one.top.who, alert.Time(one.top.at)
		}
		all = append(all, l)
	}
	for _, v := range all {
		text, err := marshal(v)
		if err != nil {
			return err
		}
		if err := writeLine(w, text); err != nil {
			return err
		}
	}
	return nil
}
