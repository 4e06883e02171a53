package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"weir/analyzers/tally"
)

const (
	beaconLimit   = 69 // medium
	beaconLow     = 45
	beaconBase    = 50
	beaconAtBest  = 65
	beaconCandid  = 0.1 // below Score: regular enough to be a habit, or to stay named
	beaconQuietly = int64(3600e9)
)

// judge weighs a pair, and names it if it is regular, and was when it was judged before.
func (a *Beacon) judge(at int, k *tally.PairKey, s *beaconPair, emit func(*Finding)) {
	if a.budget--; a.budget < 0 {
		a.Stats.Postponed++
		return
	}
	score := a.score(s)
	total := score.total()
	again := s.regular
	need := a.cfg.Score
	if s.emitted != 0 { // it wavers, and is still the same story
		need -= beaconCandid
	}
	s.regular = total >= need && score.interval >= beaconEven
	s.due = s.contacts + max(s.contacts/16, 1)
	clients, hosts := a.prevalence(k)
	usual := s.ntp || clients >= beaconMany && clients*beaconShare >= hosts
	a.count(k, s, total >= a.cfg.Score-beaconCandid && score.interval >= beaconEven && !usual && !s.keepAlive() && !a.polls(k))
	if usual || !s.regular || !again || a.now-s.emitted < int64(time.Second) {
		return
	}
	a.report(k, s, &score, clients, hosts)
	s.emitted, s.told = a.now, s.contacts
	if !slices.Contains(a.open, at) {
		a.open = append(a.open, at)
	}
	emit(&a.f)
}

// polls tells whether programs poll a service by themselves.
func (a *Beacon) polls(k *tally.PairKey) bool { return k.Proto == protoTCP && a.polled[k.Port] }

// keepAlive tells whether contacts carry nothing: bursts in open connections of a few bytes each way.
func (s *beaconPair) keepAlive() bool {
	n := uint64(s.contacts)
	return s.bursts*5 >= s.contacts*4 && s.up <= beaconIdle*n && s.down <= beaconIdle*n
}

// report makes the finding of a pair.
func (a *Beacon) report(k *tally.PairKey, s *beaconPair, score *beaconScore, clients, hosts uint64) {
	client, server := k.Client.Netip(k.Ver), k.Server.Netip(k.Ver)
	total := score.total()
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "beacon", Time: a.now,
		Subject: Party{Prefix: netip.PrefixFrom(client, client.BitLen()), ReturnPath: s.proven},
		Victim:  Party{Prefix: netip.PrefixFrom(server, server.BitLen()), Port: k.Port, Proto: k.Proto},
		Score:   beaconBase, MaxScore: beaconLimit,
		Confidence: int(max(100-100*a.view.Loss(), 10)),
		Count:      uint64(s.contacts), Total: true, First: s.first, Last: s.seen,
		Quiet:  max(beaconQuietly, int64(10e9*score.median+float64(s.last-s.first)/8)),
		Attack: []string{"T1071", "T1573"}, Why: a.why[:0],
	}
	if a.cfg.Score < 1 && total > a.cfg.Score {
		f.Score += int((beaconAtBest - beaconBase) * (total - a.cfg.Score) / (1 - a.cfg.Score))
	}
	switch {
	case s.keepAlive():
		f.MaxScore = beaconLow
		f.Notes = append(f.Notes, "looks like a keep-alive: next to nothing is carried, in connections that stay open")
	case a.habit[k.Client] >= beaconHabit:
		f.MaxScore = beaconLow
		f.Notes = append(f.Notes, fmt.Sprintf("%d services are called as regularly by this host: it may be a monitor", a.habit[k.Client]))
	case a.polls(k):
		f.MaxScore = beaconLow
		f.Notes = append(f.Notes, "programs poll such services by themselves")
	}
	add := func(name string, value float64, unit string, threshold float64) {
		f.Why = append(f.Why, Measure{Name: name, Value: math.Round(value*1000) / 1000, Unit: unit, Threshold: threshold})
	}
	add("contacts", float64(s.contacts), "contacts", float64(a.cfg.Contacts))
	add("beacon_score", total, "", a.cfg.Score)
	add("interval_regularity", score.interval, "", beaconEven)
	add("size_regularity", score.size, "", 0)
	add("histogram_evenness", score.histogram, "", 0)
	add("duration", score.duration, "", 0)
	add("interval_median", score.median, "s", 0)
	add("interval_deviation", score.mad, "s", 0)
	add("inside_clients", float64(clients), "hosts", float64(max(beaconMany, (hosts+beaconShare-1)/beaconShare)))
	a.why = f.Why
	f.Summary = fmt.Sprintf("%s called %s %d times in %v, every %s (median deviation %s), with %.0f bytes each; beacon score %.2f",
		client, service(server, k.Port, k.Proto), s.contacts, time.Duration(s.last-s.first).Round(time.Second),
		seconds1(score.median), seconds1(score.mad), score.bytes, total)
}

// seconds1 is a time in seconds, in words.
func seconds1(s float64) time.Duration {
	d := time.Duration(s * 1e9)
	if d >= 10*time.Second {
		return d.Round(time.Second)
	}
	return d.Round(100 * time.Millisecond)
}

// service is an address and port in words.
func service(addr netip.Addr, port uint16, proto uint8) string {
	name := "tcp"
	if proto == protoUDP {
		name = "udp"
	}
	return fmt.Sprintf("%s/%s", netip.AddrPortFrom(addr, port), name)
}
