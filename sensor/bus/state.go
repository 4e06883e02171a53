package bus

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	bucketMiB    = 128              // of a site's state; a value of a drop takes 1 to 2 KiB
	reserveMiB   = 8                // of it, which only keys that are there and a panic may take
	weighEvery   = 64               // writes; as many take the reserve at most
	stateTimeout = 10 * time.Second // of a write
	lookEvery    = 3 * time.Second  // whether the bucket is what the watch has seen
	lookGrace    = 250 * time.Millisecond
	wholeEvery   = time.Second      // whether a reading is at the end
	readEvery    = time.Minute      // the whole bucket again
	markerAge    = time.Hour        // what purged keys leave behind goes after that
	cleanEvery   = 10 * time.Minute // at most
	cleanAtOnce  = 1000
	readerIdle   = 30 * time.Second // the server forgets a reader that is gone
)

// State is the bucket of a site's signed state: keys and the newest value of each. Its methods may be called from any
// goroutine.
type State struct {
	*link
	keys *Keys
	name string // of the bucket

	mu        sync.Mutex
	bucket    jetstream.KeyValue // as it was found last
	cleaned   time.Time
	unweighed int    // writes since the bucket was weighed
	bytes     uint64 // then
}

// Signed is an entry of the bucket.
type Signed struct {
	Key          string
	Body         []byte // nil with Err and with Deleted
	Signer, Name string // public key, and the name that it is trusted under; also of a value by who is not trusted
	Revision     uint64 // grows with each write to the bucket
	Deleted      bool   // the key was deleted, which nobody signs
	Err          error  // why the value is not to be believed: ErrUnsigned, ErrForged or ErrUntrusted
}

// State returns the bucket of the site. What it writes is signed by k's own key, what it reads must be signed by one that k
// trusts.
func (b *Bus) State(k *Keys) *State { return newState(b.link, k) }

func newState(l *link, k *Keys) *State {
	return &State{link: l, keys: k, name: "weir_drops_" + l.names.site}
}

func (s *State) stream() string { return "KV_" + s.name }

// find returns the bucket, and makes it if there is none.
func (s *State) find(ctx context.Context) (jetstream.KeyValue, error) {
	s.mu.Lock()
	kv := s.bucket
	s.mu.Unlock()
	if kv != nil {
		return kv, nil
	}
	kv, err := s.js.KeyValue(ctx, s.name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = s.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: s.name, Description: "weir: signed state of site " + s.site, History: 1, Storage: jetstream.FileStorage,
			MaxBytes: bucketMiB << 20, Replicas: s.replicas,
		})
		if err != nil { // another of the site may have been faster
			if found, again := s.js.KeyValue(ctx, s.name); again == nil {
				kv, err = found, nil
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("nats: bucket %s: %w%s", s.name, err, bucketRemedy(err))
	}
	s.mu.Lock()
	s.bucket = kv
	s.mu.Unlock()
	return kv, nil
}

// forget makes find look again.
func (s *State) forget() {
	s.mu.Lock()
	s.bucket = nil
	s.mu.Unlock()
}

// bucketRemedy says what to do about a bucket that cannot be had or takes no more.
func bucketRemedy(err error) string {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case strings.Contains(api.Description, "maximum bytes"):
			return ": " + ErrHeld.Error()
		case strings.Contains(api.Description, "resources"), strings.Contains(api.Description, "storage"):
			return fmt.Sprintf(": it needs %d MiB: raise nats.store_mib, or give the server more room", bucketMiB)
		}
	}
	return remedy(err)
}

// missing reports whether an error says that there is no such bucket.
func missing(err error) bool {
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) ||
		errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, nats.ErrNoResponders)
}

// Put signs a body and writes it. It returns when the server has it. Key: letters, digits and -_=./ as in KV.
func (s *State) Put(ctx context.Context, key string, body []byte) error {
	value, err := Sign(s.keys, s.site, key, body)
	if err != nil {
		return err
	}
	err = s.write(ctx, key, func(ctx context.Context, kv jetstream.KeyValue) error {
		if err := s.weigh(ctx, kv, key); err != nil {
			return err
		}
		_, err := kv.Put(ctx, key, value)
		return err
	})
	if err != nil {
		s.counts.writeErrors.Add(1)
		return err
	}
	s.counts.writes.Add(1)
	return nil
}

// ErrHeld is that of Put when the bucket is full. What is there already, and a panic, can still be written.
var ErrHeld = fmt.Errorf("it holds its %d MiB; remove drops, or lower policy.max_drops", bucketMiB)

// panicKey is that of the panic, which must find its place as the end of a drop must.
const panicKey = "panic"

