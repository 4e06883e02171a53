package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/enforce"
)

// stuckAfter is how long the judge may stand still. Time goes on even on a silent link: a status is new each second.
const stuckAfter = 15 * time.Second

// pulse tells whether a sensor's judge goes on. It sees that only when asked, so something has to ask now and then: the
// health messages and the watchdog do.
type pulse struct {
	mu     sync.Mutex
	last   *sensor.Status
	moved  time.Time // when last was new
	status func() *sensor.Status
}

// alive tells why the judge stands still, if it does. The times given come from time.Now, so that their monotonic part
// counts and a clock that is set does no harm.
func (p *pulse) alive(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.status(); s != p.last {
		p.last, p.moved = s, now
	}
	stood := now.Sub(p.moved).Round(time.Second)
	switch {
	case stood <= stuckAfter:
		return nil
	case p.last == nil:
		return fmt.Errorf("nothing was judged within %v of the start", stood)
	}
	return fmt.Errorf("nothing was judged for %v, since event time %s", stood, alert.Time(p.last.Time))
}

// stuck tells what stands still: the judge, a gate. A restart is the cure.
func (m *metrics) stuck(now time.Time) error {
	var judge, gate error
	if m.Status != nil {
		judge = m.pulse.alive(now)
	}
	if m.Alive != nil {
		gate = m.Alive(now)
	}
	return errors.Join(judge, gate)
}

// ready tells all that keeps the process from its work, a line each: nothing is judged yet, no interface to read, no bus, a gate
// that does not do what is wanted.
func (m *metrics) ready(now time.Time) []string { return m.reasons(m.sample(), now) }

func (m *metrics) reasons(s *sample, now time.Time) (all []string) {
	if err := m.stuck(now); err != nil {
		all = strings.Split(err.Error(), "\n")
	} else if m.Status != nil && s.status == nil {
		all = append(all, "nothing was judged yet")
	}
	if m.Interfaces != nil {
		all = append(all, deaf(s)...)
	}
	if m.Ready != nil {
		if err := m.Ready(); err != nil {
			all = append(all, oneLine(err.Error()))
		}
	}
	if d := s.decided; d != nil && d.Bucket != nil && d.Unwritten > 0 {
		all = append(all, fmt.Sprintf("%d decisions cannot be written for the gates: %s", d.Unwritten, oneLine(d.Bucket.Error())))
	}
	for i := range s.gates {
		all = append(all, lacks(&s.gates[i], now)...)
	}
	if s.store != nil && s.store.Paused {
		all = append(all, "nothing is written into the store: its disk is full or fails")
	}
	return all
}

// lacks tells why a gate does not do all that is wanted of it. What a guard holds back is no lack, and neither is a panic.
func lacks(g *enforce.Status, now time.Time) (reasons []string) {
	say := func(format string, args ...any) {
		reasons = append(reasons, g.Interface+": "+fmt.Sprintf(format, args...))
	}
	if g.Reconciled.IsZero() {
		say("the gate was not looked after yet")
		return reasons
	}
	if !g.Attached {
		say("the gate (%s) does not judge the traffic", g.Table)
	}
	if g.Error != "" {
		say("%s", oneLine(g.Error))
	}
	if !g.Stale.IsZero() {
		say("wanted drops were not read whole for %v", now.Sub(g.Stale).Round(time.Second))
	}
	if g.Failed > 0 {
		say("%d of %d wanted drops were not taken by the kernel", g.Failed, g.Wanted)
	}
	if n := g.Wanted - g.Enforced - g.Failed - heldBack(g); n != 0 {
		say("%d drops are wanted, %d in force, %d held back by guards", g.Wanted, g.Enforced, heldBack(g))
	}
	return reasons
}

// heldBack is how many drops guards hold back.
func heldBack(g *enforce.Status) (n int) {
	for _, some := range g.Refused {
		n += some
	}
	return n
}

// oneLine is a text of several lines in one.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }), "; ")
}

// deaf tells why no interface can be read, if that is so.
func deaf(s *sample) (reasons []string) {
	for i := range s.interfaces {
		switch c := &s.interfaces[i]; {
		case c.Up && c.Open:
			return nil
		case c.Index == 0:
			reasons = append(reasons, c.Name+": there is no such interface now")
		case !c.Up:
			reasons = append(reasons, c.Name+": down, or without carrier")
		default:
			reasons = append(reasons, c.Name+": not captured from")
		}
	}
	return reasons
}

// healthSchema is the version of the health message.
const healthSchema = "weir.health/1"

// health is the message that a process sends of itself every ten seconds: one JSON object, fields in this order. A part that does
// not run has no fields. docs/health.md describes them.
type health struct {
	Schema   string     `json:"schema"`
	Time     alert.Time `json:"time"` // the host's clock
	Site     string     `json:"site"`
	Sensor   string     `json:"sensor"`
	Version  string     `json:"version"`
	Uptime   float64    `json:"uptime"`   // s
	Interval float64    `json:"interval"` // s since the message before, or the start
	Ready    bool       `json:"ready"`
	Reasons  []string   `json:"reasons"` // why not
	*healthEngine
	Loss   healthLoss    `json:"loss"`
	Bus    *healthBus    `json:"bus,omitempty"`
	Policy *healthPolicy `json:"policy,omitempty"`
	Gates  []healthGate  `json:"gates,omitempty"`
}

