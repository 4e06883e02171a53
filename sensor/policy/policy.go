// Package policy decides what the gate drops: it makes a Drop of an alert, or a Refusal that names the guard which held it
// back. It reads no clock and does no I/O: the same alerts at the same event times give the same decisions.
//
// An alert passes the guards (guard.go) with the mildest remedy that fits its evidence (judge.go). What was decided lasts for
// its strike's time (strikes.go), is extended while it is hit and ends when it is quiet (expire.go). A human's drops take the
// same way (hand.go).
package policy

import (
	"container/heap"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"weir/analyzers/context"
)

// Policy holds what is wanted of the gate. All its state is bounded by its Config: drops (about 1 kB each; when full new
// ones are refused), strikes (about 200 bytes; fewest and oldest go first), peers (about 200 bytes; longest silent go first).
//
// Times are event time in ns since the Unix epoch; one that is older than what was reached counts as that. Not safe for
// concurrent use. What Decisions point to is shared and not to be changed.
type Policy struct {
	cfg      Config
	networks *context.Networks
	stats    Stats

	now        int64 // reached, ns
	generation uint64
	held       *Hold // panic

	drops   map[string]*entry // by key
	ids     map[string]*entry
	alerts  map[string][]*entry // by alert id
	sources bart.Table[*entry]  // those with scope address or prefix
	due     ordered[*entry]     // by when something is to be done
	recent  []int64             // ns: requests of the last second, oldest first
	strikes *strikes
	peers   *peers
}

// Hold is a panic that was not resumed yet.
type Hold struct {
	By    string `json:"by"`
	Since int64  `json:"since"` // unix seconds
}

// entry is a drop that is wanted.
type entry struct {
	key     string
	drop    *Drop // replaced, never changed: decisions share it
	since   int64 // ns: first evidence
	lastHit int64 // ns; 0: never
	dueAt   int64 // unix seconds
	place   int   // in due
}

// Stats counts decisions. One writer.
type Stats struct {
	Requested uint64
	Pending   uint64
	Extended  uint64
	Expired   uint64
	Removed   uint64   // by hand, panic, guard, or because the attack is over
	Refused   []uint64 // by guard, in the order of GuardNames
	Unknown   uint64   // hits on drops that are not there (any more)
	Forgotten uint64   // strikes that had to go because there were too many
	Unpeered  uint64   // peers that had to go because there were too many
}

// New returns a Policy of settings that were checked.
func New(cfg Config, networks *context.Networks) *Policy {
	p := &Policy{
		cfg: cfg, networks: networks, now: 1e9,
		drops: map[string]*entry{}, ids: map[string]*entry{}, alerts: map[string][]*entry{},
		strikes: newStrikes(cfg.MaxStrikes), peers: &peers{max: cfg.MaxPeers},
	}
	p.stats.Refused = make([]uint64, len(guards))
	p.due = ordered[*entry]{
		less: func(a, b *entry) bool {
			return a.dueAt < b.dueAt || a.dueAt == b.dueAt && a.key < b.key
		},
		place: func(e *entry) *int { return &e.place },
	}
	return p
}

// Stats returns the counters.
func (p *Policy) Stats() Stats {
	s := p.stats
	s.Refused = slices.Clone(s.Refused)
	s.Forgotten, s.Unpeered = p.strikes.forgotten, p.peers.evicted
	return s
}

// Drops are all that are wanted or pending, in order of their keys.
func (p *Policy) Drops() []*Drop {
	var list []*Drop
	for _, k := range slices.Sorted(maps.Keys(p.drops)) {
		list = append(list, p.drops[k].drop)
	}
	return list
}

// Drop is the one with an id, or nil.
func (p *Policy) Drop(id string) *Drop {
	if e := p.ids[id]; e != nil {
		return e.drop
	}
	return nil
}

// Over is the hardest drop in force, or in rehearsal, of a source; nil without one.
func (p *Policy) Over(ip netip.Addr) (hardest *Drop) {
	for _, e := range p.sources.Supernets(context.Single(ip)) {
		if e.drop.State == Requested && (hardest == nil || e.drop.does(hardest)) {
			hardest = e.drop
		}
	}
	return hardest
}

// Wanted is the drop with a key (Drop.Key), wanted or pending, or nil.
func (p *Policy) Wanted(key string) *Drop {
	if e := p.drops[key]; e != nil {
		return e.drop
	}
	return nil
}

// Sizes are the entries of the bounded tables.
func (p *Policy) Sizes() (drops, strikes, peers int) {
	return len(p.drops), len(p.strikes.order.list), p.peers.table.Size()
}

// Limits are the entries that they may have.
func (p *Policy) Limits() (drops, strikes, peers int) {
	return p.cfg.MaxDrops, p.cfg.MaxStrikes, p.cfg.MaxPeers
}

// Pending is how many of the drops wait for approval. It walks them all.
func (p *Policy) Pending() (n int) {
	for _, e := range p.drops {
		if e.drop.State == Pending {
			n++
		}
	}
	return n
}

// Reconfigure goes on with other settings or networks. Drops that a guard forbids now are removed; those in force that the
// caps would not admit stay. When a rehearsal begins, drops in force go on as part of it; when it ends, what was rehearsed
// takes a new alert to be done in earnest.
func (p *Policy) Reconfigure(cfg Config, networks *context.Networks, now int64) []Decision {
	out := p.Advance(now)
	p.cfg, p.networks = cfg, networks
	for p.strikes.max = cfg.MaxStrikes; len(p.strikes.order.list) > cfg.MaxStrikes; {
		p.strikes.evict()
	}
	for p.peers.max = cfg.MaxPeers; p.peers.table.Size() > cfg.MaxPeers; {
		p.peers.evict()
	}
	out = append(out, p.recheck()...)
	for _, d := range p.Drops() {
		if cfg.Shadow && d.Action != Shadow {
			out = append(out, p.change(p.drops[d.Key()], func(d *Drop) {
				d.Action, d.Would = Shadow, d.Action
				d.Summary = clip(d.doing()+", because a rehearsal began; "+d.Reason, 3*maxReason)
			}))
		}
	}
	return out
}

