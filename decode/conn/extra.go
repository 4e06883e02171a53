package conn

import "math/bits"

// extra holds the sizes and gaps of a connection's payload packets: a cache line for each side's sums, one for the first
// ten packets.
type extra struct {
	side [2]sums
	gap  [10]uint32
	size [10]uint16
	orig uint16 // bit i: packet i was the originator's
	n    uint8
	_    bool
}

type sums struct {
	size, sizeSq    uint64
	gapSum, gapSqMs uint64
	last            int64
	n               uint32
	_               [20]byte
}

// features enters one packet with payload. It is called only where records are wanted: nothing else reads them.
func (s *shard) features(c *conn, d int, payload uint32, now int64) {
	n := c.more & slotMask
	if n == 0 {
		if n = s.allocExtra(); n == 0 {
			return
		}
		c.more |= n
	}
	x := s.extras.at(int(n - 1))
	m := &x.side[d]
	if keep := len(x.size); m.n < uint32(keep) && int(x.n) < keep { // the sum first: it is loaded anyway
		x.keep(d, payload, now)
	}
	if m.n != 0 {
		gap := uint64(max(now-m.last, 0))
		m.gapSum = saturate64(m.gapSum, gap/1e3)
		ms := min(gap/1e6, 1<<31)
		m.gapSqMs = saturate64(m.gapSqMs, ms*ms)
	}
	m.last = now
	if m.n != 1<<32-1 {
		m.n++
	}
	m.size = saturate64(m.size, uint64(payload))
	m.sizeSq = saturate64(m.sizeSq, uint64(payload)*uint64(payload))
}

// keep enters one of the first packets.
func (x *extra) keep(d int, payload uint32, now int64) {
	i := x.n
	x.n++
	if i > 0 {
		last := max(x.side[0].last, x.side[1].last)
		x.gap[i] = uint32(min(max(now-last, 0)/1e3, 1<<32-1))
	}
	x.size[i] = uint16(min(payload, 0xffff))
	if d == 0 {
		x.orig |= 1 << i
	}
}

// allocExtra returns a zeroed extra's slot+1, or 0 if there is none left.
func (s *shard) allocExtra() uint32 {
	n := s.exFree
	switch {
	case n != 0:
		s.exFree = uint32(s.extras.at(int(n - 1)).side[0].size)
	case s.exUsed < s.extras.n:
		s.exUsed++
		n = uint32(s.exUsed)
	default:
		s.stats.ExtraFull++
		return 0
	}
	*s.extras.at(int(n - 1)) = extra{}
	return n
}

func (s *shard) freeExtra(n uint32) {
	s.extras.at(int(n - 1)).side[0].size = uint64(s.exFree)
	s.exFree = n
}

func saturate64(n, by uint64) uint64 {
	sum, carry := bits.Add64(n, by, 0)
	if carry != 0 {
		return 1<<64 - 1
	}
	return sum
}
