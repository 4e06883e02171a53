package alert

import (
	"container/list"
	"net/netip"
	"slices"

	"weir/analyzers"
)

// An incident is an alert about alerts: analyzer "incident". Its members go on as they are, and name it.
//
//   - campaign: one subject came to a further stage of an attack, as from a scan to a brute force and on to exfiltration. Stages are
//     told by ATT&CK technique, so several kinds of scan and a tool's print are one stage. Alerts are of one subject if they have its
//     address; or if they meet the same network (/24, /64) and their subjects share a /24 or /48, an autonomous system, or the
//     print of one tool, and no address alone came as far.
//   - compromise: a host that was attacked for its credentials (or by an exploit), and then did something itself: scanned, kept up a
//     beacon or a tunnel, gave data away.
//   - crowd: crowdLeast subjects or more did the same to one victim, begun within crowdWindow: a scan's decoys (nmap -D: at most one
//     of the addresses is real) or a botnet.
//
// Alerts of medium severity or more take part, for keepFor after their last evidence. Those that are muted do not, nor those that stand
// for folded findings. An impact that coincides with another stage is no further one: it is the pace of that scan or
// brute force. Nor is a beacon or a tunnel to whom data leaves at that time: both are told of the same traffic.
//
// The score (finding in incident_score.go) counts an alert by what its severity allows, 69 for one of medium severity, and rises by
// furtherStage a further stage, by weakStage where the stage's addresses may be forged or are joined by less than an address. Without
// any proven return path, or by system or print alone, the severity is at most that of the gravest alert. A crowd is one stage: it does not
// rise.
//
// Mistakes: a NAT or a proxy with an attacker and another one behind it is one subject; a host that is attacked all day and begins to
// talk to something regular looks compromised. Misses: attackers who change their network between stages.
//
// Bounds: maxGroups sets of alerts that belong together; those of one alert go first, the longest silent of them before others. A set keeps
// maxMembers alerts, further ones are counted.
const (
	furtherStage = 10 // points
	weakStage    = 5

	crowdLeast  = 4
	crowdWindow = 60 * int64(1e9)
	keepFor     = 24 * 3600 * int64(1e9)
	incidentEnd = 3600 * int64(1e9) // of quiet

	maxGroups  = 16384
	maxMembers = 32
)

const incidentName = "incident"

// incidentKind of a group.
type incidentKind uint8

const (
	campaign incidentKind = iota
	compromise
	crowd
)

var incidentKinds = [...]string{"campaign", "compromise", "crowd"}

// link is what joins the alerts of a campaign, the strongest first.
type link uint8

const (
	byAddress link = iota
	byPrefix
	byASN
	byPrint
)

// stage of an attack: ATT&CK tactics, reconnaissance and discovery together, initial and credential access together. From outside it does
// not show which of the two it is.
type stage uint8

const (
	noStage stage = iota
	discovery
	access
	control
	exfiltration
	impact
	stageCount
)

var stageNames = [stageCount]string{"", "discovery", "access", "command and control", "exfiltration", "impact"}

// stages are the techniques that analyzers tell (https://attack.mitre.org, v17). What is left out says how, not how far.
var stages = map[string]stage{
	"T1046": discovery, "T1595": discovery,
	"T1110": access, "T1190": access, "T1557": access,
	"T1071": control, "T1095": control, "T1573": control,
	"T1041": exfiltration, "T1048": exfiltration,
	"T1498": impact, "T1499": impact,
}

// stageOf is the stage of the first technique that has one.
func stageOf(attack []string) stage {
	for _, id := range attack {
		if s := stages[id[:min(len(id), len("T1000"))]]; s != noStage {
			return s
		}
	}
	return noStage
}

// member is an alert that may be part of incidents. It outlives its alert by keepFor.
type member struct {
	entry           *entry // nil: the alert is closed
	id, name        string // name: "scan.vertical"
	stage           stage
	attack          []string
	subject, victim netip.Prefix // not valid: nobody
	port            uint16
	proto           uint8
	asn             uint32
	print           string
	score           int // by severity
	severity        Severity
	confidence      int
	proven          bool
	first, last     int64
	groups          []*group
}

// groupKey is what members of a group have in common.
type groupKey struct {
	kind    incidentKind
	by      link
	subject netip.Prefix
	asn     uint32
	word    string // the print, or the kind that a crowd has in common
	victim  netip.Prefix
}

// group is a set of alerts that belong together, and may come to be an incident.
type group struct {
	key     groupKey
	members []*member // in order of their opening
	more    int       // for which there was no room
	entry   *entry    // the incident
	told    int       // stages at its last revision
	seen    int64     // ns: last evidence
	place   *list.Element
	order   *list.List // that place is of
}

