package analyzers

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// speak emits what the alarms of one prefix have to say: for each victim with two or more kinds one finding that names
// them, else one a kind; each at most once a second.
func (f *Flood) speak() {
	for rest := f.alarms; len(rest) > 0; {
		n, kinds := 1, rest[0].kind.mask()
		for n < len(rest) && rest[n].host == rest[0].host {
			kinds |= rest[n].kind.mask()
			n++
		}
		host := rest[0].host
		switch {
		case kinds&(kinds-1) != 0:
			f.say(kindMulti, rest[:n])
		case host != nil && f.epoch.Tick-host.said[kindMulti] < 2*ticksPerSecond:
			f.follow(host, kindMulti, rest[:n])
		default:
			for i := range n {
				f.say(rest[i].kind, rest[i:i+1])
			}
		}
		rest = rest[n:]
	}
}

// say emits one finding, unless it was emitted within the last second. Several alarms are those of one host or prefix.
func (f *Flood) say(kind floodKind, alarms []floodAlarm) {
	a := &alarms[0]
	v, level := a.v, a.level
	if kind == kindMulti && a.host != nil {
		v, level = a.host, levelHost
	}
	if !f.due(v, kind, alarms) {
		f.follow(v, kind, alarms)
		return
	}
	r := &floodRules[kind]
	w := &Finding{
		Analyzer: f.Name(), Kind: r.name, MaxScore: r.cap, Confidence: 100 - f.lossPercent(),
		Time: f.epoch.End(), First: v.since[kind] * tally.Tick, Last: f.epoch.End(), Quiet: int64(f.cfg.Quiet),
		Victim: party(&v.key, level), Attack: []string{r.attack},
	}
	var kinds uint16
	for i := range alarms {
		one := &alarms[i]
		kinds |= one.kind.mask()
		w.Score = max(w.Score, min(floodScore(one.load), floodRules[one.kind].cap))
		w.Count += f.events(one)
		f.weigh(w, one, kind == kindMulti)
	}
	f.limit(w, kinds, alarms)
	who := f.detail(w, kinds, v, level, kind, alarms)
	w.Summary = floodSummary(kind, alarms, w) + who + "."
	w.Total = kind == kindSlow // the same connections at each census
	f.told(v, kind, w)
	f.emit(w)
}

// due reports whether a kind may speak again, and notes when its evidence began.
func (f *Flood) due(v *floodVictim, kind floodKind, alarms []floodAlarm) bool {
	tick := f.epoch.Tick
	if tick-v.said[kind] < ticksPerSecond {
		return false
	}
	if tick-v.ran[kind] > f.quietTicks() {
		v.changes[kind] = 0
		v.since[kind] = tick
		for i := range alarms {
			a := &alarms[i]
			v.since[kind] = min(v.since[kind], a.v.began(floodRules[a.kind].packets))
		}
	}
	v.said[kind], v.ran[kind] = tick, tick
	return true
}

// strongest is the kind that is furthest above its floor.
func strongest(alarms []floodAlarm) floodKind {
	return slices.MaxFunc(alarms, func(a, b floodAlarm) int { return cmp.Compare(a.load.ratio(), b.load.ratio()) }).kind
}

// floodScore is 60 at the floor and 20 more for each factor of ten.
func floodScore(l floodLoad) int {
	points := 60
	for next := 1.0; points < 100; points++ {
		next *= scoreStep
		if l.ratio() < next {
			break
		}
	}
	return points
}

// scoreStep is the twentieth root of ten, rounded down so that ten times the floor is worth 80.
const scoreStep = 1.1220184543

// events is how many packets, handshakes or connections the alarm counted.
func (f *Flood) events(a *floodAlarm) uint64 {
	if a.load.bits {
		return a.sum[floodRules[a.kind].packets]
	}
	return a.load.value
}

// weigh writes down the numbers of an alarm.
func (f *Flood) weigh(w *Finding, a *floodAlarm, several bool) {
	name := a.load.measure(a.kind)
	if several {
		name = floodRules[a.kind].name + "_" + name
	}
	window := int64(1e9)
	if a.kind == kindSlow {
		window = int64(conn.SlowEvery)
	}
	w.Why = append(w.Why, Measure{Name: name, Value: float64(a.load.value), Unit: a.load.unit, Threshold: float64(a.load.floor), Window: window})
	if several {
		return
	}
	if a.kind == kindSYN && !a.load.again {
		w.Why = append(w.Why, Measure{Name: "half_open_share", Value: percent(a.load.value, a.sum[mSYN]), Unit: "%", Threshold: float64(f.cfg.SYNPercent), Window: 1e9})
		if a.level == levelService && a.v.cusum.since != 0 {
			w.Why = append(w.Why, Measure{Name: "syn_cusum", Value: round(a.v.cusum.y), Threshold: cusumAlarm})
		}
	}
	if a.parts > 0 {
		w.Why = append(w.Why, Measure{Name: "parts_above_floor", Value: float64(a.parts), Unit: map[bool]string{true: "hosts", false: "services"}[a.level == levelPrefix], Threshold: maxParts})
	}
}

