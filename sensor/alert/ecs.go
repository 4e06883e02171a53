package alert

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ecsVersion is the Elastic Common Schema whose field types the tests hold; all fields used exist since 8.0.
const ecsVersion = "9.4.0"

// ecs is an alert in the Elastic Common Schema. Its field sets stand in the order of their names in the schema's reference.
type ecs struct {
	Timestamp   Time        `json:"@timestamp"`
	Message     string      `json:"message"`
	ECS         ecsSelf     `json:"ecs"`
	Event       ecsEvent    `json:"event"`
	Rule        ecsRule     `json:"rule"`
	Observer    ecsObserver `json:"observer"`
	Source      *ecsEnd     `json:"source,omitempty"`
	Destination *ecsEnd     `json:"destination,omitempty"`
	Network     *ecsNetwork `json:"network,omitempty"`
	Related     *ecsRelated `json:"related,omitempty"`
	Threat      *ecsThreat  `json:"threat,omitempty"`
	Weir        ecsWeir     `json:"weir"` // what the schema has no field for
}

type ecsSelf struct {
	Version string `json:"version"`
}

type ecsEvent struct {
	Kind      string   `json:"kind"`
	Category  []string `json:"category"`
	Type      []string `json:"type"`
	Module    string   `json:"module"`
	Dataset   string   `json:"dataset"`
	ID        string   `json:"id"` // of the revision, so that one that comes twice is stored once
	Action    string   `json:"action"`
	Severity  int      `json:"severity"` // 0 info to 4 critical
	RiskScore float64  `json:"risk_score"`
	Start     Time     `json:"start"`
	End       Time     `json:"end"`
}

type ecsRule struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Category    string `json:"category"`
	Ruleset     string `json:"ruleset"`
	Description string `json:"description"`
}

type ecsObserver struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Vendor  string `json:"vendor"`
	Product string `json:"product"`
}

// ecsEnd is a source or destination. The schema's type of ip holds no prefix: of one, there is the address field only, which
// is text.
type ecsEnd struct {
	Address string     `json:"address"`
	IP      netip.Addr `json:"ip,omitzero"`
	Port    uint16     `json:"port,omitempty"`
	AS      *ecsAS     `json:"as,omitempty"`
	Geo     *ecsGeo    `json:"geo,omitempty"`
}

type ecsAS struct {
	Number uint32 `json:"number"`
}

type ecsGeo struct {
	Country string `json:"country_iso_code"`
}

type ecsNetwork struct {
	Type        string `json:"type,omitempty"`
	Transport   string `json:"transport,omitempty"`
	CommunityID string `json:"community_id,omitempty"`
}

type ecsRelated struct {
	IP []netip.Addr `json:"ip"`
}

type ecsThreat struct {
	Framework string       `json:"framework"`
	Technique ecsTechnique `json:"technique"`
}

type ecsTechnique struct {
	ID           []string     `json:"id"`
	Subtechnique *ecsSubtechs `json:"subtechnique,omitempty"`
}

type ecsSubtechs struct {
	ID []string `json:"id"`
}

// ecsWeir holds the fields of Alert that no field of the schema tells in full, under the names of Alert.
type ecsWeir struct {
	Schema     string     `json:"schema"`
	ID         string     `json:"id"`
	Rev        int        `json:"rev"`
	State      State      `json:"state"`
	Severity   Severity   `json:"severity"`
	Confidence int        `json:"confidence"`
	Subject    *Party     `json:"subject,omitempty"`
	Victim     *Party     `json:"victim,omitempty"`
	Count      uint64     `json:"count"`
	Why        []Measure  `json:"why"`
	Notes      []string   `json:"notes,omitempty"`
	Signature  *Signature `json:"signature,omitempty"`
	Loss       Loss       `json:"loss"`
	Config     string     `json:"config,omitempty"`
	Evidence   *Evidence  `json:"evidence,omitempty"`
	Action     *Action    `json:"action,omitempty"`
	Blocked    *Blocked   `json:"blocked,omitempty"`
	Incident   string     `json:"incident,omitempty"`
	Muted      *Muted     `json:"muted,omitempty"`
}

