package analyzers

import (
	"slices"

	"weir/analyzers/tally"
)

// floodAlarm is one kind that holds for one victim in this tick.
type floodAlarm struct {
	kind  floodKind
	level floodLevel
	v     *floodVictim
	host  *floodVictim // of services and hosts
	load  floodLoad
	sum   floodCounts // what was judged
	parts int         // of a whole that took its parts over: how many

	reflected bool // by judgeReflected: stands for the UDP of the host, too
}

// maxParts is how many parts of one host or prefix alarm by themselves; with more the whole is the one victim.
const maxParts = 8

// judgePrefix judges the services of one /24 or /64, filling f.alarms.
func (f *Flood) judgePrefix(services []tally.Service) {
	f.alarms = f.alarms[:0]
	var total floodCounts
	for rest := services; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].Key.Addr == rest[0].Key.Addr {
			n++
		}
		f.judgeHost(rest[:n], &total)
		rest = rest[n:]
	}
	k := tally.ServiceKey{Addr: prefixOf(&services[0].Key), Ver: services[0].Key.Ver}
	p := f.touch(&f.prefixes, &k, &total)
	if p == nil {
		return
	}
	f.spread(p, services)
	last := k
	last.Addr.Lo |= 0xff
	if k.Ver == 6 {
		last.Addr.Lo = ^uint64(0)
	}
	for kind := range floodKinds {
		f.judgeWhole(kind, levelPrefix, p, 0, &f.hosts, last)
	}
	if slices.ContainsFunc(f.alarms, func(a floodAlarm) bool { return a.level == levelPrefix }) {
		f.hosts.among(&k, &last, func(h *floodVictim) { h.alarmed = f.epoch.Tick })
	}
}

// judgeHost judges the services of one host, and adds their sum to total.
func (f *Flood) judgeHost(services []tally.Service, total *floodCounts) {
	var sum floodSum
	for i := range services {
		f.add(&sum, &services[i])
	}
	sum.close()
	total.add(&sum.n)
	k := tally.ServiceKey{Addr: services[0].Key.Addr, Ver: services[0].Key.Ver}
	h := f.touch(&f.hosts, &k, &sum.n)
	if h == nil {
		return
	}
	f.spread(h, services)
	from := len(f.alarms)
	for i := range services {
		f.judgeService(h, &services[i])
	}
	last := k
	last.Proto, last.Port, last.Role = 0xff, 0xffff, 0xff
	f.judgeReflected(h, from)
	for kind := range floodKinds {
		f.judgeWhole(kind, levelHost, h, from, &f.services, last)
	}
	if len(f.alarms) > from {
		h.alarmed = f.epoch.Tick
	}
}

// judgeService judges one service of an active host.
func (f *Flood) judgeService(h *floodVictim, s *tally.Service) {
	if s.Key.Role != tally.RoleServer || s.Key.Port == 0 {
		return
	}
	var sum floodSum
	f.add(&sum, s)
	v := f.touch(&f.services, &s.Key, &sum.n)
	if v == nil {
		return
	}
	v.senders[0].Merge(&s.Sources)
	f.track(v, s)
	for kind := range floodKinds {
		if !floodRules[kind].levels[levelService] {
			continue
		}
		if l, ok := f.test(kind, levelService, v, &v.sum, false); ok {
			f.alarms = append(f.alarms, floodAlarm{kind: kind, level: levelService, v: v, host: h, load: l, sum: v.sum})
		} else {
			f.nearFloor(kind, levelService, v, l)
		}
	}
}

// touch adds a tick's counts to the victim of k, which begins to be tracked if they are strong enough; else nil.
func (f *Flood) touch(t *victims, k *tally.ServiceKey, c *floodCounts) *floodVictim {
	v := t.find(k)
	if v == nil {
		if !f.active(c) {
			return nil
		}
		if v = t.admit(k, f.strength(c)); v == nil {
			return nil
		}
	}
	v.add(f.epoch.Tick, c)
	return v
}

// spread counts the senders and ports of the suspicious services of a host or prefix.
func (f *Flood) spread(v *floodVictim, services []tally.Service) {
	for i := range services {
		s := &services[i]
		var sum floodSum
		f.add(&sum, s)
		if s.Key.Role != tally.RoleAnswer && suspicious(&sum.n, s) {
			v.floodWindow.spread(s)
		}
	}
}

