package main

import (
	"bytes"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/analyzers"
	"weir/sensor/alert"
)

// TestKnobs: each is a setting that there is, its least is one that may be, and the default is not below it; its kinds and measures
// are explained.
func TestKnobs(t *testing.T) {
	seen := map[string]string{}
	for i := range knobs {
		k := &knobs[i]
		settings := analyzers.Defaults()
		if !k.place(&settings).IsValid() {
			t.Errorf("there is no setting %s", k.path)
			continue
		}
		if now := k.get(&settings); now < k.least {
			t.Errorf("%s: the default %v is below the least %v", k.path, now, k.least)
		}
		k.set(&settings, k.least)
		if err := settings.Check(); err != nil || k.get(&settings) != k.least {
			t.Errorf("%s cannot be its least %v, it is %v: %v", k.path, k.least, k.get(&settings), err)
		}
		if len(k.why) < 10 || len(k.of) == 0 {
			t.Errorf("%s: %q argues nothing", k.path, k.why)
		}
		for _, of := range k.of {
			name, measure, _ := strings.Cut(of, " ")
			analyzer, kind, _ := strings.Cut(name, ".")
			if _, ok := meaningOf(analyzer, kind, measure); !ok || alertKinds[name].words == "" {
				t.Errorf("%s: nobody tells %s", k.path, of)
			}
			if seen[of] != "" {
				t.Errorf("%s is of %s and of %s", of, seen[of], k.path)
			}
			seen[of] = k.path
		}
	}
}

// findingOf is one of a measure.
func findingOf(kind, measure string, at time.Duration, value, threshold float64, victim string) *analyzers.Finding {
	analyzer, kind, _ := strings.Cut(kind, ".")
	return &analyzers.Finding{
		Analyzer: analyzer, Kind: kind, Time: int64(at), Quiet: 30e9, Victim: analyzers.Party{Prefix: netip.MustParsePrefix(victim), Port: 80, Proto: 6},
		Why: []analyzers.Measure{{Name: measure, Value: value, Threshold: threshold}},
	}
}

// tuned proposes from findings over a time.
func tuned(cmd tuneCmd, length time.Duration, change func(*analyzers.Config), findings ...*analyzers.Finding) *tuning {
	o := &tuning{cmd: &cmd, now: defaults()}
	if change != nil {
		change(&o.now.Analyzers)
	}
	o.begin()
	o.watched.tick(1)
	o.watched.last = 1 + int64(length)
	for _, f := range findings {
		o.hear(f)
	}
	o.propose()
	return o
}

func (t *tuning) of(path string) *tuningOf {
	return t.all[slices.IndexFunc(t.all, func(o *tuningOf) bool { return o.path == path })]
}

