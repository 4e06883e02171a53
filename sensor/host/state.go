//go:build unix

// Package host is what a process that runs for months needs of the machine that it runs on: a folder for its state, a lock,
// secrets, fewer privileges, word to the service manager, a watch on its configuration, a log.
package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockName is the file in the state folder that one process at a time holds. Its text is that process's number.
const lockName = "lock"

// State is a folder that belongs to this process until Close. Methods are for one goroutine at a time.
type State struct {
	Log  *slog.Logger // what is set aside is said here; slog.Default() unless replaced
	dir  string       // absolute
	lock *os.File
}

// OpenState takes a folder for this process: it is made with mode 0700 if there is none (its parents with 0755), must belong
// to the user of this process and be closed to others' writing, and is locked by flock(2), which ends with the process
// however that ends. A folder that cannot be had gives one line that says why and what to do.
func OpenState(dir string) (*State, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := makeFolder(dir); err != nil {
		return nil, stateError(dir, err)
	}
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, stateError(dir, err)
	}
	return &State{Log: slog.Default(), dir: dir, lock: lock}, nil
}

// Dir is the absolute path of the folder.
func (s *State) Dir() string { return s.dir }

// Close gives the folder back. The lock file stays: without it a third process could lock a file of another inode.
func (s *State) Close() error {
	return errors.Join(s.lock.Truncate(0), s.lock.Close())
}

// makeFolder makes a folder that is not there. Only the last of the path is private: parents are shared, as /var/lib is.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// checkFolder refuses a folder that somebody else could change under us: a file there is followed, trusted and, by root,
// overwritten.
func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return stateError(dir, err)
	}
	if !info.IsDir() {
		return stateError(dir, syscall.ENOTDIR)
	}
	owner, mode := info.Sys().(*syscall.Stat_t).Uid, info.Mode().Perm()
	if own := uint32(os.Geteuid()); owner != own {
		return fmt.Errorf("state folder %s belongs to %s, and this process runs as %s: run it as the owner, or give another folder with --state",
			dir, userName(owner), userName(own))
	}
	if mode&0o022 != 0 {
		return fmt.Errorf("state folder %s has mode %04o, others can write to it: chmod 0700 %s", dir, mode, dir)
	}
	return nil
}

// lockFolder takes the lock and writes this process's number into it, which also shows that the folder can be written to.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("it cannot be locked: %w", err)
		}
		return nil, heldError(strings.TrimSpace(string(holder)))
	}
	if err := writeLock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writeLock(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return err
	}
	return f.Sync() // a full disk shows here at the latest
}

// heldError is that another process, whose number this is, holds the lock.
type heldError string

func (e heldError) Error() string {
	if _, err := strconv.Atoi(string(e)); err != nil {
		return "another process uses it" // it has not written its number yet
	}
	return "process " + string(e) + " uses it"
}

// stateError says in one line why the folder cannot be had and what would help.
func stateError(dir string, err error) error {
	const another = "give another folder with --state"
	var held heldError
	mend := another
	switch {
	case errors.As(err, &held):
		mend = "stop it, or " + another
	case errors.Is(err, fs.ErrPermission):
		mend = "run as root, or give a folder of your own with --state"
	case errors.Is(err, syscall.EROFS):
		mend = "mount it for writing, or " + another
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		mend = "free some space, or " + another
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		mend = "move that file away, or " + another
	}
	return fmt.Errorf("state folder %s: %w: %s", dir, err, mend)
}

// userName names a user as people do, if it is known.
func userName(uid uint32) string {
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username
	}
	return "user " + number
}
