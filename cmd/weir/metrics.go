package main

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/capture"
	"weir/sensor/enforce"
	"weir/sensor/store"
	"weir/sensor/web"
)

// observed is what a running process lets others see of itself: snapshots that any goroutine may ask for. A function that is
// nil belongs to a part that does not run.
type observed struct {
	Site, Sensor string
	Started      time.Time             // from time.Now
	Status       func() *sensor.Status // of the engine: nil before the first second
	Interfaces   func() []capture.InterfaceStatus
	Bus          func() bus.Stats
	Ready        func() error         // of the bus
	Correction   func() time.Duration // event time less the host's clock, after clock steps
	Decided      func() decided
	Gates        func() []enforce.Status
	Alive        func(now time.Time) error // of the gates: which is not looked after
	Noticed      func() noticed            // of messages to people
	Unreported   func() uint64             // hits and samples of the gates that did not fit into their reports
	Store        func() store.Stats
	Evidence     func() sensor.CollectStats
}

// sample is what one scrape or one health message shows. What is nil belongs to a part that does not run.
type sample struct {
	status     *sensor.Status // nil before the first second, too
	interfaces []capture.InterfaceStatus
	bus        *bus.Stats
	correction *time.Duration
	decided    *decided
	gates      []enforce.Status
	noticed    *noticed // nil without channels, too
	unreported uint64
	store      *store.Stats
	evidence   *sensor.CollectStats
}

func (o *observed) sample() *sample {
	s := new(sample)
	if o.Status != nil {
		s.status = o.Status()
	}
	if o.Interfaces != nil {
		s.interfaces = o.Interfaces()
	}
	if o.Bus != nil {
		b := o.Bus()
		s.bus = &b
	}
	if o.Correction != nil {
		c := o.Correction()
		s.correction = &c
	}
	if o.Decided != nil {
		d := o.Decided()
		s.decided = &d
	}
	if o.Gates != nil {
		s.gates = o.Gates()
	}
	if o.Noticed != nil {
		if n := o.Noticed(); len(n.Channels) > 0 {
			s.noticed = &n
		}
	}
	if o.Unreported != nil {
		s.unreported = o.Unreported()
	}
	if o.Store != nil {
		st := o.Store()
		s.store = &st
	}
	if o.Evidence != nil {
		e := o.Evidence()
		s.evidence = &e
	}
	return s
}

// loss is what was not seen, or not counted or told in full, by where and why. What one unit of n is depends on the cause:
// docs/metrics.md.
type loss struct {
	stage, cause string
	n            uint64
}

// losses are all counters of loss, in the order of a packet's way.
func (s *sample) losses() (all []loss) {
	if st := s.status; st != nil {
		l, c := &st.Link, &st.Conn
		all = append(
			all,
			loss{"kernel", "ring_full", l.Loss[tally.LossKernel]},
			loss{"kernel", "freeze", l.Loss[tally.LossFreeze]},
			loss{"interface", "dropped", l.Loss[tally.LossInterface]},
			loss{"capture", "snaplen", l.Loss[tally.LossCut]},
		)
		for w := decode.WhyLinkType; w < decode.WhyCount; w++ {
			if w != decode.WhyCut { // is that of the snaplen
				all = append(all, loss{"decode", w.String(), l.Why[w]})
			}
		}
		all = append(
			all,
			loss{"connections", "evicted", c.Evicted},
			loss{"connections", "long_probe", c.LongProbe},
			loss{"connections", "half_open", c.Overwritten},
			loss{"connections", "outcomes", c.SilentLost},
			loss{"connections", "payload_sizes", c.ExtraFull},
			loss{"connections", "fragments", c.FragFull},
			loss{"connections", "records", st.RecordsLost},
			loss{"tally", tally.LossSources.String(), l.Loss[tally.LossSources]},
			loss{"tally", tally.LossServices.String(), l.Loss[tally.LossServices]},
			loss{"tally", tally.LossPrints.String(), l.Loss[tally.LossPrints]},
			loss{"tally", tally.LossPairs.String(), l.Loss[tally.LossPairs]},
			loss{"tally", tally.LossOpenings.String(), l.Loss[tally.LossOpenings]},
			loss{"tally", tally.LossOdds.String(), l.Loss[tally.LossOdds]},
			loss{"tally", "gate_drops", st.Gate.DropsLost},
			loss{"tally", "gate_samples", st.Gate.SamplesLost},
		)
		for _, limit := range st.Limits {
			if part, _, _ := strings.Cut(limit.Limit, " "); part != "alerts" { // these stand below
				all = append(all, loss{"analyzers", strings.ReplaceAll(limit.Limit, " ", "_"), limit.N})
			}
		}
		all = append(all, loss{"alerts", "folded", st.Alerts.Folded}, loss{"alerts", "closed_early", st.Alerts.Early})
	}
	if d := s.decided; d != nil {
		all = append(all, loss{"policy", "strikes", d.Forgotten}, loss{"policy", "peers", d.Unpeered})
	}
	if s.gates != nil {
		all = append(all, gateLosses(s.gates)...)
		all = append(all, loss{"gate", "reports", s.unreported})
	}
	if s.bus != nil {
		for k := range bus.KindCount {
			sum := uint64(0)
			for _, n := range s.bus.Kinds[k].Dropped {
				sum += n
			}
			all = append(all, loss{"bus", k.String(), sum})
		}
	}
	if s.store != nil {
		all = append(all, storeLosses(s.store)...)
	}
	return all
}

