package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// TestChaosBusLoss takes the NATS server away from a gate for longer than a drop lasts. Drops end by themselves, and what was
// extended, removed and added meanwhile is done once the server is back.
func TestChaosBusLoss(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchb", "", calm+byServer)
	server := b.outside(t, natsPort)
	w := b.start(t, "block")
	kv := b.bucket(t)
	short, long, gone := b.drop(other(0), 6*time.Second), b.drop(other(1), 10*time.Minute), b.drop(other(2), 10*time.Minute)
	until := time.Unix(short.Until, 0)
	b.order(t, kv, short, long, gone)
	w.awaitValue(t, 3, "weir_gate_drops_enforced")
	f := b.flow(t, other(0), other(1), other(2), other(9))
	begun := time.Now()
	server.end(t, syscall.SIGTERM)
	await(t, "a gate without its bus is not ready", func() bool {
		code, _ := w.get("/readyz")
		return code == http.StatusServiceUnavailable
	})
	w.awaitValue(t, 0, "weir_bus_connected")
	time.Sleep(time.Until(until.Add(1500 * time.Millisecond)))
	if late := f.first(other(0), begun).Sub(until); late < -100*time.Millisecond || late > lapse {
		t.Errorf("a drop lapsed %v after its end", late)
	}
	w.awaitValue(t, 2, "weir_gate_drops_enforced")
	b.cut(t, other(1), other(2))

	server = b.outside(t, natsPort+1) // where the gate does not look
	kv = b.bucket(t)
	short.Until, long.Until, gone.State = short.Until+3600, long.Until+3600, policy.Removed
	b.order(t, kv, b.newer(short), b.newer(long), b.newer(gone), b.drop(other(3), time.Hour))
	time.Sleep(time.Second)
	w.awaitValue(t, 2, "weir_gate_drops_enforced")
	b.cut(t, other(1), other(2))
	f.nothing(t, other(1), other(9), begun)
	f.nothing(t, other(2), other(9), begun)
	server.end(t, syscall.SIGTERM)

	b.outside(t, natsPort)
	soon(t, "the gate is ready again", 10*time.Second, func() bool {
		code, _ := w.get("/readyz")
		return code == http.StatusOK
	})
	b.agree(t, 3)
	b.cut(t, other(0), other(1), other(3))
	if !b.reach(t, other(2)) {
		t.Errorf("%s, whose drop was removed, cannot connect", other(2))
	}
	f.nothing(t, other(1), other(9), begun)
	w.awaitValue(t, 0, "weir_gate_drift_total")
}

