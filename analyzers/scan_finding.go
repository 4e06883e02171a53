package analyzers

import (
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// report emits the finding of an open scan.
func (a *Scan) report(s *scanSource, now int64) {
	_, hosts, ports, pairs := s.aimed(s.test)
	if n := s.failed(); !s.test.ofTried() && n > pairs+pairs/4+s.earlier { // not all of them were sampled
		hosts, ports = min(max(hosts, uint32(s.hosts.Count())), n), min(max(ports, uint32(s.ports.Count())), n)
		pairs = n
	}
	switch s.shape { // each first contact is a distinct one, so these two are not estimates
	case scanVertical:
		ports = s.count()
	case scanHorizontal:
		hosts = s.count()
	}
	v := scanVerdict{s.kind, s.shape, s.victim}
	limit := s.limit(s.test, &v)
	if limit == 0 { // looks benign by now: no more than it was
		limit = int(s.cap)
	}
	s.cap = uint8(limit)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: scanKindNames[s.kind], Time: now,
		Subject:  Party{Prefix: hostVictim(s.addr, s.ver).prefix(), ReturnPath: s.proven > 0},
		Victim:   Party{Prefix: s.victim.prefix()},
		MaxScore: limit, Confidence: a.confidence(s),
		First: s.first, Last: s.last, Quiet: s.quiet(),
		Why: a.why[:0], Notes: a.notes(s, limit),
	}
	if s.shape == scanHorizontal && s.kind != scanICMPSweep {
		f.Victim.Port, f.Victim.Proto = uint16(s.port>>8), uint8(s.port)
		if f.Victim.Port == 0 {
			f.Victim.Proto = 0
		}
	}
	need := uint32(a.step.need)
	switch s.test {
	case testWalk:
	case testFailedPorts, testTriedPorts:
		need = uint32(a.cfg.Ports)
	default:
		need = uint32(a.cfg.Hosts)
	}
	f.Score = score(s, pairs, need)
	f.Count, f.Total = uint64(s.count()), true
	f.Attack = attackIDs(s)
	a.measure(s, hosts, ports)
	f.Summary = summary(s, f, hosts, ports)
	a.why = f.Why
	s.emitted, s.news = now, false
	a.active.renew(s, now)
	a.emit(f)
	a.seekCrew(s, now)
}

// count is how many contacts the evidence has.
func (s *scanSource) count() uint32 {
	if s.test.ofTried() {
		return s.windowOpened
	}
	return s.failed()
}

// score is the strength of evidence as the comment of the analyzer says.
func score(s *scanSource, pairs, need uint32) int {
	n := 50 + 6*math.Log2(math.Max(float64(pairs)/float64(need), 1))
	if s.kind == scanNull || s.kind == scanFIN || s.kind == scanXmas {
		n += 10
	}
	if s.marked() {
		n += 5
	}
	return int(math.Min(n, 100))
}

// marked reports tool marks or prints on half of the window's contacts.
func (s *scanSource) marked() bool {
	return s.windowOpened > 0 && 2*max(s.toolHits, s.markHits) >= s.windowOpened
}

// confidence is how much the sensor saw: 100, less 2 for each percent of packets lost, half in a one-way view, 70 at most if
// nobody answered anything in a minute, and in proportion to the outcomes that are known.
func (a *Scan) confidence(s *scanSource) int {
	c := 100 - 200*a.view.Loss()
	switch {
	case a.view.OneWay():
		c = min(c, 50)
	case a.view.Mute():
		c = min(c, 70)
	}
	if known := s.failed() + s.answered; s.unknown > 0 {
		c *= float64(known) / float64(known+s.unknown)
	}
	return int(max(c, 10))
}

func (a *Scan) notes(s *scanSource, limit int) (notes []string) {
	switch {
	case a.view.OneWay():
		notes = append(notes, "one-way view: outcomes are not judged, only how many targets were tried")
	case a.view.Mute():
		notes = append(notes, "nobody answered anything within the last minute: the sensor may see one direction only")
	case s.test == testUnanswered:
		notes = append(notes, "found before silence was certain: no answer within a second")
	case s.test.ofTried():
		notes = append(notes, "found by what was tried, not by what failed")
	}
	if r := a.view.Loss(); r > 0 {
		notes = append(notes, fmt.Sprintf("%.1f %% of packets were lost: answers may be among them", 100*r))
	}
	switch limit {
	case capUsual:
		notes = append(notes, "an administrator's poll or a client that is cut off may look the same")
	case capSpread:
		notes = append(notes, "spread over hosts and ports of the internet: P2P whose peers are gone looks the same")
	}
	return notes
}

