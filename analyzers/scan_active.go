package analyzers

import (
	"fmt"
	"math"
	"time"

	"weir/decode"
	"weir/decode/conn"
)

// activeScans are the scans that are named now. Their number is bounded, and so is that of one victim: a flood over many
// ports from a pool of spoofed sources must not become an alert a source.
type activeScans struct {
	list []activeScan
	busy []*scanSource // of this tick: tried ten contacts or more, most of them with one network; at most maxBusy
}

type activeScan struct {
	src    decode.Addr
	victim scanVictim
	since  int64 // first evidence
	until  int64
	source *scanSource // its place in the table
	print  scanPrint
	failed bits128 // targets that had failed when it was named
}

// of reports whether the scan is that source's: its place in the table may be another's by now.
func (x *activeScan) of(s *scanSource) bool { return x.source == s && x.src == s.addr }

// scanPrint is what sources of one tool have in common.
type scanPrint struct {
	tool  uint16
	marks conn.Marks
}

// like reports a tool or a mark in common.
func (p scanPrint) like(o scanPrint) bool {
	return p.tool != 0 && p.tool == o.tool || p.marks&o.marks != 0
}

// Bounds of what is named at a time.
const (
	maxActive     = 1024
	maxSameHost   = 16  // of one host
	maxSamePrefix = 128 // of one network
	maxCrews      = 16
	maxBusy       = 256
)

// crewSize is from how many sources on a scan is distributed. nmap's decoys are five by habit, and share their targets.
const crewSize = 8

// admit enters a scan if there is room. It takes the place of an earlier one of the source.
func (x *activeScans) admit(s *scanSource, v scanVictim, now int64) bool {
	entry := activeScan{src: s.addr, source: s, victim: v, since: s.first, until: now + s.quiet(), print: scanPrint{s.tool, s.marks}, failed: s.failures}
	same := 0
	for i := range x.list {
		if x.list[i].of(s) {
			x.list[i] = entry
			return true
		}
		if v.width > 0 && x.list[i].victim == v {
			same++
		}
	}
	most := maxSamePrefix
	if v == hostVictim(v.addr, v.ver) {
		most = maxSameHost
	}
	if len(x.list) >= maxActive || same >= most {
		return false
	}
	x.list = append(x.list, entry)
	return true
}

// renew keeps a scan in the list for as long as it lasts.
func (x *activeScans) renew(s *scanSource, now int64) {
	for i := range x.list {
		if x.list[i].of(s) {
			x.list[i].victim, x.list[i].until = s.victim, now+s.quiet()
			return
		}
	}
}

// expire begins a tick.
func (x *activeScans) expire(now int64) {
	kept := x.list[:0]
	for _, s := range x.list {
		if s.until >= now {
			kept = append(kept, s)
		}
	}
	x.list = kept
	x.busy = x.busy[:0]
}

// flush tells what findings have not told yet, when a second has gone by without more of it.
func (a *Scan) flush(now int64) {
	for i := range a.active.list {
		s := a.active.list[i].source
		if a.active.list[i].of(s) && s.news && s.kind != scanNone && now-s.emitted >= int64(time.Second) {
			a.report(s, now)
		}
	}
}

// by tells which other source is scanning what v covers, or has tried ten contacts with it by this tick.
func (x *activeScans) by(other decode.Addr, v scanVictim) (decode.Addr, bool) {
	for i := range x.list {
		if s := &x.list[i]; s.src != other && (v.covers(s.victim) || s.victim.covers(v)) {
			return s.src, true
		}
	}
	for _, s := range x.busy {
		if c := s.tries.cover(s.ver); s.addr != other && (v.covers(c) || c.covers(v)) {
			return s.addr, true
		}
	}
	return decode.Addr{}, false
}

// note enters a source of this tick into the busy ones.
func (x *activeScans) note(s *scanSource) {
	if s.windowOpened >= 10 && s.ver == 4 && len(x.busy) < maxBusy && s.tries.near() {
		x.busy = append(x.busy, s)
	}
}

// crew is a distributed scan that was found.
type crew struct {
	victim  scanVictim
	print   scanPrint
	emitted int64
}

// seekCrew looks whether the scans of the network that s is named for are one distributed scan: eight sources or more,
// one tool, and targets that are at least 60 % distinct over all.
func (a *Scan) seekCrew(s *scanSource, now int64) {
	print := scanPrint{s.tool, s.marks}
	if print == (scanPrint{}) || !s.marked() || s.victim.width == 0 || s.test.ofTried() {
		return
	}
	var all bits128
	victim, sources, targets := s.victim, 0, uint32(0)
	for i := range a.active.list {
		m := &a.active.list[i]
		if !m.print.like(print) || !victim.covers(m.victim) && !m.victim.covers(victim) {
			continue
		}
		if m.victim.covers(victim) {
			victim = m.victim
		}
		sources++
		targets += m.failed.count()
		all[0], all[1] = all[0]|m.failed[0], all[1]|m.failed[1]
		if sources == 2*crewSize { // enough, and the set is getting full
			break
		}
	}
	if sources >= crewSize && 10*all.count() >= 6*targets && a.due(victim, print, now) {
		a.reportCrew(victim, print, now)
	}
}

// due reports whether the distributed scan is new or a second has gone by; there is room for 16, the oldest goes.
func (a *Scan) due(v scanVictim, p scanPrint, now int64) bool {
	oldest := 0
	for i := range a.crews {
		c := &a.crews[i]
		if c.victim == v && c.print.like(p) {
			if now-c.emitted < int64(time.Second) {
				return false
			}
			c.emitted = now
			return true
		}
		if c.emitted < a.crews[oldest].emitted {
			oldest = i
		}
	}
	if len(a.crews) < maxCrews {
		a.crews = append(a.crews, crew{v, p, now})
	} else {
		a.crews[oldest] = crew{v, p, now}
	}
	return true
}

func (a *Scan) reportCrew(victim scanVictim, print scanPrint, now int64) {
	sources, first := 0, now
	for i := range a.active.list {
		if m := &a.active.list[i]; m.print.like(print) && victim.covers(m.victim) {
			sources++
			first = min(first, m.since)
		}
	}
	a.f = Finding{
		Analyzer: a.Name(), Kind: "distributed", Time: now, Victim: Party{Prefix: victim.prefix()},
		Score: int(min(55+6*math.Log2(float64(sources)/crewSize), 100)), MaxScore: capScan,
		Confidence: int(max(100-200*a.view.Loss(), 10)), Count: uint64(sources), Total: true, First: first, Last: now,
		Quiet: int64(10 * time.Minute), Attack: []string{"T1046", "T1595.001"},
		Why: append(a.why[:0],
			Measure{Name: "sources", Value: float64(sources), Unit: "sources", Threshold: crewSize},
			Measure{Name: "loss_ratio", Value: a.view.Loss()}),
		Summary: fmt.Sprintf("%d sources%s scan %s with one tool and divide its targets", sources, toolWords(print), victim.prefix()),
		Notes:   []string{"scanners that share nothing but the tool and the network look the same"},
	}
	a.why = a.f.Why
	a.emit(&a.f)
}

func toolWords(p scanPrint) string {
	if names := markWords(p.marks); names != "" {
		return " (headers as of " + names + ")"
	}
	return ""
}
