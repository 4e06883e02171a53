package analyzers

import (
	"math"
	"math/bits"
	"net/netip"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// aim is where a source's sampled contacts went: which host, port and network had most of them. Constant size, exact for as
// long as one candidate has the majority.
type aim struct {
	n      uint32
	usual  uint32 // of them to usual client ports
	low    uint32 // and to system ports
	host   majority
	block  majority // /16, IPv6: /32
	lo, hi decode.Addr
	port   majority16             // port<<8 | protocol
	probes [conn.ProbeCount]uint8 // halved at 32, so that they follow the last fifty
}

// majority is the majority vote of Boyer and Moore (MJRTY, 1981): the candidate is the majority's address if there is one.
type majority struct {
	addr decode.Addr
	hits uint32
}

// add counts a vote; true if a new candidate took over.
func (m *majority) add(a decode.Addr) bool {
	switch {
	case m.hits == 0:
		m.addr, m.hits = a, 1
		return true
	case m.addr == a:
		m.hits++
	default:
		m.hits--
	}
	return false
}

type majority16 struct{ port, hits uint32 }

func (m *majority16) add(p uint32) {
	switch {
	case m.hits == 0:
		m.port, m.hits = p, 1
	case m.port == p:
		m.hits++
	default:
		m.hits--
	}
}

// frequent counts the most frequent ports by Misra and Gries (Finding repeated elements, 1982): with four ports or fewer
// exactly, else too low by a fifth of all votes at most.
type frequent [4]majority16

func (f *frequent) add(p uint32) {
	free := -1
	for i := range f {
		switch {
		case f[i].hits == 0:
			free = i
		case f[i].port == p:
			f[i].hits++
			return
		}
	}
	if free >= 0 {
		f[free] = majority16{p, 1}
		return
	}
	for i := range f {
		f[i].hits--
	}
}

func (f *frequent) count(p uint32) uint32 {
	for i := range f {
		if f[i].port == p {
			return f[i].hits
		}
	}
	return 0
}

// atLeast reports whether a candidate with these hits of n votes has at least percent of them: votes for and against
// cancel, so it had (hits+n)/2.
func atLeast(hits, n, percent uint32) bool {
	return n > 0 && uint64(hits+n)*50 >= uint64(n)*uint64(percent)
}

func (a *aim) add(c *tally.SampledContact, port uint32, ver uint8) {
	if a.n == math.MaxUint32>>2 {
		return
	}
	a.n++
	a.usual += one(usualPort(c.Port))
	a.low += one(c.Port < 1024)
	a.host.add(c.Dst)
	a.port.add(port)
	net := decode.Addr{Hi: c.Dst.Hi, Lo: c.Dst.Lo &^ 0xffff}
	if ver == 6 {
		net = decode.Addr{Hi: c.Dst.Hi &^ 0xffffffff}
	}
	if a.block.add(net) {
		a.lo, a.hi = c.Dst, c.Dst
	} else if a.block.addr == net {
		if c.Dst.Less(a.lo) {
			a.lo = c.Dst
		}
		if a.hi.Less(c.Dst) {
			a.hi = c.Dst
		}
	}
	if a.probes[c.Probe]++; a.probes[c.Probe] >= 32 {
		for i := range a.probes {
			a.probes[i] /= 2
		}
	}
}

// near reports whether most contacts went to one network of /16 (IPv6: /32).
func (a *aim) near() bool { return atLeast(a.block.hits, a.n, 60) }

// site reports the same for what one site may have: an IPv6 /32 is a provider's or a content network's, a site has a /48
// (RFC 6177).
func (a *aim) site(ver uint8) bool { return a.near() && (ver == 4 || a.cover(ver).width >= 48) }

// cover is the smallest prefix around the contacts to the network of most of them, /24 (IPv6: /64) or shorter.
func (a *aim) cover(ver uint8) scanVictim {
	if ver == 6 {
		same := bits.LeadingZeros64(a.lo.Hi ^ a.hi.Hi)
		return newScanVictim(a.lo, uint8(min(same, 64)), ver)
	}
	same := bits.LeadingZeros32(uint32(a.lo.Lo) ^ uint32(a.hi.Lo))
	return newScanVictim(a.lo, uint8(min(same, 24)), ver)
}

// mainProbe is the probe that at least 80 % of the last contacts used, and how many those were.
func (a *aim) mainProbe() (probe conn.Probe, sum int, ok bool) {
	best := 0
	for i, n := range a.probes {
		sum += int(n)
		if n > a.probes[best] {
			best = i
		}
	}
	return conn.Probe(best), sum, sum > 0 && int(a.probes[best])*10 >= sum*8
}

// usualPort reports ports that clients contact on many hosts as a matter of course: mail, names, web, time.
func usualPort(p uint16) bool {
	switch p {
	case 25, 53, 80, 123, 443, 465, 587, 853, 993, 995, 8080, 8443:
		return true
	}
	return false
}

// bits128 is a set for linear counting (Whang, Vander-Zanden, Taylor: A Linear-Time Probabilistic Counting Algorithm,
// 1990): within 8 % at 128 keys, nearly exact at ten; 621 at most.
type bits128 [2]uint64

func (b *bits128) add(hash uint64) { b[hash>>6&1] |= 1 << (hash & 63) }

func (b *bits128) count() uint32 {
	empty := max(128-bits.OnesCount64(b[0])-bits.OnesCount64(b[1]), 1)
	return uint32(math.Round(128 * math.Log(128/float64(empty))))
}

// scanVictim is a host or a prefix in a comparable form; width 0: nobody.
type scanVictim struct {
	addr  decode.Addr
	width uint8 // of the prefix
	ver   uint8
}

// newScanVictim masks an address; prefixes shorter than /16 (IPv6: /32) are nobody.
func newScanVictim(a decode.Addr, width, ver uint8) scanVictim {
	if ver == 6 {
		if width < 32 {
			return scanVictim{}
		}
		if width <= 64 {
			a = decode.Addr{Hi: a.Hi &^ (1<<(64-width) - 1)}
		}
		return scanVictim{a, width, ver}
	}
	if width < 16 {
		return scanVictim{}
	}
	a.Lo &^= 1<<(32-width) - 1
	return scanVictim{a, width, ver}
}

// covers reports whether o lies within v.
func (v scanVictim) covers(o scanVictim) bool {
	return v.width > 0 && o.width >= v.width && newScanVictim(o.addr, v.width, v.ver) == v
}

func (v scanVictim) prefix() netip.Prefix {
	if v.width == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(v.addr.Netip(v.ver), int(v.width))
}

func hostVictim(a decode.Addr, ver uint8) scanVictim {
	if ver == 6 {
		return scanVictim{a, 128, ver}
	}
	return scanVictim{a, 32, ver}
}
