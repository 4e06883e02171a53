package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/sensor/enforce"
	"weir/sensor/policy"
	"weir/sensor/traffic"
)

// TestChaosChurn is a short run of what the soak does for a minute.
func TestChaosChurn(t *testing.T) { churn(t, 8*time.Second, 20_000) }

const churned = 10_000 // sources

// churn adds, lengthens and removes drops of 10,000 sources at random while these and others send: by signed instructions in the
// bucket, and some by weir bans. Afterwards bucket, weir bans list, kernel and receipts agree, and nobody found the kernel otherwise
// at any time.
func churn(t *testing.T, life time.Duration, rate int) {
	t.Parallel()
	b := newBastion(t, "wchc", "", `policy: {canary: 0s, severity: critical, rules: [{kind: flood, severity: never}, {kind: scan, severity: never}],
  max_drops: 20000, max_per_second: 10000}
`)
	w := b.start(t, "run")
	b.ban(t, other(0), "1h")
	f := b.flow(t, other(0), other(9))
	begun := time.Now()
	sent := b.mix(t, rate)
	var work sync.WaitGroup
	var changes atomic.Int64
	end := begun.Add(life)
	for part := range 2 {
		js := b.jetstream(t)
		work.Go(func() { changes.Add(b.disturb(t, js, part, end)) })
	}
	byHand := 0
	var memory []float64
	for time.Now().Before(end) {
		target := fmt.Sprintf("203.0.113.%d", byHand%200)
		b.ban(t, target, "1h")
		if byHand%2 == 1 {
			b.weir(t, "bans", "remove", target, "--reason", "chaos")
		}
		byHand++
		memory = append(memory, sumOf(w.scrape(t), "process_resident_memory_bytes")/(1<<20))
	}
	work.Wait()
	packets := sent()
	kv := b.bucket(t)
	n := len(b.wanted(t, kv))
	b.agree(t, n)
	f.nothing(t, other(0), other(9), begun)
	w.awaitValue(t, float64(n), "weir_gate_drops_enforced")
	w.awaitValue(t, float64(n), "weir_gate_drops_wanted")
	all := w.scrape(t)
	for _, name := range []string{
		"weir_gate_drift_total", "weir_gate_errors_total", "weir_gate_drops_failed", "weir_gate_drops_missing", "weir_gate_drops_refused",
		"weir_decisions_unwritten",
	} {
		if got := sumOf(all, name); got != 0 {
			t.Errorf("%s is %v", name, got)
		}
	}
	if got := sumOf(all, "weir_refusals_total", `by="gate"`); got != 0 {
		t.Errorf("the gate refused %v instructions", got)
	}
	if strings.Contains(w.err.String(), "drops are not on the bus any more") {
		t.Error("drops were missed on the bus that were there all the time")
	}
	b.settled(t, w, n)
	met := sumOf(all, "weir_gate_packets_total", `verdict="drop"`)
	t.Logf("%d changes by instruction and %d bans by hand in %v, %d packets sent of which %.0f met a drop; %d drops at the end; MiB: %.0f",
		changes.Load(), byHand, time.Since(begun).Round(time.Second), packets, met, n, sampled(memory, 8))
	if met < 100 || changes.Load() < 100*int64(life/time.Second) {
		t.Error("too little happened: the test shows nothing")
	}
	if half := len(memory) / 2; half >= 5 { // in a short run it still grows into its bounds
		if early, late := slices.Max(memory[:half]), slices.Max(memory[half:]); late > 1.2*early {
			t.Errorf("memory: %.0f MiB in the first half, %.0f MiB in the second", early, late)
		}
	}
	if code := w.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir run ends with %d", code)
	}
}

// mix sends traffic of 16,384 sources, so many frames a second, until the end, which tells how many.
func (b *bastion) mix(t *testing.T, rate int) (stop func() uint64) {
	t.Helper()
	stream, err := traffic.NewStream("mix")
	if err != nil {
		t.Fatal(err)
	}
	var s *traffic.Sender
	within(t, b.near, func() { s, err = traffic.NewSender("eth0") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	var sent uint64
	sending.Go(func() {
		for ctx.Err() == nil {
			n, err := s.Send(stream, rate, 100*time.Millisecond)
			if sent += n; err != nil {
				t.Error(err)
				return
			}
		}
	})
	stop = sync.OnceValue(func() uint64 { cancel(); sending.Wait(); s.Close(); return sent })
	t.Cleanup(func() { stop() })
	return stop
}

// disturb changes drops of every second source at random, and returns how often.
func (b *bastion) disturb(t *testing.T, js jetstream.JetStream, part int, end time.Time) (n int64) {
	last := map[int]*policy.Drop{}
	for time.Now().Before(end) {
		for range 1 + rand.IntN(200) {
			i := 2*rand.IntN(churned/2) + part
			d := b.drop(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}).String(), time.Hour+time.Duration(rand.IntN(3600))*time.Second)
			if was := last[i]; was != nil && was.State == policy.Requested && rand.IntN(2) == 0 {
				d.State = policy.Removed
			}
			last[i] = d
			value, err := b.signed(d)
			if err == nil {
				_, err = js.PublishAsync("$KV."+bucketName+"."+d.Key(), value)
			}
			if err != nil {
				t.Error(err)
				return n
			}
			n++
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-time.After(10 * time.Second):
			t.Error("the server does not take instructions any more")
			return n
		}
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
	}
	return n
}

// settled reads all receipts: the last of each drop tells how it stands, and all are counted.
func (b *bastion) settled(t *testing.T, w *served, n int) {
	t.Helper()
	last, states := map[string]string{}, map[string]float64{}
	for _, r := range b.receipts(t) {
		last[r.Drop] = r.State
		states[r.State]++
	}
	applied := 0
	for _, s := range last {
		if s == enforce.ReceiptApplied {
			applied++
		}
	}
	if applied != n {
		t.Errorf("by their receipts %d drops are in force, by bucket and kernel %d", applied, n)
	}
	all := w.scrape(t)
	for _, s := range []string{enforce.ReceiptApplied, enforce.ReceiptRemoved, enforce.ReceiptExpired} {
		if got := sumOf(all, "weir_gate_receipts_total", fmt.Sprintf("state=%q", s)); got != states[s] {
			t.Errorf("%v receipts %s in the stream, %v by the metric", states[s], s, got)
		}
	}
	t.Logf("receipts: %v", states)
}

// sampled is some of a series' values.
func sampled(list []float64, n int) (some []float64) {
	for i := range n {
		some = append(some, list[i*(len(list)-1)/(n-1)])
	}
	return some
}
