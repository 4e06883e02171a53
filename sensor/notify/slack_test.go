package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/sensor/alert"
)

var update = flag.Bool("update", false, "write the golden files")

// hostile is text that somebody could send in packets, to be shown to people.
const hostile = "<!channel> <@U012AB3CD> *bold* `x` <https://evil.example|click> &amp; @here :skull: \u202egnp.exe\x1b[2J\nsecond line"

// asked is what the golden files show, of each type of message.
func asked() map[string]*Message {
	a := &alert.Alert{
		ID: "8e3f01c7539882d5", Rev: 1, State: alert.Open, Time: 1_762_050_848_300_000_000, Analyzer: "flood", Kind: "syn", Severity: alert.Critical, Score: 95,
		Subject: &alert.Party{IP: netip.MustParseAddr("203.0.113.66"), Name: hostile},
		Victim:  &alert.Party{IP: netip.MustParseAddr("2001:db8::80"), Port: 443, Protocol: "tcp"},
		Count:   52_100, First: 1_762_050_838_300_000_000, Last: 1_762_050_848_300_000_000, Summary: "half-open handshakes to " + hostile,
		Why: []alert.Measure{
			{Name: "share", Value: 0.97, Threshold: 0.8},
			{Name: "half_open", Value: 5210.25, Unit: "handshakes/s", Threshold: 500, Baseline: &alert.Baseline{Mean: 12, Stddev: 3.5, N: 1800}},
		},
		Action: &alert.Action{Drop: "0123456789abcdef", Effect: "drop"},
	}
	opened := alertEvent(a, Opened, 0, 0)
	banned := dropEvent(&Drop{
		What: Banned, Time: a.Time, ID: "0123456789abcdef", Target: "203.0.113.66", Seconds: 600, Action: "drop", By: "policy", Alert: a.ID,
		Summary: "drop 203.0.113.66 for 10m: " + hostile,
	})
	unbanned := dropEvent(&Drop{
		What: Unbanned, Time: a.Time, ID: "0123456789abcdef", Target: "203.0.113.66", Seconds: 42, Action: "drop", Guard: "trusted_proxy", By: "policy",
		Summary: "203.0.113.66 is a trusted proxy now", Rehearsed: true,
	})
	b := newBox()
	for i := range 40 {
		b.take(event(i, alert.Low+alert.Severity(i%4), Opened), true, second)
	}
	b.take(opened, true, second)
	b.take(banned, true, second)
	sent := play(b, 3600*second)
	sent[0].Missed, sent[0].Aside = 3, 1
	out := map[string]*Message{"digest": sent[0], "end": sent[1], "test": {Schema: Schema, ID: "test-1", Time: a.Time, Type: testType, Summary: "This is a test."}}
	single := newBox()
	single.take(opened, true, second)
	out["alert"] = play(single, 5*second)[0]
	drops := newBox()
	drops.take(banned, true, second)
	drops.take(unbanned, true, second)
	out["drops"] = play(drops, 5*second)[0]
	for _, m := range out {
		m.Site, m.Sensor = "home", "tap"
	}
	return out
}

// TestGolden holds what Slack and webhooks get of each type of message.
func TestGolden(t *testing.T) {
	for name, m := range asked() {
		for _, kind := range []string{slackType, webhookType} {
			body, err := (&Channel{Type: kind}).body(m)
			if err != nil {
				t.Fatal(err)
			}
			if kind == slackType {
				checkSlack(t, body)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, append(body, '\n'), "", "  "); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", kind+"-"+name+".json")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
			}
		}
	}
}

// fataler is what checkSlack needs of a test.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// control are Slack's three, but as entities.
var control = regexp.MustCompile(`[<>]|&(?:[^aglt]|a[^m]|am[^p]|[gl][^t]|$)`)

