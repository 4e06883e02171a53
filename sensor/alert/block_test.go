package alert

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestBlock: hits of a drop keep its alert open, are told by every later revision, and by the closing one in words.
func TestBlock(t *testing.T) {
	s := &story{t: t, m: New(Config{})}
	quiet := finding().Quiet
	s.add(0, score(50))
	s.m.Advance(base, s.emit)
	open := s.seen[0]
	s.expect("1 open medium 1 0")
	last, n := int64(0), uint64(0)
	for range 20 {
		last, n = last+quiet/2, n+1
		s.m.Block(open.ID, 1000, 60_000, base+last)
		s.m.Block("another", 7, 7, base+last)
		s.m.Advance(base+last, s.emit)
	}
	s.expect()
	s.add(last, score(80))
	s.m.Advance(base+last, s.emit)
	update := s.seen[0]
	s.m.Block(open.ID, 203_112, 1, base+last)
	s.m.Advance(base+last+quiet-1, s.emit)
	if len(s.seen) != 1 || s.m.Open() != 1 {
		t.Fatalf("%d revisions, %d open", len(s.seen), s.m.Open())
	}
	s.m.Advance(base+last+quiet, s.emit)
	closed := s.seen[len(s.seen)-1]
	if closed.State != Closed || closed.Last != Time(base+last) {
		t.Errorf("closed %+v", closed)
	}
	if open.Blocked != nil || update.Blocked == nil || *update.Blocked != (Blocked{1000 * n, 60_000 * n}) || *closed.Blocked != (Blocked{1000*n + 203_112, 60_000*n + 1}) {
		t.Errorf("blocked %v, %v, %v after %d hits", open.Blocked, update.Blocked, closed.Blocked, n)
	}
	if strings.Contains(update.Summary, "gate") || !strings.HasSuffix(closed.Summary, "; the gate dropped "+thousands(1000*n+203_112)+" packets of it.") {
		t.Errorf("summaries %q, %q", update.Summary, closed.Summary)
	}
	s.m.Block(open.ID, 5, 5, base+last+quiet)
	if kind, _, _, _ := s.m.About(open.ID); kind != "" || s.m.Open() != 0 {
		t.Errorf("hits of a drop opened a closed alert, or it is known still: %q", kind)
	}
	line, err := closed.AppendLine(nil)
	if err != nil || !strings.HasSuffix(string(line), `"blocked":{"packets":`+strings.ReplaceAll(thousands(closed.Blocked.Packets), ",", "")+`,"bytes":`+strings.ReplaceAll(thousands(closed.Blocked.Bytes), ",", "")+"}}\n") {
		t.Errorf("%v: %s", err, line)
	}
	for _, f := range forms {
		convert(t, f, closed)
	}
}

// TestBlockForms: what was blocked is in both foreign forms, and makes the alert one of denied traffic.
func TestBlockForms(t *testing.T) {
	a := example(t)
	a.Blocked = &Blocked{1 << 63, 2}
	e := convert(t, forms[0], a)
	b, _ := e["weir"].(map[string]any)["blocked"].(map[string]any)
	if got := e["event"].(map[string]any)["type"].([]any)[0]; got != "denied" || b == nil {
		t.Errorf("ECS: type %v, blocked %v", got, b)
	}
	v := convert(t, forms[1], a)["alert"].(map[string]any)
	m := v["metadata"].(map[string]any)
	if v["action"] != "blocked" || m["weir_blocked_packets"].([]any)[0] != "9223372036854775808" || m["weir_blocked_bytes"].([]any)[0] != "2" {
		t.Errorf("EVE: %v", v)
	}
}

// TestAbout: what a manager tells of its alerts, it tells of those that are open, by any history.
func TestAbout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Config{MaxOpen: 5, MaxNew: 3})
		open := map[string]string{}
		emit := func(a *Alert) {
			open[a.ID] = a.Analyzer + "." + a.Kind
			if a.State == Closed {
				delete(open, a.ID)
			}
		}
		at := int64(0)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			at += rapid.Int64Range(0, 20*second).Draw(t, "pause")
			f := finding()
			f.Time, f.Last, f.Kind = base+at, base+at, rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", "h"}).Draw(t, "kind")
			f.Quiet = rapid.Int64Range(0, 30*second).Draw(t, "quiet")
			m.Add(f)
			m.Advance(base+at, emit)
			for id := range open {
				if rapid.Bool().Draw(t, "hit") {
					m.Block(id, 1, 1, base+at)
				}
			}
			if len(m.byID) != len(open) || len(m.alerts) != len(open) {
				t.Fatalf("%d known, %d kept, %d open", len(m.byID), len(m.alerts), len(open))
			}
			for id, want := range open {
				if kind, _, _, _ := m.About(id); kind != want {
					t.Fatalf("%s is %q, want %q", id, kind, want)
				}
			}
		}
	})
}

// TestThousands: digits in groups of three.
func TestThousands(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1203112: "1,203,112", 100000: "100,000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is %s", n, got)
		}
	}
}
