package analyzers

import (
	"errors"
	"time"
	"unsafe"

	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
)

// This file and exfil_*.go find exfiltration: an inside host that sends much more to an outside destination than it ever
// sends, and the site does not know the destination.
//
// # Evidence
//
// The payload that an inside host, as the client of a connection, sent to an outside address, all ports together. It comes
// in steps of up to ten seconds (conn.SessionEvery).
//
// Own baseline: what the host sends outside by the second, known destinations left out (Store: KindHost, MeasureBytesOut,
// Num "exfil"), as the slow memories have it: the mean of the day, and of this hour of the week if that is more. The
// rolling mean is not asked, it would learn the theft while it runs.
//
// A destination is known if it is of networks.known_destinations, or inside; if three inside hosts have sent a megabyte
// there within an hour (the site's usual); or if somebody did so first a week ago, or half as long ago as the sensor's
// memory reaches, if that is less. So a nightly backup is known from its second night on.
//
// # Kinds
//
//   - volume: within an hour (of two half hours, the open one and the one before) more than Volume (10 MB) and more than
//     Multiple (10) times what the host sends in an hour, to one destination that is not known.
//   - slow: within a day (24 hours, the open one counted) more than Day (50 MB) and more than DayMultiple (3) times what the
//     host sends in a day, to one destination that is not known, if none of its hours was enough for volume.
//   - origin: as volume, to one autonomous system or country that the site does not know, over three addresses or more of it.
//     Victim: the system, or the country if it is not one system that makes it. Needs networks.origins.
//
// # Score
//
// 75, and 4 for each doubling above what was needed; capped at 89 (high). 55 (medium) at most where nearly as much came back
// (less than twice as much went up as down: calls, peer-to-peer). 45 (low) at most where the host sent a megabyte to 16 or more
// unknown destinations on that day (peer-to-peer), and during warm-up.
//
// # Warm-up
//
// Until the memory is a day old and knows a day of the host, everything is new and nothing is much. Then only ten times Volume
// with ten times as much up as down is told, as low, and said to be warm-up. slow and origin wait.
//
// # What it misses
//
// Data that inside servers are asked for (a web shell): there the outside is the client; data over destinations that many
// use (cloud storage); what stays below the floors, or below what the host is used to send; a thief who sends a megabyte and
// waits for a week.

// ExfilConfig holds the settings of the exfil analyzer.
type ExfilConfig struct {
	Volume      uint64        `yaml:"volume"`       // bytes within an hour
	Multiple    float64       `yaml:"multiple"`     // of what the host sends in an hour
	Day         uint64        `yaml:"day"`          // bytes within a day
	DayMultiple float64       `yaml:"day_multiple"` // of what the host sends in a day
	Known       time.Duration `yaml:"known"`        // after which a destination is known
	Quiet       time.Duration `yaml:"quiet"`        // an alert closes after it
	Pairs       int           `yaml:"pairs"`        // hosts with destinations in the table, 400 bytes each; a power of two times 8
}

// DefaultExfil returns the default settings. 10 MB are a mail with attachments, which people send to addresses that are not
// new; 50 MB a day are 600 bytes a second, what a chatty program sends without pause. Three times in a day, because a day's
// mean evens out what an hour's does not. The table takes 7 MB.
func DefaultExfil() ExfilConfig {
	return ExfilConfig{
		Volume: 10e6, Multiple: 10, Day: 50e6, DayMultiple: 3, Known: 7 * 24 * time.Hour, Quiet: time.Hour, Pairs: 16384,
	}
}

// Check tells what is wrong with the settings.
func (c *ExfilConfig) Check() error {
	switch {
	case c.Volume < 1e5 || c.Day < c.Volume:
		return errors.New("exfil: volume must be at least 100000 bytes, day at least volume")
	case !(c.Multiple >= 1 && c.Multiple <= 1e6) || !(c.DayMultiple >= 1 && c.DayMultiple <= 1e6):
		return errors.New("exfil: multiple and day_multiple must be from 1 to 1000000")
	case c.Known < time.Hour || c.Quiet < time.Minute:
		return errors.New("exfil: known must be at least 1h, quiet at least 1m")
	case c.Pairs < poolWays || c.Pairs > 1<<18:
		return errors.New("exfil: pairs must be from 8 to 262144")
	}
	return nil
}

