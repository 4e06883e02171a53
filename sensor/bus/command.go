package bus

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrReplayed is that of a command that was seen before, or signed too long ago.
var ErrReplayed = errors.New("it is a replay, or signed too long ago")

const (
	commandAge      = 30 * time.Second // how old a command may be, or how far in the future by the clock here
	startSlack      = time.Second      // so much earlier a command may be signed than serving began: it was on its way, or clocks differ
	maxNonces       = 4096             // commands of twice that time; more are refused
	commandQueue    = 64
	maxReply        = 512 << 10
	replyQueue      = 1024
	replyQuiet      = 300 * time.Millisecond // no more answer, who has not begun
	unheardPatience = time.Second            // of Ask, while nobody serves the command
)

// Headers of answers to a command.
const (
	fromHeader  = "Weir-From"  // token of the sensor; BootHeader tells processes of one sensor apart
	partHeader  = "Weir-Part"  // begin, a number from 1, error, end
	countHeader = "Weir-Count" // with end: how many parts there were
	groupHeader = "Weir-Group" // nobody else answers
)

// request is what is signed of a command.
type request struct {
	Time  int64  `json:"time"` // unix µs
	Nonce string `json:"nonce"`
	Body  string `json:"body"`
}

// commandKey is what a command is signed for in the place of a key of the bucket.
func commandKey(command string) string { return "cmd." + command }

// signCommand returns a command's message.
func signCommand(k *Keys, site, command string, body []byte, now time.Time) ([]byte, error) {
	if len(body) > maxBody {
		return nil, fmt.Errorf("nats: command %s: %d bytes are more than can be signed (%d)", command, len(body), maxBody)
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	inner, err := json.Marshal(request{now.UnixMicro(), hex.EncodeToString(nonce[:]), string(body)})
	if err != nil {
		return nil, fmt.Errorf("nats: command %s: %w", command, err)
	}
	return Sign(k, site, commandKey(command), inner)
}

// judge checks commands.
type judge struct {
	keys          *Keys
	site, command string
	since         time.Time // a command of before may have been seen by the process before this
	nonces        map[string]known
}

// known is what was noted of a command.
type known struct {
	at    time.Time
	done  bool // by us
	heard int  // how often it was sent to the group
}

// check returns the body of a command and who signed it. One that is not ours to answer, but was sent to the group that we are
// of, is noted only, and so that nobody of the group does it twice.
func (j *judge) check(value []byte, now time.Time, ours bool) (body []byte, signer, name string, err error) {
	inner, signer, err := Verify(j.keys, j.site, commandKey(j.command), value)
	if err != nil {
		return nil, signer, "", err
	}
	name, _ = j.keys.Trusted(signer)
	var r request
	if err := json.Unmarshal(inner, &r); err != nil || r.Nonce == "" {
		return nil, signer, name, fmt.Errorf("%w: not a command", ErrUnsigned)
	}
	switch at := time.UnixMicro(r.Time); {
	case at.Before(now.Add(-commandAge)), at.After(now.Add(commandAge)):
		return nil, signer, name, fmt.Errorf("%w: by the clock here it is %s old: are both clocks right?", ErrReplayed, now.Sub(at).Round(time.Second))
	case at.Before(j.since):
		return nil, signer, name, fmt.Errorf("%w: it was signed before the start of who should do it", ErrReplayed)
	}
	n, seen := j.nonces[r.Nonce]
	if !seen && len(j.nonces) >= maxNonces && !j.forget(now) {
		return nil, signer, name, fmt.Errorf("%w: %d commands within a minute are too many to tell", ErrReplayed, maxNonces)
	}
	replayed := ours && (n.done || n.heard > 1)
	if n.at = now; ours {
		n.done = true
	} else {
		n.heard++
	}
	j.nonces[r.Nonce] = n
	if replayed {
		return nil, signer, name, ErrReplayed
	}
	return []byte(r.Body), signer, name, nil
}

// forget makes room for nonces.
func (j *judge) forget(now time.Time) bool {
	for nonce, n := range j.nonces {
		if now.Sub(n.at) > 2*commandAge {
			delete(j.nonces, nonce)
		}
	}
	return len(j.nonces) < maxNonces
}

// Serve answers a command of the site until ctx ends or the bus is closed; it blocks, and calls f from this goroutine, one
// command after the other. What f returns are the parts of the answer, at most 512 KiB each; none is an answer, too. Of a
// group only one server answers each command; without, all do. Commands that are not signed by a trusted key, older than
// 30 s or repeated are answered with an error, logged and counted.
func (b *Bus) Serve(ctx context.Context, k *Keys, command, group string, f func(signer, name string, body []byte) [][]byte) {
	b.link.serve(ctx, k, command, group, f)
}

func (l *link) serve(ctx context.Context, k *Keys, command, group string, f func(signer, name string, body []byte) [][]byte) {
	ctx, end := l.bound(ctx)
	defer end()
	if l.exists(ctx) != nil {
		return
	}
	requests := make(chan *nats.Msg, commandQueue)
	subject := l.names.command(command)
	sub, err := l.nc.ChanQueueSubscribe(subject, group, requests) // without a group as ChanSubscribe
	if err != nil {
		l.log.Error("NATS: a command cannot be served", "command", command, "err", err)
		return
	}
	defer l.unsubscribe(sub, &l.counts.unheard)
	if group != "" { // what others of the group do; the server hands this out first
		others, err := l.nc.ChanSubscribe(subject, requests)
		if err != nil {
			l.log.Error("NATS: a command cannot be served", "command", command, "err", err)
			return
		}
		defer l.unsubscribe(others, &l.counts.unheard)
	}
	j := &judge{keys: k, site: l.site, command: command, since: time.Now().Add(-startSlack), nonces: map[string]known{}}
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-requests:
			a := &answer{link: l, to: m.Reply, command: command, group: group != ""}
			ours := m.Sub == sub
			body, signer, name, err := j.check(m.Data, time.Now(), ours)
			if !ours {
				continue
			}
			if err != nil {
				l.counts.refused.Add(1)
				l.counts.logRefused.log(l.log, slog.LevelWarn, "a command was refused", "command", command, "signer", signer, "name", name, "err", err)
				a.fail(fmt.Sprintf("refused: %v", err))
				continue
			}
			a.part("begin", nil)
			parts := f(signer, name, body)
			l.counts.served.Add(1)
			a.end(parts)
		}
	}
}

