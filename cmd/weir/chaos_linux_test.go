package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"weir/sensor/bus"
	"weir/sensor/policy"
)

// Tests of what goes wrong around a gate. What is wanted is what the bucket and weir bans list say; what is enforced is what bpftool
// finds in the kernel, and what becomes of packets: the gate is a separate process, and so is what disturbs it.

// bastion is a host with a gate at its end of a cable. Ten others are at the other end.
type bastion struct {
	*cable
	state, config, pins string
	server              string // of NATS outside; "": the one inside weir run
	keys                *bus.Keys
	serial              atomic.Uint64
}

const guardedHost = "198.51.100.1"

// lapse is within what a drop must have ended: ends are whole seconds, and the first packet afterwards may have to wait for a loaded machine.
const lapse = 2 * time.Second

// other is one of the addresses at the other end, 0 to 9.
func other(i int) string { return fmt.Sprintf("198.51.100.%d", 10+i) }

// calm keeps the sensor from deciding by itself, and drops asked for by hand in force from the beginning.
const calm = "policy: {canary: 0s, severity: critical, rules: [{kind: flood, severity: never}, {kind: scan, severity: never}]}\n"

// newBastion makes the hosts. gate are settings of the gate, more are other settings.
func newBastion(t *testing.T, id, gate, more string) *bastion {
	t.Helper()
	need(t, "ip", "nsenter", "bpftool")
	dir := t.TempDir()
	b := &bastion{
		cable: newCable(t, id), state: filepath.Join(dir, "state"), config: filepath.Join(dir, "weir.yaml"), pins: filepath.Join(dir, "bpf"),
	}
	b.address(t)
	t.Cleanup(func() {
		_ = exec.Command("nsenter", "--net=/run/netns/"+b.far, "weir", "block", "--detach", "-i", "eth0", "--config", b.config).Run()
		_ = unix.Unmount(b.pins, 0)
	})
	b.configure(t, gate, more)
	var err error
	if b.keys, err = bus.OpenKeys(filepath.Join(b.state, keysFolder), true); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	within(t, b.far, func() { l, err = net.Listen("tcp", ":80") })
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{ReadHeaderTimeout: time.Minute}
	go web.Serve(l) //nolint:errcheck // until the end of the test
	t.Cleanup(func() { web.Close() })
	return b
}

// address gives both ends of the cable theirs.
func (b *bastion) address(t *testing.T) {
	t.Helper()
	address(t, b.far, "eth0", guardedHost+"/24")
	for i := range 10 {
		address(t, b.near, "eth0", other(i)+"/24")
	}
}

func (b *bastion) configure(t *testing.T, gate, more string) {
	t.Helper()
	if !strings.Contains(gate, "every:") {
		gate = "every: 300ms, " + gate
	}
	text := fmt.Sprintf("%sgate: {mode: xdp, pins: %s, %s}\n%s", modest, b.pins, gate, more)
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// outside starts a NATS server that is not weir's, with what it had before.
func (b *bastion) outside(t *testing.T, port int) *process {
	t.Helper()
	b.server = fmt.Sprintf("nats://127.0.0.1:%d", port)
	p := spawnPinning(t, b.far, "natsd", strconv.Itoa(port), filepath.Join(filepath.Dir(b.config), "nats"))
	await(t, "the NATS server is ready", func() bool { return strings.Contains(p.out.String(), "ready") })
	return p
}

// start starts weir run, or weir block, and waits until it is ready.
func (b *bastion) start(t *testing.T, command string) *served {
	t.Helper()
	w := &served{spawnPinning(t, b.far, "weir", command, "-i", "eth0", "--config", b.config, "--state", b.state), b.far, 9470}
	if command == "block" {
		w.port = 9471
	}
	said := ""
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("weir %s; /readyz: %s\n%s", command, said, w.err.String())
		}
	})
	await(t, "weir "+command+" is ready", func() (ready bool) {
		select {
		case <-w.ended:
			t.Fatalf("weir %s: %v", command, w.ProcessState)
		default:
		}
		var code int
		code, said = w.get("/readyz")
		return code == http.StatusOK
	})
	return w
}

