package analyzers

import "unsafe"

// pool is bounded state by key: sets of eight places each. What is in a full set defends its place by its weight, until it is
// stale: one that is stale goes first, then, by chance, the lightest. Cost: one cache line for the look-up, one for the entry.
//
// Not safe for concurrent use. Pointers to values are valid until the next call of at.
type pool[K comparable, V any] struct {
	sets    [][poolWays]poolPlace
	entries []poolEntry[K, V]

	Evicted uint64 // entries that went though they were not stale
	Refused uint64 // newcomers that found no place
	gone    func(*K, *V)
}

const poolWays = 8

type poolPlace struct {
	tag    uint16 // of the hash; 0 is free
	weight uint16
	until  uint32 // second since 1970 after which it is stale
}

type poolEntry[K comparable, V any] struct {
	key   K
	value V
}

// newPool returns a pool of most entries at most: the power of two times eight below it. Gone, if not nil, is told what goes.
func newPool[K comparable, V any](most int, gone func(*K, *V)) *pool[K, V] {
	n := 1
	for n*2*poolWays <= most {
		n *= 2
	}
	return &pool[K, V]{sets: make([][poolWays]poolPlace, n), entries: make([]poolEntry[K, V], n*poolWays), gone: gone}
}

// poolBytes is the memory of a pool of most entries.
func poolBytes[K comparable, V any](most int) int {
	return max(most, poolWays) * int(unsafe.Sizeof(poolEntry[K, V]{})+unsafe.Sizeof(poolPlace{}))
}

func poolTag(hash uint64) uint16 { return uint16(hash) | 1 }

func (p *pool[K, V]) set(hash uint64) int { return int(hash >> 32 & uint64(len(p.sets)-1)) }

// find returns the place of a key, -1 if it has none. The hash must be keyed and the same for each call.
func (p *pool[K, V]) find(k *K, hash uint64) int {
	set, tag := p.set(hash), poolTag(hash)
	for i := range p.sets[set] {
		if p.sets[set][i].tag == tag {
			if at := set*poolWays + i; p.entries[at].key == *k {
				return at
			}
		}
	}
	return -1
}

// at returns the place of a key, made with a zero value if it is new; -1 if there is no room for it. Now is in ns; a new entry
// weighs 1 and is stale after grace (ns).
func (p *pool[K, V]) at(k *K, hash uint64, now, grace int64) (at int, made bool) {
	if at := p.find(k, hash); at >= 0 {
		return at, false
	}
	if at = p.room(hash, now); at >= 0 {
		p.put(at, k, hash, now, grace)
	}
	return at, true
}

// room returns the place that a newcomer may have, -1 and counted if there is none. It displaces the lightest one time in eight
// times its weight: else none would stay until it is seen again where very many come, and cheap keys that fill the pool would keep
// everybody else out of it for their whole stay. Who comes often enough finds room.
func (p *pool[K, V]) room(hash uint64, now int64) int {
	set, least := p.set(hash), 0
	second := poolSecond(now)
	for i := range p.sets[set] {
		if p.sets[set][i].before(&p.sets[set][least], second) {
			least = i
		}
	}
	place := &p.sets[set][least]
	if place.tag != 0 && place.until >= second && scramble(hash, uint64(now))%(poolWays*uint64(max(place.weight, 1))) != 0 {
		p.Refused++
		return -1
	}
	return set*poolWays + least
}

// put makes the entry of a new key in a place that room returned.
func (p *pool[K, V]) put(at int, k *K, hash uint64, now, grace int64) {
	place := &p.sets[at/poolWays][at%poolWays]
	if place.tag != 0 {
		if place.until >= poolSecond(now) {
			p.Evicted++
		}
		if p.gone != nil {
			p.gone(&p.entries[at].key, &p.entries[at].value)
		}
	}
	*place = poolPlace{tag: poolTag(hash), weight: 1, until: poolSecond(now + grace)}
	p.entries[at] = poolEntry[K, V]{key: *k}
}

// before tells whether a place is given up before o.
func (a *poolPlace) before(o *poolPlace, second uint32) bool {
	rank := func(p *poolPlace) uint64 {
		switch {
		case p.tag == 0:
			return 0
		case p.until < second:
			return 1<<32 | uint64(p.until)
		}
		return 1<<49 | uint64(p.weight)<<32 | uint64(p.until)
	}
	return rank(a) < rank(o)
}

// value is what stands in a place.
func (p *pool[K, V]) value(at int) (*K, *V) { return &p.entries[at].key, &p.entries[at].value }

// keep says how much an entry weighs, and until when (ns) it is not stale.
func (p *pool[K, V]) keep(at int, weight uint64, until int64) {
	place := &p.sets[at/poolWays][at%poolWays]
	place.weight, place.until = uint16(min(weight, 1<<16-1)), poolSecond(until)
}

func poolSecond(ns int64) uint32 { return uint32(min(max(ns/1e9, 0), 1<<32-1)) }
