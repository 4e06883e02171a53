package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"weir/sensor/alert"
)

// channel is a box with its journal and the goroutine that sends its messages, one after the other.
type channel struct {
	client   *http.Client
	options  *Options
	log      *slog.Logger
	clock    func() int64
	wake     chan struct{}
	running  context.Context // of run
	stop     context.CancelFunc
	requests context.Context // of what is being sent
	abort    context.CancelFunc
	ended    chan struct{}

	mu        sync.Mutex
	settings  Config
	cfg       Channel
	least     alert.Severity
	box       *box
	journal   *journal
	stats     ChannelStats
	failures  int    // of the first message, in a row
	refusals  int    // of them: the receiver's
	notBefore int64  // of its next attempt
	unsafe    bool   // the journal cannot be written
	lastWords string // of the last failure; "": the last attempt went well
}

// ChannelStats are a channel's counters, and what waits.
type ChannelStats struct {
	Name      string
	Events    uint64 // taken in
	Delivered uint64 // messages
	Failed    uint64 // attempts
	Refused   uint64 // messages that were set aside
	Waiting   int    // messages
	Pending   uint64 // events that are in no message yet
	Bytes     int    // of the messages that wait
	Disk      uint64 // writes of the journal that failed
}

// openChannel takes up the box of a channel where the last process left it. It sends nothing before run.
func openChannel(path string, cfg Channel, n *Notifier, settings *Config) (*channel, error) {
	c := &channel{
		client: newClient(), options: &n.options, log: n.log.With("channel", cfg.Name), clock: n.clock, wake: make(chan struct{}, 1),
		ended: make(chan struct{}),
	}
	c.running, c.stop = context.WithCancel(context.Background())
	c.requests, c.abort = context.WithCancel(context.Background())
	var err error
	var aside string
	if c.journal, c.box, aside, err = openJournal(path); err != nil {
		return nil, err
	}
	if aside != "" {
		c.log.Error("the queue of messages is damaged: what stands before the damage is used", "kept", aside)
	}
	if c.box == nil {
		c.box = &box{Seed: fmt.Sprintf("%08x", rand.Uint32())}
	}
	c.stats.Name = cfg.Name
	c.set(cfg, settings)
	c.box.begin(settings.Group, settings.QueueKiB<<10, c.clock(), true)
	if err := c.journal.rewrite(c.box); err != nil {
		return nil, err
	}
	return c, nil
}

// set gives the channel its settings, which were checked.
func (c *channel) set(cfg Channel, settings *Config) {
	c.cfg, c.settings = cfg, *settings
	c.least, _ = cfg.least()
}

// reconfigure changes the settings; what waits goes on with them.
func (c *channel) reconfigure(cfg Channel, settings *Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(cfg, settings)
	now, limit := c.clock(), settings.QueueKiB<<10
	c.box.begin(settings.Group, limit, now, false)
	c.record(&entry{Begin: &begun{Group: settings.Group, Limit: limit}, At: now})
	c.failures, c.refusals, c.notBefore = 0, 0, 0 // somebody may have mended something
	c.signal()
}

func (c *channel) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// take counts events in that concern the channel and came at a time, and events that were missed.
func (c *channel) take(events []*Event, missed uint64, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var lines []*entry
	for _, e := range events {
		if yes, first := c.cfg.concerns(e, c.least); yes {
			c.box.take(e, first, now)
			lines = append(lines, &entry{Event: &detail{e, first}, At: now})
		}
	}
	c.stats.Events += uint64(len(lines))
	if missed > 0 {
		c.box.miss(missed)
		lines = append(lines, &entry{Missed: missed, At: now})
	}
	if len(lines) > 0 {
		c.record(lines...)
		if c.settings.Sync == 0 {
			c.sync()
		}
		c.signal()
	}
}

// record writes calls of the box into the journal. The caller holds mu.
func (c *channel) record(lines ...*entry) {
	if c.unsafe { // settle writes it anew, these calls included
		return
	}
	c.keep(c.journal.append(lines...))
}

// keep tells when the journal cannot be written, and when it can again. The caller holds mu.
func (c *channel) keep(err error) {
	if err != nil {
		c.stats.Disk++
		if !c.unsafe {
			c.log.Error("the queue of messages is in memory only: its file cannot be written", "error", err)
		}
	} else if c.unsafe {
		c.log.Info("the queue of messages is on disk again")
	}
	c.unsafe = err != nil
}

