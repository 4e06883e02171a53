package bus

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// windows are how many messages of a kind are on their way at once: what a server 10 ms away acknowledges 25 000 alerts or
// 100 000 flows a second with.
var windows = [laneCount]int{Alert: 256, Flow: 1024, Drop: 256}

const allWindows = 256 + 1024 + 256

const (
	windowBytes = 8 << 20
	cursorEvery = 200 * time.Millisecond
	spillBatch  = 512
)

// codeTooLarge is JSStreamMessageExceedsMaximumErr of nats-server: larger than the stream's max_msg_size.
const codeTooLarge = 10054

// flight is a message that was handed out by the outbox or a buffer.
type flight struct {
	record
	kind  Kind
	order uint64 // of handing out
	tries int    // that failed
	after time.Time
}

// result is what became of a publication.
type result struct {
	message   *nats.Msg
	duplicate bool
	err       error
}

// lane is a kind's way to the server. Alerts, flows and drops each have theirs, so that a stream that fails stops only its own.
type lane struct {
	kind    Kind
	order   uint64
	read    uint64    // highest number that the outbox handed out
	flights []*flight // in order; none is acknowledged or given up
	again   []*flight // of those, what is to be published again, in order
	air     int       // published, not answered
	bytes   int       // of flights
	backoff time.Duration
	until   time.Time // no publishing before
}

// publisher moves messages from the outbox and from memory to the server. It is one goroutine.
type publisher struct {
	*Bus
	lanes [laneCount]lane
	air   map[*nats.Msg]*flight
	saved time.Time // when the cursor was written
}

// publish runs until the bus is closed.
func (b *Bus) publish() {
	p := &publisher{Bus: b, air: map[*nats.Msg]*flight{}}
	for k := range p.lanes {
		p.lanes[k].kind = Kind(k)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-b.stop:
			p.end()
			return
		case <-b.wake:
		case r := <-b.results:
			p.settle(r)
			for more := true; more; {
				select {
				case r := <-b.results:
					p.settle(r)
				default:
					more = false
				}
			}
		case <-timer.C:
		}
		now := time.Now()
		for k := range p.lanes {
			p.fill(&p.lanes[k], now)
		}
		p.sendBrief()
		more := p.spill(now)
		timer.Reset(p.saveCursor(now))
		if more {
			signal(b.wake)
		}
	}
}

// saveCursor writes the cursor if it is time, and returns when the publisher has to look again.
func (p *publisher) saveCursor(now time.Time) time.Duration {
	if now.Sub(p.saved) >= cursorEvery {
		p.saved = now
		if err := p.outbox.saveCursor(); err != nil {
			p.diskErrors.Add(1)
			p.logDisk.log(p.log, slog.LevelError, "the outbox's cursor cannot be written: after a crash messages may be sent again", "err", err)
		}
	}
	next := time.Minute
	for k := range p.lanes {
		l := &p.lanes[k]
		if l.until.After(now) {
			next = min(next, l.until.Sub(now))
		}
		for _, f := range l.again {
			next = min(next, max(f.after.Sub(now), time.Millisecond))
		}
		if l.air > 0 || l.order > 0 && p.outbox.unsaved() {
			next = min(next, cursorEvery)
		}
	}
	return next
}

// fill publishes what a lane's window has room for.
func (p *publisher) fill(l *lane, now time.Time) {
	for p.open.Load() && !now.Before(l.until) && l.air < windows[l.kind] {
		f := p.take(l, now)
		if f == nil {
			return
		}
		p.send(l, f)
	}
}

// take returns the next message to publish, or nil.
func (p *publisher) take(l *lane, now time.Time) *flight {
	if i := slices.IndexFunc(l.again, func(f *flight) bool { return !now.Before(f.after) }); i >= 0 {
		f := l.again[i]
		l.again = slices.Delete(l.again, i, i+1)
		return f
	}
	if len(l.flights) >= 4*windows[l.kind] || l.bytes >= windowBytes { // one that fails must not let others pile up
		return nil
	}
	p.flying[l.kind].Add(1)
	r, ok := p.outbox.next(l.kind)
	if !ok {
		r, ok = p.waiting[l.kind].pop()
	}
	if !ok {
		p.flying[l.kind].Add(-1)
		return nil
	}
	l.order++
	l.read = max(l.read, r.number)
	f := &flight{record: r, kind: l.kind, order: l.order}
	l.flights = append(l.flights, f)
	l.bytes += f.size()
	return f
}

// send publishes a message.
func (p *publisher) send(l *lane, f *flight) {
	m := p.message(f.kind, &f.record)
	p.air[m] = f
	l.air++
	if _, err := p.js.PublishMsgAsync(m); err != nil {
		p.settle(result{message: m, err: err})
	}
}

// message is a record as it is published.
func (p *publisher) message(k Kind, r *record) *nats.Msg {
	boot := fmt.Sprintf("%016x", r.boot)
	sequence := strconv.FormatUint(r.sequence, 10)
	m := &nats.Msg{Subject: r.subject, Data: r.payload, Header: nats.Header{BootHeader: {boot}, SequenceHeader: {sequence}}}
	switch {
	case r.id != "":
		m.Header[jetstream.MsgIDHeader] = []string{r.id}
	case k == Flow:
		m.Header[jetstream.MsgIDHeader] = []string{boot + "-" + sequence}
	}
	if m.Subject == "" {
		m.Subject = p.names.subject(k.String())
	}
	return m
}

