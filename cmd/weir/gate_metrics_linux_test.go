package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"weir/sensor/enforce"
)

// answering has a limit on new connections answer the scan of a private host.
const answering = "sensor: post.1\npolicy: {severity: low, confidence: 0, allow_private: true}\n"

// served is a process of weir in a namespace, by its own web server.
type served struct {
	*process
	ns   string
	port int
}

// weir starts a command of weir, and waits until it is ready.
func (o *outpost) weir(t *testing.T, port int, args ...string) *served {
	t.Helper()
	w := &served{spawn(t, o.far, append([]string{"weir"}, args...)...), o.far, port}
	await(t, "weir "+args[0]+" is ready", func() bool {
		select {
		case <-w.ended:
			t.Fatalf("weir %s: %v\n%s", args[0], w.ProcessState, w.err.String())
		default:
		}
		code, _ := w.get("/readyz")
		return code == http.StatusOK
	})
	return w
}

// get is the answer to a request; the code is 0 if there was none.
func (w *served) get(path string) (code int, body string) {
	dial := func(network, addr string) (net.Conn, error) { return dialer{w.ns}.Dial(network, addr) }
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Dial: dial, DisableKeepAlives: true}} //nolint:staticcheck // the dialer knows no context
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path))
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(text)
}

// scrape is all metrics as Prometheus reads them.
func (w *served) scrape(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	_, text := w.get("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return all
}

// sumOf is the sum of the series of a metric that have these labels, written name="value"; of a histogram it is the number of values.
func sumOf(all map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, m := range all[name].GetMetric() {
		var text strings.Builder
		for _, l := range m.GetLabel() {
			fmt.Fprintf(&text, "%s=%q,", l.GetName(), l.GetValue())
		}
		has := func(l string) bool { return strings.Contains(text.String(), l) }
		if !slices.ContainsFunc(labels, func(l string) bool { return !has(l) }) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// awaitValue waits until a metric is what it must be.
func (w *served) awaitValue(t *testing.T, want float64, name string, labels ...string) {
	t.Helper()
	got := 0.0
	defer func() {
		if t.Failed() {
			t.Logf("%s%q is %v\n%s", name, labels, got, w.err.String())
		}
	}()
	await(t, fmt.Sprintf("%s%q is %v", name, labels, want), func() bool {
		got = sumOf(w.scrape(t), name, labels...)
		return got == want
	})
}

// knock sends TCP SYN to so many closed ports with hping3, and returns how many were not answered.
func (o *outpost) knock(t *testing.T, n int) float64 {
	t.Helper()
	p := spawn(t, o.near, "hping3", "-q", "-S", "-i", "u2000", "-p", "++2000", "-c", strconv.Itoa(n), "10.9.0.1")
	p.wait(t)
	m := regexp.MustCompile(`(\d+) packets tra(?:ns)?mitted, (\d+) packets received`).FindStringSubmatch(p.err.String() + p.out.String())
	if m == nil || m[1] != strconv.Itoa(n) {
		t.Fatalf("hping3: %s%s", p.out.String(), p.err.String())
	}
	answered, _ := strconv.Atoi(m[2])
	return float64(n - answered)
}

// healthWith is the next health message that is of a process with this field.
func healthWith(t *testing.T, sub *nats.Subscription, field string) []byte {
	t.Helper()
	for {
		m, err := sub.NextMsg(15 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(m.Data), `"`+field+`":`) {
			return m.Data
		}
	}
}

// TestRunMetrics scrapes a sensor with its gate, which has dropped something: it serves what docs/metrics.md says, and counts as
// dropped what hping3 had no answer to. Then the interface is taken away, and is back; and a panic holds for a while.
func TestRunMetrics(t *testing.T) {
	t.Parallel()
	need(t, "hping3")
	o := newOutpost(t, answering+"gate: {survive: false, every: 200ms, sample: 1}\n")
	o.probe(t, 900, 1) // who is who
	state := filepath.Join(o.dir, "state")
	w := o.weir(t, 9470, "run", "--format", "jsonl", "-i", "eth0", "--config", o.config, "--state", state)
	nc := connect(t, o.far, (&sentry{state: state}).url(t))
	health, err := nc.SubscribeSync("weir.v1.default.post_2E1.health")
	if err != nil {
		t.Fatal(err)
	}
	o.probe(t, 1000, 60)
	w.awaitValue(t, 1, "weir_gate_drops_enforced")
	time.Sleep(1100 * time.Millisecond) // the limit's second is over
	limited := o.knock(t, 200)
	if limited < 100 {
		t.Errorf("%v of 200 SYN were limited", limited)
	}
	w.awaitValue(t, limited, "weir_gate_packets_total", `verdict="limit"`, `reason="host"`, `interface="eth0"`, `table="xdp"`)
	w.awaitValue(t, limited, "weir_blocked_packets_total", `action="drop"`)
	w.awaitValue(t, limited, "weir_blocked_samples_total")
	all := w.scrape(t)
	asDocumented(t, all, ofRun)
	for _, c := range []struct {
		name, label string
		want        float64
	}{
		{"weir_drops_wanted", "", 1},
		{"weir_gate_drops_wanted", "", 1},
		{"weir_gate_drops_shadow", "", 0},
		{"weir_gate_drops_refused", "", 0},
		{"weir_gate_drops_failed", "", 0},
		{"weir_gate_attached", `interface="eth0"`, 1},
		{"weir_gate_receipts_total", `state="applied"`, sumOf(all, "weir_enforce_latency_seconds")},
		{"weir_gate_drift_total", "", 0},
		{"weir_gate_stale", "", 0},
		{"weir_gate_entries", `kind="hosts4"`, 1},
		{"weir_decisions_unwritten", "", 0},
		{"weir_state_entries", `table="drops"`, 1},
	} {
		if got := sumOf(all, c.name, c.label); got != c.want {
			t.Errorf("%s{%s} is %v, want %v", c.name, c.label, got, c.want)
		}
	}
	if sumOf(all, "weir_enforce_latency_seconds") < 1 {
		t.Error("no latency of a drop")
	}
	said := asHealthDocumented(t, healthWith(t, health, "gates"), "run")
	gates, _ := json.Marshal(said["gates"])
	for _, part := range []string{`"interface":"eth0"`, `"attached":true`, `"wanted":1`, `"enforced":1`, `"dropped_packets":{"per_second":`} {
		if !strings.Contains(string(gates), part) {
			t.Errorf("the health message has no %s: %s", part, gates)
		}
	}

	command(t, "ip -n "+o.far+" link del eth0")
	await(t, "it is not ready without its interface", func() bool {
		code, body := w.get("/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "eth0: the gate (xdp) does not judge the traffic\n")
	})
	w.awaitValue(t, 0, "weir_gate_attached")
	if code, body := w.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, body)
	}
	o.plug(t, "eth0")
	address(t, o.far, "eth0", "10.9.0.1/24")
	address(t, o.near, "eth0", "10.9.0.2/24")
	await(t, "it is ready again", func() bool {
		code, _ := w.get("/readyz")
		return code == http.StatusOK
	})
	w.awaitValue(t, 1, "weir_gate_attached")

	panicking := &enforce.Panic{Held: true, By: "a test", Generation: uint64(time.Now().UnixMicro())}
	file := panicFile(state)
	if err := enforce.WritePanic(file, *panicking); err != nil {
		t.Fatal(err)
	}
	w.awaitValue(t, 1, "weir_gate_held")
	w.awaitValue(t, 1, "weir_policy_held")
	w.awaitValue(t, 0, "weir_gate_drops_enforced")
	if code, body := w.get("/readyz"); code != http.StatusOK {
		t.Errorf("a panic that holds is no reason, but /readyz says %d %s", code, body)
	}
	panicking.Held, panicking.Generation = false, panicking.Generation+1
	if err := enforce.WritePanic(file, *panicking); err != nil {
		t.Fatal(err)
	}
	w.awaitValue(t, 0, "weir_gate_held")
	w.awaitValue(t, 0, "weir_policy_held")
	if code := w.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir run ends with %d:\n%s", code, w.err.String())
	}
}

// TestBlockMetrics scrapes a gate that serves a sensor beside it. Then somebody empties the kernel's tables with nft, which is seen and
// mended, and the sensor ends with its NATS server.
func TestBlockMetrics(t *testing.T) {
	t.Parallel()
	need(t, "hping3", "nft")
	o := newOutpost(t, answering+"gate: {mode: nftables, every: 200ms}\n")
	o.probe(t, 900, 1)
	state := filepath.Join(o.dir, "state")
	sense := o.weir(t, 9470, "sense", "--format", "jsonl", "-i", "eth0", "--config", o.config, "--state", state)
	w := o.weir(t, 9471, "block", "-i", "eth0", "--config", o.config, "--state", state)
	nc := connect(t, o.far, (&sentry{state: state}).url(t))
	health, err := nc.SubscribeSync("weir.v1.default.post_2E1.health")
	if err != nil {
		t.Fatal(err)
	}
	o.probe(t, 1000, 60)
	w.awaitValue(t, 1, "weir_gate_drops_enforced", `table="nftables"`)
	time.Sleep(1100 * time.Millisecond)
	limited := o.knock(t, 200)
	if limited < 100 {
		t.Errorf("%v of 200 SYN were limited", limited)
	}
	w.awaitValue(t, limited, "weir_gate_packets_total", `verdict="limit"`)
	sense.awaitValue(t, limited, "weir_blocked_packets_total", `action="drop"`)
	all := w.scrape(t)
	asDocumented(t, all, ofBlock)
	asDocumented(t, sense.scrape(t), ofSense)
	if n, m := sumOf(all, "weir_enforce_latency_seconds"), sumOf(all, "weir_gate_receipts_total", `state="applied"`); n < 1 || n != m {
		t.Errorf("%v latencies of %v drops", n, m)
	}
	asHealthDocumented(t, healthWith(t, health, "policy"), "sense")
	asHealthDocumented(t, healthWith(t, health, "gates"), "block")
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/readyz": 200} {
		if code, body := w.get(path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	runIn(t, o.far, "nft", "flush", "ruleset")
	w.awaitValue(t, 1, "weir_gate_drift_total", `kind="missing"`)
	w.awaitValue(t, 1, "weir_gate_drops_enforced")
	w.awaitValue(t, 0, "weir_gate_drift") // since the look after
	w.awaitValue(t, limited, "weir_gate_packets_total", `verdict="limit"`)
	if code, body := w.get("/readyz"); code != http.StatusOK {
		t.Errorf("after drift: /readyz says %d %s", code, body)
	}
	if code := sense.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir sense ends with %d:\n%s", code, sense.err.String())
	}
	await(t, "a gate without its bus is not ready", func() bool {
		code, _ := w.get("/readyz")
		return code == http.StatusServiceUnavailable
	})
	if n := sumOf(w.scrape(t), "weir_gate_drops_enforced"); n != 1 {
		t.Errorf("%v drops without the bus, want 1", n)
	}
	o.configure(t, answering+"gate: {mode: nftables, every: 300ms}\nweb: {names: [weir.example]}\nanalyzers: {scan: {hosts: 50}}\n")
	await(t, "what needs a restart is told", func() bool {
		return strings.Contains(w.err.String(), `msg="some settings need a restart to change" settings="gate.every, web.names"`)
	})
	if code := w.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("weir block ends with %d:\n%s", code, w.err.String())
	}
}
