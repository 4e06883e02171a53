// Package analyzers judges epochs: one file a detector, each with its Config, New, and one method that turns an Epoch into
// Findings. An analyzer never sees a packet and reads no clock.
package analyzers

import (
	"net/netip"

	"weir/analyzers/tally"
)

// Analyzer judges epochs in order of time, one goroutine at a time. The first seconds without traffic are judged, too, so that
// what was held back for a second is told; then ticks are skipped, so Epoch.Tick may jump. What is emitted is copied by the
// receiver; Findings of one tick may come in any fixed order.
type Analyzer interface {
	Name() string
	Judge(e *tally.Epoch, emit func(*Finding))

	// Finish is called once, after the last Judge: evidence that no finding has told yet is told.
	Finish(emit func(*Finding))
}

// Party is a subject or a victim: an address, a prefix, an autonomous system, a country, or nobody (zero value).
type Party struct {
	Prefix     netip.Prefix // a single address has full length; invalid: nobody, or whom ASN or Country names
	Port       uint16       // 0: none
	Proto      uint8        // IP protocol of Port
	ReturnPath bool         // proven within the evidence
	ASN        uint32       // only without a Prefix: a whole autonomous system
	Country    string       // likewise; ISO 3166-1 alpha-2
}

// Finding is an analyzer's judgement at one tick. While a condition lasts an analyzer may repeat its finding at most once
// a second of event time per (kind, subject, victim); sensor/alert makes one alert of the repeats.
type Finding struct {
	Analyzer   string
	Kind       string
	Time       int64 // ns: end of the tick that crossed
	Subject    Party
	Victim     Party
	Score      int    // 0–100, strength of evidence
	MaxScore   int    // cap of the kind; the severity follows from min(Score, MaxScore)
	Confidence int    // 0–100: how much the sensor saw
	Count      uint64 // events that are evidence: new ones since the finding before of the same key, which add up
	Total      bool   // Count is all of the evidence so far: it does not add up, the highest stands
	First      int64  // ns, event time of the first evidence
	Last       int64
	Quiet      int64 // ns without a repeat after which the alert closes
	Why        []Measure
	Summary    string   // one English sentence with the numbers
	Attack     []string // MITRE ATT&CK ids
	Signature  *Signature
	Notes      []string // what limits the evidence: one-way view, sample only, …
	Print      string   // of the subject, as a name; "" if it is not known or says nothing
}

// Measure is one number of a decision.
type Measure struct {
	Name      string // "failed_contacts"
	Value     float64
	Unit      string // "contacts", "packets/s"
	Threshold float64
	Baseline  *Baseline
	Window    int64 // ns, 0: since the start of the evidence

	Alert string // id of the alert that it is of; only in incidents
	Time  int64  // ns: likewise, when that alert's evidence began
}

// Baseline is what a measure was compared with.
type Baseline struct {
	Mean, Stddev float64
	N            uint64
}

// Signature is a set of header fields that all must match: what a gate can drop a flood by without knowing sources.
type Signature struct {
	Fields  []Field
	Attack  float64 // share of the attack's sampled packets it covers
	Normal  float64 // share of the victim's normal sample it would hit
	NAttack int     // sample sizes
	NNormal int
}

// Field is one condition of a signature.
type Field struct {
	Name  string // protocol, src_port, dst_port, length, ttl_min, ttl_max, tcp_window, tcp_flags, tcp_options, payload
	Value string
}
