package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"

	"weir/sensor/enforce"
)

// pair is a sensor and a gate as they are on two machines: with state folders and keys of their own, at somebody else's NATS server.
// That they are one host here is the test's convenience: the gate is at the sensor's interface.
type pair struct {
	*site
	nats        *process
	store, pins string
	sensor      *side
	gate        *side
}

// side is one of them.
type side struct {
	*process
	ns, state, config string
	port              int // of its metrics
}

const pairPeers = "192.0.2.50" // .50 to .53 complete connections

// newPair starts NATS, weir sense and weir block.
func newPair(t *testing.T) *pair {
	t.Helper()
	need(t, "ip", "nsenter", "bpftool")
	dir := t.TempDir()
	p := &pair{site: newSite(t, "bp"), store: filepath.Join(dir, "nats"), pins: filepath.Join(dir, "bpf")}
	if err := os.Mkdir(p.pins, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", p.pins, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(p.pins, unix.MNT_DETACH) })
	p.neighbour(t, router, "/24")
	command(t, "ip -n "+p.far+" route replace default via "+router)
	for i := range 4 {
		address(t, p.near, "eth0", fmt.Sprintf("192.0.2.%d/32", 50+i))
	}
	p.serveNATS(t)
	common := fmt.Sprintf("gate: {pins: %s, every: 500ms}\nnats: {servers: [\"nats://127.0.0.1:4222\"]}\npolicy: {established_from: 3}\n", p.pins)
	for name, s := range map[string]**side{"sensor1": &p.sensor, "edge1": &p.gate} {
		*s = &side{ns: p.far, state: filepath.Join(dir, name), config: filepath.Join(dir, name+".yaml"), port: 9470}
		if err := os.WriteFile((*s).config, []byte("sensor: "+name+"\n"+common), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.gate.port = 9471
	t.Cleanup(func() { p.detach(t) })
	p.sensor.start(t, "sense", "--format", "none")
	p.gate.start(t, "block")
	return p
}

func (p *pair) serveNATS(t *testing.T) {
	t.Helper()
	p.nats = spawn(t, p.far, "natsd", "4222", p.store)
	await(t, "natsd is ready", func() bool { return p.nats.out.String() == "ready\n" })
}

func (p *pair) deleteBucket(t *testing.T) {
	t.Helper()
	nc, err := nats.Connect("nats://127.0.0.1:4222", nats.SetCustomDialer(dialer{p.far}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err == nil {
		err = js.DeleteKeyValue(t.Context(), "weir_drops_default")
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (p *pair) detach(t *testing.T) {
	t.Helper()
	command(t, "nsenter --net=/run/netns/"+p.far+" weir block --detach -i eth0 --config "+p.gate.config)
}

// start starts a command of weir at eth0, and waits until it is ready.
func (s *side) start(t *testing.T, args ...string) {
	t.Helper()
	s.process = spawnPinning(t, s.ns, append(append([]string{"weir"}, args...), "-i", "eth0", "--state", s.state, "--config", s.config)...)
	await(t, "weir "+args[0]+" is ready", func() bool {
		select {
		case <-s.ended:
			t.Fatalf("weir %s: %v\n%s", args[0], s.ProcessState, s.err.String())
		default:
		}
		code, _ := (&served{ns: s.ns, port: s.port}).get("/readyz")
		return code == 200
	})
}

// run runs weir with the state folder of a side, and returns its exit code, and what it printed.
func (s *side) run(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	if args[0] == "bans" {
		args = append(args, "--config", s.config)
	}
	p := spawnPinning(t, s.ns, append(append([]string{"weir"}, args...), "--state", s.state)...)
	code = p.wait(t)
	return code, p.out.String(), p.err.String()
}

// wants runs weir, which must end with a code and print all of some words.
func (s *side) wants(t *testing.T, code int, words []string, args ...string) (out string) {
	t.Helper()
	got, out, text := s.run(t, args...)
	for _, w := range words {
		if !strings.Contains(out+text, w) {
			t.Errorf("weir %s does not say %q", strings.Join(args, " "), w)
		}
	}
	if got != code {
		t.Errorf("weir %s: exit code %d, want %d", strings.Join(args, " "), got, code)
	}
	if t.Failed() {
		t.Fatalf("%s%s", out, text)
	}
	return out
}

// list is what weir bans list tells, by key.
func (s *side) list(t *testing.T) map[string]banForm {
	t.Helper()
	all := map[string]banForm{}
	for line := range strings.Lines(s.wants(t, exitDone, nil, "bans", "list", "--format", "jsonl")) {
		var b banForm
		if err := json.Unmarshal([]byte(line), &b); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all[b.Key] = b
	}
	return all
}

// sources are in the gate's table of addresses and prefixes, as bpftool shows it.
func (p *pair) sources(t *testing.T) (list []string) {
	t.Helper()
	for _, m := range []string{"hosts4", "nets4"} {
		found, _ := filepath.Glob(filepath.Join(p.pins, "weir", "*", "eth0@*", m))
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
			key, _ := hex.DecodeString(strings.ReplaceAll(strings.Join(e.Key, ""), "0x", ""))
			list = append(list, net.IP(key[len(key)-4:]).String())
		}
	}
	slices.Sort(list)
	return list
}

func (p *pair) holds(t *testing.T, want ...string) {
	t.Helper()
	await(t, fmt.Sprintf("the kernel holds %q", want), func() bool { return slices.Equal(p.sources(t), want) })
}

// stays is holds, for longer than an agent needs to see the file of a panic, or to put its own back.
func (p *pair) stays(t *testing.T, want ...string) {
	t.Helper()
	p.holds(t, want...)
	time.Sleep(1500 * time.Millisecond)
	if got := p.sources(t); !slices.Equal(got, want) {
		t.Fatalf("the kernel holds %q, and was to hold %q", got, want)
	}
}

// connect completes connections from the peers to the server.
func (p *pair) connect(t *testing.T) {
	t.Helper()
	for i := range 4 {
		var err error
		within(t, p.near, func() {
			from := net.ParseIP(pairPeers)
			from[15] += byte(i)
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
			var c net.Conn
			if c, err = d.Dial("tcp", gate+":80"); err == nil {
				_, err = c.Write([]byte("GET /10 HTTP/1.0\r\n\r\n"))
				_, _ = c.Read(make([]byte, 1000))
				c.Close()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

var banned = []string{"--for", "10m", "--reason", "a test"}

func (s *side) add(t *testing.T, code int, words []string, target string, more ...string) {
	t.Helper()
	s.wants(t, code, words, append(append([]string{"bans", "add", target}, banned...), more...)...)
}

// TestBansAcrossMachines goes through what is done by hand, with a sensor and a gate that know each other by their keys only.
func TestBansAcrossMachines(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	s, g := p.sensor, p.gate
	const one, two, three = "192.0.2.7", "192.0.2.8", "192.0.2.9"

	// Who is not trusted is not believed, and everybody can see that.
	s.add(t, exitDone, []string{"no gate has told that it is in force", "edge1", "not trusted"}, one)
	g.wants(t, exitFailed, []string{"no key in", "weir keys new"}, "bans", "list")
	g.wants(t, exitDone, []string{"weir keys trust U"}, "keys", "new")
	if b := g.list(t)["address."+one]; b.State != "refused" || b.Guard != "untrusted" || len(b.Enforcers) != 1 {
		t.Fatalf("the gate lists %+v", b)
	}
	p.holds(t)
	var key struct{ Public string }
	if err := json.Unmarshal([]byte(s.wants(t, exitDone, nil, "keys", "list", "--format", "jsonl")), &key); err != nil {
		t.Fatal(err)
	}
	g.wants(t, exitDone, []string{"is trusted"}, "keys", "trust", key.Public, "--name", "sensor1")

	// Add, list, show, remove.
	s.add(t, exitDone, []string{"drop " + two, "applied at edge1 eth0 xdp"}, two)
	s.add(t, exitDone, []string{"rehearsed at edge1 eth0 xdp"}, three, "--shadow", "--action", "limit_new", "--rate", "3")
	s.add(t, exitDone, []string{"applied at edge1"}, gate+":443/tcp")
	s.add(t, exitDone, []string{"applied at edge1"}, "2001:db8:77::1", "--action", "drop_new")
	s.wants(t, exitFailed, []string{"guard duplicate"}, "bans", "add", two, "--for", "5m", "--reason", "a test")
	list := s.list(t)
	for _, want := range []struct{ key, action, would, state string }{
		{"address." + two, "drop", "", "applied"},
		{"address." + three, "shadow", "limit_new", "shadow"},
		{"service." + gate + ".tcp.443", "limit", "", "applied"},
		{"address.20010db8007700000000000000000001", "drop_new", "", "applied"},
	} {
		b := list[want.key]
		if b.State != want.state || b.Action.String() != want.action || b.Would.String() != want.would || len(b.Enforcers) != 1 || b.By == "" || b.Reason != "a test" {
			t.Errorf("%s: %+v", want.key, b)
		}
	}
	out := s.wants(t, exitDone, nil, "bans", "show", two, "--format", "jsonl")
	var shown struct {
		State   string
		History []struct{ State string }
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.State != "applied" || len(shown.History) != 3 || // the last is the duplicate
		shown.History[0].State != "requested" || shown.History[1].State != "applied" {
		t.Errorf("weir bans show: %v: %s", err, out)
	}
	s.wants(t, exitDone, []string{"applied", "a test", "edge1 eth0 xdp: applied"}, "bans", "show", list["address."+two].ID, "--format", "table")
	s.wants(t, exitFailed, []string{"there is no drop 192.0.2.99"}, "bans", "remove", "192.0.2.99", "--reason", "a test")
	for _, what := range []string{three, gate + ":443/tcp", list["address."+two].ID} {
		s.wants(t, exitDone, nil, "bans", "remove", what, "--reason", "a test")
	}

	// What would hit many peers waits for approval.
	p.connect(t)
	await(t, "the sensor knows the peers", func() bool {
		return sumOf((&served{ns: s.ns, port: s.port}).scrape(t), "weir_state_entries", `table="peers"`) >= 4
	})
	s.add(t, exitDone, []string{"it waits for 'weir bans approve"}, "192.0.2.50/31")
	if b := s.list(t)["prefix.192.0.2.50_31"]; b.State != "pending" || b.Guard != "cap_established" {
		t.Errorf("it is listed as %+v", b)
	}
	s.wants(t, exitDone, []string{"applied at edge1"}, "bans", "approve", "192.0.2.50/31")
	s.wants(t, exitFailed, []string{"is not pending"}, "bans", "approve", "192.0.2.50/31")

	// Whose key asked is known, whatever they call themselves; and who is not trusted any more asks in vain.
	if err := json.Unmarshal([]byte(strings.SplitAfter(g.wants(t, exitDone, nil, "keys", "list", "--format", "jsonl"), "\n")[0]), &key); err != nil {
		t.Fatal(err)
	}
	g.add(t, exitFailed, []string{"not trusted"}, "192.0.2.21")
	s.wants(t, exitDone, []string{"is trusted"}, "keys", "trust", key.Public, "--name", "the second desk")
	g.add(t, exitDone, []string{"applied at edge1"}, "192.0.2.21")
	if by := s.list(t)["address.192.0.2.21"].By; !strings.HasSuffix(by, ", by the key of the second desk") {
		t.Errorf("it was asked for by %q", by)
	}
	s.wants(t, exitDone, []string{"is not trusted any more"}, "keys", "trust", key.Public, "--remove")
	g.wants(t, exitFailed, []string{"not trusted"}, "bans", "remove", "192.0.2.21", "--reason", "a test")

	p.panics(t)
}

// panics is the rest: panic with an agent, without NATS, and without an agent; resume and detach.
func (p *pair) panics(t *testing.T) {
	t.Helper()
	s, g := p.sensor, p.gate
	const one, two, three = "192.0.2.11", "192.0.2.12", "192.0.2.13"
	held := func(side *side, name string) func() bool {
		return func() bool { return sumOf((&served{ns: side.ns, port: side.port}).scrape(t), name) == 1 }
	}
	s.wants(t, exitDone, []string{"the kernel of this machine was cleared: eth0", "told to all sensors and gates", "no gate enforces anything: edge1"},
		"bans", "panic", "--reason", "a test")
	p.stays(t)
	s.add(t, exitFailed, []string{"guard panic"}, one)
	for _, side := range []*side{s, g} {
		if panicked, err := enforce.Panicked(panicFile(side.state)); err != nil || panicked == nil || !panicked.Held {
			t.Errorf("%s: %+v, %v", panicFile(side.state), panicked, err)
		}
	}
	s.wants(t, exitDone, []string{"new drops are enforced again"}, "bans", "resume")
	s.add(t, exitDone, []string{"applied at edge1"}, one)

	// Without NATS, at the gate: the file does it.
	p.nats.end(t, syscall.SIGTERM)
	g.wants(t, exitFailed, []string{"was cleared: eth0", "not told to sensors and gates elsewhere", "run this again"}, "bans", "panic")
	await(t, "the gate holds", held(g, "weir_gate_held"))
	p.stays(t)
	g.wants(t, exitFailed, []string{"not told to sensors and gates elsewhere"}, "bans", "resume")
	await(t, "the gate goes on", func() bool { return !held(g, "weir_gate_held")() })

	// Without NATS, at the sensor: it holds by the file, and tells when it can.
	s.wants(t, exitFailed, []string{"not told to sensors and gates elsewhere"}, "bans", "panic")
	await(t, "the sensor holds", held(s, "weir_policy_held"))
	p.serveNATS(t)
	await(t, "the gate heard of it", held(g, "weir_gate_held"))
	p.stays(t)
	s.wants(t, exitDone, []string{"the sensors know"}, "bans", "resume")
	await(t, "the gate goes on", func() bool { return !held(g, "weir_gate_held")() })

	// Without an agent: the pins of one that has ended.
	s.add(t, exitDone, []string{"applied at edge1"}, two)
	if code := g.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("weir block ends with %d:\n%s", code, g.err.String())
	}
	p.stays(t, two)
	g.wants(t, exitFailed, []string{"was cleared: eth0", "no gate answers", "sensor1"}, "bans", "panic") // sensor1 does not trust it
	p.stays(t)
	g.start(t, "block")
	p.stays(t)
	if !held(g, "weir_gate_held")() {
		t.Error("a gate that starts after a panic does not hold")
	}
	s.wants(t, exitDone, nil, "bans", "resume")
	s.add(t, exitDone, []string{"applied at edge1"}, three)
	s.add(t, exitDone, []string{"applied at edge1"}, two)
	p.holds(t, two, three)

	// Without a sensor: a removal is signed here. Without the bucket: the gate tells what it keeps.
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("weir sense ends with %d:\n%s", code, s.err.String())
	}
	s.wants(t, exitDone, []string{"its removal was signed here"}, "bans", "remove", two, "--reason", "a test")
	p.holds(t, three)
	s.wants(t, exitFailed, []string{"no sensor answers"}, "bans", "add", one, "--for", "10m", "--reason", "a test")
	p.deleteBucket(t)
	if all := s.list(t); len(all) != 1 || all["address."+three].State != "applied" {
		t.Errorf("without the bucket there is %+v", all)
	}

	if code := g.end(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("weir block ends with %d:\n%s", code, g.err.String())
	}
	p.detach(t)
	if left, _ := filepath.Glob(filepath.Join(p.pins, "weir", "*", "eth0@*", "*")); len(left) > 0 {
		t.Errorf("weir block --detach leaves %q", left)
	}
	if out, err := exec.Command("ip", "-n", p.far, "-d", "link", "show", "eth0").CombinedOutput(); err != nil || strings.Contains(string(out), "xdp") {
		t.Errorf("a program is still at eth0: %v: %s", err, out)
	}
}

// TestPanicWithoutPins is a panic where nothing is pinned: XDP that ends with its process, and nftables, whose table a killed process
// leaves behind.
func TestPanicWithoutPins(t *testing.T) {
	t.Parallel()
	need(t, "ip", "nsenter", "nft")
	for _, mode := range []string{"xdp", "nftables"} {
		t.Run(mode, func(t *testing.T) {
			site := newSite(t, "bw"+mode[:1])
			dir := t.TempDir()
			s := &side{ns: site.far, state: filepath.Join(dir, "state"), config: filepath.Join(dir, "weir.yaml"), port: 9470}
			if err := os.WriteFile(s.config, []byte("sensor: edge1\ngate: {survive: false, every: 500ms, mode: "+mode+"}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			s.start(t, "run", "--format", "none")
			s.add(t, exitDone, []string{"applied at edge1 eth0 " + mode}, "192.0.2.7")
			applied := func() bool { return s.list(t)["address.192.0.2.7"].State == "applied" }
			nothing := "was cleared: eth0 (nftables)"
			if mode == "xdp" {
				nothing = "no pinned gate and no table of weir's"
			}
			s.wants(t, exitDone, []string{nothing, "no gate enforces anything: edge1"}, "bans", "panic")
			if len(s.list(t)) > 0 {
				t.Errorf("after a panic: %v", s.list(t))
			}
			s.add(t, exitFailed, []string{"guard panic"}, "192.0.2.7")
			s.wants(t, exitDone, nil, "bans", "resume")
			s.add(t, exitDone, []string{"applied at edge1 eth0 " + mode}, "192.0.2.7")
			if !applied() {
				t.Error("after a resume nothing is applied")
			}
			_ = s.Process.Kill()
			<-s.ended
			if mode == "xdp" {
				if out, _ := exec.Command("ip", "-n", s.ns, "-d", "link", "show", "eth0").CombinedOutput(); strings.Contains(string(out), "xdp") {
					t.Errorf("the gate survives: %s", out)
				}
				return
			}
			if table := runIn(t, s.ns, "nft", "list", "ruleset"); !strings.Contains(table, "192.0.2.7 ") {
				t.Fatalf("no drop in the table of a killed process:\n%s", table)
			}
			s.wants(t, exitFailed, []string{"was cleared: eth0 (nftables)", "not told to sensors and gates elsewhere"}, "bans", "panic")
			if table := runIn(t, s.ns, "nft", "list", "ruleset"); strings.Contains(table, "192.0.2.7 ") {
				t.Errorf("a panic leaves\n%s", table)
			}
			s.start(t, "run", "--format", "none")
			s.add(t, exitFailed, []string{"guard panic"}, "192.0.2.7") // it reads the file
			s.wants(t, exitDone, nil, "bans", "resume")
			command(t, "nsenter --net=/run/netns/"+s.ns+" weir block --detach -i eth0")
		})
	}
}