// weir runs another command of weir on the guarded host.
func (b *bastion) weir(t *testing.T, args ...string) (out string) {
	t.Helper()
	p := spawnPinning(t, b.far, append([]string{"weir"}, append(args, "--state", b.state, "--config", b.config)...)...)
	if p.wait(t) != 0 {
		t.Fatalf("weir %s: %v: %s%s", strings.Join(args, " "), p.ProcessState, p.err.String(), p.out.String())
	}
	return p.out.String()
}

// ban asks for a drop as humans do, and waits until it is in force. It returns the drop's id.
func (b *bastion) ban(t *testing.T, target, span string) (id string) {
	t.Helper()
	var d decision
	out := b.weir(t, "bans", "add", target, "--for", span, "--reason", "chaos", "--format", "jsonl")
	if err := json.Unmarshal([]byte(out), &d); err != nil || d.Drop == nil {
		t.Fatalf("weir bans add printed %s: %v", out, err)
	}
	return d.Drop.ID
}

// jetstream is a connection to the site's server.
func (b *bastion) jetstream(t *testing.T) jetstream.JetStream {
	t.Helper()
	url := b.server
	if url == "" {
		url = (&sentry{state: b.state}).url(t)
	}
	js, err := jetstream.New(connect(t, b.far, url))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

const bucketName = "weir_drops_default"

func (b *bastion) bucket(t *testing.T) jetstream.KeyValue {
	t.Helper()
	js := b.jetstream(t)
	var kv jetstream.KeyValue
	await(t, "somebody made the bucket", func() bool {
		var err error
		if kv, err = js.KeyValue(t.Context(), bucketName); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) {
			t.Fatal(err)
		}
		return err == nil
	})
	return kv
}

// drop is the instruction to drop a source for a time.
func (b *bastion) drop(source string, span time.Duration) *policy.Drop {
	now := time.Now()
	d := &policy.Drop{
		Schema: policy.Schema, State: policy.Requested, Action: policy.DropAll, Created: now.Unix(), Until: now.Add(span).Unix(),
		By: "a test", Reason: "chaos", Summary: "chaos", Scope: policy.ScopePrefix,
	}
	if a, err := netip.ParseAddr(source); err == nil {
		d.Scope, d.IP = policy.ScopeAddress, a
	} else {
		d.Prefix = netip.MustParsePrefix(source)
	}
	sum := sha256.Sum256([]byte(d.Key()))
	d.ID = fmt.Sprintf("%x", sum[:8])
	return b.newer(d)
}

// newer gives a drop its next generation.
func (b *bastion) newer(d *policy.Drop) *policy.Drop {
	d.Generation = max(uint64(time.Now().UnixMicro()), d.Generation+1) + b.serial.Add(1)
	return d
}

