package bus

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	ackTimeout   = 3 * time.Second // then a message is published again, with the same id
	lookTimeout  = 5 * time.Second
	lookAgain    = time.Minute // streams as they should be
	lookSoon     = time.Second // streams that are missing, at first
	lookSeldomer = 30 * time.Second
)

// options are those of the bus's connection.
func (b *Bus) options() ([]nats.Option, error) {
	opts, err := b.cfg.options(b.ctx, "weir sensor")
	if err != nil {
		return nil, err
	}
	return append(opts, nats.RetryOnFailedConnect(true),
		nats.ConnectHandler(func(nc *nats.Conn) { b.up(nc, false) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { b.up(nc, true) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.down(err, "the connection to NATS was lost; the outbox keeps what comes")
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			b.down(err, "there is no connection to NATS; the outbox keeps what comes")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if b.ctx.Err() == nil {
				b.logAsync.log(b.log, slog.LevelWarn, "NATS reports an error", "err", explain(err))
			}
		}),
	), nil
}

// up notes that there is a connection.
func (b *Bus) up(nc *nats.Conn, again bool) {
	if again {
		b.reconnects.Add(1)
	}
	b.connected.Store(true)
	if server := redact(nc.ConnectedUrl()); b.server == nil {
		if b.cfg.Join != "" {
			server = b.link.where
		}
		b.logUp.log(b.log, slog.LevelInfo, "connected to NATS", "server", server)
	}
	signal(b.look)
}

// down notes that there is none.
func (b *Bus) down(err error, message string) {
	if b.ctx.Err() != nil {
		return
	}
	if err == nil { // the server ended it in order
		err = errors.New("the server closed the connection")
	}
	err = explain(err)
	b.connected.Store(false)
	b.open.Store(false)
	b.state.Lock()
	b.lastErr = err
	b.state.Unlock()
	b.logLink.log(b.log, slog.LevelWarn, message, "server", b.link.where, "err", err)
	signal(b.wake)
}

// keep connects, and looks after the streams at each connection, when one seems to be missing, and from time to time.
func (b *Bus) keep(opts []nats.Option) {
	nc := b.connect(opts)
	if nc == nil {
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(ackTimeout),
		jetstream.WithPublishAsyncMaxPending(2*allWindows),
		jetstream.WithPublishAsyncAckHandler(func(_ jetstream.JetStream, m *nats.Msg, ack *jetstream.PubAck) {
			b.results <- result{message: m, duplicate: ack.Duplicate}
		}),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) { b.results <- result{message: m, err: err} }))
	if err != nil {
		b.log.Error("NATS: no JetStream", "err", err)
		return
	}
	b.nc, b.js = nc, js
	b.link.set(nc, js)
	if nc.IsConnected() {
		b.connected.Store(true)
	}
	want := b.cfg.streams(b.names)
	wait := lookSoon
	for again := time.NewTimer(0); ; again.Reset(wait) {
		select {
		case <-b.ctx.Done():
			return
		case <-b.look:
		case <-again.C:
		}
		if !b.connected.Load() {
			wait = lookAgain
			continue
		}
		switch {
		case b.lookAfter(want):
			wait = lookAgain
		case wait == lookAgain:
			wait = lookSoon
		default:
			wait = min(2*wait, lookSeldomer)
		}
	}
}

// connect returns the connection, which may not be up yet, or nil if the bus was closed.
func (b *Bus) connect(opts []nats.Option) *nats.Conn {
	for {
		nc, err := nats.Connect(b.cfg.first(), opts...)
		if err == nil {
			return nc
		}
		b.down(err, "NATS cannot be connected to with these settings")
		select {
		case <-b.ctx.Done():
			return nil
		case <-time.After(lastRetry):
		}
	}
}

// lookAfter creates the streams that are missing and notes how the others are. It reports whether all are there.
func (b *Bus) lookAfter(want []jetstream.StreamConfig) bool {
	if b.server != nil && (b.stuck.Swap(false) || !b.server.JetStreamEnabled()) {
		b.server.mend()
	}
	ctx, cancel := context.WithTimeout(b.ctx, lookTimeout)
	defer cancel()
	differ, err := ensureStreams(ctx, b.js, want)
	if b.ctx.Err() != nil {
		return true
	}
	b.state.Lock()
	news := !slices.Equal(differ, b.differ)
	failed := err != nil && (b.streamErr == nil || b.streamErr.Error() != err.Error())
	b.streamErr, b.differ = err, differ
	b.state.Unlock()
	if news {
		for _, line := range differ {
			b.log.Warn("NATS: " + line)
		}
	}
	if failed {
		b.log.Error("NATS: a stream cannot be had; the outbox keeps what comes", "err", err)
	}
	if b.connected.Load() && !b.open.Swap(true) {
		select {
		case <-b.tried:
		default:
			close(b.tried)
		}
	}
	signal(b.wake)
	return err == nil
}
