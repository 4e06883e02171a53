//go:build soak

// This test sets the machine's clock, by which others beside it judge ends: it runs by itself.

package capture

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The wall clock is set back by 3 s while traffic flows, and forward again: frames keep coming, and their times go on.
func TestLiveClockStep(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		c := tap(t, small(), 1, nil, names...)
		s := newSender(t, "wcapb")
		stop := make(chan struct{})
		sent := make(chan int)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for n := 0; ; n++ {
				select {
				case <-stop:
					sent <- n
					return
				default:
					_ = s.send(frame(1, 2, 3, 4, n, 10))
					time.Sleep(500 * time.Microsecond)
				}
			}
		}()
		time.Sleep(200 * time.Millisecond)
		setClock(t, -3*time.Second)
		time.Sleep(600 * time.Millisecond)
		lead := c.Clock()
		setClock(t, 3*time.Second)
		time.Sleep(300 * time.Millisecond)
		after := c.Clock()
		close(stop)
		n := <-sent
		ev, r := c.events, c.readers[0]
		frames, _ := c.end(t)
		if len(frames) != n {
			t.Errorf("%d frames of %d", len(frames), n)
		}
		var back, gap int64
		for i := 1; i < len(frames); i++ {
			d := frames[i].Time - frames[i-1].Time
			back, gap = min(back, d), max(gap, d)
			if number(frames[i].Data) != i {
				t.Fatalf("%v: frame %d is number %d", names, i, number(frames[i].Data))
			}
		}
		for i := 1; i < len(r.untils); i++ {
			if r.untils[i] < r.untils[i-1] {
				t.Errorf("Until goes back by %v", time.Duration(r.untils[i-1]-r.untils[i]))
			}
		}
		t.Logf("%v: %d frames, largest step back %v, forward %v; %v ahead after the step back, %v in the end; %v",
			names, n, time.Duration(back), time.Duration(gap), lead, after, ev)
		if back < -int64(5*time.Millisecond) || gap > int64(time.Second) { // the sender may have had to wait
			t.Error("event time jumps")
		}
		if ev.count(ClockStepped) != 2 || lead < 2500*time.Millisecond || lead > 3*time.Second || after != 0 {
			t.Error("the steps are not as they were")
		}
	}
}

// setClock moves the wall clock, and sees to it that it ends where it would be without.
func setClock(t testing.TB, d time.Duration) {
	t.Helper()
	var wall, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &wall), unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)); err != nil {
		t.Fatal(err)
	}
	offset := wall.Nano() - mono.Nano()
	t.Cleanup(func() {
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) == nil {
			ts := unix.NsecToTimespec(mono.Nano() + offset)
			_ = unix.ClockSettime(unix.CLOCK_REALTIME, &ts)
		}
	})
	ts := unix.NsecToTimespec(wall.Nano() + int64(d))
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		leaveOut(t, fmt.Sprintf("the clock cannot be set here: %v", err))
	}
}
