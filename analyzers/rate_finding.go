package analyzers

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"weir/analyzers/baseline"
	"weir/decode"
)

// tellLoad tells of a spike.
func (r *Rate) tellLoad(a *rateAlarm[baseline.Key]) {
	f := r.finding("spike", a.since, a.now)
	r.nameKey(f, &a.key)
	f.Count, a.count = a.count, 0
	lead := a.lead()
	r.weighOver(f, a.over[:loadMeasures], loadRules[:], &a.cross, 1e9)
	if k := &a.key; (k.Kind == baseline.KindService || k.Kind == baseline.KindHost) &&
		r.site.Flooded(addrOfKey(k).Netip(k.Ver), k.Port, k.Proto, f.Time) {
		f.MaxScore = volumeCap
		f.Notes = append(f.Notes, "a flood on it is told already")
	}
	if a.over[loadConnections].value == 0 {
		f.Notes = append(f.Notes, "no more connections than ever: a bulk transfer looks like this")
	}
	if a.cold {
		f.MaxScore = volumeCap
		f.Notes = append(f.Notes, "so since the sensor knows it: nothing to compare with, and none of it is learned")
	} else if a.started {
		f.Notes = append(f.Notes, "some of its first seconds were above the highest floor and were not learned")
	}
	f.Summary = fmt.Sprintf("Load spike %s: %s, for %d s.", keyText(&a.key), overText(&a.over[lead], &loadRules[lead]), a.now-a.since/1e9+1)
	r.emit(f)
}

// finding is what all findings of load have in common.
func (r *Rate) finding(kind string, since, second int64) *Finding {
	f := &Finding{
		Analyzer: r.Name(), Kind: kind, Time: max(r.end(), (second+1)*1e9), First: since, Last: (second + 1) * 1e9, Quiet: int64(r.cfg.Quiet),
		Confidence: 100,
	}
	if p := int(r.view.Loss()*100 + 0.999); p > 0 {
		f.Confidence -= p
		f.Notes = append(f.Notes, fmt.Sprintf("the sensor lost %d %% of the packets", p))
	}
	return f
}

// weighOver writes down the measures that are over, and scores the finding by the strongest: 50 at the limit, ten more for each
// doubling, at most the cap of the measure.
func (r *Rate) weighOver(f *Finding, over []rateOver, rules []rateRule, cross *[rateMeasures]baseline.Crossing, unit int64) {
	for m := range over {
		o, rule := &over[m], &rules[m]
		if o.value == 0 {
			continue
		}
		f.MaxScore = max(f.MaxScore, rule.cap)
		f.Score = max(f.Score, min(doublings(o.value/o.limit), rule.cap))
		why := Measure{
			Name: rule.name, Value: round(o.value * rule.scale), Unit: rule.unit, Threshold: round(o.limit * rule.scale), Window: unit,
		}
		if o.n > 0 {
			why.Baseline = &Baseline{round(o.mean * rule.scale), round(o.stddev * rule.scale), o.n}
		}
		f.Why = append(f.Why, why)
		if o.n > 0 {
			f.Why = append(f.Why, Measure{Name: rule.name + "_z", Value: round(o.z), Threshold: r.base.Z})
		}
		f.Why = append(f.Why, Measure{
			Name: rule.name + "_over", Value: float64(cross[m].Count(r.base.Of)), Unit: map[bool]string{true: "s", false: "windows"}[unit == 1e9],
			Threshold: float64(r.base.Need), Window: int64(r.base.Of) * unit,
		})
	}
}

// doublings is 50 and ten more for each doubling.
func doublings(ratio float64) int {
	points := 50
	for next := doublingStep; points < 100 && ratio >= next; next *= doublingStep {
		points++
	}
	return points
}

// doublingStep is the tenth root of two, rounded down so that twice the limit is worth 60.
const doublingStep = 1.0717734625

// nameKey names a key's party: where many of the outside come from is the subject, what is asked the victim.
func (r *Rate) nameKey(f *Finding, k *baseline.Key) {
	switch k.Kind {
	case baseline.KindASN:
		f.Subject = Party{ASN: k.Num}
	case baseline.KindCountry:
		f.Subject = Party{Country: countryText(k.Num)}
	default:
		f.Victim = partyOfKey(k)
	}
}

// partyOfKey is a service, host or prefix; nobody for the link.
func partyOfKey(k *baseline.Key) (p Party) {
	addr := addrOfKey(k).Netip(k.Ver)
	switch k.Kind {
	case baseline.KindService:
		p.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		if k.Port != 0 {
			p.Port, p.Proto = k.Port, k.Proto
		}
	case baseline.KindHost:
		p.Prefix = netip.PrefixFrom(addr, addr.BitLen())
	case baseline.KindPrefix:
		p.Prefix = netip.PrefixFrom(addr, int(k.Bits))
	}
	return p
}

func addrOfKey(k *baseline.Key) decode.Addr { return decode.Addr{Hi: k.Addr[0], Lo: k.Addr[1]} }

func countryText(num uint32) string { return string([]byte{byte(num >> 8), byte(num)}) }

// keyText is a key in a sentence.
func keyText(k *baseline.Key) string {
	addr := addrOfKey(k).Netip(k.Ver)
	switch k.Kind {
	case baseline.KindService:
		if k.Port == 0 {
			return fmt.Sprintf("on %v (protocol %d)", addr, k.Proto)
		}
		return "on " + netip.AddrPortFrom(addr, k.Port).String()
	case baseline.KindHost:
		return "on " + addr.String()
	case baseline.KindPrefix:
		return fmt.Sprintf("on %v/%d", addr, k.Bits)
	case baseline.KindASN:
		return fmt.Sprintf("from AS%d", k.Num)
	case baseline.KindCountry:
		return "from " + countryText(k.Num)
	}
	return "on the link"
}

// overText is a value with what it was compared with.
func overText(o *rateOver, rule *rateRule) string {
	text := fmt.Sprintf("%s %s", amount(o.value*rule.scale), rule.unit)
	if o.n == 0 {
		return text + fmt.Sprintf(" (above %s, and nothing is known to compare with)", amount(o.limit*rule.scale))
	}
	return text + fmt.Sprintf(" where %s ± %s are normal (limit %s)", amount(o.mean*rule.scale), amount(o.stddev*rule.scale), amount(o.limit*rule.scale))
}

// amount writes a number with three digits, as people do.
func amount(x float64) string {
	switch {
	case x >= 1e9:
		return trimZeros(fmt.Sprintf("%.2f", x/1e9)) + "G"
	case x >= 1e6:
		return trimZeros(fmt.Sprintf("%.2f", x/1e6)) + "M"
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	}
	return trimZeros(fmt.Sprintf("%.2f", x))
}

func trimZeros(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

// span writes a duration in whole seconds.
func spanText(ns int64) string { return time.Duration(ns / 1e9 * 1e9).String() }
