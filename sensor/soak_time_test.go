//go:build soak

package sensor

import (
	"context"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/capture"
	"weir/sensor/traffic"
)

// A day of event time: a little traffic every ten seconds, two seconds of something harsh every ten minutes, and two hours of
// silence.
const (
	hour       = int64(time.Hour) / tally.Tick
	dayTicks   = 24 * hour
	dayPause   = int64(10*time.Second) / tally.Tick
	dayHarsh   = int64(10*time.Minute) / tally.Tick
	dayBurst   = 20 // ticks
	dayQuiet   = 20 // packets in a tick
	dayLoud    = 2000
	silentFrom = 12 * hour
	silentTo   = 14*hour + 1
)

// spell is the traffic of a tick.
type spell struct {
	tick    int64 // of the day
	kind    string
	packets int
}

func daySpells() (all []spell) {
	harsh := []string{"synflood", "scan", "mix", "ports", "sources"}
	for tick := int64(0); tick < dayTicks; tick += dayPause {
		if tick >= silentFrom && tick < silentTo {
			continue
		}
		if tick%dayHarsh == 0 {
			for i := range int64(dayBurst) {
				all = append(all, spell{tick + i, harsh[tick/dayHarsh%int64(len(harsh))], dayLoud})
			}
			continue
		}
		all = append(all, spell{tick, "mix", dayQuiet})
	}
	return all
}

// day is a source of a day, in a file's manner or live. It takes stock each hour.
type day struct {
	spells  []spell
	streams map[string]*traffic.Stream
	memory  map[*capture.Block][]byte
	wait    func() // live: until the judge follows
	stock   func(hour int64)
	hour    int64
	left    int // packets of the present spell
	packets uint64
}

func newDay(t *testing.T) *day {
	d := &day{spells: daySpells(), streams: map[string]*traffic.Stream{}, memory: map[*capture.Block][]byte{}}
	for _, kind := range traffic.Kinds {
		s, err := traffic.NewStream(kind)
		if err != nil {
			t.Fatal(err)
		}
		d.streams[kind] = s
	}
	d.left = d.spells[0].packets
	return d
}

func (d *day) Next(b *capture.Block) error {
	b.Frames, b.Until = b.Frames[:0], 0
	if len(d.spells) == 0 {
		return io.EOF
	}
	now := d.spells[0]
	if h := now.tick / hour; h > d.hour && d.stock != nil {
		d.hour = h
		d.stock(h)
	}
	if d.wait != nil {
		d.wait()
	}
	memory := d.memory[b]
	if memory == nil {
		memory = make([]byte, capture.BlockFrames*traffic.MaxFrame)
		d.memory[b] = memory
	}
	from := (pacedBegin + now.tick) * tally.Tick
	for i := range min(d.left, capture.BlockFrames) {
		data, _ := d.streams[now.kind].Next(memory[i*traffic.MaxFrame:][:traffic.MaxFrame])
		at := from + int64(now.packets-d.left)*tally.Tick/int64(now.packets)
		b.Frames = append(b.Frames, decode.Frame{Data: data, Time: at, WireLen: uint32(len(data)), Link: decode.LinkEthernet})
		d.left--
		d.packets++
	}
	if d.left > 0 {
		return nil
	}
	if d.spells = d.spells[1:]; len(d.spells) > 0 {
		d.left = d.spells[0].packets
		b.Until = (pacedBegin + d.spells[0].tick) * tally.Tick
	}
	return nil
}

func (*day) Drops() capture.Drops { return capture.Drops{} }
func (*day) Close() error         { return nil }

// stock is what the process holds, in MiB.
type stock struct{ heap, resident, goroutines []float64 }

func (s *stock) take(t *testing.T) {
	debug.FreeOSMemory() // so that resident is what is in use
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s.heap = append(s.heap, float64(m.HeapAlloc)/(1<<20))
	s.resident = append(s.resident, residentMiB(t))
	s.goroutines = append(s.goroutines, float64(runtime.NumGoroutine()))
}

// residentMiB is VmRSS of proc_pid_status(5).
func residentMiB(t *testing.T) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return float64(kib) / 1024
}

// flat holds that what there was by the sixth hour was all that was needed.
func (s *stock) flat(t *testing.T) {
	t.Helper()
	const settled = 5 // samples: one each hour from the first on
	for what, all := range map[string][]float64{"heap": s.heap, "resident memory": s.resident} {
		early, late := slices.Max(all[:settled+1]), slices.Max(all[settled+1:])
		t.Logf("%s: at most %.1f MiB up to the sixth hour, %.1f after: %.0f", what, early, late, all)
		if late > 1.1*early+1 {
			t.Errorf("%s grows", what)
		}
	}
	if early, late := slices.Max(s.goroutines[:settled+1]), slices.Max(s.goroutines[settled+1:]); late > early {
		t.Errorf("goroutines grow: %v", s.goroutines)
	}
}

// TestSoakDay replays a day: memory is the same from the sixth hour on, and every alert that opened was closed.
func TestSoakDay(t *testing.T) {
	defer goleak.VerifyNone(t)
	e, err := New(config(2), Sinks{Alert: func(*alert.Alert) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var s stock
	d := newDay(t)
	d.stock = func(int64) { s.take(t) }
	sum, err := e.Replay(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	s.flat(t)
	holdDay(t, sum, d.packets)
}

// TestSoakDayLive is the same through a live engine of two workers, whose sources jump from spell to spell: no tick is stuck.
func TestSoakDayLive(t *testing.T) {
	defer goleak.VerifyNone(t)
	cfg := config(2)
	cfg.Live = true
	e, err := New(cfg, Sinks{Alert: func(*alert.Alert) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var s stock
	var sources []capture.LiveSource
	var packets uint64
	for i := range 2 {
		d := newDay(t)
		if i == 0 {
			d.stock = func(int64) { s.take(t) }
		}
		d.wait = func() {
			for e.live.workers[i].empty.Load() == nil || e.live.workers[1-i].reached.Load() < e.live.workers[i].reached.Load() {
				time.Sleep(20 * time.Microsecond)
			}
		}
		sources = append(sources, d)
	}
	sum, err := e.Live(sources)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range sources {
		packets += d.(*day).packets
	}
	s.flat(t)
	holdDay(t, sum, packets)
	status := e.Status()
	last := (pacedBegin+daySpells()[len(daySpells())-1].tick)*tally.Tick + tally.Tick
	if status.Time != last || status.Late != 0 {
		t.Errorf("judged up to %v, want %v; %d ticks late", time.Unix(0, status.Time), time.Unix(0, last), status.Late)
	}
	t.Logf("%d ticks were judged without a worker: one jumps before the other does", status.Absent)
}

func holdDay(t *testing.T, sum *Summary, packets uint64) {
	t.Helper()
	t.Logf("%d packets, %d epochs, alerts %v", packets, sum.Epochs, sum.Alerts)
	if sum.Link.Packets != packets || packets == 0 {
		t.Errorf("%d packets of %d", sum.Link.Packets, packets)
	}
	if sum.Alerts[alert.Open] == 0 || sum.Alerts[alert.Open] != sum.Alerts[alert.Closed] {
		t.Errorf("%d alerts opened, %d closed", sum.Alerts[alert.Open], sum.Alerts[alert.Closed])
	}
	if sum.Discontinuities != 1 {
		t.Errorf("%d discontinuities, there was one", sum.Discontinuities)
	}
}
