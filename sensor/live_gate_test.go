package sensor

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

// scene is a source that plays ticks of a script, none before the judge has caught up.
type scene struct {
	engine *Engine
	ticks  int
	before func(tick int)
	frames func(tick int) [][]byte
	tick   atomic.Int64
}

const sceneBegin = 1_700_000_000 * int64(1e9)

func (s *scene) Next(b *capture.Block) error {
	b.Frames, b.Until = b.Frames[:0], 0
	tick := int(s.tick.Load())
	if tick == s.ticks {
		return io.EOF
	}
	for s.engine.live.workers[0].empty.Load() == nil {
		time.Sleep(10 * time.Microsecond)
	}
	if s.before != nil {
		s.before(tick)
	}
	at := sceneBegin + int64(tick)*tally.Tick
	for i, data := range s.frames(tick) {
		b.Frames = append(b.Frames, decode.Frame{Data: data, Time: at + int64(i), WireLen: uint32(len(data)), Link: decode.LinkEthernet})
	}
	b.Until = at + tally.Tick
	s.tick.Add(1)
	return nil
}

func (*scene) Drops() (d capture.Drops) { return d }
func (*scene) Close() error             { return nil }

// play runs a scene.
func (s *scene) play(t *testing.T, sinks Sinks) *Status {
	t.Helper()
	cfg := config(1)
	cfg.Live = true
	e, err := New(cfg, sinks)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s.engine = e
	if _, err := e.Live([]capture.LiveSource{s}); err != nil {
		t.Fatal(err)
	}
	return e.Status()
}

// segment is a TCP segment over IPv4 in Ethernet.
func segment(src, dst uint32, from, to uint16, seq, ack uint32, flags byte) []byte {
	f := make([]byte, 54)
	copy(f[12:], "\x08\x00\x45\x00\x00\x28\x00\x00\x00\x00\x40\x06\x00\x00")
	binary.BigEndian.PutUint32(f[26:], src)
	binary.BigEndian.PutUint32(f[30:], dst)
	binary.BigEndian.PutUint16(f[34:], from)
	binary.BigEndian.PutUint16(f[36:], to)
	binary.BigEndian.PutUint32(f[38:], seq)
	binary.BigEndian.PutUint32(f[42:], ack)
	f[46], f[47] = 0x50, flags
	return f
}

const (
	attacked  = 0xc6336407 // 198.51.100.7
	perTick   = 200
	frameSize = 54
)

