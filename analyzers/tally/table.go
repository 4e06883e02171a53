package tally

import (
	"cmp"
	"slices"

	"weir/decode"
	"weir/decode/slab"
)

// row is an entry of a table and of a list of the epoch: what is told of one key.
type row[K, V any] interface {
	*V
	start(k K)        // empties the entry for a key
	is(k K) bool      // it is the key's
	weight() uint64   // its evidence
	add(o *V)         // adds the counts of an entry of the same key
	order() ref       // how the list is sorted: nearly
	compare(o *V) int // and among those that are the same so far
}

// table is one bounded table of one shard and tick. When there is no room for a new key, the one with the least evidence of its
// neighbourhood goes, and is counted.
type table[K, V any, R row[K, V]] struct {
	index
	entry  []V
	weigh  func(place int) uint64
	lost   uint64 // entries that went
	merged int    // how many of the list an epoch tells
}

func newTable[K, V any, R row[K, V]](m *slab.Slab, entries, merged int) *table[K, V, R] {
	t := &table[K, V, R]{index: newIndex(m, entries), entry: slab.Carve[V](m, entries), merged: merged}
	t.weigh = func(place int) uint64 { return R(&t.entry[place]).weight() }
	return t
}

// at finds or makes the entry of a key.
func (t *table[K, V, R]) at(k K, hash uint64) R {
	tag := tag(hash)
	for _, s := range t.bucket(hash) {
		if s == 0 {
			break
		}
		if s&^0xffff == tag {
			if e := R(&t.entry[s&0xffff-1]); e.is(k) {
				return e
			}
		}
	}
	place, ok := t.free(hash)
	if !ok {
		place = t.least(hash, t.weigh)
		t.lost++
		t.replace(place, hash)
	}
	e := R(&t.entry[place])
	e.start(k)
	return e
}

// reset forgets the tick. Entries are cleared when they are given out.
func (t *table[K, V, R]) reset() {
	t.index.reset()
	t.lost = 0
}

// mergeTables makes the lists of all shards one. It returns how many keys went, in the shards and here.
func mergeTables[K, V any, R row[K, V]](m *Merger, dst []V, shards []*Shard, of func(*Shard) *table[K, V, R]) ([]V, uint64) {
	m.refs = m.refs[:0]
	lost, most := uint64(0), 0
	for i, s := range shards {
		if !s.used {
			continue
		}
		t := of(s)
		lost, most = lost+t.lost, t.merged
		for place := range t.hash {
			m.refs = append(m.refs, refOf[K, V, R](&t.entry[place], i*places+place))
		}
	}
	dst, gone := foldRows[K, V, R](dst, m.ordered(), most, func(at uint32) *V { return &of(shards[at/places]).entry[at%places] })
	return dst, lost + gone
}

// mergeRows makes the lists of two epochs one. It returns how many keys went.
func mergeRows[K, V any, R row[K, V]](a, b []V, most int) ([]V, uint64) {
	return foldRows[K, V, R](nil, refsOf(a, b, refOf[K, V, R]), most, func(at uint32) *V { return pick(a, b, at) })
}

// refOf stands for an entry in a merge.
func refOf[K, V any, R row[K, V]](v *V, at int) ref {
	r := R(v).order()
	r.weight, r.at = clip(R(v).weight()), uint32(at)
	return r
}

// foldRows adds up the entries of equal keys. It returns how many keys went.
func foldRows[K, V any, R row[K, V]](dst []V, refs []ref, most int, entry func(at uint32) *V) ([]V, uint64) {
	number(refs, func(a, b ref) int { return R(entry(a.at)).compare(entry(b.at)) })
	refs, gone, _ := thin(refs, most)
	dst = room(dst, min(len(refs), most))
	for i := range refs {
		v := entry(refs[i].at)
		if i > 0 && refs[i].same(&refs[i-1]) {
			R(&dst[len(dst)-1]).add(v)
		} else {
			dst = append(dst, *v)
		}
	}
	return dst, gone
}

// number sorts what the order of refs alone leaves equal by the whole key, and puts the number of its key in place of the order:
// refs are the same from here on if their keys are.
func number(refs []ref, compare func(a, b ref) int) {
	key := uint64(0)
	for run := range runs(refs) {
		if len(run) > 1 {
			slices.SortStableFunc(run, compare)
		}
		for i := range run {
			if i == 0 || compare(run[i-1], run[i]) != 0 {
				key++
			}
			r := &run[i]
			r.ver, r.hi, r.lo, r.sub = 0, 0, key, 0
		}
	}
}

// lead is the part of an address that tells most addresses apart, in their order.
func lead(a decode.Addr, ver uint8) uint32 {
	switch v4 := a.Lo >> 32; {
	case ver == 6:
		return uint32(a.Hi >> 32)
	case a.Hi != 0 || v4 > 0xffff: // no IPv4 address: only a bad epoch has it
		return 1<<32 - 1
	case v4 < 0xffff:
		return 0
	}
	return uint32(a.Lo)
}

func compareAddr(a, b decode.Addr) int {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo))
}

// earliest is the earlier of two times; 0 is none.
func earliest(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// latest is whether what was told at a time with a value is later than what was told before; of two at one time the greater
// value is.
func latest(time, before int64, value, old uint64) bool {
	return time > before || time == before && value > old
}
