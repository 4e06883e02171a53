package capture

import (
	"errors"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stocked is a live source of one interface, or of two, with packets in its ring.
type stocked struct {
	src LiveSource
	out [2]*sender
	of  [][]byte
	b   Block
}

func stock(t testing.TB, names ...string) *stocked {
	t.Helper()
	l, err := OpenLive(LiveDefaults(), names, 1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stocked{src: l.Source(0), out: [2]*sender{newSender(t, "wcapb"), newSender(t, "wcapd")}}
	for i := range 1000 {
		s.of = append(s.of, frame(1, uint16(i), 5, 6, i, 58)) // 100 bytes
	}
	t.Cleanup(func() {
		if err := errors.Join(s.src.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fill sends n thousand packets, by turns on each interface, and waits until the kernel has handed them over.
func (s *stocked) fill(t testing.TB, n, interfaces int) {
	t.Helper()
	for i := range n {
		if err := s.out[i%interfaces].send(s.of...); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(30 * time.Millisecond)
}

// read reads n thousand packets, and returns the processor time that this process took for it.
func (s *stocked) read(t testing.TB, n int) time.Duration {
	t.Helper()
	var from, to unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &from)
	for got := 0; got < n*1000; got += len(s.b.Frames) {
		if err := s.src.Next(&s.b); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &to)
	return time.Duration(to.Nano() - from.Nano())
}

// A packet costs no allocation, on one interface and on several.
func TestLiveAllocations(t *testing.T) {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		s := stock(t, names...)
		s.fill(t, 4, len(names))
		s.read(t, 4)
		s.fill(t, 20, len(names))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s.read(t, 20)
		runtime.ReadMemStats(&after)
		if n := after.Mallocs - before.Mallocs; n > 200 {
			t.Errorf("%v: %d allocations for 20000 packets", names, n)
		}
	}
}

// Next for packets of 100 bytes that wait in the ring, of one interface, and merged of two, which copies them once more.
func BenchmarkLiveNext(b *testing.B) {
	for name, names := range map[string][]string{"one": {"wcapa"}, "merged": {"wcapa", "wcapc"}} {
		b.Run(name, func(b *testing.B) {
			inNamespace(b)
			pair(b, "wcapa", "wcapb")
			pair(b, "wcapc", "wcapd")
			s := stock(b, names...)
			b.ReportAllocs()
			b.ResetTimer()
			const chunk = 100 // thousand packets
			var took time.Duration
			chunks := (b.N + chunk*1000 - 1) / (chunk * 1000)
			for range chunks {
				s.fill(b, chunk, len(names))
				took += s.read(b, chunk)
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(chunks*chunk*1000), "cpu-ns/packet")
			b.ReportMetric(0, "ns/op") // mostly the sender's
		})
	}
}

// What dealing costs the core that takes a packet in: packets of 100 bytes cross a virtual cable, and find the rings full.
func BenchmarkLiveFanout(b *testing.B) {
	for _, mode := range []string{"off", "pair", "hash", "cpu"} {
		b.Run(mode, func(b *testing.B) {
			inNamespace(b)
			pair(b, "wcapa", "wcapb")
			cfg := small()
			cfg.Fanout = mode
			l, err := OpenLive(cfg, []string{"wcapa"}, 2, nil, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = l.Close() })
			var of [][]byte
			for i := range 1000 {
				of = append(of, frame(1, uint16(i), 5, 6, i, 58))
			}
			s := newSender(b, "wcapb")
			for range 200 { // until the rings are full
				if err := s.send(of...); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			for sent := 0; sent < b.N; sent += len(of) {
				if err := s.send(of[:min(len(of), b.N-sent)]...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