// order writes instructions into the bucket, signed with the trusted key.
func (b *bastion) order(t *testing.T, kv jetstream.KeyValue, drops ...*policy.Drop) {
	t.Helper()
	for _, d := range drops {
		value, err := b.signed(d)
		if err == nil {
			_, err = kv.Put(t.Context(), d.Key(), value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bastion) signed(d *policy.Drop) ([]byte, error) {
	body, err := d.AppendLine(nil)
	if err != nil {
		return nil, err
	}
	return bus.Sign(b.keys, "default", d.Key(), body[:len(body)-1])
}

// reach reports whether a connection from an address of the other end comes about.
func (b *bastion) reach(t *testing.T, from string) bool {
	t.Helper()
	var err error
	within(t, b.near, func() {
		d := net.Dialer{Timeout: 500 * time.Millisecond, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		var c net.Conn
		if c, err = d.Dial("tcp", guardedHost+":80"); err == nil {
			c.Close()
		}
	})
	return err == nil
}

// cut holds that these cannot connect, and that their neighbour can.
func (b *bastion) cut(t *testing.T, sources ...string) {
	t.Helper()
	for _, s := range sources {
		if b.reach(t, s) {
			t.Errorf("%s is to be dropped, and connects", s)
		}
	}
	await(t, "the neighbour connects", func() bool { return b.reach(t, other(9)) })
}

// flow is a datagram each 2 ms from each of some sources, and when they came through.
type flow struct {
	mu            sync.Mutex
	sent, through map[string][]time.Time
	end           func()
}

// flow begins one. It ends with the test, or by end.
func (b *bastion) flow(t *testing.T, sources ...string) *flow {
	t.Helper()
	f := &flow{sent: map[string][]time.Time{}, through: map[string][]time.Time{}}
	var in *net.UDPConn
	var err error
	within(t, b.far, func() { in, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 9}) })
	if err != nil {
		t.Fatal(err)
	}
	var out []*net.UDPConn
	for _, s := range sources {
		within(t, b.near, func() {
			var c *net.UDPConn
			if c, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(s)}, &net.UDPAddr{IP: net.ParseIP(guardedHost), Port: 9}); err == nil {
				out = append(out, c)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { f.receive(in) })
	work.Go(func() { f.send(ctx, out, sources) })
	f.end = sync.OnceFunc(func() {
		cancel()
		in.Close()
		work.Wait()
		for _, c := range out {
			c.Close()
		}
	})
	t.Cleanup(f.end)
	return f
}

func (f *flow) receive(in *net.UDPConn) {
	text := make([]byte, 64)
	for {
		_, from, err := in.ReadFromUDPAddrPort(text)
		if err != nil {
			return
		}
		f.mu.Lock()
		s := from.Addr().Unmap().String()
		f.through[s] = append(f.through[s], time.Now())
		f.mu.Unlock()
	}
}

func (f *flow) send(ctx context.Context, out []*net.UDPConn, sources []string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for i, c := range out {
			now := time.Now()
			if _, err := c.Write([]byte("chaos")); err == nil {
				f.mu.Lock()
				f.sent[sources[i]] = append(f.sent[sources[i]], now)
				f.mu.Unlock()
			}
		}
	}
}

// came counts what was sent and what came through since a moment.
func (f *flow) came(source string, since time.Time) (sent, through int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	later := func(list []time.Time) int {
		i, _ := slices.BinarySearchFunc(list, since, time.Time.Compare)
		return len(list) - i
	}
	return later(f.sent[source]), later(f.through[source])
}

// first is when the first one came through after a moment.
func (f *flow) first(source string, since time.Time) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.through[source] {
		if at.After(since) {
			return at
		}
	}
	return time.Time{}
}

// nothing holds that nothing of a source came through since a moment, though it was sent, and that a neighbour's came.
func (f *flow) nothing(t *testing.T, source, neighbour string, since time.Time) {
	t.Helper()
	sent, through := f.came(source, since)
	if through != 0 || sent < 10 {
		t.Errorf("of %d packets of %s %d came through within %v", sent, source, through, time.Since(since))
	}
	if _, through := f.came(neighbour, since); through < 10 {
		t.Errorf("%d packets of its neighbour %s came through", through, neighbour)
	}
	t.Logf("%s: %d of %d packets through in %v", source, through, sent, time.Since(since).Round(time.Millisecond))
}

// entry is one of the kernel's, or what it is to be.
type kernelEntry struct {
	action byte
	until  int64 // unix s
}

// pinned is where the gate's maps are.
func (b *bastion) pinned(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob(filepath.Join(b.pins, "weir", "*", "eth0@*", name))
	if len(found) != 1 {
		t.Fatalf("pins %s: %q", name, found)
	}
	return found[0]
}

// dumped is a map's keys and values as bpftool sees them.
func (b *bastion) dumped(t *testing.T, name string) (list [][2][]byte) {
	t.Helper()
	out, err := exec.Command("bpftool", "-j", "map", "dump", "pinned", b.pinned(t, name)).CombinedOutput()
	var all []struct{ Key, Value []string }
	if err == nil {
		err = json.Unmarshal(out, &all)
	}
	if err != nil {
		t.Fatalf("bpftool: %v: %s", err, out)
	}
	for _, one := range all {
		list = append(list, [2][]byte{unhex(t, one.Key), unhex(t, one.Value)})
	}
	return list
}

func unhex(t *testing.T, words []string) (b []byte) {
	for _, w := range words {
		n, err := strconv.ParseUint(w, 0, 8)
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, byte(n))
	}
	return b
}

