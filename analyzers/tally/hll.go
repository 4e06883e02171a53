package tally

import (
	"encoding/binary"
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

// Merge unites the set with o: the larger of each two registers. Eight registers at a time: they are below 128, so that the
// top bit of a byte of a|0x80…-b tells whether that byte of a is not less.
func (h *HLL) Merge(o *HLL) {
	const top = 0x8080808080808080
	for i := 0; i < registers; i += 8 {
		a, b := binary.LittleEndian.Uint64(h[i:]), binary.LittleEndian.Uint64(o[i:])
		notLess := (((a | top) - b) & top) >> 7 * 0xff
		binary.LittleEndian.PutUint64(h[i:], a&notLess|b&^notLess)
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
