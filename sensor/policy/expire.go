package policy

import (
	"container/heap"
	"fmt"
)

// lead is how long before its end a drop that is still hit is extended, in seconds: time for the new end to reach the
// kernel.
const lead = 10

// hitSpan is how recent a hit must be for a drop to be extended: a source that tries once a minute is still there.
const hitSpan = int64(120e9)

// Hit tells that packets met a drop, the last of them at event time last. Enforcers know it from their counters; call it
// with every receipt.
func (p *Policy) Hit(id string, last int64) {
	e := p.ids[id]
	if e == nil {
		p.stats.Unknown++
		return
	}
	e.lastHit = max(e.lastHit, min(last, p.now))
	e.dueAt = e.drop.Until - lead // even if it was quiet then
	heap.Fix(&p.due, e.place)
}

// Advance takes event time on: what is still hit at its end is extended by the span of its strike, what is quiet ends.
// Decisions come in order of their time, then key. Call it every second or so; all that decides calls it first.
func (p *Policy) Advance(now int64) (out []Decision) {
	p.clock(now)
	for len(p.due.list) > 0 && p.due.list[0].dueAt <= p.unix() {
		e := p.due.list[0]
		switch d := e.drop; {
		case e.lastHit > 0 && e.lastHit >= p.now-hitSpan && p.extensible(d):
			out = append(out, p.extend(e))
		case d.Until > p.unix():
			e.dueAt = d.Until // once more at the end
			heap.Fix(&p.due, e.place)
		default:
			p.strikes.touch(d.Source(), d.Until)
			out = append(out, p.remove(e, Expired, "", ByPolicy, p.quietness(e)))
		}
	}
	return out
}

// extensible: what a human made ends when he said, and nothing lasts longer than Longest.
func (p *Policy) extensible(d *Drop) bool {
	return d.By == ByPolicy && d.State == Requested && p.longer(d) > d.Until
}

// longer is the end of a drop after its extension.
func (p *Policy) longer(d *Drop) int64 {
	more := seconds(p.cfg.Strikes[min(max(d.Strikes, 1), len(p.cfg.Strikes))-1])
	return min(max(d.Until, p.unix())+more, d.Created+seconds(p.cfg.Longest))
}

func (p *Policy) extend(e *entry) Decision {
	p.stats.Extended++
	return p.change(e, func(d *Drop) {
		d.Until, d.Extended = p.longer(d), d.Extended+1
		d.Summary = clip(fmt.Sprintf("go on until %s (extension %d): %s, because it was hit at %s; %s",
			clockText(d.Until), d.Extended, d.doing(), clockText(e.lastHit/1e9), d.Reason), 3*maxReason)
	})
}

func (p *Policy) quietness(e *entry) string {
	switch d := e.drop; {
	case d.State == Pending:
		return "nobody approved it"
	case d.By != ByPolicy:
		return "its time is over"
	case d.Until-d.Created >= seconds(p.cfg.Longest):
		return fmt.Sprintf("it lasted %s, which is the longest", span(p.cfg.Longest))
	case e.lastHit == 0:
		return "it was never hit"
	}
	return fmt.Sprintf("it was last hit at %s", clockText(e.lastHit/1e9))
}
