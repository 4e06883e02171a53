package sensor

import (
	"context"
	"errors"
	"io"
	"runtime/debug"
	"sync"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/capture"
)

// replayer is a worker of a replay: all of them share one input, whose blocks they consume in one order.
type replayer struct {
	worker
	next    int64 // block to consume
	cut     int   // run within it
	start   int   // where the run begins in this worker's part
	closing bool  // at the end of a tick: waits for the judge
	until   int64 // the tick in which traffic goes on after it
	ticks   int64 // ticks this worker has closed
}

// Replay runs the whole of src. An error of the source does not void what came before it: all frames read are processed,
// the alerts emitted, and the error returned with the summary. A cancelled context ends the input early.
func (e *Engine) Replay(ctx context.Context, src capture.Source) (*Summary, error) {
	e.ring = newRing(ctx, src, e.cfg.Workers)
	// After a jump of time a shard ends all its connections in one tick: that many records fit. Only an input whose time stands
	// still can have more.
	most := (e.cfg.Conn.Conns + e.cfg.Conn.HalfOpen) / decode.Shards
	var wg sync.WaitGroup
	for id := range e.cfg.Workers {
		w := &replayer{}
		w.init(e, id, most)
		e.workers = append(e.workers, &w.worker)
		wg.Go(w.run)
	}
	wg.Wait()
	e.judge.finish(&e.ring.course)
	err := e.ring.err
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return &e.judge.summary, err
}

// run is the whole life of a worker: consume what is ready, else decode ahead, else wait.
func (w *replayer) run() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // see outside
	r := w.e.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.failed:
			return
		case w.closing && r.judged == w.ticks:
			w.reopen()
		case !w.closing && w.next < r.read && r.slot(w.next).decoded:
			w.consume(r.slot(w.next))
		case r.mayRead():
			if s := r.readBlock(); s != nil {
				w.outside(func() { w.decode(s) })
				s.decoded = true
				r.wake.Broadcast()
			}
		case !w.closing && r.ended && !r.reading && w.next == r.read:
			return
		default:
			r.wake.Wait()
		}
	}
}

// outside runs f without the ring's lock, which the caller holds. Frames borrow from mapped files: if somebody truncates
// one meanwhile, touching it faults, and the input ends there with an error.
func (w *replayer) outside(f func()) {
	r := w.e.ring
	var err error
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		if err != nil {
			r.fail(err)
		}
	}()
	defer func() {
		if v := recover(); v != nil {
			if err = fault(r.src, v); err == nil {
				panic(v)
			}
		}
	}()
	f()
}

// decode fills the slot's packets and deals them out to the workers that own their shards.
func (w *replayer) decode(s *slot) {
	e := w.e
	for i := range s.parts {
		s.parts[i] = s.parts[i][:0]
	}
	if s.packets == nil {
		s.packets = make([]decode.Packet, 0, 2*len(s.block.Frames))
	}
	s.packets = s.packets[:0]
	frame := 0
	for i := range s.cuts {
		c := &s.cuts[i]
		for ; frame < c.frames; frame++ {
			p := s.grow()
			e.decoder.Decode(&s.block.Frames[frame], p)
			if e.cfg.Keep != nil && !e.cfg.Keep(p) {
				s.packets = s.packets[:len(s.packets)-1]
				continue
			}
			outers := int(p.Depth)
			s.deal(len(s.packets) - 1)
			if e.cfg.Outer && outers > 0 {
				w.decodeOuters(s, frame, outers)
			}
		}
		for i := range s.parts {
			c.ends[i] = len(s.parts[i])
		}
	}
}

// decodeOuters adds the tunnels' own connections of a frame.
func (w *replayer) decodeOuters(s *slot, frame, tunnels int) {
	for depth := range tunnels {
		p := s.grow()
		if !w.e.decoder.DecodeOuter(&s.block.Frames[frame], p, depth) {
			s.packets = s.packets[:len(s.packets)-1]
			continue
		}
		s.deal(len(s.packets) - 1)
	}
}

// grow adds a packet whose memory is that of an earlier block.
func (s *slot) grow() *decode.Packet {
	if n := len(s.packets); n < cap(s.packets) {
		s.packets = s.packets[:n+1]
	} else {
		s.packets = append(s.packets, decode.Packet{})
	}
	return &s.packets[len(s.packets)-1]
}

func (s *slot) deal(i int) {
	to := int(s.packets[i].Shard) % tally.Shards % len(s.parts)
	s.parts[to] = append(s.parts[to], uint16(i))
}

// consume takes the worker's packets of one run through its shards. The caller holds the ring's lock.
func (w *replayer) consume(s *slot) {
	r := w.e.ring
	c := s.cuts[w.cut]
	w.outside(func() {
		w.process(s.packets, s.parts[w.id][w.start:c.ends[w.id]])
		if c.closes {
			w.expire(c.tick)
		}
	})
	w.start = c.ends[w.id]
	w.cut++
	if w.cut == len(s.cuts) {
		w.next, w.cut, w.start = w.next+1, 0, 0
		if s.left--; s.left == 0 {
			r.done++
			r.wake.Broadcast()
		}
	}
	if c.closes {
		w.until = c.next
		w.arrive(c.tick)
	}
}

// arrive says that the worker's shards are ready for the tick to be judged. The last worker to arrive judges it, while
// the others decode ahead. The caller holds the ring's lock.
func (w *replayer) arrive(tick int64) {
	r := w.e.ring
	w.closing = true
	w.ticks++
	if r.arrived++; r.arrived < r.workers {
		return
	}
	r.arrived = 0
	w.outside(func() { r.idle = w.e.judge.tick(tick, w.until) })
	r.judged++
	r.wake.Broadcast()
}

// reopen goes on after a judged tick: with traffic, or with a tick without traffic in which something falls due. The
// caller holds the ring's lock.
func (w *replayer) reopen() {
	r := w.e.ring
	if r.idle >= w.until {
		w.closing = false
		return
	}
	tick := r.idle
	w.outside(func() { w.expire(tick) })
	w.arrive(tick)
}
