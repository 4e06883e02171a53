//go:build !libpcap

package main

import "weir/sensor/capture"

// openLive begins live capture.
var openLive = capture.OpenLive
