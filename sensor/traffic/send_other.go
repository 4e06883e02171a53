//go:build !linux

package traffic

import (
	"errors"
	"time"
)

// Sender sends frames on an interface, on Linux only.
type Sender struct{}

// NewSender fails.
func NewSender(string) (*Sender, error) { return nil, errors.New("frames can only be sent on Linux") }

// Close does nothing.
func (*Sender) Close() error { return nil }

// Send does nothing.
func (*Sender) Send(*Stream, int, time.Duration) (uint64, error) { return 0, nil }
