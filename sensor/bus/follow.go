package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// FollowOptions say which alerts Follow reads.
type FollowOptions struct {
	Since      time.Time // when they were published; zero: only new ones
	Analyzer   string    // "": all
	Severities []string  // none: all
	Follow     bool      // wait for more; false: end where the stream ends now
}

// Follow calls each with the alerts of a site, of all its sensors, in the order of the stream, until each returns an error, ctx
// ends (nil is returned) or, without FollowOptions.Follow, the stream does. It goes on where it was when the connection or
// the server was lost meanwhile. Without cfg.Servers it reads the server inside the process whose state folder dir is.
func Follow(ctx context.Context, cfg Config, site, dir string, opt FollowOptions, each func(subject string, payload []byte) error) error {
	connections, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	nc, where, err := cfg.dial(ctx, connections, dir, "weir alerts")
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { stop(); nc.Close() })() // ends also what waits for an answer
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	n := names{Token(site), "*"}
	f := &follower{js: js, stream: n.stream("ALERTS"), opt: opt, each: each}
	if opt.Analyzer != "" || len(opt.Severities) > 0 {
		f.filters = n.alertFilters(&opt)
	}
	return f.report(f.run(ctx), where, site)
}

// report says what a missing stream means.
func (f *follower) report(err error, where, site string) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("nats: %s has no stream %s: no sensor of site %q was connected to it yet", where, f.stream, site)
	}
	return err
}

// address is where to find the server, and its name for messages. That of another process is found by a joiner: what is left
// is the name that its certificate must have.
func (c *Config) address() (address, where string, err error) {
	if c.Join == "" {
		return strings.Join(c.Servers, ","), c.where(), nil
	}
	u, err := joiner{dir: c.Join}.find()
	if err != nil {
		return "", "", fmt.Errorf("nats: %w", err)
	}
	u.User = nil
	return u.String(), u.String(), nil
}

// first is where a bus begins to connect, which may be before there is a server.
func (c *Config) first() string {
	address, _, err := c.address()
	if err == nil {
		return address
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err != nil || ip != nil && ip.IsUnspecified() {
		host, port = "localhost", "4222"
	}
	return "nats://" + net.JoinHostPort(host, port)
}

// where names the servers.
func (c *Config) where() string {
	switch {
	case c.embedded():
		return "the server inside"
	case c.Join != "":
		return "the server of " + c.Join
	}
	all := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		all[i] = redact(s)
	}
	return strings.Join(all, ", ")
}

// hint says what to do when there is no server.
func (c *Config) hint() string {
	if c.Join != "" {
		return ": is a sensor running with the state folder " + c.Join + "?"
	}
	return ": see nats.servers"
}

// alertFilters are the subjects of the alerts that are asked for.
func (n names) alertFilters(opt *FollowOptions) []string {
	analyzer, severities := "*", []string{"*"}
	if opt.Analyzer != "" {
		analyzer = Token(opt.Analyzer)
	}
	if len(opt.Severities) > 0 {
		severities = nil
		for _, s := range opt.Severities {
			severities = append(severities, Token(s))
		}
	}
	var all []string
	for _, s := range severities {
		all = append(all, n.subject("alert."+analyzer+"."+s))
	}
	return all
}

// follower reads a stream from message to message.
type follower struct {
	js      jetstream.JetStream
	stream  string
	filters []string
	opt     FollowOptions
	each    func(string, []byte) error
	next    uint64 // sequence in the stream; 0: by Since
	end     uint64 // last sequence, without Follow
}

func (f *follower) run(ctx context.Context) error {
	if err := f.begin(ctx); err != nil || !f.opt.Follow && f.end == 0 {
		return ended(ctx, err)
	}
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		from := f.next
		more, err := f.read(ctx)
		var own *callError
		if errors.As(err, &own) {
			return own.error
		}
		if ctx.Err() != nil || !more || errors.Is(err, jetstream.ErrStreamNotFound) {
			return ended(ctx, err)
		}
		if f.next > from {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// ended is the error of a reader that was interrupted: none.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// begin finds out where to begin and where to end.
func (f *follower) begin(ctx context.Context) error {
	s, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return fmt.Errorf("nats: stream %s: %w", f.stream, err)
	}
	last := s.CachedInfo().State.LastSeq
	if f.opt.Since.IsZero() {
		f.next = last + 1 // by number, so that what comes while the connection is lost is not missed
	}
	if f.opt.Follow || f.opt.Since.IsZero() || s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	f.end = last
	return nil
}

// callError is an error of each.
type callError struct{ error }

// read hands out messages until something fails; more is false at the end of the stream.
func (f *follower) read(ctx context.Context) (more bool, err error) {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: f.filters, MaxResetAttempts: 1}
	if f.next > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, f.next
	} else {
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &f.opt.Since
	}
	consumer, err := f.js.OrderedConsumer(ctx, f.stream, cfg)
	if err != nil {
		return true, err
	}
	info, err := consumer.Info(ctx)
	if err != nil {
		return true, err
	}
	if !f.opt.Follow && info.NumPending == 0 {
		return false, nil
	}
	messages, err := consumer.Messages()
	if err != nil {
		return true, err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return true, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return true, err
		}
		if f.end > 0 && meta.Sequence.Stream > f.end {
			return false, nil
		}
		f.next = meta.Sequence.Stream + 1
		if err := f.each(m.Subject(), m.Data()); err != nil {
			return true, &callError{err}
		}
		if f.end > 0 && (meta.NumPending == 0 || meta.Sequence.Stream == f.end) {
			return false, nil
		}
	}
}
