package analyzers

import (
	"weir/analyzers/tally"
)

// IP protocols that floods tell apart (IANA Protocol Numbers).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

func isICMP(proto uint8) bool { return proto == protoICMP || proto == protoICMPv6 }

// floodSum sums the services of one host in one tick.
type floodSum struct {
	n                 floodCounts
	later, laterBytes uint64 // later fragments, which know no ports
	silent            uint64 // those of them that are known to be unanswered
	asked             uint64 // first fragments of answered traffic
	reflected         uint64 // first fragments of answers that nobody asked for
}

// laterFragments is how many later fragments one datagram can have: 65,535 bytes in pieces of 1,480.
const laterFragments = 44

// close decides about the later fragments: each answered datagram excuses its own, and those of reflected answers are
// part of these. It is called once a host.
func (s *floodSum) close() {
	excused := min(s.later-s.silent, s.asked*laterFragments)
	reflected := min(s.later-excused, s.reflected*laterFragments)
	s.n.mulAdd(mAmp, mAmpBytes, reflected, s.laterBytes, s.later)
	s.n.mulAdd(mFrag, mFragBytes, s.later-excused-reflected, s.laterBytes, s.later)
}

// mulAdd adds n packets, and their share of the bytes that all packets have.
func (c *floodCounts) mulAdd(packets, bytes floodMetric, n, allBytes, all uint64) {
	if n == 0 || all == 0 {
		return
	}
	c[packets] += n
	c[bytes] += uint64(float64(allBytes) * (float64(n) / float64(all)))
}

// add adds one service of the host.
func (f *Flood) add(s *floodSum, v *tally.Service) {
	s.n[mSlow] += uint64(v.Slow)
	switch {
	case v.Key.Role == tally.RoleAnswer:
		f.addAnswers(s, v)
		return
	case v.Key.Proto == protoTCP:
		f.addTCP(s, v)
	case v.Key.Proto == protoUDP:
		f.addUDP(s, v)
	case isICMP(v.Key.Proto):
		s.n[mICMP] += v.Packets - min(v.Packets, v.Fragments)
		s.n[mICMPBytes] += v.Bytes - min(v.Bytes, v.FragBytes)
	}
	if v.Fragments > 0 {
		s.addFragments(v)
	}
}

// synBytes is the most that a SYN takes: Ethernet, IPv6, and TCP with all options that fit.
const synBytes = 14 + 40 + 60

// addTCP counts handshakes and strays. What is not answered beyond new handshakes is SYNs again, if it is as small as those. Where nothing of the service is captured in the tick, a handshake counts as
// completed if two more packets follow it, the ACK and a question: a SYN flood sends none.
func (f *Flood) addTCP(s *floodSum, v *tally.Service) {
	syn, done := uint64(v.SYN), uint64(v.Proven)
	if v.BackPackets == 0 {
		follow := v.Packets - min(v.Packets, syn+v.StrayACK+v.StrayRST+v.Fragments)
		done = max(done, min(syn, follow/2))
	}
	s.n[mSYN] += syn
	s.n[mDone] += done
	if v.UnansweredBytes <= synBytes*v.Unanswered {
		s.n[mAgain] += v.Unanswered - min(v.Unanswered, syn)
	}
	s.n[mSYNACK] += uint64(v.SYNACK)
	s.n[mProven] += uint64(v.Proven)
	s.n[mBack] += v.BackPackets
	s.n[mACK] += v.StrayACK
	s.n[mACKBytes] += v.StrayACKBytes
	s.n[mRST] += v.StrayRST
	s.n[mRSTBytes] += v.StrayRSTBytes
	if v.Key.Role == tally.RoleFolded {
		s.n[mFolded] += syn - min(syn, done) + v.StrayACK + v.StrayRST
	}
}

func (f *Flood) addUDP(s *floodSum, v *tally.Service) {
	before := s.n[mUDP]
	share := uint64(1)
	if v.Key.Role == tally.RoleServer && f.oneWay[v.Key.Port] {
		share = 10
	}
	addUnanswered(&s.n, v, share)
	if v.Key.Role == tally.RoleFolded {
		s.n[mFolded] += s.n[mUDP] - before
	}
}

