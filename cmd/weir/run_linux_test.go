package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"weir/sensor/alert"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// Tests of weir run: a server whose own host weir guards, clients and attackers at the other end of its cable, and tcpdump at both
// ends. What a packet socket at the server's end sees has passed the gate: XDP drops before it.

// edge is a guarded server.
type edge struct {
	*site
	*sentry
	config string
	drops  *dropEvents
	clock  time.Duration // of the wall against the monotonic one, at the start
}

const (
	router = "198.51.100.2"  // the server's way out, which is never dropped: nobody attacks from there
	client = "198.51.100.30" // who is known, and whose address is forged
)

// brisk are settings for the patience of a test: alerts close soon, so what the gate counts must come sooner.
const brisk = `
analyzers: {flood: {quiet: 5s}}
policy: {canary: 1s}
gate: {every: 500ms}
`

// newEdge makes a server and guards it. settings are a configuration file's.
func newEdge(t *testing.T, id, settings string, prepare ...func(*testing.T, *site)) *edge {
	t.Helper()
	need(t, "ip", "nsenter")
	e := &edge{site: newSite(t, id)}
	for _, a := range []string{router, client} {
		e.neighbour(t, a, "/24")
	}
	command(t, "ip -n "+e.far+" route replace default via "+router)
	for _, f := range prepare {
		f(t, e.site)
	}
	e.guard(t, settings)
	return e
}

// neighbour gives the near host one more address, which the server knows.
func (s *site) neighbour(t *testing.T, a, bits string) {
	t.Helper()
	address(t, s.near, "eth0", a+bits)
	command(t, fmt.Sprintf("ip -n %s neigh replace %s lladdr 02:00:00:00:00:01 dev eth0 nud permanent", s.far, a))
}

// guard starts weir run, and waits until it watches. With the test end the gate and what it drops.
func (e *edge) guard(t *testing.T, settings string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command(t, "nsenter --net=/run/netns/"+e.far+" weir block --detach -i eth0") })
	e.clock = wallClock()
	e.sentry = &sentry{ns: e.far, state: filepath.Join(dir, "state")}
	e.config = file
	e.start(t)
}

// start starts weir run, with the state that it has.
func (e *edge) start(t *testing.T) {
	t.Helper()
	e.process = spawnPinning(t, e.far, "weir", "run", "-i", "eth0", "--state", e.state, "--config", e.config, "--format", "jsonl")
	e.watches(t)
	e.ready(t)
	e.drops = followDrops(t, e.sentry)
}

// started is a moment of the process; the wall clock's reading of it shifts when somebody sets the clock.
var started = time.Now()

func wallClock() time.Duration { return time.Until(started) + time.Duration(time.Now().UnixNano()) }

// clockSet reports whether somebody set the wall clock since the start: times of files cannot be compared then.
func (e *edge) clockSet() bool {
	d := wallClock() - e.clock
	return d < -50*time.Millisecond || d > 50*time.Millisecond
}

// dropEvents are all that sensor and gate told of drops.
type dropEvents struct {
	mu       sync.Mutex
	decided  []*policy.Drop // each state of each
	refused  []policy.Refusal
	receipts []enforce.Receipt
}

func followDrops(t *testing.T, s *sentry) *dropEvents {
	t.Helper()
	nc, err := nats.Connect(s.url(t), nats.SetCustomDialer(dialer{s.ns}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	d := new(dropEvents)
	_, err = nc.Subscribe("weir.v1.*.*.drop.>", func(m *nats.Msg) { d.take(t, m.Data) })
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *dropEvents) take(t *testing.T, text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var form struct{ Schema string }
	err := json.Unmarshal(text, &form)
	if err != nil {
		t.Errorf("an event is no JSON: %v", err)
	}
	switch form.Schema {
	case policy.Schema:
		one := new(policy.Drop)
		err = json.Unmarshal(text, one)
		d.decided = append(d.decided, one)
	case enforce.ReceiptSchema:
		var one enforce.Receipt
		err = json.Unmarshal(text, &one)
		d.receipts = append(d.receipts, one)
	default:
		var one policy.Refusal
		err = json.Unmarshal(text, &one)
		d.refused = append(d.refused, one)
	}
	if err != nil {
		t.Errorf("%v: %s", err, text)
	}
}

// asked lists what was asked for so far, in order of time: key and action. The hash of a signature's fields is left out.
func (d *dropEvents) asked() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.decided {
		if one.State == policy.Requested || one.State == policy.Pending {
			if says := plainKey(one.Key()) + " " + one.Action.String(); !slices.Contains(list, says) {
				list = append(list, says)
			}
		}
	}
	return list
}

func plainKey(key string) string {
	if strings.HasPrefix(key, "signature.") {
		return key[:strings.LastIndexByte(key, '.')]
	}
	return key
}

// applied is when the kernel first did what was asked for; zero if it does not.
func (d *dropEvents) applied(asked string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.receipts {
		for _, one := range d.decided {
			if r.State == enforce.ReceiptApplied && one.ID == r.Drop && one.Generation == r.Generation && plainKey(one.Key())+" "+one.Action.String() == asked {
				return time.Unix(0, int64(r.Time))
			}
		}
	}
	return time.Time{}
}

// ids are those of all drops that were asked for.
func (d *dropEvents) ids() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range d.decided {
		list = append(list, one.ID)
	}
	return list
}

