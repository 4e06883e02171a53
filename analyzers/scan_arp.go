package analyzers

import (
	"fmt"
	"math"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// An ARP sweep is a host that asks for many neighbours in a short time, most of which do not exist. Silence alone is weak
// evidence here, for on a switch the sensor may see requests (broadcast) but no replies (unicast), and a router asks for
// every address that others scan. So the walk does not count ARP; instead:
//
//   - 25 distinct targets asked for within 10 s that do not answer at once, and no fewer of them than of those that do: low, score 25 to 49. A /24 router under the
//     internet's background noise asks for two or three silent addresses a second at most.
//   - from 50 of them (5/s): 50, + 6 for each doubling, 60 at most: medium. The tools (arp-scan, nmap -PR) ask for hundreds.
//   - another source is trying many hosts of the same network: 40 at most, with a note, because a router then asks on its behalf.
//
// A /27 or smaller network has no 50 targets and is never more than low.
const (
	arpTargets = 25
	arpMany    = 50
	arpWindow  = int64(10 * time.Second)
	arpQuiet   = int64(time.Minute)
	arpSets    = 64
)

// arpSweeps keeps up to 512 hosts that asked for neighbours, in sets of eight; the one with the fewest goes.
type arpSweeps struct {
	host    [arpSets][8]arpHost
	touched []*arpHost // in this tick, or with news
}

type arpHost struct {
	addr            decode.Addr
	used, open      bool
	listed, news    bool   // in touched; with evidence that no finding has told
	window          int64  // start
	asked, answered uint32 // in the window; while open: since its start
	asking          uint32 // asked in the tick that ends at now
	now             int64
	lo, hi          decode.Addr
	first, last     int64
	lasted, emitted int64
	victim          scanVictim
	behalf          decode.Addr // who was trying the same network when it asked
}

// observe takes a source's ARP contacts in, if it has any.
func (x *arpSweeps) observe(in *tally.Source, e *tally.Epoch) {
	asked := in.Probes[conn.ProbeARP]
	if asked == 0 && (in.Answered == 0 || in.NContacts == 0) {
		return
	}
	var answered, answeredAll uint32
	lo, hi := decode.Addr{Hi: math.MaxUint64, Lo: math.MaxUint64}, decode.Addr{}
	for i := range in.Contacts[:in.NContacts] {
		c := &in.Contacts[i]
		if c.Stage >= conn.StageAnswered {
			answeredAll++
			answered += one(c.Probe == conn.ProbeARP)
		}
		if c.Probe == conn.ProbeARP && c.Stage == conn.StageOpened {
			if c.Dst.Less(lo) {
				lo = c.Dst
			}
			if hi.Less(c.Dst) {
				hi = c.Dst
			}
		}
	}
	answered = part(in.Answered, answered, answeredAll)
	if asked+answered == 0 {
		return
	}
	h := x.at(in.Addr)
	h.add(in, e, asked, answered)
	if !hi.Less(lo) {
		h.reach(lo, hi)
	}
	if h.news = h.news || asked > 0; !h.listed {
		x.touched, h.listed = append(x.touched, h), true
	}
}

// at finds a host or, with room made, takes it in.
func (x *arpSweeps) at(a decode.Addr) *arpHost {
	set := &x.host[scramble(a.Lo, a.Hi)>>58]
	least := &set[0]
	for i := range set {
		h := &set[i]
		if h.used && h.addr == a {
			return h
		}
		if !h.used || least.used && h.asked < least.asked {
			least = h
		}
	}
	*least = arpHost{addr: a, used: true, listed: least.listed}
	return least
}

func (h *arpHost) add(in *tally.Source, e *tally.Epoch, asked, answered uint32) {
	now := e.End()
	if h.open && now-h.lasted > arpQuiet {
		*h = arpHost{addr: h.addr, used: true, listed: h.listed}
	}
	if !h.open && now-h.window > arpWindow {
		*h = arpHost{addr: h.addr, used: true, listed: h.listed, window: now, first: in.First}
	}
	h.last = in.Last
	h.settle(now)
	h.asking = asked
	h.answered += answered
}

// settle counts what was asked in a tick before this one.
func (h *arpHost) settle(now int64) {
	if h.now < now {
		h.asked, h.asking, h.now = h.asked+h.asking, 0, now
	}
}

// silent is how many of those asked before this tick have not answered: on a link an answer takes milliseconds.
func (h *arpHost) silent() uint32 { return max(h.asked, h.answered) - h.answered }

func (h *arpHost) reach(lo, hi decode.Addr) {
	if h.hi == (decode.Addr{}) {
		h.lo, h.hi = lo, hi
		return
	}
	if lo.Less(h.lo) {
		h.lo = lo
	}
	if h.hi.Less(hi) {
		h.hi = hi
	}
}

// judgeARP runs at the end of a tick, when the other scans of the tick are known. Hosts with news stay touched.
func (a *Scan) judgeARP() {
	now := a.e.End()
	waiting := a.arp.touched[:0]
	for _, h := range a.arp.touched {
		h.settle(now)
		if by, ok := a.active.by(h.addr, h.cover()); ok {
			h.behalf = by
		}
		switch {
		case !h.open && (h.silent() < arpTargets || h.silent() < h.answered):
		case h.open && now-h.emitted < int64(time.Second):
			waiting = append(waiting, h)
			continue
		case !h.open || h.news:
			if !h.open {
				h.open, h.victim = true, h.cover()
			}
			h.lasted, h.emitted, h.news = now, now, false
			a.reportARP(h, now)
		}
		h.listed = false
	}
	a.arp.touched = waiting
}

// finishARP tells what waits at the end of input.
func (a *Scan) finishARP(now int64) {
	for _, h := range a.arp.touched {
		h.asked, h.asking = h.asked+h.asking, 0 // nothing can answer any more
		if h.open && h.news {
			h.emitted, h.news = now, false
			a.reportARP(h, now)
		}
	}
}

func (h *arpHost) cover() scanVictim { return (&aim{lo: h.lo, hi: h.hi}).cover(4) }

func (a *Scan) reportARP(h *arpHost, now int64) {
	limit := capWeak
	score := 25 + float64(h.silent()-min(h.silent(), arpTargets))
	if h.silent() >= arpMany {
		score = 50 + 6*math.Log2(float64(h.silent())/arpMany)
	}
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "arp_sweep", Time: now,
		Subject: Party{Prefix: hostVictim(h.addr, 4).prefix()},
		Victim:  Party{Prefix: h.victim.prefix()},
		Score:   int(min(score, 100)), Confidence: int(max(100-200*a.view.Loss(), 10)),
		Count: uint64(h.silent()), Total: true, First: h.first, Last: h.last, Quiet: arpQuiet,
		Attack: []string{"T1046"},
	}
	if h.behalf != (decode.Addr{}) {
		limit = capSpread
		f.Notes = append(f.Notes, fmt.Sprintf("%s was trying many hosts of the same network: a router asks for its targets like this", h.behalf.Netip(4)))
	}
	f.MaxScore = limit
	span := max(h.last-h.first, tally.Tick)
	f.Why = append(a.why[:0],
		Measure{Name: "silent_targets", Value: float64(h.silent()), Unit: "hosts", Threshold: arpTargets, Window: arpWindow},
		Measure{Name: "answered_targets", Value: float64(h.answered), Unit: "hosts"},
		Measure{Name: "rate", Value: round3(float64(h.asked+h.asking) / (float64(span) / 1e9)), Unit: "contacts/s"},
		Measure{Name: "loss_ratio", Value: a.view.Loss()})
	a.why = f.Why
	f.Summary = fmt.Sprintf("%s asked for %d neighbours%s by ARP that did not answer, and %d that did, in %v", f.Subject.Prefix.Addr(), h.silent(),
		place(f.Victim.Prefix), h.answered, time.Duration(span).Round(100*time.Millisecond))
	a.emit(f)
}
