package main

import (
	"weir/sensor/alert"
	"weir/sensor/bus"
)

// notices are the messages to people. Nil ones tell nobody.
type notices struct{}

// openNotices opens the queue of messages in the state folder.
func (s *sensing) openNotices(bus.Identity) error { return nil }

// alert takes in a revision. On the judge's goroutine: it never waits.
func (n *notices) alert(*alert.Alert) {}

// close keeps what is not sent yet.
func (n *notices) close() error { return nil }
