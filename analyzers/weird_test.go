package analyzers

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
)

// weirdWorld makes epochs of oddities and judges them.
type weirdWorld struct {
	t     *testing.T
	site  *Site
	a     *Weird
	tick  int64
	odds  []tally.Odd
	from  []tally.Source
	found []Finding
}

const weirdStart = 1_760_000_000 * ticksPerSecond

func newWeirdWorld(t *testing.T, change func(*WeirdConfig)) *weirdWorld {
	cfg := DefaultWeird()
	if change != nil {
		change(&cfg)
	}
	w := &weirdWorld{t: t, site: NewSite(nil, nil), tick: weirdStart}
	w.a = NewWeird(cfg, w.site)
	return w
}

func weirdAddr(s string) (decode.Addr, uint8) {
	if s == "" {
		return decode.Addr{}, 4
	}
	a := netip.MustParseAddr(s)
	if a.Is6() {
		return decode.AddrFrom(a), 6
	}
	return decode.AddrFrom(a), 4
}

// odd adds a peculiarity to the running tick.
func (w *weirdWorld) odd(kind tally.OddKind, src, dst string, mac uint64, n int) {
	at := w.tick * tally.Tick
	s, ver := weirdAddr(src)
	d, _ := weirdAddr(dst)
	w.odds = append(w.odds, tally.Odd{Kind: kind, Ver: ver, Src: s, Dst: d, MAC: mac, Count: uint64(n), First: at, Last: at})
}

// end judges the tick.
func (w *weirdWorld) end() {
	e := tally.Epoch{Tick: w.tick, SketchKey: 7, Odds: w.odds, Sources: w.from, Link: tally.Link{Packets: 1}}
	w.site.Begin(e.End())
	w.a.Judge(&e, func(f *Finding) {
		w.found = append(w.found, *f)
		if f.Score >= 25 {
			w.site.Alarm(f)
		}
	})
	w.tick++
	w.odds, w.from = w.odds[:0], w.from[:0]
}

// run ends ticks for so many seconds, filled by each.
func (w *weirdWorld) run(seconds int, each func(tick int)) {
	for i := range seconds * int(ticksPerSecond) {
		if each != nil {
			each(i)
		}
		w.end()
	}
}

// worst is the highest score of a kind, and of all others.
func (w *weirdWorld) worst(kind string) (own, others int) {
	for i := range w.found {
		if f := &w.found[i]; f.Kind == kind {
			own = max(own, min(f.Score, f.MaxScore))
		} else {
			others = max(others, min(f.Score, f.MaxScore))
		}
	}
	return own, others
}

const (
	ownMAC = 0x02_00_00_00_00_01
	badMAC = 0x02_00_00_00_00_66
)

