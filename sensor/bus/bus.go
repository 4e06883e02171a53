// Package bus is a sensor's way to NATS. It publishes what it finds: alerts, connection records and events of drops through
// JetStream, health and the reports of gates by core NATS. It keeps the signed state of a site, which says what is to be
// dropped, and carries signed commands. The server is one inside this process or inside another of this machine, or one or a
// cluster of the user's.
//
// An alert, and an event of a drop, is on disk before Alert or Drop returns, and goes from there when the server has acknowledged it: neither a server that
// is away, slow or restarted nor a crash of this process loses one, up to the bound of the outbox. What is lost is counted.
// A message may be delivered twice, with the same Nats-Msg-Id; the server drops most of those.
package bus

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Headers of each message. Sequences count from 1 in each boot of a sensor, each kind by itself: a
// gap is a loss.
const (
	BootHeader     = "Weir-Boot" // random, 16 hex digits, one for each start of the process
	SequenceHeader = "Weir-Seq"
)

// Identity is who publishes. Any text will do, up to some length.
type Identity struct{ Site, Sensor string }

// ErrClosed is what is returned after Close.
var ErrClosed = errors.New("bus: closed")

// Bus is a sensor's way to NATS. Alert, Drop, Flow, Health, Gate, Ready and Stats may be called from any goroutine, do not
// wait for the server, and are cheap: an alert is one write(2), a flow one copy.
type Bus struct {
	cfg    Config
	names  names
	dir    string
	log    *slog.Logger
	boot   uint64
	outbox *outbox
	server *inside // nil: outside
	link   *link

	ctx     context.Context // of connections and goroutines
	cancel  context.CancelFunc
	work    sync.WaitGroup
	nc      *nats.Conn // of keep
	js      jetstream.JetStream
	wake    chan struct{} // publisher: there is something to do
	look    chan struct{} // keeper: the connection or the streams changed
	stop    chan struct{} // publisher: the end
	results chan result
	waiting [laneCount]*buffer // alerts and drops that the disk did not take; flows
	brief   chan brief         // health and gate reports
	written chan struct{}      // syncer: something was written
	tried   chan struct{}      // closed when the streams were looked at once
	closed  atomic.Bool

	connected atomic.Bool
	open      atomic.Bool // connected, and the streams were looked at
	stuck     atomic.Bool // the server inside does not store messages
	state     sync.Mutex
	lastErr   error    // why there is no connection
	streamErr error    // why streams are missing
	differ    []string // how streams are not as configured

	counts                      [KindCount]counters
	flying                      [laneCount]atomic.Int64 // handed out and not done
	reconnects, diskErrors      atomic.Uint64
	logLink, logPublish, logBig sparse
	logDisk, logFull, logAsync  sparse
	logUp                       sparse
}

// counters are those of KindStats that do not come from the outbox.
type counters struct {
	sequence, accepted, published, duplicate, retried atomic.Uint64
	dropped                                           [CauseCount]atomic.Uint64
}

// buffer is a queue in memory, bounded by number and bytes.
type buffer struct {
	records chan record
	bytes   atomic.Int64
	limit   int64
}

func newBuffer(records int, bytes int64) *buffer {
	return &buffer{records: make(chan record, records), limit: bytes}
}

func (q *buffer) push(r record) bool {
	size := int64(r.size())
	if q.bytes.Add(size) <= q.limit {
		select {
		case q.records <- r:
			return true
		default:
		}
	}
	q.bytes.Add(-size)
	return false
}

func (q *buffer) pop() (record, bool) {
	select {
	case r := <-q.records:
		q.bytes.Add(-int64(r.size()))
		return r, true
	default:
		return record{}, false
	}
}

// Open opens the bus with the state folder dir, which exists and is this process's alone. With servers of the user's it does
// not wait for a connection; the embedded server serves when Open returns.
func Open(ctx context.Context, cfg Config, id Identity, dir string, log *slog.Logger) (*Bus, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	n := namesOf(id)
	if len(n.site) > 200 || len(n.sensor) > 200 {
		return nil, fmt.Errorf("nats: the name of the site (%d bytes) or sensor (%d) is too long: 200 with escapes", len(n.site), len(n.sensor))
	}
	b := &Bus{
		cfg: cfg, names: n, dir: dir, log: log,
		wake: make(chan struct{}, 1), look: make(chan struct{}, 1), stop: make(chan struct{}), written: make(chan struct{}, 1),
		tried: make(chan struct{}), results: make(chan result, 4*allWindows), brief: make(chan brief, 16),
	}
	b.waiting[Alert], b.waiting[Flow] = newBuffer(4096, 8<<20), newBuffer(8192, 16<<20)
	b.waiting[Drop] = newBuffer(4096, 8<<20)
	var boot [8]byte
	_, _ = rand.Read(boot[:]) // never fails
	b.boot = binary.LittleEndian.Uint64(boot[:])
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.link = newLink(b.ctx, id.Site, n, b.boot, &cfg, cfg.where(), log)
	opts, err := b.options()
	if err != nil {
		b.cancel()
		return nil, err
	}
	b.outbox, err = openOutbox(filepath.Join(dir, "outbox"), int64(cfg.OutboxMiB)<<20, log)
	if err != nil {
		b.cancel()
		if diskFull(err) {
			err = fmt.Errorf("%w: make room for %s", err, dir)
		}
		return nil, err
	}
	if cfg.embedded() {
		if b.server, err = startServer(&b.cfg, dir, log); err != nil {
			b.cancel()
			return nil, errors.Join(err, b.outbox.close())
		}
		opts = append(opts, nats.InProcessServer(b.server), nats.Token(b.server.token))
	}
	b.work.Go(func() { b.keep(opts) })
	b.work.Go(b.publish)
	b.work.Go(b.syncOutbox)
	if b.server != nil {
		select {
		case <-b.tried:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), b.Close(ctx))
		}
	}
	return b, nil
}

