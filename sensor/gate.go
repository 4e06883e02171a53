package sensor

import (
	"sync"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/alert"
)

// Bounds of what gates tell between two ticks. What is beyond is counted.
const (
	gateAlerts  = 1 << 16 // alerts whose drops were hit
	gateSamples = 1 << 14 // sampled frames
	sampleBytes = 128     // of a frame that are read
)

// GateReport is what a gate counted since its report before.
type GateReport struct {
	Time    int64 // ns: when the counters were read
	Drops   []GateDrop
	Samples []GateSample
}

// GateDrop is what met one drop since the report before. Victim and the like may be left out where Alert names an alert
// that is open here.
type GateDrop = tally.GateDrop

// GateSample is one frame of many that were dropped. Those that a shadow would have dropped are none: the sensor sees them.
type GateSample struct {
	Frame   []byte // from its Ethernet header; 128 bytes are enough. It is not kept
	WireLen int
	Time    int64
	Weight  uint64 // how many frames it stands for
}

// GateStats counts what became of reports. Totals since the start.
type GateStats struct {
	Reports                    uint64
	Packets, Bytes             uint64 // dropped by the gate
	ShadowPackets, ShadowBytes uint64 // would have been dropped
	Drops                      uint64 // entries of reports
	Samples                    uint64
	DropsLost                  uint64 // entries whose alert did not hear of them, or that made no sense: more alerts than fit, names too long
	SamplesLost                uint64 // that did not fit between two ticks
}

// gate gathers reports until the next tick is judged.
type gate struct {
	mu      sync.Mutex
	told    tally.Gate
	samples int                 // in told
	hits    map[string]*gateHit // by alert
	stats   GateStats
}

// gateHit is what the drops for one alert were hit by.
type gateHit struct {
	packets, bytes uint64
	last           int64
}

// Gate takes in what a gate in front of this sensor dropped: it enters the epoch of the next tick that is judged. The
// counters keep alerts of their drops open and what analyzers know of their victims; samples say where dropped packets
// went, and are never taken for packets that were seen. Live engines only; any goroutine. Nothing of r is kept. It costs
// the caller about 1 µs a drop and 0.1 a sample.
func (e *Engine) Gate(r *GateReport) {
	if !e.cfg.Live {
		return
	}
	var told tally.Gate
	lost := uint64(0)
	for _, d := range r.Drops {
		if d.Last <= 0 {
			d.Last = r.Time
		}
		if !told.Add(d) {
			lost++
		}
	}
	samples := r.Samples[:min(len(r.Samples), gateSamples)]
	var p decode.Packet
	for i := range samples {
		s := &samples[i]
		f := decode.Frame{Data: s.Frame[:min(len(s.Frame), sampleBytes)], Time: s.Time, Link: decode.LinkEthernet}
		f.WireLen = uint32(min(max(s.WireLen, len(f.Data)), 1<<16))
		e.decoder.Decode(&f, &p)
		told.Sample(&p, min(s.Weight, 1<<32))
	}
	told.Settle()
	e.gate.add(r, &told, lost, len(samples))
}

// add keeps a report for the next tick. More samples than fit are left out, those of earlier reports first come.
func (g *gate) add(r *GateReport, told *tally.Gate, lost uint64, samples int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Reports++
	g.stats.Packets += told.Packets
	g.stats.Bytes += told.Bytes
	g.stats.ShadowPackets += told.ShadowPackets
	g.stats.ShadowBytes += told.ShadowBytes
	g.stats.Drops += uint64(len(r.Drops))
	g.stats.Samples += uint64(len(r.Samples))
	g.stats.DropsLost += lost
	for i := range r.Drops {
		g.hit(&r.Drops[i], r.Time)
	}
	if g.samples+samples > gateSamples {
		told.Unsample()
		samples = 0
	}
	g.samples += samples
	g.stats.SamplesLost += uint64(len(r.Samples) - samples)
	g.told.Take(told)
	if len(g.told.Drops) > 2*tally.MaxGateDrops || len(g.told.Services) > 2*tally.MaxGateServices {
		g.told.Settle()
	}
}

// hit notes what met a drop for its alert.
func (g *gate) hit(d *GateDrop, at int64) {
	if d.Shadow || d.Alert == "" || d.Packets == 0 {
		return
	}
	h := g.hits[d.Alert]
	if h == nil {
		if len(g.hits) >= gateAlerts {
			g.stats.DropsLost++
			return
		}
		if g.hits == nil {
			g.hits = map[string]*gateHit{}
		}
		h = &gateHit{}
		g.hits[d.Alert] = h
	}
	if d.Last > 0 {
		at = d.Last
	}
	h.packets, h.bytes, h.last = h.packets+d.Packets, h.bytes+d.Bytes, max(h.last, at)
}

// take makes what was gathered a part of the epoch, and tells the alerts.
func (g *gate) take(e *tally.Epoch, alerts *alert.Manager) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.told.Empty() && len(g.hits) == 0 {
		return
	}
	g.told.Explain(alerts.About)
	e.Gate.Take(&g.told)
	e.Gate.Settle()
	for id, h := range g.hits { // their order does not show: revisions are sorted
		alerts.Block(id, h.packets, h.bytes, min(h.last, e.End()))
	}
	clear(g.hits)
	g.told, g.samples = tally.Gate{}, 0
}

// Stats are the counters so far.
func (g *gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}
