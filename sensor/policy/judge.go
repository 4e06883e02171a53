package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/analyzers/context"
	"weir/sensor/alert"
)

// candidate is a drop on its way through the guards.
type candidate struct {
	drop     *Drop
	alert    *alert.Alert // nil: by hand
	since    int64        // ns: first evidence
	lacks    string       // why there is no remedy
	approves *Drop        // the pending drop that it is
	same     *entry       // that makes it a duplicate
}

// kind names analyzer and kind of the alert.
func (c *candidate) kind() string { return kindOf(c.alert) }

func kindOf(a *alert.Alert) string { return clip(a.Analyzer+"."+a.Kind, maxName) }

// Judge answers a revision of an alert: with a drop, or with the guards that refused it. One that opens or grows is answered
// by the first of its remedies that passes. One that closes because its attack is over ends the limit on its victim's service
// and its signature, unless packets still meet them; sources stay until their own end, and all does if it was closed early.
//
// What is muted is not answered, and what it was answered with before ends. Decisions that time brought are told before (see Advance).
func (p *Policy) Judge(a *alert.Alert, now int64) []Decision {
	out := p.Advance(now)
	if a.State >= alert.Closed {
		if a.Early {
			return out
		}
		calm := max(int64(a.Last), 0)
		if calm < p.now {
			calm += min(calmSpan, p.now-calm)
		}
		return append(out, p.relieve(clip(a.ID, maxName), "the attack is over", func(e *entry) bool {
			return e.drop.Service != nil && e.lastHit <= calm
		})...)
	}
	if a.Muted != nil { // since it was acted upon, perhaps
		out = append(out, p.relieve(clip(a.ID, maxName), "a rule mutes its alert", func(*entry) bool { return true })...)
	}
	for _, c := range p.remedies(a) {
		decided, more, again := p.decide(c)
		out = append(append(out, decided), more...)
		if !again {
			break
		}
	}
	return out
}

// calmSpan is how long after the last evidence packets may still be under way, in ns. A drop that is hit later holds back what
// another alert tells of, as when floods of several kinds become one.
const calmSpan = int64(5e9)

// decide takes a candidate through the guards. More is what follows of it; again asks for the next remedy.
func (p *Policy) decide(c *candidate) (decided Decision, more []Decision, again bool) {
	which, why := p.guard(c)
	if which < 0 || guards[which].pends && !p.wanted(c.drop) {
		decided = p.accept(c, which, why)
		if d := decided.Drop; d.State == Requested && c.alert != nil {
			more = p.follow(d, c)
		}
		return decided, more, false
	}
	name := guards[which].name
	return p.refuse(c, which, why), nil, c.drop.Scope == ScopeSignature && (name == "signature_hits_normal" || name == "malformed")
}

// wanted reports whether a drop of the same key is in force: it stays as it is rather than wait for another's approval.
func (p *Policy) wanted(d *Drop) bool {
	e := p.drops[d.Key()]
	return e != nil && e.drop.State == Requested
}

// accept makes a candidate wanted; a guard that only delays makes it pending.
func (p *Policy) accept(c *candidate, which int, why string) Decision {
	d := c.drop
	d.Schema, d.State, d.Guard, d.Generation = Schema, Requested, "", p.next()
	old := p.drops[d.Key()]
	if old != nil {
		d.ID = old.drop.ID
		if d.By == ByPolicy {
			d.Created, d.Extended = old.drop.Created, old.drop.Extended
		}
	} else {
		d.ID = identity(d, p.now)
	}
	if which >= 0 {
		d.State, d.Guard = Pending, guards[which].name
		p.stats.Pending++
	} else {
		p.stats.Requested++
		p.recent = append(p.recent, p.now)
		p.strike(c, old)
	}
	if d.Effect() == DropAll && d.Source().IsValid() && p.cfg.Canary > 0 {
		d.Canary = min(p.unix()+seconds(p.cfg.Canary), d.Until)
	}
	d.Summary = p.summary(c, why)
	p.put(d, c.since)
	return Decision{Drop: d}
}

