//go:build soak

package store

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"weir/decode/conn"
)

// TestSoakCost writes ten million generated connections, as a site of 3,000 a second has them, and holds what they cost: of the processor,
// by its own account of this process (others run beside it), of the disk, and of memory.
func TestSoakCost(t *testing.T) {
	const rows, chunk = 10_000_000, 200_000
	folder := t.TempDir()
	s := openTest(t, testConfig(), folder)
	site := newTraffic(5, noon, 3000)
	records := make([]conn.Record, chunk)
	var used time.Duration
	var heap, base runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&base)
	for done := 0; done < rows; done += chunk {
		for i := range records {
			site.next(&records[i])
		}
		runtime.GC() // what generating left is not the store's
		begin := processor(t)
		for i := range records {
			s.put(&records[i])
		}
		for s.Stats().Backlog > 0 {
			time.Sleep(time.Millisecond)
		}
		used += processor(t) - begin
	}
	runtime.GC()
	runtime.ReadMemStats(&heap)
	kept := (int64(heap.HeapAlloc) - int64(base.HeapAlloc)) >> 20
	begin := processor(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	used += processor(t) - begin
	st := s.Stats().Kinds[Flows]
	if st.Rows != rows {
		t.Fatalf("%+v", st)
	}
	speed, size := rows/used.Seconds(), float64(st.Written)/rows
	t.Logf("%.0f rows/s a core, %.1f bytes a row, %d files; heap with all open %d MiB, the generator's connections in it", speed, size, st.Finished, kept)
	if speed < 300_000 || size > 40 {
		t.Errorf("want 300000 rows/s or more, and 40 bytes or less")
	}
	begin = processor(t)
	n := count(Read(t.Context(), folder, Query{}))
	t.Logf("reading all columns of %d rows: %.0f rows/s a core", n, float64(n)/(processor(t)-begin).Seconds())
	begin = processor(t)
	n = count(Read(t.Context(), folder, Query{Columns: ColIPBytes}))
	t.Logf("reading ends and bytes of %d rows: %.0f rows/s a core", n, float64(n)/(processor(t)-begin).Seconds())
}

// processor is the time that this process has used of processors.
func processor(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
