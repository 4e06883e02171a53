package analyzers

import (
	"math"

	"weir/analyzers/tally"
	"weir/decode/conn"
)

// floodKind is a kind of flood.
type floodKind uint8

const (
	kindSYN floodKind = iota
	kindUDP
	kindICMP
	kindACK
	kindRST
	kindFragment
	kindConnection
	kindAmplification
	kindSlow
	floodKinds
	kindMulti = floodKinds
)

// floodLevel is what a victim is.
type floodLevel uint8

const (
	levelService floodLevel = iota
	levelHost
	levelPrefix
)

// floodRule is what is fixed about a kind.
type floodRule struct {
	name     string
	title    string // for summaries
	unit     string // of its packets metric
	packets  floodMetric
	bytes    floodMetric // noBytes: none
	cap      int
	attack   string // ATT&CK id
	absence  bool   // it counts answers that are missing, so a one-way view weakens it
	levels   [levelPrefix + 1]bool
	scannish bool // a scan of many places looks like it at host and prefix
}

// noBytes stands for the bytes of kinds that count no packets.
const noBytes = metrics

// Caps: what only costs bandwidth or may be a rush of real clients stops short of critical (90). Levels: ICMP,
// later fragments and reflected answers know no port of the victim; completed and slow connections exhaust one server, not a network, and
// a network with a thousand of them a second is only busy.
var floodRules = [floodKinds + 1]floodRule{
	kindSYN:           {"syn", "SYN flood", "handshakes/s", mSYN, noBytes, 100, "T1499.001", true, [3]bool{true, true, true}, true},
	kindUDP:           {"udp", "UDP flood", "packets/s", mUDP, mUDPBytes, 100, "T1498.001", true, [3]bool{true, true, true}, true},
	kindICMP:          {"icmp", "ICMP flood", "packets/s", mICMP, mICMPBytes, 89, "T1498.001", false, [3]bool{false, true, true}, false},
	kindACK:           {"ack", "ACK flood", "packets/s", mACK, mACKBytes, 100, "T1499.001", false, [3]bool{true, true, true}, true},
	kindRST:           {"rst", "RST flood", "packets/s", mRST, mRSTBytes, 89, "T1498.001", false, [3]bool{true, true, true}, true},
	kindFragment:      {"fragment", "fragment flood", "packets/s", mFrag, mFragBytes, 89, "T1498.001", true, [3]bool{false, true, true}, false},
	kindConnection:    {"connection", "connection flood", "connections/s", mProven, noBytes, 89, "T1499.002", false, [3]bool{true, true, false}, false},
	kindAmplification: {"amplification", "amplification flood", "packets/s", mAmp, mAmpBytes, 100, "T1498.002", true, [3]bool{false, true, true}, false},
	kindSlow:          {"slow", "slow connections", "connections", mSlow, noBytes, 89, "T1499.002", false, [3]bool{true, false, false}, false},
	kindMulti:         {"multi", "flood of several kinds", "kinds", mSYN, noBytes, 100, "T1498", false, [3]bool{false, true, true}, false},
}

// floodLoad is how much of a flood there is: the measure that is furthest above its floor.
type floodLoad struct {
	value, floor uint64
	unit         string
	bits         bool
	again        bool // of kindSYN: counts SYNs that open nothing new
}

// load measures kind k. Without the exact state of the victim; test adds what else the kind needs.
func (f *Flood) load(k floodKind, c *floodCounts) floodLoad {
	r := &floodRules[k]
	l := floodLoad{value: c[r.packets], floor: f.cfg.PacketsPerSecond, unit: r.unit}
	bits := f.cfg.BitsPerSecond
	switch k {
	case kindSYN:
		l.value, l.floor = c[mSYN]-min(c[mSYN], c[mDone]), f.cfg.SYNPerSecond
		if again := (floodLoad{value: c[mAgain], floor: f.cfg.PacketsPerSecond, unit: "repeated SYNs/s", again: true}); again.ratio() > l.ratio() {
			return again
		}
	case kindConnection:
		l.floor = f.cfg.ConnectionsPerSecond
	case kindSlow:
		l.floor = f.cfg.SlowConnections
	case kindAmplification:
		l.floor, bits = f.cfg.AmplificationPerSecond, f.cfg.AmplificationBits
	}
	if r.bytes == noBytes {
		return l
	}
	byBits := floodLoad{value: c[r.bytes] * 8, floor: bits, unit: "bits/s", bits: true}
	if byBits.ratio() > l.ratio() || k == kindAmplification && f.view.OneWay() {
		return byBits
	}
	return l
}