// limit notes what the sensor could not see, and lowers the confidence.
func (f *Flood) limit(w *Finding, kinds uint16, alarms []floodAlarm) {
	note := func(format string, args ...any) { w.Notes = append(w.Notes, fmt.Sprintf(format, args...)) }
	if p := f.lossPercent(); p > 0 {
		note("the sensor lost %d %% of the packets", p)
	}
	folded, absence, mute := false, false, false
	for i := range alarms {
		a := &alarms[i]
		folded = folded || a.sum[mFolded] > 0
		absence = absence || floodRules[a.kind].absence
		mute = mute || a.kind == kindSYN && a.sum[mBack]+a.sum[mSYNACK] == 0
	}
	switch {
	case absence && f.view.OneWay():
		note("one-way view: answers cannot be seen, so their absence proves little")
		w.Confidence /= 2
	case absence && f.view.Mute():
		note("nobody answered anything within the last minute: the sensor may see one direction only")
		w.Confidence = w.Confidence * 4 / 5
	case mute:
		note("no answer of the victim was captured: handshakes may have been completed out of sight")
		w.Confidence = w.Confidence * 4 / 5
	}
	if folded {
		note("more services than the tick's table holds: some were counted by host alone")
	}
	if kinds == kindSlow.mask() {
		note("the census of slow connections does not sample their sources")
	}
}

// detail analyses the sampled headers: who sent them, whether their addresses look forged, what they have in common. It
// returns the end of the summary's sentence.
func (f *Flood) detail(w *Finding, kinds uint16, v *floodVictim, level floodLevel, kind floodKind, alarms []floodAlarm) string {
	if kind == kindSlow {
		return ""
	}
	if f.details == 0 {
		w.Notes = append(w.Notes, "too many floods in this tick to analyse the samples of this one")
		return ""
	}
	f.details--
	s := f.sampled(kinds, &v.key, level)
	if s.n == 0 {
		w.Notes = append(w.Notes, "no sampled headers: sources are unknown")
		return ""
	}
	w.Why = append(w.Why,
		Measure{Name: "sources", Value: float64(countBoth(&v.senders)), Unit: "sources", Window: 2e9},
		Measure{Name: "sampled_sources", Value: float64(s.distinct), Unit: "sources", Window: 1e9},
		Measure{Name: "sources_seen_once", Value: percent(uint64(s.once), uint64(s.distinct)), Unit: "%", Window: 1e9},
		Measure{Name: "source_entropy", Value: round(s.entropy), Window: 1e9},
		Measure{Name: "distinct_ttls", Value: float64(s.ttls), Unit: "values", Window: 1e9},
		Measure{Name: "sample", Value: float64(s.n), Unit: "packets", Window: 1e9})
	who := f.accuse(w, &s, v, kind)
	if port, n := s.topPort(); kind == kindAmplification && n > 0 {
		who = fmt.Sprintf(" from port %d", port) + who
	}
	if kind == kindMulti {
		k := strongest(alarms)
		s = f.sampled(k.mask(), &v.key, level)
		w.Notes = append(w.Notes, "a signature is sought for the strongest kind, "+floodRules[k].name)
	}
	f.sign(w, &s, &v.key, level)
	return who
}

// maxSubjects is how many subjects one running alarm names: each makes another alert, and who forges a new address every
// second shall not fill the list.
const maxSubjects = 4