// checkSlack holds a body to the limits of docs.slack.dev/reference/block-kit/blocks: 50 blocks; header: plain_text of 150 characters;
// section: text of 1 to 3000, at most 10 fields of 2000; context: at most 10 elements. And to ours: text of packets is plain_text without
// control characters, and mrkdwn is of words of ours.
func checkSlack(t fataler, body []byte) {
	t.Helper()
	var m struct {
		Text   string
		Mrkdwn bool
		Parse  string
		Blocks []struct {
			Type             string
			Text             *slackPart
			Fields, Elements []slackPart
		}
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%v", err)
	}
	if len(m.Blocks) < 2 || len(m.Blocks) > 50 || m.Text == "" || m.Mrkdwn || m.Parse != "none" || control.MatchString(m.Text) {
		t.Fatalf("%d blocks, text %q", len(m.Blocks), m.Text)
	}
	ours := regexp.MustCompile("^\\*[A-Za-z]+\\* `[a-z0-9_.]+`( [a-z]+)?( \\(rehearsal\\))?$")
	part := func(p *slackPart, most int) {
		n := utf8.RuneCountInString(p.Text)
		switch {
		case n < 1 || n > most:
			t.Fatalf("%d characters, 1 to %d: %q", n, most, p.Text)
		case control.MatchString(p.Text) || strings.ContainsAny(p.Text, "\u202e\x1b"):
			t.Fatalf("control characters: %q", p.Text)
		case p.Type == "mrkdwn" && (!ours.MatchString(p.Text) || p.Verbatim == nil || !*p.Verbatim):
			t.Fatalf("markup: %q", p.Text)
		case p.Type == "plain_text" && (p.Emoji == nil || *p.Emoji), p.Type != "mrkdwn" && p.Type != "plain_text":
			t.Fatalf("a text of type %q", p.Type)
		}
	}
	for _, b := range m.Blocks {
		switch b.Type {
		case "header":
			part(b.Text, 150)
			if b.Text.Type != "plain_text" {
				t.Fatalf("header of %s", b.Text.Type)
			}
		case "section":
			part(b.Text, 3000)
			if len(b.Fields) > 10 {
				t.Fatalf("%d fields", len(b.Fields))
			}
			for i := range b.Fields {
				part(&b.Fields[i], 2000)
			}
		case "context":
			if len(b.Elements) < 1 || len(b.Elements) > 10 {
				t.Fatalf("%d elements", len(b.Elements))
			}
			for i := range b.Elements {
				part(&b.Elements[i], 3000)
			}
		default:
			t.Fatalf("a block of type %q", b.Type)
		}
	}
}

// TestSlackLimits: whatever the texts are, Slack takes the message.
func TestSlackLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.RuneFrom([]rune("<>&é𐍈\u202e")), 0, 4000, -1))
		b := newBox()
		b.Group.Details = rapid.IntRange(1, 10).Draw(t, "details")
		for range rapid.IntRange(1, 30).Draw(t, "events") {
			a := &alert.Alert{
				ID: text.Draw(t, "id"), Analyzer: text.Draw(t, "analyzer"), Kind: text.Draw(t, "kind"), Summary: text.Draw(t, "summary"),
				Severity: alert.Severity(rapid.IntRange(0, 4).Draw(t, "severity")), Subject: &alert.Party{Country: text.Draw(t, "country"), Name: text.Draw(t, "name")},
				Why: []alert.Measure{{Name: text.Draw(t, "measure"), Unit: text.Draw(t, "unit"), Value: rapid.Float64().Draw(t, "value"), Threshold: 1}},
			}
			b.take(alertEvent(a, Opened, 0, 0), true, second)
			b.take(dropEvent(&Drop{What: Banned, ID: text.Draw(t, "drop"), Target: text.Draw(t, "target"), Reason: text.Draw(t, "reason"), By: text.Draw(t, "by")}), true, second)
		}
		for _, m := range play(b, 3600*second) {
			body, err := (&Channel{Type: slackType}).body(m)
			if err != nil {
				t.Fatal(err)
			}
			checkSlack(t, body)
		}
	})
}
