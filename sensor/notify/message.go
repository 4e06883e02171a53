package notify

import (
	"fmt"

	"weir/sensor/alert"
)

// Schema is the version of the form of messages.
const Schema = "weir.message/1"

// Message is what a receiver gets: a webhook as one JSON object, Slack as blocks made of it.
type Message struct {
	Schema  string     `json:"schema"`
	ID      string     `json:"id"`   // the same in each attempt
	Time    alert.Time `json:"time"` // when it was made
	Type    string     `json:"type"` // events, digest, end, test
	Site    string     `json:"site,omitempty"`
	Sensor  string     `json:"sensor,omitempty"`
	Summary string     `json:"summary"`           // one sentence
	Events  []*Event   `json:"events,omitempty"`  // all of them; of a digest and an end a few, the most severe
	Digest  *Digest    `json:"digest,omitempty"`  // all since the message before; of digest and end
	Total   *Digest    `json:"total,omitempty"`   // of an end: all since the first message of the group
	Open    int        `json:"open,omitempty"`    // of an end: alerts that have not ended
	Seconds float64    `json:"seconds,omitempty"` // of an end: from the first event to the last
	Missed  uint64     `json:"missed,omitempty"`  // events since the message before that were lost, because they came too fast
	Aside   uint64     `json:"aside,omitempty"`   // messages before this that were refused and set aside
}

// Types of messages.
const (
	eventsType = "events"
	digestType = "digest"
	endType    = "end"
	testType   = "test"
)

// maxDigestDetails are told one by one beside the counts.
const maxDigestDetails = 3

// summary is the message in a sentence.
func (m *Message) summary() string {
	switch {
	case m.Type == endType:
		s := fmt.Sprintf("The flood of alerts is over: %s in %s", m.Total, length(m.Seconds))
		if m.Open > 0 {
			s += fmt.Sprintf("; %d have not ended", m.Open)
		}
		return s + "."
	case m.Type == digestType:
		return fmt.Sprintf("%s. More is counted until it is quiet, and told then.", m.Digest)
	case len(m.Events) == 1:
		return m.Events[0].headline()
	}
	return fmt.Sprintf("%d events: %s", len(m.Events), m.Events[0].headline())
}

// headline is an event in few words.
func (e *Event) headline() string {
	rehearsed := ""
	if e.Rehearsed {
		rehearsed = " (rehearsal)"
	}
	switch e.What {
	case Banned:
		return fmt.Sprintf("Drop%s of %s for %s", rehearsed, e.Subject, length(e.Seconds))
	case Pending:
		return fmt.Sprintf("Drop%s of %s waits for approval", rehearsed, e.Subject)
	case Unbanned:
		return fmt.Sprintf("Drop%s of %s was removed", rehearsed, e.Subject)
	case Expired:
		return fmt.Sprintf("Drop%s of %s has expired", rehearsed, e.Subject)
	case Refused:
		return fmt.Sprintf("Drop of %s was refused by guard %s", e.Subject, e.Guard)
	}
	s := fmt.Sprintf("%s %s %s", title(e.Severity.String()), e.Kind, e.What)
	if e.Subject != "" {
		s += ": " + e.Subject
	}
	if e.Victim != "" {
		s += " → " + e.Victim
	}
	return s
}

// title is a word with a capital.
func title(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}

// losses tells what the message lacks; "": nothing.
func (m *Message) losses() string {
	s := ""
	if m.Missed > 0 {
		s = fmt.Sprintf("%d events came too fast and are not counted here. ", m.Missed)
	}
	if m.Aside > 0 {
		s += fmt.Sprintf("%d messages before this one were refused by the receiver and set aside in the state folder. ", m.Aside)
	}
	return s
}
