package sensor

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"weir/sensor/alert"
)

const (
	attacker = "198.51.100.23"
	flooder  = "203.0.113.66"
	insider  = "10.20.0.66"
	host     = "10.20.0.10"
	network  = "10.20.0.0/24"

	guesser   = "203.0.113.9"
	webServer = "10.20.0.80:80/tcp"
)

// truths is what is true in each attack case of pcaps, as its README tells it from how the capture was made: the analyzer and
// kind that must be found (none: nothing of that analyzer), by whom (nobody: the addresses are forged or too many) and on whom. want.jsonl holds what weir
// says of it, to the byte; this table holds it to the truth.
var truths = map[string]struct {
	kind     string
	subjects []string
	victim   string
}{
	"scan/arp-sweep":           {"arp_sweep", []string{"10.20.0.66"}, network},
	"scan/distributed":         {"distributed", nil, network},
	"scan/masscan-horizontal":  {"horizontal", []string{attacker}, network + ":443/tcp"},
	"scan/masscan-ports":       {"block", []string{attacker}, network},
	"scan/mirai-like":          {"horizontal", []string{"203.0.113.77"}, network + ":23/tcp"},
	"scan/mixed-with-browsing": {"horizontal", []string{"10.20.0.66"}, "198.51.100.0/24:445/tcp"},
	"scan/nmap-ack":            {"ack", []string{attacker}, host},
	"scan/nmap-block":          {"block", []string{attacker}, network},
	"scan/nmap-decoys": {
		"vertical", []string{attacker, "203.0.113.11", "203.0.113.12", "198.51.100.77", "198.51.100.78"}, host,
	},
	"scan/nmap-fin":            {"fin", []string{attacker}, host},
	"scan/nmap-fragmented":     {"vertical", []string{attacker}, host},
	"scan/nmap-horizontal":     {"horizontal", []string{attacker}, network + ":22/tcp"},
	"scan/nmap-ipv6":           {"vertical", []string{"2001:db8:51::23"}, "fd00:20::10"},
	"scan/nmap-maimon":         {"maimon", []string{attacker}, host},
	"scan/nmap-null":           {"null", []string{attacker}, host},
	"scan/nmap-sS-filtered":    {"vertical", []string{attacker}, host},
	"scan/nmap-sS-vertical":    {"vertical", []string{attacker}, host},
	"scan/nmap-sT-vertical":    {"vertical", []string{attacker}, host},
	"scan/nmap-udp":            {"udp", []string{attacker}, host},
	"scan/nmap-udp-horizontal": {"udp", []string{attacker}, network + ":161/udp"},
	"scan/nmap-xmas":           {"xmas", []string{attacker}, host},
	"scan/oneway-syn":          {"strobe", []string{attacker}, network},
	"scan/open-ports-only":     {"block", []string{attacker}, network},
	"scan/ping-sweep":          {"icmp_sweep", []string{attacker}, network},
	"scan/slow-scan":           {"vertical", []string{attacker}, host},
	"scan/slow-scan-1min":      {"vertical", []string{attacker}, host},
	"scan/strobe":              {"strobe", []string{attacker}, network},
	"scan/zmap-horizontal":     {"horizontal", []string{attacker}, network + ":443/tcp"},

	"flood/ack":                     {"ack", []string{flooder}, host + ":80/tcp"},
	"flood/amplification-dns":       {"amplification", nil, host},
	"flood/amplification-memcached": {"amplification", nil, host},
	"flood/amplification-ntp":       {"amplification", nil, host},
	"flood/carpet-bombing":          {"udp", []string{flooder}, network},
	"flood/connection":              {"connection", []string{flooder}, host + ":80/tcp"},
	"flood/connection-many":         {"connection", nil, host + ":80/tcp"},
	"flood/fragment":                {"fragment", nil, host},
	"flood/icmp":                    {"icmp", []string{flooder}, host},
	"flood/multi":                   {"multi", nil, host},
	"flood/rst":                     {"rst", nil, host + ":443/tcp"},
	"flood/slow-headers":            {"slow", nil, host + ":80/tcp"},
	"flood/slow-read":               {"slow", nil, host + ":80/tcp"},
	"flood/syn-ipv6":                {"syn", nil, "[fd00:20::10]:80/tcp"},
	"flood/syn-near-floor":          {"syn", nil, host + ":22/tcp"},
	"flood/syn-one-source":          {"syn", []string{flooder}, host + ":80/tcp"},
	"flood/syn-one-source-rst":      {"syn", []string{flooder}, host + ":443/tcp"},
	"flood/syn-signature":           {"syn", nil, host + ":80/tcp"},
	"flood/syn-spoofed":             {"syn", nil, host + ":80/tcp"},
	"flood/udp":                     {"udp", []string{flooder}, host + ":27015/udp"},
	"flood/udp-spoofed":             {"udp", nil, host + ":53/udp"},

	"bruteforce/hydra-basic":         {"web_login", []string{guesser}, webServer},
	"bruteforce/hydra-form":          {"web_login", []string{guesser}, webServer},
	"bruteforce/hydra-form-redirect": {"web_login", []string{guesser}, webServer},
	"bruteforce/hydra-ftp":           {"password", []string{guesser}, "10.20.0.21:21/tcp"},
	"bruteforce/hydra-ssh":           {"password", []string{guesser}, "10.20.0.22:22/tcp"},
	"bruteforce/hydra-ssh-2222":      {"password", []string{guesser}, "10.20.0.22:2222/tcp"},
	"bruteforce/medusa-ftp":          {"password", []string{guesser}, "10.20.0.21:21/tcp"},
	"bruteforce/medusa-ssh":          {"password", []string{guesser}, "10.20.0.22:22/tcp"},
	"bruteforce/stuffing-ftp":        {"stuffing", nil, "10.20.0.21:21/tcp"},

	"http/error-surge":     {"errors", nil, webServer},
	"http/ffuf":            {"probing", []string{guesser}, webServer},
	"http/gobuster-ipv6":   {"probing", []string{"2001:db8:51::23"}, "[fd00:20::80]:80/tcp"},
	"http/methods":         {"methods", []string{guesser}, webServer},
	"http/rotating-agents": {"agents", []string{guesser}, webServer},
	"http/spike":           {"spike", nil, webServer},
	"http/swarm":           {"agents", nil, webServer},

	"fingerprint/hping3-syn":          {"tool", []string{attacker}, ""},
	"fingerprint/masscan":             {"tool", []string{attacker}, ""},
	"fingerprint/nmap-O":              {"tool", []string{attacker}, ""},
	"fingerprint/nmap-sV":             {"tool", []string{attacker}, ""},
	"fingerprint/zmap":                {"tool", []string{attacker}, ""},
	"fingerprint/cluster":             {"cluster", nil, webServer},
	"fingerprint/rotation":            {"rotation", nil, webServer},
	"fingerprint/mismatch":            {"mismatch", []string{guesser}, webServer},
	"fingerprint/new":                 {"new", []string{guesser}, "10.20.0.22:22/tcp"},
	"fingerprint/linux-curl":          {},
	"fingerprint/linux-ssh":           {},
	"fingerprint/linux-no-timestamps": {},
	"fingerprint/nmap-sT":             {},

	"dns/iodine":             {"tunnel", []string{insider}, ""},
	"dns/iodine-resolver":    {"tunnel", []string{insider}, ""},
	"dns/dns2tcp":            {"tunnel", []string{insider}, ""},
	"dns/slow":               {"tunnel", []string{insider}, ""},
	"dns/generated":          {"nxdomain", []string{insider}, ""},
	"tunnel/ptunnel":         {"icmp", []string{insider}, flooder},
	"exfil/curl-upload":      {"volume", []string{insider}, flooder},
	"exfil/slow":             {"slow", []string{insider}, flooder},
	"exfil/first-day":        {"volume", []string{insider}, flooder},
	"exfil/origin":           {"origin", []string{insider}, "AS64500"},
	"beacon/jitter":          {"beacon", []string{insider}, flooder + ":80/tcp"},
	"beacon/open-connection": {"beacon", []string{insider}, flooder + ":443/tcp"},

	"rate/spike":              {"spike", nil, host + ":80/tcp"},
	"rate/load-lasting":       {"spike", nil, host + ":80/tcp"},
	"rate/drop":               {"drop", nil, host + ":5201/tcp"},
	"rate/source-scraper":     {"source_spike", []string{flooder}, host + ":80/tcp"},
	"rate/source-connections": {"source_spike", []string{flooder}, host + ":80/tcp"},
	"rate/sustained-mirror":   {"sustained", []string{flooder}, host + ":80/tcp"},
	"change/new-service":      {"new_service", nil, host + ":8080/tcp"},
	"change/new-peer":         {"new_peer", []string{host}, flooder + ":80/tcp"},
	"change/silent-service":   {"silent_service", nil, host + ":80/tcp"},
	"latency/rtt":             {"rtt", nil, host + ":80/tcp"},
	"latency/retransmission":  {"retransmission", nil, host + ":80/tcp"},
	"scan/distributed-hidden": {"distributed", nil, network},
	"flood/syn-below-floor":   {"syn", nil, host + ":80/tcp"},

	"weird/arp-poisoning":   {"arp_conflict", nil, "10.20.0.1"},
	"weird/arp-storm":       {"arp_storm", nil, ""},
	"weird/rogue-dhcp":      {"rogue_dhcp", []string{insider}, ""},
	"weird/rogue-router":    {"rogue_router", []string{"fe80::ff:fe00:c"}, ""},
	"weird/land":            {"land", nil, host},
	"weird/teardrop":        {"teardrop", []string{flooder}, host},
	"weird/bad-flags":       {"bad_flags", []string{flooder}, host},
	"weird/martian":         {"martian", nil, host},
	"weird/split-handshake": {"split_handshake", []string{flooder}, host},
	"weird/ttl-reset":       {"ttl", []string{"203.0.113.80"}, host},
	"weird/overlap":         {"overlap", []string{flooder}, host},
	"weird/private-source":  {"private_source", []string{"172.16.99.9"}, ""},

	"incident/scan-then-guess":    {"campaign", []string{guesser}, "10.20.0.22"},
	"incident/guessed-then-scans": {"compromise", []string{guesser}, "10.20.0.22"},
	"incident/two-strangers":      {"", []string{attacker, guesser}, "10.20.0.22"}, // each does its own: no incident
}