// weigh tells whether there is room for a key. The last of it is for those that are there, and for a panic.
func (s *State) weigh(ctx context.Context, kv jetstream.KeyValue, key string) error {
	s.mu.Lock()
	due := s.unweighed%weighEvery == 0
	s.unweighed++
	s.mu.Unlock()
	if due {
		status, err := kv.Status(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.bytes = status.Bytes()
		s.mu.Unlock()
	}
	s.mu.Lock()
	full := s.bytes > (bucketMiB-reserveMiB)<<20
	s.mu.Unlock()
	if !full || key == panicKey {
		return nil
	}
	_, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return ErrHeld
	}
	return err
}

// Purge deletes a key whose value means nothing any more. It is not signed: readers take it for what anybody may have done.
func (s *State) Purge(ctx context.Context, key string) error {
	err := s.write(ctx, key, func(ctx context.Context, kv jetstream.KeyValue) error { return kv.Purge(ctx, key) })
	if err != nil {
		s.counts.writeErrors.Add(1)
		return err
	}
	s.counts.writes.Add(1)
	return s.clean(ctx, time.Now())
}

func (s *State) write(ctx context.Context, key string, do func(context.Context, jetstream.KeyValue) error) error {
	ctx, end := s.bound(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	if err := s.exists(ctx); err != nil {
		return err
	}
	if !s.nc.IsConnected() {
		return s.away(errors.New("the state cannot be written"))
	}
	for again := false; ; again = true {
		kv, err := s.find(ctx)
		if err != nil {
			return err
		}
		err = do(ctx, kv)
		if err == nil {
			return nil
		}
		if !missing(err) || again {
			return fmt.Errorf("nats: bucket %s: key %s: %w%s", s.name, key, err, bucketRemedy(err))
		}
		s.forget()
	}
}

// clean deletes what purged keys leave behind, from time to time.
func (s *State) clean(ctx context.Context, now time.Time) error {
	s.mu.Lock()
	due := now.Sub(s.cleaned) >= cleanEvery
	if due {
		s.cleaned = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	ctx, end := s.bound(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	r, err := s.read(ctx, true)
	if err != nil {
		return err
	}
	defer r.close()
	var old []message
	err = r.all(ctx, nil, func(m message) {
		if m.deleted && now.Sub(m.at) > markerAge && len(old) < cleanAtOnce {
			old = append(old, m)
		}
	})
	if err != nil {
		return err
	}
	stream, err := s.js.Stream(ctx, s.stream())
	for i := 0; err == nil && i < len(old); i++ { // up to this revision: what was written since stays
		err = stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+s.name+"."+old[i].key), jetstream.WithPurgeSequence(old[i].revision+1))
	}
	if err != nil {
		return fmt.Errorf("nats: bucket %s: %w", s.name, err)
	}
	return nil
}

// sweep reads the newest value of each key, in the order of writing, and then what is written.
type sweep struct {
	of       *State
	consumer string
	iterator jetstream.MessagesContext
	work     sync.WaitGroup
	messages chan message
	stop     chan struct{}

	want    uint64 // how many keys the bucket has
	keys    map[string]struct{}
	taken   uint64
	rest    uint64    // still to come when the last was sent, as the server counts
	created time.Time // the bucket
	seen    uint64    // revision up to which all is known
	single  bool      // the bucket has no history
}

// message is an entry as it is in the bucket, or the end of reading.
type message struct {
	key      string
	value    []byte
	revision uint64
	order    uint64 // in this sweep, from 1
	rest     uint64
	at       time.Time
	deleted  bool
	err      error
}

// read begins a sweep.
func (s *State) read(ctx context.Context, keysOnly bool) (*sweep, error) {
	if err := s.up(ctx); err != nil {
		return nil, err
	}
	if _, err := s.find(ctx); err != nil {
		return nil, err
	}
	fail := func(err error) (*sweep, error) {
		s.forget()
		return nil, fmt.Errorf("nats: bucket %s: %w", s.name, err)
	}
	stream, err := s.js.Stream(ctx, s.stream())
	if err != nil {
		return fail(err)
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, FilterSubject: "$KV." + s.name + ".>", AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: readerIdle, HeadersOnly: keysOnly,
	})
	if err != nil {
		return fail(err)
	}
	info, stored := consumer.CachedInfo(), stream.CachedInfo()
	if c := stored.Config; c.MaxAge != 0 || c.Storage != jetstream.FileStorage {
		s.counts.logRead.log(s.log, slog.LevelWarn, "NATS: the bucket of the state forgets what is written to it; it was made by hand: delete it, and it is made anew",
			"bucket", s.name, "max_age", c.MaxAge, "storage", c.Storage)
	}
	r := &sweep{
		of: s, consumer: info.Name, messages: make(chan message, 256), stop: make(chan struct{}), want: info.NumPending, rest: info.NumPending,
		keys:    map[string]struct{}{},
		created: stored.Created, seen: stored.State.LastSeq, single: stored.Config.MaxMsgsPerSubject == 1,
	}
	if r.iterator, err = consumer.Messages(jetstream.PullHeartbeat(2 * time.Second)); err != nil {
		return fail(err)
	}
	r.work.Go(r.pump)
	return r, nil
}

