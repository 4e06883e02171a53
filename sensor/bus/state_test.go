package bus

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// keys is a new folder of keys with an own one.
func keys(t testing.TB) *Keys {
	t.Helper()
	k, err := OpenKeys(filepath.Join(t.TempDir(), "keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// twin is what a watcher makes of what it is told.
type twin struct {
	mu      sync.Mutex
	have    map[string]string // key to body, or error
	reading map[string]string // between begin and whole
	wholes  int
	cut     int
	order   uint64 // last revision
	came    chan time.Time
}

// watched starts a Watch that lasts as long as the test.
func watched(t testing.TB, s *State) *twin {
	t.Helper()
	w := &twin{have: map[string]string{}, came: make(chan time.Time, 100_000)}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		err := s.Watch(ctx, w.begin, w.each, w.whole)
		if err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); work.Wait() })
	return w
}

func (w *twin) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reading != nil {
		panic("begin within begin")
	}
	w.reading, w.order = map[string]string{}, 0
}

func (w *twin) each(e Signed) {
	at := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Revision <= w.order {
		panic(fmt.Sprint("revision ", e.Revision, " after ", w.order))
	}
	w.order = e.Revision
	value := string(e.Body)
	switch {
	case e.Deleted:
		value = "deleted"
	case e.Err != nil:
		for name, err := range map[string]error{"unsigned": ErrUnsigned, "forged": ErrForged, "untrusted": ErrUntrusted} {
			if errors.Is(e.Err, err) {
				value = name + " " + e.Signer
			}
		}
	}
	if (e.Err != nil || e.Deleted) && e.Body != nil {
		panic("a body that is not to be believed")
	}
	w.have[e.Key] = value
	if w.reading != nil {
		w.reading[e.Key] = value
	} else {
		select {
		case w.came <- at:
		default:
		}
	}
}

func (w *twin) whole(complete bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reading == nil {
		panic("whole without begin")
	}
	if complete {
		w.have = w.reading
		w.wholes++
	} else {
		w.cut++
	}
	w.reading = nil
}

func (w *twin) is(want map[string]string) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.reading == nil && w.wholes > 0 && maps.Equal(w.have, want)
	}
}

func (w *twin) read() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wholes
}

// soon waits until the watcher has what it should, and tells what it has if not.
func (w *twin) soon(t testing.TB, d time.Duration, want map[string]string) {
	t.Helper()
	for deadline := time.Now().Add(d); !w.is(want)(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.mu.Lock()
			defer w.mu.Unlock()
			t.Fatalf("not within %v: have %v, want %v, %d wholes", d, w.have, want, w.wholes)
		}
	}
}

