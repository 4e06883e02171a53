package analyzers

import (
	"errors"
	"math"
	"slices"
	"time"

	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
)

// This file and beacon_*.go find beacons: an inside host that calls an outside one at regular times, with much the same bytes
// each time, for hours, as implants do that ask for orders.
//
// # Evidence
//
// Contacts of one inside address with one outside service (address, protocol, port): a connection that was answered (TCP:
// handshake completed), or the client speaking again after a second's pause in one that is open, which is how an implant
// calls that keeps its connection (HTTP/2, QUIC, WebSocket). Contacts within a second of each other are one. A SYN without an
// answer is none.
//
// # Score
//
// As in RITA (Active Countermeasures; its beacon analysis), the mean of four, each from 0 to 1:
//   - interval: the mean of 1-|Bowley skewness| and 1-MAD/median of the times between contacts; 64 of them are kept, the later
//     ones sooner than the earlier;
//   - size: the same of the bytes that the client sent from one contact to the next;
//   - histogram: 1 - the coefficient of variation of the contacts in up to 24 equal bins of the time since the first (merged
//     until they hold eight in the mean, to six: twenty contacts in 24 bins say nothing);
//   - duration: the time since the first contact as a share of Duration (6 h).
//
// From Score (0.8) and Contacts (20) on the pair is regular, if its intervals have 0.8 at least, too: chance arrivals have 0.55
// there, but with equal sizes and for a day they would be at 0.8 or more by the other three. Intervals spread evenly by ±30 %
// have 0.9, by ±50 % 0.85, by ±90 % 0.75. A regular pair is named when it still is after a sixteenth more contacts. So a clockwork beacon is
// named after two hours (by its duration) or 22 contacts, whichever is later, one with jitter after two to four hours.
//
// The finding's score is 50 at Score, 65 at a beacon score of 1, capped at 69: regular is not evil. 45 (low) at most for
//   - keep-alives: bursts in an open connection that carry no more than 128 bytes each way (push channels, WebSocket pings);
//   - a habit: a client with five regular services or more is a monitor;
//   - services that programs poll by themselves (Polled: mail, messengers' push).
//
// # Silent
//
// Servers that are inside, known_destinations, multicast; DNS (see dns.go) and ICMP (see tunnel.go); NTP by its form (UDP 123,
// 48 bytes both ways); and what is prevalent: three inside hosts or more, and a tenth of those that speak to the outside at
// all, speak to the server's network (/24, /48): updates, telemetry, the company's mail.
//
// # What it mistakes and misses
//
// One lone program that asks a server of its own for news every so often is what a beacon is; it is to be put into
// networks.known_destinations. Missed: beacons that change their server (domain fronting over many networks), that sleep for
// random times over an order of magnitude, that hide behind a service everybody uses, that call less than twenty times while
// the sensor runs, that speak to another inside host. What is known of pairs does not outlive a restart.

// BeaconConfig holds the settings of the beacon analyzer.
type BeaconConfig struct {
	Contacts int           `yaml:"contacts"` // least contacts
	Score    float64       `yaml:"score"`    // least beacon score
	Duration time.Duration `yaml:"duration"` // that counts in full
	Polled   []uint16      `yaml:"polled"`   // TCP ports that programs poll by themselves: low at most
	Keep     time.Duration `yaml:"keep"`     // of an idle pair, at most; less if it was less than a tenth as slow
	Pairs    int           `yaml:"pairs"`    // in the table, 680 bytes each; a power of two times 8
}

// DefaultBeacon returns the default settings. RITA takes four contacts; four are regular by chance too often. 0.8 is its line
// between low and medium, roughly. Polled are POP and IMAP, XMPP, Google's push and MQTT. The table takes 11 MB.
func DefaultBeacon() BeaconConfig {
	return BeaconConfig{
		Contacts: 20, Score: 0.8, Duration: 6 * time.Hour, Keep: 48 * time.Hour, Pairs: 16384,
		Polled: []uint16{110, 143, 993, 995, 1883, 5222, 5223, 5228, 8883},
	}
}