// parties are true subjects, too, that need not be named: the single sources of attacks by many, and a host that was taken over.
var parties = map[string]string{
	"scan/distributed":              "203.0.113.96/27",
	"flood/amplification-memcached": "198.51.100.31/30",
	"flood/connection-many":         "198.51.100.0/26",
	"flood/multi":                   "198.51.100.99/32",
	"flood/slow-headers":            flooder + "/32",
	"flood/slow-read":               flooder + "/32",
	"incident/guessed-then-scans":   "10.20.0.22/32",
}

// TestTruth holds the expected alerts of the attack cases, which TestGolden gets, against the truth: each subject is named for the
// right kind on the right victim, and nobody else is accused of anything of severity medium or more.
func TestTruth(t *testing.T) {
	seen := 0
	for _, in := range cases(t) {
		dir := filepath.Dir(in)
		analyzer := filepath.Base(filepath.Dir(dir))
		if analyzer == "benign" {
			continue
		}
		seen++
		truth, ok := truths[analyzer+"/"+filepath.Base(dir)]
		if !ok {
			t.Errorf("%s: not in the table of truths", dir)
			continue
		}
		t.Run(analyzer+"/"+filepath.Base(dir), func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join(dir, "want.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			alerts := parse(t, want)
			subjects := truth.subjects
			switch {
			case truth.kind == "":
				subjects = nil
				if i := slices.IndexFunc(alerts, func(a *alert.Alert) bool { return a.Analyzer == analyzer }); i >= 0 {
					t.Errorf("%s %s: %s", analyzer, alerts[i].Kind, alerts[i].Summary)
				}
			case len(subjects) == 0:
				subjects = []string{""}
			}
			for _, s := range subjects {
				if !slices.ContainsFunc(alerts, func(a *alert.Alert) bool {
					return a.Analyzer == analyzer && a.Kind == truth.kind && name(a.Subject) == s && name(a.Victim) == truth.victim
				}) {
					t.Errorf("no %s %s by %q on %q", analyzer, truth.kind, s, truth.victim)
				}
			}
			accused(t, alerts, truth.subjects, parties[analyzer+"/"+filepath.Base(dir)], truth.victim)
		})
	}
	if seen != len(truths) {
		t.Errorf("%d cases, %d truths", seen, len(truths))
	}
}

