package main

import (
	"bytes"
	"encoding/json"

	"weir/sensor/alert"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// Commands of a site, which 'weir bans' gives and sensors (deciders) and gates (enforcers) answer. docs/bans.md describes them.
const (
	commandDecide   = "decide"   // one decider answers: decideRequest, decisionsReply
	commandChange   = "change"   // all deciders answer: changeRequest, decisionsReply
	commandDrops    = "drops"    // all deciders answer, in parts: nothing, dropsReply
	commandEnforced = "enforced" // all enforcers answer, in parts: nothing, dropsReply
)

// Operations of decide and change.
const (
	opAdd     = "add"
	opRemove  = "remove"
	opApprove = "approve"
	opPanic   = "panic"
	opResume  = "resume"
)

// decideRequest asks for a drop, of which only what a human gives is set (policy.Policy.Add). Op is add.
type decideRequest struct {
	Op   string       `json:"op"`
	Drop *policy.Drop `json:"drop"`
	By   string       `json:"by"`
}

// changeRequest is remove or approve of a drop by its id, or by its key; or panic or resume, which are in the bucket, too, and of
// which the one with the highest generation counts.
type changeRequest struct {
	Op     string         `json:"op"`
	ID     string         `json:"id,omitempty"`
	Key    string         `json:"key,omitempty"` // policy.Drop.Key, without an id
	Panic  *enforce.Panic `json:"panic,omitempty"`
	By     string         `json:"by"`
	Reason string         `json:"reason,omitempty"`
}

// decisionsReply is what a decider decided. Without Known it has no such drop, and nothing was done.
type decisionsReply struct {
	Known     bool       `json:"known"`
	Decisions []decision `json:"decisions"`
	Error     string     `json:"error,omitempty"` // the request was not understood
}

// decision is a policy.Decision: a drop or a refusal.
type decision struct {
	Drop    *policy.Drop    `json:"drop,omitempty"`
	Refusal *policy.Refusal `json:"refusal,omitempty"`
}

// decisionsOf is the reply of a decider that knew what was meant.
func decisionsOf(list []policy.Decision) *decisionsReply {
	r := &decisionsReply{Known: true, Decisions: []decision{}}
	for _, d := range list {
		r.Decisions = append(r.Decisions, decision(d))
	}
	return r
}

// dropsReply is a part of what a decider holds, drops requested and pending; or of what the gates of a process hold.
type dropsReply struct {
	Drops []json.RawMessage `json:"drops"` // policy.Drop; of gates enforced
}

// enforced is how a drop stands at one gate; or, without Drop, what the bucket has of a key and the gate does not believe.
type enforced struct {
	Enforcer   string        `json:"enforcer"`
	Interface  string        `json:"interface"`
	Table      string        `json:"table"`
	Drop       string        `json:"drop,omitempty"` // id
	Key        string        `json:"key"`
	Generation uint64        `json:"generation,omitempty"`
	Action     policy.Action `json:"action,omitzero"`
	Would      policy.Action `json:"would,omitzero"`
	State      string        `json:"state"` // enforce.State
	Guard      string        `json:"guard,omitempty"`
	Error      string        `json:"error,omitempty"`
	Packets    uint64        `json:"packets"`
	Bytes      uint64        `json:"bytes"`
	Last       alert.Time    `json:"last,omitzero"`
	Until      int64         `json:"until,omitempty"`   // unix seconds
	Missing    bool          `json:"missing,omitempty"` // it is not in the bucket
}

// replyBytes is how much goes into one part of an answer: below what the bus takes (512 KiB).
const replyBytes = 400 << 10

// replyParts are the parts of an answer that lists things, each a dropsReply. There is always one.
func replyParts[T any](list []T) (parts [][]byte, err error) {
	var part []json.RawMessage
	size := 0
	end := func() error {
		if part == nil {
			part = []json.RawMessage{}
		}
		text, err := marshal(dropsReply{part})
		parts, part, size = append(parts, text), nil, 0
		return err
	}
	for i := range list {
		text, err := marshal(list[i])
		if err != nil {
			return nil, err
		}
		if size += len(text) + 1; size > replyBytes && len(part) > 0 {
			if err := end(); err != nil {
				return nil, err
			}
			size = len(text) + 1
		}
		part = append(part, text)
	}
	if len(part) > 0 || len(parts) == 0 {
		err = end()
	}
	return parts, err
}

// marshal is JSON as it stands in messages: without escapes for HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
