package hunt

import "math/rand/v2"

// Reservoir draws a uniform sample of rows whose number nobody knows before (algorithm R, Vitter 1985). The same rows give the same sample.
type Reservoir struct {
	limit, seen int
	chance      *rand.Rand
}

// NewReservoir is for a sample of so many rows.
func NewReservoir(limit int) *Reservoir {
	return &Reservoir{limit: limit, chance: rand.New(rand.NewPCG(0x77656972, 0x68756e74))}
}

// Place is where the next row goes: the number of those that are kept so far for one more, an earlier one to replace it, -1 to leave it out.
func (r *Reservoir) Place() int {
	at := r.seen
	if r.seen++; at < r.limit {
		return at
	}
	if at = r.chance.IntN(r.seen); at < r.limit {
		return at
	}
	return -1
}

// Seen is how many rows there were.
func (r *Reservoir) Seen() int { return r.seen }
