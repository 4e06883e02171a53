package analyzers

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
)

// covertStart is a Monday.
const covertStart = int64(1_790_553_600e9)

// collect copies what an analyzer emits.
func collect(out *[]Finding) func(*Finding) {
	return func(f *Finding) {
		c := *f
		c.Why, c.Notes = slices.Clone(f.Why), slices.Clone(f.Notes)
		*out = append(*out, c)
	}
}

func packed(addr string) (decode.Addr, uint8) {
	a := netip.MustParseAddr(addr)
	if a.Is4() {
		return decode.AddrFrom(a), 4
	}
	return decode.AddrFrom(a), 6
}

func pairOf(client, server string, proto uint8, port uint16) tally.PairKey {
	c, ver := packed(client)
	s, _ := packed(server)
	return tally.PairKey{Client: c, Server: s, Port: port, Proto: proto, Ver: ver}
}

// called is a contact at a time with so many bytes each way, in a connection of its own or in one that is open.
func called(k tally.PairKey, at int64, up, down uint64, opens bool) tally.Pair {
	p := tally.Pair{Key: k, Packets: 1, BackPackets: 1, Payload: up, BackPayload: down, FirstOpened: at, LastBegun: at, First: at, Last: at}
	if opens {
		p.Opened = 1
	} else {
		p.Bursts = 1
	}
	return p
}

// play judges epochs of pairs in order of time.
func play(a Analyzer, emit func(*Finding), pairs []tally.Pair) {
	slices.SortStableFunc(pairs, func(x, y tally.Pair) int { return int((x.First - y.First) / tally.Tick) })
	for i := 0; i < len(pairs); {
		e := &tally.Epoch{Tick: pairs[i].First / tally.Tick, SketchKey: 7}
		for ; i < len(pairs) && pairs[i].First/tally.Tick == e.Tick; i++ {
			e.Pairs = append(e.Pairs, pairs[i])
		}
		slices.SortFunc(e.Pairs, func(x, y tally.Pair) int {
			if x.Key.Less(&y.Key) {
				return -1
			}
			return 1
		})
		a.Judge(e, emit)
	}
}

// beating is a beacon: n contacts every so often, jittered by a share of it.
func beating(k tally.PairKey, n int, every time.Duration, jitter float64, seed uint64, opens bool) (out []tally.Pair) {
	rng := rand.New(rand.NewPCG(seed, 1))
	at := covertStart
	for range n {
		out = append(out, called(k, at, 300+rng.Uint64N(20), 500, opens))
		at += int64(float64(every) * (1 + jitter*(2*rng.Float64()-1)))
	}
	return out
}

func severest(fs []Finding) (score int) {
	for i := range fs {
		score = max(score, min(fs[i].Score, fs[i].MaxScore))
	}
	return score
}

func TestBeaconJitter(t *testing.T) {
	for _, c := range []struct {
		every  time.Duration
		jitter float64
		within time.Duration // of its beginning it must be named
	}{
		{time.Minute, 0, 2 * time.Hour},
		{time.Minute, 0.1, 150 * time.Minute},
		{time.Minute, 0.3, 4 * time.Hour},
		{5 * time.Minute, 0.2, 4 * time.Hour},
		{10 * time.Second, 0.3, 4 * time.Hour},
		{time.Hour, 0.2, 26 * time.Hour},
	} {
		for _, opens := range []bool{true, false} {
			for seed := range uint64(5) {
				t.Run(fmt.Sprint(c.every, c.jitter, opens, seed), func(t *testing.T) {
					k := pairOf("10.0.0.5", "198.51.100.9", 6, 443)
					var got []Finding
					a := NewBeacon(DefaultBeacon(), NewSite(nil, nil))
					play(a, collect(&got), beating(k, int(c.within/c.every), c.every, c.jitter, seed, opens))
					if len(got) == 0 {
						at := a.pairs.find(&k, a.hash(&k))
						_, s := a.pairs.value(at)
						t.Fatalf("not found: %+v", a.score(s))
					}
					f := got[0]
					if f.Kind != "beacon" || f.Subject.Prefix.String() != "10.0.0.5/32" || f.Victim.Prefix.String() != "198.51.100.9/32" ||
						f.Victim.Port != 443 || f.Subject.ReturnPath != opens || f.Score < 50 || f.MaxScore != 69 {
						t.Errorf("%+v", f)
					}
				})
			}
		}
	}
}

// TestBeaconThresholds: nothing before 20 contacts or before enough of a duration.
func TestBeaconThresholds(t *testing.T) {
	k := pairOf("10.0.0.5", "198.51.100.9", 6, 443)
	for _, c := range []struct {
		n     int
		every time.Duration
		found bool
	}{
		{20, time.Hour, false}, {22, time.Hour, true}, // a sixteenth more than 20
		{60, time.Minute, false}, {120, time.Minute, true},
	} {
		var got []Finding
		play(NewBeacon(DefaultBeacon(), NewSite(nil, nil)), collect(&got), beating(k, c.n, c.every, 0, 1, true))
		if (len(got) > 0) != c.found {
			t.Errorf("%d every %v: %d findings", c.n, c.every, len(got))
		}
	}
}

