//go:build !libpcap

package capture

import (
	"errors"
	"fmt"

	"weir/decode/filter"
)

// OpenPcap captures with libpcap, in programs that are built with it.
func OpenPcap(LiveConfig, string, *filter.Filter, func(LiveEvent)) (*Live, error) {
	return nil, fmt.Errorf("capture: this weir is built without libpcap; build one that has it: make weir-pcap: %w", errors.ErrUnsupported)
}
