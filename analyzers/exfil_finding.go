package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"weir/analyzers/tally"
)

type exfilKind uint8

const (
	exfilNone exfilKind = iota
	exfilVolume
	exfilSlow
	exfilOrigin
)

var exfilNames = [...]string{exfilVolume: "volume", exfilSlow: "slow", exfilOrigin: "origin"}

const (
	exfilLimit    = 89 // high
	exfilScore    = 75
	exfilDoubling = 4
	exfilMedium   = 55
	exfilLow      = 45
)

// exfilCase is one judgement.
type exfilCase struct {
	kind      exfilKind
	sent      uint64 // in the window
	need      float64
	window    int64
	usual     float64 // what the host sends in the window
	hours     uint64  // of which that is known
	warming   bool
	up, down  uint64 // within the hour
	elsewhere uint64 // unknown bulk destinations of the host today
}

// weigh says what a host's sending to a destination amounts to; false if to nothing.
func (a *Exfil) weigh(k *exfilKey, s *exfilPair) (c exfilCase, found bool) {
	c.up, c.down = s.half[0].up+s.half[1].up, s.half[0].down+s.half[1].down
	if c.up < a.cfg.Volume && s.sentDay() < a.cfg.Day || a.known(k) {
		return c, false
	}
	n := a.site.Baseline.Series(a.series(k), a.now).Normal(a.now)
	if !n.AnchorWarm || !a.warm() {
		c.kind, c.sent, c.need, c.window, c.warming = exfilVolume, c.up, 10*float64(a.cfg.Volume), exfilHour, true
		return c, k.origin == 0 && float64(c.sent) > c.need && c.up >= 10*c.down
	}
	c.hours = n.AnchorN
	hourly := 3600 * n.Anchor
	if n.HourWarm {
		hourly = math.Max(hourly, 3600*n.Hour)
	}
	if need := math.Max(float64(a.cfg.Volume), a.cfg.Multiple*hourly); float64(c.up) > need {
		s.volume = a.now
		c.kind, c.sent, c.need, c.window, c.usual = exfilVolume, c.up, need, exfilHour, hourly
		if k.origin != 0 {
			c.kind = exfilOrigin
		}
		return c, true
	}
	if daily := 86400 * n.Anchor; k.origin == 0 && (s.volume == 0 || a.now-s.volume > exfilDay) {
		need := math.Max(float64(a.cfg.Day), a.cfg.DayMultiple*daily)
		c.kind, c.sent, c.need, c.window, c.usual = exfilSlow, s.sentDay(), need, exfilDay, daily
		return c, float64(c.sent) > need
	}
	return c, false
}

// judge names a host and its destination, or its origin, if what it sent suffices.
func (a *Exfil) judge(at int, k *exfilKey, s *exfilPair) {
	c, found := a.weigh(k, s)
	if !found || k.origin != 0 && (s.named || s.addresses.Count() < exfilOrigins) {
		return
	}
	if s.emitted == 0 && !slices.Contains(a.open, at) {
		a.open = append(a.open, at)
	}
	key := exfilKey{host: k.host, ver: k.ver}
	if at := a.hosts.find(&key, a.hash(&key)); at >= 0 {
		_, h := a.hosts.value(at)
		c.elsewhere = h.bulks.Count()
	}
	s.emitted, s.told, s.kind = a.now, s.total, c.kind
	a.report(k, s, &c)
}

// tellRest tells what came since the latest finding, if that is so long ago.
func (a *Exfil) tellRest(ago int64) {
	kept := a.open[:0]
	for _, at := range a.open {
		k, s := a.pairs.value(at)
		if s.emitted == 0 || a.now-s.last > int64(a.cfg.Quiet) {
			continue
		}
		kept = append(kept, at)
		if s.total > s.told && a.now-s.emitted >= ago {
			a.judge(at, k, s)
		}
	}
	a.open = kept
}

