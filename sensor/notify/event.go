package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"weir/sensor/alert"
)

// Event is one thing that people are told of. Texts of it may come from packets: they are of one line and bounded here, and who shows
// them takes care that nothing in them is markup. An Event is not changed once it is made.
type Event struct {
	What      What           `json:"what"`
	Time      alert.Time     `json:"time"`
	Severity  alert.Severity `json:"severity"` // of drops: that of nothing
	Kind      string         `json:"kind"`     // "scan.vertical"; of drops "drop"
	ID        string         `json:"id"`       // of the alert, or the drop
	Rev       int            `json:"rev,omitempty"`
	Subject   string         `json:"subject,omitempty"` // who did it; of a drop: whose packets, or packets to whom
	Victim    string         `json:"victim,omitempty"`
	Summary   string         `json:"summary"`
	Rate      *Rate          `json:"rate,omitempty"`
	Count     uint64         `json:"count,omitempty"`
	Seconds   float64        `json:"seconds,omitempty"` // of an alert's evidence; of a drop: how long it is to be, or was, in force
	Action    string         `json:"action,omitempty"`  // what was done about it
	Guard     string         `json:"guard,omitempty"`   // who refused, or ended, a drop
	By        string         `json:"by,omitempty"`      // of a drop: policy, or who made it
	Alert     string         `json:"alert,omitempty"`   // of a drop: id of the alert that it answers
	Rehearsed bool           `json:"rehearsed,omitempty"`
	Early     bool           `json:"early,omitempty"` // of an ended alert: it is not followed any more, and may go on

	Was   alert.Severity `json:"was,omitempty"`   // raised: from what
	Since int64          `json:"since,omitempty"` // ended: when its opening was taken in, by the clock here
}

// Rate is the number that decided, against what it was compared with.
type Rate struct {
	Measure   string  `json:"measure"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit,omitempty"`
	Threshold float64 `json:"threshold,omitempty"`
	Mean      float64 `json:"mean,omitempty"`
	Stddev    float64 `json:"stddev,omitempty"`
	N         uint64  `json:"n,omitempty"` // samples of the baseline; 0: there is none
}

// What happened.
type What string

// What happens to alerts, and to drops.
const (
	Opened What = "opened"
	Raised What = "raised"
	Ended  What = "ended"

	Banned   What = "banned"
	Pending  What = "pending" // needs approval
	Unbanned What = "unbanned"
	Expired  What = "expired"
	Refused  What = "refused"
)

// ofDrop tells whether it is about a drop.
func (w What) ofDrop() bool { return w != Opened && w != Raised && w != Ended }

const incidentAnalyzer = "incident"

// alertEvent is what a revision tells. was and since are those of Event.
func alertEvent(a *alert.Alert, what What, was alert.Severity, since int64) *Event {
	e := &Event{
		What: what, Time: a.Time, Severity: a.Severity, Kind: kindText(a.Analyzer, a.Kind), ID: clean(a.ID, 40), Rev: a.Rev,
		Subject: partyText(a.Subject), Victim: partyText(a.Victim), Summary: clean(a.Summary, 600), Rate: rateOf(a.Why), Count: a.Count,
		Seconds: max(0, time.Duration(a.Last-a.First).Seconds()), Action: actionText(a.Action), Early: a.Early, Was: was, Since: since,
	}
	if a.Action != nil {
		e.Guard = clean(a.Action.Guard, 40)
	}
	return e
}

// kindText is a kind's name, of which nothing can be markup.
func kindText(analyzer, kind string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '.' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, clean(analyzer+"."+kind, 60))
}

func partyText(p *alert.Party) string {
	if p == nil {
		return ""
	}
	s := p.String()
	if p.Name != "" {
		s += " (" + p.Name + ")"
	}
	return clean(s, 120)
}

func actionText(a *alert.Action) string {
	switch {
	case a == nil:
		return ""
	case a.Drop == "":
		return clean("refused by guard "+a.Guard, 100)
	}
	return clean(strings.TrimSpace(cmp.Or(a.Effect, "drop")+" "+a.Drop), 100)
}

