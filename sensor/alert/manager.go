package alert

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"weir/analyzers"
	"weir/analyzers/context"
	"weir/analyzers/tally"
)

// Config of a Manager.
type Config struct {
	Sensor  string `yaml:"-"`        // name in every alert; "replay" in replays
	Hash    string `yaml:"-"`        // of the configuration, in every alert
	MaxOpen int    `yaml:"max_open"` // alerts open at once; when full, the least severe and then oldest is closed early, or what is weaker than all folded
	MaxNew  int    `yaml:"max_new"`  // new alerts of one analyzer and severity in a second of event time; what exceeds is folded into one a kind

	Incidents bool   `yaml:"incidents"` // alerts that belong together are told as incidents; fixed at New
	Mutes     []Mute `yaml:"-"`         // the section mutes
}

// Defaults are the settings of a sensor that nobody configured.
func Defaults() Config {
	return Config{Sensor: "replay", MaxOpen: 10_000, MaxNew: 100, Incidents: true}
}

// Check tells which setting cannot be.
func (c *Config) Check() error {
	if c.MaxOpen < 1 || c.MaxOpen > 1e6 {
		return fmt.Errorf("alerts: max_open is %d, must be 1 to 1000000", c.MaxOpen)
	}
	if c.MaxNew < 1 || c.MaxNew > 1e6 {
		return fmt.Errorf("alerts: max_new is %d, must be 1 to 1000000", c.MaxNew)
	}
	return nil
}

// Stats counts what became of findings. One writer.
type Stats struct {
	Findings uint64
	Opened   uint64
	Updated  uint64
	Closed   uint64 // in all
	Early    uint64 // closed early, because too many were open
	Repeats  uint64 // findings that were added to an open alert
	Folded   uint64 // findings that were folded, because their analyzer had too many new alerts
	Muted    uint64 // alerts that a rule muted, at their opening or later
}

// Manager makes alerts of findings. Findings of the same analyzer, kind, subject and victim are one alert while they come
// within Finding.Quiet of each other: opened at the first, updated only when the severity rises (and when a mute rule begins or ends to
// concern it, or an incident has come to a further stage), closed Quiet after the last. At the end of input what is still open is closed with the time of the input's end.
//
// An alert's Count is the sum of its findings', or their highest where they are totals.
//
// Its memory is bounded by MaxOpen, the number of kinds, and what Advance has not fetched. Not safe for concurrent use.
type Manager struct {
	cfg       Config
	stats     Stats
	now       int64 // event time that was reached
	alerts    map[key]*entry
	byID      map[string]*entry
	quiet     heap // by closing time
	weakest   heap // by severity, then age; without those that fold
	pending   []revision
	losses    losses
	budget    map[rank]int // new alerts in second
	second    int64
	sequence  uint64
	rules     uint64            // counts changes of the mute rules, and of the networks that they ask
	site      *analyzers.Site   // nil: nothing is known of addresses
	networks  *context.Networks // of the site, as it is now
	incidents *incidents        // nil: none are told
}

// entry is an open alert.
type entry struct {
	key      key
	alert    Alert
	severity Severity
	closeAt  int64  // ns
	calm     int64  // Finding.Quiet of the last one
	name     string // of its kind, with the analyzer's
	blocked  Blocked
	opened   int64
	sequence uint64  // order of opening
	folded   uint64  // findings that it stands for, if it folds
	lost     lossSum // in all, a minute before it opened
	oneWay   bool
	at       [2]int // place in the heaps
	muted    *Mute
	rules    uint64  // that muted is by
	member   *member // of incidents, from its first medium severity on
	group    *group  // whose incident it is
}

// revision is an alert that waits for Advance.
type revision struct {
	key   *key
	alert *Alert
}

// rank is what the budget of new alerts is counted by, so that noise of little severity cannot hide what is severe.
type rank struct {
	analyzer string
	severity Severity
}

// New returns a Manager; settings that are 0 get their default.
func New(cfg Config) *Manager {
	m := &Manager{
		now: math.MinInt64, alerts: map[key]*entry{}, byID: map[string]*entry{}, budget: map[rank]int{},
		quiet: heap{place: 0, less: func(a, b *entry) bool {
			return cmp.Or(cmp.Compare(a.closeAt, b.closeAt), cmp.Compare(a.sequence, b.sequence)) < 0
		}},
		weakest: heap{place: 1, less: func(a, b *entry) bool {
			return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.sequence, b.sequence)) < 0
		}},
	}
	if cfg.Incidents {
		m.incidents = newIncidents()
	}
	m.Reconfigure(cfg)
	return m
}

