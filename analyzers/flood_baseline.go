package analyzers

import (
	"fmt"
	"slices"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// Floods below the floors. Two hundred half-open handshakes a second are no flood to a busy site, and fifty times what a small
// service has. From `baseline_percent` of a floor on a victim's second is compared with its baseline:
//
//	syn            of a service that answers SYNs: half-open handshakes, against what it has of them
//	udp            of a host that serves: packets without an answer, against all UDP that it gets
//	icmp           of such a host: packets, against its own
//	ack, rst       of such a host: stray packets, against its own
//
// z, multiple and k of n seconds as for all rates. The finding has the kind and victim that one above the floor would have, so that
// both are one alert; while an alarm by floor holds at the victim, nothing is said here. Medium at most (69): what an absolute floor
// calls harmless harms only by what follows.
//
// What it mistakes. A server that is down gets its clients' retries: for syn it must answer a fifth of the SYNs; udp is compared with
// all that the host gets, which retries do not raise fivefold. Scans are spread over ports and hosts (concentrated). A crash of an
// application that leaves its connections to others (load balancing) makes strays of them: it lasts a second or two.
//
// State: a series of the baseline for each inside service that answers SYNs, and four for each inside host that serves;
// maxFloodKeys of them are judged in a second, maxFloodUnusual are above their limit at once. What found no room is counted.

// Bounds.
const (
	maxFloodKeys    = 16384
	maxFloodUnusual = 512
	unusualCap      = 69
	answeredFifth   = 5 // one SYN in five is answered by a service that is up
)

// floodSecond is what a victim got in a second: evidence, and what is normal of the same sort.
type floodSecond struct {
	value, normal uint64
	all, answered uint64 // SYNs
	first, last   int64  // ticks
}

// floodKey is a series, and the kind that it is judged for.
type floodKey struct {
	key  baseline.Key
	kind floodKind
}

// floodUnusual is a victim that is above its limit, or was a moment ago.
type floodUnusual struct {
	key   floodKey
	cross baseline.Crossing
	since int64 // first tick over
	last  int64 // second over
	count uint64
}

// floodBase compares with the baseline.
type floodBase struct {
	site    *Site
	seconds *seconds[floodKey, floodSecond]
	unusual []floodUnusual
	lost    uint64
}

// watch takes the tick's services in.
func (f *Flood) watch(e *tally.Epoch) {
	if f.base.site == nil {
		return
	}
	f.base.seconds.turn(e, f.compare)
	for rest := e.Services; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Key.Ver == rest[0].Key.Ver && rest[n].Key.Addr == rest[0].Key.Addr {
			n++
		}
		if f.base.site.Inside(rest[0].Key.Addr.Netip(rest[0].Key.Ver)) {
			f.watchHost(rest[:n])
		}
		rest = rest[n:]
	}
}

// watchHost adds the services of one host.
func (f *Flood) watchHost(services []tally.Service) {
	var sum floodSum
	var udp uint64
	serves := false
	for i := range services {
		v := &services[i]
		f.add(&sum, v)
		if v.Key.Role != tally.RoleServer {
			continue
		}
		serves = serves || v.BackPackets > 0
		switch {
		case v.Key.Proto == protoUDP:
			udp += v.Packets
		case v.Key.Proto == protoTCP && v.Key.Port != 0 && v.SYN+v.SYNACK > 0:
			f.watchSYN(v)
		}
	}
	k := services[0].Key
	own := baseline.Key{Kind: baseline.KindHost, Measure: baseline.MeasurePackets, Ver: k.Ver, Addr: [2]uint64{k.Addr.Hi, k.Addr.Lo}}
	f.record(own, kindUDP, sum.n[mUDP], udp, serves)
	f.record(own, kindICMP, sum.n[mICMP], sum.n[mICMP], serves)
	f.record(own, kindACK, sum.n[mACK], sum.n[mACK], serves)
	f.record(own, kindRST, sum.n[mRST], sum.n[mRST], serves)
}

