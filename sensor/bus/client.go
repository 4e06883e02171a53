package bus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Client is a connection of the command line to a site: to its state, its commands and its events of drops. Its methods may
// be called from any goroutine.
type Client struct {
	*link
	keys     *Keys
	cancel   context.CancelFunc
	sequence atomic.Uint64
}

// Dial connects to the servers of cfg, or without any to the server inside the process whose state folder dir is. Name is who
// this is: it stands in the place of the sensor. It fails if there is no server; a connection that is lost later is made
// again.
func Dial(ctx context.Context, cfg Config, site, dir, name string, k *Keys) (*Client, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	nc, where, err := cfg.dial(ctx, own, dir, "weir "+name)
	if err != nil {
		cancel()
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		cancel()
		return nil, fmt.Errorf("nats: %w", err)
	}
	var boot [8]byte
	_, _ = rand.Read(boot[:]) // never fails
	c := &Client{keys: k, cancel: cancel}
	c.link = newLink(own, site, namesOf(Identity{site, name}), binary.LittleEndian.Uint64(boot[:]), &cfg, where, slog.New(slog.DiscardHandler))
	c.set(nc, js)
	return c, nil
}

// dial connects for as long as own lasts. It gives up when ctx ends.
func (c *Config) dial(ctx, own context.Context, dir, name string) (nc *nats.Conn, where string, err error) {
	cfg := *c
	if cfg.embedded() {
		cfg.Join = dir
	}
	url, where, err := cfg.address()
	if err != nil {
		return nil, "", err
	}
	attempt, stop := context.WithCancel(own)
	defer context.AfterFunc(ctx, stop)()
	opts, err := cfg.options(attempt, name)
	if err != nil {
		stop()
		return nil, "", err
	}
	opts = append(opts, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // else they are printed
	nc, err = nats.Connect(url, opts...)
	if err != nil {
		stop()
		return nil, "", fmt.Errorf("nats: no server at %s: %w%s", where, explain(err), cfg.hint())
	}
	return nc, where, nil
}

// State returns the bucket of the site, as Bus.State does.
func (c *Client) State() *State { return newState(c.link, c.keys) }

// Ask sends a signed command and returns the answers, part by part. It ends when all who began to answer are done and,
// unless they are a group, nothing came for 300 ms; or after wait. The error says that nobody answers or that there is no
// connection; what one of several has to say against the command is in its Reply.
func (c *Client) Ask(ctx context.Context, command string, body []byte, wait time.Duration) ([]Reply, error) {
	return c.ask(ctx, c.keys, command, body, wait)
}

// Drops calls each with the events of drops of the site, of all its sensors, as Follow does with alerts.
func (c *Client) Drops(ctx context.Context, since time.Time, follow bool, each func(subject string, payload []byte) error) error {
	ctx, end := c.bound(ctx)
	defer end()
	f := &follower{js: c.js, stream: names{c.names.site, "*"}.stream("DROPS"), opt: FollowOptions{Since: since, Follow: follow}, each: each}
	return f.report(f.run(ctx), c.where, c.site)
}

// Drop publishes an event of a drop, and returns when the server has it.
func (c *Client) Drop(event, msgID string, payload []byte) error {
	ctx, cancel := context.WithTimeout(c.ctx, stateTimeout)
	defer cancel()
	if err := c.up(ctx); err != nil {
		return err
	}
	m := &nats.Msg{Subject: c.names.drop(event), Data: payload, Header: nats.Header{
		BootHeader: {fmt.Sprintf("%016x", c.boot)}, SequenceHeader: {strconv.FormatUint(c.sequence.Add(1), 10)},
	}}
	_, err := c.js.PublishMsg(ctx, m, jetstream.WithMsgID(msgID))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("nats: %s has no stream for %s: no sensor of site %q was connected to it yet", c.where, m.Subject, c.site)
	}
	if err != nil {
		return fmt.Errorf("nats: event %s: %w", event, err)
	}
	return nil
}

// Close ends the connection, and what waits for it.
func (c *Client) Close() {
	c.cancel()
	c.nc.Close()
}
