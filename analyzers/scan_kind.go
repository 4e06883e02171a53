package analyzers

import (
	"time"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// scanKind is a kind of finding; the first four are also shapes.
type scanKind uint8

const (
	scanNone scanKind = iota
	scanVertical
	scanHorizontal
	scanStrobe
	scanBlock
	scanNull
	scanFIN
	scanXmas
	scanACK
	scanMaimon
	scanUDP
	scanICMPSweep
)

var scanKindNames = [...]string{"", "vertical", "horizontal", "strobe", "block", "null", "fin", "xmas", "ack", "maimon", "udp", "icmp_sweep"}

// kindOfProbe is the kind that a special probe names; scanNone for the others.
func kindOfProbe(p conn.Probe) scanKind {
	switch p {
	case conn.ProbeNull:
		return scanNull
	case conn.ProbeFIN:
		return scanFIN
	case conn.ProbeXmas:
		return scanXmas
	case conn.ProbeACK:
		return scanACK
	case conn.ProbeMaimon:
		return scanMaimon
	case conn.ProbeUDP:
		return scanUDP
	case conn.ProbeEcho:
		return scanICMPSweep
	}
	return scanNone
}

// changed reports that an open scan is over because the source's failures are of another special probe by now: nmap -sN
// right after nmap -sS. The walk then names the new one.
func (s *scanSource) changed() bool {
	probe, sum, ok := s.fails.mainProbe()
	return ok && sum >= 20 && !s.test.ofTried() && kindOfProbe(probe) != s.kind.special()
}

// special is the kind if a special probe named it, else scanNone.
func (k scanKind) special() scanKind {
	if k <= scanBlock {
		return scanNone
	}
	return k
}

// scanTest is the test that a scan was found by.
type scanTest uint8

const (
	testWalk scanTest = iota
	testFailedHosts
	testFailedPorts
	testUnanswered
	testTriedPorts
	testTriedNetwork
	testMarkedHosts
	testTriedHosts
	testCount
)

// ofTried reports whether a test looks at what was tried, not at what failed.
func (t scanTest) ofTried() bool { return t >= testUnanswered }

// systemPorts is how many distinct system ports make a port scan whatever they answered. A client of a domain controller
// uses up to 16: 53, 88, 135, 139, 389, 445, 464, 593, 636 by TCP and 53, 88, 123, 137, 138, 389, 464 by UDP.
const systemPorts = 20

// manySystemPorts reports that a source tried that many. Of a scan that is done within a tick or two the sample shows a
// part only: then half of one tick's sample suffices, if its share of all distinct ports makes twice as many.
func (s *scanSource) manySystemPorts() bool {
	seen := count64(s.system)
	return seen >= systemPorts || seen >= len(tally.Source{}.Contacts)/2 && s.ports.Count()*uint64(s.tries.low) >= 2*systemPorts*uint64(s.tries.n)
}

// networkPorts is the same for the hosts of a network. Fewer, because the finding is of low severity.
const networkPorts = 16

// meets makes one test. Cheap conditions stand first: it runs for every source of a tick.
func (a *Scan) meets(s *scanSource, t scanTest) bool {
	hosts, ports := uint32(a.cfg.Hosts), uint32(a.cfg.Ports)
	oneWay := a.view.OneWay()
	switch t {
	case testWalk:
		return !oneWay && s.crossed(&a.step)
	case testFailedHosts:
		return !oneWay && s.fails.n >= hosts && atLeast(s.fails.port.hits, s.fails.n, 60) && s.failedHosts.count() >= hosts &&
			s.answeredOnPort()*4 <= (s.fails.port.hits+s.fails.n)/2
	case testFailedPorts:
		return !oneWay && s.fails.n >= ports && atLeast(s.fails.host.hits, s.fails.n, 90) && s.failedPorts.count() >= ports
	case testUnanswered:
		return !oneWay && s.unanswered(min(hosts, ports))
	case testTriedPorts:
		return s.windowOpened >= ports && atLeast(s.tries.host.hits, s.tries.n, 90) && s.ports.Count() >= uint64(ports) && s.manySystemPorts()
	case testTriedNetwork:
		return s.windowOpened >= ports && atLeast(s.tries.block.hits, s.tries.n, 90) && !atLeast(s.tries.host.hits, s.tries.n, 75) &&
			count64(s.system) >= networkPorts && s.ports.Count() >= uint64(ports) && (oneWay || 2*s.answered >= s.windowOpened)
	case testMarkedHosts:
		marked := max(s.toolHits, s.markHits)
		return s.windowOpened >= hosts && (10*marked >= 9*s.windowOpened || oneWay && 2*marked >= s.windowOpened) && s.hosts.Count() >= uint64(hosts)
	case testTriedHosts:
		return oneWay && s.windowOpened >= hosts && atLeast(s.tries.port.hits, s.tries.n, 90) &&
			!usualPort(uint16(s.tries.port.port>>8)) && s.hosts.Count() >= uint64(hosts)
	}
	return false
}

// unanswered reports that of enough contacts that are a second old or older, at most a quarter was answered: nearly as
// good as silence, which is known after 5 s. Only for probes that are answered as a rule, to one network, that are no
// peers' ports.
func (s *scanSource) unanswered(enough uint32) bool {
	if s.settled < enough+s.unknown || 4*s.answered > s.settled-s.unknown || !s.tries.site(s.ver) || s.tries.n < enough/2 {
		return false
	}
	probe, _, ok := s.tries.mainProbe()
	if !ok || probe != conn.ProbeSYN && probe != conn.ProbeEcho {
		return false
	}
	v := s.verdict(testUnanswered)
	if v.shape >= scanStrobe && 20*s.answered > s.settled {
		return false // failures will show what of it is the scan
	}
	return v.shape != scanBlock && max(s.hosts.Count(), s.ports.Count()) >= uint64(enough)
}

// answeredOnPort estimates how many contacts with the port of most failures were answered.
func (s *scanSource) answeredOnPort() uint32 { return s.goodPorts.count(s.fails.port.port) }

// scanVerdict is what a source that met a test is named for.
type scanVerdict struct {
	kind, shape scanKind
	victim      scanVictim
}

// Caps of scores. A scan is of medium severity (50–69).
const (
	capScan   = 69
	capWeak   = 60 // tried only; probes that may be remains of connections; ARP
	capUsual  = 45 // a client cut off from the internet looks the same
	capSpread = 40 // so do peers of P2P that are all gone
)

// aimed is what a test looked at: where contacts went, and how many distinct hosts, ports and (host, port)s that were.
func (s *scanSource) aimed(t scanTest) (a *aim, hosts, ports, pairs uint32) {
	if t.ofTried() {
		return &s.tries, uint32(s.hosts.Count()), uint32(s.ports.Count()), s.windowOpened
	}
	hosts, ports, pairs = s.failedHosts.count(), s.failedPorts.count(), s.failures.count()
	if pairs > 100 { // the small sets of failures get inexact
		hosts, ports = max(hosts, uint32(s.hosts.Count())), max(ports, uint32(s.ports.Count()))
		pairs = max(pairs, s.failed())
	}
	hosts, ports = min(hosts, pairs), min(ports, pairs)
	return &s.fails, hosts, ports, pairs
}

// verdict names what a test found.
func (s *scanSource) verdict(t scanTest) (v scanVerdict) {
	a, hosts, ports, pairs := s.aimed(t)
	switch {
	case atLeast(a.host.hits, a.n, 90) && ports >= 3:
		v.shape = scanVertical
	case atLeast(a.port.hits, a.n, 90):
		v.shape = scanHorizontal
	case ports <= 8 && hosts >= ports && pairs >= 2*ports:
		v.shape = scanStrobe
	default:
		v.shape = scanBlock
	}
	v.kind = v.shape
	if probe, _, ok := a.mainProbe(); ok && kindOfProbe(probe) != scanNone {
		v.kind = kindOfProbe(probe)
	}
	switch {
	case v.shape == scanVertical:
		v.victim = hostVictim(a.host.addr, s.ver)
	case a.near():
		v.victim = a.cover(s.ver)
	}
	return v
}

// limit is the highest score that a verdict may have, 0 if it is no scan: the benign look-alikes.
func (s *scanSource) limit(t scanTest, v *scanVerdict) int {
	if t == testTriedHosts || t == testTriedNetwork {
		return capUsual
	}
	if t.ofTried() {
		return capWeak
	}
	if v.shape == scanVertical {
		return capOf(v.kind)
	}
	// The sets of failures are exact enough here: before a scan is open they are emptied at 128.
	a, hosts, ports, pairs := &s.fails, s.failedHosts.count(), s.failedPorts.count(), s.failures.count()
	answered, all := uint64(s.answered)+uint64(s.answeredBefore), uint64(s.answered)+uint64(s.answeredBefore)+uint64(s.failed())
	if !a.near() && (v.kind == scanACK || v.kind == scanMaimon) {
		return 0
	}
	if 10*ports >= 4*pairs && 10*hosts >= 4*pairs && 10*a.low <= a.n { // each host a high port of its own, or two: TCP and UDP
		switch {
		case 10*answered >= all, !a.near() && s.failed() < 64:
			return 0
		case !a.near():
			return capSpread
		}
	}
	if !a.site(s.ver) && 10*a.usual >= 8*a.n {
		if 5*answered >= all {
			return 0
		}
		if s.failed() < 64 {
			return capUsual
		}
	}
	if v.kind == scanUDP && s.refused == 0 && pairs < 25 { // one-way UDP (logs, streams, broken names) is never answered
		return capUsual
	}
	return capOf(v.kind)
}

func capOf(k scanKind) int {
	if k == scanACK || k == scanMaimon {
		return capWeak
	}
	return capScan
}

// open names a source that meets a test and is not named yet.
func (a *Scan) open(s *scanSource, now int64) {
	for t := testWalk; t < testCount; t++ {
		if !a.meets(s, t) {
			continue
		}
		v := s.verdict(t)
		if s.limit(t, &v) == 0 {
			continue
		}
		if !a.active.admit(s, v.victim, now) {
			a.Stats.Held++
			s.held = now + int64(time.Second)
			return
		}
		s.name(t, v)
		s.lasted = now
		a.report(s, now)
		return
	}
}

func (s *scanSource) name(t scanTest, v scanVerdict) {
	s.test, s.kind, s.shape, s.victim, s.cap = t, v.kind, v.shape, v.victim, uint8(s.limit(t, &v))
	s.decided = s.count()
	x, _, _, _ := s.aimed(t)
	s.port = x.port.port
	s.convinced = s.seen
}

// grow renames an open scan that has become clearly another one: half as many contacts again, and a wider shape
// or a wider victim. A wider victim is at least 8 bits wider (IPv6: 16).
//
// A scan that was found by what it tried is judged by its failures from when they suffice: they are the better evidence.
func (a *Scan) grow(s *scanSource, now int64) (renamed bool) {
	if s.test.ofTried() && now-s.emitted >= int64(time.Second) {
		renamed = a.judgeFailures(s)
	}
	if 2*s.count() < 3*s.decided {
		return renamed
	}
	x, _, _, _ := s.aimed(s.test)
	v := s.verdict(s.test)
	if v.kind.special() != s.kind.special() {
		return renamed // see changed
	}
	wider := v.shape > s.shape && !(s.shape == scanVertical && v.shape < scanBlock)
	switch {
	case s.shape == scanVertical:
		wider = wider && !atLeast(x.host.hits, x.n, 75)
	case s.shape == scanHorizontal:
		wider = wider && !atLeast(x.port.hits, x.n, 75)
	}
	switch {
	case wider:
	case v.shape == scanVertical, s.shape == scanVertical, s.victim.width == 0, s.victim.covers(v.victim):
		return renamed
	default:
		v.kind, v.shape = s.kind, s.shape
		least := uint8(8)
		if s.ver == 6 {
			least = 16
		}
		if v.victim.width > 0 {
			v.victim = newScanVictim(v.victim.addr, min(v.victim.width, s.victim.width-least), s.ver)
		}
	}
	s.name(s.test, v)
	return true
}

// judgeFailures names an open scan by its failures, if they meet a test.
func (a *Scan) judgeFailures(s *scanSource) (renamed bool) {
	for t := testWalk; !t.ofTried(); t++ {
		if !a.meets(s, t) {
			continue
		}
		v := s.verdict(t)
		if s.limit(t, &v) == 0 {
			continue
		}
		if v.kind.special() == s.kind.special() && v.shape <= s.shape && s.victim.covers(v.victim) && s.cap >= capWeak {
			v = scanVerdict{s.kind, s.shape, s.victim} // the same one
		}
		renamed = v != scanVerdict{s.kind, s.shape, s.victim}
		s.name(t, v)
		return renamed
	}
	return false
}
