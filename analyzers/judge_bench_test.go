package analyzers

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// BenchmarkJudge has all analyzers judge a site with 100,000 active keys: services, sources and pairs that are each heard of
// once a second, in ticks of 100 ms. It reports how long a tick takes them: the median, the 99th in a hundred, and the longest.
func BenchmarkJudge(b *testing.B) {
	const seconds = 30
	site := NewSite(nil, nil)
	all := All(Defaults(), site)
	epochs := busyEpochs(100_000)
	var took []time.Duration
	found := 0
	tick := int64(17_000_000_000)
	for b.Loop() {
		for range seconds * 10 {
			e := epochs[tick%10]
			shift(e, tick)
			begin := time.Now()
			site.Begin(e.End())
			for _, a := range all {
				a.Judge(e, func(*Finding) { found++ })
			}
			took = append(took, time.Since(begin))
			tick++
		}
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1e3
	}
	b.ReportMetric(at(0.5), "ms/tick-p50")
	b.ReportMetric(at(0.99), "ms/tick-p99")
	b.ReportMetric(at(1), "ms/tick-max")
	b.ReportMetric(float64(found)/float64(len(took)), "findings/tick")
}

// busyEpochs are ten ticks in which that many keys are heard of: a fifth each are services, sources and pairs of other clients; the
// rest pairs.
func busyEpochs(keys int) (epochs [10]*tally.Epoch) {
	r := rand.New(rand.NewPCG(1, 2))
	inside := func(n int) decode.Addr { return decode.Addr{Lo: 0xffff<<32 | 0x0a000000 | uint64(n)} }
	outside := func(n int) decode.Addr { return decode.Addr{Lo: 0xffff<<32 | 0xc6000000 | uint64(n)} }
	for t := range epochs {
		e := &tally.Epoch{}
		for i := t; i < keys/5; i += 10 {
			n := uint64(1 + r.IntN(40))
			e.Services = append(e.Services, tally.Service{
				Key:     tally.ServiceKey{Addr: inside(i / 4), Port: uint16(443 + i%4), Proto: 6, Ver: 4},
				Packets: n, Bytes: n * 400, BackPackets: n, BackBytes: n * 900, Opened: 1, SYN: 1, SYNACK: 1, Proven: 1, Payload: uint32(n),
			})
			e.Sources = append(e.Sources, tally.Source{Addr: outside(i), Ver: 4, Opened: 1, Answered: 1, Proven: 1})
			e.Link.Packets += 2 * n
		}
		for i := t; i < keys*3/5; i += 10 {
			e.Pairs = append(e.Pairs, tally.Pair{
				Key:    tally.PairKey{Client: outside(i / 3), Server: inside(i % (keys / 20)), Port: 443, Proto: 6, Ver: 4},
				Opened: 1, Closed: 1, Packets: 6, BackPackets: 8, Bytes: 900, BackBytes: 6000, Payload: 500, BackPayload: 5500, RTTN: 1, RTT: 20_000,
			})
		}
		slices.SortFunc(e.Services, func(a, b tally.Service) int {
			if a.Key.Less(&b.Key) {
				return -1
			}
			return 1
		})
		slices.SortFunc(e.Pairs, func(a, b tally.Pair) int {
			if a.Key.Less(&b.Key) {
				return -1
			}
			return 1
		})
		e.Link.Bytes = e.Link.Packets * 700
		epochs[t] = e
	}
	return epochs
}

// shift sets an epoch's times to a tick.
func shift(e *tally.Epoch, tick int64) {
	e.Tick = tick
	for i := range e.Sources {
		e.Sources[i].First, e.Sources[i].Last = e.Start(), e.Start()+1
	}
	for i := range e.Pairs {
		p := &e.Pairs[i]
		p.First, p.Last, p.FirstOpened, p.LastBegun = e.Start(), e.Start()+2, e.Start()+1, e.Start()+1
	}
}
