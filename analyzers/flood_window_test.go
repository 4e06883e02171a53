package analyzers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"weir/analyzers/tally"
	"weir/decode"
)

// TestFloodWindow: the sum slides over one second, forgets what is older, and survives jumps of event time.
func TestFloodWindow(t *testing.T) {
	for _, c := range []struct {
		name string
		at   map[int]int // handshakes by tick
		want []int64
	}{
		{"all in one tick", map[int]int{3: 500}, []int64{3}},
		{"first and last tick of a second", map[int]int{0: 250, 9: 250}, []int64{9}},
		{"a tick too far apart", map[int]int{0: 250, 10: 250}, nil},
		{"the middle slides", map[int]int{0: 200, 5: 200, 10: 200, 11: 100}, []int64{11}},
		{"over a jump", map[int]int{0: 499, 1000: 499}, nil},
		{"after a jump", map[int]int{0: 10, 1000: 499, 1009: 1}, []int64{1009}},
		{"across a second's border", map[int]int{7: 250, 14: 250}, []int64{14}},
		{"at most one finding a second", map[int]int{0: 500, 1: 500, 9: 500, 10: 500, 15: 500, 20: 500}, []int64{0, 10, 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRiver(t)
			var ticks []int
			for tick := range c.at {
				ticks = append(ticks, tick)
			}
			slices.Sort(ticks)
			for _, tick := range ticks {
				r.tick = floodStart + int64(tick)
				r.syn(host, 80, c.at[tick], 0, 0)
				r.flow()
			}
			if !slices.Equal(r.ticks, c.want) {
				t.Errorf("found in ticks %v, want %v", r.ticks, c.want)
			}
		})
	}
}

// TestFloodWindowSums compares the running sums with sums made anew, over random ticks and jumps.
func TestFloodWindowSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		var w floodWindow
		counted := map[int64]uint64{}
		tick := r.Int64N(1000) - 500
		for range 200 {
			var c floodCounts
			c[mUDP] = r.Uint64N(100)
			w.add(tick, &c)
			counted[tick] += c[mUDP]
			sum := uint64(0)
			for back := range int64(10) {
				sum += counted[tick-back]
			}
			if w.sum[mUDP] != sum {
				t.Fatalf("tick %d: sum %d, want %d", tick, w.sum[mUDP], sum)
			}
			tick += []int64{0, 1, 1, 1, 2, 5, 9, 10, 11, 500}[r.IntN(10)]
		}
	}
}

// TestFloodBounds: a million services, a million spoofed victims, and a flood among them.
func TestFloodBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	cfg := DefaultFlood()
	cfg.MaxVictims = 256
	f := NewFlood(cfg, nil)
	e := &tally.Epoch{}
	for i := range 1 << 20 { // 4,096 prefixes of 256 hosts, each host with a few handshakes
		e.Services = append(e.Services, tally.Service{
			Key: tally.ServiceKey{Addr: decode.Addr{Lo: 0xffff_1400_0000 + uint64(i)}, Ver: 4, Proto: protoTCP, Port: 80},
			SYN: 6, Packets: 6,
		})
	}
	e.Services[777_777].SYN, e.Services[777_777].Packets = 600, 600
	var found []string
	for i := range 5 {
		e.Tick = floodStart + int64(i)
		f.Judge(e, func(w *Finding) { found = append(found, w.Kind+" "+victimText(&w.Victim)) })
		for _, v := range []*victims{&f.services, &f.hosts, &f.prefixes} {
			if n := len(v.known) + len(v.free); n > 3*cfg.MaxVictims {
				t.Fatalf("%d victims kept, limit %d", n, cfg.MaxVictims)
			}
		}
	}
	if !slices.Contains(found, "syn 20.11.222.49:80") {
		t.Errorf("the one real flood is not among %d findings", len(found))
	}
	if f.Untracked() == 0 {
		t.Error("what found no room was not counted")
	}
	for i := range 1 << 20 {
		f.learn(&tally.Epoch{Normals: []tally.Header{{Dst: decode.Addr{Lo: uint64(i)}, Ver: 4}}})
	}
	if n := len(f.normal.hosts); n > cfg.MaxNormals || len(f.normal.place) != n {
		t.Errorf("normal headers of %d hosts kept, limit %d", n, cfg.MaxNormals)
	}
}

// TestFloodScanOfMillions: ten million probes of one source over ports and hosts raise no flood.
func TestFloodScanOfMillions(t *testing.T) {
	r := newRiver(t)
	r.run(15, func(i int) {
		e := r.epoch
		for port := range 1 << 16 {
			s := tally.Service{Key: tally.ServiceKey{Addr: decode.Addr{Lo: 0xffff_0a0a_0a00 + uint64(i)}, Ver: 4, Proto: protoTCP, Port: uint16(port)}, SYN: 1, Packets: 1}
			s.Sources.Add(1)
			e.Services = append(e.Services, s)
		}
	})
	r.want()
}