// measure is the name of what is loaded.
func (l floodLoad) measure(k floodKind) string {
	switch {
	case k == kindSYN && l.again:
		return "repeated_syns"
	case k == kindSYN:
		return "half_open"
	case k == kindConnection:
		return "completed"
	case k == kindSlow:
		return "slow_connections"
	case l.bits:
		return "bits"
	}
	return "packets"
}

func (l floodLoad) ratio() float64 { return float64(l.value) / float64(l.floor) }

// strength is the load nearest to its floor, in per mille: what a victim is worth when there is no room.
func (f *Flood) strength(c *floodCounts) uint32 {
	most := 0.0
	for k := range floodKinds {
		most = max(most, f.load(k, c).ratio())
	}
	return uint32(min(most*1000, math.MaxUint32))
}

// active reports whether a tick's counts are worth a window: 1 % of a floor. A flood that spreads evenly has 10 % of its
// floor in each tick; ticks below 1 % before the first one above are not counted, at most 9 % of a floor. All handshakes
// count, so that busy services are watched before they are attacked.
func (f *Flood) active(c *floodCounts) bool {
	for m, n := range c {
		if n*100 >= f.floors[m] {
			return true
		}
	}
	return false
}

// floorsOf are the floors by metric: of bytes in bytes, the highest number for what has none.
func floorsOf(c *FloodConfig) (floors floodCounts) {
	for m := range floors {
		floors[m] = math.MaxUint64
	}
	for k := range floodKinds {
		r := &floodRules[k]
		floors[r.packets] = c.PacketsPerSecond
		if r.bytes != noBytes {
			floors[r.bytes] = max(c.BitsPerSecond/8, 1)
		}
	}
	floors[mAgain] = c.PacketsPerSecond
	floors[mSYN], floors[mProven], floors[mSlow] = c.SYNPerSecond, c.ConnectionsPerSecond, c.SlowConnections
	floors[mAmp], floors[mAmpBytes] = c.AmplificationPerSecond, max(c.AmplificationBits/8, 1)
	return floors
}

// Bounds of what a scan does.
const (
	// floodSenders are more than a scanner can feign: nmap takes at most 128 decoys (MAX_DECOYS), and the sketch errs by
	// 13 %.
	floodSenders = 256
	// floodRepeats of a place within a second: scanners try a port again two or three times, and with each of some decoys.
	floodRepeats = 16
	// floodPorts is two probes for each port of a host.
	floodPorts = 2 << 16
	// fewSenders are as many as a finding lists.
	fewSenders = 16
)

// test judges whether kind k holds for what c counts of v. rest: c is what alarms of parts left over.
func (f *Flood) test(k floodKind, level floodLevel, v *floodVictim, c *floodCounts, rest bool) (floodLoad, bool) {
	l := f.load(k, c)
	if k == kindSlow {
		l.value = v.slow.sum
	}
	if l.value < l.floor {
		return l, false
	}
	if level != levelService && floodRules[k].scannish && !l.bits && !f.concentrated(level, v, l.value, c[mFolded], rest) {
		return l, false
	}
	switch k {
	case kindSYN:
		return l, l.again || l.value*100 >= c[mSYN]*f.cfg.SYNPercent || level == levelService && f.unbalanced(v, c)
	case kindACK:
		return l, !f.older(c)
	case kindRST:
		return l, !f.scanAnswers(v, level)
	}
	return l, true
}

