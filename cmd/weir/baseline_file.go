package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"weir/analyzers/baseline"
	"weir/sensor/host"
)

// baselineFile is what the sensor of a state folder has learned.
const baselineFile = "baseline"

// maxBaseline is the largest file that is read: twice what four million series and 64 million first times take.
const maxBaseline = 4 << 30

// readBaseline reads a saved baseline. The error wraps fs.ErrNotExist or is a *baseline.FormatError, and names the file.
func readBaseline(path string, cfg baseline.Config) (*baseline.Store, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxBaseline || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a saved baseline", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := baseline.Load(b, cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// writeBaseline saves a baseline whole or not at all. A running judge makes the bytes step by step (baseline.Saving) and hands
// them to host.WriteFile on another goroutine.
func writeBaseline(path string, s *baseline.Store) error {
	b, err := s.AppendBinary(nil)
	if err != nil {
		return err
	}
	return host.WriteFile(path, b)
}

// openBaseline takes up what a state folder knows; the folder must be this process's. A file that is damaged is set aside, and
// learning begins anew.
func openBaseline(dir string, cfg baseline.Config, log *slog.Logger) (*baseline.Store, error) {
	path := filepath.Join(dir, baselineFile)
	s, err := readBaseline(path, cfg)
	var wrong *baseline.FormatError
	switch {
	case err == nil:
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return baseline.New(cfg), nil
	case !errors.As(err, &wrong):
		return nil, err
	}
	aside := asideName(path)
	if err := os.Rename(path, aside); err != nil {
		return nil, err
	}
	log.Error("what was learned to be normal is damaged: it was set aside, learning begins anew", "error", err, "kept", aside)
	return baseline.New(cfg), nil
}

// asideName is a name that no file has.
func asideName(path string) string {
	aside := fmt.Sprintf("%s.corrupt-%d", path, time.Now().Unix())
	for i := 2; ; i++ {
		if _, err := os.Lstat(aside); err != nil {
			return aside
		}
		aside = fmt.Sprintf("%s.corrupt-%d-%d", path, time.Now().Unix(), i)
	}
}
