package analyzers

import (
	"errors"
	"slices"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// This file and dns_*.go find what hides in DNS: tunnels and exfiltration by names (kind tunnel), and programs that look for
// their master under generated names (kind nxdomain). Victims of amplification are found by flood.
//
// # Tunnel
//
// A tunnel puts data into names below a domain that its server is asked for, so no name comes twice. By client and registered
// domain, within an hour (of two halves, the open one and the one before):
//
//	information = distinct names × mean length of what stands before the domain × its entropy a character / 8
//
// in bytes: the distinct count weighted by length, as in ibHH (Ozery, Nadler, Shabtai: Information-based Heavy Hitters for
// Real-Time DNS Data Exfiltration Detection, NDSS 2024), in constant memory. A client and domain are found at Rate (0.7
// bytes a second: 2,520 bytes within the hour, however fast they come), and Names (30) distinct names, and half of all
// questions for a name of their own, if the names are
//   - long: 24 characters or more in the mean; or
//   - asked with types that carry data (TXT, NULL and private ones in half of the questions), 8 characters or more; or
//   - many: twenty times Rate, 12 characters or more, four in five questions for a name of their own.
//
// Names that end in nothing that is delegated (a last label of hex digits, as dnscat2 writes them to its server without a
// domain) count as below one domain.
//
// Where the domain's normal is known (the site's questions for it over a day), Multiple (5) times that is needed, too.
//
// Score: 50; + 10 each for types that carry data in a quarter of the questions (CNAME, MX, SRV, KEY and ANY count here, too),
// for 40 characters or more, for ten times Rate, and for answers that are 60 bytes longer than questions; + 5 for an entropy
// of 3.5 bits. - 15 where four in five answers are errors: lists of hashes answer so. 45 (low) at most where three clients
// or more, and a tenth of all that ask anything, ask for that domain so: an agent that all machines run. Capped at 89.
//
// Silent:
//   - names of short labels, 4 characters at most: addresses written backwards (reverse DNS, blocklists, by nibbles, too);
//   - Known: domains whose owner lets nobody else serve names below them, and that are asked for many: content networks,
//     blocklists, reputation services of virus scanners, which encode hashes in names as a tunnel does. The reverse zones are
//     always known. A company's own such services are to be added.
//   - DKIM, ACME, SRV, telemetry: few names a domain.
//
// Missed: tunnels whose labels have 4 characters, or below a known domain; below Rate; spread over many domains.
//
// # Nxdomain
//
// By client, within ten minutes (of two halves): NXDomains (20) distinct registered domains of which no name exists, and half
// of all registered domains it asked for. If half of them look random (five consonants in a row, few vowels, letters and digits
// in turns) the score is 55, and 5 more for each doubling, capped at 69 (medium). If they look like words a hundred are needed,
// and it is low: a crawler of old links, or a list.
//
// Silent: a search suffix (all names are below one domain); the three random names of a starting Chromium (no domain at all,
// or the suffix); names that do not exist below domains that do. A resolver that hides its clients shows their mix: a single
// generator among many users stays below half.
//
// What neither sees: DNS over TLS, HTTPS and QUIC.

// DNSConfig holds the settings of the dns analyzer.
type DNSConfig struct {
	Rate      float64       `yaml:"rate"`      // tunnel: bytes of information a second, mean of an hour
	Names     int           `yaml:"names"`     // tunnel: distinct names below a domain within an hour
	Multiple  float64       `yaml:"multiple"`  // tunnel: of what the site usually asks of the domain
	Known     []string      `yaml:"known"`     // domains below which names are never judged
	NXDomains int           `yaml:"nxdomains"` // nxdomain: distinct domains that do not exist, within ten minutes
	Quiet     time.Duration `yaml:"quiet"`     // an alert closes after it
	Domains   int           `yaml:"domains"`   // clients with domains in the table, 480 bytes each; a power of two times 8
}

// DefaultDNS returns the default settings. 0.7 bytes a second is what the paper's authors found slow real malware to use, with
// less than 0.4 % of domains falsely accused before known ones are taken out. The table takes 8 MB.
func DefaultDNS() DNSConfig {
	return DNSConfig{
		Rate: 0.7, Names: 30, Multiple: 5, Known: dnsKnown(), NXDomains: 20, Quiet: 10 * time.Minute, Domains: 16384,
	}
}

// dnsKnown are domains with very many names below them, by whom they belong to.
func dnsKnown() []string {
	return []string{
		// content networks and clouds whose customers get a name and no delegation
		"akadns.net", "akamai.net", "akamaiedge.net", "akamaihd.net", "edgekey.net", "edgesuite.net",
		"cloudfront.net", "amazonaws.com", "azureedge.net", "azure.com", "windows.net", "trafficmanager.net", "msedge.net",
		"googlevideo.com", "googleusercontent.com", "googlesyndication.com", "gvt1.com", "gvt2.com", "1e100.net",
		"fbcdn.net", "nflxvideo.net", "fastly.net", "cdn77.org", "apple-dns.net",
		// blocklists
		"abuse.ch", "barracudacentral.org", "dnswl.org", "mailspike.net", "sorbs.net", "spamcop.net", "spamhaus.net", "spamhaus.org",
		"surbl.org", "uceprotect.net", "uribl.com",
		// reputation of files and addresses, by hash
		"cymru.com", "e5.sk", "mcafee.com", "sophosxl.net",
	}
}

// Check tells what is wrong with the settings.
func (c *DNSConfig) Check() error {
	switch {
	case !(c.Rate > 0 && c.Rate <= 1e6) || c.Names < 10 || c.Names > 100000:
		return errors.New("dns: rate must be above 0 and at most 1000000, names from 10 to 100000")
	case !(c.Multiple >= 1 && c.Multiple <= 1e6):
		return errors.New("dns: multiple must be from 1 to 1000000")
	case c.NXDomains < 10 || c.NXDomains > 100000 || c.Quiet < time.Second:
		return errors.New("dns: nxdomains must be from 10 to 100000, quiet at least 1s")
	case c.Domains < poolWays || c.Domains > 1<<18:
		return errors.New("dns: domains must be from 8 to 262144")
	}
	for _, d := range c.Known {
		if d != strings.ToLower(strings.Trim(d, ".")) || d == "" {
			return errors.New("dns: known must be domains in lower case, without a dot at either end: " + d)
		}
	}
	return nil
}

// bytes is the memory of the tables.
func (c *DNSConfig) bytes() int {
	return poolBytes[dnsKey, dnsDomain](c.Domains) + poolBytes[uint64, dnsUsers](c.Domains/4) + poolBytes[dnsKey, dnsClient](c.Domains/4)
}

// DNS finds tunnels and generated names. It keeps state of a bounded number of clients and domains.
type DNS struct {
	cfg     DNSConfig
	site    *Site
	key     uint64
	keyed   bool
	now     int64 // ns, end of the last tick judged
	view    View
	known   map[string]bool
	domains *pool[dnsKey, dnsDomain]
	users   *pool[uint64, dnsUsers] // by hash of the domain: who asks for it as for a tunnel
	clients *pool[dnsKey, dnsClient]
	all     tally.HLL // clients that ask anything, of this day
	before  tally.HLL // and of the day before
	day     int64
	learn   *seconds[uint64, uint64] // what the site asks of a domain
	open    []int                    // places of domains that were named and are not quiet, or wait to be judged
	named   map[uint64]bool          // hashes of domains that are named
	opennx  []int                    // likewise, of clients
	emit    func(*Finding)
	f       Finding
	why     []Measure
}

// dnsKey names a client, and a domain by its hash.
type dnsKey struct {
	client decode.Addr
	hash   uint64
	ver    uint8
}

// dnsDomain is what a client asked of a domain.
type dnsDomain struct {
	half        [2]dnsHalf // of the hour: the open one and the one before
	number      int64      // of the open half
	first, last int64      // ns
	emitted     int64      // ns; 0: not named
	judged      int64      // ns
	queries     uint64     // since first
	told        uint64
	domain      [64]byte
	server      decode.Addr
	known       bool
	due         bool // judgement waits until a second has passed since the latest
	listed      bool // in DNS.open
}

// dnsHalf is half an hour of it.
type dnsHalf struct {
	queries, answers, errors uint64
	data, rare               uint64 // types that carry data; others that few ask for
	labelBytes, entropy      uint64
	queryBytes, answerBytes  uint64
	names                    tally.HLL
	maxLabel                 uint8
}

// dnsUsers are the clients that ask for a domain as for a tunnel.
type dnsUsers struct{ clients tally.HLL }

// NewDNS returns an analyzer with settings that Check accepts.
func NewDNS(cfg DNSConfig, site *Site) *DNS {
	a := &DNS{
		cfg: cfg, site: site, named: map[uint64]bool{},
		domains: newPool[dnsKey, dnsDomain](cfg.Domains, nil),
		users:   newPool[uint64, dnsUsers](max(cfg.Domains/4, poolWays), nil),
		clients: newPool[dnsKey, dnsClient](max(cfg.Domains/4, poolWays), nil),
		learn:   newSeconds[uint64, uint64](max(cfg.Domains/4, poolWays)),
	}
	a.setKnown()
	return a
}

func (a *DNS) setKnown() {
	a.known = make(map[string]bool, len(a.cfg.Known))
	for _, d := range a.cfg.Known {
		a.known[d] = true
	}
}

// Name implements Analyzer.
func (a *DNS) Name() string { return "dns" }

// Costs implements Bounded.
func (a *DNS) Costs() []Cost {
	return []Cost{
		{"dns evicted", a.domains.Evicted},
		{"dns refused", a.domains.Refused + a.users.Refused + a.clients.Refused},
		{"dns unlearned", a.learn.Lost},
	}
}

// Judge implements Analyzer.
func (a *DNS) Judge(e *tally.Epoch, emit func(*Finding)) {
	if !a.keyed { // the first epoch's key stays: it only has to be unknown to attackers
		a.key, a.keyed = scramble(e.SketchKey, 0x1d8e4e27c47d124f), true
	}
	a.now, a.emit = e.End(), emit
	a.view.Observe(e)
	if day := a.now / int64(24*time.Hour); day != a.day {
		a.before, a.all, a.day = a.all, tally.HLL{}, day
	}
	a.learn.turn(e, a.learned)
	for i := range e.Names {
		if in := &e.Names[i]; in.Hash == 0 {
			a.ask(in)
		} else {
			a.tunnel(in)
			a.missing(in)
		}
	}
	a.tellRest(int64(time.Second))
}

// Finish implements Analyzer.
func (a *DNS) Finish(emit func(*Finding)) {
	a.emit = emit
	a.tellRest(0)
}

// tellRest judges what waits, and tells what came since the latest finding, if that is so long ago.
func (a *DNS) tellRest(ago int64) {
	clear(a.named)
	kept := a.open[:0]
	for _, at := range a.open {
		k, s := a.domains.value(at)
		if (s.due || s.queries > s.told && s.emitted != 0) && a.now-max(s.emitted, s.judged) >= ago {
			a.judge(k, s)
		}
		if s.listed = s.due || s.emitted != 0 && a.now-s.last <= int64(a.cfg.Quiet); s.listed {
			kept = append(kept, at)
			if s.emitted != 0 {
				a.named[k.hash] = true
			}
		}
	}
	a.open = kept
	kept = a.opennx[:0]
	for _, at := range a.opennx {
		k, s := a.clients.value(at)
		if s.due && a.now-s.judged >= ago {
			a.judgeNX(k, s)
		}
		if s.listed = s.due || s.emitted != 0 && a.now-s.last <= int64(a.cfg.Quiet); s.listed {
			kept = append(kept, at)
		}
	}
	a.opennx = kept
}

func (a *DNS) hash(k *dnsKey) uint64 {
	return scramble(k.client.Lo^a.key, scramble(k.client.Hi^uint64(k.ver)<<56, k.hash))
}

// isKnown tells whether a domain, or one above it, is known.
func (a *DNS) isKnown(domain string) bool {
	for d := domain; d != ""; {
		if a.known[d] || d == "in-addr.arpa" || d == "ip6.arpa" {
			return true
		}
		_, d, _ = strings.Cut(d, ".")
	}
	return false
}

// text is the text of a domain.
func text(domain *[64]byte) string {
	for i, c := range domain {
		if c == 0 {
			return string(domain[:i])
		}
	}
	return string(domain[:])
}

// adjust implements adjustable. What is already known or not stays so until it is forgotten.
func (a *DNS) adjust(cfg *Config) []string {
	next := cfg.DNS
	restart := fixed(a.cfg.Domains, &next.Domains, "dns.domains")
	next.Known = slices.Clone(next.Known)
	a.cfg = next
	a.setKnown()
	return restart
}