// report emits a finding.
func (a *Exfil) report(k *exfilKey, s *exfilPair, c *exfilCase) {
	host := k.host.Netip(k.ver)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: exfilNames[c.kind], Time: a.now,
		Subject:  Party{Prefix: netip.PrefixFrom(host, host.BitLen()), ReturnPath: s.proven},
		MaxScore: exfilLimit, Confidence: int(max(100-100*a.view.Loss(), 10)),
		Count: s.total, Total: true, First: s.first, Last: s.last, Quiet: int64(a.cfg.Quiet),
		Attack: []string{"T1048", "T1041"}, Why: a.why[:0],
	}
	f.Score = int(math.Min(exfilScore+exfilDoubling*math.Log2(math.Max(float64(c.sent)/c.need, 1)), 100))
	ratio := float64(c.up) / math.Max(float64(c.down), 1)
	if c.kind != exfilSlow && ratio < 2 {
		f.MaxScore = exfilMedium
		f.Notes = append(f.Notes, "nearly as much came back: it may be a call")
	}
	if c.elsewhere >= exfilSpread {
		f.MaxScore = exfilLow
		f.Notes = append(f.Notes, fmt.Sprintf("the host sent much to %s unknown destinations today: it may be peer-to-peer", about(uint32(c.elsewhere))))
	}
	if c.warming {
		f.MaxScore = exfilLow
		f.Notes = append(f.Notes, "warm-up: what the host usually sends, and where, is not known before it was seen for a day")
	}
	measure := Measure{Name: "bytes_up", Value: float64(c.sent), Unit: "bytes", Threshold: c.need, Window: c.window}
	if !c.warming {
		measure.Baseline = &Baseline{Mean: math.Round(c.usual), N: c.hours}
	}
	f.Why = append(f.Why, measure,
		Measure{Name: "up_down_ratio", Value: math.Round(ratio*10) / 10, Window: exfilHour},
		Measure{Name: "unknown_bulk_destinations", Value: float64(c.elsewhere), Unit: "hosts", Threshold: exfilSpread, Window: exfilDay})
	a.why = f.Why
	to := a.victim(f, k, s)
	span := "an hour"
	if c.window == exfilDay {
		span = "a day"
	}
	f.Summary = fmt.Sprintf("%s sent %s to %s within %s", host, megabytes(float64(c.sent)), to, span)
	if c.warming {
		f.Summary += "; what it usually sends is not known yet"
	} else {
		f.Summary += fmt.Sprintf(", of which the site knows nothing; it usually sends %s in all", megabytes(c.usual))
	}
	a.emit(f)
}

// victim names where it went, and returns it in words.
func (a *Exfil) victim(f *Finding, k *exfilKey, s *exfilPair) string {
	if k.origin == 0 {
		to := k.to.Netip(k.ver)
		f.Victim.Prefix = netip.PrefixFrom(to, to.BitLen())
		return to.String()
	}
	asn, country := originOf(k.origin)
	f.Victim.ASN, f.Victim.Country = asn, country
	n := about(uint32(s.addresses.Count()))
	f.Why = append(f.Why, Measure{Name: "addresses", Value: float64(s.addresses.Count()), Unit: "hosts", Threshold: exfilOrigins})
	a.why = f.Why
	if asn != 0 {
		return fmt.Sprintf("%s addresses of AS%d", n, asn)
	}
	return fmt.Sprintf("%s addresses in %s", n, country)
}

func megabytes(b float64) string {
	if b >= 1e7 {
		return fmt.Sprintf("%.0f MB", b/1e6)
	}
	return fmt.Sprintf("%.1f MB", b/1e6)
}

// An origin's key is an autonomous system's number, or a country's letters with a bit above those.
const originCountry = 1 << 40

func originOf(key uint64) (asn uint32, country string) {
	if key&originCountry != 0 {
		return 0, string([]byte{byte(key >> 8), byte(key)})
	}
	return uint32(key), ""
}

// origins takes in what a client sent to the autonomous system and the country of its destination.
func (a *Exfil) origins(to exfilKey, in *tally.Pair) {
	asn, country := a.site.Networks.Origin(to.to.Netip(to.ver))
	keys := [2]uint64{uint64(asn)}
	if len(country) == 2 {
		keys[1] = originCountry | uint64(country[0])<<8 | uint64(country[1])
	}
	told := false
	for _, origin := range keys {
		if origin == 0 {
			continue
		}
		key := exfilKey{host: to.host, origin: origin, ver: to.ver}
		at, _ := a.pairs.at(&key, a.hash(&key), a.now, exfilHour)
		if at < 0 {
			continue
		}
		k, s := a.pairs.value(at)
		if at := a.pairs.find(&to, a.hash(&to)); at >= 0 {
			_, p := a.pairs.value(at)
			s.named = s.named || p.emitted != 0
		}
		s.named = s.named || told // the country is that of a system that is named: one story, one alert
		a.add(at, k, s, in)
		a.weighty(at, k, s)
		told = s.emitted != 0
	}
}