// ended reports whether all drops that the kernel had are gone from it by their own time or the policy's will.
func (d *dropEvents) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := map[string]bool{}
	for _, r := range d.receipts {
		switch r.State {
		case enforce.ReceiptApplied:
			in[r.Drop] = true
		case enforce.ReceiptExpired, enforce.ReceiptRemoved:
			delete(in, r.Drop)
		}
	}
	return len(in) == 0
}

func (d *dropEvents) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var s strings.Builder
	for _, one := range d.decided {
		fmt.Fprintf(&s, "%s %s: %s\n", one.State, one.ID, one.Summary)
	}
	for i := range d.refused {
		fmt.Fprintf(&s, "refused: %s\n", d.refused[i].Sentence)
	}
	for i := range d.receipts {
		r := &d.receipts[i]
		fmt.Fprintf(&s, "%s %s %s: %s\n", time.Unix(0, int64(r.Time)).Format(time.StampMilli), r.State, r.Drop, r.Sentence)
	}
	return s.String()
}

// bans are the ids of the drops that weir bans list shows, and how many packets met them.
func (e *edge) bans(t *testing.T) (ids []string, packets uint64) {
	t.Helper()
	out := runIn(t, e.far, "weir", "bans", "list", "--state", e.state, "--format", "jsonl")
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		var b struct {
			ID        string
			Enforcers []struct{ Packets uint64 }
		}
		if err := json.Unmarshal(lines.Bytes(), &b); err != nil {
			t.Fatalf("weir bans list printed %s: %v", lines.Text(), err)
		}
		ids = append(ids, b.ID)
		for _, g := range b.Enforcers {
			packets += g.Packets
		}
	}
	return ids, packets
}

// remove ends all drops as a human does, and waits until the kernel has none.
func (e *edge) remove(t *testing.T) {
	t.Helper()
	ids, _ := e.bans(t)
	for _, id := range ids {
		runIn(t, e.far, "weir", "bans", "remove", id, "--reason", "the test is over", "--state", e.state)
	}
	await(t, "the drops have ended", e.drops.ended)
}

// dropped is how many packets the gate dropped or held back, by the kernel's totals in the metrics.
func (e *edge) dropped(t *testing.T) (sum uint64) {
	t.Helper()
	_, page := e.get(t, "/metrics")
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "weir_gate_packets_total{") && (strings.Contains(line, `verdict="drop"`) || strings.Contains(line, `verdict="limit"`)) {
			v, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += uint64(math.Round(v))
		}
	}
	return sum
}

// witness is a tcpdump at each end of the cable, which hears what a filter lets it.
type witness struct{ sent, passed *recorder }

func (s *site) witness(t *testing.T, filter string) *witness {
	t.Helper()
	return &witness{record(t, s.near, "eth0", filter), record(t, s.far, "eth0", filter)}
}

// stop ends both, when they have read their rings: they look at them once a second.
func (w *witness) stop(t *testing.T) (sent, passed []heard) {
	t.Helper()
	time.Sleep(1200 * time.Millisecond)
	w.sent.stop(t)
	w.passed.stop(t)
	return readFrames(t, w.sent.file), readFrames(t, w.passed.file)
}

// heard is a frame of a file, up to where tcpdump cut it.
type heard struct {
	at    time.Time
	frame []byte
}

