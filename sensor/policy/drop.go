package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"unicode/utf8"

	"weir/analyzers/context"
	"weir/sensor/alert"
)

// Schema is the version of the form of a drop.
const Schema = "weir.drop/1"

// Drop is what the gate is asked to do, for a time. The same form is its request, its change and its removal: of one key the
// highest generation counts. Times are seconds since the Unix epoch.
type Drop struct {
	Schema     string           `json:"schema"`
	ID         string           `json:"id"`         // 16 hex digits, the same through all generations of a drop
	Generation uint64           `json:"generation"` // rises with every change, over all drops of a policy
	State      State            `json:"state"`
	Scope      Scope            `json:"scope"`
	IP         netip.Addr       `json:"ip,omitzero"`         // whose packets: scope address
	Prefix     netip.Prefix     `json:"prefix,omitzero"`     // whose packets: scope prefix
	Service    *Service         `json:"service,omitempty"`   // packets to whom: scopes service and signature
	Signature  *alert.Signature `json:"signature,omitempty"` // packets like what: scope signature
	Action     Action           `json:"action"`
	Would      Action           `json:"would,omitzero"`        // of shadow: what would be done
	Rate       uint32           `json:"rate,omitempty"`        // of limit and limit_new: packets or new connections a second that pass
	Canary     int64            `json:"canary,omitempty"`      // of drop: until then only new TCP connections are dropped
	Created    int64            `json:"created"`               // first request
	Until      int64            `json:"until"`                 // end, evaluated in the kernel
	By         string           `json:"by"`                    // "policy", or who made it by hand
	Alert      string           `json:"alert,omitempty"`       // id of the alert that it answers
	ReturnPath string           `json:"return_path,omitempty"` // of the source, within the alert's evidence: proven or unproven
	Siblings   int              `json:"siblings,omitempty"`    // of a prefix: addresses within it with evidence of their own
	Strikes    int              `json:"strikes,omitempty"`     // of the source, this one included
	Extended   int              `json:"extended,omitempty"`    // how often, because it was still hit
	Guard      string           `json:"guard,omitempty"`       // why it is pending, or was removed
	Approved   string           `json:"approved,omitempty"`    // who approved it
	Reason     string           `json:"reason"`                // the alert's summary, or the words of who made it
	Summary    string           `json:"summary"`               // one sentence: what is done and why, with the numbers
}

// Service is a destination. Port 0 is any port, and no protocol any protocol.
type Service struct {
	IP       netip.Addr   `json:"ip,omitzero"`
	Prefix   netip.Prefix `json:"prefix,omitzero"`
	Port     uint16       `json:"port,omitempty"`
	Protocol string       `json:"protocol,omitempty"` // as in alerts: tcp, udp, icmp, …
}

// String is the destination as alerts show it.
func (s *Service) String() string {
	p := alert.Party{IP: s.IP, Prefix: s.Prefix, Port: s.Port, Protocol: s.Protocol}
	if s.Port == 0 && s.Protocol != "" {
		return p.String() + " " + s.Protocol
	}
	return p.String()
}

// prefix of the destination; invalid if there is none.
func (s *Service) prefix() netip.Prefix {
	if s.IP.IsValid() {
		return context.Single(s.IP)
	}
	return context.Native(s.Prefix)
}

// ByPolicy is Drop.By of what no human asked for.
const ByPolicy = "policy"

// Source is whose packets a drop hits; invalid for the scopes service and signature.
func (d *Drop) Source() netip.Prefix {
	switch d.Scope {
	case ScopeAddress:
		return context.Single(d.IP)
	case ScopePrefix:
		return context.Native(d.Prefix)
	}
	return netip.Prefix{}
}

// Effect is the action, in shadow the one that would be.
func (d *Drop) Effect() Action {
	if d.Action == Shadow {
		return d.Would
	}
	return d.Action
}

// Key is what two drops of the same thing share. It is legal as a NATS key: IPv6 in 32 hex digits, no colon.
func (d *Drop) Key() string {
	switch d.Scope {
	case ScopeAddress:
		return "address." + keyAddr(d.IP)
	case ScopePrefix:
		return "prefix." + keyPrefix(d.Prefix)
	case ScopeService:
		return "service." + d.Service.key()
	case ScopeSignature:
		var fields strings.Builder
		for _, f := range d.Signature.Fields {
			fmt.Fprintf(&fields, "%s=%s\x00", f.Name, f.Value)
		}
		sum := sha256.Sum256([]byte(fields.String()))
		return "signature." + d.Service.key() + "." + hex.EncodeToString(sum[:8])
	}
	return ""
}

func (s *Service) key() string {
	protocol := s.Protocol
	if protocol == "" {
		protocol = "any"
	}
	return fmt.Sprintf("%s.%s.%d", keyPrefix(s.prefix()), protocol, s.Port)
}