// states are the bounded tables of the engine and of the policy.
func (s *sample) states() (all []sensor.StateSize) {
	if s.status != nil {
		all = append(all, s.status.States...)
	}
	if d := s.decided; d != nil {
		all = append(all, d.states()...)
	}
	return all
}

// family is one metric: what it is called and where its values come from. A T is a part of a sample.
type family[T any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(T, put)
}

// put takes a value with its labels, in the order of the family's.
type put func(v float64, labels ...string)

func (p put) count(n uint64, labels ...string) { p(float64(n), labels...) }

func (p put) flag(yes bool, labels ...string) {
	v := 0.0
	if yes {
		v = 1
	}
	p(v, labels...)
}

const namespace = "weir_"

func counter[T any](name, help, labels string, read func(T, put)) family[T] {
	return family[T]{prometheus.NewDesc(namespace+name, help, strings.Fields(labels), nil), prometheus.CounterValue, read}
}

func gauge[T any](name, help, labels string, read func(T, put)) family[T] {
	return family[T]{prometheus.NewDesc(namespace+name, help, strings.Fields(labels), nil), prometheus.GaugeValue, read}
}

// statusMetrics are those of the engine. docs/metrics.md has the same list, and a test compares them.
var statusMetrics = []family[*sensor.Status]{
	gauge("event_time_seconds", "Event time that was judged up to, in seconds since the Unix epoch.", "", func(s *sensor.Status, put put) {
		put(float64(s.Time) / 1e9)
	}),
	counter("ticks_total", "Ticks of 100 ms that were judged.", "", func(s *sensor.Status, put put) { put.count(s.Epochs) }),
	counter("ticks_late_total", "Ticks that a worker joined to its next one, because the judge was behind.", "", func(s *sensor.Status, put put) {
		put.count(s.Late)
	}),
	counter("ticks_absent_total", "Ticks judged without a worker that lagged behind; what it counted came in a later tick.", "", func(s *sensor.Status, put put) {
		put.count(s.Absent)
	}),
	counter("time_discontinuities_total", "Jumps of event time of more than an hour.", "", func(s *sensor.Status, put put) {
		put.count(s.Discontinuities)
	}),
	counter("frames_backward_total", "Frames whose time was before that of the frame before.", "", func(s *sensor.Status, put put) {
		put.count(s.Backward)
	}),
	counter("packets_total", "Packets seen, by innermost protocol.", "protocol", func(s *sensor.Status, put put) {
		l := &s.Link
		put.count(l.TCP, "tcp")
		put.count(l.UDP, "udp")
		put.count(l.ICMP, "icmp")
		put.count(l.ARP, "arp")
		put.count(l.Other, "other")
	}),
	counter("bytes_total", "Bytes of the packets seen, as long as they were on the wire.", "", func(s *sensor.Status, put put) {
		put.count(s.Link.Bytes)
	}),
	counter("tcp_payload_packets_total", "TCP packets with payload.", "", func(s *sensor.Status, put put) { put.count(s.Link.Payload) }),
	counter("tcp_retransmitted_packets_total", "TCP packets with payload that was seen before.", "", func(s *sensor.Status, put put) {
		put.count(s.Link.Retrans)
	}),
	counter("fragments_total", "Packets that are IP fragments.", "", func(s *sensor.Status, put put) { put.count(s.Link.Fragments) }),
	counter("fragment_oddities_total", "Fragments that no honest sender makes, or whose first one is unknown.", "kind", func(s *sensor.Status, put put) {
		put.count(s.Conn.FragOrphan, "orphan")
		put.count(s.Conn.FragTiny, "tiny")
		put.count(s.Conn.FragOverlap, "overlap")
	}),
	counter("decode_stopped_total", "Packets that were not decoded to a transport header, by reason.", "reason", func(s *sensor.Status, put put) {
		for w := decode.WhyOK + 1; w < decode.WhyCount; w++ {
			put.count(s.Link.Why[w], w.String())
		}
	}),
	gauge("loss_ratio", "Share of the packets of the last minute that the kernel or the interface dropped.", "", func(s *sensor.Status, put put) {
		put(s.Loss)
	}),
	gauge("one_way", "1 while the traffic of the last minute shows one direction only.", "", func(s *sensor.Status, put put) { put.flag(s.OneWay) }),
	gauge("unanswered", "1 while nobody answered anything within the last minute.", "", func(s *sensor.Status, put put) { put.flag(s.Mute) }),
	counter("connections_opened_total", "Connections and half-open entries opened.", "", func(s *sensor.Status, put put) { put.count(s.Conn.Opened) }),
	counter("connections_closed_total", "Connections and half-open entries ended, for whatever reason.", "", func(s *sensor.Status, put put) {
		put.count(s.Conn.Ended)
	}),
	counter("connections_proven_total", "TCP handshakes that were completed with a proven return path.", "", func(s *sensor.Status, put put) {
		put.count(s.Link.Proven)
	}),
	counter("connections_visible_total", "TCP connections with payload, by the directions of them that were seen.", "directions", func(s *sensor.Status, put put) {
		put.count(s.Link.VisibleOneWay, "one")
		put.count(s.Link.VisibleTwoWay, "both")
	}),
	counter("connection_records_total", "Connection records that were handed on at a connection's end.", "", func(s *sensor.Status, put put) {
		put.count(s.Records)
	}),
	counter("findings_total", "Findings of analyzers, by what became of them.", "outcome", func(s *sensor.Status, put put) {
		a := &s.Alerts
		put.count(a.Findings-a.Repeats-a.Folded, "opened")
		put.count(a.Repeats, "repeat")
		put.count(a.Folded, "folded")
	}),
	counter("alerts_muted_total", "Alerts that a rule of mutes has muted.", "", func(s *sensor.Status, put put) { put.count(s.Alerts.Muted) }),
	gauge("alerts_open", "Alerts that are open.", "", func(s *sensor.Status, put put) { put.count(s.Alerts.Opened - s.Alerts.Closed) }),
	counter("worker_packets_total", "Packets that a worker processed.", "worker", func(s *sensor.Status, put put) {
		for i := range s.Workers {
			put.count(s.Workers[i].Packets, strconv.Itoa(i))
		}
	}),
	counter("worker_ring_dropped_packets_total", "Packets that the kernel dropped because the rings of a worker were full.", "worker", func(s *sensor.Status, put put) {
		for i := range s.Workers {
			put.count(s.Workers[i].Kernel, strconv.Itoa(i))
		}
	}),
	counter("worker_ring_freezes_total", "Times that a ring of a worker stood still, full.", "worker", func(s *sensor.Status, put put) {
		for i := range s.Workers {
			put.count(s.Workers[i].Freezes, strconv.Itoa(i))
		}
	}),
	counter("blocked_reports_total", "Reports of gates that came to this sensor.", "", func(s *sensor.Status, put put) { put.count(s.Gate.Reports) }),
	counter("blocked_entries_total", "Drops that reports of gates told hits of.", "", func(s *sensor.Status, put put) { put.count(s.Gate.Drops) }),
	counter("blocked_packets_total", "Packets that gates reported to have dropped, or would have in a rehearsal.", "action", func(s *sensor.Status, put put) {
		put.count(s.Gate.Packets, "drop")
		put.count(s.Gate.ShadowPackets, "shadow")
	}),
	counter("blocked_bytes_total", "Bytes of the packets that gates reported to have dropped, or would have in a rehearsal.", "action", func(s *sensor.Status, put put) {
		put.count(s.Gate.Bytes, "drop")
		put.count(s.Gate.ShadowBytes, "shadow")
	}),
	counter("blocked_samples_total", "Sampled frames that reports of gates showed.", "", func(s *sensor.Status, put put) { put.count(s.Gate.Samples) }),
	gauge("worker_lag_seconds", "Event time by which a worker is behind the one that is furthest.", "worker", func(s *sensor.Status, put put) {
		for i, lag := range lags(s.Workers) {
			put(lag.Seconds(), strconv.Itoa(i))
		}
	}),
}

