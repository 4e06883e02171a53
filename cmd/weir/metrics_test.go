package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/capture"
)

// distinct sets every integer within v to a number of its own, from 1 on, so that a mix-up of two counters shows.
func distinct(v reflect.Value, next *uint64) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			distinct(v.Field(i), next)
		}
	case reflect.Array:
		for i := range v.Len() {
			distinct(v.Index(i), next)
		}
	case reflect.Uint64:
		*next++
		v.SetUint(*next)
	}
}

// observedAll is a sensor of which every part says something.
func observedAll() observed {
	n := uint64(1000)
	s := &sensor.Status{
		Time: 1_700_000_000_500_000_000, Loss: 0.125, OneWay: true,
		Limits: []analyzers.Cost{{Limit: "alerts folded", N: 5}, {Limit: "scan evicted", N: 7}},
		Workers: []sensor.WorkerStatus{
			{Time: 1_700_000_000_500_000_000, Packets: 10, Kernel: 3, Freezes: 1},
			{Time: 1_700_000_000_300_000_000, Packets: 20},
			{},
		},
		States: []sensor.StateSize{{Name: "connections", Used: 3, Limit: 100, Bytes: 4096}, {Name: "half_open", Used: 1, Limit: 10}},
	}
	distinct(reflect.ValueOf(&s.Link).Elem(), &n)
	distinct(reflect.ValueOf(&s.Conn).Elem(), &n)
	s.Epochs, s.Records, s.RecordsLost, s.Late, s.Absent, s.Backward, s.Discontinuities = 1, 2, 3, 4, 5, 6, 7
	s.Alerts = alert.Stats{Findings: 100, Opened: 30, Updated: 9, Closed: 10, Early: 4, Repeats: 60, Folded: 11}
	b := bus.Stats{Connected: true, Reconnects: 2, DiskErrors: 3, Outbox: bus.OutboxStats{Bytes: 512, Limit: 1024, Torn: 1, Damaged: 2}}
	distinct(reflect.ValueOf(&b.Kinds).Elem(), &n)
	return observed{
		Site: "home", Sensor: "tap", Started: time.Unix(1_700_000_000, 0),
		Status: func() *sensor.Status { return s },
		Interfaces: func() []capture.InterfaceStatus {
			return []capture.InterfaceStatus{
				{Name: "eth1", Index: 2, Up: true, Open: true, Reopened: 1, Received: 50, Dropped: 4, Errors: 2, SuperPackets: 3},
				{Name: "bad\xff", Index: 0},
			}
		},
		Bus:        func() bus.Stats { return b },
		Ready:      func() error { return nil },
		Correction: func() time.Duration { return -1500 * time.Millisecond },
	}
}

// gatherAll is every series of a sensor that has found and reloaded something, too.
func gatherAll(t *testing.T) (*metrics, map[string]*dto.MetricFamily) {
	t.Helper()
	m := newMetrics(observedAll())
	now := time.Unix(1_700_000_100, 0)
	m.alert(&alert.Alert{Analyzer: "scan", Kind: "fin", Severity: alert.Medium, State: alert.Open, Time: alert.Time(now.UnixNano())}, now)
	m.reloaded(nil, now)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return m, all
}

