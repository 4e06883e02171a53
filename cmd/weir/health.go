package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
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

// ready tells all that keeps the sensor from its work: nothing is judged yet, no interface to read, no bus.
func (m *metrics) ready(now time.Time) (reasons []string) {
	if err := m.pulse.alive(now); err != nil {
		reasons = append(reasons, err.Error())
	} else if m.Status() == nil {
		reasons = append(reasons, "nothing was judged yet")
	}
	if m.Interfaces != nil {
		reasons = append(reasons, deaf(m.sample())...)
	}
	if m.Ready != nil {
		if err := m.Ready(); err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	return reasons
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

// health is the message that a sensor sends of itself every ten seconds: one JSON object, fields in this order.
// docs/health.md describes them.
type health struct {
	Schema     string            `json:"schema"`
	Time       alert.Time        `json:"time"` // the host's clock
	Site       string            `json:"site"`
	Sensor     string            `json:"sensor"`
	Version    string            `json:"version"`
	Uptime     float64           `json:"uptime"`   // s
	Interval   float64           `json:"interval"` // s since the message before, or the start
	Ready      bool              `json:"ready"`
	Reasons    []string          `json:"reasons"`              // why not
	EventTime  *alert.Time       `json:"event_time,omitempty"` // none: nothing was judged yet
	Correction float64           `json:"clock_correction"`     // s
	Packets    rate              `json:"packets"`
	Bits       rate              `json:"bits"`
	Loss       healthLoss        `json:"loss"`
	OneWay     bool              `json:"one_way"`
	Unanswered bool              `json:"unanswered"`
	Alerts     healthAlerts      `json:"alerts"`
	State      []healthState     `json:"state"`
	Interfaces []healthInterface `json:"interfaces"`
	Bus        *healthBus        `json:"bus,omitempty"` // none: there is no bus
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

// healthReporter makes the health messages of a sensor. For one goroutine.
type healthReporter struct {
	m      *metrics
	at     time.Time // of the message before
	before *sample
}

func newHealthReporter(m *metrics) *healthReporter {
	return &healthReporter{m: m, at: m.Started, before: new(sample)}
}

// message is what the sensor says of itself at time now. It also keeps the pulse.
func (r *healthReporter) message(now time.Time) []byte {
	s := r.m.sample()
	h := health{
		Schema: healthSchema, Time: alert.Time(now.UnixNano()), Site: r.m.Site, Sensor: r.m.Sensor, Version: version,
		Uptime: milliseconds(now.Sub(r.m.Started)), Interval: milliseconds(now.Sub(r.at)), Reasons: r.m.ready(now),
		Correction: milliseconds(s.correction), State: []healthState{}, Interfaces: []healthInterface{},
	}
	h.Ready = len(h.Reasons) == 0
	if h.Reasons == nil {
		h.Reasons = []string{} // an empty list in JSON, not null
	}
	h.Loss.Causes = causesSince(s.losses(), r.before.losses())
	if s.status != nil {
		h.engine(s.status, r.before.status)
	}
	h.parts(s)
	r.before, r.at = s, now
	out, err := json.Marshal(&h)
	if err != nil { // no number of it is infinite or none
		panic(err)
	}
	return out
}

// engine fills in what the engine knows.
func (h *health) engine(s, before *sensor.Status) {
	if before == nil {
		before = &sensor.Status{}
	}
	at := alert.Time(s.Time)
	h.EventTime, h.OneWay, h.Unanswered, h.Loss.Ratio = &at, s.OneWay, s.Mute, s.Loss
	per := func(n, was uint64) rate {
		return rate{n, float64(grown(n, was)) / max(h.Interval, 1e-3)}
	}
	h.Packets = per(s.Link.Packets, before.Link.Packets)
	h.Bits = per(8*s.Link.Bytes, 8*before.Link.Bytes)
	h.Alerts = healthAlerts{s.Alerts.Opened - s.Alerts.Closed, s.Alerts.Opened, grown(s.Alerts.Opened, before.Alerts.Opened)}
	for i := range s.States {
		t := &s.States[i]
		h.State = append(h.State, healthState{t.Name, t.Used, t.Limit, t.Bytes})
	}
}

// parts fills in what interfaces and bus know.
func (h *health) parts(s *sample) {
	for i := range s.interfaces {
		c := &s.interfaces[i]
		h.Interfaces = append(h.Interfaces, healthInterface{c.Name, c.Up, c.Open, c.Reopened, c.Received, c.Dropped})
	}
	if b := s.bus; b != nil {
		h.Bus = &healthBus{b.Connected, b.Reconnects, b.Kinds[bus.Alert].Pending, b.Outbox.Bytes, b.Outbox.Limit}
	}
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
