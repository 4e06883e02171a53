package enforce

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/bpf"
	"weir/decode"
	"weir/sensor/alert"
	"weir/sensor/policy"
)

// Tests of the real gate: two namespaces with a veth pair between them. The gate sits at gate0, attackers at 10.8.0.2 and up.

var wires atomic.Int32

type wire struct {
	near, far string
	heard     net.PacketConn
}

func newWire(t testing.TB) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "namespaces and programs need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		leaveOut(t, "no ip")
	}
	n := wires.Add(1)
	w := &wire{near: fmt.Sprintf("enn%d-%d", os.Getpid(), n), far: fmt.Sprintf("enf%d-%d", os.Getpid(), n)}
	for _, ns := range []string{w.near, w.far} {
		sh(t, "ip netns add "+ns)
		t.Cleanup(func() { sh(t, "ip netns del "+ns) })
		sh(t, "ip -n "+ns+" link set lo up")
	}
	within(t, w.near, func() {
		var err error
		if w.heard, err = net.ListenPacket("udp4", ":7"); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { w.heard.Close() })
	w.plug(t)
	return w
}

func (w *wire) plug(t testing.TB) {
	t.Helper()
	sh(t, fmt.Sprintf("ip -n %s link add gate0 type veth peer name eth0 netns %s", w.near, w.far))
	sh(t, "ip -n "+w.near+" addr add 10.8.0.1/24 dev gate0")
	for i := 2; i < 10; i++ {
		sh(t, fmt.Sprintf("ip -n %s addr add 10.8.0.%d/24 dev eth0", w.far, i))
	}
	sh(t, "ip -n "+w.near+" link set gate0 up")
	sh(t, "ip -n "+w.far+" link set eth0 up")
}

// arrive counts how many of n datagrams from an address arrive.
func (w *wire) arrive(t testing.TB, from string, n int, payload string) (arrived int) {
	t.Helper()
	within(t, w.far, func() {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.IPv4(10, 8, 0, 1), Port: 7})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for range n {
			if _, err := c.Write([]byte(payload)); err != nil {
				t.Error(err)
			}
		}
	})
	b := make([]byte, 1<<16)
	wait := 300 * time.Millisecond
	for {
		_ = w.heard.SetReadDeadline(time.Now().Add(wait))
		if _, _, err := w.heard.ReadFrom(b); err != nil {
			return arrived
		}
		arrived, wait = arrived+1, 30*time.Millisecond
	}
}

func (w *wire) reach(t testing.TB, from string) bool {
	t.Helper()
	return w.arrive(t, from, 3, "hello") > 0
}

func sh(t testing.TB, words string) {
	t.Helper()
	if out, err := exec.Command(strings.Fields(words)[0], strings.Fields(words)[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", words, err, out)
	}
}

// within runs f in a network namespace, on a thread that ends with it.
func within(t testing.TB, ns string, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		fd, err := os.Open("/run/netns/" + ns)
		if err == nil {
			defer fd.Close()
			err = unix.Setns(int(fd.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// agent is an enforcer at work in the near namespace.
type agent struct {
	*Enforcer
	table Table
	wire  *wire
	end   func()

	mu       sync.Mutex
	receipts []Receipt
}

func smallGate() Config {
	c := Defaults()
	c.Mode, c.Survive, c.Every, c.Sample = ModeXDP, false, 100*time.Millisecond, 1
	c.Hosts4, c.Hosts6, c.Prefixes, c.Services, c.Peers = 256, 64, 64, 16, 64
	return c
}

// start opens the gate and runs an enforcer on it.
func (w *wire) start(t testing.TB, cfg Config, change func(*Options)) *agent {
	t.Helper()
	a := &agent{wire: w}
	within(t, w.near, func() {
		var err error
		if a.table, _, err = Open(cfg, "gate0", false, quiet()); err != nil {
			t.Error(err)
		}
	})
	if a.table == nil {
		t.FailNow()
	}
	o := Options{
		Config: cfg, Table: a.table, Guards: testGuards(t), Host: "here", Interface: "gate0", Log: quiet(),
		Report: func(r Receipt) { a.mu.Lock(); a.receipts = append(a.receipts, r); a.mu.Unlock() },
	}
	if change != nil {
		change(&o)
	}
	var err error
	if a.Enforcer, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		within(t, w.near, func() {
			if err := a.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	})
	a.end = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := a.table.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(a.end)
	return a
}

func (a *agent) told(state, guard string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.receipts {
		if r.State == state && r.Guard == guard {
			n++
		}
	}
	return n
}

// until waits for a condition, at most ten seconds: with the race detector on a loaded machine things take their time.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not within half a minute: " + what)
}

func (a *agent) enforced(t testing.TB, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d drops enforced", n), func() bool { return a.Status().Enforced == n })
}

// pinned is the folder of the gate's pins.
func pinned(t *testing.T, pins string) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(pins, "weir", "*", "gate0@*"))
	if len(found) != 1 {
		t.Fatalf("pins: %v", found)
	}
	return found[0]
}

func TestGateDropsAndExpires(t *testing.T) {
	for _, mode := range []Mode{ModeXDP, ModeTCX, ModeNFTables} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			dropAndExpire(t, mode)
		})
	}
}

