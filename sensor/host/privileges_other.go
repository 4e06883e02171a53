//go:build unix && !linux

package host

import "log/slog"

// Privileges does nothing but on Linux, and says so.
func Privileges(_ Access, log *slog.Logger) error {
	log.Warn("privileges are reduced on Linux only")
	return nil
}
