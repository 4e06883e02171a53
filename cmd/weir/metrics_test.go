package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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
	network "weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/capture"
	"weir/sensor/enforce"
	"weir/sensor/notify"
	"weir/sensor/policy"
	"weir/sensor/store"
	"weir/sensor/web"
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
	distinct(reflect.ValueOf(&s.Gate).Elem(), &n)
	s.Epochs, s.Records, s.RecordsLost, s.Late, s.Absent, s.Backward, s.Discontinuities = 1, 2, 3, 4, 5, 6, 7
	s.Alerts = alert.Stats{Findings: 100, Opened: 30, Updated: 9, Closed: 10, Early: 4, Repeats: 60, Folded: 11}
	b := bus.Stats{Connected: true, Reconnects: 2, DiskErrors: 3, Outbox: bus.OutboxStats{Bytes: 512, Limit: 1024, Torn: 1, Damaged: 2}}
	distinct(reflect.ValueOf(&b.Kinds).Elem(), &n)
	distinct(reflect.ValueOf(&b.State).Elem(), &n)
	distinct(reflect.ValueOf(&b.Commands).Elem(), &n)
	d := decided{
		Drops: 40, Strikes: 41, Peers: 42, MaxDrops: 50, MaxStrikes: 51, MaxPeers: 52, Pending: 3, Held: true,
		Bucket: errors.New("no bucket"),
	}
	distinct(reflect.ValueOf(&d.Stats).Elem(), &n)
	for range policy.GuardNames() {
		n++
		d.Refused = append(d.Refused, n)
	}
	return observed{
		Noticed: func() noticed {
			return noticed{[]notify.ChannelStats{{Name: "ops", Events: 11, Delivered: 12, Failed: 13, Refused: 14, Waiting: 15, Pending: 16, Bytes: 17, Disk: 18}}, 19}
		},
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
		Decided:    func() decided { return d },
		Gates: func() []enforce.Status {
			return []enforce.Status{gateAll(), {Interface: "eth2", Table: "nftables", Attached: true, Reconciled: time.Unix(1_700_000_000, 0)}}
		},
		Alive:      func(time.Time) error { return nil },
		Unreported: func() uint64 { return 77 },
		Store:      storeAll,
		Evidence: func() (c sensor.CollectStats) {
			n := uint64(6000)
			distinct(reflect.ValueOf(&c).Elem(), &n)
			return c
		},
	}
}

// storeAll is a store of which every figure differs.
func storeAll() (st store.Stats) {
	n := uint64(5000)
	distinct(reflect.ValueOf(&st).Elem(), &n)
	return st
}

// gateAll is a gate that does all that is wanted, of which every figure differs.
func gateAll() enforce.Status {
	at := time.Unix(1_700_000_000, 0)
	return enforce.Status{
		Table: "xdp", Interface: "eth1", Attached: true, Known: 90, Wanted: 30, Enforced: 25, Shadow: 4,
		Refused: map[string]int{"cap_rate": 3, "gateway": 2}, Pending: 6, Missing: 7,
		Drift: enforce.Drift{Missing: 1, Foreign: 2, Changed: 5, Time: at}, DriftTotal: enforce.Drift{Missing: 11, Foreign: 12, Changed: 13, Time: at},
		Adopted: 14, Alien: 15, Reconciled: at, Took: 20 * time.Millisecond, Whole: at.Add(time.Second),
		Applied: 61, Expired: 62, Removed: 63, Refusals: map[string]uint64{"cap_rate": 64, "forged": 65}, Unasked: 66, Forgotten: 67,
		Totals: []enforce.Total{
			{Verdict: "pass", Reason: "none", Packets: 1000, Bytes: 2000},
			{Verdict: "drop", Reason: "host", Packets: 70, Bytes: 7000, Lost: 5},
			{Verdict: "limit", Reason: "service", Packets: 30, Bytes: 3000, Lost: 4},
			{Verdict: "shadow", Reason: "host", Packets: 9, Bytes: 900, Lost: 3},
		},
		Counts: []enforce.Count{{Kind: "hosts4", Used: 21, Limit: 1024}}, Errors: 68,
	}
}

