package sensor

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
)

// telling is a frame whose bytes and length follow from its number, so that one look tells whether it is whole.
func telling(n int) decode.Frame {
	b := make([]byte, 20+n*7919%1200)
	binary.LittleEndian.PutUint64(b, uint64(n))
	for i := range b[8:] {
		b[8+i] = byte(n + i)
	}
	return decode.Frame{
		Data: b, Time: int64(n), WireLen: uint32(len(b) + n%3), Link: decode.LinkType(n % 5), Iface: uint16(n),
		Tags: [2]decode.Tag{{TPID: 0x8100, TCI: uint16(n % 4096)}, {TCI: uint16(n % 7)}},
	}
}

// whole reports the number of a frame, and whether it is what telling made, cut at snaplen, or as bulk.
func whole(f *decode.Frame, snaplen int) (int, bool) {
	n := int(binary.LittleEndian.Uint64(f.Data))
	want := telling(n)
	if len(want.Data) > 1024 {
		want.Data = want.Data[:192]
	}
	return n, bytes.Equal(f.Data, want.Data[:min(len(want.Data), snaplen)]) && f.Time == want.Time && f.WireLen == want.WireLen &&
		f.Link == want.Link && f.Iface == want.Iface && f.Tags == want.Tags
}

// TestRecent holds any sequence of frames, ticks and readings: what is read is whole, in order and never twice, and nothing is
// missing but what was overwritten.
func TestRecent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const snaplen = 600
		chunks := rapid.IntRange(4, 6).Draw(t, "chunks")
		r := newRecent(make([]byte, chunks*chunkBytes), snaplen)
		next, seen, closed, asked := 0, -1, -1, 0
		var after uint64
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.IntRange(0, 1200).Draw(t, "frames") {
				f := telling(next)
				r.add(&f)
				next++
			}
			if rapid.IntRange(0, 3).Draw(t, "ask") == 0 {
				r.closing.Store(true)
				closed = next - 1
				asked++ // a chunk that is closed early is not filled
			}
			r.tick()
			if !rapid.Bool().Draw(t, "read") {
				continue
			}
			first, before := -1, seen
			after = r.read(after, func(_ uint64, f *decode.Frame) {
				n, ok := whole(f, snaplen)
				if !ok || n <= seen || first >= 0 && n != seen+1 {
					t.Fatalf("frame %d (whole: %v) after %d", n, ok, seen)
				}
				if first < 0 {
					first = n
				}
				seen = n
			})
			if seen < closed {
				t.Fatalf("read up to %d, asked for up to %d", seen, closed)
			}
			if kept := (chunks - 1 - asked) * (chunkBytes - 2048) / (recentHeader + snaplen); first > before+1 && first > next-kept {
				t.Fatalf("the oldest of %d read is %d: at least %d are kept", next, first, kept)
			}
		}
		if lost := r.lost.Load(); lost > 0 {
			t.Fatalf("%d lost without a reader", lost)
		}
	})
}

// TestRecentBeside reads while frames are written: nobody waits, and no frame is read that is not whole.
func TestRecentBeside(t *testing.T) {
	const snaplen, frames = 256, 300_000
	r := newRecent(make([]byte, 6*chunkBytes), snaplen)
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range frames {
			f := telling(n % 5000)
			f.Time = int64(n % 5000)
			r.add(&f)
			if n%100 == 0 {
				r.tick()
			}
		}
		r.close()
	})
	read := 0
	var after uint64
	look := func() {
		after = r.read(after, func(_ uint64, f *decode.Frame) {
			read++
			if n, ok := whole(f, snaplen); !ok {
				t.Errorf("frame %d is not whole", n)
			}
		})
		r.closing.Store(true)
	}
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	for {
		look()
		select {
		case <-ended:
			look()
			if read == 0 {
				t.Error("nothing was read")
			}
			return
		default:
		}
	}
}

func BenchmarkRecent(b *testing.B) {
	r := newRecent(make([]byte, 32<<20), 512)
	f := telling(3)
	f.Data = append(f.Data, make([]byte, 1500)...)[:128]
	b.ReportAllocs()
	for b.Loop() {
		r.add(&f)
	}
}
