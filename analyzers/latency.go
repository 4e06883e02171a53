package analyzers

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// Latency finds services that have become slow: why it was slow at 3 am.
//
//	rtt             handshakes take longer: the time from a SYN to the ACK of its SYN-ACK, which is the way from the sensor to both
//	                ends and back
//	retransmission  a larger share of the TCP packets with payload was seen before
//
// How. Per inside service, for all inside services together, and for all outside ones: each second with handshakes, or with enough
// packets, is one sample: their mean, or share. A sample is over if it is above its floor, above a multiple of what is expected, and
// by z standard deviations; k of n samples (not seconds: services may be rarely asked) are a finding. The lot is told where more
// than maxParts services are slow and it is, too.
//
// What it mistakes. Other clients are farther away: so a finding of rtt needs several clients, half of all, and services with
// fewer are not judged by it. A new way through the network is one alert, and taken for normal after `accept`. A mirror port that doubles
// packets makes retransmissions; if it does so always, it is normal. It cannot tell the server's time to answer: that is not in
// headers.
//
// Learning. As in Rate: nothing while alarmed, nothing of what exceeds; while cold nothing above a second (the first retransmission
// of a SYN, RFC 6298) or a fifth.
//
// Score: 30 at the limit and 10 more for each doubling, at most 49 (low).
//
// State: bounded by Keys and Alarms; what found no room is counted.
type Latency struct {
	cfg      LatencyConfig
	site     *Site
	base     baseline.Config
	emit     func(*Finding)
	tick     int64
	judged   int64
	view     View
	services *seconds[baseline.Key, latencySecond]
	alarms   rateAlarms[baseline.Key]
	clients  map[baseline.Key]*latencyClients // of alarms
	crossed  []baseline.Key
}

// LatencyConfig holds the floors.
type LatencyConfig struct {
	RTT             time.Duration `yaml:"rtt"`             // above the mean
	Retransmissions float64       `yaml:"retransmissions"` // percent of packets with payload
	Packets         uint64        `yaml:"packets"`         // with payload, that make a sample of retransmissions
	Multiplier      float64       `yaml:"multiplier"`      // of the mean
	Clients         uint64        `yaml:"clients"`         // that see longer handshakes, and are half of all
	Accept          time.Duration `yaml:"accept"`          // after which a level that stays is taken for normal; 0: never
	Quiet           time.Duration `yaml:"quiet"`           // after which an alert closes
	Keys            int           `yaml:"keys"`            // services that are judged in a second
	Alarms          int           `yaml:"alarms"`          // services that are above their limit at once
}

// DefaultLatency returns what people notice:
//
//   - 50 ms more: a page needs some twenty ways there and back, which makes a second.
//   - 5 %: TCP (Reno) reaches a tenth of what it does at 0.05 % (Mathis et al. 1997: the root of the loss).
//   - 20 packets: one lost of them is 5 %.
//   - three times, not five: a handshake's time is a physical length, and does not grow by chance.
//   - three clients are not one that went abroad.
func DefaultLatency() LatencyConfig {
	return LatencyConfig{
		RTT: 50 * time.Millisecond, Retransmissions: 5, Packets: 20, Multiplier: 3, Clients: 3,
		Accept: 24 * time.Hour, Quiet: time.Minute, Keys: 8192, Alarms: 512,
	}
}

// Check reports the first setting that is out of range.
func (c *LatencyConfig) Check() error {
	switch {
	case c.RTT < time.Millisecond || c.RTT > time.Minute:
		return errors.New("latency: rtt must be 1ms to 1m")
	case !(c.Retransmissions > 0 && c.Retransmissions <= 100):
		return errors.New("latency: retransmissions must be above 0 and at most 100")
	case c.Packets < 1 || c.Packets > 1e9:
		return errors.New("latency: packets must be 1 to 1000000000")
	case !(c.Multiplier >= 1 && c.Multiplier <= 1000):
		return errors.New("latency: multiplier must be 1 to 1000")
	case c.Clients < 1 || c.Clients > 1000:
		return errors.New("latency: clients must be 1 to 1000")
	case c.Accept != 0 && (c.Accept < time.Hour || c.Accept > 365*24*time.Hour):
		return errors.New("latency: accept must be 0 or 1h to 8760h")
	case c.Quiet < 10*time.Second || c.Quiet > time.Hour:
		return errors.New("latency: quiet must be 10s to 1h")
	case c.Keys < 64 || c.Keys > 1<<20:
		return errors.New("latency: keys must be 64 to 1048576")
	case c.Alarms < 16 || c.Alarms > 1<<16:
		return errors.New("latency: alarms must be 16 to 65536")
	}
	return nil
}

