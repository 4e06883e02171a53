package main

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/analyzers/baseline"
	"weir/sensor/alert"
	"weir/sensor/policy"
)

// explanation writes what an alert's numbers mean.
type explanation struct {
	out *bufio.Writer
	*alert.Alert
}

// say writes a line of printable text.
func (e *explanation) say(format string, args ...any) {
	fmt.Fprintln(e.out, printable(fmt.Sprintf(format, args...)))
}

// under writes a heading.
func (e *explanation) under(title string) { fmt.Fprintf(e.out, "\n%s\n", title) }

// tell writes all but what needs settings and baselines.
func (e *explanation) tell() {
	e.say("%s.%s, %s: %s", e.Analyzer, e.Kind, e.Severity, e.parties())
	e.say("%s", e.Summary)
	e.say("id %s, revision %d (%s) of %v, by sensor %s", e.ID, e.Rev, e.State, e.Time, cmp.Or(e.Sensor, "(no name)"))
	e.say("evidence: %d events from %v to %v", e.Count, e.First, e.Last)
	if len(e.Attack) > 0 {
		e.say("ATT&CK: %s", strings.Join(e.Attack, ", "))
	}
	if e.Incident != "" {
		e.say("part of incident %s ('weir explain %s')", e.Incident, e.Incident)
	}
	if m := e.Muted; m != nil {
		e.say("muted until %v: %s; nobody acts on it", m.Until, m.Reason)
	}
	e.under("What was measured")
	if len(e.Why) == 0 {
		e.say("  the alert carries no measures")
	}
	for i := range e.Why {
		e.measure(&e.Why[i])
	}
	e.signature()
	e.under("Score and severity")
	e.scored()
	e.under("Confidence")
	e.confident()
	if len(e.Notes) > 0 {
		e.under("What limits the evidence")
		for _, n := range e.Notes {
			e.say("  %s", n)
		}
	}
}

func (e *explanation) parties() string {
	switch {
	case e.Subject != nil && e.Victim != nil:
		return fmt.Sprintf("%v against %v", e.Subject, e.Victim)
	case e.Subject != nil:
		return e.Subject.String()
	case e.Victim != nil:
		return fmt.Sprintf("against %v, nobody is named", e.Victim)
	}
	return "no party is named"
}

// number writes a value as alerts have it: whole, or with six digits at most.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		digits := strconv.FormatInt(int64(v), 10)
		head, sign := strings.TrimPrefix(digits, "-"), digits[:len(digits)-len(strings.TrimPrefix(digits, "-"))]
		for i := len(head) - 3; i > 0; i -= 3 {
			head = head[:i] + "," + head[i:]
		}
		return sign + head
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

func inSeconds(s float64) string { return time.Duration(s * float64(time.Second)).String() }

// measure tells of one number what it is, what it had to be, and what is normal.
func (e *explanation) measure(m *alert.Measure) {
	text := m.Name + ": " + strings.TrimSpace(number(m.Value)+" "+m.Unit)
	if m.Window > 0 {
		text += ", within " + inSeconds(m.Window)
	}
	e.say("  %s", text)
	means, known := meaningOf(e.Analyzer, e.Kind, m.Name)
	if !known {
		means.text = "this version does not know the measure"
	}
	if m.Threshold == 0 {
		means.text += " (explains, did not decide)"
	}
	e.say("      %s", means.text)
	if m.Alert != "" {
		e.say("      alert %s, whose evidence began at %v", m.Alert, m.Time)
	}
	if m.Threshold != 0 {
		e.say("      %s", compared(m, means.most))
	}
	if b := m.Baseline; b != nil {
		e.say("      %s", deviation(m, b))
	}
}

// compared holds a value against its threshold; most: it had to be that or less.
func compared(m *alert.Measure, most bool) string {
	if most {
		return fmt.Sprintf("had to be %s at most", number(m.Threshold))
	}
	ratio := m.Value / m.Threshold
	text := fmt.Sprintf("threshold %s: ", number(m.Threshold))
	switch {
	case ratio < 1:
		return text + fmt.Sprintf("it reaches %.0f %% of it", math.Floor(100*ratio))
	case ratio < 1.005:
		return text + "just reached"
	}
	return text + fmt.Sprintf("%.3g times as much", ratio)
}

// deviation is a value in standard deviations from the mean, and in multiples of it.
func deviation(m *alert.Measure, b *alert.Baseline) string {
	text := fmt.Sprintf("normal is %s ± %s (n %d)", number(b.Mean), number(b.Stddev), b.N)
	if b.Stddev > 0 {
		text += fmt.Sprintf("; z = (%s - %s) / %s = %.3g", number(m.Value), number(b.Mean), number(b.Stddev), (m.Value-b.Mean)/b.Stddev)
	} else {
		text += "; no deviation is known, so there is no z"
	}
	if b.Mean > 0 {
		text += fmt.Sprintf("; %.3g times the mean", m.Value/b.Mean)
	} else {
		text += "; a mean of 0 has no multiple"
	}
	return text
}

func (e *explanation) signature() {
	s := e.Signature
	if s == nil {
		return
	}
	var fields []string
	for _, f := range s.Fields {
		fields = append(fields, f.Name+" "+f.Value)
	}
	e.under("Signature")
	e.say("  %s", strings.Join(fields, ", "))
	e.say("  covers %.3g %% of %d sampled packets of the attack, and would hit %.3g %% of %d normal ones of the victim", 100*s.Attack, s.NAttack,
		100*s.Normal, s.NNormal)
}

