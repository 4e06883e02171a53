//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ForeignError says that another XDP program holds the interface. It is not displaced.
type ForeignError struct {
	Interface string
	Program   string // its name, "" if we may not ask (CAP_SYS_ADMIN)
	ID        uint32 // for bpftool prog show id; 0 if unknown
}

func (e *ForeignError) Error() string {
	name := "another XDP program"
	switch {
	case e.Program == progXDP:
		name = "another gate (" + progXDP + ")"
	case e.Program != "":
		name = "the XDP program " + e.Program
	}
	mend := "end what loaded it"
	if e.Program == progXDP {
		mend = "weir block --detach takes it off"
	}
	return fmt.Sprintf("%s: %s is attached (bpftool prog show id %d); %s, or use mode tcx", e.Interface, name, e.ID, mend)
}

// FullError says that a table has no room for all that was put. What fitted is in force.
type FullError struct {
	Table string
	Max   int
}

func (e *FullError) Error() string {
	return fmt.Sprintf("%s: all %d entries are in use; raise the limit of this table", e.Table, e.Max)
}

// UnsupportedError says what the kernel or the process lacks.
type UnsupportedError struct {
	What  string
	Needs string
	Err   error
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s: needs %s: %v", e.What, e.Needs, e.Err)
}

func (e *UnsupportedError) Unwrap() error { return e.Err }

// explain names what is missing behind an error of the kernel.
func explain(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrPermission):
		return &UnsupportedError{what, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or root)", err}
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return &UnsupportedError{what, "Linux 5.18 (XDP with frags), tcx Linux 6.6", err}
	}
	return fmt.Errorf("%s: %w", what, err)
}