// measure lists the numbers of the decision.
func (a *Scan) measure(s *scanSource, hosts, ports uint32) {
	add := func(name string, value float64, unit string, threshold float64, window time.Duration) {
		a.f.Why = append(a.f.Why, Measure{Name: name, Value: value, Unit: unit, Threshold: threshold, Window: int64(window)})
	}
	var window time.Duration
	if s.test != testWalk {
		window = a.cfg.Window
	}
	var byFailed, byRatio, byHosts, byPorts float64
	switch s.test {
	case testWalk:
		byFailed, byRatio = float64(a.step.need), round3(float64(a.step.threshold)/micro)
	case testFailedPorts, testTriedPorts:
		byPorts = float64(a.cfg.Ports)
	default:
		byHosts = float64(a.cfg.Hosts)
	}
	if !s.test.ofTried() {
		add("failed_contacts", float64(s.failed()), "contacts", byFailed, 0)
		add("refused_contacts", float64(s.refused), "contacts", 0, 0)
		add("silent_contacts", float64(s.silent), "contacts", 0, 0)
		add("answered_contacts", float64(s.answered), "contacts", 0, 0)
		add("log_likelihood_ratio", round3(float64(s.peak)/micro), "nats", byRatio, 0)
	} else {
		add("tried_contacts", float64(s.windowOpened), "contacts", 0, window)
		add("answered_contacts", float64(s.answered), "contacts", 0, 0)
		add("system_ports", float64(count64(s.system)), "ports", systemThreshold(s.test), window)
	}
	if s.unknown > 0 {
		add("unknown_contacts", float64(s.unknown), "contacts", 0, 0)
	}
	add("distinct_hosts", float64(hosts), "hosts", byHosts, window)
	add("distinct_ports", float64(ports), "ports", byPorts, window)
	add("rate", s.rate(), "contacts/s", 0, 0)
	if s.toolHits > 0 || s.markHits > 0 {
		add("marked_contacts", float64(max(s.toolHits, s.markHits)), "contacts", 0, window)
	}
	add("loss_ratio", a.view.Loss(), "", 0, 0)
}

func systemThreshold(t scanTest) float64 {
	if t == testTriedPorts {
		return systemPorts
	}
	return 0
}

// rate is the first contacts per second of the evidence.
func (s *scanSource) rate() float64 {
	return round3(float64(max(s.opened, s.failed())) / (float64(max(s.last-s.first, tally.Tick)) / 1e9))
}

func round3(x float64) float64 { return math.Round(x*1000) / 1000 }

func count64(b uint64) int { return bits.OnesCount64(b) }

// attackIDs are T1046 Network Service Discovery and, for a public address that searches networks, T1595.001 Active
// Scanning: Scanning IP Blocks.
func attackIDs(s *scanSource) []string {
	if a := s.addr.Netip(s.ver); s.shape != scanVertical && !a.IsPrivate() && !a.IsLinkLocalUnicast() {
		return []string{"T1046", "T1595.001"}
	}
	return []string{"T1046"}
}

// summary is the finding in one sentence.
func summary(s *scanSource, f *Finding, hosts, ports uint32) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s ", f.Subject.Prefix.Addr())
	if names := probeWords[s.kind]; names != "" {
		fmt.Fprintf(&b, "sent %s to ", names)
	} else {
		b.WriteString("tried ")
	}
	switch {
	case s.kind == scanICMPSweep:
		fmt.Fprintf(&b, "%d hosts%s", hosts, place(f.Victim.Prefix))
	case s.shape == scanVertical:
		fmt.Fprintf(&b, "%d ports of %s", ports, f.Victim.Prefix.Addr())
	case s.shape == scanHorizontal:
		fmt.Fprintf(&b, "port %d of %d hosts%s", f.Victim.Port, hosts, place(f.Victim.Prefix))
	default:
		fmt.Fprintf(&b, "%s ports on %s hosts%s", about(ports), about(hosts), place(f.Victim.Prefix))
	}
	span := time.Duration(s.last - s.first).Round(time.Millisecond)
	if span > time.Second {
		span = span.Round(100 * time.Millisecond)
	}
	if s.test.ofTried() {
		fmt.Fprintf(&b, " in %v", span)
	} else {
		fmt.Fprintf(&b, " in %v: %d silent, %d refused, %d answered", span, s.silent, s.refused, s.answered)
		if s.unknown > 0 {
			fmt.Fprintf(&b, ", %d unknown", s.unknown)
		}
		if s.opened > s.failed()+s.answered+s.unknown {
			fmt.Fprintf(&b, " of %d tried", s.opened)
		}
	}
	if marks := markWords(s.marks); marks != "" && s.marked() {
		fmt.Fprintf(&b, "; headers as of %s", marks)
	}
	return b.String()
}

// probeWords names what a special kind sends.
var probeWords = [...]string{
	scanNull: "TCP packets without flags", scanFIN: "TCP FINs", scanXmas: "TCP FIN-PSH-URGs", scanACK: "TCP ACKs without connection",
	scanMaimon: "TCP FIN-ACKs without connection", scanUDP: "UDP", scanICMPSweep: "echo requests",
}

// about says that a number comes from a sketch.
func about(n uint32) string {
	if n > 40 {
		return fmt.Sprintf("about %d", n)
	}
	return fmt.Sprint(n)
}

func place(p netip.Prefix) string {
	if !p.IsValid() {
		return " of many networks"
	}
	return " of " + p.String()
}

func markWords(marks conn.Marks) string {
	var names []string
	for _, m := range [...]struct {
		mark conn.Marks
		name string
	}{{conn.MarkZMap, "ZMap"}, {conn.MarkMasscan, "masscan"}, {conn.MarkMirai, "Mirai"}, {conn.MarkNmap, "Nmap"}} {
		if marks&m.mark != 0 {
			names = append(names, m.name)
		}
	}
	return strings.Join(names, ", ")
}
