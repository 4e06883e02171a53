package tally

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
	"weir/decode/conn"
)

// TestHLLAgainstTruth compares estimates with the number of distinct keys over many hash keys. The bounds are the standard
// error of the paper, 1.04/√64 = 13 %, and for linear counting √(m(e^t−t−1))/n with t = n/m (Whang, Vander-Zanden, Taylor
// 1990, theorem 4.1); the mean of 200 sketches may be off by three of its own standard errors and the known bias of the
// raw estimator between the two ranges, at most 5 %.
func TestHLLAgainstTruth(t *testing.T) {
	const sketches = 200
	for _, n := range []int{1, 2, 5, 10, 40, 100, 160, 300, 1000, 100000} {
		if n > 1000 && testing.Short() {
			continue
		}
		sum, squares := 0.0, 0.0
		for key := range uint64(sketches) {
			k := newKeys(key)
			var h HLL
			for i := range n {
				h.Add(k.addr(v4(uint32(10<<24 + i)))) // addresses in a row
				h.Add(k.addr(v4(uint32(10<<24 + i)))) // and again
			}
			off := float64(h.Count())/float64(n) - 1
			sum += off
			squares += off * off
		}
		load := float64(n) / registers
		err := 1.04 / math.Sqrt(registers)
		if load <= 2.5 {
			err = max(math.Sqrt(registers*(math.Exp(load)-load-1))/float64(n), 0.5/float64(n)) // rounding
		}
		mean, rms := sum/sketches, math.Sqrt(squares/sketches)
		t.Logf("n %6d: mean error %+.3f, rms %.3f, theory %.3f", n, mean, rms, err)
		if math.Abs(mean) > 3*err/math.Sqrt(sketches)+0.05 || rms > 1.3*err+0.02 {
			t.Errorf("n %d: mean error %+.3f, rms %.3f; theory %.3f", n, mean, rms, err)
		}
	}
}

func TestHLLUnion(t *testing.T) {
	k := newKeys(3)
	var a, b, both HLL
	for i := range uint32(500) {
		h := k.addr(decode.Addr{Hi: 0x20010db8 << 32, Lo: uint64(i)})
		both.Add(h)
		if i%3 == 0 {
			a.Add(h)
		}
		if i%3 != 0 || i%2 == 0 {
			b.Add(h)
		}
	}
	ab := a
	ab.Merge(&b)
	b.Merge(&a)
	if ab != both || b != both {
		t.Error("union of the parts differs from the sketch of all")
	}
}

// TestHLLMergeTakesMaximum compares the merge by words with one by registers.
func TestHLLMergeTakesMaximum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a, b, want HLL
		for i := range a {
			a[i], b[i] = rapid.Uint8Max(mostRank).Draw(t, "a"), rapid.Uint8Max(mostRank).Draw(t, "b")
			want[i] = max(a[i], b[i])
		}
		if a.Merge(&b); a != want {
			t.Fatalf("%v, want %v", a, want)
		}
	})
}

func TestHLLEmptyAndFull(t *testing.T) {
	var h HLL
	if n := h.Count(); n != 0 {
		t.Errorf("empty: %d", n)
	}
	for i := range h {
		h[i] = mostRank
	}
	if n := h.Count(); n < 1<<58 {
		t.Errorf("full: %d", n)
	}
}

// TestSampleOfPortsInARow samples a scan of 100 ports on each of 12 hosts as a source does, for many keys: at random no host
// has 12 of the 16 contacts more often than once in 10⁹ times.
func TestSampleOfPortsInARow(t *testing.T) {
	type ranked struct {
		rank uint64
		host int
	}
	for seed := range uint64(3000) {
		k := newKeys(seed * 0x9e3779b97f4a7c15)
		var all []ranked
		for host := range 12 {
			for port := range uint16(100) {
				c := conn.Contact{Dst: decode.Addr{Lo: 0xffff_0a140018 + uint64(host)}, Port: 1 + port, Proto: 6, Ver: 4}
				all = append(all, ranked{k.rankContact(&c), host})
			}
		}
		slices.SortFunc(all, func(a, b ranked) int { return cmp.Compare(a.rank, b.rank) })
		var hosts [12]int
		for _, r := range all[:SampleSize] {
			if hosts[r.host]++; hosts[r.host] == 12 {
				t.Fatalf("key %d: 12 of %d sampled contacts are of one host", seed, SampleSize)
			}
		}
	}
}