// readFrames reads tcpdump's files: pcap with nanoseconds, in the byte order of this machine.
func readFrames(t *testing.T, file string) (all []heard) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil || len(b) < 24 || binary.NativeEndian.Uint32(b) != 0xa1b23c4d {
		t.Fatalf("%s is no file of tcpdump's: %v", file, err)
	}
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.NativeEndian.Uint32(b[8:]))
		at := time.Unix(int64(binary.NativeEndian.Uint32(b)), int64(binary.NativeEndian.Uint32(b[4:])))
		all = append(all, heard{at, b[16 : 16+n]})
		b = b[16+n:]
	}
	return all
}

// heardBetween counts the frames between two moments.
func heardBetween(all []heard, from, to time.Time) (n int) {
	for i := range all {
		if !all[i].at.Before(from) && all[i].at.Before(to) {
			n++
		}
	}
	return n
}

// visitor fetches a page of 2,000 bytes eight times a second with curl, each time over a new connection.
type visitor struct{ *process }

// visit begins visits of one address, which go on until they are stopped. One whose page does not come within patience has failed.
func (s *site) visit(t *testing.T, from string) *visitor { return s.visits(t, from) }

// newcomers are visits of which each comes from an address that was never there before, up to 120 of them.
func (s *site) newcomers(t *testing.T) *visitor {
	t.Helper()
	command(t, "ip -n "+s.near+" route add local 198.51.100.128/25 dev lo")
	return s.visits(t, "198.51.100.$((129 + i % 120))")
}

// patience is how long a client waits for its page.
var patience = 2 * time.Second

func (s *site) visits(t *testing.T, from string) *visitor {
	t.Helper()
	script := fmt.Sprintf(`i=0; while :; do i=$((i + 1)); curl -s -o /dev/null --max-time %v --interface %s -w '%%{http_code} %%{time_total}\n' http://%s/2000 & sleep 0.125; done`,
		patience.Seconds(), from, gate)
	return &visitor{spawn(t, s.near, "bash", "-c", script)}
}

// stop ends the visits. The last are told of when patience is over.
func (v *visitor) stop(t *testing.T) { t.Helper(); v.end(t, syscall.SIGTERM) }

// visits are those that ended: how long those took that were answered, and how many were not.
type visits struct {
	took   []time.Duration
	failed int
}

func (v *visitor) told(t *testing.T) *visits {
	t.Helper()
	all := new(visits)
	text := v.out.String()
	for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		var code int
		var seconds float64
		if _, err := fmt.Sscan(line, &code, &seconds); err != nil {
			t.Fatalf("curl printed %q", line)
		}
		if code == 200 {
			all.took = append(all.took, time.Duration(seconds*float64(time.Second)))
		} else {
			all.failed++
		}
	}
	return all
}

func (v *visits) String() string {
	if len(v.took) == 0 {
		return fmt.Sprintf("0 answered, %d not", v.failed)
	}
	slow := 0
	for _, d := range v.took {
		if d > 500*time.Millisecond {
			slow++
		}
	}
	return fmt.Sprintf("%d answered (%s; %d after more than 0.5 s), %d not", len(v.took), quantiles(v.took), slow, v.failed)
}

// lastForms are the alerts of medium severity or more, each in its last form, of a weir that has ended.
func lastForms(all []*alert.Alert) (grave []*alert.Alert) {
	for _, a := range all {
		if a.State == alert.Closed && a.Severity >= alert.Medium {
			grave = append(grave, a)
		}
	}
	return grave
}

// cutAtLeast is the share of a flood that must not come through once the gate knows it. A limit on a service lets pass what it is
// set to, whatever the share is (policy.service_rate: 200/s).
const (
	cutAtLeast    = 0.95
	serviceLimits = 200
)

// cutBy tells how much of a flood came through after a moment, and whether that is little enough.
func cutBy(sent, passed []heard, from time.Time, drop string) (says string, enough bool) {
	last := sent[len(sent)-1].at
	n, through := heardBetween(sent, from, last), heardBetween(passed, from, last)
	share := 1 - float64(through)/float64(n)
	enough = share >= cutAtLeast
	if strings.HasSuffix(drop, " limit") {
		enough = float64(through) <= 1.1*serviceLimits*(last.Sub(from).Seconds()+0.6)
	}
	return fmt.Sprintf("%s: %.1f %% of %d packets in %v are cut, from %v after the first on", drop, 100*share, n,
		last.Sub(from).Round(time.Millisecond), from.Sub(sent[0].at).Round(time.Millisecond)), enough && n > 0
}