// rateOf picks the measure to tell: one that decided and has a baseline, else the one that is furthest above its threshold.
func rateOf(why []alert.Measure) *Rate {
	var best *alert.Measure
	rank := func(m *alert.Measure) float64 {
		switch {
		case m.Threshold <= 0:
			return 0
		case m.Baseline != nil:
			return 1e18
		}
		return m.Value / m.Threshold
	}
	for i := range why {
		if m := &why[i]; best == nil || rank(m) > rank(best) {
			best = m
		}
	}
	if best == nil {
		return nil
	}
	r := &Rate{Measure: clean(best.Name, 60), Value: best.Value, Unit: clean(best.Unit, 30), Threshold: best.Threshold}
	if b := best.Baseline; b != nil {
		r.Mean, r.Stddev, r.N = b.Mean, b.Stddev, b.N
	}
	return r
}

// String is "syn_rate 5210 packets/s, threshold 500, normal 12 ± 3".
func (r *Rate) String() string {
	s := strings.TrimSpace(fmt.Sprintf("%s %s %s", strings.ReplaceAll(r.Measure, "_", " "), number(r.Value), r.Unit))
	if r.Threshold > 0 {
		s += ", threshold " + number(r.Threshold)
	}
	if r.N > 0 {
		s += fmt.Sprintf(", normal %s ± %s", number(r.Mean), number(r.Stddev))
	}
	return s
}

func number(v float64) string {
	if v == float64(int64(v)) && v < 1e15 && v > -1e15 {
		return fmt.Sprintf("%d", int64(v))
	}
	return fmt.Sprintf("%.4g", v)
}

// length is a duration for people: "4m10s", "1.2s".
func length(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	s := d.Round(time.Minute).String()
	return strings.TrimSuffix(s, "0s")
}

// Drop is what a caller knows of a decision about a drop, for Notifier.Drop. Seconds, Rehearsed and so on are those of Event.
type Drop struct {
	What      What
	Time      alert.Time
	ID        string
	Target    string
	Reason    string
	Summary   string
	Seconds   float64
	Action    string
	Guard     string
	By        string
	Alert     string
	Rehearsed bool
}

func dropEvent(d *Drop) *Event {
	return &Event{
		What: d.What, Time: d.Time, Kind: "drop", ID: clean(d.ID, 40), Subject: clean(d.Target, 250), Summary: clean(cmp.Or(d.Summary, d.Reason), 600),
		Seconds: max(0, d.Seconds), Action: clean(d.Action, 100), Guard: clean(d.Guard, 40), By: clean(d.By, 100), Alert: clean(d.Alert, 40),
		Rehearsed: d.Rehearsed,
	}
}

// concerns tells whether a channel is told of an event, and whether it is the first that it hears of that alert.
func (c *Channel) concerns(e *Event, least alert.Severity) (yes, first bool) {
	if e.What.ofDrop() {
		return c.wants(ofDrops), true
	}
	analyzer, _, _ := strings.Cut(e.Kind, ".")
	about := ofAlerts
	if analyzer == incidentAnalyzer {
		about = ofIncidents
	}
	if !c.wants(about) || e.Severity < least {
		return false, false
	}
	if len(c.Kinds) > 0 && !slices.Contains(c.Kinds, analyzer) && !slices.Contains(c.Kinds, e.Kind) {
		return false, false
	}
	return true, e.What == Opened || e.What == Raised && e.Was < least
}

// clean makes text of at most so many characters in one line: what is not printed, or changes the direction of what is, becomes U+FFFD.
func clean(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > most {
			return b.String()[:b.Len()-lastRune(b.String())] + "…"
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			r = ' '
		case !unicode.IsPrint(r):
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

func lastRune(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i]&0xC0 != 0x80 {
			return len(s) - i
		}
	}
	return 0
}
