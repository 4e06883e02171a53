package alert

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"weir/analyzers"
	"weir/analyzers/tally"
)

// key is what makes findings repeats of one alert.
type key struct {
	analyzer, kind  string
	subject, victim party
	join            string // of incidents: what its alerts have in common besides the parties
	folded          bool   // stands for all that were too many
}

// party is the identity of a Party; what may change while an alert lasts is not in it.
type party struct {
	prefix  netip.Prefix
	port    uint16
	proto   uint8
	asn     uint32
	country string
}

func partyOf(p *analyzers.Party) party {
	return party{p.Prefix.Masked(), p.Port, p.Proto, p.ASN, p.Country}
}

func keyOf(f *analyzers.Finding) key {
	return key{analyzer: f.Analyzer, kind: f.Kind, subject: partyOf(&f.Subject), victim: partyOf(&f.Victim)}
}

func (k *key) compare(o *key) int {
	return cmp.Or(strings.Compare(k.analyzer, o.analyzer), strings.Compare(k.kind, o.kind),
		k.subject.compare(o.subject), k.victim.compare(o.victim), strings.Compare(k.join, o.join), cmp.Compare(len(k.fold()), len(o.fold())))
}

func (p party) compare(o party) int {
	return cmp.Or(p.prefix.Addr().Compare(o.prefix.Addr()), cmp.Compare(p.prefix.Bits(), o.prefix.Bits()),
		cmp.Compare(p.proto, o.proto), cmp.Compare(p.port, o.port), cmp.Compare(p.asn, o.asn), strings.Compare(p.country, o.country))
}

func (k *key) fold() string {
	if k.folded {
		return "folded"
	}
	return ""
}

// id is the identity of an alert of this key that opens at time t.
func (k *key) id(t int64) string {
	text := fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%s\x00%d", k.analyzer, k.kind, k.subject, k.victim, k.fold(), t/tally.Tick)
	if k.join != "" {
		text += "\x00" + k.join
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func (p party) String() string {
	s := fmt.Sprintf("%s %d/%d", p.prefix, p.port, p.proto)
	if p.asn != 0 || p.country != "" {
		s += fmt.Sprintf(" AS%d %s", p.asn, p.country)
	}
	return s
}

// protocols are the names of IP protocols that have ports, or that findings are about.
var protocols = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite"}

// public is the alert form of a party; nil if it is nobody.
func public(p *analyzers.Party) *Party {
	out := &Party{Port: p.Port}
	switch {
	case !p.Prefix.IsValid() && p.ASN == 0 && p.Country == "":
		return nil
	case !p.Prefix.IsValid():
		out.ASN, out.Country = p.ASN, p.Country
	case p.Prefix.IsSingleIP():
		out.IP = p.Prefix.Addr()
	default:
		out.Prefix = p.Prefix.Masked()
	}
	if p.Proto != 0 {
		out.Protocol = protocols[p.Proto]
		if out.Protocol == "" {
			out.Protocol = strconv.Itoa(int(p.Proto))
		}
	}
	if p.ReturnPath {
		out.ReturnPath = "proven"
	}
	return out
}

// party is the alert form of a party, with what the site knows of it.
func (m *Manager) party(p *analyzers.Party) *Party {
	out := public(p)
	n := m.networks
	if out == nil || n == nil || !p.Prefix.IsValid() {
		return out
	}
	if out.IP.IsValid() {
		out.ASN, out.Country = n.Origin(out.IP)
	}
	out.Name, out.Service, out.Lists = n.Name(p.Prefix), m.site.ServiceName(p.Prefix.Addr(), p.Proto, p.Port), n.Listed(p.Prefix)
	return out
}

// unproven says of a subject that nothing proves its return path, unless something does.
func (p *Party) unproven() {
	if p != nil {
		p.ReturnPath = cmp.Or(p.ReturnPath, "unproven")
	}
}

// describe takes the numbers and words of a finding over into an alert.
func (a *Alert) describe(f *analyzers.Finding) {
	a.Score = max(0, min(f.Score, 100))
	a.Confidence = max(0, min(f.Confidence, 100))
	a.Why = make([]Measure, len(f.Why))
	for i := range f.Why {
		m := &f.Why[i]
		a.Why[i] = Measure{Name: m.Name, Value: round(m.Value), Unit: m.Unit, Threshold: round(m.Threshold), Window: round(float64(m.Window) / 1e9), Alert: m.Alert, Time: Time(m.Time)}
		if b := m.Baseline; b != nil {
			a.Why[i].Baseline = &Baseline{round(b.Mean), round(b.Stddev), b.N}
		}
	}
	a.Summary = f.Summary
	a.Notes = append([]string(nil), f.Notes...)
	a.Attack = append([]string(nil), f.Attack...)
	if s := f.Signature; s != nil {
		a.Signature = &Signature{Attack: round(s.Attack), Normal: round(s.Normal), NAttack: s.NAttack, NNormal: s.NNormal, Fields: make([]Field, len(s.Fields))}
		for i, field := range s.Fields {
			a.Signature.Fields[i] = Field(field)
		}
	}
}

// round makes a number fit for JSON and equal on every processor: integers stay, all else keeps six digits.
func round(v float64) float64 {
	const exact = 1 << 53
	switch {
	case math.IsNaN(v):
		return 0
	case math.IsInf(v, 0):
		return math.Copysign(math.MaxFloat64, v)
	case v == math.Trunc(v) && math.Abs(v) <= exact:
		return v
	}
	r, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	return r
}
