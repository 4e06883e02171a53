package analyzers

import (
	"fmt"
	"slices"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// Flood finds floods (ATT&CK T1498, T1499): traffic that exhausts a destination service, a host or a prefix (/24, /64).
//
// How. Each tick the epoch's services are summed by host and by prefix in one pass. Keys with some activity get a sliding
// window of one second; the tick whose sum reaches a floor fires. Kinds:
//
//	syn            handshakes without the completing ACK, and most are so; or the CUSUM of SYN against SYN-ACK; or
//	               packets: SYNs again and again from the same ports
//	udp            packets or bits of what was not answered
//	icmp           packets or bits, answered or not: nobody has use for so many echoes
//	ack, rst       TCP outside of any connection
//	fragment       fragments of what was not answered
//	connection     completed handshakes
//	amplification  answers that nobody asked for: UDP from the ports of known reflectors, SYN-ACKs
//	slow           many connections of one service that hardly move
//	multi          two or more of these at one victim: this one finding stands for them while it lasts, and the single
//	               kinds fall silent (their alerts close); with one kind left, that one speaks again after two or three seconds
//
// Victim. A part that carries half of its whole is the victim: a service before its host, a host before its prefix. What
// the parts that cross a floor by themselves leave over is judged at the whole (which may cross first, and then closes); where more than maxParts parts cross, the
// whole is the one victim.
//
// Subject. Floods are judged by destination, never by source. A single source with ≥ 80 % of the sampled packets is named;
// up to 16 of them are listed. Its return path counts as proven only where the flood consists of completed handshakes
// (connection): of all other kinds the packets can be forged in the name of a client that is honestly connected.
//
// What it mistakes. A scan of one host or network asks each port once, so at host and prefix SYN, ACK, RST and UDP packets
// count as a flood only if they come from ≥ 256 senders or repeat ≥ 16 times a port; a port scan by as many machines looks
// like a flood, and a flood of one source over random ports like a scan until it exceeds two probes for each port a second
// or the floor in bits. A flood of questions that the victim answers in full (DNS) is load, and left to baselines. Reflection of a few packets a second (well below a floor) cannot be told from backscatter and stays silent. A
// one-way view cannot see answers: findings say so. Other protocols (GRE, ESP, SCTP) have no kind. An
// ACK flood that keeps to one pair of ports is stray only until the victim's first RST: what follows counts as that
// connection's.
//
// Score: 60 at the floor, 20 more for each factor of ten, at most the kind's cap.
//
// Below the floors victims are compared with what is normal for them: see flood_baseline.go.
//
// State: at most MaxVictims windows of each level, 1.9 kB each; see victims for what goes first. Cost: one pass.
type Flood struct {
	cfg      FloodConfig
	floors   floodCounts   // by metric
	reflects [1 << 16]bool // AmplificationPorts
	oneWay   [1 << 16]bool // OneWayPorts
	view     View
	epoch    *tally.Epoch // of the running Judge, or the last one
	emit     func(*Finding)
	services victims
	hosts    victims
	prefixes victims
	alarms   []floodAlarm // of the running prefix
	shielded []shield
	recent   floodSamples
	normal   normals
	lost     [ticksPerSecond][2]uint64 // by tick: packets that were lost, and all
	started  int64                     // first tick since the start or a discontinuity
	last     int64                     // tick judged before this one
	tails    []*floodTail
	details  int // findings whose samples may still be analysed in this tick
	base     floodBase
	near     nearest
}

// FloodConfig holds the floors. Rates are sums over one second at one victim.
type FloodConfig struct {
	SYNPerSecond           uint64        `yaml:"syn_per_second"`                // handshakes begun and not completed
	SYNPercent             uint64        `yaml:"syn_percent"`                   // least share of them in all handshakes
	ConnectionsPerSecond   uint64        `yaml:"connections_per_second"`        // handshakes completed
	PacketsPerSecond       uint64        `yaml:"packets_per_second"`            // udp, icmp, ack, rst, fragment
	BitsPerSecond          uint64        `yaml:"bits_per_second"`               // the same
	AmplificationPerSecond uint64        `yaml:"amplification_per_second"`      // answers that nobody asked for, packets
	AmplificationBits      uint64        `yaml:"amplification_bits_per_second"` // the same
	SlowConnections        uint64        `yaml:"slow_connections"`              // of one service, each below 100 B/s for 30 s, as decode/conn counts them
	AmplificationPorts     []uint16      `yaml:"amplification_ports"`           // UDP source ports of known reflectors
	OneWayPorts            []uint16      `yaml:"one_way_ports"`                 // UDP services that never answer; their floors are ten times as high
	BaselinePercent        uint64        `yaml:"baseline_percent"`              // of the floors of syn, udp, icmp, ack and rst, from which a victim is compared with its baseline
	MaxVictims             int           `yaml:"max_victims"`                   // tracked services, hosts and prefixes, each; 1.9 kB each
	MaxNormals             int           `yaml:"max_normals"`                   // hosts whose normal headers are kept; 20 kB each
	Quiet                  time.Duration `yaml:"quiet"`                         // after which an alert closes
}

// DefaultFlood returns the floors of detections.md. Why they are what they are:
//
//   - 500 half-open handshakes a second keep 500 × 63 s = 31,500 entries alive (Linux retries a SYN-ACK for 63 s), seven
//     times the usual backlog of 4,096; honest handshakes fail by the few. 80 %: a service that completes more than a fifth
//     is still doing its work, and CUSUM watches that range.
//   - 1,000 completed connections a second is what a small web server serves at its best; busy sites set it higher.
//   - 5,000 packets/s or 100 Mbit/s without answers: a stream that nobody acknowledges is rare above a video's
//     1,000 packets/s and 10 Mbit/s; 100 Mbit/s fills a small uplink.
//   - 300 answers a second: late answers are as rare as lost questions; 10 Mbit/s of them are some 800 full packets.
//   - 50 slow connections: a fifth of the 256 that Apache's prefork module serves at once by default (MaxRequestWorkers).
//   - A tenth of a floor, 50 half-open handshakes or 500 packets a second, is what retries and lost answers rarely make.
//   - Quiet: pulsing attacks pause for seconds.
func DefaultFlood() FloodConfig {
	return FloodConfig{
		SYNPerSecond:           500,
		SYNPercent:             80,
		ConnectionsPerSecond:   1000,
		PacketsPerSecond:       5000,
		BitsPerSecond:          100e6,
		AmplificationPerSecond: 300,
		AmplificationBits:      10e6,
		SlowConnections:        50,
		// CISA alert TA14-017A and its additions: QOTD, chargen, DNS, TFTP, portmap, NTP, NetBIOS, SNMP, CLDAP, SLP, IKE (two
		// ports), RIP, OpenVPN, MSSQL, SSDP, ARD, RDP, STUN, WS-Discovery, Sentinel, NAT-PMP, mDNS, CoAP, Ubiquiti, Mitel,
		// memcached, Steam, Plex, Jenkins, DVR, Crestron, BACnet.
		AmplificationPorts: []uint16{
			17, 19, 53, 69, 111, 123, 137, 161, 389, 427, 500, 520, 1194, 1434, 1900, 3283, 3389, 3478,
			3702, 4500, 5093, 5351, 5353, 5683, 10001, 10074, 11211, 27015, 32414, 33848, 37810, 41794, 47808,
		},
		// SNMP traps, syslog, NetFlow, IPFIX, sFlow, statsd, RTP.
		OneWayPorts:     []uint16{162, 514, 2055, 4739, 5004, 6343, 8125, 9995, 9996},
		BaselinePercent: 10,
		MaxVictims:      8192,
		MaxNormals:      1024,
		Quiet:           30 * time.Second,
	}
}

// Check reports the first setting that is out of range.
func (c *FloodConfig) Check() error {
	for _, f := range []struct {
		name string
		n    uint64
		most uint64
	}{
		{"syn_per_second", c.SYNPerSecond, 1e12},
		{"syn_percent", c.SYNPercent, 100},
		{"connections_per_second", c.ConnectionsPerSecond, 1e12},
		{"packets_per_second", c.PacketsPerSecond, 1e12},
		{"bits_per_second", c.BitsPerSecond, 1e15},
		{"amplification_per_second", c.AmplificationPerSecond, 1e12},
		{"amplification_bits_per_second", c.AmplificationBits, 1e15},
		{"slow_connections", c.SlowConnections, 1e12},
		{"baseline_percent", c.BaselinePercent, 100},
		{"max_victims", uint64(max(c.MaxVictims, 0)), 1 << 20},
		{"max_normals", uint64(max(c.MaxNormals, 0)), 1 << 16},
	} {
		if f.n < 1 || f.n > f.most {
			return fmt.Errorf("flood: %s is %d, must be 1 to %d", f.name, f.n, f.most)
		}
	}
	if c.Quiet < time.Second || c.Quiet > time.Hour {
		return fmt.Errorf("flood: quiet is %v, must be 1s to 1h", c.Quiet)
	}
	return nil
}

// NewFlood returns a Flood. It panics if cfg.Check fails. Without a site nothing is compared with baselines.
func NewFlood(cfg FloodConfig, site *Site) *Flood {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	f := &Flood{
		services: victims{limit: cfg.MaxVictims},
		hosts:    victims{limit: cfg.MaxVictims},
		prefixes: victims{limit: cfg.MaxVictims},
		normal:   newNormals(cfg.MaxNormals),
		started:  never,
		last:     never,
		base:     floodBase{site: site, seconds: newSeconds[floodKey, floodSecond](maxFloodKeys)},
	}
	f.set(&cfg)
	return f
}

// Name implements Analyzer.
func (f *Flood) Name() string { return "flood" }

// Untracked is how many times a victim found no room in its table so far.
func (f *Flood) Untracked() uint64 { return f.services.lost + f.hosts.lost + f.prefixes.lost }

// Bounds of one tick.
const (
	maxDetails    = 64                            // findings whose samples are analysed
	discontinuity = int64(time.Hour) / tally.Tick // jump after which connections count as unknown again
)

// Judge implements Analyzer.
func (f *Flood) Judge(e *tally.Epoch, emit func(*Finding)) {
	f.begin(e, emit)
	for rest := e.Services; len(rest) > 0; {
		n := 1
		for n < len(rest) && samePrefix(&rest[0].Key, &rest[n].Key) {
			n++
		}
		if !multicast(&rest[0].Key) {
			f.judgePrefix(rest[:n])
			f.speak()
		}
		rest = rest[n:]
	}
	for _, t := range []*victims{&f.services, &f.hosts, &f.prefixes} {
		t.end(e.Tick, max(f.quietTicks(), 2*int64(conn.SlowEvery)/tally.Tick), f.strength)
	}
	f.watch(e)
	f.tellTails(false)
	f.learn(e)
	f.last = e.Tick
}

// begin takes in what concerns the whole epoch.
func (f *Flood) begin(e *tally.Epoch, emit func(*Finding)) {
	f.epoch, f.emit, f.details = e, emit, maxDetails
	if e.Tick-f.last > discontinuity {
		f.started = e.Tick
	}
	f.view.Observe(e)
	f.recent.add(e)
	f.services.begin()
	f.hosts.begin()
	f.prefixes.begin()
	f.hold(&e.Gate)
	if e.Tick-f.last >= ticksPerSecond {
		f.lost = [ticksPerSecond][2]uint64{}
	} else {
		for t := f.last + 1; t < e.Tick; t++ {
			f.lost[slotOf(t)] = [2]uint64{}
		}
	}
	l := &e.Link
	lost := l.Lost()
	f.lost[slotOf(e.Tick)] = [2]uint64{lost, lost + l.Packets}
}

// lossPercent is the share of packets of the last second that the sensor did not see.
func (f *Flood) lossPercent() int {
	var lost, all uint64
	for _, n := range f.lost {
		lost, all = lost+n[0], all+n[1]
	}
	if lost == 0 {
		return 0
	}
	return int((lost*100 + all - 1) / all)
}

// learn keeps headers of normal traffic, but not of hosts whose alarm is running: a baseline does not learn its attack.
func (f *Flood) learn(e *tally.Epoch) {
	var k tally.ServiceKey // outside of the loop: it escapes
	for i := range e.Normals {
		h := &e.Normals[i]
		k = tally.ServiceKey{Addr: h.Dst, Ver: h.Ver}
		at, tracked := slices.BinarySearchFunc(f.hosts.known, &k, func(v *floodVictim, k *tally.ServiceKey) int { return compareKeys(&v.key, k) })
		if tracked && e.Tick-f.hosts.known[at].alarmed <= f.quietTicks() {
			continue
		}
		f.normal.add(h)
	}
}

func (f *Flood) quietTicks() int64 { return int64(f.cfg.Quiet) / tally.Tick }

// samePrefix reports whether two addresses are in one /24 or /64.
func samePrefix(a, b *tally.ServiceKey) bool {
	return a.Ver == b.Ver && prefixOf(a) == prefixOf(b)
}

// prefixOf is the first address of the /24 or /64 of k.
func prefixOf(k *tally.ServiceKey) decode.Addr {
	if k.Ver == 6 {
		return decode.Addr{Hi: k.Addr.Hi}
	}
	return decode.Addr{Hi: k.Addr.Hi, Lo: k.Addr.Lo &^ 0xff}
}

// multicast reports whether an address names no single receiver: nobody answers for it, so silence says nothing.
func multicast(k *tally.ServiceKey) bool {
	if k.Ver == 6 {
		return k.Addr.Hi>>56 == 0xff
	}
	return uint32(k.Addr.Lo)>>28 == 0xe || uint32(k.Addr.Lo) == 0xffffffff
}