func keyAddr(a netip.Addr) string {
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	b := a.As16()
	return hex.EncodeToString(b[:])
}

func keyPrefix(p netip.Prefix) string {
	p = context.Native(p)
	if p.IsSingleIP() {
		return keyAddr(p.Addr())
	}
	return fmt.Sprintf("%s_%d", keyAddr(p.Addr()), p.Bits())
}

// what names the target of a drop for humans.
func (d *Drop) what() string {
	switch d.Scope {
	case ScopeAddress:
		return d.IP.String()
	case ScopePrefix:
		return d.Prefix.String()
	case ScopeService:
		if d.Service != nil {
			return d.Service.String()
		}
	case ScopeSignature:
		if d.Service != nil && d.Signature != nil {
			return "packets to " + d.Service.String() + " with " + signatureText(d.Signature)
		}
	}
	return "nothing"
}

func signatureText(s *alert.Signature) string {
	list := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		list[i] = f.Name + " " + f.Value
	}
	return clip(strings.Join(list, ", "), 200)
}

// Bounds of a drop's texts, in bytes.
const (
	maxDrop   = 16 << 10 // as JSON
	maxReason = 500
	maxName   = 100
	maxFields = 16
)

// AppendLine appends the drop as one line of JSON, newline included.
func (d *Drop) AppendLine(b []byte) ([]byte, error) { return appendLine(b, d) }

func appendLine(b []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return w.Bytes(), err
}

// ParseDrop reads a drop of any state: one JSON object of this schema, complete and without unknown fields. That it may be
// enforced is the guards' business.
func ParseDrop(b []byte) (*Drop, error) {
	if len(b) > maxDrop {
		return nil, fmt.Errorf("a drop of %d bytes, at most %d", len(b), maxDrop)
	}
	d := new(Drop)
	if err := decodeStrict(b, d); err != nil {
		return nil, err
	}
	if err := d.Check(); err != nil {
		return nil, err
	}
	return d, nil
}

func decodeStrict(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("byte %d: %w", dec.InputOffset(), err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("byte %d: more than one JSON value", dec.InputOffset())
	}
	return nil
}

// Check tells what is wrong with the form of a drop that was published.
func (d *Drop) Check() error {
	switch {
	case d.Schema != Schema:
		return fmt.Errorf("schema %q, want %q", d.Schema, Schema)
	case d.State == NoState || d.State >= stateCount:
		return errors.New("no state")
	case len(d.ID) != 16 || strings.Trim(d.ID, "0123456789abcdef") != "":
		return fmt.Errorf("id %q is not 16 hex digits", clip(d.ID, maxName))
	case d.Generation == 0 || d.Generation > maxGeneration:
		return fmt.Errorf("generation %d, must be 1 to %d", d.Generation, uint64(maxGeneration))
	case d.Created <= 0 || d.Until < d.Created || d.Until > maxUnix:
		return fmt.Errorf("created %d and until %d are no span of time", d.Created, d.Until)
	case d.Canary < 0 || d.Canary > d.Until:
		return fmt.Errorf("canary %d ends after the drop itself", d.Canary)
	case d.By == "", len(d.Reason) > maxReason, len(d.Summary) > 4*maxReason,
		max(len(d.By), len(d.Alert), len(d.Guard), len(d.Approved)) > maxName:
		return errors.New("a text is missing or too long")
	case d.ReturnPath != "" && d.ReturnPath != "proven" && d.ReturnPath != "unproven":
		return fmt.Errorf("return_path %q is neither proven nor unproven", clip(d.ReturnPath, maxName))
	case d.Siblings < 0 || d.Strikes < 0 || d.Extended < 0:
		return errors.New("a count is negative")
	}
	return d.checkOrder()
}

// maxUnix is the year 9999; maxGeneration is what every JSON reader holds exactly.
const (
	maxUnix       = 253402300799
	maxGeneration = 1<<53 - 1
)

// checkOrder tells what is wrong with target and action: each scope has its own, and nothing of another.
func (d *Drop) checkOrder() error {
	if err := d.checkTarget(); err != nil {
		return err
	}
	e := d.Effect()
	switch {
	case d.Action == NoAction || e == NoAction || e == Shadow || e >= actionCount:
		return errors.New("no action")
	case (d.Action == Shadow) != (d.Would != NoAction):
		return errors.New("would belongs to shadow, and only to it")
	case (d.Scope == ScopeService) != (e == Limit):
		return fmt.Errorf("%s is no action for %s", e, d.Scope)
	case d.Scope == ScopeSignature && e != DropAll:
		return fmt.Errorf("%s is no action for %s", e, d.Scope)
	case (e == Limit || e == LimitNew) != (d.Rate != 0):
		return errors.New("a rate belongs to limit and limit_new, and only to them")
	case d.Rate > maxRate:
		return fmt.Errorf("rate %d, at most %d", d.Rate, maxRate)
	case d.Canary != 0 && (e != DropAll || d.Scope > ScopePrefix):
		return errors.New("a canary belongs to the drop of a source")
	}
	return nil
}

