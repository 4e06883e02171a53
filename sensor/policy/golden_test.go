package policy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/analyzers/context"
	"weir/sensor/alert"
)

// Addresses of the captures, by their READMEs.
const (
	attacker = "address.198.51.100.23"
	flooder  = "address.203.0.113.66"
	service  = "service.10.20.0.10."
)

const (
	limited = " limit_new"
	scanner = attacker + limited
	guesser = "address.203.0.113.9 drop" // whose connections were completed

	guesserLimited = "address.203.0.113.9" + limited
)

// answers is what each capture of an attack is answered with, by what is true in it: the scanner's source did not prove its
// return path before the first alert, so its new connections are limited; the one source of a flood of completed connections
// is dropped; floods from forged addresses meet their service or their signature, never an address.
var answers = map[string]string{
	"bruteforce/hydra-basic": guesser, "bruteforce/hydra-form": guesser, "bruteforce/hydra-form-redirect": guesser,
	"bruteforce/hydra-ftp": guesser, "bruteforce/hydra-ssh": guesser, "bruteforce/hydra-ssh-2222": guesser, "bruteforce/medusa-ftp": guesser, "bruteforce/medusa-ssh": guesser,
	"bruteforce/stuffing-ftp": "", // nobody can be named

	"weird/arp-poisoning": "", "weird/arp-storm": "", "weird/bad-flags": "", "weird/land": "", "weird/martian": "", "weird/overlap": "",
	"weird/rogue-dhcp": "", "weird/rogue-router": "", "weird/split-handshake": "", "weird/teardrop": "", "weird/ttl-reset": "",
	"weird/private-source": "", // low

	// Its scan proves nothing, its guesses do. The host that was taken over is inside.
	"incident/scan-then-guess": guesser + ", " + guesserLimited, "incident/guessed-then-scans": guesser,
	"incident/two-strangers":  scanner + ", " + guesser,
	"scan/distributed-hidden": "",                          // nobody can be named
	"benign/dhcp-pair":        "", "benign/traceroute": "", // for information
	"flood/syn-below-floor": "signature.10.20.0.10.tcp.80.bb1c0fab1f664c04 drop",

	"http/ffuf": guesser, "http/gobuster-ipv6": "address.20010db8005100000000000000000023 drop",
	"http/methods": "", "http/rotating-agents": "", // low
	"http/error-surge": "", "http/spike": "", "http/swarm": "",

	"benign/login-monitoring": "", // low

	"dns/dns2tcp": "", "dns/generated": "", "dns/iodine": "", "dns/iodine-resolver": "", "dns/slow": "", "tunnel/ptunnel": "", // inside hosts: never
	"exfil/origin": "", "exfil/curl-upload": "", "exfil/first-day": "", "exfil/slow": "", "beacon/jitter": "", "beacon/open-connection": "",
	"benign/dns-cdn-blocklists": "", "benign/poll-updates-mail-ntp": "", // low

	"rate/source-connections": "", "rate/source-scraper": "", "rate/sustained-mirror": "", // never by default: busy is not hostile
	"rate/spike": "", "rate/load-lasting": "", "rate/drop": "", // nobody is named
	"latency/rtt": "", "latency/retransmission": "", "benign/load-bulk": "", // low
	"change/new-peer": "", "change/new-service": "", "change/silent-service": "", // low

	"fingerprint/cluster": "", "fingerprint/rotation": "", "fingerprint/mismatch": "", "fingerprint/new": "",

	"fingerprint/hping3-syn": "", "fingerprint/masscan": "", "fingerprint/nmap-O": "", "fingerprint/nmap-sV": "", "fingerprint/zmap": "",

	"flood/ack":                     service + "tcp.80 limit",
	"flood/amplification-dns":       service + "udp.0 limit",
	"flood/amplification-memcached": service + "udp.0 limit",
	"flood/amplification-ntp":       service + "udp.0 limit",
	"flood/carpet-bombing":          "",
	"flood/connection":              flooder + " drop",
	"flood/connection-many":         service + "tcp.80 limit",
	"flood/fragment":                "",
	"flood/icmp":                    service + "icmp.0 limit",
	"flood/multi":                   service + "tcp.80 limit",
	"flood/rst":                     service + "tcp.443 limit",
	"flood/slow-headers":            "",
	"flood/slow-read":               "",
	"flood/syn-ipv6":                "service.fd000020000000000000000000000010.tcp.80 limit",
	"flood/syn-near-floor":          service + "tcp.22 limit",
	"flood/syn-one-source":          flooder + limited,
	"flood/syn-one-source-rst":      flooder + limited,
	"flood/syn-signature":           "signature.10.20.0.10.tcp.80.bb1c0fab1f664c04 drop",
	"flood/syn-spoofed":             service + "tcp.80 limit",
	"flood/udp":                     service + "udp.27015 limit",
	"flood/udp-spoofed":             service + "udp.53 limit",

	"scan/arp-sweep":           "",
	"scan/mirai-like":          "address.203.0.113.77" + limited,
	"scan/mixed-with-browsing": "", // an inside host: private
	"scan/nmap-ipv6":           "address.20010db8005100000000000000000023" + limited,
	"scan/open-ports-only":     "", // low
	"scan/nmap-decoys": "address.198.51.100.23 limit_new, address.198.51.100.77 limit_new, address.198.51.100.78 limit_new, " +
		"address.203.0.113.11 limit_new, address.203.0.113.12 limit_new",
	"scan/masscan-horizontal": scanner, "scan/masscan-ports": scanner, "scan/nmap-ack": scanner, "scan/nmap-block": scanner,
	"scan/nmap-fin": scanner, "scan/nmap-fragmented": scanner, "scan/nmap-horizontal": scanner, "scan/nmap-maimon": scanner,
	"scan/nmap-null": scanner, "scan/nmap-sS-filtered": scanner, "scan/nmap-sS-vertical": scanner, "scan/nmap-sT-vertical": scanner,
	"scan/nmap-udp": scanner, "scan/nmap-udp-horizontal": scanner, "scan/nmap-xmas": scanner, "scan/oneway-syn": scanner,
	"scan/ping-sweep": scanner, "scan/slow-scan": scanner, "scan/slow-scan-1min": scanner, "scan/strobe": scanner, "scan/zmap-horizontal": scanner,
}

