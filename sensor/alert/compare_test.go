package alert

import (
	"strings"
	"testing"

	"weir/analyzers"
)

// three are the openings of two alerts, and the end of the first.
func three(t *testing.T) []*Alert {
	s := &story{t: t, m: New(Config{Hash: "one"})}
	s.add(1*second, nil)
	s.add(2*second, func(f *analyzers.Finding) { f.Kind = "block" })
	s.m.Advance(base+100*second, s.emit)
	if len(s.seen) != 4 {
		t.Fatalf("%d alerts", len(s.seen))
	}
	return s.seen[:3] // open, open, closed
}

func TestDiff(t *testing.T) {
	change := func(f func(a []*Alert) []*Alert) []*Alert {
		c := three(t)
		for i := range c {
			a := *c[i]
			c[i] = &a
		}
		return f(c)
	}
	vertical := "scan/vertical medium by 192.0.2.1 on 198.51.100.0/24:22/tcp"
	for name, c := range map[string]struct {
		got  []*Alert
		want []string // parts of the diff; none: equal
	}{
		"equal": {three(t), nil},
		"configuration, evidence and action": {change(func(a []*Alert) []*Alert {
			a[0].Config, a[0].Evidence, a[0].Action = "two", &Evidence{File: "f"}, &Action{Guard: "own"}
			return a
		}), nil},
		"a count": {
			change(func(a []*Alert) []*Alert { a[0].Count = 77; return a }),
			[]string{"differs: " + a0(t), vertical, "  count: want 1\n", "got 77\n"},
		},
		"a summary that went": {change(func(a []*Alert) []*Alert { a[0].Attack = nil; return a }), []string{`attack: want ["T1046"]`, "got none"}},
		"missing":             {three(t)[1:], []string{"missing: " + a0(t) + " rev 1 open " + vertical}},
		"more":                {append(three(t), change(func(a []*Alert) []*Alert { a[0].ID = "abc"; return a[:1] })...), []string{"unexpected: abc rev 1 open " + vertical}},
		"twice":               {append(three(t), three(t)[0]), []string{"unexpected: " + a0(t), "twice"}},
		"order":               {change(func(a []*Alert) []*Alert { a[0], a[1] = a[1], a[0]; return a }), []string{"order: alert 1 is", "want " + a0(t)}},
	} {
		got := Diff(three(t), c.got)
		if len(c.want) == 0 && got != "" {
			t.Errorf("%s: %s", name, got)
		}
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %q in\n%s", name, w, got)
			}
		}
	}
}

func a0(t *testing.T) string { return three(t)[0].ID }

func TestReadErrors(t *testing.T) {
	for in, want := range map[string]string{
		"\n{}\n":                                `line 2: schema ""`,
		`{"schema":"weir.alert/1","what":1}`:    `line 1: json: unknown field "what"`,
		"{":                                     "line 1: unexpected EOF",
		`{"schema":"weir.alert/1"}{}`:           "line 1: more than one",
		`{"schema":"weir.alert/1","state":"x"}`: `"x" is none of`,
		strings.Repeat("x", maxLine+1):          "line 1: bufio.Scanner: token too long",
	} {
		if _, err := Read(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: error %v, want %q", in, err, want)
		}
	}
}

// FuzzRead reads any lines; what is read is written and read again without a difference.
func FuzzRead(f *testing.F) {
	m := New(Config{})
	m.Add(finding())
	f.Add(lines(f, m.Flush))
	f.Add(`{"schema":"weir.alert/1","time":"2023-11-14T22:13:20+01:00","subject":{"ip":"fe80::1%eth0"}}`)
	f.Fuzz(func(t *testing.T, in string) {
		read, err := Read(strings.NewReader(in))
		if err != nil {
			return
		}
		var out []byte
		for _, a := range read {
			if out, err = a.AppendLine(out); err != nil {
				t.Fatal(err)
			}
			NewSelector(a)
		}
		if len(out) > maxLine {
			return
		}
		again, err := Read(strings.NewReader(string(out)))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if diff := Diff(read, again); diff != "" {
			t.Errorf("%s", diff)
		}
	})
}
