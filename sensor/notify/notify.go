package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/sensor/alert"
)

// Options are what a Notifier is told of the process that it runs in.
type Options struct {
	Dir          string // for the queues: a folder of its own, made with mode 0700
	Site, Sensor string
	Version      string // in the header User-Agent
	Log          *slog.Logger
}

func (o *Options) agent() string { return "weir/" + cmp.Or(o.Version, "devel") }

// Notifier tells channels what happens. Alert and Drop may be called from any goroutine and never wait; the other methods are for one
// goroutine, but Stats.
type Notifier struct {
	options Options
	log     *slog.Logger
	begun   time.Time
	intake  chan news
	active  atomic.Bool // somebody is to be told
	missed  atomic.Uint64
	lost    atomic.Uint64 // all that were missed
	quit    chan struct{}
	ended   chan struct{}

	open  map[string]seen // alerts that are open, by id; of the goroutine of run
	drops map[string]What // drops that were told, by id; likewise

	mu       sync.Mutex // of what follows
	settle   time.Duration
	channels []*channel
}

// news is an alert or a drop.
type news struct {
	alert *alert.Alert
	drop  *Drop
}

// seen is what was taken in of an alert.
type seen struct {
	severity alert.Severity
	since    int64
}

// Bounds. An alert that waits is some 1 to 2 kB that the caller made.
const (
	maxIntake = 16 << 10
	maxBatch  = 256
	maxSeen   = 20_000          // open alerts, and drops, that are known
	graceTime = 3 * time.Second // in which the message that is being sent at the end may be answered
)

// Open begins to tell the channels of a configuration that was checked. Files of theirs that cannot be read are errors.
func Open(cfg Config, o Options) (*Notifier, error) {
	n := &Notifier{
		options: o, log: cmp.Or(o.Log, slog.Default()), begun: time.Now(), intake: make(chan news, maxIntake), quit: make(chan struct{}),
		ended: make(chan struct{}), open: map[string]seen{}, drops: map[string]What{},
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("notify: %w", err)
	}
	if err := n.Reconfigure(cfg); err != nil {
		return nil, err
	}
	go n.run()
	return n, nil
}

// clock is the time of the boxes: the host's when the process began, and from then on what has passed, however the host's is set.
func (n *Notifier) clock() int64 { return n.begun.UnixNano() + int64(time.Since(n.begun)) }

// Reconfigure goes on with other settings, which were checked. A channel with the name of one before is that one, and keeps what waits;
// what waits for a channel that is gone stays in its file. After an error all is as before.
func (n *Notifier) Reconfigure(cfg Config) error {
	for i := range cfg.Channels {
		if err := cfg.Channels[i].readable(); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	next, added, err := n.renewed(&cfg)
	if err != nil {
		return err
	}
	for _, c := range added {
		go c.run()
	}
	before := n.channels
	n.channels, n.settle = next, cmp.Or(cfg.Sync, time.Second)
	n.active.Store(len(next) > 0)
	for _, c := range before {
		if !slices.Contains(next, c) {
			err = errors.Join(err, n.end(c))
		}
	}
	return err
}

// readable tells whether the channel's files can be read.
func (c *Channel) readable() error {
	_, err := c.address()
	if err == nil {
		_, err = c.secret()
	}
	if err != nil {
		return fmt.Errorf("notify: channels: %s: %w", c.Name, err)
	}
	return nil
}

// renewed are the channels of a configuration, and those of them that are new. The caller holds mu.
func (n *Notifier) renewed(cfg *Config) (all, added []*channel, err error) {
	old := map[string]*channel{}
	for _, c := range n.channels {
		old[c.stats.Name] = c
	}
	for _, one := range cfg.Channels {
		c := old[one.Name]
		if c == nil {
			if c, err = openChannel(filepath.Join(n.options.Dir, one.Name+".queue"), one, n, cfg); err != nil {
				for _, a := range added {
					err = errors.Join(err, a.close())
				}
				return nil, nil, fmt.Errorf("notify: channel %s: %w", one.Name, err)
			}
			added = append(added, c)
		}
		all = append(all, c)
	}
	for _, one := range cfg.Channels {
		if c := old[one.Name]; c != nil {
			c.reconfigure(one, cfg)
		}
	}
	return all, added, nil
}

// Alert tells of a revision, which nobody may change any more.
func (n *Notifier) Alert(a *alert.Alert) { n.take(news{alert: a}) }

// Drop tells of a decision about a drop.
func (n *Notifier) Drop(d *Drop) { n.take(news{drop: d}) }

func (n *Notifier) take(one news) {
	if !n.active.Load() {
		return
	}
	select {
	case n.intake <- one:
	default:
		n.missed.Add(1)
		n.lost.Add(1)
	}
}

// run hands what came to the channels, until Close.
func (n *Notifier) run() {
	defer close(n.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case one := <-n.intake:
			n.hand(one)
		case <-timer.C:
			n.mu.Lock()
			for _, c := range n.channels {
				c.settle()
			}
			timer.Reset(n.settle)
			n.mu.Unlock()
		case <-n.quit:
			for len(n.intake) > 0 {
				n.hand(<-n.intake)
			}
			return
		}
	}
}

