package analyzers

import (
	"fmt"
	"strings"
	"testing"

	"weir/analyzers/context"
	"weir/analyzers/tally"
)

// loadPeople let sixty clients read: a page of six parts over two connections every ten seconds or so, for two minutes of 24.
func loadPeople(w *loads, server string, second int) {
	for i := range 60 {
		if (second/120+i)%12 == 0 && (second+i*7)%(9+i%4) == 0 {
			client := fmt.Sprintf("198.51.100.%d", 20+i)
			w.ask(client, server, 2, 90_000)
			w.browse(client, server, 6, func(part int) int { return second/60*6 + part })
		}
	}
	w.serve(server, 4)
}

const loadPage = "10.10.10.10:80"

// TestRateSource: one source that does far more than the others of its service, by connections, requests and answers.
func TestRateSource(t *testing.T) {
	for _, c := range []struct {
		name   string
		medium bool
		play   func(w *loads, second int)
	}{
		{"connections", true, func(w *loads, _ int) { w.ask("203.0.113.9", loadPage, 25, 50_000) }},
		{"requests on one connection", true, func(w *loads, s int) {
			w.browse("203.0.113.9", loadPage, 60, func(i int) int { return 1000 + s*60 + i })
		}},
		{"answers", false, func(w *loads, s int) {
			if s%10 == 5 {
				w.ask("203.0.113.9", loadPage, 0, 40e6)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newRateLoads(t)
			w.run(400, func(s int) { loadPeople(w, loadPage, s) })
			w.run(100, func(s int) { loadPeople(w, loadPage, 400+s); c.play(w, s) })
			w.want("source_spike by 203.0.113.9 on 10.10.10.10:80")
			if len(w.found) == 0 {
				return
			}
			f := &w.found[0]
			if medium := w.worst() >= 50; medium != c.medium || !f.Subject.ReturnPath || f.Why[0].Baseline == nil {
				t.Errorf("%d: %s %v", w.worst(), f.Summary, f.Notes)
			}
			t.Log(w.at[0], f.Summary)
		})
	}
}

// TestRateSourceSilent: sources that do more than others, and may.
func TestRateSourceSilent(t *testing.T) {
	for name, play := range map[string]func(w *loads, second int){
		"three clicks at once": func(w *loads, s int) {
			if s%60 < 2 {
				w.ask("203.0.113.9", loadPage, 12, 300_000)
				w.browse("203.0.113.9", loadPage, 40, func(i int) int { return i })
			}
		},
		"a proxy that is trusted": func(w *loads, _ int) { w.ask("203.0.113.200", loadPage, 40, 50_000) },
		"a client of the outside": func(w *loads, _ int) { w.ask("10.10.10.77", "198.51.100.1:443", 40, 50_000) },
		"a service of two sources": func(w *loads, s int) {
			w.ask("203.0.113.8", "10.10.10.10:5432", 1, 9000)
			if s > 200 {
				w.ask("203.0.113.9", "10.10.10.10:5432", 40, 9000)
			}
		},
		"who always does so": func(w *loads, _ int) {
			w.ask("10.10.10.50", loadPage, 15, 15_000)
			w.browse("10.10.10.50", loadPage, 30, func(i int) int { return i })
		},
	} {
		t.Run(name, func(t *testing.T) {
			networks := context.New(context.Config{TrustedProxies: loadPrefixes(t, "203.0.113.200")}, nil, nil)
			w := newLoads(t, networks, func(s *Site) Analyzer { return NewRate(DefaultRate(), s) })
			w.run(600, func(s int) {
				loadPeople(w, loadPage, s)
				if s > 400 || strings.HasPrefix(name, "who always") || strings.HasPrefix(name, "a service of two") {
					play(w, s)
				}
			})
			for i := range w.found {
				if w.found[i].Kind == "source_spike" {
					t.Errorf("second %d: %s", w.at[i], w.found[i].Summary)
				}
			}
		})
	}
}

func loadPrefixes(t *testing.T, list ...string) (out []context.Prefix) {
	for _, s := range list {
		var p context.Prefix
		if err := p.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// TestRateSustained: one source that is slow but broad and lasting: a mirror, an enumeration, one that cannot be read, one over
// many hosts, one at a third of the pace over an hour. One alert each; none for those who read, poll or watch.
func TestRateSustained(t *testing.T) {
	const slow = "203.0.113.9"
	for _, c := range []struct {
		name    string
		seconds int
		want    string
		play    func(w *loads, s int)
	}{
		{"a mirror", 900, "sustained by 203.0.113.9 on 10.10.10.10:80", func(w *loads, s int) {
			w.browse(slow, loadPage, 3, func(i int) int { return 1000 + 3*s + i })
			if s%10 == 0 {
				w.ask(slow, loadPage, 1, 600_000)
			}
		}},
		{"an enumeration of one path each", 900, "sustained by 203.0.113.9 on 10.10.10.10:80", func(w *loads, s int) {
			w.browse(slow, loadPage, 2, func(i int) int { return 1000 + 2*s + i })
		}},
		{"an interface behind TLS", 900, "sustained by 203.0.113.9 on 10.10.10.10:443", func(w *loads, s int) { w.ask(slow, "10.10.10.10:443", 2, 60_000) }},
		{"a third of the pace for hours", 7200, "sustained by 203.0.113.9 on 10.10.10.10:80", func(w *loads, s int) {
			if s%2 == 0 {
				w.browse(slow, loadPage, 1, func(i int) int { return 1000 + s })
			}
		}},
		{"many hosts", 900, "sustained by 203.0.113.9", func(w *loads, s int) {
			w.ask(slow, fmt.Sprintf("10.10.%d.%d:443", s%3, s/3%250), 2, 3000)
		}},
		{"who reads", 3600, "", func(w *loads, s int) {
			if s%15 < 2 {
				w.browse(slow, loadPage, 3, func(i int) int { return 1000 + s*3 + i })
				w.ask(slow, loadPage, 1, 90_000)
			}
		}},
		{"one that polls a small state", 3600, "", func(w *loads, s int) {
			w.browse(slow, loadPage, 2, func(int) int { return 7 })
			if s%10 == 0 {
				w.ask(slow, loadPage, 0, 9000)
			}
		}},
		{"a burst of four minutes", 900, "", func(w *loads, s int) {
			if s < 240 {
				w.browse(slow, loadPage, 3, func(i int) int { return 1000 + 3*s + i })
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newRateLoads(t)
			usual := func(s int) {
				loadPeople(w, loadPage, s)
				loadPeople(w, "10.10.10.10:443", s+3)
			}
			w.run(1500, usual)
			w.run(c.seconds, func(s int) { usual(1500 + s); c.play(w, s) })
			var got []string
			for _, s := range w.story() {
				if strings.HasPrefix(s, "sustained") {
					got = append(got, s)
				}
			}
			if len(got) > 1 || strings.Join(got, "") != c.want || c.want != "" && w.worst() < 50 {
				t.Errorf("found %q (%d), want %q", w.story(), w.worst(), c.want)
			}
			for i := range w.found {
				if w.found[i].Kind == "sustained" {
					t.Log(w.at[i]-1500, w.found[i].Score, w.found[i].Summary)
					break
				}
			}
		})
	}
}

// TestRateTalkForged: what is sent under an address and never answered is no load of that address.
func TestRateTalkForged(t *testing.T) {
	for _, c := range []struct {
		pair tally.Pair
		want uint64
	}{
		{tally.Pair{Key: tally.PairKey{Proto: protoTCP}, Packets: 1000}, 0},
		{tally.Pair{Key: tally.PairKey{Proto: protoTCP}, Packets: 1000, BackPackets: 500}, 1500},
		{tally.Pair{Key: tally.PairKey{Proto: protoUDP}, Packets: 1000}, 1000}, // which never is called proven
	} {
		var talk rateTalk
		if talk.addPair(&c.pair); talk.packets != c.want {
			t.Errorf("%d packets, %d back: %d count, want %d", c.pair.Packets, c.pair.BackPackets, talk.packets, c.want)
		}
	}
}
