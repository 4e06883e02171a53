package analyzers

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// Distributed scans whose sources each stay below the thresholds: crowds. A source that failed at three targets or more in one
// network (/16, IPv6 /32) joins the crowd of that network and of its print: a tool's print or marks, else its SYN's. A crowd is a
// scan if within the window
//
//   - eight sources joined (twelve, if their print is of no known tool: systems are more alike than tools);
//   - their failed targets are 40 or more, and are not each other's: 80 % distinct over all;
//   - at most a fifth of their contacts was answered.
//
// The victim is the smallest prefix around the targets; sources are listed up to 16 of them.
//
// What it must not take for one. A dead service, or a dead web farm: all ask for the same few targets. P2P: one port of one
// host. A crawler fleet: it is answered; if the farm is down its ports are the usual ones, and without a tool's print the score is low (capUsual).
// The internet's background noise: each of its sources asks one address of a /24 once. Decoys: five, at the same targets. What it misses: sources
// that send two probes or fewer each, or that have no print in common.
//
// State: maxCrowds crowds of at most maxMembers sources, and the prints of the last crowdPrints sources.

// Bounds.
const (
	maxCrowds     = 64
	maxMembers    = 64
	crowdPrints   = 8192
	crowdFailures = 3
	crowdStrange  = 12 // sources of a print that is no known tool's
	crowdTargets  = 40
	crowdListed   = 16
)

// crowdKey is a network and what its sources have in common.
type crowdKey struct {
	net   decode.Addr
	ver   uint8
	print scanPrint
	hash  uint64 // of the SYN, where the print is of no tool
}

type crowd struct {
	key     crowdKey
	last    int64 // ns
	told    int64
	members []crowdMember
	first   int64
}

type crowdMember struct {
	addr   decode.Addr
	joined int64
	source *scanSource
}

// of reports whether the member's place in the table is still its own.
func (m *crowdMember) of() bool { return m.source.addr == m.addr }

// notePrints remembers who sent which SYN: of each print the first source of a tick is known.
func (a *Scan) notePrints(e *tally.Epoch) {
	for i := range e.Prints {
		p := &e.Prints[i]
		if p.SYNACK || p.Ver != 4 && p.Ver != 6 {
			continue
		}
		if at, _ := a.prints.at(&p.Src, scramble(p.Src.Lo^e.SketchKey, p.Src.Hi), e.End(), int64(a.cfg.Window)); at >= 0 {
			_, hash := a.prints.value(at)
			*hash = p.Hash
			a.prints.keep(at, 1, e.End()+int64(a.cfg.Window))
		}
	}
}

// join takes a source with new failures into the crowd of its network and print, and tells of the crowd if it is a scan.
func (a *Scan) join(s *scanSource, now int64) {
	if s.failed() < crowdFailures || s.failures.count() < crowdFailures-1 || !s.fails.near() || now-s.first > int64(a.cfg.Window) {
		return
	}
	k := crowdKey{net: s.fails.block.addr, ver: s.ver}
	if k.print = (scanPrint{s.tool, s.marks}); k.print == (scanPrint{}) || !s.marked() {
		k.print = scanPrint{}
		at := a.prints.find(&s.addr, scramble(s.addr.Lo^a.e.SketchKey, s.addr.Hi))
		if at < 0 {
			return
		}
		_, hash := a.prints.value(at)
		k.hash = *hash
	}
	c := a.crowdOf(k, now)
	c.last = now
	c.members = slices.DeleteFunc(c.members, func(m crowdMember) bool { return !m.of() || now-m.joined > int64(a.cfg.Window) })
	if i := slices.IndexFunc(c.members, func(m crowdMember) bool { return m.addr == s.addr }); i < 0 {
		if len(c.members) >= maxMembers {
			a.Stats.Held++
			return
		}
		c.members = append(c.members, crowdMember{s.addr, now, s})
	}
	if len(c.members) >= crewSize && now-c.told >= int64(time.Second) {
		a.judgeCrowd(c, now)
	}
}

// crowdOf is the crowd of a key; a new one takes the place of the one that was silent longest.
func (a *Scan) crowdOf(k crowdKey, now int64) *crowd {
	oldest := 0
	for i := range a.crowds {
		if a.crowds[i].key == k {
			return &a.crowds[i]
		}
		if a.crowds[i].last < a.crowds[oldest].last {
			oldest = i
		}
	}
	if len(a.crowds) < maxCrowds {
		a.crowds = append(a.crowds, crowd{})
		oldest = len(a.crowds) - 1
	}
	a.crowds[oldest] = crowd{key: k, told: never, first: now, members: a.crowds[oldest].members[:0]}
	return &a.crowds[oldest]
}