// chance are contacts by chance: as of a Poisson process, or in sessions as people have them.
func chance(k tally.PairKey, n int, every time.Duration, sessions bool, seed uint64) (out []tally.Pair) {
	rng := rand.New(rand.NewPCG(seed, 2))
	at := covertStart
	for len(out) < n {
		visits := 1
		if sessions {
			visits = 1 + rng.IntN(12)
		}
		for range visits {
			up := uint64(300)
			if sessions {
				up += rng.Uint64N(2000)
			}
			out = append(out, called(k, at, up, 5000, true))
			if sessions {
				at += int64(2e9 + rng.ExpFloat64()*20e9)
			}
		}
		at += int64(rng.ExpFloat64() * float64(every))
	}
	return out
}

func TestBeaconLookAlikes(t *testing.T) {
	server, office := "198.51.100.9", make([]string, 8)
	for i := range office {
		office[i] = fmt.Sprintf("10.0.0.%d", 10+i)
	}
	var everyone, monitor, lateMonitor []tally.Pair
	for i, c := range office {
		everyone = append(everyone, beating(pairOf(c, server, 6, 443), 500, time.Minute, 0.1, uint64(i), true)...)
		monitor = append(monitor, beating(pairOf("10.0.0.5", fmt.Sprintf("203.0.%d.7", i), 6, 443), 500, time.Minute, 0, uint64(i), true)...)
	}
	for _, p := range monitor {
		p.First, p.Last, p.FirstOpened = p.First+1e9, p.Last+1e9, p.FirstOpened+1e9
		lateMonitor = append(lateMonitor, p)
	}
	ntp := beating(pairOf("10.0.0.5", server, 17, 123), 800, 64*time.Second, 0.05, 1, true)
	for i := range ntp {
		ntp[i].Payload, ntp[i].BackPayload = 48, 48
	}
	idle := beating(pairOf("10.0.0.5", server, 6, 443), 2000, 30*time.Second, 0, 1, false)
	for i := range idle {
		idle[i].Payload, idle[i].BackPayload = 40, 40
	}
	unanswered := beating(pairOf("10.0.0.5", server, 6, 443), 500, time.Minute, 0, 1, true)
	for i := range unanswered { // as tally tells of one-way connections with payload
		unanswered[i].Opened, unanswered[i].BackPackets, unanswered[i].BackPayload = 0, 0, 0
	}
	ping := beating(pairOf("10.0.0.5", server, 1, 0), 500, time.Minute, 0, 1, true)
	for _, c := range []struct {
		name  string
		pairs []tally.Pair
		most  int
	}{
		{"chance", chance(pairOf("10.0.0.5", server, 6, 443), 2000, time.Minute, false, 3), 0},
		{"people", chance(pairOf("10.0.0.5", server, 6, 443), 2000, 10*time.Minute, true, 4), 0},
		{"updates of a whole office", everyone, 0},
		{"ntp", ntp, 0},
		{"unanswered", unanswered, 0},
		{"ping", ping, 0},
		{"inside", beating(pairOf("10.0.0.5", "10.0.0.6", 6, 9100), 500, time.Minute, 0, 1, true), 0},
		{"from outside", beating(pairOf("198.51.100.5", "10.0.0.6", 6, 443), 500, time.Minute, 0, 1, true), 0},
		{"known destination", beating(pairOf("10.0.0.5", "192.0.2.7", 6, 443), 500, time.Minute, 0, 1, true), 0},
		{"resolver", beating(pairOf("10.0.0.5", server, 17, 53), 500, time.Minute, 0, 1, true), 0},
		{"keep-alive", idle, 45},
		{"monitor", monitor, 45},
		{"monitor at another second", lateMonitor, 45},
		{"mail", beating(pairOf("10.0.0.5", server, 6, 993), 500, 5*time.Minute, 0.01, 1, true), 45},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg context.Config
			cfg.KnownDestinations = []context.Prefix{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}
			var got []Finding
			a := NewBeacon(DefaultBeacon(), NewSite(context.New(cfg, nil, nil), nil))
			play(a, collect(&got), c.pairs)
			a.Finish(collect(&got))
			if s := severest(got); s > c.most {
				t.Errorf("score %d: %+v", s, got[0])
			}
		})
	}
}