// settle notes what became of a publication.
func (p *publisher) settle(r result) {
	f := p.air[r.message]
	if f == nil {
		return
	}
	delete(p.air, r.message)
	l, c := &p.lanes[f.kind], &p.counts[f.kind]
	l.air--
	switch {
	case r.err == nil:
		c.published.Add(1)
		if r.duplicate {
			c.duplicate.Add(1)
		}
		l.backoff, l.until = 0, time.Time{}
		p.finish(l, f)
	case tooLarge(r.err):
		c.dropped[TooLarge].Add(1)
		p.logBig.log(p.log, slog.LevelError, "a message is lost: it is larger than the server takes; raise its max_payload or the stream's max_msg_size",
			"kind", f.kind, "id", f.id, "bytes", len(f.payload), "err", r.err)
		p.finish(l, f)
	default:
		c.retried.Add(1)
		f.after = time.Now().Add(min(firstRetry<<min(f.tries, 10), lastRetry)) // one that fails always must not hold up the others
		f.tries++
		at, _ := slices.BinarySearchFunc(l.again, f, inOrder)
		l.again = slices.Insert(l.again, at, f)
		p.hold(l, r.err)
	}
}

func inOrder(a, b *flight) int { return cmp.Compare(a.order, b.order) }

func tooLarge(err error) bool {
	var api jetstream.JetStreamError
	return errors.Is(err, nats.ErrMaxPayload) ||
		errors.As(err, &api) && api.APIError() != nil && api.APIError().ErrorCode == codeTooLarge
}

// hold stops a lane for a while, longer each time.
func (p *publisher) hold(l *lane, err error) {
	now := time.Now()
	if now.Before(l.until) {
		return // one of many that failed together
	}
	l.backoff = min(max(2*l.backoff, firstRetry), lastRetry)
	l.until = now.Add(l.backoff)
	late := errors.Is(err, jetstream.ErrAsyncPublishTimeout)
	if late && p.server != nil { // it is in this process: no answer within seconds means that its disk fails
		p.stuck.Store(true)
	}
	if late || errors.Is(err, jetstream.ErrNoStreamResponse) {
		signal(p.look)
	}
	if p.open.Load() { // else it is said already
		p.logPublish.log(p.log, slog.LevelWarn, "NATS did not take a message; it is sent again", "kind", l.kind, "err", err)
	}
}

// finish forgets a message that is acknowledged or given up, and tells the outbox up to where all are.
func (p *publisher) finish(l *lane, f *flight) {
	if i, ok := slices.BinarySearchFunc(l.flights, f, inOrder); ok {
		l.flights = slices.Delete(l.flights, i, i+1)
	}
	l.bytes -= f.size()
	if f.number > 0 {
		number := l.read
		if i := slices.IndexFunc(l.flights, func(f *flight) bool { return f.number > 0 }); i >= 0 {
			number = l.flights[i].number - 1
		}
		p.outbox.acknowledge(l.kind, number)
	}
	p.flying[l.kind].Add(-1)
}

// sendBrief publishes health messages and reports of gates.
func (p *publisher) sendBrief() {
	for len(p.brief) > 0 {
		r := <-p.brief
		if !p.open.Load() || p.nc.PublishMsg(p.message(r.kind, &r.record)) != nil {
			p.counts[r.kind].dropped[Offline].Add(1)
			continue
		}
		p.counts[r.kind].published.Add(1)
	}
}

// spill moves flows from memory to the outbox while they cannot be published, and reports whether more wait for that.
func (p *publisher) spill(now time.Time) bool {
	l, q := &p.lanes[Flow], p.waiting[Flow]
	crowded := len(q.records) > cap(q.records)/2 || q.bytes.Load() > q.limit/2
	stuck := now.Before(l.until) || l.air >= windows[Flow] || l.bytes >= windowBytes
	if p.open.Load() && (!crowded || !stuck) {
		return false
	}
	for range spillBatch {
		r, ok := q.pop()
		if !ok {
			return false
		}
		p.put(Flow, r)
	}
	return len(q.records) > 0
}

// put writes a message from memory to the outbox, or counts its loss.
func (p *publisher) put(k Kind, r record) {
	err := p.outbox.append(k, &r, false)
	switch c := &p.counts[k]; {
	case err == nil:
		return
	case errors.Is(err, errFull):
		c.dropped[Full].Add(1)
	case errors.Is(err, errTooLarge):
		c.dropped[TooLarge].Add(1)
	default:
		c.dropped[Disk].Add(1)
		p.diskErrors.Add(1)
	}
	p.logFull.log(p.log, slog.LevelWarn, "messages are lost: the outbox does not take them", "kind", k, "err", err)
}

// end puts what is in memory only into the outbox.
func (p *publisher) end() {
	for k := range p.lanes {
		l := &p.lanes[k]
		for _, f := range l.flights {
			if f.number == 0 {
				p.flying[k].Add(-1)
				p.put(l.kind, f.record)
			}
		}
		for {
			r, ok := p.waiting[k].pop()
			if !ok {
				break
			}
			p.put(l.kind, r)
		}
	}
}
