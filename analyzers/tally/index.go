package tally

import "weir/decode/slab"

// ways is how many slots a bucket of an index has: 64 bytes, a cache line.
const ways = 16

// index finds the entries of a table by hash. A table is a dense array that fills from the front, so that clearing and
// merging cost what was used; the index is a set-associative array of slots, half full at most. A slot holds 16 bits of the
// hash and the entry's place + 1; slots of a bucket fill from the front, the first empty one ends a search.
//
// When the table or a bucket is full, the entry with the least weight of the bucket makes room. With 16 slots for 8 entries
// in the mean, fewer than one entry in 200 meets a full bucket before the table is full.
type index struct {
	slots [][ways]uint32
	hash  []uint64 // of the entries in use, by place
}

// newIndex returns an index for a table of up to entries entries.
func newIndex(m *slab.Slab, entries int) index {
	buckets := 1
	for buckets*ways < 2*entries {
		buckets *= 2
	}
	return index{slots: slab.Carve[[ways]uint32](m, buckets), hash: slab.Carve[uint64](m, entries)[:0]}
}

func (x *index) bucket(hash uint64) *[ways]uint32 {
	return &x.slots[hash>>16&uint64(len(x.slots)-1)]
}

// tag is what a slot keeps of a hash.
func tag(hash uint64) uint32 { return uint32(hash) << 16 }

// free gives out the next place of the table; false if the table or the bucket is full.
func (x *index) free(hash uint64) (place int, ok bool) {
	b := x.bucket(hash)
	if len(x.hash) == cap(x.hash) || b[ways-1] != 0 {
		return 0, false
	}
	place = len(x.hash)
	x.hash = append(x.hash, hash)
	x.link(b, hash, place)
	return place, true
}

// least names the entry that goes when hash finds no room: the lightest of its bucket or, if that is empty, of the next one
// that is not. Among equals the one that came first goes.
func (x *index) least(hash uint64, weight func(place int) uint64) (place int) {
	for ; ; hash += 1 << 16 {
		b := x.bucket(hash)
		if b[0] == 0 {
			continue
		}
		place, lightest := 0, ^uint64(0)
		for _, s := range b {
			if s == 0 {
				break
			}
			if w := weight(int(s&0xffff) - 1); w < lightest {
				place, lightest = int(s&0xffff)-1, w
			}
		}
		return place
	}
}

// replace gives the place of an entry to a new hash. There is room in the new bucket: it is that of the old entry, or the
// table is full and the bucket empty.
func (x *index) replace(place int, hash uint64) {
	x.unlink(place)
	x.hash[place] = hash
	x.link(x.bucket(hash), hash, place)
}

func (x *index) link(b *[ways]uint32, hash uint64, place int) {
	for i := range b {
		if b[i] == 0 {
			b[i] = tag(hash) | uint32(place+1)
			return
		}
	}
}

// unlink takes the slot of an entry away; the later slots of its bucket move up, so that they stay in order of age.
func (x *index) unlink(place int) {
	b := x.bucket(x.hash[place])
	i := 0
	for int(b[i]&0xffff) != place+1 {
		i++
	}
	copy(b[i:], b[i+1:])
	b[ways-1] = 0
}

// reset empties the index.
func (x *index) reset() {
	for _, h := range x.hash {
		*x.bucket(h) = [ways]uint32{}
	}
	x.hash = x.hash[:0]
}
