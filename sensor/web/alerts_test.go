package web

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/sensor/alert"
)

// list asks for alerts, and for the next page as long as there is one.
func (h *house) list(t *testing.T, query string) (ids []string) {
	t.Helper()
	for before := ""; ; {
		var page struct {
			Alerts []struct {
				Seq   uint64
				Alert alert.Alert
			}
			Next, Event string
		}
		h.get(t, "/api/v1/alerts?"+query+before, &page)
		for _, a := range page.Alerts {
			ids = append(ids, strings.TrimLeft(a.Alert.ID, "0")+"."+fmt.Sprint(a.Alert.Rev))
		}
		if before = "&before=" + page.Next; page.Next == "" {
			return ids
		}
	}
}

// TestAlerts lists alerts: the newest change first, the newest revision of each, by pages and by what is asked for.
func TestAlerts(t *testing.T) {
	h := newHouse(t, nil).open(t)
	put := func(id, rev int, change func(*alert.Alert)) {
		a := some(id, rev)
		if change != nil {
			change(a)
		}
		h.Alert(a, nil)
	}
	put(1, 1, nil)
	put(2, 1, func(a *alert.Alert) { a.Severity, a.Summary = alert.High, "Somebody <b>Scans</b> 203.0.113.7" })
	put(3, 1, func(a *alert.Alert) { a.Analyzer, a.Severity = "flood", alert.Info })
	put(1, 2, func(a *alert.Alert) { a.State = alert.Closed })
	put(1, 2, nil)                                   // twice
	put(2, 0, nil)                                   // older
	h.Alert(&alert.Alert{ID: "../etc", Rev: 1}, nil) // no id
	until(t, "all were taken", func() bool { return h.took() == 4 })
	for query, want := range map[string]string{
		"": "[1.2 3.1 2.1]", "limit=1": "[1.2 3.1 2.1]", "limit=2": "[1.2 3.1 2.1]", "severity=medium": "[1.2 2.1]", "severity=critical": "[]",
		"analyzer=flood": "[3.1]", "state=closed": "[1.2]", "state=open": "[3.1 2.1]", "q=SCANS+203.0": "[2.1]", "q=scan.vertical": "[1.2 2.1]",
		"q=nothing": "[]", "q=" + strings.Repeat("s+", 16): "[1.2 3.1 2.1]", "limit=1&severity=medium": "[1.2 2.1]",
	} {
		if got := fmt.Sprint(h.list(t, query)); got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	var one struct {
		Seq       uint64
		Alert     alert.Alert
		Revisions []alert.Alert
		Omitted   int
	}
	if h.get(t, "/api/v1/alerts/0000000000000001", &one); one.Alert.Rev != 2 || len(one.Revisions) != 2 || one.Revisions[0].Rev != 1 || one.Omitted != 0 {
		t.Errorf("%+v", one)
	}
	for rev := 3; rev < 20; rev++ {
		put(1, rev, nil)
	}
	until(t, "all were taken", func() bool { return h.took() == 22 })
	h.get(t, "/api/v1/alerts/0000000000000001", &one)
	var revs []int
	for _, r := range one.Revisions {
		revs = append(revs, r.Rev)
	}
	if want := []int{1, 13, 14, 15, 16, 17, 18, 19}; !slices.Equal(revs, want) || one.Omitted != 11 {
		t.Errorf("revisions %v and %d more, want %v", revs, one.Omitted, want)
	}
	if n := h.Stats().Lost; n != 1 {
		t.Errorf("%d were lost", n)
	}
}

// TestKept compares what is kept with a plain list, and holds its bounds.
func TestKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newKept()
		type plain struct {
			id, rev int
			past    bool
		}
		var twin []plain // newest last: those of the past, then the live ones
		for seq := range uint64(rapid.IntRange(1, 200).Draw(t, "alerts")) {
			p := plain{rapid.IntRange(1, 20).Draw(t, "id"), rapid.IntRange(1, 5).Draw(t, "rev"), rapid.Bool().Draw(t, "past")}
			at := slices.IndexFunc(twin, func(o plain) bool { return o.id == p.id })
			isNew := at < 0 || twin[at].rev < p.rev && (twin[at].past || !p.past)
			if at >= 0 && isNew {
				twin = slices.Delete(twin, at, at+1)
			}
			if isNew {
				end := len(twin)
				for p.past && end > 0 && !twin[end-1].past {
					end--
				}
				twin = slices.Insert(twin, end, p)
			}
			if k.put(some(p.id, p.rev), json.RawMessage("{}"), seq+1, p.past) != isNew {
				t.Fatalf("%v: %v", p, isNew)
			}
		}
		all, more := k.list(&question{limit: 1000})
		if more || len(all) != len(twin) {
			t.Fatalf("%d of %d", len(all), len(twin))
		}
		bytes := 0
		for i, s := range all {
			if want := twin[len(twin)-1-i]; s.id != some(want.id, 1).ID || s.rev != want.rev {
				t.Fatalf("at %d stands %s.%d, want %v", i, s.id, s.rev, want)
			}
			bytes += 2 * len(s.revisions)
		}
		if k.bytes != bytes {
			t.Fatalf("%d bytes are counted, %d are there", k.bytes, bytes)
		}
	})
	k := newKept()
	for i := range maxAlerts + 100 {
		k.put(some(i, 1), json.RawMessage("{}"), uint64(i+1), false)
	}
	k.put(some(100, 2), json.RawMessage("{}"), maxAlerts+101, false)
	k.put(some(maxAlerts+100, 1), json.RawMessage("{}"), maxAlerts+102, false)
	if len(k.byID) != maxAlerts || k.byID[some(100, 1).ID] == nil || k.byID[some(101, 1).ID] != nil || k.bytes != 2*maxAlerts+2 {
		t.Errorf("%d alerts of %d bytes are kept", len(k.byID), k.bytes)
	}
	long := json.RawMessage(strings.Repeat(" ", 1<<20))
	for i := range 100 {
		k.put(some(i, 9), long, uint64(10_000+i), false)
	}
	if k.bytes > maxText || len(k.byID) > 24 || k.newest.id != some(99, 1).ID {
		t.Errorf("%d alerts of %d bytes are kept", len(k.byID), k.bytes)
	}
}