// hand gives the channels one piece of news, and what else has come.
func (n *Notifier) hand(one news) {
	var events []*Event
	now := n.clock()
	for {
		if e := n.event(one, now); e != nil {
			events = append(events, e)
		}
		if len(events) >= maxBatch || len(n.intake) == 0 {
			break
		}
		one = <-n.intake // nobody else takes from it
	}
	missed := n.missed.Swap(0)
	if len(events) == 0 && missed == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.channels {
		c.take(events, missed, now)
	}
}

// event is what a piece of news tells that came at a time; nil: nothing.
func (n *Notifier) event(one news, now int64) *Event {
	if d := one.drop; d != nil {
		return n.dropEvent(d)
	}
	a := one.alert
	known, ok := n.open[a.ID]
	switch {
	case a.State == alert.Closed:
		delete(n.open, a.ID)
		if !ok && len(n.open) < maxSeen || a.Muted != nil {
			return nil // nobody heard of it
		}
		return alertEvent(a, Ended, 0, known.since)
	case a.Muted != nil:
		delete(n.open, a.ID)
		return nil
	case ok && a.Severity <= known.severity:
		return nil
	}
	what := Opened
	if ok {
		what, now = Raised, known.since
	}
	if ok || len(n.open) < maxSeen {
		n.open[a.ID] = seen{a.Severity, now}
	}
	return alertEvent(a, what, known.severity, 0)
}

// dropEvent is nil for what was told already: a drop that goes on.
func (n *Notifier) dropEvent(d *Drop) *Event {
	switch d.What {
	case Banned, Pending:
		if n.drops[d.ID] == d.What {
			return nil
		}
		if len(n.drops) < maxSeen {
			n.drops[d.ID] = d.What
		}
	default:
		delete(n.drops, d.ID)
	}
	return dropEvent(d)
}

// Stats are the counters of the channels, in the configuration's order, and how many events were lost because they came too fast.
func (n *Notifier) Stats() (channels []ChannelStats, missed uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.channels {
		channels = append(channels, c.now())
	}
	return channels, n.lost.Load()
}

// Close ends the telling when what came is in the queues and the messages that are being sent are answered, or after graceTime. What is not
// sent stays on disk for the next start, and the log tells it.
func (n *Notifier) Close() (err error) {
	close(n.quit)
	<-n.ended
	n.active.Store(false)
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.channels {
		c.stop()
	}
	for _, c := range n.channels {
		err = errors.Join(err, n.end(c))
	}
	return err
}

// end waits for a channel's goroutine, and closes it.
func (n *Notifier) end(c *channel) error {
	c.stop()
	select {
	case <-c.ended:
	case <-time.After(graceTime):
		n.log.Warn("a message is being sent and has no answer yet; it is sent again after the next start", "channel", c.stats.Name)
		c.abort()
		<-c.ended
	}
	if s := c.now(); s.Waiting > 0 || s.Pending > 0 {
		n.log.Warn("not all could be told; the rest waits for the next start", "channel", s.Name, "messages", s.Waiting, "events", s.Pending)
	}
	return c.close()
}

// Try sends a test message to a channel and tells what came back.
func Try(ctx context.Context, c *Channel, timeout time.Duration, o Options) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	now := time.Now()
	m := &Message{
		Schema: Schema, ID: fmt.Sprintf("test-%x", now.UnixNano()), Time: alert.Time(now.UnixNano()), Type: testType, Site: o.Site, Sensor: o.Sensor,
		Summary: "This is a test of weir: nothing has happened.",
	}
	r := c.post(ctx, newClient(), m, o.agent())
	if r.verdict != delivered {
		return "", errors.New(r.text)
	}
	return r.text, nil
}
