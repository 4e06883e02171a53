//go:build linux

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// batch is how many entries go to the kernel at once: 600 to 800 ns an entry, a third of that one at a time.
const batch = 4096

// table is one of the program's maps of entries, and which place in the array of hits belongs to each key.
type table[K comparable] struct {
	name  string
	m     *ebpf.Map
	max   int
	bits  *bitmap      // nil: none stands before this table
	span  func(K) span // of bits
	slots map[K]uint32
}

// put inserts or replaces entries, and returns how many of them are in force. A replaced one keeps its hits.
func (t *table[K]) put(s *slots, keys []K, entries []gateEntry) (int, error) {
	done := 0
	for done < len(keys) {
		n := min(batch, len(keys)-done)
		k, e := keys[done:done+n], entries[done:done+n]
		room, fresh := t.reserve(s, k, e)
		in, err := t.insert(k[:room], e[:room])
		for i := in; i < room; i++ {
			if fresh[i] {
				t.forget(s, k[i])
			}
		}
		done += in
		if err != nil {
			return done, fmt.Errorf("%s: %w", t.name, err)
		}
		if room < n {
			return done, &FullError{t.name, t.max}
		}
	}
	return done, nil
}

// reserve gives the entries their slots and sets the bits of new keys, of as many as there is room for.
func (t *table[K]) reserve(s *slots, keys []K, entries []gateEntry) (room int, fresh []bool) {
	fresh = make([]bool, len(keys))
	for i, k := range keys {
		slot, ok := t.slots[k]
		if !ok {
			if len(t.slots) >= t.max {
				return i, fresh
			}
			slot = s.take()
			t.slots[k] = slot
			fresh[i] = true
			if t.bits != nil {
				t.bits.add(t.span(k))
			}
		}
		entries[i].Slot = slot
	}
	return len(keys), fresh
}

// insert returns how many entries went in before the error.
func (t *table[K]) insert(keys []K, entries []gateEntry) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	n, err := t.m.BatchUpdate(keys, entries, nil)
	if errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) {
		err = &FullError{t.name, t.max} // somebody else put entries in
	}
	return n, err
}

func (t *table[K]) forget(s *slots, k K) {
	slot, ok := t.slots[k]
	if !ok {
		return
	}
	delete(t.slots, k)
	s.release(slot)
	if t.bits != nil {
		t.bits.remove(t.span(k))
	}
}

// remove deletes keys; those that are not there are no error. It returns how many were.
func (t *table[K]) remove(s *slots, keys []K) (int, error) {
	n := 0
	for len(keys) > 0 {
		k := keys[:min(batch, len(keys))]
		in, err := t.m.BatchDelete(k, nil)
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // of k[in]: go on behind it
			err = nil
		case err == nil:
			in = len(k)
		}
		gone := k[:min(in+1, len(k))]
		if err != nil {
			gone = k[:in]
		}
		for _, key := range gone {
			if _, ok := t.slots[key]; ok {
				n++
			}
			t.forget(s, key)
		}
		if err != nil {
			return n, fmt.Errorf("%s: %w", t.name, err)
		}
		keys = keys[len(gone):]
	}
	return n, nil
}

// each walks the kernel's entries, a batch at a time; entries that are put or deleted meanwhile may or may not be among them. f
// returns false to stop.
func (t *table[K]) each(f func(K, *gateEntry) bool) error {
	keys, entries := make([]K, batch), make([]gateEntry, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := t.m.BatchLookup(&cursor, keys, entries, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		for i := range n {
			if !f(keys[i], &entries[i]) {
				return nil
			}
		}
		if err != nil {
			return nil // that was the last batch
		}
	}
}

// sync makes the record of slots and bits that of what the kernel holds. It returns how many keys only one of the two knew.
// Entries whose slot is not their own are left for mend, once all tables have claimed theirs.
func (t *table[K]) sync(s *slots) (drift int, mend func() error, err error) {
	found := make(map[K]uint32, len(t.slots))
	var keys []K
	var entries []gateEntry
	err = t.each(func(k K, e *gateEntry) bool {
		if _, ok := t.slots[k]; !ok {
			drift++
		}
		if s.claim(e.Slot) {
			found[k] = e.Slot
		} else {
			keys, entries = append(keys, k), append(entries, *e)
		}
		return true
	})
	if err != nil {
		return 0, nil, err
	}
	for k := range t.slots {
		if _, ok := found[k]; !ok {
			drift++
		}
	}
	t.slots = found
	for k := range found {
		if t.bits != nil {
			t.bits.add(t.span(k))
		}
	}
	return drift, func() error { _, err := t.put(s, keys, entries); return err }, nil
}

// slots is which places of the array of hits are taken. 0 is nobody's.
type slots struct {
	hits  []gateHits // the map's memory
	next  uint32     // all from here on are free
	freed []uint32
	used  []bool // while it syncs
}

// take returns a free place with hits at 0. There is one: the array holds as many as all tables together.
func (s *slots) take() uint32 {
	var i uint32
	if n := len(s.freed); n > 0 {
		i, s.freed = s.freed[n-1], s.freed[:n-1]
	} else {
		i = s.next
		s.next++
	}
	s.hits[i] = gateHits{}
	return i
}

func (s *slots) release(i uint32) { s.freed = append(s.freed, i) }

// begin forgets all places, so that the tables can claim what their entries hold.
func (s *slots) begin() { s.used, s.next, s.freed = make([]bool, len(s.hits)), 1, nil }

// claim takes a given place, if it is one and free.
func (s *slots) claim(i uint32) bool {
	if i == 0 || int(i) >= len(s.used) || s.used[i] {
		return false
	}
	s.used[i] = true
	return true
}

// end makes free what nobody claimed. It comes before entries that lost their place get another.
func (s *slots) end() {
	for i := len(s.used) - 1; i > 0; i-- {
		if s.used[i] {
			s.next = uint32(i) + 1
			break
		}
	}
	for i := uint32(1); i < s.next; i++ {
		if !s.used[i] {
			s.freed = append(s.freed, i)
		}
	}
	s.used = nil
}
