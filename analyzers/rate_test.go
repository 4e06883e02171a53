package analyzers

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
)

// loadStart is the second at which hand-made load begins: a Monday, 00:00 UTC.
const loadStart = int64(1_704_067_200)

// loads makes epochs of load by hand, one a second, and has them judged as the engine does.
type loads struct {
	t        *testing.T
	site     *Site
	analyzer Analyzer
	second   int64 // since loadStart
	epoch    tally.Epoch
	found    []Finding
	at       []int64 // seconds of found
	random   *rand.Rand
}

func newLoads(t *testing.T, networks *context.Networks, analyzer func(*Site) Analyzer) *loads {
	site := NewSite(networks, nil)
	return &loads{t: t, site: site, analyzer: analyzer(site), random: rand.New(rand.NewPCG(3, 4))}
}

func newRateLoads(t *testing.T) *loads {
	return newLoads(t, nil, func(s *Site) Analyzer { return NewRate(DefaultRate(), s) })
}

// service is the entry of an inside or outside service in this second.
func (w *loads) service(server string) *tally.Service {
	addr := netip.MustParseAddrPort(server)
	k := tally.ServiceKey{Addr: addrOf(addr.Addr().String()), Ver: verOf(addr.Addr().String()), Port: addr.Port(), Proto: protoTCP}
	for i := range w.epoch.Services {
		if w.epoch.Services[i].Key == k {
			return &w.epoch.Services[i]
		}
	}
	w.epoch.Services = append(w.epoch.Services, tally.Service{Key: k})
	return &w.epoch.Services[len(w.epoch.Services)-1]
}

// serve adds completed connections of ten packets and 5 kB each.
func (w *loads) serve(server string, connections int) {
	s := w.service(server)
	n := uint64(connections)
	s.SYN, s.SYNACK, s.Proven = s.SYN+uint32(n), s.SYNACK+uint32(n), s.Proven+uint32(n)
	s.Packets, s.BackPackets, s.Bytes, s.BackBytes = s.Packets+5*n, s.BackPackets+5*n, s.Bytes+500*n, s.BackBytes+4500*n
}

// carry adds packets within connections.
func (w *loads) carry(server string, packets, size int) {
	s := w.service(server)
	s.Packets += uint64(packets / 2)
	s.BackPackets += uint64(packets - packets/2)
	s.BackBytes += uint64(packets * size)
}

// ask adds connections of a client, and what it is answered.
func (w *loads) ask(client, server string, opened int, answers uint64) {
	k := loadPair(client, server)
	w.epoch.Pairs = append(w.epoch.Pairs, tally.Pair{
		Key: k, Opened: uint32(opened), Packets: answers/1400 + uint64(opened), BackPackets: answers / 700, Bytes: 300 * uint64(opened), BackBytes: answers,
		Payload: 100 * uint64(opened), BackPayload: answers,
	})
}

// browse adds requests that can be read.
func (w *loads) browse(client, server string, requests int, path func(i int) int) {
	v := tally.Web{Key: loadPair(client, server), Requests: uint32(requests)}
	for i := range requests {
		v.Paths.Add(scramble(uint64(path(i)), 99))
	}
	w.epoch.Webs = append(w.epoch.Webs, v)
}

func loadPair(client, server string) tally.PairKey {
	to := netip.MustParseAddrPort(server)
	return tally.PairKey{Client: addrOf(client), Server: addrOf(to.Addr().String()), Port: to.Port(), Proto: protoTCP, Ver: verOf(client)}
}

// flow ends the second.
func (w *loads) flow() {
	e := &w.epoch
	e.Tick = (loadStart + w.second) * ticksPerSecond
	slices.SortFunc(e.Services, func(a, b tally.Service) int { return compareKeys(&a.Key, &b.Key) })
	slices.SortStableFunc(e.Pairs, func(a, b tally.Pair) int { return loadCompare(&a.Key, &b.Key) })
	slices.SortStableFunc(e.Webs, func(a, b tally.Web) int { return loadCompare(&a.Key, &b.Key) })
	for i := range e.Services {
		s := &e.Services[i]
		e.Link.Packets += s.Packets + s.BackPackets
		e.Link.Bytes += s.Bytes + s.BackBytes
	}
	w.site.Begin(e.End())
	w.analyzer.Judge(e, w.take)
	w.second++
	*e = tally.Epoch{Services: e.Services[:0], Pairs: e.Pairs[:0], Webs: e.Webs[:0]}
}

