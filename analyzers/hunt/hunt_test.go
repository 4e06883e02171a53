package hunt

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/decode/conn"
)

// office are connections of an office, and two that are unlike all of them: number n-2 sends much, number n-1 goes to a port of its own.
func office(n int, seed uint64) *Connections {
	chance := rand.New(rand.NewPCG(seed, 3))
	c := NewConnections(MaxRows)
	ip := func(s string) (a Connection) {
		a.Orig, a.Ver = packed(netip.MustParseAddr(s)), 4
		return a
	}
	about := func(middle float64) uint64 { return uint64(middle * math.Exp(chance.NormFloat64()*0.3)) }
	for i := range n {
		one := ip(fmt.Sprintf("10.0.0.%d", 1+chance.IntN(60)))
		one.First = 1767571200e9 + int64(i)*1e9
		one.State = conn.StateSF
		if chance.IntN(2) == 0 {
			one.Resp, one.Proto, one.RespPort = packed(netip.MustParseAddr("10.0.1.53")), udp, 53
			one.O, one.R = Side{Packets: 1, Payload: about(40), N: 1}, Side{Packets: 1, Payload: about(120), N: 1}
			one.Last = one.First + int64(about(2e6))
		} else {
			one.Resp, one.Proto, one.RespPort = packed(netip.MustParseAddr("10.0.1.80")), tcp, 443
			one.O, one.R = Side{Packets: about(9), Payload: about(1200), N: 3}, Side{Packets: about(14), Payload: about(15e3), N: 12}
			one.O.Flags, one.R.Flags = 0x1b, 0x1b
			one.Last = one.First + int64(about(400e6))
		}
		switch i {
		case n - 2:
			one.Resp, one.Proto, one.RespPort = packed(netip.MustParseAddr("203.0.113.9")), tcp, 443
			one.O, one.R = Side{Packets: 3_000_000, Payload: 4_200_000_000, N: 2_900_000}, Side{Packets: 1_500_000, Payload: 9000, N: 4}
			one.Last = one.First + 3600e9
		case n - 1:
			one.Resp, one.Proto, one.RespPort, one.State = packed(netip.MustParseAddr("203.0.113.8")), tcp, 31337, conn.StateS0
			one.O, one.R, one.Last = Side{Packets: 3}, Side{}, one.First+3e9
		}
		one.O.Bytes, one.R.Bytes = one.O.Payload+40*one.O.Packets, one.R.Payload+40*one.R.Packets
		c.Take(&one)
	}
	c.Finish()
	return c
}

// TestRunFinds tells the two connections that are unlike the others, and why, in words.
func TestRunFinds(t *testing.T) {
	c := office(4000, 1)
	r, err := Run(context.Background(), c, Defaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	first := []int{r.Outliers[0].Index, r.Outliers[1].Index}
	slices.Sort(first)
	if !slices.Equal(first, []int{3998, 3999}) {
		t.Fatalf("the first outliers are %v", first)
	}
	if r.Noise > 60 {
		t.Errorf("%d outliers of 4,000", r.Noise)
	}
	if !r.Proposed || len(r.Clusters) < 2 {
		t.Errorf("radius %v, %d clusters", r.Eps, len(r.Clusters))
	}
	for _, o := range r.Stories[:2] {
		text, _ := json.Marshal(o.Why)
		want := "its port had connections: 1 where"
		if o.Index == 3998 {
			want = "sent 4.2 GB where the middle sends"
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%d: %s; want %q", o.Index, text, want)
		}
	}
	all := ""
	for i := range r.Clusters {
		all += r.Clusters[i].Text + "\n"
	}
	for _, want := range []string{"udp/53", "tcp/443", "from 60 sources"} {
		if !strings.Contains(all, want) {
			t.Errorf("no cluster is told of %q:\n%s", want, all)
		}
	}
}

// TestRunDeterministic gives the same on one core and on four, and run twice.
func TestRunDeterministic(t *testing.T) {
	var first string
	for _, cores := range []int{1, 4, 4} {
		old := runtime.GOMAXPROCS(cores)
		r, err := Run(context.Background(), ByHost(office(3000, 2)), Config{MinSamples: 5, Rare: 0.1, Top: 10}, nil)
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(text)
		} else if string(text) != first {
			t.Errorf("%d cores: another result", cores)
		}
	}
}