// TestGolden answers the alerts of all captures.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../../pcaps/*/*/want.jsonl")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d cases (%v)", len(files), err)
	}
	seen := 0
	for _, file := range files {
		name := strings.TrimPrefix(filepath.Dir(file), "../../pcaps/")
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		alerts, err := alert.Read(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, d := range answer(t, alerts) {
			got[d.Key()+" "+d.Action.String()] = true
			check(t, name, d)
		}
		list := strings.Join(slices.Sorted(maps.Keys(got)), ", ")
		want, ok := answers[name]
		if ok {
			seen++
		}
		switch {
		case name == "scan/distributed": // sixteen sources of 203.0.113.96/27
			seen++
			for k := range got {
				if !prefix("203.0.113.96/27").Contains(addr(strings.TrimSuffix(strings.TrimPrefix(k, "address."), limited))) {
					t.Errorf("%s: %s", name, k)
				}
			}
		case !ok && len(alerts) > 0:
			t.Errorf("%s: not in the table of answers: %s", name, list)
		case list != want:
			t.Errorf("%s: %q, want %q", name, list, want)
		}
	}
	if seen != len(answers)+1 {
		t.Errorf("%d of %d answers have a case", seen, len(answers)+1)
	}
}

// answer is what a policy that knows nothing of the network wants, in the course of the alerts.
func answer(t *testing.T, alerts []*alert.Alert) (drops []*Drop) {
	t.Helper()
	p := New(Defaults(), context.New(context.Config{}, nil, nil))
	for _, a := range alerts {
		for _, d := range p.Judge(a, int64(a.Time)) {
			if d.Drop != nil && d.Drop.State == Requested {
				drops = append(drops, d.Drop)
			}
		}
	}
	return drops
}

// check holds what is true of all captures: the inside (10.20.0.0/16, fd00:20::/32) did not attack, and only completed
// connections prove an address.
func check(t *testing.T, name string, d *Drop) {
	t.Helper()
	if strings.HasPrefix(name, "benign/") {
		t.Errorf("%s: %s", name, d.Summary)
	}
	s := d.Source()
	if s.IsValid() && (s.Overlaps(prefix("10.20.0.0/16")) || s.Overlaps(prefix("fd00:20::/32"))) {
		t.Errorf("%s: the inside is hit: %s", name, d.Summary)
	}
	if s.IsValid() && d.Action != LimitNew && name != "flood/connection" && !strings.HasPrefix(name, "bruteforce/") && !strings.HasPrefix(name, "http/") &&
		!strings.HasPrefix(name, "incident/") {
		t.Errorf("%s: more than a limit on an address that is not proven: %s", name, d.Summary)
	}
	if err := d.Check(); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}
