package tally

import (
	"weir/decode/conn"
	"weir/decode/slab"
)

// memory remembers which contacts were made, so that only the first one with an (address, protocol, port) counts, and its
// outcome once. It is set-associative: 8 contacts of 8 bytes in a cache line, the last used first; a new contact pushes the
// last one of its line out. A contact lapses when it was not seen for the configured time.
//
// A word holds a tag of 44 bits of the hash, the minute of the last attempt (16 bits, wraps after 45 days) and the state.
// Two contacts of one line are taken for one with probability 2⁻⁴⁴.
type memory struct {
	sets  [][8]uint64
	lapse int16 // minutes
}

// state is what became of a remembered contact. Zero: not remembered.
type state uint64

const (
	stateOpened   state = 1 + iota
	stateFailed         // unknown, silent or refused
	stateLate           // failed first, answered on a later attempt: counts as failed
	stateAnswered       // at once
	stateProven         // and completed
)

const (
	stateMask  = 0xf
	minuteBits = 16
	tagMask    = ^uint64(1<<20 - 1)
)

func newMemory(m *slab.Slab, contacts int, lapse int16) memory {
	sets := 1
	for sets*8 < contacts {
		sets *= 2
	}
	return memory{sets: slab.Carve[[8]uint64](m, sets), lapse: lapse}
}

func (m *memory) set(hash uint64) *[8]uint64 { return &m.sets[hash&uint64(len(m.sets)-1)] }

// find looks a contact up. Its place in the set is at most 7 if it is remembered.
func (m *memory) find(hash, minute uint64) (place int, st state) {
	set := m.set(hash)
	for i, w := range set {
		if (w^hash)&tagMask == 0 && w&stateMask != 0 {
			if int16(minute-w>>4) >= m.lapse {
				return i, 0
			}
			return i, state(w & stateMask)
		}
	}
	return len(set) - 1, 0
}

// store puts a contact in front of its set; those before its old place move back, and what held the place is forgotten.
func (m *memory) store(hash, minute uint64, place int, st state) {
	set := m.set(hash)
	copy(set[1:place+1], set[:place])
	set[0] = hash&tagMask | minute&(1<<minuteBits-1)<<4 | uint64(st)
}

// settle changes the state of the contact at a place.
func (m *memory) settle(hash uint64, place int, st state) {
	w := &m.set(hash)[place]
	*w = *w&^stateMask | uint64(st)
}

// next is the state after an outcome, and whether the outcome counts.
func (st state) next(outcome conn.Stage) (state, bool) {
	switch {
	case outcome == conn.StageProven && st == stateAnswered:
		return stateProven, true
	case outcome == conn.StageAnswered && st == stateOpened:
		return stateAnswered, true
	case outcome >= conn.StageAnswered && st == stateFailed:
		return stateLate, false
	case outcome < conn.StageAnswered && st == stateOpened:
		return stateFailed, true
	}
	return st, false
}