func (f *Flood) watchSYN(v *tally.Service) {
	k := serviceKey(v.Key.Addr, v.Key.Ver, v.Key.Proto, v.Key.Port)
	k.Measure = baseline.MeasureHalfOpen
	var sum floodSum
	f.add(&sum, v)
	half := sum.n[mSYN] - min(sum.n[mSYN], sum.n[mDone])
	if s := f.record(k, kindSYN, half, half, v.SYNACK > 0); s != nil {
		s.all += uint64(v.SYN)
		s.answered += uint64(v.SYNACK)
	}
}

// record adds to the running second of a series; one that does not exist is made only for who serves. Of who gets nothing of
// the sort one second in eight is looked at, which is enough to begin a series: quiet seconds are zeros anyway.
func (f *Flood) record(k baseline.Key, kind floodKind, value, normal uint64, serves bool) *floodSecond {
	if normal == 0 && (f.epoch.Tick/ticksPerSecond+int64(k.Addr[1]))%8 != 0 {
		return nil
	}
	if k.Kind == baseline.KindHost {
		k.Num = uint32(kind) + 1
	}
	if !serves && f.base.site.Baseline.Find(k) == nil {
		return nil
	}
	s := f.base.seconds.add(floodKey{k, kind})
	if s == nil {
		return nil
	}
	s.value += value
	s.normal += normal
	if value > 0 {
		if s.last = f.epoch.Tick; s.first == 0 {
			s.first = s.last
		}
	}
	return s
}

// compare judges a second of a series, and learns it.
func (f *Flood) compare(second int64, k *floodKey, v *floodSecond) {
	at, site := second*1e9, f.base.site
	cfg := site.Baseline.Config()
	s := site.Baseline.Series(k.key, at)
	n := s.Normal(at)
	floor := f.unusualFloor(k.kind)
	over := v.value >= floor && n.Exceeds(float64(v.value), cfg.Z, cfg.Multiplier) && f.floodlike(k, v)
	u := f.base.find(k, second, over)
	told := false
	if u != nil {
		u.cross.Add(second, over)
		if over {
			if u.since == 0 {
				u.since = v.first
			}
			u.last, u.count = second, u.count+v.value
			if u.cross.Met(cfg.Need, cfg.Of) {
				f.tellUnusual(u, v, n, floor)
			}
		}
		told = u.cross.Met(cfg.Need, cfg.Of)
	}
	if over || told || f.aside(k, at) {
		s.Freeze(at)
	} else {
		s.Thaw(at)
	}
	s.LearnBelow(at, float64(v.normal), float64(floor))
}

// aside reports whether what a victim gets is not normal for a reason that is told already.
func (f *Flood) aside(k *floodKey, at int64) bool {
	return f.base.site.Alarmed(addrOfKey(&k.key).Netip(k.key.Ver), k.key.Port, k.key.Proto, at)
}

// unusualFloor is the least that is compared.
func (f *Flood) unusualFloor(kind floodKind) uint64 {
	floor := f.cfg.PacketsPerSecond
	if kind == kindSYN {
		floor = f.cfg.SYNPerSecond
	}
	return max(floor*f.cfg.BaselinePercent/100, 1)
}

// floodlike reports whether a second above its limit looks as a flood by floor does, and no such flood is told.
func (f *Flood) floodlike(k *floodKey, v *floodSecond) bool {
	victim, level := f.victimOf(k)
	if victim == nil || f.floored(k.kind, victim) {
		return false
	}
	switch k.kind {
	case kindSYN:
		return v.value*100 >= v.all*f.cfg.SYNPercent && v.answered*answeredFifth >= v.all
	case kindICMP:
		return true
	case kindRST:
		if f.scanAnswers(victim, level) {
			return false
		}
	case kindACK:
		if f.epoch.Tick-f.started < 2*ticksPerSecond {
			return false
		}
	}
	return f.concentrated(level, victim, v.value, 0, false)
}

// victimOf is the window of a series' victim; nil if it has none.
func (f *Flood) victimOf(k *floodKey) (v *floodVictim, level floodLevel) {
	key, table, level := tally.ServiceKey{Addr: addrOfKey(&k.key), Ver: k.key.Ver}, &f.hosts, levelHost
	if k.key.Kind == baseline.KindService {
		key.Port, key.Proto = k.key.Port, k.key.Proto
		table, level = &f.services, levelService
	}
	table.among(&key, &key, func(found *floodVictim) { v = found })
	return v, level
}