// healthEngine is the part of who captures and judges.
type healthEngine struct {
	EventTime  *alert.Time       `json:"event_time,omitempty"` // none: nothing was judged yet
	Correction float64           `json:"clock_correction"`     // s
	Packets    rate              `json:"packets"`
	Bits       rate              `json:"bits"`
	OneWay     bool              `json:"one_way"`
	Unanswered bool              `json:"unanswered"`
	Alerts     healthAlerts      `json:"alerts"`
	State      []healthState     `json:"state"`
	Interfaces []healthInterface `json:"interfaces"`
}

// rate is a total and its growth since the message before.
type rate struct {
	Total  uint64  `json:"total"`
	Second float64 `json:"per_second"`
}

type healthLoss struct {
	Ratio  float64       `json:"ratio"`  // of the last minute
	Causes []healthCause `json:"causes"` // those that are not 0
}

type healthCause struct {
	Stage string `json:"stage"`
	Cause string `json:"cause"`
	Total uint64 `json:"total"`
	Since uint64 `json:"since"` // the message before
}

type healthAlerts struct {
	Open   uint64 `json:"open"`
	Opened uint64 `json:"opened"`
	Since  uint64 `json:"since"` // opened since the message before
}

type healthState struct {
	Table string `json:"table"`
	Used  uint64 `json:"used"`
	Limit uint64 `json:"limit"`
	Bytes uint64 `json:"bytes,omitempty"`
}

type healthInterface struct {
	Name     string `json:"name"`
	Up       bool   `json:"up"`
	Open     bool   `json:"open"`
	Reopened uint64 `json:"reopened"`
	Received uint64 `json:"received"`
	Dropped  uint64 `json:"dropped"`
}

type healthBus struct {
	Connected  bool   `json:"connected"`
	Reconnects uint64 `json:"reconnects"`
	Pending    uint64 `json:"pending"`      // alerts that wait for the server
	Outbox     int64  `json:"outbox_bytes"` // on disk
	Limit      int64  `json:"outbox_limit_bytes"`
}

// healthPolicy is the part of who decides about drops. Totals are since the start.
type healthPolicy struct {
	Wanted    int    `json:"wanted"`
	Pending   int    `json:"pending"` // wait for approval
	Requested uint64 `json:"requested"`
	Extended  uint64 `json:"extended"`
	Expired   uint64 `json:"expired"`
	Removed   uint64 `json:"removed"`
	Refused   uint64 `json:"refused"`
	Unwritten int    `json:"unwritten"` // decisions that are not in the bucket yet
	Held      bool   `json:"held"`      // by a panic
}

// healthGate is the part of the gate at one interface.
type healthGate struct {
	Interface  string         `json:"interface"`
	Table      string         `json:"table"` // xdp, tcx, nftables
	Attached   bool           `json:"attached"`
	Held       bool           `json:"held"` // by a panic
	Wanted     int            `json:"wanted"`
	Enforced   int            `json:"enforced"`
	Shadow     int            `json:"shadow"`  // of those enforced
	Refused    map[string]int `json:"refused"` // of those wanted: held back, by guard
	Failed     int            `json:"failed"`
	Pending    int            `json:"pending"`
	Missing    int            `json:"missing"`
	Drift      total          `json:"drift"`
	Stale      bool           `json:"stale"`
	Reconciled *alert.Time    `json:"reconciled,omitempty"` // none: not yet
	Packets    rate           `json:"dropped_packets"`
	Bits       rate           `json:"dropped_bits"`
}

// total is a total and by how much it grew since the message before.
type total struct {
	Total uint64 `json:"total"`
	Since uint64 `json:"since"`
}

// healthReporter makes the health messages of a process. For one goroutine.
type healthReporter struct {
	m      *metrics
	at     time.Time // of the message before
	before *sample
}

func newHealthReporter(m *metrics) *healthReporter {
	return &healthReporter{m: m, at: m.Started, before: new(sample)}
}

