//go:build soak

package enforce

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoakReconcileTime prints how long a reconcile takes, and a change from Take to the kernel beside it.
func TestSoakReconcileTime(t *testing.T) {
	for _, n := range []int{20_000, 100_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWire(t)
			cfg := Defaults()
			cfg.Mode, cfg.Survive, cfg.Every = ModeXDP, false, 100*time.Millisecond
			dir := t.TempDir()
			var applied atomic.Int64
			a := w.start(t, cfg, func(o *Options) {
				o.Caps, o.Dir = Caps{n + 1000, 10_000}, dir
				o.Report = func(r Receipt) {
					if r.State == ReceiptApplied {
						applied.Add(1)
					}
				}
			})
			var in []Instruction
			for _, d := range many(n, time.Hour) {
				in = append(in, instruct(t, d))
			}
			begin := time.Now()
			a.Begin()
			a.Take(in)
			a.Whole()
			for a.Status().Enforced < n {
				if time.Since(begin) > 20*time.Second {
					t.Fatalf("%+v", a.Status())
				}
				time.Sleep(time.Millisecond)
			}
			t.Logf("first whole read of %d in force after %v", n, time.Since(begin))
			var took []time.Duration
			least := time.Hour
			for range 200 {
				d := drop("10.8.0.2", time.Hour)
				d.Until += int64(len(took)) * 5
				in := instruct(t, d)
				begin := time.Now()
				a.Take([]Instruction{in})
				for applied.Load() != int64(n+len(took)+1) {
					time.Sleep(50 * time.Microsecond)
				}
				took = append(took, time.Since(begin))
				least = min(least, a.Status().Took)
				time.Sleep(20 * time.Millisecond)
			}
			slices.Sort(took)
			s := a.Status()
			t.Logf("Take to kernel: median %v, p99 %v, most %v; a reconcile of %d takes %v at least", took[100], took[197], took[199], n, least)
			if s.DriftTotal.Sum() != 0 || s.Enforced != n+1 {
				t.Errorf("%+v", s)
			}
		})
	}
}