// incidents keeps groups.
type incidents struct {
	groups       map[groupKey]*group
	weak, strong list.List // groups with one alert, and others; the longest silent first
	prints       prints
}

func newIncidents() *incidents { return &incidents{groups: map[groupKey]*group{}} }

// join takes in what became of an alert after a finding, and tells the incidents that come of it. Revisions of the alert since pending are
// given their name.
func (m *Manager) join(e *entry, f *analyzers.Finding, pending int) {
	in := m.incidents
	if in == nil || f.Analyzer == incidentName || e.key.folded {
		return
	}
	if f.Print != "" && f.Subject.Prefix.IsSingleIP() {
		in.prints.add(f.Subject.Prefix.Addr(), f.Print)
	}
	begins := e.member == nil
	if begins {
		if e.severity < Medium || e.muted != nil {
			return
		}
		e.member = m.memberOf(e, f)
	}
	grown := e.member.refresh(e) || begins
	if begins {
		in.enter(e.member, m.now)
	}
	for _, g := range e.member.groups {
		if in.touch(g, m.now); g.place == nil {
			continue
		}
		if grown {
			m.tell(g)
		}
		m.prolong(g)
	}
	for i := pending; i < len(m.pending); i++ {
		if r := &m.pending[i]; r.key == &e.key {
			r.alert.Incident = e.alert.Incident
		}
	}
}

// memberOf makes a member of an alert.
func (m *Manager) memberOf(e *entry, f *analyzers.Finding) *member {
	b := &member{
		entry: e, id: e.alert.ID, name: e.name, stage: stageOf(f.Attack), attack: slices.Clone(f.Attack),
		subject: e.key.subject.prefix, victim: e.key.victim.prefix, port: e.key.victim.port, proto: e.key.victim.proto,
	}
	if b.subject.IsSingleIP() {
		b.print = m.incidents.prints.of(b.subject.Addr())
		if m.networks != nil {
			b.asn, _ = m.networks.Origin(b.subject.Addr())
		}
	}
	return b
}

// refresh takes over what may have grown, and tells whether it counts for a score.
func (b *member) refresh(e *entry) bool {
	a, before := &e.alert, *b
	b.severity = e.severity
	b.score = min(max(b.score, a.Score), severityTop(e.severity))
	b.confidence, b.first, b.last = a.Confidence, int64(a.First), int64(a.Last)
	b.proven = b.proven || a.Subject != nil && a.Subject.ReturnPath == "proven"
	return b.score != before.score || b.severity != before.severity || b.proven != before.proven
}

// severityTop is the highest score of a severity.
func severityTop(s Severity) int {
	if s+1 < SeverityCount {
		return severityScores[s+1] - 1
	}
	return 100
}

// keys are the groups that an alert is part of.
func (b *member) keys() (keys []groupKey) {
	if b.victim.IsValid() && b.subject.IsSingleIP() {
		keys = append(keys, groupKey{kind: crowd, word: b.name, victim: b.victim})
	}
	if b.stage == noStage {
		return keys
	}
	if b.stage == access && b.victim.IsSingleIP() {
		keys = append(keys, groupKey{kind: compromise, victim: b.victim})
	}
	if !b.subject.IsValid() {
		return keys
	}
	if b.subject.IsSingleIP() && b.stage != impact {
		keys = append(keys, groupKey{kind: compromise, victim: b.subject})
	}
	keys = append(keys, groupKey{kind: campaign, subject: b.subject})
	if !b.subject.IsSingleIP() || !b.victim.IsValid() {
		return keys
	}
	near := wider(b.victim, 64)
	keys = append(keys, groupKey{kind: campaign, by: byPrefix, subject: wider(b.subject, 48), victim: near})
	if b.asn != 0 {
		keys = append(keys, groupKey{kind: campaign, by: byASN, asn: b.asn, victim: near})
	}
	if b.print != "" {
		keys = append(keys, groupKey{kind: campaign, by: byPrint, word: b.print, victim: near})
	}
	return keys
}

// wider is the network in which a prefix lies, an IPv4 one of 24 bits, an IPv6 one of bits6; of a shorter prefix itself.
func wider(p netip.Prefix, bits6 int) netip.Prefix {
	bits := 24
	if p.Addr().Is6() {
		bits = bits6
	}
	return netip.PrefixFrom(p.Addr(), min(bits, p.Bits())).Masked()
}

