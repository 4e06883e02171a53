package policy

import (
	"fmt"
	"net/netip"

	"weir/analyzers"
	"weir/analyzers/context"
)

// guard is a reason not to drop. A standing one needs only the drop, the networks and the settings: it is asked again where
// drops are written into the kernel. A guard answers with the reason, or "" to let pass.
type guard struct {
	name     string
	standing func(g *Guards, d *Drop, now int64) string // now in unix seconds
	judge    func(p *Policy, c *candidate) string
	pends    bool // what it holds back waits for approval
}

// guards are asked in this order, for drops of the policy, of humans and of other machines alike; the first that answers
// names the refusal. First whether anything is to be done at all, then what must never be hit, then the evidence, then the
// caps.
var guards = []guard{
	{name: "panic", judge: held},
	{name: "muted", judge: muted},
	{name: "below_threshold", judge: belowThreshold},
	{name: "low_confidence", judge: lowConfidence},
	{name: "no_remedy", judge: noRemedy},
	{name: "no_reason", standing: noReason},
	{name: "no_expiry", standing: noExpiry},
	{name: "expired", standing: expired, judge: stale},
	{name: "too_long", standing: tooLong},
	{name: "malformed", standing: malformed},
	{name: "prefix_too_wide", standing: tooWide},
	{name: "never_list", standing: neverList},
	{name: "own_address", standing: sourceIs(context.Own, "an address of this site or host")},
	{name: "gateway", standing: partyIs(context.Gateway, "a gateway")},
	{name: "resolver", standing: partyIs(context.Resolver, "a resolver")},
	{name: "nats_server", standing: partyIs(context.NATSServer, "a NATS server")},
	{name: "ssh_peer", standing: sourceIs(context.SSHPeer, "the remote end of an SSH session")},
	{name: "trusted_proxy", standing: sourceIs(context.TrustedProxy, "a trusted proxy")},
	{name: "special_range", standing: specialRange},
	{name: "private_range", standing: privateRange},
	{name: "victim", judge: victim},
	{name: "unproven_address", standing: unprovenAddress},
	{name: "prefix_without_siblings", standing: withoutSiblings},
	{name: "signature_hits_normal", standing: hitsNormal},
	{name: "duplicate", judge: duplicate},
	{name: "cap_rate", judge: capRate},
	{name: "cap_total", judge: capTotal},
	{name: "cap_established", judge: capEstablished, pends: true},
}

// GuardNames are the guards in the order in which they are asked.
func GuardNames() []string {
	names := make([]string, len(guards))
	for i, g := range guards {
		names[i] = g.name
	}
	return names
}

// Guards are those that need nothing but settings and networks. An enforcer asks them before it writes a drop into the
// kernel, wherever the drop came from. Safe for concurrent use.
type Guards struct {
	cfg      Config
	networks *context.Networks
}

// NewGuards returns the standing guards.
func NewGuards(cfg Config, networks *context.Networks) *Guards { return &Guards{cfg, networks} }

// Check is nil if a drop may be enforced at time now (ns), else the refusal.
func (g *Guards) Check(d *Drop, now int64) *Refusal {
	name, why := g.check(d, max(now, 0)/1e9)
	if name == "" {
		return nil
	}
	return refusal(d, now, name, why)
}

func (g *Guards) check(d *Drop, now int64) (name, why string) {
	for i := range guards {
		if s := guards[i].standing; s != nil {
			if why := s(g, d, now); why != "" {
				return guards[i].name, why
			}
		}
	}
	return "", ""
}

// guard asks all guards of a candidate; -1 lets it pass.
func (p *Policy) guard(c *candidate) (which int, why string) {
	g := Guards{p.cfg, p.networks}
	for i := range guards {
		if s := guards[i].standing; s != nil {
			if why := s(&g, c.drop, p.unix()); why != "" {
				return i, why
			}
		}
		if j := guards[i].judge; j != nil {
			if why := j(p, c); why != "" {
				return i, why
			}
		}
	}
	return -1, ""
}

func held(p *Policy, _ *candidate) string {
	if p.held == nil {
		return ""
	}
	return fmt.Sprintf("nothing new is enforced since the panic of %s by %s, until it is resumed", clockText(p.held.Since), p.held.By)
}

func muted(_ *Policy, c *candidate) string {
	if c.alert == nil || c.alert.Muted == nil {
		return ""
	}
	return fmt.Sprintf("a rule mutes it until %s: %s", clockText(int64(c.alert.Muted.Until)/1e9), c.alert.Muted.Reason)
}

func belowThreshold(p *Policy, c *candidate) string {
	if c.alert == nil {
		return ""
	}
	threshold, rule := p.threshold(c.alert)
	switch {
	case threshold.Never:
		return fmt.Sprintf("%s says that %s is never acted upon", rule, c.kind())
	case c.alert.Severity < threshold.Severity:
		return fmt.Sprintf("%s has severity %s (score %d), and %s asks for %s", c.kind(), c.alert.Severity, c.alert.Score, rule, threshold)
	}
	return ""
}

