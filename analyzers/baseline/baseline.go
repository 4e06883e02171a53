// Package baseline keeps what is normal: rolling and seasonal statistics by key, distributions over sources, and when things
// were first seen. It learns nothing of what is alarmed (Freeze), forgets slowly enough that it cannot be taught quickly
// (Normal.Expected), and can be saved and loaded.
//
// A Store is used by one goroutine, the judge. Time is an argument, event time in ns since 1970, and does not go back. The
// same calls give the same results and the same saved bytes. All memory is bounded by Config; what had to go is counted.
package baseline

import "unsafe"

// Stats counts what the bounds of a Store have cost.
type Stats struct {
	Evicted         uint64 // series that went because there were too many keys
	SpreadsEvicted  uint64
	ProfilesEvicted uint64 // series that lost their hours of the week to a busier one
	Expired         uint64 // series that saw nothing for Config.Forget
	Forgotten       uint64 // first times
}

// Cost is how often a limit was felt.
type Cost struct {
	Limit string
	N     uint64
}

// Size is how full a table is.
type Size struct {
	Table      string
	N, Limit   int
	EntryBytes int
}

// jump is how long event time may stand still, in seconds, until the time between counts as not looked at.
const jump = hourSeconds

// Store keeps baselines. Not safe for concurrent use.
type Store struct {
	cfg      Config
	span     int64 // seconds of a window's part
	table    table
	series   [][]Series // in chunks
	hand     int32
	profiles []profile
	freeProf []int32
	profHand int
	spreadAt table
	spreads  [][]Spread
	spreadH  int32
	seen     seen
	stats    Stats
	since    int64  // ns
	now      int64  // second
	resumed  int64  // second since which the sensor looks
	era      uint32 // counts the times it began to look
	started  bool
	sweep    int32
}

// New returns an empty Store. cfg must pass Check.
func New(cfg Config) *Store {
	return &Store{
		cfg: cfg, span: int64(cfg.Window/1e9) / windowParts, seen: newSeen(cfg.Seen),
		table: newTable(cfg.Keys, cfg.Salt), spreadAt: newTable(cfg.Spreads, cfg.Salt),
	}
}

// Config returns the settings.
func (s *Store) Config() Config { return s.cfg }

// Since is the event time (ns) of the first thing that was learned, 0 if nothing was: a memory that is younger than X cannot
// call anything new within X.
func (s *Store) Since() int64 { return s.since }

// observe takes event time in. After a jump the time between was not looked at.
func (s *Store) observe(now int64) {
	sec := floorDiv(now, second)
	if s.started && sec <= s.now {
		return
	}
	if !s.started || sec-s.now > jump {
		s.resumed = sec
		s.era++
		if s.since == 0 {
			s.since = now
		}
		s.started = true
	}
	s.now = sec
}

// Series returns the series of a key, made if it is new. When there are too many keys one goes: see table. Not nil; valid
// until the next call. 100 ns when the key is in the cache.
func (s *Store) Series(k Key, now int64) *Series {
	s.observe(now)
	return s.place(&k)
}

// place finds or makes a series.
func (s *Store) place(k *Key) *Series {
	id := s.table.find(k)
	if id != none {
		return s.at(id)
	}
	if s.table.full() {
		s.stats.Evicted++
		s.drop(s.least())
	}
	id = s.table.add(k)
	for int(id)/chunk >= len(s.series) {
		s.series = append(s.series, make([]Series, chunk))
	}
	r := s.at(id)
	*r = Series{store: s, profile: none, place: id}
	return r
}

// Find returns the series of a key, nil if it is not kept.
func (s *Store) Find(k Key) *Series {
	if id := s.table.find(&k); id != none {
		return s.at(id)
	}
	return nil
}

func (s *Store) at(id int32) *Series { return &s.series[id/chunk][id%chunk] }

