package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// run starts a NATS server as its users do, on any port of 127.0.0.1 unless told otherwise.
func run(t testing.TB, change func(*server.Options)) *server.Server {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, NoSigs: true, NoLog: true}
	if change != nil {
		change(o)
	}
	if o.JetStream && o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stop(s) })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not serve")
	}
	return s
}

func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// freeAddress is one that nobody listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func portOf(t testing.TB, address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func outside(urls ...string) Config {
	c := Defaults()
	c.Servers = urls
	return c
}

// stored returns the ids of what a stream holds, in order, with the messages. It reads them one by one, as nothing here does.
func stored(t testing.TB, url, stream string, opts ...nats.Option) (ids []string, messages []*jetstream.RawStreamMsg) {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	s, err := js.Stream(ctx, stream)
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo().State
	if info.Msgs == 0 {
		return nil, nil
	}
	for i := info.FirstSeq; i <= info.LastSeq; i++ {
		m, err := s.GetMsg(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, m.Header.Get("Nats-Msg-Id"))
		messages = append(messages, m)
	}
	return ids, messages
}

func until(t testing.TB, what string, d time.Duration, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * d); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, 3*d)
		}
	}
}

// fewer is n, and in -short, as under the race detector, a quarter of it.
func fewer(n int) int {
	if testing.Short() {
		return (n + 3) / 4
	}
	return n
}

func published(b *Bus, k Kind, n uint64) func() bool {
	return func() bool { return b.Stats().Kinds[k].Published >= n }
}

// balanced checks that each message is somewhere.
func balanced(t testing.TB, b *Bus) {
	t.Helper()
	for k := range Kind(laneCount) {
		var s KindStats
		adds := func() bool {
			s = b.Stats().Kinds[k]
			return s.Accepted+s.Inherited == s.Published+s.Pending+s.lost()
		}
		for deadline := time.Now().Add(2 * time.Second); !adds() && time.Now().Before(deadline); { // some may be between two counters
			time.Sleep(time.Millisecond)
		}
		if !adds() {
			t.Errorf("%v: does not add up: %+v", k, s)
		}
	}
}

// write is a process that publishes alerts, each with an event of a drop, as fast as it can until it is killed, and says which are safe.
func write(dir, server, round string) {
	cfg := embedded()
	if server != "" {
		cfg = outside(server)
	}
	b, err := Open(context.Background(), cfg, Identity{"kill", "writer"}, dir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		id := fmt.Sprintf("%s-%d.1", round, i)
		if err := b.Alert("scan", "high", id, fmt.Appendf(nil, `{"id":%q,"fill":"%0*d"}`, id, i%700, 0)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if err := b.Drop("applied", id, []byte("{}")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if _, err := fmt.Println(id); err != nil {
			os.Exit(1)
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond) // others need the processors, too
		}
	}
}

// writeAndKill runs a writer, kills it at a random time, and returns what it said was safe.
func writeAndKill(t *testing.T, dir, server string, round int) (safe []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_BUS_WRITER="+dir, "WEIR_BUS_SERVER="+server, fmt.Sprint("WEIR_BUS_ROUND=", round))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	time.AfterFunc(time.Duration(100+rand.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line without its end was not said
		}
		safe = append(safe, line[:len(line)-1])
	}
	_ = cmd.Wait() // it was killed
	return safe
}

// checkKilled compares what is in the stream with what was said to be safe.
func checkKilled(t *testing.T, safe, ids []string, rounds int) {
	t.Helper()
	seen := map[string]int{}
	for _, id := range ids {
		seen[id]++
	}
	for _, id := range safe {
		if seen[id] == 0 {
			t.Fatalf("%s is lost; %d were safe, %d arrived", id, len(safe), len(ids))
		}
	}
	// What arrived and was not said was cut off between Alert and the pipe: one a round.
	if extra := len(seen) - len(safe); len(safe) == 0 || extra > rounds {
		t.Errorf("%d safe, %d arrived", len(safe), len(seen))
	}
	if len(ids) != len(seen) {
		t.Errorf("%d arrived, %d of them different: the server did not dedupe", len(ids), len(seen))
	}
	t.Logf("%d alerts in %d rounds", len(ids), rounds)
}