// gatherAll is every series of a sensor that has found and reloaded something, too.
func gatherAll(t *testing.T) (*metrics, map[string]*dto.MetricFamily) {
	t.Helper()
	m := newMetrics(observedAll())
	withPage(t, m)
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

// withPage gives metrics a page, as a process has one unless its configuration says otherwise.
func withPage(t *testing.T, m *metrics) {
	t.Helper()
	page, err := web.New(web.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	m.page.Store(page)
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
	asDocumented(t, all, everything)
}

// What metrics a process has, by what runs in it.
var (
	everything = regexp.MustCompile(`^`)
	ofRun      = regexp.MustCompile(`^weir_[^n]`)           // without channels no weir_notify_
	ofSense    = regexp.MustCompile(`^weir_([^gen]|event)`) // nor weir_gate_, weir_enforce_
	ofBlock    = regexp.MustCompile(`^weir_(build_info|bus_|config_|enforce_|gate_|loss_total|refusals_|page_)`)
)

// asDocumented holds that all metrics of weir, and no others, are in docs/metrics.md, and that those of the parts that run are there.
func asDocumented(t *testing.T, all map[string]*dto.MetricFamily, parts *regexp.Regexp) {
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
		if there := got[name] != ""; there != parts.MatchString(name) {
			t.Errorf("docs/metrics.md has %s, and it is a metric of what runs: %v", name, there)
		}
	}
	if len(got) < 40 {
		t.Errorf("only %d metrics", len(got))
	}
}

// TestMetricsInRules holds that the rules, the board and the queries of the documentation ask for metrics that there are.
func TestMetricsInRules(t *testing.T) {
	_, all := gatherAll(t)
	asked := 0
	for _, file := range []string{"../../deploy/prometheus-rules.yaml", "../../deploy/grafana/weir.json", "../../docs/metrics.md"} {
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
	s, b, d, kept := m.Status(), m.Bus(), m.Decided(), m.Store()
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
		{"weir_loss_total", `cause="gate_drops",stage="tally"`, float64(s.Gate.DropsLost)},
		{"weir_loss_total", `cause="strikes",stage="policy"`, float64(d.Forgotten)},
		{"weir_loss_total", `cause="samples",stage="gate"`, 12},
		{"weir_loss_total", `cause="hits",stage="gate"`, 66},
		{"weir_loss_total", `cause="tombstones",stage="gate"`, 67},
		{"weir_loss_total", `cause="reports",stage="gate"`, 77},
		{"weir_loss_total", `cause="alerts",stage="store"`, float64(sum(kept.Kinds[store.Alerts].Lost[:]))},
		{"weir_store_lost_rows_total", `cause="disk",kind="flows"`, float64(kept.Kinds[store.Flows].Lost[store.LostDisk])},
		{"weir_store_rows_total", `kind="flows"`, float64(kept.Kinds[store.Flows].Rows)},
		{"weir_store_bytes", `kind="evidence"`, float64(kept.Kinds[store.Evidence].Bytes)},
		{"weir_store_removed_files_total", `kind="alerts",reason="age"`, float64(kept.Kinds[store.Alerts].Removed[store.RemovedAge])},
		{"weir_blocked_packets_total", `action="shadow"`, float64(s.Gate.ShadowPackets)},
		{"weir_blocked_bytes_total", `action="drop"`, float64(s.Gate.Bytes)},
		{"weir_bus_state_reads_total", `again="yes"`, float64(b.State.Rereads)},
		{"weir_bus_state_writes_total", `result="failed"`, float64(b.State.WriteErrors)},
		{"weir_bus_state_bad_entries_total", "", float64(b.State.Bad)},
		{"weir_bus_commands_total", `result="refused"`, float64(b.Commands.Refused)},
		{"weir_bus_gate_reports_unheard_total", "", float64(b.Commands.ReportsUnheard)},
		{"weir_state_entries", `table="strikes"`, 41},
		{"weir_state_entries_limit", `table="peers"`, 52},
		{"weir_drops_wanted", "", 37},
		{"weir_drops_pending", "", 3},
		{"weir_decisions_total", `outcome="pending"`, float64(d.Stats.Pending)},
		{"weir_decisions_total", `outcome="extended"`, float64(d.Extended)},
		{"weir_policy_held", "", 1},
		{"weir_refusals_total", `by="policy",guard="panic"`, float64(d.Refused[0])},
		{"weir_refusals_total", `by="policy",guard="cap_established"`, float64(d.Refused[len(d.Refused)-1])},
		{"weir_refusals_total", `by="gate",guard="cap_rate"`, 64},
		{"weir_refusals_total", `by="gate",guard="forged"`, 65},
		{"weir_refusals_total", `by="gate",guard="replayed"`, 0},
		{"weir_gate_attached", `interface="eth1",table="xdp"`, 1},
		{"weir_gate_drops_wanted", `interface="eth1",table="xdp"`, 30},
		{"weir_gate_drops_enforced", `interface="eth1",table="xdp"`, 25},
		{"weir_gate_drops_refused", `guard="gateway",interface="eth1",table="xdp"`, 2},
		{"weir_gate_drops_refused", `guard="gateway",interface="eth2",table="nftables"`, 0},
		{"weir_gate_drift", `interface="eth1",table="xdp"`, 8},
		{"weir_gate_drift_total", `interface="eth1",kind="changed",table="xdp"`, 13},
		{"weir_gate_reconciled_timestamp_seconds", `interface="eth1",table="xdp"`, 1700000000},
		{"weir_gate_read_timestamp_seconds", `interface="eth1",table="xdp"`, 1700000001},
		{"weir_gate_reconcile_duration_seconds", `interface="eth1",table="xdp"`, 0.02},
		{"weir_gate_receipts_total", `interface="eth1",state="removed",table="xdp"`, 63},
		{"weir_gate_packets_total", `interface="eth1",reason="service",table="xdp",verdict="limit"`, 30},
		{"weir_gate_bytes_total", `interface="eth1",reason="host",table="xdp",verdict="drop"`, 7000},
		{"weir_gate_entries_limit", `interface="eth1",kind="hosts4",table="xdp"`, 1024},
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

// TestMetricsOfParts holds that a process has the metrics and the fields of health of what runs in it, and no others.
func TestMetricsOfParts(t *testing.T) {
	sense, block := observedAll(), observedAll()
	sense.Gates, sense.Alive, sense.Unreported, sense.Noticed = nil, nil, nil, nil
	block.Status, block.Interfaces, block.Correction, block.Decided, block.Store, block.Noticed, block.Evidence = nil, nil, nil, nil, nil, nil, nil
	for _, c := range []struct {
		name  string
		o     observed
		parts *regexp.Regexp
	}{{"sense", sense, ofSense}, {"block", block, ofBlock}, {"run", observedAll(), everything}} {
		t.Run(c.name, func(t *testing.T) {
			m := newMetrics(c.o)
			withPage(t, m)
			if m.Status != nil {
				m.alert(&alert.Alert{Analyzer: "scan"}, time.Now())
			}
			families, err := m.registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			all := map[string]*dto.MetricFamily{}
			for _, f := range families {
				all[f.GetName()] = f
			}
			asDocumented(t, all, c.parts)
			asHealthDocumented(t, newHealthReporter(m).message(time.Now()), c.name)
			if why := m.ready(c.o.Started.Add(time.Second)); why != nil {
				t.Errorf("it is not ready: %q", why)
			}
		})
	}
}

// asHealthDocumented holds that a health message has the fields that docs/health.md says a command's has, in that order, and returns
// them.
func asHealthDocumented(t *testing.T, message []byte, command string) map[string]any {
	t.Helper()
	said := map[string]any{}
	if err := json.Unmarshal(message, &said); err != nil {
		t.Fatalf("%v: %s", err, message)
	}
	doc, err := os.ReadFile("../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	fields, at := 0, 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\| ([^|]*) \\|").FindAllStringSubmatch(string(doc), -1) {
		if row[2] != "all" && !slices.Contains(strings.Split(row[2], ", "), command) {
			continue
		}
		for _, field := range regexp.MustCompile("[a-z_]+").FindAllString(row[1], -1) {
			fields++
			if _, found := said[field]; !found {
				t.Errorf("the health message of weir %s has no %s, which docs/health.md has", command, field)
			}
			here := strings.Index(string(message[at:]), `"`+field+`":`)
			if here < 0 {
				t.Errorf("%s is not in its place", field)
			}
			at += max(here, 0)
		}
	}
	if fields != len(said) || fields < 10 {
		t.Errorf("%d fields are documented, and the health message of weir %s has %d:\n%s", fields, command, len(said), message)
	}
	return said
}

// TestGateReasons holds what keeps a gate from being ready, a line each, and what does not.
func TestGateReasons(t *testing.T) {
	now := time.Unix(1_700_000_300, 0)
	for _, c := range []struct {
		name string
		do   func(*enforce.Status)
		want []string
	}{
		{"all well", func(*enforce.Status) {}, nil},
		{"drift that was mended", func(g *enforce.Status) { g.Drift.Missing = 100 }, nil},
		{"a panic", func(g *enforce.Status) {
			g.Held, g.Enforced, g.Refused = &enforce.Panic{Held: true}, 0, map[string]int{"panic": 30}
		}, nil},
		{"not begun", func(g *enforce.Status) { g.Reconciled, g.Attached = time.Time{}, false }, []string{"eth1: the gate was not looked after yet"}},
		{"detached", func(g *enforce.Status) { g.Attached, g.Error = false, "attach: no such device\nreally" }, []string{
			"eth1: the gate (xdp) does not judge the traffic", "eth1: attach: no such device; really",
		}},
		{"stale", func(g *enforce.Status) { g.Stale = now.Add(-150 * time.Second) }, []string{"eth1: wanted drops were not read whole for 2m30s"}},
		{"full", func(g *enforce.Status) { g.Enforced, g.Failed = 20, 5 }, []string{"eth1: 5 of 30 wanted drops were not taken by the kernel"}},
		{"lost", func(g *enforce.Status) { g.Enforced = 24 }, []string{"eth1: 30 drops are wanted, 24 in force, 5 held back by guards"}},
		{"too many", func(g *enforce.Status) { g.Enforced = 26 }, []string{"eth1: 30 drops are wanted, 26 in force, 5 held back by guards"}},
	} {
		g := gateAll()
		c.do(&g)
		m := newMetrics(observed{Started: now, Gates: func() []enforce.Status { return []enforce.Status{g} }})
		if got := m.ready(now); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	m := newMetrics(observed{
		Gates:   func() []enforce.Status { return []enforce.Status{gateAll()} },
		Alive:   func(time.Time) error { return errors.New("the gate of eth1 was not looked after for 20s") },
		Decided: func() decided { return decided{Unwritten: 3, Bucket: errors.New("nats: timeout")} },
	})
	want := []string{"the gate of eth1 was not looked after for 20s", "3 decisions cannot be written for the gates: nats: timeout"}
	if got := m.ready(now); !slices.Equal(got, want) || fmt.Sprint(m.stuck(now)) != want[0] {
		t.Errorf("%q, %v, want %q", got, m.stuck(now), want)
	}
}

// named is a table of which only the name is asked.
type named struct{ enforce.Table }

func (named) Name() string { return "xdp" }

// TestGatesAlive holds how long a gate may stand still: 15 s, and what its configuration has it wait between two looks.
func TestGatesAlive(t *testing.T) {
	e, err := enforce.New(enforce.Options{
		Config: enforce.Defaults(), Table: named{}, Guards: policy.NewGuards(policy.Defaults(), network.New(network.Config{}, nil, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	g := &gates{started: start, every: time.Minute, all: []*gateAt{{name: "eth1", enforcer: e}}}
	for after, want := range map[time.Duration]string{
		75 * time.Second: "<nil>",
		76 * time.Second: "the gate of eth1 was not looked after for 1m16s",
	} {
		if got := fmt.Sprint(g.alive(start.Add(after))); got != want {
			t.Errorf("after %v: %s, want %s", after, got, want)
		}
	}
}

// TestEnforceLatency holds which receipts are a measure of it.
func TestEnforceLatency(t *testing.T) {
	o := observedAll()
	m := newMetrics(o)
	told := func(state string, after, took time.Duration) {
		at := o.Started.Add(after)
		m.receipt(&enforce.Receipt{State: state, Generation: uint64(at.UnixMicro())}, at.Add(took))
	}
	told(enforce.ReceiptApplied, time.Second, 3*time.Millisecond)
	told(enforce.ReceiptApplied, time.Minute, -time.Millisecond) // another host's clock
	told(enforce.ReceiptApplied, -time.Second, time.Hour)        // decided before the start
	told(enforce.ReceiptRefused, time.Second, time.Second)
	m.receipt(&enforce.Receipt{State: enforce.ReceiptRemoved}, o.Started)
	var h dto.Metric
	if err := m.applied.Write(&h); err != nil {
		t.Fatal(err)
	}
	g := h.GetHistogram()
	if g.GetSampleCount() != 2 || g.GetSampleSum() < 0.00299 || g.GetSampleSum() > 0.00301 {
		t.Errorf("latencies of 3 ms and 0 are counted as %v", g)
	}
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
		`"outbox_bytes":512,"outbox_limit_bytes":1024},`,
		`"policy":{"wanted":37,"pending":3,"requested":` + fmt.Sprint(o.Decided().Requested) + `,`,
		`"gates":[{"interface":"eth1","table":"xdp","attached":true,"held":false,"wanted":30,"enforced":25,"shadow":4,"refused":{"cap_rate":3,"gateway":2},"failed":0,`,
		`"drift":{"total":36,"since":36},"stale":false,"reconciled":"2023-11-14T22:13:20.000000000Z","dropped_packets":{"total":100,"per_second":10},`,
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
	got := health{healthEngine: &healthEngine{}}
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