// TestPast has alerts of the past come while live ones do: they stand behind them, the oldest last, and no live one gives way to them.
func TestPast(t *testing.T) {
	h := newHouse(t, nil).open(t)
	l := h.listen(t, "")
	defer l.Close()
	past := func(id, rev int) { h.Past(t.Context(), some(id, rev), nil) }
	past(1, 1)
	h.Alert(some(7, 1), nil)
	past(2, 1)
	h.Alert(some(8, 1), nil)
	past(3, 1)
	past(2, 2)
	past(7, 2) // live already
	h.Alert(some(1, 2), nil)
	until(t, "all were taken", func() bool { return h.took() == 7 })
	for _, query := range []string{"", "limit=1", "limit=2"} {
		if got := fmt.Sprint(h.list(t, query)); got != "[1.2 8.1 7.1 2.2 3.1]" {
			t.Errorf("%q: %s", query, got)
		}
	}
	seqs := map[string]uint64{} // as the stream tells them, by which the page sorts
	for range 7 {
		e, _ := l.next(t)
		var about struct{ Alert alert.Alert }
		if err := json.Unmarshal([]byte(e.data), &about); err != nil {
			t.Fatal(err)
		}
		seqs[strings.TrimLeft(about.Alert.ID, "0")] = e.seq(t)
	}
	if !(seqs["1"] > seqs["8"] && seqs["8"] > seqs["7"] && seqs["7"] > seqs["2"] && seqs["2"] > seqs["3"]) {
		t.Errorf("the stream told %v", seqs)
	}
	for i := range maxAlerts + 10 {
		past(100+i, 1)
	}
	until(t, "all were taken", func() bool { return h.took() == maxAlerts+17 })
	all := h.list(t, "limit=1000")
	if want := []string{"1.2", "8.1", "7.1"}; len(all) != maxAlerts || !slices.Equal(all[:3], want) {
		t.Errorf("%d alerts, first %s, want %s", len(all), all[:4], want)
	}
	k := newKept()
	for i := range maxAlerts {
		k.put(some(i, 1), json.RawMessage("{}"), firstLive+uint64(i), false)
	}
	if k.put(some(maxAlerts, 1), json.RawMessage("{}"), 1, true) || len(k.byID) != maxAlerts || k.oldest.id != some(0, 1).ID || k.past != nil {
		t.Error("one of the past took the room of a live one")
	}
}

// TestSeries compares the ring of points with a plain list.
func TestSeries(t *testing.T) {
	var s series
	if got := s.since(10); got == nil || len(got) != 0 {
		t.Errorf("at first %v", got)
	}
	var twin []Point
	for i := int64(1000); i < 1000+2*seriesSeconds; i++ {
		if i%5 == 0 {
			continue // a second without a view
		}
		s.add(Point{Time: i, Packets: 1})
		s.add(Point{Time: i, Packets: float64(i)}) // the same second again
		twin = append(twin, Point{Time: i, Packets: float64(i)})
	}
	for _, seconds := range []int64{1, 2, 60, 3000} {
		var want []Point
		for _, p := range twin {
			if p.Time > twin[len(twin)-1].Time-seconds {
				want = append(want, p)
			}
		}
		if got := s.since(seconds); !slices.Equal(got, want) {
			t.Errorf("of %d s: %d points, want %d", seconds, len(got), len(want))
		}
	}
	if len(s.ring) != seriesSeconds {
		t.Errorf("%d points are kept", len(s.ring))
	}
	s.add(Point{Time: 500}) // the clock was set back
	s.add(Point{Time: 501})
	if got := s.since(seriesSeconds); len(got) != 2 || got[0].Time != 500 {
		t.Errorf("after a step back: %v", got)
	}
}