// settle brings the journal to the disk; one that is long, or could not be written, is written anew.
func (c *channel) settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unsafe || c.journal.size > rewriteBytes {
		c.keep(c.journal.rewrite(c.box))
		return
	}
	c.sync()
}

// sync brings the journal to the disk. One that could not be written lacks calls, or what the kernel has of it is not known: only writing
// it anew helps, which is settle's. The caller holds mu.
func (c *channel) sync() {
	if !c.unsafe && c.journal.dirty {
		c.keep(c.journal.sync())
	}
}

// run sends until stop.
func (c *channel) run() {
	defer close(c.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for c.running.Err() == nil {
		m, wait := c.next()
		if m != nil {
			c.attempt(m)
			continue
		}
		timer.Reset(wait)
		select {
		case <-c.running.Done():
		case <-c.wake:
		case <-timer.C:
		}
	}
}

// next is the message to send now; or nil, and how long there is nothing to do unless something comes.
func (c *channel) next() (*Message, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.clock()
	for c.box.advance(now) {
		c.record(&entry{Advance: true, At: now})
	}
	until := c.box.due()
	if m := c.box.head(); m != nil {
		if now >= c.notBefore {
			c.sync() // a crash must not give another message this id
			return m, 0
		}
		until = min(until, c.notBefore)
	}
	return nil, time.Duration(min(until-now, int64(time.Hour)))
}

// attempt tries once to deliver a message.
func (c *channel) attempt(m *Message) {
	c.mu.Lock()
	cfg, settings := c.cfg, c.settings
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.requests, settings.Timeout)
	defer cancel()
	out := *m
	out.Site, out.Sensor = c.options.Site, c.options.Sensor
	r := cfg.post(ctx, c.client, &out, c.options.agent())
	if c.requests.Err() != nil && r.verdict == passing {
		return // the process ends
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case r.verdict == delivered:
		c.stats.Delivered++
		if c.lastWords != "" {
			c.log.Info("messages are delivered again")
		}
		c.finish(m, true)
	case r.verdict == refused && c.refusals+1 >= settings.Attempts:
		c.stats.Refused++
		c.stats.Failed++
		c.log.Error("a message was refused and is set aside; the next one tells so", "id", m.ID, "answer", r.text)
		body, err := encode(&out)
		if err := errors.Join(err, c.journal.setAside(body)); err != nil {
			c.log.Error("it cannot be kept", "id", m.ID, "error", err)
		}
		c.finish(m, false)
		c.lastWords = r.text
	default:
		c.stats.Failed++
		if r.verdict == refused {
			c.refusals++
		}
		if r.text != c.lastWords {
			c.log.Warn("a message could not be delivered; it is tried again", "id", m.ID, "why", r.text)
		}
		c.lastWords = r.text
		c.notBefore = c.clock() + int64(max(pause(c.failures, settings.RetryMax), r.after))
		c.failures++
	}
}

// finish takes the message off, and keeps that on disk before the next one is sent. The caller holds mu.
func (c *channel) finish(m *Message, ok bool) {
	now := c.clock()
	if err := c.box.done(m.ID, ok, now); err != nil {
		c.log.Error("the queue of messages is out of step", "error", err)
	}
	c.record(&entry{Done: &ended{m.ID, ok}, At: now})
	c.sync()
	c.failures, c.refusals, c.notBefore, c.lastWords = 0, 0, 0, ""
}

// pause is how long to wait after so many failures in a row: 1 s and twice as long each time up to a limit, of which a random half is taken off,
// so that many sensors do not come back at once.
func pause(failures int, most time.Duration) time.Duration {
	d := min(time.Second<<min(failures, 20), most)
	return d/2 + rand.N(d/2+1)
}

// close ends the channel; what waits stays in its file. The goroutine of run has ended.
func (c *channel) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop()
	c.abort()
	err := c.journal.rewrite(c.box)
	return errors.Join(err, c.journal.close())
}

// now are the channel's counters as they are.
func (c *channel) now() ChannelStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Waiting, s.Pending, s.Bytes = len(c.box.Outbox), c.box.Fresh.Events, c.box.waiting()
	return s
}
