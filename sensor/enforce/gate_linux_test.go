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
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Tests of the real gate: two namespaces with a veth pair between them. The gate sits at gate0, attackers at 10.8.0.2 and up.

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
	w := &wire{near: fmt.Sprintf("enn%d", os.Getpid()), far: fmt.Sprintf("enf%d", os.Getpid())}
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

// until waits for a condition, at most three seconds.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for range 300 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("not within three seconds: " + what)
}

func (a *agent) enforced(t testing.TB, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d drops enforced", n), func() bool { return a.Status().Enforced == n })
}

// fill writes to the table of hosts behind the enforcer's back.
func second(t *testing.T, pins string) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(pins, "weir", "*", "gate0@*"))
	if len(found) != 1 {
		t.Fatalf("pins: %v", found)
	}
	return found[0]
}

func TestGateDropsAndExpires(t *testing.T) {
	w := newWire(t)
	a := w.start(t, smallGate(), nil)
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
		if r.State == ReceiptExpired && (r.Packets != 3 || r.Last == 0 || r.Table != "xdp" || r.Interface != "gate0") {
			t.Errorf("%+v", r)
		}
	}
}
