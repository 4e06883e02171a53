package analyzers

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// TestReconfigureEach changes every setting by itself: the analyzer then has what a new one would have, or the setting is
// named and the analyzer is as it was.
func TestReconfigureEach(t *testing.T) {
	sizes := []string{ // as deploy/weir.yaml writes them
		"analyzers.scan.sources", "analyzers.flood.max_victims", "analyzers.flood.max_normals", "analyzers.fingerprint.sources",
		"analyzers.fingerprint.prints", "analyzers.fingerprint.services",
		"analyzers.bruteforce.pairs", "analyzers.bruteforce.services", "analyzers.http.clients", "analyzers.http.services",
		"analyzers.weird.cases", "analyzers.weird.addresses",
		"analyzers.dns.domains", "analyzers.tunnel.pairs", "analyzers.exfil.pairs", "analyzers.beacon.pairs",
		"analyzers.rate.keys", "analyzers.rate.pairs", "analyzers.rate.alarms", "analyzers.rate.hours", "analyzers.change.hosts",
		"analyzers.latency.keys", "analyzers.latency.alarms",
	}
	var named []string
	section := reflect.TypeFor[Config]()
	for i := range section.NumField() {
		for j := range section.Field(i).Type.NumField() {
			name := "analyzers." + section.Field(i).Tag.Get("yaml") + "." + section.Field(i).Type.Field(j).Tag.Get("yaml")
			t.Run(name, func(t *testing.T) {
				cfg := small()
				other(t, reflect.ValueOf(&cfg).Elem().Field(i).Field(j))
				if err := cfg.Check(); err != nil {
					t.Fatal(err)
				}
				running := All(small(), NewSite(nil, nil))
				restart := Reconfigure(running, cfg)
				want := All(cfg, NewSite(nil, nil))
				if slices.Contains(sizes, name) {
					want = All(small(), NewSite(nil, nil))
					named = append(named, restart...)
				} else if len(restart) > 0 {
					t.Errorf("%v need a restart", restart)
				}
				for k := range running {
					if !reflect.DeepEqual(running[k], want[k]) {
						t.Errorf("%s is not as one made with these settings", running[k].Name())
					}
				}
			})
		}
	}
	if !slices.Equal(named, sizes) {
		t.Errorf("need a restart: %v, want %v", named, sizes)
	}
	if restart := Reconfigure(All(Defaults(), NewSite(nil, nil)), Defaults()); len(restart) > 0 {
		t.Errorf("nothing differs, and %v need a restart", restart)
	}
}

// small are the defaults with tables that are quick to compare.
func small() Config {
	cfg := Defaults()
	cfg.Scan.Sources, cfg.Fingerprint.Sources, cfg.Fingerprint.Prints, cfg.Fingerprint.Services = 64, 64, 64, 64
	cfg.Bruteforce.Pairs, cfg.Bruteforce.Services, cfg.HTTP.Clients, cfg.HTTP.Services = 64, 64, 64, 64
	cfg.DNS.Domains, cfg.Tunnel.Pairs, cfg.Exfil.Pairs, cfg.Beacon.Pairs = 64, 64, 64, 64
	cfg.Weird.Cases, cfg.Weird.Addresses = 64, 64
	return cfg
}

// other changes a setting to one that Check accepts, too.
func other(t *testing.T, v reflect.Value) {
	t.Helper()
	switch x := v.Addr().Interface().(type) {
	case *float64:
		*x *= 0.9
	case *int:
		*x *= 2
	case *uint64:
		*x -= *x / 10
	case *time.Duration:
		*x += 10 * time.Second
	case *[]string:
		*x = append(*x, "192.0.2.1:22")
	case *[]netip.Addr:
		*x = append(*x, netip.MustParseAddr("192.0.2.1"))
	case *[]uint16:
		*x = append((*x)[1:len(*x):len(*x)], 999)
	default:
		t.Fatalf("%T: this test does not know how to change it", x)
	}
}