// enter puts an alert into its groups.
func (in *incidents) enter(b *member, now int64) {
	for _, k := range b.keys() {
		g := in.groups[k]
		if g != nil && now-g.seen > keepFor {
			in.remove(g)
			g = nil
		}
		if g == nil {
			if len(in.groups) >= maxGroups {
				in.makeRoom()
			}
			g = &group{key: k, order: &in.weak}
			g.place = g.order.PushBack(g)
			in.groups[k] = g
		}
		g.add(b)
		b.groups = append(b.groups, g)
	}
}

// add takes an alert in. Those whose time is over make room; in a crowd those that did not begin together with it.
func (g *group) add(b *member) {
	oldest := b.last - keepFor
	if g.key.kind == crowd {
		oldest = b.first - crowdWindow
	}
	if g.entry == nil {
		g.members = slices.DeleteFunc(g.members, func(o *member) bool {
			return o.last < oldest || g.key.kind == crowd && o.first < oldest
		})
	}
	if len(g.members) >= maxMembers {
		g.more++
		return
	}
	g.members = append(g.members, b)
}

// touch notes that evidence of a group came.
func (in *incidents) touch(g *group, now int64) {
	if g.place == nil {
		return
	}
	g.seen = now
	if to := &in.strong; g.order == &in.weak && len(g.members) > 1 {
		in.weak.Remove(g.place)
		g.order, g.place = to, to.PushBack(g)
		return
	}
	g.order.MoveToBack(g.place)
}

// makeRoom forgets the group that was silent longest, one of a single alert if there is such a one.
func (in *incidents) makeRoom() {
	for _, order := range []*list.List{&in.weak, &in.strong} {
		if first := order.Front(); first != nil {
			in.remove(first.Value.(*group))
			return
		}
	}
}

// remove forgets a group. Members that know it find it without a place.
func (in *incidents) remove(g *group) {
	if g.place == nil {
		return
	}
	delete(in.groups, g.key)
	g.order.Remove(g.place)
	g.place = nil
}

// tell makes an incident of a group, if it is one, or goes on with it.
func (m *Manager) tell(g *group) {
	s := g.judge()
	if s == nil {
		return
	}
	f := s.finding(m.now)
	if e := g.entry; e != nil { // who takes part may have changed, the identity does not
		e.alert.Subject, e.alert.Victim = m.party(&f.Subject), m.party(&f.Victim)
		e.alert.Subject.unproven()
	}
	m.stats.Findings++
	before := len(m.pending)
	e := m.take(g.key.key(), f)
	if e == nil {
		return
	}
	g.entry, e.group = e, g
	if s.parts > g.told && len(m.pending) == before {
		m.revise(e, m.now, Update)
	}
	g.told = max(g.told, s.parts)
	for _, b := range g.members {
		if b.entry != nil {
			b.entry.alert.Incident = e.alert.ID
		}
	}
}

// prolong keeps an incident open while one of its alerts is, and incidentEnd longer than its evidence.
func (m *Manager) prolong(g *group) {
	e := g.entry
	if e == nil {
		return
	}
	at := max(e.closeAt, m.now+incidentEnd)
	for _, b := range g.members {
		e.alert.Last = max(e.alert.Last, Time(b.last))
		if b.entry != nil {
			at = max(at, b.entry.closeAt)
		}
	}
	e.closeAt = at
	m.quiet.fix(e)
}

// end forgets an alert that closes: as a member it is remembered, an incident is over with its group.
func (m *Manager) end(e *entry) {
	if e.member != nil {
		e.member.entry = nil
	}
	g := e.group
	if g == nil {
		return
	}
	if s := g.judge(); s != nil {
		if f := s.finding(m.now); f.Score >= e.alert.Score {
			e.alert.describe(f)
			e.alert.Summary = m.named(e.alert.Summary)
		}
	}
	g.entry = nil
	m.incidents.remove(g)
}

// key is the identity of an incident.
func (k *groupKey) key() key {
	return key{
		analyzer: incidentName, kind: incidentKinds[k.kind], join: k.word,
		subject: party{prefix: k.subject, asn: k.asn}, victim: party{prefix: k.victim},
	}
}

// prints remembers which addresses have which tool's print, the last maxGroups of them. The zero value is empty.
type prints struct {
	known map[netip.Addr]string
	ring  []netip.Addr
	next  int
}

func (p *prints) of(a netip.Addr) string { return p.known[a] }

func (p *prints) add(a netip.Addr, print string) {
	_, known := p.known[a]
	switch {
	case known:
	case p.known == nil:
		p.known = map[netip.Addr]string{}
		fallthrough
	case len(p.ring) < maxGroups:
		p.ring = append(p.ring, a)
	default:
		delete(p.known, p.ring[p.next])
		p.ring[p.next] = a
		p.next = (p.next + 1) % maxGroups
	}
	p.known[a] = print
}
