//go:build libpcap

package main

import (
	"errors"

	"weir/decode/filter"
	"weir/sensor/capture"
)

// openLive begins live capture through libpcap, which has one ring and one worker.
func openLive(cfg capture.LiveConfig, interfaces []string, _ int, f *filter.Filter, event func(capture.LiveEvent)) (*capture.Live, error) {
	if len(interfaces) != 1 {
		return nil, errors.New("capture through libpcap takes one interface")
	}
	return capture.OpenPcap(cfg, interfaces[0], f, event)
}
