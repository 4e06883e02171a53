package host

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

func init() { children["privileges"] = privilegesChild }

// tried is what a process can do once its privileges are reduced: the error of each attempt, "" if it succeeded.
type tried struct {
	Before, After map[string]string
	Threads       []map[string]string // of /proc/self/task/*/status
}

// privilegesChild reduces its privileges as a sensor does, with threads of its own running, and tries what it can.
// Arguments: folder to read, folder to write, address of a listener, socket of the service manager.
func privilegesChild() {
	for range 4 { // workers: locked to their threads, and in system calls
		r, _, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		go func() {
			runtime.LockOSThread()
			_, _ = syscall.Read(int(r.Fd()), make([]byte, 1)) // blocks for ever
		}()
	}
	var out tried
	out.Before = attempts("before")
	keep := Access{
		Capabilities: []string{"CAP_NET_RAW"},
		ReadOnly:     []string{filepath.Join(os.Args[1], "weir.yaml"), "/not/there"},
		ReadWrite:    []string{os.Args[2]},
	}
	if err := Privileges(keep, slog.New(slog.NewTextHandler(os.Stderr, nil))); err != nil {
		panic(err)
	}
	out.After = attempts("after")
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		panic(err)
	}
	for _, task := range tasks {
		out.Threads = append(out.Threads, status(task))
	}
	tell(out)
}

func attempts(when string) map[string]string {
	read, write, listener, manager := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	out := map[string]string{}
	try := func(name string, err error) {
		out[name] = ""
		if err != nil {
			out[name] = err.Error()
		}
	}
	open := func(path string, flags int) error {
		f, err := os.OpenFile(path, flags, 0o600)
		if err == nil {
			err = f.Close()
		}
		return err
	}
	try("write shadow", open("/etc/shadow", os.O_WRONLY))
	try("read shadow", open("/etc/shadow", os.O_RDONLY))
	try("read passwd", open("/etc/passwd", os.O_RDONLY))
	try("write elsewhere", open(filepath.Join(filepath.Dir(read), "elsewhere-"+when), os.O_WRONLY|os.O_CREATE))
	try("empty elsewhere", os.Truncate(filepath.Join(filepath.Dir(read), "other"), 0))
	try("read configuration", open(filepath.Join(read, "weir.yaml"), os.O_RDONLY))
	try("write configuration", open(filepath.Join(read, "weir.yaml"), os.O_WRONLY))
	try("write state", open(filepath.Join(write, when), os.O_WRONLY|os.O_CREATE))
	try("make folder", os.MkdirAll(filepath.Join(write, when+".d/below"), 0o700))
	try("rename into folder", os.Rename(filepath.Join(write, when), filepath.Join(write, when+".d/below/file")))
	try("list folder", func() error { _, err := os.ReadDir(filepath.Join(write, when+".d")); return err }())
	try("remove", os.RemoveAll(filepath.Join(write, when+".d")))
	try("read proc", open("/proc/self/stat", os.O_RDONLY))
	try("read sys", open("/sys/class/net/lo/statistics/rx_packets", os.O_RDONLY))
	try("run program", exec.Command("/bin/true").Run())
	try("packet socket", packetSocket())
	try("netlink", func() error { _, err := net.Interfaces(); return err }())
	try("connect", func() error {
		c, err := net.Dial("tcp", listener)
		if err == nil {
			err = c.Close()
		}
		return err
	}())
	try("listen", func() error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err == nil {
			err = l.Close()
		}
		return err
	}())
	try("service manager", func() error {
		_ = os.Setenv("NOTIFY_SOCKET", manager)
		return Notify(Ready)
	}())
	try("administer network", func() error { // wants CAP_NET_ADMIN
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<20)
	}())
	return out
}

// packetSocket opens a ring's socket on lo and has it receive everything, as after a link came back.
func packetSocket() error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: lo.Index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	promisc := unix.PacketMreq{Ifindex: int32(lo.Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &promisc); err != nil {
		return fmt.Errorf("promiscuous: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("version: %w", err)
	}
	ring := unix.TpacketReq3{Block_size: 1 << 20, Block_nr: 4, Frame_size: 2048, Frame_nr: 4 << 20 / 2048, Retire_blk_tov: 10}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &ring); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_FANOUT, 0x77ab|unix.PACKET_FANOUT_HASH<<16); err != nil {
		return fmt.Errorf("fanout: %w", err)
	}
	m, err := unix.Mmap(fd, 0, 4<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	return unix.Munmap(m)
}

