// Package alert makes alerts of findings: one story, one alert, with an identity, revisions and an end. It also says which
// packets are evidence of an alert, and how the alerts of two runs differ.
package alert

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Schema is the version of the alert form.
const Schema = "weir.alert/1"

// Alert is one revision of an alert: one JSON object a line, fields in this order. Consumers keep the highest Rev of an ID;
// revisions of an ID are open, any number of updates, closed.
type Alert struct {
	Schema      string     `json:"schema"`
	ID          string     `json:"id"`  // 16 hex digits: SHA-256 over analyzer, kind, subject, victim and opening tick
	Rev         int        `json:"rev"` // from 1
	State       State      `json:"state"`
	Time        Time       `json:"time"` // event time of this revision
	Sensor      string     `json:"sensor"`
	Analyzer    string     `json:"analyzer"`
	Kind        string     `json:"kind"`
	Severity    Severity   `json:"severity"` // of the score, capped by kind
	Score       int        `json:"score"`    // 0–100, strength of evidence; the highest of its findings
	Confidence  int        `json:"confidence"`
	Subject     *Party     `json:"subject,omitempty"` // who did it; none where nobody can be named
	Victim      *Party     `json:"victim,omitempty"`
	Count       uint64     `json:"count"` // events that are evidence
	First       Time       `json:"first"` // event time of the evidence
	Last        Time       `json:"last"`
	Why         []Measure  `json:"why"`
	Summary     string     `json:"summary"`
	Notes       []string   `json:"notes,omitempty"`  // what limits the evidence
	Attack      []string   `json:"attack,omitempty"` // MITRE ATT&CK ids
	CommunityID string     `json:"community_id,omitempty"`
	Signature   *Signature `json:"signature,omitempty"`
	Loss        Loss       `json:"loss"`
	Config      string     `json:"config,omitempty"` // hash of the configuration
	Evidence    *Evidence  `json:"evidence,omitempty"`
	Action      *Action    `json:"action,omitempty"`
	Blocked     *Blocked   `json:"blocked,omitempty"`
	Incident    string     `json:"incident,omitempty"` // id of the newest incident that it is part of
	Muted       *Muted     `json:"muted,omitempty"`    // by a rule: nobody acts on it
	Early       bool       `json:"-"`                  // closed before it was quiet, because the input ended or too many were open: nobody knows whether it is over
}

// Party is a subject or a victim: an address, a prefix, or without both an autonomous system or a country.
type Party struct {
	IP         netip.Addr   `json:"ip,omitzero"`
	Prefix     netip.Prefix `json:"prefix,omitzero"`
	Port       uint16       `json:"port,omitempty"`
	Protocol   string       `json:"protocol,omitempty"` // of Port: tcp, udp, sctp, …
	ASN        uint32       `json:"asn,omitempty"`
	Country    string       `json:"country,omitempty"`
	ReturnPath string       `json:"return_path,omitempty"` // of a subject: "proven" or "unproven"
	Name       string       `json:"name,omitempty"`        // of its network, by networks.names
	Service    string       `json:"service,omitempty"`     // of Port: by networks.services, else by what its connections open with, else by the port
	Lists      []string     `json:"lists,omitempty"`       // of networks.lists that hold all of it
}

// String is the address or prefix, with the port where there is one; without either "AS64500" or "country DE".
func (p *Party) String() string {
	s := p.Prefix.String()
	switch {
	case p.IP.IsValid():
		s = p.IP.String()
	case p.Prefix.IsValid():
	case p.ASN != 0:
		return "AS" + strconv.FormatUint(uint64(p.ASN), 10)
	case p.Country != "":
		return "country " + p.Country
	}
	if p.Port != 0 {
		s = net.JoinHostPort(s, strconv.Itoa(int(p.Port))) + "/" + p.Protocol
	}
	return s
}

// Measure is one number of the decision. Values that are no integers are rounded to six digits, so that they do not depend
// on the processor.
type Measure struct {
	Name      string    `json:"measure"`
	Value     float64   `json:"value"`
	Unit      string    `json:"unit,omitempty"`
	Threshold float64   `json:"threshold,omitempty"` // none: the measure explains and did not decide
	Baseline  *Baseline `json:"baseline,omitempty"`
	Window    float64   `json:"window,omitempty"` // s; none: since the start of the evidence
	Alert     string    `json:"alert,omitempty"`  // of an incident: id of the alert that it is the score of
	Time      Time      `json:"time,omitempty"`   // likewise: when that alert's evidence began
}