// lags is how far each worker is behind the furthest one; 0 for one that has not begun.
func lags(workers []sensor.WorkerStatus) []time.Duration {
	furthest := int64(0)
	for i := range workers {
		furthest = max(furthest, workers[i].Time)
	}
	out := make([]time.Duration, len(workers))
	for i := range workers {
		if workers[i].Time > 0 {
			out[i] = time.Duration(furthest - workers[i].Time)
		}
	}
	return out
}

var sampleMetrics = []family[*sample]{
	gauge("build_info", "1; the version that runs is in the label.", "version", func(_ *sample, put put) { put(1, version) }),
	counter("loss_total", "What was not seen, or not counted or told in full, by stage and cause; the unit depends on the cause.", "stage cause", func(s *sample, put put) {
		for _, l := range s.losses() {
			put.count(l.n, l.stage, l.cause)
		}
	}),
	counter("refusals_total", "Drops and instructions that a guard refused, by who asked it: the policy, or a gate before it wrote into the kernel.", "by guard", refusals),
	gauge("clock_correction_seconds", "Event time less the host's clock: what steps of the clock have made of it.", "", func(s *sample, put put) {
		if s.correction != nil {
			put(s.correction.Seconds())
		}
	}),
	gauge("state_entries", "Entries in use of a bounded table.", "table", func(s *sample, put put) {
		for _, t := range s.states() {
			put.count(t.Used, t.Name)
		}
	}),
	gauge("state_entries_limit", "Entries that a bounded table holds.", "table", func(s *sample, put put) {
		for _, t := range s.states() {
			put.count(t.Limit, t.Name)
		}
	}),
	gauge("state_bytes", "Memory that is reserved for a bounded table, which never takes more.", "table", func(s *sample, put put) {
		for _, t := range s.states() {
			if t.Bytes > 0 {
				put.count(t.Bytes, t.Name)
			}
		}
	}),
}

