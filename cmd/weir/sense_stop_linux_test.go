package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/alert"
)

// chatter sends datagrams to the far host until the end of the test.
func (o *outpost) chatter(t *testing.T) {
	t.Helper()
	var c net.Conn
	var err error
	within(t, o.near, func() { c, err = net.Dial("udp", "10.9.0.1:9") })
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	end := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
				_, _ = c.Write(make([]byte, 500)) // which the far host refuses
				time.Sleep(20 * time.Microsecond)
			}
		}
	})
	t.Cleanup(func() { close(end); done.Wait(); c.Close() })
}

// open are the alerts that are not closed.
func open(all []*alert.Alert) (ids []string) {
	last := map[string]alert.State{}
	for _, a := range all {
		last[a.ID] = a.State
	}
	for id, s := range last {
		if s != alert.Closed {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestSenseStop ends a sensor amid traffic, with an alert open: it closes the alert and publishes that, at once.
func TestSenseStop(t *testing.T) {
	for _, c := range []struct {
		name    string
		shell   string // before weir
		signals []syscall.Signal
	}{
		{"SIGTERM", "", []syscall.Signal{syscall.SIGTERM}},
		{"SIGINT", "", []syscall.Signal{syscall.SIGINT}},
		{"SIGINT in the background of a script", "trap '' INT;", []syscall.Signal{syscall.SIGINT}},
		{"timeout(1), which signals twice", "", []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOutpost(t, elsewhere)
			o.natsServer(t)
			s := &sentry{ns: o.far, state: filepath.Join(o.dir, "state")}
			s.process = spawn(t, o.far, "sh", "-c", c.shell+"exec weir sense --format jsonl -i eth0 --config '"+o.config+"' --state '"+s.state+"'")
			await(t, "weir sense watches", func() bool { return strings.Contains(s.err.String(), "msg=watching") })
			s.ready(t)
			if promiscuity(t, o.far, "eth0") == 0 {
				t.Error("it does not ask for all packets")
			}
			o.chatter(t)
			o.probe(t, 1000, 60)
			await(t, "an alert opens", func() bool { return strings.Contains(s.out.String(), `"state":"open"`) })

			begun := time.Now()
			for _, sig := range c.signals {
				_ = s.Process.Signal(sig)
				time.Sleep(20 * time.Millisecond) // the first has been taken
			}
			if code := s.wait(t); code != exitDone {
				t.Errorf("exit code %d:\n%s", code, s.err.String())
			}
			if took := time.Since(begun); took > drainTime*2/3 { // it does not wait for anything
				t.Errorf("the end took %v", took)
			}
			if !strings.Contains(s.err.String(), "\n  took ") {
				t.Errorf("no summary:\n%s", s.err.String())
			}
			o.quiet(t, s.state)
			text := runIn(t, o.far, "weir", "alerts", "--nats", "nats://127.0.0.1:4333", "--since", "1h", "--no-follow", "--format", "jsonl", "--quiet")
			followed, err := alert.Read(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if ids := open(followed); len(followed) < 2 || len(ids) > 0 {
				t.Errorf("%d revisions are published, and open are %q", len(followed), ids)
			}
			if printed := revisionNames(s.printed(t)); !slices.Equal(printed, revisionNames(followed)) {
				t.Errorf("printed are %q, published\n%q", printed, revisionNames(followed))
			}
		})
	}
}

// TestSenseStopTwice ends a sensor that waits for a NATS server which stands still, by a second signal. What was not published is so
// later.
func TestSenseStopTwice(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, elsewhere)
	server := o.natsServer(t)
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	s.ready(t)
	_ = server.Process.Signal(syscall.SIGSTOP)
	defer server.Process.Signal(syscall.SIGCONT) //nolint:errcheck // it may have ended
	o.probe(t, 1000, 60)
	await(t, "an alert opens", func() bool { return strings.Contains(s.out.String(), `"state":"open"`) })
	_ = s.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		t.Fatalf("it ended without having published:\n%s", s.err.String())
	case <-time.After(time.Second):
	}
	begun := time.Now()
	if code := s.end(t, syscall.SIGTERM); code != -1 || time.Since(begun) > drainTime/2 {
		t.Errorf("exit code %d after %v", code, time.Since(begun))
	}
	printed := revisionNames(s.printed(t))
	o.quiet(t, s.state)
	_ = server.Process.Signal(syscall.SIGCONT)
	next := sense(t, o.far, "-i", "eth0", "--config", o.config, "--state", s.state)
	next.ready(t)
	next.stop(t)
	if arrived := revisionNames(stored(t, o.far, "nats://127.0.0.1:4333")); !slices.Equal(arrived, printed) {
		t.Errorf("printed are %q, published %q", printed, arrived)
	}
}

// TestSenseStalledReader has nobody read standard output and standard error, which are one pipe: all goes on, and ends.
func TestSenseStalledReader(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, elsewhere)
	o.natsServer(t)
	const sources = 10 // that fill the pipe three times, and do not look like a flood
	o.crowd(t, sources)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", o.far, "weir", "sense", "--format", "jsonl", "-i", "eth0", "--config", o.config, "--state", o.dir+"/state")
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	w.Close()
	s := &sentry{ns: o.far, state: o.dir + "/state"}
	s.ready(t)
	for i := range sources {
		o.probeFrom(t, i)
	}
	await(t, "all scans are found", func() bool { return s.metric(t, "weir_alerts_total", `state="open"`) >= sources })
	begun := time.Now()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	if code := cmd.ProcessState.ExitCode(); code != exitDone || time.Since(begun) > drainTime {
		t.Errorf("exit code %d after %v", code, time.Since(begun))
	}
	arrived := stored(t, o.far, "nats://127.0.0.1:4333")
	if ids := open(arrived); len(arrived) < 2*sources || len(ids) > 0 {
		t.Errorf("%d revisions, and open are %q", len(arrived), ids)
	}
}

