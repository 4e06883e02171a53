package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/sensor/alert"
)

// event is an opened alert of a number and severity, unless what says otherwise.
func event(n int, severity alert.Severity, what What) *Event {
	return &Event{
		What: what, Time: alert.Time(1e18 + int64(n)*1e9), Severity: severity, Kind: "scan.vertical", ID: fmt.Sprintf("%016x", n),
		Subject: fmt.Sprintf("192.0.2.%d", n%7), Victim: "198.51.100.1", Summary: fmt.Sprintf("event %d", n),
	}
}

// play lets a box live until a time, sending each message at once.
func play(b *box, until int64) (sent []*Message) {
	for {
		at := b.due()
		if at > until {
			return sent
		}
		for b.advance(max(at, b.Now)) {
			for m := b.head(); m != nil; m = b.head() {
				sent = append(sent, m)
				if err := b.done(m.ID, true, b.Now); err != nil {
					panic(err)
				}
			}
		}
	}
}

func newBox() *box {
	b := &box{Seed: "test"}
	b.begin(Defaults().Group, Defaults().QueueKiB<<10, 0, true)
	return b
}

const second = int64(time.Second)

func types(sent []*Message) (out []string) {
	for _, m := range sent {
		out = append(out, fmt.Sprintf("%s@%v", m.Type, time.Duration(m.Time).Round(time.Second)))
	}
	return out
}

// TestGroupAlone: an alert and its end are one message each, told within Wait.
func TestGroupAlone(t *testing.T) {
	b := newBox()
	b.take(event(1, alert.High, Opened), true, 10*second)
	sent := play(b, 300*second)
	b.take(event(1, alert.High, Ended), false, 300*second)
	sent = append(sent, play(b, 1000*second)...)
	if diff := cmp.Diff([]string{"events@11s", "events@5m1s"}, types(sent)); diff != "" {
		t.Error(diff)
	}
	if b.Active || b.due() != never {
		t.Error("the group has not ended")
	}
}

// TestGroupFlood: alerts that come over some time and end minutes later are a first message, digests with growing windows, and one end.
func TestGroupFlood(t *testing.T) {
	const n = 10_000
	for _, c := range []struct {
		name string
		span time.Duration // over which they come
		last time.Duration // that each stays open
	}{
		{"at once", 0, 5 * time.Minute},
		{"a minute", time.Minute, 5 * time.Minute},
		{"an hour", time.Hour, time.Minute},
		{"brief ones", 10 * time.Second, time.Second},
		{"never ending", time.Minute, 1000 * time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox()
			var sent []*Message
			step, opened, closed := int64(c.span)/n, int64(0), int64(0)
			for opened < n || closed < n && int64(c.last) < 100*int64(time.Hour) {
				open, end := second+opened*step, second+closed*step+int64(c.last)
				if opened < n && open <= end {
					sent = append(sent, play(b, open)...)
					b.take(event(int(opened), alert.Medium+alert.Severity(opened%3), Opened), true, open)
					opened++
					continue
				}
				sent = append(sent, play(b, end)...)
				e := event(int(closed), alert.Medium+alert.Severity(closed%3), Ended)
				e.Since = second + closed*step
				b.take(e, false, end)
				closed++
			}
			sent = append(sent, play(b, 100*3600*second)...)
			t.Log(types(sent))
			if len(sent) > 10 || len(sent) < 2 {
				t.Fatalf("%d messages", len(sent))
			}
			if first := time.Duration(sent[0].Time) - time.Second; first > 2*time.Second {
				t.Errorf("the first message comes after %v", first)
			}
			var told Digest
			for i, m := range sent {
				if (m.Type == endType) != (i == len(sent)-1) {
					t.Errorf("message %d of %d is %s", i+1, len(sent), m.Type)
				}
				if m.Digest != nil {
					told.Opened, told.Ended = told.Opened+m.Digest.Opened, told.Ended+m.Digest.Ended
				} else {
					for _, e := range m.Events {
						told.add(e, true)
					}
				}
			}
			last := sent[len(sent)-1]
			if told.Opened != n || last.Total.Opened != n || told.Ended != uint64(closed) || last.Open != n-int(closed) {
				t.Errorf("told %d opened and %d ended of %d and %d; the end tells %+v", told.Opened, told.Ended, n, closed, last)
			}
		})
	}
}

// TestGroupEscalation: a critical alert within a flood of others does not wait for the window.
func TestGroupEscalation(t *testing.T) {
	b := newBox()
	for i := range 100 {
		b.take(event(i, alert.Medium, Opened), true, second)
	}
	sent := play(b, 8*second)
	b.take(event(1000, alert.Critical, Opened), true, 8*second)
	sent = append(sent, play(b, 12*second)...)
	b.take(event(1001, alert.Critical, Opened), true, 12*second)
	sent = append(sent, play(b, 13*second)...)
	if diff := cmp.Diff([]string{"digest@2s", "events@9s"}, types(sent)); diff != "" {
		t.Fatal(diff)
	}
	if sent[1].Events[0].ID != event(1000, 0, Opened).ID {
		t.Error("it is not in the message")
	}
}