// TestFloodDeterministic: the same epochs give the same findings, word for word.
func TestFloodDeterministic(t *testing.T) {
	once := func() string {
		r := newRiver(t)
		r.run(40, func(i int) {
			for range 200 {
				r.syn(fmt.Sprintf("10.10.%d.%d", r.random.IntN(3), r.random.IntN(20)), uint16(r.random.IntN(5)), r.random.IntN(30), 0, 0)
			}
			r.sample(500, func(n int) tally.Header {
				return tally.Header{
					Dst: decode.Addr{Lo: 0xffff_0a0a_0000 + r.random.Uint64N(1<<10)}, DstPort: uint16(r.random.IntN(5)), Proto: protoTCP,
					Class: tally.ClassSYN, Src: decode.Addr{Lo: r.random.Uint64N(20)}, TTL: uint8(r.random.IntN(9)),
				}
			})
		})
		return fmt.Sprintf("%+v", r.found)
	}
	first := once()
	if len(first) < 1000 {
		t.Fatal("nothing was found")
	}
	for range 3 {
		if once() != first {
			t.Fatal("findings differ between runs")
		}
	}
}

func TestFloodConfigCheck(t *testing.T) {
	cfg := DefaultFlood()
	if err := cfg.Check(); err != nil {
		t.Error(err)
	}
	cfg.SYNPerSecond = 0
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "syn_per_second") {
		t.Errorf("floor 0: %v", err)
	}
}

// BenchmarkFloodJudge judges 100,000 services: of hosts that do little, and of hosts that are all worth a window, three
// times as many as there is room for.
func BenchmarkFloodJudge(b *testing.B) {
	for name, syns := range map[string]uint32{"idle": 1, "active": 2} {
		b.Run(name, func(b *testing.B) {
			f := NewFlood(DefaultFlood(), nil)
			e := &tally.Epoch{}
			for i := range 100_000 {
				s := tally.Service{Key: tally.ServiceKey{Addr: decode.Addr{Lo: 0xffff_1400_0000 + uint64(i/4*3)}, Ver: 4, Proto: protoTCP, Port: uint16(i % 4)}}
				s.SYN, s.Proven, s.Packets, s.BackPackets = syns, 1, 20, 20
				e.Services = append(e.Services, s)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e.Tick = floodStart + int64(i)
				f.Judge(e, func(*Finding) {})
			}
		})
	}
}

// FuzzFloodJudge: no epoch makes Judge panic or say more than a finding a second and key.
func FuzzFloodJudge(f *testing.F) {
	f.Add(uint64(1), int64(0), byte(30))
	f.Add(uint64(2), int64(17e9), byte(200))
	f.Fuzz(func(t *testing.T, seed uint64, tick int64, size byte) {
		r := rand.New(rand.NewPCG(seed, 0))
		flood := NewFlood(DefaultFlood(), nil)
		e := &tally.Epoch{Tick: max(min(tick, 1<<33), 0)}
		said := map[string]int64{}
		for range 30 {
			e.Services, e.Suspects, e.Normals = e.Services[:0], e.Suspects[:0], e.Normals[:0]
			for range size {
				e.Services = append(e.Services, randomService(r))
				h := tally.Header{
					Dst: decode.Addr{Lo: 0xffff_0a00_0000 + r.Uint64N(4)}, Src: decode.Addr{Lo: r.Uint64N(3)}, Ver: 4, DstPort: uint16(r.UintN(3)),
					SrcPort: uint16(r.UintN(60)), Proto: []uint8{1, 6, 17, 58, 99}[r.IntN(5)], Class: tally.Class(r.IntN(7)), NPayload: uint8(r.IntN(9)), Flags: uint16(r.UintN(512)),
				}
				e.Suspects = append(e.Suspects, h)
				e.Normals = append(e.Normals, h)
			}
			slices.SortFunc(e.Services, func(a, b tally.Service) int { return compareKeys(&a.Key, &b.Key) })
			e.Services = slices.CompactFunc(e.Services, func(a, b tally.Service) bool { return a.Key == b.Key })
			flood.Judge(e, func(w *Finding) {
				key := fmt.Sprint(w.Kind, w.Subject, w.Victim)
				if last, ok := said[key]; ok && e.Tick-last < ticksPerSecond {
					t.Errorf("%s said again after %d ticks", key, e.Tick-last)
				}
				said[key] = e.Tick
				if w.Score < 60 || w.Score > w.MaxScore || w.Confidence < 0 || !w.Victim.Prefix.IsValid() || w.First >= w.Last {
					t.Errorf("malformed %+v", w)
				}
			})
			e.Tick += int64(1 + r.IntN(4)*r.IntN(4))
		}
	})
}

// randomService has any counts, consistent or not.
func randomService(r *rand.Rand) tally.Service {
	n := func() uint64 { return r.Uint64() >> (20 + r.UintN(44)) }
	s := tally.Service{
		Key: tally.ServiceKey{
			Addr: decode.Addr{Lo: 0xffff_0a00_0000 + r.Uint64N(4)}, Ver: 4 + 2*uint8(r.IntN(2)), Port: uint16(r.UintN(60)),
			Proto: []uint8{1, 6, 17, 58, 99}[r.IntN(5)], Role: tally.Role(r.IntN(3)),
		},
		Packets: n(), Bytes: n(), BackPackets: n(), BackBytes: n(), Unanswered: n(), UnansweredBytes: n(), Fragments: n(), FragBytes: n(),
		StrayACK: n(), StrayACKBytes: n(), StrayRST: n(), StrayRSTBytes: n(),
		Opened: uint32(n()), SYN: uint32(n()), SYNACK: uint32(n()), Proven: uint32(n()), Refused: uint32(n()), Slow: uint32(n()),
	}
	s.Sources.Add(r.Uint64())
	return s
}
