package analyzers

import (
	"strings"
	"testing"

	"weir/analyzers/tally"
)

const (
	small10 = "10.20.0.10"              // a small server
	warmUp  = 150 * int(ticksPerSecond) // it is warm after 120 s
)

// newSite gives a river's flood a site, which is told what is found as the judge tells it.
func newSiteRiver(t *testing.T) (*river, *Site) {
	r, site := newRiver(t), NewSite(nil, nil)
	r.flood = NewFlood(DefaultFlood(), site)
	return r, site
}

// live ends ticks, each filled, and tells the site what was found.
func (r *river) live(site *Site, ticks int, fill func(i int)) {
	for i := range ticks {
		fill(i)
		site.Begin((r.tick + 1) * tally.Tick)
		n := len(r.found)
		r.flow()
		for j := n; j < len(r.found); j++ {
			site.Alarm(&r.found[j])
		}
	}
}

// TestFloodBaseline: what is far above what a small server usually gets, and below each floor; and what looks like it.
func TestFloodBaseline(t *testing.T) {
	usual := func(r *river, i int) {
		if i%5 == 0 { // two handshakes a second, one in ten fails
			r.syn(small10, 80, 1, 1, map[bool]int{true: 0, false: 1}[i%50 == 0])
		}
		if i%2 == 0 {
			r.ask(small10, 53, protoUDP, 4, 80, 4) // 20 questions, answered
		}
	}
	for _, c := range []struct {
		name string
		want string // kind and victim
		then func(r *river, i int)
	}{
		{"200 half-open a second", "syn 10.20.0.10:80", func(r *river, i int) { usual(r, i); r.syn(small10, 80, 20, 20, 0) }},
		{"40 a second", "", func(r *river, i int) { usual(r, i); r.syn(small10, 80, 4, 4, 0) }},
		{"a server that is down", "", func(r *river, i int) { r.syn(small10, 80, 20, 0, 0) }},
		{"a crowd that is served", "", func(r *river, i int) { r.syn(small10, 80, 20, 20, 18) }},
		{"one second", "", func(r *river, i int) {
			if usual(r, i); i < 10 {
				r.syn(small10, 80, 30, 30, 0)
			}
		}},
		{"UDP that nobody answers", "udp 10.20.0.10", func(r *river, i int) { usual(r, i); r.ask(small10, 9999, protoUDP, 200, 80, 0) }},
		{"a name server that is down", "", func(r *river, i int) { r.ask(small10, 53, protoUDP, 6, 80, 0) }},
		{"pings", "icmp 10.20.0.10", func(r *river, i int) { usual(r, i); r.ask(small10, 0, protoICMP, 150, 80, 150) }},
		{"strays", "ack 10.20.0.10", func(r *river, i int) {
			usual(r, i)
			r.to(small10, 80, protoTCP).StrayACK += 150
		}},
		{"a slow scan of a thousand ports", "", func(r *river, i int) {
			usual(r, i)
			for p := range uint16(12) {
				r.syn(small10, 1000+uint16(i%80)*12+p, 1, 0, 0)
				r.ask(small10, 1000+uint16(i%80)*12+p, protoUDP, 8, 40, 0)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, site := newSiteRiver(t)
			r.live(site, warmUp, func(i int) { usual(r, i) })
			if len(r.found) > 0 {
				t.Fatal(r.found[0].Summary)
			}
			r.live(site, 100, func(i int) { c.then(r, i) })
			r.flood.Finish(func(f *Finding) { r.found = append(r.found, *f) })
			for i := range r.found {
				f := &r.found[i]
				if got := f.Kind + " " + victimText(&f.Victim); got != c.want {
					t.Errorf("%s, want %q", f.Summary, c.want)
				}
				if f.Score < 50 || f.Score > unusualCap || f.MaxScore != unusualCap || f.Why[0].Baseline == nil || f.Count == 0 || f.First >= f.Last {
					t.Errorf("%+v", f)
				}
			}
			if c.want != "" && (len(r.found) < 5 || r.ticks[0] > int64(warmUp)+40) {
				t.Errorf("%d findings, ticks %v", len(r.found), r.ticks)
			}
		})
	}
}

// TestFloodBaselineFloor: above the floor the floor speaks alone; and what is alarmed is not learned.
func TestFloodBaselineFloor(t *testing.T) {
	r, site := newSiteRiver(t)
	usual := func(int) { r.syn(small10, 80, 1, 1, 1) }
	r.live(site, warmUp, usual)
	r.live(site, 100, func(i int) { usual(i); r.syn(small10, 80, 80, 80, 0) })
	for i := range r.found {
		if f := &r.found[i]; f.MaxScore == unusualCap || !strings.Contains(f.Summary, "floor 500") {
			t.Errorf("%s", f.Summary)
		}
	}
	if len(r.found) == 0 {
		t.Fatal("nothing found")
	}
	r.live(site, 400, usual)
	r.found, r.ticks = nil, nil
	r.live(site, 3000, func(i int) { usual(i); r.syn(small10, 80, 20, 20, 0) }) // five minutes of it
	if n := len(r.found); n < 290 {
		t.Errorf("told in %d seconds of 300", n)
	}
}

// TestFloodBaselineBounds: no series for what a scan touches, nor for who does not serve.
func TestFloodBaselineBounds(t *testing.T) {
	r, site := newSiteRiver(t)
	r.live(site, 200, func(i int) {
		for p := range uint16(100) {
			r.syn(small10, uint16(i)*100+p+1, 1, 0, 0)
		}
	})
	if n := site.Baseline.Sizes()[0].N; n > 4 {
		t.Errorf("%d series", n)
	}
}