// Alert publishes an alert; msgID, its id and revision, is what duplicates are known by. When Alert returns nil, a crash of
// this process does not lose it, and one of the machine only within Config.Sync. An error means that it is not on disk: it
// is then published from memory if there is room, and counted as lost if not.
func (b *Bus) Alert(analyzer, severity, msgID string, payload []byte) error {
	return b.durable(Alert, b.names.alert(analyzer, severity), msgID, payload)
}

// Drop publishes an event of a drop, as Alert does an alert. Event is what happened, in one word: requested, applied, …
func (b *Bus) Drop(event, msgID string, payload []byte) error {
	return b.durable(Drop, b.names.drop(event), msgID, payload)
}

// durable publishes by way of the outbox.
func (b *Bus) durable(k Kind, subject, msgID string, payload []byte) error {
	if b.closed.Load() {
		return ErrClosed
	}
	c := &b.counts[k]
	c.accepted.Add(1)
	r := record{boot: b.boot, sequence: c.sequence.Add(1), subject: subject, id: msgID, payload: payload}
	err := b.outbox.append(k, &r, b.cfg.Sync == 0)
	if err == nil {
		if b.cfg.Sync > 0 {
			signal(b.written)
		}
		signal(b.wake)
		return nil
	}
	return b.unwritten(k, r, err)
}

// unwritten is what becomes of a message that the outbox does not take.
func (b *Bus) unwritten(k Kind, r record, err error) error {
	c := &b.counts[k]
	if errors.Is(err, errTooLarge) {
		c.dropped[TooLarge].Add(1)
		b.logBig.log(b.log, slog.LevelError, "a message is lost: it is too large", "kind", k, "id", r.id, "bytes", len(r.payload))
		return fmt.Errorf("bus: %v %s of %d bytes: %w", k, r.id, len(r.payload), err)
	}
	if r.number > 0 { // written, but not synced
		signal(b.wake)
		b.diskErrors.Add(1)
		return fmt.Errorf("bus: outbox: %w", err)
	}
	cause := Full
	if errors.Is(err, errFull) { // of alerts, which stay
		err = fmt.Errorf("bus: the outbox does not take a %v: %w; raise nats.outbox_mib", k, err)
	} else {
		cause = Disk
		b.diskErrors.Add(1)
		err = fmt.Errorf("bus: the outbox cannot be written: %w; %s", err, b.mend(err))
	}
	r.payload = append([]byte(nil), r.payload...)
	if b.waiting[k].push(r) {
		signal(b.wake)
	} else {
		c.dropped[cause].Add(1)
		err = fmt.Errorf("%w; the %v is lost, as memory is full, too", err, k)
	}
	b.logDisk.log(b.log, slog.LevelError, err.Error())
	return err
}

// mend says what to do about a disk that takes no more.
func (b *Bus) mend(err error) string {
	if diskFull(err) {
		return "make room for " + b.dir + "; alerts are published from memory meanwhile"
	}
	return "look after the disk of " + b.dir + "; alerts are published from memory meanwhile"
}

// Flow publishes a connection record. It never waits: if there is no room for it, it is lost and counted. A crash loses the
// flows that were not published or written to the outbox yet; gaps in their sequence show it.
func (b *Bus) Flow(payload []byte) {
	c := &b.counts[Flow]
	c.accepted.Add(1)
	r := record{boot: b.boot, sequence: c.sequence.Add(1), payload: append([]byte(nil), payload...)}
	if b.closed.Load() || !b.waiting[Flow].push(r) {
		c.dropped[Full].Add(1)
		return
	}
	signal(b.wake)
}

// FlowsEnabled reports whether the configuration asks for flows: Flow is not to be called otherwise.
func (b *Bus) FlowsEnabled() bool { return b.cfg.flows() }

// Health publishes the sensor's health to whoever listens now. It is lost and counted if there is no connection.
func (b *Bus) Health(payload []byte) { b.fleeting(Health, payload) }

