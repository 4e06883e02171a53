package analyzers

import (
	"errors"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// This file and scan_*.go find scans: sources that try many addresses or ports to see what is there.
//
// # Evidence
//
// The evidence is the outcome of a source's first contact with each (address, protocol, port): answered, refused (RST, ICMP
// unreachable) or silent (no answer in 5 s). Repeats add nothing; an outcome that was lost (unknown) is no outcome. What
// counts as a failure or a success, by probe, is said at outcomeOf.
//
// # Tests
//
// The walk is the threshold random walk of Jung, Paxson, Berger and Balakrishnan (Fast Portscan Detection Using Sequential
// Hypothesis Testing, IEEE S&P 2004): each failure adds ln((1-θ1)/(1-θ0)), each success ln(θ1/θ0), and a source whose sum
// reaches ln(P_D/P_F) is a scanner. With θ0 = 0.8, θ1 = 0.2, P_D = 0.99 and P_F = 1e-5 nine straight failures do. See
// scan_walk.go for what is done about credit, bursts and slow scans.
//
// Fan-out finds, within a window (5 min, one after the other for each source; a source that crosses a boundary is found in
// the window that it fills):
//   - failed hosts: 25 hosts failed on one port, of which at most one in five contacts was answered, whatever else answered;
//   - failed ports: 25 ports of one host failed, and nine in ten of the source's failures are that host's;
//   - unanswered: 25 hosts or ports of one network tried by SYN or echo, of which a quarter at most answered within a second:
//     silence found before it is certain;
//   - tried ports: 25 ports of one host tried, 20 of them system ports (below 1024; or 40 by estimate, see manySystemPorts),
//     whatever they answered. (FTP's passive ports, RPC and media are high ports; a client of a domain controller needs 16
//     system ports.)
//   - tried network: 25 ports tried, 16 of them system ports, each on some host of one network (/16, IPv6 /32) that gets nine
//     in ten contacts of the source. Low severity: a monitoring host may check as many services.
//   - marked hosts: 25 hosts tried, nine in ten contacts with a scanning tool's header marks or print (half in a one-way view);
//   - tried hosts, in a one-way view only: 25 hosts tried on one port that is not a usual client port. Low severity: an
//     administrator's poll of a hundred hosts looks the same.
//
// In a one-way view (see View) outcomes are not walked, only the last four tests are made, and the finding says so.
//
// # Kinds
//
// By shape of what failed (for unanswered and the last four tests: of what was tried):
//   - vertical: one host has 90 % of the contacts, on 3 ports or more. Victim: the host.
//   - horizontal: one port has 90 % of the contacts. Victim: the smallest prefix that covers them.
//   - strobe: at most 8 ports, each on two hosts or more in the mean, and no fewer hosts than ports. Victim: the prefix.
//   - block: all else, many hosts and many ports. Victim: the prefix.
//   - distributed: eight sources or more that are scanning one network with one tool's marks or print, and whose targets do
//     not repeat each other's (as decoys' do). Victim: the prefix; no subject. It comes beside the findings of the sources:
//     scanners that have nothing to do with each other but the tool and the target look the same. Sources that each stay
//     below the thresholds: see scan_distributed.go.
//
// Where 80 % of the probes were of one special sort, that names the kind, and the shape only the victim: null, fin, xmas,
// ack, maimon (flags as in nmap(1)), udp, icmp_sweep, arp_sweep. A prefix is /24 or shorter (IPv6: /64), as far as /16 (/32);
// targets spread wider have no victim. The kind is chosen at the crossing. While a scan lasts it may grow, vertical to
// block or horizontal to strobe to block, and its victim may widen; both need half as many contacts again as at the last
// decision and are new alerts: a handful at most for the largest scan.
//
// The subject is the source. Its return path is proven only if it completed a handshake within the evidence.
//
// # Score
//
// At the crossing 50; + 6 for each doubling of the distinct failed contacts over those that a crossing needs; + 10 for flags
// that no TCP stack sends (null, fin, xmas); + 5 for tool marks or prints on half of the contacts. Capped by kind, so that a
// scan is of medium severity: 69; fan-out without failures, ack, maimon and arp_sweep 60; what is likely to be benign, below.
//
// # What it must not take for a scan
//
//   - P2P: failures to high ports, each host with one of its own (by TCP and by UDP), and a tenth of the contacts answered: no
//     finding. Unanswered and spread over the internet: from 64 failures, at most 40 (low).
//   - Mail with dead MX, a resolver with dead servers, a browser or a whole network cut off, broken IPv6: failures on usual
//     client ports, spread over the internet: no finding if a fifth is answered, else at most 45 (low) up to 64 hosts.
//   - A monitoring host, a NAT of many users: mostly answered; see newSteps for credit, and crossed for bursts.
//   - Retries, health checks, a dead server: one target; a finding needs as many distinct targets as failures, less two.
//   - Stray ACK and FIN of forgotten connections, backscatter of floods: only those to system ports count, and only
//     within one prefix; answers that nobody asked for are no contacts.
//   - QUIC through a firewall, traceroute, name service broadcasts, one-sided UDP: no outcomes (outcomeOf).
//   - A DHCP server that pings addresses before it leases them, and an administrator's tool that polls machines of which half
//     are off, do what a scanner does: they are found.
//   - A router that asks by ARP for the targets of others' scans: see scan_arp.go.
//
// # What it misses
//
// Scans of open ports alone over many hosts without a tool's mark (they look like a monitoring host); scans of high UDP ports
// behind a firewall that drops; ACK and Maimon scans that avoid system ports; internet-wide scans on random ports; a source
// with more than twice as many first contacts answered as failed, if its failures share neither one port nor one host; scans
// slower than the filter of single contacts remembers (2 to 4 hours, less under a flood of spoofed sources); distributed
// scans of sources each of which sends two probes or fewer; scans for IP protocols (nmap -sO). A burst is judged at the end of its
// tick: a scan of 200 contacts in 100 ms is named with all of them.

// ScanConfig holds the settings of the scan analyzer.
type ScanConfig struct {
	Benign     float64       `yaml:"benign"`      // θ0: share of a benign source's first contacts that are answered
	Scanner    float64       `yaml:"scanner"`     // θ1: the same of a scanner
	Detect     float64       `yaml:"detect"`      // P_D: probability that a scanner is found
	FalseAlarm float64       `yaml:"false_alarm"` // P_F: probability that a benign source is taken for one
	Hosts      int           `yaml:"hosts"`       // fan-out: distinct hosts in Window
	Ports      int           `yaml:"ports"`       // fan-out: distinct ports of one host in Window
	Window     time.Duration `yaml:"window"`      // of fan-out
	Keep       time.Duration `yaml:"keep"`        // how long an idle source's walk is kept
	Sources    int           `yaml:"sources"`     // sources in the table, 688 bytes each; rounded down to a power of two
}

// DefaultScan returns the default settings. 65,536 sources take 45 MB, their index 0.5 MB, the filter of
// single contacts before them 1 MB.
func DefaultScan() ScanConfig {
	return ScanConfig{
		Benign: 0.8, Scanner: 0.2, Detect: 0.99, FalseAlarm: 1e-5,
		Hosts: 25, Ports: 25, Window: 5 * time.Minute,
		Keep: 4 * time.Hour, Sources: 65536,
	}
}

// Check tells what is wrong with the settings.
func (c *ScanConfig) Check() error {
	switch {
	case !(0 < c.Scanner && c.Scanner < c.Benign && c.Benign < 1):
		return errors.New("scan: need 0 < scanner < benign < 1")
	case !(0 < c.FalseAlarm && c.FalseAlarm < c.Detect && c.Detect < 1):
		return errors.New("scan: need 0 < false_alarm < detect < 1")
	case c.Hosts < 10 || c.Ports < 10 || c.Hosts > 100 || c.Ports > 100:
		return errors.New("scan: hosts and ports must be from 10 to 100")
	case c.Window < time.Second || c.Keep < c.Window:
		return errors.New("scan: window must be at least 1s and keep at least window")
	case c.Sources < scanWays || c.Sources > 1<<20:
		return errors.New("scan: sources must be from 8 to 1048576")
	}
	return nil
}

// Scan finds scans. It keeps state of a bounded number of sources; cost per epoch is proportional to its sources, some 50 ns
// for one with a single contact.
type Scan struct {
	cfg    ScanConfig
	step   steps
	view   View
	table  *scanTable
	active activeScans
	arp    arpSweeps
	crews  []crew
	crowds []crowd
	prints *pool[decode.Addr, uint64] // of SYNs
	e      *tally.Epoch
	emit   func(*Finding)
	f      Finding   // reused
	why    []Measure // reused
	near   nearest
	Stats  ScanStats
}

// ScanStats counts what the bounds cost.
type ScanStats struct {
	Evicted   uint64 // sources that went from the full table
	Forgotten uint64 // times the filter of single contacts was full before its time
	Held      uint64 // scans not named, because too many were named already (of one victim, or at all)
}

// NewScan returns an analyzer with settings that Check accepts.
func NewScan(cfg ScanConfig) *Scan {
	st := newSteps(&cfg)
	return &Scan{cfg: cfg, step: st, table: newScanTable(cfg.Sources, cfg.Keep, st.up), prints: newPool[decode.Addr, uint64](crowdPrints, nil)}
}

// Name implements Analyzer.
func (a *Scan) Name() string { return "scan" }

// Judge implements Analyzer.
func (a *Scan) Judge(e *tally.Epoch, emit func(*Finding)) {
	a.e, a.emit = e, emit
	a.view.Observe(e)
	a.table.begin(e)
	a.hold(&e.Gate, e.End())
	a.active.expire(e.End())
	a.notePrints(e)
	for i := range e.Sources {
		if i%scanAhead == 0 {
			a.table.load(e.Sources[i:min(i+scanAhead, len(e.Sources))])
		}
		s := &e.Sources[i]
		a.arp.observe(s, e)
		if s.Ver == 0 {
			continue // ARP alone
		}
		if src := a.table.at(s, e.End()); src != nil {
			a.judge(src, s)
			a.active.note(src)
			a.table.weigh(src)
		}
	}
	a.flush(e.End())
	a.judgeARP()
	a.Stats.Evicted, a.Stats.Forgotten = a.table.evicted, a.table.single.forgotten
}

// hold keeps the scans of sources whose packets a gate drops: they go on out of sight, and come back as what they were.
func (a *Scan) hold(g *tally.Gate, now int64) {
	for i := range g.Drops {
		d := &g.Drops[i]
		if d.Shadow || d.Packets == 0 || !d.Source.IsSingleIP() || !strings.HasPrefix(d.Kind, "scan.") {
			continue
		}
		ver := uint8(4)
		if d.Source.Addr().Is6() {
			ver = 6
		}
		s := a.table.find(decode.AddrFrom(d.Source.Addr()), ver)
		if s != nil && s.kind != scanNone && now-s.lasted <= s.quiet() {
			s.seen, s.lasted = now, now
			a.active.renew(s, now)
		}
	}
}

// Finish implements Analyzer.
func (a *Scan) Finish(emit func(*Finding)) {
	if a.e == nil {
		return
	}
	a.emit = emit
	now := a.e.End()
	for i := range a.active.list {
		if s := a.active.list[i].source; a.active.list[i].of(s) && s.news && s.kind != scanNone {
			a.report(s, now)
		}
	}
	a.finishARP(now)
}

// judge takes one source's tick in and says what it makes of it.
func (a *Scan) judge(src *scanSource, in *tally.Source) {
	now := a.e.End()
	src.age(now, int64(a.cfg.Window))
	before := src.failed()
	t := src.take(in)
	if a.view.OneWay() {
		src.peak = src.llr
	} else {
		src.walk(&a.step, t)
	}
	if src.kind == scanNone {
		a.nearWalk(src, now)
		if src.failed() > before && !a.view.OneWay() {
			a.join(src, now)
		}
		if now >= src.held && now-src.emitted >= int64(time.Second) {
			a.open(src, now)
		}
		return
	}
	fresh := src.failed() > before
	if src.test.ofTried() {
		fresh = in.Opened > 0
	}
	if fresh {
		src.lasted, src.news = now, true
		if a.grow(src, now) || now-src.emitted >= int64(time.Second) {
			a.report(src, now)
		}
	}
}
