package baseline

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func service(n uint32) Key {
	return Key{Kind: KindService, Measure: MeasurePackets, Ver: 4, Proto: 6, Port: 443, Addr: [2]uint64{0, 0xffff<<32 | uint64(n)}}
}

const start int64 = monday * second

func near(a, b, share float64) bool { return math.Abs(a-b) <= share*max(math.Abs(a), math.Abs(b))+1e-9 }

func TestWarmup(t *testing.T) {
	s := New(Defaults())
	k := service(1)
	for i := range int64(600) {
		r := s.Series(k, start+i*second)
		if got, want := r.Normal(start+i*second).Warm, i > 120; got != want {
			t.Fatalf("second %d: warm %v", i, got)
		}
		r.Learn(start+i*second, float64(90+i%21))
	}
	n := s.Find(k).Normal(start + 600*second)
	if !near(n.Mean, 99.9, 0.01) || n.N != 600 || !near(n.P50, 100, 0.25) {
		t.Errorf("%+v", n)
	}
	if n.Exceeds(499, 5, 5) || !n.Exceeds(520, 5, 5) || n.FallsBelow(12, 5, 0.1) || !n.FallsBelow(3, 5, 0.1) {
		t.Errorf("limits: %+v", n)
	}
}

// TestWindow compares with all values of the parts of the window, in a slice.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(Defaults())
		r := s.Series(service(1), start)
		type value struct {
			sec int64
			v   float64
		}
		var all []value
		sec := int64(monday)
		for range rapid.IntRange(1, 60).Draw(t, "values") {
			gap := rapid.SampledFrom([]int64{1, 1, 1, 2, 30, 299, 300, 301, 1799, 3000}).Draw(t, "gap")
			v := float64(rapid.IntRange(0, 1000).Draw(t, "value"))
			if len(all) > 0 {
				for q := sec + 1; q < sec+gap; q++ {
					all = append(all, value{q, 0})
				}
			}
			sec += gap
			s.Advance(sec * second)
			if !r.warm() || r.quant.n < clipSamples { // clipping has tests of its own
				all = append(all, value{sec, v})
				r.Learn(sec*second, v)
			} else {
				all = append(all, value{sec, 0})
				r.Learn(sec*second, 0)
			}
			var sum, sq, n float64
			for _, one := range all {
				if one.sec/300 > sec/300-windowParts {
					sum, sq, n = sum+one.v, sq+one.v*one.v, n+1
				}
			}
			got := r.Normal(sec * second)
			if mean := sum / n; got.N != uint64(n) || !near(got.Mean, mean, 1e-9) || !near(got.Stddev, math.Sqrt(max(sq/n-mean*mean, 0)), 1e-6) {
				t.Fatalf("mean %v, stddev %v, n %v; want %v, %v, %v", got.Mean, got.Stddev, got.N, mean, math.Sqrt(sq/n-mean*mean), n)
			}
		}
	})
}

// TestQuantiles compares with sorted values: the error is at most a bucket's width.
func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, scale := range []float64{0.02, 1, 1e3, 1e9} {
		var q quantiles
		for range 5000 {
			q.add(scale * math.Exp(rng.NormFloat64()))
		}
		for share, want := range map[float64]float64{0.5: scale, 0.99: scale * math.Exp(2.326)} {
			if got := q.at(share); math.Abs(math.Log(got/want)) > math.Log(1.25) {
				t.Errorf("scale %v: quantile %v is %v, want %v", scale, share, got, want)
			}
		}
	}
	for i := range quantileBuckets {
		if bucket(edge(i)) != i || i+1 < quantileBuckets && bucket(math.Nextafter(edge(i+1), 0)) != i {
			t.Errorf("bucket %d begins at %v", i, edge(i))
		}
	}
}

