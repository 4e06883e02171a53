package capture

import (
	"testing"
	"time"
)

const (
	ms = int64(time.Millisecond)
	s1 = int64(time.Second)
)

// fakeClock is a wall clock that tests set, over a monotonic one that they move.
type fakeClock struct {
	wall, mono int64
	steps      []time.Duration
	resets     int
}

func (f *fakeClock) read() (int64, int64, bool) { return f.wall, f.mono, true }
func (f *fakeClock) pass(ns int64)              { f.wall, f.mono = f.wall+ns, f.mono+ns }

func (f *fakeClock) step(e LiveEvent) {
	f.steps = append(f.steps, e.Step)
	if e.Kind == ClockReset {
		f.resets++
	}
}

func newFakeClock() (*fakeClock, *clock) {
	f := &fakeClock{wall: 1_800_000_000 * s1, mono: 77 * s1}
	return f, newClock(f.read, f.step)
}

// Event time follows the wall clock exactly while nobody sets it.
func TestClockWithoutSteps(t *testing.T) {
	f, c := newFakeClock()
	st := newStamps(c)
	for range 1000 {
		f.pass(3 * ms)
		c.check()
		st.now = f.mono
		if event, mono := st.event(f.wall - 1); event != f.wall-1 || mono != f.mono-1 {
			t.Fatalf("event time is %d ns off", event-f.wall+1)
		}
	}
	if len(f.steps) > 0 {
		t.Errorf("steps %v", f.steps)
	}
}

// A clock that is set back by 3 s: event time goes on without a gap, at 15/16 of real time for 48 s, and then is the wall
// clock's. The frames are read late, some before the clocks were compared.
func TestClockBack(t *testing.T) {
	for _, lag := range []int64{0, ms, 40 * ms} { // from a frame's stamp to its being read
		f, c := newFakeClock()
		st := newStamps(c)
		type stamped struct{ wall, mono int64 }
		var ring []stamped
		last, lastMono := int64(0), int64(0)
		for i := int64(1); i <= 70_000; i++ {
			f.pass(ms)
			if i == 5_017 {
				f.wall -= 3 * s1
			}
			ring = append(ring, stamped{f.wall, f.mono})
			if i%50 == 0 {
				c.check()
			}
			for len(ring) > 0 && ring[0].mono <= f.mono-lag {
				st.now = f.mono
				event, mono := st.event(ring[0].wall)
				if mono != ring[0].mono {
					t.Fatalf("lag %d, frame %d: its moment is off by %d ms", lag/ms, i, (mono-ring[0].mono)/ms)
				}
				if last > 0 {
					speed := float64(event-last) / float64(mono-lastMono)
					slewing := i > 5_200 && i < 53_000
					if slewing && (speed < 0.93 || speed > 0.94) || speed < 0.9 || speed > 4.2 {
						t.Fatalf("lag %d ms, frame %d: event time goes at %.3f of real time", lag/ms, i, speed)
					}
				}
				last, lastMono = event, mono
				if i > 53_200 && event != ring[0].wall {
					t.Fatalf("lag %d ms, frame %d: %v ahead after 48 s", lag/ms, i, time.Duration(event-ring[0].wall))
				}
				ring = ring[1:]
			}
		}
		if len(f.steps) != 1 || f.steps[0] != -3*time.Second {
			t.Errorf("steps %v", f.steps)
		}
	}
}

// A clock that is set forward is followed at once; what event time was ahead is used up first.
func TestClockForward(t *testing.T) {
	f, c := newFakeClock()
	f.wall += 10 * s1
	c.check()
	if at := c.last.Load().at(f.mono); at != f.wall {
		t.Errorf("event time is %v behind the wall clock", time.Duration(f.wall-at))
	}
	f.wall -= 5 * s1
	c.check()
	was := c.last.Load().at(f.mono)
	f.wall += 2 * s1
	c.check()
	if at := c.last.Load().at(f.mono); at != was || at-f.wall != 3*s1 {
		t.Errorf("a step forward of 2 s within a lead of 5 s: event time moves by %v, lead is now %v", time.Duration(at-was), time.Duration(at-f.wall))
	}
	f.wall += 7 * s1
	c.check()
	if at := c.last.Load().at(f.mono); at != f.wall {
		t.Errorf("event time is %v off the wall clock", time.Duration(f.wall-at))
	}
	if len(f.steps) != 4 {
		t.Errorf("steps %v", f.steps)
	}
}

// A lonely frame is told apart by when the ring was last seen empty.
func TestClockBackWhileIdle(t *testing.T) {
	f, c := newFakeClock()
	st := newStamps(c)
	for range 40 {
		f.pass(25 * ms)
		st.idle(f.mono - 28*ms)
	}
	f.wall -= s1
	for i := range int64(200) {
		f.pass(25 * ms)
		if i%2 == 0 {
			c.check()
		}
		until := st.idle(f.mono - 28*ms)
		if i%7 == 3 {
			st.now = f.mono
			event, mono := st.event(f.wall - ms)
			if mono != f.mono-ms || event < until || event > until+40*ms {
				t.Fatalf("%d ms after the step: the frame's moment is off by %d ms, its event time by %d", 25*i, (mono-f.mono+ms)/ms, (event-until)/ms)
			}
		}
	}
}

// A frame stamp that cannot be counts as now, and does not keep the following from being read.
func TestClockOddStamp(t *testing.T) {
	f, c := newFakeClock()
	st := newStamps(c)
	f.pass(ms)
	st.now = f.mono
	if event, mono := st.event(f.wall + 3600*s1); event != f.wall || mono != f.mono {
		t.Errorf("event time is %v off", time.Duration(event-f.wall))
	}
	f.pass(ms)
	st.now = f.mono
	if event, _ := st.event(f.wall); event != f.wall || st.seen != f.mono {
		t.Errorf("event time is %v off, seen %v ahead", time.Duration(event-f.wall), time.Duration(st.seen-f.mono))
	}
}

// Reading both clocks gives the same difference each time, while nobody sets one.
func TestReadClocks(t *testing.T) {
	wall, mono, ok := readClocks()
	for range 1000 {
		w, m, good := readClocks()
		if !ok || !good {
			t.Skip("the machine is too busy to read two clocks at once")
		}
		if d := (w - m) - (wall - mono); d > int64(clockExact) || d < -int64(clockExact) {
			t.Fatalf("%v off", time.Duration(d))
		}
	}
}

// A clock that is set back so far, at once or bit by bit, that event time would be ahead for longer than 16 minutes is reset.
func TestClockReset(t *testing.T) {
	for _, c := range []struct {
		steps []time.Duration
		want  int
	}{
		{[]time.Duration{-59 * time.Second}, 0},
		{[]time.Duration{-61 * time.Second}, 1},
		{[]time.Duration{-59 * time.Second, -59 * time.Second}, 1},
		{[]time.Duration{-59 * time.Second, 58 * time.Second, -59 * time.Second}, 0},
		{[]time.Duration{time.Hour}, 0},
	} {
		f, clock := newFakeClock()
		for _, step := range c.steps {
			f.pass(s1)
			f.wall += int64(step)
			clock.check()
		}
		if f.resets != c.want {
			t.Errorf("%v: %d resets, want %d", c.steps, f.resets, c.want)
		}
	}
}
