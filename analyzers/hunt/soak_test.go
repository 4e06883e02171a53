//go:build soak

package hunt

import (
	"context"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestSoakMillion hunts in a million connections: at most 60 s of two cores and 2 GB. Other load on the machine does not count: it is the
// processor's time that is held.
func TestSoakMillion(t *testing.T) {
	c := office(1_000_000, 9)
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r, err := Run(context.Background(), c, Defaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wall := time.Since(begin)
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	spent := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("%d connections, %d points, radius %.3g, %d outliers: %v, %v of processors (%d), %d MB at most", r.Rows, r.Points, r.Eps, r.Noise,
		wall.Round(time.Millisecond), spent.Round(time.Millisecond), runtime.NumCPU(), after.Maxrss>>10)
	if spent > 2*60*time.Second || after.Maxrss > 2<<20 {
		t.Errorf("%v of processors, %d kB", spent, after.Maxrss)
	}
	if r.Labels[999_998] != Noise || r.Labels[999_999] != Noise {
		t.Error("the two that are unlike the others are not found")
	}
}

// TestSoakNoise clusters as many points as there can be, of which none is like another: what the limit of points is for.
func TestSoakNoise(t *testing.T) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		t.Fatal(err)
	}
	p := clumps(MaxPoints, Components, 5)
	if _, err := DBSCAN(context.Background(), p, 1.2, 20, nil); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		t.Fatal(err)
	}
	spent := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	if t.Logf("%v of processors", spent.Round(time.Millisecond)); spent > 60*time.Second {
		t.Errorf("%v of processors", spent)
	}
}