// scored tells how the score comes about, and the severity of it.
func (e *explanation) scored() {
	rule, known := ruleOf(e.Alert)
	if !known {
		e.say("  score %d: this version does not know how the kind is scored", e.Score)
	} else {
		e.say("  score %d: %s", e.Score, rule.words)
		if by, score, ok := rule.score(e.Alert); ok {
			e.say("  %s is %.3g times its threshold, which makes %d", by.Name, by.Value/by.Threshold, score)
			if score != e.Score {
				e.say("  it is %d, because a cap of the measure or a note below counts, too", e.Score)
			}
		}
		e.say("  the kind's cap is %d (%s)", rule.cap, alert.SeverityOf(rule.cap, 0))
	}
	free := alert.SeverityOf(e.Score, 0)
	e.say("  severities: low from 25, medium from 50, high from 70, critical from 90; %d alone is %s", e.Score, free)
	switch {
	case e.Severity == free:
		e.say("  so the severity is %s", e.Severity)
	case e.Severity < free:
		e.say("  the finding is capped, by its kind or for what its notes say: the severity is %s", e.Severity)
	default:
		e.say("  the severity is %s: an earlier finding of this alert was graver", e.Severity)
	}
}

// confident tells how much the sensor saw.
func (e *explanation) confident() {
	e.say("  %d of 100: how much of what decides the sensor saw", e.Confidence)
	e.say("  %.3g %% of the packets from a minute before the first finding on were never seen", 100*e.Loss.Ratio)
	for _, cause := range slices.Sorted(maps.Keys(e.Loss.Causes)) {
		e.say("      %s: %d", cause, e.Loss.Causes[cause])
	}
	if e.Loss.OneWay {
		e.say("  one-way view: answers could not be seen, so missing ones prove nothing")
	}
}

// policy tells what was decided, or what these settings would decide.
func (e *explanation) policy(settings *config) error {
	e.under("Policy")
	switch a := e.Action; {
	case a == nil:
		e.say("  the alert carries no decision: replays decide nothing")
	case a.Drop != "":
		e.say("  drop %s: %s ('weir bans show %s')", a.Drop, cmp.Or(effects[a.Effect], a.Effect), a.Drop)
	default:
		e.say("  nothing is dropped: the guard %s refused (docs/drops.md)", a.Guard)
	}
	if b := e.Blocked; b != nil {
		e.say("  the gate dropped %d packets (%s) of it", b.Packets, scaled(b.Bytes, "B"))
	}
	r, err := newDryRun(settings)
	if err != nil {
		return err
	}
	one := *e.Alert
	one.State, one.Subject, one.Victim = alert.Open, r.located(e.Subject), r.located(e.Victim)
	e.say("  a rehearsal of this alert alone, with the settings given:")
	for _, d := range r.policy.Judge(&one, int64(e.Time)) {
		e.say("      %s", decided1(d))
	}
	return nil
}

// decided1 is a decision in words.
func decided1(d policy.Decision) string {
	if d.Refusal != nil {
		return "refused: " + d.String()
	}
	return d.String()
}

var effects = map[string]string{
	"drop": "all packets of the source are dropped", "drop_new": "no new TCP connection of the source passes",
	"limit_new": "few new TCP connections of the source pass", "limit": "strangers' packets to the service are limited",
	"shadow": "counted only, nothing is dropped", "pending": "it waits for approval",
}

// curves draws what is normal of each series that the alert was judged by.
func (e *explanation) curves(s *baseline.Store, from string) error {
	e.under("What is normal")
	names := normalsOf(e.Alert)
	switch {
	case len(names) == 0:
		e.say("  this kind is judged without a curve of its own")
		return nil
	case s == nil:
		e.say("  no curve: %s", from)
		return nil
	}
	e.say("  from %s", from)
	found := 0
	err := s.Each(func(l *baseline.Line) error {
		if !slices.Contains(names, l.Series+l.Spread) {
			return nil
		}
		found++
		e.curve(l)
		return drawWeek(e.out, l)
	})
	if err == nil && found == 0 {
		e.say("  it knows none of: %s", strings.Join(names, "; "))
	}
	return err
}

func (e *explanation) curve(l *baseline.Line) {
	name, of := l.Series, "seconds"
	switch {
	case l.Spread != "":
		name, of = l.Spread+", over its sources", "values"
	case l.Samples:
		of = "samples"
	}
	fmt.Fprintln(e.out)
	e.say("  %s", name)
	if l.Rolling != nil {
		e.say("      of late %s ± %s (%d %s)", amount(l.Rolling.Mean), amount(l.Rolling.Stddev), l.Rolling.N, of)
	}
	e.say("      half are below %s, 99 %% below %s", amount(float64(l.P50)), amount(float64(l.P99)))
	if l.Anchor != nil {
		e.say("      over days %s ± %s (%d days)", amount(l.Anchor.Mean), amount(l.Anchor.Stddev), l.Days)
	}
	if l.Spread == "" && len(l.Hours) == 0 {
		e.say("      no hour of the week is known yet: there is no curve")
	}
}