// TestTunePropose: what is proposed of what was heard; 1 h is less than a day.
func TestTunePropose(t *testing.T) {
	syn := func(at time.Duration, value float64) *analyzers.Finding {
		return findingOf("flood.syn", "half_open", at, value, 100, "10.0.0.5/32")
	}
	strict := func(c *analyzers.Config) { c.Flood.SYNPerSecond = 60 } // below the least
	for _, c := range []struct {
		name    string
		cmd     tuneCmd
		length  time.Duration
		change  func(*analyzers.Config)
		path    string
		heard   []*analyzers.Finding
		want    float64
		because string
	}{
		{"an alert in an hour", tuneCmd{Margin: 2}, time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 700), syn(2e9, 717)}, 1500, "2 times the highest"},
		{"the margin", tuneCmd{Margin: 3}, time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 717)}, 2200, "3 times the highest"},
		{"close to the setting", tuneCmd{Margin: 2}, time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 450)}, 900, "2 times the highest"},
		{"well below it", tuneCmd{Margin: 2}, time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 300)}, 500, "stays"},
		{"more than tenfold", tuneCmd{Margin: 2}, 48 * time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 9000)}, 500, "stays: 18000 would be more than 10 times as much; look whether that is normal"},
		{"quiet for an hour", tuneCmd{Margin: 2}, time.Hour, nil, "flood.syn_per_second", nil, 500, "stays: less than a day of traffic lowers nothing"},
		{"quiet for a day", tuneCmd{Margin: 2}, 24 * time.Hour, nil, "flood.syn_per_second", nil, 100, "the least that makes sense: a backlog"},
		{"low for a day", tuneCmd{Margin: 2}, 24 * time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 120)}, 240, "2 times the highest"},
		{"set below the least", tuneCmd{Margin: 2}, 24 * time.Hour, strict, "flood.syn_per_second", nil, 60, "stays"},
		{"one a day is left be", tuneCmd{Margin: 2, Accept: 1}, 24 * time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{
			syn(1e9, 3000), findingOf("flood.syn", "half_open", 2e9, 400, 100, "10.0.0.6/32"),
		}, 800, "2 times the highest"},
		{"the same twice is two", tuneCmd{Margin: 2, Accept: 1}, 24 * time.Hour, nil, "flood.syn_per_second", []*analyzers.Finding{syn(1e9, 3000), syn(60e9, 2000)}, 500, "stays: 6000"},
		{"of several kinds", tuneCmd{Margin: 2}, time.Hour, nil, "flood.packets_per_second", []*analyzers.Finding{findingOf("flood.multi", "udp_packets", 1e9, 6000, 2000, "10.0.0.5/32")}, 12000, "2 times"},
		{"a one-way port has ten times the floor", tuneCmd{Margin: 2}, time.Hour, nil, "flood.packets_per_second", []*analyzers.Finding{findingOf("flood.udp", "packets", 1e9, 25000, 20000, "10.0.0.5/32")}, 5000, "stays"},
		{"a prefix has five times the floor", tuneCmd{Margin: 2}, time.Hour, nil, "rate.packets_per_second", []*analyzers.Finding{findingOf("rate.spike", "packets", 1e9, 10000, 2500, "10.0.0.0/24")}, 4000, "2 times"},
		{"what cannot be", tuneCmd{Margin: 2}, time.Hour, nil, "scan.hosts", []*analyzers.Finding{findingOf("scan.horizontal", "distinct_hosts", 1e9, 90, 15, "10.0.0.0/24")}, 25, "stays: 180 cannot be (scan: hosts and ports must be from 10 to 100)"},
		{"a measure that did not decide", tuneCmd{Margin: 2}, time.Hour, nil, "scan.hosts", []*analyzers.Finding{findingOf("scan.horizontal", "distinct_hosts", 1e9, 90, 0, "10.0.0.0/24")}, 25, "stays: less than a day"},
	} {
		o := tuned(c.cmd, c.length, c.change, c.heard...)
		one := o.of(c.path)
		if one.proposed != c.want || one.get(&o.next.Analyzers) != c.want || !strings.HasPrefix(one.reason, c.because) {
			t.Errorf("%s: %v (%v), %q; want %v, %q", c.name, one.proposed, one.get(&o.next.Analyzers), one.reason, c.want, c.because)
		}
	}
}

// TestTuneLatency: durations, above the mean.
func TestTuneLatency(t *testing.T) {
	f := findingOf("latency.rtt", "handshake", 1e9, 80, 40, "10.0.0.5/32")
	f.Why[0].Baseline = &analyzers.Baseline{Mean: 20, Stddev: 1, N: 100}
	o := tuned(tuneCmd{Margin: 2}, time.Hour, nil, f)
	if o.next.Analyzers.Latency.RTT != 120*time.Millisecond { // twice the 60 ms above the mean
		t.Errorf("rtt is %v", o.next.Analyzers.Latency.RTT)
	}
}

