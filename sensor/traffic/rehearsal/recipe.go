package rehearsal

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weir/sensor/alert"
)

// recipe is an attack that can be injected: a golden capture (its README tells how it was made) and what is true in it, in the
// addresses of the lab. Adding one is a line below, and the capture's in package pcaps if its folder is not there yet.
type recipe struct {
	capture  string // below pcaps
	analyzer string
	kind     string
	also     []string // kinds that are right, too: as sweeps and masses
	subject  string   // address; "": nobody can be named
	victim   string   // address, network, or either with port; "": nobody
	tool     string
	parties  []string      // others who take part: prefixes
	at       string        // name of the server that takes the victim's place; "": any
	others   []string      // who takes the places of further hosts, as "10.20.0.53=dns1"
	learned  bool          // it is judged by what its victim or subject did before: it comes after a day of that
	crowd    bool          // it is judged by what other visitors do: it comes when they do
	after    time.Duration // into the capture the attack begins: before it is what it is compared with
	only     string        // of the capture, the packets of this network are the attack; "": all of them
	stretch  float64       // how many times longer it may take without becoming another attack; 0: as recorded
}

// Hosts of the lab.
const (
	labAttacker = "198.51.100.23"
	labInsider  = "10.20.0.66"
	labFlooder  = "203.0.113.66"
	labVictim   = "10.20.0.10"
	labGuesser  = "203.0.113.9"
	labWeb      = "10.20.0.80:80/tcp"
	labOnly     = labFlooder + "/32"
	labCrowd    = "203.0.113.0/24"
	labNetwork  = "10.20.0.0/24"
)

// What is right beside a kind: a sweep of one port that meets other traffic of its source may be told as one of few ports; a flood
// of several kinds may be told by its parts.
var (
	sweeps = []string{"scan.horizontal", "scan.strobe", "scan.block"}
	masses = []string{"flood.syn", "flood.connection"}
)