// accuse names the senders where a few carry the flood.
func (f *Flood) accuse(w *Finding, s *floodSample, v *floodVictim, kind floodKind) string {
	few, ver := s.subjects(), v.key.Ver
	if len(few) == 1 && v.subject[kind] != few[0].addr {
		v.subject[kind] = few[0].addr
		v.changes[kind] = min(v.changes[kind]+1, maxSubjects+1)
	}
	switch {
	case len(few) == 1 && v.changes[kind] > maxSubjects:
		w.Notes = append(w.Notes, "one source at a time carries the sample, and it keeps changing: none is named")
		return ""
	case len(few) == 1:
		w.Subject = Party{Prefix: single(few[0].addr, ver), ReturnPath: kind == kindConnection}
		return fmt.Sprintf(", %.0f %% of the sample from %v", percent(uint64(few[0].n), uint64(s.n)), few[0].addr.Netip(ver))
	case len(few) > 1:
		var list []string
		sum := 0
		for _, o := range few {
			sum += o.n
			list = append(list, fmt.Sprintf("%v (%.0f %%)", o.addr.Netip(ver), percent(uint64(o.n), uint64(s.n))))
		}
		share := percent(uint64(sum), uint64(s.n))
		w.Notes = append(w.Notes, fmt.Sprintf("%d sources carry %.0f %% of the sample: %s", len(few), share, strings.Join(list, ", ")))
		return fmt.Sprintf(", %.0f %% of the sample from %d sources", share, len(few))
	case s.distinct == 1:
		return ""
	}
	return fmt.Sprintf(", from %d sources in a sample of %d packets", s.distinct, s.n)
}

// sign extracts the flood's signature, or says why there is none.
func (f *Flood) sign(w *Finding, s *floodSample, k *tally.ServiceKey, level floodLevel) {
	normal := f.normal.of(k, level)
	switch {
	case s.n < MinAttackSample:
		w.Notes = append(w.Notes, fmt.Sprintf("no signature: %d sampled packets of the flood, %d are needed", s.n, MinAttackSample))
	case len(normal) < MinNormalSample:
		w.Notes = append(w.Notes, fmt.Sprintf("no signature: %d headers of the victim's normal traffic, %d are needed", len(normal), MinNormalSample))
	default:
		if w.Signature = ExtractSignature(s.heads, normal); w.Signature == nil {
			w.Notes = append(w.Notes, "no signature: no header fields tell the flood from the victim's normal traffic")
		}
	}
}

// floodSummary is the sentence of a finding, up to its sources.
func floodSummary(kind floodKind, alarms []floodAlarm, w *Finding) string {
	if kind != kindMulti {
		return fmt.Sprintf("%s on %s: %s", floodRules[kind].title, victimText(&w.Victim), loadText(&alarms[0]))
	}
	var parts []string
	var said uint16
	for i := range alarms {
		if k := alarms[i].kind; said&k.mask() == 0 {
			said |= k.mask()
			parts = append(parts, floodRules[k].name+" "+loadText(&alarms[i]))
		}
	}
	return fmt.Sprintf("%d kinds of flood on %s: %s", len(parts), victimText(&w.Victim), strings.Join(parts, "; "))
}

func loadText(a *floodAlarm) string {
	switch l := a.load; {
	case l.bits:
		return fmt.Sprintf("%.1f Mbit/s in %d packets/s (floor %.4g Mbit/s)", float64(l.value)/1e6, a.sum[floodRules[a.kind].packets], float64(l.floor)/1e6)
	case a.kind == kindSYN && !l.again:
		return fmt.Sprintf("%d half-open of %d handshakes/s (floor %d)", l.value, a.sum[mSYN], l.floor)
	default:
		return fmt.Sprintf("%d %s (floor %d)", l.value, l.unit, l.floor)
	}
}

func victimText(p *Party) string {
	switch addr := p.Prefix.Addr(); {
	case !p.Prefix.IsSingleIP():
		return p.Prefix.String()
	case p.Port != 0:
		return netip.AddrPortFrom(addr, p.Port).String()
	default:
		return addr.String()
	}
}

// party names a victim.
func party(k *tally.ServiceKey, level floodLevel) Party {
	if level == levelPrefix {
		addr := k.Addr.Netip(k.Ver)
		return Party{Prefix: netip.PrefixFrom(addr, map[bool]int{true: 64, false: 24}[k.Ver == 6])}
	}
	p := Party{Prefix: single(k.Addr, k.Ver)}
	if level == levelService && k.Port != 0 {
		p.Port, p.Proto = k.Port, k.Proto
	}
	return p
}

func single(a decode.Addr, ver uint8) netip.Prefix {
	addr := a.Netip(ver)
	return netip.PrefixFrom(addr, addr.BitLen())
}

func percent(part, all uint64) float64 {
	if all == 0 {
		return 0
	}
	return round(float64(part) * 100 / float64(all))
}

// round keeps three decimals: what is below differs between processors.
func round(x float64) float64 { return math.Round(x*1000) / 1000 }
