package sensor

import (
	"io"
	"sync"
	"sync/atomic"
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

// paced is a worker's share of generated traffic, a tick each step of real time, as a ring hands it out: what fell due while
// its reader was elsewhere comes at once.
type paced struct {
	stream  *traffic.Stream
	memory  [][]byte // of a tick's frames
	step    time.Duration
	ticks   int              // until the end
	before  func(tick int)   // runs before a tick is handed out
	busy    func(t int) bool // whether a tick has traffic; nil: each
	begin   time.Time
	now     atomic.Int64 // ticks handed out
	packets atomic.Uint64
}

// pacedBegin is the first tick: 2026-01-01 00:00:00 UTC.
const pacedBegin = 1767225600e9 / tally.Tick

// pace makes a source of so many packets a tick.
func pace(t *testing.T, kind string, packets, ticks int, step time.Duration) *paced {
	t.Helper()
	s, err := traffic.NewStream(kind)
	if err != nil {
		t.Fatal(err)
	}
	p := &paced{stream: s, step: step, ticks: ticks}
	for range packets {
		p.memory = append(p.memory, make([]byte, traffic.MaxFrame))
	}
	return p
}

func (p *paced) Next(b *capture.Block) error {
	tick := int(p.now.Load())
	if tick == 0 {
		p.begin = time.Now()
	}
	b.Frames, b.Until = b.Frames[:0], 0
	if tick == p.ticks {
		return io.EOF
	}
	if p.before != nil {
		p.before(tick)
	}
	time.Sleep(time.Until(p.begin.Add(time.Duration(tick) * p.step)))
	from := (pacedBegin + int64(tick)) * tally.Tick
	if p.busy == nil || p.busy(tick) {
		for i, m := range p.memory {
			data, _ := p.stream.Next(m)
			at := from + int64(i)*tally.Tick/int64(len(p.memory))
			b.Frames = append(b.Frames, decode.Frame{Data: data, Time: at, WireLen: uint32(len(data)), Link: decode.LinkEthernet})
		}
		p.packets.Add(uint64(len(p.memory)))
	}
	b.Until = from + tally.Tick
	p.now.Add(1)
	return nil
}

func (*paced) Drops() capture.Drops { return capture.Drops{} }
func (*paced) Close() error         { return nil }

// running is a live engine over paced sources.
type running struct {
	*Engine
	sum  *Summary
	err  error
	done chan struct{}
}

func run(t *testing.T, sinks Sinks, sources ...*paced) *running {
	t.Helper()
	cfg := config(len(sources))
	cfg.Live = true
	e, err := New(cfg, sinks)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Engine: e, done: make(chan struct{})}
	all := make([]capture.LiveSource, len(sources))
	for i, s := range sources {
		all[i] = s
	}
	go func() {
		defer close(r.done)
		r.sum, r.err = e.Live(all)
	}()
	return r
}

// end waits for the end, and holds that every packet handed out was counted.
func (r *running) end(t *testing.T, sources ...*paced) *Status {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(time.Minute):
		t.Fatal("the engine does not end")
	}
	defer r.Close()
	var packets uint64
	for _, s := range sources {
		packets += s.packets.Load()
	}
	status := r.Status()
	if r.err != nil || r.sum.Link.Packets != packets || status.Link.Packets != packets {
		t.Errorf("%d packets were handed out, %d counted, %d in the status; %v", packets, r.sum.Link.Packets, status.Link.Packets, r.err)
	}
	return status
}

// stall is how long a part of the sensor stands still in these tests.
const stall = time.Second

// TestLiveLag stops one worker of two for a second: the other goes on, and so do the ticks. What the stopped one brings later
// is counted, to the packet.
func TestLiveLag(t *testing.T) {
	defer goleak.VerifyNone(t)
	const step, ticks, stalled = 20 * time.Millisecond, 120, 30
	a, b := pace(t, "mix", 200, ticks, step), pace(t, "mix", 100, ticks, step)
	var went, judged uint64 // while b stood still
	var r *running
	ready := make(chan struct{})
	b.before = func(tick int) {
		if tick != stalled {
			return
		}
		<-ready
		from, was := a.now.Load(), r.Status()
		time.Sleep(stall)
		went, judged = uint64(a.now.Load()-from), r.Status().Epochs-was.Epochs
	}
	r = run(t, Sinks{}, a, b)
	close(ready)
	status := r.end(t, a, b)

	const due = uint64(stall / step)
	t.Logf("of %d ticks the other worker went on by %d and %d were judged; %d without a worker, %d late", due, went, judged, status.Absent, status.Late)
	if went < due/2 || judged < due/2 {
		t.Errorf("a worker stood still for %d ticks: the other went on by %d, %d were judged", due, went, judged)
	}
	if status.Absent < judged/2 {
		t.Errorf("%d ticks count as judged without a worker, %d were judged while it stood still", status.Absent, judged)
	}
	if status.Epochs < ticks || status.Epochs > ticks+grace {
		t.Errorf("%d epochs for %d ticks", status.Epochs, ticks)
	}
	if x, y := status.Workers[0], status.Workers[1]; x.Packets != a.packets.Load() || y.Packets != b.packets.Load() || x.Time != y.Time {
		t.Errorf("workers at the end: %+v, %+v; handed out %d, %d", x, y, a.packets.Load(), b.packets.Load())
	}
}

// TestLiveSlowSink keeps the judge for a second in a sink of alerts: workers go on, and the ticks that they join are counted as
// late, their packets to the last one; connections that end meanwhile are handed on or counted.
func TestLiveSlowSink(t *testing.T) {
	defer goleak.VerifyNone(t)
	const step, ticks = 20 * time.Millisecond, 120
	a, b := pace(t, "ports", 500, ticks, step), pace(t, "mix", 100, ticks, step)
	var went [2]uint64 // while the sink stood still
	var once sync.Once
	var records uint64
	r := run(t, Sinks{
		Alert: func(*alert.Alert) {
			once.Do(func() {
				from := [2]int64{a.now.Load(), b.now.Load()}
				time.Sleep(stall)
				went = [2]uint64{uint64(a.now.Load() - from[0]), uint64(b.now.Load() - from[1])}
			})
		},
		Record: func(*conn.Record) { records++ },
	}, a, b)
	status := r.end(t, a, b)

	const due = uint64(stall / step)
	t.Logf("of %d ticks the workers went on by %d; %d late, %d records, %d lost", due, went, status.Late, records, status.RecordsLost)
	for i, n := range went {
		if n < due/2 {
			t.Errorf("the sink stood still for %d ticks: worker %d went on by %d", due, i, n)
		}
	}
	// of what a worker closed meanwhile, one share can wait and one be with the judge
	if n := went[0] + went[1]; status.Late < n-4*2 {
		t.Errorf("%d ticks count as late, %d were closed while the judge stood still", status.Late, n)
	}
	if opened := status.Conn.Opened; records == 0 || status.RecordsLost == 0 || records+status.RecordsLost != opened {
		t.Errorf("of %d connections %d were handed on and %d lost", opened, records, status.RecordsLost)
	}
}
