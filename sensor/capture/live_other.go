//go:build !linux

package capture

import (
	"errors"
	"fmt"

	"weir/decode/filter"
)

// OpenLive captures with AF_PACKET, which only Linux has.
func OpenLive(LiveConfig, []string, int, *filter.Filter, func(LiveEvent)) (*Live, error) {
	return nil, fmt.Errorf("capture: live capture with AF_PACKET needs Linux: %w", errors.ErrUnsupported)
}
