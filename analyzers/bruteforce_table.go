package analyzers

import (
	"slices"
	"unsafe"

	"weir/analyzers/tally"
	"weir/decode"
)

// keepWays is how many keys share a set of a keep; keepOnce is how many marks it has for each entry.
const (
	keepWays = 8
	keepOnce = 8
)

// keep is a table of fixed size by client and service: sets of eight. In a full set a new key has to come twice (once is a mark in
// a table of hashes, which others overwrite); then the key with the least evidence goes, the oldest of those. Both are counted.
// So many keys that come once do not wash away those that come again. Keys are told apart by 64 bits of a keyed hash. Memory
// is taken set by set, as keys come.
type keep[E any, P interface {
	*E
	weight() uint64 // of the evidence, with which an entry defends its place
}] struct {
	Evicted uint64 // keys that went, or were let in at their second coming only
	key     uint64
	keyed   bool
	sets    []keepSet[E]
	once    []uint32 // marks of keys that came to a full set
}

// keepSet is a set; what a look-up reads comes first, two cache lines.
type keepSet[E any] struct {
	tag   [keepWays]uint64
	last  [keepWays]uint32 // s
	value []E
}

func newKeep[E any, P interface {
	*E
	weight() uint64
}](entries int) keep[E, P] {
	n := 1
	for n*2*keepWays <= entries {
		n *= 2
	}
	return keep[E, P]{sets: make([]keepSet[E], n), once: make([]uint32, n*keepWays*keepOnce)}
}

// begin prepares for an epoch. The first one's key stays: the hash only has to be unknown to attackers.
func (t *keep[E, P]) begin(e *tally.Epoch) {
	if !t.keyed {
		t.key, t.keyed = scramble(e.SketchKey, 0x9e3779b97f4a7c15), true
	}
}

func (t *keep[E, P]) hash(k *tally.PairKey) uint64 {
	h := scramble(k.Client.Lo^t.key, k.Client.Hi^uint64(k.Port)<<48^uint64(k.Proto)<<40^uint64(k.Ver)<<32)
	return scramble(h^k.Server.Lo, k.Server.Hi)
}

// find is the entry of a key, nil without one. Valid until the next call of at.
func (t *keep[E, P]) find(k *tally.PairKey) *E {
	h := t.hash(k)
	s := &t.sets[h>>32&uint64(len(t.sets)-1)]
	for i := range s.value {
		if s.tag[i] == h {
			return &s.value[i]
		}
	}
	return nil
}

// at is the entry of a key, made if it is new; nil if its set is full and it came for the first time. Entries that were idle for
// longer than idle (ns) are as good as free. Valid until the next call.
func (t *keep[E, P]) at(k *tally.PairKey, now, idle int64) *E {
	h := t.hash(k)
	s := &t.sets[h>>32&uint64(len(t.sets)-1)]
	second := uint32(now / 1e9)
	for i := range s.value {
		if s.tag[i] == h {
			s.last[i] = second
			return &s.value[i]
		}
	}
	at := len(s.value)
	if at < keepWays {
		var empty E
		s.value = append(slices.Grow(s.value, 1), empty)
	} else if at = s.idle(second, uint32(idle/1e9)); at < 0 {
		t.Evicted++
		if once := &t.once[h>>8&uint64(len(t.once)-1)]; *once != uint32(h) {
			*once = uint32(h)
			return nil
		}
		at = 0
		for i := 1; i < keepWays; i++ {
			if t.less(s, i, at) {
				at = i
			}
		}
	}
	s.tag[at], s.last[at] = h, second
	var empty E
	s.value[at] = empty
	return &s.value[at]
}

// idle is an entry of a full set that was idle for so many seconds, -1 if there is none.
func (s *keepSet[E]) idle(now, idle uint32) int {
	for i, last := range s.last {
		if now-last > idle {
			return i
		}
	}
	return -1
}

// less reports whether an entry has less evidence than another, or as much and is older.
func (t *keep[E, P]) less(s *keepSet[E], i, j int) bool {
	x, y := P(&s.value[i]).weight(), P(&s.value[j]).weight()
	return x < y || x == y && s.last[i] < s.last[j]
}

// spanParts is how many parts a sliding window has; it reaches back from nine to ten of them.
const spanParts = 10

// spanCounters is how many counters a span has.
const spanCounters = 6

// span counts over a sliding window, in parts.
type span struct {
	at   int64 // number of the newest part
	part [spanParts][spanCounters]uint32
	sum  [spanCounters]uint32
}

