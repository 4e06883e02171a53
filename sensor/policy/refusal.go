package policy

import (
	"fmt"
	"strings"

	"weir/sensor/alert"
)

// RefusalSchema is the version of the form of a refusal.
const RefusalSchema = "weir.refusal/1"

// Refusal says which guard held back a drop.
type Refusal struct {
	Schema   string     `json:"schema"`
	Time     alert.Time `json:"time"`
	Guard    string     `json:"guard"`
	Alert    string     `json:"alert,omitempty"` // id of the alert that would have been answered
	Scope    Scope      `json:"scope,omitzero"`
	Subject  string     `json:"subject"`        // what would have been dropped
	By       string     `json:"by"`             // who asked
	Drop     string     `json:"drop,omitempty"` // of guard duplicate: id of the drop that does it already
	Sentence string     `json:"sentence"`
}

func refusal(d *Drop, now int64, guard, why string) *Refusal {
	r := &Refusal{
		Schema: RefusalSchema, Time: alert.Time(now), Guard: guard, Alert: d.Alert, Scope: d.Scope, Subject: d.what(), By: d.By,
	}
	r.Sentence = fmt.Sprintf("No drop of %s (guard %s): %s.", r.Subject, guard, clip(why, 2*maxReason))
	return r
}

// about names an alert that has no subject to name.
func (r *Refusal) about(a *alert.Alert) {
	r.Subject = kindOf(a)
	if v := prefixOf(a.Victim); v.IsValid() {
		r.Subject += " on " + a.Victim.String()
	}
	r.Sentence = strings.Replace(r.Sentence, "of nothing", "for "+r.Subject, 1)
}

// AppendLine appends the refusal as one line of JSON, newline included.
func (r *Refusal) AppendLine(b []byte) ([]byte, error) { return appendLine(b, r) }

// Decision is a drop, new or changed, or a refusal. It belongs to the receiver.
type Decision struct {
	Drop    *Drop
	Refusal *Refusal
}

// String is the sentence that explains the decision.
func (d Decision) String() string {
	if d.Refusal != nil {
		return d.Refusal.Sentence
	}
	return d.Drop.Summary
}