// status reads the fields of a status file in /proc.
func status(path string) map[string]string {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		panic(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && (strings.HasPrefix(name, "Cap") || name == "NoNewPrivs") {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}

// TestPrivileges shows what is left to a process: as root, as a user that got one capability from its service manager, and
// as a user that got none.
func TestPrivileges(t *testing.T) {
	needRoot(t)
	const netRaw = 1 << unix.CAP_NET_RAW
	for _, c := range []struct {
		name    string
		uid     uint32
		ambient []uintptr
		caps    uint64
		bounded bool // the bounding set could be reduced
	}{
		{"root", 0, nil, netRaw, true},
		{"user with CAP_NET_RAW", nobody, []uintptr{unix.CAP_NET_RAW}, netRaw, false},
		{"user with more", nobody, []uintptr{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP}, netRaw, true},
		{"user without", nobody, nil, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := reduce(t, c.uid, c.ambient)
			checkThreads(t, got.Threads, c.caps, c.bounded)
			want := []string{ // succeed
				"read configuration", "write state", "make folder", "list folder", "remove", "read proc", "read sys",
				"netlink", "connect", "listen", "service manager",
			}
			abi, _ := llsys.LandlockGetABIVersion()
			if abi != 1 {
				want = append(want, "rename into folder")
			}
			if c.caps != 0 {
				want = append(want, "packet socket")
			}
			for _, name := range want {
				if got.After[name] != "" {
					t.Errorf("%s: %s", name, got.After[name])
				}
			}
			for _, name := range []string{"administer network", "write shadow"} {
				refusedAfter(t, got, name)
			}
			if c.caps == 0 {
				refusedAfter(t, got, "packet socket")
			}
			if abi < 3 { // TRUNCATE
				leaveOut(t, fmt.Sprintf("this kernel has Landlock ABI %d: files are not tested", abi))
			}
			for _, name := range []string{"read shadow", "read passwd", "write elsewhere", "empty elsewhere", "write configuration", "run program"} {
				refusedAfter(t, got, name)
			}
			if c.uid == 0 { // else the attempts could fail for another reason
				for name, err := range got.Before {
					if err != "" {
						t.Errorf("before, %s: %s", name, err)
					}
				}
			}
		})
	}
}

func refusedAfter(t *testing.T, got tried, name string) {
	t.Helper()
	if err := got.After[name]; !strings.Contains(err, "permission denied") && !strings.Contains(err, "not permitted") {
		t.Errorf("%s: error %q, want a refusal", name, err)
	}
}

// checkThreads wants of each thread exactly these capabilities, and no way to more.
func checkThreads(t *testing.T, threads []map[string]string, caps uint64, bounded bool) {
	t.Helper()
	if len(threads) < 5 {
		t.Errorf("%d threads, want the 4 that were locked and more", len(threads))
	}
	want := map[string]string{"NoNewPrivs": "1"}
	for name, set := range map[string]uint64{"CapInh": 0, "CapPrm": caps, "CapEff": caps, "CapAmb": 0} {
		want[name] = fmt.Sprintf("%016x", set)
	}
	if bounded {
		want["CapBnd"] = fmt.Sprintf("%016x", caps)
	}
	for _, thread := range threads {
		for name, value := range want {
			if thread != nil && thread[name] != value {
				t.Errorf("a thread has %s %s, want %s", name, thread[name], value)
			}
		}
	}
}

// reduce runs the child as a user with ambient capabilities.
func reduce(t *testing.T, uid uint32, ambient []uintptr) (out tried) {
	t.Helper()
	dir := sharedDir(t)
	read, write := filepath.Join(dir, "etc"), filepath.Join(dir, "state")
	for _, d := range []string{read, write} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{filepath.Join(read, "weir.yaml"), filepath.Join(dir, "other")}
	for _, f := range files {
		if err := os.WriteFile(f, []byte("text"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range append(files, dir, read, write) {
		if err := os.Chown(path, int(uid), int(uid)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	manager, path := notifySocket(t)
	defer manager.Close()
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "privileges", read, write, l.Addr().String(), path)
	if uid != 0 {
		asNobody(t, cmd)
	}
	cmd.SysProcAttr.AmbientCaps = ambient
	result(t, cmd, &out)
	return out
}

// TestPrivilegesUnknown refuses a name that means nothing, before anything is given up.
func TestPrivilegesUnknown(t *testing.T) {
	err := Privileges(Access{Capabilities: []string{"CAP_EVERYTHING"}}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), `"CAP_EVERYTHING" is no capability`) {
		t.Errorf("error %v", err)
	}
}

// TestFolders shows what a rule is made for: a file's folder, and where its links lead.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "run/resolve"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "run/resolve/stub.conf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../run/resolve/stub.conf", filepath.Join(dir, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	got := folders([]string{filepath.Join(dir, "etc/resolv.conf"), filepath.Join(dir, "none"), filepath.Join(dir, "run")})
	want := []string{filepath.Join(dir, "etc"), filepath.Join(dir, "run/resolve"), filepath.Join(dir, "run")}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("folders %v, want %v", got, want)
	}
}
