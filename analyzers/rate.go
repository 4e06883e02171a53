package analyzers

import (
	"fmt"
	"time"
	"unsafe"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// Rate finds load that is not normal.
//
//	spike         the link, an inside service, host or prefix (/24, /64), or an autonomous system or country that asks for more
//	              than it ever does
//	drop          what was even falls to a fraction
//	source_spike  one source does far more than the sources of this service do
//	sustained     below all of that, but broad and lasting: mirroring, enumeration, slow abuse of an interface
//
// How. Ticks are added up to seconds. A second is over if it is above an absolute floor, above a multiple of what is expected,
// and by z standard deviations (all of the section `baseline`); k of n such seconds are a spike. A source is compared with the
// distribution over the sources of its service: also above its 99th percentile, and only where there are enough sources. What is
// told of connections in steps of ten seconds (packets, bytes) is judged by ten seconds.
//
// Victim. What a part explains by half is not told of its whole (a service before its host, a host before its prefix, that
// before the link); where more than maxParts parts spike, their whole is the victim. A drop is told of the largest that drops.
//
// Learning. While a key is alarmed it learns nothing, nor does it what exceeded. A level that stays is one open alert, which
// says how long it lasts; it is taken for normal when it ended before (nothing of it is learned), or when it was confirmed: by the
// operator, who resets the baseline, or after the time `accept` of an open alert that nobody acted upon. Parties of other
// analyzers' alerts are not learned either, and what many share (link, prefix, origin) learns nothing while there is a flood, a gate
// drops, or a part spikes that did not half an hour ago.
//
// Started under attack: while a baseline is cold, seconds above startFactor floors are not learned, and an alert (low) says that
// there is nothing to compare with. It ends when the load does, and what comes then is learned.
//
// Poisoning. The expected value grows by at most the anchor's growth a day (baseline.Config), so a load that doubles every hour
// is found at its third doubling once a day is known (five times what is normal; in the first week, fifteen times: the fourth).
// Within the first day only the rolling mean of half an hour is known: a ramp slower than five times in half an hour is silent.
//
// What it mistakes. A bulk transfer is no attack but fills any link: where packets or bits alone exceed, the score is capped at
// low; encrypted requests on lasting connections show only there. A flash crowd that comes within seconds is a spike, too. A
// nightly job is told once a night until its hour is known, and as sustained if it is broad. Clients behind one address (NAT) are
// one source; trusted proxies are none. What a flood's alert names already is capped at low. Services of the outside are not
// judged: networks.inside must name the site.
//
// Score: 50 at the limit and 10 more for each doubling, at most 69 (medium); volume alone and drop at most 49 (low).
//
// State: bounded by Keys, Pairs and Alarms (see rateAlarms and pool for what goes); what found no room is counted.
type Rate struct {
	cfg     RateConfig
	site    *Site
	base    baseline.Config
	emit    func(*Finding)
	tick    int64
	judged  int64 // second that is being judged
	view    View
	gated   bool // the gate dropped something within the judged second
	loads   *seconds[baseline.Key, rateLoad]
	alarms  rateAlarms[baseline.Key]
	crossed []int // of alarms, in this second
	fresh   int64 // until when (ns) wholes do not learn, because of an alarm that opened within the baseline's window
	steady  steadyTable
	talks   *seconds[tally.PairKey, rateTalk]
	windows *seconds[tally.PairKey, rateTalk]
	sources rateAlarms[sourceKey]
	crowds  crowds
	lasting *pool[tally.PairKey, lastingSource]
	origins originCache
	near    nearest
	key     uint64      // of hashes
	scratch tally.Epoch // its Tick counts seconds, so that windows has ten of them for one
}

// RateConfig holds the floors: what is below them is never told, however strange.
type RateConfig struct {
	ConnectionsPerSecond uint64 `yaml:"connections_per_second"`  // spike: completed, of a service, host or AS; wholeFactor times that of a prefix, country or link
	PacketsPerSecond     uint64 `yaml:"packets_per_second"`      // likewise, both ways
	BitsPerSecond        uint64 `yaml:"bits_per_second"`         // likewise
	DropPackets          uint64 `yaml:"drop_packets_per_second"` // drop: least mean of what may drop; likewise

	SourceConnections uint64 `yaml:"source_connections_per_second"` // source_spike: of one source at one service
	SourceRequests    uint64 `yaml:"source_requests_per_second"`    // likewise, HTTP/1 where readable
	SourcePackets     uint64 `yaml:"source_packets_per_second"`     // likewise, over ten seconds
	SourceBits        uint64 `yaml:"source_bits_per_second"`        // likewise: answers
	Sources           uint64 `yaml:"sources"`                       // a service with fewer has no distribution over sources

	SustainedRequests uint64 `yaml:"sustained_requests"` // sustained: of one source in five minutes; in an hour four times as many
	SustainedTargets  uint64 `yaml:"sustained_targets"`  // likewise: distinct paths, or hosts and ports
	SustainedBytes    uint64 `yaml:"sustained_bytes"`    // likewise: answers, where paths are not readable

	Accept time.Duration `yaml:"accept"` // after which a level that stays is taken for normal; 0: never
	Quiet  time.Duration `yaml:"quiet"`  // after which an alert closes
	Keys   int           `yaml:"keys"`   // services, hosts, prefixes and origins that are judged in a second
	Pairs  int           `yaml:"pairs"`  // clients of services, likewise
	Alarms int           `yaml:"alarms"` // keys, and sources, that are above their limit at once
	Hours  int           `yaml:"hours"`  // sources whose last hour is kept; 1.7 kB each
}

// DefaultRate returns floors below which nobody's work is disturbed:
//
//   - 20 connections/s: a browser opens six to a server, so three or four people at the same moment; the smallest servers
//     (prefork, 256 workers) serve ten times that.
//   - 1,000 packets/s, 10 Mbit/s: a tenth of the slowest Ethernet that is still in use.
//   - 20 packets/s that go on evenly are a machine's; people are never even.
//   - a source: 10 connections/s or 20 requests/s are more than a page with all its parts takes, for three of five seconds.
//   - five sources: with fewer, one of them is a fifth of its own measure.
//   - sustained: 300 requests in five minutes without a pause are one a second; who reads takes ten seconds a page. 150
//     targets: half of them new. 5 MB: half of what a page weighs (2 MB, HTTP Archive 2022), every minute.
//   - accept: a day and a night have passed, and who is responsible had a working day.
//   - 8,192 keys and as many pairs in a second cost some 3 ms a tick.
func DefaultRate() RateConfig {
	return RateConfig{
		ConnectionsPerSecond: 20, PacketsPerSecond: 1000, BitsPerSecond: 10e6, DropPackets: 20,
		SourceConnections: 10, SourceRequests: 20, SourcePackets: 1000, SourceBits: 10e6, Sources: 5,
		SustainedRequests: 300, SustainedTargets: 150, SustainedBytes: 5e6,
		Accept: 24 * time.Hour, Quiet: time.Minute, Keys: 8192, Pairs: 8192, Alarms: 1024, Hours: 4096,
	}
}

const (
	// wholeFactor makes the floors of parts those of a prefix, a country or the link: about as many parts move together.
	wholeFactor = 5
	// startFactor makes floors those above which a cold baseline does not learn: 1,000 connections a second, where floods begin.
	startFactor = 50
	// volumeCap is the score at most where packets or bits alone exceed, and of drops.
	volumeCap = 49
	spikeCap  = 69
)

// Check reports the first setting that is out of range.
func (c *RateConfig) Check() error {
	for _, f := range []struct {
		name        string
		n           uint64
		least, most uint64
	}{
		{"connections_per_second", c.ConnectionsPerSecond, 1, 1e9},
		{"packets_per_second", c.PacketsPerSecond, 1, 1e12},
		{"bits_per_second", c.BitsPerSecond, 1, 1e15},
		{"drop_packets_per_second", c.DropPackets, 1, 1e12},
		{"source_connections_per_second", c.SourceConnections, 1, 1e9},
		{"source_requests_per_second", c.SourceRequests, 1, 1e9},
		{"source_packets_per_second", c.SourcePackets, 1, 1e12},
		{"source_bits_per_second", c.SourceBits, 1, 1e15},
		{"sources", c.Sources, 2, 1e6},
		{"sustained_requests", c.SustainedRequests, 10, 1e9},
		{"sustained_targets", c.SustainedTargets, 10, 1e9},
		{"sustained_bytes", c.SustainedBytes, 1, 1e15},
		{"keys", uint64(max(c.Keys, 0)), 64, 1 << 20},
		{"pairs", uint64(max(c.Pairs, 0)), 64, 1 << 20},
		{"alarms", uint64(max(c.Alarms, 0)), 16, 1 << 16},
		{"hours", uint64(max(c.Hours, 0)), 64, 1 << 20},
	} {
		if f.n < f.least || f.n > f.most {
			return fmt.Errorf("rate: %s is %d, must be %d to %d", f.name, f.n, f.least, f.most)
		}
	}
	if c.Quiet < 10*time.Second || c.Quiet > time.Hour {
		return fmt.Errorf("rate: quiet is %v, must be 10s to 1h", c.Quiet)
	}
	if c.Accept != 0 && (c.Accept < time.Hour || c.Accept > 365*24*time.Hour) {
		return fmt.Errorf("rate: accept is %v, must be 0 or 1h to 8760h", c.Accept)
	}
	return nil
}

// NewRate returns a Rate. It panics if cfg.Check fails.
func NewRate(cfg RateConfig, site *Site) *Rate {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	return &Rate{
		cfg: cfg, site: site, base: site.Baseline.Config(), judged: never,
		loads:   newSeconds[baseline.Key, rateLoad](cfg.Keys),
		talks:   newSeconds[tally.PairKey, rateTalk](cfg.Pairs),
		windows: newSeconds[tally.PairKey, rateTalk](cfg.Pairs),
		alarms:  newRateAlarms[baseline.Key](cfg.Alarms),
		sources: newRateAlarms[sourceKey](cfg.Alarms),
		steady:  steadyTable{most: cfg.Alarms, place: map[baseline.Key]int{}},
		crowds:  crowds{newPool[tally.PairKey, tally.HLL](crowdServices, nil)},
		lasting: newPool[tally.PairKey, lastingSource](cfg.Hours, nil),
	}
}

// Name implements Analyzer.
func (r *Rate) Name() string { return "rate" }

// Judge implements Analyzer.
func (r *Rate) Judge(e *tally.Epoch, emit func(*Finding)) {
	r.emit, r.tick, r.key = emit, e.Tick, e.SketchKey
	r.view.Observe(e)
	r.loads.turn(e, r.judgeLoad)
	if second := e.Tick/ticksPerSecond - 1; second != r.scratch.Tick { // talks hands over what was a second ago
		r.scratch.Tick = second
		r.windows.turn(&r.scratch, r.judgeWindow)
	}
	r.talks.turn(e, r.judgeTalk)
	if e.Tick%ticksPerSecond == ticksPerSecond-1 {
		r.conclude()
	}
	r.gated = r.gated && e.Tick%ticksPerSecond != 0 || e.Gate.Packets > 0
	r.gatherLoads(e)
	r.gatherPairs(e)
}

// Finish implements Analyzer.
func (r *Rate) Finish(emit func(*Finding)) {
	r.emit = emit
	r.loads.flush(r.judgeLoad)
	r.talks.flush(r.judgeTalk)
	r.windows.flush(r.judgeWindow)
	r.conclude()
}

// end is when what is being judged was known.
func (r *Rate) end() int64 { return (r.tick + 1) * tally.Tick }

// adjust implements adjustable. Floors count from the next second on; alarms that are open go on.
func (r *Rate) adjust(cfg *Config) []string {
	next := cfg.Rate
	restart := fixed(r.cfg.Keys, &next.Keys, "rate.keys")
	restart = append(restart, fixed(r.cfg.Pairs, &next.Pairs, "rate.pairs")...)
	restart = append(restart, fixed(r.cfg.Alarms, &next.Alarms, "rate.alarms")...)
	restart = append(restart, fixed(r.cfg.Hours, &next.Hours, "rate.hours")...)
	r.cfg = next
	return restart
}

// bytes is the memory of the tables when they are full.
func (c *RateConfig) bytes() int {
	keys := 2 * c.Keys * (int(unsafe.Sizeof(secondEntry[baseline.Key, rateLoad]{})) + 16)
	pairs := 4 * c.Pairs * (int(unsafe.Sizeof(secondEntry[tally.PairKey, rateTalk]{})) + 16)
	alarms := c.Alarms * int(unsafe.Sizeof(rateAlarm[baseline.Key]{})+unsafe.Sizeof(rateAlarm[sourceKey]{})+unsafe.Sizeof(steadyKey{}))
	hours := c.Hours * int(unsafe.Sizeof(poolEntry[tally.PairKey, lastingSource]{}))
	crowds := crowdServices * int(unsafe.Sizeof(poolEntry[tally.PairKey, tally.HLL]{}))
	return keys + pairs + alarms + hours + crowds + int(unsafe.Sizeof(originCache{}))
}

// Costs implements Bounded.
func (r *Rate) Costs() []Cost {
	return []Cost{
		{"rate keys", r.loads.Lost},
		{"rate pairs", r.talks.Lost + r.windows.Lost},
		{"rate alarms", r.alarms.lost + r.sources.lost},
		{"rate steady", r.steady.lost},
		{"rate crowds", r.crowds.pool.Evicted + r.crowds.pool.Refused},
		{"rate lasting", r.lasting.Evicted + r.lasting.Refused},
		{"rate origins", r.origins.lost},
	}
}
