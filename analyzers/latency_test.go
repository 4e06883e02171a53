package analyzers

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func newLatencyLoads(t *testing.T) *loads {
	return newLoads(t, nil, func(s *Site) Analyzer { return NewLatency(DefaultLatency(), s) })
}

// shake adds handshakes of a number of clients, of a mean time in ms, give or take a tenth.
func (w *loads) shake(server string, handshakes, clients int, ms float64) {
	s := w.service(server)
	for i := range handshakes {
		us := uint64(ms * 1000 * (0.9 + 0.2*w.random.Float64()))
		s.RTTN++
		s.RTT += us
		w.ask(fmt.Sprintf("203.0.113.%d", i%clients), server, 1, 900)
		p := &w.epoch.Pairs[len(w.epoch.Pairs)-1]
		p.RTTN, p.RTT = 1, us
	}
	s.Packets += uint64(handshakes)
}

// resend adds packets with payload, of which so many of a thousand were seen before.
func (w *loads) resend(server string, packets, thousandths int) {
	s := w.service(server)
	s.Payload += uint32(packets)
	for range packets {
		if w.random.IntN(1000) < thousandths {
			s.Retrans++
		}
	}
	s.Packets += uint64(packets)
}

// TestLatency: each kind at its limit and on both sides, and what looks like it.
func TestLatency(t *testing.T) {
	const usually = 20
	for _, c := range []struct {
		name  string
		usual func(w *loads)
		then  func(w *loads)
		want  []string
	}{
		{"slow", func(w *loads) { w.shake(loadWeb, 5, 5, usually) }, func(w *loads) { w.shake(loadWeb, 5, 5, 120) }, []string{"rtt on 10.10.10.10:443"}},
		{"rarely asked", func(w *loads) {
			if w.second%4 == 0 {
				w.shake(loadWeb, 4, 4, usually)
			}
		}, func(w *loads) {
			if w.second%4 == 0 {
				w.shake(loadWeb, 4, 4, 120)
			}
		}, []string{"rtt on 10.10.10.10:443"}},
		{"not slow enough", func(w *loads) { w.shake(loadWeb, 5, 5, usually) }, func(w *loads) { w.shake(loadWeb, 5, 5, 60) }, nil},
		{"not three times", func(w *loads) { w.shake(loadWeb, 5, 5, 100) }, func(w *loads) { w.shake(loadWeb, 5, 5, 250) }, nil},
		{"one client far away", func(w *loads) { w.shake(loadWeb, 5, 5, usually) }, func(w *loads) {
			w.shake(loadWeb, 1, 1, usually)
			w.shake(loadWeb, 2, 1, 300)
			w.shake(loadWeb, 2, 2, usually)
		}, nil},
		{"one slow second of three", func(w *loads) { w.shake(loadWeb, 5, 5, usually) }, func(w *loads) {
			w.shake(loadWeb, 5, 5, map[bool]float64{true: 300, false: usually}[w.second%3 == 0])
		}, nil},
		{
			"clients near and far", func(w *loads) {
				w.shake(loadWeb, 2, 2, map[bool]float64{true: 250, false: usually}[w.random.IntN(3) == 0])
			},
			func(w *loads) { w.shake(loadWeb, 5, 5, 250) }, nil,
		},
		{"outside", func(w *loads) { w.shake("198.51.100.1:443", 5, 5, usually) }, func(w *loads) { w.shake("198.51.100.1:443", 5, 5, 200) }, []string{"rtt"}},
		{"lossy", func(w *loads) { w.resend(loadWeb, 200, 3) }, func(w *loads) { w.resend(loadWeb, 200, 120) }, []string{"retransmission on 10.10.10.10:443"}},
		{"a little lossy", func(w *loads) { w.resend(loadWeb, 200, 3) }, func(w *loads) { w.resend(loadWeb, 200, 20) }, nil},
		{"always lossy", func(w *loads) { w.resend(loadWeb, 200, 100) }, func(w *loads) { w.resend(loadWeb, 200, 180) }, nil},
		{"too few packets", func(w *loads) { w.resend(loadWeb, 200, 3) }, func(w *loads) { w.resend(loadWeb, 9, 300) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newLatencyLoads(t)
			w.run(600, func(int) { c.usual(w) })
			if len(w.found) > 0 {
				t.Fatalf("before: %s", w.found[0].Summary)
			}
			w.run(40, func(int) { c.then(w) })
			w.want(c.want...)
			if w.worst() > 49 {
				t.Error(w.worst())
			}
			if len(w.found) > 0 {
				t.Log(w.at[0], w.found[0].Score, w.found[0].Summary)
			}
			w.run(100, func(int) { c.usual(w) })
			w.found, w.at = nil, nil
			w.run(40, func(int) { c.then(w) })
			w.want(c.want...) // it was not learned
		})
	}
}

// TestLatencyLot: many slow services are one finding, two are two.
func TestLatencyLot(t *testing.T) {
	for _, c := range []struct {
		slow int
		want []string
	}{{2, []string{"rtt on 10.10.10.0:443", "rtt on 10.10.10.1:443"}}, {12, []string{"rtt"}}} {
		w := newLatencyLoads(t)
		all := func(slow int) {
			for i := range 12 {
				w.shake(fmt.Sprintf("10.10.10.%d:443", i), 4, 4, map[bool]float64{true: 200, false: 20}[i < slow])
			}
		}
		w.run(300, func(int) { all(0) })
		w.run(30, func(int) { all(c.slow) })
		w.want(c.want...)
	}
}

// TestLatencyLasts: a longer way is one alert, until it is taken for normal.
func TestLatencyLasts(t *testing.T) {
	cfg := DefaultLatency()
	cfg.Accept = time.Hour
	w := newLoads(t, nil, func(s *Site) Analyzer { return NewLatency(cfg, s) })
	w.run(600, func(int) { w.shake(loadWeb, 4, 4, 20) })
	w.run(2*3600, func(int) { w.shake(loadWeb, 4, 4, 150) })
	w.want("rtt on 10.10.10.10:443")
	if last := w.at[len(w.at)-1] - 600; last < 3600 || last > 3610 {
		t.Errorf("told until second %d", last)
	}
}

// TestLatencyConfig: each setting that cannot be is refused.
func TestLatencyConfig(t *testing.T) {
	for i, set := range []func(*LatencyConfig){
		func(c *LatencyConfig) { c.RTT = 0 },
		func(c *LatencyConfig) { c.Retransmissions = 101 },
		func(c *LatencyConfig) { c.Packets = 0 },
		func(c *LatencyConfig) { c.Multiplier = 0.5 },
		func(c *LatencyConfig) { c.Clients = 0 },
		func(c *LatencyConfig) { c.Accept = time.Minute },
		func(c *LatencyConfig) { c.Quiet = 0 },
		func(c *LatencyConfig) { c.Keys = 0 },
		func(c *LatencyConfig) { c.Alarms = 0 },
	} {
		cfg := DefaultLatency()
		if set(&cfg); cfg.Check() == nil || !strings.HasPrefix(cfg.Check().Error(), "latency: ") {
			t.Errorf("%d: %v", i, cfg.Check())
		}
	}
	if cfg := DefaultLatency(); cfg.Check() != nil {
		t.Error(cfg.Check())
	}
}