// bytes is the memory of the tables.
func (c *ExfilConfig) bytes() int {
	return poolBytes[exfilKey, exfilPair](c.Pairs) + poolBytes[exfilKey, exfilTarget](c.Pairs/4) +
		poolBytes[exfilKey, exfilHost](c.Pairs/4) + 2*c.Pairs*int(unsafe.Sizeof(exfilKey{})+8)
}

const (
	exfilHour    = int64(3600e9)
	exfilDay     = 24 * exfilHour
	exfilBulk    = 1_000_000 // bytes within an hour that make a destination one of bulk
	exfilUsual   = 3         // hosts that make it the site's usual
	exfilSpread  = 16        // unknown bulk destinations of a host in a day that look like peer-to-peer
	exfilOrigins = 3         // addresses of an origin
	exfilNum     = 0x657866  // "exf": own series and first times
)

// Exfil finds exfiltration. It keeps state of a bounded number of pairs of hosts, and a series for each inside host that sends.
type Exfil struct {
	cfg     ExfilConfig
	site    *Site
	key     uint64
	keyed   bool
	e       *tally.Epoch
	now     int64 // ns, end of the last tick judged
	view    View
	pairs   *pool[exfilKey, exfilPair]
	targets *pool[exfilKey, exfilTarget] // by destination: host is zero
	hosts   *pool[exfilKey, exfilHost]   // by host: to is zero
	learn   *seconds[exfilKey, uint64]
	open    []int // places of pairs that were named and are not quiet
	emit    func(*Finding)
	f       Finding
	why     []Measure
}

// exfilKey names a host and a destination, or an origin.
type exfilKey struct {
	host, to decode.Addr
	origin   uint64 // an origin instead of an address: see originKey
	ver      uint8
}

// exfilPair is what a host sent to a destination.
type exfilPair struct {
	half        [2]exfilSum // of the hour: the open half and the one before
	number      int64       // of the open half
	day         [24]uint64  // up, by the hour
	hour        int64       // number of the open hour
	noted       int64       // the latest hour that was noted as one of bulk
	first, last int64       // ns
	emitted     int64       // ns; 0: not named
	total       uint64      // up, since first
	told        uint64
	volume      int64 // ns: when it last sufficed for volume
	addresses   tally.HLL
	kind        exfilKind // named as
	proven      bool
	named       bool // of an origin: one of its addresses was named alone, or of a country one of its systems
}

type exfilSum struct{ up, down uint64 }

// exfilTarget is who sends in bulk to a destination.
type exfilTarget struct {
	hosts [exfilUsual]decode.Addr
	n     uint8
}

// exfilHost is to how many unknown destinations a host sent in bulk.
type exfilHost struct {
	day   int64
	bulks tally.HLL
}

// NewExfil returns an analyzer with settings that Check accepts.
func NewExfil(cfg ExfilConfig, site *Site) *Exfil {
	return &Exfil{
		cfg: cfg, site: site, learn: newSeconds[exfilKey, uint64](cfg.Pairs),
		pairs:   newPool[exfilKey, exfilPair](cfg.Pairs, nil),
		targets: newPool[exfilKey, exfilTarget](max(cfg.Pairs/4, poolWays), nil),
		hosts:   newPool[exfilKey, exfilHost](max(cfg.Pairs/4, poolWays), nil),
	}
}

// Name implements Analyzer.
func (a *Exfil) Name() string { return "exfil" }

// Costs implements Bounded.
func (a *Exfil) Costs() []Cost {
	return []Cost{
		{"exfil evicted", a.pairs.Evicted},
		{"exfil refused", a.pairs.Refused + a.targets.Refused + a.hosts.Refused},
		{"exfil unlearned", a.learn.Lost},
	}
}

