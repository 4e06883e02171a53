//go:build soak

package main

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/traffic"
)

// TestSenseLoad shows the sensor traffic at rates in packets a second, for WEIR_LOAD (30 s) each: every packet was seen or is counted
// as lost, and at 300,000 none was lost. The million a second is more than two cores can send over a cable, at which they must
// work, too: there the kernel makes the packets where they arrive, in bursts of 100,000.
func TestSenseLoad(t *testing.T) {
	d := 30 * time.Second
	if other := os.Getenv("WEIR_LOAD"); other != "" {
		var err error
		if d, err = time.ParseDuration(other); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{"mix", "synflood"} {
		for _, l := range []struct {
			name     string
			rate     int
			injected bool
			lossless bool
		}{
			{"300 kpps", 300_000, false, true},
			{"as fast as can be sent", 0, false, false},
			{"1 Mpps", 1_000_000, true, false},
		} {
			t.Run(kind+" "+l.name, func(t *testing.T) {
				c := newCable(t, "wlod")
				w := sense(t, c.far, "-i", "eth0", "--format", "none")
				out := c.streamer(t)
				before := w.read(t)
				began := time.Now()
				if l.injected {
					out.sent = c.inject(t, kind, l.rate, d)
				} else {
					out.stream(t, kind, l.rate, d)
				}
				took := time.Since(began)
				a, r := w.account(t, c, out.sent)
				cpu := r["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
				t.Logf("%.0f packets a second: %v", float64(a.sent)/took.Seconds(), &a)
				t.Logf("%d freezes; CPU %.0f ns a packet; %.0f MiB; of %d ticks %d late, %d without a worker", r.loss("kernel", "freeze"), cpu*1e9/float64(a.seen),
					r["process_resident_memory_bytes"]/(1<<20), r.sum("weir_ticks_total"), r.sum("weir_ticks_late_total"), r.sum("weir_ticks_absent_total"))
				if a.open() != 0 {
					t.Errorf("%d packets are not accounted for", a.open())
				}
				if l.lossless && a.lost() > 0 {
					t.Errorf("%d packets lost", a.lost())
				}
				if float64(a.sent) < 0.8*float64(l.rate)*took.Seconds() {
					t.Errorf("the sender was too slow: the test shows nothing")
				}
				if code := w.end(t, os.Interrupt); code != 0 {
					t.Errorf("weir sense ends with %d:\n%s", code, w.err.String())
				}
			})
		}
	}
}

// inject has the far host's interface receive generated traffic, and returns how many packets.
func (c *cable) inject(t *testing.T, kind string, rate int, d time.Duration) (sent uint64) {
	t.Helper()
	var err error
	within(t, c.far, func() {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20) // of the thread: a network does not wait for the sensor either
		var j *traffic.Injector
		if j, err = traffic.NewInjector(kind, "eth0"); err == nil {
			sent, err = j.Send(rate, d)
			err = errors.Join(err, j.Close())
		}
	})
	if err != nil {
		leaveOut(t, fmt.Sprintf("no packets can be injected here: %v", err))
	}
	return sent
}
