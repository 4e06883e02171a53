package sensor

import (
	"path/filepath"
	"strings"
	"testing"

	"weir/sensor/alert"
)

// attacks is what must be found in the corpus's captures of scans, floods and amplification: analyzer, kind, subject and
// victim, by the ground truth in its manifest. No want: why the capture cannot show it.
var attacks = []struct {
	file, analyzer, kind, subject, victim string
	why                                   string
}{
	{file: "attack-scan/ndpi__synscan.pcap", analyzer: "scan", kind: "vertical", subject: "172.16.0.8", victim: "64.13.134.52"},
	{file: "attack-scan/zeek__nmap-vsn.pcap", analyzer: "scan", kind: "arp_sweep", subject: "192.168.1.71", victim: "192.168.1.0/24"},
	{file: "attack-scan/ndpi__tcp_scan.pcapng", why: "a sampler of probes: seven ports in 40 s, two of them answered; nine failures make a scan"},
	{file: "attack-scan/zeek__vnc-scanner.pcap", why: "one login to one port"},
	{file: "attack-flood/stopddos__pkt.TCP.synflood.spoofed.pcap", analyzer: "flood", kind: "syn", victim: "10.10.10.10:25565/tcp"},
	{file: "attack-flood/zeek__dhcp_flood.pcap", why: "50 answered requests a second; exhaustion of leases is not judged"},
	{file: "attack-amp/stopddos__amp.UDP.isakmp.pcap", analyzer: "flood", kind: "amplification", victim: "10.10.10.10"},
	{
		file: "attack-amp/stopddos__amp.TCP.syn.optionallyACK.optionallysamePort.pcapng", analyzer: "scan", kind: "vertical",
		subject: "178.238.236.27", victim: "10.10.10.10",
		why: "the reflection is one packet a second; the scan is in it, too: nine web ports within 20 ms",
	},
	{
		file: "attack-brute/zeek__bruteforce.pcap", analyzer: "bruteforce", kind: "password",
		subject: "192.168.56.1", victim: "192.168.56.101:21/tcp",
	},
	{
		file: "attack-brute/zeek__ldap_invalid_credentials.pcap",
		why:  "a handful of failed binds within one connection whose beginning is not in the capture: no session ends, and headers do not show binds",
	},
	{
		file: "attack-amp/stopddos__amp.dns.RRSIG.fragmented.pcap",
		why:  "at most 203 packets and 2.4 Mbit in a second: below the floors of 300 answers and 10 Mbit",
	},
}

// TestAttacks finds the attacks of others' captures: the right kind, victim and subject, and nothing else of severity
// medium or more.
func TestAttacks(t *testing.T) {
	dir := corpus(t)
	known := map[string]bool{}
	for _, c := range attacks {
		known[c.file] = true
		t.Run(c.file, func(t *testing.T) {
			out, _, err := replay(t, 0, nil, filepath.Join(dir, c.file))
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, a := range parse(t, out) {
				if a.Severity < alert.Medium || a.Analyzer == "fingerprint" && name(a.Subject) == c.subject {
					continue // the tool's print is another finding about the same source
				}
				if a.Analyzer != c.analyzer || a.Kind != c.kind || name(a.Subject) != c.subject || name(a.Victim) != c.victim {
					t.Errorf("%s %s by %q on %q: %s", a.Analyzer, a.Kind, name(a.Subject), name(a.Victim), a.Summary)
				}
				found = true
			}
			if !found && c.analyzer != "" {
				t.Errorf("no %s %s", c.analyzer, c.kind)
			}
		})
	}
	for _, category := range []string{"attack-scan", "attack-flood", "attack-amp", "attack-brute"} {
		files, err := filepath.Glob(filepath.Join(dir, category, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if rel := strings.TrimPrefix(f, dir+"/"); !known[rel] {
				t.Errorf("%s: not in the table", rel)
			}
		}
	}
}

func name(p *alert.Party) string {
	if p == nil {
		return ""
	}
	return p.String()
}
