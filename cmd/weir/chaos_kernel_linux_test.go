package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// at one of NATS' ports, each test in its own namespace.
const natsPort = 4222

const byServer = "nats: {servers: [\"nats://127.0.0.1:4222\"]}\n"

// program is the XDP program at the interface, as ip shows it; "" if there is none.
func (c *cable) program(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("ip", "-n", c.far, "link", "show", "eth0").CombinedOutput()
	if err != nil {
		return ""
	}
	if _, id, ok := strings.Cut(string(out), "prog/xdp id "); ok {
		return strings.Fields(id)[0]
	}
	return ""
}

// soon waits until something holds, and fails if that took longer than it may.
func soon(t *testing.T, what string, most time.Duration, ok func() bool) {
	t.Helper()
	begun := time.Now()
	await(t, what, ok)
	took := time.Since(begun)
	t.Logf("%s: after %v", what, took.Round(time.Millisecond))
	if took > most {
		t.Errorf("%s after %v, at most %v", what, took, most)
	}
}

// TestChaosInterface deletes the interface under a gate, and makes it anew. The gate is back with the next look at the kernel, and
// what was dropped is dropped.
func TestChaosInterface(t *testing.T) {
	for _, name := range []string{"run", "block"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBastion(t, "wchi"+name[:1], "", calm+map[string]string{"block": byServer}[name])
			if name == "block" {
				b.outside(t, natsPort)
			}
			w := b.start(t, name)
			kv := b.bucket(t)
			b.order(t, kv, b.drop(other(0), time.Hour), b.drop("203.0.113.0/24", time.Hour))
			w.awaitValue(t, 2, "weir_gate_drops_enforced")
			b.cut(t, other(0))
			command(t, "ip -n "+b.far+" link del eth0")
			w.awaitValue(t, 0, "weir_gate_attached")
			b.plug(t, "eth0")
			soon(t, "the gate is at the new interface", 5*time.Second, func() bool { return b.program(t) != "" })
			b.address(t)
			w.awaitValue(t, 1, "weir_gate_attached")
			b.cut(t, other(0))
			w.awaitValue(t, 2, "weir_gate_drops_enforced")
			w.awaitValue(t, 0, "weir_gate_drift_total")
			if name == "run" {
				b.agree(t, 2)
				before := sumOf(w.scrape(t), "weir_packets_total", `protocol="tcp"`)
				soon(t, "the sensor sees packets again", 5*time.Second, func() bool {
					return b.reach(t, other(9)) && sumOf(w.scrape(t), "weir_packets_total", `protocol="tcp"`) > before
				})
			}
			if !strings.Contains(w.err.String(), `msg="the gate judges the interface's traffic again"`) {
				t.Error("the log does not tell that the gate is back")
			}
		})
	}
}