// pump moves messages from the connection to the channel.
func (r *sweep) pump() {
	prefix := len("$KV." + r.of.name + ".")
	for {
		var out message
		m, err := r.iterator.Next()
		if err == nil {
			out, err = entryOf(m, prefix)
		}
		if err != nil {
			out = message{err: err}
		}
		select {
		case r.messages <- out:
		case <-r.stop:
			return
		}
		if err != nil {
			return
		}
	}
}

func entryOf(m jetstream.Msg, prefix int) (message, error) {
	meta, err := m.Metadata()
	if err != nil {
		return message{}, err
	}
	h := m.Headers()
	return message{
		key: m.Subject()[prefix:], value: m.Data(), revision: meta.Sequence.Stream, order: meta.Sequence.Consumer, rest: meta.NumPending,
		at: meta.Timestamp, deleted: h.Get("KV-Operation") != "" || h.Get(jetstream.MarkerReasonHeader) != "",
	}, nil
}

// take notes a message of the channel.
func (r *sweep) take(m message) error {
	if m.err != nil {
		return fmt.Errorf("nats: bucket %s: %w", r.of.name, m.err)
	}
	r.taken++
	if m.order != r.taken {
		return fmt.Errorf("nats: bucket %s: %d messages were lost on the way", r.of.name, m.order-r.taken)
	}
	r.keys[m.key] = struct{}{}
	r.rest = m.rest
	r.seen = max(r.seen, m.revision)
	return nil
}

// whole reports whether all that the bucket holds was taken, by the number of its keys. The number of messages does not tell:
// a key that is written again meanwhile moves to the end. Nor does the server's count of those still to come, which writing
// meanwhile makes too small or too large (consumer.decStreamPending of nats-server 2.15): it is a reason to look, as time is.
func (r *sweep) whole(ctx context.Context, look bool) (bool, error) {
	if !look && r.want > uint64(len(r.keys)) && r.rest > 0 {
		return false, nil
	}
	s, err := r.of.js.Stream(ctx, r.of.stream())
	if err != nil {
		return false, err
	}
	r.want = s.CachedInfo().State.NumSubjects
	return uint64(len(r.keys)) >= r.want, nil
}