// Stats returns the counters.
func (m *Manager) Stats() Stats { return m.stats }

// Open is how many alerts are open, those that stand for folded findings included.
func (m *Manager) Open() int { return len(m.alerts) }

// Reconfigure changes the settings from now on; those that are 0 get their default. What is open stays open.
func (m *Manager) Reconfigure(cfg Config) {
	d := Defaults()
	cfg.Sensor = cmp.Or(cfg.Sensor, d.Sensor)
	cfg.MaxOpen, cfg.MaxNew = cmp.Or(cfg.MaxOpen, d.MaxOpen), cmp.Or(cfg.MaxNew, d.MaxNew)
	m.cfg = cfg
	m.rules++
}

// SetSite says what is known of the site's addresses and services from now on: alerts tell it of their parties. Cheap if nothing
// has changed.
func (m *Manager) SetSite(s *analyzers.Site) {
	m.site = s
	if s.Networks != m.networks {
		m.networks = s.Networks
		m.rules++
	}
}

// Observe takes in what the link counted and lost in the tick that ends at now, before the findings of that tick: alerts tell
// the loss from a minute before their first finding on, and whether the view was one-way at any of their findings.
func (m *Manager) Observe(link *tally.Link, oneWay bool, now int64) {
	m.losses.observe(link, oneWay, now)
}

// Add takes a finding; nothing of f is kept. Findings come in order of time; one that is older than what was advanced to
// counts as of then.
func (m *Manager) Add(f *analyzers.Finding) {
	m.stats.Findings++
	m.now = max(m.now, f.Time)
	m.closeBefore(m.now)
	before := len(m.pending)
	if e := m.take(keyOf(f), f); e != nil {
		m.join(e, f, before)
	}
}

// take adds a finding to the alert of a key, which it opens if need be; nil: the finding was folded.
func (m *Manager) take(k key, f *analyzers.Finding) *entry {
	e := m.alerts[k]
	switch {
	case e != nil:
		m.stats.Repeats++
	case m.admit(f):
		e = m.open(k, f)
	default:
		m.fold(f)
		return nil
	}
	m.extend(e, f)
	return e
}

// admit reports whether a finding may open an alert of its own, and makes room for it.
func (m *Manager) admit(f *analyzers.Finding) bool {
	if second := m.now / 1e9; second != m.second {
		m.second = second
		clear(m.budget)
	}
	r := rank{f.Analyzer, SeverityOf(f.Score, f.MaxScore)}
	if m.budget[r] >= m.cfg.MaxNew {
		return false
	}
	if len(m.weakest.entries) >= m.cfg.MaxOpen {
		// An alert of this tick stays: its key could come back and would have the same identity.
		w := m.weakest.entries[0]
		if w.severity > r.severity || w.opened/tally.Tick == m.now/tally.Tick {
			return false
		}
		m.stats.Early++
		m.closeEarly(w)
	}
	m.budget[r]++
	return true
}

// open makes an alert without any finding yet.
func (m *Manager) open(k key, f *analyzers.Finding) *entry {
	m.sequence++
	e := &entry{key: k, name: f.Analyzer + "." + f.Kind, opened: m.now, sequence: m.sequence, lost: m.losses.before(m.now)}
	e.alert = Alert{
		Schema: Schema, ID: k.id(m.now), Sensor: m.cfg.Sensor, Config: m.cfg.Hash, Analyzer: f.Analyzer, Kind: f.Kind,
		Score: -1, First: Time(f.First), Last: Time(f.Last),
	}
	if !k.folded {
		e.alert.Subject, e.alert.Victim = m.party(&f.Subject), m.party(&f.Victim)
		e.alert.Subject.unproven()
		m.weakest.push(e)
	}
	m.alerts[k], m.byID[e.alert.ID] = e, e
	m.quiet.push(e)
	return e
}

// fold adds a finding to the alert that stands for all of its kind that were too many.
func (m *Manager) fold(f *analyzers.Finding) {
	m.stats.Folded++
	k := key{analyzer: f.Analyzer, kind: f.Kind, folded: true}
	e := m.alerts[k]
	if e == nil {
		e = m.open(k, f)
	}
	e.folded++
	m.extend(e, f)
}