// TestBeaconAmongOthers: a host that also keeps time, polls mail and uses what everyone uses is no monitor.
func TestBeaconAmongOthers(t *testing.T) {
	var pairs []tally.Pair
	for i := range 6 {
		ntp := beating(pairOf("10.0.0.5", fmt.Sprintf("203.0.%d.7", i), 17, 123), 800, 64*time.Second, 0.05, 1, true)
		for j := range ntp {
			ntp[j].Payload, ntp[j].BackPayload = 48, 48
		}
		pairs = append(pairs, ntp...)
		pairs = append(pairs, beating(pairOf("10.0.0.5", fmt.Sprintf("203.0.%d.8", i), 6, 993), 100, 5*time.Minute, 0, 1, true)...)
		for c := range 4 {
			pairs = append(pairs, beating(pairOf(fmt.Sprintf("10.0.0.%d", 5+c), fmt.Sprintf("203.1.%d.8", i), 6, 443), 300, 2*time.Minute, 0, 1, true)...)
		}
	}
	pairs = append(pairs, beating(pairOf("10.0.0.5", "198.51.100.9", 6, 443), 500, time.Minute, 0.1, 1, true)...)
	var got []Finding
	play(NewBeacon(DefaultBeacon(), NewSite(nil, nil)), collect(&got), pairs)
	for _, f := range got {
		if f.Victim.Prefix.Addr().String() == "198.51.100.9" && min(f.Score, f.MaxScore) >= 50 {
			return
		}
	}
	t.Errorf("hidden: %d findings", len(got))
}

// TestBeaconBounds: a beacon once in ten minutes stays in the table among 100,000 pairs that come and go, and is found.
func TestBeaconBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of work")
	}
	rng := rand.New(rand.NewPCG(1, 1))
	k := pairOf("10.0.0.5", "198.51.100.9", 6, 443)
	cfg := DefaultBeacon()
	cfg.Pairs = 4096
	a := NewBeacon(cfg, NewSite(nil, nil))
	var got []Finding
	for i := range 60 {
		at := covertStart + int64(i)*600e9
		a.Judge(&tally.Epoch{Tick: at / tally.Tick, SketchKey: 7, Pairs: []tally.Pair{called(k, at, 300, 300, true)}}, collect(&got))
		e := &tally.Epoch{Tick: at/tally.Tick + 20, SketchKey: 7}
		for range 5000 {
			other := pairOf("10.0.1.1", "203.0.113.1", 6, 443)
			other.Client.Lo, other.Server.Lo = other.Client.Lo&^0xffff|rng.Uint64N(1<<16), rng.Uint64N(1<<32)
			e.Pairs = append(e.Pairs, called(other, e.Start(), 300, 300, true))
		}
		a.Judge(e, collect(&got))
	}
	if len(got) == 0 {
		t.Error("not found")
	}
	if a.pairs.Evicted == 0 {
		t.Error("nothing was full")
	}
}

// TestBeaconDeterminism: the same epochs make the same findings, text and all.
func TestBeaconDeterminism(t *testing.T) {
	var pairs []tally.Pair
	for i := range 300 {
		pairs = append(pairs, beating(pairOf(fmt.Sprintf("10.0.%d.5", i%50), fmt.Sprintf("198.51.%d.9", i%250), 6, 443), 200, time.Minute, 0.2, uint64(i), true)...)
	}
	want := ""
	for range 2 {
		var got []Finding
		cfg := DefaultBeacon()
		cfg.Pairs = 128
		a := NewBeacon(cfg, NewSite(nil, nil))
		play(a, collect(&got), slices.Clone(pairs))
		a.Finish(collect(&got))
		if text := fmt.Sprintf("%+v", got); want == "" {
			want = text
		} else if text != want {
			t.Error("differs")
		}
	}
	if want == "[]" {
		t.Error("nothing found")
	}
}

// BenchmarkBeacon judges ticks of 10,000 pairs out of 100,000 that are active: the tick of 100 ms.
func BenchmarkBeacon(b *testing.B) { benchPairs(b, NewBeacon(DefaultBeacon(), NewSite(nil, nil))) }

func benchPairs(b *testing.B, a Analyzer) {
	var epochs [10]tally.Epoch
	for i := range 100_000 {
		k := pairOf("10.0.0.0", "198.18.0.0", 6, 443)
		k.Client.Lo += uint64(i % 5000)
		k.Server.Lo += scramble(uint64(i), 3) % (1 << 20)
		epochs[i%10].Pairs = append(epochs[i%10].Pairs, called(k, 0, 700, 9000, true))
	}
	for i := range epochs {
		slices.SortFunc(epochs[i].Pairs, func(x, y tally.Pair) int {
			if x.Key.Less(&y.Key) {
				return -1
			}
			return 1
		})
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N {
		e := &epochs[n%10]
		e.Tick, e.SketchKey = covertStart/tally.Tick+int64(n), 7
		b.StopTimer()
		for i := range e.Pairs {
			p := &e.Pairs[i]
			p.First, p.Last, p.FirstOpened, p.LastBegun = e.Start(), e.Start(), e.Start(), e.Start()
		}
		b.StartTimer()
		a.Judge(e, func(*Finding) {})
	}
}
