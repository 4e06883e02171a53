package notify

import (
	"fmt"
	"strings"
	"time"

	"weir/sensor/alert"
)

// Limits of Slack's Block Kit (docs.slack.dev/reference/block-kit), in characters. Messages stay well below 50 blocks.
const (
	slackHeader  = 150
	slackText    = 3000
	slackField   = 2000
	slackFields  = 10
	slackContext = 300 // ours
)

// slackMessage is the body of an incoming webhook. Text is what notifications show. Words of ours are mrkdwn; all that may come from
// packets is plain_text, in which nothing is markup, a link or a mention, and &, < and > are escaped everywhere besides.
type slackMessage struct {
	Text        string       `json:"text"`
	Mrkdwn      bool         `json:"mrkdwn"` // of Text
	Parse       string       `json:"parse"`
	LinkNames   bool         `json:"link_names"`
	UnfurlLinks bool         `json:"unfurl_links"`
	UnfurlMedia bool         `json:"unfurl_media"`
	Blocks      []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackPart  `json:"text,omitempty"`
	Fields   []slackPart `json:"fields,omitempty"`
	Elements []slackPart `json:"elements,omitempty"`
}

type slackPart struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Emoji    *bool  `json:"emoji,omitempty"`    // of plain_text
	Verbatim *bool  `json:"verbatim,omitempty"` // of mrkdwn
}

var escapeSlack = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// escaped is text with Slack's control characters escaped, in at most so many characters; no escape is cut in two.
func escaped(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		part := escapeSlack.Replace(string(r))
		if n += len([]rune(part)); n > most-1 {
			return b.String() + "…"
		}
		b.WriteString(part)
	}
	return b.String()
}

func plain(s string, most int) slackPart {
	no := false
	return slackPart{Type: "plain_text", Text: escaped(s, most), Emoji: &no}
}

// words are our own: severities, kinds and what happened.
func words(s string) slackPart {
	yes := true
	return slackPart{Type: "mrkdwn", Text: escaped(s, slackText), Verbatim: &yes}
}

// slackOf is a message as Slack shows it.
func slackOf(m *Message) *slackMessage {
	out := &slackMessage{Text: escaped(m.Summary, slackText), Parse: "none"}
	header := plain(m.title(), slackHeader)
	out.Blocks = append(out.Blocks, slackBlock{Type: "header", Text: &header})
	if m.Type != eventsType || len(m.Events) > 1 {
		out.section(plain(m.Summary, slackText))
	}
	if m.Total != nil {
		out.digest("In all", m.Total)
	} else if m.Digest != nil {
		out.digest("Since the message before", m.Digest)
	}
	for _, e := range m.Events {
		out.event(e)
	}
	if s := m.losses(); s != "" {
		out.section(plain(s, slackText))
	}
	origin := fmt.Sprintf("weir %s/%s · %s · %s", m.Site, m.Sensor, clock(m.Time), m.ID)
	out.Blocks = append(out.Blocks, slackBlock{Type: "context", Elements: []slackPart{plain(origin, slackContext)}})
	return out
}

func (s *slackMessage) section(text slackPart, fields ...slackPart) {
	if text.Text != "" {
		s.Blocks = append(s.Blocks, slackBlock{Type: "section", Text: &text, Fields: fields})
	}
}

// title heads a message.
func (m *Message) title() string {
	switch {
	case m.Type == testType:
		return "weir: a test message"
	case m.Type == endType:
		return "The flood of alerts is over"
	case m.Type == digestType:
		return "Flood of alerts: " + m.Digest.String()
	case len(m.Events) == 1:
		return m.Events[0].headline()
	}
	return fmt.Sprintf("%d events", len(m.Events))
}

// event adds what is known of one: what it is in a line of our words, its sentence, and its numbers.
func (s *slackMessage) event(e *Event) {
	head := fmt.Sprintf("*%s* `%s`", title(string(e.What)), e.Kind)
	if !e.What.ofDrop() {
		head = fmt.Sprintf("*%s* `%s` %s", title(e.Severity.String()), e.Kind, e.What)
	}
	if e.Rehearsed {
		head += " (rehearsal)"
	}
	s.section(words(head), e.fields()...)
	s.section(plain(e.Summary, slackText))
}

// fields are an event's numbers.
func (e *Event) fields() (all []slackPart) {
	add := func(name, value string) {
		if value != "" && len(all) < slackFields {
			all = append(all, plain(name+": "+value, slackField))
		}
	}
	add("Subject", e.Subject)
	add("Victim", e.Victim)
	if e.Rate != nil {
		add("Rate", e.Rate.String())
	}
	if e.Seconds > 0 {
		add("Duration", length(e.Seconds))
	}
	add("Action", e.Action)
	if e.What.ofDrop() {
		add("Guard", e.Guard)
		add("By", e.By)
		add("Alert", e.Alert)
	} else {
		add("Alert", e.ID)
	}
	if e.Early {
		add("End", "not followed any more; it may go on")
	}
	return all
}

// digest adds counts by kind, and who was met most.
func (s *slackMessage) digest(name string, d *Digest) {
	var b strings.Builder
	for _, k := range d.Kinds {
		fmt.Fprintf(&b, "%s %s: %d opened, %d ended\n", title(k.Severity.String()), k.Kind, k.Opened, k.Ended)
	}
	fields := []slackPart{plain(name+": "+d.String(), slackField)}
	if d.First != 0 {
		fields = append(fields, plain("From "+clock(d.First)+" to "+clock(d.Last), slackField))
	}
	for _, top := range []struct {
		name string
		list []Frequent
	}{{"Most by", d.Subjects}, {"Most to", d.Victims}} {
		if len(top.list) > 0 {
			var names []string
			for _, f := range top.list {
				names = append(names, fmt.Sprintf("%s (%d)", f.Name, f.N-f.Over))
			}
			fields = append(fields, plain(top.name+": "+strings.Join(names, ", "), slackField))
		}
	}
	text := plain(strings.TrimSuffix(b.String(), "\n"), slackText)
	if text.Text == "" {
		text = plain("No alerts.", slackText)
	}
	s.section(text, fields...)
}

// clock is a time for people, in UTC.
func clock(t alert.Time) string {
	return time.Unix(0, int64(t)).UTC().Format("2006-01-02 15:04:05 UTC")
}
