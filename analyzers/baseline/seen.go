package baseline

import "math"

const seenWays = 16

// seen remembers when things were first and last seen, in whole seconds. It is set-associative: 16 entries in a set; a new one
// in a full set pushes out the one that was seen longest ago, which is counted.
type seen struct {
	count     int       // of sets
	sets      []seenSet // made at the first note
	n         int
	forgotten uint64
}

type seenSet struct {
	hash        [seenWays]uint64 // 0 is free
	first, last [seenWays]uint32 // seconds since 1970
}

func seenSets(entries int) int { return indexSize((entries + seenWays - 1) / seenWays) }

func seenBytes(entries int) int { return seenSets(entries) * seenWays * 16 }

func newSeen(entries int) seen { return seen{count: seenSets(entries)} }

// find returns the set of a hash and the place in it: that of the hash, or if it is not there a free one, or the oldest.
func (m *seen) find(hash uint64) (set *seenSet, at int, known bool) {
	set = &m.sets[(hash>>32)&uint64(len(m.sets)-1)]
	oldest := 0
	for i, h := range set.hash {
		if h == hash {
			return set, i, true
		}
		if set.hash[oldest] != 0 && (h == 0 || set.last[i] < set.last[oldest]) {
			oldest = i
		}
	}
	return set, oldest, false
}

// note remembers a hash as seen at a time.
func (m *seen) note(hash uint64, at uint32) (first, last uint32, known bool) {
	if m.sets == nil {
		m.sets = make([]seenSet, m.count)
	}
	set, i, known := m.find(hash)
	if !known {
		if set.hash[i] != 0 {
			m.forgotten++
		} else {
			m.n++
		}
		set.hash[i], set.first[i], set.last[i] = hash, at, at
		return at, at, false
	}
	first, last = set.first[i], set.last[i]
	set.last[i] = max(last, at)
	return first, last, true
}

// seenHash is never 0.
func (s *Store) seenHash(k *Key) uint64 { return k.hash(s.cfg.Salt) | 1 }

func seenSecond(now int64) uint32 {
	return uint32(min(max(floorDiv(now, second), 0), math.MaxUint32))
}

// Seen notes a thing as seen now. It returns when it was first and last seen before (ns, whole seconds), and whether it was:
// known is false at the first time. Only call it for what has evidence: spoofed addresses would push out what is known.
func (s *Store) Seen(k Key, now int64) (first, last int64, known bool) {
	s.observe(now)
	f, l, known := s.seen.note(s.seenHash(&k), seenSecond(now))
	return int64(f) * second, int64(l) * second, known
}

// SeenBefore tells the same and notes nothing.
func (s *Store) SeenBefore(k Key) (first, last int64, known bool) {
	if s.seen.sets == nil {
		return 0, 0, false
	}
	set, i, known := s.seen.find(s.seenHash(&k))
	if !known {
		return 0, 0, false
	}
	return int64(set.first[i]) * second, int64(set.last[i]) * second, true
}
