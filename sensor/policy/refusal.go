package policy

import "weir/sensor/alert"

// RefusalSchema is the version of the form of a refusal.
const RefusalSchema = "weir.refusal/1"

// Refusal says which guard held back a drop.
type Refusal struct {
	Schema   string     `json:"schema"`
	Time     alert.Time `json:"time"`
	Guard    string     `json:"guard"`
	Alert    string     `json:"alert,omitempty"` // id of the alert that would have been answered
	Scope    Scope      `json:"scope,omitzero"`
	Subject  string     `json:"subject"` // what would have been dropped
	By       string     `json:"by"`      // who asked
	Sentence string     `json:"sentence"`
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
