package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"weir/analyzers/baseline"
	"weir/sensor/alert"
)

// goldenAlerts calls f with every alert that a golden case expects.
func goldenAlerts(t *testing.T, f func(path string, a *alert.Alert)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir("../../pcaps", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "want.jsonl" {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		all, err := alert.Read(in)
		for _, a := range all {
			n++
			f(path, a)
		}
		return err
	})
	if err != nil || n == 0 {
		t.Fatalf("%d alerts: %v", n, err)
	}
}

// TestExplainComplete: every kind there is and every measure of every expected alert is explained.
func TestExplainComplete(t *testing.T) {
	for _, kind := range alert.Kinds() {
		if alertKinds[kind].words == "" || alertKinds[kind].cap == 0 {
			t.Errorf("%s: nothing tells how it is scored", kind)
		}
	}
	goldenAlerts(t, func(path string, a *alert.Alert) {
		rule, _ := ruleOf(a)
		if rule.words == "" {
			t.Errorf("%s: %s.%s: nothing tells how it is scored", path, a.Analyzer, a.Kind)
		}
		if most := alert.SeverityOf(rule.cap, 0); a.Severity > most {
			t.Errorf("%s: %s.%s is of %s severity, and its cap of %d is %s", path, a.Analyzer, a.Kind, a.Severity, rule.cap, most)
		}
		for _, m := range a.Why {
			if _, ok := meaningOf(a.Analyzer, a.Kind, m.Name); !ok {
				t.Errorf("%s: %s.%s: nothing tells what %s is", path, a.Analyzer, a.Kind, m.Name)
			}
		}
	})
}

var measureName = regexp.MustCompile(`(?:Name: +|\badd\(|\.rate\()"([a-z_]+)"`)

// TestMeasureMeanings holds the table against the analyzers' sources: what they name literally is explained, whether or not a golden
// case has it, and what is explained is named there.
func TestMeasureMeanings(t *testing.T) {
	files, err := filepath.Glob("../../analyzers/*.go")
	if err != nil {
		t.Fatal(err)
	}
	incidents, err := filepath.Glob("../../sensor/alert/incident*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = append(files, incidents...)
	all := map[string]string{} // analyzer: its sources
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		analyzer, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(f), ".go"), "_")
		if strings.HasSuffix(f, "_test.go") || measureMeanings[analyzer] == nil {
			continue
		}
		all[analyzer] += string(text)
		for _, m := range measureName.FindAllStringSubmatch(string(text), -1) {
			if _, ok := meaningOf(analyzer, "", m[1]); !ok {
				t.Errorf("%s: nothing tells what %s of %s is", filepath.Base(f), m[1], analyzer)
			}
		}
	}
	for analyzer, known := range measureMeanings {
		for name, m := range known {
			if !strings.Contains(all[analyzer], `"`+name+`"`) {
				t.Errorf("%s has no measure %s any more", analyzer, name)
			}
			if len(m.text) < 10 {
				t.Errorf("%s: %s: %q tells nothing", analyzer, name, m.text)
			}
		}
	}
}

// TestExplainScores computes the scores of the golden cases again from their measures.
func TestExplainScores(t *testing.T) {
	kinds := map[string]bool{}
	goldenAlerts(t, func(path string, a *alert.Alert) {
		rule, _ := ruleOf(a)
		_, score, ok := rule.score(a)
		if !ok || len(a.Notes) > 0 && a.Severity < alert.SeverityOf(a.Score, 0) { // for what its notes say
			return
		}
		kinds[a.Analyzer+"."+a.Kind] = true
		off := score - min(a.Score, rule.cap) // thresholds of baselines are published with six digits
		if (off < -1 || off > 1 || a.Analyzer == "flood" && off != 0) && a.Kind != "multi" {
			t.Errorf("%s: %s.%s revision %d has score %d, and its measures make %d", path, a.Analyzer, a.Kind, a.Rev, a.Score, score)
		}
	})
	if len(kinds) < 9 {
		t.Errorf("only %v were computed", kinds)
	}
}

