package host

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// changes waits for n changes, and wants no further one.
func changes(t *testing.T, what string, c <-chan struct{}, n int) {
	t.Helper()
	for range n {
		select {
		case <-c:
		case <-time.After(recheck / 2): // without events the file is read later
			t.Fatalf("%s: not seen", what)
		}
	}
	select {
	case <-c:
		t.Fatalf("%s: one change too many", what)
	case <-time.After(2 * settle):
	}
}

// watching watches a file for as long as the test runs.
func watching(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c, err := Watch(ctx, path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		for range c { // until it is closed
		}
	})
	return c
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "weir.yaml")
	write(t, path, "one")
	c := watching(t, path)
	changes(t, "nothing", c, 0)

	write(t, path, "two")
	changes(t, "written in place", c, 1)
	for i := range 10 { // a slow writer
		write(t, path, "many"+string(rune('0'+i)))
		time.Sleep(settle / 10)
	}
	changes(t, "ten writes", c, 1)
	write(t, filepath.Join(dir, "weir.yaml.swp"), "three")
	changes(t, "another file", c, 0)
	for _, next := range []string{"three", "four"} { // twice: the new file is watched, too
		write(t, path+"~", next)
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
		changes(t, "renamed over", c, 1)
	}
	if err := os.Rename(path, path+".bak"); err != nil { // vim with backupcopy=no
		t.Fatal(err)
	}
	changes(t, "gone", c, 0)
	write(t, path, "five")
	changes(t, "back", c, 1)
	write(t, path, "five")
	changes(t, "the same again", c, 0)
	if err := exec.Command("sed", "-i", "s/five/six/", path).Run(); err != nil {
		t.Fatal(err)
	}
	changes(t, "sed -i", c, 1)
}

// TestWatchLinks changes what links on the way lead to: a ConfigMap of Kubernetes (weir.yaml → ..data/weir.yaml, ..data →
// ..v1), and a link to another folder.
func TestWatchLinks(t *testing.T) {
	t.Parallel()
	dir, away := t.TempDir(), t.TempDir()
	for _, v := range []string{"..v1", "..v2", "..v3"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, v, "weir.yaml"), v)
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..v1", "..data")
	link("..data/weir.yaml", "weir.yaml")
	c := watching(t, filepath.Join(dir, "weir.yaml"))
	for _, v := range []string{"..v2", "..v3"} {
		link(v, "..data_tmp")
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		changes(t, "..data", c, 1)
	}
	write(t, filepath.Join(away, "real.yaml"), "elsewhere")
	link(filepath.Join(away, "real.yaml"), "new")
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "weir.yaml")); err != nil {
		t.Fatal(err)
	}
	changes(t, "a link to elsewhere", c, 1)
	write(t, filepath.Join(away, "real.yaml"), "elsewhere, too")
	changes(t, "the link's target", c, 1)
}

// pollChild leaves no event queue (inotify instance) to its user and watches a file, which it changes. It tells whether that
// was seen, and the log.
func pollChild() {
	for {
		if _, err := unix.InotifyInit1(0); errors.Is(err, unix.EMFILE) {
			break
		} else if err != nil {
			panic(err)
		}
	}
	log := new(bytes.Buffer)
	c, err := Watch(context.Background(), os.Args[1], slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(os.Args[1], []byte("new"), 0o600); err != nil {
		panic(err)
	}
	select {
	case <-c:
		tell(map[string]any{"seen": true, "log": log.String()})
	case <-time.After(2 * recheck):
		tell(map[string]any{"seen": false, "log": log.String()})
	}
}

// TestWatchWithoutEvents sees a change although the kernel refuses events to this user.
func TestWatchWithoutEvents(t *testing.T) {
	needRoot(t) // to be another user, whose limit is nobody else's
	t.Parallel()
	path := filepath.Join(sharedDir(t), "weir.yaml")
	write(t, path, "old")
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := command(t, "poll", path)
	asNobody(t, cmd)
	var got struct {
		Seen bool
		Log  string
	}
	if result(t, cmd, &got); !got.Seen || !strings.Contains(got.Log, "fs.inotify.max_user_instances") {
		t.Errorf("seen: %v, log: %s", got.Seen, got.Log)
	}
}

// TestWatchMissing refuses what is not there or no file.
func TestWatchMissing(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := Watch(t.Context(), path, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s is watched", path)
		}
	}
}