func TestKilledWithoutServer(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	rounds := fewer(8)
	var safe []string
	wrote := 0 // rounds: on a slow machine a writer is killed before its first alert
	for i := range rounds {
		before := len(safe)
		if safe = append(safe, writeAndKill(t, dir, "nats://"+address, i)...); len(safe) > before {
			wrote++
		}
	}
	s := run(t, func(o *server.Options) { o.Port = portOf(t, address) })
	b, err := Open(within(t, time.Minute), outside("nats://"+address), Identity{"kill", "writer"}, dir, logTo(t))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "published", 20*time.Second, b.idle)
	balanced(t, b)
	closeBus(t, b)
	if torn := b.Stats().Outbox; torn.Damaged > 0 {
		t.Errorf("%+v", torn)
	}
	ids, messages := stored(t, s.ClientURL(), "WEIR_ALERTS_kill")
	checkKilled(t, safe, ids, rounds)
	drops, _ := stored(t, s.ClientURL(), "WEIR_DROPS_kill")
	checkKilled(t, safe, drops, rounds)
	// The order is that of the writers, and so are their sequences.
	boots, last := map[string]bool{}, 0
	for i, m := range messages {
		boot := m.Header.Get(BootHeader)
		n, err := strconv.Atoi(m.Header.Get(SequenceHeader))
		if err != nil {
			t.Fatal(err)
		}
		if !boots[boot] {
			boots[boot], last = true, 0
		}
		if n != last+1 {
			t.Fatalf("message %d: boot %s, sequence %d after %d", i, boot, n, last)
		}
		last = n
	}
	if len(boots) < wrote || len(boots) > rounds || wrote == 0 {
		t.Errorf("%d boots, and %d rounds that wrote", len(boots), wrote)
	}
}

func TestKilledWithServer(t *testing.T) {
	s := run(t, nil)
	dir := t.TempDir()
	rounds := fewer(6)
	var safe []string
	for i := range rounds {
		safe = append(safe, writeAndKill(t, dir, s.ClientURL(), i)...)
	}
	b, err := Open(within(t, time.Minute), outside(s.ClientURL()), Identity{"kill", "writer"}, dir, logTo(t))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "published", 10*time.Second, func() bool { return b.open.Load() && b.idle() })
	closeBus(t, b)
	for _, stream := range []string{"WEIR_ALERTS_kill", "WEIR_DROPS_kill"} {
		ids, _ := stored(t, s.ClientURL(), stream)
		checkKilled(t, safe, ids, rounds)
	}
}

// The server inside is killed with the process: what it acknowledged must be on its disk.
func TestKilledEmbedded(t *testing.T) {
	dir := t.TempDir()
	rounds := fewer(6)
	var safe []string
	for i := range rounds {
		safe = append(safe, writeAndKill(t, dir, "", i)...)
	}
	b, err := Open(within(t, time.Minute), embedded(), Identity{"kill", "writer"}, dir, logTo(t))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "published", 10*time.Second, b.idle)
	url, err := os.ReadFile(dir + "/" + urlFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []string{"WEIR_ALERTS_kill", "WEIR_DROPS_kill"} {
		ids, _ := stored(t, string(url[:len(url)-1]), stream)
		checkKilled(t, safe, ids, rounds)
	}
	closeBus(t, b)
}

// load publishes until it is told to stop, and returns how many alerts and flows; drops are as many as alerts.
func load(t testing.TB, b *Bus, every time.Duration) (end func() (alerts, flows int)) {
	var work sync.WaitGroup
	done := make(chan struct{})
	var n, slow int
	work.Go(func() {
		for ; ; n++ {
			select {
			case <-done:
				return
			case <-time.After(every):
			}
			begin := time.Now()
			if err := b.Alert("flood", "critical", fmt.Sprintf("load%d.1", n), []byte(`{"a":1}`)); err != nil {
				t.Error(err)
			}
			if err := b.Drop("applied", fmt.Sprintf("load%d.1", n), []byte(`{"d":1}`)); err != nil {
				t.Error(err)
			}
			b.Flow([]byte(`{"f":1}`))
			if time.Since(begin) > writeTimeout/2 { // a disk may be slow, who waits for a server is slower
				slow++
			}
		}
	})
	return func() (int, int) {
		close(done)
		work.Wait()
		if slow > 1+n/200 { // once a machine may have had other things to do
			t.Errorf("publishing waited %d times of %d", slow, n)
		}
		return n, n
	}
}

