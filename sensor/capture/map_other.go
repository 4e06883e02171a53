//go:build !linux

package capture

import (
	"errors"
	"os"
)

// Files are mapped on Linux only; elsewhere they are read.

func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmap([]byte) error { return nil }

func (f *File) release() {}

func within([]byte, uintptr) bool { return false }
