package analyzers

import (
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// crowdEpochs are ten ticks in which as many keys as said are active: clients of a few hundred services, all of which try
// passwords, ask for missing pages, and have prints of their own.
func crowdEpochs(keys int) (out []*tally.Epoch) {
	for tick := range 10 {
		e := &tally.Epoch{Tick: worldStart/tally.Tick + int64(tick), SketchKey: 7}
		e.Link.Packets = 1
		for i := range keys / 10 {
			n := uint64(tick*keys/10 + i)
			now := e.Start() + int64(i)
			k := tally.PairKey{
				Client: decode.Addr{Lo: 0xffff_cb00_0000 + n}, Server: decode.Addr{Lo: 0xffff_0a14_0000 + n%300}, Port: 22, Proto: protoTCP, Ver: 4,
			}
			p := tally.Pair{Key: k, Opened: 1, Closed: 1, Short: 1, Print: n%5 + 1, FirstOpened: now, First: now, Last: now}
			for j := range p.Sizes {
				p.Sizes[j] = tally.Sum{N: 1, Sum: 1500, Squares: 1500 * 1500}
			}
			e.Pairs = append(e.Pairs, p)
			k.Port = 80
			w := tally.Web{Key: k, Requests: 1, Responses: 1, S404: 1, Posts: 1, Methods: 4, Agent: n%1000 + 1, First: now, Last: now}
			w.Missing.Add(scramble(n, 3))
			w.Paths, w.PostPaths = w.Missing, w.Missing
			e.Webs = append(e.Webs, w)
			o := tally.Opening{Key: tally.OpeningKey{Server: k.Server, Hash: n, Port: 443, Proto: protoTCP, Ver: 4, Kind: tally.OpeningTLS}, Count: 1, First: now, Last: now}
			o.Sources.Add(scramble(n, 5))
			e.Openings = append(e.Openings, o)
		}
		out = append(out, e)
	}
	return out
}

// TestLoginsBounded goes through a million keys: tables keep their sizes, say what they cost, and a password guesser among them is
// found.
func TestLoginsBounded(t *testing.T) {
	cfg := Defaults()
	cfg.Bruteforce.Pairs, cfg.Bruteforce.Services, cfg.HTTP.Clients, cfg.HTTP.Services = 256, 64, 256, 64
	cfg.Fingerprint.Prints, cfg.Fingerprint.Services = 256, 64
	site := NewSite(nil, nil)
	b, h, f := NewBruteforce(cfg.Bruteforce, site), NewHTTP(cfg.HTTP, site), NewFingerprint(cfg.Fingerprint, site)
	l := newLogins(t)
	l.tries(40, 0, 300*time.Millisecond, "198.51.100.9", bastion, shapeOf(1400, 1900, 0))
	mine := l.epochs()
	found := false
	for round := range 12 {
		for i, e := range crowdEpochs(20_000) {
			for j := range e.Pairs {
				e.Pairs[j].Key.Client.Lo += uint64(round) << 24
				e.Webs[j].Key.Client.Lo += uint64(round) << 24
				e.Openings[j].Key.Hash += uint64(round) << 24
			}
			e.Tick += int64(round) * 10
			for _, m := range mine {
				if m.Tick == e.Tick {
					e.Pairs = append(m.Pairs, e.Pairs...)
				}
			}
			emit := func(f *Finding) {
				found = found || f.Kind == "password" && f.Subject.Prefix.Addr().String() == "198.51.100.9"
			}
			for _, a := range []Analyzer{b, h, f} {
				a.Judge(e, emit)
			}
			_ = i
		}
	}
	if !found {
		t.Error("the guesser is not found among them")
	}
	if n := entries(b.tries.sets); n > 256 || entries(h.clients.sets) > 256 || entries(f.mix.prints.sets) > 256 {
		t.Errorf("%d entries of at most 256", n)
	}
	if b.Costs()[0].N == 0 || h.Costs()[0].N == 0 || f.mix.prints.Evicted == 0 {
		t.Errorf("what was lost is not told: %+v %+v", b.Costs(), h.Costs())
	}
}

func entries[E any](sets []keepSet[E]) (n int) {
	for i := range sets {
		n += len(sets[i].value)
	}
	return n
}

// BenchmarkLogins judges a tick of 100,000 active keys: 10,000 sessions, requests and openings each.
func BenchmarkLogins(b *testing.B) {
	epochs := crowdEpochs(100_000)
	cfg := Defaults()
	for name, a := range map[string]func(*Site) Analyzer{
		"bruteforce":  func(s *Site) Analyzer { return NewBruteforce(cfg.Bruteforce, s) },
		"http":        func(s *Site) Analyzer { return NewHTTP(cfg.HTTP, s) },
		"fingerprint": func(s *Site) Analyzer { return NewFingerprint(cfg.Fingerprint, s) },
	} {
		b.Run(name, func(b *testing.B) {
			judge := a(NewSite(nil, nil))
			for i := range b.N {
				e := *epochs[i%10]
				e.Tick = worldStart/tally.Tick + int64(i)
				judge.Judge(&e, func(*Finding) {})
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1e3, "ms/tick")
		})
	}
}