// AppendECS appends the revision as a document of the Elastic Common Schema, newline included.
//
// The subject is the source, the victim the destination; nobody has none. event.id is id.rev. Numbers that Elasticsearch
// would refuse to index become the greatest that it takes: counts 2^63-1, measures 2^62.
func (a *Alert) AppendECS(b []byte) ([]byte, error) {
	r := a.rule()
	name := a.Analyzer + "." + a.Kind
	e := ecs{
		Timestamp: a.Time, Message: a.Summary, ECS: ecsSelf{ecsVersion},
		Event: ecsEvent{
			Kind: "alert", Category: []string{"intrusion_detection", "network"}, Type: []string{"info"}, Module: "weir", Dataset: "weir.alert",
			ID: a.ID + "." + strconv.Itoa(a.Rev), Action: name, Severity: int(a.Severity), RiskScore: float64(a.Score), Start: a.First, End: max(a.First, a.Last),
		},
		Rule:     ecsRule{ID: strconv.Itoa(r.id), Name: name, Category: a.Analyzer, Ruleset: "weir", Description: r.title},
		Observer: ecsObserver{Name: a.Sensor, Type: "ids", Vendor: "weir", Product: "weir"},
		Source:   ecsEndOf(a.Subject), Destination: ecsEndOf(a.Victim), Network: a.ecsNetwork(), Related: a.ecsRelated(), Threat: a.ecsThreat(),
		Weir: a.ecsWeir(),
	}
	if a.dropped() {
		e.Event.Type = []string{"denied"}
	}
	return appendJSON(b, &e)
}

func ecsEndOf(p *Party) *ecsEnd {
	if !p.first().IsValid() {
		return nil
	}
	e := &ecsEnd{Address: p.Prefix.String(), Port: p.Port}
	if p.IP.IsValid() {
		e.Address, e.IP = p.IP.String(), p.first()
	}
	if p.ASN != 0 {
		e.AS = &ecsAS{p.ASN}
	}
	if p.Country != "" {
		e.Geo = &ecsGeo{p.Country}
	}
	return e
}

func (a *Alert) ecsNetwork() *ecsNetwork {
	n := ecsNetwork{Transport: a.transport(), CommunityID: a.CommunityID}
	switch {
	case a.over6():
		n.Type = "ipv6"
	case a.Subject.first().IsValid() || a.Victim.first().IsValid():
		n.Type = "ipv4"
	}
	if n == (ecsNetwork{}) {
		return nil
	}
	return &n
}

func (a *Alert) ecsRelated() *ecsRelated {
	var r ecsRelated
	for _, p := range []*Party{a.Subject, a.Victim} {
		if p != nil && p.IP.IsValid() && !slices.Contains(r.IP, p.first()) {
			r.IP = append(r.IP, p.first())
		}
	}
	if r.IP == nil {
		return nil
	}
	return &r
}

// ecsThreat tells techniques (T1499) from sub-techniques (T1499.001), as the schema does.
func (a *Alert) ecsThreat() *ecsThreat {
	t := ecsThreat{Framework: "MITRE ATT&CK"}
	var sub []string
	for _, id := range a.Attack {
		technique, _, is := strings.Cut(id, ".")
		if is {
			sub = append(sub, id)
		}
		if !slices.Contains(t.Technique.ID, technique) {
			t.Technique.ID = append(t.Technique.ID, technique)
		}
	}
	if t.Technique.ID == nil {
		return nil
	}
	if sub != nil {
		t.Technique.Subtechnique = &ecsSubtechs{sub}
	}
	return &t
}

func (a *Alert) ecsWeir() ecsWeir {
	w := ecsWeir{
		Schema: a.Schema, ID: a.ID, Rev: a.Rev, State: a.State, Severity: a.Severity, Confidence: a.Confidence, Subject: a.Subject, Victim: a.Victim,
		Count: signed(a.Count), Why: make([]Measure, len(a.Why)), Notes: a.Notes, Signature: a.Signature,
		Loss: Loss{Ratio: a.Loss.Ratio, OneWay: a.Loss.OneWay}, Config: a.Config, Evidence: a.Evidence, Action: a.Action,
		Incident: a.Incident, Muted: a.Muted,
	}
	for i, m := range a.Why {
		m.Value, m.Threshold, m.Window = float(m.Value), float(m.Threshold), float(m.Window)
		if m.Baseline != nil {
			m.Baseline = &Baseline{float(m.Baseline.Mean), float(m.Baseline.Stddev), signed(m.Baseline.N)}
		}
		w.Why[i] = m
	}
	if b := a.Blocked; b != nil {
		w.Blocked = &Blocked{signed(b.Packets), signed(b.Bytes)}
	}
	for cause, n := range a.Loss.Causes {
		if w.Loss.Causes == nil {
			w.Loss.Causes = map[string]uint64{}
		}
		w.Loss.Causes[cause] = signed(n)
	}
	return w
}

func signed(n uint64) uint64 { return min(n, math.MaxInt64) }

// float keeps within what fits a long, too: JSON shows a whole float64 as an integer.
func float(v float64) float64 { return max(-1<<62, min(v, 1<<62)) }