// strike counts an offence of a source with a proven return path, and sets how long its drop lasts. Others always get the
// first span: an address that may be forged collects no strikes.
func (p *Policy) strike(c *candidate, old *entry) {
	d := c.drop
	if d.By != ByPolicy {
		return
	}
	if s := d.Source(); s.IsValid() && d.ReturnPath == "proven" {
		if old != nil && old.drop.State == Requested && old.drop.Strikes > 0 {
			d.Strikes = old.drop.Strikes // the same offence
		} else {
			d.Strikes = p.strikes.add(s, p.unix(), seconds(p.cfg.Forget))
		}
	}
	d.Until = p.unix() + seconds(p.cfg.Strikes[min(max(d.Strikes, 1), len(p.cfg.Strikes))-1])
	if old != nil {
		d.Until = min(max(d.Until, old.drop.Until), d.Created+seconds(p.cfg.Longest))
	}
}

// identity of a drop that begins now.
func identity(d *Drop, now int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", d.Key(), d.By, d.Alert, now))
	return hex.EncodeToString(sum[:8])
}

// follow is what a drop brings with it: a better remedy ends what stood in for it, and enough dropped siblings bring their
// prefix.
func (p *Policy) follow(d *Drop, c *candidate) []Decision {
	if d.Scope == ScopeSignature {
		return p.relieve(d.Alert, "a header signature has taken its place", func(e *entry) bool {
			return e.drop.Scope == ScopeService || e.drop.Source().IsValid() && e.drop.ReturnPath != "proven"
		})
	}
	wide := p.widened(d)
	if wide == nil {
		return nil
	}
	decided, _, _ := p.decide(&candidate{drop: wide, alert: c.alert, since: c.since})
	if r := decided.Refusal; r != nil && r.Guard == "duplicate" {
		return nil
	}
	return []Decision{decided}
}

// widened is the prefix of an address that was dropped, if enough siblings were.
func (p *Policy) widened(d *Drop) *Drop {
	if d.Scope != ScopeAddress || d.Effect() != DropAll {
		return nil
	}
	bits := p.cfg.WidenV4
	if d.IP.Is6() {
		bits = p.cfg.WidenV6
	}
	prefix, err := d.IP.Prefix(bits)
	if err != nil || bits == 0 {
		return nil
	}
	n := p.strikes.siblings(prefix, p.unix(), seconds(p.cfg.Forget))
	if n < p.cfg.Siblings {
		return nil
	}
	wide := *d
	wide.Scope, wide.IP, wide.Prefix = ScopePrefix, netip.Addr{}, prefix
	wide.Siblings, wide.Strikes, wide.Extended, wide.Created = n, 0, 0, p.unix()
	return &wide
}

// relieve ends drops of an alert, in order of their keys.
func (p *Policy) relieve(id, why string, which func(*entry) bool) (out []Decision) {
	list := slices.SortedFunc(slices.Values(p.alerts[id]), func(a, b *entry) int { return strings.Compare(a.key, b.key) })
	for _, e := range list {
		if e.drop.By == ByPolicy && which(e) {
			out = append(out, p.remove(e, Removed, "", ByPolicy, why))
		}
	}
	return out
}

// threshold is what an alert must reach, and which rule says so.
func (p *Policy) threshold(a *alert.Alert) (t Threshold, rule string) {
	for i := range p.cfg.Rules {
		if p.matches(&p.cfg.Rules[i], a) {
			return p.cfg.Rules[i].Severity, fmt.Sprintf("rule %d", i+1)
		}
	}
	return Threshold{Severity: p.cfg.Severity}, "policy.severity"
}

func (p *Policy) matches(r *Rule, a *alert.Alert) bool {
	if r.Kind != "" && r.Kind != a.Analyzer && r.Kind != a.Analyzer+"."+a.Kind {
		return false
	}
	if r.List == "" && len(r.ASN) == 0 && len(r.Country) == 0 {
		return true
	}
	s := prefixOf(a.Subject)
	if !s.IsValid() {
		return false
	}
	asn, country := a.Subject.ASN, a.Subject.Country
	if asn == 0 && country == "" {
		asn, country = p.networks.Origin(s.Addr())
	}
	return (r.List == "" || slices.Contains(p.networks.Listed(s), r.List)) &&
		(len(r.ASN) == 0 || slices.Contains(r.ASN, asn)) &&
		(len(r.Country) == 0 || slices.Contains(r.Country, country))
}

