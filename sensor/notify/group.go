package notify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"weir/sensor/alert"
)

// box is what a channel knows: what came and is not told yet, and the messages that wait to be sent. It is pure: the same calls with the
// same times give the same messages, which is what the journal lives on. Time is in ns and never goes back between two openings.
//
// What comes to a box at rest opens a group: its first message goes after Wait, and what came by then goes along. From then on there is
// one message a window, each window twice as long as the one before, and at once (Wait) when an alert is more severe than all that were
// told before, and high or critical. Quiet ends the group. A group that had more to tell than fits one by one ends with a message.
//
// A message is made only when there is room for it among those that wait; until then what comes is counted in the next one. So nothing
// has to be thrown away however long the receiver is gone: what is lost are details.
type box struct {
	Seed  string `json:"seed"` // begins the messages' ids
	Made  uint64 `json:"made"` // messages so far
	Group Group  `json:"group"`
	Limit int    `json:"limit"` // bytes of messages that wait; one may exceed it
	Now   int64  `json:"now"`

	Active   bool          `json:"active,omitempty"` // a group is open
	Begun    int64         `json:"begun,omitempty"`
	Last     int64         `json:"last,omitempty"` // newest event
	Due      int64         `json:"due,omitempty"`  // of its next message
	Window   time.Duration `json:"window,omitempty"`
	Told     int           `json:"told,omitempty"`     // highest severity told, plus 1
	Open     int           `json:"open,omitempty"`     // alerts opened in the group that have not ended
	Counted  bool          `json:"counted,omitempty"`  // it had a digest, so it has an end
	Messages int           `json:"messages,omitempty"` // so far
	Details  []detail      `json:"details,omitempty"`  // the most severe that are not told yet, as they came
	Fresh    Digest        `json:"fresh,omitzero"`     // all that is not told yet
	Total    Digest        `json:"total,omitzero"`     // of the group
	Missed   uint64        `json:"missed,omitempty"`   // events that never came this far, not told yet
	Aside    uint64        `json:"aside,omitempty"`    // messages that were refused and set aside, not told yet

	Spent  int64    `json:"spent,omitempty"` // when the allowance of messages is whole again
	Outbox []queued `json:"outbox,omitempty"`
}

// detail is an event, and whether it is the first of its alert.
type detail struct {
	*Event
	First bool `json:"first,omitempty"`
}

// queued is a message that waits, with its size as JSON.
type queued struct {
	*Message
	Size int `json:"size"`
}

// maxWaiting is how many messages wait at most, burst how many may go at once before PerHour holds.
const (
	maxWaiting = 8
	burst      = 10
)

// never is the time of what does not come by itself.
const never = math.MaxInt64

// begin says that a process has begun to look after the box, with its settings. Alerts that were open will not be heard of any more. The
// clock may be behind the time that was reached: then nothing waits longer for it than it would have.
func (b *box) begin(g Group, limit int, now int64, anew bool) {
	b.Group, b.Limit = g, limit
	if anew {
		b.Open = 0
	}
	if now < b.Now {
		back := b.Now - now
		b.Begun, b.Last, b.Due, b.Spent = b.Begun-back, b.Last-back, b.Due-back, b.Spent-back
	}
	b.Now = now
	if b.Active {
		b.Window = min(b.Window, g.MaxWindow)
		b.Due = min(b.Due, now+int64(b.Window))
	}
	b.Spent = min(b.Spent, now+burst*b.interval())
}

// interval is the time in which the allowance grows by one message.
func (b *box) interval() int64 { return int64(time.Hour) / int64(max(b.Group.PerHour, 1)) }

// take counts an event in that came at a time, which may be a little before what was reached.
func (b *box) take(e *Event, first bool, now int64) {
	b.Now = max(b.Now, now)
	switch {
	case !b.Active:
		b.Active, b.Begun, b.Window, b.Due = true, now, b.Group.Window, b.Now+int64(b.Group.Wait)
		b.Told, b.Open, b.Counted, b.Messages, b.Total = 0, 0, false, 0, Digest{}
	case e.What != Ended && (int(e.Severity) >= b.Told && e.Severity >= alert.High || b.Now-b.Last >= int64(b.Group.Quiet)):
		b.Due = min(b.Due, b.Now+int64(b.Group.Wait))
	case e.What == Ended && b.Counted && b.Fresh.Events == 0: // the first of many, and no hurry
		b.Due = max(b.Due, b.Now+int64(b.Window))
	}
	if b.Fresh.Events == 0 {
		b.Due = max(b.Due, b.Now+int64(b.Group.Wait))
	}
	b.Last = b.Now
	switch {
	case e.What == Ended && e.Since >= b.Begun && b.Open > 0:
		b.Open--
	case e.What != Ended && !e.What.ofDrop() && first:
		b.Open++
	}
	b.Fresh.add(e, first)
	b.Total.add(e, first)
	b.detail(detail{e, first})
}

