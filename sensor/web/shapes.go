package web

import (
	"bytes"
	"encoding/json"
	"time"

	"weir/sensor/alert"
)

// Status is how the process stands: GET /api/v1/status. What a part that does not run would tell is absent.
type Status struct {
	Version    string      `json:"version"`
	Site       string      `json:"site"`
	Sensor     string      `json:"sensor"`
	Mode       string      `json:"mode"` // sense, run, block
	DryRun     bool        `json:"dry_run"`
	Started    time.Time   `json:"started"`
	Now        time.Time   `json:"now"`
	EventTime  *time.Time  `json:"event_time,omitempty"` // judged up to; none: nothing was judged yet
	Interfaces []Interface `json:"interfaces"`
	Loss       Loss        `json:"loss"`
	OneWay     bool        `json:"one_way"`
	AlertsOpen *uint64     `json:"alerts_open,omitempty"`
	Drops      Counts      `json:"drops"`
	Panic      *Panic      `json:"panic"` // null: none holds
	NotReady   []string    `json:"not_ready"`
	Changes    bool        `json:"changes"` // a token would be accepted
}

// Interface is one that is captured from, or dropped at.
type Interface struct {
	Name    string `json:"name"`
	Up      bool   `json:"up"`
	Packets uint64 `json:"packets"` // received, by its own count
	Dropped uint64 `json:"dropped"` // before capture
}

// Loss is what was not seen, or not counted or told in full.
type Loss struct {
	Ratio  float64           `json:"ratio"`  // of packets, within the last minute
	Causes map[string]uint64 `json:"causes"` // since the start, by stage.cause as in docs/metrics.md; those that are not 0
}

// Counts are of drops. What the process does not know is absent.
type Counts struct {
	Wanted   *int `json:"wanted,omitempty"`
	Enforced *int `json:"enforced,omitempty"` // in force at the gates of this process, those in rehearsal included
	Shadow   *int `json:"shadow,omitempty"`   // of these: counted only
	Pending  *int `json:"pending,omitempty"`  // wait for approval
}

// Panic is one that was not resumed.
type Panic struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// Point is one second of the link. A band is nil while what is normal is not known.
type Point struct {
	Time    int64   `json:"t"` // unix seconds
	Packets float64 `json:"packets"`
	Bits    float64 `json:"bits"`
	Loss    float64 `json:"loss"` // share of the packets of the last minute that were not seen
	*PacketsBand
	*BitsBand
}

// PacketsBand is what is normal of packets a second, and from where on they are alarmed.
type PacketsBand struct {
	Mean   float64 `json:"packets_mean"`
	Stddev float64 `json:"packets_stddev"`
	Alarm  float64 `json:"packets_alarm"`
}

// BitsBand is the same of bits a second.
type BitsBand struct {
	Mean   float64 `json:"bits_mean"`
	Stddev float64 `json:"bits_stddev"`
	Alarm  float64 `json:"bits_alarm"`
}

// Top is who was busiest: GET /api/v1/top.
type Top struct {
	Time     time.Time    `json:"time,omitzero"` // event time; none: nothing was judged yet
	Window   float64      `json:"window"`        // s
	Sources  []TopSource  `json:"sources"`
	Services []TopService `json:"services"`
}

// TopSource is a busy sender.
type TopSource struct {
	IP          string `json:"ip"`
	Name        string `json:"name,omitempty"` // of its network
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
	Connections uint64 `json:"connections"`
}

// TopService is a busy destination.
type TopService struct {
	IP          string `json:"ip"`
	Port        uint16 `json:"port"`
	Protocol    string `json:"protocol"`
	Service     string `json:"service,omitempty"`
	Name        string `json:"name,omitempty"` // of its network
	Packets     uint64 `json:"packets"`
	Bytes       uint64 `json:"bytes"`
	Connections uint64 `json:"connections"`
}

// Near is what is closest to a threshold: GET /api/v1/near.
type Near struct {
	Time time.Time  `json:"time,omitzero"`
	Near []NearMark `json:"near"` // the nearest first
}

// NearMark is one measure on its way to a threshold.
type NearMark struct {
	Analyzer  string       `json:"analyzer"`
	Kind      string       `json:"kind"`
	Subject   *alert.Party `json:"subject,omitempty"`
	Victim    *alert.Party `json:"victim,omitempty"`
	Measure   string       `json:"measure"`
	Value     float64      `json:"value"`
	Threshold float64      `json:"threshold"`
	Unit      string       `json:"unit,omitempty"`
	Share     float64      `json:"share"` // value / threshold
	Would     string       `json:"would"` // alert, drop
}

// Drop is one that was asked for, and how it stands.
type Drop struct {
	ID       string     `json:"id"`
	Key      string     `json:"key"`
	Target   string     `json:"target"`
	Scope    string     `json:"scope"`
	Action   string     `json:"action"`
	Would    string     `json:"would,omitempty"` // of action shadow
	Rate     uint32     `json:"rate,omitempty"`  // of limit and limit_new: a second
	State    string     `json:"state"`           // applied, pending, shadow, refused, wanted
	Guard    string     `json:"guard,omitempty"` // why it is pending or refused
	Reason   string     `json:"reason"`
	Summary  string     `json:"summary,omitempty"`
	By       string     `json:"by"`
	Approved string     `json:"approved,omitempty"` // who approved it
	Alert    string     `json:"alert,omitempty"`    // id of the alert that it answers
	Created  time.Time  `json:"created,omitzero"`   // unknown of one that only gates know
	Until    time.Time  `json:"until"`
	Packets  uint64     `json:"packets"` // that met it, at all gates
	Bytes    uint64     `json:"bytes"`
	Last     time.Time  `json:"last,omitzero"` // when the last met it
	Gates    []DropGate `json:"gates"`
}

// DropGate is how a drop stands at one gate.
type DropGate struct {
	Sensor    string `json:"sensor"`
	Interface string `json:"interface"`
	Table     string `json:"table"`
	State     string `json:"state"`
	Guard     string `json:"guard,omitempty"`
	Error     string `json:"error,omitempty"`
}

// DropList is GET /api/v1/drops.
type DropList struct {
	Drops    []Drop   `json:"drops"` // the newest first
	Wanted   int      `json:"wanted"`
	Enforced int      `json:"enforced"`
	Notes    []string `json:"notes,omitempty"` // what is missing in it
}

// Ask is a drop that a person asks for: the body of POST /api/v1/drops.
type Ask struct {
	Target string `json:"target"`
	For    string `json:"for"`
	Action string `json:"action"`
	Rate   uint32 `json:"rate"`
	Reason string `json:"reason"`
	Shadow bool   `json:"shadow"`
}

// Error is an answer that is none: why, and with what status of HTTP.
type Error struct {
	Status int
	Text   string // one sentence, which repeats nothing of the request
	Guard  string // that refused
}

// Error is the sentence.
func (e *Error) Error() string { return e.Text }

// safe makes one line of a JSON object whose strings no browser takes for markup, and which is valid UTF-8.
func safe(object []byte) (json.RawMessage, error) {
	var line, out bytes.Buffer
	if err := json.Compact(&line, bytes.ToValidUTF8(object, []byte("\uFFFD"))); err != nil {
		return nil, err
	}
	json.HTMLEscape(&out, line.Bytes())
	return out.Bytes(), nil
}
