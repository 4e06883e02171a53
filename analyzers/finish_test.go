package analyzers

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// TestFinishTells: what comes within a second of a finding is told at the end of input, once, and by each analyzer.
func TestFinishTells(t *testing.T) {
	collect := func(out *[]Finding) func(*Finding) { return func(f *Finding) { *out = append(*out, *f) } }

	t.Run("scan", func(t *testing.T) {
		w := newWorld()
		for p := range uint16(400) {
			w.try(time.Duration(p)*time.Millisecond, "198.51.100.23", "10.20.0.10", 1+p, conn.ProbeSYN, conn.StageRefused)
		}
		a := NewScan(DefaultScan())
		var found []Finding
		for _, e := range w.epochs() {
			a.Judge(e, collect(&found))
		}
		if n := len(found); n != 1 || found[0].Count >= 400 {
			t.Fatalf("%d findings before the end: %+v", n, found)
		}
		a.Finish(collect(&found))
		a.Finish(collect(&found))
		if n := len(found); n != 2 || found[1].Count != 400 || !strings.Contains(found[1].Summary, "tried 400 ports of 10.20.0.10") {
			t.Errorf("%d findings: %+v", n, found)
		}
	})

	t.Run("arp", func(t *testing.T) {
		w := newWorld()
		for i := range 200 {
			w.try(time.Duration(i)*2*time.Millisecond, "10.20.0.66", fmt.Sprintf("10.20.0.%d", 20+i), 0, conn.ProbeARP, conn.StageOpened)
		}
		a := NewScan(DefaultScan())
		var found []Finding
		for _, e := range w.epochs() {
			a.Judge(e, collect(&found))
		}
		a.Finish(collect(&found))
		if n := len(found); n != 2 || found[1].Count != 200 {
			t.Errorf("%d findings: %+v", n, found)
		}
	})

	t.Run("fingerprint", func(t *testing.T) {
		a := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
		nmap := toolLabel(t, "nmap")
		found := judgeTools(a, toolEpoch(0, prober("198.51.100.23", nmap, 2, 2)), toolEpoch(3, prober("198.51.100.23", nmap, 5, 5)))
		a.Finish(collect(&found))
		a.Finish(collect(&found))
		if n := len(found); n != 2 || found[1].Count != 7 {
			t.Errorf("%d findings: %+v", n, found)
		}
	})

	t.Run("before any epoch", func(t *testing.T) {
		for _, a := range All(Defaults(), NewSite(nil, nil)) {
			a.Finish(func(f *Finding) { t.Errorf("%s: %+v", a.Name(), f) })
		}
	})
}

// TestScanTellsAfterPause: the same is told a second later, if nothing comes.
func TestScanTellsAfterPause(t *testing.T) {
	w := newWorld()
	for p := range uint16(400) {
		w.try(time.Duration(p)*time.Millisecond, "198.51.100.23", "10.20.0.10", 1+p, conn.ProbeSYN, conn.StageRefused)
	}
	a := NewScan(DefaultScan())
	var last Finding
	epochs := w.epochs()
	for _, e := range epochs {
		a.Judge(e, func(f *Finding) { last = *f })
	}
	end := epochs[len(epochs)-1].Tick
	for tick := end + 1; tick <= end+12; tick++ {
		a.Judge(&tally.Epoch{Tick: tick, SketchKey: 7}, func(f *Finding) { last = *f })
	}
	if last.Count != 400 {
		t.Errorf("the last finding tells %d of 400 contacts", last.Count)
	}
}

// TestFloodTail: the packets of a flood add up to all of them, whether it ends by itself or with the input.
func TestFloodTail(t *testing.T) {
	for _, c := range []struct {
		name        string
		ticks, idle int
	}{{"a pulse of 200 ms", 2, 0}, {"200 ms and a pause", 2, 12}, {"1.7 s", 17, 0}, {"1.7 s and a pause", 17, 12}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			for range c.ticks {
				r.syn("10.10.10.10", 80, 500, 0, 0)
				r.flow()
			}
			for range c.idle {
				r.flow()
			}
			r.flood.Finish(func(f *Finding) { r.found = append(r.found, *f) })
			var sum uint64
			for i := range r.found {
				sum += r.found[i].Count
			}
			if sum != uint64(500*c.ticks) {
				t.Errorf("%d handshakes in %d findings, want %d", sum, len(r.found), 500*c.ticks)
			}
			end := (floodStart + int64(c.ticks)) * tally.Tick
			if last := r.found[len(r.found)-1].Last; last < end-tally.Tick || last > end+int64(time.Second) {
				t.Errorf("the last evidence is %d ms after the end", (last-end)/1e6)
			}
		})
	}
}

// TestFloodOfOneSYN: the same SYN again and again opens one handshake and is a flood nevertheless; the clients of a dead
// server are none.
func TestFloodOfOneSYN(t *testing.T) {
	for _, c := range []struct {
		perTick int
		want    []string
	}{{700, []string{"syn 10.10.10.10:80"}}, {400, nil}} {
		r := newRiver(t)
		for i := range 20 {
			if i == 0 {
				r.syn("10.10.10.10", 80, 1, 1, 0)
			}
			r.ask("10.10.10.10", 80, protoTCP, c.perTick, 74, 1)
			r.flow()
		}
		r.want(c.want...)
	}
}

