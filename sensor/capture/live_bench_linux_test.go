package capture

import (
	"runtime"
	"testing"
	"time"
)

// stocked is a live source of one interface, or of two, with packets in its ring.
type stocked struct {
	src LiveSource
	out [2]*sender
	of  [][]byte
	b   Block
}

func stock(t testing.TB, names ...string) *stocked {
	inNamespace(t)
	pair(t, "wcapa", "wcapb")
	pair(t, "wcapc", "wcapd")
	l, err := OpenLive(LiveDefaults(), names, 1, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stocked{src: l.Source(0), out: [2]*sender{newSender(t, "wcapb"), newSender(t, "wcapd")}}
	for i := range 1000 {
		s.of = append(s.of, frame(1, uint16(i), 5, 6, i, 58)) // 100 bytes
	}
	t.Cleanup(func() {
		if err := s.src.Close(); err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fill sends n thousand packets, by turns on each interface, and waits until the kernel has handed them over.
func (s *stocked) fill(t testing.TB, n, interfaces int) {
	for i := range n {
		if err := s.out[i%interfaces].send(s.of...); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(30 * time.Millisecond)
}

// read reads n thousand packets.
func (s *stocked) read(t testing.TB, n int) {
	for got := 0; got < n*1000; got += len(s.b.Frames) {
		if err := s.src.Next(&s.b); err != nil {
			t.Fatal(err)
		}
	}
}

// A packet costs no allocation, on one interface and on several.
func TestLiveAllocations(t *testing.T) {
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		done := make(chan struct{})
		go func() { // a thread of its own for each namespace
			defer close(done)
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
		}()
		<-done
	}
}

// Next for packets of 100 bytes that wait in the ring. The second copies them once more.
func BenchmarkLiveNext(b *testing.B) {
	for _, names := range [][]string{{"wcapa"}, {"wcapa", "wcapc"}} {
		b.Run(map[int]string{1: "one", 2: "merged"}[len(names)], func(b *testing.B) {
			s := stock(b, names...)
			b.ReportAllocs()
			b.ResetTimer()
			left := 0
			for n := b.N; n > 0; n -= left {
				left = min(n, 50_000)
				b.StopTimer()
				s.fill(b, 50, len(names))
				b.StartTimer()
				s.read(b, 50)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64((b.N+49_999)/50_000*50_000), "ns/packet")
		})
	}
}
