//go:build !linux

package enforce

import (
	"errors"
	"log/slog"
)

var errLinux = errors.New("drops need Linux: XDP, tcx or nftables")

// Open is for Linux only.
func Open(Config, string, bool, *slog.Logger) (Table, []string, error) { return nil, nil, errLinux }

// ClearAll is for Linux only.
func ClearAll(string, string) ([]string, error) { return nil, errLinux }

// Detach is for Linux only.
func Detach(string, string) error { return errLinux }