// flood is what can be done against a kind of flood besides its source.
type flood struct {
	protocol string // of the packets; "" where an alert does not tell it
	begins   bool   // it consists of beginning connections, so a limit on those meets it
	service  bool   // a limit on the service helps
}

// floods are the kinds of analyzer flood. Later fragments and floods of several kinds tell no protocol, and slow connections
// are few packets: a limit on the service would hit clients and spare the attack.
var floods = map[string]flood{
	"syn":           {"tcp", true, true},
	"connection":    {"tcp", true, true},
	"ack":           {"tcp", false, true},
	"rst":           {"tcp", false, true},
	"udp":           {"udp", false, true},
	"amplification": {"udp", false, true},
	"icmp":          {"icmp", false, true},
	"fragment":      {"", false, false},
	"multi":         {"", false, false},
	"slow":          {"tcp", false, false},
}

// remedies are the drops that would answer an alert, the best first. A source is dropped only with a proven return path.
// Without one, a flood's header signature is best, which hits nobody but the flood; then a limit on the new connections of the
// source, where the flood consists of such, else on the service. All but floods are answered at their subject only.
func (p *Policy) remedies(a *alert.Alert) []*candidate {
	kind, isFlood := floods[a.Kind]
	isFlood = isFlood && a.Analyzer == "flood"
	subject := prefixOf(a.Subject)
	proven := a.Subject != nil && a.Subject.ReturnPath == "proven"
	switch {
	case subject.IsValid() && (proven || !isFlood || p.cfg.Unproven == UnprovenAlert):
		return []*candidate{p.source(a, subject, proven)}
	case !isFlood:
		return []*candidate{p.nothing(a, "the alert names nobody")}
	}
	var list []*candidate
	if a.Signature != nil && p.cfg.Signatures && prefixOf(a.Victim).IsValid() {
		list = append(list, p.signature(a))
	}
	if subject.IsValid() && kind.begins {
		return append(list, p.source(a, subject, proven))
	}
	return append(list, p.service(a, &kind))
}

// request is what all drops of an alert have in common.
func (p *Policy) request(a *alert.Alert) *candidate {
	c := &candidate{alert: a, since: min(int64(a.First), p.now), drop: &Drop{
		Created: p.unix(), Until: p.unix() + seconds(p.cfg.Strikes[0]), By: ByPolicy, Alert: clip(a.ID, maxName),
		Reason: clip(a.Summary, maxReason),
	}}
	if c.drop.Reason == "" {
		c.drop.Reason = kindOf(a)
	}
	return c
}

// act sets the action, or in a rehearsal what it would be.
func (p *Policy) act(c *candidate, action Action, rate uint32) *candidate {
	c.drop.Action, c.drop.Rate = action, rate
	if p.cfg.Shadow {
		c.drop.Action, c.drop.Would = Shadow, action
	}
	return c
}

func (p *Policy) nothing(a *alert.Alert, why string) *candidate {
	c := p.request(a)
	c.lacks = why
	return c
}

func (p *Policy) source(a *alert.Alert, s netip.Prefix, proven bool) *candidate {
	c := p.request(a)
	d := c.drop
	if d.Scope, d.IP = ScopeAddress, s.Addr(); !s.IsSingleIP() {
		d.Scope, d.IP, d.Prefix = ScopePrefix, netip.Addr{}, s
		d.Siblings = p.strikes.siblings(s, p.unix(), seconds(p.cfg.Forget))
	}
	switch d.ReturnPath = "unproven"; {
	case proven:
		d.ReturnPath = "proven"
		return p.act(c, DropAll, 0)
	case p.cfg.Unproven == UnprovenDropNew:
		return p.act(c, DropNew, 0)
	}
	return p.act(c, LimitNew, p.cfg.UnprovenRate)
}

func (p *Policy) signature(a *alert.Alert) *candidate {
	c := p.request(a)
	c.drop.Scope, c.drop.Signature = ScopeSignature, a.Signature
	c.drop.Service = serviceOf(a.Victim, "")
	return p.act(c, DropAll, 0)
}

