package enforce

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

// ReceiptSchema is the version of the form of a receipt.
const ReceiptSchema = "weir.receipt/1"

// What receipts tell. Applied comes once for each generation of a drop, refused once for each generation and guard.
const (
	ReceiptApplied = "applied" // it is in force in the kernel; of shadow: it counts there
	ReceiptExpired = "expired" // its end came
	ReceiptRefused = "refused" // it is not in force, and Guard says why
	ReceiptRemoved = "removed" // it was in force, and an instruction, a guard or a panic ended it
)

// Receipt tells what became of a drop at one enforcer.
type Receipt struct {
	Schema     string     `json:"schema"`
	Time       alert.Time `json:"time"`
	State      string     `json:"state"`
	Drop       string     `json:"drop,omitempty"` // id; "" if the instruction could not be read, and of a panic
	Generation uint64     `json:"generation,omitempty"`
	Key        string     `json:"key,omitempty"`
	Enforcer   string     `json:"enforcer"` // Options.Host
	Interface  string     `json:"interface"`
	Table      string     `json:"table"`
	Guard      string     `json:"guard,omitempty"`
	Error      string     `json:"error,omitempty"`
	Packets    uint64     `json:"packets,omitempty"` // that met it here
	Bytes      uint64     `json:"bytes,omitempty"`
	Last       alert.Time `json:"last,omitzero"` // the last of them
	Sentence   string     `json:"sentence"`
}

// AppendLine appends the receipt as one line of JSON, newline included.
func (r *Receipt) AppendLine(b []byte) ([]byte, error) { return appendLine(b, r) }

func appendLine(b []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return w.Bytes(), err
}

// target names what a drop hits.
func target(d *policy.Drop) string {
	switch d.Scope {
	case policy.ScopeAddress:
		return d.IP.String()
	case policy.ScopePrefix:
		return d.Prefix.String()
	case policy.ScopeSignature:
		return "packets to " + d.Service.String() + " like a signature"
	}
	return d.Service.String()
}

// doing says what is done in a table.
func doing(d *policy.Drop) (s string) {
	s = "is dropped"
	switch {
	case d.Action == policy.Shadow:
		s = "is only counted (shadow)"
	case d.Action == policy.Limit:
		s = fmt.Sprintf("is limited to %d packets/s of strangers", d.Rate)
	case d.Action == policy.LimitNew:
		s = fmt.Sprintf("is limited to %d new connections/s", d.Rate)
	case d.Action == policy.DropNew:
		s = "begins no new connections"
	}
	if d.Scope == policy.ScopeSignature { // packets
		return strings.Replace(s, "is ", "are ", 1)
	}
	return s
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