// concentrated tells a flood of a host or prefix from a scan of it.
func (f *Flood) concentrated(level floodLevel, v *floodVictim, value, folded uint64, rest bool) bool {
	switch {
	case !rest && countBoth(&v.senders) >= floodSenders:
		return true
	case level == levelHost && value >= floodPorts:
		return true
	case folded*2 > value:
		return false
	}
	return value >= floodRepeats*max(countBoth(&v.ports), 1)
}

// unbalanced is the second test for SYN floods, for services that still complete many handshakes: the CUSUM of SYN
// against SYN-ACK. Never alone: the service must also have left as many SYNs unanswered as the floor asks.
func (f *Flood) unbalanced(v *floodVictim, c *floodCounts) bool {
	return v.cusum.alarm(v.tick) && c[mSYN]-min(c[mSYN], c[mSYNACK]) >= f.cfg.SYNPerSecond
}

// older reports whether strays may belong to connections that are older than the capture: each of them shows up as one stray
// packet, most within the first second, which the window forgets in the next. A victim that sends less than half as much is
// not having conversations.
func (f *Flood) older(c *floodCounts) bool {
	return f.epoch.Tick-f.started < 2*ticksPerSecond && c[mBack]*2 >= c[mACK]
}

// scanAnswers reports whether the RSTs are what closed ports of a few hosts send to a scanner whose probes are not seen:
// RST with ACK and window 0 (RFC 9293 section 3.10.7.1), from few senders.
func (f *Flood) scanAnswers(v *floodVictim, level floodLevel) bool {
	s := f.sampled(kindRST.mask(), &v.key, level)
	return s.n > 0 && s.refusals*2 >= s.n && countBoth(&v.senders) <= fewSenders
}

// mask is the set of one kind.
func (k floodKind) mask() uint16 { return 1 << k }

// cusum is the non-parametric CUSUM of Wang, Zhang, Shin (Detecting SYN flooding attacks, INFOCOM 2002; SYN-dog, ICDCS
// 2002): the excess of SYNs over SYN-ACKs, in units of the mean number of SYN-ACKs K, summed while it is above a drift.
// Their drift and threshold; their interval of 20 s is one tick here, which is why it never decides alone.
type cusum struct {
	mean  float64 // K: SYN-ACKs a tick
	y     float64
	since int64 // first tick, + 1; 0: none yet
	tick  int64
}

const (
	cusumDrift  = 0.35 // a
	cusumAlarm  = 1.05 // N
	cusumMemory = 0.99 // of K a tick: a mean over about 10 s
	cusumWarm   = 30   // ticks before K means anything
)

// step adds a tick. K does not learn while the test alarms, nor while a gate cuts the service off (held); y is capped, so that
// the alarm ends soon after the attack.
func (c *cusum) step(tick int64, syn, synack uint32, held bool) {
	if c.since == 0 {
		c.since, c.tick, c.mean = tick+1, tick-1, float64(synack)
	}
	idle := float64(tick - c.tick - 1)
	c.y = max(0, c.y-idle*cusumDrift)
	if !held {
		c.mean *= math.Pow(cusumMemory, idle)
	}
	c.y += (float64(syn)-float64(synack))/max(c.mean, 1) - cusumDrift
	c.y = min(max(c.y, 0), 4*cusumAlarm)
	if c.y < cusumAlarm && !held {
		c.mean = cusumMemory*c.mean + (1-cusumMemory)*float64(synack)
	}
	c.tick = tick
}

func (c *cusum) alarm(tick int64) bool {
	return c.since != 0 && tick+1-c.since >= cusumWarm && c.y >= cusumAlarm
}

// track updates the windows of a service that only services have.
func (f *Flood) track(v *floodVictim, s *tally.Service) {
	if s.SYN > 0 || v.cusum.since != 0 {
		v.cusum.step(f.epoch.Tick, s.SYN, s.SYNACK, f.epoch.Tick-v.shielded <= shieldTicks)
	}
	ticks := max(int64(conn.SlowEvery)/tally.Tick/slowSlots, 1)
	v.slow.add(f.epoch.Tick, ticks, uint64(s.Slow))
}
