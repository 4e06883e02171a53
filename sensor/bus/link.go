package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// link is the connection of a Bus or a Client, as those see it that read and write state and commands by it.
type link struct {
	site     string
	names    names
	boot     uint64
	replicas int
	where    string
	log      *slog.Logger
	ctx      context.Context // ends with the owner
	made     chan struct{}   // closed when there is a connection, which may be down
	nc       *nats.Conn      // then
	js       jetstream.JetStream
	counts   linkCounts
}

type linkCounts struct {
	reads, rereads, writes, writeErrors, bad atomic.Uint64
	served, refused, unheard, reportsUnheard atomic.Uint64
	logRefused, logRead                      sparse
}

func newLink(ctx context.Context, site string, n names, boot uint64, cfg *Config, where string, log *slog.Logger) *link {
	return &link{site: site, names: n, boot: boot, replicas: cfg.Replicas, where: where, log: log, ctx: ctx, made: make(chan struct{})}
}

func (c *linkCounts) stats() (StateStats, CommandStats) {
	state := StateStats{
		Reads: c.reads.Load(), Rereads: c.rereads.Load(), Writes: c.writes.Load(), WriteErrors: c.writeErrors.Load(), Bad: c.bad.Load(),
	}
	return state, CommandStats{
		Served: c.served.Load(), Refused: c.refused.Load(), Unheard: c.unheard.Load(), ReportsUnheard: c.reportsUnheard.Load(),
	}
}

// set tells the connection, once.
func (l *link) set(nc *nats.Conn, js jetstream.JetStream) {
	l.nc, l.js = nc, js
	close(l.made)
}

// exists waits until there is a connection, up or down.
func (l *link) exists(ctx context.Context) error {
	select {
	case <-l.ctx.Done():
		return ErrClosed
	default:
	}
	select {
	case <-l.made:
		return nil
	case <-l.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		return l.away(ctx.Err())
	}
}

// up waits until the connection is.
func (l *link) up(ctx context.Context) error {
	if err := l.exists(ctx); err != nil {
		return err
	}
	if l.nc.IsConnected() {
		return nil
	}
	status := l.nc.StatusChanged(nats.CONNECTED)
	defer l.nc.RemoveStatusListener(status)
	for !l.nc.IsConnected() { // again, as it may have changed before the line above
		select {
		case <-status:
		case <-l.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return l.away(ctx.Err())
		}
	}
	return nil
}

// errAway: there is no connection.
var errAway = errors.New("not connected")

// away is the error of who waited for the connection in vain.
func (l *link) away(err error) error {
	last := error(nil)
	select {
	case <-l.made:
		last = l.nc.LastError()
	default:
	}
	if last != nil {
		return fmt.Errorf("nats: %w to %s (%w): %w", errAway, l.where, explain(last), err)
	}
	return fmt.Errorf("nats: %w to %s: %w", errAway, l.where, err)
}

// bound returns a context that ends also with the link.
func (l *link) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
