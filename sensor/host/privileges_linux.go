package host

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// Privileges gives up for good, in all threads, what the process does not need once its sockets are open:
//
//   - capabilities but those listed, from the permitted, effective, inheritable and ambient sets, and from the bounding set
//     where CAP_SETPCAP allows it;
//   - new privileges by execve(2) (no_new_privs);
//   - files but those listed, and running any program, by Landlock, as far as the kernel has it. /proc and /sys stay
//     readable: what the process tells of itself and of links is there. Files that are open stay open.
//
// The user stays the same. Root without capabilities is bound by permissions, but owns root's files: Landlock keeps it from
// them, or a user of its own, as in the systemd unit.
//
// Steps that the kernel does not know are said in the log; those that fail are errors, and the process should end.
func Privileges(p Access, log *slog.Logger) error {
	kept, err := dropCapabilities(p.Capabilities, log)
	if err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	if _, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	abi, err := restrictFiles(p)
	if err != nil {
		return fmt.Errorf("giving up files: %w", err)
	}
	switch {
	case abi == 0:
		log.Warn("this kernel has no Landlock, files are restricted by permissions alone", "needs", "Linux 5.13 with landlock in the lsm= list")
	case abi < 3:
		log.Warn("this kernel's Landlock does not know truncation: files elsewhere can be emptied, not read or written", "landlock_abi", abi, "needs", "Linux 6.2")
	}
	log.Info("privileges are reduced", "uid", os.Geteuid(), "capabilities", kept, "landlock_abi", abi)
	return nil
}

// dropCapabilities keeps of the capabilities that the process has those in the list, and names them.
func dropCapabilities(keep []string, log *slog.Logger) (kept []string, err error) {
	values, err := capabilities(keep)
	if err != nil {
		return nil, err
	}
	now, next := cap.GetProc(), cap.NewSet()
	setpcap, err := now.GetFlag(cap.Effective, cap.SETPCAP)
	if err != nil {
		return nil, err
	}
	for v := cap.Value(0); v < cap.MaxBits(); v++ {
		if slices.Contains(values, v) {
			if has, err := now.GetFlag(cap.Permitted, v); err != nil {
				return nil, err
			} else if !has {
				log.Warn("a capability that is needed later is missing", "capability", capName(v))
				continue
			}
			kept = append(kept, capName(v))
			if err := errors.Join(next.SetFlag(cap.Permitted, true, v), next.SetFlag(cap.Effective, true, v)); err != nil {
				return nil, err
			}
			continue
		}
		if bound, err := cap.GetBound(v); err == nil && bound && setpcap {
			if err := cap.DropBound(v); err != nil {
				return nil, err
			}
		}
	}
	// The kernel lowers the ambient set with the inheritable one (capabilities(7)).
	return kept, next.SetProc()
}

func capabilities(names []string) (values []cap.Value, err error) {
	for _, name := range names {
		v, err := cap.FromName(strings.ToLower(name))
		if err != nil {
			return nil, fmt.Errorf("%q is no capability", name)
		}
		values = append(values, v)
	}
	return values, nil
}

func capName(v cap.Value) string { return strings.ToUpper(v.String()) }

const (
	readable = llsys.AccessFSReadFile | llsys.AccessFSReadDir
	writable = readable | llsys.AccessFSWriteFile | llsys.AccessFSTruncate | llsys.AccessFSMakeReg | llsys.AccessFSMakeDir |
		llsys.AccessFSMakeSym | llsys.AccessFSRemoveFile | llsys.AccessFSRemoveDir
)

// restrictFiles is Landlock at ABI 5, or what the kernel has of it; it returns the kernel's ABI, 0 without. Later ABIs would
// cut off the service manager's socket, and the ports of TCP and UDP.
func restrictFiles(p Access) (abi int, err error) {
	abi, err = llsys.LandlockGetABIVersion()
	if err != nil {
		return 0, nil // not built in, or not in the lsm= list
	}
	write := landlock.AccessFSSet(writable)
	if abi >= 2 {
		write |= llsys.AccessFSRefer // renaming from one folder to another; the first ABI forbids it whatever is asked
	}
	rules := []landlock.Rule{
		landlock.PathAccess(readable, append(folders(p.ReadOnly), "/proc", "/sys")...).IgnoreIfMissing(),
		landlock.PathAccess(write, folders(p.ReadWrite)...),
	}
	return abi, landlock.V5.BestEffort().RestrictPaths(rules...)
}
