package truth

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"weir/sensor/alert"
)

// Grace is how long after an attack's last packet an alert may still open for it: analyzers that count absences or judge by the
// minute or hour need it.
const Grace = 10 * time.Minute

// widest are the prefix lengths up to which a victim's network may stand for the victim.
const (
	widest4 = 24
	widest6 = 48
)

// Score is how alerts compare with a truth.
type Score struct {
	Attacks     int     `json:"attacks"`
	Found       int     `json:"found"`
	FalsePerDay float64 `json:"false_per_day"` // alerts of severity medium or more that no attack explains, after the warm-up
	False       int     `json:"false"`
	Days        float64 `json:"days"`   // that FalsePerDay is of
	Alerts      int     `json:"alerts"` // stories, not revisions
	Kinds       []Kind  `json:"kinds"`

	Missed []*Attack      `json:"-"`
	Wrong  []*alert.Alert `json:"-"` // the false ones, in order of First; the last revision of each
}

// Kind is the part of a score that one kind has.
type Kind struct {
	Analyzer string  `json:"analyzer"`
	Kind     string  `json:"kind"`
	Attacks  int     `json:"attacks"`
	Found    int     `json:"found"`
	Missed   int     `json:"missed"`
	Latency  float64 `json:"latency_s"` // s from an attack's first packet to its alert, the median of those found; 0 without
	Slowest  float64 `json:"slowest_s"`
	False    int     `json:"false"`
}

// Comparison takes alerts, in any order, and compares them with a truth. Memory grows with the stories.
type Comparison struct {
	truth   *File
	warmUp  int64 // ns
	stories map[string]*story
}

// story is what the revisions of one alert say.
type story struct {
	last   *alert.Alert
	opened alert.Time // earliest revision
	grave  alert.Severity
}

// NewComparison counts false alerts from so long after the capture's start.
func NewComparison(f *File, warmUp time.Duration) *Comparison {
	return &Comparison{truth: f, warmUp: int64(warmUp), stories: map[string]*story{}}
}

// Add takes a revision.
func (c *Comparison) Add(a *alert.Alert) {
	s := c.stories[a.ID]
	if s == nil {
		s = &story{last: a, opened: a.Time}
		c.stories[a.ID] = s
	}
	if a.Rev > s.last.Rev {
		s.last = a
	}
	s.opened = min(s.opened, a.Time)
	s.grave = max(s.grave, a.Severity)
}

// Score compares.
//
// An attack is found by an alert of its kind, or of one that is right, too, on its victim and by its subject, which opened between
// its first packet and Grace after its last. Where the truth names nobody, an alert may name nobody or who took part.
//
// An alert is explained, and not false, if it is about an attack's time and accuses who took part; or accuses nobody of
// something that an attack's victim met, at whatever port. Its kind does not matter: a scan is rightly also a tool's print.
func (c *Comparison) Score() *Score {
	first := int64(c.truth.Site.First) + c.warmUp
	out := &Score{Attacks: len(c.truth.Attacks), Alerts: len(c.stories)}
	out.Days = max(0, float64(int64(c.truth.Site.Last)-first)/float64(24*time.Hour))
	kinds := map[[2]string]*Kind{}
	kind := func(analyzer, name string) *Kind {
		k := kinds[[2]string{analyzer, name}]
		if k == nil {
			k = &Kind{Analyzer: analyzer, Kind: name}
			kinds[[2]string{analyzer, name}] = k
		}
		return k
	}
	latencies := map[*Kind][]float64{}
	for i := range c.truth.Attacks {
		a := &c.truth.Attacks[i]
		k := kind(a.Analyzer, a.Kind)
		k.Attacks++
		if opened, ok := c.found(a); ok {
			k.Found++
			out.Found++
			latencies[k] = append(latencies[k], float64((opened-a.First)/1e6)/1e3)
		} else {
			k.Missed++
			out.Missed = append(out.Missed, a)
		}
	}
	for _, s := range c.stories {
		if s.grave >= alert.Medium && int64(s.opened) >= first && !c.explained(s) {
			out.Wrong = append(out.Wrong, s.last)
			kind(s.last.Analyzer, s.last.Kind).False++
		}
	}
	slices.SortFunc(out.Wrong, func(a, b *alert.Alert) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.ID, b.ID)) })
	if out.False = len(out.Wrong); out.Days > 0 {
		out.FalsePerDay = float64(out.False) / out.Days
	}
	for k, l := range latencies {
		slices.Sort(l)
		k.Latency, k.Slowest = l[len(l)/2], l[len(l)-1]
	}
	out.Kinds = []Kind{}
	for _, k := range kinds {
		out.Kinds = append(out.Kinds, *k)
	}
	slices.SortFunc(out.Kinds, func(a, b Kind) int {
		return cmp.Or(cmp.Compare(a.Analyzer, b.Analyzer), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// found is when the earliest alert opened that is right about an attack.
func (c *Comparison) found(a *Attack) (opened alert.Time, ok bool) {
	for _, s := range c.stories {
		if !a.named(s.last.Analyzer, s.last.Kind) || !a.on(s.last.Victim) || !a.by(s.last.Subject) {
			continue
		}
		if s.opened < a.First || s.opened > a.Last+alert.Time(Grace) {
			continue
		}
		if !ok || s.opened < opened {
			opened, ok = s.opened, true
		}
	}
	return opened, ok
}

func (c *Comparison) explained(s *story) bool {
	return slices.ContainsFunc(c.truth.Attacks, func(a Attack) bool {
		if s.last.First > a.Last+alert.Time(Grace) || s.last.Last < a.First {
			return false
		}
		if s.last.Subject == nil {
			return s.last.Victim == nil || a.Victim == nil || same(prefix(a.Victim), prefix(s.last.Victim)) || a.took(s.last.Victim)
		}
		return a.took(s.last.Subject)
	})
}

// named tells whether a kind is right.
func (a *Attack) named(analyzer, kind string) bool {
	return analyzer == a.Analyzer && kind == a.Kind || slices.Contains(a.Also, analyzer+"."+kind)
}

// by tells whether a subject is right.
func (a *Attack) by(p *alert.Party) bool {
	if a.Subject == nil {
		return p == nil || a.took(p)
	}
	return p != nil && same(prefix(a.Subject), prefix(p))
}

// took tells whether a party took part in the attack.
func (a *Attack) took(p *alert.Party) bool {
	x := prefix(p)
	return a.Subject != nil && same(prefix(a.Subject), x) ||
		slices.ContainsFunc(a.Parties, func(q netip.Prefix) bool { return q.Bits() <= x.Bits() && q.Contains(x.Addr()) })
}

// on tells whether a victim is right: the same address, or a network of at most /24 or /48 in which it lies, or which lies in it;
// and the same port where both have one. An alert without a victim is about its subject alone.
func (a *Attack) on(p *alert.Party) bool {
	if p == nil || a.Victim == nil {
		return true
	}
	if p.Port != 0 && a.Victim.Port != 0 && (p.Port != a.Victim.Port || p.Protocol != a.Victim.Protocol) {
		return false
	}
	return same(prefix(a.Victim), prefix(p))
}

// same tells whether two prefixes overlap, neither of them a wide one.
func same(a, b netip.Prefix) bool {
	widest := widest4
	if b.Addr().Is6() {
		widest = widest6
	}
	return a.Overlaps(b) && a.Bits() >= widest && b.Bits() >= widest
}

// prefix is a party's address.
func prefix(p *alert.Party) netip.Prefix {
	if p.IP.IsValid() {
		return netip.PrefixFrom(p.IP, p.IP.BitLen())
	}
	return p.Prefix
}