// floored reports whether an alarm by floor runs at a victim, its host or its prefix.
func (f *Flood) floored(kind floodKind, v *floodVictim) (runs bool) {
	see := func(o *floodVictim) {
		runs = runs || f.epoch.Tick-o.ran[kind] <= f.quietTicks() || f.epoch.Tick-o.ran[kindMulti] <= f.quietTicks()
	}
	host := tally.ServiceKey{Addr: v.key.Addr, Ver: v.key.Ver}
	prefix := tally.ServiceKey{Addr: prefixOf(&v.key), Ver: v.key.Ver}
	see(v)
	f.hosts.among(&host, &host, see)
	f.prefixes.among(&prefix, &prefix, see)
	if v.key.Port == 0 { // of a host: a service of it that alarms is the victim
		last := host
		last.Proto, last.Port, last.Role = 0xff, 0xffff, 0xff
		f.services.among(&host, &last, see)
	}
	return runs
}

// find is the record of a victim that is above its limit; made if it is over now. Those that are not any more make room.
func (b *floodBase) find(k *floodKey, second int64, over bool) *floodUnusual {
	if i := slices.IndexFunc(b.unusual, func(u floodUnusual) bool { return u.key == *k }); i >= 0 {
		return &b.unusual[i]
	}
	if !over {
		return nil
	}
	const kept = 60 // seconds
	b.unusual = slices.DeleteFunc(b.unusual, func(u floodUnusual) bool { return second-u.last > kept })
	if len(b.unusual) >= maxFloodUnusual {
		b.lost++
		return nil
	}
	b.unusual = append(b.unusual, floodUnusual{key: *k, last: second})
	return &b.unusual[len(b.unusual)-1]
}

// tellUnusual tells of a flood below its floor.
func (f *Flood) tellUnusual(u *floodUnusual, v *floodSecond, n baseline.Normal, floor uint64) {
	kind, rule := u.key.kind, &floodRules[u.key.kind]
	victim, level := f.victimOf(&u.key)
	cfg := f.base.site.Baseline.Config()
	mean, stddev, samples := n.Expected()
	limit := max(float64(floor), cfg.Multiplier*mean, mean+float64(cfg.Z*stddev))
	w := &Finding{
		Analyzer: f.Name(), Kind: rule.name, MaxScore: unusualCap, Score: min(doublings(float64(v.value)/limit), unusualCap), Confidence: 100 - f.lossPercent(),
		Time: f.epoch.End(), First: u.since * tally.Tick, Last: (v.last + 1) * tally.Tick, Quiet: int64(f.cfg.Quiet), Count: u.count,
		Victim: party(&victim.key, level), Attack: []string{rule.attack},
		Why: []Measure{
			{
				Name: map[bool]string{true: "half_open", false: "packets"}[kind == kindSYN], Value: float64(v.value), Unit: rule.unit, Threshold: round(limit),
				Window: 1e9, Baseline: &Baseline{round(mean), round(stddev), samples},
			},
			{Name: "z", Value: round(rateZ(float64(v.value), mean, stddev)), Threshold: cfg.Z},
			{Name: "seconds_over", Value: float64(u.cross.Count(cfg.Of)), Unit: "seconds", Threshold: float64(cfg.Need), Window: int64(cfg.Of) * 1e9},
		},
	}
	alarm := floodAlarm{kind: kind, level: level, v: victim, load: floodLoad{value: v.value, floor: floor, unit: rule.unit}, sum: victim.sum}
	f.limit(w, kind.mask(), []floodAlarm{alarm})
	who := f.detail(w, kind.mask(), victim, level, kind, []floodAlarm{alarm})
	w.Notes = append(w.Notes, "below the absolute floor: told because it is not normal for this victim")
	w.Summary = fmt.Sprintf("%s on %s: %d %s, normal are %.4g (limit %.4g)%s.", rule.title, victimText(&w.Victim), v.value, rule.unit, round(mean), round(limit), who)
	u.count = 0
	f.emit(w)
}