// Confidence is lowered by detectors that count absences; what the link lost lowers it for all.
func lowConfidence(p *Policy, c *candidate) string {
	if c.alert == nil {
		return ""
	}
	seen := 100 - 100*min(max(c.alert.Loss.Ratio, 0), 1)
	confidence := min(float64(c.alert.Confidence), seen)
	if confidence >= float64(p.cfg.Confidence) {
		return ""
	}
	return fmt.Sprintf("confidence %.0f is below %d (the alert's own is %d, and %.0f %% of packets were lost)",
		confidence, p.cfg.Confidence, c.alert.Confidence, 100-seen)
}

func noRemedy(_ *Policy, c *candidate) string { return c.lacks }

func noReason(_ *Guards, d *Drop, _ int64) string {
	if d.Reason == "" {
		return "a drop needs a reason"
	}
	return ""
}

func noExpiry(_ *Guards, d *Drop, _ int64) string {
	if d.Until == 0 {
		return "a drop needs an expiry"
	}
	return ""
}

func expired(_ *Guards, d *Drop, now int64) string {
	if d.Until > now {
		return ""
	}
	return fmt.Sprintf("it ended at %s, and now is %s", clockText(d.Until), clockText(now))
}

func stale(p *Policy, c *candidate) string {
	if c.alert == nil {
		return ""
	}
	age := p.unix() - int64(c.alert.Time)/1e9
	if age <= int64(p.cfg.Fresh.Seconds()) {
		return ""
	}
	return fmt.Sprintf("the alert is %d s old, and older than %s is the past", age, span(p.cfg.Fresh))
}

func tooLong(g *Guards, d *Drop, now int64) string {
	longest := int64(g.cfg.Longest.Seconds())
	if d.Until-now <= longest && d.Until-d.Created <= longest {
		return ""
	}
	return fmt.Sprintf("it would last from %s to %s, and the longest is %s", clockText(d.Created), clockText(d.Until), span(g.cfg.Longest))
}

func malformed(_ *Guards, d *Drop, _ int64) string {
	if err := d.checkOrder(); err != nil {
		return err.Error()
	}
	return ""
}

// tooWide is about sources, and destinations of signatures, too.
func tooWide(g *Guards, d *Drop, _ int64) string {
	p := d.target()
	widest := g.cfg.WidestV4
	if p.Addr().Is6() {
		widest = g.cfg.WidestV6
	}
	if p.Bits() >= widest {
		return ""
	}
	return fmt.Sprintf("%v is wider than /%d", p, widest)
}

// target is the source, or the destination of what has no source.
func (d *Drop) target() netip.Prefix {
	if d.Service != nil {
		return d.Service.prefix()
	}
	return d.Source()
}

func neverList(g *Guards, d *Drop, _ int64) string {
	if what, ok := g.networks.Find(context.Never, d.target()); ok {
		return fmt.Sprintf("%s of networks is never dropped", what)
	}
	return ""
}

// sourceIs is a guard of whom must not be hit as a source.
func sourceIs(r context.Role, what string) func(*Guards, *Drop, int64) string {
	return func(g *Guards, d *Drop, _ int64) string {
		s := d.Source()
		if !s.IsValid() {
			return ""
		}
		if who, ok := g.networks.Find(r, s); ok {
			return fmt.Sprintf("%s is %s", who, what)
		}
		return ""
	}
}

// partyIs is a guard of whom must not be hit as a source, and on whose services no limit is set. Own addresses are what the
// gate protects: a host that is its own resolver may be. A header signature spares normal packets, so it may protect them.
func partyIs(r context.Role, what string) func(*Guards, *Drop, int64) string {
	source := sourceIs(r, what)
	return func(g *Guards, d *Drop, now int64) string {
		if d.Scope != ScopeService {
			return source(g, d, now)
		}
		who, ok := g.networks.Find(r, d.target())
		if !ok || g.networks.Is(context.Own, d.Service.IP) {
			return ""
		}
		return fmt.Sprintf("%s is %s", who, what)
	}
}

func specialRange(_ *Guards, d *Drop, _ int64) string {
	if r, ok := context.InRange(d.target(), context.Vital); ok {
		return fmt.Sprintf("%v is for %s (%s)", r.Prefix, r.Name, r.RFC)
	}
	return ""
}

func privateRange(g *Guards, d *Drop, _ int64) string {
	s := d.Source()
	if g.cfg.AllowPrivate || !s.IsValid() {
		return ""
	}
	if r, ok := context.InRange(s, context.Private); ok {
		return fmt.Sprintf("%v is for %s (%s), and policy.allow_private is off", r.Prefix, r.Name, r.RFC)
	}
	return ""
}