// recheck removes what a standing guard forbids now.
func (p *Policy) recheck() (out []Decision) {
	g := Guards{p.cfg, p.networks}
	for _, d := range p.Drops() {
		if name, why := g.check(d, p.unix()); name != "" {
			out = append(out, p.remove(p.drops[d.Key()], Removed, name, ByPolicy, why))
		}
	}
	return out
}

// clock takes in event time, which never goes back.
func (p *Policy) clock(now int64) { p.now = max(p.now, now) }

func (p *Policy) unix() int64 { return p.now / 1e9 }

// next is a generation above all before. It follows the time in µs, so that a policy which lost its state does not fall
// behind what enforcers remember.
func (p *Policy) next() uint64 {
	p.generation = max(p.generation+1, uint64(min(p.now/1000, maxGeneration/2)))
	return p.generation
}

// After has all generations to come be above one that somebody else used, as that of a panic's end is.
func (p *Policy) After(generation uint64) {
	p.generation = max(p.generation, min(generation, maxGeneration/2))
}

// put makes a drop wanted, in place of what had its key.
func (p *Policy) put(d *Drop, since int64) {
	key := d.Key()
	e := p.drops[key]
	if e != nil {
		since = min(since, e.since)
		p.take(e)
	} else {
		e = &entry{key: key}
	}
	e.drop, e.since, e.dueAt = d, since, d.Until-lead
	p.drops[key], p.ids[d.ID] = e, e
	if d.Alert != "" {
		p.alerts[d.Alert] = append(p.alerts[d.Alert], e)
	}
	heap.Push(&p.due, e)
	if s := d.Source(); s.IsValid() {
		p.sources.Insert(s, e)
		if e.hurts() {
			p.peers.cover(s, e.since, +1)
		}
	}
}

// take makes a drop unwanted.
func (p *Policy) take(e *entry) {
	d := e.drop
	delete(p.drops, e.key)
	delete(p.ids, d.ID)
	if rest := slices.DeleteFunc(p.alerts[d.Alert], func(o *entry) bool { return o == e }); len(rest) > 0 {
		p.alerts[d.Alert] = rest
	} else {
		delete(p.alerts, d.Alert)
	}
	heap.Remove(&p.due, e.place)
	if s := d.Source(); s.IsValid() {
		p.sources.Delete(s)
		if e.hurts() {
			p.peers.cover(s, e.since, -1)
		}
	}
}

// hurts reports whether established peers lose connections by it, or would in earnest.
func (e *entry) hurts() bool { return e.drop.State == Requested && hurts(e.drop) }

func hurts(d *Drop) bool {
	return d.Source().IsValid() && (d.Effect() == DropAll || d.Effect() == DropNew)
}

// change replaces a drop by its next generation.
func (p *Policy) change(e *entry, to func(d *Drop)) Decision {
	d := *e.drop
	d.Generation = p.next()
	to(&d)
	p.put(&d, e.since)
	return Decision{Drop: &d}
}

// Heard tells what another sensor wrote under the key of a drop that is wanted here, and that counts now in its place. If it has ended
// or does less, the drop is decided anew.
func (p *Policy) Heard(o *Drop, now int64) []Decision {
	out := p.Advance(now)
	e := p.drops[o.Key()]
	if e == nil || e.drop.ID == o.ID || e.drop.State != Requested || o.Generation <= e.drop.Generation {
		return out
	}
	if o.State == Requested && o.Until > p.unix() && o.does(e.drop) {
		return out
	}
	p.After(o.Generation)
	return append(out, p.change(e, func(*Drop) {}))
}

// remove ends a drop; the decision is its tombstone, which lasts as long as the drop would have.
func (p *Policy) remove(e *entry, state State, guard, by, why string) Decision {
	d := *e.drop
	p.take(e)
	d.Generation, d.State, d.Guard = p.next(), state, guard
	d.Summary = clip("End of: "+d.doing()+", by "+by+": "+why+".", maxReason)
	if state == Expired {
		p.stats.Expired++
	} else {
		p.stats.Removed++
	}
	return Decision{Drop: &d}
}

func (p *Policy) refuse(c *candidate, guard int, why string) Decision {
	p.stats.Refused[guard]++
	r := refusal(c.drop, p.now, guards[guard].name, why)
	if c.drop.Scope == NoScope && c.alert != nil {
		r.about(c.alert)
	}
	if e := c.same; e != nil {
		r.Drop = e.drop.ID
	}
	return Decision{Refusal: r}
}

// ordered is a heap whose members know their places.
type ordered[T any] struct {
	list  []T
	less  func(a, b T) bool
	place func(T) *int
}

func (o *ordered[T]) Len() int           { return len(o.list) }
func (o *ordered[T]) Less(i, j int) bool { return o.less(o.list[i], o.list[j]) }

func (o *ordered[T]) Swap(i, j int) {
	o.list[i], o.list[j] = o.list[j], o.list[i]
	*o.place(o.list[i]), *o.place(o.list[j]) = i, j
}

func (o *ordered[T]) Push(x any) {
	*o.place(x.(T)) = len(o.list)
	o.list = append(o.list, x.(T))
}

func (o *ordered[T]) Pop() any {
	var none T
	last := len(o.list) - 1
	x := o.list[last]
	o.list[last] = none
	o.list = o.list[:last]
	return x
}
