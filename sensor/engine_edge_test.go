package sensor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/sensor/alert"
	"weir/sensor/capture"
	"weir/sensor/traffic"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() { // the race detector has nothing to look for in one worker alone
		workerCounts = []int{2, 8}
	}
	goleak.VerifyTestMain(m)
}

// list is frames in memory as a Source.
type list struct {
	frames []decode.Frame
	before func(block int) // called before each block
	blocks int
}

func (l *list) Next(b *capture.Block) error {
	if l.before != nil {
		l.before(l.blocks)
	}
	l.blocks++
	n := min(capture.BlockFrames, len(l.frames))
	b.Frames = append(b.Frames[:0], l.frames[:n]...)
	l.frames = l.frames[n:]
	if n == 0 {
		return io.EOF
	}
	return nil
}

func (l *list) Close() error { return nil }

// output is all that a run gives.
type output struct {
	alerts, flows []byte
	sum           *Summary
	err           error
}

func runSource(t *testing.T, ctx context.Context, cfg Config, src capture.Source) output {
	t.Helper()
	var out output
	e, err := New(cfg, Sinks{
		Record: func(r *conn.Record) { out.flows = r.AppendZeek(r.AppendJSON(out.flows)) },
		Alert: func(a *alert.Alert) {
			var err error
			if out.alerts, err = a.AppendLine(out.alerts); err != nil {
				t.Error(err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	out.sum, out.err = e.Replay(ctx, src)
	return out
}

// same runs frames with several numbers of workers, which must not show, and returns the output.
func same(t *testing.T, frames []decode.Frame) output {
	t.Helper()
	var first output
	for i, workers := range workerCounts {
		got := runSource(t, context.Background(), config(workers), &list{frames: frames})
		if got.err != nil {
			t.Fatalf("%d workers: %v", workers, got.err)
		}
		if i == 0 {
			first = got
			continue
		}
		if !bytes.Equal(first.alerts, got.alerts) {
			t.Errorf("%d workers: other alerts:\n%s", workers, alert.Diff(parse(t, first.alerts), parse(t, got.alerts)))
		}
		if !bytes.Equal(first.flows, got.flows) {
			t.Errorf("%d workers: other flows", workers)
		}
		if got.sum.Link != first.sum.Link || got.sum.Backward != first.sum.Backward || got.sum.Discontinuities != first.sum.Discontinuities {
			t.Errorf("%d workers: other sums:\n%+v\n%+v", workers, got.sum.Link, first.sum.Link)
		}
	}
	return first
}

// made returns n frames of generated traffic.
func made(t *testing.T, kind string, n int) []decode.Frame {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in.pcap")
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(traffic.Write(f, kind, n), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	src, err := capture.Open(path, capture.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var b capture.Block
	var frames []decode.Frame
	for err == nil {
		err = src.Next(&b)
		for _, f := range b.Frames {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
	}
	if len(frames) != n {
		t.Fatalf("%d frames of %d: %v", len(frames), n, err)
	}
	return frames
}

// TestTimeBackwards counts steps back, judges what they brought, and does not stumble.
func TestTimeBackwards(t *testing.T) {
	frames := made(t, "mix", 50_000)
	want := uint64(0)
	for i := range frames {
		if i%7 == 0 {
			frames[i].Time -= int64(i%50) * 1e8 // up to 5 s, many ticks
		}
		if i > 0 && frames[i].Time < frames[i-1].Time {
			want++
		}
	}
	out := same(t, frames)
	if out.sum.Backward != want || want < 1000 {
		t.Errorf("%d steps back, want %d", out.sum.Backward, want)
	}
	if out.sum.Link.Packets != uint64(len(frames)) || out.sum.Discontinuities != 0 {
		t.Errorf("%d packets, %d jumps", out.sum.Link.Packets, out.sum.Discontinuities)
	}
	slices.Reverse(frames)
	if out = same(t, frames); out.sum.Link.Packets != uint64(len(frames)) {
		t.Errorf("reversed: %d packets", out.sum.Link.Packets)
	}
}

// TestTimeJumps counts jumps of more than an hour, once each, and takes no time for the ticks between.
func TestTimeJumps(t *testing.T) {
	const minute = int64(60e9)
	const years = 10 * 365 * 24 * 60 * minute
	for _, c := range []struct {
		jump  int64
		times int
		want  uint64
	}{{59 * minute, 1, 0}, {61 * minute, 1, 1}, {years, 1, 1}, {years, 3, 3}, {24 * 60 * minute, 100, 100}} {
		frames := made(t, "scan", 1000*(c.times+1))
		for i := range frames {
			frames[i].Time += int64(i/1000) * c.jump
		}
		start := time.Now()
		out := runSource(t, context.Background(), config(2), &list{frames: frames})
		if took := time.Since(start); took > 10*time.Second*time.Duration(1+c.times/10) { // ten years are 3e9 ticks
			t.Errorf("%d × %v: took %v", c.times, time.Duration(c.jump), took)
		}
		if out.sum.Discontinuities != c.want || out.err != nil {
			t.Errorf("%d × %v: %d discontinuities, want %d: %v", c.times, time.Duration(c.jump), out.sum.Discontinuities, c.want, out.err)
		}
		if c.times < 10 && !testing.Short() {
			same(t, frames)
		}
	}
}

// TestJumpEndsConnections ends more connections of one shard at once than any tick of steady traffic does: none is lost.
func TestJumpEndsConnections(t *testing.T) {
	const n = 8000
	var frames []decode.Frame
	for i := range uint16(n) {
		ask, answer := datagram(1, 2, 1e18+int64(i)*1e5), datagram(2, 1, 1e18+int64(i)*1e5+1)
		binary.BigEndian.PutUint16(ask.Data[34:], 10000+i)
		binary.BigEndian.PutUint16(ask.Data[36:], 2000)
		binary.BigEndian.PutUint16(answer.Data[34:], 2000)
		binary.BigEndian.PutUint16(answer.Data[36:], 10000+i)
		frames = append(frames, ask, answer)
	}
	frames = append(frames, datagram(1, 2, 1e18+2*3600e9))
	if out := same(t, frames); out.sum.Records != n+1 || out.sum.RecordsLost != 0 {
		t.Errorf("%d records and %d lost, want %d and none", out.sum.Records, out.sum.RecordsLost, n+1)
	}
}

// TestTimeStands judges a capture whose clock stands still, where every connection ends in one tick.
func TestTimeStands(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 20_000
	}
	frames := made(t, "synflood", n)
	for i := range frames {
		frames[i].Time = frames[0].Time
	}
	out := same(t, frames)
	if out.sum.Epochs != 1 || out.sum.Link.Packets != uint64(n) {
		t.Errorf("%d epochs, %d packets", out.sum.Epochs, out.sum.Link.Packets)
	}
	if !strings.Contains(string(out.alerts), `"analyzer":"flood","kind":"syn"`) {
		t.Errorf("%d SYNs in one instant, and no flood: %s", n, out.alerts)
	}
}

// TestTimeExtremes moves traffic to the ends of what an int64 of ns can say: nothing overflows, and time stays in order.
func TestTimeExtremes(t *testing.T) {
	original := made(t, "mix", 20_000)
	for _, c := range []struct {
		name  string
		first int64
		later bool // the times are what the capture can hold
	}{
		{"zero", 0, true},
		{"negative", math.MinInt64, false},
		{"just before zero", -1e9, false},
		{"last", math.MaxInt64 - 41e6, false},
		{"2116", latest - 41e6, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			frames := slices.Clone(original)
			for i := range frames {
				frames[i].Time = c.first + (frames[i].Time - original[0].Time)
			}
			out := same(t, frames)
			if out.sum.Link.Packets != uint64(len(frames)) || out.sum.First < 0 || out.sum.Last < out.sum.First {
				t.Errorf("%d packets from %d to %d", out.sum.Link.Packets, out.sum.First, out.sum.Last)
			}
			if c.later && out.sum.Last-out.sum.First > 41e6 {
				t.Errorf("40 ms of traffic last %v", time.Duration(out.sum.Last-out.sum.First))
			}
		})
	}
}

// TestNoPackets judges captures without anything to judge.
func TestNoPackets(t *testing.T) {
	if out := same(t, nil); out.sum.Link.Packets != 0 || out.sum.Epochs != 0 || out.sum.First != 0 || len(out.alerts)+len(out.flows) != 0 {
		t.Errorf("empty: %+v", out.sum.Link)
	}
	lldp := append([]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc}, make([]byte, 46)...) // IEEE 802.1AB
	var frames []decode.Frame
	for i := range 2000 {
		frames = append(frames, decode.Frame{Data: lldp, Time: int64(i) * 1e9, WireLen: uint32(len(lldp)), Link: decode.LinkEthernet})
	}
	out := same(t, frames)
	if out.sum.Link.Packets != 2000 || out.sum.Link.Other != 2000 || out.sum.Link.Opened != 0 || len(out.alerts)+len(out.flows) != 0 {
		t.Errorf("LLDP only: %+v, alerts %s", out.sum.Link, out.alerts)
	}
}

// TestKeep judges as if what the filter refuses had not been captured.
func TestKeep(t *testing.T) {
	frames := made(t, "mix", 20_000)
	keep := func(p *decode.Packet) bool { return p.Key.Proto == protoUDP }
	var p decode.Packet
	var rest []decode.Frame
	for i := range frames {
		if decode.NewDecoder(0).Decode(&frames[i], &p); keep(&p) {
			rest = append(rest, frames[i])
		}
	}
	if len(rest) == 0 || len(rest) == len(frames) {
		t.Fatalf("%d of %d frames are UDP", len(rest), len(frames))
	}
	want := same(t, rest)
	for _, workers := range workerCounts {
		cfg := config(workers)
		cfg.Keep = keep
		got := runSource(t, context.Background(), cfg, &list{frames: frames})
		if got.sum.Link != want.sum.Link || !bytes.Equal(got.flows, want.flows) || !bytes.Equal(got.alerts, want.alerts) {
			t.Errorf("%d workers: %d packets, want %d", workers, got.sum.Link.Packets, want.sum.Link.Packets)
		}
	}
}

func TestWorkersRefused(t *testing.T) {
	for _, n := range []int{-1, MaxWorkers + 1} {
		if e, err := New(Config{Workers: n, Conn: conn.Defaults(), Tally: tally.Defaults(), Alert: alert.Defaults()}, Sinks{}); err == nil {
			e.Close()
			t.Errorf("%d workers are accepted", n)
		}
	}
	frames := made(t, "scan", 20_000)
	one := runSource(t, context.Background(), config(1), &list{frames: frames})
	all := runSource(t, context.Background(), config(MaxWorkers), &list{frames: frames})
	if !bytes.Equal(one.alerts, all.alerts) || !bytes.Equal(one.flows, all.flows) {
		t.Errorf("%d workers differ from one", MaxWorkers)
	}
}

// TestCancel ends a run by its context: what was read is judged and handed out, and no goroutine stays (TestMain).
func TestCancel(t *testing.T) {
	for _, workers := range workerCounts {
		for _, after := range []int{0, 1, 7} {
			ctx, cancel := context.WithCancel(context.Background())
			src := &list{frames: made(t, "scan", 20_000), before: func(block int) {
				if block == after {
					cancel()
				}
			}}
			out := runSource(t, ctx, config(workers), src)
			cancel()
			if want := uint64((after + 1) * capture.BlockFrames); !errors.Is(out.err, context.Canceled) || out.sum.Link.Packets != want {
				t.Errorf("%d workers, cancelled in block %d: %d packets, want %d: %v", workers, after, out.sum.Link.Packets, want, out.err)
			}
			if len(out.flows) == 0 {
				t.Errorf("%d workers, cancelled in block %d: no connections", workers, after)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if out := runSource(t, ctx, config(2), &list{frames: made(t, "scan", 1000)}); !errors.Is(out.err, context.Canceled) || out.sum.Link.Packets != 0 {
		t.Errorf("cancelled before: %d packets, %v", out.sum.Link.Packets, out.err)
	}
}

// broken is a source that fails after some frames.
type broken struct {
	list
	err error
}

func (b *broken) Next(block *capture.Block) error {
	if err := b.list.Next(block); err != nil {
		return b.err
	}
	return nil
}

func TestSourceFails(t *testing.T) {
	want := errors.New("no more")
	for _, workers := range workerCounts {
		out := runSource(t, context.Background(), config(workers), &broken{list{frames: made(t, "mix", 5000)}, want})
		if !errors.Is(out.err, want) || out.sum.Link.Packets != 5000 || len(out.flows) == 0 {
			t.Errorf("%d workers: %d packets, %v", workers, out.sum.Link.Packets, out.err)
		}
	}
}

// shrinking is a set of captures of which one is truncated while it is read.
type shrinking struct {
	*capture.Set
	path   string
	blocks int
}

func (s *shrinking) Next(b *capture.Block) error {
	err := s.Set.Next(b)
	if s.blocks++; s.blocks == 20 {
		if err := os.Truncate(s.path, 4096); err != nil {
			panic(err)
		}
	}
	return err
}

// TestTruncated cuts a mapped file short while workers read its frames: an error that names the file, and no crash.
func TestTruncated(t *testing.T) {
	for _, workers := range workerCounts {
		path := filepath.Join(t.TempDir(), "in.pcap")
		f, err := os.Create(path)
		if err == nil {
			err = errors.Join(traffic.Write(f, "mix", 100_000), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		src := &shrinking{Set: capture.Files([]string{path}, false), path: path}
		out := runSource(t, context.Background(), config(workers), src)
		var cut *capture.CutError
		if !errors.As(out.err, &cut) || cut.File != path {
			t.Errorf("%d workers: %v", workers, out.err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOuter lists the outer connections of UDP tunnels, too, as Zeek's baselines of these captures do (vxlan-triple-v2:
// core.tunnels.max-depth; geneve: core.tunnels.geneve; vxlan-encapsulated-http: core.tunnels.analyzer-confirmation).
func TestOuter(t *testing.T) {
	dir := filepath.Join(corpus(t), "decode-encap")
	for file, want := range map[string][]string{
		"zeek__vxlan-triple-v2.pcap": {
			"1.1.1.1 4789 1.1.1.9 4789 outer", "2.2.2.2 4789 2.2.2.9 4789 outer", "3.3.3.3 4789 3.3.3.9 4789 outer",
			"4.4.4.4 53 4.4.4.9 53 inner",
		},
		"zeek__geneve.pcap":                  {"20.0.0.1 50901 20.0.0.2 6081 outer", "20.0.0.2 0 20.0.0.1 6081 outer", "30.0.0.1 8 30.0.0.2 0 inner"},
		"zeek__vxlan-encapsulated-http.pcap": {"10.1.200.131 50000 10.1.1.172 4789 outer", "172.16.11.201 40354 54.86.237.188 80 inner"},
	} {
		for _, outer := range []bool{true, false} {
			for _, workers := range workerCounts {
				if got, want := endpoints(t, filepath.Join(dir, file), workers, outer), only(want, outer); !slices.Equal(got, want) {
					t.Errorf("%s, %d workers, outer %v:\n got %q\nwant %q", file, workers, outer, got, want)
				}
			}
		}
	}
}

func only(want []string, outer bool) []string {
	return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return !outer && strings.HasSuffix(w, "outer") })
}

func endpoints(t *testing.T, path string, workers int, outer bool) (all []string) {
	t.Helper()
	cfg := config(workers)
	cfg.Outer = outer
	e, err := New(cfg, Sinks{Record: func(r *conn.Record) {
		kind := map[bool]string{true: "outer", false: "inner"}[r.Outer]
		all = append(all, fmt.Sprintf("%v %d %v %d %s", r.Orig.Netip(r.Ver), r.OrigPort, r.Resp.Netip(r.Ver), r.RespPort, kind))
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	src := capture.Files([]string{path}, false)
	defer src.Close()
	if _, err := e.Replay(context.Background(), src); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}
