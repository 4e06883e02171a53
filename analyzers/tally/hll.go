package tally

import (
	"math"
	"math/bits"
)

// registers is how many registers an HLL has: 64 bytes, a cache line.
const registers = 64

// Add puts the key with this hash into the set. The hash must be keyed and uniform in all bits.
func (h *HLL) Add(hash uint64) {
	rank := uint8(bits.LeadingZeros64(hash<<6|1<<5)) + 1
	if r := &h[hash>>58]; *r < rank {
		*r = rank
	}
}

// Merge unites the set with o.
func (h *HLL) Merge(o *HLL) {
	for i, r := range o {
		h[i] = max(h[i], r)
	}
}

// Count estimates how many distinct keys were added, by linear counting while registers are empty and the estimate is
// small, else by the raw estimator (Flajolet, Fusy, Gandouet, Meunier: HyperLogLog, AofA 2007, figure 3; no correction is
// needed for 64-bit hashes). Standard error 1.04/√64 = 13 %; 10 % up to 40 keys, where linear counting does better; one key is exact. Rounded.
func (h *HLL) Count() uint64 {
	const (
		m     = registers
		alpha = 0.709 // of m = 64
	)
	empty, sum := 0, 0.0
	for _, r := range h {
		if r == 0 {
			empty++
		}
		sum += 1 / float64(uint64(1)<<min(r, 63))
	}
	estimate := alpha * m * m / sum
	if estimate <= 2.5*m && empty > 0 {
		estimate = m * math.Log(m/float64(empty))
	}
	return uint64(math.Round(estimate))
}

// empty reports whether nothing was added.
func (h *HLL) empty() bool { return *h == HLL{} }
