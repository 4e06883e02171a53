package analyzers

import (
	"math"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// steps is the arithmetic of the walk, in millionths of a nat: integers, so that no order and no machine can show.
//
// Credit is capped at the mirror image of the threshold: nine successes by default. A scanner which collects credit first
// (known-open hosts mixed in) then needs 18 failures instead of 9, however many successes it had. A host of whose contacts
// 30 % fail has a chance of (3/7)^18, one in four millions, at each return to the floor; with a floor of zero it would be
// (3/7)^9, one in two thousands, and a mail server would alarm every day. Twelve neighbours down in a row do not make a
// monitoring host a scanner.
//
// The sum is capped above at twice the threshold, so that a scanner that stopped, and is answered again, is believed in the
// end.
type steps struct {
	up, down         int64
	threshold, floor int64
	need             int // straight failures that reach the threshold
}

const micro = 1e6

func newSteps(c *ScanConfig) steps {
	s := steps{
		up:        int64(math.Round(micro * math.Log((1-c.Scanner)/(1-c.Benign)))),
		down:      int64(math.Round(micro * math.Log(c.Benign/c.Scanner))),
		threshold: int64(math.Round(micro * math.Log(c.Detect/c.FalseAlarm))),
	}
	s.floor = -s.threshold
	s.need = int((s.threshold + s.up - 1) / s.up)
	return s
}

// tickOutcomes are a source's outcomes in one tick that count.
type tickOutcomes struct {
	refused, silent, answered uint32
}

// walk adds a tick's outcomes: failures, then successes. The peak between them is what may cross, else a scanner could
// hide its failures among successes of the same 100 ms.
func (s *scanSource) walk(st *steps, t tickOutcomes) {
	s.refused += t.refused
	s.silent += t.silent
	s.answered += t.answered
	s.peak = min(s.llr+int64(t.refused+t.silent)*st.up, 2*st.threshold)
	s.llr = max(s.peak-int64(t.answered)*st.down, st.floor)
}

// crossed reports whether the walk reached the threshold in the last tick, on failures with distinct targets that are at
// least a third of the outcomes since the evidence began and of the window before. The share is needed because the walk's
// order is not that of the contacts: silence is known 5 s after answers are, so that a monitoring host which tries 200
// neighbours at once, 25 of them down, ends with 25 failures in a row; and a proxy or a NAT with hundreds of contacts a
// tick has more failures in one tick than any threshold.
func (s *scanSource) crossed(st *steps) bool {
	return s.peak >= st.threshold && int(s.failures.count()+s.earlier) >= st.need-2 &&
		2*uint64(s.failed()) >= uint64(s.answered)+uint64(s.answeredBefore)
}

type outcome uint8

const (
	outcomeNone outcome = iota
	outcomeFailed
	outcomeAnswered
)

// outcomeOf says what a contact's stage means to the walk:
//   - SYN and echo: refused and silent are failures, answered is a success.
//   - NULL, FIN, Xmas and other flags without SYN, ACK and RST: no stack sends them; refused (closed) and silent (open or filtered) are failures.
//   - ACK and FIN-ACK outside of any connection are also what is left of connections that the sensor forgot or never saw
//     begin. A server's go to its clients' high ports, so only those to system ports count; no answer is a success.
//   - UDP: answered is a success. Refused is a failure, but not of QUIC (443), which browsers try and firewalls refuse,
//     nor of traceroute's ports. Silence is normal in UDP (media, logs, P2P); it is a failure only on ports of services that
//     answer whom they hear and that scanners look for.
//   - Other protocols: refused is a failure.
//   - ARP has its own test; multicast has no one target.
func outcomeOf(c *tally.SampledContact) outcome {
	if c.Stage < conn.StageSilent || groupAddr(c.Dst) {
		return outcomeNone
	}
	answered, silent := c.Stage >= conn.StageAnswered, c.Stage == conn.StageSilent
	switch c.Probe {
	case conn.ProbeSYN, conn.ProbeEcho:
		if answered {
			return outcomeAnswered
		}
		return outcomeFailed
	case conn.ProbeNull, conn.ProbeFIN, conn.ProbeXmas, conn.ProbeOddTCP:
		if !answered {
			return outcomeFailed
		}
	case conn.ProbeACK, conn.ProbeMaimon:
		if !answered && c.Port < 1024 {
			return outcomeFailed
		}
	case conn.ProbeUDP:
		switch {
		case answered:
			return outcomeAnswered
		case c.Port == 443 || traceroute(c.Port):
		case !silent || answersAll(c.Port):
			return outcomeFailed
		}
	case conn.ProbeOther:
		if c.Stage == conn.StageRefused {
			return outcomeFailed
		}
	}
	return outcomeNone
}

// traceroute reports whether a UDP port is one that traceroute(8) and mtr(8) count up from: 33434, three a hop, 30 hops, and
// somewhat more.
func traceroute(port uint16) bool { return port >= 33434 && port < 33434+256 }

// answersAll reports whether a UDP port belongs to a service that scanners look for and whose silence is an outcome: system
// ports but NetBIOS (137, 138: Windows asks every peer), and the well-known ones of proxies, databases, VPN, SIP,
// amplifiers (CISA TA14-017A lists those) and building control.
func answersAll(port uint16) bool {
	switch port {
	case 137, 138:
		return false
	case 1194, 1434, 1604, 1900, 3389, 3702, 5060, 5353, 5683, 10001, 11211, 47808:
		return true
	}
	return port < 1024
}

// groupAddr reports addresses that stand for many hosts: 224.0.0.0/3 (with the broadcast address) and ff00::/8.
func groupAddr(a decode.Addr) bool {
	if a.Hi == 0 && a.Lo>>32 == 0xffff {
		return a.Lo>>29&7 == 7
	}
	return a.Hi>>56 == 0xff
}

// take adds a tick to what is known of the source, and returns the outcomes that count. Contacts come as a sample of 16 with
// exact totals by stage: the totals are split as the sample is. A tick with fewer contacts is taken exactly.
func (s *scanSource) take(in *tally.Source) tickOutcomes {
	var refused, silent, answered, refusedAll, silentAll, answeredAll uint32
	for i := range in.Contacts[:in.NContacts] {
		c := &in.Contacts[i]
		o := outcomeOf(c)
		switch c.Stage {
		case conn.StageRefused:
			refusedAll++
			refused += one(o == outcomeFailed)
		case conn.StageSilent:
			silentAll++
			silent += one(o == outcomeFailed)
		case conn.StageAnswered, conn.StageProven:
			answeredAll++
			answered += one(o == outcomeAnswered)
		}
		s.sight(c, o)
	}
	s.tried(in)
	return tickOutcomes{
		refused:  part(in.Refused, refused, refusedAll),
		silent:   part(in.Silent, silent, silentAll),
		answered: part(in.Answered, answered, answeredAll),
	}
}

func one(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// part is total × some/all, rounded down; 0 if nothing was sampled.
func part(total, some, all uint32) uint32 {
	if all == 0 {
		return 0
	}
	return uint32(uint64(total) * uint64(some) / uint64(all))
}