// Baseline is what a measure was compared with.
type Baseline struct {
	Mean   float64 `json:"mean"`
	Stddev float64 `json:"stddev"`
	N      uint64  `json:"n"`
}

// Signature is what a flood can be dropped by without its sources: header fields that all must match.
type Signature struct {
	Fields  []Field `json:"fields"`
	Attack  float64 `json:"attack"`   // share of the attack's sample that it covers
	Normal  float64 `json:"normal"`   // share of the victim's normal sample that it would hit
	NAttack int     `json:"n_attack"` // sample sizes
	NNormal int     `json:"n_normal"`
}

// Field is one condition of a signature.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Loss is what the sensor could not see or count from a minute before the alert's first finding until this revision.
type Loss struct {
	Ratio  float64           `json:"ratio"`             // of packets that were never seen
	OneWay bool              `json:"one_way,omitempty"` // the link showed one direction only
	Causes map[string]uint64 `json:"causes,omitempty"`  // by tally.Loss; encoding/json sorts them
}

// Evidence is the capture of the alert's packets.
type Evidence struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Action is what was done: a drop, or the guard that refused it.
type Action struct {
	Drop   string `json:"drop,omitempty"`
	Effect string `json:"effect,omitempty"` // of the drop: drop, drop_new, limit_new, limit; shadow; pending
	Guard  string `json:"guard,omitempty"`
}

// Blocked is what the gate's drops for this alert kept from its victim: packets that no Count and no measure tells.
type Blocked struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// fieldNames are the JSON names of an alert's fields, in order.
var fieldNames = func() (names []string) {
	for f := range reflect.TypeFor[Alert]().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" {
			names = append(names, name)
		}
	}
	return names
}()

// AppendLine appends the alert as one line of JSON, newline included.
func (a *Alert) AppendLine(b []byte) ([]byte, error) { return appendJSON(b, a) }

func appendJSON(b []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(b)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return w.Bytes(), err
}

// State of an alert.
type State uint8

// States.
const (
	Open State = iota
	Update
	Closed
	StateCount
)

var stateNames = [StateCount]string{"open", "update", "closed"}

// String is the state as JSON shows it.
func (s State) String() string { return stateNames[s] }

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return marshalName(stateNames[:], int(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(b []byte) error {
	i, err := unmarshalName(stateNames[:], b)
	*s = State(i)
	return err
}

// Severity of an alert, ascending.
type Severity uint8

// Severities and the least score of each.
const (
	Info     Severity = iota
	Low               // 25
	Medium            // 50
	High              // 70
	Critical          // 90
	SeverityCount
)

var severityNames = [SeverityCount]string{"info", "low", "medium", "high", "critical"}

var severityScores = [SeverityCount]int{0, 25, 50, 70, 90}

// SeverityOf a score; limit caps it (0: no cap).
func SeverityOf(score, limit int) Severity {
	if limit > 0 {
		score = min(score, limit)
	}
	s := Critical
	for s > Info && score < severityScores[s] {
		s--
	}
	return s
}

// String is the severity as JSON shows it.
func (s Severity) String() string { return severityNames[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return marshalName(severityNames[:], int(s)) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(b []byte) error {
	i, err := unmarshalName(severityNames[:], b)
	*s = Severity(i)
	return err
}

func marshalName(names []string, i int) ([]byte, error) {
	if i >= len(names) {
		return nil, fmt.Errorf("%d is none of %q", i, names)
	}
	return []byte(names[i]), nil
}

func unmarshalName(names []string, b []byte) (int, error) {
	for i, n := range names {
		if n == string(b) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is none of %q", b, names)
}

// Time is event time in ns since the Unix epoch; in JSON RFC 3339 in UTC with nine digits of a second.
type Time int64

const timeLayout = "2006-01-02T15:04:05.000000000Z"

// String is the time as JSON shows it.
func (t Time) String() string { return time.Unix(0, int64(t)).UTC().Format(timeLayout) }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Time) UnmarshalText(b []byte) error {
	u, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return err
	}
	*t = Time(u.UnixNano())
	return nil
}