// bpftool changes the kernel's maps behind weir's back. Bytes are written in hex.
func (b *bastion) bpftool(t *testing.T, verb, name string, words ...any) {
	t.Helper()
	args := []string{"map", verb, "pinned", b.pinned(t, name)}
	for _, w := range words {
		if bytes, ok := w.([]byte); ok {
			for _, x := range bytes {
				args = append(args, fmt.Sprintf("%02x", x))
			}
		} else {
			args = append(args, fmt.Sprint(w), "hex")
		}
	}
	if out, err := exec.Command("bpftool", args...).CombinedOutput(); err != nil {
		t.Fatalf("bpftool %q: %v: %s", args, err, out)
	}
}

// kernel is what the kernel enforces of sources: those that have not expired, by key of the drop. struct entry of bpf/gate.bpf.c:
// its end, in ns of CLOCK_MONOTONIC, is first, its action is byte 28.
func (b *bastion) kernel(t *testing.T) map[string]kernelEntry {
	t.Helper()
	all := map[string]kernelEntry{}
	var mono unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	add := func(d *policy.Drop, v []byte) {
		left := time.Duration(int64(binary.NativeEndian.Uint64(v)) - mono.Nano())
		if left > 0 {
			all[d.Key()] = kernelEntry{v[28], now.Add(left).Round(time.Second).Unix()}
		}
	}
	for _, kv := range b.dumped(t, "hosts4") {
		add(&policy.Drop{Scope: policy.ScopeAddress, IP: netip.AddrFrom4([4]byte(kv[0]))}, kv[1])
	}
	for _, kv := range b.dumped(t, "nets4") {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte(kv[0][4:])), int(binary.NativeEndian.Uint32(kv[0])))
		add(&policy.Drop{Scope: policy.ScopePrefix, Prefix: p}, kv[1])
	}
	return all
}

// wanted is what the bucket asks for.
func (b *bastion) wanted(t *testing.T, kv jetstream.KeyValue) map[string]kernelEntry {
	t.Helper()
	all := map[string]kernelEntry{}
	w, err := kv.WatchAll(t.Context(), jetstream.IgnoreDeletes())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop() //nolint:errcheck // the connection may be gone
	for one := range w.Updates() {
		if one == nil {
			break
		}
		if one.Key() == "panic" {
			continue
		}
		var form struct{ Body string }
		if err := json.Unmarshal(one.Value(), &form); err != nil {
			t.Fatalf("%s: %v", one.Key(), err)
		}
		d, err := policy.ParseDrop([]byte(form.Body))
		if err != nil {
			t.Fatal(err)
		}
		if d.State == policy.Requested && d.Until > time.Now().Unix() {
			all[one.Key()] = kernelEntry{map[policy.Action]byte{policy.DropAll: 1, policy.DropNew: 2, policy.LimitNew: 3}[d.Action], d.Until}
		}
	}
	return all
}

// listed is what weir bans list prints: states by key.
func (b *bastion) listed(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(b.weir(t, "bans", "list", "--format", "jsonl")))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one struct {
			policy.Drop
			State string `json:"state"`
		}
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			t.Fatalf("weir bans list printed %s: %v", lines.Text(), err)
		}
		all[one.Key()] = one.State
	}
	return all
}

// agree waits until bucket, weir bans list and kernel say the same, so many drops.
func (b *bastion) agree(t *testing.T, n int) {
	t.Helper()
	kv := b.bucket(t)
	var wanted, kernel map[string]kernelEntry
	var listed map[string]string
	defer func() {
		if t.Failed() {
			t.Logf("the bucket wants %v\nthe kernel has  %v\nweir bans list: %v", wanted, kernel, listed)
		}
	}()
	await(t, "what is wanted is enforced", func() bool {
		wanted, kernel = b.wanted(t, kv), b.kernel(t)
		return len(wanted) == n && maps.EqualFunc(wanted, kernel, func(a, b kernelEntry) bool {
			return a.action == b.action && a.until-b.until <= 1 && b.until-a.until <= 1
		})
	})
	listed = b.listed(t)
	if len(listed) != n {
		t.Errorf("weir bans list shows %d drops, want %d", len(listed), n)
	}
	for key, state := range listed {
		if _, ok := kernel[key]; !ok || state != "applied" {
			t.Errorf("%s is %s, and in the kernel: %v", key, state, ok)
		}
	}
}