// TestScanOfOpenPortsAtOnce: 100 ports in two ticks, all open, half of them system ports. The samples hold 32 of them. A
// client with as many ports of one server that are high is none.
func TestScanOfOpenPortsAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		system int // of 100 ports
		found  bool
	}{{"half", 50, true}, {"client of a domain controller", 16, false}, {"one", 1, false}} {
		t.Run(c.name, func(t *testing.T) {
			found := 0
			const seeds = 20
			for seed := range seeds {
				w := newWorld()
				for i := range 100 {
					port := uint16(20000 + 100*seed + i) // in no order of kinds
					if (i*37)%100 < c.system {
						port = uint16(1 + (seed*37+i*7)%1000)
					}
					w.try(time.Duration(i)*2*time.Millisecond, "198.51.100.23", "10.20.0.10", port, conn.ProbeSYN, conn.StageAnswered)
				}
				a := NewScan(DefaultScan())
				hit := false
				for _, e := range w.epochs() {
					a.Judge(e, func(*Finding) { hit = true })
				}
				if hit {
					found++
				}
			}
			if c.found && found < seeds/2 || !c.found && found > 0 {
				t.Errorf("found %d of %d", found, seeds)
			}
		})
	}
}

// TestMonitorOfFourServices: a host that checks 122 hosts by echo and three ports, of which a quarter stay silent because the
// sensor lost the answers, does not fail on one port alone. Silence of the echoes is known when the answers of all
// are.
func TestMonitorOfFourServices(t *testing.T) {
	w := newWorld()
	for i := range 122 {
		for j, port := range []uint16{0, 22, 80, 9100} {
			probe, end := conn.ProbeSYN, conn.StageAnswered
			if port == 0 {
				probe = conn.ProbeEcho
			}
			if (i+j)%4 == 0 {
				end = conn.StageSilent
			}
			w.try(time.Duration(j)*time.Second+time.Duration(i)*8*time.Millisecond, "10.20.0.9", fmt.Sprintf("203.0.113.%d", 20+i), port, probe, end)
		}
	}
	a := NewScan(DefaultScan())
	for _, e := range w.epochs() {
		a.Judge(e, func(f *Finding) { t.Errorf("%s: %s", f.Kind, f.Summary) })
	}
}

// TestScannerKnownByWhatItTried: an administrator's host that is found with low severity by what it tried is judged by its
// failures when these suffice.
func TestScannerKnownByWhatItTried(t *testing.T) {
	w := newWorld()
	for i := range 120 { // 30 services on 40 hosts of its network, answered
		w.try(time.Duration(i)*50*time.Millisecond, "203.0.113.66", fmt.Sprintf("10.20.0.%d", 20+i%40), uint16(20+i%30), conn.ProbeSYN, conn.StageAnswered)
	}
	for i := range 60 {
		w.try(8*time.Second+time.Duration(i)*100*time.Millisecond, "203.0.113.66", "10.20.0.10", uint16(1000+i), conn.ProbeSYN, conn.StageRefused)
	}
	a := NewScan(DefaultScan())
	var story []string
	for _, e := range w.epochs() {
		a.Judge(e, func(f *Finding) {
			if s := fmt.Sprint(f.Kind, " ", f.Victim.Prefix, " ", min(f.Score, f.MaxScore) >= 50); len(story) == 0 || story[len(story)-1] != s {
				story = append(story, s)
			}
		})
	}
	if want := []string{"block 10.20.0.0/24 false", "vertical 10.20.0.10/32 true"}; !slices.Equal(story, want) {
		t.Errorf("got %q, want %q", story, want)
	}
}

// TestFrequent: with few ports the counts are exact, else a port of the majority stays known.
func TestFrequent(t *testing.T) {
	var few, many frequent
	for i := range uint32(400) {
		few.add(i % 4)
		if many.add(1000 + i); i%2 == 0 {
			many.add(22)
			many.add(22)
		}
	}
	for p := range uint32(4) {
		if n := few.count(p); n != 100 {
			t.Errorf("port %d: %d", p, n)
		}
	}
	if n := many.count(22); n < 400-800/5 || n > 400 {
		t.Errorf("the frequent port: %d of 400", n)
	}
	if n := many.count(7); n != 0 {
		t.Errorf("a port that was never added: %d", n)
	}
}

// TestOneWayDownloads: where the questions are not captured, all that servers send looks unasked.
func TestOneWayDownloads(t *testing.T) {
	r := newRiver(t)
	for range 50 {
		r.epoch.Link.VisibleOneWay = 50
		r.answers("10.10.10.10", 443, protoTCP, 500, 1500)
		r.flow()
	}
	r.want()
}

// TestBrokenIPv6: a browser without a way to the IPv6 internet tries sites of one content network, a /32, in vain; a scanner
// tries the hosts of one site.
func TestBrokenIPv6(t *testing.T) {
	for _, c := range []struct {
		dst    string
		medium bool
	}{{"2606:4700:%x::1", false}, {"2606:4700:7:%x::1", true}} {
		w := newWorld()
		for i := range 40 {
			w.try(time.Duration(i)*80*time.Millisecond, "fd00:20::50", fmt.Sprintf(c.dst, 0x3000+i*97), 443, conn.ProbeSYN, conn.StageSilent)
		}
		a := NewScan(DefaultScan())
		found, medium := 0, false
		for _, e := range w.epochs() {
			a.Judge(e, func(f *Finding) { found, medium = found+1, medium || min(f.Score, f.MaxScore) >= 50 })
		}
		if medium != c.medium || found == 0 {
			t.Errorf("%s: %d findings, medium %v", c.dst, found, medium)
		}
	}
}
