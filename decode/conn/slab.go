package conn

import "unsafe"

// slab hands out slices of one block of memory that the garbage collector does not scan. Everything in it is free of
// pointers.
type slab struct {
	mem []byte
	off int
}

func (z shardSizes) bytes() int {
	return lines(z.conns*int(unsafe.Sizeof(conn{}))) + lines(z.index*8) +
		lines(z.sets*int(unsafe.Sizeof(set{}))) + lines(z.sets*ways*int(unsafe.Sizeof(half{}))) +
		lines(z.ring*int(unsafe.Sizeof(pending{}))) + lines(z.extras*int(unsafe.Sizeof(extra{}))) +
		lines(z.frags*int(unsafe.Sizeof(frag{})))
}

// lines rounds up to pairs of cache lines, so that entries of two lines are pairs that processors fetch together.
func lines(n int) int { return (n + 127) &^ 127 }

// carve takes n zeroed elements, aligned to a cache line.
func carve[T any](s *slab, n int) []T {
	var zero T
	size := lines(n * int(unsafe.Sizeof(zero)))
	part := s.mem[s.off : s.off+size]
	s.off += size
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(part))), n)
}