// TestSignature replays a flood among normal traffic and holds its signature to what is true of the two: the flood's SYNs are
// 40 bytes long, the clients' 60 (see the case's README).
func TestSignature(t *testing.T) {
	out, _, err := replay(t, 1, nil, "../pcaps/flood/syn-signature/in.pcap.zst")
	if err != nil {
		t.Fatal(err)
	}
	alerts := slices.DeleteFunc(parse(t, out), func(a *alert.Alert) bool { return a.Analyzer != "flood" })
	if len(alerts) == 0 || alerts[0].Signature == nil {
		t.Fatalf("no alert with a signature among %d", len(alerts))
	}
	for _, a := range alerts {
		s := a.Signature
		if s.Attack < 0.8 || s.Normal > 0.01 || s.NNormal < 100 {
			t.Errorf("signature covers %v of the attack and %v of %d normal headers", s.Attack, s.Normal, s.NNormal)
		}
		for _, f := range s.Fields {
			if f.Name == "length" && f.Value != "40" {
				t.Errorf("signature of length %s", f.Value)
			}
		}
	}
}

// accused fails for alerts of medium severity or more that name another subject than the true ones, or a victim outside of
// the true one's network.
func accused(t *testing.T, alerts []*alert.Alert, subjects []string, also, victim string) {
	t.Helper()
	var others netip.Prefix
	if also != "" {
		others = netip.MustParsePrefix(also)
	}
	for _, a := range alerts {
		if a.Severity < alert.Medium {
			continue
		}
		if s := name(a.Subject); s != "" && !slices.Contains(subjects, s) && !others.Contains(a.Subject.IP) {
			t.Errorf("%s %s accuses %s", a.Analyzer, a.Kind, s)
		}
		if v := prefixOf(a.Victim); v.IsValid() && victim != "" && !around(host, v) && !around("fd00:20::10", v) && !around("198.51.100.0", v) && !around(flooder, v) {
			t.Errorf("%s %s on %s", a.Analyzer, a.Kind, name(a.Victim))
		}
	}
}

// prefixOf is a party's address or prefix.
func prefixOf(p *alert.Party) netip.Prefix {
	if p == nil || p.Prefix.IsValid() {
		if p == nil {
			return netip.Prefix{}
		}
		return p.Prefix
	}
	return netip.PrefixFrom(p.IP, p.IP.BitLen())
}

// around tells whether a prefix lies in the /24 (IPv6: /64) of an address.
func around(addr string, p netip.Prefix) bool {
	a := netip.MustParseAddr(addr)
	bits := 24
	if a.Is6() {
		bits = 64
	}
	net, err := a.Prefix(bits)
	return err == nil && p.Bits() >= bits && net.Contains(p.Addr())
}
