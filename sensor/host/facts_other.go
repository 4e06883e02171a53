//go:build !linux

package host

import (
	"context"
	"errors"
	"log/slog"
)

// ReadFacts is an error but on Linux.
func ReadFacts() (Facts, error) {
	return Facts{}, errors.New("the host's addresses, routes and sessions are read on Linux only")
}

// WatchFacts hands in no facts but on Linux, and says so.
func WatchFacts(ctx context.Context, log *slog.Logger, each func(Facts)) {
	log.Warn("the host's addresses, routes and sessions are read on Linux only")
	each(Facts{})
	<-ctx.Done()
}