// TestDeviation: the arithmetic of measures, by hand.
func TestDeviation(t *testing.T) {
	m := &alert.Measure{Name: "x", Value: 1500, Threshold: 500}
	for _, c := range []struct{ got, want string }{
		{compared(m, false), "threshold 500: 3 times as much"},
		{compared(&alert.Measure{Value: 499.9, Threshold: 500}, false), "threshold 500: it reaches 99 % of it"},
		{compared(&alert.Measure{Value: 500, Threshold: 500}, false), "threshold 500: just reached"},
		{compared(m, true), "had to be 500 at most"},
		{deviation(m, &alert.Baseline{Mean: 100, Stddev: 20, N: 1800}), "normal is 100 ± 20 (n 1800); z = (1,500 - 100) / 20 = 70; 15 times the mean"},
		{deviation(m, &alert.Baseline{}), "normal is 0 ± 0 (n 0); no deviation is known, so there is no z; a mean of 0 has no multiple"},
		{number(-1234567), "-1,234,567"},
		{number(0.125), "0.125"},
		{number(100), "100"},
	} {
		if c.got != c.want {
			t.Errorf("got  %q\nwant %q", c.got, c.want)
		}
	}
}

// TestCurveRules: the keys are such as baselines have.
func TestCurveRules(t *testing.T) {
	service := `{"victim":{"ip":"10.0.0.5","port":443,"protocol":"tcp"},"subject":{"ip":"192.0.2.7"}`
	for name := range curveRules {
		kind, measure, _ := strings.Cut(name, " ")
		analyzer, kind, _ := strings.Cut(kind, ".")
		if !slices.Contains(alert.Kinds(), analyzer+"."+kind) && alertKinds[analyzer+"."+kind].words == "" {
			t.Errorf("there is no kind %s.%s", analyzer, kind)
		}
		if _, ok := meaningOf(analyzer, kind, measure); !ok {
			t.Errorf("%s has no measure %s", analyzer, measure)
		}
		for _, parties := range []string{service, `{"victim":{"prefix":"10.0.0.0/24"}`, `{"subject":{"country":"DE"}`, `{"subject":{"asn":64500}`, `{"x":0`} {
			var a alert.Alert
			text := parties + `,"analyzer":"` + analyzer + `","kind":"` + kind + `","why":[{"measure":"` + measure + `","window":300,"baseline":{}}]}`
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				t.Fatal(err)
			}
			names := normalsOf(&a)
			if len(names) == 0 && parties == service {
				t.Errorf("%s has no key", name)
			}
			for _, key := range names {
				if k, err := baseline.ParseKey(key); err != nil || k.String() != key {
					t.Errorf("%s: %q is read as %q: %v", name, key, k, err)
				}
			}
		}
	}
}

// TestExplainByID finds an alert where weir alerts does, the last revision unless another is asked for.
func TestExplainByID(t *testing.T) {
	b, dir := sensorBus(t)
	story := storyOf(7, "flood", "syn", alert.High)
	story[0].Action = &alert.Action{Guard: "low_confidence"}
	publish(t, b, append(storyOf(8, "scan", "vertical", alert.Medium), story...)...)
	for _, c := range []struct {
		id   string
		code int
		want []string
	}{
		{story[0].ID, 0, []string{"flood.syn, high: 203.0.113.9 against 10.20.0.10:80/tcp", "revision 3 (closed)", "an earlier finding of this alert was graver"}},
		{story[0].ID + ".1", 0, []string{"flood.syn, medium", "revision 1 (open)", "the guard low_confidence refused"}},
		{"00000000000000ff", 1, []string{"weir: no alert 00000000000000ff is kept at site default: 'weir alerts --no-follow' lists those that are"}},
	} {
		out, err := exec.Command("weir", "explain", c.id, "--state", dir).CombinedOutput()
		if code := 0; err != nil {
			var exit *exec.ExitError
			if exit, _ = err.(*exec.ExitError); exit == nil { //nolint:errorlint // of exec itself
				t.Fatal(err)
			}
			if code = exit.ExitCode(); code != c.code {
				t.Errorf("%s: exit code %d, want %d", c.id, code, c.code)
			}
		} else if c.code != 0 {
			t.Errorf("%s: exit code 0, want %d", c.id, c.code)
		}
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: no %q in\n%s", c.id, want, out)
			}
		}
	}
}
