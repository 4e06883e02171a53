package host

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// notifySocket is the service manager's end.
func notifySocket(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	path := filepath.Join(sharedDir(t), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, path
}

// heard is the next message within a time, "" without one.
func heard(t *testing.T, c *net.UnixConn, within time.Duration) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(Ready); err != nil {
		t.Errorf("nobody asked: %v", err)
	}
	manager, path := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", path)
	for state, want := range map[string]string{
		Ready: "READY=1", Stopping: "STOPPING=1", Ready + "\nSTATUS=judging": "READY=1\nSTATUS=judging",
	} {
		if err := Notify(state); err != nil {
			t.Fatal(err)
		}
		if got := heard(t, manager, 5*time.Second); got != want {
			t.Errorf("heard %q, want %q", got, want)
		}
	}
	if err := Notify(Reloading); err != nil {
		t.Fatal(err)
	}
	got := heard(t, manager, 5*time.Second)
	since, ok := strings.CutPrefix(strings.TrimSpace(got), "RELOADING=1\nMONOTONIC_USEC=")
	if n, err := strconv.ParseInt(since, 10, 64); !ok || err != nil || n <= 0 {
		t.Errorf("heard %q", got)
	}
	manager.Close()
	if err := Notify(Ready); err == nil || !strings.Contains(err.Error(), "service manager") {
		t.Errorf("a service manager that is gone: %v", err)
	}
}

func TestWatchdog(t *testing.T) {
	manager, path := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("WATCHDOG_USEC", "100000")
	var alive atomic.Bool
	alive.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Watchdog(ctx, alive.Load) }()
	begin := time.Now()
	for range 5 {
		if got := heard(t, manager, 100*time.Millisecond); got != "WATCHDOG=1" { // the service manager's patience
			t.Fatalf("heard %q", got)
		}
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("5 words in %v, want one each 50 ms", took)
	}
	alive.Store(false)
	for heard(t, manager, 60*time.Millisecond) != "" { // what was on its way
		alive.Store(false)
	}
	if got := heard(t, manager, 250*time.Millisecond); got != "" {
		t.Errorf("not alive, and says %q", got)
	}
	alive.Store(true)
	if got := heard(t, manager, time.Second); got != "WATCHDOG=1" {
		t.Errorf("alive again, and says %q", got)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for env, fails := range map[string]bool{"": false, "soon": true, "-5": true} {
		t.Setenv("WATCHDOG_USEC", env)
		if err := Watchdog(t.Context(), alive.Load); (err != nil) != fails {
			t.Errorf("WATCHDOG_USEC=%q: %v", env, err)
		}
	}
	t.Setenv("WATCHDOG_USEC", "100000")
	t.Setenv("WATCHDOG_PID", "1") // another process is meant
	if err := Watchdog(t.Context(), alive.Load); err != nil {
		t.Error(err)
	}
}