func (d *Drop) checkTarget() error {
	source, destination := d.Scope == ScopeAddress || d.Scope == ScopePrefix, d.Scope == ScopeService || d.Scope == ScopeSignature
	switch {
	case !source && !destination:
		return errors.New("no scope")
	case (d.Scope == ScopeAddress) != d.IP.IsValid() || (d.Scope == ScopePrefix) != d.Prefix.IsValid():
		return fmt.Errorf("%s needs its source and no other", d.Scope)
	case d.IP != d.IP.Unmap().WithZone(""):
		return fmt.Errorf("ip %v is not in its plain form", d.IP)
	case d.Prefix != context.Native(d.Prefix):
		return fmt.Errorf("prefix %v is not in its plain form", d.Prefix)
	case d.Scope == ScopePrefix && d.Prefix.IsSingleIP():
		return fmt.Errorf("prefix %v is an address", d.Prefix)
	case destination != (d.Service != nil):
		return fmt.Errorf("service belongs to scopes service and signature, and only to them")
	case (d.Scope == ScopeSignature) != (d.Signature != nil):
		return fmt.Errorf("signature belongs to scope signature, and only to it")
	}
	if d.Service != nil {
		if err := d.Service.check(d.Scope); err != nil {
			return err
		}
	}
	if d.Signature != nil {
		return checkSignature(d.Signature)
	}
	return nil
}

func (s *Service) check(scope Scope) error {
	switch {
	case s.IP.IsValid() == s.Prefix.IsValid():
		return errors.New("service needs ip or prefix, and not both")
	case s.IP != s.IP.Unmap().WithZone("") || s.Prefix != context.Native(s.Prefix) || s.Prefix.IsValid() && s.Prefix.IsSingleIP():
		return errors.New("service has an address that is not in its plain form")
	case scope == ScopeService && !s.IP.IsValid():
		return fmt.Errorf("service %v is a network: a limit needs one address", s.Prefix)
	case scope == ScopeService && s.Protocol == "":
		return fmt.Errorf("service %v has no protocol: a limit would hit all its traffic", s.IP)
	case strings.Trim(s.Protocol, "abcdefghijklmnopqrstuvwxyz0123456789") != "" || len(s.Protocol) > 8:
		return fmt.Errorf("protocol %q is none", clip(s.Protocol, maxName))
	}
	return nil
}

// State of a drop.
type State uint8

// States. The policy knows what it wants; whether that was applied, an enforcer's receipt tells.
const (
	NoState State = iota
	Requested
	Pending // needs approval: Guard says why
	Removed // by hand, by panic, or because a guard forbids it now
	Expired
	stateCount
)

var stateNames = [stateCount]string{"", "requested", "pending", "removed", "expired"}

// Scope is what a drop is about.
type Scope uint8

// Scopes.
const (
	NoScope Scope = iota
	ScopeAddress
	ScopePrefix
	ScopeService
	ScopeSignature
	scopeCount
)

var scopeNames = [scopeCount]string{"", "address", "prefix", "service", "signature"}

// Action is what is done with packets, from mild to hard.
type Action uint8

// Actions.
const (
	NoAction Action = iota
	Shadow          // counted only
	Limit           // of a service: packets beyond the rate are dropped, but not those of recently completed peers
	LimitNew        // TCP connections beyond the rate are not begun: SYNs without ACK are dropped
	DropNew         // no TCP connection is begun
	DropAll
	actionCount
)

var actionNames = [actionCount]string{"", "shadow", "limit", "limit_new", "drop_new", "drop"}

// String is the name in JSON.
func (s State) String() string { return nameOf(stateNames[:], int(s)) }

// String is the name in JSON.
func (s Scope) String() string { return nameOf(scopeNames[:], int(s)) }

// String is the name in JSON.
func (a Action) String() string { return nameOf(actionNames[:], int(a)) }

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText implements encoding.TextMarshaler.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText implements encoding.TextMarshaler.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(b []byte) error { return parseName(stateNames[:], b, (*uint8)(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Scope) UnmarshalText(b []byte) error { return parseName(scopeNames[:], b, (*uint8)(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Action) UnmarshalText(b []byte) error { return parseName(actionNames[:], b, (*uint8)(a)) }

func nameOf(names []string, i int) string {
	if i >= len(names) {
		return ""
	}
	return names[i]
}

func parseName(names []string, b []byte, to *uint8) error {
	for i, n := range names[1:] {
		if n == string(b) {
			*to = uint8(i + 1)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %q", clip(string(b), maxName), names[1:])
}

// clip shortens a text to at most n bytes of whole, valid characters.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	for len(s) > 0 && !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}
