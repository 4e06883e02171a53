package host

import (
	"bufio"
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// openChild opens the folder that it is given and tells the error.
func openChild() {
	s, err := OpenState(os.Args[1])
	if err != nil {
		tell(err.Error())
		return
	}
	tell("")
	_ = s.Close()
}

// lockChild holds the folder that it is given until its input ends.
func lockChild() {
	if _, err := OpenState(os.Args[1]); err != nil {
		panic(err)
	}
	tell(os.Getpid())
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func mustOpen(t *testing.T, dir string) *State {
	t.Helper()
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStateMade makes a folder with its parents, for its owner alone, and gives it back.
func TestStateMade(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "var")
	dir := filepath.Join(parent, "weir")
	s := mustOpen(t, dir)
	for path, want := range map[string]os.FileMode{parent: 0o755, dir: 0o700, filepath.Join(dir, "lock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v, want mode %v", path, info, err, want)
		}
	}
	if pid, err := os.ReadFile(filepath.Join(dir, "lock")); err != nil || string(pid) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("lock holds %q, %v", pid, err)
	}
	if s.Dir() != dir {
		t.Errorf("Dir is %s", s.Dir())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := mustOpen(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

// TestStateHeld shows that a second process learns who holds the folder, and that kill -9 gives it back.
func TestStateHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	cmd := command(t, "lock", dir)
	hold, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenState(dir)
	want := "state folder " + dir + ": process " + strings.TrimSpace(pid) + " uses it: stop it, or give another folder with --state"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	hold.Close()
	if err := mustOpen(t, dir).Close(); err != nil {
		t.Error(err)
	}
}

// TestStateRefused shows one line for each folder that cannot be had: what is wrong, and what mends it.
func TestStateRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o770, 0o702} {
		loose := filepath.Join(dir, "loose-"+strconv.FormatUint(uint64(mode), 8))
		if err := os.Mkdir(loose, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(loose, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		refused(t, loose, "others can write to it: chmod 0700 "+loose)
		if err := os.Chmod(loose, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := mustOpen(t, loose).Close(); err != nil { // what was told helps
			t.Error(err)
		}
	}
	refused(t, file, "not a directory: move that file away, or give another folder with --state")
	refused(t, filepath.Join(file, "below"), "not a directory: move that file away")
	link := filepath.Join(dir, "linked")
	if err := os.Mkdir(link, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, filepath.Join(link, "lock")); err != nil {
		t.Fatal(err)
	}
	refused(t, link, "too many levels of symbolic links") // the lock of another's choice
}

func refused(t *testing.T, dir, want string) {
	t.Helper()
	s, err := OpenState(dir)
	if err == nil {
		_ = s.Close()
		t.Fatalf("%s was taken, want %q", dir, want)
	}
	if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, dir) || strings.Contains(text, "\n") {
		t.Errorf("error %q, want the folder and %q in it", text, want)
	}
}

// TestStateOtherUser shows what a user without rights is told, and that a folder of one's own is all it takes.
func TestStateOtherUser(t *testing.T) {
	needRoot(t)
	shared := sharedDir(t)
	roots, own := filepath.Join(shared, "root"), filepath.Join(shared, "own")
	for _, dir := range []string{roots, own} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(own, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		roots:                           "belongs to root, and this process runs as",
		filepath.Join(roots, "new"):     "permission denied: run as root, or give a folder of your own with --state",
		own:                             "",
		filepath.Join(own, "new/below"): "",
	} {
		cmd := command(t, "open", dir)
		asNobody(t, cmd)
		var got string
		if result(t, cmd, &got); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: error %q, want %q", dir, got, want)
		}
	}
	refused(t, own, "and this process runs as root: run it as the owner, or give another folder with --state")
}

// TestSecret shows that a secret stays the same, and that what cannot be one is set aside.
func TestSecret(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "state"))
	defer s.Close()
	var log bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	path := filepath.Join(s.Dir(), "key")

	first, err := s.Secret("key", 32)
	if err != nil || len(first) != 32 || bytes.Equal(first, make([]byte, 32)) {
		t.Fatalf("%x, %v", first, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v: want mode 0600", info, err)
	}
	if again, err := s.Secret("key", 32); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second is %x, %v", again, err)
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", log.String())
	}
	for i, bad := range [][]byte{nil, []byte("short"), make([]byte, 32), make([]byte, 33)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		next, err := s.Secret("key", 32)
		if err != nil || len(next) != 32 || bytes.Equal(next, first) {
			t.Errorf("after %q: %x, %v", bad, next, err)
		}
		if again, err := s.Secret("key", 32); err != nil || !bytes.Equal(next, again) {
			t.Errorf("after %q: %x and then %x, %v", bad, next, again, err)
		}
		aside, err := filepath.Glob(path + ".corrupt-*")
		if err != nil || len(aside) != i+1 {
			t.Errorf("set aside: %v, want %d", aside, i+1)
		}
		if !strings.Contains(log.String(), "set aside") || !strings.Contains(log.String(), aside[len(aside)-1]) {
			t.Errorf("log does not name %v: %s", aside, log.String())
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Secret("key", 32); err == nil || !strings.Contains(err.Error(), "chmod 0600 "+path) {
		t.Errorf("a secret that others can read: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir(), "*.new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestStateDisk shows what a full and a read-only disk say.
func TestStateDisk(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("mount"); err != nil {
		leaveOut(t, "needs mount(8)")
	}
	disk := mountTmpfs(t)
	dir := filepath.Join(disk, "state")
	s := mustOpen(t, dir)
	fill(t, filepath.Join(disk, "ballast"))
	if _, err := s.Secret("key", 32); err == nil || !strings.Contains(err.Error(), "no space left on device: free some space, or") {
		t.Errorf("a secret on a full disk: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "key*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fill(t, filepath.Join(disk, "more ballast")) // what the lock gave back
	refused(t, dir, "no space left on device: free some space, or give another folder with --state")
	refused(t, filepath.Join(disk, "new"), "no space left on device")

	remountReadOnly(t, disk)
	refused(t, dir, "read-only file system: mount it for writing, or give another folder with --state")
	refused(t, filepath.Join(disk, "other"), "read-only file system")
}

// fill writes until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Log(err) // not even a name
		return
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}