var recipes = []recipe{
	{capture: "scan/nmap-sS-vertical", analyzer: "scan", kind: "vertical", subject: labAttacker, victim: labVictim, tool: "nmap -sS", stretch: 60},
	{capture: "scan/nmap-sT-vertical", analyzer: "scan", kind: "vertical", subject: labAttacker, victim: labVictim, tool: "nmap -sT", stretch: 60},
	{capture: "scan/nmap-ipv6", analyzer: "scan", kind: "vertical", subject: "2001:db8:51::23", victim: "fd00:20::10", tool: "nmap -6", stretch: 60},
	{capture: "scan/slow-scan", analyzer: "scan", kind: "vertical", subject: labAttacker, victim: labVictim, tool: "nmap", stretch: 20},
	{capture: "scan/slow-scan-1min", analyzer: "scan", kind: "vertical", subject: labAttacker, victim: labVictim, tool: "nmap --scan-delay 60s", stretch: 3},
	{capture: "scan/nmap-sS-filtered", analyzer: "scan", kind: "vertical", subject: labAttacker, victim: labVictim, tool: "nmap -sS", stretch: 3},
	{capture: "scan/masscan-horizontal", analyzer: "scan", kind: "horizontal", also: sweeps, subject: labAttacker, victim: labNetwork, tool: "masscan", stretch: 20},
	{capture: "scan/nmap-horizontal", analyzer: "scan", kind: "horizontal", also: sweeps, subject: labAttacker, victim: labNetwork, tool: "nmap", stretch: 30},
	{capture: "scan/zmap-horizontal", analyzer: "scan", kind: "horizontal", also: sweeps, subject: labAttacker, victim: labNetwork, tool: "zmap", stretch: 20},
	{capture: "scan/mirai-like", analyzer: "scan", kind: "horizontal", also: sweeps, subject: "203.0.113.77", victim: labNetwork, tool: "a program that sends as Mirai does", stretch: 10},
	{capture: "scan/strobe", analyzer: "scan", kind: "strobe", also: sweeps, subject: labAttacker, victim: labNetwork, tool: "nmap", stretch: 20},
	{capture: "scan/nmap-block", analyzer: "scan", kind: "block", also: sweeps, subject: labAttacker, victim: labNetwork, tool: "nmap", stretch: 20},
	{capture: "scan/nmap-ack", analyzer: "scan", kind: "ack", subject: labAttacker, victim: labVictim, tool: "nmap -sA", stretch: 20},
	{capture: "scan/nmap-fin", analyzer: "scan", kind: "fin", subject: labAttacker, victim: labVictim, tool: "nmap -sF", stretch: 20},
	{capture: "scan/nmap-null", analyzer: "scan", kind: "null", subject: labAttacker, victim: labVictim, tool: "nmap -sN", stretch: 20},
	{capture: "scan/nmap-xmas", analyzer: "scan", kind: "xmas", subject: labAttacker, victim: labVictim, tool: "nmap -sX", stretch: 20},
	{capture: "scan/nmap-maimon", analyzer: "scan", kind: "maimon", subject: labAttacker, victim: labVictim, tool: "nmap -sM", stretch: 20},
	{capture: "scan/nmap-udp", analyzer: "scan", kind: "udp", subject: labAttacker, victim: labVictim, tool: "nmap -sU", stretch: 10},
	{capture: "scan/nmap-udp-horizontal", analyzer: "scan", kind: "udp", subject: labAttacker, victim: labNetwork, tool: "nmap -sU", stretch: 5},
	{capture: "scan/ping-sweep", analyzer: "scan", kind: "icmp_sweep", subject: labAttacker, victim: labNetwork, tool: "nmap -sn", stretch: 10},
	{capture: "scan/arp-sweep", analyzer: "scan", kind: "arp_sweep", subject: labInsider, victim: labNetwork, tool: "nmap -sn -PR", stretch: 5},
	{
		capture: "scan/distributed", analyzer: "scan", kind: "distributed", victim: labNetwork, tool: "masscan --shard",
		also: sweeps, parties: []string{"203.0.113.96/27"},
	},
	{
		capture: "scan/distributed-hidden", analyzer: "scan", kind: "distributed", victim: labNetwork, tool: "masscan --shard, few probes each",
		parties: []string{"203.0.113.96/27"},
	},

	{
		capture: "flood/syn-near-floor", analyzer: "flood", kind: "syn", victim: labVictim + ":22/tcp", tool: "hping3 -S --rand-source", at: "bastion",
	},
	{capture: "flood/udp", analyzer: "flood", kind: "udp", subject: labFlooder, victim: labVictim + ":27015/udp", tool: "hping3 --udp"},
	{capture: "flood/icmp", analyzer: "flood", kind: "icmp", subject: labFlooder, victim: labVictim, tool: "hping3 --icmp"},
	{
		capture: "flood/amplification-dns", analyzer: "flood", kind: "amplification", victim: labVictim, tool: "dnsperf with a forged source",
		parties: []string{"198.51.100.0/24"},
	},
	{
		capture: "flood/amplification-memcached", analyzer: "flood", kind: "amplification", victim: labVictim, tool: "memcached",
		parties: []string{"198.51.100.31/32", "198.51.100.32/31"},
	},
	{
		capture: "flood/slow-read", analyzer: "flood", kind: "slow", also: masses, victim: labVictim + ":80/tcp", tool: "slowhttptest -X",
		at: "www", parties: []string{labFlooder + "/32"},
	},

	{capture: "fingerprint/nmap-O", analyzer: "fingerprint", kind: "tool", subject: labAttacker, tool: "nmap -O"},
	{capture: "fingerprint/nmap-sV", analyzer: "fingerprint", kind: "tool", subject: labAttacker, tool: "nmap -sV", stretch: 3},
	{capture: "fingerprint/masscan", analyzer: "fingerprint", kind: "tool", subject: labAttacker, tool: "masscan"},
	{capture: "fingerprint/zmap", analyzer: "fingerprint", kind: "tool", subject: labAttacker, tool: "zmap"},
	{capture: "fingerprint/hping3-syn", analyzer: "fingerprint", kind: "tool", subject: labAttacker, tool: "hping3 -S"},
	{
		capture: "fingerprint/cluster", analyzer: "fingerprint", kind: "cluster", victim: labWeb, tool: "curl on 40 machines without SACK",
		at: "www", only: labCrowd, parties: []string{labCrowd}, learned: true, crowd: true,
	},
	{
		capture: "fingerprint/rotation", analyzer: "fingerprint", kind: "rotation", victim: labWeb, tool: "curl from 36 addresses in turn",
		at: "www", only: labCrowd, parties: []string{labCrowd}, learned: true, crowd: true,
	},
	{
		capture: "fingerprint/mismatch", analyzer: "fingerprint", kind: "mismatch", subject: labGuesser, victim: labWeb,
		tool: "curl on Linux that says it were Windows", at: "app",
	},

	{
		capture: "bruteforce/hydra-ssh", analyzer: "bruteforce", kind: "password", subject: labGuesser, victim: "10.20.0.22:22/tcp",
		tool: "hydra", at: "bastion", stretch: 1.5,
	},
	{
		capture: "bruteforce/hydra-ftp", analyzer: "bruteforce", kind: "password", subject: labGuesser, victim: "10.20.0.21:21/tcp",
		tool: "hydra", at: "ftp", stretch: 2,
	},
	{
		capture: "bruteforce/medusa-ftp", analyzer: "bruteforce", kind: "password", subject: labGuesser, victim: "10.20.0.21:21/tcp",
		tool: "medusa", at: "ftp",
	},
	{
		capture: "bruteforce/hydra-basic", analyzer: "bruteforce", kind: "web_login", subject: labGuesser, victim: labWeb,
		tool: "hydra, basic authentication", at: "www", stretch: 5,
	},
	{
		capture: "bruteforce/hydra-form-redirect", analyzer: "bruteforce", kind: "web_login", subject: labGuesser, victim: labWeb,
		tool: "hydra, a form that redirects", at: "www", stretch: 2,
	},
	{
		capture: "bruteforce/stuffing-ftp", analyzer: "bruteforce", kind: "stuffing", victim: "10.20.0.21:21/tcp", tool: "curl from 180 addresses",
		at: "ftp", parties: []string{labCrowd}, stretch: 1.5,
	},

	{capture: "http/ffuf", analyzer: "http", kind: "probing", subject: labGuesser, victim: labWeb, tool: "ffuf", at: "www", stretch: 3},
	{
		capture: "http/gobuster-ipv6", analyzer: "http", kind: "probing", subject: "2001:db8:51::23", victim: "[fd00:20::80]:80/tcp",
		tool: "gobuster", at: "www", stretch: 3,
	},
	{capture: "http/methods", analyzer: "http", kind: "methods", subject: labGuesser, victim: labWeb, tool: "curl", at: "www"},
	{
		capture: "http/rotating-agents", analyzer: "http", kind: "agents", subject: labGuesser, victim: labWeb,
		tool: "curl with forty User-Agents", at: "www",
	},
	{
		capture: "http/spike", analyzer: "http", kind: "spike", also: []string{"rate.spike"}, victim: labWeb, tool: "curl from 24 addresses", at: "www",
		only: labCrowd, parties: []string{labCrowd}, learned: true, crowd: true,
	},
	{
		capture: "http/error-surge", analyzer: "http", kind: "errors", victim: labWeb, tool: "nginx that answers by 500", at: "wiki",
		after: 150 * time.Second,
	},

	{capture: "dns/iodine", analyzer: "dns", kind: "tunnel", subject: labInsider, tool: "iodine", stretch: 2},
	{capture: "dns/dns2tcp", analyzer: "dns", kind: "tunnel", subject: labInsider, tool: "dns2tcp", stretch: 2},
	{capture: "dns/slow", analyzer: "dns", kind: "tunnel", subject: labInsider, tool: "dig, 25 bytes a question", stretch: 1.3},
	{capture: "dns/generated", analyzer: "dns", kind: "nxdomain", subject: labInsider, tool: "dig, names of random letters", stretch: 3},
	{capture: "tunnel/ptunnel", analyzer: "tunnel", kind: "icmp", subject: labInsider, victim: labFlooder, tool: "ptunnel", stretch: 3},
	{
		capture: "exfil/curl-upload", analyzer: "exfil", kind: "volume", subject: labInsider, victim: labFlooder, tool: "curl -T",
		only: labOnly, learned: true, stretch: 1000,
	},
	{
		capture: "exfil/slow", analyzer: "exfil", kind: "slow", subject: labInsider, victim: labFlooder, tool: "curl -T, twice an hour",
		also: []string{"exfil.volume"}, only: labOnly, learned: true,
	},
	{
		capture: "beacon/jitter", analyzer: "beacon", kind: "beacon", subject: labInsider, victim: labFlooder + ":80/tcp",
		tool: "curl once a minute, ± 20 %", only: labOnly, stretch: 2,
	},
	{
		capture: "beacon/open-connection", analyzer: "beacon", kind: "beacon", subject: labInsider, victim: labFlooder + ":443/tcp",
		tool: "a connection that speaks every 30 s", only: labOnly, stretch: 2,
	},

	{
		capture: "rate/spike", analyzer: "rate", kind: "spike", also: []string{"http.spike"}, victim: labVictim + ":80/tcp",
		tool: "wrk from 40 addresses", at: "www", only: labCrowd, parties: []string{labCrowd}, learned: true, crowd: true,
	},
	{
		capture: "rate/source-connections", analyzer: "rate", kind: "source_spike", subject: labFlooder, victim: labVictim + ":80/tcp",
		tool: "wrk", at: "www", only: labOnly, learned: true, crowd: true,
	},
	{
		capture: "rate/source-scraper", analyzer: "rate", kind: "source_spike", subject: labFlooder, victim: labVictim + ":80/tcp",
		tool: "wrk, two connections", at: "www", only: labOnly, learned: true, crowd: true,
	},
	{
		capture: "rate/sustained-mirror", analyzer: "rate", kind: "sustained", subject: labFlooder, victim: labVictim + ":80/tcp",
		tool: "wget --recursive", at: "www", only: labOnly, learned: true, crowd: true,
	},
	{
		capture: "rate/drop", analyzer: "rate", kind: "drop", victim: labVictim + ":5201/tcp", tool: "iperf3, which falls to a tenth",
		at: "chat", after: 690 * time.Second,
	},
	{
		capture: "change/new-peer", analyzer: "change", kind: "new_peer", subject: labVictim, victim: labFlooder + ":80/tcp", tool: "curl",
		at: "git", only: labOnly, learned: true,
	},
	{
		capture: "change/new-service", analyzer: "change", kind: "new_service", victim: labVictim + ":8080/tcp", tool: "nginx on a new port",
		at: "wiki", only: labGuesser + "/32", parties: []string{labGuesser + "/32"}, learned: true,
	},
	{
		capture: "change/silent-service", analyzer: "change", kind: "silent_service", victim: labVictim + ":80/tcp", tool: "nginx that is off the network",
		at: "ci", after: 780 * time.Second,
	},
	{
		capture: "latency/rtt", analyzer: "latency", kind: "rtt", victim: labVictim + ":80/tcp", tool: "a line that takes 300 ms more",
		at: "metrics", after: 180 * time.Second,
	},
	{
		capture: "latency/retransmission", analyzer: "latency", kind: "retransmission", victim: labVictim + ":80/tcp",
		tool: "a line that loses one frame in eight", at: "logs", after: 150 * time.Second,
	},

	{capture: "weird/arp-poisoning", analyzer: "weird", kind: "arp_conflict", victim: "10.20.0.1", tool: "arpspoof"},
	{capture: "weird/arp-storm", analyzer: "weird", kind: "arp_storm", tool: "arping -U", parties: []string{labInsider + "/32"}},
	{capture: "weird/rogue-dhcp", analyzer: "weird", kind: "rogue_dhcp", subject: labInsider, tool: "dnsmasq", only: labInsider + "/32"},
	{capture: "weird/rogue-router", analyzer: "weird", kind: "rogue_router", subject: "fe80::ff:fe00:c", tool: "scapy", only: "fe80::ff:fe00:c/128"},
	{capture: "weird/bad-flags", analyzer: "weird", kind: "bad_flags", subject: labFlooder, victim: labVictim, tool: "hping3 -S -F", stretch: 2},
	{capture: "weird/land", analyzer: "weird", kind: "land", victim: labVictim, tool: "hping3 -a", parties: []string{labVictim + "/32"}},
	{capture: "weird/martian", analyzer: "weird", kind: "martian", victim: labVictim, tool: "scapy"},
	{capture: "weird/overlap", analyzer: "weird", kind: "overlap", subject: labFlooder, victim: labVictim, tool: "scapy"},
	{capture: "weird/split-handshake", analyzer: "weird", kind: "split_handshake", subject: labFlooder, victim: labVictim, tool: "scapy"},
	{capture: "weird/teardrop", analyzer: "weird", kind: "teardrop", subject: labFlooder, victim: labVictim, tool: "scapy"},
	{capture: "weird/ttl-reset", analyzer: "weird", kind: "ttl", subject: "203.0.113.80", victim: labVictim, tool: "scapy"},
}

// parseParty reads "10.20.0.10", "10.20.0.0/24", either with ":80/tcp", "[fd00:20::10]:80/tcp"; "" is nobody. The table above is
// held to it by a test.
func parseParty(s string) *alert.Party {
	p := new(alert.Party)
	if s == "" {
		return nil
	}
	for _, proto := range []string{"tcp", "udp"} {
		if rest, ok := strings.CutSuffix(s, "/"+proto); ok {
			i := strings.LastIndexByte(rest, ':')
			port, _ := strconv.ParseUint(rest[i+1:], 10, 16)
			p.Port, p.Protocol, s = uint16(port), proto, strings.Trim(rest[:i], "[]")
		}
	}
	if strings.Contains(s, "/") {
		p.Prefix = netip.MustParsePrefix(s)
	} else {
		p.IP = netip.MustParseAddr(s)
	}
	return p
}