// TestSenseUnread takes the reader of standard output away: a sensor that somebody started by hand ends well.
func TestSenseUnread(t *testing.T) {
	t.Parallel()
	need(t, "bash")
	o := newOutpost(t, "")
	script := fmt.Sprintf("set -o pipefail; weir sense --format jsonl -i eth0 --config %s --state %s/state | head -1", o.config, o.dir)
	p := spawn(t, o.far, "bash", "-c", script)
	await(t, "weir sense watches", func() bool { return strings.Contains(p.err.String(), "msg=watching") })
	o.probe(t, 1000, 60)
	if code := p.wait(t); code != exitDone || strings.Count(p.out.String(), "\n") != 1 {
		t.Errorf("exit code %d, output %q", code, p.out.String())
	}
	for line := range strings.Lines(p.err.String()) {
		if strings.Contains(line, "level=ERROR") || strings.HasPrefix(line, "weir:") {
			t.Errorf("it complains: %s", line)
		}
	}
	o.quiet(t, o.dir+"/state")
}

// TestSenseNotify stands in for the service manager: it is told of the start once packets are captured, of reloads, of the end, and
// that the sensor lives. The reader of standard output goes away meanwhile, and the service goes on.
func TestSenseNotify(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	socket := filepath.Join(o.dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var pings int
	next := func() string { // but for pings of the watchdog
		t.Helper()
		b := make([]byte, 4096)
		_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
		for {
			n, err := l.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			if text := string(b[:n]); text != "WATCHDOG=1" {
				return text
			}
			pings++
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", o.far, "weir", "sense", "--format", "jsonl", "-i", "eth0", "--config", o.config, "--state", o.dir+"/state")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=100000")
	var said written
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = w, &said, time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })

	if text := next(); text != "READY=1" {
		t.Fatalf("first it says %q", text)
	}
	if promiscuity(t, o.far, "eth0") == 0 {
		t.Error("it is ready, but does not capture")
	}
	r.Close()
	o.probe(t, 1000, 60)
	s := &sentry{ns: o.far, state: o.dir + "/state"}
	await(t, "the scan is found", func() bool { return s.metric(t, "weir_alerts_total") > 0 })
	time.Sleep(500 * time.Millisecond)

	var before unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &before)
	_ = cmd.Process.Signal(syscall.SIGHUP)
	var usec int64
	if text := next(); !strings.HasPrefix(text, "RELOADING=1\n") {
		t.Errorf("it says %q", text)
	} else if _, err := fmt.Sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec*1000 < before.Nano() || usec*1000 > before.Nano()+10e9 {
		t.Errorf("%v: %q, and it is %d ns", err, text, before.Nano())
	}
	if text := next(); text != "READY=1" {
		t.Errorf("it says %q", text)
	}
	if pings < 5 {
		t.Errorf("only %d signs of life", pings)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if text := next(); text != "STOPPING=1" {
		t.Errorf("it says %q", text)
	}
	<-ended
	if code := cmd.ProcessState.ExitCode(); code != exitDone {
		t.Errorf("exit code %d:\n%s", code, said.String())
	}
	if n := strings.Count(said.String(), "standard output"); n != 1 {
		t.Errorf("%d lines on standard output:\n%s", n, said.String())
	}
}
