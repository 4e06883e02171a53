package alert

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/analyzers"
)

// sum is the arithmetic of an incident.
type sum struct {
	group    *group
	steps    []step // in order of their beginning
	members  []*member
	parts    int // stages; of a crowd 1
	subjects int
	best     int // points of the strongest step
	raise    int
	limit    int // of the severity, as MaxScore
	proven   bool
}

// step is the alerts of one stage; in a compromise those against the host and its own are two.
type step struct {
	stage  stage
	suffer bool // of a compromise: the host was its victim
	names  []string
	score  int
	proven bool
	first  int64
	last   int64
}

// judge does the arithmetic of a group; nil: it is no incident.
func (g *group) judge() *sum {
	s := &sum{group: g, members: slices.Clone(g.members), limit: 100}
	slices.SortFunc(s.members, func(a, b *member) int { return cmp.Or(cmp.Compare(a.first, b.first), strings.Compare(a.id, b.id)) })
	if g.key.kind == crowd {
		return s.crowd()
	}
	s.members = slices.DeleteFunc(s.members, s.coincides)
	for _, b := range s.members {
		s.take(b)
	}
	if len(s.steps) < 2 || g.key.kind == compromise && !s.turned() || g.key.by > byAddress && !s.joins() {
		return nil
	}
	s.score()
	return s
}

// coincides tells of an alert that goes on together with one of another stage which it is only another sight of: an impact is how fast that
// was done, and data that leaves by a beacon's or a tunnel's way is told as leaving.
func (s *sum) coincides(b *member) bool {
	return slices.ContainsFunc(s.group.members, func(o *member) bool {
		if o.first > b.last+crowdWindow || b.first > o.last+crowdWindow {
			return false
		}
		return b.stage == impact && o.stage != impact || b.stage == control && o.stage == exfiltration && b.victim.IsValid() && b.victim == o.victim
	})
}

// take adds an alert to its step.
func (s *sum) take(b *member) {
	suffer := s.group.key.kind == compromise && b.victim == s.group.key.victim
	i := slices.IndexFunc(s.steps, func(t step) bool { return t.stage == b.stage && t.suffer == suffer })
	if i < 0 {
		i = len(s.steps)
		s.steps = append(s.steps, step{stage: b.stage, suffer: suffer, first: b.first})
	}
	t := &s.steps[i]
	if !slices.Contains(t.names, b.name) {
		t.names = append(t.names, b.name)
	}
	t.score, t.proven, t.last = max(t.score, b.score), t.proven || b.proven, max(t.last, b.last)
}

// turned tells whether a host was attacked before it did something itself, and leaves out what it did before.
func (s *sum) turned() bool {
	i := slices.IndexFunc(s.steps, func(t step) bool { return t.suffer })
	if i < 0 {
		return false
	}
	attacked := s.steps[i].first
	later := s.members[:0:0]
	for _, b := range s.members {
		if b.victim == s.group.key.victim || b.first > attacked {
			later = append(later, b)
		}
	}
	if s.members = later; i > 0 {
		s.steps = nil
		for _, b := range later {
			s.take(b)
		}
	}
	return len(s.steps) > 1
}

// joins tells whether what is less than an address joins what no narrower link does, and any of it has a proven return path: whoever
// forges addresses of a network could make it look like the source of anything.
func (s *sum) joins() bool {
	parts := map[netip.Prefix][stageCount]bool{}
	proven := false
	for _, b := range s.members {
		proven = proven || b.proven
		part := b.subject
		if s.group.key.by > byPrefix {
			part = wider(part, 48)
		}
		has := parts[part]
		has[b.stage] = true
		parts[part] = has
	}
	for _, has := range parts {
		n := 0
		for _, is := range has {
			if is {
				n++
			}
		}
		if n >= len(s.steps) {
			return false
		}
	}
	return proven
}

// score is that of the strongest step, and what the others add.
func (s *sum) score() {
	s.parts = len(s.steps)
	strongest, gravest := 0, Info
	for i, t := range s.steps {
		s.proven = s.proven || t.proven
		if t.score > s.steps[strongest].score {
			strongest = i
		}
	}
	for _, b := range s.members {
		gravest = max(gravest, b.severity)
	}
	s.best = s.steps[strongest].score
	for i, t := range s.steps {
		switch {
		case i == strongest:
		case t.proven && s.group.key.by == byAddress:
			s.raise += furtherStage
		default:
			s.raise += weakStage
		}
	}
	if !s.proven || s.group.key.by >= byASN {
		s.limit = severityTop(gravest)
	}
}

// crowd judges subjects who did the same to one victim.
func (s *sum) crowd() *sum {
	seen := map[netip.Prefix]bool{}
	for _, b := range s.members {
		seen[b.subject] = true
		s.best, s.proven = max(s.best, b.score), s.proven || b.proven
	}
	if s.subjects = len(seen); s.subjects < crowdLeast {
		return nil
	}
	s.parts = 1
	return s
}

