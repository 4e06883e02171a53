package analyzers

import (
	"slices"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// crowdedTicks makes ticks of a second in which n services of the inside, and as many pairs, are active.
func crowdedTicks(n int) []*tally.Epoch {
	ticks := make([]*tally.Epoch, ticksPerSecond)
	for i := range ticks {
		e := &tally.Epoch{SketchKey: 5}
		for j := range n / len(ticks) {
			id := uint64(i*n/len(ticks) + j)
			addr := decode.Addr{Lo: 0xffff<<32 | 0x0a000000 | id>>2}
			e.Services = append(e.Services, tally.Service{
				Key:     tally.ServiceKey{Addr: addr, Port: uint16(440 + id&3), Proto: protoTCP, Ver: 4},
				Packets: 40, BackPackets: 60, Bytes: 4000, BackBytes: 80000, Proven: 4, SYN: 4, Payload: 60, RTTN: 4, RTT: 40000,
			})
			e.Pairs = append(e.Pairs, tally.Pair{
				Key:    tally.PairKey{Client: decode.Addr{Lo: 0xffff<<32 | 0xc6000000 | id}, Server: addr, Port: uint16(440 + id&3), Proto: protoTCP, Ver: 4},
				Opened: 3, Packets: 30, BackPackets: 40, BackBytes: 40000, Payload: 900, BackPayload: 38000,
			})
			e.Webs = append(e.Webs, tally.Web{Key: e.Pairs[j].Key, Requests: 5})
			e.Link.Packets += 100
		}
		slices.SortFunc(e.Services, func(a, b tally.Service) int { return compareKeys(&a.Key, &b.Key) })
		ticks[i] = e
	}
	return ticks
}

// BenchmarkJudge100k reports what a tick costs an analyzer of this issue while 100,000 services and pairs are active in a second.
func BenchmarkJudge100k(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(*Site) Analyzer
	}{
		{"rate", func(s *Site) Analyzer { return NewRate(DefaultRate(), s) }},
		{"change", func(s *Site) Analyzer { return NewChange(DefaultChange(), s) }},
		{"latency", func(s *Site) Analyzer { return NewLatency(DefaultLatency(), s) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			site := NewSite(nil, nil)
			a, ticks := c.make(site), crowdedTicks(100_000)
			var took []time.Duration
			at := loadStart * ticksPerSecond
			for i := range 600 + b.N {
				e := ticks[i%len(ticks)]
				e.Tick = at + int64(i)
				site.Begin(e.End())
				began := time.Now()
				a.Judge(e, func(*Finding) {})
				if i >= 600 {
					took = append(took, time.Since(began))
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/1e6, "ms/p50")
			b.ReportMetric(float64(took[len(took)*99/100])/1e6, "ms/p99")
		})
	}
}

// TestRateBounded: with a hundred times the keys that fit, what is kept stays within its limits, and the rest is counted.
func TestRateBounded(t *testing.T) {
	cfg := DefaultRate()
	cfg.Keys, cfg.Pairs, cfg.Alarms, cfg.Hours = 64, 64, 16, 64
	r := NewRate(cfg, NewSite(nil, nil))
	ticks := crowdedTicks(6400)
	for i := range 40 {
		e := ticks[i%len(ticks)]
		e.Tick = loadStart*ticksPerSecond + int64(i)
		r.Judge(e, func(*Finding) {})
	}
	if len(r.loads.fill) > 64 || len(r.talks.fill) > 64 || len(r.windows.fill) > 64 || len(r.alarms.list) > 16 {
		t.Errorf("%d keys, %d talks, %d windows, %d alarms", len(r.loads.fill), len(r.talks.fill), len(r.windows.fill), len(r.alarms.list))
	}
	for _, c := range r.Costs()[:2] {
		if c.N == 0 {
			t.Errorf("%s: nothing lost", c.Limit)
		}
	}
}
