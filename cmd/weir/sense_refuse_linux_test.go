package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Sensors under test take little memory, so that several run at once.
const modest = `
memory_mib: 800
capture: {ring_mib: 4, block_kib: 128}
connections: {connections: 16384, half_open: 8192, extras: 4096, fragments: 1024}
tally: {services: 1024, sources: 2048, contacts: 16384, pairs: 256, openings: 64, names: 128, webs: 128}
`

var outpostCount atomic.Int64

// outpost is a host with a cable to another, a folder for files, and a configuration.
type outpost struct {
	*cable
	dir    string
	config string
}

// newOutpost has the addresses 10.9.0.1 on the sensor's end, far, and 10.9.0.2 on the other, near.
func newOutpost(t *testing.T, settings string) *outpost {
	t.Helper()
	o := &outpost{cable: newCable(t, fmt.Sprintf("wope%d", outpostCount.Add(1))), dir: t.TempDir()}
	address(t, o.far, "eth0", "10.9.0.1/24")
	address(t, o.near, "eth0", "10.9.0.2/24")
	o.config = filepath.Join(o.dir, "weir.yaml")
	o.configure(t, settings)
	return o
}

// configure writes the configuration, in place.
func (o *outpost) configure(t *testing.T, settings string) {
	t.Helper()
	if err := os.WriteFile(o.config, []byte(modest+settings), 0o600); err != nil {
		t.Fatal(err)
	}
}

// probe connects from the near host to closed ports of the far one, as a scanner does.
func (o *outpost) probe(t *testing.T, first, ports int) {
	t.Helper()
	within(t, o.near, func() {
		for port := first; port < first+ports; port++ {
			if c, err := net.Dial("tcp", fmt.Sprintf("10.9.0.1:%d", port)); err == nil {
				c.Close()
			} else if !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
		}
	})
}

// quiet holds that nothing is left of a sensor that ended: nobody has the lock, and the interface is as it was.
func (o *outpost) quiet(t *testing.T, state string) {
	t.Helper()
	if f, err := os.Open(filepath.Join(state, "lock")); err == nil {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			t.Errorf("the lock is held: %v", err)
		}
		f.Close()
	}
	if n := promiscuity(t, o.far, "eth0"); n != 0 {
		t.Errorf("the interface is left with promiscuity %d", n)
	}
}

// promiscuity is how many want all packets of an interface.
func promiscuity(t *testing.T, ns, device string) (n int) {
	t.Helper()
	text := runIn(t, ns, "ip", "-d", "link", "show", "dev", device)
	_, after, found := strings.Cut(text, " promiscuity ")
	if _, err := fmt.Sscan(after, &n); !found || err != nil {
		t.Fatalf("ip link does not tell the promiscuity of %s: %s", device, text)
	}
	return n
}

// complaints are the lines in which weir says what is wrong. There must be nothing on standard output, and no stack.
func complaints(t *testing.T, p *process) (lines []string) {
	t.Helper()
	if out := p.out.String(); out != "" {
		t.Errorf("standard output: %s", out)
	}
	for line := range strings.Lines(p.err.String()) {
		if text, ok := strings.CutPrefix(line, "weir: "); ok {
			lines = append(lines, strings.TrimSuffix(text, "\n"))
		} else if !strings.HasPrefix(line, "time=") && !strings.HasPrefix(line, "Try 'weir --help'") {
			t.Errorf("standard error has a line of its own: %s", line)
		}
	}
	return lines
}

// occupy listens on a port for the whole test.
func occupy(t *testing.T, ns, addr string) {
	t.Helper()
	within(t, ns, func() {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { l.Close() })
	})
}

