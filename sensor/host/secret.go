//go:build unix

package host

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Secret returns the n random bytes that are kept in a file of the state folder (mode 0600), and makes them at the first
// call. A file of another size, or of zero bytes alone (what a crash of the machine leaves), is set aside as
// NAME.corrupt-UNIXTIME and made anew. The file is complete or not there, whenever the process or the machine stops.
func (s *State) Secret(name string, n int) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	secret, err := readSecret(path, n)
	switch {
	case err == nil:
		return secret, nil
	case errors.Is(err, errCorrupt):
		if err := s.setAside(path, err); err != nil {
			return nil, stateError(s.dir, err)
		}
	case errors.Is(err, errLoose):
		return nil, err
	case !errors.Is(err, fs.ErrNotExist):
		return nil, stateError(s.dir, err)
	}
	secret = make([]byte, n)
	_, _ = rand.Read(secret) // never fails
	if err := WriteFile(path, secret); err != nil {
		return nil, stateError(s.dir, err)
	}
	return secret, nil
}

var (
	errCorrupt = errors.New("corrupt")
	errLoose   = errors.New("a secret is for its owner alone")
)

func readSecret(path string, n int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: it is a symbolic link", errCorrupt)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() != int64(n) {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", errCorrupt, info.Size(), n)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o and %w: chmod 0600 %s if nobody else can have read it, else remove it",
			path, info.Mode().Perm(), errLoose, path)
	}
	secret := make([]byte, n)
	if _, err := io.ReadFull(f, secret); err != nil {
		return nil, err
	}
	if n > 0 && bytes.Count(secret, []byte{0}) == n {
		return nil, fmt.Errorf("%w: all its bytes are zero", errCorrupt)
	}
	return secret, nil
}

// setAside renames a file that is of no use, so that nobody loses it.
func (s *State) setAside(path string, why error) error {
	aside := path + ".corrupt-" + strconv.FormatInt(time.Now().Unix(), 10)
	for i := 2; exists(aside); i++ {
		aside = fmt.Sprintf("%s.corrupt-%d-%d", path, time.Now().Unix(), i)
	}
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	s.Log.Warn("a file of the state folder is corrupt; it was set aside and made anew", "file", path, "why", why, "aside", aside)
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// WriteFile puts a file in place whole: written beside it, on the disk, renamed, and the name on the disk.
func WriteFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
