package policy

import (
	"container/heap"
	"net/netip"

	"github.com/gaissmai/bart"
)

// strikes remembers sources that were dropped with a proven return path. When it is full, the source with the fewest
// strikes, among them the oldest, goes.
type strikes struct {
	max       int
	table     bart.Table[*strike]
	order     ordered[*strike] // who goes first
	forgotten uint64
}

type strike struct {
	source netip.Prefix
	n      int
	last   int64 // unix seconds
	place  int
}

// maxStrike is where counting ends: more than any ladder has.
const maxStrike = 100

func newStrikes(limit int) *strikes {
	return &strikes{max: limit, order: ordered[*strike]{
		less: func(a, b *strike) bool {
			switch {
			case a.n != b.n:
				return a.n < b.n
			case a.last != b.last:
				return a.last < b.last
			}
			return a.source.Compare(b.source) < 0
		},
		place: func(s *strike) *int { return &s.place },
	}}
}

// left is how many strikes remain when one is forgiven for each span of forget without another.
func (s *strike) left(now, forget int64) int { return max(0, s.n-int(max(0, now-s.last)/forget)) }

// add counts an offence and returns how many there are now.
func (t *strikes) add(source netip.Prefix, now, forget int64) int {
	s, ok := t.table.Get(source)
	if ok {
		s.n, s.last = min(s.left(now, forget)+1, maxStrike), max(now, s.last)
		heap.Fix(&t.order, s.place)
		return s.n
	}
	t.put(&strike{source: source, n: 1, last: now})
	return 1
}

func (t *strikes) put(s *strike) {
	if len(t.order.list) >= t.max {
		t.evict()
	}
	t.table.Insert(s.source, s)
	heap.Push(&t.order, s)
}

func (t *strikes) evict() {
	s := heap.Pop(&t.order).(*strike)
	t.table.Delete(s.source)
	t.forgotten++
}

// forgive takes a strike back: the drop was a mistake.
func (t *strikes) forgive(source netip.Prefix) {
	s, ok := t.table.Get(source)
	if !ok {
		return
	}
	if s.n--; s.n > 0 {
		heap.Fix(&t.order, s.place)
		return
	}
	heap.Remove(&t.order, s.place)
	t.table.Delete(source)
}

// touch lets forgetting begin at the end of a drop.
func (t *strikes) touch(source netip.Prefix, now int64) {
	if s, ok := t.table.Get(source); ok {
		s.last = max(s.last, now)
		heap.Fix(&t.order, s.place)
	}
}

// siblingV6 is what counts as one sibling in an IPv6 prefix wider than it: addresses of one /64 are one network.
const siblingV6 = 64

// siblings counts the addresses within a prefix that have strikes, up to 256.
func (t *strikes) siblings(p netip.Prefix, now, forget int64) int {
	seen := map[netip.Prefix]bool{}
	for q, s := range t.table.Subnets(p) {
		if !q.IsSingleIP() || s.left(now, forget) == 0 {
			continue
		}
		if p.Addr().Is6() && p.Bits() < siblingV6 {
			q = netip.PrefixFrom(q.Addr(), siblingV6).Masked()
		}
		if seen[q] = true; len(seen) == 256 {
			break
		}
	}
	return len(seen)
}