// TestChaosBucket does to the bucket of wanted drops what it must stand: it is deleted, and its keys are purged and overwritten.
// Enforcement goes on all the time, the sensor writes again what it wants, and all of it is told.
func TestChaosBucket(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchu", "", calm)
	w := b.start(t, "run")
	b.ban(t, other(0), "10m")
	key, foreign := "address."+other(0), b.drop(other(1), 10*time.Minute)
	js, kv := b.jetstream(t), b.bucket(t)
	old, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	b.ban(t, other(0), "20m")
	b.order(t, kv, foreign)
	b.agree(t, 2)
	f := b.flow(t, other(0), other(1), other(9))
	begun := time.Now()
	stranger, err := bus.OpenKeys(filepath.Join(t.TempDir(), "keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	put := func(value []byte) {
		t.Helper()
		if _, err := kv.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	current := func() string {
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			return ""
		}
		return string(e.Value())
	}
	good := current()
	for _, c := range []struct {
		name, guard string
		do          func()
	}{
		{"a key is purged", "bare_delete", func() {
			if err := kv.Purge(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}},
		{"a key is overwritten with junk", "unsigned", func() { put([]byte("junk")) }},
		{"a key is overwritten with its old value", "replayed", func() { put(old.Value()) }},
		{"a key is overwritten with another key's value", "forged", func() {
			e, err := kv.Get(t.Context(), foreign.Key())
			if err != nil {
				t.Fatal(err)
			}
			put(e.Value())
		}},
		{"a key is overwritten by a stranger", "untrusted", func() {
			d := b.drop(other(0), time.Second)
			body, _ := d.AppendLine(nil)
			value, err := bus.Sign(stranger, "default", key, body[:len(body)-1])
			if err != nil {
				t.Fatal(err)
			}
			put(value)
		}},
	} {
		label := []string{`by="gate"`, `guard="` + c.guard + `"`}
		before := sumOf(w.scrape(t), "weir_refusals_total", label...)
		c.do()
		w.awaitValue(t, before+1, "weir_refusals_total", label...)
		soon(t, c.name+": it is written again", 6*time.Second, func() bool { return sameBody(current(), good) })
		b.agree(t, 2)
	}

	if err := js.DeleteKeyValue(t.Context(), bucketName); err != nil {
		t.Fatal(err)
	}
	soon(t, "the bucket is back", 8*time.Second, func() bool {
		if kv, err = js.KeyValue(t.Context(), bucketName); err != nil {
			return false
		}
		return sameBody(current(), good)
	})
	w.awaitValue(t, 1, "weir_gate_drops_missing") // which nobody but the test knew of
	w.awaitValue(t, 2, "weir_gate_drops_enforced")
	b.order(t, kv, b.newer(foreign))
	w.awaitValue(t, 0, "weir_gate_drops_missing")
	b.agree(t, 2)
	b.cut(t, other(0), other(1))
	f.nothing(t, other(0), other(9), begun)
	f.nothing(t, other(1), other(9), begun)
	guards := map[string]int{}
	for _, r := range b.receipts(t) {
		if r.State == enforce.ReceiptRefused {
			guards[r.Guard]++
		}
	}
	for _, g := range []string{"bare_delete", "unsigned", "replayed", "forged", "untrusted"} {
		if guards[g] != 1 {
			t.Errorf("%d receipts tell of guard %s", guards[g], g)
		}
	}
	if !strings.Contains(w.err.String(), "drops are not on the bus any more and were not removed: kept until their end") {
		t.Error("the log does not tell that the bucket was emptied")
	}
	w.awaitValue(t, 0, "weir_gate_drift_total")
}

// sameBody compares what is signed: signatures of one body are alike, but its writer may change.
func sameBody(a, b string) bool {
	_, x, ok1 := strings.Cut(a, `"body":`)
	_, y, ok2 := strings.Cut(b, `"body":`)
	return ok1 && ok2 && x == y
}

// segments is how many TCP segments came to the guarded host's stack within a time, by the kernel's own count, in a second.
func (b *bastion) segments(t *testing.T, d time.Duration) (rate float64) {
	t.Helper()
	read := func() (n float64) {
		within(t, b.far, func() {
			text, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				t.Error(err)
			}
			var heads []string
			for line := range strings.Lines(string(text)) {
				if words := strings.Fields(line); words[0] == "Tcp:" {
					if heads == nil {
						heads = words
						continue
					}
					for i, h := range heads {
						if h == "InSegs" {
							n, _ = strconv.ParseFloat(words[i], 64)
						}
					}
				}
			}
		})
		return n
	}
	from, begun := read(), time.Now()
	time.Sleep(d)
	return (read() - from) / time.Since(begun).Seconds()
}

// TestChaosPanic panics under a flood and resumes. The kernel is empty at once and the flood comes in; alerts go on; a killed weir
// holds after its restart, too; and with the end of the panic the flood is cut anew.
func TestChaosPanic(t *testing.T) {
	t.Parallel()
	need(t, "hping3", "nmap")
	b := newBastion(t, "wchp", "", "")
	w := b.start(t, "run")
	spawn(t, b.near, "hping3", "-q", "-S", "-p", "80", "-i", "u500", guardedHost)
	cut := func() {
		t.Helper()
		soon(t, "the flood is cut", 8*time.Second, func() bool { return b.segments(t, 200*time.Millisecond) < 200 })
	}
	cut()
	flooded := func() {
		t.Helper()
		if rate := b.segments(t, 500*time.Millisecond); rate < 800 {
			t.Errorf("%.0f packets a second come in", rate)
		}
		if k := b.kernel(t); len(k) != 0 || len(b.dumped(t, "services")) != 0 {
			t.Errorf("the kernel has %v", k)
		}
		w.awaitValue(t, 0, "weir_gate_drops_enforced")
		w.awaitValue(t, 1, "weir_gate_held")
	}
	panicked := time.Now()
	b.weir(t, "bans", "panic", "--reason", "chaos")
	flooded()
	guarded := func() bool {
		text := w.out.String()
		all, err := alert.Read(strings.NewReader(text[:strings.LastIndexByte(text, '\n')+1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if time.Unix(0, int64(a.Time)).After(panicked) && a.Action != nil && a.Action.Guard == "panic" {
				return true
			}
		}
		return false
	}
	runIn(t, b.near, "nmap", "-n", "-Pn", "-sS", "-p", "1-600", "--max-retries", "0", guardedHost) // whose alert is new
	await(t, "an alert tells that the panic holds", guarded)
	w.end(t, os.Kill)
	w = b.start(t, "run")
	await(t, "an alert tells that the panic still holds", guarded)
	flooded()
	resumed := time.Now()
	b.weir(t, "bans", "resume", "--reason", "chaos is over")
	cut()
	w.awaitValue(t, 0, "weir_gate_held")
	kv := b.bucket(t)
	if n := len(b.wanted(t, kv)); n == 0 {
		t.Error("the bucket wants nothing")
	}
	events := map[string]int{}
	b.recorded(t, func(event string, payload []byte) {
		if p, err := enforce.ParsePanic(payload); err == nil && strings.Contains(p.Reason, "chaos") {
			events[event]++
		}
	})
	if events["panic"] != 1 || events["resumed"] != 1 || len(events) != 2 {
		t.Errorf("the stream of drops has %v", events)
	}
	after := 0
	for _, r := range b.receipts(t) {
		if at := time.Unix(0, int64(r.Time)); r.State == enforce.ReceiptApplied && at.After(panicked) {
			if after++; at.Before(resumed) {
				t.Errorf("during the panic: %s", r.Sentence)
			}
		}
	}
	if after == 0 {
		t.Error("no receipt of a drop after the end of the panic")
	}
}

// TestChaosPanicFile writes the file of a panic for a gate that has no bus. It holds through a kill, and after it ended only
// what is newer than it is enforced.
func TestChaosPanicFile(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchq", "", calm+byServer)
	server := b.outside(t, natsPort)
	w := b.start(t, "block")
	b.order(t, b.bucket(t), b.drop(other(0), time.Hour), b.drop(other(1), time.Hour))
	w.awaitValue(t, 2, "weir_gate_drops_enforced")
	b.cut(t, other(0))
	server.end(t, syscall.SIGTERM)
	if err := os.WriteFile(panicFile(b.state), []byte("stop\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	soon(t, "the kernel is empty", 4*time.Second, func() bool { return len(b.kernel(t)) == 0 })
	if !b.reach(t, other(0)) {
		t.Errorf("%s cannot connect in a panic", other(0))
	}
	w.awaitValue(t, 1, "weir_gate_held")
	w.end(t, os.Kill)
	b.outside(t, natsPort)
	w = b.start(t, "block")
	w.awaitValue(t, 1, "weir_gate_held")
	b.order(t, b.bucket(t), b.drop(other(2), time.Hour))
	w.awaitValue(t, 1, "weir_gate_drops_refused", `guard="panic"`)
	if n := len(b.kernel(t)); n != 0 {
		t.Errorf("the kernel has %d entries in a panic", n)
	}
	b.weir(t, "bans", "resume")
	w.awaitValue(t, 0, "weir_gate_held")
	b.order(t, b.bucket(t), b.drop(other(3), time.Hour))
	w.awaitValue(t, 2, "weir_gate_drops_enforced")
	b.cut(t, other(2), other(3)) // asked for during the panic, and after
	for _, s := range []string{other(0), other(1)} {
		if !b.reach(t, s) {
			t.Errorf("%s, whose drop was asked for before the panic, cannot connect after it", s)
		}
	}
	w.awaitValue(t, 0, "weir_gate_drift_total")
}