func TestFreeze(t *testing.T) {
	s := New(Defaults())
	r := s.Series(service(1), start)
	at := start
	learn := func(seconds int, v float64) {
		for range seconds {
			at += second
			s.Advance(at)
			r.Learn(at, v)
		}
	}
	learn(1800, 100)
	before := r.Normal(at)
	r.Freeze(at)
	learn(7200, 5000)
	frozen := r.Normal(at)
	if frozen.Frozen = false; frozen != before {
		t.Errorf("frozen: %+v, was %+v", frozen, before)
	}
	r.Thaw(at)
	learn(10, 100)
	if n := r.Normal(at); n.Mean != 100 || n.Stddev != 0 || n.N < 1500 {
		t.Errorf("thawed: %+v", n)
	}
	r.Freeze(at)
	learn(600, 5000)
	r.Accept(at)
	if n := r.Normal(at); n.Warm || n.N != 0 {
		t.Errorf("accepted: %+v", n)
	}
	learn(300, 5000)
	if n := r.Normal(at); n.Mean != 5000 || !n.Warm || n.Exceeds(5500, 5, 5) {
		t.Errorf("new level: %+v", n)
	}
}

// TestOutlier: one wild second moves the mean by less than five of its own, and sparse traffic is not clipped away.
func TestOutlier(t *testing.T) {
	s := New(Defaults())
	r := s.Series(service(1), start)
	at := start
	for range 1800 {
		at += second
		r.Learn(at, 100)
	}
	r.Learn(at+second, 1e12)
	if n := r.Normal(at + 2*second); n.Mean > 101 || n.P99 > 600 {
		t.Errorf("after one second of 1e12: %+v", n)
	}
	sparse := s.Series(service(2), start)
	for i := int64(0); i < 86_400; i += 100 {
		sparse.Learn(start+i*second, 1000)
	}
	if n := sparse.Normal(start + 86_400*second); !near(n.Mean, 10, 0.1) {
		t.Errorf("1000 every 100 s: %+v", n)
	}
}

func TestStartedUnderAttack(t *testing.T) {
	s := New(Defaults())
	r := s.Series(service(1), start)
	at := start
	for range 3600 {
		at += second
		if r.LearnBelow(at, 50_000, 5000) {
			t.Fatal("learned the attack")
		}
	}
	if n := r.Normal(at); n.Warm || n.N != 0 || n.Held != 3600 || n.Exceeds(1e9, 5, 5) {
		t.Errorf("under attack: %+v", n)
	}
	for range 121 {
		at += second
		r.LearnBelow(at, 100, 5000)
	}
	n := r.Normal(at + second)
	if !n.Warm || n.Mean != 100 || !n.Exceeds(50_000, 5, 5) {
		t.Errorf("after it: %+v", n)
	}
	if !r.LearnBelow(at+second, 6000, 5000) { // warm: the floor is of no matter
		t.Error("not learned while warm")
	}
}

// TestNotLooking: time in which the sensor did not run is not quiet.
func TestNotLooking(t *testing.T) {
	cfg := Defaults()
	s := New(cfg)
	at := start
	for range 1800 {
		at += second
		s.Series(service(1), at).Learn(at, 100)
	}
	saved, _ := s.AppendBinary(nil)
	for _, gap := range []int64{60, 1000, 2000, 20 * 3600, -86_400} {
		s, err := Load(saved, cfg)
		if err != nil {
			t.Fatal(err)
		}
		now := at + gap*second
		s.Advance(now)
		r := s.Series(service(1), now)
		n := r.Normal(now)
		if want := max(gap, -gap) <= 1800; n.Warm != want || n.Warm && n.Mean != 100 {
			t.Errorf("after %d s: %+v", gap, n)
		}
		for i := range int64(200) {
			r.Learn(now+i*second, 100)
		}
		if n := r.Normal(now + 200*second); n.Mean != 100 || !n.Warm {
			t.Errorf("200 s later, after %d s: %+v", gap, n)
		}
	}
}