func (p *Policy) service(a *alert.Alert, kind *flood) *candidate {
	victim := prefixOf(a.Victim)
	switch {
	case !victim.IsValid():
		return p.nothing(a, "the alert names nobody")
	case !kind.service:
		return p.nothing(a, fmt.Sprintf("there is no proven source and no header signature, and a limit on the service would not help against %s", kindOf(a)))
	case p.cfg.ServiceRate == 0:
		return p.nothing(a, "there is no proven source and no header signature, and policy.service_rate is 0")
	case !victim.IsSingleIP():
		return p.nothing(a, fmt.Sprintf("there is no proven source and no header signature, and the victim %v is a network", victim))
	}
	c := p.request(a)
	c.drop.Scope, c.drop.Service = ScopeService, serviceOf(a.Victim, kind.protocol)
	return p.act(c, Limit, p.cfg.ServiceRate)
}

// serviceOf is a victim as destination; protocol is that of the attack where the victim names none.
func serviceOf(v *alert.Party, protocol string) *Service {
	s := &Service{Port: v.Port, Protocol: v.Protocol}
	if p := prefixOf(v); p.IsSingleIP() {
		s.IP = p.Addr()
	} else {
		s.Prefix = p
	}
	if s.Protocol == "" {
		s.Protocol = protocol
	}
	if s.Protocol == "icmp" && s.IP.Is6() {
		s.Protocol = "icmpv6"
	}
	return s
}

// prefixOf is the address or prefix of a party in its plain form; invalid: nobody, or two at once.
func prefixOf(v *alert.Party) netip.Prefix {
	switch {
	case v == nil || v.IP.IsValid() && v.Prefix.IsValid():
		return netip.Prefix{}
	case v.IP.IsValid():
		return context.Single(v.IP)
	}
	return context.Native(v.Prefix)
}

// summary is the sentence of a drop.
func (p *Policy) summary(c *candidate, pending string) string {
	d := c.drop
	var s strings.Builder
	fmt.Fprintf(&s, "%s for %s until %s", d.doing(), span(time.Duration(d.Until-p.unix())*time.Second), clockText(d.Until))
	if d.Strikes > 0 {
		fmt.Fprintf(&s, " (strike %d)", d.Strikes)
	}
	if a := c.alert; a != nil {
		fmt.Fprintf(&s, ", because of %s with severity %s, score %d, confidence %d", kindOf(a), a.Severity, a.Score, a.Confidence)
	} else {
		fmt.Fprintf(&s, ", by %s: %s", d.By, d.Reason)
	}
	switch {
	case d.ReturnPath != "":
		fmt.Fprintf(&s, "; return path %s", d.ReturnPath)
	case d.Signature != nil:
		fmt.Fprintf(&s, "; it covers %.0f %% of the attack and %.1f %% of normal packets (samples of %d and %d)",
			100*d.Signature.Attack, 100*d.Signature.Normal, d.Signature.NAttack, d.Signature.NNormal)
	}
	if d.Scope == ScopePrefix && d.Siblings > 0 {
		fmt.Fprintf(&s, "; %d of its addresses were dropped for what they did", d.Siblings)
	}
	if d.Canary > p.unix() {
		fmt.Fprintf(&s, "; in the first %d s only new connections", d.Canary-p.unix())
	}
	if pending != "" {
		fmt.Fprintf(&s, "; pending by guard %s: %s", d.Guard, pending)
	}
	return clip(s.String(), 3*maxReason) + "."
}

// doing names action and target.
func (d *Drop) doing() string {
	var s string
	switch d.Effect() {
	case DropAll:
		s = "drop " + d.what()
	case DropNew:
		s = "drop new connections of " + d.what()
	case LimitNew:
		s = fmt.Sprintf("limit new connections of %s to %d/s", d.what(), d.Rate)
	case Limit:
		s = fmt.Sprintf("limit packets of strangers to %s to %d/s", d.what(), d.Rate)
	}
	if d.Action == Shadow {
		return "rehearse: " + s
	}
	return s
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// span is a duration in its largest whole unit.
func span(d time.Duration) string {
	switch {
	case d >= 2*time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= 2*time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

// clockText is a time of day and date in UTC.
func clockText(unix int64) string {
	return time.Unix(min(max(unix, 0), maxUnix), 0).UTC().Format("2006-01-02T15:04:05Z")
}