// reconfigured changes one analyzer's settings while it runs.
func reconfigured(t *testing.T, a Analyzer, change func(*Config)) {
	t.Helper()
	cfg := Defaults()
	change(&cfg)
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	if restart := Reconfigure([]Analyzer{a}, cfg); len(restart) > 0 {
		t.Fatalf("%v need a restart", restart)
	}
}

// TestReconfigureFlood runs a flood at 60 % of a floor, which is then halved: it is found at the next tick, once, and goes on
// as the same alert when the floor moves again.
func TestReconfigureFlood(t *testing.T) {
	for _, c := range []struct {
		name  string
		want  string
		floor func(*FloodConfig) *uint64
		add   func(r *river)
	}{
		{"syn", "syn 10.10.10.10:80", func(c *FloodConfig) *uint64 { return &c.SYNPerSecond }, func(r *river) { r.syn(host, 80, 30, 0, 0) }},
		{"udp", "udp 10.10.10.10:9", func(c *FloodConfig) *uint64 { return &c.PacketsPerSecond }, func(r *river) { r.ask(host, 9, protoUDP, 300, 100, 0) }},
		{"udp bits", "udp 10.10.10.10:9", func(c *FloodConfig) *uint64 { return &c.BitsPerSecond }, func(r *river) { r.ask(host, 9, protoUDP, 75, 10000, 0) }},
		{"amplification", "amplification 10.10.10.10", func(c *FloodConfig) *uint64 { return &c.AmplificationPerSecond }, func(r *river) {
			r.answers(host, 53, protoUDP, 18, 400)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			r.run(30, func(int) { c.add(r) })
			r.want()
			reconfigured(t, r.flood, func(cfg *Config) { *c.floor(&cfg.Flood) /= 2 })
			r.run(25, func(int) { c.add(r) })
			r.want(c.want)
			if len(r.ticks) == 0 || r.ticks[0] != 30 {
				t.Fatalf("found in ticks %v, want 30 first: the window of the last second was lost", r.ticks)
			}
			if len(r.found) > 3 {
				t.Errorf("%d findings within 2.5 s, want one a second", len(r.found))
			}
			first := r.found[0].First
			for _, percent := range []uint64{40, 55} {
				reconfigured(t, r.flood, func(cfg *Config) { *c.floor(&cfg.Flood) = *c.floor(&cfg.Flood) * percent / 100 })
				r.run(10, func(int) { c.add(r) })
			}
			r.want(c.want)
			if last := r.found[len(r.found)-1]; last.First != first {
				t.Errorf("the last finding begins at %d, the first at %d: one flood", last.First, first)
			}
			found := len(r.found)
			reconfigured(t, r.flood, func(*Config) {}) // the old floor
			r.run(50, func(int) { c.add(r) })
			if more := len(r.found) - found; more > 1 { // the tail of what was told
				t.Errorf("%d findings below the floor", more)
			}
		})
	}
}

// TestReconfigureFloodPorts makes a port a reflector's while its answers come.
func TestReconfigureFloodPorts(t *testing.T) {
	r := newRiver(t)
	flow := func(int) { r.answers(host, 7777, protoUDP, 40, 400) }
	r.run(30, flow)
	r.want()
	reconfigured(t, r.flood, func(cfg *Config) { cfg.Flood.AmplificationPorts = []uint16{7777} })
	r.run(20, flow)
	r.want("amplification " + host)
}

