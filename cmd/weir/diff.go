package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

type diffCmd struct {
	Before string   `arg:"" name:"a" help:"Configuration (YAML) that is in use; '' is the defaults."`
	After  string   `arg:"" name:"b" help:"Configuration that may take its place."`
	Files  []string `arg:"" name:"file" help:"Captures, as for 'weir replay'; several are read one after the other."`
	Format string   `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl, or auto: a table on a terminal, jsonl otherwise."`
	trial
}

// Help is the long form of --help.
func (*diffCmd) Help() string {
	return `Replays the captures under each configuration and shows what differs: alerts, the subjects that they name, and the drops that the
policy would decide (nothing is dropped; what this machine knows of itself does not count: put it into networks).

Examples:
  weir diff /etc/weir/weir.yaml new.yaml monday.pcap.zst
  weir diff '' tuned.yaml week/*.pcap.zst
  weir diff --format jsonl old.yaml new.yaml day.pcap | jq -r 'select(.change == "lost") | .summary'

+ is in B only, - in A only, ~ in both with another severity or effect, or muted in one. Alerts are the same if analyzer, kind, subject and victim are,
and their times overlap. Exit codes are those of diff(1): 0 no difference, 1 differences, 2 trouble. docs/tuning.md tells more.`
}

// Run compares. All its troubles are of exit code 2, so that a script can tell them from differences.
func (c *diffCmd) Run(ctx context.Context, std *streams) error {
	all, err := c.compare(ctx, std)
	if err != nil {
		return usageError{err}
	}
	if err := c.write(std.out, all); err != nil {
		return usageError{err}
	}
	if len(all) > 0 {
		return reported{errors.New("there are differences")}
	}
	return nil
}

// compare replays the captures twice.
func (c *diffCmd) compare(ctx context.Context, std *streams) ([]difference, error) {
	if err := c.check(c.Files); err != nil {
		return nil, err
	}
	var settings [2]config
	var runs [2]*outcomeOf
	for i, file := range []string{c.Before, c.After} {
		var err error
		if settings[i], err = readConfig(file); err != nil {
			return nil, err
		}
	}
	for i := range settings { // both files are right before the first long run
		var err error
		if runs[i], err = c.replay(ctx, std, &settings[i]); err != nil {
			return nil, err
		}
	}
	all := runs[0].against(runs[1])
	if !c.Quiet {
		for i, name := range []string{"A", "B"} {
			fmt.Fprintf(std.err, "weir: %s: %s\n", name, runs[i].told())
		}
		fmt.Fprintf(std.err, "weir: %d differences\n", len(all))
	}
	return all, nil
}

// outcomeOf is what came of the captures under one configuration.
type outcomeOf struct {
	alerts []story
	drops  *dryRun
}

// story is an alert from its opening to its end.
type story struct {
	*alert.Alert // its last revision
	opened       alert.Time
}

func (c *diffCmd) replay(ctx context.Context, std *streams, settings *config) (*outcomeOf, error) {
	r, err := newDryRun(settings)
	if err != nil {
		return nil, err
	}
	o := &outcomeOf{drops: r}
	opened := map[string]alert.Time{}
	_, err = c.run(ctx, std, c.Files, settings, trialSinks{established: r.established, alert: func(a *alert.Alert) {
		r.judge(a)
		switch a.State {
		case alert.Open:
			opened[a.ID] = a.Time
		case alert.Closed:
			one := *a
			o.alerts = append(o.alerts, story{&one, opened[a.ID]})
			delete(opened, a.ID)
		}
	}})
	return o, err
}

func (o *outcomeOf) told() string {
	return fmt.Sprintf("%d alerts, %d subjects, %d drops", len(o.alerts), len(o.subjects()), len(o.drops.drops))
}

// subjects are those who are named, with the gravest alert of each.
func (o *outcomeOf) subjects() map[string]story {
	all := map[string]story{}
	for _, s := range o.alerts {
		if s.Subject == nil {
			continue
		}
		who := s.Subject.String()
		if known, ok := all[who]; !ok || s.Severity > known.Severity {
			all[who] = s
		}
	}
	return all
}

// difference is a line of the result.
type difference struct {
	Change   string     `json:"change"` // gained, lost, changed
	Of       string     `json:"of"`     // alert, subject, drop
	Analyzer string     `json:"analyzer,omitempty"`
	Kind     string     `json:"kind,omitempty"`
	Subject  string     `json:"subject,omitempty"`
	Victim   string     `json:"victim,omitempty"`
	Drop     string     `json:"drop,omitempty"` // its key
	Before   *caseUnder `json:"before,omitempty"`
	After    *caseUnder `json:"after,omitempty"`
	Summary  string     `json:"summary"`
	at       alert.Time
}

// caseUnder is how it is under one configuration.
type caseUnder struct {
	Severity string     `json:"severity,omitempty"`
	Score    int        `json:"score,omitempty"`
	Effect   string     `json:"effect,omitempty"`
	Muted    string     `json:"muted,omitempty"` // by the rule with this reason
	Opened   alert.Time `json:"opened"`
	Last     alert.Time `json:"last,omitzero"`
	Count    uint64     `json:"count,omitempty"`
}

// against are the differences between two outcomes: alerts, subjects, drops, each in order of time.
func (o *outcomeOf) against(b *outcomeOf) (all []difference) {
	for _, part := range [][]difference{diffAlerts(o.alerts, b.alerts), diffSubjects(o.subjects(), b.subjects()), diffDrops(o.drops, b.drops)} {
		slices.SortStableFunc(part, func(x, y difference) int {
			return cmp.Or(cmp.Compare(x.at, y.at), strings.Compare(x.name(), y.name()), strings.Compare(x.Change, y.Change))
		})
		all = append(all, part...)
	}
	return all
}

