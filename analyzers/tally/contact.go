package tally

import (
	"time"

	"weir/decode/conn"
)

// Contact counts one step of a contact. Steps of a contact come in order.
func (s *Shard) Contact(c *conn.Contact) { s.contact(c, s.hash(c)) }

// group is how many contacts are looked up together.
const group = 32

// Contacts counts contacts, each as Contact of its shard. It loads what groups of them remember ahead, so that their
// cache misses overlap. The caller owns all shards named.
func Contacts(shards []*Shard, contacts []conn.Contact) {
	var hashes [group]contactHash
	var sets [group]*[8]uint64
	var buckets [group]*[ways]uint32
	for len(contacts) > 0 {
		now := contacts[:min(group, len(contacts))]
		for i := range now {
			s := shards[now[i].Shard%Shards]
			hashes[i] = s.hash(&now[i])
			sets[i], buckets[i] = s.memory.set(hashes[i].memory), s.sources.bucket(hashes[i].source)
		}
		touched := uint64(0)
		for i := range now { // nothing but loads, so that all of them are under way at once
			touched += sets[i%group][0] + uint64(buckets[i%group][0])
		}
		shards[now[0].Shard%Shards].touched += touched
		for i := range now {
			shards[now[i].Shard%Shards].contact(&now[i], hashes[i])
		}
		contacts = contacts[len(now):]
	}
}

// contactHash holds the hashes of a contact: of what was tried, of that with the source, and of the source.
type contactHash struct{ rank, memory, source uint64 }

func (s *Shard) hash(c *conn.Contact) contactHash {
	rank := s.keys.rankContact(c)
	return contactHash{rank, s.keys.addrWith(c.Src, rank), s.keys.addrWith(c.Src, uint64(c.Ver))}
}

func (s *Shard) contact(c *conn.Contact, hash contactHash) {
	s.used = true
	switch c.Stage {
	case conn.StageUnknown:
		s.link.ContactsUnknown++
	case conn.StageSilent, conn.StageRefused, conn.StageAnswered:
		s.link.ContactsKnown++
	case conn.StageProven:
		var h Header
		if headerOfSYN(&h, c, &s.keys); h.Rank < s.samples[ClassNormalSYN].limit {
			s.samples[ClassNormalSYN].put(&h)
		}
	}
	first := s.first(c, hash.memory)
	if !first && c.Stage != conn.StageOpened {
		return
	}
	src := s.sources.at(c.Src, c.Ver, c.Time, hash.source)
	if !first {
		src.repeats++
		return
	}
	s.sources.step(src, c, hash.rank)
	if c.Marks != 0 && c.Stage == conn.StageOpened {
		src.marks |= c.Marks
		src.markHits++
	}
}

// first reports whether a step belongs to a first contact and was not counted before, and remembers it.
//
// A probe with odd flags is a contact of its own, so that a flag scan shows that follows a SYN scan of the same ports; but
// where a SYN was answered before, late segments are expected and count as repeats.
func (s *Shard) first(c *conn.Contact, hash uint64) bool {
	minute := uint64(c.Time / int64(time.Minute))
	place, st := s.memory.find(hash, minute)
	if c.Stage != conn.StageOpened {
		st, counts := st.next(c.Stage)
		if st != 0 {
			s.memory.settle(hash, place, st)
		}
		return counts
	}
	if st == 0 && oddFlags(c.Probe) {
		syn := *c
		syn.Probe = conn.ProbeSYN
		if _, st := s.memory.find(s.hash(&syn).memory, minute); st >= stateLate {
			return false
		}
	}
	s.memory.store(hash, minute, place, max(st, stateOpened))
	return st == 0
}

// oddFlags reports whether a probe is a TCP segment that asks for no connection.
func oddFlags(p conn.Probe) bool { return p >= conn.ProbeNull && p <= conn.ProbeOddTCP }