// smallDisk mounts a file system of a size of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("weir-test", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		leaveOut(t, "cannot mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// asNobody is the begin of a command line that runs weir as a user without rights. Test files are root's alone, so the program
// gets a name elsewhere.
func asNobody(t *testing.T) (words []string, home string) {
	t.Helper()
	need(t, "setpriv")
	dir, err := os.MkdirTemp("", "wope")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := exec.LookPath("weir")
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	home = filepath.Join(dir, "home")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.Mkdir(home, 0o700), os.Chown(home, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	command(t, "cp "+program+" "+dir+"/weir") // not by ourselves: a fork meanwhile would keep it busy
	command(t, "chmod 0755 "+dir+"/weir")
	return []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", filepath.Join(dir, "weir")}, home
}

// TestSenseRefuses starts sensors that cannot work: each says in one line what is wrong and what mends it, ends with the right
// code, and leaves nothing behind.
func TestSenseRefuses(t *testing.T) {
	o := newOutpost(t, "")
	plain, state := []string{"weir", "sense", "-i", "eth0", "--config", o.config, "--state"}, filepath.Join(o.dir, "state")
	file := filepath.Join(o.dir, "a file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := func(settings string) string {
		f, err := os.CreateTemp(o.dir, "bad*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(settings); err != nil {
			t.Fatal(err)
		}
		return f.Name()
	}
	sense := func(args ...string) []string { return append([]string{"weir", "sense", "--state", state}, args...) }
	for _, c := range []struct {
		name string
		args []string
		code int
		want string // regular expression for all that it says, lines separated by |; {} is any file
	}{
		{"no interface named", sense(), exitUsage, `missing flags: --interface=IF,\.\.\.`},
		{"interface twice", sense("-i", "eth0", "-i", "lo", "-i", "eth0"), exitUsage, `--interface: eth0 is named twice`},
		{"no such interface", sense("-i", "eth7"), exitFailed, `capture: no interface eth7; there are (lo, eth0|eth0, lo)`},
		{"one of two is not there", sense("-i", "eth0", "-i", "eth7"), exitFailed, `capture: no interface eth7; there are (lo, eth0|eth0, lo)`},
		{"workers", sense("-i", "eth0", "--workers", "99"), exitUsage, `--workers: 99 is not within 1 to \d+`},
		{"filter", sense("-i", "eth0", "--filter", "tpc"), exitUsage, `filter: column 1: unknown word "tpc": did you mean "tcp"\?`},
		{"no configuration", sense("-i", "eth0", "--config", "/nowhere/weir.yaml"), exitUsage, `open /nowhere/weir.yaml: no such file or directory`},
		{"unknown key", sense("-i", "eth0", "--config", bad("site: a\nsensors: b\n")), exitUsage, `{}:2:1: unknown field "sensors"`},
		{"bad value", sense("-i", "eth0", "--config", bad("capture:\n  fanout: hash\n  ring_mib: -3\n")), exitUsage, `{}:3:3: capture: ring_mib is -3, must be .*`},
		{"bad filter", sense("-i", "eth0", "--config", bad("filter: tpc\n")), exitUsage, `{}:1:1: filter: column 1: unknown word "tpc": did you mean "tcp"\?`},
		{"too little memory", sense("-i", "eth0", "--config", bad("memory_mib: 99\n")), exitUsage, `{}:1:1: memory_mib is 99: the tables need \d+ at least; raise it or .*`},
		{
			"two mistakes", sense("-i", "eth0", "--config", bad("capture: {ring_mib: -3}\nnats: {replicas: 2}\n")), exitUsage,
			`{}:1:11: capture: ring_mib is -3, .*\|{}:2:8: nats: replicas is 2, must be 1, 3 or 5`,
		},
		{"state is a file", append(plain, file), exitFailed, `state folder {}: not a directory: move that file away, or give another folder with --state`},
		{"state below a file", append(plain, file+"/state"), exitFailed, `state folder {}: .*not a directory: .*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := spawn(t, o.far, c.args...)
			if code := p.wait(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			said := strings.Join(complaints(t, p), "|")
			if want := strings.ReplaceAll(c.want, "{}", regexp.QuoteMeta(o.dir)+"[^:]*"); !regexp.MustCompile("^" + want + "$").MatchString(said) {
				t.Errorf("it says\n%s\nand not\n%s", said, c.want)
			}
			if config := c.args[len(c.args)-1]; strings.Contains(config, "bad") && c.name != "too little memory" {
				check := spawn(t, o.far, "weir", "check", config)
				if check.wait(t); strings.Join(complaints(t, check), "|") != said {
					t.Errorf("weir check says\n%s", check.err.String())
				}
			}
			o.quiet(t, state)
		})
	}
}

// TestSenseRefusesHost does the same where the host is in the way.
func TestSenseRefusesHost(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, o *outpost) (args []string, state string)
		code    int
		want    string
	}{
		{"metrics port", func(t *testing.T, o *outpost) ([]string, string) {
			occupy(t, o.far, "127.0.0.1:9470")
			return []string{"weir"}, o.dir + "/state"
		}, exitFailed, `metrics\.listen: 127\.0\.0\.1:9470 is in use; stop who listens there \(ss -ltnp\), or choose another port .*`},
		{"page port", func(t *testing.T, o *outpost) ([]string, string) {
			occupy(t, o.far, "127.0.0.1:9480")
			return []string{"weir"}, o.dir + "/state"
		}, exitFailed, `web\.listen: 127\.0\.0\.1:9480 is in use; stop who listens there \(ss -ltnp\), or choose another port .*`},
		{"NATS port", func(t *testing.T, o *outpost) ([]string, string) {
			occupy(t, o.far, "127.0.0.1:4222")
			return []string{"weir"}, o.dir + "/state"
		}, exitFailed, `nats: 127\.0\.0\.1:4222 is in use, by a NATS server or another weir: give another address as nats\.listen, or .*nats\.servers`},
		{"no permission", func(t *testing.T, o *outpost) ([]string, string) {
			words, home := asNobody(t)
			return words, home + "/state"
		}, exitFailed, `capture: eth0: no permission to capture; run it with sudo, or give it the right: sudo setcap cap_net_raw\+ep weir: operation not permitted`},
		{"root's state", func(t *testing.T, o *outpost) ([]string, string) {
			words, home := asNobody(t)
			state := filepath.Join(filepath.Dir(home), "roots")
			if err := os.Mkdir(state, 0o700); err != nil {
				t.Fatal(err)
			}
			return words, state
		}, exitFailed, `state folder \S+ belongs to root, and this process runs as nobody: run it as the owner, or give another folder with --state`},
		{"nowhere to write", func(t *testing.T, o *outpost) ([]string, string) {
			words, home := asNobody(t)
			return words, filepath.Join(filepath.Dir(home), "state")
		}, exitFailed, `state folder \S+: mkdir \S+: permission denied: run as root, or give a folder of your own with --state`},
		{"open to a group", func(t *testing.T, o *outpost) ([]string, string) {
			if err := errors.Join(os.Mkdir(o.dir+"/state", 0o700), os.Chmod(o.dir+"/state", 0o770)); err != nil {
				t.Fatal(err)
			}
			return []string{"weir"}, o.dir + "/state"
		}, exitFailed, `state folder \S+ has mode 0770, others can write to it: chmod 0700 \S+`},
		{"read-only", func(t *testing.T, o *outpost) ([]string, string) {
			dir := smallDisk(t, "1m")
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			return []string{"weir"}, dir
		}, exitFailed, `state folder \S+: open \S+/lock: read-only file system: mount it for writing, or give another folder with --state`},
		{"full disk", func(t *testing.T, o *outpost) ([]string, string) {
			dir := smallDisk(t, "16k")
			if err := os.WriteFile(dir+"/full", make([]byte, 1<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return []string{"weir"}, dir
		}, exitFailed, `state folder \S+: write \S+/lock: no space left on device: free some space, or give another folder with --state`},
		{"disk full after a page", func(t *testing.T, o *outpost) ([]string, string) {
			dir := smallDisk(t, "16k")
			err := os.WriteFile(dir+"/full", make([]byte, 1<<20), 0o600)
			if !errors.Is(err, syscall.ENOSPC) || os.Truncate(dir+"/full", 8<<10) != nil {
				t.Fatal(err)
			}
			return []string{"weir"}, dir
		}, exitFailed, `.*(no space left on device|is there room for).*`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newOutpost(t, "")
			weir, state := c.prepare(t, o)
			words := append(weir, "sense", "-i", "eth0", "--state", state)
			if len(weir) == 1 {
				words = append(words, "--config", o.config)
			}
			p := spawn(t, o.far, words...)
			if code := p.wait(t); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			said := complaints(t, p)
			if len(said) != 1 || !regexp.MustCompile("^"+c.want+"$").MatchString(said[0]) {
				t.Errorf("it says\n%s\nand not\n%s", strings.Join(said, "\n"), c.want)
			}
			o.quiet(t, state)
		})
	}
}

// TestSenseLocked starts a second sensor with the state folder of one that runs.
func TestSenseLocked(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	first := sense(t, o.far, "-i", "eth0", "--config", o.config)
	second := begin(t, o.far, "-i", "eth0", "--config", o.config, "--state", first.state)
	if code := second.wait(t); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	want := fmt.Sprintf("state folder %s: process %d uses it: stop it, or give another folder with --state", first.state, first.Process.Pid)
	if said := complaints(t, second.process); len(said) != 1 || said[0] != want {
		t.Errorf("it says %q, not %q", said, want)
	}
	o.probe(t, 1000, 60)
	if len(first.stop(t)) == 0 {
		t.Error("the first sensor was disturbed")
	}
	o.quiet(t, first.state)
}