// Check tells what is wrong with the settings.
func (c *BeaconConfig) Check() error {
	switch {
	case c.Contacts < 4 || c.Contacts > 10000:
		return errors.New("beacon: contacts must be from 4 to 10000")
	case !(0.5 <= c.Score && c.Score <= 1):
		return errors.New("beacon: score must be from 0.5 to 1")
	case c.Duration < time.Minute || c.Keep < c.Duration || c.Keep > 31*24*time.Hour:
		return errors.New("beacon: duration must be at least 1m, keep from duration to 744h")
	case c.Pairs < poolWays || c.Pairs > 1<<18:
		return errors.New("beacon: pairs must be from 8 to 262144")
	}
	return nil
}

// bytes is the memory of the tables.
func (c *BeaconConfig) bytes() int {
	return poolBytes[tally.PairKey, beaconPair](c.Pairs) + poolBytes[decode.Addr, beaconNetwork](c.Pairs)
}

const (
	beaconKept   = 64             // intervals and sizes
	beaconRecent = 256            // the newest interval has a chance of 64 in so many, at least, to be kept
	beaconBins   = 24             // of the histogram
	beaconPause  = int64(1e9)     // contacts closer together are one
	beaconGrace  = int64(3600e9)  // a pair with one contact is stale after it
	beaconSlow   = 10             // mean intervals after which a silent pair is stale
	beaconBudget = 256            // pairs judged a tick: 3 µs each
	beaconHabit  = 5              // regular services of one client that make a monitor
	beaconIdle   = 128            // bytes of a keep-alive, one way
	beaconDay    = int64(86400e9) // after which an idle network's clients are forgotten
	beaconEven   = 0.75           // least interval score
	beaconShare  = 10             // a tenth of the inside hosts is many
	beaconMany   = 3              // and three at least
)

// Beacon finds beacons. It keeps state of a bounded number of pairs; cost per epoch is proportional to its pairs.
type Beacon struct {
	cfg      BeaconConfig
	site     *Site
	key      uint64
	keyed    bool
	now      int64 // ns, end of the last tick judged
	view     View
	pairs    *pool[tally.PairKey, beaconPair]
	networks *pool[decode.Addr, beaconNetwork] // outside networks, by prefix
	hosts    [2]tally.HLL                      // inside hosts that speak to the outside: of this day and the one before
	day      int64
	habit    map[decode.Addr]int // regular services of a client that nobody else uses
	open     []int               // places of pairs with news to tell at the end
	budget   int
	polled   [1 << 16]bool
	scratch  [2 * beaconKept]uint32
	f        Finding   // reused
	why      []Measure // reused
	Stats    BeaconStats
}

// BeaconStats counts what the bounds cost.
type BeaconStats struct {
	Postponed uint64 // judgements that waited for another tick
}

// beaconPair is what is known of one client and service.
type beaconPair struct {
	first, last int64 // ns: the first contact, and the latest
	seen        int64 // ns: the latest report
	width       int64 // ns of a bin
	up, down    uint64
	since       uint64 // bytes up since the latest contact
	emitted     int64  // ns; 0: not named
	contacts    uint32
	bursts      uint32 // of contacts
	kept        uint32 // intervals in use
	due         uint32 // contacts at which it is judged again
	told        uint32 // contacts in the latest finding
	regular     bool   // by the latest judgement
	counted     bool   // in Beacon.habit
	proven      bool   // TCP
	ntp         bool   // so far all looks like it
	bins        [beaconBins]uint16
	intervals   [beaconKept]uint32 // ms
	sizes       [beaconKept]uint32
}

// beaconNetwork counts who speaks to a network.
type beaconNetwork struct{ clients tally.HLL }

// NewBeacon returns an analyzer with settings that Check accepts.
func NewBeacon(cfg BeaconConfig, site *Site) *Beacon {
	a := &Beacon{cfg: cfg, site: site, habit: map[decode.Addr]int{}}
	a.pairs = newPool[tally.PairKey, beaconPair](cfg.Pairs, nil)
	a.networks = newPool[decode.Addr, beaconNetwork](cfg.Pairs, nil)
	a.setPolled()
	return a
}