// unsubscribe ends a subscription and counts what did not fit its queue.
func (l *link) unsubscribe(sub *nats.Subscription, unheard interface{ Add(uint64) uint64 }) {
	if n, err := sub.Dropped(); err == nil && n > 0 {
		unheard.Add(uint64(n))
	}
	_ = sub.Unsubscribe() // without a connection there is nothing to end
}

// answer is on its way to who asked.
type answer struct {
	*link
	to      string
	command string
	group   bool
}

func (a *answer) part(what string, body []byte, more ...string) {
	if a.to == "" {
		return
	}
	h := nats.Header{fromHeader: {a.names.sensor}, BootHeader: {fmt.Sprintf("%016x", a.boot)}, partHeader: {what}}
	if a.group {
		h[groupHeader] = []string{"1"}
	}
	if len(more) == 2 {
		h[more[0]] = []string{more[1]}
	}
	if err := a.nc.PublishMsg(&nats.Msg{Subject: a.to, Header: h, Data: body}); err != nil {
		a.counts.logRefused.log(a.log, slog.LevelWarn, "a command was not answered", "command", a.command, "err", err)
	}
}

func (a *answer) fail(why string) {
	body, _ := json.Marshal(map[string]string{"error": why}) // never fails
	a.part("error", body)
}

func (a *answer) end(parts [][]byte) {
	for _, p := range parts {
		if len(p) > maxReply {
			a.fail(fmt.Sprintf("a part of the answer has %d bytes, more than %d", len(p), maxReply))
			return
		}
	}
	for i, p := range parts {
		a.part(strconv.Itoa(i+1), p)
	}
	a.part("end", nil, countHeader, strconv.Itoa(len(parts)))
}

// Reply is a part of an answer.
type Reply struct {
	From string // the sensor
	Body []byte
	Err  string // in the place of Body: why it does not answer, or that its answer was cut short
}