func TestPin(t *testing.T) {
	s := New(Defaults())
	r := s.Series(service(1), start)
	at := start
	for range 600 {
		at += second
		r.Learn(at, 100)
	}
	s.Pin()
	for range 10 * 3600 {
		at += second
		r.Learn(at, 400)
	}
	n := r.Normal(at)
	if mean, _, _ := n.Expected(); mean != 100 || n.Mean != 400 || !n.Pinned || !n.Exceeds(501, 5, 5) || n.P99 > 150 {
		t.Errorf("pinned: %+v", n)
	}
}

func TestCrossing(t *testing.T) {
	var c Crossing
	for i, over := range []bool{true, false, true, false, true} {
		c.Add(int64(monday+i), over)
		if got, want := c.Met(3, 5), i == 4; got != want {
			t.Errorf("second %d: %v", i, got)
		}
	}
	if c.Add(monday+6, false); c.Met(3, 5) || c.Count(5) != 2 {
		t.Error("a second that was left out is not over")
	}
	if c.Add(monday+500, true); c.Count(64) != 1 {
		t.Error("older than 64 s")
	}
}

// TestSaved: what was loaded is saved to the same bytes, and goes on alike.
func TestSaved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomStore(t)
		saved, err := s.AppendBinary([]byte("before"))
		if err != nil || !bytes.HasPrefix(saved, []byte("before"+magic)) {
			t.Fatal("no header", err)
		}
		saved = saved[6:]
		back, err := Load(saved, s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := back.AppendBinary(nil)
		if !bytes.Equal(saved, again) {
			t.Fatalf("saved %d bytes, again %d, other ones", len(saved), len(again))
		}
		now := (s.now + 10) * second
		for i := range uint32(40) {
			a, b := s.Find(service(i)), back.Find(service(i))
			if (a == nil) != (b == nil) {
				t.Fatalf("service %d is lost", i)
			}
			if a != nil && !a.frozen {
				back.observe(now)
				x, y := a.Normal(a.last*second+second), b.rolling()
				if x.Mean != y.Mean || x.Anchor != y.Anchor || x.P99 != y.P99 || x.Held != y.Held {
					t.Fatalf("%+v is %+v", x, y)
				}
			}
			f, l, known := s.SeenBefore(service(i))
			if f2, l2, known2 := back.SeenBefore(service(i)); f != f2 || l != l2 || known != known2 {
				t.Fatalf("seen %v %v %v, loaded %v %v %v", f, l, known, f2, l2, known2)
			}
		}
	})
}

// TestSame: the same calls leave the same bytes; the salt shows in the first-seen memory alone.
func TestSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed, calls := rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 3000).Draw(t, "calls")
		text := func(salt uint64) (saved []byte, lines string) {
			s := busyStore(t, seed, calls, salt)
			saved, _ = s.AppendBinary(nil)
			var b strings.Builder
			_ = s.Each(func(l *Line) error {
				one, err := json.Marshal(l)
				b.Write(one)
				return err
			})
			return saved, b.String()
		}
		a, lines := text(0)
		b, again := text(0)
		_, salted := text(42)
		if !bytes.Equal(a, b) || lines != again || lines != salted {
			t.Fatal("the same calls, other results")
		}
	})
}

// randomStore has done a little of everything.
func randomStore(t *rapid.T) *Store {
	return busyStore(t, rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 3000).Draw(t, "calls"), 0)
}

func busyStore(t *rapid.T, seed uint64, calls int, salt uint64) *Store {
	cfg := Defaults()
	cfg.Keys, cfg.Seen, cfg.Profiles, cfg.Spreads, cfg.Salt = 64, 64, 8, 16, salt
	s := New(cfg)
	rng := rand.New(rand.NewPCG(seed, 1))
	now := start
	for range calls {
		now += rng.Int64N(3) * rng.Int64N(300*second)
		k := service(uint32(rng.IntN(100)))
		r := s.Series(k, now)
		switch rng.IntN(8) {
		case 0:
			r.LearnRatio(now, float64(rng.IntN(5)), 5)
		case 1:
			r.Freeze(now)
		case 2:
			r.Thaw(now)
		case 3:
			s.Seen(k, now)
		case 4:
			s.Spread(k, now).Add(now, rng.ExpFloat64())
		case 5:
			r.LearnBelow(now, 1e4*rng.ExpFloat64(), 5e3)
		default:
			r.Normal(now)
			r.Learn(now, float64(rng.IntN(1000)))
		}
		s.Advance(now)
	}
	if s.table.len() > 64 || s.spreadAt.len() > 16 || len(s.profiles) > 8 {
		t.Fatal("out of bounds")
	}
	return s
}