// TestChaosKill kills weir run with drops in force, twice. They go on in the kernel and end there by themselves; the next process
// takes them over, and not one packet comes through meanwhile.
func TestChaosKill(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchk", "", calm)
	w := b.start(t, "run")
	f := b.flow(t, other(0), other(1), other(9))
	b.ban(t, other(0), "10m")
	short := b.drop(other(1), 8*time.Second)
	b.order(t, b.bucket(t), short)
	b.agree(t, 2)
	begun := time.Now()
	for round := range 2 {
		if known := filepath.Join(b.state, blockFolder, "eth0", "known.json"); round == 1 { // in the first it may not be saved yet
			await(t, "the gate saved what it knows", func() bool {
				text, _ := os.ReadFile(known)
				return strings.Contains(string(text), other(0))
			})
		}
		if code := w.end(t, os.Kill); code != -1 {
			t.Fatalf("killed, it ends with %d", code)
		}
		time.Sleep(500 * time.Millisecond)
		b.cut(t, other(0))
		w = b.start(t, "run")
		w.awaitValue(t, 1, "weir_gate_attached")
	}
	if !strings.Contains(w.err.String(), `msg="drops of an earlier process were in force"`) {
		t.Error("the log does not tell of drops that were taken over")
	}
	if got := sumOf(w.scrape(t), "weir_gate_found_entries", `kind="adopted"`); got < 1 {
		t.Errorf("%v entries were adopted", got)
	}
	w.end(t, os.Kill)
	until := time.Unix(short.Until, 0)
	time.Sleep(time.Until(until.Add(1500 * time.Millisecond)))
	if late := f.first(other(1), begun).Sub(until); late < -100*time.Millisecond || late > lapse {
		t.Errorf("a drop lapsed %v after its end", late)
	}
	w = b.start(t, "run")
	b.agree(t, 1)
	b.cut(t, other(0))
	f.nothing(t, other(0), other(9), begun)
	w.awaitValue(t, 0, "weir_gate_drift_total")
}

// TestChaosKillOpens kills weir run with survive: false: the gate is open at once, and shut again after the next start.
func TestChaosKillOpens(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wcho", "survive: false", calm)
	w := b.start(t, "run")
	f := b.flow(t, other(0), other(9))
	b.ban(t, other(0), "10m")
	b.cut(t, other(0))
	killed := time.Now()
	w.end(t, os.Kill)
	await(t, "the gate is open", func() bool { return !f.first(other(0), killed).IsZero() })
	t.Logf("open %v after the kill", f.first(other(0), killed).Sub(killed))
	w = b.start(t, "run")
	w.awaitValue(t, 1, "weir_gate_drops_enforced")
	shut := time.Now()
	b.cut(t, other(0))
	f.nothing(t, other(0), other(9), shut)
}

// TestChaosSizes starts weir run with other sizes of its tables: they are made anew, and filled from what is known.
func TestChaosSizes(t *testing.T) {
	t.Parallel()
	b := newBastion(t, "wchs", "hosts4: 1000", calm)
	w := b.start(t, "run")
	f := b.flow(t, other(0), other(9))
	b.ban(t, other(0), "10m")
	b.order(t, b.bucket(t), b.drop("203.0.113.0/24", time.Hour), b.drop("203.0.114.7", time.Hour))
	b.agree(t, 3)
	if code := w.end(t, unix.SIGTERM); code != 0 {
		t.Fatalf("weir run ends with %d", code)
	}
	stopped := time.Now()
	b.configure(t, "hosts4: 2000", calm)
	w = b.start(t, "run")
	b.agree(t, 3)
	_, gap := f.came(other(0), stopped)
	t.Logf("%d packets of 500 a second came through while the tables were made anew", gap)
	if gap > 500 {
		t.Errorf("the gate was open for %d ms", 2*gap)
	}
	shut := time.Now()
	b.cut(t, other(0))
	f.nothing(t, other(0), other(9), shut)
	if !strings.Contains(w.err.String(), "the tables of an earlier run have another layout or other sizes: detached, and begun anew") {
		t.Error("the log does not tell that the tables were begun anew")
	}
	out, err := exec.Command("bpftool", "map", "show", "pinned", b.pinned(t, "hosts4")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "max_entries 2000") {
		t.Errorf("bpftool: %v: %s", err, out)
	}
}