// ask sends a command and collects the answers. It ends when all who began to answer are done and, unless they said that
// nobody else would, nothing came for 300 ms; or after wait, and answers that are not complete are then marked.
func (l *link) ask(ctx context.Context, k *Keys, command string, body []byte, wait time.Duration) ([]Reply, error) {
	asked, end := l.bound(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(asked, wait)
	defer cancel()
	if err := l.up(ctx); err != nil {
		return nil, err
	}
	for patience := time.Now().Add(unheardPatience); ; {
		c, err := l.askOnce(ctx, k, command, body)
		if err != nil {
			return nil, err
		}
		switch {
		case l.ctx.Err() != nil:
			return nil, ErrClosed
		case asked.Err() != nil:
			return nil, fmt.Errorf("nats: command %s: %w", command, asked.Err())
		case len(c.order) > 0:
			return c.replies(ctx.Err() != nil, wait), nil
		}
		if ctx.Err() == nil && time.Now().Before(patience) { // it may be about to start
			select {
			case <-ctx.Done():
			case <-time.After(unheardPatience / 10):
			}
			continue
		}
		if !l.nc.IsConnected() {
			return nil, l.away(fmt.Errorf("command %s has no answer", command))
		}
		return nil, fmt.Errorf("nats: nobody answers the command %s of site %q at %s: is a sensor or gate of this site running?", command, l.site, l.where)
	}
}

// collector gathers what comes back.
type collector struct {
	order []string // who answers
	from  map[string]*source
	group bool
}

// source is one who answers.
type source struct {
	name  string
	parts []Reply
	got   int
	count int // -1: not known yet
	done  bool
}

func (l *link) askOnce(ctx context.Context, k *Keys, command string, body []byte) (*collector, error) {
	value, err := signCommand(k, l.site, command, body, time.Now())
	if err != nil {
		return nil, err
	}
	c := &collector{from: map[string]*source{}}
	replies := make(chan *nats.Msg, replyQueue)
	inbox := l.nc.NewRespInbox()
	sub, err := l.nc.ChanSubscribe(inbox, replies)
	if err != nil {
		return nil, fmt.Errorf("nats: command %s: %w", command, err)
	}
	defer l.unsubscribe(sub, &l.counts.unheard)
	if err := l.nc.PublishRequest(l.names.command(command), inbox, value); err != nil {
		return nil, l.away(fmt.Errorf("command %s was not sent: %w", command, err))
	}
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	for {
		select {
		case m := <-replies:
			if len(m.Data) == 0 && m.Header.Get("Status") == "503" { // no responders
				return c, nil
			}
			c.take(m)
			quiet.Reset(replyQuiet)
			if c.group && c.complete() {
				return c, nil
			}
		case <-quiet.C:
			if c.complete() {
				return c, nil
			}
		case <-ctx.Done():
			return c, nil
		}
	}
}

func (c *collector) take(m *nats.Msg) {
	id := m.Header.Get(fromHeader) + " " + m.Header.Get(BootHeader)
	s := c.from[id]
	if s == nil {
		name, err := ParseToken(m.Header.Get(fromHeader))
		if err != nil {
			return // not an answer
		}
		s = &source{name: name, count: -1}
		c.from[id] = s
		c.order = append(c.order, id)
	}
	c.group = c.group || m.Header.Get(groupHeader) != ""
	switch what := m.Header.Get(partHeader); what {
	case "begin":
	case "error":
		var why struct{ Error string }
		if json.Unmarshal(m.Data, &why) != nil || why.Error == "" {
			why.Error = "an error without a reason"
		}
		s.parts = append(s.parts, Reply{From: s.name, Err: why.Error})
		s.done = true
	case "end":
		n, err := strconv.Atoi(m.Header.Get(countHeader))
		s.done = true
		if s.count = n; err != nil {
			s.count = -1
		}
	default:
		s.got++
		s.parts = append(s.parts, Reply{From: s.name, Body: m.Data})
	}
}

func (c *collector) complete() bool {
	for _, s := range c.from {
		if !s.done {
			return false
		}
	}
	return len(c.from) > 0
}

// replies returns what came, in the order of who began.
func (c *collector) replies(late bool, wait time.Duration) []Reply {
	var all []Reply
	for _, id := range c.order {
		s := c.from[id]
		all = append(all, s.parts...)
		switch {
		case !s.done && late:
			all = append(all, Reply{From: s.name, Err: fmt.Sprintf("its answer was not complete within %v", wait)})
		case s.done && s.count >= 0 && s.got != s.count:
			all = append(all, Reply{From: s.name, Err: fmt.Sprintf("%d of %d parts of its answer are missing", s.count-s.got, s.count)})
		}
	}
	return all
}