// least is the series that goes: the oldest of the young that is neither frozen nor pinned, or of the next few old ones that
// with the least traffic in its hours, for the time that it has been silent.
func (s *Store) least() int32 {
	if s.table.crowded() {
		id := s.table.head
		for range tries {
			if id == none {
				break
			}
			if r := s.at(id); !r.frozen && !r.pinned {
				return id
			}
			s.table.cut(id)
			s.table.push(id)
			id = s.table.head
		}
	}
	best, worth := int32(none), 0.0
	for i := 0; i < len(s.table.nodes) && (i < tries || best == none); i++ {
		s.hand = (s.hand + 1) % int32(len(s.table.nodes))
		if s.table.nodes[s.hand].state != nodeOld {
			continue
		}
		if w := s.worth(s.at(s.hand)); best == none || w < worth {
			best, worth = s.hand, w
		}
	}
	if best == none {
		return s.table.head
	}
	return best
}

// worth is how much a series is worth keeping.
func (s *Store) worth(r *Series) float64 {
	idle := float64(max(s.now-r.active, 0)) / hourSeconds
	w := (float64(r.busy) + float64(r.hour.busy)) / (1 + idle)
	if r.frozen || r.pinned {
		w += 1e9
	}
	return w
}

// drop gives a series up.
func (s *Store) drop(id int32) {
	r := s.at(id)
	if r.profile != none {
		s.profiles[r.profile].owner = none
		s.freeProf = append(s.freeProf, r.profile)
	}
	*r = Series{store: s, place: id, profile: none, frozen: true} // who still holds it cannot learn
	s.table.remove(id)
}

// profileOf is where a series keeps its hours. When all profiles are taken the least busy of the next few loses its own to a
// series that is twice as busy.
func (s *Store) profileOf(r *Series) *profile {
	if r.profile != none {
		return &s.profiles[r.profile]
	}
	switch n := len(s.freeProf); {
	case n > 0:
		r.profile, s.freeProf = s.freeProf[n-1], s.freeProf[:n-1]
	case len(s.profiles) < s.cfg.Profiles:
		r.profile = int32(len(s.profiles))
		s.profiles = append(s.profiles, profile{})
	default:
		if r.profile = s.leastProfile(r); r.profile == none {
			return nil
		}
	}
	p := &s.profiles[r.profile]
	*p = profile{owner: r.place}
	r.known, r.next = hourNormal{hour: -1}, hourNormal{hour: -1}
	return p
}

func (s *Store) leastProfile(r *Series) int32 {
	best, worth := int32(none), s.worth(r)/2
	for range min(tries, len(s.profiles)) {
		s.profHand = (s.profHand + 1) % len(s.profiles)
		if w := s.worth(s.at(s.profiles[s.profHand].owner)); w < worth {
			best, worth = int32(s.profHand), w
		}
	}
	if best != none {
		loser := s.at(s.profiles[best].owner)
		loser.profile = none
		loser.known, loser.next = hourNormal{hour: -1}, hourNormal{hour: -1}
		s.stats.ProfilesEvicted++
	}
	return best
}

// Spread returns the distribution of a key over its sources, made if it is new. When there are too many, of the next few the one
// goes that was used longest ago.
func (s *Store) Spread(k Key, now int64) *Spread {
	s.observe(now)
	return s.placeSpread(&k)
}

func (s *Store) placeSpread(k *Key) *Spread {
	id := s.spreadAt.find(k)
	if id != none {
		return s.spread(id)
	}
	if s.spreadAt.full() {
		s.stats.SpreadsEvicted++
		s.spreadAt.remove(s.leastSpread())
	}
	id = s.spreadAt.add(k)
	for int(id)/chunk >= len(s.spreads) {
		s.spreads = append(s.spreads, make([]Spread, chunk))
	}
	d := s.spread(id)
	*d = Spread{store: s}
	return d
}

func (s *Store) spread(id int32) *Spread { return &s.spreads[id/chunk][id%chunk] }