// value is that of the one series with these labels, written name="value" in order of names.
func value(t *testing.T, all map[string]*dto.MetricFamily, name, labels string) float64 {
	t.Helper()
	for _, m := range all[name].GetMetric() {
		var text []string
		for _, l := range m.GetLabel() {
			text = append(text, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
		if strings.Join(text, ",") == labels {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() // one of them is none
		}
	}
	t.Fatalf("no %s{%s}", name, labels)
	return 0
}

// TestMetricsTable compares what is scraped with docs/metrics.md, both ways: name, type, labels and help.
func TestMetricsTable(t *testing.T) {
	_, all := gatherAll(t)
	asDocumented(t, all)
}

// asDocumented holds that all metrics of weir, and no others, are in docs/metrics.md.
func asDocumented(t *testing.T, all map[string]*dto.MetricFamily) {
	t.Helper()
	got := map[string]string{}
	for name, f := range all {
		if !strings.HasPrefix(name, namespace) {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		got[name] = fmt.Sprintf("| `%s` | %s | %s | %s |", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	want := map[string]string{}
	for _, row := range documented(t, "| `"+namespace) {
		name := strings.Split(row, "`")[1]
		if want[name] != "" {
			t.Errorf("docs/metrics.md has %s twice", name)
		}
		want[name] = row
	}
	for name, row := range got {
		if want[name] != row {
			t.Errorf("docs/metrics.md has not\n%s\nbut\n%s", row, want[name])
		}
	}
	for name := range want {
		if got[name] == "" {
			t.Errorf("docs/metrics.md has %s, which is no metric", name)
		}
	}
	if len(got) < 40 {
		t.Errorf("only %d metrics", len(got))
	}
}

// TestMetricsInRules holds that the rules and the queries of the documentation ask for metrics that there are.
func TestMetricsInRules(t *testing.T) {
	_, all := gatherAll(t)
	asked := 0
	for _, file := range []string{"../../deploy/prometheus-rules.yaml", "../../docs/metrics.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`weir_[a-z_]+`).FindAllString(string(text), -1) {
			asked++
			if all[name] == nil && all[strings.TrimSuffix(name, "_bucket")] == nil {
				t.Errorf("%s: there is no %s", file, name)
			}
		}
	}
	if asked < 60 {
		t.Errorf("only %d names found", asked)
	}
}

// documented are the lines of docs/metrics.md that begin so.
func documented(t *testing.T, prefix string) (rows []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, prefix) {
			rows = append(rows, strings.TrimSuffix(line, "\n"))
		}
	}
	return rows
}

// TestLossTable holds that docs/metrics.md explains each stage and cause of loss but those of analyzers, whose names are theirs.
func TestLossTable(t *testing.T) {
	o := observedAll()
	var got, want []string
	for _, l := range o.sample().losses() {
		if l.stage != "analyzers" {
			got = append(got, l.stage+" "+l.cause)
		}
	}
	rows := documented(t, "| ")
	from := slices.IndexFunc(rows, func(r string) bool { return strings.HasPrefix(r, "| stage |") })
	stage := ""
	for _, row := range rows[from+1:] {
		cells := strings.Split(row, "|")
		if s := strings.Trim(cells[1], " `"); s != "" {
			stage = s
		}
		if stage == "name" { // the next table
			break
		} else if stage == "analyzers" {
			continue
		}
		for _, cause := range strings.Split(cells[2], ",") {
			want = append(want, stage+" "+strings.Trim(cause, " `"))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("losses are\n%s\ndocs/metrics.md has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMetricsValues(t *testing.T) {
	m, all := gatherAll(t)
	s, b := m.Status(), m.Bus()
	for _, c := range []struct {
		name, labels string
		want         float64
	}{
		{"weir_build_info", `version="` + version + `"`, 1},
		{"weir_event_time_seconds", "", 1700000000.5},
		{"weir_packets_total", `protocol="udp"`, float64(s.Link.UDP)},
		{"weir_decode_stopped_total", `reason="depth"`, float64(s.Link.Why[10])},
		{"weir_loss_total", `cause="ring_full",stage="kernel"`, float64(s.Link.Loss[tally.LossKernel])},
		{"weir_loss_total", `cause="freeze",stage="kernel"`, float64(s.Link.Loss[tally.LossFreeze])},
		{"weir_loss_total", `cause="dropped",stage="interface"`, float64(s.Link.Loss[tally.LossInterface])},
		{"weir_loss_total", `cause="snaplen",stage="capture"`, float64(s.Link.Loss[tally.LossCut])},
		{"weir_loss_total", `cause="version",stage="decode"`, float64(s.Link.Why[9])},
		{"weir_loss_total", `cause="evicted",stage="connections"`, float64(s.Conn.Evicted)},
		{"weir_loss_total", `cause="outcomes",stage="connections"`, float64(s.Conn.SilentLost)},
		{"weir_loss_total", `cause="prints",stage="tally"`, float64(s.Link.Loss[tally.LossPrints])},
		{"weir_loss_total", `cause="scan_evicted",stage="analyzers"`, 7},
		{"weir_loss_total", `cause="closed_early",stage="alerts"`, 4},
		{"weir_loss_total", `cause="alert",stage="bus"`, float64(sum(b.Kinds[bus.Alert].Dropped[:]))},
		{"weir_bus_dropped_total", `cause="disk",kind="flow"`, float64(b.Kinds[bus.Flow].Dropped[bus.Disk])},
		{"weir_bus_published_total", `kind="health"`, float64(b.Kinds[bus.Health].Published)},
		{"weir_loss_ratio", "", 0.125},
		{"weir_one_way", "", 1},
		{"weir_unanswered", "", 0},
		{"weir_alerts_open", "", 20},
		{"weir_findings_total", `outcome="opened"`, 29},
		{"weir_worker_lag_seconds", `worker="0"`, 0},
		{"weir_worker_lag_seconds", `worker="1"`, 0.2},
		{"weir_worker_lag_seconds", `worker="2"`, 0},
		{"weir_clock_correction_seconds", "", -1.5},
		{"weir_interface_up", `interface="bad?"`, 0},
		{"weir_interface_super_packets_total", `interface="eth1"`, 3},
		{"weir_state_bytes", `table="connections"`, 4096},
		{"weir_config_reloads_total", `result="failed"`, 0},
		{"weir_config_reloads_total", `result="ok"`, 1},
		{"weir_config_last_success_timestamp_seconds", "", 1700000100},
	} {
		if got := value(t, all, c.name, c.labels); got != c.want {
			t.Errorf("%s{%s} is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if n := len(all["weir_state_bytes"].GetMetric()); n != 1 {
		t.Errorf("%d tables with bytes, one has them", n)
	}
}

func sum(all []uint64) (n uint64) {
	for _, one := range all {
		n += one
	}
	return n
}

// TestMetricsLint runs Prometheus' own linter, and looks for addresses in labels.
func TestMetricsLint(t *testing.T) {
	m, all := gatherAll(t)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for name, f := range all {
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if addressLike(l.GetValue()) {
					t.Errorf("%s{%s=%q} looks like an address", name, l.GetName(), l.GetValue())
				}
			}
		}
	}
	for text, want := range map[string]bool{"192.0.2.1": true, "x 2001:db8::1": true, "192.0.2.0/24": true, "go1.26.8": false, "devel": false, "0.005": false} {
		if addressLike(text) != want {
			t.Errorf("%q looks like an address: %v", text, !want)
		}
	}
}

var notAddress = regexp.MustCompile(`[^0-9a-fA-F:.]+`)

// addressLike tells whether an IP address is somewhere in a text.
func addressLike(s string) bool {
	return slices.ContainsFunc(notAddress.Split(s, -1), func(word string) bool {
		_, err := netip.ParseAddr(word)
		return err == nil
	})
}

// TestMetricsBeforeTheFirstSecond holds that a sensor without a status, interfaces or bus can be scraped.
func TestMetricsBeforeTheFirstSecond(t *testing.T) {
	m := newMetrics(observed{Status: func() *sensor.Status { return nil }, Started: time.Now()})
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "weir_packets_total" {
			t.Error("packets without a status")
		}
	}
}

// TestAlertMetrics holds what is counted of alerts, and that it is bounded.
func TestAlertMetrics(t *testing.T) {
	m := newMetrics(observedAll()) // whose event time is 1.5 s behind the clock
	at := time.Unix(1_700_000_000, 0)
	a := &alert.Alert{Analyzer: "flood", Kind: "syn", Severity: alert.High, State: alert.Open, Time: alert.Time(at.UnixNano())}
	m.alert(a, at.Add(1500*time.Millisecond+20*time.Millisecond))
	a.State = alert.Closed
	m.alert(a, at.Add(time.Hour))
	if n := testutil.ToFloat64(m.alerts.WithLabelValues("flood", "syn", "high", "open")); n != 1 {
		t.Errorf("%v opened, want 1", n)
	}
	if n := testutil.ToFloat64(m.alerts.WithLabelValues("flood", "syn", "high", "closed")); n != 1 {
		t.Errorf("%v closed, want 1", n)
	}
	var h dto.Metric
	if err := m.latency.Write(&h); err != nil {
		t.Fatal(err)
	}
	buckets := h.GetHistogram().GetBucket()
	if h.GetHistogram().GetSampleCount() != 1 || buckets[0].GetCumulativeCount() != 0 || buckets[1].GetCumulativeCount() != 1 {
		t.Errorf("latency of 20 ms is counted as %v", h.GetHistogram())
	}
	for i := range 2 * maxAlertSeries {
		a.Kind = fmt.Sprint("kind", i)
		m.alert(a, at)
	}
	if n := testutil.CollectAndCount(m.alerts); n > maxAlertSeries+1 {
		t.Errorf("%d series of alerts, the bound is %d", n, maxAlertSeries)
	}
	if n := testutil.ToFloat64(m.alerts.WithLabelValues("other", "other", "high", "closed")); n != maxAlertSeries+2 {
		t.Errorf("%v alerts of other kinds", n)
	}
}

// TestMetricsRace scrapes while alerts come, a configuration is read and health is told.
func TestMetricsRace(t *testing.T) {
	o := observedAll()
	m := newMetrics(o)
	r := newHealthReporter(m)
	var all sync.WaitGroup
	for _, do := range []func(int){
		func(i int) { m.alert(&alert.Alert{Kind: fmt.Sprint(i)}, time.Now()) },
		func(int) { m.reloaded(nil, time.Now()) },
		func(int) { r.message(time.Now()) },
		func(int) {
			if _, err := m.registry.Gather(); err != nil {
				t.Error(err)
			}
		},
	} {
		all.Go(func() {
			for i := range 20 {
				do(i)
			}
		})
	}
	all.Wait()
}

func TestPulse(t *testing.T) {
	var s *sensor.Status
	start := time.Now()
	p := pulse{status: func() *sensor.Status { return s }, moved: start}
	check := func(after time.Duration, want string) {
		t.Helper()
		err := p.alive(start.Add(after))
		if fmt.Sprint(err) != want {
			t.Errorf("after %v: %v, want %s", after, err, want)
		}
	}
	check(stuckAfter, "<nil>")
	check(stuckAfter+time.Second, "nothing was judged within 16s of the start")
	s = &sensor.Status{Time: 1_700_000_000_000_000_000}
	check(20*time.Second, "<nil>")
	check(35*time.Second, "<nil>")
	check(36*time.Second, "nothing was judged for 16s, since event time 2023-11-14T22:13:20.000000000Z")
	s = &sensor.Status{Time: 1} // a clock that was set back
	check(36*time.Second, "<nil>")
}

func TestReady(t *testing.T) {
	start := time.Now()
	var status *sensor.Status
	interfaces := []capture.InterfaceStatus{{Name: "a"}, {Name: "b", Index: 1, Open: true}, {Name: "c", Index: 2, Up: true}}
	err := errors.New("nats: not connected")
	m := newMetrics(observed{
		Started: start, Status: func() *sensor.Status { return status }, Ready: func() error { return err },
		Interfaces: func() []capture.InterfaceStatus { return interfaces },
	})
	check := func(want ...string) {
		t.Helper()
		if got := m.ready(start); !slices.Equal(got, want) {
			t.Errorf("reasons are %q, want %q", got, want)
		}
	}
	check(
		"nothing was judged yet", "a: there is no such interface now", "b: down, or without carrier", "c: not captured from",
		"nats: not connected",
	)
	interfaces[2].Open = true
	check("nothing was judged yet", "nats: not connected")
	status = &sensor.Status{}
	err = nil
	check()
}

// TestHealthMessage holds the first message and what the second adds.
func TestHealthMessage(t *testing.T) {
	o := observedAll()
	s := o.Status()
	o.Status = func() *sensor.Status { return s }
	r := newHealthReporter(newMetrics(o))
	first := r.message(o.Started.Add(10 * time.Second))
	again := newHealthReporter(newMetrics(o)).message(o.Started.Add(10 * time.Second))
	if string(first) != string(again) {
		t.Errorf("two messages of the same differ:\n%s\n%s", first, again)
	}
	if err := json.Unmarshal(first, &map[string]any{}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`{"schema":"weir.health/1","time":"2023-11-14T22:13:30.000000000Z","site":"home","sensor":"tap",`,
		`"uptime":10,"interval":10,"ready":true,"reasons":[],"event_time":"2023-11-14T22:13:20.500000000Z","clock_correction":-1.5,`,
		fmt.Sprintf(`"packets":{"total":%d,"per_second":%v},`, s.Link.Packets, float64(s.Link.Packets)/10),
		`"loss":{"ratio":0.125,"causes":[{"stage":"kernel","cause":"ring_full",`,
		`"one_way":true,"unanswered":false,"alerts":{"open":20,"opened":30,"since":30},`,
		`"interfaces":[{"name":"eth1","up":true,"open":true,"reopened":1,"received":50,"dropped":4},`,
		`"outbox_bytes":512,"outbox_limit_bytes":1024}}`,
	} {
		if !strings.Contains(string(first), part) {
			t.Errorf("the message lacks %s\n%s", part, first)
		}
	}
	next := *s
	next.Link.Packets += 500
	next.Link.Bytes += 1000
	next.Link.Loss[tally.LossKernel] += 3
	s = &next
	var got health
	if err := json.Unmarshal(r.message(o.Started.Add(20*time.Second)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Interval != 10 || got.Packets.Second != 50 || got.Bits.Second != 800 || got.Alerts.Since != 0 {
		t.Errorf("second message: %+v", got)
	}
	if c := got.Loss.Causes[0]; c.Total != next.Link.Loss[tally.LossKernel] || c.Since != 3 || got.Loss.Causes[1].Since != 0 {
		t.Errorf("losses of the second message: %+v", got.Loss.Causes)
	}
	s = &sensor.Status{Alerts: alert.Stats{Opened: 2}} // of an engine that began anew
	s.Link.Packets, s.Link.Loss[tally.LossKernel] = 30, 1
	if err := json.Unmarshal(r.message(o.Started.Add(30*time.Second)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Packets.Second != 3 || got.Alerts.Since != 2 || got.Loss.Causes[0].Since != 1 {
		t.Errorf("message after a new beginning: %+v", got)
	}
	s = nil
	if err := json.Unmarshal(newHealthReporter(newMetrics(o)).message(o.Started.Add(time.Minute)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Ready || !slices.Equal(got.Reasons, []string{"nothing was judged within 1m0s of the start"}) {
		t.Errorf("before the first second: ready %v, %q", got.Ready, got.Reasons)
	}
}