func TestServerRestarts(t *testing.T) {
	address, store := freeAddress(t), t.TempDir()
	start := func() *server.Server {
		return run(t, func(o *server.Options) { o.Port, o.StoreDir = portOf(t, address), store })
	}
	s := start()
	b := open(t, outside("nats://"+address), t.TempDir())
	end := load(t, b, 200*time.Microsecond)
	restarts := fewer(20)
	for range restarts {
		before := b.Stats().Kinds[Alert].Published
		until(t, "published between restarts", 10*time.Second, published(b, Alert, before+20))
		stop(s)
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		s = start()
	}
	alerts, flows := end()
	until(t, "published", 20*time.Second, func() bool { return b.open.Load() && b.idle() })
	closeBus(t, b)
	balanced(t, b)
	stats := b.Stats()
	for k := range Kind(laneCount) {
		if n := stats.Kinds[k]; n.Published != uint64(alerts) || n.lost() != 0 {
			t.Errorf("%v: %d accepted, %+v", k, alerts, n)
		}
	}
	if stats.Reconnects < uint64(restarts) {
		t.Errorf("%d reconnects", stats.Reconnects)
	}
	for stream, n := range map[string]int{"WEIR_ALERTS_site_2Eone": alerts, "WEIR_DROPS_site_2Eone": alerts, "WEIR_FLOWS_site_2Eone": flows} {
		ids, _ := stored(t, s.ClientURL(), stream)
		unique := maps.Collect(func(yield func(string, bool) bool) {
			for _, id := range ids {
				yield(id, true)
			}
		})
		if len(unique) != n || len(ids) != n {
			t.Errorf("%s: %d messages, %d different, of %d", stream, len(ids), len(unique), n)
		}
	}
	t.Logf("%d alerts and as many flows; alerts %+v; %d reconnects", alerts, stats.Kinds[Alert], stats.Reconnects)
}

// cluster starts three servers that are one.
func cluster(t *testing.T) []*server.Server {
	t.Helper()
	var routes []*url.URL
	var addresses []string
	for range 3 {
		a := freeAddress(t)
		addresses = append(addresses, a)
		routes = append(routes, &url.URL{Scheme: "nats", Host: a})
	}
	var all []*server.Server
	for i, a := range addresses {
		all = append(all, run(t, func(o *server.Options) {
			o.ServerName, o.Routes = fmt.Sprint("node", i), routes
			o.Cluster = server.ClusterOpts{Name: "weir", Host: "127.0.0.1", Port: portOf(t, a)}
		}))
	}
	until(t, "a leader of the cluster", 30*time.Second, func() bool {
		return slices.ContainsFunc(all, func(s *server.Server) bool { return s.JetStreamIsLeader() }) &&
			!slices.ContainsFunc(all, func(s *server.Server) bool { return !s.JetStreamIsCurrent() })
	})
	return all
}

func TestCluster(t *testing.T) {
	for _, leader := range []bool{true, false} {
		t.Run(fmt.Sprintf("leader=%v", leader), func(t *testing.T) {
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
			end := load(t, b, time.Millisecond)
			until(t, "published", 20*time.Second, published(b, Alert, 100))
			nc, err := nats.Connect(urls[0] + "," + urls[1] + "," + urls[2])
			if err != nil {
				t.Fatal(err)
			}
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			s, err := js.Stream(within(t, 5*time.Second), "WEIR_ALERTS_site_2Eone")
			if err != nil {
				t.Fatal(err)
			}
			info := s.CachedInfo()
			nc.Close()
			if info.Config.Replicas != 3 {
				t.Errorf("%d replicas", info.Config.Replicas)
			}
			i := slices.IndexFunc(nodes, func(n *server.Server) bool { return (n.Name() == info.Cluster.Leader) == leader })
			stop(nodes[i])
			before := b.Stats().Kinds[Alert].Published
			until(t, "alerts go on", 30*time.Second, published(b, Alert, before+500))
			alerts, _ := end()
			closeBus(t, b)
			ids, _ := stored(t, urls[(i+1)%3], "WEIR_ALERTS_site_2Eone")
			slices.Sort(ids)
			if n := len(slices.Compact(ids)); n != alerts {
				t.Errorf("%d of %d alerts", n, alerts)
			}
			balanced(t, b)
			t.Logf("%d alerts, %+v", alerts, b.Stats().Kinds[Alert])
		})
	}
}

