// Package slab hands out big tables from one block of memory that the garbage collector does not see, on huge pages where
// the system has them. What is in it must be free of pointers.
package slab

import "unsafe"

// line is what tables are aligned to: a pair of cache lines, so that entries of two lines are pairs that processors fetch
// together.
const line = 128

// Slab is a block of memory from which tables are carved one after the other. The zero Slab only measures: Carve returns
// nil, and Size tells how large a block has to be. Not safe for concurrent use.
type Slab struct {
	mem    []byte
	size   int
	mapped bool
}

// Map reserves a block of n zeroed bytes. Pages count only once touched. Unmap gives it back.
func Map(n int) (*Slab, error) {
	mem, err := reserve(n)
	if err != nil {
		return nil, err
	}
	return &Slab{mem: mem, mapped: true}, nil
}

// Heap is a block of the garbage collector's, for tables that need no end.
func Heap(n int) *Slab {
	words := make([]uint64, (n+7)/8+line/8)
	base := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
	return &Slab{mem: base[-uintptr(unsafe.Pointer(unsafe.SliceData(base)))%line:]}
}

// Size is how many bytes were carved so far.
func (s *Slab) Size() int { return s.size }

// Unmap gives a mapped block back. Nothing carved from it may be used afterwards. A nil Slab has nothing to give.
func (s *Slab) Unmap() error {
	if s == nil || !s.mapped {
		return nil
	}
	mem := s.mem
	*s = Slab{}
	return release(mem)
}

// Carve takes n zeroed elements, aligned to a pair of cache lines. It panics if the block is too small.
func Carve[T any](s *Slab, n int) []T {
	var zero T
	from := s.size
	s.size += (n*int(unsafe.Sizeof(zero)) + line - 1) &^ (line - 1)
	if s.mem == nil {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(s.mem[from:s.size]))), n)
}
