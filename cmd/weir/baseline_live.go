package main

import (
	"context"
	"path/filepath"

	"weir/sensor/host"
)

// learned takes the saved form of what the sensor has learned. On the judge's goroutine: a disk that is slow is left out once.
func (s *sensing) learned(form []byte) {
	select {
	case s.saves <- form:
	default:
	}
}

// keepBaseline writes what was learned until ctx ends.
func (s *sensing) keepBaseline(ctx context.Context) {
	for {
		select {
		case form := <-s.saves:
			if err := host.WriteFile(filepath.Join(s.state.Dir(), baselineFile), form); err != nil {
				s.seldom.Error("what was learned to be normal cannot be saved", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// saveBaseline writes what was learned, at the end.
func (s *sensing) saveBaseline() {
	if s.normal == nil || !s.watched {
		return
	}
	if err := writeBaseline(filepath.Join(s.state.Dir(), baselineFile), s.normal); err != nil {
		s.log.Error("what was learned to be normal cannot be saved: a restart knows what it was a minute ago at best", "error", err)
	}
}