// latencySecond is what the handshakes and packets of a service in a second tell.
type latencySecond struct {
	rtt              uint64 // Σ µs
	n                uint64
	payload, retrans uint64
}

const (
	latencyRTT = iota
	latencyRetrans
	latencyMeasures
)

var latencyRules = [latencyMeasures]rateRule{
	{baseline.MeasureRTT, "handshake", "ms", 1, volumeCap},
	{baseline.MeasureRetrans, "retransmitted", "%", 100, volumeCap},
}

var latencyKinds = [latencyMeasures]string{"rtt", "retransmission"}

// What is not learned while cold: ms, share.
var latencyStart = [latencyMeasures]float64{1000, 0.2}

// NewLatency returns a Latency. It panics if cfg.Check fails.
func NewLatency(cfg LatencyConfig, site *Site) *Latency {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	return &Latency{
		cfg: cfg, site: site, base: site.Baseline.Config(), judged: never,
		services: newSeconds[baseline.Key, latencySecond](cfg.Keys),
		alarms:   newRateAlarms[baseline.Key](cfg.Alarms),
		clients:  map[baseline.Key]*latencyClients{},
	}
}

// Name implements Analyzer.
func (l *Latency) Name() string { return "latency" }

// Judge implements Analyzer.
func (l *Latency) Judge(e *tally.Epoch, emit func(*Finding)) {
	l.emit, l.tick = emit, e.Tick
	l.view.Observe(e)
	l.services.turn(e, l.judge)
	if e.Tick%ticksPerSecond == ticksPerSecond-1 {
		l.conclude()
	}
	for i := range e.Services {
		v := &e.Services[i]
		if v.Key.Role != tally.RoleServer || v.RTTN == 0 && v.Payload == 0 {
			continue
		}
		inside := l.site.Inside(v.Key.Addr.Netip(v.Key.Ver))
		if inside {
			l.add(serviceKey(v.Key.Addr, v.Key.Ver, v.Key.Proto, v.Key.Port), v)
		}
		l.add(latencyLot(inside), v)
	}
	if len(l.alarms.list) == 0 {
		return
	}
	for i := range e.Pairs {
		if p := &e.Pairs[i]; p.RTTN > 0 {
			l.watch(p)
		}
	}
}

// latencyLot is the key of all inside services, or of all outside ones.
func latencyLot(inside bool) baseline.Key {
	return baseline.Key{Kind: baseline.KindLink, Num: map[bool]uint32{true: 1, false: 2}[inside]}
}

func (l *Latency) add(k baseline.Key, v *tally.Service) {
	if s := l.services.add(k); s != nil {
		s.rtt += v.RTT
		s.n += uint64(v.RTTN)
		s.payload += uint64(v.Payload)
		s.retrans += uint64(v.Retrans)
	}
}

// latencyClients are the clients that a service has had since it has an alarm, and those with long handshakes.
type latencyClients struct{ all, slow tally.HLL }

// several reports whether long handshakes are those of enough clients, and of half of all.
func (c *latencyClients) several(least uint64) bool {
	n := c.slow.Count()
	return n >= least && n*2 >= c.all.Count()
}