// judgeWhole judges what the alarms from place from on leave over of kind k at their whole, or with many of them all of
// it. Its parts are those of the table up to last.
func (f *Flood) judgeWhole(k floodKind, level floodLevel, v *floodVictim, from int, parts *victims, last tally.ServiceKey) {
	if !floodRules[k].levels[level] {
		return
	}
	if l := f.load(k, &v.sum); l.ratio() < 1 {
		if level == levelHost && !floodRules[k].levels[levelService] {
			f.nearFloor(k, level, v, l)
		}
		return
	}
	if f.covered(k, level, from) {
		return
	}
	own := f.parts(k, level, from)
	rest := v.sum
	if len(own) <= maxParts {
		for _, p := range own {
			rest.less(&p.sum)
		}
	}
	took := len(own)
	if took <= maxParts {
		took = 0
	}
	l, ok := f.test(k, level, v, &rest, len(own) > 0 && took == 0)
	if !ok || took == 0 && floodRules[k].levels[level-1] && f.carried(k, v, last, &rest, own, parts) {
		return
	}
	if took > 0 {
		f.alarms = slices.DeleteFunc(f.alarms, func(a floodAlarm) bool { return a.kind == k && slices.Contains(own, a.part(level)) })
	}
	a := floodAlarm{kind: k, level: level, v: v, load: l, sum: rest, parts: took}
	if level == levelHost {
		a.host = v
	}
	f.alarms = append(f.alarms, a)
}

// covered reports whether judgeReflected has decided about the host already.
func (f *Flood) covered(k floodKind, level floodLevel, from int) bool {
	return level == levelHost && (k == kindUDP || k == kindAmplification) &&
		slices.ContainsFunc(f.alarms[from:], func(a floodAlarm) bool { return a.reflected })
}

// part is the victim of the alarm as a part of a whole of that level.
func (a *floodAlarm) part(level floodLevel) *floodVictim {
	if level == levelHost {
		return a.v
	}
	return a.host
}

// parts are the parts of a whole that alarm with kind k.
func (f *Flood) parts(k floodKind, level floodLevel, from int) (own []*floodVictim) {
	for i := from; i < len(f.alarms); i++ {
		a := &f.alarms[i]
		if p := a.part(level); a.kind == k && a.level < level && p != nil && !slices.Contains(own, p) {
			own = append(own, p)
		}
	}
	return own
}

// carried reports whether one part that does not alarm by itself carries half of the load: then no whole is the victim.
func (f *Flood) carried(k floodKind, v *floodVictim, last tally.ServiceKey, rest *floodCounts, own []*floodVictim, parts *victims) (one bool) {
	half := f.load(k, rest)
	parts.among(&v.key, &last, func(p *floodVictim) {
		if one || slices.Contains(own, p) {
			return
		}
		p.advance(f.epoch.Tick)
		if l := f.load(k, &p.sum); l.bits == half.bits {
			one = l.value*2 >= half.value
		} else {
			one = l.ratio()*2 >= half.ratio()
		}
	})
	return one
}

// judgeReflected finds amplification among UDP that conn does not take for answers, because it knows no service at the
// source port or knows one at the victim's, too: most of the sampled packets come from reflectors' ports. The UDP alarms of the host are then the same flood.
func (f *Flood) judgeReflected(h *floodVictim, from int) {
	l := floodLoad{value: h.sum[mUDP], floor: f.cfg.AmplificationPerSecond, unit: floodRules[kindAmplification].unit}
	if l.value < l.floor || f.details == 0 || f.view.OneWay() {
		return
	}
	f.details--
	s := f.sampled(kindUDP.mask(), &h.key, levelHost)
	n := 0
	for i := range s.heads {
		h := &s.heads[i]
		if f.kindsOf(h)&kindAmplification.mask() != 0 && (s.distinct > fewStreams || !streams(h.SrcPort)) {
			n++
		}
	}
	if s.n < MinAttackSample || n*100 < s.n*subjectPercent {
		return
	}
	f.alarms = append(f.alarms[:from], slices.DeleteFunc(f.alarms[from:], func(a floodAlarm) bool { return a.kind == kindUDP })...)
	if l.value = l.value * uint64(n) / uint64(s.n); l.value >= l.floor {
		f.alarms = append(f.alarms, floodAlarm{kind: kindAmplification, level: levelHost, v: h, host: h, load: l, sum: h.sum, reflected: true})
	}
}