// TestWeird: each kind, once and repeated, and what looks like it. Scores are of the worst finding.
func TestWeird(t *testing.T) {
	every := func(w *weirdWorld, tick, ticks int, kind tally.OddKind, src, dst string, mac uint64) {
		if tick%ticks == 0 {
			w.odd(kind, src, dst, mac, 1)
		}
	}
	for _, c := range []struct {
		name     string
		kind     string
		from, to int // of the score
		build    func(w *weirdWorld)
	}{
		{"LAND once", "land", 25, 49, func(w *weirdWorld) { w.odd(tally.OddLand, "10.0.0.5", "10.0.0.5", 0, 1) }},
		{"LAND", "land", 50, 69, func(w *weirdWorld) {
			w.run(20, func(i int) { every(w, i, 10, tally.OddLand, "10.0.0.5", "10.0.0.5", 0) })
		}},
		{"teardrop once", "teardrop", 25, 49, func(w *weirdWorld) { w.odd(tally.OddFragment, "192.0.2.9", "10.0.0.5", 0, 1) }},
		{"teardrop", "teardrop", 50, 69, func(w *weirdWorld) { w.odd(tally.OddFragment, "192.0.2.9", "10.0.0.5", 0, 40) }},
		{"two broken packets", "bad_flags", 0, 0, func(w *weirdWorld) { w.odd(tally.OddFlags, "192.0.2.9", "10.0.0.5", 0, 2) }},
		{"bad flags", "bad_flags", 50, 60, func(w *weirdWorld) {
			w.run(30, func(i int) { every(w, i, 10, tally.OddFlags, "192.0.2.9", "10.0.0.5", 0) })
		}},
		{"a burst of bad flags", "bad_flags", 25, 49, func(w *weirdWorld) {
			w.run(5, func(i int) { every(w, i, 1, tally.OddFlags, "192.0.2.9", "10.0.0.5", 0) })
		}},
		{"flags of a scanner", "bad_flags", 25, 49, func(w *weirdWorld) {
			p := netip.MustParsePrefix("192.0.2.9/32")
			w.site.Alarm(&Finding{Analyzer: "scan", Score: 60, Time: w.tick * tally.Tick, Quiet: 600e9, Subject: Party{Prefix: p}})
			w.run(60, func(i int) { every(w, i, 10, tally.OddFlags, "192.0.2.9", fmt.Sprintf("10.0.0.%d", i%100+1), 0) })
		}},
		{"martians", "martian", 50, 60, func(w *weirdWorld) {
			w.run(30, func(i int) { every(w, i, 2, tally.OddSource, "127.0.0.1", "10.0.0.5", 0) })
		}},
		{"martians of a flood", "martian", 25, 49, func(w *weirdWorld) {
			p := netip.MustParsePrefix("10.0.0.5/32")
			w.site.Alarm(&Finding{Analyzer: "flood", Score: 80, Time: w.tick * tally.Tick, Quiet: 600e9, Victim: Party{Prefix: p, Port: 80, Proto: protoTCP}})
			w.run(30, func(i int) { every(w, i, 2, tally.OddSource, fmt.Sprintf("127.0.0.%d", i%200), "10.0.0.5", 0) })
		}},
		{"split handshake", "split_handshake", 25, 49, func(w *weirdWorld) { w.odd(tally.OddSplit, "192.0.2.9", "10.0.0.5", 0, 1) }},
		{"split handshakes", "split_handshake", 50, 60, func(w *weirdWorld) {
			w.run(20, func(i int) { every(w, i, 10, tally.OddSplit, "192.0.2.9", "10.0.0.5", 0) })
		}},
		{"two ways with other hops", "ttl", 0, 0, func(w *weirdWorld) { w.odd(tally.OddTTL, "192.0.2.9", "10.0.0.5", 0, 2) }},
		{"a firewall that resets", "ttl", 25, 49, func(w *weirdWorld) {
			w.run(100, func(i int) { every(w, i, 1, tally.OddTTL, "192.0.2.9", "10.0.0.5", 0) })
		}},
		{"sent again after the MTU changed", "overlap", 1, 24, func(w *weirdWorld) {
			w.run(100, func(i int) { every(w, i, 1, tally.OddOverlap, "192.0.2.9", "10.0.0.5", 0) })
		}},

		{"a failover", "arp_conflict", 0, 0, func(w *weirdWorld) {
			w.run(100, func(i int) { every(w, i, 10, tally.OddARPClaim, "10.0.0.1", "", ownMAC) })
			w.run(100, func(i int) { every(w, i, 10, tally.OddARPGratuit, "10.0.0.1", "", badMAC) })
			w.run(100, func(i int) { every(w, i, 10, tally.OddARPClaim, "10.0.0.1", "", ownMAC) })
		}},
		{"VRRP that flaps", "arp_conflict", 25, 49, func(w *weirdWorld) {
			w.run(100, func(i int) { every(w, i, 10, tally.OddARPClaim, "10.0.0.1", "", ownMAC) })
			w.run(100, func(i int) {
				every(w, i, 10, tally.OddARPClaim, "10.0.0.1", "", map[bool]uint64{true: 0x00005e000105, false: ownMAC}[i/10%2 == 0])
			})
		}},
		{"two cards that answer", "arp_conflict", 25, 49, func(w *weirdWorld) {
			w.run(300, func(i int) {
				every(w, i, 50, tally.OddARPClaim, "10.0.0.1", "", ownMAC)
				every(w, i, 50, tally.OddARPClaim, "10.0.0.1", "", badMAC)
			})
		}},
		{"poisoned", "arp_conflict", 50, 69, func(w *weirdWorld) {
			w.run(20, func(i int) { every(w, i, 50, tally.OddARPClaim, "10.0.0.1", "", ownMAC) })
			w.run(60, func(i int) {
				every(w, i, 100, tally.OddARPClaim, "10.0.0.1", "", ownMAC)
				every(w, i+5, 20, tally.OddARPClaim, "10.0.0.1", "", badMAC)
			})
		}},
		{"containers that take addresses over", "arp_conflict", 0, 0, func(w *weirdWorld) {
			w.run(200, func(i int) { every(w, i, 10, tally.OddARPGratuit, "172.17.0.2", "", ownMAC+uint64(i/1000)) })
		}},
		{"keepalived", "arp_storm", 0, 0, func(w *weirdWorld) { // a hundred addresses, five times, and again after five seconds
			for range 2 {
				for i := range 100 {
					w.odd(tally.OddARPGratuit, fmt.Sprintf("10.0.0.%d", i+1), "", ownMAC, 5)
				}
				w.run(5, nil)
			}
		}},
		{"storm", "arp_storm", 25, 49, func(w *weirdWorld) {
			w.run(10, func(int) { w.odd(tally.OddARPGratuit, "10.0.0.9", "", badMAC, 12) })
		}},
		{"storm that lasts", "arp_storm", 50, 69, func(w *weirdWorld) {
			w.run(40, func(int) { w.odd(tally.OddARPGratuit, "10.0.0.9", "", badMAC, 12) })
		}},

		{"one DHCP server", "rogue_dhcp", 0, 0, func(w *weirdWorld) {
			w.run(100, func(i int) { every(w, i, 10, tally.OddDHCPServer, "10.0.0.1", "", 0) })
		}},
		{"two DHCP servers of an unknown site", "rogue_dhcp", 1, 24, func(w *weirdWorld) {
			w.run(100, func(i int) {
				every(w, i, 10, tally.OddDHCPServer, "10.0.0.1", "", 0)
				every(w, i+5, 10, tally.OddDHCPServer, "10.0.0.2", "", 0)
			})
		}},
		{"a second router of an unknown site", "rogue_router", 1, 24, func(w *weirdWorld) {
			w.run(100, func(i int) {
				every(w, i, 100, tally.OddRouter, "fe80::1", "", 0)
				every(w, i+50, 100, tally.OddRouter, "fe80::2", "", 0)
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeirdWorld(t, nil)
			c.build(w)
			w.end()
			w.a.Finish(func(f *Finding) { w.found = append(w.found, *f) })
			if own, others := w.worst(c.kind); own < c.from || own > c.to || others > 0 {
				t.Errorf("score %d, want %d to %d; of other kinds %d", own, c.from, c.to, others)
			}
			for i := range w.found {
				if f := &w.found[i]; f.Summary == "" || f.First > f.Last || f.Count == 0 || f.Last > f.Time {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// TestWeirdAnnouncers: lists, and what the memory knows.
func TestWeirdAnnouncers(t *testing.T) {
	list := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.9.1")}
	for _, c := range []struct {
		name   string
		change func(*WeirdConfig)
		known  []string // an hour ago, with learn at an hour
		then   []string // each answers twelve times
		worst  int
		who    string
	}{
		{"two servers and a relay of the list", func(c *WeirdConfig) { c.DHCPServers = list }, nil, []string{"10.0.0.1", "10.0.0.2", "10.0.9.1"}, 0, ""},
		{"not on the list", func(c *WeirdConfig) { c.DHCPServers = list }, nil, []string{"10.0.0.1", "10.0.0.66"}, 60, "10.0.0.66"},
		{"two that are known", nil, []string{"10.0.0.1", "10.0.0.2"}, []string{"10.0.0.1", "10.0.0.2"}, 0, ""},
		{"new beside one that is known", nil, []string{"10.0.0.1"}, []string{"10.0.0.1", "10.0.0.66"}, 55, "10.0.0.66"},
		{"new in place of one that is known", nil, []string{"10.0.0.1"}, []string{"10.0.0.2"}, 35, "10.0.0.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeirdWorld(t, func(cfg *WeirdConfig) {
				cfg.Learn = time.Hour
				if c.change != nil {
					c.change(cfg)
				}
			})
			for _, s := range c.known {
				w.odd(tally.OddDHCPServer, s, "", 0, 1)
			}
			w.end()
			w.found = nil
			w.tick += 3700 * ticksPerSecond
			for range 12 {
				for _, s := range c.then {
					w.odd(tally.OddDHCPServer, s, "", 0, 1)
				}
				w.run(2, nil)
			}
			worst := 0
			for i := range w.found {
				f := &w.found[i]
				worst = max(worst, f.Score)
				if who := f.Subject.Prefix.Addr().String(); who != c.who {
					t.Errorf("%s: %s", who, f.Summary)
				}
			}
			if worst != c.worst {
				t.Errorf("score %d, want %d", worst, c.worst)
			}
		})
	}
}

// TestWeirdKnownMACs: an address of two MACs is told until both are known.
func TestWeirdKnownMACs(t *testing.T) {
	w := newWeirdWorld(t, func(c *WeirdConfig) { c.Learn = time.Hour })
	both := func(i int) {
		if i%100 < 2 {
			w.odd(tally.OddARPClaim, "10.0.0.1", "", ownMAC+uint64(i%100), 1)
		}
	}
	w.run(3700, both)
	if len(w.found) == 0 {
		t.Error("not told at first")
	}
	w.found = nil
	w.run(600, both)
	if len(w.found) > 0 {
		t.Errorf("%d findings of what is known: %s", len(w.found), w.found[0].Summary)
	}
}

// TestWeirdPrivate: sources of private ranges that are not the site's, if nobody answers them.
func TestWeirdPrivate(t *testing.T) {
	networks := context.New(context.Config{Inside: []context.Prefix{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}, {Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}, nil, nil)
	for _, c := range []struct {
		name, src string
		networks  *context.Networks
		answered  uint32
		want      bool
	}{
		{"private", "192.168.7.7", networks, 0, true},
		{"carrier's", "100.64.0.9", networks, 0, true},
		{"answered", "172.17.0.2", networks, 1, false},
		{"inside", "10.3.2.1", networks, 0, false},
		{"public", "198.51.100.9", networks, 0, false},
		{"by default private is inside", "192.168.7.7", nil, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWeirdWorld(t, nil)
			if c.networks != nil {
				w.site.Networks = c.networks
			}
			src, ver := weirdAddr(c.src)
			dst, _ := weirdAddr("203.0.113.10")
			w.run(80, func(i int) {
				if i%10 == 0 {
					at := w.tick * tally.Tick
					s := tally.Source{Addr: src, Ver: ver, Opened: 1, First: at, Last: at, NContacts: 1, Answered: c.answered}
					s.Contacts[0].Dst = dst
					w.from = append(w.from, s)
				}
			})
			own, others := w.worst("private_source")
			if (own >= 50) != c.want || others > 0 {
				t.Errorf("score %d, others %d", own, others)
			}
		})
	}
}

// TestWeirdPrivateVictim: who tries one host of the site does it to that host, who tries several does it to none of them alone.
func TestWeirdPrivateVictim(t *testing.T) {
	for hosts, victim := range map[int]string{1: "203.0.113.10/32", 6: ""} {
		w := newWeirdWorld(t, nil)
		w.site.Networks = context.New(context.Config{Inside: []context.Prefix{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}}, nil, nil)
		src, ver := weirdAddr("172.16.99.9")
		w.run(20, func(i int) {
			if i > 0 {
				return
			}
			at := w.tick * tally.Tick
			s := tally.Source{Addr: src, Ver: ver, Opened: 6, First: at, Last: at, NContacts: 6}
			for j := range 6 {
				s.Contacts[j].Dst, _ = weirdAddr(fmt.Sprintf("203.0.113.%d", 10+j%hosts))
				s.Contacts[j].Port = uint16(j)
			}
			w.from = append(w.from, s)
		})
		if len(w.found) == 0 {
			t.Fatal("nothing found")
		}
		got, count := "", uint64(0)
		for i := range w.found {
			if f := &w.found[i]; f.Victim.Prefix.IsValid() {
				got = f.Victim.Prefix.String()
			}
			count += w.found[i].Count
		}
		if got != victim || count != 6 {
			t.Errorf("%d hosts: victim %q, %d contacts", hosts, got, count)
		}
	}
}

// TestWeirdBounds: of a kind sixteen are named, the rest is one and low; tables stay as large as they were made, and what they
// cost is counted.
func TestWeirdBounds(t *testing.T) {
	w := newWeirdWorld(t, func(c *WeirdConfig) { c.Cases, c.Addresses = 64, 64 })
	w.run(30, func(i int) {
		for j := range 50 {
			w.odd(tally.OddLand, fmt.Sprintf("10.0.%d.%d", i%250, j+1), fmt.Sprintf("10.0.%d.%d", i%250, j+1), 0, 20)
			w.odd(tally.OddARPClaim, fmt.Sprintf("10.0.%d.%d", i%250, j+1), "", uint64(i), 1)
			w.odd(tally.OddDHCPServer, fmt.Sprintf("10.1.%d.%d", i%250, j+1), "", 0, 1)
		}
	})
	victims := map[string]bool{}
	for i := range w.found {
		if f := &w.found[i]; f.Kind == "land" {
			victims[f.Victim.Prefix.String()] = true
			if !f.Victim.Prefix.IsValid() && f.Score >= 50 {
				t.Errorf("%d: %s", f.Score, f.Summary)
			}
		}
	}
	if len(victims) > maxWeird+1 || len(victims) < 10 {
		t.Errorf("%d victims named", len(victims))
	}
	if n := len(w.a.named); n > maxWeird+1 {
		t.Errorf("%d named", n)
	}
	for _, c := range w.a.Costs() {
		if c.N == 0 {
			t.Errorf("%s cost nothing", c.Limit)
		}
	}
	if n := len(w.a.link.dhcp.list); n > maxAnnouncers {
		t.Errorf("%d announcers", n)
	}
}

// TestWeirdTells: all evidence is told, at most once a second of each, and the same again.
func TestWeirdTells(t *testing.T) {
	run := func() []Finding {
		w := newWeirdWorld(t, nil)
		w.run(3, func(i int) {
			for j := range 5 {
				w.odd(tally.OddLand, fmt.Sprintf("10.0.0.%d", j+1), fmt.Sprintf("10.0.0.%d", j+1), 0, i+1)
				w.odd(tally.OddFlags, fmt.Sprintf("192.0.2.%d", j+1), "10.0.0.9", 0, 3)
			}
		})
		w.a.Finish(func(f *Finding) { w.found = append(w.found, *f) })
		n := len(w.found)
		w.a.Finish(func(f *Finding) { w.found = append(w.found, *f) })
		if len(w.found) != n {
			t.Error("told again at the end")
		}
		return w.found
	}
	found := run()
	if again := run(); !reflect.DeepEqual(found, again) {
		t.Error("not the same again")
	}
	counts, last := map[string]uint64{}, map[string]int64{}
	for i := range found {
		f := &found[i]
		key := f.Kind + f.Victim.Prefix.String() + f.Subject.Prefix.String()
		counts[key] += f.Count
		if l, ok := last[key]; ok && f.Time-l < 1e9 && i < len(found)-10 {
			t.Errorf("%s again after %v", key, time.Duration(f.Time-l))
		}
		last[key] = f.Time
	}
	for key, n := range counts {
		if want := map[bool]uint64{true: 30 * 31 / 2, false: 90}[strings.HasPrefix(key, "land")]; n != want {
			t.Errorf("%s: %d, want %d", key, n, want)
		}
	}
	if len(counts) != 10 {
		t.Errorf("%d findings' keys: %v", len(counts), slices.Collect(func(yield func(string) bool) {
			for k := range counts {
				if !yield(k) {
					return
				}
			}
		}))
	}
}

// TestWeirdReconfigured: a list counts from the next epoch on.
func TestWeirdReconfigured(t *testing.T) {
	w := newWeirdWorld(t, nil)
	w.odd(tally.OddDHCPServer, "10.0.0.1", "", 0, 5)
	w.run(2, nil)
	if len(w.found) > 0 {
		t.Fatal(w.found[0].Summary)
	}
	reconfigured(t, w.a, func(c *Config) { c.Weird.DHCPServers = []netip.Addr{netip.MustParseAddr("10.0.0.2")} })
	w.odd(tally.OddDHCPServer, "10.0.0.1", "", 0, 5)
	w.end()
	if own, _ := w.worst("rogue_dhcp"); own != 60 {
		t.Errorf("score %d", own)
	}
}
