package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/sensor/traffic"
)

// readings are the metrics of a sensor at a moment, by series.
type readings map[string]float64

// read scrapes the sensor.
func (s *sentry) read(t *testing.T) readings {
	t.Helper()
	code, text := s.get(t, "/metrics")
	if code != 200 {
		t.Fatalf("/metrics answers %d: %.300s", code, text)
	}
	r := readings{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 && lines.Text()[0] != '#' {
			r[lines.Text()[:at]], _ = strconv.ParseFloat(lines.Text()[at+1:], 64)
		}
	}
	return r
}

// sum adds up the series of a metric.
func (r readings) sum(name string) (n uint64) {
	for series, v := range r {
		if series == name || strings.HasPrefix(series, name+"{") {
			n += uint64(v)
		}
	}
	return n
}

func (r readings) loss(stage, cause string) uint64 {
	return uint64(r[fmt.Sprintf("weir_loss_total{cause=%q,stage=%q}", cause, stage)])
}

// account is where packets went.
type account struct{ sent, refused, seen, ring, dropped uint64 }

// account waits until the sensor has told what became of the packets that were sent.
func (s *sentry) account(t *testing.T, c *cable, sent uint64) (a account, r readings) {
	t.Helper()
	a.sent, a.refused = sent, statistic(t, c.near, "tx_dropped")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		r = s.read(t)
		a.seen, a.ring, a.dropped = r.sum("weir_packets_total"), r.loss("kernel", "ring_full"), r.loss("interface", "dropped")
		if a.open() <= 0 || time.Now().After(end) {
			return a, r
		}
	}
}

// open is how many packets are not accounted for.
func (a *account) open() int64 { return int64(a.sent + a.refused - a.seen - a.ring - a.dropped) }

func (a *account) lost() uint64 { return a.ring + a.dropped }

func (a *account) String() string {
	return fmt.Sprintf("sent %d + refused %d = seen %d + ring full %d + interface %d, not accounted for %d; lost %.3f %%",
		a.sent, a.refused, a.seen, a.ring, a.dropped, a.open(), 100*float64(a.lost())/float64(a.sent+a.refused))
}

// statistic is a counter of eth0.
func statistic(t *testing.T, ns, name string) (n uint64) {
	t.Helper()
	text := runIn(t, ns, "cat", "/sys/class/net/eth0/statistics/"+name)
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// streamer sends generated traffic over a cable.
type streamer struct {
	*traffic.Sender
	streams map[string]*traffic.Stream
	sent    uint64
}

func (c *cable) streamer(t *testing.T) *streamer {
	t.Helper()
	s := &streamer{streams: map[string]*traffic.Stream{}}
	var err error
	within(t, c.near, func() { s.Sender, err = traffic.NewSender("eth0") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// stream sends a kind of traffic at a rate for a time.
func (s *streamer) stream(t *testing.T, kind string, rate int, d time.Duration) {
	t.Helper()
	if s.streams[kind] == nil {
		stream, err := traffic.NewStream(kind)
		if err != nil {
			t.Fatal(err)
		}
		s.streams[kind] = stream
	}
	n, err := s.Send(s.streams[kind], rate, d)
	if err != nil {
		t.Fatal(err)
	}
	s.sent += n
}

// soakTime is how long TestSenseSoak runs, unless WEIR_SOAK says otherwise.
const soakTime = 20 * time.Second

// steady is what must not grow, a sample each soakSample.
type steady struct{ memory, goroutines, files, outbox []float64 }

const soakSample = 2 * time.Second

func (s *steady) sample(r readings) {
	s.memory = append(s.memory, r["process_resident_memory_bytes"]/(1<<20))
	s.goroutines = append(s.goroutines, r["go_goroutines"])
	s.files = append(s.files, r["process_open_fds"])
	s.outbox = append(s.outbox, r["weir_bus_outbox_bytes"]/(1<<20))
}

// thirds are the peaks in the thirds of a run.
func thirds(all []float64) (a, b, c float64) {
	n := len(all) / 3
	return slices.Max(all[:n]), slices.Max(all[n : 2*n]), slices.Max(all[2*n:])
}

// TestSenseSoak shows a sensor floods, scans, harmless traffic and silence in turns: each packet is accounted for, and what
// the process holds stays as it is. WEIR_SOAK=10m makes it long enough to hold memory to that, too.
func TestSenseSoak(t *testing.T) {
	d := soakTime
	if long := os.Getenv("WEIR_SOAK"); long != "" {
		var err error
		if d, err = time.ParseDuration(long); err != nil {
			t.Fatal(err)
		}
	}
	c := newCable(t, "wlod")
	w := sense(t, c.far, "-i", "eth0", "--format", "none")
	out := c.streamer(t)
	begin := time.Now()
	quit, sampled := make(chan struct{}), make(chan *steady)
	go func() {
		all := new(steady)
		for tick := time.NewTicker(soakSample); ; {
			select {
			case <-tick.C:
				all.sample(w.read(t))
			case <-quit:
				tick.Stop()
				sampled <- all
				return
			}
		}
	}()
	for time.Since(begin) < d {
		out.stream(t, "mix", 50_000, 1500*time.Millisecond)
		out.stream(t, "synflood", 100_000, time.Second)
		out.stream(t, "scan", 80_000, time.Second)
		time.Sleep(time.Second)
		out.stream(t, "ports", 20_000, time.Second)
		out.stream(t, "sources", 60_000, 500*time.Millisecond)
	}
	close(quit)
	all := <-sampled
	a, r := w.account(t, c, out.sent)
	t.Logf("%v: %v", time.Since(begin).Round(time.Second), &a)
	t.Logf("%d revisions of alerts, %d published, %d ticks late, %d without a worker", r.sum("weir_alerts_total"),
		r.sum("weir_bus_published_total"), r.sum("weir_ticks_late_total"), r.sum("weir_ticks_absent_total"))
	if a.open() != 0 {
		t.Errorf("%d packets are not accounted for", a.open())
	}
	if a.sent == 0 || r.sum("weir_alerts_total") == 0 {
		t.Error("no traffic or no alert: the test shows nothing")
	}
	held(t, "goroutines", all.goroutines, 1, 3) // those of a request that is answered at that moment
	held(t, "open files", all.files, 1, 3)
	held(t, "MiB of outbox", all.outbox, 1, 1)
	growth := 1.1
	if d < 5*time.Minute {
		growth = 2 // the tables are still being touched for the first time
	}
	held(t, "MiB of memory", all.memory, growth, 0)
	if code := w.end(t, os.Interrupt); code != 0 {
		t.Errorf("weir sense ends with %d:\n%s", code, w.err.String())
	}
}

// held holds that the last third of a run has no more of something than so many times the second third, and so many more.
func held(t *testing.T, what string, all []float64, growth, more float64) {
	t.Helper()
	a, b, c := thirds(all)
	t.Logf("%-13s in thirds of the run at most %.4g, %.4g, %.4g; at the end %.4g", what, a, b, c, all[len(all)-1])
	if c > b*growth+more {
		t.Errorf("%s grow: %v", what, all)
	}
}