func put(t testing.TB, s *State, key, body string) {
	t.Helper()
	if err := s.Put(within(t, 10*time.Second), key, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// jetStreamOf is a connection beside those of the bus.
func jetStreamOf(t testing.TB, url string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func bucketOf(t testing.TB, js jetstream.JetStream) jetstream.KeyValue {
	t.Helper()
	kv, err := js.KeyValue(within(t, 5*time.Second), "weir_drops_site_2Eone")
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestState(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	k, other, stranger := keys(t), keys(t), keys(t)
	if err := k.Trust(other.Own(), "other"); err != nil {
		t.Fatal(err)
	}
	s := b.State(k)
	w := watched(t, s)
	w.soon(t, 5*time.Second, map[string]string{})
	put(t, s, "src.v4.c0000201", `{"a":"<&>ü"}`)
	put(t, s, "panic", "1")
	put(t, s, "panic", "2")
	put(t, b.State(other), "other", "o")
	put(t, b.State(stranger), "stranger", "s")
	want := map[string]string{"src.v4.c0000201": `{"a":"<&>ü"}`, "panic": "2", "other": "o", "stranger": "untrusted " + stranger.Own()}
	w.soon(t, time.Second, want)

	if e, err := s.Get(within(t, time.Second), "panic"); err != nil || e == nil || string(e.Body) != "2" || e.Name != "own" {
		t.Errorf("panic: %+v, %v", e, err)
	}
	if e, err := s.Get(within(t, time.Second), "stranger"); err != nil || e == nil || e.Body != nil || !errors.Is(e.Err, ErrUntrusted) {
		t.Errorf("stranger: %+v, %v", e, err)
	}
	if e, err := s.Get(within(t, time.Second), "nobody"); e != nil || err != nil {
		t.Errorf("nobody: %+v, %v", e, err)
	}

	// What only somebody with another tool writes.
	js := jetStreamOf(t, serverIn(t, dir))
	kv := bucketOf(t, js)
	ctx := within(t, 10*time.Second)
	e, err := kv.Get(ctx, "panic")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := Sign(k, "site.two", "elsewhere", []byte("e"))
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string][]byte{
		"moved": e.Value(), "elsewhere": elsewhere, "bare": []byte(`{"a":1}`), "empty": nil,
		"panic": bytes.Replace(e.Value(), []byte(`"body":"2"`), []byte(`"body":"3"`), 1),
	} {
		if _, err := kv.Put(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(ctx, "stranger"); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"moved": "forged ", "elsewhere": "forged ", "bare": "unsigned ", "empty": "unsigned ", "panic": "forged ", "other": "deleted", "stranger": "deleted",
	} {
		want[key] = value
	}
	w.soon(t, time.Second, want)
	before := w.read()

	// Whom we trust changes, and the next reading sees it.
	put(t, b.State(other), "other", "again")
	want["other"] = "again"
	w.soon(t, time.Second, want)
	if err := k.Distrust(other.Own()); err != nil {
		t.Fatal(err)
	}
	want["other"] = "untrusted " + other.Own()
	got := map[string]string{}
	all := &twin{have: got}
	if err := s.Read(ctx, all.each); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	if w.read() != before {
		t.Errorf("read again %d times without a cause", w.read()-before)
	}
	if n := b.Stats().State; n.Writes != 7 || n.Reads != 2 || n.Rereads != 0 || n.Bad == 0 {
		t.Errorf("%+v", n)
	}
	for key, part := range map[string]string{"": "key", "a b": "key", "a\nb": "key", "x": "65537 bytes"} {
		body := []byte("x")
		if key == "x" {
			body = make([]byte, maxBody+1)
		}
		if err := s.Put(ctx, key, body); err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", key, err)
		}
	}
	if err := b.State(nil).Put(ctx, "x", nil); err == nil || !strings.Contains(err.Error(), "weir keys new") {
		t.Error(err)
	}
	closeBus(t, b)
	if err := s.Put(ctx, "x", nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := s.Read(ctx, all.each); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// What is done to the bucket behind our back is seen within seconds.
func TestStateByHand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	s := b.State(keys(t))
	w := watched(t, s)
	want := map[string]string{}
	for i := range 5 {
		key := fmt.Sprint("k", i)
		put(t, s, key, key)
		want[key] = key
	}
	w.soon(t, time.Second, want)
	js := jetStreamOf(t, serverIn(t, dir))
	ctx := within(t, 30*time.Second)
	stream, err := js.Stream(ctx, "KV_weir_drops_site_2Eone")
	if err != nil {
		t.Fatal(err)
	}
	// A message taken out of the stream leaves no trace but the number of messages.
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject("$KV.weir_drops_site_2Eone.k2")); err != nil {
		t.Fatal(err)
	}
	delete(want, "k2")
	w.soon(t, 5*time.Second, want)
	if err := js.DeleteKeyValue(ctx, "weir_drops_site_2Eone"); err != nil {
		t.Fatal(err)
	}
	w.soon(t, 8*time.Second, map[string]string{})
	put(t, s, "new", "n")
	w.soon(t, time.Second, map[string]string{"new": "n"})
	// Deleted and at once made anew with as many messages: only its birth differs.
	if err := js.DeleteKeyValue(ctx, "weir_drops_site_2Eone"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "newer", "n")
	w.soon(t, 5*time.Second, map[string]string{"newer": "n"})
	closeBus(t, b)
}

// A server that is restarted, or away for a while, and what is written meanwhile by others.
func TestStateThroughRestarts(t *testing.T) {
	t.Parallel()
	address, store := freeAddress(t), t.TempDir()
	start := func() *server.Server {
		return run(t, func(o *server.Options) { o.Port, o.StoreDir = portOf(t, address), store })
	}
	cfg := outside("nats://" + address)
	b := open(t, cfg, t.TempDir())
	k := keys(t)
	s := b.State(k)
	w := watched(t, s) // before there is a server
	if err := s.Put(within(t, 200*time.Millisecond), "early", nil); err == nil || !strings.Contains(err.Error(), "not connected to nats://"+address) {
		t.Error(err)
	}
	srv := start()
	ready := func() bool { return b.Ready() == nil }
	until(t, "ready", 10*time.Second, ready)
	want := map[string]string{}
	for i := range 3 {
		key := fmt.Sprint("k", i)
		put(t, s, key, key)
		want[key] = key
		w.soon(t, 5*time.Second, want)
		stop(srv)
		time.Sleep(time.Duration(i) * 200 * time.Millisecond)
		srv = start()
		other := dial(t, cfg, "", k).State()
		put(t, other, "other", key)
		want["other"] = key
		w.soon(t, 10*time.Second, want)
		until(t, "ready", 10*time.Second, ready)
	}
	// And one that lost all.
	stop(srv)
	store = t.TempDir()
	start()
	w.soon(t, 10*time.Second, map[string]string{})
	until(t, "ready", 10*time.Second, ready)
	put(t, s, "again", "a")
	w.soon(t, 5*time.Second, map[string]string{"again": "a"})
	closeBus(t, b)
}

func TestStateOfCluster(t *testing.T) {
	t.Parallel()
	nodes := cluster(t)
	var urls []string
	for _, s := range nodes {
		urls = append(urls, s.ClientURL())
	}
	cfg := outside(urls...)
	cfg.Replicas = 3
	cfg.Streams.Alerts.MaxMiB, cfg.Streams.Drops.MaxMiB, cfg.Streams.Flows.MaxMiB = 64, 64, 64
	b := open(t, cfg, t.TempDir())
	until(t, "ready", 30*time.Second, func() bool { return b.Ready() == nil })
	s := b.State(keys(t))
	w := watched(t, s)
	want := map[string]string{}
	write := func(i int) {
		key := fmt.Sprint("k", i)
		until(t, "written", 30*time.Second, func() bool { return s.Put(within(t, 10*time.Second), key, []byte(key)) == nil })
		want[key] = key
	}
	for i := range 50 {
		write(i)
	}
	w.soon(t, 10*time.Second, want)
	js := jetStreamOf(t, strings.Join(urls, ","))
	stream, err := js.Stream(within(t, 5*time.Second), "KV_weir_drops_site_2Eone")
	if err != nil {
		t.Fatal(err)
	}
	info := stream.CachedInfo()
	if c := info.Config; c.Replicas != 3 || c.MaxMsgsPerSubject != 1 || c.MaxBytes != 128<<20 || c.Storage != jetstream.FileStorage || c.MaxAge != 0 {
		t.Errorf("%+v", c)
	}
	i := slices.IndexFunc(nodes, func(n *server.Server) bool { return n.Name() == info.Cluster.Leader })
	stop(nodes[i])
	for i := range 50 {
		write(50 + i)
	}
	w.soon(t, 30*time.Second, want)
	closeBus(t, b)
}

// The bucket has its room though the streams are full, and says when it is full itself.
func TestStateFull(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 128 MiB")
	}
	t.Parallel()
	cfg := embedded()
	cfg.Streams.Alerts.MaxMiB, cfg.Streams.Drops.MaxMiB = 4, 4
	cfg.StoreMiB = 8 + 127
	if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), "raise it to 264") {
		t.Error(err)
	}
	cfg.StoreMiB = 8 + bucketMiB
	dir := t.TempDir()
	b := open(t, cfg, dir)
	payload := make([]byte, 64<<10)
	const n = 100 // 6.4 MiB each
	for i := range n {
		if err := errors.Join(b.Alert("scan", "low", fmt.Sprint(i), payload), b.Drop("applied", fmt.Sprint(i), payload)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "published", 10*time.Second, func() bool { return published(b, Alert, n)() && published(b, Drop, n)() })
	s := b.State(keys(t))
	body := strings.Repeat("x", 60<<10)
	i := 0
	var err error
	for ; err == nil && i < 5000; i++ {
		err = s.Put(within(t, 10*time.Second), fmt.Sprint("k", i), []byte(body))
	}
	if err == nil || !strings.Contains(err.Error(), "it holds its 128 MiB") || strings.Contains(err.Error(), "\n") || i < 119<<20/(61<<10) {
		t.Errorf("%d values: %v", i, err)
	}
	t.Log(i, err)
	for i := range 20 { // what ends a drop must go
		put(t, s, fmt.Sprint("k", i), body+"longer")
	}
	put(t, s, "panic", "held")
	if err := s.Put(within(t, 10*time.Second), "new", nil); err == nil {
		t.Error("a new key has room")
	}
	if n := b.Stats().State; n.WriteErrors != 2 {
		t.Errorf("%+v", n)
	}
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
	closeBus(t, b)
}

// What purged keys leave behind goes after an hour, and what was written since stays.
func TestStateCleaned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	s := b.State(keys(t))
	for i := range 10 {
		put(t, s, fmt.Sprint("k", i), "x")
	}
	s.cleaned = time.Now() // not yet
	for i := range 9 {
		if err := s.Purge(within(t, 5*time.Second), fmt.Sprint("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "k8", "anew")
	entries := func() map[string]string {
		w := &twin{have: map[string]string{}}
		if err := s.Read(within(t, 5*time.Second), w.each); err != nil {
			t.Fatal(err)
		}
		return w.have
	}
	if n := len(entries()); n != 10 {
		t.Error(n)
	}
	if err := s.clean(within(t, 5*time.Second), time.Now().Add(cleanEvery+time.Second)); err != nil || len(entries()) != 10 {
		t.Error("too early", err)
	}
	w := watched(t, s)
	if err := s.clean(within(t, 5*time.Second), time.Now().Add(2*markerAge)); err != nil {
		t.Error(err)
	}
	want := map[string]string{"k8": "anew", "k9": "x"}
	if got := entries(); !maps.Equal(got, want) {
		t.Error(got)
	}
	w.soon(t, 5*time.Second, want)
	closeBus(t, b)
}

// BenchmarkState: 20 000 keys with bodies of the size of a drop. Reported are the rates of writing and reading, and the time
// from Put to each of a watch, at 200 writes a second.
func BenchmarkState(b *testing.B) {
	const n = 20_000
	bus := open(b, embedded(), b.TempDir())
	k := keys(b)
	s := bus.State(k)
	body := []byte(`{"schema":"weir.drop/1","fill":"` + strings.Repeat("x", 900) + `"}`)
	key := func(i int) string { return fmt.Sprintf("src.v4.%08x", i) }
	begin := time.Now()
	var work sync.WaitGroup
	for g := range 4 {
		work.Go(func() {
			for i := g; i < n; i += 4 {
				if err := s.Put(context.Background(), key(i), body); err != nil {
					b.Error(err)
				}
			}
		})
	}
	work.Wait()
	puts := n / time.Since(begin).Seconds()
	begin = time.Now()
	count := 0
	if err := s.Read(context.Background(), func(e Signed) { count++ }); err != nil || count != n {
		b.Fatal(count, err)
	}
	read := time.Since(begin)
	sent := make(chan time.Time, 1)
	var took []time.Duration
	ready := make(chan bool, 1)
	ctx, cancel := context.WithCancel(context.Background())
	live := false
	begin = time.Now()
	work.Go(func() {
		err := s.Watch(ctx, func() {}, func(e Signed) {
			if live {
				took = append(took, time.Since(<-sent))
			}
		}, func(bool) { live = true; ready <- true })
		if err != nil {
			b.Error(err)
		}
	})
	<-ready
	watch := time.Since(begin)
	i := 0
	for b.Loop() {
		time.Sleep(5 * time.Millisecond)
		sent <- time.Now()
		put(b, s, key(i%n), string(binary.AppendUvarint(body[:len(body):len(body)], 1)))
		i++
	}
	until(b, "all came", 5*time.Second, func() bool { return len(sent) == 0 })
	cancel()
	work.Wait()
	quantiles(b, took)
	b.ReportMetric(puts, "puts/s")
	b.ReportMetric(float64(read.Milliseconds()), "read-ms")
	b.ReportMetric(float64(watch.Milliseconds()), "watch-ms")
	closeBus(b, bus)
}
