//go:build linux

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Tests of the gate at real interfaces: two namespaces and a veth pair between them. The gate sits at gate0, the attacker at 10.9.0.2.

const agentEnv = "WEIR_BPF_TEST_AGENT"

// TestMain runs as the agent that tests kill, if it is told so.
func TestMain(m *testing.M) {
	if os.Getenv(agentEnv) != "" {
		agent()
	}
	os.Exit(m.Run())
}

// agent opens a gate, blocks the attacker until told to end, and says so.
func agent() {
	cfg := Defaults()
	cfg.Interface, cfg.Mode, cfg.Pins = "gate0", Mode(os.Getenv("MODE")), os.Getenv("PINS")
	cfg.Survive = cfg.Pins != ""
	if cfg.Pins == "default" {
		cfg.Pins = ""
	}
	g, err := Open(cfg)
	if err == nil {
		life, _ := time.ParseDuration(os.Getenv("LIFE"))
		_, err = g.Put([]Drop{{netip.MustParsePrefix("10.9.0.2/32"), Rule{Action: ActionDrop, Expires: Now() + Time(life)}}})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready", g.Status().Pinned)
	time.Sleep(time.Hour)
}

// wire is the veth pair.
type wire struct {
	near, far string // namespaces
	heard     net.PacketConn
}

func newWire(t *testing.T) *wire {
	t.Helper()
	needRoot(t)
	if _, err := exec.LookPath("ip"); err != nil {
		leaveOut(t, "no ip")
	}
	w := &wire{near: fmt.Sprintf("wbpfn%d", os.Getpid()), far: fmt.Sprintf("wbpff%d", os.Getpid())}
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

func (w *wire) plug(t *testing.T) {
	t.Helper()
	sh(t, fmt.Sprintf("ip -n %s link add gate0 type veth peer name eth0 netns %s", w.near, w.far))
	sh(t, "ip -n "+w.near+" addr add 10.9.0.1/24 dev gate0")
	sh(t, "ip -n "+w.far+" addr add 10.9.0.2/24 dev eth0")
	sh(t, "ip -n "+w.far+" addr add 10.9.0.3/24 dev eth0")
	sh(t, "ip -n "+w.near+" link set gate0 up")
	sh(t, "ip -n "+w.far+" link set eth0 up")
}

// reach reports whether one of three datagrams from an address of the far end arrives.
func (w *wire) reach(t *testing.T, from string) bool { t.Helper(); return w.reachWith(t, from, 100) }

// reachWith says how long the IP packets are.
func (w *wire) reachWith(t *testing.T, from string, size int) (arrived bool) {
	t.Helper()
	within(t, w.far, func() {
		c, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(from)}, &net.UDPAddr{IP: net.IPv4(10, 9, 0, 1), Port: 7})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		for range 3 {
			if _, err := c.Write(make([]byte, size-28)); err != nil {
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
		arrived, wait = true, 20*time.Millisecond
	}
}

func sh(t *testing.T, words string) {
	t.Helper()
	if out, err := exec.Command(strings.Fields(words)[0], strings.Fields(words)[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", words, err, out)
	}
}

// within runs f in a network namespace, on a thread that ends with it.
func within(t *testing.T, ns string, f func()) {
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

// open opens a gate in the near namespace.
func (w *wire) open(t *testing.T, cfg Config) (g *Gate, err error) {
	t.Helper()
	cfg.Interface = or(cfg.Interface, "gate0")
	within(t, w.near, func() { g, err = Open(cfg) })
	return g, err
}

func (w *wire) mustOpen(t *testing.T, cfg Config) *Gate {
	t.Helper()
	g, err := w.open(t, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// bpffsDir is a bpffs of the test's own.
func bpffsDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func blocked(expires Time) []Drop {
	return []Drop{{netip.MustParsePrefix("10.9.0.2/32"), Rule{Action: ActionDrop, Expires: expires}}}
}

func put(t *testing.T, g *Gate, d []Drop) {
	t.Helper()
	if n, err := g.Put(d); err != nil || n != len(d) {
		t.Fatalf("%d of %d in force: %v", n, len(d), err)
	}
}

func TestAttach(t *testing.T) {
	for _, m := range []Mode{ModeXDP, ModeTCX} {
		for _, mtu := range []int{1500, 9000} {
			t.Run(fmt.Sprint(m, mtu), func(t *testing.T) {
				w := newWire(t)
				sh(t, fmt.Sprintf("ip -n %s link set gate0 mtu %d", w.near, mtu))
				sh(t, fmt.Sprintf("ip -n %s link set eth0 mtu %d", w.far, mtu))
				cfg := small(m)
				cfg.Survive, cfg.Sample = false, 1
				g := w.mustOpen(t, cfg)
				defer g.Close()
				if s := g.Status(); s.Generic || len(s.Warnings) > 0 || s.Pinned != "" || s.Adopted {
					t.Errorf("%+v", s)
				}
				if !w.reachWith(t, "10.9.0.2", mtu) {
					t.Error("an empty gate keeps datagrams out")
				}
				samples, err := g.Samples()
				if err != nil {
					t.Fatal(err)
				}
				defer samples.Close()
				put(t, g, blocked(later()))
				if w.reachWith(t, "10.9.0.2", mtu) {
					t.Error("a dropped source gets through")
				}
				if !w.reachWith(t, "10.9.0.3", mtu) {
					t.Error("its neighbour does not")
				}
				var s Sample
				samples.SetDeadline(time.Now().Add(2 * time.Second))
				if err := samples.Read(&s); err != nil || s.Verdict != Dropped || s.Reason != ReasonHost || s.WireLen != 14+mtu ||
					len(s.Data) != 128 || string(s.Data[26:30]) != "\x0a\x09\x00\x02" {
					t.Errorf("%v: %+v", err, s)
				}
				if sum, err := g.Totals(); err != nil || sum[Dropped][ReasonHost].Packets != 3 || sum[Dropped][ReasonHost].Bytes != 3*uint64(14+mtu) {
					t.Errorf("%v: %+v", err, sum)
				}
				if n, err := g.Delete([]netip.Prefix{netip.MustParsePrefix("10.9.0.2/32")}); n != 1 || err != nil || !w.reach(t, "10.9.0.2") {
					t.Errorf("%d deleted, %v; or it is still kept out", n, err)
				}
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestGeneric(t *testing.T) {
	w := newWire(t)
	cfg := small(ModeXDP)
	cfg.Interface, cfg.Survive = "lo", false
	g := w.mustOpen(t, cfg)
	defer g.Close()
	if s := g.Status(); !s.Generic || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "generic") {
		t.Errorf("%+v", s)
	}
}

// startAgent starts an agent in the near namespace and waits until it blocks.
func (w *wire) startAgent(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	if line := w.start(t, cmd, env...); !strings.HasPrefix(line, "ready") {
		t.Fatalf("the agent says %q", line)
	}
	return cmd
}

// start starts a command as agent and returns its first line.
func (w *wire) start(t *testing.T, cmd *exec.Cmd, env ...string) string {
	t.Helper()
	cmd.Env = append(os.Environ(), append([]string{agentEnv + "=1"}, env...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	within(t, w.near, func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the agent says %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// eventually waits for the kernel, which detaches the program of a dead process a little later.
func eventually(f func() bool) bool {
	for range 20 {
		if f() {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

func TestKilled(t *testing.T) {
	for _, m := range []Mode{ModeXDP, ModeTCX} {
		t.Run(string(m), func(t *testing.T) {
			w := newWire(t)
			if a := w.startAgent(t, "MODE="+string(m), "LIFE=1h"); w.reach(t, "10.9.0.2") {
				t.Error("the agent does not block")
			} else {
				kill(t, a)
			}
			if !eventually(func() bool { return w.reach(t, "10.9.0.2") }) {
				t.Error("without pins a drop outlives the agent")
			}

			pins := bpffsDir(t)
			kill(t, w.startAgent(t, "MODE="+string(m), "LIFE=1h", "PINS="+pins))
			if w.reach(t, "10.9.0.2") || !w.reach(t, "10.9.0.3") {
				t.Error("with pins a drop does not outlive the agent, or more than it")
			}
			cfg := Defaults()
			cfg.Mode, cfg.Pins = m, pins
			begin := time.Now()
			g := w.mustOpen(t, cfg)
			t.Logf("taken over in %v", time.Since(begin))
			if s := g.Status(); !s.Adopted || len(s.Warnings) > 0 || !strings.HasPrefix(s.Pinned, pins) {
				t.Errorf("%+v", s)
			}
			seen := 0
			if err := g.Drops(func(d Drop, h Hits) bool {
				seen++
				if d.Prefix.String() != "10.9.0.2/32" || h.Packets != 3 {
					t.Errorf("%v %+v", d, h)
				}
				return true
			}); err != nil || seen != 1 {
				t.Errorf("%d drops, %v", seen, err)
			}
			if w.reach(t, "10.9.0.2") {
				t.Error("taking over opened the gate")
			}
			put(t, g, blocked(Now()+500e6)) // a refresh
			if w.reach(t, "10.9.0.2") {
				t.Error("a refresh opened the gate")
			}
			if err := g.Close(); err != nil {
				t.Error(err)
			}
			if !eventually(func() bool { return w.reach(t, "10.9.0.2") }) {
				t.Error("a drop does not expire without an agent")
			}
		})
	}
}

func TestForeign(t *testing.T) {
	w := newWire(t)
	spec := &ebpf.ProgramSpec{
		Name: "somebody_else", Type: ebpf.XDP, License: "MIT", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	}
	other, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	pins := bpffsDir(t)
	for _, flags := range []link.XDPAttachFlags{link.XDPDriverMode, link.XDPGenericMode} {
		var l link.Link
		within(t, w.near, func() {
			index := mustIndex(t, "gate0")
			l, err = link.AttachXDP(link.XDPOptions{Program: other, Interface: index, Flags: flags})
		})
		if err != nil {
			t.Fatal(err)
		}
		cfg := small(ModeXDP)
		cfg.Pins = pins
		g, err := w.open(t, cfg)
		if left, _ := filepath.Glob(filepath.Join(pins, "weir", "*", "*")); len(left) > 0 {
			t.Errorf("still pinned: %v", left)
		}
		cfg.Survive = false
		var foreign *ForeignError
		if !errors.As(err, &foreign) || foreign.Program != "somebody_else" || !strings.Contains(err.Error(), "somebody_else") {
			t.Errorf("%v", err)
		}
		if g != nil {
			g.Close()
		}
		if info, err := l.Info(); err != nil || info.XDP().Ifindex == 0 {
			t.Error("the other program was displaced")
		}
		cfg.Mode = ModeTCX
		if g, err := w.open(t, cfg); err != nil {
			t.Errorf("beside another program, tcx: %v", err)
		} else {
			g.Close()
		}
		l.Close()
	}

	// Another process' gate is left alone, too, pinned or not.
	for _, p := range []string{"", pins} {
		a := w.startAgent(t, "MODE=xdp", "LIFE=1h", "PINS="+p)
		cfg := small(ModeXDP)
		cfg.Pins = pins
		if _, err := w.open(t, cfg); err == nil || !strings.Contains(err.Error(), "another process") || w.reach(t, "10.9.0.2") {
			t.Errorf("%v", err)
		}
		kill(t, a)
	}
}

func mustIndex(t *testing.T, name string) int {
	t.Helper()
	dev, err := net.InterfaceByName(name)
	if err != nil {
		t.Error(err)
		return 0
	}
	return dev.Index
}

func TestInterfaceGone(t *testing.T) {
	for _, m := range []Mode{ModeXDP, ModeTCX} {
		t.Run(string(m), func(t *testing.T) {
			w := newWire(t)
			cfg := small(m)
			cfg.Pins = bpffsDir(t)
			g := w.mustOpen(t, cfg)
			defer g.Close()
			put(t, g, blocked(later()))
			attached := func() (is bool) { within(t, w.near, func() { is = g.Attached() }); return is }
			reattach := func() (err error) { within(t, w.near, func() { err = g.Reattach() }); return err }
			if !attached() {
				t.Error("not attached")
			}
			sh(t, "ip -n "+w.near+" link del gate0")
			if attached() {
				t.Error("attached to what is gone")
			}
			if err := reattach(); err == nil {
				t.Error("attached to nothing")
			}
			w.plug(t)
			if attached() {
				t.Error("attached to a new interface by itself")
			}
			if !eventually(func() bool { return w.reach(t, "10.9.0.2") }) {
				t.Error("a new interface is not open")
			}
			if err := reattach(); err != nil || !attached() || w.reach(t, "10.9.0.2") {
				t.Errorf("%v, or the drop is lost", err)
			}

			// And while no agent runs.
			g.Close()
			sh(t, "ip -n "+w.near+" link del gate0")
			w.plug(t)
			g = w.mustOpen(t, cfg)
			defer g.Close()
			if w.reach(t, "10.9.0.2") || !g.Status().Adopted {
				t.Error("the drop is lost")
			}
		})
	}
}

func TestChangedSizes(t *testing.T) {
	w := newWire(t)
	cfg := small(ModeXDP)
	cfg.Pins = bpffsDir(t)
	g := w.mustOpen(t, cfg)
	put(t, g, blocked(later()))
	g.Close()
	if w.reach(t, "10.9.0.2") {
		t.Error("the drop ended with the agent")
	}
	cfg.Hosts4 *= 2
	g = w.mustOpen(t, cfg)
	defer g.Close()
	if s := g.Status(); s.Adopted || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "sizes") || s.Pinned == "" {
		t.Errorf("%+v", s)
	}
	put(t, g, blocked(later()))
	g.Close()
	if w.reach(t, "10.9.0.2") {
		t.Error("the drop ended with the agent")
	}

	// Who wants no pins removes those that are there.
	pinless := cfg
	pinless.Survive = false
	g = w.mustOpen(t, pinless)
	if s := g.Status(); s.Adopted || len(s.Warnings) != 1 || !w.reach(t, "10.9.0.2") {
		t.Errorf("%+v", s)
	}
	g.Close()
	g = w.mustOpen(t, cfg)
	put(t, g, blocked(later()))
	g.Close()

	// The other mode takes the tables over, too.
	cfg.Mode = ModeTCX
	g = w.mustOpen(t, cfg)
	if s := g.Status(); !s.Adopted || len(s.Warnings) != 0 || w.reach(t, "10.9.0.2") {
		t.Errorf("%+v", s)
	}
	g.Close()
	within(t, w.near, func() {
		dir := g.Status().Pinned
		cfg.Interface = "gate0"
		old := strings.Replace(dir, layoutVersion, "v0", 1)
		if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o700), os.Rename(dir, old)); err != nil {
			t.Error(err)
		}
		g, err := Open(cfg)
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		if _, err := os.Stat(old); err == nil || g.Status().Adopted {
			t.Error("the gate of an earlier version is still there")
		}
	})
	if !w.reach(t, "10.9.0.2") {
		t.Error("a drop of an earlier version is still in force")
	}
}

func TestNoPins(t *testing.T) {
	w := newWire(t)
	cfg := small(ModeXDP)
	cfg.Pins = "/proc/weir"
	g := w.mustOpen(t, cfg)
	defer g.Close()
	if s := g.Status(); s.Pinned != "" || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "ends with this process") {
		t.Errorf("%+v", s)
	}
}

// TestOwnPins holds that a bpffs is mounted where there is none: "ip netns exec" hides the system's, in a mount namespace that ends
// with the agent.
func TestOwnPins(t *testing.T) {
	w := newWire(t)
	cmd := exec.Command("ip", "netns", "exec", w.near, os.Args[0])
	line := w.start(t, cmd, "MODE=xdp", "LIFE=1h", "PINS=default")
	t.Cleanup(func() { _, _ = os.Remove(ownPins), os.Remove(filepath.Dir(ownPins)) }) // if they are empty
	if !strings.HasPrefix(line, "ready "+ownPins+"/weir/"+layoutVersion+"/gate0@") {
		t.Errorf("pinned at %q", line)
	}
}

// TestPinNames holds that no namespace gets the pins of one that is gone, whose inode number it may have.
func TestPinNames(t *testing.T) {
	needRoot(t)
	seen := map[string]bool{}
	for i := range 20 {
		ns := fmt.Sprintf("wbpfp%d", os.Getpid())
		sh(t, "ip netns add "+ns)
		var name, again string
		within(t, ns, func() { name = pinName("eth0.5") })
		within(t, ns, func() { again = pinName("eth0.5") })
		sh(t, "ip netns del "+ns)
		if name != again || !strings.HasPrefix(name, "eth0%5@") {
			t.Fatalf("%q and %q", name, again)
		}
		if seen[name] {
			t.Fatalf("namespace %d has the name of an earlier one: %q", i, name)
		}
		seen[name] = true
	}
}

func TestDetach(t *testing.T) {
	for _, m := range []Mode{ModeXDP, ModeTCX} {
		t.Run(string(m), func(t *testing.T) {
			w := newWire(t)
			detach := func(pins string) (n int) {
				within(t, w.near, func() {
					var err error
					if n, err = Detach("gate0", pins); err != nil {
						t.Error(err)
					}
				})
				return n
			}
			pins := bpffsDir(t)
			for _, c := range []struct {
				what string
				pins string
				dead bool
			}{{"a dead agent's", pins, true}, {"a living agent's", pins, false}, {"a living agent's without pins", "", false}} {
				a := w.startAgent(t, "MODE="+string(m), "LIFE=1h", "PINS="+c.pins)
				if c.dead {
					kill(t, a)
				}
				if w.reach(t, "10.9.0.2") {
					t.Error("no block to detach")
				}
				if n := detach(pins); n != 1 || !w.reach(t, "10.9.0.2") {
					t.Errorf("%s gate: %d detached, or it still blocks", c.what, n)
				}
				if left, _ := filepath.Glob(filepath.Join(pins, "weir", "*", "*")); len(left) > 0 {
					t.Errorf("still pinned: %v", left)
				}
				if !c.dead {
					kill(t, a)
				}
			}
			if n := detach(pins); n != 0 {
				t.Errorf("%d more detached", n)
			}
		})
	}
}
