package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// group is a control group with a limit on memory, by either version of the kernel's interface.
type group struct{ dir, peak, killed string }

// newGroup makes one. Without the right to, the test is left out.
func newGroup(t *testing.T, limit int) *group {
	t.Helper()
	name := fmt.Sprintf("weir-test-%d", os.Getpid())
	g := &group{dir: filepath.Join("/sys/fs/cgroup/memory", name), peak: "memory.max_usage_in_bytes", killed: "memory.oom_control"}
	files := []string{"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		_ = os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0) // who may not shows below
		g = &group{dir: filepath.Join("/sys/fs/cgroup", name), peak: "memory.peak", killed: "memory.events"}
		files = []string{"memory.max"}
	}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		leaveOut(t, "no control group of its own: "+err.Error())
	}
	t.Cleanup(func() {
		for range 100 {
			if os.Remove(g.dir) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s stays", g.dir)
	})
	if err := os.WriteFile(filepath.Join(g.dir, files[0]), []byte(strconv.Itoa(limit)), 0); err != nil {
		leaveOut(t, "no memory limit of its own: "+err.Error())
	}
	for _, f := range files[1:] {
		_ = os.WriteFile(filepath.Join(g.dir, f), []byte(strconv.Itoa(limit)), 0) // a kernel without it swaps nothing out
	}
	return g
}

func (g *group) read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestRunSmall runs sensor, gate, server and page with the small profile on one processor and in 256 MB, under normal traffic, a
// flood of forged sources, and scans: it is not killed, finds the flood, and tells of each packet what became of it.
func TestRunSmall(t *testing.T) {
	c := newCable(t, "wsma")
	address(t, c.far, "eth0", "10.9.0.1/24")
	g := newGroup(t, smallest)
	dir := t.TempDir()
	cfg := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(cfg, []byte("profile: small\nsensor: small\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	into := fmt.Sprintf(`echo $$ > %s/cgroup.procs && exec taskset -c 0 weir run -i eth0 --dry-run --config %s --state %s/state --format jsonl`, g.dir, cfg, dir)
	w := &sentry{process: spawnPinning(t, c.far, "sh", "-c", into), ns: c.far}
	await(t, "weir run is ready", func() bool {
		select {
		case <-w.ended:
			t.Fatalf("weir run: %v\n%s", w.ProcessState, w.err.String())
		default:
		}
		code, _ := (&served{w.process, c.far, 9470}).get("/readyz")
		return code == 200
	})
	out := c.streamer(t)
	for range 2 {
		out.stream(t, "mix", 20_000, 3*time.Second)
		out.stream(t, "synflood", 30_000, 2*time.Second)
		out.stream(t, "scan", 20_000, 2*time.Second)
		out.stream(t, "sources", 20_000, time.Second)
	}
	a, _ := w.account(t, c, out.sent)
	if code := w.end(t, os.Interrupt); code != 0 {
		t.Errorf("weir run ends with %d:\n%s", code, w.err.String())
	}
	peak, _ := strconv.Atoi(g.read(t, g.peak))
	t.Logf("%v; at most %d MB of memory", &a, peak/1e6)
	if a.open() != 0 || a.seen < a.sent/2 {
		t.Errorf("%d packets are not accounted for, %d of %d seen", a.open(), a.seen, a.sent)
	}
	if !strings.Contains(w.out.String(), `"analyzer":"flood","kind":"syn"`) {
		t.Error("the flood was not found")
	}
	for _, line := range strings.Split(g.read(t, g.killed), "\n") {
		if what, n, _ := strings.Cut(line, " "); what == "oom_kill" && n != "0" {
			t.Errorf("%s processes were killed for want of memory", n)
		}
	}
}