// TestChaosTampered changes what is in the kernel with bpftool, ip and rm. It is mended within two looks, counted, and logged.
func TestChaosTampered(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wcht", "every: 1s", calm)
	w := b.start(t, "run")
	kv := b.bucket(t)
	hour := b.drop(other(1), time.Hour)
	b.order(t, kv, b.drop(other(0), time.Hour), hour, b.drop("203.0.113.0/24", time.Hour))
	b.agree(t, 3)
	key := func(i int) []byte { return []byte{198, 51, 100, byte(10 + i)} }
	value := func(i int) []byte {
		for _, kv := range b.dumped(t, "hosts4") {
			if slices.Equal(kv[0], key(i)) {
				return kv[1]
			}
		}
		t.Fatalf("the kernel has no %s", other(i))
		return nil
	}
	control := b.dumped(t, "control")
	var late []string
	for _, c := range []struct {
		name    string
		do      func()
		source  int // whose packets it concerns…
		passes  bool
		drift   string // kind
		entries float64
	}{
		{"an entry deleted", func() { b.bpftool(t, "delete", "hosts4", "key", key(0)) }, 0, true, "missing", 1},
		{"an entry's action changed", func() {
			v := value(1)
			v[28] = 3 // limit_new
			binary.NativeEndian.PutUint32(v[16:], 1000)
			binary.NativeEndian.PutUint32(v[20:], 1000)
			b.bpftool(t, "update", "hosts4", "key", key(1), "value", v)
		}, 1, true, "changed", 1},
		{"an entry's end changed", func() {
			v := value(1)
			binary.NativeEndian.PutUint64(v, 1)
			b.bpftool(t, "update", "hosts4", "key", key(1), "value", v)
		}, 1, true, "changed", 1},
		{"an entry of somebody else", func() { b.bpftool(t, "update", "hosts4", "key", key(2), "value", value(0)) }, 2, false, "foreign", 1},
		{"all entries deleted", func() {
			b.bpftool(t, "delete", "hosts4", "key", key(0))
			b.bpftool(t, "delete", "hosts4", "key", key(1))
			b.bpftool(t, "delete", "nets4", "key", []byte{24, 0, 0, 0, 203, 0, 113, 0})
		}, 0, true, "missing", 3},
		{"the flags of the tables and the settings cleared", func() {
			b.bpftool(t, "update", "control", "key", make([]byte, 4), "value", make([]byte, 24))
		}, 0, true, "", 0},
		{"the bits of the addresses cleared", func() {
			word := make([]byte, 4)
			binary.NativeEndian.PutUint32(word, (198<<16|51<<8|100)/64)
			b.bpftool(t, "update", "bits4", "key", word, "value", make([]byte, 8))
		}, 0, true, "", 0},
		{"the gate detached", func() { command(t, "bpftool link detach pinned "+b.pinned(t, "link")) }, 0, true, "", 0},
	} {
		before := w.scrape(t)
		changed := time.Now()
		c.do()
		done := time.Now()
		felt := b.reach(t, other(c.source)) == c.passes
		await(t, c.name+" is mended", func() bool { return b.reach(t, other(c.source)) != c.passes })
		took := time.Since(changed)
		t.Logf("%s, which %s felt: %v; mended after %v", c.name, other(c.source), felt, took.Round(time.Millisecond))
		if !felt && done.Sub(changed) < 300*time.Millisecond && time.Since(done) < time.Second {
			t.Errorf("%s: nothing came of it", c.name)
		}
		if took > 2600*time.Millisecond { // two looks, and half a second for who cannot connect
			late = append(late, fmt.Sprintf("%s: mended after %v", c.name, took))
		}
		b.agree(t, 3)
		for _, kind := range []string{"missing", "changed", "foreign"} {
			label := fmt.Sprintf("kind=%q", kind)
			want := sumOf(before, "weir_gate_drift_total", label)
			if kind == c.drift {
				want += c.entries
			}
			w.awaitValue(t, want, "weir_gate_drift_total", label)
		}
	}
	if len(late) > 1 { // once a machine may have had other things to do
		t.Errorf("late: %q", late)
	}
	if now := b.dumped(t, "control"); !slices.EqualFunc(control, now, func(a, b [2][]byte) bool { return slices.Equal(a[1], b[1]) }) {
		t.Errorf("the gate's settings were %v and are %v", control, now)
	}
	if !strings.Contains(w.err.String(), `msg="the kernel's drops were not what was put there: mended" interface=eth0 table=xdp missing=1 foreign=0 changed=0`) {
		t.Error("the log does not tell of drift")
	}

	// A link is not detached this way.
	if out, err := exec.Command("ip", "-n", b.far, "link", "set", "dev", "eth0", "xdp", "off").CombinedOutput(); err == nil {
		t.Logf("ip link set dev eth0 xdp off: %s", out)
	}
	time.Sleep(100 * time.Millisecond)
	b.cut(t, other(0), other(1))

	// Pins are what the gate survives by.
	if err := os.RemoveAll(filepath.Join(b.pins, "weir")); err != nil {
		t.Fatal(err)
	}
	soon(t, "the pins are back", 5*time.Second, func() bool {
		found, _ := filepath.Glob(filepath.Join(b.pins, "weir", "*", "eth0@*", "link"))
		return len(found) == 1
	})
	time.Sleep(100 * time.Millisecond)
	w.end(t, os.Kill)
	b.cut(t, other(0), other(1))
	f := b.flow(t, other(0), other(9))
	begun := time.Now()
	b.start(t, "run")
	b.agree(t, 3)
	f.nothing(t, other(0), other(9), begun)
}