func (s *Store) leastSpread() int32 {
	best := int32(none)
	for range tries {
		s.spreadH = (s.spreadH + 1) % int32(len(s.spreadAt.nodes))
		if best == none || s.spread(best).pinned || s.spread(s.spreadH).last < s.spread(best).last && !s.spread(s.spreadH).pinned {
			best = s.spreadH
		}
	}
	return best
}

// Advance tells the event time, once a tick, and looks after one series: one that saw nothing for Config.Forget goes.
func (s *Store) Advance(now int64) {
	s.observe(now)
	if len(s.table.nodes) == 0 {
		return
	}
	s.sweep = (s.sweep + 1) % int32(len(s.table.nodes))
	if s.table.nodes[s.sweep].state == nodeFree {
		return
	}
	r := s.at(s.sweep)
	if !r.frozen && !r.pinned && r.begun && s.now-max(r.active, r.begin) > int64(s.cfg.Forget/1e9) {
		s.stats.Expired++
		s.drop(s.sweep)
	}
}

// Pin makes all that is known now a known good baseline, which learning does not move: the hours of the week, the mean and
// deviation (of the days if there was one, else of the hours, else of the window), the quantiles, and the spreads. Series that
// are made later, or have fewer than Config.WarmupSamples, learn as ever.
func (s *Store) Pin() {
	for id := range s.table.nodes {
		if s.table.nodes[id].state != nodeFree {
			s.at(int32(id)).pin()
		}
	}
	for id := range s.spreadAt.nodes {
		if d := s.spread(int32(id)); s.spreadAt.nodes[id].state != nodeFree && d.begun {
			d.pinned = true
		}
	}
}

func (r *Series) pin() {
	a := &r.anchor
	if !r.begun || r.pinned || !a.warm && a.dayHours == 0 && r.roll.count() < uint32(r.store.cfg.WarmupSamples) {
		return
	}
	r.learnHour()
	r.hour = hourSum{hour: r.hour.hour}
	switch {
	case a.warm:
	case a.dayHours > 0:
		a.mean, a.variance = a.daySum/float64(a.dayHours), a.dayVar/float64(a.dayHours)
	default:
		mean, stddev := r.roll.moments()
		a.mean, a.variance = mean, float64(stddev*stddev)
		a.hours = 1
	}
	a.warm, r.pinned, r.frozen = true, true, false
	r.known, r.next = hourNormal{hour: -1}, hourNormal{hour: -1}
	r.store.table.settle(r.place)
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	s.stats.Forgotten = s.seen.forgotten
	return s.stats
}

// Costs tells how often the limits were felt.
func (s *Store) Costs() []Cost {
	n := s.Stats()
	return []Cost{
		{"baseline evicted", n.Evicted},
		{"baseline spreads evicted", n.SpreadsEvicted},
		{"baseline profiles evicted", n.ProfilesEvicted},
		{"baseline forgotten", n.Forgotten},
	}
}

// Sizes tells how full the tables are.
func (s *Store) Sizes() []Size {
	return []Size{
		{"series", s.table.len(), s.cfg.Keys, int(unsafe.Sizeof(Series{}) + unsafe.Sizeof(node{}))},
		{"profiles", len(s.profiles) - len(s.freeProf), s.cfg.Profiles, int(unsafe.Sizeof(profile{}))},
		{"spreads", s.spreadAt.len(), s.cfg.Spreads, int(unsafe.Sizeof(Spread{}) + unsafe.Sizeof(node{}))},
		{"seen", s.seen.n, s.cfg.Seen, 16},
	}
}

// Forget gives up the series and spreads whose key f tells to, and returns how many.
func (s *Store) Forget(f func(Key) bool) (n int) {
	for id := range s.table.nodes {
		if node := &s.table.nodes[id]; node.state != nodeFree && f(node.key) {
			s.drop(int32(id))
			n++
		}
	}
	for id := range s.spreadAt.nodes {
		if node := &s.spreadAt.nodes[id]; node.state != nodeFree && f(node.key) {
			s.spreadAt.remove(int32(id))
			n++
		}
	}
	return n
}
