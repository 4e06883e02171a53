package alert

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine is the longest line that Read accepts, in bytes.
const maxLine = 1 << 20

// Read reads alerts, one JSON object a line; empty lines are skipped. Errors name the line.
func Read(r io.Reader) ([]*Alert, error) {
	var alerts []*Alert
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 1
	for ; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		a, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		alerts = append(alerts, a)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n, err)
	}
	return alerts, nil
}

func parse(line []byte) (*Alert, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	a := new(Alert)
	if err := d.Decode(a); err != nil {
		return nil, err
	}
	if a.Schema != Schema {
		return nil, fmt.Errorf("schema %q, want %q", a.Schema, Schema)
	}
	if d.More() {
		return nil, errors.New("more than one JSON object in a line")
	}
	return a, nil
}

// golden is an alert as line for comparison: without what differs between equal runs (configuration, evidence, action).
func golden(a *Alert) string {
	g := *a
	g.Config, g.Evidence, g.Action = "", nil, nil
	b, err := g.AppendLine(nil)
	if err != nil {
		return "not representable: " + err.Error()
	}
	return strings.TrimSuffix(string(b), "\n")
}

// Diff compares the alerts of two runs, in order, without configuration, evidence and action. It returns "" if they are
// equal; else readable lines: what is missing, what is new, and for alerts of one id and revision the fields that differ.
func Diff(want, got []*Alert) string {
	type revision struct {
		id  string
		rev int
	}
	found := map[revision]*Alert{}
	for _, a := range got {
		found[revision{a.ID, a.Rev}] = a
	}
	var out strings.Builder
	known := map[revision]bool{}
	for _, w := range want {
		r := revision{w.ID, w.Rev}
		known[r] = true
		if g := found[r]; g == nil {
			fmt.Fprintf(&out, "missing: %s\n", title(w))
		} else if golden(w) != golden(g) {
			fmt.Fprintf(&out, "differs: %s\n", title(w))
			diffFields(&out, golden(w), golden(g))
		}
	}
	for _, g := range got {
		if !known[revision{g.ID, g.Rev}] {
			fmt.Fprintf(&out, "unexpected: %s\n", title(g))
		}
	}
	if out.Len() == 0 {
		diffOrder(&out, want, got)
	}
	return out.String()
}

// diffOrder says where lists of the same alerts differ in order or number.
func diffOrder(out *strings.Builder, want, got []*Alert) {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			fmt.Fprintf(out, "missing: %s, which was expected twice\n", title(want[i]))
		case i >= len(want):
			fmt.Fprintf(out, "unexpected: %s, which came twice\n", title(got[i]))
		case want[i].ID != got[i].ID || want[i].Rev != got[i].Rev:
			fmt.Fprintf(out, "order: alert %d is %s\n  want %s\n", i+1, title(got[i]), title(want[i]))
			return
		}
	}
}

// diffFields lists the top fields of two JSON objects that differ.
func diffFields(out *strings.Builder, want, got string) {
	var w, g map[string]json.RawMessage
	if json.Unmarshal([]byte(want), &w) != nil || json.Unmarshal([]byte(got), &g) != nil {
		return
	}
	for _, name := range fieldNames {
		if !bytes.Equal(w[name], g[name]) {
			fmt.Fprintf(out, "  %s: want %s\n  %*s  got %s\n", name, orNone(w[name]), len(name), "", orNone(g[name]))
		}
	}
}

func orNone(b json.RawMessage) string {
	if b == nil {
		return "none"
	}
	return string(b)
}

// title names an alert in one line.
func title(a *Alert) string {
	s := fmt.Sprintf("%s rev %d %s %s/%s %s", a.ID, a.Rev, a.State, a.Analyzer, a.Kind, a.Severity)
	if a.Subject != nil {
		s += " by " + a.Subject.String()
	}
	if a.Victim != nil {
		s += " on " + a.Victim.String()
	}
	return s
}
