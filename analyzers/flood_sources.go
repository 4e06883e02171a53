package analyzers

import (
	"cmp"
	"math"
	"slices"

	"weir/analyzers/tally"
	"weir/decode"
)

// maxHeaders are kept of one tick, the first of the epoch's sample; 80 bytes each.
const maxHeaders = 8192

// floodSamples are the headers that the epochs of the last second sampled: of what got no answer, the SYNs of completed
// handshakes, and ICMP.
type floodSamples struct {
	tick    int64
	heads   [ticksPerSecond][]tally.Header
	matched []tally.Header // scratch of the last look-up
	senders []decode.Addr  // scratch
}

// add takes in an epoch's headers.
func (s *floodSamples) add(e *tally.Epoch) {
	if gone := e.Tick - s.tick; gone >= ticksPerSecond || gone < 0 {
		for i := range s.heads {
			s.heads[i] = s.heads[i][:0]
		}
	} else {
		for t := s.tick + 1; t < e.Tick; t++ {
			s.heads[slotOf(t)] = s.heads[slotOf(t)][:0]
		}
	}
	s.tick = e.Tick
	list := append(s.heads[slotOf(e.Tick)][:0], e.Suspects[:min(len(e.Suspects), maxHeaders)]...)
	for i := range e.Normals[:min(len(e.Normals), maxHeaders)] {
		if h := &e.Normals[i]; h.Class == tally.ClassNormalSYN || isICMP(h.Proto) {
			list = append(list, *h)
		}
	}
	s.heads[slotOf(e.Tick)] = list
}

// kindsOf are the kinds of flood that a sampled header is evidence of.
func (f *Flood) kindsOf(h *tally.Header) uint16 {
	switch h.Class {
	case tally.ClassSYN:
		return kindSYN.mask()
	case tally.ClassNormalSYN:
		return kindConnection.mask()
	case tally.ClassFragment:
		if h.Proto == protoUDP && (f.reflects[h.SrcPort] || h.SrcPort == 0) {
			return kindFragment.mask() | kindAmplification.mask()
		}
		return kindFragment.mask()
	case tally.ClassStray:
		if h.Flags&decode.FlagRST != 0 {
			return kindRST.mask()
		}
		return kindACK.mask()
	case tally.ClassUnasked:
		if h.Proto == protoTCP || h.Proto == protoUDP && f.reflects[h.SrcPort] {
			return kindAmplification.mask()
		}
	}
	switch {
	case isICMP(h.Proto):
		return kindICMP.mask()
	case h.Proto == protoUDP && f.reflects[h.SrcPort] && h.SrcPort != h.DstPort:
		return kindUDP.mask() | kindAmplification.mask()
	case h.Proto == protoUDP:
		return kindUDP.mask()
	}
	return 0
}

// at reports whether a header went to the victim.
func (level floodLevel) at(k *tally.ServiceKey, h *tally.Header) bool {
	switch {
	case h.Ver != k.Ver:
		return false
	case level == levelPrefix:
		return samePrefix(&tally.ServiceKey{Addr: h.Dst, Ver: h.Ver}, k)
	case h.Dst != k.Addr || level == levelHost:
		return h.Dst == k.Addr
	}
	return h.Proto == k.Proto && (h.DstPort == k.Port || k.Port == 0)
}

// floodSample describes the sampled headers of one flood. Slices are valid until the next look-up.
type floodSample struct {
	n        int
	heads    []tally.Header
	top      []sender // at most fewSenders, by share
	distinct int      // senders
	once     int      // senders seen once
	entropy  float64  // of the senders, as a share of what n different ones would have; 0 to 1
	ttls     int      // distinct TTLs
	refusals int      // RST with ACK and window 0
}

type sender struct {
	addr decode.Addr
	n    int
}

// sampled looks up the headers of some kinds at a victim over the last second.
func (f *Flood) sampled(kinds uint16, k *tally.ServiceKey, level floodLevel) floodSample {
	r := &f.recent
	r.matched, r.senders = r.matched[:0], r.senders[:0]
	var s floodSample
	var ttl [256]bool
	for t := f.epoch.Tick - ticksPerSecond + 1; t <= f.epoch.Tick; t++ {
		list := r.heads[slotOf(t)]
		for i := range list {
			h := &list[i]
			if f.kindsOf(h)&kinds == 0 || !level.at(k, h) {
				continue
			}
			r.matched = append(r.matched, *h)
			r.senders = append(r.senders, h.Src)
			const refusal = decode.FlagRST | decode.FlagACK
			if h.Flags&refusal == refusal && h.Window == 0 {
				s.refusals++
			}
			if !ttl[h.TTL] {
				ttl[h.TTL] = true
				s.ttls++
			}
		}
	}
	s.n, s.heads = len(r.matched), r.matched
	s.count(r.senders)
	return s
}

// count counts the senders; it sorts the slice.
func (s *floodSample) count(list []decode.Addr) {
	slices.SortFunc(list, compareAddrs)
	sum := 0.0
	for rest := list; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[0] {
			n++
		}
		s.distinct++
		if n == 1 {
			s.once++
		}
		sum += float64(n) * math.Log2(float64(n))
		s.offer(sender{rest[0], n})
		rest = rest[n:]
	}
	if all := float64(s.n); s.n > 1 {
		s.entropy = 1 - sum/(all*math.Log2(all))
	}
}

// offer keeps a sender if it is among the first few; senders come by address, which decides between equals.
func (s *floodSample) offer(o sender) {
	at, _ := slices.BinarySearchFunc(s.top, o, func(a, b sender) int {
		return cmp.Or(cmp.Compare(b.n, a.n), compareAddrs(a.addr, b.addr))
	})
	if at == fewSenders {
		return
	}
	s.top = slices.Insert(s.top[:min(len(s.top), fewSenders-1)], at, o)
}

func compareAddrs(a, b decode.Addr) int {
	return cmp.Or(cmp.Compare(a.Hi, b.Hi), cmp.Compare(a.Lo, b.Lo))
}

// Bounds for naming senders.
const (
	subjectPercent = 80 // of the sampled packets
	perSubject     = 8  // sampled packets for each sender named: with fewer the share means nothing
)

// subjects are the fewest senders with 80 % of the sample, nil if they are more than a few or the sample is too small.
func (s *floodSample) subjects() []sender {
	sum := 0
	for i, o := range s.top {
		if sum += o.n; sum*100 >= s.n*subjectPercent {
			if s.n < (i+1)*perSubject {
				return nil
			}
			return s.top[:i+1]
		}
	}
	return nil
}

// topPort is the most frequent source port, and how many headers have it.
func (s *floodSample) topPort() (port uint16, n int) {
	var counts [1 << 16]uint16
	for i := range s.heads {
		if h := &s.heads[i]; h.SrcPort != 0 && counts[h.SrcPort] < 0xffff {
			counts[h.SrcPort]++
		}
	}
	for p, c := range counts {
		if int(c) > n {
			port, n = uint16(p), int(c)
		}
	}
	return port, n
}
