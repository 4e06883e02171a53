//go:build !linux

package doctor

import (
	"errors"
	"fmt"
)

// Gather asks a Linux kernel.
func Gather(Settings, []string) (*Facts, error) {
	return nil, fmt.Errorf("weir doctor examines Linux machines: %w", errors.ErrUnsupported)
}

func readStats(string) (Stats, error) { return Stats{}, errors.ErrUnsupported }
