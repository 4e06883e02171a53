package main

import (
	"weir/sensor/alert"
	"weir/sensor/bus"
)

// page is the live page and its API. A nil one serves nothing.
type page struct{}

// openPage begins to serve the page.
func (s *sensing) openPage(bus.Identity) error { return nil }

// alert shows a revision, given its line of JSON. On the judge's goroutine: it never waits.
func (p *page) alert(*alert.Alert, []byte) {}

// close ends the page's connections.
func (p *page) close() error { return nil }
