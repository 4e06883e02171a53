package capture

import (
	"errors"
	"io"
	"math"
	"runtime"
	"sync"
)

// merge brings a worker's shares of several interfaces together in the order of time. Each has a goroutine that reads it
// into blocks of its own; a frame waits there until every other interface is known to have nothing earlier, at most the
// time in which a reader hands over a block, full or empty.
type merge struct {
	ports   []*port
	inlets  []inlet
	quit    <-chan struct{}
	stop    chan struct{} // closed by Close
	readers sync.WaitGroup
	started bool
	closed  bool
	arena   int
	until   int64
}

// inlet is where frames of one interface wait.
type inlet struct {
	full  chan *Block // of the reader; closed after its last
	free  chan *Block // to the reader; neither channel ever blocks its sender
	block *Block      // being merged; nil: none
	next  int         // frame of it
	seen  int64       // event time: the interface has nothing earlier to come
}

func newMerge(ports []*port, quit <-chan struct{}) *merge {
	return &merge{ports: ports, inlets: make([]inlet, len(ports)), quit: quit, stop: make(chan struct{}), arena: ports[0].link.live.arena}
}

// start runs the readers.
func (m *merge) start() {
	m.started = true
	for i, p := range m.ports {
		in := &m.inlets[i]
		in.full, in.free = make(chan *Block, mergeBlocks), make(chan *Block, mergeBlocks)
		for range mergeBlocks {
			in.free <- new(Block)
		}
		m.readers.Go(func() { m.read(p, in.free, in.full) })
	}
}

// read is the life of an interface's reader.
func (m *merge) read(p *port, free <-chan *Block, full chan<- *Block) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(full)
	for {
		select {
		case b := <-free:
			if errors.Is(p.Next(b), io.EOF) {
				return
			}
			full <- b
		case <-m.stop:
			_ = p.Close()
			return
		case <-m.quit:
			_ = p.Close()
			return
		}
	}
}

// Next merges what has come in. While it has nothing to hand out, it waits for each interface twice at most.
func (m *merge) Next(b *Block) error {
	b.reserve(m.arena)
	if m.closed {
		return io.EOF
	}
	if !m.started {
		m.start()
	}
	for used, waits := 0, 0; len(b.Frames) < BlockFrames; {
		in, limit := m.first()
		if in != nil && in.time() <= limit {
			n, full := in.run(b, used, limit)
			if used += n; full {
				break
			}
			continue
		}
		if len(b.Frames) > 0 || waits == 2 {
			if !m.receive(limitOf(in), false) {
				break
			}
			continue
		}
		if waits++; !m.receive(limitOf(in), true) {
			break
		}
	}
	return m.finish(b)
}

// first finds the interface with the earliest frame, and how late a frame may be for it to be certain that the others have
// none earlier.
func (m *merge) first() (first *inlet, limit int64) {
	limit = math.MaxInt64
	for i := range m.inlets {
		in := &m.inlets[i]
		switch {
		case in.block == nil:
			limit = min(limit, in.seen)
		case first == nil:
			first = in
		case in.time() < first.time():
			limit = min(limit, first.time())
			first = in
		default:
			limit = min(limit, in.time())
		}
	}
	return first, limit
}

// limitOf is up to when the other interfaces must be known for the frame that waits to be handed out.
func limitOf(in *inlet) int64 {
	if in == nil {
		return math.MaxInt64
	}
	return in.time()
}

// receive takes a block of each interface that has no frame and is not known up to a time. It returns false if there was
// none to take.
func (m *merge) receive(until int64, wait bool) (took bool) {
	for i := range m.inlets {
		in := &m.inlets[i]
		if in.block != nil || in.seen >= until {
			continue
		}
		if wait {
			b, ok := <-in.full
			in.accept(b, ok)
			took = true
			continue
		}
		select {
		case b, ok := <-in.full:
			in.accept(b, ok)
			took = true
		default:
		}
	}
	return took
}

// accept takes a block over from the reader.
func (in *inlet) accept(b *Block, ok bool) {
	switch {
	case !ok:
		in.seen = math.MaxInt64
	case len(b.Frames) == 0:
		in.seen = max(in.seen, b.Until)
		in.free <- b
	default:
		in.seen = max(in.seen, b.Until)
		in.block, in.next = b, 0
	}
}

func (in *inlet) time() int64 { return in.block.Frames[in.next].Time }

// run copies frames up to a time into a block that has used bytes. It returns how many bytes that were, and whether the
// block is full.
func (in *inlet) run(b *Block, used int, limit int64) (n int, full bool) {
	for in.next < len(in.block.Frames) {
		f := &in.block.Frames[in.next]
		if f.Time > limit {
			return n, false
		}
		if len(b.Frames) == BlockFrames || used+n+len(f.Data) > len(b.arena) {
			return n, true
		}
		data := b.arena[used+n : used+n+len(f.Data) : used+n+len(f.Data)]
		copy(data, f.Data)
		b.Frames = append(b.Frames, *f)
		b.Frames[len(b.Frames)-1].Data = data
		n += len(data)
		in.next++
	}
	in.free <- in.block
	in.block = nil
	return n, false
}

// finish says up to when the merged traffic is known, and whether it is at its end.
func (m *merge) finish(b *Block) error {
	known := int64(math.MaxInt64)
	for i := range m.inlets {
		in := &m.inlets[i]
		if in.block != nil {
			known = min(known, in.time())
		} else {
			known = min(known, in.seen)
		}
	}
	if known < math.MaxInt64 {
		m.until = max(m.until, known)
	} else if len(b.Frames) > 0 {
		m.until = max(m.until, b.Frames[len(b.Frames)-1].Time)
	}
	b.Until = m.until
	if known == math.MaxInt64 && len(b.Frames) == 0 {
		return io.EOF
	}
	return nil
}

// Drops are up to accountEvery old.
func (m *merge) Drops() Drops {
	var sum Drops
	for _, p := range m.ports {
		d := p.drops()
		sum.Kernel += d.Kernel
		sum.Freezes += d.Freezes
		sum.Interface += d.Interface
	}
	return sum
}

// Close ends the readers and waits for them.
func (m *merge) Close() error {
	if !m.closed {
		m.closed = true
		close(m.stop)
		m.readers.Wait()
	}
	return nil
}

func (m *merge) wait() { m.readers.Wait() }