// TestTuneYAML: the proposal is a configuration whose settings are those proposed, whatever changes.
func TestTuneYAML(t *testing.T) {
	for name, o := range map[string]*tuning{
		"nothing": tuned(tuneCmd{Margin: 2}, time.Hour, nil),
		"one":     tuned(tuneCmd{Margin: 2}, time.Hour, nil, findingOf("flood.syn", "half_open", 1e9, 717, 100, "10.0.0.5/32")),
		"all":     tuned(tuneCmd{Margin: 2}, 30*24*time.Hour, nil),
	} {
		o.before, o.after = map[string]int{"flood.syn": 3, "fingerprint.tool": 1}, map[string]int{"fingerprint.tool": 1}
		var b bytes.Buffer
		if err := o.write(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "tuned.yaml")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		read, err := readConfig(path)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, &b)
			continue
		}
		for _, one := range o.all {
			if got := one.get(&read.Analyzers); math.Abs(got-one.proposed) > 1e-6*one.proposed {
				t.Errorf("%s: %s is read as %v, proposed was %v", name, one.path, got, one.proposed)
			}
		}
		if !strings.Contains(b.String(), "\n#   fingerprint.tool: ") {
			t.Errorf("%s: what is left is not told:\n%s", name, &b)
		}
	}
}

// TestRoundUp: two digits, never below.
func TestRoundUp(t *testing.T) {
	settings := analyzers.Defaults()
	whole, share := &knobs[2], &knobs[slices.IndexFunc(knobs, func(k knob) bool { return k.path == "dns.rate" })]
	for _, c := range []struct {
		k        *knob
		in, want float64
	}{{whole, 1434, 1500}, {whole, 1400, 1400}, {whole, 7, 7}, {whole, 7.2, 8}, {whole, 100.5, 110}, {whole, 123456789, 130000000}, {share, 1.234, 1.3}, {share, 0.61, 0.61}, {share, 0.0612, 0.062}, {share, 0, 0}} {
		if got := c.k.roundUp(&settings, c.in); got != c.want {
			t.Errorf("%s: %v is rounded to %v, want %v", c.k.path, c.in, got, c.want)
		}
	}
}

// TestWatched: the time between captures of different days does not count.
func TestWatched(t *testing.T) {
	var w watched
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC).UnixNano()
	for range 3 {
		for i := range 31 {
			w.tick(at + int64(i)*int64(time.Minute))
		}
		at += int64(24 * time.Hour)
	}
	if w.length() != 90*time.Minute || w.perDay(3) != 48 {
		t.Errorf("%v, %v a day", w.length(), w.perDay(3))
	}
}

// TestDiffAlerts: stories pair where their times overlap, and only once.
func TestDiffAlerts(t *testing.T) {
	one := func(first, last int64, s alert.Severity) story {
		return story{&alert.Alert{
			Analyzer: "scan", Kind: "vertical", Severity: s, First: alert.Time(first), Last: alert.Time(last), Time: alert.Time(last + 5),
			Subject: &alert.Party{IP: netip.MustParseAddr("192.0.2.7")},
		}, alert.Time(first + 1)}
	}
	for _, c := range []struct {
		a, b []story
		want string
	}{
		{[]story{one(10, 20, alert.Medium)}, []story{one(12, 20, alert.Medium)}, ""},
		{[]story{one(10, 20, alert.Medium)}, []story{one(12, 20, alert.Low)}, "changed"},
		{[]story{one(10, 20, alert.Medium)}, []story{one(26, 30, alert.Medium)}, "lost gained"},
		{[]story{one(10, 20, alert.Medium), one(30, 40, alert.Medium)}, []story{one(10, 40, alert.Medium)}, "lost"},
		{nil, []story{one(10, 20, alert.Medium), one(30, 40, alert.Medium)}, "gained gained"},
	} {
		var got []string
		for _, d := range diffAlerts(c.a, c.b) {
			got = append(got, d.Change)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v against %v: %v, want %q", c.a, c.b, got, c.want)
		}
	}
}