func (a *Beacon) setPolled() {
	clear(a.polled[:])
	for _, p := range a.cfg.Polled {
		a.polled[p] = true
	}
}

// Name implements Analyzer.
func (a *Beacon) Name() string { return "beacon" }

// Costs implements Bounded.
func (a *Beacon) Costs() []Cost {
	return []Cost{
		{"beacon evicted", a.pairs.Evicted}, {"beacon refused", a.pairs.Refused + a.networks.Refused}, {"beacon postponed", a.Stats.Postponed},
	}
}

// Judge implements Analyzer.
func (a *Beacon) Judge(e *tally.Epoch, emit func(*Finding)) {
	if !a.keyed { // the first epoch's key stays: it only has to be unknown to attackers
		a.key, a.keyed = scramble(e.SketchKey, 0xa0761d6478bd642f), true
	}
	a.now, a.budget = e.End(), beaconBudget
	a.view.Observe(e)
	if day := a.now / beaconDay; day != a.day {
		a.hosts[1], a.hosts[0] = a.hosts[0], tally.HLL{}
		if day != a.day+1 {
			a.hosts[1] = tally.HLL{}
		}
		a.day = day
	}
	for i := range e.Pairs {
		a.observe(&e.Pairs[i], emit)
	}
}

// Finish implements Analyzer.
func (a *Beacon) Finish(emit func(*Finding)) {
	for _, at := range a.open {
		if k, s := a.pairs.value(at); s.emitted != 0 && s.contacts > s.told {
			a.budget = beaconBudget
			a.judge(at, k, s, emit)
		}
	}
}

// observe takes in what a pair did in this tick.
func (a *Beacon) observe(in *tally.Pair, emit func(*Finding)) {
	begins := in.Opened+in.Bursts > 0
	if in.Key.Proto != protoTCP && in.Key.Proto != protoUDP || in.Key.Port == 53 {
		return
	}
	hash := a.hash(&in.Key)
	at := a.pairs.find(&in.Key, hash)
	if at < 0 {
		if !begins {
			return
		}
		if at = a.pairs.room(hash, a.now); at < 0 || !a.outward(&in.Key) {
			return
		}
		if k, s := a.pairs.value(at); s.counted { // it goes
			a.count(k, s, false)
		}
		a.pairs.put(at, &in.Key, hash, a.now, beaconGrace)
		_, s := a.pairs.value(at)
		s.ntp = in.Key.Proto == protoUDP && in.Key.Port == 123
	}
	k, s := a.pairs.value(at)
	if begins && in.FirstOpened-s.last >= beaconPause {
		a.contact(at, k, s, in)
	}
	s.up += in.Payload
	s.since += in.Payload
	s.down += in.BackPayload
	s.seen = in.Last
	s.proven = s.proven || in.Opened > 0 && in.Key.Proto == protoTCP
	s.ntp = s.ntp && in.Payload == 48*in.Packets && in.BackPayload == 48*in.BackPackets
	if s.contacts >= s.due && s.contacts >= uint32(a.cfg.Contacts) && begins {
		a.judge(at, k, s, emit)
	}
}

// contact takes a contact in. What the client sent since the one before is that one's size.
func (a *Beacon) contact(at int, k *tally.PairKey, s *beaconPair, in *tally.Pair) {
	when := in.FirstOpened
	if when/beaconDay != s.last/beaconDay {
		a.meet(k)
	}
	s.contacts++
	if in.Opened == 0 {
		s.bursts++
	}
	if s.contacts == 1 {
		s.first, s.width = when, beaconPause
	} else {
		a.interval(k, s, when)
		pace := (when - s.first) / int64(s.contacts-1)
		a.pairs.keep(at, uint64(s.contacts), when+min(max(beaconSlow*pace, beaconGrace), int64(a.cfg.Keep)))
	}
	s.last, s.since = max(s.last, when), 0
	for (when-s.first)/s.width >= beaconBins {
		for i := range s.bins {
			s.bins[i] = sumBins(s.bins[:], 2*i) + sumBins(s.bins[:], 2*i+1)
		}
		s.width *= 2
	}
	if b := &s.bins[(when-s.first)/s.width]; *b < math.MaxUint16 {
		*b++
	}
}