func (d *difference) name() string {
	return strings.Join([]string{d.Analyzer, d.Kind, d.Subject, d.Victim, d.Drop}, "\x00")
}

// noted notes what differs between two sides, of which one may be missing.
func noted(all []difference, d difference, before, after *caseUnder) []difference {
	d.Before, d.After = before, after
	switch {
	case before == nil:
		d.Change, d.at = "gained", after.Opened
	case after == nil:
		d.Change, d.at = "lost", before.Opened
	case before.Severity != after.Severity || before.Effect != after.Effect || (before.Muted == "") != (after.Muted == ""):
		d.Change, d.at = "changed", min(before.Opened, after.Opened)
	default:
		return all
	}
	return append(all, d)
}

func (s *story) caseUnder() *caseUnder {
	c := &caseUnder{Severity: s.Severity.String(), Score: s.Score, Opened: s.opened, Last: s.Last, Count: s.Count}
	if s.Muted != nil {
		c.Muted = s.Muted.Reason
	}
	return c
}

func (s *story) key() string {
	return strings.Join([]string{s.Analyzer, s.Kind, party(s.Subject), party(s.Victim)}, "\x00")
}

func (s *story) difference() difference {
	d := difference{Of: "alert", Analyzer: s.Analyzer, Kind: s.Kind, Summary: s.Summary}
	if s.Subject != nil {
		d.Subject = s.Subject.String()
	}
	if s.Victim != nil {
		d.Victim = s.Victim.String()
	}
	return d
}

// diffAlerts pairs stories of the same key whose times overlap, the earliest first.
func diffAlerts(a, b []story) (all []difference) {
	rest := map[string][]*story{}
	for i := range b {
		rest[b[i].key()] = append(rest[b[i].key()], &b[i])
	}
	for i := range a {
		s := &a[i]
		others := rest[s.key()]
		at := slices.IndexFunc(others, func(o *story) bool { return o != nil && o.First <= s.Time && s.First <= o.Time })
		if at < 0 {
			all = noted(all, s.difference(), s.caseUnder(), nil)
			continue
		}
		all = noted(all, others[at].difference(), s.caseUnder(), others[at].caseUnder())
		others[at] = nil
	}
	for i := range b {
		s := &b[i]
		if slices.Contains(rest[s.key()], s) {
			all = noted(all, s.difference(), nil, s.caseUnder())
		}
	}
	return all
}

func diffSubjects(a, b map[string]story) (all []difference) {
	one := func(who string, s story) difference {
		return difference{Of: "subject", Subject: who, Analyzer: s.Analyzer, Kind: s.Kind, Summary: s.Summary}
	}
	for who, s := range a {
		if _, too := b[who]; !too {
			all = noted(all, one(who, s), s.caseUnder(), nil)
		}
	}
	for who, s := range b {
		if _, too := a[who]; !too {
			all = noted(all, one(who, s), nil, s.caseUnder())
		}
	}
	return all
}

func diffDrops(a, b *dryRun) (all []difference) {
	one := func(d *policy.Drop) (difference, *caseUnder) {
		return difference{Of: "drop", Drop: d.Key(), Summary: d.Summary}, &caseUnder{Effect: effectName(d), Opened: alert.Time(d.Created * 1e9)}
	}
	for _, key := range a.order {
		d, before := one(a.drops[key])
		var after *caseUnder
		if other := b.drops[key]; other != nil {
			d, after = one(other)
		}
		all = noted(all, d, before, after)
	}
	for _, key := range b.order {
		if a.drops[key] == nil {
			d, after := one(b.drops[key])
			all = noted(all, d, nil, after)
		}
	}
	return all
}

// effectName is what a rehearsed drop would do.
func effectName(d *policy.Drop) string {
	if d.State == policy.Pending {
		return d.State.String()
	}
	return d.Effect().String()
}

// write writes the differences.
func (c *diffCmd) write(out io.Writer, all []difference) error {
	if c.Format == "jsonl" || c.Format == "auto" && !isTerminal(out) {
		for i := range all {
			line, err := marshal(&all[i])
			if err != nil {
				return err
			}
			if err := writeLine(out, line); err != nil {
				return err
			}
		}
		return nil
	}
	if len(all) == 0 {
		return nil
	}
	rows := [][]string{{"", "OF", "WHAT", "OFFENDER", "VICTIM", "A", "B", "FIRST SEEN (UTC)"}}
	for i := range all {
		d := &all[i]
		what := strings.TrimSpace(d.Analyzer + " " + d.Kind)
		if d.Of == "drop" {
			what = d.Drop
		}
		rows = append(rows, []string{
			map[string]string{"gained": "+", "lost": "-", "changed": "~"}[d.Change], d.Of, printable(what), printable(cmp.Or(d.Subject, "-")),
			printable(cmp.Or(d.Victim, "-")), d.Before.text(), d.After.text(), moment(d.at),
		})
	}
	w := bufio.NewWriter(out)
	printRows(w, rows)
	return w.Flush()
}

func (s *caseUnder) text() string {
	if s == nil {
		return "-"
	}
	if s.Muted != "" {
		return s.Severity + " (muted)"
	}
	return cmp.Or(s.Severity, s.Effect)
}