// watch notes which clients see the long handshakes of services with an alarm.
func (l *Latency) watch(p *tally.Pair) {
	inside := l.site.Inside(p.Key.Server.Netip(p.Key.Ver))
	keys := [...]baseline.Key{serviceKey(p.Key.Server, p.Key.Ver, p.Key.Proto, p.Key.Port), latencyLot(inside)}
	for _, k := range keys {
		k.Measure = baseline.MeasureRTT
		a := l.alarms.find(k)
		if a == nil {
			continue
		}
		client := scramble(p.Key.Client.Lo, p.Key.Client.Hi)
		l.clients[k].all.Add(client)
		if float64(p.RTT)/float64(p.RTTN)/1000 >= a.over[0].limit {
			l.clients[k].slow.Add(client)
		}
	}
}

// Finish implements Analyzer.
func (l *Latency) Finish(emit func(*Finding)) {
	l.emit = emit
	l.services.flush(l.judge)
	l.conclude()
}

// judge judges the samples of a service's second, and learns them.
func (l *Latency) judge(second int64, k *baseline.Key, v *latencySecond) {
	if second != l.judged {
		l.conclude()
		l.judged = second
	}
	if v.n > 0 {
		l.sample(second, k, v, latencyRTT, float64(v.rtt)/float64(v.n)/1000)
	}
	if v.payload >= l.cfg.Packets {
		l.sample(second, k, v, latencyRetrans, float64(v.retrans)/float64(v.payload))
	}
}

// sample judges one. Alarms are kept by key with the measure.
func (l *Latency) sample(second int64, k *baseline.Key, v *latencySecond, m int, value float64) {
	at, key := second*1e9, *k
	key.Measure = latencyRules[m].measure
	s := l.site.Baseline.Series(key, at)
	n := s.Normal(at)
	mean, stddev, samples := n.Expected()
	floor := l.cfg.Retransmissions / 100
	if m == latencyRTT {
		floor = mean + l.cfg.RTT.Seconds()*1000
	}
	over := value >= floor && n.Exceeds(value, l.base.Z, l.cfg.Multiplier)
	a := l.alarms.find(key)
	if over && a == nil {
		if a = l.alarms.at(key, at); a != nil {
			l.clients[key] = &latencyClients{}
		}
	}
	if a != nil {
		l.note(a, second, v, over, &rateOver{
			value: value, mean: mean, stddev: stddev, n: samples, z: rateZ(value, mean, stddev),
			limit: max(floor, l.cfg.Multiplier*mean, mean+float64(l.base.Z*stddev)),
		})
	}
	withheld := a != nil && a.open != 0 || l.site.Flooding(at) && k.Kind == baseline.KindLink ||
		k.Kind == baseline.KindService && l.site.Alarmed(addrOfKey(k).Netip(k.Ver), k.Port, k.Proto, at)
	switch {
	case over || withheld:
		s.Freeze(at)
	case n.Warm || value < latencyStart[m]:
		s.Thaw(at)
		s.LearnSample(at, value)
	}
}

// note takes a sample of an alarm in. Its crossing goes by samples, as count tells them.
func (l *Latency) note(a *rateAlarm[baseline.Key], second int64, v *latencySecond, over bool, o *rateOver) {
	a.cross[0].Add(a.samples, over)
	a.samples++
	if !over {
		return
	}
	a.now, a.over[0] = second, *o
	a.count += max(v.n, v.retrans)
	if !a.cross[0].Met(l.base.Need, l.base.Of) || a.key.Measure == baseline.MeasureRTT && !l.clients[a.key].several(l.cfg.Clients) {
		return
	}
	if a.open == 0 {
		a.open = second * 1e9
	}
	l.crossed = append(l.crossed, a.key)
}