// addUnanswered counts what was not answered, fragments apart. The packet that asks is always counted as unanswered, its
// answer comes later: each packet of the service beyond those of conversations under way excuses one.
func addUnanswered(c *floodCounts, v *tally.Service, share uint64) {
	talking := v.Packets - min(v.Packets, v.Unanswered)
	answers := v.BackPackets - min(v.BackPackets, talking)
	n := v.Unanswered - min(v.Unanswered, answers)
	n -= min(n, v.Fragments)
	size := v.UnansweredBytes
	if v.Fragments > 0 {
		size -= min(size, v.FragBytes)
	}
	all := v.Unanswered - min(v.Unanswered, v.Fragments)
	c.mulAdd(mUDP, mUDPBytes, n/share, size, all)
}

// addFragments counts fragments of what was not answered.
func (s *floodSum) addFragments(v *tally.Service) {
	n := min(v.Fragments, v.Unanswered)
	transport := v.Key.Proto == protoTCP || v.Key.Proto == protoUDP
	switch {
	case transport && v.Key.Port == 0 && v.Key.Role == tally.RoleServer:
		s.later += v.Fragments
		s.laterBytes += v.FragBytes
		s.silent += n
		return
	case !transport && v.BackPackets == 0:
		n = v.Fragments
	default:
		s.asked += v.Fragments - n
	}
	s.n.mulAdd(mFrag, mFragBytes, n, v.FragBytes, v.Fragments)
}

// fewStreams is how many servers one host may have a stream with whose other direction was not seen yet.
const fewStreams = 4

// streams reports whether the service of a reflector's port also sends lasting streams, which at the start of a capture
// nobody seems to have asked for: IKE and its NAT traversal, OpenVPN, remote desktop, TURN, games. From few senders these
// are UDP like any other.
func streams(port uint16) bool {
	switch port {
	case 500, 1194, 3389, 3478, 4500, 27015:
		return true
	}
	return false
}

// addAnswers counts answers that nobody asked for, by what they are: from a known reflector or a SYN-ACK amplification,
// echo replies ICMP, the rest UDP without an answer.
func (f *Flood) addAnswers(s *floodSum, v *tally.Service) {
	switch {
	case v.Key.Proto == protoTCP && f.view.OneWay(): // downloads, too, look like that
	case v.Key.Proto == protoTCP,
		v.Key.Proto == protoUDP && f.reflects[v.Key.Port] && (!streams(v.Key.Port) || v.Sources.Count() > fewStreams):
		s.n[mAmp] += v.Packets
		s.n[mAmpBytes] += v.Bytes
		s.reflected += v.Fragments
	case isICMP(v.Key.Proto):
		s.n[mICMP] += v.Packets
		s.n[mICMPBytes] += v.Bytes
	case v.Key.Proto == protoUDP:
		s.n[mUDP] += v.Packets
		s.n[mUDPBytes] += v.Bytes
	}
}

// suspicious reports whether most of what a service got in the tick is evidence of a flood, so that its senders and its
// port count for the spread of one: the clients of a busy service beside a port scan do not.
func suspicious(c *floodCounts, v *tally.Service) bool {
	half := c[mSYN] - min(c[mSYN], c[mDone])
	return half*2 > c[mSYN] || (c[mUDP]+c[mICMP]+c[mACK]+c[mRST]+c[mFrag]+c[mAmp])*2 > v.Packets
}

// spread counts the senders and the port of a suspicious service for the distinct counts of its host or prefix.
func (w *floodWindow) spread(v *tally.Service) {
	w.senders[0].Merge(&v.Sources)
	w.ports[0].Add(placeHash(&v.Key))
}

// placeHash hashes a service with the finalizer of MurmurHash3 (Appleby). It is not keyed: who makes ports collide makes a
// scan look more like a flood, and gains nothing.
func placeHash(k *tally.ServiceKey) uint64 {
	mix := func(x uint64) uint64 {
		x = (x ^ x>>33) * 0xff51afd7ed558ccd
		x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
		return x ^ x>>33
	}
	return mix(mix(mix(k.Addr.Hi)^k.Addr.Lo) ^ uint64(k.Proto)<<16 ^ uint64(k.Port))
}
