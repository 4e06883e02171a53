package sensor

import (
	"errors"
	"hash/fnv"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// shared is a worker's share of a recorded capture, handed out as live traffic: spread over the workers by a hash of the
// outer headers as the kernel's fanout does, a tick at a time, none before the judge has caught up.
type shared struct {
	frames []decode.Frame
	ticks  []int64      // that are handed out: those with traffic on any worker, and those in which something can fall due after it
	done   atomic.Int64 // ticks handed out
	engine *Engine
	drops  capture.Drops
}

func (s *shared) Next(b *capture.Block) error {
	b.Frames, b.Until = b.Frames[:0], 0
	if len(s.ticks) == 0 {
		return io.EOF
	}
	for s.behind() {
		time.Sleep(20 * time.Microsecond)
	}
	until := (s.ticks[0] + 1) * tally.Tick
	for len(s.frames) > 0 && len(b.Frames) < capture.BlockFrames && s.frames[0].Time < until {
		b.Frames = append(b.Frames, s.frames[0])
		s.frames = s.frames[1:]
	}
	if len(s.frames) > 0 && s.frames[0].Time < until {
		return nil // the block is full
	}
	b.Until = until
	s.ticks = s.ticks[1:]
	s.done.Add(1)
	return nil
}

// behind tells whether the judge still has a share of this worker, or another worker lags more than a tick.
func (s *shared) behind() bool {
	for _, w := range s.engine.live.workers {
		o := w.src.(*shared)
		if o == s && w.empty.Load() == nil || o.done.Load() < s.done.Load()-1 {
			return true
		}
	}
	return false
}

func (s *shared) Drops() capture.Drops { return s.drops }
func (*shared) Close() error           { return nil }

// spread reads a capture and deals its frames out.
func spread(t *testing.T, path string, workers int) []*shared {
	t.Helper()
	all := make([]*shared, workers)
	for i := range all {
		all[i] = &shared{}
	}
	src := capture.Files([]string{path}, false)
	defer src.Close()
	d := decode.NewDecoder(0)
	busy := map[int64]bool{}
	for {
		var b capture.Block
		err := src.Next(&b)
		for _, f := range b.Frames {
			f.Data = slices.Clone(f.Data)
			busy[f.Time/tally.Tick] = true
			to := all[flowHash(d, &f)%uint32(workers)]
			to.frames = append(to.frames, f)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tick := range slices.Collect(maps.Keys(busy)) {
		for after := range silence {
			busy[tick+after+1] = true
		}
	}
	ticks := slices.Sorted(maps.Keys(busy))
	for _, s := range all {
		slices.SortStableFunc(s.frames, func(a, b decode.Frame) int { return int(a.Time - b.Time) })
		s.ticks = ticks
	}
	return all
}

// flowHash is the same for both directions: addresses and ports, as the kernel's flow dissector sees them: ICMP errors by
// their own addresses, fragments without ports.
func flowHash(d *decode.Decoder, f *decode.Frame) uint32 {
	var p decode.Packet
	if !d.DecodeOuter(f, &p, 0) {
		d.Decode(f, &p)
	}
	h := fnv.New32a()
	a, b := p.Src()
	x, y := p.Dst()
	if p.Frag {
		b, y = 0, 0
	}
	lo, hi := a, x
	if hi.Less(lo) {
		lo, hi = hi, lo
	}
	for _, v := range []uint64{lo.Hi, lo.Lo, hi.Hi, hi.Lo, uint64(min(b, y)), uint64(max(b, y))} {
		h.Write([]byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24), byte(v >> 32), byte(v >> 40), byte(v >> 48), byte(v >> 56)})
	}
	return h.Sum32()
}

// liveAlerts runs a capture as live traffic.
func liveAlerts(t *testing.T, path string, workers int) ([]*alert.Alert, *Summary, *Status) {
	t.Helper()
	var all []*alert.Alert
	cfg := configOf(t, workers, path)
	cfg.Live = true
	e, err := New(cfg, Sinks{Alert: func(a *alert.Alert) { all = append(all, a) }})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var sources []capture.LiveSource
	for _, s := range spread(t, path, workers) {
		s.engine = e
		sources = append(sources, s)
	}
	sum, err := e.Live(sources)
	if err != nil {
		t.Fatal(err)
	}
	return all, sum, e.Status()
}

// TestLiveTruth runs every attack case as live traffic over two and four workers: what a replay finds, by whom and on whom, and
// nobody else accused.
func TestLiveTruth(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	for i, in := range cases(t) {
		if testing.Short() && i%8 != 2 {
			continue
		}
		dir := filepath.Dir(in)
		name := strings.TrimPrefix(dir, "../pcaps/")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, want, err := replay(t, 1, nil, in)
			if err != nil {
				t.Fatal(err)
			}
			if want.Last-want.First > int64(10*time.Minute) {
				return // played at speed, hours without traffic would be millions of ticks: what takes hours is a replay's to show
			}
			counts := []int{2, 4}
			if testing.Short() {
				counts = counts[:1]
			}
			for _, workers := range counts {
				got, sum, status := liveAlerts(t, in, workers)
				if sum.Link.Packets != want.Link.Packets || status.Link != sum.Link {
					t.Errorf("%d workers: %d packets of %d, status %d", workers, sum.Link.Packets, want.Link.Packets, status.Link.Packets)
				}
				if a, b := told(parse(t, out)), told(got); !slices.Equal(a, b) {
					t.Errorf("%d workers: a replay tells\n%s\nlive\n%s", workers, strings.Join(a, "\n"), strings.Join(b, "\n"))
				}
			}
		})
	}
}

// told is what alerts of medium severity or more say in the end.
func told(alerts []*alert.Alert) (all []string) {
	for _, a := range alerts {
		if a.Severity >= alert.Medium && a.State == alert.Closed {
			all = append(all, a.Analyzer+" "+a.Kind+" "+name(a.Subject)+" > "+name(a.Victim))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