var interfaceMetrics = []family[*capture.InterfaceStatus]{
	gauge("interface_up", "1 while the interface is set up and has carrier.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.flag(i.Up, i.Name)
	}),
	gauge("interface_open", "1 while the interface is captured from.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.flag(i.Open, i.Name)
	}),
	counter("interface_reopened_total", "Times that capture began anew.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.count(i.Reopened, i.Name)
	}),
	counter("interface_received_packets_total", "Packets that the interface received by its own count, those to this host too.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.count(i.Received, i.Name)
	}),
	counter("interface_dropped_packets_total", "Packets that the interface or the kernel dropped before capture.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.count(i.Dropped, i.Name)
	}),
	counter("interface_broken_packets_total", "Packets that arrived broken.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.count(i.Errors, i.Name)
	}),
	counter("interface_super_packets_total", "Frames longer than the interface sends: segments that offloads joined, or have not split yet.", "interface", func(i *capture.InterfaceStatus, put put) {
		put.count(i.SuperPackets, i.Name)
	}),
}

var busMetrics = []family[*bus.Stats]{
	gauge("bus_connected", "1 while connected to NATS.", "", func(b *bus.Stats, put put) { put.flag(b.Connected) }),
	counter("bus_reconnects_total", "Connections to NATS that were made anew.", "", func(b *bus.Stats, put put) { put.count(b.Reconnects) }),
	counter("bus_accepted_total", "Messages that the bus took, by kind.", "kind", ofKinds(func(k *bus.KindStats) uint64 { return k.Accepted })),
	counter("bus_inherited_total", "Messages that the outbox had from before the start.", "kind", ofKinds(func(k *bus.KindStats) uint64 { return k.Inherited })),
	counter("bus_published_total", "Messages that NATS acknowledged; health and gate messages: that were handed to the connection.", "kind", ofKinds(func(k *bus.KindStats) uint64 {
		return k.Published
	})),
	counter("bus_duplicates_total", "Messages that NATS acknowledged and knew already.", "kind", ofKinds(func(k *bus.KindStats) uint64 { return k.Duplicate })),
	counter("bus_retried_total", "Publications that failed and were tried again.", "kind", ofKinds(func(k *bus.KindStats) uint64 { return k.Retried })),
	counter("bus_dropped_total", "Messages that were lost, by kind and cause.", "kind cause", func(b *bus.Stats, put put) {
		for k := range bus.KindCount {
			for c := range bus.CauseCount {
				put.count(b.Kinds[k].Dropped[c], k.String(), c.String())
			}
		}
	}),
	gauge("bus_pending", "Messages in the outbox, in memory or on their way.", "kind", ofKinds(func(k *bus.KindStats) uint64 { return k.Pending })),
	gauge("bus_outbox_bytes", "Size of the outbox on disk.", "", func(b *bus.Stats, put put) { put(float64(b.Outbox.Bytes)) }),
	gauge("bus_outbox_limit_bytes", "Size that the outbox on disk may reach.", "", func(b *bus.Stats, put put) { put(float64(b.Outbox.Limit)) }),
	counter("bus_outbox_errors_total", "Writes and syncs of the outbox that failed.", "", func(b *bus.Stats, put put) { put.count(b.DiskErrors) }),
	counter("bus_state_reads_total", "Times that the bucket of wanted drops was read whole, and whether it was read again by who had read it before.", "again", func(b *bus.Stats, put put) {
		put.count(b.State.Reads-b.State.Rereads, "no")
		put.count(b.State.Rereads, "yes")
	}),
	counter("bus_state_bad_entries_total", "Entries of the bucket that were read and not to be believed, each time.", "", func(b *bus.Stats, put put) {
		put.count(b.State.Bad)
	}),
	counter("bus_state_writes_total", "Entries that were written into the bucket.", "result", func(b *bus.Stats, put put) {
		put.count(b.State.Writes, "ok")
		put.count(b.State.WriteErrors, "failed")
	}),
	counter("bus_commands_total", "Commands that came: answered, refused, or unheard because they came too fast.", "result", func(b *bus.Stats, put put) {
		put.count(b.Commands.Served, "served")
		put.count(b.Commands.Refused, "refused")
		put.count(b.Commands.Unheard, "unheard")
	}),
	counter("bus_gate_reports_unheard_total", "Reports of gates that came faster than they were taken.", "", func(b *bus.Stats, put put) {
		put.count(b.Commands.ReportsUnheard)
	}),
	counter("bus_outbox_bad_files_total", "Outbox files that were torn by a crash, or set aside as damaged.", "state", func(b *bus.Stats, put put) {
		put.count(b.Outbox.Torn, "torn")
		put.count(b.Outbox.Damaged, "damaged")
	}),
}