// TestReconfigureScan lets a source fail five times, fewer than the nine that the defaults need; with the threshold of four
// that P_F = 0.01 gives, its next failure names it, with all six: its walk was kept.
func TestReconfigureScan(t *testing.T) {
	const before, after = 5, 20
	w := newWorld()
	for i := range before + after {
		w.try(time.Duration(i)*10*time.Second, scanner, fmt.Sprintf("10.1.2.%d", i+1), 22, syn, refused)
	}
	epochs := w.epochs()
	cut := slices.IndexFunc(epochs, func(e *tally.Epoch) bool { return e.Start() > worldStart+int64(before*10-5)*1e9 })
	a := NewScan(DefaultScan())
	if got := judgeAll(a, epochs[:cut]); len(got) > 0 {
		t.Fatalf("found before: %s", got[0].Summary)
	}
	reconfigured(t, a, func(cfg *Config) { cfg.Scan.FalseAlarm = 0.01 })
	got := judgeAll(a, epochs[cut:])
	if len(got) == 0 || int(got[0].measure("failed_contacts")) != before+1 {
		t.Fatalf("%d findings, want the first after %d failures", len(got), before+1)
	}
	for _, f := range got {
		if f.Kind != got[0].Kind || f.Subject != got[0].Subject || f.Victim != got[0].Victim {
			t.Errorf("a second alert: %s", f.Summary)
		}
	}

	// Back to the defaults in the middle: the scan goes on as the one that it was.
	again := NewScan(ScanConfig{
		Benign: 0.8, Scanner: 0.2, Detect: 0.99, FalseAlarm: 0.01, Hosts: 25, Ports: 25, Window: 5 * time.Minute, Keep: 4 * time.Hour, Sources: 65536,
	})
	first := judgeAll(again, epochs[:cut])
	reconfigured(t, again, func(*Config) {})
	rest := judgeAll(again, epochs[cut:])
	if len(first) == 0 || len(rest) < after {
		t.Fatalf("%d findings and then %d, want one for each failure from the fourth on", len(first), len(rest))
	}
	for _, f := range rest {
		if f.Kind != first[0].Kind || f.Victim != first[0].Victim || f.First != first[0].First {
			t.Errorf("another alert: %s", f.Summary)
		}
	}
}

// TestReconfigureScanHosts lowers a limit of fan-out.
func TestReconfigureScanHosts(t *testing.T) {
	w := newWorld()
	for i := range 40 { // marked and answered: the test of marked hosts alone
		w.try(time.Duration(i)*time.Second, scanner, fmt.Sprintf("10.1.2.%d", i+1), 443, syn, ok, conn.MarkZMap)
	}
	epochs := w.epochs()
	cut := slices.IndexFunc(epochs, func(e *tally.Epoch) bool { return e.Start() >= worldStart+14.5e9 })
	a := NewScan(DefaultScan())
	if got := judgeAll(a, epochs[:cut]); len(got) > 0 {
		t.Fatalf("found before: %s", got[0].Summary)
	}
	reconfigured(t, a, func(cfg *Config) { cfg.Scan.Hosts = 12 })
	got := judgeAll(a, epochs[cut:])
	if len(got) == 0 || got[0].Time > worldStart+16e9 || int(got[0].measure("distinct_hosts")) != 15 { // the filter of single contacts kept one
		t.Fatalf("%d findings, want the first at the sixteenth host", len(got))
	}
}

// TestReconfigureFingerprint names a source at its next SYN once fewer are enough.
func TestReconfigureFingerprint(t *testing.T) {
	nmap := toolLabel(t, "nmap")
	cfg := DefaultFingerprint()
	cfg.Attempts = 10
	a := NewFingerprint(cfg, NewSite(nil, nil))
	for tick := range int64(4) {
		if got := judgeTools(a, toolEpoch(20*tick, prober("198.51.100.23", nmap, 1, 1))); len(got) > 0 {
			t.Fatal("found before")
		}
	}
	reconfigured(t, a, func(cfg *Config) { cfg.Fingerprint.Attempts = 5 })
	got := judgeTools(a, toolEpoch(80, prober("198.51.100.23", nmap, 1, 1)))
	if len(got) != 1 || got[0].Count != 5 {
		t.Errorf("want one finding with all five SYNs: %+v", got)
	}
	reconfigured(t, a, func(cfg *Config) { cfg.Fingerprint.Attempts = 4 })
	if got := judgeTools(a, toolEpoch(81)); len(got) != 0 {
		t.Errorf("told again without news: %+v", got)
	}
}