// Judge implements Analyzer.
func (a *Exfil) Judge(e *tally.Epoch, emit func(*Finding)) {
	if !a.keyed { // the first epoch's key stays: it only has to be unknown to attackers
		a.key, a.keyed = scramble(e.SketchKey, 0xeb44accab455d165), true
	}
	a.e, a.now, a.emit = e, e.End(), emit
	a.view.Observe(e)
	a.learn.turn(e, a.learned)
	for i := range e.Pairs {
		if in := &e.Pairs[i]; (in.Payload > 0 || in.Opened > 0) && (in.Key.Proto == protoTCP || in.Key.Proto == protoUDP) {
			a.observe(in)
		}
	}
	a.tellRest(int64(time.Second))
}

// Finish implements Analyzer.
func (a *Exfil) Finish(emit func(*Finding)) {
	a.emit = emit
	a.tellRest(0)
}

// learned takes what a host sent in a second into its baseline, unless it is named here. (What it does else, as to call a
// beacon's master, must not keep its baseline from ever getting warm.)
func (a *Exfil) learned(second int64, k *exfilKey, bytes *uint64) {
	now := second * 1e9
	s := a.site.Baseline.Series(a.series(k), now)
	for _, at := range a.open {
		if p, _ := a.pairs.value(at); p.host == k.host && p.ver == k.ver {
			s.Freeze(now)
			return
		}
	}
	s.Thaw(now)
	s.Learn(now, float64(*bytes))
}

func (a *Exfil) series(k *exfilKey) baseline.Key {
	return baseline.Key{
		Kind: baseline.KindHost, Measure: baseline.MeasureBytesOut, Ver: k.ver, Num: exfilNum, Addr: [2]uint64{k.host.Hi, k.host.Lo},
	}
}

// observe takes in what a client sent in this tick.
func (a *Exfil) observe(in *tally.Pair) {
	key := exfilKey{host: in.Key.Client, to: in.Key.Server, ver: in.Key.Ver}
	hash := a.hash(&key)
	at := a.pairs.find(&key, hash)
	if at < 0 {
		if !a.outward(&key) {
			return
		}
		if at, _ = a.pairs.at(&key, hash, a.now, exfilHour); at < 0 {
			return
		}
	}
	if in.Payload > 0 {
		if b := a.learn.add(exfilKey{host: key.host, ver: key.ver}); b != nil {
			*b += in.Payload
		}
	}
	k, s := a.pairs.value(at)
	a.add(at, k, s, in)
	a.weighty(at, k, s)
	a.origins(*k, in)
}

// outward tells whether a host is inside, and a destination outside and not known by name.
func (a *Exfil) outward(k *exfilKey) bool {
	to := k.to.Netip(k.ver)
	return !to.IsMulticast() && a.site.Inside(k.host.Netip(k.ver)) && !a.site.Inside(to) && !a.site.Networks.Is(context.KnownDestination, to)
}

// add counts what was sent.
func (a *Exfil) add(at int, k *exfilKey, s *exfilPair, in *tally.Pair) {
	if number := a.now / (exfilHour / 2); number != s.number {
		s.half[1], s.half[0] = s.half[0], exfilSum{}
		if number != s.number+1 {
			s.half[1] = exfilSum{}
		}
		s.number = number
	}
	for hour := a.now / exfilHour; s.hour != hour; {
		s.hour = max(s.hour+1, hour-23)
		s.day[s.hour%24] = 0
	}
	if s.first == 0 || s.emitted != 0 && a.now-s.last > int64(a.cfg.Quiet) {
		s.first, s.total, s.told, s.emitted = in.First, 0, 0, 0
	}
	s.half[0].up += in.Payload
	s.half[0].down += in.BackPayload
	s.day[s.hour%24] += in.Payload
	s.total += in.Payload
	s.last = in.Last
	s.proven = s.proven || in.Opened > 0 && in.Key.Proto == protoTCP
	if k.origin != 0 {
		s.addresses.Add(scramble(in.Key.Server.Lo^a.key, in.Key.Server.Hi))
	}
	until := exfilHour
	if s.total >= exfilBulk/10 {
		until = exfilDay
	}
	a.pairs.keep(at, 1+s.total>>12, a.now+until)
}

