package bus

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// alertSize is that of a typical alert, flowSize that of a connection record.
const alertSize, flowSize = 1500, 500

func BenchmarkAlert(b *testing.B) {
	for _, sync := range []time.Duration{time.Second, 0} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			cfg := outside("nats://127.0.0.1:1")
			cfg.Sync, cfg.OutboxMiB = sync, 4096
			benchmark(b, cfg, alertSize, func(bus *Bus, i int, payload []byte) {
				if err := bus.Alert("scan", "high", strconv.Itoa(i), payload); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkAlertEmbedded(b *testing.B) {
	benchmark(b, embedded(), alertSize, func(bus *Bus, i int, payload []byte) {
		if err := bus.Alert("scan", "high", strconv.Itoa(i), payload); err != nil {
			b.Fatal(err)
		}
		if i%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	})
}

func BenchmarkFlow(b *testing.B) {
	cfg := embedded()
	cfg.Flows, cfg.StoreMiB = "on", 20<<10
	benchmark(b, cfg, flowSize, func(bus *Bus, i int, payload []byte) {
		bus.Flow(payload)
		if i%64 == 0 {
			time.Sleep(time.Millisecond)
		}
	})
}

// benchmark reports the distribution of what one call takes.
func benchmark(b *testing.B, cfg Config, size int, call func(bus *Bus, i int, payload []byte)) {
	bus := open(b, cfg, b.TempDir())
	payload := make([]byte, size)
	var took []time.Duration
	i := 0
	for b.Loop() {
		begin := time.Now()
		if i%64 == 0 && i > 0 { // the pauses are not measured
			call(bus, i, payload)
			i++
			continue
		}
		call(bus, i, payload)
		took = append(took, time.Since(begin))
		i++
	}
	quantiles(b, took)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_ = bus.Close(ctx)
}

func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	at := func(q float64) float64 { return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3 }
	b.ReportMetric(at(.5), "p50-µs")
	b.ReportMetric(at(.99), "p99-µs")
	b.ReportMetric(at(1), "max-µs")
}

// BenchmarkEndToEnd measures from the call of Alert to a subscriber over TCP, at 1000 alerts a second.
func BenchmarkEndToEnd(b *testing.B) {
	dir := b.TempDir()
	bus := open(b, embedded(), dir)
	nc, err := nats.Connect(serverIn(b, dir))
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	var took []time.Duration
	var n atomic.Int64
	epoch := time.Now()
	_, err = nc.Subscribe("weir.v1.*.*.alert.>", func(m *nats.Msg) {
		sent, _ := strconv.ParseInt(m.Header.Get(nats.MsgIdHdr), 10, 64)
		took = append(took, time.Since(epoch)-time.Duration(sent))
		n.Add(1)
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, alertSize)
	sent := int64(0)
	for b.Loop() {
		time.Sleep(time.Millisecond)
		if err := bus.Alert("scan", "high", strconv.FormatInt(int64(time.Since(epoch)), 10), payload); err != nil {
			b.Fatal(err)
		}
		sent++
	}
	for n.Load() < sent {
		time.Sleep(time.Millisecond)
	}
	quantiles(b, took)
	closeBus(b, bus)
}