// conclude tells what a second showed.
func (l *Latency) conclude() {
	if l.judged == never {
		return
	}
	var lot, parts [latencyMeasures]int // by measure: of the inside
	for i := range l.crossed {
		if k := &l.crossed[i]; k.Kind == baseline.KindService {
			parts[latencyMeasure(k)]++
		} else if k.Num == 1 {
			lot[latencyMeasure(k)]++
		}
	}
	for i := range l.crossed {
		k := &l.crossed[i]
		m := latencyMeasure(k)
		whole := lot[m] > 0 && parts[m] > maxParts
		if k.Kind == baseline.KindService && whole || k.Kind == baseline.KindLink && k.Num == 1 && parts[m] > 0 && !whole {
			continue
		}
		l.tell(l.alarms.find(*k), m)
	}
	l.crossed = l.crossed[:0]
	l.alarms.expire(l.judged-int64(l.cfg.Quiet/1e9), func(a *rateAlarm[baseline.Key]) bool {
		if l.cfg.Accept == 0 || a.open == 0 || a.now*1e9-a.open < int64(l.cfg.Accept) {
			return false
		}
		if s := l.site.Baseline.Find(a.key); s != nil {
			s.Accept(a.now * 1e9)
		}
		return true
	})
	for k := range l.clients {
		if l.alarms.find(k) == nil {
			delete(l.clients, k)
		}
	}
	l.judged = never
}

func latencyMeasure(k *baseline.Key) int {
	if k.Measure == baseline.MeasureRTT {
		return latencyRTT
	}
	return latencyRetrans
}

// tell tells of a service that is slow.
func (l *Latency) tell(a *rateAlarm[baseline.Key], m int) {
	o, rule := &a.over[0], &latencyRules[m]
	f := &Finding{
		Analyzer: l.Name(), Kind: latencyKinds[m], Time: max((l.tick+1)*tally.Tick, (a.now+1)*1e9), First: a.since, Last: (a.now + 1) * 1e9,
		Quiet: int64(l.cfg.Quiet), Confidence: 100, Count: max(a.count, 1), MaxScore: rule.cap, Score: min(doublings(o.value/o.limit)-20, rule.cap),
	}
	a.count = 0
	where := map[uint32]string{0: "", 1: "at the inside services", 2: "at the outside services"}[a.key.Num]
	if a.key.Kind == baseline.KindService {
		f.Victim = partyOfKey(&a.key)
		where = keyText(&a.key)
	}
	if p := int(l.view.Loss()*100 + 0.999); p > 0 {
		f.Confidence -= p
		f.Notes = append(f.Notes, fmt.Sprintf("the sensor lost %d %% of the packets", p))
	}
	f.Why = []Measure{
		{
			Name: rule.name, Value: round(o.value * rule.scale), Unit: rule.unit, Threshold: round(o.limit * rule.scale), Window: 1e9,
			Baseline: &Baseline{round(o.mean * rule.scale), round(o.stddev * rule.scale), o.n},
		},
		{Name: rule.name + "_z", Value: round(o.z), Threshold: l.base.Z},
		{Name: rule.name + "_over", Value: float64(a.cross[0].Count(l.base.Of)), Unit: "samples", Threshold: float64(l.base.Need)},
	}
	what := "Handshakes " + where + " take longer"
	if m == latencyRTT {
		f.Why = append(f.Why, Measure{Name: "clients", Value: float64(l.clients[a.key].slow.Count()), Unit: "clients", Threshold: float64(l.cfg.Clients)})
	} else {
		what = "More is retransmitted " + where
	}
	f.Summary = fmt.Sprintf("%s: %s, for %s.", what, overText(o, rule), spanText((a.now+1)*1e9-a.since))
	l.emit(f)
}

// adjust implements adjustable. Alarms that are open go on.
func (l *Latency) adjust(cfg *Config) []string {
	next := cfg.Latency
	restart := fixed(l.cfg.Keys, &next.Keys, "latency.keys")
	restart = append(restart, fixed(l.cfg.Alarms, &next.Alarms, "latency.alarms")...)
	l.cfg = next
	return restart
}

// bytes is the memory of the tables when they are full.
func (c *LatencyConfig) bytes() int {
	keys := 2 * c.Keys * (int(unsafe.Sizeof(secondEntry[baseline.Key, latencySecond]{})) + 16)
	return keys + c.Alarms*int(2*unsafe.Sizeof(rateAlarm[baseline.Key]{})+unsafe.Sizeof(latencyClients{}))
}

// Costs implements Bounded.
func (l *Latency) Costs() []Cost {
	return []Cost{{"latency keys", l.services.Lost}, {"latency alarms", l.alarms.lost}}
}