func (w *loads) take(f *Finding) {
	if f.Score < 0 || f.Score > 100 || f.MaxScore == 0 || f.Confidence < 0 || f.Confidence > 100 || f.Summary == "" || len(f.Why) == 0 || f.First > f.Last ||
		f.Quiet <= 0 || f.Count == 0 || !strings.HasSuffix(f.Summary, ".") {
		w.t.Errorf("malformed finding %+v", f)
	}
	if min(f.Score, f.MaxScore) >= 25 {
		w.site.Alarm(f)
	}
	w.found = append(w.found, *f)
	w.at = append(w.at, w.second)
}

func loadCompare(a, b *tally.PairKey) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// run lets seconds pass, each filled by fill.
func (w *loads) run(seconds int, fill func(second int)) {
	for i := range seconds {
		fill(i)
		w.flow()
	}
}

// normal is n a second, give or take a third.
func (w *loads) normal(n int) int { return n - n/3 + w.random.IntN(2*(n/3)+1) }

// story is what was found, without repeats: kind, subject and victim, and the severity's word.
func (w *loads) story() (out []string) {
	for i := range w.found {
		f := &w.found[i]
		s := f.Kind
		if t := loadParty(&f.Subject); t != "" {
			s += " by " + t
		}
		if t := loadParty(&f.Victim); t != "" {
			s += " on " + t
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func loadParty(p *Party) string {
	switch {
	case p.Prefix.IsValid():
		return victimText(p)
	case p.ASN != 0:
		return fmt.Sprint("AS", p.ASN)
	}
	return p.Country
}

func (w *loads) want(story ...string) {
	w.t.Helper()
	if got := w.story(); !slices.Equal(got, story) {
		w.t.Errorf("found %q, want %q", got, story)
		for i := range w.found[:min(len(w.found), 3)] {
			w.t.Logf("second %d: %s %v", w.at[i], w.found[i].Summary, w.found[i].Notes)
		}
	}
}

// worst is the highest severity score of all findings.
func (w *loads) worst() (worst int) {
	for i := range w.found {
		worst = max(worst, min(w.found[i].Score, w.found[i].MaxScore))
	}
	return worst
}

const loadWeb = "10.10.10.10:443"

// TestRateSpike: at five times normal and above the floor, for three of five seconds; told of the service only, with the
// arithmetic; and nothing of it is learned.
func TestRateSpike(t *testing.T) {
	w := newRateLoads(t)
	usual := func(int) { w.serve(loadWeb, w.normal(6)); w.serve("10.10.10.11:22", w.normal(3)) }
	w.run(300, usual)
	w.run(30, func(int) { usual(0); w.serve(loadWeb, 90) })
	w.want("spike on 10.10.10.10:443")
	if at := w.at[0]; at < 302 || at > 304 {
		t.Errorf("found in second %d, want that of the third over (302) or the next", at)
	}
	f := w.found[0]
	if s := min(f.Score, f.MaxScore); s < 50 || s > 69 {
		t.Errorf("score %d, want medium: %s", s, f.Summary)
	}
	if b := f.Why[0].Baseline; f.Why[0].Name != "connections" || b == nil || b.Mean < 5 || b.Mean > 7 || b.N < 290 || f.Why[0].Threshold < 20 || f.Why[0].Value < 90 {
		t.Errorf("%+v", f.Why[0])
	}
	w.run(200, usual)
	n := w.site.Baseline.Find(loadMeasureOf(serviceKey(addrOf("10.10.10.10"), 4, protoTCP, 443), baseline.MeasureConnections)).Normal((loadStart + w.second) * 1e9)
	if n.Mean > 7 {
		t.Errorf("learned %v connections/s of the spike", n.Mean)
	}
	w.found = nil
	w.run(30, func(int) { usual(0); w.serve(loadWeb, 90) })
	w.want("spike on 10.10.10.10:443")
}

func loadMeasureOf(k baseline.Key, m baseline.Measure) baseline.Key {
	k.Measure = m
	return k
}

// TestRateSilent: what is near to a spike and is none.
func TestRateSilent(t *testing.T) {
	for name, play := range map[string]func(w *loads){
		"below the floor": func(w *loads) {
			w.run(300, func(int) { w.serve(loadWeb, 1) })
			w.run(60, func(int) { w.serve(loadWeb, 19) })
		},
		"below the multiple": func(w *loads) {
			w.run(300, func(int) { w.serve(loadWeb, 30) })
			w.run(60, func(int) { w.serve(loadWeb, 140) })
		},
		"two of five seconds": func(w *loads) {
			w.run(300, func(int) { w.serve(loadWeb, w.normal(6)) })
			w.run(100, func(i int) {
				if w.serve(loadWeb, w.normal(6)); i%5 < 2 {
					w.serve(loadWeb, 200)
				}
			})
		},
		"warm-up": func(w *loads) {
			w.run(100, func(int) { w.serve(loadWeb, w.normal(6)) })
			w.run(10, func(int) { w.serve(loadWeb, 200) })
		},
		"a ramp over two hours": func(w *loads) {
			w.run(600, func(int) { w.serve(loadWeb, w.normal(6)) })
			w.run(7200, func(i int) { w.serve(loadWeb, w.normal(6+i/36)) })
		},
		"a flash crowd that gathers in 20 minutes": func(w *loads) {
			w.run(1200, func(int) { w.serve(loadWeb, w.normal(6)) })
			w.run(1200, func(i int) { w.serve(loadWeb, w.normal(6+i/12)) })
			w.run(1200, func(i int) { w.serve(loadWeb, w.normal(106-i/12)) })
		},
		"a restart": func(w *loads) {
			w.run(600, func(int) { w.serve(loadWeb, w.normal(6)) })
			w.run(40, func(int) { w.serve("10.10.10.11:22", 1) })
			w.run(2, func(int) { w.serve(loadWeb, 120) }) // all come back
			w.run(300, func(int) { w.serve(loadWeb, w.normal(6)) })
		},
		"a service of the outside": func(w *loads) {
			w.run(300, func(int) { w.serve("198.51.100.7:443", 6) })
			w.run(60, func(int) { w.serve("198.51.100.7:443", 99) })
		},
		"a port scan that nobody answers": func(w *loads) {
			w.run(300, func(int) { w.serve(loadWeb, w.normal(6)) })
			w.run(60, func(i int) {
				w.serve(loadWeb, w.normal(6))
				for p := range 100 {
					s := w.service(fmt.Sprintf("10.10.10.%d:%d", 20+i%9, 1000+i+p))
					s.SYN, s.Packets, s.Bytes = 1, 1, 60
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRateLoads(t)
			play(w)
			w.want()
		})
	}
}

// TestRateDay: a day that grows tenfold in the morning, and a nightly backup; the second day nothing is told at all.
func TestRateDay(t *testing.T) {
	w := newRateLoads(t)
	day := func() {
		w.run(24*3600, func(s int) {
			hour := float64(s) / 3600
			n := 4
			switch { // people come between seven and nine, and go between five and eight
			case hour >= 7 && hour < 9:
				n += int(18 * (hour - 7))
			case hour >= 9 && hour < 17:
				n += 36
			case hour >= 17 && hour < 20:
				n += int(12 * (20 - hour))
			}
			w.serve(loadWeb, w.normal(n))
			if hour >= 2 && hour < 2.5 {
				w.serve("10.10.10.12:873", 1)
				w.carry("10.10.10.12:873", 8000, 1400)
			}
		})
	}
	day()
	if w.worst() >= 50 {
		t.Errorf("first day: %q", w.story())
	}
	day()
	if w.worst() >= 50 {
		t.Errorf("second day: %q", w.story())
	}
}

// TestRateBulk: a transfer fills the link, and is told as low.
func TestRateBulk(t *testing.T) {
	w := newRateLoads(t)
	w.run(600, func(int) { w.serve(loadWeb, w.normal(6)) })
	w.run(30, func(int) { w.serve(loadWeb, w.normal(6)); w.carry(loadWeb, 20000, 1400) })
	w.want("spike on 10.10.10.10:443")
	if w.worst() >= 50 {
		t.Errorf("a bulk transfer is told with %d: %s", w.worst(), w.found[0].Summary)
	}
}

// TestRateWholes: what a crowd of parts does is told of their whole, two hosts of a prefix each for itself.
func TestRateWholes(t *testing.T) {
	for _, c := range []struct {
		hosts int
		want  []string
	}{
		{2, []string{"spike on 10.10.10.0:443", "spike on 10.10.10.1:443"}},
		{12, []string{"spike on 10.10.10.0/24"}},
	} {
		w := newRateLoads(t)
		usual := func(int) {
			for i := range 12 {
				w.serve(fmt.Sprintf("10.10.10.%d:443", i), w.normal(3))
			}
		}
		w.run(300, usual)
		w.run(20, func(int) {
			usual(0)
			for i := range c.hosts {
				w.serve(fmt.Sprintf("10.10.10.%d:443", i), 60)
			}
		})
		w.want(c.want...)
	}
}

// loadOrigins is a database of two networks.
type loadOrigins struct{}

func (loadOrigins) Of(ip netip.Addr) (uint32, string) {
	if ip.As4()[0] == 203 {
		return 64500, "NL"
	}
	return 64501, "DE"
}

// TestRateOrigin: a burst from one AS, spread over many services, each of which stays below its limit.
func TestRateOrigin(t *testing.T) {
	w := newLoads(t, context.New(context.Config{}, nil, loadOrigins{}), func(s *Site) Analyzer { return NewRate(DefaultRate(), s) })
	usual := func(i int) {
		for h := range 30 {
			server := fmt.Sprintf("10.10.%d.10:443", h)
			w.serve(server, 2)
			w.ask(fmt.Sprintf("203.0.113.%d", h), server, (h+i)%7/6, 5000)
			w.ask(fmt.Sprintf("198.51.100.%d", h), server, 2, 5000)
		}
	}
	w.run(300, usual)
	w.run(20, func(i int) {
		usual(i)
		for h := range 30 {
			server := fmt.Sprintf("10.10.%d.10:443", h)
			w.serve(server, 3)
			w.ask(fmt.Sprintf("203.0.113.%d", 100+h), server, 3, 5000)
		}
	})
	w.want("spike by AS64500")
}

// TestRateFlooded: what a flood's alert names is told as low, another victim as ever.
func TestRateFlooded(t *testing.T) {
	w := newRateLoads(t)
	usual := func(int) { w.serve(loadWeb, w.normal(6)); w.serve("10.10.10.11:443", w.normal(6)) }
	w.run(300, usual)
	w.run(30, func(int) {
		w.site.Alarm(&Finding{Analyzer: "flood", Time: (loadStart + w.second) * 1e9, Quiet: 30e9, Victim: Party{Prefix: netip.MustParsePrefix("10.10.10.10/32"), Port: 443, Proto: 6}})
		usual(0)
		w.serve(loadWeb, 2000)
		w.serve("10.10.10.11:443", 100)
	})
	w.want("spike on 10.10.10.10:443", "spike on 10.10.10.11:443")
	for i := range w.found {
		f := &w.found[i]
		medium := min(f.Score, f.MaxScore) >= 50
		if flooded := strings.HasPrefix(victimText(&f.Victim), "10.10.10.10"); flooded == medium {
			t.Errorf("%s: %d", f.Summary, f.Score)
		}
	}
}

// TestRateDrop: even traffic that falls to a tenth; what is uneven, or stops altogether, or is lost on the way is not told here.
func TestRateDrop(t *testing.T) {
	for _, c := range []struct {
		name  string
		usual func(w *loads)
		then  func(w *loads)
		want  []string
	}{
		{"even", func(w *loads) { w.carry(loadWeb, 95+w.random.IntN(11), 100) }, func(w *loads) { w.carry(loadWeb, 9, 100) }, []string{"drop on 10.10.10.10:443"}},
		{"a third", func(w *loads) { w.carry(loadWeb, 95+w.random.IntN(11), 100) }, func(w *loads) { w.carry(loadWeb, 33, 100) }, nil},
		{"uneven", func(w *loads) {
			if w.second%3 == 0 {
				w.carry(loadWeb, 300, 100)
			}
		}, func(w *loads) { w.carry(loadWeb, 9, 100) }, nil},
		{"silence", func(w *loads) { w.carry(loadWeb, 95+w.random.IntN(11), 100) }, func(*loads) {}, nil},
		{"lost", func(w *loads) { w.carry(loadWeb, 95+w.random.IntN(11), 100) }, func(w *loads) {
			w.carry(loadWeb, 9, 100)
			w.epoch.Link.Loss[tally.LossKernel] = 91
		}, nil},
		{"all of a prefix", func(w *loads) {
			for i := range 4 {
				w.carry(fmt.Sprintf("10.10.10.%d:443", i), 95+w.random.IntN(11), 100)
			}
		}, func(w *loads) {
			for i := range 4 {
				w.carry(fmt.Sprintf("10.10.10.%d:443", i), 3, 100)
			}
		}, []string{"drop on 10.10.10.0/24"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newRateLoads(t)
			other := func() { w.serve("10.10.20.20:22", w.normal(40)) }
			w.run(900, func(int) { other(); c.usual(w) })
			w.run(60, func(int) { other(); c.then(w) })
			w.want(c.want...)
			if w.worst() > volumeCap {
				t.Error(w.worst())
			}
			w.found = nil
			w.run(300, func(int) { other(); c.usual(w) })
			if len(w.found) > 0 && w.at[len(w.at)-1] > 970 {
				t.Errorf("told on after the end: %s", w.found[len(w.found)-1].Summary)
			}
		})
	}
}

// TestRateLasts: load that comes and stays is one alert; it is learned only once it was accepted, and then it is no spike.
func TestRateLasts(t *testing.T) {
	cfg := DefaultRate()
	cfg.Accept = 2 * time.Hour
	w := newLoads(t, nil, func(s *Site) Analyzer { return NewRate(cfg, s) })
	w.run(1200, func(int) { w.serve(loadWeb, w.normal(6)) })
	w.run(7200+600, func(int) { w.serve(loadWeb, w.normal(60)) })
	w.want("spike on 10.10.10.10:443")
	gap := int64(0)
	for i := 1; i < len(w.at); i++ {
		gap = max(gap, w.at[i]-w.at[i-1])
	}
	if gap > 60 {
		t.Errorf("%d s between two findings: two alerts", gap)
	}
	if last := w.at[len(w.at)-1] - 1200; last < 7200 || last > 7210 {
		t.Errorf("told until second %d, want two hours", last)
	}
	w.found = nil
	w.run(600, func(int) { w.serve(loadWeb, w.normal(60)) })
	w.want()
	w.run(10, func(int) { w.serve(loadWeb, w.normal(600)) })
	w.want("spike on 10.10.10.10:443")
}

// TestRateStartedUnderAttack: what was above the highest floor since the start is told as such and not learned; when it is over,
// the sensor learns what is normal, and finds what is not.
func TestRateStartedUnderAttack(t *testing.T) {
	w := newRateLoads(t)
	w.run(600, func(int) { w.serve(loadWeb, w.normal(1800)) })
	w.want("spike on 10.10.10.10:443")
	if f := &w.found[0]; w.worst() > 49 || len(f.Notes) == 0 || f.Why[0].Baseline != nil {
		t.Errorf("%d %s %v", w.worst(), f.Summary, f.Notes)
	}
	w.run(300, func(int) { w.serve(loadWeb, w.normal(6)) })
	w.found = nil
	w.run(30, func(int) { w.serve(loadWeb, 90) })
	w.want("spike on 10.10.10.10:443")
	if f := &w.found[0]; f.Why[0].Baseline.Mean > 8 || !strings.Contains(strings.Join(f.Notes, " "), "first seconds") {
		t.Errorf("%+v %v", f.Why[0].Baseline, f.Notes)
	}
}

// TestRatePoison: an attacker that doubles its rate every hour is found on the second day at its fourth doubling, when it is above
// fifteen times what is normal.
func TestRatePoison(t *testing.T) { poisoned(t, 1, 15) }

// poisoned lets some days of normal load pass, and then an attacker double its rate every hour: it must be found, once it is above a
// multiple of what is normal.
func poisoned(t *testing.T, days int, multiple float64) {
	const usually = 12
	w := newRateLoads(t)
	w.run(days*24*3600, func(int) { w.serve(loadWeb, w.normal(usually)) })
	w.want()
	hour := 0
	for ; hour < 8 && len(w.found) == 0; hour++ {
		w.run(3600, func(int) { w.serve(loadWeb, w.normal(usually<<hour)) })
	}
	if len(w.found) == 0 {
		t.Fatal("not found")
	}
	f := &w.found[0]
	t.Logf("after %d days found in hour %d: %s", days, hour, f.Summary)
	if got := f.Why[0].Value / usually; got < multiple || got > 2*1.4*multiple {
		t.Errorf("found at %.1f times what is normal, want %v, or at the next doubling", got, multiple)
	}
}

// TestRateReconfigure: a floor counts from the next second on.
func TestRateReconfigure(t *testing.T) {
	w := newRateLoads(t)
	w.run(300, func(int) { w.serve(loadWeb, 2) })
	w.run(20, func(int) { w.serve(loadWeb, 15) })
	w.want()
	cfg := Defaults()
	cfg.Rate.ConnectionsPerSecond, cfg.Rate.Keys = 10, 100
	if got := Reconfigure([]Analyzer{w.analyzer}, cfg); !slices.Equal(got, []string{"analyzers.rate.keys"}) {
		t.Errorf("restart for %q", got)
	}
	w.run(20, func(int) { w.serve(loadWeb, 15) })
	w.want("spike on 10.10.10.10:443")
}

// TestRateDeterminism: the same epochs give the same findings.
func TestRateDeterminism(t *testing.T) {
	play := func() []Finding {
		w := newRateLoads(t)
		for s := range 400 {
			for i := range 40 {
				n := w.normal(6)
				if s > 300 {
					n *= 1 + w.random.IntN(30)
				}
				server := fmt.Sprintf("10.10.%d.%d:443", i%4, i)
				w.serve(server, n)
				w.ask(fmt.Sprintf("198.51.100.%d", w.random.IntN(50)), server, n, 9000)
			}
			w.flow()
		}
		w.analyzer.Finish(w.take)
		return w.found
	}
	a, b := play(), play()
	if len(a) == 0 || !reflect.DeepEqual(a, b) {
		t.Errorf("%d and %d findings", len(a), len(b))
	}
}

// TestRateConfig: each setting that cannot be is named.
func TestRateConfig(t *testing.T) {
	for _, set := range []func(*RateConfig){
		func(c *RateConfig) { c.ConnectionsPerSecond = 0 },
		func(c *RateConfig) { c.Sources = 1 },
		func(c *RateConfig) { c.Keys = -1 },
		func(c *RateConfig) { c.Quiet = time.Second },
		func(c *RateConfig) { c.Accept = time.Minute },
	} {
		cfg := DefaultRate()
		if set(&cfg); cfg.Check() == nil {
			t.Errorf("accepted: %+v", cfg)
		}
	}
	if cfg := DefaultRate(); cfg.Check() != nil {
		t.Error(cfg.Check())
	}
}