// sumBins is a bin, 0 beyond the last. Two of them saturate far below what a pair can reach in a bin of 24, once a second.
func sumBins(bins []uint16, i int) uint16 {
	if i >= len(bins) {
		return 0
	}
	return min(bins[i], math.MaxUint16/2)
}

// interval keeps the time and bytes since the contact before: the first 64, then each new one in place of a random other, with
// a chance that does not fall below a quarter.
func (a *Beacon) interval(k *tally.PairKey, s *beaconPair, when int64) {
	place := s.contacts - 2
	if place >= beaconKept {
		place = uint32(scramble(a.hash(k), uint64(s.contacts)) % uint64(min(place+1, beaconRecent)))
	} else {
		s.kept = place + 1
	}
	if place < beaconKept {
		s.intervals[place] = uint32(min((when-s.last)/1e6, math.MaxUint32))
		s.sizes[place] = uint32(min(s.since, math.MaxUint32))
	}
}

// outward tells whether a pair is one that beacons are made of.
func (a *Beacon) outward(k *tally.PairKey) bool {
	server := k.Server.Netip(k.Ver)
	return !server.IsMulticast() && a.site.Inside(k.Client.Netip(k.Ver)) && !a.site.Inside(server) &&
		!a.site.Networks.Is(context.KnownDestination, server)
}

// meet notes a client at the server's network.
func (a *Beacon) meet(k *tally.PairKey) {
	client := scramble(k.Client.Lo^a.key, k.Client.Hi)
	a.hosts[0].Add(client)
	network := networkOf(k.Server, k.Ver)
	at, _ := a.networks.at(&network, scramble(network.Lo^a.key, network.Hi), a.now, beaconDay)
	if at < 0 {
		return
	}
	_, n := a.networks.value(at)
	n.clients.Add(client)
	a.networks.keep(at, n.clients.Count(), a.now+int64(a.cfg.Keep))
}

// prevalence is how many inside hosts speak to the server's network, and how many there are.
func (a *Beacon) prevalence(k *tally.PairKey) (clients, hosts uint64) {
	all := a.hosts[0]
	all.Merge(&a.hosts[1])
	network := networkOf(k.Server, k.Ver)
	clients = 1
	if at := a.networks.find(&network, scramble(network.Lo^a.key, network.Hi)); at >= 0 {
		_, n := a.networks.value(at)
		clients = max(n.clients.Count(), 1)
	}
	return clients, max(all.Count(), clients)
}

// networkOf is the network that an address is of: /24 or /48.
func networkOf(addr decode.Addr, ver uint8) decode.Addr {
	if ver == 6 {
		return decode.Addr{Hi: addr.Hi &^ 0xffff}
	}
	addr.Lo &^= 0xff
	return addr
}

// count counts the regular services of a client.
func (a *Beacon) count(k *tally.PairKey, s *beaconPair, now bool) {
	if s.counted == now {
		return
	}
	if s.counted = now; now {
		a.habit[k.Client]++
	} else if a.habit[k.Client]--; a.habit[k.Client] <= 0 {
		delete(a.habit, k.Client)
	}
}

func (a *Beacon) hash(k *tally.PairKey) uint64 {
	h := scramble(k.Client.Lo^a.key, k.Client.Hi^uint64(k.Ver)<<56)
	return scramble(h^k.Server.Lo, k.Server.Hi^uint64(k.Proto)<<48^uint64(k.Port)<<24)
}

// adjust implements adjustable.
func (a *Beacon) adjust(cfg *Config) []string {
	next := cfg.Beacon
	restart := fixed(a.cfg.Pairs, &next.Pairs, "beacon.pairs")
	next.Polled = slices.Clone(next.Polled)
	a.cfg = next
	a.setPolled()
	return restart
}