// TestRunRefuses says what it cannot do.
func TestRunRefuses(t *testing.T) {
	if _, err := Run(context.Background(), office(30, 1), Defaults(), nil); err == nil || !strings.Contains(err.Error(), "too few") {
		t.Errorf("30 rows: %v", err)
	}
	e := NewEmbeddings(1000)
	for i := range 100 {
		if err := e.Line(fmt.Appendf(nil, "%d,1,2,3", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Run(context.Background(), e, Defaults(), nil); err == nil || !strings.Contains(err.Error(), "the same") {
		t.Errorf("equal rows: %v", err)
	}
	for _, c := range []Config{{Eps: -1, MinSamples: 20, Top: 1}, {Eps: math.NaN(), MinSamples: 20, Top: 1}, {MinSamples: 1, Top: 1}, {MinSamples: 20, Rare: 0.6, Top: 1}, {MinSamples: 20}} {
		if c.Check() == nil {
			t.Errorf("%+v passes", c)
		}
	}
}

// TestTurnKeepsDistances: with no more features than coordinates distances stay; with more none grows, and a row that differs only in what
// was cut off stays far.
func TestTurnKeepsDistances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.IntRange(1, 20).Draw(t, "dims")
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		e := NewEmbeddings(MaxRows)
		const n = 60
		for i := range n {
			v := make([]float32, dims)
			for d := range v {
				v[d] = float32(chance.NormFloat64())
			}
			if err := e.take(fmt.Sprint(i), v); err != nil {
				t.Fatal(err)
			}
		}
		tab, err := scale(context.Background(), e, func(string, float64) {})
		if err != nil {
			t.Fatal(err)
		}
		a := tab.turn()
		p, q := make([]float32, len(tab.used)), make([]float32, len(tab.used))
		for i := range n {
			for k := range i {
				tab.scaled(i, p)
				tab.scaled(k, q)
				before, after := math.Sqrt(float64(squared(p, q))), math.Sqrt(float64(squared(a.row(i), a.row(k))))
				if after > before+1e-3 || len(tab.used) < Components && after < before-1e-3 {
					t.Fatalf("%d features: %v became %v", dims, before, after)
				}
			}
		}
	})
}

// TestScaling: the median is 0, the quartiles are a unit apart, what is beyond Clip is cut, constants go.
func TestScaling(t *testing.T) {
	e := NewEmbeddings(MaxRows)
	for i := range 1001 {
		x := float32(i)
		if i == 1000 {
			x = 1e9
		}
		if err := e.take(fmt.Sprint(i), []float32{x, 7, float32(i % 1000 / 999)}); err != nil {
			t.Fatal(err)
		}
	}
	tab, err := scale(context.Background(), e, func(string, float64) {})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tab.dropped, []string{"number 2"}) || len(tab.used) != 2 {
		t.Errorf("dropped %v, used %v", tab.dropped, tab.used)
	}
	v := make([]float32, 2)
	for i, want := range map[int]float32{500: 0, 250: -0.5, 750: 0.5, 1000: Clip} {
		if tab.scaled(i, v); v[0] != want {
			t.Errorf("row %d is %v, want %v", i, v[0], want)
		}
	}
	if tab.scaled(999, v); v[1] < 5 { // once of 1,001: no interquartile range, so by the standard deviation
		t.Errorf("a rare number is %v units off", v[1])
	}
}

// TestKnee is where a curve turns; of a straight one its end.
func TestKnee(t *testing.T) {
	curve := make([]float64, 1000)
	for i := range curve {
		if curve[i] = 1 + float64(i)/1000; i >= 950 {
			curve[i] = 2 + float64(i-950)
		}
	}
	if got := turning(curve); got < 1.9 || got > 3 {
		t.Errorf("the knee is %v, the curve turns at 2", got)
	}
	if got := turning([]float64{3, 3, 3}); got != 3 {
		t.Errorf("a flat curve: %v", got)
	}
}

// TestReach is the distance to the nearest rows that have the weight, as brute force tells it.
func TestReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		p := clumps(80, 3, chance.Uint64())
		c := &condensed{Points: *p}
		for range p.Len() {
			c.Weight = append(c.Weight, 1+chance.Uint32N(9))
		}
		want := rapid.IntRange(1, 60).Draw(t, "weight")
		for i := range int32(c.Len()) {
			var all []float64
			for k := range int32(c.Len()) {
				for range c.Weight[k] {
					all = append(all, float64(squared(c.row(i), c.row(k))))
				}
			}
			slices.Sort(all)
			if got := float64(c.reach(i, want)); got != all[want-1] {
				t.Fatalf("point %d: %v, want %v", i, got, all[want-1])
			}
		}
	})
}