// message is what the process says of itself at time now. It also keeps the pulse.
func (r *healthReporter) message(now time.Time) []byte {
	s := r.m.sample()
	h := health{
		Schema: healthSchema, Time: alert.Time(now.UnixNano()), Site: r.m.Site, Sensor: r.m.Sensor, Version: version,
		Uptime: milliseconds(now.Sub(r.m.Started)), Interval: milliseconds(now.Sub(r.at)), Reasons: r.m.reasons(s, now),
	}
	h.Ready = len(h.Reasons) == 0
	if h.Reasons == nil {
		h.Reasons = []string{} // an empty list in JSON, not null
	}
	h.Loss.Causes = causesSince(s.losses(), r.before.losses())
	if r.m.Status != nil {
		h.engine(s, r.before)
	}
	if b := s.bus; b != nil {
		h.Bus = &healthBus{b.Connected, b.Reconnects, b.Kinds[bus.Alert].Pending, b.Outbox.Bytes, b.Outbox.Limit}
	}
	if s.decided != nil {
		h.Policy = policyHealth(s.decided)
	}
	for i := range s.gates {
		h.Gates = append(h.Gates, h.gate(&s.gates[i], r.before.gates))
	}
	r.before, r.at = s, now
	out, err := json.Marshal(&h)
	if err != nil { // no number of it is infinite or none
		panic(err)
	}
	return out
}

// per is how a total grew since the message before.
func (h *health) per(n, was uint64) rate {
	return rate{n, float64(grown(n, was)) / max(h.Interval, 1e-3)}
}

// engine fills in what the engine and its interfaces know.
func (h *health) engine(now, before *sample) {
	e := &healthEngine{State: []healthState{}, Interfaces: []healthInterface{}}
	h.healthEngine = e
	if now.correction != nil {
		e.Correction = milliseconds(*now.correction)
	}
	if s := now.status; s != nil {
		was := before.status
		if was == nil {
			was = &sensor.Status{}
		}
		at := alert.Time(s.Time)
		e.EventTime, e.OneWay, e.Unanswered, h.Loss.Ratio = &at, s.OneWay, s.Mute, s.Loss
		e.Packets = h.per(s.Link.Packets, was.Link.Packets)
		e.Bits = h.per(8*s.Link.Bytes, 8*was.Link.Bytes)
		e.Alerts = healthAlerts{s.Alerts.Opened - s.Alerts.Closed, s.Alerts.Opened, grown(s.Alerts.Opened, was.Alerts.Opened)}
	}
	for _, t := range now.states() {
		e.State = append(e.State, healthState{t.Name, t.Used, t.Limit, t.Bytes})
	}
	for i := range now.interfaces {
		c := &now.interfaces[i]
		e.Interfaces = append(e.Interfaces, healthInterface{c.Name, c.Up, c.Open, c.Reopened, c.Received, c.Dropped})
	}
}

func policyHealth(d *decided) *healthPolicy {
	p := &healthPolicy{
		Wanted: d.Drops - d.Pending, Pending: d.Pending, Requested: d.Requested, Extended: d.Extended, Expired: d.Expired,
		Removed: d.Removed, Unwritten: d.Unwritten, Held: d.Held,
	}
	for _, n := range d.Refused {
		p.Refused += n
	}
	return p
}

// gate is how one stands. Its state of the message before is within before.
func (h *health) gate(g *enforce.Status, before []enforce.Status) healthGate {
	was := &enforce.Status{}
	for i := range before {
		if before[i].Interface == g.Interface {
			was = &before[i]
		}
	}
	packets, bytes := blocked(g)
	packetsWas, bytesWas := blocked(was)
	drift := uint64(g.DriftTotal.Sum())
	out := healthGate{
		Interface: g.Interface, Table: g.Table, Attached: g.Attached, Held: g.Held != nil, Wanted: g.Wanted, Enforced: g.Enforced,
		Shadow: g.Shadow, Refused: g.Refused, Failed: g.Failed, Pending: g.Pending, Missing: g.Missing,
		Drift: total{drift, grown(drift, uint64(was.DriftTotal.Sum()))}, Stale: !g.Stale.IsZero(),
		Packets: h.per(packets, packetsWas), Bits: h.per(8*bytes, 8*bytesWas),
	}
	if !g.Reconciled.IsZero() {
		at := alert.Time(g.Reconciled.UnixNano())
		out.Reconciled = &at
	}
	if out.Refused == nil {
		out.Refused = map[string]int{}
	}
	return out
}

// blocked is what a gate dropped, by the kernel's count.
func blocked(g *enforce.Status) (packets, bytes uint64) {
	for _, t := range g.Totals {
		if t.Verdict == "drop" || t.Verdict == "limit" {
			packets += t.Packets
			bytes += t.Bytes
		}
	}
	return packets, bytes
}

// causesSince lists the losses that are not 0, and how much of each is new.
func causesSince(all, before []loss) []healthCause {
	was := map[[2]string]uint64{}
	for _, l := range before {
		was[[2]string{l.stage, l.cause}] = l.n
	}
	out := []healthCause{}
	for _, l := range all {
		if l.n > 0 {
			out = append(out, healthCause{l.stage, l.cause, l.n, grown(l.n, was[[2]string{l.stage, l.cause}])})
		}
	}
	return out
}

// grown is by how much a total grew, which begins anew with the engine when the wall clock was set far back.
func grown(n, was uint64) uint64 {
	if n < was {
		return n
	}
	return n - was
}

// milliseconds rounds a time to them, in seconds.
func milliseconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