func TestDamaged(t *testing.T) {
	s := New(Defaults())
	s.Series(service(1), start).Learn(start, 5)
	good, _ := s.AppendBinary(nil)
	for i := range good {
		for _, bad := range [][]byte{good[:i], append(append(bytes.Clone(good[:i]), good[i]^0x10), good[i+1:]...)} {
			var wrong *FormatError
			if _, err := Load(bad, Defaults()); !errors.As(err, &wrong) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}

// TestBursts: ten seconds of a download every hour are an alarm three times, and then known; ten times as much is not.
func TestBursts(t *testing.T) {
	rate := func(s int64) float64 {
		if s%3600 < 10 && s > 3600 {
			return 12_000_000
		}
		return 500
	}
	r := New(Defaults()).Series(service(1), start)
	found := walk(6, r, 0, 12*3600, 20, rate)
	if len(found) != 3 || found[2] > 3*3600+3600+10 {
		t.Errorf("alarms after %v, want the first three", hours(found, 0))
	}
	again := walk(6, clone(r), 12*3600, 13*3600, 20, func(s int64) float64 { return 10 * rate(s) })
	if len(again) != 1 {
		t.Errorf("ten times as much: alarms after %v, want one", hours(again, 12*3600))
	}
	r.Accept(start + 13*3600*second)
	if n := r.Normal(start + 13*3600*second); n.Burst != 0 {
		t.Errorf("%+v", n)
	}
	s := New(Defaults())
	s.cfg.Recurring = 0
	if found := walk(6, s.Series(service(1), start), 0, 12*3600, 20, rate); len(found) != 11 {
		t.Errorf("without memory of bursts: alarms after %v", hours(found, 0))
	}
}

// TestHours: an hour counts from fifteen minutes on, for its hour of the week; until that is known, for the same hour of other
// days.
func TestHours(t *testing.T) {
	r := New(Defaults()).Series(service(1), start)
	for s := int64(0); s < 2*day; s++ { // Monday and Tuesday: more from 9 to 10, and ten minutes only of the hour from 12
		v, minute := 10.0, s%day/60
		if minute >= 540 && minute < 600 {
			v = 30 + 10*float64(s/day)
		}
		if minute < 730 || minute >= 780 {
			r.Learn(start+s*second, v)
		} else {
			r.Freeze(start + s*second)
			r.Thaw(start + s*second)
		}
	}
	for _, c := range []struct {
		at    int64 // hour
		mean  float64
		known bool
		own   bool
	}{
		{7*24 + 9, 30, true, true},
		{8*24 + 9, 40, true, true},
		{2*24 + 9, 40, true, false}, // Wednesday: the highest that is known
		{7*24 + 12, 0, false, false},
	} {
		r := clone(r)
		r.store.Advance(start + c.at*3600*second)
		if n := r.Normal(start + (c.at*3600+600)*second); n.HourWarm != c.known || n.OwnHour != c.own || !near(n.Hour, c.mean, 1e-6) {
			t.Errorf("hour %d: %+v", c.at, n)
		}
	}
	if l := r.line(); l.Hours["Mon 09"] != [3]float64{30, 0, 3600} || l.Hours["Tue 09"][0] != 40 || len(l.Hours) != 45 {
		t.Errorf("hours: %v", l.Hours)
	}
}
