package sensor

import (
	"context"
	"slices"
	"sync"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/capture"
)

// slot carries one block through the workers: read by one, decoded by the same, then consumed by all, each its shards.
type slot struct {
	block   capture.Block
	packets []decode.Packet // of the frames in order; outer tunnel connections follow their frame
	parts   [][]uint16      // by worker: indices of its packets, in order
	cuts    []cut           // where ticks end within the block
	decoded bool
	left    int // workers that have not consumed it yet
}

// cut is a run of packets of one tick.
type cut struct {
	frames int   // frames before the end of the run
	ends   []int // by worker: where the run ends in its part
	tick   int64
	closes bool  // the tick is over after this run: the next frame belongs to a later one
	next   int64 // that later tick
}

// ring orders the workers' work: blocks are read one at a time, decoded side by side, and consumed by every worker in the
// order of reading. A tick closes when all workers have consumed its last packet. One lock, taken a few times a block.
type ring struct {
	mu      sync.Mutex
	wake    sync.Cond
	ctx     context.Context
	src     capture.Source
	slots   []slot
	workers int

	read    int64 // blocks read so far
	done    int64 // blocks consumed by all
	reading bool
	ended   bool  // nothing more to read
	failed  bool  // nothing more to consume either: the blocks in hand cannot be trusted
	err     error // of the source

	course // of the frames read

	arrived int   // workers that wait for the tick to be judged
	judged  int64 // ticks judged so far
	idle    int64 // the next tick to close, as the judge said: one without traffic, or that in which traffic goes on
}

func newRing(ctx context.Context, src capture.Source, workers int) *ring {
	ahead := 2*workers + 2
	if workers == 1 {
		ahead = 1 // nobody decodes meanwhile, and one slot stays in the cache
	}
	r := &ring{ctx: ctx, src: src, workers: workers, slots: make([]slot, ahead)}
	r.wake.L = &r.mu
	for i := range r.slots {
		r.slots[i].parts = make([][]uint16, workers)
	}
	return r
}

func (r *ring) slot(seq int64) *slot { return &r.slots[seq%int64(len(r.slots))] }

// mayRead tells whether a worker may read the next block now. The caller holds mu.
func (r *ring) mayRead() bool {
	return !r.reading && !r.ended && r.read-r.done < int64(len(r.slots))
}

// readBlock reads one block. The caller holds mu, which is released while reading; s is nil at the end of input.
func (r *ring) readBlock() (s *slot) {
	r.reading = true
	s = r.slot(r.read)
	r.mu.Unlock()
	err := r.ctx.Err()
	s.block.Frames = s.block.Frames[:0]
	if err == nil {
		err = r.src.Next(&s.block)
	}
	s.decoded, s.left = false, r.workers
	r.cutTicks(s)
	r.mu.Lock()
	r.reading = false
	if err != nil {
		r.ended, r.err = true, err
	}
	if len(s.block.Frames) == 0 {
		s = nil
	} else {
		r.read++
	}
	r.wake.Broadcast()
	return s
}

// fault tells whether what was recovered is a fault on the source's mapped input, and is then the error to report.
func fault(src capture.Source, recovered any) error {
	if m, ok := src.(interface{ Fault(recovered any) error }); ok {
		return m.Fault(recovered)
	}
	return nil
}

// fail ends the run without consuming what was read. The caller holds mu.
func (r *ring) fail(err error) {
	r.ended, r.failed, r.err = true, true, err
	r.wake.Broadcast()
}

// latest is the last frame time that the engine knows, ns: year 2116. Sums of times and timeouts stay within an int64.
const latest = 1 << 62

// course is how event time ran.
type course struct {
	started  bool
	tick     int64 // running maximum
	lastTime int64 // of the last frame
	first    int64 // the earliest frame time
	last     int64 // the latest
	backward uint64
	jumps    uint64 // of more than an hour
}

// frame takes the time of a frame, and says which tick was the last before it if a later one begins.
func (c *course) frame(t int64) (over int64, closes bool) {
	if c.started && t < c.lastTime {
		c.backward++
	}
	tick := t / tally.Tick
	if !c.started {
		c.tick, c.started, c.first = tick, true, t
	}
	c.lastTime, c.first, c.last = t, min(c.first, t), max(c.last, t)
	over = c.tick
	if tick <= over {
		return over, false
	}
	if tick-over > discontinuity {
		c.jumps++
	}
	c.tick = tick
	return over, true
}

// cutTicks splits the block's frames into runs of one tick, where ticks follow the running maximum of frame time. Whether
// a block's last run closes its tick shows only with the next block: that one then starts with an empty closing run.
func (r *ring) cutTicks(s *slot) {
	s.cuts = s.cuts[:0]
	for i := range s.block.Frames {
		f := &s.block.Frames[i]
		f.Time = min(max(f.Time, 0), latest)
		if over, closes := r.frame(f.Time); closes {
			s.addCut(i, over, r.workers, true, r.tick)
		}
	}
	if len(s.block.Frames) > 0 {
		s.addCut(len(s.block.Frames), r.tick, r.workers, false, 0)
	}
}

func (s *slot) addCut(frames int, tick int64, workers int, closes bool, next int64) {
	n := len(s.cuts)
	s.cuts = slices.Grow(s.cuts, 1)[:n+1] // keeps the ends of earlier blocks
	c := &s.cuts[n]
	if c.ends == nil {
		c.ends = make([]int, workers)
	}
	c.frames, c.tick, c.closes, c.next = frames, tick, closes, next
}
