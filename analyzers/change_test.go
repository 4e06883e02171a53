package analyzers

import (
	"fmt"
	"testing"
	"time"

	"weir/analyzers/context"
)

// newChangeLoads is a site on which an hour makes things known.
func newChangeLoads(t *testing.T, networks *context.Networks) *loads {
	cfg := DefaultChange()
	cfg.Learn = time.Hour
	return newLoads(t, networks, func(s *Site) Analyzer { return NewChange(cfg, s) })
}

// reach adds a connection of a client, and what the service's counters tell of it.
func (w *loads) reach(client, server string) {
	w.ask(client, server, 1, 3000)
	w.serve(server, 1)
}

// TestChangeService: a port that answers for the first time; not while the site is being learned, not what was there, not a client's
// port.
func TestChangeService(t *testing.T) {
	const client = "198.51.100.9"
	for _, c := range []struct {
		name  string
		worst int
		want  []string
		then  func(w *loads)
	}{
		{"outside", 35, []string{"new_service on 10.10.10.10:8080"}, func(w *loads) { w.reach(client, "10.10.10.10:8080") }},
		{"inside", 20, []string{"new_service on 10.10.10.10:8080"}, func(w *loads) { w.reach("10.10.10.77", "10.10.10.10:8080") }},
		{"known", 0, nil, func(w *loads) { w.reach(client, loadWeb) }},
		{"an active FTP client", 0, nil, func(w *loads) { w.reach(client, fmt.Sprintf("10.10.10.77:%d", 33000+w.second)) }},
		{"a service on a client's port", 35, []string{"new_service on 10.10.10.10:50000"}, func(w *loads) {
			w.reach(fmt.Sprintf("198.51.100.%d", w.second%5), "10.10.10.10:50000")
		}},
		{"refused", 0, nil, func(w *loads) {
			s := w.service("10.10.10.10:8080")
			s.SYN, s.Refused, s.Packets, s.BackPackets = 1, 1, 1, 1
		}},
		{"twelve at once", 35, []string{
			"new_service on 10.10.10.10:1000", "new_service on 10.10.10.10:1001", "new_service on 10.10.10.10:1002", "new_service on 10.10.10.10:1003",
			"new_service on 10.10.10.10:1004", "new_service on 10.10.10.10:1005", "new_service on 10.10.10.10:1006", "new_service on 10.10.10.10:1007",
			"new_service on 10.10.10.10",
		}, func(w *loads) {
			for p := range 12 {
				w.reach(client, fmt.Sprintf("10.10.10.10:%d", 1000+p))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newChangeLoads(t, nil)
			w.run(3700, func(int) {
				if w.second%30 == 0 {
					w.site.Baseline.Series(loadMeasureOf(serviceKey(addrOf("10.10.10.10"), 4, protoTCP, 443), 0), (loadStart+w.second)*1e9) // as any analyzer: the memory begins
					w.reach(client, loadWeb)
				}
			})
			w.want()
			w.run(30, func(int) { c.then(w) })
			w.want(c.want...)
			if w.worst() != c.worst {
				t.Errorf("score %d, want %d", w.worst(), c.worst)
			}
			n := len(w.found)
			w.run(30, func(int) { c.then(w) })
			if len(w.found) != n {
				t.Errorf("told again: %s", w.found[n].Summary)
			}
		})
	}
}

// TestChangeLearning: in its first hour a sensor calls nothing new, and what it learned is in the memory that outlives it.
func TestChangeLearning(t *testing.T) {
	w := newChangeLoads(t, nil)
	w.run(3500, func(int) { w.reach("198.51.100.9", fmt.Sprintf("10.10.10.10:%d", 1+w.second)) })
	w.want()
	cfg := DefaultChange()
	cfg.Learn = time.Hour
	w.analyzer = NewChange(cfg, w.site)
	w.second += 7200
	w.run(300, func(s int) { w.reach("198.51.100.9", fmt.Sprintf("10.10.10.10:%d", 4000+s)) }) // after a gap, again
	w.want()
	w.run(3500, func(s int) { w.reach("198.51.100.9", fmt.Sprintf("10.10.10.10:%d", 1+s)) })
	w.want()
	w.run(1, func(int) { w.reach("198.51.100.9", "10.10.10.10:9999") })
	w.want("new_service on 10.10.10.10:9999")
}

// TestChangePeer: a server of few peers asks a network it never asked; not a workstation, not a server of many, not a known
// destination, not another address of a known AS.
func TestChangePeer(t *testing.T) {
	networks := context.New(context.Config{KnownDestinations: loadPrefixes(t, "192.0.2.0/24")}, nil, nil)
	for _, c := range []struct {
		name     string
		networks *context.Networks
		usual    func(w *loads)
		then     string
		want     []string
	}{
		{"new", networks, func(w *loads) { w.ask("10.10.10.10", "198.51.100.5:443", 1, 900) }, "203.0.113.7:443", []string{"new_peer by 10.10.10.10 on 203.0.113.7:443"}},
		{"the same network", networks, func(w *loads) { w.ask("10.10.10.10", "198.51.100.5:443", 1, 900) }, "198.51.100.99:443", nil},
		{"a known destination", networks, func(w *loads) { w.ask("10.10.10.10", "198.51.100.5:443", 1, 900) }, "192.0.2.7:443", nil},
		{"many peers", networks, func(w *loads) { w.ask("10.10.10.10", fmt.Sprintf("198.18.%d.5:25", w.second/30%100), 1, 900) }, "203.0.113.7:25", nil},
		{"the same AS", context.New(context.Config{}, nil, loadOrigins{}), func(w *loads) { w.ask("10.10.10.10", "198.51.100.5:443", 1, 900) }, "198.18.0.7:443", nil},
		{
			"another AS", context.New(context.Config{}, nil, loadOrigins{}), func(w *loads) { w.ask("10.10.10.10", "198.51.100.5:443", 1, 900) }, "203.0.113.7:443",
			[]string{"new_peer by 10.10.10.10 on 203.0.113.7:443"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newChangeLoads(t, c.networks)
			w.run(3900, func(int) {
				if w.second%30 == 0 {
					w.site.Baseline.Series(loadMeasureOf(serviceKey(addrOf("10.10.10.10"), 4, protoTCP, 443), 0), (loadStart+w.second)*1e9)
					w.reach("198.51.100.9", "10.10.10.10:443")
					c.usual(w)
					w.ask("10.10.10.77", "198.51.100.5:443", 1, 900)
				}
			})
			w.want()
			w.run(5, func(int) {
				w.ask("10.10.10.10", c.then, 1, 900)
				w.ask("10.10.10.77", "203.0.113.7:443", 1, 900) // a workstation
			})
			w.want(c.want...)
		})
	}
}

// TestChangeSilent: a service that always answered answers nobody; not one that restarts, is used now and then, or stands on a
// link that is dead.
func TestChangeSilent(t *testing.T) {
	steady := func(w *loads) { w.serve(loadWeb, 1); w.serve("10.10.10.11:22", 1); w.serve("10.10.10.12:53", 1) }
	for _, c := range []struct {
		name  string
		usual func(w *loads)
		then  func(w *loads, s int)
		worst int
		want  []string
	}{
		{"dead", steady, func(w *loads, _ int) { w.serve("10.10.10.11:22", 1); w.serve("10.10.10.12:53", 1) }, 30, []string{"silent_service on 10.10.10.10:443"}},
		{"asked", steady, func(w *loads, _ int) {
			w.serve("10.10.10.11:22", 1)
			w.serve("10.10.10.12:53", 1)
			w.service(loadWeb).SYN++
			w.service(loadWeb).Packets++
		}, 45, []string{"silent_service on 10.10.10.10:443"}},
		{"refusing", steady, func(w *loads, _ int) {
			w.serve("10.10.10.11:22", 1)
			w.serve("10.10.10.12:53", 1)
			s := w.service(loadWeb)
			s.SYN, s.Refused, s.Packets, s.BackPackets = 1, 1, 1, 1
		}, 45, []string{"silent_service on 10.10.10.10:443"}},
		{"a restart", steady, func(w *loads, s int) {
			w.serve("10.10.10.11:22", 1)
			w.serve("10.10.10.12:53", 1)
			if s%400 > 60 {
				w.serve(loadWeb, 1)
			}
		}, 0, nil},
		{"now and then", func(w *loads) {
			w.serve("10.10.10.11:22", 1)
			if w.second%45 == 0 {
				w.serve(loadWeb, 1)
			}
		}, func(w *loads, _ int) { w.serve("10.10.10.11:22", 1) }, 0, nil},
		{"all", steady, func(*loads, int) {}, 0, nil},
		{"most", steady, func(w *loads, _ int) { w.serve("10.10.10.12:53", 1) }, 0, nil},
		{
			"a host", func(w *loads) { steady(w); w.serve("10.10.10.10:22", 1); w.serve("10.10.10.10:80", 1) },
			func(w *loads, _ int) { w.serve("10.10.10.11:22", 1); w.serve("10.10.10.12:53", 1) }, 30,
			[]string{"silent_service on 10.10.10.10"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newChangeLoads(t, nil)
			w.run(900, func(int) { c.usual(w) })
			w.want()
			w.run(900, func(s int) { c.then(w, s) })
			w.want(c.want...)
			if w.worst() != c.worst {
				t.Errorf("score %d, want %d", w.worst(), c.worst)
			}
		})
	}
}

// TestChangeConfig: each setting that cannot be is refused.
func TestChangeConfig(t *testing.T) {
	for i, set := range []func(*ChangeConfig){
		func(c *ChangeConfig) { c.Learn = 0 },
		func(c *ChangeConfig) { c.Peers = 0 },
		func(c *ChangeConfig) { c.Silent = time.Second },
		func(c *ChangeConfig) { c.Quiet = 0 },
		func(c *ChangeConfig) { c.Services = 0 },
		func(c *ChangeConfig) { c.Hosts = 0 },
	} {
		cfg := DefaultChange()
		if set(&cfg); cfg.Check() == nil {
			t.Errorf("%d: accepted", i)
		}
	}
	if cfg := DefaultChange(); cfg.Check() != nil {
		t.Error(cfg.Check())
	}
}