// TestGroupBack: a clock that was set back by a day delays nothing.
func TestGroupBack(t *testing.T) {
	const day = 24 * 3600 * second
	b := newBox()
	b.begin(b.Group, b.Limit, 2*day, true)
	for i := range 50 {
		b.take(event(i, alert.High, Opened), true, 2*day)
	}
	b.begin(b.Group, b.Limit, day, true)
	sent := play(b, day+200*second)
	if len(sent) != 2 || sent[0].Time > alert.Time(day+2*second) || sent[1].Type != endType {
		t.Errorf("%v", types(sent))
	}
}

// TestGroupProperties holds, over random events, times, failures and restarts: each event is told once, by itself or in a count; messages
// are numbered without gaps and sent in order; no more of them than the hour allows; what waits is bounded; a group with a digest has an
// end; and who replays the journal has the same box.
func TestGroupProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, at := newBox(), second
		b.Group.Details = rapid.IntRange(1, 10).Draw(t, "details")
		b.Group.PerHour = rapid.IntRange(1, 1000).Draw(t, "per hour")
		var log bytes.Buffer
		begin := *b
		record := func(e *entry) {
			if err := appendEntry(&log, e); err != nil {
				t.Fatal(err)
			}
			if err := b.apply(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := appendEntry(&log, &entry{Box: &begin}); err != nil {
			t.Fatal(err)
		}
		events, told, made, aside, toldAside := uint64(0), uint64(0), uint64(0), uint64(0), uint64(0)
		digests := false
		receive := func(delivered bool) {
			m := b.head()
			if m == nil {
				return
			}
			if made++; m.ID != fmt.Sprintf("test-%d", made) {
				t.Fatalf("message %s is number %d", m.ID, made)
			}
			toldAside += m.Aside
			switch m.Type {
			case eventsType:
				told += uint64(len(m.Events))
			case endType:
				if told += m.Digest.Events; !digests && m.Digest.Events == m.Total.Events && m.Total.Events <= uint64(b.Group.Details) {
					t.Fatal("an end of what needed none")
				}
				digests = false
			case digestType:
				told, digests = told+m.Digest.Events, true
			}
			if !delivered {
				aside++
			}
			record(&entry{Done: &ended{m.ID, delivered}, At: at})
		}
		start, allowed := at, b.Group.PerHour
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			at += rapid.Int64Range(0, 40*second).Draw(t, "pause")
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1, 2, 3:
				for range rapid.IntRange(1, 30).Draw(t, "crowd") {
					what := rapid.SampledFrom([]What{Opened, Raised, Ended, Banned, Expired}).Draw(t, "event")
					severity := rapid.SampledFrom([]alert.Severity{alert.Low, alert.Medium, alert.High, alert.Critical}).Draw(t, "severity")
					e := event(int(events), severity, what)
					e.Since = at - rapid.Int64Range(0, 100*second).Draw(t, "since")
					record(&entry{Event: &detail{e, what == Opened}, At: at})
					events++
				}
			case 4, 5, 6:
				for b.due() <= at {
					record(&entry{Advance: true, At: at})
				}
			case 7:
				receive(true)
			case 8:
				receive(rapid.Bool().Draw(t, "delivered"))
			case 9:
				record(&entry{Begin: &begun{b.Group, b.Limit, rapid.Bool().Draw(t, "anew")}, At: at})
			}
			if len(b.Outbox) > maxWaiting || len(b.Details) > b.Group.Details || len(b.Fresh.Kinds) > maxKinds {
				t.Fatalf("%d messages, %d details", len(b.Outbox), len(b.Details))
			}
		}
		if most := burst + int(float64(at-start)/3.6e12*float64(allowed)) + 1; int(b.Made) > most {
			t.Fatalf("%d messages in %v, %d allowed", b.Made, time.Duration(at-start), most)
		}
		replayed, torn, err := readBox(log.Bytes())
		if err != nil || torn {
			t.Fatal(torn, err)
		}
		want, _ := json.Marshal(b)
		got, _ := json.Marshal(replayed)
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("the journal tells of another box (-box +journal): %s", diff)
		}
		for b.due() != never || b.head() != nil { // to the end
			for b.head() != nil {
				receive(true)
			}
			if due := b.due(); due != never {
				at = max(at, due)
				record(&entry{Advance: true, At: at})
			}
		}
		if told != events || b.Active || digests || toldAside+b.Aside != aside {
			t.Fatalf("%d of %d events told, active %v, a digest without an end: %v, %d of %d refusals told", told, events, b.Active, digests, toldAside, aside)
		}
	})
}