// detail keeps the most severe of what is to be told one by one.
func (b *box) detail(d detail) {
	if len(b.Details) < b.Group.Details {
		b.Details = append(b.Details, d)
		return
	}
	least := 0
	for i := range b.Details {
		if b.Details[i].Severity <= b.Details[least].Severity {
			least = i // the newest of them
		}
	}
	if d.Severity > b.Details[least].Severity {
		b.Details = append(slices.Delete(b.Details, least, least+1), d)
	}
}

// due is when advance has something to do; never if only an event or the sending of a message can change that.
func (b *box) due() int64 {
	if !b.Active {
		return never
	}
	t := b.ends()
	if b.Fresh.Events > 0 {
		t = min(t, b.Due)
	}
	if b.speaks() {
		if len(b.Outbox) >= maxWaiting || b.waiting() >= b.Limit {
			return never
		}
		t = max(t, b.Spent-(burst-1)*b.interval())
	}
	return t
}

// speaks tells whether the next thing that advance does is a message.
func (b *box) speaks() bool { return b.Fresh.Events > 0 || b.Counted }

// ends is when the group ends, if nothing comes: with an end to tell it waits for its alerts' ends, too, as long as the longest window.
func (b *box) ends() int64 {
	if b.Counted && b.Open > 0 {
		return b.Last + max(int64(b.Group.Quiet), int64(b.Group.MaxWindow))
	}
	return b.Last + int64(b.Group.Quiet)
}

// advance does what is due, and reports whether anything was.
func (b *box) advance(now int64) bool {
	b.Now = max(b.Now, now)
	if b.Now < b.due() {
		return false
	}
	over, many := b.Now >= b.ends(), b.Fresh.Events > uint64(len(b.Details))
	switch {
	case over && (b.Counted || many):
		b.say(endType)
	case many:
		b.Counted = true
		b.say(digestType)
	case b.Fresh.Events > 0:
		b.say(eventsType)
	}
	if over {
		b.Active, b.Total = false, Digest{}
	}
	return true
}

// say makes a message of what is not told yet.
func (b *box) say(kind string) {
	b.Made++
	m := &Message{
		Schema: Schema, ID: b.Seed + "-" + strconv.FormatUint(b.Made, 10), Time: alert.Time(b.Now), Type: kind, Missed: b.Missed, Aside: b.Aside,
	}
	for _, d := range b.Details {
		m.Events = append(m.Events, d.Event)
		b.Told = max(b.Told, int(d.Severity)+1)
	}
	if kind != eventsType {
		slices.SortStableFunc(m.Events, func(a, b *Event) int { return cmp.Compare(b.Severity, a.Severity) })
		m.Events = m.Events[:min(len(m.Events), maxDigestDetails)]
		m.Digest = b.Fresh.shown()
	}
	if kind == endType {
		m.Total, m.Open = b.Total.shown(), b.Open
		m.Seconds = float64(b.Last-b.Begun) / 1e9
	}
	m.Summary = m.summary()
	b.Messages++
	b.Details, b.Fresh, b.Missed, b.Aside = nil, Digest{}, 0, 0
	if b.Messages > 1 { // the first window begins with the first message
		b.Window = min(2*b.Window, b.Group.MaxWindow)
	}
	b.Due = b.Now + int64(b.Window)
	b.Spent = max(b.Spent, b.Now) + b.interval()
	text, _ := json.Marshal(m) // of strings and numbers
	b.Outbox = append(b.Outbox, queued{m, len(text)})
}

// waiting is the size of the messages that wait.
func (b *box) waiting() (n int) {
	for i := range b.Outbox {
		n += b.Outbox[i].Size
	}
	return n
}

// head is the message to send; nil: there is none.
func (b *box) head() *Message {
	if len(b.Outbox) == 0 {
		return nil
	}
	return b.Outbox[0].Message
}

// done takes a message off: it was delivered, or refused for good.
func (b *box) done(id string, delivered bool, now int64) error {
	b.Now = max(b.Now, now)
	if m := b.head(); m == nil || m.ID != id {
		return fmt.Errorf("message %s is not the one to be sent", id)
	}
	b.Outbox = slices.Delete(b.Outbox, 0, 1)
	if !delivered {
		b.Aside++
	}
	return nil
}

// miss counts events that never came this far.
func (b *box) miss(n uint64) { b.Missed += n }
