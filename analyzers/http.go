package analyzers

import (
	"errors"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// HTTP finds odd behaviour at web services where HTTP/1 is readable: before TLS ends, or on the plain side behind it, where the
// client is who the trusted proxy says (ATT&CK T1595.002, T1595.003, T1190, T1499.002).
//
//	probing  one source at one service within Window: Missing distinct paths that were answered by 404 or 410, half of its
//	         answers at least being such, and more than 5 times what the service's other clients have
//	agents   one source with AgentsEach User-Agents within Window, every second request of a second with another at least; or one
//	         User-Agent that was rare at a service, from Sources sources within Window (as fingerprint's cluster)
//	methods  one source at one service within Window: Methods requests by methods that the service does not know: TRACE,
//	         CONNECT, PROPFIND and others are not known before somebody used them for an hour; GET, POST and the like are unless
//	         the service is known for an hour without them
//	errors   a service's answers of 401, 403, 404 and 5xx a second: ErrorsPerSecond, five standard deviations and Surge
//	         times the baseline, a share that surged likewise, in 3 of 5 seconds. Errors of 4xx of one source
//	         that has 80 % of them are its own, and left to probing and bruteforce
//	spike    a service's requests a second: RequestsPerSecond, five standard deviations and five times the baseline, in 3 of 5
//	         seconds
//
// errors and spike need a warm baseline and name nobody: the victim is the service.
//
// # Score
//
// probing 50, 5 more for each doubling, at most 69; agents of one source and methods 30 to 45 (low:
// neither is an attack), agents of many 50 to 60; errors and spike 50, 5 more for each doubling of the limit, at most 69.
//
// # What looks like it
//
//   - A crawler that follows links finds few dead ones; a browser asks for a missing icon. Both stay far below half.
//   - A package proxy or a sync client asks for much that is not there. From inside it is low on the first day, then what its
//     service's clients usually do is known.
//   - Many users behind one address have many User-Agents, but each asks for several parts of a page within a second. If it is
//     programs that poll there, it is reported as low.
//   - WebDAV and its PROPFIND: low until known for an hour.
//   - A release that breaks a page is an error surge, and meant to be one. A rush of visitors is a spike.
//   - Servers that answer everything by 200 hide probing; it then is many distinct paths (rate, sustained).
//
// Behind a trusted proxy the client's address is a header's: no return path is proven, and the proxy is never the subject.
//
// State: Clients sources at services (0.8 kB each), Services services (1.1 kB), 4 times as many User-Agents (1.1 kB each); see keep
// for what goes first.
type HTTP struct {
	cfg       HTTPConfig
	site      *Site
	now       int64
	view      View
	clients   keep[webClient, *webClient]
	services  keep[webService, *webService]
	agents    mix
	second    *seconds[tally.PairKey, webSecond]
	lastAgent []agentMark
	peers     recentPeers
	open      []tally.PairKey // clients that were told, and may have news
	crowds    []tally.PairKey // User-Agents likewise
	emit      func(*Finding)
	f         Finding
	why       []Measure
	held      uint64
}

// HTTPConfig holds the settings of the http analyzer.
type HTTPConfig struct {
	Missing           int           `yaml:"missing"`             // distinct missing paths of one source within window
	Methods           int           `yaml:"methods"`             // requests of one source by methods that the service does not know
	AgentsEach        int           `yaml:"agents_each"`         // User-Agents of one source within window
	Sources           int           `yaml:"sources"`             // sources of one rare User-Agent within window
	Window            time.Duration `yaml:"window"`              // of these
	ErrorsPerSecond   float64       `yaml:"errors_per_second"`   // of one service: floor of an error surge
	Surge             float64       `yaml:"surge"`               // of errors: multiple of the baseline
	RequestsPerSecond float64       `yaml:"requests_per_second"` // of one service: floor of a spike
	Multiplier        float64       `yaml:"multiplier"`          // of requests, User-Agents and other clients: multiple of the baseline
	Quiet             time.Duration `yaml:"quiet"`               // an alert closes after it
	Clients           int           `yaml:"clients"`             // sources at services; a power of two times 8
	Services          int           `yaml:"services"`            // web services; likewise
}

// DefaultHTTP returns the default settings. 25 missing paths: a site that was moved leaves its visitors with a few; wordlists
// begin at hundreds. 10 methods requests: a DAV client's look at one folder is three. 10 User-Agents change hands in no household
// within five minutes. 5 errors and 50 requests a second are what a small service has in its worst healthy second.
func DefaultHTTP() HTTPConfig {
	return HTTPConfig{
		Missing: 25, Methods: 10, AgentsEach: 10, Sources: 20, Window: 5 * time.Minute, ErrorsPerSecond: 5, Surge: 3,
		RequestsPerSecond: 50, Multiplier: 5, Quiet: 5 * time.Minute, Clients: 8192, Services: 512,
	}
}

// Check tells what is wrong with the settings.
func (c *HTTPConfig) Check() error {
	switch {
	case c.Missing < 3 || c.Missing > 1e6 || c.Methods < 1 || c.Methods > 1e6:
		return errors.New("http: missing must be from 3 and methods from 1 to 1000000")
	case c.AgentsEach < 3 || c.AgentsEach > 1e6 || c.Sources < 2 || c.Sources > 1e6:
		return errors.New("http: agents_each must be from 3 and sources from 2 to 1000000")
	case c.Window < 10*time.Second || c.Window > 24*time.Hour:
		return errors.New("http: window must be from 10s to 24h")
	case !(c.ErrorsPerSecond > 0 && c.ErrorsPerSecond <= 1e9) || !(c.RequestsPerSecond > 0 && c.RequestsPerSecond <= 1e9):
		return errors.New("http: errors_per_second and requests_per_second must be above 0 and at most 1000000000")
	case !(c.Surge >= 1 && c.Surge <= 1e6) || !(c.Multiplier >= 1 && c.Multiplier <= 1e6):
		return errors.New("http: surge and multiplier must be from 1 to 1000000")
	case c.Quiet < time.Second || c.Quiet > 24*time.Hour:
		return errors.New("http: quiet must be from 1s to 24h")
	case c.Clients < keepWays || c.Clients > 1<<20 || c.Services < keepWays || c.Services > 1<<18:
		return errors.New("http: clients must be from 8 to 1048576, services to 262144")
	}
	return nil
}

// webSeconds bounds the services whose seconds are added up.
const webSeconds = 1 << 14

// NewHTTP returns an analyzer with settings that Check accepts.
func NewHTTP(cfg HTTPConfig, site *Site) *HTTP {
	return &HTTP{
		cfg: cfg, site: site, clients: newKeep[webClient](cfg.Clients), services: newKeep[webService](cfg.Services),
		agents: newMix(cfg.Services, 4*cfg.Services), second: newSeconds[tally.PairKey, webSecond](webSeconds), lastAgent: make([]agentMark, webAgentMarks*cfg.Clients), peers: newRecentPeers(),
	}
}

// adjust implements adjustable. What was counted within a window of another length is forgotten.
func (h *HTTP) adjust(cfg *Config) []string {
	next := cfg.HTTP
	restart := fixed(h.cfg.Clients, &next.Clients, "http.clients")
	restart = append(restart, fixed(h.cfg.Services, &next.Services, "http.services")...)
	h.cfg = next
	return restart
}

// Name implements Analyzer.
func (h *HTTP) Name() string { return "http" }

// Costs implements Bounded.
func (h *HTTP) Costs() []Cost {
	return []Cost{
		{"http evicted", h.clients.Evicted + h.services.Evicted + h.agents.prints.Evicted + h.agents.services.Evicted},
		{"http held", h.held},
		{"http seconds", h.second.Lost},
	}
}

// Judge implements Analyzer.
func (h *HTTP) Judge(e *tally.Epoch, emit func(*Finding)) {
	h.now, h.emit = e.End(), emit
	h.view.Observe(e)
	h.clients.begin(e)
	h.services.begin(e)
	h.agents.begin(e, int64(h.cfg.Quiet))
	h.peers.note(e)
	h.second.turn(e, h.judgeSecond)
	part := e.Start() / (int64(h.cfg.Window) / spanParts)
	for i := range e.Webs {
		w := &e.Webs[i]
		c := h.client(w, part)
		h.perSecond(w, c)
		h.agent(w, part)
	}
	h.follow(false)
}

// Finish implements Analyzer.
func (h *HTTP) Finish(emit func(*Finding)) {
	h.emit = emit
	h.second.flush(h.judgeSecond)
	h.follow(true)
}

// follow tells the news of what was told.
func (h *HTTP) follow(now bool) {
	left := h.open[:0]
	for i := range h.open {
		if h.retell(&h.open[i], now) {
			left = append(left, h.open[i])
		}
	}
	h.open = left
	crowds := h.crowds[:0]
	for i := range h.crowds {
		if h.retellAgent(&h.crowds[i], now) {
			crowds = append(crowds, h.crowds[i])
		}
	}
	h.crowds = crowds
}

// serviceOf is the key of a client's service.
func serviceOf(k *tally.PairKey) tally.PairKey {
	s := *k
	s.Client = decode.Addr{}
	return s
}