// ofKinds reads one counter of each kind of message.
func ofKinds(one func(*bus.KindStats) uint64) func(*bus.Stats, put) {
	return func(b *bus.Stats, put put) {
		for k := range bus.KindCount {
			put.count(one(&b.Kinds[k]), k.String())
		}
	}
}

// maxAlertSeries bounds the series of weir_alerts_total. There are some 25 kinds; what is beyond the bound counts as other.
const maxAlertSeries = 1000

// metrics is the collector of all weir_ metrics: it reads a sample at each scrape, and counts itself what no other part does.
type metrics struct {
	observed
	pulse    pulse
	registry *prometheus.Registry

	alerts  *prometheus.CounterVec
	latency prometheus.Histogram
	applied prometheus.Histogram
	reloads *prometheus.CounterVec
	loaded  prometheus.Gauge

	page atomic.Pointer[web.Server] // nil: there is none, or not yet

	mu     sync.Mutex // of series
	series map[[4]string]prometheus.Counter
}

// newMetrics returns a registry's worth of metrics: those of weir, of the Go runtime (go_) and of the process (process_).
func newMetrics(o observed) *metrics {
	m := &metrics{
		observed: o,
		pulse:    pulse{status: o.Status, moved: o.Started},
		registry: prometheus.NewRegistry(),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: namespace + "alerts_total", Help: "Revisions of alerts that were handed on, by what they say.",
		}, []string{"analyzer", "kind", "severity", "state"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    namespace + "detection_latency_seconds",
			Help:    "From the end of the tick that crossed a threshold to the hand-over of the alert to the bus; opening and rising alerts.",
			Buckets: []float64{.01, .025, .05, .1, .15, .2, .25, .3, .5, 1, 2, 5},
		}),
		applied: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    namespace + "enforce_latency_seconds",
			Help:    "From the decision, by the clock of who decided, to the drop in force in the kernel; drops new or changed since the start.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60},
		}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: namespace + "config_reloads_total", Help: "Times that the configuration was read again.",
		}, []string{"result"}),
		loaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: namespace + "config_last_success_timestamp_seconds", Help: "When the configuration in use was read, in seconds since the Unix epoch.",
		}),
		series: map[[4]string]prometheus.Counter{},
	}
	m.loaded.Set(seconds(o.Started))
	for _, result := range []string{"ok", "failed"} { // so that the first failure is an increase
		m.reloads.WithLabelValues(result)
	}
	m.registry.MustRegister(m, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }

// alert counts a revision that was handed over at time now.
func (m *metrics) alert(a *alert.Alert, now time.Time) {
	m.countOf(a).Inc()
	if a.State == alert.Closed { // is told when its quiet time ends, which says nothing of the sensor's speed
		return
	}
	if m.Correction != nil {
		now = now.Add(m.Correction())
	}
	m.latency.Observe(max(0, now.Sub(time.Unix(0, int64(a.Time))).Seconds()))
}

// receipt takes in what became of a drop that a gate of this process told at time now. What was decided before the start is no
// measure of it.
func (m *metrics) receipt(r *enforce.Receipt, now time.Time) {
	decided := time.UnixMicro(int64(r.Generation))
	if r.State == enforce.ReceiptApplied && !decided.Before(m.Started) {
		m.applied.Observe(max(0, now.Sub(decided).Seconds()))
	}
}

func (m *metrics) countOf(a *alert.Alert) prometheus.Counter {
	key := [4]string{a.Analyzer, a.Kind, a.Severity.String(), a.State.String()}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.series[key]
	if c == nil {
		if len(m.series) >= maxAlertSeries {
			key[0], key[1] = "other", "other"
		}
		c = m.alerts.WithLabelValues(key[:]...)
		m.series[key] = c
	}
	return c
}

// reloaded counts an attempt to read the configuration again.
func (m *metrics) reloaded(err error, now time.Time) {
	if err != nil {
		m.reloads.WithLabelValues("failed").Inc()
		return
	}
	m.reloads.WithLabelValues("ok").Inc()
	m.loaded.Set(seconds(now))
}

// own are the metrics that this type counts itself, of the parts that run.
func (m *metrics) own() []prometheus.Collector {
	all := []prometheus.Collector{m.reloads, m.loaded}
	if m.Status != nil {
		all = append(all, m.alerts, m.latency)
	}
	if m.Gates != nil {
		all = append(all, m.applied)
	}
	return all
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	describe(to, sampleMetrics)
	describe(to, statusMetrics)
	describe(to, interfaceMetrics)
	describe(to, busMetrics)
	describe(to, policyMetrics)
	describe(to, gateMetrics)
	describe(to, noticeMetrics)
	describe(to, noticesMetrics)
	describe(to, pageMetrics)
	describe(to, storeMetrics)
	describe(to, evidenceMetrics)
	for _, c := range m.own() {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	s := m.sample()
	collect(to, sampleMetrics, s)
	if s.status != nil {
		collect(to, statusMetrics, s.status)
	}
	for i := range s.interfaces {
		collect(to, interfaceMetrics, &s.interfaces[i])
	}
	if s.bus != nil {
		collect(to, busMetrics, s.bus)
	}
	if s.decided != nil {
		collect(to, policyMetrics, s.decided)
	}
	for i := range s.gates {
		collect(to, gateMetrics, &s.gates[i])
	}
	if s.noticed != nil {
		for i := range s.noticed.Channels {
			collect(to, noticeMetrics, &s.noticed.Channels[i])
		}
		collect(to, noticesMetrics, s.noticed)
	}
	if page := m.page.Load(); page != nil {
		st := page.Stats()
		collect(to, pageMetrics, &st)
	}
	if s.store != nil {
		collect(to, storeMetrics, s.store)
	}
	if s.evidence != nil {
		collect(to, evidenceMetrics, s.evidence)
	}
	for _, c := range m.own() {
		c.Collect(to)
	}
}

func describe[T any](to chan<- *prometheus.Desc, all []family[T]) {
	for i := range all {
		to <- all[i].desc
	}
}

func collect[T any](to chan<- prometheus.Metric, all []family[T], from T) {
	for i := range all {
		f := &all[i]
		f.read(from, func(v float64, labels ...string) {
			for j, l := range labels { // the kernel lets an interface's name be any bytes
				labels[j] = strings.ToValidUTF8(l, "?")
			}
			to <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
		})
	}
}
