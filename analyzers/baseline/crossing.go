package baseline

import "math/bits"

// Crossing remembers which of the last 64 seconds were over a limit. The zero value has none. A second that was not added was
// not over.
type Crossing struct {
	last int64
	over uint64 // bit 0 is last
}

// Add notes a second of event time (ns / 1e9). Seconds come in order; a second that comes again is over if it ever was.
func (c *Crossing) Add(second int64, over bool) {
	if gap := second - c.last; gap > 0 || c.over == 0 {
		if gap < 0 || gap > 63 {
			c.over = 0
		} else {
			c.over <<= uint(gap)
		}
		c.last = second
	}
	if over {
		c.over |= 1
	}
}

// Met tells whether k of the last n seconds were over, n at most 64, counted back from the last that was added.
func (c *Crossing) Met(k, n int) bool { return bits.OnesCount64(c.over<<(64-uint(min(n, 64)))) >= k }

// Count is how many of the last n were over.
func (c *Crossing) Count(n int) int { return bits.OnesCount64(c.over << (64 - uint(min(n, 64)))) }