// turn goes on to a part; those that are out of the window by then are taken off.
func (s *span) turn(at int64) {
	if at <= s.at {
		return
	}
	if at-s.at >= spanParts {
		*s = span{at: at}
		return
	}
	for s.at < at {
		s.at++
		p := &s.part[s.at%spanParts]
		for i := range p {
			s.sum[i] -= p[i]
		}
		*p = [spanCounters]uint32{}
	}
}

// add counts n more, up to 2^28 a part.
func (s *span) add(counter int, n uint32) {
	p := &s.part[s.at%spanParts][counter]
	n = min(n, 1<<28-min(*p, 1<<28))
	*p += n
	s.sum[counter] += n
}

// parts is how many parts have some of a counter.
func (s *span) parts(counter int) (n int) {
	for i := range s.part {
		if s.part[i][counter] > 0 {
			n++
		}
	}
	return n
}

// pace is how regularly something begins: the gaps between beginnings, of about the last 64.
type pace struct {
	last         int64 // ns
	n            uint32
	sum, squares uint64 // ms
}

// paceMost gaps are weighed; paceRest is a gap, in ms, after which all begins anew.
const (
	paceMost = 64
	paceRest = 3600_000
)

// add takes in n beginnings within one tick, the first of them at a time.
func (p *pace) add(first int64, n uint32) {
	if n == 0 {
		return
	}
	if p.last != 0 && first >= p.last {
		p.gap(uint64(first-p.last) / 1e6)
	}
	for range min(n-1, 8) {
		p.gap(0)
	}
	p.last = max(p.last, first)
}

func (p *pace) gap(ms uint64) {
	if ms > paceRest {
		*p = pace{last: p.last}
		return
	}
	if p.n >= paceMost {
		p.n, p.sum, p.squares = p.n/2, p.sum/2, p.squares/2
	}
	p.n++
	p.sum += ms
	p.squares += ms * ms
}

// mean is of the gaps, in ms.
func (p *pace) mean() uint64 {
	if p.n == 0 {
		return 0
	}
	return p.sum / uint64(p.n)
}

// clockwork reports gaps of a second at least that deviate by no more than a tenth: a program that works by the clock.
func (p *pace) clockwork() bool {
	const enough, least, share = 10, 1000, 10
	m := p.mean()
	if p.n < enough || m < least {
		return false
	}
	variance := p.squares/uint64(p.n) - min(m*m, p.squares/uint64(p.n))
	return variance*share*share <= m*m
}

// likeness counts how much of what comes is alike: within a tolerance of a reference, which the majority sets (Boyer and Moore's
// vote).
type likeness struct {
	size [2]uint32 // the reference: bytes of the client and of the server
	vote uint32
}

// likenessMost votes are what a new majority has to overcome.
const likenessMost = 16

// alike reports whether a size is within a twentieth of another (the client's: a seventh, because names and passwords differ), or
// 24 bytes where that is more: text protocols repeat a name of some characters.
func (l *likeness) alike(size [2]uint32) bool {
	near := func(a, b, share uint32) bool { return max(a, b)-min(a, b) <= max(b/share, 24) }
	return near(size[0], l.size[0], 7) && near(size[1], l.size[1], 20)
}

// add votes for n things of one size, and tells whether they are like the reference, and whether that changed.
func (l *likeness) add(size [2]uint32, n uint32) (alike, changed bool) {
	switch {
	case l.vote > 0 && l.alike(size):
		l.vote = min(l.vote+n, likenessMost)
		return true, false
	case l.vote > n:
		l.vote -= n
		return false, false
	}
	l.size, l.vote = size, min(max(n-l.vote, 1), likenessMost)
	return true, true
}

// hashOf is the hash of an address for sketches.
func hashOf(key uint64, a decode.Addr) uint64 { return scramble(scramble(a.Lo^key, a.Hi), key) }

// keepBytes is the memory of a full table.
func keepBytes[E any](entries int) int {
	var s keepSet[E]
	var e E
	return entries * (int(unsafe.Sizeof(e)) + int(unsafe.Sizeof(s))/keepWays + 4*keepOnce)
}

func (c *BruteforceConfig) bytes() int {
	return keepBytes[loginTries](c.Pairs) + keepBytes[webTries](c.Pairs) + keepBytes[loginService](c.Services)
}

func (c *HTTPConfig) bytes() int {
	return keepBytes[webClient](c.Clients) + keepBytes[webService](c.Services) + keepBytes[mixService](c.Services) +
		keepBytes[mixPrint](4*c.Services) + webAgentMarks*8*c.Clients
}

func (c *FingerprintConfig) mixBytes() int {
	return keepBytes[mixPrint](c.Prints) + keepBytes[mixService](c.Services) + keepBytes[mismatched](c.Services)
}
