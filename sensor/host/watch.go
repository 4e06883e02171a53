package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle  = 200 * time.Millisecond // without events: an editor's write is over
	recheck = 5 * time.Second        // for changes that make no event: network file systems, folders made anew
	hops    = 8                      // of symbolic links that are followed
)

// Watch tells when a file's content changes: written in place, replaced by renaming as editors do, or by a symbolic link on
// its way that changes, as Kubernetes does. A file that goes is no change until it is back. Changes within 200 ms are one,
// and so are those that nobody has received yet. The channel is closed when ctx ends. Where the kernel refuses events
// (fs.inotify.max_user_instances), the file is read each 5 s instead, and the log says so.
func Watch(ctx context.Context, path string, log *slog.Logger) (<-chan struct{}, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &watch{path: path, log: log, changed: make(chan struct{}, 1)}
	if w.sum, err = digest(path); err != nil {
		return nil, fmt.Errorf("watching %s: %w", path, err)
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no events about changes of files; reading it each 5 s", "file", path, "error", err, "mend", "raise fs.inotify.max_user_instances")
	} else {
		w.events = events
		w.follow()
	}
	go w.run(ctx)
	return w.changed, nil
}

type watch struct {
	path    string
	log     *slog.Logger
	sum     [sha256.Size]byte
	events  *fsnotify.Watcher // nil: none to be had
	changed chan struct{}
}

// follow asks for events of each folder that the way to the file goes through.
func (w *watch) follow() {
	want := folderChain(w.path)
	for _, dir := range w.events.WatchList() {
		if !slices.Contains(want, dir) {
			_ = w.events.Remove(dir)
		}
	}
	for _, dir := range want {
		_ = w.events.Add(dir) // a folder that is gone is looked for again
	}
}

// folderChain are the folders of a path and of the links that it leads over.
func folderChain(path string) (dirs []string) {
	for range hops {
		dirs = append(dirs, filepath.Dir(path))
		if real, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil && real != filepath.Dir(path) {
			dirs = append(dirs, real)
		}
		next, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path = next
	}
	return dirs
}

func (w *watch) run(ctx context.Context) {
	defer close(w.changed)
	var events chan fsnotify.Event // nil: none ever
	var failed chan error
	if w.events != nil {
		defer w.events.Close()
		events, failed = w.events.Events, w.events.Errors
	}
	again := time.NewTicker(recheck)
	defer again.Stop()
	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			quiet.Reset(settle)
		case err := <-failed:
			w.log.Warn("events about changes of files were lost; reading the file", "file", w.path, "error", err)
			quiet.Reset(settle)
		case <-quiet.C:
			w.look()
		case <-again.C:
			w.look()
		}
	}
}

// look tells if the content is another.
func (w *watch) look() {
	if w.events != nil {
		w.follow()
	}
	sum, err := digest(w.path)
	if err != nil || sum == w.sum {
		return
	}
	w.sum = sum
	select {
	case w.changed <- struct{}{}:
	default: // one is waiting already
	}
}

// digest is the SHA-256 of a file.
func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return sum, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return sum, errors.Join(err, errors.New("not a file"))
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