// sentDay is what was sent in the last 24 hours.
func (s *exfilPair) sentDay() (sum uint64) {
	for _, v := range s.day {
		sum += v
	}
	return sum
}

// weighty notes a pair with a megabyte within an hour, once an hour, and judges it.
func (a *Exfil) weighty(at int, k *exfilKey, s *exfilPair) {
	up := s.half[0].up + s.half[1].up
	if up >= exfilBulk && s.noted != s.hour {
		s.noted = s.hour
		a.bulk(k)
	}
	if (up >= a.cfg.Volume || s.sentDay() >= a.cfg.Day) && a.now-s.emitted >= int64(time.Second) {
		a.judge(at, k, s)
	}
}

// bulk notes a host that sent a megabyte within an hour: when somebody did so first, and who does.
func (a *Exfil) bulk(k *exfilKey) {
	a.site.Baseline.Seen(a.place(k), a.now)
	if k.origin != 0 {
		return
	}
	key := exfilKey{to: k.to, ver: k.ver}
	if at, _ := a.targets.at(&key, a.hash(&key), a.now, exfilDay); at >= 0 {
		_, t := a.targets.value(at)
		t.add(k.host)
		a.targets.keep(at, 1+uint64(t.n), a.now+7*exfilDay)
	}
	if a.known(k) {
		return
	}
	key = exfilKey{host: k.host, ver: k.ver}
	if at, _ := a.hosts.at(&key, a.hash(&key), a.now, exfilDay); at >= 0 {
		_, h := a.hosts.value(at)
		if day := a.now / exfilDay; day != h.day {
			*h = exfilHost{day: day}
		}
		h.bulks.Add(scramble(k.to.Lo^a.key, k.to.Hi))
		a.hosts.keep(at, 2, a.now+exfilDay)
	}
}

func (t *exfilTarget) add(host decode.Addr) {
	for _, h := range t.hosts[:t.n] {
		if h == host {
			return
		}
	}
	if int(t.n) < len(t.hosts) {
		t.hosts[t.n] = host
		t.n++
	}
}

// place is where the first time of a destination or an origin is remembered.
func (a *Exfil) place(k *exfilKey) baseline.Key {
	if k.origin != 0 {
		return baseline.Key{Kind: baseline.KindASN, Measure: baseline.MeasurePresence, Num: exfilNum, Addr: [2]uint64{k.origin}}
	}
	return baseline.Key{
		Kind: baseline.KindHost, Measure: baseline.MeasurePresence, Ver: k.ver, Num: exfilNum, Addr: [2]uint64{k.to.Hi, k.to.Lo},
	}
}

// known tells whether the site knows a destination or an origin.
func (a *Exfil) known(k *exfilKey) bool {
	key := exfilKey{to: k.to, ver: k.ver}
	if at := a.targets.find(&key, a.hash(&key)); at >= 0 && k.origin == 0 {
		if _, t := a.targets.value(at); t.n >= exfilUsual {
			return true
		}
	}
	first, _, seen := a.site.Baseline.SeenBefore(a.place(k))
	age := min(int64(a.cfg.Known), (a.now-a.site.Baseline.Since())/2)
	return seen && a.now-first >= age && a.warm()
}

// warm tells whether the memory is a day old.
func (a *Exfil) warm() bool {
	since := a.site.Baseline.Since()
	return since != 0 && a.now-since >= exfilDay
}

func (a *Exfil) hash(k *exfilKey) uint64 {
	h := scramble(k.host.Lo^a.key, k.host.Hi^uint64(k.ver)<<56)
	return scramble(h^k.to.Lo, k.to.Hi^k.origin)
}

// adjust implements adjustable.
func (a *Exfil) adjust(cfg *Config) []string {
	next := cfg.Exfil
	restart := fixed(a.cfg.Pairs, &next.Pairs, "exfil.pairs")
	a.cfg = next
	return restart
}
