package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// Addresses that must never be dropped at the guarded server, beside its own and its router's.
const (
	resolverAt = "198.51.100.53"
	natsAt     = "198.51.100.44"
	neverAt    = "203.0.113.7"
)

// guarded is a server behind a gate, at a NATS server that is not weir's, and into whose bucket the test writes.
type guarded struct {
	*site
	*process
	state, config string
	pins          string
	events        *dropEvents
	js            jetstream.JetStream
	bucket        jetstream.KeyValue
	keys          *bus.Keys
	generation    uint64
}

// newGuarded starts natsd and weir run. Somebody is logged in by SSH, as far as anybody can see.
func newGuarded(t *testing.T, id, settings string) *guarded {
	t.Helper()
	need(t, "ip", "nsenter", "unshare", "bpftool")
	dir := t.TempDir()
	g := &guarded{
		site: newSite(t, id), state: filepath.Join(dir, "state"), config: filepath.Join(dir, "weir.yaml"), pins: filepath.Join(dir, "bpf"),
	}
	for _, a := range []string{router, client, natsAt} {
		g.neighbour(t, a, "/24")
	}
	command(t, "ip -n "+g.far+" route replace default via "+router)
	g.login(t)
	if err := os.Mkdir(g.pins, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", g.pins, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(g.pins, unix.MNT_DETACH) })
	resolv := filepath.Join(dir, "resolv.conf")
	for file, text := range map[string]string{
		g.config: fmt.Sprintf("gate: {pins: %s}\nnats: {servers: [\"nats://127.0.0.1:4222\", \"nats://%s:4222\"]}\n%s", g.pins, natsAt, settings),
		resolv:   "nameserver " + resolverAt + "\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := spawn(t, g.far, "natsd", "4222", filepath.Join(dir, "nats"))
	await(t, "natsd is ready", func() bool { return server.out.String() == "ready\n" })
	g.listen(t)
	t.Cleanup(func() {
		command(t, "nsenter --net=/run/netns/"+g.far+" weir block --detach -i eth0 --config "+g.config)
	})
	g.process = launch(t, "nsenter", "--net=/run/netns/"+g.far, "unshare", "--mount", "sh", "-c",
		`mount --bind "$0" /etc/resolv.conf && exec "$@"`, resolv, "weir", "run", "-i", "eth0", "--state", g.state, "--config", g.config, "--format", "none")
	w := &sentry{process: g.process, ns: g.far, state: g.state}
	w.watches(t)
	w.ready(t)
	g.open(t)
	return g
}

// login opens a connection to port 22 of the server.
func (g *guarded) login(t *testing.T) {
	t.Helper()
	var err error
	within(t, g.far, func() {
		var l net.Listener
		if l, err = net.Listen("tcp", ":22"); err == nil {
			t.Cleanup(func() { l.Close() })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	within(t, g.near, func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: 5 * time.Second}
		var c net.Conn
		if c, err = d.Dial("tcp", gate+":22"); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listen takes note of all events of drops.
func (g *guarded) listen(t *testing.T) {
	t.Helper()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.SetCustomDialer(dialer{g.far}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	g.events = new(dropEvents)
	if _, err = nc.Subscribe("weir.v1.*.*.drop.>", func(m *nats.Msg) { g.events.take(t, m.Data) }); err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if g.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
}

// open opens the bucket and the site's keys.
func (g *guarded) open(t *testing.T) {
	t.Helper()
	var err error
	if g.bucket, err = g.js.KeyValue(context.Background(), "weir_drops_default"); err != nil {
		t.Fatal(err)
	}
	if g.keys, err = bus.OpenKeys(filepath.Join(g.state, keysFolder), false); err != nil {
		t.Fatal(err)
	}
	g.generation = uint64(time.Now().UnixMicro())
}

// order is a drop as somebody writes it who has the site's key and does not ask the policy.
func (g *guarded) order(target string) *policy.Drop {
	d, err := parseTarget(target)
	if err != nil {
		panic(err)
	}
	g.generation++
	now := time.Now().Unix()
	d.Schema, d.ID, d.Generation, d.State, d.Action = policy.Schema, fmt.Sprintf("%016x", g.generation), g.generation, policy.Requested, policy.DropAll
	d.Created, d.Until, d.By, d.Reason, d.Summary = now, now+600, "mallory", "a test", "A test."
	return &d
}

func (g *guarded) sign(t *testing.T, keys *bus.Keys, d *policy.Drop) []byte {
	t.Helper()
	line, err := d.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	value, err := bus.Sign(keys, "default", d.Key(), line[:len(line)-1])
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func (g *guarded) put(t *testing.T, key string, value []byte) {
	t.Helper()
	if _, err := g.bucket.Put(context.Background(), key, value); err != nil {
		t.Fatal(err)
	}
}

// bans runs weir bans, and returns its exit code and what it printed.
func (g *guarded) bans(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	p := spawnPinning(t, g.far, append(append([]string{"weir", "bans"}, args...), "--state", g.state, "--config", g.config)...)
	code = p.wait(t)
	return code, p.out.String(), p.err.String()
}

// refused reports whether the gate told of a key that a guard refused it.
func (g *guarded) refused(key, guard string) bool {
	g.events.mu.Lock()
	defer g.events.mu.Unlock()
	return slices.ContainsFunc(g.events.receipts, func(r enforce.Receipt) bool {
		return r.State == enforce.ReceiptRefused && r.Key == key && r.Guard == guard && r.Sentence != ""
	})
}

// held are the sources in the gate's maps, as bpftool shows them.
func (g *guarded) held(t *testing.T) (list []string) {
	t.Helper()
	for _, m := range []string{"hosts4", "hosts6", "nets4", "nets6", "services"} {
		found, _ := filepath.Glob(filepath.Join(g.pins, "weir", "*", "eth0@*", m))
		if len(found) != 1 {
			t.Fatalf("map %s is pinned %d times", m, len(found))
		}
		text, err := exec.Command("bpftool", "map", "dump", "pinned", found[0], "-j").Output()
		var entries []struct{ Key []string }
		if err == nil {
			err = json.Unmarshal(text, &entries)
		}
		if err != nil {
			t.Fatalf("bpftool: %v: %s", err, text)
		}
		for _, e := range entries {
			key, err := hex.DecodeString(strings.ReplaceAll(strings.Join(e.Key, ""), "0x", ""))
			if a, ok := netip.AddrFromSlice(key); err == nil && ok {
				list = append(list, a.String())
			} else {
				list = append(list, fmt.Sprintf("%s %x", m, key))
			}
		}
	}
	slices.Sort(list)
	return list
}

// listed are the lines of weir bans list, by key and guard: the state.
func (g *guarded) listed(t *testing.T) map[string]string {
	t.Helper()
	code, out, text := g.bans(t, "list", "--format", "jsonl")
	if code != 0 {
		t.Fatalf("weir bans list: %d, %s", code, text)
	}
	all := map[string]string{}
	for line := range strings.Lines(out) {
		var b struct{ Key, State, Guard string }
		if err := json.Unmarshal([]byte(line), &b); err != nil || b.Key == "" {
			t.Fatalf("weir bans list printed %s: %v", line, err)
		}
		all[b.Key+" "+b.Guard] = b.State
	}
	return all
}

// TestGuards tries to have a gate drop what it must never drop, and to have it do what nobody may ask for: by hand, and past the
// policy with instructions that the site's own key signed, so that only the gate is left to refuse.
func TestGuards(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "gd", "networks: {never: [203.0.113.0/24]}\n")
	type attempt struct{ key, guard string }
	var want []attempt
	for _, a := range []struct{ target, guard string }{
		{gate, "own_address"},
		{"10.20.0.10", "own_address"},
		{"198.51.100.0/24", "own_address"},
		{router, "gateway"},
		{resolverAt, "resolver"},
		{client, "ssh_peer"},
		{natsAt, "nats_server"},
		{neverAt, "never_list"},
		{"203.0.113.0/25", "never_list"},
		{"0.0.0.0/0", "prefix_too_wide"},
		{"::/0", "prefix_too_wide"},
		{"10.77.0.1", "private_range"},
		{"127.0.0.1", "own_address"},
		{"169.254.9.9", "special_range"},
	} {
		code, _, text := g.bans(t, "add", a.target, "--for", "10m", "--reason", "a test")
		if code != exitFailed || !strings.Contains(text, "(guard "+a.guard+")") {
			t.Errorf("weir bans add %s: %d, %s; want guard %s", a.target, code, text, a.guard)
		}
		d := g.order(a.target)
		g.put(t, d.Key(), g.sign(t, g.keys, d))
		want = append(want, attempt{d.Key(), a.guard})
	}

	plain := g.order("192.0.2.101")
	line, _ := plain.AppendLine(nil)
	g.put(t, plain.Key(), line)
	want = append(want, attempt{plain.Key(), "unsigned"})

	tampered := g.order("192.0.2.102")
	g.put(t, tampered.Key(), []byte(strings.Replace(string(g.sign(t, g.keys, tampered)), "mallory", "nobody1", 1)))
	want = append(want, attempt{tampered.Key(), "forged"})

	elsewhere := g.order("192.0.2.103")
	g.put(t, g.order("192.0.2.104").Key(), g.sign(t, g.keys, elsewhere))
	want = append(want, attempt{"address.192.0.2.104", "forged"})

	stranger, err := bus.OpenKeys(filepath.Join(t.TempDir(), "keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	untrusted := g.order("192.0.2.105")
	g.put(t, untrusted.Key(), g.sign(t, stranger, untrusted))
	want = append(want, attempt{untrusted.Key(), "untrusted"})

	malformed := g.order("192.0.2.106")
	malformed.Action = policy.Limit
	g.put(t, malformed.Key(), g.sign(t, g.keys, malformed))
	want = append(want, attempt{malformed.Key(), "malformed"})

	old := g.order("192.0.2.107")
	first := g.sign(t, g.keys, old)
	g.put(t, old.Key(), first)
	await(t, "192.0.2.107 is in the kernel", func() bool { return slices.Contains(g.held(t), "192.0.2.107") })
	longer := *old
	longer.Generation, longer.Until = g.order("192.0.2.1").Generation, old.Until+60
	g.put(t, longer.Key(), g.sign(t, g.keys, &longer))
	await(t, "the newer one is in force", func() bool { return g.events.has(enforce.ReceiptApplied, longer.ID, longer.Generation) })
	g.put(t, old.Key(), first)
	want = append(want, attempt{old.Key(), "replayed"})

	code, out, text := g.bans(t, "add", "192.0.2.108", "--for", "10m", "--reason", "a test")
	if code != exitDone || !strings.Contains(text, "applied at ") {
		t.Fatalf("weir bans add: %d, %s%s", code, out, text)
	}
	entry, err := g.bucket.Get(context.Background(), "address.192.0.2.108")
	if err != nil {
		t.Fatal(err)
	}
	if code, _, text := g.bans(t, "remove", "192.0.2.108", "--reason", "a test"); code != exitDone {
		t.Fatalf("weir bans remove: %d, %s", code, text)
	}
	await(t, "192.0.2.108 is not in the kernel", func() bool { return !slices.Contains(g.held(t), "192.0.2.108") })
	g.put(t, entry.Key(), entry.Value())
	want = append(want, attempt{entry.Key(), "replayed"})

	for _, a := range want {
		await(t, fmt.Sprintf("the gate refuses %s by guard %s; it told\n%s", a.key, a.guard, g.events), func() bool { return g.refused(a.key, a.guard) })
	}
	await(t, "the kernel is looked over again", func() bool { return g.events.quiet() })
	if held := g.held(t); !slices.Equal(held, []string{"192.0.2.107"}) {
		t.Errorf("the kernel holds %q", held)
	}
	await(t, "the sensor has buried again what was brought back", func() bool {
		now, err := g.bucket.Get(context.Background(), entry.Key())
		return err == nil && !bytes.Equal(now.Value(), entry.Value())
	})
	listed := g.listed(t)
	for _, a := range want {
		if a.key == entry.Key() {
			continue
		}
		if s := listed[a.key+" "+a.guard]; s != "refused" {
			t.Errorf("weir bans list: %s, guard %s: %q", a.key, a.guard, s)
		}
	}
	if s := listed["address.192.0.2.107 "]; s != "applied" {
		t.Errorf("weir bans list: 192.0.2.107 is %q", s)
	}
	if s, there := listed["address.192.0.2.108 "]; there {
		t.Errorf("weir bans list: 192.0.2.108, which was removed, is %q", s)
	}
	if t.Failed() {
		t.Log(listed)
	}
}

// has reports whether a receipt came.
func (d *dropEvents) has(state, id string, generation uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.receipts, func(r enforce.Receipt) bool { return r.State == state && r.Drop == id && r.Generation == generation })
}

// quiet waits as long as a reconcile takes at most, and reports whether no receipt came meanwhile.
func (d *dropEvents) quiet() bool {
	n := d.count("")
	time.Sleep(enforce.Defaults().Every + 500*time.Millisecond)
	return d.count("") == n
}

// count is how many receipts there are, of a guard or of all.
func (d *dropEvents) count(guard string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.receipts {
		if guard == "" || d.receipts[i].Guard == guard {
			n++
		}
	}
	return n
}

// TestGuardCaps writes more drops than a gate takes, signed by the site's own key.
func TestGuardCaps(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "gc", "policy: {max_per_second: 5, max_drops: 53}\n")
	const most, atOnce, asked = 53, 50, 70
	for i := range asked {
		d := g.order("192.0.2." + strconv.Itoa(i+1))
		g.put(t, d.Key(), g.sign(t, g.keys, d))
	}
	begun := time.Now()
	await(t, "the gate took what it may take at once", func() bool { return len(g.held(t)) >= atOnce })
	if n, may := len(g.held(t)), atOnce+int(5*(1+time.Since(begun).Seconds()+1)); n > may {
		t.Errorf("%d drops at once, %d may be", n, may)
	}
	await(t, "cap_rate refuses", func() bool { return g.events.count("cap_rate") > 0 })
	await(t, "cap_total refuses the rest", func() bool { return g.events.count("cap_total") >= asked-most })
	if !g.events.quiet() {
		time.Sleep(enforce.Defaults().Every)
	}
	if held := g.held(t); len(held) != most {
		t.Errorf("the kernel holds %d drops, and %d is the most", len(held), most)
	}
	states := map[string]int{}
	for key, state := range g.listed(t) {
		states[state+key[strings.LastIndex(key, " "):]]++
	}
	if states["applied "] != most || states["refused cap_total"] != asked-most {
		t.Errorf("weir bans list: %v", states)
	}
}