func dropAndExpire(t *testing.T, mode Mode) {
	w := newWire(t)
	cfg := smallGate()
	cfg.Mode = mode
	a := w.start(t, cfg, nil)
	if !w.reach(t, "10.8.0.2") {
		t.Fatal("an empty gate keeps datagrams out")
	}
	d := drop("10.8.0.2", 2*time.Second)
	a.Take([]Instruction{instruct(t, d)})
	a.enforced(t, 1)
	if w.reach(t, "10.8.0.2") || !w.reach(t, "10.8.0.3") {
		t.Error("the drop does not work, or hits its neighbour")
	}
	until(t, "its hits", func() bool {
		for _, h := range a.Hits() {
			return h.ID == d.ID && h.Packets == 3 && h.Source == netip.MustParsePrefix("10.8.0.2/32") && h.Last > 0
		}
		return false
	})
	time.Sleep(time.Until(time.Unix(d.Until, 0).Add(20 * time.Millisecond)))
	if !w.reach(t, "10.8.0.2") {
		t.Error("dropped after its end")
	}
	until(t, "receipt of its end", func() bool { return a.told(ReceiptExpired, "") == 1 })
	if s := a.Status(); a.told(ReceiptApplied, "") != 1 || s.Drift.Sum() != 0 || s.Enforced != 0 || s.Known != 0 {
		t.Errorf("%+v", s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.receipts {
		if r.State == ReceiptExpired && (r.Packets != 3 || r.Last == 0 || r.Table != string(mode) || r.Interface != "gate0") {
			t.Errorf("%+v", r)
		}
	}
}

func TestGateEntries(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a := w.start(t, smallGate(), nil)
	to := &policy.Service{IP: netip.MustParseAddr("10.8.0.1"), Port: 7, Protocol: "udp"}

	shadow := drop("10.8.0.2", time.Hour)
	shadow.Action, shadow.Would = policy.Shadow, policy.DropAll
	canary := drop("10.8.0.3", time.Hour)
	canary.Canary = time.Now().Unix() + 5
	net4 := drop("10.8.0.2", time.Hour)
	net4.Scope, net4.IP, net4.Prefix = policy.ScopePrefix, netip.Addr{}, netip.MustParsePrefix("10.8.0.4/31")
	named(net4)
	limited := drop("10.8.0.1", time.Hour)
	limited.Scope, limited.IP, limited.Service, limited.Action, limited.Rate = policy.ScopeService, netip.Addr{}, to, policy.Limit, 5
	named(limited)
	signed := drop("10.8.0.1", time.Hour)
	signed.Scope, signed.IP, signed.Service = policy.ScopeSignature, netip.Addr{}, &policy.Service{IP: to.IP}
	signed.Signature = &alert.Signature{
		Fields: []alert.Field{{Name: "protocol", Value: "udp"}, {Name: "dst_port", Value: "7"}, {Name: "length", Value: "40"}, {Name: "payload", Value: "6261645f"}},
		Attack: 1, NAttack: 100, NNormal: 100,
	}
	named(signed)

	for _, d := range []*policy.Drop{shadow, canary, net4, signed} {
		a.Take([]Instruction{instruct(t, d)})
	}
	a.enforced(t, 4)
	if s := a.Status(); s.Shadow != 1 || s.Attached != true {
		t.Errorf("%+v", s)
	}
	for _, c := range []struct {
		from, payload string
		arrives       bool
	}{
		{"10.8.0.2", "hello", true},         // only counted
		{"10.8.0.3", "hello", true},         // no new TCP connection
		{"10.8.0.4", "hello", false},        // of the prefix
		{"10.8.0.5", "hello", false},        // likewise
		{"10.8.0.6", "bad_12345678", false}, // 28 bytes of headers and 12
		{"10.8.0.6", "bad_123456789", true},
		{"10.8.0.6", "god_12345678", true},
	} {
		if got := w.arrive(t, c.from, 3, c.payload) > 0; got != c.arrives {
			t.Errorf("%s %q arrives: %v", c.from, c.payload, got)
		}
	}
	a.Take([]Instruction{instruct(t, limited)})
	a.enforced(t, 5)
	begun := time.Now()
	passed := w.arrive(t, "10.8.0.7", 50, "hello")
	if most := 12 + int(5*time.Since(begun).Seconds()); passed < 5 || passed > most { // two CPUs may have a bucket each
		t.Errorf("%d of 50 packets pass a limit of 5/s, want 5 to %d", passed, most)
	}
	until(t, "what met the limit is read", func() bool { // before the drop ends: what its entry counted since the last reading goes with it
		met := uint64(0)
		a.List(func(d *policy.Drop, s State) {
			if d.Key() == limited.Key() {
				met = s.Packets
			}
		})
		return met >= uint64(50-passed)
	})
	time.Sleep(time.Until(time.Unix(canary.Canary, 0).Add(50 * time.Millisecond)))
	a.Take([]Instruction{instruct(t, changed(limited, func(d *policy.Drop) { d.State = policy.Removed }))})
	a.enforced(t, 4)
	if w.reach(t, "10.8.0.3") {
		t.Error("the canary is over, and its source gets through")
	}
	if s := a.Status(); s.DriftTotal.Sum() != 0 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	seen := map[string]State{}
	a.List(func(d *policy.Drop, s State) { seen[d.Key()] = s })
	if s := seen[shadow.Key()]; s.State != "shadow" || s.Packets != 3 {
		t.Errorf("shadow: %+v", s)
	}
	if s := seen[signed.Key()]; s.State != "applied" || s.Packets != 3 {
		t.Errorf("signature: %+v", s)
	}
	if s := seen[limited.Key()]; s.State != "removed" || s.Packets < uint64(50-passed) {
		t.Errorf("limit: %+v", s)
	}
}

func TestGateMendsWhatOthersDid(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	cfg := smallGate()
	cfg.Survive, cfg.Pins = true, bpffsDir(t)
	a := w.start(t, cfg, nil)
	other := drop("10.8.0.1", time.Hour)
	other.Scope, other.IP, other.Service = policy.ScopeSignature, netip.Addr{}, &policy.Service{IP: netip.MustParseAddr("10.8.0.1")}
	other.Signature = &alert.Signature{Fields: []alert.Field{{Name: "protocol", Value: "sctp"}}, Attack: 1, NAttack: 100, NNormal: 100}
	other.Signature.Fields[0].Value = "132"
	named(other)
	a.Take([]Instruction{instruct(t, drop("10.8.0.2", time.Hour)), instruct(t, other)})
	a.enforced(t, 2)

	dir := pinned(t, cfg.Pins)
	hosts, err := ebpf.LoadPinnedMap(filepath.Join(dir, "hosts4"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer hosts.Close()
	key := [4]byte{10, 8, 0, 2}
	value, err := hosts.LookupBytes(key)
	if err != nil || value == nil {
		t.Fatal(err, value)
	}
	if err := hosts.Delete(key); err != nil { // as bpftool does
		t.Fatal(err)
	}
	until(t, "the missing one", func() bool { return a.Status().DriftTotal.Missing == 1 })
	if w.reach(t, "10.8.0.2") || a.Status().Enforced != 2 {
		t.Error("it was not put again")
	}
	if err := hosts.Put([4]byte{10, 8, 0, 3}, value); err != nil {
		t.Fatal(err)
	}
	until(t, "the foreign one", func() bool { return a.Status().DriftTotal.Foreign == 1 })
	if !w.reach(t, "10.8.0.3") {
		t.Error("it drops")
	}
	for i := range value {
		value[i] = 0xff // forever, and whatever
	}
	value[24], value[25] = 1, 0
	if err := hosts.Put(key, value); err != nil {
		t.Fatal(err)
	}
	until(t, "the changed one", func() bool { return a.Status().DriftTotal.Changed >= 1 })
	if w.reach(t, "10.8.0.2") {
		t.Error("it was not put right")
	}
	for _, name := range []string{"bits4", "control"} {
		m, err := ebpf.LoadPinnedMap(filepath.Join(dir, name), nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "bits4" {
			err = m.Put(uint32((10<<16|8<<8)>>6), uint64(0))
		} else {
			err = m.Put(uint32(0), make([]byte, m.ValueSize()))
		}
		m.Close()
		if err != nil {
			t.Fatal(name, err)
		}
		until(t, name+" mended", func() bool { return !w.reach(t, "10.8.0.2") })
	}

	if err := within2(t, w.near, func() error { return clearOf(ClearAll("", cfg.Pins)) }); err != nil { // as a panic without an agent does
		t.Fatal(err)
	}
	until(t, "what was cleared", func() bool { return a.Status().DriftTotal.Missing >= 3 })
	a.enforced(t, 2)
	a.end()
	if w.reach(t, "10.8.0.2") {
		t.Error("it does not survive")
	}
	if err := within2(t, w.near, func() error { return clearOf(ClearAll("gate0", cfg.Pins)) }); err != nil || !w.reach(t, "10.8.0.2") {
		t.Error("cleared without an agent, and it drops;", err)
	}
	if err := within2(t, w.near, func() error { return Detach("", cfg.Pins) }); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(cfg.Pins, "weir", "*", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestGateInterfaceGoneAndBack(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a := w.start(t, smallGate(), nil)
	a.Take([]Instruction{instruct(t, drop("10.8.0.2", time.Hour))})
	a.enforced(t, 1)
	sh(t, "ip -n "+w.near+" link del gate0")
	until(t, "it is seen", func() bool { return !a.Status().Attached })
	w.plug(t)
	until(t, "it is back", func() bool { return a.Status().Attached })
	if w.reach(t, "10.8.0.2") || !w.reach(t, "10.8.0.3") {
		t.Error("the drop is not in force on the new interface")
	}
	if s := a.Status(); s.Error != "" || s.Enforced != 1 {
		t.Errorf("%+v", s)
	}
}

func TestGateRestart(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	cfg := smallGate()
	cfg.Survive, cfg.Pins = true, bpffsDir(t)
	dir := t.TempDir()
	state := func(o *Options) { o.Dir = dir }
	signed := drop("10.8.0.1", time.Hour)
	signed.Scope, signed.IP, signed.Service = policy.ScopeSignature, netip.Addr{}, &policy.Service{IP: netip.MustParseAddr("10.8.0.1")}
	signed.Signature = &alert.Signature{Fields: []alert.Field{{Name: "length", Value: "40"}}, Attack: 1, NAttack: 100, NNormal: 100}
	named(signed)
	a := w.start(t, cfg, state)
	short := drop("10.8.0.4", 2*time.Second)
	a.Take([]Instruction{instruct(t, drop("10.8.0.2", time.Hour)), instruct(t, signed), instruct(t, short)})
	a.enforced(t, 3)
	a.end()
	if w.reach(t, "10.8.0.2") || w.arrive(t, "10.8.0.3", 3, "bad_12345678") > 0 || !w.reach(t, "10.8.0.3") {
		t.Error("not in force while nobody runs")
	}
	time.Sleep(time.Until(time.Unix(short.Until, 0).Add(20 * time.Millisecond)))
	if !w.reach(t, "10.8.0.4") {
		t.Error("dropped after its end while nobody runs")
	}
	a = w.start(t, cfg, state)
	a.enforced(t, 2)
	until(t, "the receipt of what ended", func() bool { return a.told(ReceiptExpired, "") == 1 })
	if s := a.Status(); s.Adopted != 2 || s.DriftTotal.Sum() != 0 || a.told(ReceiptApplied, "") != 0 {
		t.Errorf("%+v", s)
	}
	if w.reach(t, "10.8.0.2") || w.arrive(t, "10.8.0.3", 3, "bad_12345678") > 0 {
		t.Error("not in force after the restart")
	}
	seen := 0
	until(t, "hits go on", func() bool {
		for _, h := range a.Hits() {
			seen += int(h.Packets)
		}
		return seen == 6
	})

	if err := within2(t, w.near, func() error { return Detach("gate0", cfg.Pins) }); err != nil { // and, say, a boot
		t.Fatal(err)
	}
	a.end()
	a = w.start(t, cfg, state)
	a.enforced(t, 2)
	if w.reach(t, "10.8.0.2") {
		t.Error("not refilled from state")
	}
}

func TestGateFull(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	cfg := smallGate()
	cfg.Hosts4 = 4
	a := w.start(t, cfg, nil)
	var in []Instruction
	var first *policy.Drop
	for i := range 6 {
		d := drop(fmt.Sprintf("10.8.0.%d", i+2), time.Hour)
		if first == nil {
			first = d
		}
		in = append(in, instruct(t, d))
	}
	for i := range bpf.MaxSignatures + 1 {
		d := drop("10.8.0.1", time.Hour)
		d.Scope, d.IP, d.Service = policy.ScopeSignature, netip.Addr{}, &policy.Service{IP: netip.MustParseAddr("10.8.0.1")}
		d.Signature = &alert.Signature{Fields: []alert.Field{{Name: "length", Value: fmt.Sprint(1000 + i)}}, Attack: 1, NAttack: 100, NNormal: 100}
		named(d)
		in = append(in, instruct(t, d))
	}
	a.Take(in)
	a.enforced(t, 4+bpf.MaxSignatures)
	if s := a.Status(); s.Wanted != 7+bpf.MaxSignatures || s.Failed != 3 || !strings.Contains(s.Error, "all ") || s.DriftTotal.Sum() != 0 {
		t.Errorf("%+v", s)
	}
	if w.reach(t, "10.8.0.2") || w.reach(t, "10.8.0.5") || !w.reach(t, "10.8.0.6") {
		t.Error("not the four that came first are in force")
	}
	a.Take([]Instruction{instruct(t, changed(first, func(d *policy.Drop) { d.State = policy.Removed }))})
	until(t, "the next one", func() bool { return a.Status().Failed == 2 })
	if !w.reach(t, "10.8.0.2") || w.reach(t, "10.8.0.6") {
		t.Error("the next one has not taken its place")
	}
}

func TestGatePanic(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	dir := t.TempDir()
	a := w.start(t, smallGate(), func(o *Options) { o.Dir = dir })
	a.Take([]Instruction{instruct(t, drop("10.8.0.2", time.Hour))})
	a.enforced(t, 1)
	a.Hold(Panic{By: "alice", Generation: generation()})
	a.enforced(t, 0)
	if !w.reach(t, "10.8.0.2") {
		t.Error("dropped in a panic")
	}
	if p, err := Panicked(filepath.Join(dir, PanicFile)); err != nil || p == nil || !p.Held || p.By != "alice" {
		t.Errorf("%+v, %v", p, err)
	}
	later := drop("10.8.0.3", time.Hour)
	a.Take([]Instruction{instruct(t, later)})
	until(t, "refused", func() bool { return a.told(ReceiptRefused, "panic") == 1 })
	if err := WritePanic(filepath.Join(dir, PanicFile), Panic{By: "bob", Generation: generation()}); err != nil { // weir bans resume, by file
		t.Fatal(err)
	}
	a.enforced(t, 1)
	if !w.reach(t, "10.8.0.2") || w.reach(t, "10.8.0.3") {
		t.Error("after the resume not only the newer drop is in force")
	}
}

func TestGateSamples(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a := w.start(t, smallGate(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var seen []string
	var reading sync.WaitGroup
	reading.Go(func() {
		err := a.table.(Sampler).Samples(ctx, func(frame []byte, wireLen int, at time.Time, verdict string) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintln(netip.AddrFrom4([4]byte(frame[26:30])), wireLen, time.Since(at) < time.Minute, verdict))
		})
		if err != nil {
			t.Error(err)
		}
	})
	a.Take([]Instruction{instruct(t, drop("10.8.0.2", time.Hour))})
	a.enforced(t, 1)
	w.reach(t, "10.8.0.2")
	until(t, "samples", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 3 })
	if seen[0] != "10.8.0.2 47 true drop\n" {
		t.Errorf("%q", seen)
	}
	if err := a.table.(Peers).AddPeers([]netip.Addr{netip.MustParseAddr("10.8.0.7")}); err != nil {
		t.Error(err)
	}
	cancel()
	reading.Wait()
}

// bpffsDir is a bpffs of the test's own.
func bpffsDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func within2(t testing.TB, ns string, f func() error) (err error) {
	t.Helper()
	within(t, ns, func() { err = f() })
	return err
}

// TestGateSignatureOfTCP compares flags as a kernel's own SYNs have them: syn, ece and cwr are off by default, ack is not set.
func TestGateSignatureOfTCP(t *testing.T) {
	t.Parallel()
	w := newWire(t)
	a := w.start(t, smallGate(), nil)
	within(t, w.near, func() {
		for _, port := range []string{"81", "82"} {
			l, err := net.Listen("tcp4", "10.8.0.1:"+port)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { l.Close() })
		}
	})
	connects := func(port string) (yes bool) {
		within(t, w.far, func() {
			c, err := net.DialTimeout("tcp4", "10.8.0.1:"+port, 300*time.Millisecond)
			if yes = err == nil; yes {
				c.Close()
			}
		})
		return yes
	}
	put := func(flags string) {
		d := drop("10.8.0.1", time.Hour)
		d.Scope, d.IP, d.Service = policy.ScopeSignature, netip.Addr{}, &policy.Service{IP: netip.MustParseAddr("10.8.0.1")}
		d.Signature = &alert.Signature{
			Fields: []alert.Field{
				{Name: "dst_port", Value: "81"}, {Name: "ttl_min", Value: "60"}, {Name: "ttl_max", Value: "64"}, {Name: "tcp_flags", Value: flags},
			},
			Attack: 1, NAttack: 100, NNormal: 100,
		}
		named(d)
		a.Take([]Instruction{instruct(t, d)})
	}
	put("ack,syn")
	a.enforced(t, 1)
	if !connects("81") {
		t.Error("a signature of other flags keeps connections out")
	}
	put("syn")
	a.enforced(t, 2)
	if connects("81") || !connects("82") {
		t.Error("the signature does not keep SYNs to port 81 out, or others, too")
	}
}

func TestFlagsAreThoseOfDecode(t *testing.T) {
	for name, want := range map[string]uint16{
		"fin": decode.FlagFIN, "syn": decode.FlagSYN, "rst": decode.FlagRST, "psh": decode.FlagPSH, "ack": decode.FlagACK, "urg": decode.FlagURG,
		"ece": decode.FlagECE, "cwr": decode.FlagCWR, "ae": decode.FlagAE,
	} {
		if flagBits[name] != want {
			t.Errorf("%s: %#x, want %#x", name, flagBits[name], want)
		}
	}
}

// clearOf is the error of ClearAll.
func clearOf(_ []string, err error) error { return err }