// extend adds a finding to its alert and makes a revision if the severity rose.
func (m *Manager) extend(e *entry, f *analyzers.Finding) {
	a := &e.alert
	if f.Total {
		a.Count = max(a.Count, f.Count)
	} else {
		a.Count = addCount(a.Count, f.Count)
	}
	a.First, a.Last = min(a.First, Time(f.First)), max(a.Last, Time(f.Last))
	e.oneWay = e.oneWay || m.losses.oneWay
	e.calm = max(f.Quiet, tally.Tick)
	e.closeAt = max(e.closeAt, m.now+e.calm)
	m.quiet.fix(e)
	if s := a.Subject; s != nil && f.Subject.ReturnPath && s.ReturnPath != "proven" {
		proven := *s // revisions that were handed out keep theirs
		proven.ReturnPath = "proven"
		a.Subject = &proven
	}
	if f.Score >= a.Score {
		a.describe(f)
		a.Summary = m.named(a.Summary)
	}
	switched := m.mute(e)
	if severity := SeverityOf(f.Score, f.MaxScore); a.Rev == 0 || switched || severity > e.severity {
		if switched && e.muted != nil {
			m.stats.Muted++
		}
		e.severity = max(e.severity, severity)
		if !e.key.folded {
			m.weakest.fix(e)
		}
		m.revise(e, m.now, Update)
	}
}

// revise hands out the alert as it is now.
func (m *Manager) revise(e *entry, t int64, state State) {
	a := &e.alert
	a.Rev++
	if a.Rev == 1 {
		state = Open
	}
	a.State, a.Time, a.Severity, a.Loss = state, Time(t), e.severity, m.losses.since(&e.lost, e.oneWay)
	if e.key.folded {
		a.Summary = fmt.Sprintf("%d findings of kind %s were folded into this one, because %s had more than %d new alerts in a second or too many were open.", e.folded, a.Kind, a.Analyzer, m.cfg.MaxNew)
	}
	switch state {
	case Open:
		m.stats.Opened++
	case Update:
		m.stats.Updated++
	case Closed:
		m.stats.Closed++
	}
	out := *a
	if e.blocked.Packets > 0 {
		blocked := e.blocked
		out.Blocked = &blocked
	}
	if state == Closed {
		out.Summary = out.Blocked.tell(out.Summary)
	}
	m.pending = append(m.pending, revision{&e.key, &out})
}

// close ends an alert at time t.
func (m *Manager) close(e *entry, t int64) {
	delete(m.alerts, e.key)
	delete(m.byID, e.alert.ID)
	m.end(e)
	m.quiet.remove(e)
	if !e.key.folded {
		m.weakest.remove(e)
	}
	m.revise(e, t, Closed)
}

// closeEarly ends an alert that may go on.
func (m *Manager) closeEarly(e *entry) {
	m.close(e, m.now)
	m.pending[len(m.pending)-1].alert.Early = true
}

// closeBefore closes what was quiet before time t.
func (m *Manager) closeBefore(t int64) {
	for len(m.quiet.entries) > 0 && m.quiet.entries[0].closeAt < t {
		m.close(m.quiet.entries[0], m.quiet.entries[0].closeAt)
	}
}

// Advance says that all findings up to event time now were added, and emits all revisions up to then in order of time,
// analyzer, kind, subject, victim and revision. What emit is given is its own. How often it is called does not show in the
// output.
func (m *Manager) Advance(now int64, emit func(*Alert)) {
	m.now = max(m.now, now)
	if m.now < math.MaxInt64 {
		m.closeBefore(m.now + 1)
	}
	m.emit(emit)
}

// Flush ends the input: what is still open is closed at the time that was reached, after all that came before.
func (m *Manager) Flush(emit func(*Alert)) {
	m.Advance(m.now, emit)
	for len(m.quiet.entries) > 0 {
		m.closeEarly(m.quiet.entries[0])
	}
	m.emit(emit)
}

func (m *Manager) emit(emit func(*Alert)) {
	slices.SortStableFunc(m.pending, func(a, b revision) int {
		return cmp.Or(cmp.Compare(a.alert.Time, b.alert.Time), a.key.compare(b.key), cmp.Compare(a.alert.Rev, b.alert.Rev))
	})
	for _, r := range m.pending {
		emit(r.alert)
	}
	clear(m.pending)
	m.pending = m.pending[:0]
}

// addCount adds without overflow.
func addCount(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}