// Gate publishes a report of this sensor's gate to whoever listens now, as Health does.
func (b *Bus) Gate(payload []byte) { b.fleeting(Gate, payload) }

// brief is a message that is published now or never.
type brief struct {
	kind Kind
	record
}

func (b *Bus) fleeting(k Kind, payload []byte) {
	c := &b.counts[k]
	c.accepted.Add(1)
	r := record{boot: b.boot, sequence: c.sequence.Add(1), payload: append([]byte(nil), payload...)}
	if b.open.Load() && !b.closed.Load() {
		select {
		case b.brief <- brief{k, r}:
			signal(b.wake)
			return
		default:
		}
	}
	c.dropped[Offline].Add(1)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Ready returns nil if the bus is connected and the streams are as configured, and else what is not, in one line.
func (b *Bus) Ready() error {
	b.state.Lock()
	defer b.state.Unlock()
	switch {
	case b.closed.Load():
		return ErrClosed
	case !b.connected.Load() && b.lastErr != nil:
		return fmt.Errorf("nats: not connected to %s: %w", b.link.where, b.lastErr)
	case !b.connected.Load():
		return fmt.Errorf("nats: not connected to %s", b.link.where)
	case b.streamErr != nil:
		return fmt.Errorf("nats: %s", strings.ReplaceAll(b.streamErr.Error(), "\n", "; "))
	case !b.open.Load():
		return errors.New("nats: the streams are being looked at")
	case len(b.differ) > 0:
		return fmt.Errorf("nats: %s", strings.Join(b.differ, "; "))
	}
	return nil
}

// Stats returns the counters.
func (b *Bus) Stats() Stats {
	s := Stats{
		Outbox: b.outbox.stats(), Connected: b.connected.Load(),
		Reconnects: b.reconnects.Load(), DiskErrors: b.diskErrors.Load(),
	}
	s.State, s.Commands = b.link.counts.stats()
	for k := range KindCount {
		c, out := &b.counts[k], &s.Kinds[k]
		out.Published, out.Duplicate, out.Retried = c.published.Load(), c.duplicate.Load(), c.retried.Load()
		for i := range c.dropped {
			out.Dropped[i] = c.dropped[i].Load()
		}
		if k < laneCount {
			var evicted, damaged uint64
			out.Inherited, evicted, damaged = b.outbox.counts(k)
			out.Dropped[Evicted] += evicted
			out.Dropped[Damaged] += damaged
			out.Pending = b.outbox.waiting(k) + uint64(len(b.waiting[k].records)) + uint64(b.flying[k].Load())
		}
		out.Accepted = c.accepted.Load()
	}
	return s
}

// idle reports whether nothing waits for the server.
func (b *Bus) idle() bool {
	for k := range Kind(laneCount) {
		if b.outbox.waiting(k) > 0 || len(b.waiting[k].records) > 0 || b.flying[k].Load() > 0 {
			return false
		}
	}
	return len(b.brief) == 0
}

// Close publishes what waits until that is done, ctx ends or the server is away. What is left stays in the outbox for the
// next start, and the error says how much that is.
func (b *Bus) Close(ctx context.Context) error {
	if b.closed.Swap(true) {
		return ErrClosed
	}
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if b.idle() || !b.open.Load() || ctx.Err() != nil {
			tick.Stop()
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	b.flush(ctx)
	close(b.stop)
	b.cancel() // also ends what the publisher may wait for
	b.work.Wait()
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	err := b.outbox.close()
	if err != nil {
		err = fmt.Errorf("bus: outbox: %w", err)
	}
	alerts, flows, drops := b.outbox.left(Alert), b.outbox.left(Flow), b.outbox.left(Drop)
	if left := fmt.Sprintf("%d alerts and %d flows", alerts, flows); alerts+flows+drops > 0 {
		if drops > 0 {
			left = fmt.Sprintf("%d events of drops, %s", drops, left)
		}
		err = errors.Join(err, fmt.Errorf("bus: %s are not published; they stay in %s for the next start", left, b.outbox.dir))
	}
	return err
}

// flush sees to it that health messages and gate reports leave.
func (b *Bus) flush(ctx context.Context) {
	if !b.open.Load() || ctx.Err() != nil {
		return
	}
	done := make(chan struct{})
	b.work.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = b.nc.FlushWithContext(ctx)
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// syncOutbox makes alerts and events of drops safe from a power cut, Config.Sync after they were written.
func (b *Bus) syncOutbox() {
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.written:
		}
		select {
		case <-b.ctx.Done():
			return // closing the outbox syncs it
		case <-time.After(b.cfg.Sync):
		}
		if err := b.outbox.sync(); err != nil {
			b.diskErrors.Add(1)
			b.logDisk.log(b.log, slog.LevelError, "the outbox cannot be synced to disk: a power cut may lose alerts", "err", err)
		}
	}
}