// victim: packets that carry the victim's address as their source (LAND) are no reason to drop the victim.
func victim(_ *Policy, c *candidate) string {
	s := c.drop.Source()
	if c.alert == nil || !s.IsValid() {
		return ""
	}
	if v := prefixOf(c.alert.Victim); v.IsValid() && s.Overlaps(v) && s.Bits() <= v.Bits() {
		return fmt.Sprintf("%v is the alert's victim", v)
	}
	return ""
}

// unprovenAddress asks a return path of every source that no human names.
func unprovenAddress(g *Guards, d *Drop, _ int64) string {
	if d.By != ByPolicy || !d.Source().IsValid() || d.ReturnPath == "proven" {
		return ""
	}
	switch e := d.Effect(); {
	case e == LimitNew && g.cfg.Unproven >= UnprovenLimitNew, e == DropNew && g.cfg.Unproven == UnprovenDropNew:
		return ""
	}
	return fmt.Sprintf("no handshake within the evidence proves that the address is not forged, and policy.unproven is %s", g.cfg.Unproven)
}

func withoutSiblings(g *Guards, d *Drop, _ int64) string {
	if d.By != ByPolicy || d.Scope != ScopePrefix || d.Siblings >= g.cfg.Siblings {
		return ""
	}
	return fmt.Sprintf("%d of its addresses were dropped for what they did themselves, and policy.siblings is %d", d.Siblings, g.cfg.Siblings)
}

// maxNormal is the share of the victim's normal packets that a signature may hit.
const maxNormal = 0.01

func hitsNormal(_ *Guards, d *Drop, _ int64) string {
	switch s := d.Signature; {
	case s == nil:
		return ""
	case s.NNormal < analyzers.MinNormalSample:
		return fmt.Sprintf("%d headers of normal traffic cannot show a share of 1 %%; %d can", s.NNormal, analyzers.MinNormalSample)
	case !(s.Normal <= maxNormal):
		return fmt.Sprintf("it would hit %.1f %% of the victim's normal packets (sample of %d), and 1 %% is the most", 100*s.Normal, s.NNormal)
	}
	return ""
}

// duplicate: what is wanted already, or what a wider drop does already. A human may lengthen.
func duplicate(p *Policy, c *candidate) string {
	d := c.drop
	if e := p.drops[d.Key()]; e != nil && e.drop != c.approves {
		longer := c.alert == nil && d.Until > e.drop.Until && d.Effect() == e.drop.Effect()
		if !longer && e.drop.does(d) {
			c.same = e
			return fmt.Sprintf("%s is %s already, until %s (drop %s)", e.drop.what(), e.drop.State, clockText(e.drop.Until), e.drop.ID)
		}
	}
	s := d.Source()
	if !s.IsValid() {
		return ""
	}
	for q, e := range p.sources.Supernets(s) {
		if e.drop.State == Requested && e.drop.does(d) && (c.alert != nil || e.drop.Until >= d.Until) {
			c.same = e
			return fmt.Sprintf("%v holds it already, until %s (drop %s)", q, clockText(e.drop.Until), e.drop.ID)
		}
	}
	return ""
}

// does reports whether d does at least what o would. A rehearsal does nothing for what is in earnest.
func (d *Drop) does(o *Drop) bool {
	return d.Effect() >= o.Effect() && (d.Action != Shadow || o.Action == Shadow)
}

func capRate(p *Policy, _ *candidate) string {
	old := 0
	for old < len(p.recent) && p.recent[old] <= p.now-1e9 {
		old++
	}
	p.recent = p.recent[:copy(p.recent, p.recent[old:])]
	if len(p.recent) < p.cfg.MaxPerSecond {
		return ""
	}
	return fmt.Sprintf("%d drops were requested within one second, and %d is the most", len(p.recent), p.cfg.MaxPerSecond)
}

func capTotal(p *Policy, c *candidate) string {
	if len(p.drops) < p.cfg.MaxDrops || p.drops[c.drop.Key()] != nil {
		return ""
	}
	return fmt.Sprintf("there are %d drops, and %d is the most", len(p.drops), p.cfg.MaxDrops)
}

func capEstablished(p *Policy, c *candidate) string {
	if !hurts(c.drop) || c.approves != nil {
		return ""
	}
	p.peers.expire(p.now)
	hit, of := p.peers.share(c.drop.Source(), c.since)
	if of < p.cfg.EstablishedFrom || float64(hit)*100 <= p.cfg.EstablishedPercent*float64(of) {
		return ""
	}
	return fmt.Sprintf("drops would hit %d of %d other peers with connections in the last hour (%.1f %%), and %v %% is the most without approval",
		hit, of, 100*float64(hit)/float64(of), p.cfg.EstablishedPercent)
}