// proxy passes a TCP connection on until it stalls.
type proxy struct {
	listener net.Listener
	stalled  atomic.Bool
	work     sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	p.work.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			c, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, a, c)
			p.mu.Unlock()
			p.work.Go(func() { p.pass(a, c) })
			p.work.Go(func() { p.pass(c, a) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.stalled.Store(false)
		p.work.Wait()
	})
	return p
}

func (p *proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 4096)
	for {
		for p.stalled.Load() {
			time.Sleep(time.Millisecond)
		}
		n, err := from.Read(b)
		if err == nil {
			for p.stalled.Load() {
				time.Sleep(time.Millisecond)
			}
			_, err = to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// A server that stands still, with all buffers on the way full, holds nobody up.
func TestStalledServer(t *testing.T) {
	t.Parallel()
	s := run(t, nil)
	p := newProxy(t, s.Addr().String())
	b := open(t, outside("nats://"+p.listener.Addr().String()), t.TempDir())
	until(t, "ready", 10*time.Second, func() bool { return b.Ready() == nil })
	p.stalled.Store(true)
	big := make([]byte, 20_000) // fills what the kernel buffers
	var slowest time.Duration
	n := 0
	for begin := time.Now(); time.Since(begin) < 7*time.Second && n < 2000; n++ {
		at := time.Now()
		if err := b.Alert("scan", "low", fmt.Sprintf("%d.1", n), big); err != nil {
			t.Fatal(err)
		}
		b.Flow(big)
		b.Health(big)
		_ = b.Stats()
		_ = b.Ready()
		slowest = max(slowest, time.Since(at))
		if n >= 500 {
			time.Sleep(4 * time.Millisecond) // on past the time-out of writing
		}
	}
	t.Logf("slowest of %d: %v", n, slowest)
	if slowest > writeTimeout/2 {
		t.Errorf("publishing waited %v", slowest)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := b.Close(ctx)
	if d := time.Since(begin); err == nil || d > 2*time.Second {
		t.Errorf("closed after %v: %v", d, err)
	}
	balancedLeft(t, b)
}

// balancedLeft is balanced after Close with messages left.
func balancedLeft(t *testing.T, b *Bus) {
	t.Helper()
	for k := range Kind(laneCount) {
		s := b.Stats().Kinds[k]
		if s.Accepted != s.Published+uint64(b.outbox.left(k))+s.lost() {
			t.Errorf("%v: %d left, %+v", k, b.outbox.left(k), s)
		}
	}
}

func TestLeftForNextStart(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	cfg := outside("nats://" + address)
	b := open(t, cfg, dir)
	for i := range 300 {
		if err := b.Alert("scan", "low", fmt.Sprintf("%d.1", i), payloadOf(i)); err != nil {
			t.Fatal(err)
		}
		if err := b.Drop("applied", fmt.Sprintf("%d.1", i), payloadOf(i)); err != nil {
			t.Fatal(err)
		}
		b.Flow(payloadOf(i))
	}
	if err := b.Ready(); err == nil {
		t.Error("ready without a server")
	}
	b.Health([]byte("{}"))
	begin := time.Now()
	err := b.Close(within(t, 10*time.Second))
	if err == nil || time.Since(begin) > 2*time.Second || !strings.Contains(err.Error(), "300 events of drops, 300 alerts and 300 flows are not published") {
		t.Errorf("closed after %v: %v", time.Since(begin), err)
	}
	t.Log(err)
	if s := b.Stats().Kinds[Health]; s.Dropped[Offline] != 1 {
		t.Errorf("health: %+v", s)
	}
	if err := b.Alert("scan", "low", "x", nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := b.Drop("applied", "x", nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}

	s := run(t, func(o *server.Options) { o.Port = portOf(t, address) })
	b = open(t, cfg, dir)
	until(t, "published", 10*time.Second, func() bool {
		return published(b, Alert, 300)() && published(b, Flow, 300)() && published(b, Drop, 300)()
	})
	balanced(t, b)
	if in := b.Stats().Kinds[Flow].Inherited; in != 300 {
		t.Errorf("%d flows inherited", in)
	}
	closeBus(t, b)
	for _, stream := range []string{"WEIR_ALERTS_site_2Eone", "WEIR_DROPS_site_2Eone", "WEIR_FLOWS_site_2Eone"} {
		_, messages := stored(t, s.ClientURL(), stream)
		for i, m := range messages {
			if string(m.Data) != string(payloadOf(i)) {
				t.Fatalf("%s: message %d is %s", stream, i, m.Data)
			}
		}
		if len(messages) != 300 {
			t.Errorf("%s: %d messages", stream, len(messages))
		}
	}
}

// The bound is reached while the server is away: flows go first, and what arrives is what was not counted as lost.
func TestBoundReached(t *testing.T) {
	address := freeAddress(t)
	cfg := outside("nats://" + address)
	cfg.OutboxMiB = 1
	b := open(t, cfg, t.TempDir())
	const flows, alerts = 3000, 1500
	payload := make([]byte, 1000)
	for range flows {
		b.Flow(payload)
	}
	until(t, "flows on disk", 10*time.Second, func() bool { return len(b.waiting[Flow].records) == 0 })
	if n := b.Stats().Kinds[Flow]; n.lost() == 0 || n.lost() > flows-900 {
		t.Errorf("flows: %+v", n)
	}
	for i := range alerts {
		if err := b.Alert("scan", "low", fmt.Sprintf("%d.1", i), payload); err != nil {
			t.Fatal(err)
		}
		if n := b.Stats(); n.Kinds[Alert].lost() > 0 && n.Kinds[Flow].Pending > 0 || n.Outbox.Bytes > 1<<20 {
			t.Fatalf("%+v", n)
		}
	}
	balanced(t, b)
	stats := b.Stats()
	if n := stats.Kinds[Alert]; n.lost() != n.Dropped[Evicted] || n.lost() == 0 {
		t.Errorf("alerts: %+v", n)
	}
	s := run(t, func(o *server.Options) { o.Port = portOf(t, address) })
	until(t, "published", 10*time.Second, b.idle)
	closeBus(t, b)
	ids, _ := stored(t, s.ClientURL(), "WEIR_ALERTS_site_2Eone")
	lost := int(stats.Kinds[Alert].lost())
	if len(ids) != alerts-lost || ids[0] != fmt.Sprintf("%d.1", lost) {
		t.Errorf("%d arrived from %s on, %d of %d counted as lost", len(ids), ids[0], lost, alerts)
	}
	ids, _ = stored(t, s.ClientURL(), "WEIR_FLOWS_site_2Eone")
	if n := b.Stats().Kinds[Flow]; len(ids) != flows-int(n.lost()) {
		t.Errorf("%d flows arrived: %+v", len(ids), n)
	}
}

func TestTooLarge(t *testing.T) {
	s := run(t, func(o *server.Options) { o.MaxPayload = 10_000 })
	b := open(t, outside(s.ClientURL()), t.TempDir())
	for i := range 10 {
		if err := b.Alert("scan", "low", fmt.Sprintf("%d.1", i), make([]byte, 2000*i)); err != nil {
			t.Fatal(err)
		}
	}
	b.Flow(make([]byte, 20_000))
	until(t, "done", 10*time.Second, func() bool { return b.open.Load() && b.idle() })
	balanced(t, b)
	if n := b.Stats().Kinds; n[Alert].Published != 5 || n[Alert].Dropped[TooLarge] != 5 || n[Flow].Dropped[TooLarge] != 1 {
		t.Errorf("%+v", n)
	}
	closeBus(t, b)
}

// A message that the server never takes does not hold up the others, nor keep the processor busy.
func TestOneThatFails(t *testing.T) {
	const denied = "weir.v1.site_2Eone.*.alert.scan.info"
	s := run(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "u", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{">"}, Deny: []string{denied}},
		}}}
	})
	b := open(t, outside("nats://u:p@"+s.Addr().String()), t.TempDir())
	if err := b.Alert("scan", "info", "denied.1", nil); err != nil {
		t.Fatal(err)
	}
	const n = 5000
	for i := range n {
		if err := b.Alert("scan", "low", fmt.Sprintf("%d.1", i), payloadOf(i)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all others published", 20*time.Second, published(b, Alert, n))
	balanced(t, b)
	if s := b.Stats().Kinds[Alert]; s.Pending != 1 || s.Retried > 10 {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); err == nil {
		t.Error("nothing left?")
	}
}
