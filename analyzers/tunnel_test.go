package analyzers

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"weir/analyzers/tally"
)

// pinging makes ticks of echoes of two hosts: n requests each, of a size and content that the functions tell.
type pinging struct {
	size, back       func(i int) int // payload of the i-th request and of its reply; back 0: no reply
	content, returns func(i int) uint64
	perTick          int
}

func (p pinging) ticks(n int) (out []*tally.Epoch) {
	client, ver := packed("10.0.0.5")
	server, _ := packed("198.51.100.9")
	i := 0
	for tick := range n {
		e := &tally.Epoch{Tick: covertStart/tally.Tick + int64(tick), SketchKey: 7}
		echo := tally.Echo{Client: client, Server: server, Ver: ver, First: e.Start(), Last: e.Start() + 1, MinSize: 65535}
		note := func(size int, content uint64) {
			echo.MinSize, echo.MaxSize = min(echo.MinSize, uint16(size)), max(echo.MaxSize, uint16(size))
			echo.Sizes.Add(scramble(uint64(size), 1))
			echo.Contents.Add(scramble(content, 2))
		}
		for range p.perTick {
			echo.Requests++
			echo.RequestBytes += uint64(p.size(i))
			note(p.size(i), p.content(i))
			if p.back(i) > 0 {
				echo.Replies++
				echo.ReplyBytes += uint64(p.back(i))
				note(p.back(i), p.returns(i))
			}
			i++
		}
		if echo.Requests > 0 {
			e.Echoes = append(e.Echoes, echo)
		}
		out = append(out, e)
	}
	return out
}

func TestTunnelICMP(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	sizes := make([]int, 100000)
	for i := range sizes {
		sizes[i] = 32 + rng.IntN(1000)
	}
	fixed := func(n int) func(int) int { return func(int) int { return n } }
	one := func(int) uint64 { return 1 }
	each := func(i int) uint64 { return uint64(i) + 10 }
	other := func(i int) uint64 { return uint64(i) + 1e9 }
	random := func(i int) int { return sizes[i%len(sizes)] }
	shifted := func(i int) int { return sizes[(i+7)%len(sizes)] }
	lossy := func(back func(int) int) func(int) int {
		return func(i int) int {
			if i%3 == 0 {
				return 0
			}
			return back(i)
		}
	}
	for _, c := range []struct {
		name        string
		in          pinging
		ticks       int
		least, most int
	}{
		{"tunnel", pinging{random, shifted, each, other, 2}, 100, 75, 89},
		{"a slow tunnel of one size", pinging{fixed(84), fixed(84), each, other, 1}, 40, 75, 89},
		{"an upload that is acknowledged", pinging{fixed(1000), fixed(40), each, each, 1}, 100, 0, 0}, // two sizes, faithful contents
		{"an upload in pieces", pinging{random, fixed(28), each, other, 1}, 100, 75, 89},
		{"ping", pinging{fixed(56), fixed(56), one, one, 1}, 3000, 0, 0},
		{"ping -s 1400", pinging{fixed(1400), fixed(1400), one, one, 1}, 3000, 0, 0},
		{"ping -f", pinging{fixed(56), fixed(56), one, one, 100}, 300, 0, 0},
		{"ping with losses", pinging{fixed(56), lossy(fixed(56)), one, one, 5}, 300, 0, 0},
		{"path MTU", pinging{random, lossy(random), one, one, 2}, 300, 0, 0},
		{"random bytes, small", pinging{fixed(56), fixed(56), each, each, 1}, 6000, 0, 0},
		{"random bytes, small, lossy", pinging{fixed(56), lossy(fixed(56)), each, each, 1}, 6000, 0, 0},
		{"random bytes, large", pinging{fixed(1400), fixed(1400), each, each, 1}, 600, 55, 55},
		{"nineteen packets", pinging{fixed(1400), fixed(0), each, other, 1}, 19, 0, 0},
		{"one side only", pinging{random, fixed(0), each, other, 1}, 100, 55, 55},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []Finding
			a := NewTunnel(DefaultTunnel(), nil)
			for _, e := range c.in.ticks(c.ticks) {
				a.Judge(e, collect(&got))
			}
			a.Finish(collect(&got))
			s := severest(got)
			if s < c.least || s > c.most {
				t.Fatalf("score %d, want %d to %d: %+v", s, c.least, c.most, got)
			}
			for i := range got {
				f := &got[i]
				if f.Kind != "icmp" || f.Subject.Prefix.String() != "10.0.0.5/32" || f.Victim.Prefix.String() != "198.51.100.9/32" || f.MaxScore > 89 {
					t.Errorf("%+v", f)
				}
				if i > 0 && i < len(got)-1 && f.Time-got[i-1].Time < 1e9 {
					t.Error("repeated within a second")
				}
			}
		})
	}
}

// TestTunnelQuiet: after a silence of Quiet it is a new story; the evidence of the window before last is gone.
func TestTunnelQuiet(t *testing.T) {
	p := pinging{
		func(int) int { return 84 }, func(int) int { return 84 }, func(i int) uint64 { return uint64(i) },
		func(i int) uint64 { return uint64(i) + 1e9 }, 1,
	}
	var got []Finding
	a := NewTunnel(DefaultTunnel(), nil)
	for _, e := range p.ticks(100) {
		a.Judge(e, collect(&got))
	}
	first, n := got[0].First, len(got)
	for _, e := range p.ticks(9) {
		e.Tick += 36000
		e.Echoes[0].First, e.Echoes[0].Last = e.Start(), e.Start()
		a.Judge(e, collect(&got))
	}
	if len(got) != n {
		t.Fatal("eighteen packets after an hour of silence are found")
	}
	for _, e := range p.ticks(60) {
		e.Tick += 36100
		e.Echoes[0].First, e.Echoes[0].Last = e.Start(), e.Start()
		a.Judge(e, collect(&got))
	}
	if len(got) == n || got[n].First == first {
		t.Errorf("%d findings, %+v", len(got), got[n:])
	}
}

func BenchmarkTunnel(b *testing.B) {
	a := NewTunnel(DefaultTunnel(), nil)
	e := &tally.Epoch{SketchKey: 7}
	for i := range 10_000 {
		client, ver := packed("10.0.0.5")
		server, _ := packed("198.51.100.9")
		server.Lo += scramble(uint64(i), 1) % 100_000
		echo := tally.Echo{Client: client, Server: server, Ver: ver, Requests: 1, Replies: 1, RequestBytes: 56, ReplyBytes: 56}
		echo.Contents.Add(1)
		echo.Sizes.Add(1)
		e.Echoes = append(e.Echoes, echo)
	}
	b.ReportAllocs()
	for n := range b.N {
		e.Tick = covertStart/tally.Tick + int64(n)
		a.Judge(e, func(f *Finding) { b.Fatal(fmt.Sprint(f)) })
	}
}
