package sensor

import (
	"sync"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/alert"
)

// Bounds of what a gate tells between two ticks. What is beyond is counted.
const (
	gateDrops   = 1 << 16 // drops that were hit
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
	DropsLost                  uint64 // entries that did not fit between two ticks, or made no sense; their packets are counted
	SamplesLost                uint64 // likewise
}

// gate gathers reports until the next tick is judged.
type gate struct {
	mu      sync.Mutex
	drops   []GateDrop
	sampled tally.Gate
	samples int // in sampled
	stats   GateStats
}

// Gate takes in what a gate in front of this sensor dropped: it enters the epoch of the next tick that is judged. The
// counters keep alerts of their drops open and what analyzers know of their victims; samples say where dropped packets
// went, and are never taken for packets that were seen. Live engines only; any goroutine. Nothing of r is kept. It costs
// the caller about 100 ns a sample.
func (e *Engine) Gate(r *GateReport) {
	if !e.cfg.Live {
		return
	}
	samples := r.Samples[:min(len(r.Samples), gateSamples)]
	var read tally.Gate
	var p decode.Packet
	for i := range samples {
		s := &samples[i]
		f := decode.Frame{Data: s.Frame[:min(len(s.Frame), sampleBytes)], Time: s.Time, Link: decode.LinkEthernet}
		f.WireLen = uint32(min(max(s.WireLen, len(f.Data)), 1<<16))
		e.decoder.Decode(&f, &p)
		read.Sample(&p, min(s.Weight, 1<<32))
	}
	g := &e.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Reports++
	g.stats.Drops += uint64(len(r.Drops))
	g.stats.Samples += uint64(len(r.Samples))
	for i := range r.Drops {
		g.add(&r.Drops[i], r.Time)
	}
	g.stats.SamplesLost += uint64(len(r.Samples) - len(samples))
	if g.samples+len(samples) > gateSamples {
		g.stats.SamplesLost += uint64(len(samples))
		return
	}
	g.samples += len(samples)
	g.sampled.Take(&read)
}

// add keeps what met a drop for the next tick, at the time of the report if it does not say when.
func (g *gate) add(d *GateDrop, at int64) {
	if d.Shadow {
		g.stats.ShadowPackets += d.Packets
		g.stats.ShadowBytes += d.Bytes
	} else {
		g.stats.Packets += d.Packets
		g.stats.Bytes += d.Bytes
	}
	if len(g.drops) >= gateDrops {
		g.stats.DropsLost++
		return
	}
	g.drops = append(g.drops, *d)
	if d.Last <= 0 {
		g.drops[len(g.drops)-1].Last = at
	}
}

// take makes what was gathered a part of the epoch. Alerts that are open know whom their drops defend, and stay open.
func (g *gate) take(e *tally.Epoch, alerts *alert.Manager) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.drops) == 0 && g.samples == 0 {
		return
	}
	for i := range g.drops {
		d := &g.drops[i]
		kind, victim, port, proto := alerts.About(d.Alert)
		if d.Kind = kind; !d.Victim.IsValid() {
			d.Victim, d.Port, d.Proto = victim, port, proto
		}
		if !e.Gate.Add(*d) {
			g.stats.DropsLost++
		} else if !d.Shadow {
			alerts.Block(d.Alert, d.Packets, d.Bytes, min(d.Last, e.End()))
		}
	}
	e.Gate.Take(&g.sampled)
	e.Gate.Settle()
	clear(g.drops)
	g.drops, g.samples = g.drops[:0], 0
	g.sampled.Reset()
}

// Stats are the counters so far.
func (g *gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}