// TestReservoir draws each row equally often, within what chance allows.
func TestReservoir(t *testing.T) {
	const limit, rows = 1000, 20_000
	r := NewReservoir(limit)
	kept := make([]int, 0, limit)
	for i := range rows {
		if at := r.Place(); at == len(kept) {
			kept = append(kept, i)
		} else if at >= 0 {
			kept[at] = i
		}
	}
	var tenth [10]int
	for _, i := range kept {
		tenth[i*10/rows]++
	}
	if len(kept) != limit || r.Seen() != rows {
		t.Errorf("%d of %d", len(kept), r.Seen())
	}
	for i, n := range tenth {
		if n < 60 || n > 140 { // 100 expected, standard deviation 9.5
			t.Errorf("%d of the tenth %d", n, i)
		}
	}
}

// TestWords tells numbers as people do.
func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"4.2 GB": Bytes.in(4.2e9), "12 kB": Bytes.in(12_000), "999 B": Bytes.in(999), "1 kB": Bytes.in(999.6), "0 B": Bytes.in(0),
		"1.5 MB/s": ByteRate.in(1.5e6), "250 µs": Millis.in(0.25), "20 ms": Millis.in(20), "1.5 s": Millis.in(1500), "3h0m0s": Millis.in(3 * 3600e3),
		"3 days": Millis.in(3 * 86400e3), "12 %": Percent.in(0.12), "0.3 %": Percent.in(0.003), "40,000": Count.in(40_000), "0.01": Times.in(0.01), "467,000": Times.in(467_362),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestShape takes things of one sort together.
func TestShape(t *testing.T) {
	for path, want := range map[string]string{
		"/product/4711/reviews": "/product/0/reviews", "/Static/app.3f9a1c.js": "/static/app.0f0a0c.js", "/u/550e8400-e29b-41d4-a716-446655440000": "/u/x",
		"/": "/", "/page12.html": "/page0.html", "/images/..%2f..%2fetc/passwd": "/images/..%0f..%0fetc/passwd",
		"/" + strings.Repeat("a", 40): "/l",
	} {
		if got := shape(path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// TestHashedWords holds the hash: vectors of one version must mean the same in the next.
func TestHashedWords(t *testing.T) {
	v := make([]float32, HashDims)
	hashed(v, 'p', []string{"product", "0"}, 1)
	length := 0.0
	for _, x := range v {
		length += float64(x * x)
	}
	if math.Abs(length-1) > 1e-6 && length != 0 && math.Abs(length-2) > 1e-6 { // apart, or in one place with the same or the other sign
		t.Errorf("length² %v of %v", length, v)
	}
	if got := fmt.Sprintf("%x %x", hashWord('p', "product"), hashWord('q', "product")); got != hashesNow {
		t.Errorf("hashes are %s, were %s", got, hashesNow)
	}
}

const hashesNow = "552ea0c43cda84a1 abfdf24e90d667a8"

// TestEmbeddings reads both forms and refuses what is neither.
func TestEmbeddings(t *testing.T) {
	e := NewEmbeddings(10)
	for _, line := range []string{"name,width,height", "a,1,2", `"b", 3 ,4.5e1`, `{"id":"c","vector":[5,6]}`, `{"id":7,"vector":[7,8]}`} {
		if err := e.Line([]byte(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if !slices.Equal(e.ids, []string{"a", "b", "c", "7"}) || !slices.Equal(e.values, []float32{1, 2, 3, 45, 5, 6, 7, 8}) || e.Features()[1].Name != "height" {
		t.Errorf("%v %v %v", e.ids, e.values, e.Features())
	}
	for _, line := range []string{"x,1", "x,1,two", "x,1,NaN", "x,1,1e99", `{"id":"x","vector":[]}`, `{"vector":[1,2]}`, "x", `{"id":"x","vector":["1","2"]}`} {
		if err := e.Line([]byte(line)); err == nil {
			t.Errorf("%s: it was taken", line)
		}
	}
	if _, kept := e.Seen(); kept != 4 {
		t.Errorf("%d kept", kept)
	}
}