// flooded plays a SYN flood of a minute that a gate cuts after a second. For one second in between, the gate lets it through.
// gated: whether the gate tells. It returns what became of the floods' alerts.
func flooded(t *testing.T, gated bool) (all []*alert.Alert, status *Status) {
	t.Helper()
	var mu sync.Mutex
	var id string
	next := uint32(0x0b000000)
	seen := func(tick int) bool { return tick < 10 || tick >= 450 && tick < 460 }
	s := &scene{ticks: 1000}
	s.frames = func(tick int) (frames [][]byte) {
		for range perTick {
			if seen(tick) {
				next += 7919
				frames = append(frames, segment(next, attacked, 40000, 80, next, 0, 2))
			}
		}
		return frames
	}
	var unsent uint64
	s.before = func(tick int) {
		if !gated || tick >= 620 {
			return
		}
		if !seen(tick) && tick < 610 {
			unsent += perTick
		}
		if tick%10 != 0 || unsent == 0 {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		last := sceneBegin + int64(min(tick, 609))*tally.Tick
		report := &GateReport{Time: last, Drops: []GateDrop{
			{ID: "d1", Alert: id, Packets: unsent, Bytes: unsent * frameSize, Last: last},
			{ID: "d2", Alert: "elsewhere", Packets: 1, Bytes: 60, Last: last},
			{ID: "d3", Alert: id, Shadow: true, Packets: 5, Bytes: 300, Last: last + 3600e9},
		}, Samples: []GateSample{
			{Frame: segment(1, attacked, 40000, 80, 1, 0, 2), WireLen: frameSize, Weight: 1000},
			{Frame: []byte{1, 2, 3}, WireLen: 60, Weight: 1000},
		}}
		s.engine.Gate(report)
		unsent = 0
	}
	status = s.play(t, Sinks{Alert: func(a *alert.Alert) {
		if a.Analyzer != "flood" {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		id = a.ID
		all = append(all, a)
	}})
	return all, status
}

// story is an alert's states, with times in seconds since the scene began.
func story(all []*alert.Alert) string {
	var out []string
	for _, a := range all {
		out = append(out, fmt.Sprintf("%s %s %.0f", a.Kind, a.State, float64(int64(a.Time)-sceneBegin)/1e9))
	}
	return strings.Join(out, ", ")
}

// TestLiveGateKeepsAlert: a flood that the gate drops is one alert until 30 s after the last packet dropped, and the alert tells
// how many. Without the gate's reports the sensor takes it for two.
func TestLiveGateKeepsAlert(t *testing.T) {
	defer goleak.VerifyNone(t)
	without, _ := flooded(t, false)
	if got, want := story(without), "syn open 0, syn closed 31, syn open 45, syn closed 76"; got != want {
		t.Fatalf("without reports: %s, want %s", got, want)
	}
	all, status := flooded(t, true)
	if got, want := story(all), "syn open 0, syn closed 91"; got != want {
		t.Fatalf("with reports: %s, want %s", got, want)
	}
	const packets = (610 - 10 - 10) * perTick
	last := all[len(all)-1]
	if b := last.Blocked; b == nil || b.Packets != packets || b.Bytes != packets*frameSize {
		t.Errorf("blocked %+v, want %d packets", b, packets)
	}
	if !strings.HasSuffix(last.Summary, "; the gate dropped 118,000 packets of it.") {
		t.Errorf("summary %q", last.Summary)
	}
	if at := int64(last.Last) - sceneBegin; at != 60_900e6 {
		t.Errorf("last packet at %d ms, want 60900", at/1e6)
	}
	if first := int64(last.First) - sceneBegin; first > 1e9 {
		t.Errorf("first evidence at %d ms", first/1e6)
	}
	if all[0].Blocked != nil {
		t.Errorf("blocked %+v before there was a drop", all[0].Blocked)
	}
	g := status.Gate
	if g.Packets != packets+g.Reports || g.ShadowPackets != 5*g.Reports || g.Drops != 3*g.Reports || g.Samples != 2*g.Reports ||
		g.Reports < 50 || g.DropsLost+g.SamplesLost != 0 {
		t.Errorf("status %+v", g)
	}
	if seen := uint64(20 * perTick); status.Link.Packets != seen {
		t.Errorf("%d packets seen, want %d: those dropped are none of them", status.Link.Packets, seen)
	}
}

// TestGateEpoch: what is handed in is in the epoch of the next tick, and in no other.
func TestGateEpoch(t *testing.T) {
	defer goleak.VerifyNone(t)
	var got []tally.Gate
	s := &scene{ticks: 30, frames: func(int) [][]byte { return nil }}
	victim := netip.MustParsePrefix("198.51.100.7/32")
	s.before = func(tick int) {
		if tick != 10 {
			return
		}
		for range 2 {
			s.engine.Gate(&GateReport{Time: 7, Drops: []GateDrop{
				{ID: "s", Victim: victim, Port: 80, Proto: 6, Packets: 10, Bytes: 600},
				{ID: "a", Source: netip.MustParsePrefix("192.0.2.1/32"), Packets: 3, Bytes: 180, Last: 5},
				{ID: "", Packets: 1},
			}, Samples: []GateSample{
				{Frame: segment(0xc0000201, attacked, 40000, 80, 1, 0, 2), WireLen: 60, Weight: 100},
				{Frame: segment(0xc0000201, attacked, 40000, 443, 1, 0, 2), WireLen: 60, Weight: 100},
				{Frame: nil, Weight: 100},
			}})
		}
	}
	cfg := config(1)
	cfg.Live = true
	cfg.Analyzers = append(cfg.Analyzers, gateProbe{&got})
	e, err := New(cfg, Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	s.engine = e
	if _, err := e.Live([]capture.LiveSource{s}); err != nil {
		t.Fatal(err)
	}
	addr := decode.AddrFrom(victim.Addr())
	want := tally.Gate{
		Packets: 26, Bytes: 1560, Unplaced: 200,
		Drops: []tally.GateDrop{
			{ID: "a", Source: netip.MustParsePrefix("192.0.2.1/32"), Packets: 6, Bytes: 360, Last: 5},
			{ID: "s", Victim: victim, Port: 80, Proto: 6, Packets: 20, Bytes: 1200, Last: 7},
		},
		Services: []tally.GateService{
			{Key: tally.ServiceKey{Addr: addr, Port: 80, Proto: 6, Ver: 4}, Packets: 20, Bytes: 1200, SampledPackets: 200, SampledBytes: 12000},
			{Key: tally.ServiceKey{Addr: addr, Port: 443, Proto: 6, Ver: 4}, SampledPackets: 200, SampledBytes: 12000},
		},
	}
	if len(got) != 1 || fmt.Sprint(got[0]) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := e.Status().Gate.DropsLost; n != 2 {
		t.Errorf("%d drops lost, want those two without an id", n)
	}
}

// gateProbe keeps what the gate told.
type gateProbe struct{ got *[]tally.Gate }

func (gateProbe) Name() string                    { return "probe" }
func (gateProbe) Finish(func(*analyzers.Finding)) {}
func (p gateProbe) Judge(e *tally.Epoch, _ func(*analyzers.Finding)) {
	if g := &e.Gate; !g.Empty() {
		kept := *g
		kept.Drops, kept.Services = slices.Clone(g.Drops), slices.Clone(g.Services)
		*p.got = append(*p.got, kept)
	}
}

// TestGateBounded: many reports within one tick neither grow without bound nor are lost unseen.
func TestGateBounded(t *testing.T) {
	cfg := config(1)
	cfg.Live = true
	e, err := New(cfg, Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r := &GateReport{}
	for i := range gateAlerts + 1 {
		r.Drops = append(r.Drops, GateDrop{ID: fmt.Sprint(i), Alert: fmt.Sprint(i), Packets: uint64(1 + i%9)})
	}
	r.Samples = slices.Repeat([]GateSample{{Frame: segment(1, 2, 3, 4, 5, 6, 2), Weight: 1}}, gateSamples/2+1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { e.Gate(r) })
	}
	wg.Wait()
	if s := e.gate.Stats(); s.Reports != 4 || s.DropsLost != 4 || s.SamplesLost != 3*(gateSamples/2+1) || len(e.gate.hits) != gateAlerts || len(e.gate.told.Drops) > 2*tally.MaxGateDrops {
		t.Errorf("%+v, %d alerts and %d drops kept", s, len(e.gate.hits), len(e.gate.told.Drops))
	}
	var epoch tally.Epoch
	e.gate.take(&epoch, e.judge.alerts)
	g := &epoch.Gate
	told := g.Other
	for i := range g.Drops {
		told += g.Drops[i].Packets
	}
	if len(g.Drops) != tally.MaxGateDrops || told != g.Packets || e.gate.samples+len(e.gate.told.Drops)+len(e.gate.hits) != 0 {
		t.Errorf("%d drops, %d of %d packets told", len(g.Drops), told, g.Packets)
	}
	e.cfg.Live = false
	if e.Gate(r); e.gate.Stats().Reports != 4 {
		t.Error("a replay took a report")
	}
}

// TestEstablished: who completes a handshake is told in the tick, once, before the tick's alerts; who does not, never. A connection
// that goes on tells its originator again within PeerEvery.
func TestEstablished(t *testing.T) {
	defer goleak.VerifyNone(t)
	const client, silent = 0xc0000201, 0xc0000202
	second := int64(1e9) / tally.Tick
	s := &scene{ticks: int(4 * int64(conn.PeerEvery) / tally.Tick)}
	s.frames = func(tick int) (frames [][]byte) {
		switch {
		case tick == 5:
			for port := uint16(1000); port < 1003; port++ {
				frames = append(frames, segment(client, attacked, port, 80, 100, 0, 2),
					segment(attacked, client, 80, port, 900, 101, 18), segment(client, attacked, port, 80, 101, 901, 16))
			}
			return append(frames, segment(silent, attacked, 1, 80, 100, 0, 2), segment(attacked, silent, 80, 1, 900, 101, 18))
		case tick > 5 && int64(tick)%(60*second) == 0 && tick < 2*s.ticks/4:
			return [][]byte{segment(client, attacked, 1000, 80, 101, 901, 16)}
		}
		return nil
	}
	var told []int
	s.play(t, Sinks{Established: func(peers []netip.Addr) {
		if len(peers) != 1 || peers[0] != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("told %v", peers)
		}
		told = append(told, int(s.tick.Load()))
	}})
	if len(told) < 3 || told[0] < 6 || told[0] > 8 {
		t.Fatalf("told in ticks %v, want the sixth and then again", told)
	}
	for i, tick := range told[1:] {
		if gap := int64(tick-told[i]) * tally.Tick; gap > int64(conn.PeerEvery)+15e9 {
			t.Errorf("told in ticks %v: %d s apart", told, gap/1e9)
		}
	}
	if last := told[len(told)-1]; last > 3*s.ticks/4+int(20*second) {
		t.Errorf("told in tick %d, and the connection was idle since %d", last, s.ticks/2)
	}
}
