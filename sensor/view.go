package sensor

import (
	"cmp"
	"net/netip"
	"slices"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
)

// View is what a live engine shows of the traffic. A new one is made each second of event time and never changed, so that any
// goroutine may read it.
type View struct {
	Time          int64   // ns: event time that it shows
	Packets, Bits float64 // a second, since the view before
	PacketsBand   analyzers.Band
	BitsBand      analyzers.Band
	Sources       []Top // of the last viewSeconds, most bytes first
	Services      []Top
	Near          []analyzers.Near // to a limit, nearest first
}

// Top is one of those that are in most of the traffic. Packets and bytes are both ways; they are counted where connections report
// them, so that they come in steps, and what sends a few packets to each of many is told by its connections.
type Top struct {
	Addr           netip.Addr
	Port           uint16 // of services
	Proto          uint8
	Packets, Bytes uint64
	Connections    uint64 // begun; of sources what they tried first
}

// Bounds of a view.
const (
	viewSeconds = 10
	viewTops    = 20
	viewNear    = 20
	tickTops    = 64 // of each tick: those with most bytes, and as many with most connections
)

// View is the newest view of a live engine, nil in its first second. Any goroutine may ask.
func (e *Engine) View() *View { return e.live.view.Load() }

// topKey is whom a Top counts.
type topKey struct {
	addr  decode.Addr
	port  uint16
	ver   uint8
	proto uint8
}

type topCount struct{ packets, bytes, connections uint64 }

func (c *topCount) add(o *topCount) {
	c.packets, c.bytes, c.connections = c.packets+o.packets, c.bytes+o.bytes, c.connections+o.connections
}

// tops are the largest of the last viewSeconds: the largest of each tick, summed up by the second.
type tops struct {
	now     int64 // second that is being summed up
	seconds [viewSeconds]map[topKey]topCount
	pick    [2]picks // of a tick: by bytes, and by connections
}

// begin goes on to a tick's second, and forgets those that are past.
func (t *tops) begin(second int64) {
	for second > t.now {
		t.now = max(t.now+1, second-viewSeconds)
		t.seconds[t.now%viewSeconds] = nil
	}
}

// take sums up what was picked of a tick.
func (t *tops) take() {
	sum := &t.seconds[t.now%viewSeconds]
	if *sum == nil {
		*sum = map[topKey]topCount{}
	}
	for i := range t.pick {
		for _, p := range t.pick[i].list {
			c := (*sum)[p.key]
			c.add(&p.count)
			(*sum)[p.key] = c
		}
		t.pick[i].list = t.pick[i].list[:0]
	}
}

// best are the largest of all seconds, most bytes first.
func (t *tops) best() []Top {
	all := map[topKey]topCount{}
	for _, second := range t.seconds {
		for k, c := range second {
			sum := all[k]
			sum.add(&c)
			all[k] = sum
		}
	}
	list := make([]Top, 0, len(all))
	for k, c := range all {
		list = append(list, Top{k.addr.Netip(k.ver), k.port, k.proto, c.packets, c.bytes, c.connections})
	}
	slices.SortFunc(list, func(a, b Top) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Connections, a.Connections), a.Addr.Compare(b.Addr),
			cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto))
	})
	return slices.Clip(list[:min(len(list), viewTops)])
}

// picks are the largest of one tick.
type picks struct {
	list  []picked
	least int // place of the smallest, when it is full
}

type picked struct {
	weight uint64
	key    topKey
	count  topCount
}

// offer takes an entry in if it is among the largest. Few are, after the first.
func (p *picks) offer(weight uint64, k topKey, c topCount) {
	switch {
	case weight == 0:
		return
	case len(p.list) < tickTops:
		p.list = append(p.list, picked{weight, k, c})
	case weight <= p.list[p.least].weight:
		return
	default:
		p.list[p.least] = picked{weight, k, c}
	}
	if len(p.list) == tickTops {
		p.least = 0
		for i := range p.list {
			if p.list[i].weight < p.list[p.least].weight {
				p.least = i
			}
		}
	}
}

// viewer makes the views. On the judge's goroutine.
type viewer struct {
	sources, services tops
	time              int64 // of the last view
	packets, bytes    uint64
}

// tick takes in an epoch: a pass over its lists, some ns an entry.
func (v *viewer) tick(e *tally.Epoch) {
	second := e.Tick / statusTicks
	v.sources.begin(second)
	v.services.begin(second)
	for i := 0; i < len(e.Pairs); {
		k := topKey{addr: e.Pairs[i].Key.Client, ver: e.Pairs[i].Key.Ver}
		var sum topCount
		for ; i < len(e.Pairs) && e.Pairs[i].Key.Client == k.addr && e.Pairs[i].Key.Ver == k.ver; i++ {
			p := &e.Pairs[i]
			sum.add(&topCount{packets: p.Packets + p.BackPackets, bytes: p.Bytes + p.BackBytes})
		}
		v.sources.pick[0].offer(sum.bytes, k, sum)
	}
	for i := range e.Sources {
		if s := &e.Sources[i]; s.Ver != 0 {
			n := uint64(s.Opened) + uint64(s.Repeats)
			v.sources.pick[1].offer(n, topKey{addr: s.Addr, ver: s.Ver}, topCount{connections: n})
		}
	}
	for i := range e.Services {
		s := &e.Services[i]
		if s.Key.Role != tally.RoleServer {
			continue
		}
		k := topKey{s.Key.Addr, s.Key.Port, s.Key.Ver, s.Key.Proto}
		v.services.pick[0].offer(s.Bytes+s.BackBytes, k, topCount{packets: s.Packets + s.BackPackets, bytes: s.Bytes + s.BackBytes})
		v.services.pick[1].offer(uint64(s.Opened), k, topCount{connections: uint64(s.Opened)})
	}
	v.sources.take()
	v.services.take()
}

// view is what is shown at a time, given the totals of the link.
func (v *viewer) view(now int64, link *tally.Link, all []analyzers.Analyzer) *View {
	out := &View{Time: now, Sources: v.sources.best(), Services: v.services.best()}
	if passed := float64(now-v.time) / 1e9; v.time != 0 && passed > 0 {
		out.Packets, out.Bits = float64(link.Packets-v.packets)/passed, float64(link.Bytes-v.bytes)*8/passed
	}
	v.time, v.packets, v.bytes = now, link.Packets, link.Bytes
	for _, a := range all {
		if r, ok := a.(*analyzers.Rate); ok {
			out.PacketsBand, out.BitsBand = r.LinkBands(now)
		}
		if near, ok := a.(analyzers.Approaching); ok {
			near.Nearest(now, func(n *analyzers.Near) { out.Near = append(out.Near, *n) })
		}
	}
	slices.SortStableFunc(out.Near, func(a, b analyzers.Near) int { return cmp.Compare(b.Share(), a.Share()) })
	out.Near = out.Near[:min(len(out.Near), viewNear)]
	return out
}