// all calls each with all that the bucket holds, unless the connection's status changes.
func (r *sweep) all(ctx context.Context, status <-chan nats.Status, each func(message)) error {
	late := time.NewTicker(wholeEvery)
	defer late.Stop()
	for look := false; ; {
		whole, err := r.whole(ctx, look)
		if whole || err != nil {
			return err
		}
		look = false
		select {
		case m := <-r.messages:
			if err := r.take(m); err != nil {
				return err
			}
			each(m)
		case <-late.C:
			look = true
		case <-status:
			return errAgain
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *sweep) close() {
	close(r.stop)
	r.iterator.Stop()
	r.work.Wait()
	if r.of.ctx.Err() != nil || !r.of.nc.IsConnected() {
		return // the server forgets it by itself
	}
	ctx, cancel := context.WithTimeout(r.of.ctx, time.Second)
	defer cancel()
	_ = r.of.js.DeleteConsumer(ctx, r.of.stream(), r.consumer)
}

// entry is a message with its signature checked. Of values in proven, which has their SHA-256 by key, it is known to fit.
func (s *State) entry(m *message, proven map[string][sha256.Size]byte) Signed {
	out := Signed{Key: m.key, Revision: m.revision, Deleted: m.deleted}
	if m.deleted {
		delete(proven, m.key)
		return out
	}
	v, err := parseSigned(m.value)
	if err == nil {
		sum := sha256.Sum256(m.value)
		if known, ok := proven[m.key]; !ok || known != sum {
			if err = v.check(s.site, m.key); err == nil && proven != nil {
				proven[m.key] = sum
			}
		}
	}
	trusted := false
	if err == nil {
		out.Signer = v.Key
		if out.Name, trusted = s.keys.Trusted(v.Key); !trusted {
			err = untrusted(v.Key)
		}
	}
	if err != nil {
		s.counts.bad.Add(1)
		out.Err = err
		return out
	}
	out.Body = []byte(v.Body)
	return out
}

// Read calls each with all of the bucket, in the order of writing. Entries that are not to be believed are among them.
func (s *State) Read(ctx context.Context, each func(Signed)) error {
	ctx, end := s.bound(ctx)
	defer end()
	r, err := s.read(ctx, false)
	if err != nil {
		return err
	}
	defer r.close()
	s.counts.reads.Add(1)
	if err := r.all(ctx, nil, func(m message) { each(s.entry(&m, nil)) }); err != nil {
		return fmt.Errorf("nats: bucket %s: %w", s.name, err)
	}
	return nil
}

// Get returns the entry of a key, nil if there is none. One that is not to be believed tells why in its Err.
func (s *State) Get(ctx context.Context, key string) (*Signed, error) {
	ctx, end := s.bound(ctx)
	defer end()
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	if err := s.up(ctx); err != nil {
		return nil, err
	}
	kv, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("nats: bucket %s: key %s: %w", s.name, key, err)
	}
	out := s.entry(&message{key: key, value: e.Value(), revision: e.Revision()}, nil)
	return &out, nil
}

// Watch calls begin, each with all of the bucket, and whole; and then each with changes, as they come. It reads the whole
// bucket again, with begin and whole around it, after each loss of the connection, when the bucket's last revision or number
// of entries is not what was seen (looked at every 3 s), and each minute. whole(false) says that reading was cut short.
// Entries that are not to be believed are among them. The bucket is made if there is none, also underway. All calls come from
// the goroutine that calls Watch, which returns nil when ctx ends and ErrClosed when the connection is closed.
func (s *State) Watch(ctx context.Context, begin func(), each func(Signed), whole func(complete bool)) error {
	ctx, end := s.bound(ctx)
	defer end()
	w := &watch{State: s, begin: begin, each: each, whole: whole, proven: map[string][sha256.Size]byte{}}
	for wait := firstRetry; ; {
		err := w.follow(ctx)
		switch {
		case s.ctx.Err() != nil:
			return ErrClosed
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errAgain):
			wait = firstRetry
			continue
		}
		s.forget()
		s.counts.logRead.log(s.log, slog.LevelWarn, "the state cannot be read; it is tried again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// watch is one Watch.
type watch struct {
	*State
	begin  func()
	each   func(Signed)
	whole  func(bool)
	proven map[string][sha256.Size]byte
	read1  bool // once
}

// errAgain: the bucket is to be read again, and nothing failed.
var errAgain = errors.New("read again")

// follow reads the bucket and then its changes, until it is to be read again.
func (w *watch) follow(ctx context.Context) error {
	if err := w.up(ctx); err != nil {
		return err
	}
	status := w.nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.DISCONNECTED)
	defer w.nc.RemoveStatusListener(status)
	r, err := w.read(ctx, false)
	if err != nil {
		return err
	}
	defer r.close()
	w.counts.reads.Add(1)
	if w.read1 {
		w.counts.rereads.Add(1)
	}
	w.read1 = true
	proven := map[string][sha256.Size]byte{} // no more than there is
	w.begin()
	err = r.all(ctx, status, func(m message) {
		w.each(w.entry(&m, w.proven))
		if sum, ok := w.proven[m.key]; ok {
			proven[m.key] = sum
		}
	})
	if err != nil {
		w.whole(false)
		return err
	}
	w.proven = proven
	w.whole(true)
	return w.changes(ctx, r, status)
}

// changes follows a bucket that was read.
func (w *watch) changes(ctx context.Context, r *sweep, status <-chan nats.Status) error {
	again := time.NewTimer(readEvery)
	defer again.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	grace := time.NewTimer(time.Hour)
	defer grace.Stop()
	looks := make(chan looked, 1)
	looking, behind := false, uint64(0)
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		select {
		case m := <-r.messages:
			if err := r.take(m); err != nil {
				return err
			}
			w.each(w.entry(&m, w.proven))
		case <-look.C:
			if !looking {
				looking = true
				work.Go(func() { looks <- w.look(ctx) })
			}
		case l := <-looks:
			looking = false
			switch {
			case l.err != nil && missing(l.err):
				w.forget()
				return errAgain
			case l.err != nil: // the connection tells
			case !l.created.Equal(r.created), r.single && l.last == r.seen && l.messages != uint64(len(r.keys)):
				return errAgain
			case l.last > r.seen:
				behind = r.taken
				grace.Reset(lookGrace)
			}
		case <-grace.C:
			if r.taken == behind && len(r.messages) == 0 { // it is not on its way
				return errAgain
			}
		case <-again.C:
			return errAgain
		case <-status:
			return errAgain
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// looked is how the bucket stands.
type looked struct {
	created        time.Time
	last, messages uint64
	err            error
}

func (w *watch) look(ctx context.Context) looked {
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	s, err := w.js.Stream(ctx, w.stream())
	if err != nil {
		return looked{err: err}
	}
	info := s.CachedInfo()
	return looked{created: info.Created, last: info.State.LastSeq, messages: info.State.Msgs}
}