// finding is the incident at time now.
func (s *sum) finding(now int64) *analyzers.Finding {
	g := s.group
	f := &analyzers.Finding{
		Analyzer: incidentName, Kind: incidentKinds[g.key.kind], Time: now, Score: min(s.best+s.raise, 100), MaxScore: s.limit, Confidence: 100,
		Count: uint64(len(s.members) + g.more), Total: true, First: s.members[0].first, Quiet: incidentEnd,
		Subject: s.subject(), Victim: s.victim(),
	}
	for _, b := range s.members {
		f.First, f.Last, f.Confidence = min(f.First, b.first), max(f.Last, b.last), min(f.Confidence, b.confidence)
		for _, id := range b.attack {
			if !slices.Contains(f.Attack, id) {
				f.Attack = append(f.Attack, id)
			}
		}
	}
	s.explain(f)
	f.Summary, f.Notes = s.words(f), s.notes()
	return f
}

// explain lists the arithmetic, and the alerts.
func (s *sum) explain(f *analyzers.Finding) {
	if s.group.key.kind == crowd {
		f.Why = append(f.Why, analyzers.Measure{Name: "subjects", Value: float64(s.subjects), Unit: "hosts", Threshold: crowdLeast, Window: crowdWindow})
	} else {
		f.Why = append(f.Why, analyzers.Measure{Name: "stages", Value: float64(s.parts), Unit: "stages", Threshold: 2, Window: keepFor})
	}
	f.Why = append(f.Why,
		analyzers.Measure{Name: "strongest", Value: float64(s.best), Unit: "points"}, analyzers.Measure{Name: "raise", Value: float64(s.raise), Unit: "points"})
	for _, b := range s.members {
		f.Why = append(f.Why, analyzers.Measure{Name: b.name, Value: float64(b.score), Unit: "points", Alert: b.id, Time: b.first})
	}
	if s.group.more > 0 {
		f.Why = append(f.Why, analyzers.Measure{Name: "further_alerts", Value: float64(s.group.more), Unit: "alerts"})
	}
}

// subject is who is behind it, as far as that is one.
func (s *sum) subject() (p analyzers.Party) {
	k := &s.group.key
	switch {
	case k.kind == compromise:
		for i, b := range s.members {
			if b.victim != k.victim {
				continue
			}
			if p.Prefix.IsValid() && p.Prefix != b.subject {
				return analyzers.Party{}
			}
			p.Prefix, p.ReturnPath = s.members[i].subject, p.ReturnPath || b.proven
		}
	case k.kind == campaign:
		p = analyzers.Party{Prefix: k.subject, ASN: k.asn, ReturnPath: s.proven}
	}
	return p
}

// victim is whom all alerts name: a service, a host, or the /24 or /64 that all are of.
func (s *sum) victim() (p analyzers.Party) {
	if s.group.key.kind == compromise {
		return analyzers.Party{Prefix: s.group.key.victim}
	}
	for _, b := range s.members {
		switch {
		case !b.victim.IsValid():
		case !p.Prefix.IsValid():
			p = analyzers.Party{Prefix: b.victim, Port: b.port, Proto: b.proto}
		case p.Prefix == b.victim && p.Port == b.port && p.Proto == b.proto:
		case p.Prefix == b.victim:
			p.Port, p.Proto = 0, 0
		case wider(p.Prefix, 64) == wider(b.victim, 64):
			p = analyzers.Party{Prefix: wider(b.victim, 64)}
		default:
			return analyzers.Party{}
		}
	}
	return p
}

// words are one sentence.
func (s *sum) words(f *analyzers.Finding) string {
	k := &s.group.key
	took := time.Duration(f.Last - f.First).Round(time.Second)
	var parts []string
	for _, t := range s.steps {
		parts = append(parts, fmt.Sprintf("%s (%s, %d points)", stageNames[t.stage], strings.Join(t.names, ", "), t.score))
	}
	way := strings.Join(parts, ", then ")
	on := ""
	if f.Victim.Prefix.IsValid() {
		on = " against " + public(&f.Victim).String()
	}
	who := "several sources"
	if p := public(&f.Subject); p != nil {
		who = p.String()
	}
	switch {
	case k.kind == crowd:
		begun := time.Duration(s.members[len(s.members)-1].first - f.First).Round(time.Millisecond)
		return fmt.Sprintf("%d subjects did the same%s (%s), and all began within %v.", s.subjects, on, k.word, begun)
	case k.kind == compromise:
		return fmt.Sprintf("%s was attacked by %s, and then acted itself: %s; all within %v.", public(&f.Victim), who, way, took)
	case k.by == byPrint:
		who = "sources with the print of " + k.word
	case k.by == byPrefix || k.by == byASN:
		who = "sources of " + who
	}
	return fmt.Sprintf("%s went through %d stages%s within %v: %s.", who, s.parts, on, took, way)
}

func (s *sum) notes() (notes []string) {
	k := &s.group.key
	switch {
	case k.kind == crowd && !s.proven:
		return []string{"no return path is proven: all of the addresses but one may be decoys of one source"}
	case k.kind == crowd:
		return nil
	case !s.proven:
		notes = append(notes, "no return path is proven: the address may be forged, so the severity is not raised")
	}
	if k.by > byAddress {
		notes = append(notes, "no address alone came so far: the alerts are joined by "+[...]string{"", "network", "autonomous system", "print"}[k.by])
	}
	return notes
}
