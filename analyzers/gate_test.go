package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// dropped is what one drop was hit by.
func dropped(kind, source, victim string, port uint16, packets uint64) tally.Gate {
	var g tally.Gate
	d := tally.GateDrop{ID: "d", Alert: "a", Kind: kind, Packets: packets, Bytes: 60 * packets, Last: 1}
	if source != "" {
		d.Source = netip.MustParsePrefix(source)
	}
	if victim != "" {
		d.Victim, d.Port, d.Proto = netip.MustParsePrefix(victim), port, protoTCP
	}
	if port == 0 {
		d.Proto = 0
	}
	g.Add(d)
	g.Settle()
	return g
}

// TestFloodUnderGate: a flood that comes back is the one that ran if a gate dropped it for its own alert meanwhile, and a new one if
// that was for something else, or for nobody.
func TestFloodUnderGate(t *testing.T) {
	const service, prefix = host + "/32", "10.10.10.0/24"
	for _, c := range []struct {
		name string
		gate tally.Gate
		same bool
	}{
		{"service", dropped("flood.syn", "", service, 80, 9), true},
		{"by source", dropped("flood.syn", "192.0.2.1/32", service, 80, 9), true},
		{"its host", dropped("flood.syn", "", service, 0, 9), true},
		{"its prefix", dropped("flood.syn", "", prefix, 0, 9), true},
		{"nothing", tally.Gate{}, false},
		{"drop without hits", dropped("flood.syn", "", service, 80, 0), false},
		{"flood of another kind", dropped("flood.udp", "", service, 80, 9), false},
		{"scan", dropped("scan.vertical", "192.0.2.1/32", service, 0, 9), false},
		{"alert that is closed", dropped("", "", service, 80, 9), false},
		{"another service", dropped("flood.syn", "", service, 443, 9), false},
		{"another host", dropped("flood.syn", "", "10.10.10.11/32", 80, 9), false},
		{"half the world", dropped("flood.syn", "", "0.0.0.0/1", 0, 9), false},
		{"in the shadow", func() tally.Gate {
			g := dropped("flood.syn", "", service, 80, 9)
			g.Drops[0].Shadow = true
			return g
		}(), false},
	} {
		r := newRiver(t)
		flood := func(int) { r.syn(host, 80, 200, 0, 0) }
		r.run(10, flood)
		r.run(600, func(i int) {
			r.syn("10.20.0.1", 80, 50, 50, 50) // others' traffic
			if i%20 == 0 {
				r.epoch.Gate = c.gate
			}
		})
		again := r.tick
		r.run(10, flood)
		r.want("syn " + host + ":80")
		first, last := r.found[0].First, r.found[len(r.found)-1].First
		if same := first == last; same != c.same || !same && last < again*tally.Tick {
			t.Errorf("%s: began at %d, then at %d", c.name, first, last)
		}
	}
}

// TestGateIsNoEvidence: whatever a gate counted or sampled, no floor is crossed by it, and no scan found.
func TestGateIsNoEvidence(t *testing.T) {
	r, scan := newRiver(t), NewScan(DefaultScan())
	r.run(100, func(i int) {
		g := dropped("flood.syn", "192.0.2.1/32", host+"/32", 80, 1e9)
		for port := range uint16(1000) {
			g.Services = append(g.Services, tally.GateService{
				Key: tally.ServiceKey{Addr: addrOf(host), Ver: 4, Port: port, Proto: protoUDP}, SampledPackets: 1e9, SampledBytes: 1e12,
			})
		}
		g.Settle()
		r.epoch.Gate = g
		r.syn(host, 80, 10, 10, 10)
		e := *r.epoch
		e.Tick = r.tick
		scan.Judge(&e, func(f *Finding) { t.Errorf("%+v", f) })
	})
	r.want()
}

// TestBaselinesUnderGate: where a gate cuts a victim's clients, too, what is left is not learned: neither headers nor the mean of
// the SYN-ACKs. Drops by source leave the rest as it is, and it is learned.
func TestBaselinesUnderGate(t *testing.T) {
	const ticks = 300
	for _, c := range []struct {
		name  string
		gate  tally.Gate
		learn bool
	}{
		{"service", dropped("flood.syn", "", host+"/32", 80, 9), false},
		{"by source", dropped("flood.syn", "192.0.2.1/32", host+"/32", 80, 9), true},
		{"none", tally.Gate{}, true},
	} {
		r := newRiver(t)
		serve := func(n int) func(int) {
			return func(i int) {
				r.syn(host, 80, n, n, n)
				r.epoch.Normals = []tally.Header{{Dst: addrOf(host), Ver: 4, DstPort: 80, Proto: protoTCP, Rank: r.random.Uint64()}}
				if i%30 == 29 {
					r.epoch.Gate = c.gate
				}
			}
		}
		r.run(ticks, func(i int) { serve(50)(0) })
		mean, heads := r.flood.services.known[0].cusum.mean, r.flood.normal.hosts[0].seen
		r.epoch.Gate = c.gate
		r.run(ticks, serve(5)) // a tenth passes
		after, now := r.flood.services.known[0].cusum.mean, r.flood.normal.hosts[0].seen
		if kept := math.Abs(after-mean) < mean/100; kept == c.learn {
			t.Errorf("%s: mean %.1f, then %.1f", c.name, mean, after)
		}
		if learned := now > heads; heads != ticks || learned != c.learn {
			t.Errorf("%s: %d headers, then %d", c.name, heads, now)
		}
	}
}

// TestScanUnderGate: a scan that comes back after its source was dropped for it is the one that was named, not another.
func TestScanUnderGate(t *testing.T) {
	const source = "203.0.113.9"
	for _, c := range []struct {
		gate tally.Gate
		same bool
	}{
		{dropped("scan.vertical", source+"/32", "", 0, 9), true},
		{dropped("flood.syn", source+"/32", "", 0, 9), false},
		{dropped("scan.vertical", "203.0.113.8/32", "", 0, 9), false},
		{tally.Gate{}, false},
	} {
		w, a := newWorld(), NewScan(DefaultScan())
		const pause = 20 * time.Minute
		for i := range 60 {
			w.try(time.Duration(i)*10*time.Millisecond, source, host, uint16(1+i), conn.ProbeSYN, conn.StageRefused)
			w.try(pause+time.Duration(i)*10*time.Millisecond, source, host, uint16(1001+i), conn.ProbeSYN, conn.StageRefused)
		}
		var found []Finding
		judge := func(e *tally.Epoch) { a.Judge(e, func(f *Finding) { found = append(found, *f) }) }
		for _, e := range w.epochs() {
			if e.Start() >= worldStart+int64(pause) && a.e.Start() < worldStart+int64(pause)-10e9 {
				for at := a.e.Tick + 10; at < e.Tick; at += 20 {
					judge(&tally.Epoch{Tick: at, SketchKey: 7, Gate: c.gate})
				}
			}
			judge(e)
		}
		if len(found) < 2 {
			t.Fatalf("%d findings", len(found))
		}
		first, last := &found[0], &found[len(found)-1]
		if same := first.First == last.First; same != c.same {
			t.Errorf("%v: began at %d, then at %d", c.gate.Drops, first.First-worldStart, last.First-worldStart)
		}
		if want := fmt.Sprint(first.Kind, first.Subject, first.Victim); fmt.Sprint(last.Kind, last.Subject, last.Victim) != want {
			t.Errorf("%+v, want %s", last, want)
		}
	}
}
