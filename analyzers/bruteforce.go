package analyzers

import (
	"errors"
	"slices"
	"time"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// Bruteforce finds guessing of credentials (ATT&CK T1110), from the outside of what is mostly encrypted.
//
// # Evidence
//
// A try is a short session (tally.Pair.Short: ended within 30 s, a little payload both ways) with a login service: one by its port
// (Ports), or one whose connections open with SSH. Tries are alike when their payload in both directions is near that of the majority
// (likeness): a service refuses all guesses in the same words. What ends in a login differs from what is refused, and what people and
// programs do after it differs more.
//
//	password   Tries tries of one source at one service within Window, 80 % of its short sessions there being alike
//	stuffing   at one service within Window: StuffingSources sources, more than Multiplier times the tries that its baseline
//	           expects (and five standard deviations more, in 3 of 5 seconds; it learns what leaves the window, and is warm after 60
//	           tenths of windows, 30 min), fewer than Tries for each source on the
//	           average, 80 % alike, 80 % with one SYN print, and not from sources that the service knows. While the
//	           baseline is cold: five times as many sources
//	web_login  plain HTTP, one source at one service within Window, at no more than five paths: Tries answers of 401 or 403
//	           which are 80 % of all its answers; or Tries POSTs to no more than two paths that are answered by redirects; or
//	           Posts of them whatever the answer is (five times as many while nothing is known of the service's other
//	           clients, and more than five times what those send)
//
// Alerts say in their notes that headers do not tell a guess from a login (web_login with 401 and 403 apart: there the
// server said so).
//
// # Score
//
// 50 at the threshold and 5 for each doubling of it, at most 69. 45 at most, low, is what an inside source has that
// works by the clock (see below), or that is not known yet: programs that log in for each page or job (ports 25, 389, 445,
// 1433, 3306, 5432, 5985, 9200 and POSTs whatever the answer) are given the first day of the baseline's memory. The
// confidence is the share of packets that the sensor saw.
//
// # What looks like it
//
//   - Somebody who mistypes three times, or ten: below Tries.
//   - A mail client that polls, a check that logs in every minute: five sessions in five minutes. Checks at a shorter interval
//     (load balancers ask databases every two seconds) work by the clock: gaps of a second or more that deviate by less
//     than a tenth, each session taking less than a tenth of its gap. Tools go as fast as the server lets them, so that
//     their sessions fill the time. From inside, the clock makes it low; from outside it does not.
//   - Jobs with many short SSH sessions (git, ansible, rsync): what they fetch differs, so they are not alike or not short.
//     A job that asks for the same thing 20 times in five minutes over new connections is reported.
//   - nmap -sV: a few connections a port, each with another probe. A client that only reads a banner sends no payload, which is
//     no short session.
//   - Browsers: port 443 is not among Ports. Where it is added, their sessions are not alike.
//   - A source that always does so: tries are compared with Multiplier times what the pair's slow memory (baseline, anchor)
//     has, which takes a day to be there. It does not learn while an alert of medium severity is open.
//   - Many users behind one address who poll their mail: reported on the first day. Mute it, or accept it.
//   - HTTP clients that are asked for credentials at each connection (NTLM, Negotiate, curl --anyauth): the share of 401 stays
//     below 80 %. Pages that talk to their server by POST have loaded their parts, which are more than five paths.
//
// # What it misses
//
// Guesses within one long connection (LDAP binds, SMTP AUTH, telnet without a limit): headers do not show them. Fewer than Tries
// in Window. One guess at each of many hosts. Forms behind TLS, unless 443 is in Ports and each guess takes a connection.
//
// State: Pairs sources with tries (0.4 kB each), as many of HTTP (0.7 kB), Services services (1 kB); see keep for what goes
// first.
type Bruteforce struct {
	cfg      BruteforceConfig
	site     *Site
	watched  [1 << 16]bool // Ports
	now      int64         // ns, end of the last tick judged
	view     View
	near     nearest
	peers    recentPeers
	tries    keep[loginTries, *loginTries]
	webs     keep[webTries, *webTries]
	services keep[loginService, *loginService]
	open     []tally.PairKey // entries of tries that were told, and may have news
	openWeb  []tally.PairKey
	emit     func(*Finding)
	f        Finding   // reused
	why      []Measure // reused
	held     uint64    // findings that were not followed to their end because too many were open
}

// BruteforceConfig holds the settings of the bruteforce analyzer.
type BruteforceConfig struct {
	Ports           []uint16      `yaml:"ports"`            // TCP ports of login services; SSH is known at any port by its opening
	Tries           int           `yaml:"tries"`            // of one source at one service within window
	Window          time.Duration `yaml:"window"`           // in which tries are counted
	Posts           int           `yaml:"posts"`            // HTTP: POSTs to one form that look like tries whatever the answer is
	StuffingSources int           `yaml:"stuffing_sources"` // sources of one service
	Multiplier      float64       `yaml:"multiplier"`       // of what the baseline expects
	Quiet           time.Duration `yaml:"quiet"`            // an alert closes after it
	Pairs           int           `yaml:"pairs"`            // sources with tries at one service; a power of two times 8
	Services        int           `yaml:"services"`         // login services; likewise
}

// DefaultBruteforce returns the default settings. 20 tries in five minutes: nobody types a password every 15 seconds for five
// minutes, and servers that lock out do so after 3 to 10. It is the rate that fail2ban's stricter jails and Zeek's FTP policy
// (20 or 30 in 15 to 30 minutes) are near, and a tool that stays below it makes no 6,000 guesses a day. 60 POSTs: one every five
// seconds, to one form.
func DefaultBruteforce() BruteforceConfig {
	return BruteforceConfig{
		Ports: []uint16{21, 22, 23, 25, 110, 143, 389, 445, 993, 995, 1433, 3306, 3389, 5432, 5900, 5985},
		Tries: 20, Window: 5 * time.Minute, Posts: 60, StuffingSources: 20, Multiplier: 5, Quiet: 5 * time.Minute,
		Pairs: 8192, Services: 512,
	}
}

// Check tells what is wrong with the settings.
func (c *BruteforceConfig) Check() error {
	switch {
	case len(c.Ports) > 1024 || slices.Contains(c.Ports, 0):
		return errors.New("bruteforce: ports must be at most 1024, none of them 0")
	case c.Tries < 3 || c.Tries > 1e6 || c.Posts < 3 || c.Posts > 1e6:
		return errors.New("bruteforce: tries and posts must be from 3 to 1000000")
	case c.Window < 10*time.Second || c.Window > 24*time.Hour:
		return errors.New("bruteforce: window must be from 10s to 24h")
	case c.StuffingSources < 2 || c.StuffingSources > 1e6:
		return errors.New("bruteforce: stuffing_sources must be from 2 to 1000000")
	case !(c.Multiplier >= 1 && c.Multiplier <= 1e6):
		return errors.New("bruteforce: multiplier must be from 1 to 1000000")
	case c.Quiet < time.Second || c.Quiet > 24*time.Hour:
		return errors.New("bruteforce: quiet must be from 1s to 24h")
	case c.Pairs < keepWays || c.Pairs > 1<<20 || c.Services < keepWays || c.Services > 1<<20:
		return errors.New("bruteforce: pairs and services must be from 8 to 1048576")
	}
	return nil
}

const (
	loginScore  = 50
	loginDouble = 5
	loginLimit  = 69
	loginLow    = 45
	loginRepeat = int64(time.Second)
	loginOpen   = 4096 // told sources whose later evidence is looked for each tick
	loginShare  = 80   // percent of sessions that must be alike
	loginFresh  = int64(time.Hour)
	loginYoung  = int64(25 * time.Hour) // the pair's slow memory takes a day
)

// programPorts are of services where programs log in by themselves, again and again. Sorted.
var programPorts = []uint16{25, 389, 445, 1433, 3306, 5432, 5985, 9200}

// NewBruteforce returns an analyzer with settings that Check accepts.
func NewBruteforce(cfg BruteforceConfig, site *Site) *Bruteforce {
	a := &Bruteforce{
		site: site, tries: newKeep[loginTries](cfg.Pairs), webs: newKeep[webTries](cfg.Pairs), services: newKeep[loginService](cfg.Services),
		peers: newRecentPeers(),
	}
	a.set(&cfg)
	return a
}

// set takes in the settings that can change. What was counted within a window of another length is forgotten.
func (a *Bruteforce) set(cfg *BruteforceConfig) {
	a.cfg = *cfg
	clear(a.watched[:])
	for _, p := range cfg.Ports {
		a.watched[p] = true
	}
}

// adjust implements adjustable.
func (a *Bruteforce) adjust(cfg *Config) []string {
	next := cfg.Bruteforce
	restart := fixed(a.cfg.Pairs, &next.Pairs, "bruteforce.pairs")
	restart = append(restart, fixed(a.cfg.Services, &next.Services, "bruteforce.services")...)
	a.set(&next)
	return restart
}

// Name implements Analyzer.
func (a *Bruteforce) Name() string { return "bruteforce" }

// Costs implements Bounded.
func (a *Bruteforce) Costs() []Cost {
	return []Cost{{"bruteforce evicted", a.tries.Evicted + a.webs.Evicted + a.services.Evicted}, {"bruteforce held", a.held}}
}

// idle is how long an entry without news is kept.
func (a *Bruteforce) idle() int64 { return int64(a.cfg.Window + a.cfg.Quiet) }

// part is the number of the window's part that an epoch lies in.
func (a *Bruteforce) part(e *tally.Epoch) int64 { return e.Start() / (int64(a.cfg.Window) / spanParts) }

// Judge implements Analyzer.
func (a *Bruteforce) Judge(e *tally.Epoch, emit func(*Finding)) {
	a.now, a.emit = e.End(), emit
	a.view.Observe(e)
	a.peers.note(e)
	a.tries.begin(e)
	a.webs.begin(e)
	a.services.begin(e)
	for i := range e.Pairs {
		if p := &e.Pairs[i]; p.Opened|p.Closed > 0 && p.Key.Proto == protoTCP && a.login(p) {
			a.session(p, e)
		}
	}
	for i := range e.Webs {
		a.web(&e.Webs[i], e)
	}
	a.open = a.follow(a.open, a.retell)
	a.openWeb = a.follow(a.openWeb, a.retellWeb)
}

// login reports whether a pair's connections are with a login service: by its port, or because they open with SSH. Those that have
// only begun will open with what most open with there; what has ended has shown what it was, so that nobody can make others' connections
// tries by a forged opening of his own.
func (a *Bruteforce) login(p *tally.Pair) bool {
	return a.watched[p.Key.Port] || p.Apps.Has(conn.AppSSH) || p.Apps == 0 && p.Closed == 0 && a.site.Speaks(&p.Key, conn.AppSSH)
}

// Finish implements Analyzer.
func (a *Bruteforce) Finish(emit func(*Finding)) {
	a.emit = emit
	for i := range a.open {
		a.retell(&a.open[i], true)
	}
	for i := range a.openWeb {
		a.retellWeb(&a.openWeb[i], true)
	}
}

// follow looks after what was told: retell tells its news and whether it is still to be followed.
func (a *Bruteforce) follow(open []tally.PairKey, retell func(*tally.PairKey, bool) bool) []tally.PairKey {
	left := open[:0]
	for i := range open {
		if retell(&open[i], false) {
			left = append(left, open[i])
		}
	}
	return left
}

// younger reports that the baseline's memory is younger than an age: it cannot say that something is new.
func (s *Site) younger(age, now int64) bool {
	since := s.Baseline.Since()
	return since == 0 || now-since < age
}

// told is what every entry remembers of its alert.
type told struct {
	first, last int64  // ns, of the evidence
	total       uint64 // tries since the evidence began
	emitted     int64  // ns; 0: not told
	score       int
	news        bool
	listed      bool // among those that are followed
}

// due reports whether news may be told: the first time, a second after the last time, or because the severity rises.
func (t *told) due(score int, now int64) bool {
	return t.emitted == 0 || now-t.emitted >= loginRepeat || t.score < loginScore && score >= loginScore
}

// rest ends an alert that has been quiet, and begins anew where the window is empty.
func (t *told) rest(empty bool, now, quiet int64) {
	if t.emitted != 0 && now-t.last > quiet {
		t.emitted, t.score = 0, 0
	}
	if empty && t.emitted == 0 {
		t.first, t.total = 0, 0
	}
}

// over reports that there is nothing more to follow.
func (t *told) over(now, quiet int64) bool {
	t.listed = t.emitted != 0 && now-t.last <= quiet
	return !t.listed
}

// alarmed reports an alert of medium severity that is not over.
func (t *told) alarmed() bool { return t.emitted != 0 && t.score >= loginScore }