// TestChaosNeverList takes the kernel's own never-list away. It is put back.
func TestChaosNeverList(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchn", "", calm+"networks: {never: [\"203.0.113.0/24\"]}\n")
	w := b.start(t, "run")
	list := func() string {
		out, _ := exec.Command("bpftool", "-j", "map", "dump", "pinned", b.pinned(t, "never4")).CombinedOutput()
		return string(out)
	}
	before := list()
	b.bpftool(t, "delete", "never4", "key", make([]byte, 4))
	if list() == before {
		t.Fatalf("bpftool deleted nothing: %s", before)
	}
	soon(t, "the never-list is back", 5*time.Second, func() bool { return strings.Count(list(), "0x") == strings.Count(before, "0x") })
	if !strings.Contains(w.err.String(), `msg="the kernel's never-list was not what was put there: put there again"`) {
		t.Error("the log does not tell of it")
	}
}

// TestChaosFull asks for more drops than the kernel's table holds: those that fit are enforced, the others told as refused. When one
// ends, another gets in.
func TestChaosFull(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchf", "hosts4: 8", calm)
	w := b.start(t, "run")
	var ids []string
	var first *policy.Drop
	kv := b.bucket(t)
	for i := range 20 {
		d := b.drop(fmt.Sprintf("198.51.100.%d", 10+i), time.Hour)
		if i == 0 {
			first = d
		}
		ids = append(ids, d.ID)
		b.order(t, kv, d)
	}
	w.awaitValue(t, 8, "weir_gate_drops_enforced")
	w.awaitValue(t, 12, "weir_gate_drops_failed")
	w.awaitValue(t, 20, "weir_gate_drops_wanted")
	w.awaitValue(t, 8, "weir_gate_entries", `kind="hosts4"`)
	if n := len(b.kernel(t)); n != 8 {
		t.Errorf("the kernel has %d entries", n)
	}
	states := map[string]int{}
	for _, s := range b.listed(t) {
		states[s]++
	}
	if states["applied"] != 8 || states["refused"] != 12 {
		t.Errorf("weir bans list: %v", states)
	}
	b.cut(t, other(0), other(7))
	if !b.reach(t, other(8)) {
		t.Errorf("%s, for whom there is no room, cannot connect", other(8))
	}
	applied, full := map[string]bool{}, map[string]bool{}
	for _, r := range b.receipts(t) {
		switch {
		case r.State == enforce.ReceiptApplied:
			applied[r.Drop] = true
		case r.State == enforce.ReceiptRefused && strings.Contains(r.Error, "all 8 entries are in use"):
			full[r.Drop] = true
		}
	}
	if len(applied) != 8 || len(full) != 12 {
		t.Errorf("receipts: %d applied, %d refused as full", len(applied), len(full))
	}
	for i, id := range ids { // older ones first
		if applied[id] != (i < 8) || full[id] == (i < 8) {
			t.Errorf("drop %d: applied %v, full %v", i, applied[id], full[id])
		}
	}
	first.Until = time.Now().Unix() + 2
	b.order(t, kv, b.newer(first))
	await(t, "one ends and another gets in", func() bool {
		k := b.kernel(t)
		_, gone := k["address."+other(0)]
		_, in := k["address."+other(8)]
		return len(k) == 8 && !gone && in
	})
	b.cut(t, other(8))
	if !b.reach(t, other(0)) {
		t.Errorf("%s, whose drop ended, cannot connect", other(0))
	}
	w.awaitValue(t, 11, "weir_gate_drops_failed")
	w.awaitValue(t, 0, "weir_gate_drift_total")
}

// recorded is what the stream of drops holds: the last token of the subject, and the message.
func (b *bastion) recorded(t *testing.T, each func(event string, payload []byte)) {
	t.Helper()
	s, err := b.jetstream(t).Stream(t.Context(), "WEIR_DROPS_default")
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := c.Messages()
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Stop()
	for left := s.CachedInfo().State.Msgs; left > 0; left-- {
		m, err := messages.Next(jetstream.NextMaxWait(5 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		each(m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:], m.Data())
	}
}

func (b *bastion) receipts(t *testing.T) (all []enforce.Receipt) {
	t.Helper()
	b.recorded(t, func(_ string, payload []byte) {
		var r enforce.Receipt
		if json.Unmarshal(payload, &r) == nil && r.Schema == enforce.ReceiptSchema {
			all = append(all, r)
		}
	})
	return all
}
