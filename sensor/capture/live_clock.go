package capture

import (
	"sync"
	"sync/atomic"
	"time"
)

// Steps of the wall clock. Kernel timestamps are of the wall clock, and jump when it is set. Event time must not stand
// still or go backwards for long: after a step back it goes on from where it was, at 15/16 of real time until it meets the
// wall clock again. A step forward first uses up such a lead, and is followed for the rest.
const (
	clockSlew    = 16                     // the lead shrinks by 1/16 of real time
	clockCheck   = 50 * time.Millisecond  // the clocks are compared that often at least
	clockStep    = 2 * time.Millisecond   // smaller differences are noise
	clockReset   = time.Minute            // a lead beyond it takes longer than 16 minutes to make up
	clockExact   = 200 * time.Microsecond // a reading of both clocks that took longer is taken again
	clockTries   = 8
	frameLag     = 2 * time.Millisecond   // frames of several processors are out of order by less
	frameAdvance = 100 * time.Millisecond // a frame cannot be newer than the start of its block's reading by more
)

// clock maps timestamps of the wall clock to event time. Any goroutine.
type clock struct {
	read  func() (wall, mono int64, ok bool)
	event func(LiveEvent)
	mu    sync.Mutex // of check
	last  atomic.Pointer[span]
}

// span is a time in which the wall clock was not set. Readers walk from span to span at their own pace.
type span struct {
	from   int64 // monotonic ns at which it was seen to begin, clockCheck after it did at most
	offset int64 // wall clock less monotonic clock, ns
	lead   int64 // ns by which event time was ahead of the wall clock at from
	next   atomic.Pointer[span]
}

// base is where this process's monotonic clock is 0.
var base = time.Now()

// mono reads the monotonic clock, which the wall clock's steps do not touch.
func mono() int64 { return int64(time.Since(base)) }

// readClocks reads the wall clock, the monotonic clock, and tells whether the two belong together.
func readClocks() (wall, mono int64, ok bool) {
	for range clockTries {
		before := time.Since(base)
		now := time.Now()
		if after := now.Sub(base); after-before < clockExact {
			return now.UnixNano(), int64(after), true
		}
	}
	return 0, 0, false
}

func newClock(read func() (wall, mono int64, ok bool), event func(LiveEvent)) *clock {
	c := &clock{read: read, event: event}
	wall, now, ok := read()
	for !ok {
		wall, now, ok = read()
	}
	c.last.Store(&span{from: now, offset: wall - now})
	return c
}

// check begins a new span if the wall clock was set.
func (c *clock) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, now, ok := c.read()
	s := c.last.Load()
	step := wall - now - s.offset
	if !ok || step > -int64(clockStep) && step < int64(clockStep) {
		return
	}
	next := &span{from: now, offset: wall - now, lead: max(0, s.ahead(now)-step)}
	s.next.Store(next)
	c.last.Store(next)
	c.event(clockEvent(time.Duration(step), time.Duration(next.lead)))
}

// clockEvent tells of a step, after which event time has a lead.
func clockEvent(step, lead time.Duration) LiveEvent {
	kind := ClockStepped
	if step < 0 && lead > clockReset {
		kind = ClockReset
	}
	return LiveEvent{Kind: kind, Step: step}
}

// ahead is how far event time is ahead of the wall clock.
func (s *span) ahead(mono int64) int64 {
	if s.lead == 0 {
		return 0
	}
	return max(0, s.lead-max(0, mono-s.from)/clockSlew)
}

// at is the event time at a moment of the monotonic clock.
func (s *span) at(mono int64) int64 { return mono + s.offset + s.ahead(mono) }

// stamps turns the timestamps of one ring's frames into event time. A frame shows by its time alone whether it was stamped
// before or after a step only if one knows when it can have been stamped at the earliest: that is seen.
type stamps struct {
	clock *clock
	span  *span // of the frames now read
	seen  int64 // monotonic ns: frames yet to be read were stamped later, but for frameLag
	now   int64 // monotonic ns: when reading of the block began
}

func newStamps(c *clock) stamps { return stamps{clock: c, span: c.last.Load()} }

// event is the event time of a frame that the kernel stamped with the wall clock's time, and the moment of that. A stamp from
// the future counts as now: event time would stand still until then.
func (s *stamps) event(wall int64) (event, mono int64) {
	mono = wall - s.span.offset
	if mono < s.seen-int64(frameLag) || mono > s.now+int64(frameAdvance) || s.span.next.Load() != nil {
		mono = s.settle(wall)
		if _, now, ok := s.clock.read(); ok {
			s.now = max(s.now, now)
			if mono > s.now+int64(frameAdvance) { // the clock was set there and back between two looks, or the sender stamped it (SO_TXTIME)
				return s.span.at(s.now), s.now
			}
		}
	}
	if mono > s.seen && mono <= s.now+int64(frameAdvance) {
		s.seen = mono
	}
	return wall + s.span.ahead(mono), mono
}

// settle walks on to the span in which a frame was stamped.
func (s *stamps) settle(wall int64) (mono int64) {
	s.clock.check()
	for next := s.span.next.Load(); next != nil; next = s.span.next.Load() {
		mono = wall - s.span.offset
		if mono >= s.seen-int64(frameLag) && mono <= next.from {
			break // before the step
		}
		s.span = next
	}
	return wall - s.span.offset
}

// idle says that all frames stamped before a moment were read, and returns its event time.
func (s *stamps) idle(mono int64) int64 {
	s.seen = max(s.seen, mono)
	for next := s.span.next.Load(); next != nil && next.from < s.seen; next = s.span.next.Load() {
		s.span = next
	}
	return s.span.at(mono)
}