// crowdSum is what the members of a crowd did.
type crowdSum struct {
	all                     bits128 // targets
	targets                 uint32  // Σ of the members' own
	failed, answered, usual uint32
	votes                   uint32 // contacts that usual is of
	lo, hi                  decode.Addr
	first                   int64
}

func (c *crowd) sum() (t crowdSum) {
	t.first = math.MaxInt64
	for i := range c.members {
		s := c.members[i].source
		if s.fails.n == 0 {
			continue // named, and begun anew since
		}
		if t.votes == 0 || s.fails.lo.Less(t.lo) {
			t.lo = s.fails.lo
		}
		if t.votes == 0 || t.hi.Less(s.fails.hi) {
			t.hi = s.fails.hi
		}
		t.votes += s.fails.n
		t.usual += s.fails.usual
		t.failed += s.failed()
		t.answered += s.answered + s.answeredBefore
		t.first = min(t.first, s.first)
		if t.targets < 200 { // then the set is getting full
			t.targets += s.failures.count()
			t.all[0], t.all[1] = t.all[0]|s.failures[0], t.all[1]|s.failures[1]
		}
	}
	return t
}

// judgeCrowd tells of a crowd that is a scan.
func (a *Scan) judgeCrowd(c *crowd, now int64) {
	t := c.sum()
	known := c.key.print != scanPrint{}
	switch {
	case !known && len(c.members) < crowdStrange:
		return
	case t.targets < crowdTargets || 10*t.all.count() < 8*t.targets || 5*t.answered > t.failed+t.answered:
		return
	}
	victim := (&aim{lo: t.lo, hi: t.hi}).cover(c.key.ver)
	if victim.width == 0 || !a.due(victim, c.key.print, now) {
		return
	}
	c.told = now
	a.tellCrowd(c, &t, victim, known, now)
}

func (a *Scan) tellCrowd(c *crowd, t *crowdSum, victim scanVictim, known bool, now int64) {
	n := len(c.members)
	need, what := crewSize, "one tool"+toolWords(c.key.print)
	if !known {
		need, what = crowdStrange, "one print of their SYNs"
	}
	limit := capScan
	if !known && 10*t.usual >= 8*t.votes {
		limit = capUsual
	}
	a.f = Finding{
		Analyzer: a.Name(), Kind: "distributed", Time: now, Victim: Party{Prefix: victim.prefix()},
		Score: min(int(55+6*math.Log2(float64(n)/float64(need))), limit), MaxScore: capScan,
		Confidence: int(max(100-200*a.view.Loss(), 10)), Count: uint64(n), Total: true, First: min(t.first, now), Last: now,
		Quiet: int64(10 * time.Minute), Attack: []string{"T1046", "T1595.001"},
		Why: append(a.why[:0],
			Measure{Name: "sources", Value: float64(n), Unit: "sources", Threshold: float64(need), Window: int64(a.cfg.Window)},
			Measure{Name: "failed_targets", Value: float64(t.all.count()), Unit: "targets", Threshold: crowdTargets},
			Measure{Name: "distinct_share", Value: percent(uint64(min(t.all.count(), t.targets)), uint64(t.targets)), Unit: "%", Threshold: 80},
			Measure{Name: "failed_contacts", Value: float64(t.failed), Unit: "contacts"},
			Measure{Name: "answered_contacts", Value: float64(t.answered), Unit: "contacts"},
			Measure{Name: "loss_ratio", Value: a.view.Loss()}),
		Summary: fmt.Sprintf("%d sources with %s divide the targets of a scan of %s: %d failed contacts, no source with many.", n, what, victim.prefix(), t.failed),
	}
	if n <= crowdListed {
		var list []string
		for i := range c.members {
			list = append(list, c.members[i].addr.Netip(c.key.ver).String())
		}
		a.f.Notes = append(a.f.Notes, "sources: "+strings.Join(list, ", "))
	}
	if limit == capUsual {
		a.f.Notes = append(a.f.Notes, "clients of a site that is down may look the same")
	}
	a.why = a.f.Why
	a.emit(&a.f)
}
