package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/sensor/alert"
)

// Live tests run weir sense and real tools as processes of their own in network namespaces, which are named by the test
// process. Nothing leaves them.

// cable is two hosts and the cable between them, which is eth0 at both.
type cable struct{ near, far string } // namespaces

// newCable makes the hosts; their names begin with id. They have no addresses yet, and no IPv6 before they get one.
func newCable(t *testing.T, id string) *cable {
	t.Helper()
	c := &cable{hostSpace(t, id+"n"), hostSpace(t, id+"f")}
	c.plug(t, "eth0")
	return c
}

// plug adds a cable, which is the device of that name at both ends.
func (c *cable) plug(t *testing.T, device string) {
	t.Helper()
	command(t, fmt.Sprintf("ip -n %s link add %s type veth peer name %[2]s netns %s", c.near, device, c.far))
	for _, ns := range []string{c.near, c.far} {
		command(t, "ip -n "+ns+" link set "+device+" txqueuelen 5000 up")
	}
}

// hostSpace makes a network namespace whose loopback is up. It is gone with the test, and so is what runs in it.
func hostSpace(t *testing.T, id string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "network namespaces need root")
	}
	ns := fmt.Sprintf("%s%d", id, os.Getpid())
	command(t, "ip netns add "+ns)
	t.Cleanup(func() { command(t, "ip netns del "+ns) })
	within(t, ns, func() { // /proc/sys/net is that of the thread's namespace
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
	})
	command(t, "ip -n "+ns+" link set lo up")
	return ns
}

// address gives a device addresses, with prefix lengths.
func address(t *testing.T, ns, device string, addrs ...string) {
	t.Helper()
	for _, a := range addrs {
		words := fmt.Sprintf("ip -n %s addr add %s dev %s", ns, a, device)
		if strings.Contains(a, ":") {
			within(t, ns, func() {
				if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/disable_ipv6", []byte("0"), 0); err != nil {
					t.Error(err)
				}
			})
			words += " nodad"
		}
		command(t, words)
	}
}

// command runs a command, which must end well.
func command(t *testing.T, words string) {
	t.Helper()
	if out, err := exec.Command(strings.Fields(words)[0], strings.Fields(words)[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", words, err, out)
	}
}

// within runs f in a network namespace, on a thread that ends with it.
func within(t *testing.T, ns string, f func()) {
	t.Helper()
	if err := enter(ns, f); err != nil {
		t.Fatal(err)
	}
}

func enter(ns string, f func()) error {
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
	return <-done
}

// need leaves the test out where one of the tools is not installed.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			leaveOut(t, "no "+tool)
		}
	}
}

// process is a running command. What it writes can be read meanwhile.
type process struct {
	*exec.Cmd
	out, err written
	ended    chan struct{}
}

// written keeps what a process writes.
type written struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (w *written) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// spawn starts a command in a namespace. If it still runs at the end of the test, it is killed.
func spawn(t *testing.T, ns string, args ...string) *process {
	t.Helper()
	return launch(t, append([]string{"ip", "netns", "exec", ns}, args...)...) // ip replaces itself by the command
}

// spawnPinning starts a command in a network namespace as spawn does, but with the mounts of this process: ip netns exec makes new
// ones, with which pins in a bpffs are gone.
func spawnPinning(t *testing.T, ns string, args ...string) *process {
	t.Helper()
	return launch(t, append([]string{"nsenter", "--net=/run/netns/" + ns}, args...)...)
}

// launch starts a command. If it still runs at the end of the test, it is killed.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.Stdout, p.Stderr = &p.out, &p.err
	p.WaitDelay = time.Second
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait() // ProcessState tells
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// wait waits for a process's end, and returns its exit code: -1 if a signal ended it.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Fatalf("%s does not end: %s", strings.Join(p.Args, " "), p.err.String())
	}
	return p.ProcessState.ExitCode()
}

// end signals a process and waits for its end.
func (p *process) end(t *testing.T, sig os.Signal) int {
	t.Helper()
	_ = p.Process.Signal(sig)
	return p.wait(t)
}

// runIn runs a command in a namespace to its end, which must be a good one, and returns what it printed.
func runIn(t *testing.T, ns string, args ...string) string {
	t.Helper()
	p := spawn(t, ns, args...)
	if p.wait(t) != 0 {
		t.Fatalf("%s: %v: %s%s", strings.Join(args, " "), p.ProcessState, p.err.String(), p.out.String())
	}
	return p.out.String()
}

// await waits until a condition holds, for a time that a loaded machine may need.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(45 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// sentry is a running weir sense.
type sentry struct {
	*process
	ns, state string
}

// sense starts weir sense in a namespace, with a state folder of its own unless args name one, alerts as JSON lines on
// standard output and a summary on standard error. It waits until the sensor watches.
func sense(t *testing.T, ns string, args ...string) *sentry {
	t.Helper()
	s := begin(t, ns, args...)
	s.watches(t)
	return s
}

// watches waits until the sensor does.
func (s *sentry) watches(t *testing.T) {
	t.Helper()
	await(t, "weir watches", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("%s: %v\n%s", strings.Join(s.Args, " "), s.ProcessState, s.err.String())
		default:
		}
		return strings.Contains(s.err.String(), "msg=watching")
	})
}

// begin starts weir sense as sense does, and does not wait.
func begin(t *testing.T, ns string, args ...string) *sentry {
	t.Helper()
	s := &sentry{ns: ns}
	for i, a := range args[:max(len(args)-1, 0)] {
		if a == "--state" {
			s.state = args[i+1]
		}
	}
	if s.state == "" {
		s.state = filepath.Join(t.TempDir(), "state")
		args = append(args, "--state", s.state)
	}
	s.process = spawn(t, ns, append([]string{"weir", "sense", "--format", "jsonl"}, args...)...)
	return s
}

// stop ends a sensor as a service manager does, and returns the alerts that it printed. It must end well.
func (s *sentry) stop(t *testing.T) []*alert.Alert {
	t.Helper()
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("weir sense ends with %d:\n%s", code, s.err.String())
	}
	return s.printed(t)
}

// printed is the alerts that the sensor printed so far, each revision.
func (s *sentry) printed(t *testing.T) []*alert.Alert {
	t.Helper()
	text := s.out.String()
	all, err := alert.Read(strings.NewReader(text[:strings.LastIndexByte(text, '\n')+1]))
	if err != nil {
		t.Fatalf("weir sense printed: %v\n%s", err, text)
	}
	return all
}

// ready waits until /readyz says that the sensor is.
func (s *sentry) ready(t *testing.T) {
	t.Helper()
	await(t, "weir sense is ready", func() bool {
		code, _ := s.get(t, "/readyz")
		return code == http.StatusOK
	})
}

// get asks the sensor's own web server. The code is 0 if there was no answer.
func (s *sentry) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	dial := func(_ context.Context, network, addr string) (net.Conn, error) {
		return dialer{s.ns}.Dial(network, addr)
	}
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	r, err := client.Get("http://127.0.0.1:9470" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(r.Body)
	return r.StatusCode, text.String()
}

// url is that of the NATS server inside the sensor; who connects needs a dialer, too.
func (s *sentry) url(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.state, "nats.url"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// dialer connects from within a namespace. It is a nats.CustomDialer.
type dialer struct{ ns string }

func (d dialer) Dial(network, addr string) (conn net.Conn, err error) {
	entered := enter(d.ns, func() { conn, err = net.DialTimeout(network, addr, 5*time.Second) })
	return conn, errors.Join(entered, err)
}
