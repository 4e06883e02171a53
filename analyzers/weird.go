package analyzers

import (
	"errors"
	"net/netip"
	"slices"
	"time"
	"unsafe"

	"weir/analyzers/tally"
	"weir/decode"
)

// Weird finds what should not be on a network at all, or not twice: oddities of the link layer and of headers.
//
//	arp_conflict      two MAC addresses take turns in claiming one address
//	arp_storm         gratuitous ARP without end
//	rogue_dhcp        a DHCP server answers that is not one of the site's (DHCPv4)
//	rogue_router      an IPv6 router advertises itself, likewise
//	land              packets from an address and port to themselves
//	teardrop          fragments that overlap others of their datagram with other bounds
//	bad_flags         sets of TCP flags that no stack sends
//	martian           sources that cannot be (loopback, multicast, 0.0.0.0/8, 240.0.0.0/4) of packets that had no answer
//	private_source    private sources that are not of the site, to its hosts, without an answer
//	split_handshake   SYNs answered by bare SYNs
//	ttl               the hop limit of one side of a connection changes by more than eight
//	overlap           TCP payload sent again with other bounds that reaches beyond what was sent
//
// How. Epoch.Odds tells what the packets showed; it is counted by who does it (bad_flags, ttl, split_handshake, overlap,
// private_source) or by whom it hits (land, teardrop, martian) over `window`. See weirdRules for how many make a finding, and
// how many a finding of medium severity. Of one kind maxWeird are named at a time; what comes beyond that is told as one, without parties,
// and low. Kinds of the link layer: weird_link.go.
//
// Severity. Low, medium when repeated. Never above low: ttl (firewalls and load balancers reset connections in the name of
// others, at any pace), overlap (headers do not show whether the content differs, and stacks join segments when they send them
// again; this is for information), what a flood or scan of the same party tells already, and what does not last as long as its rule asks: scans are found meanwhile.
//
// What it mistakes. Addresses are forged at will in all kinds but arp_conflict: no subject is proven. A way through the network that
// changes by more than eight hops is ttl. Simultaneous opens (hole punching of peers) are split handshakes. Bonding in mode balance-alb, hosts
// that answer ARP for all their addresses on each of two cards (arp_ignore 0), and proxied ARP claim addresses by two MACs: low, and silent once they were seen for `learn`.
//
// State: bounded by Cases and Addresses; what found no room is counted. Cost: one look-up an oddity, and one pass over the sources where
// networks.inside leaves any private address outside.
type Weird struct {
	cfg   WeirdConfig
	site  *Site
	e     *tally.Epoch
	now   int64 // ns: end of the tick
	key   uint64
	emit  func(*Finding)
	view  View
	cases *pool[weirdKey, weirdCase]
	named []weirdKey
	link  weirdLink
}

// WeirdConfig holds what is the site's own, and the times.
type WeirdConfig struct {
	DHCPServers []netip.Addr  `yaml:"dhcp_servers"`          // and relays; none: those that were seen for Learn
	Routers     []netip.Addr  `yaml:"routers"`               // link-local addresses of IPv6 routers; none: likewise
	Learn       time.Duration `yaml:"learn"`                 // after which a server, a router, or a MAC of an address is known
	Gratuitous  uint64        `yaml:"gratuitous_per_second"` // gratuitous ARP packets that are a storm if they last
	Window      time.Duration `yaml:"window"`                // in which oddities are counted
	Quiet       time.Duration `yaml:"quiet"`                 // after which an alert closes
	Cases       int           `yaml:"cases"`                 // kinds and parties that are counted at once; 144 bytes each
	Addresses   int           `yaml:"addresses"`             // whose MACs are known; 136 bytes each
}

// DefaultWeird returns the defaults. Learn: what comes daily is seen. A failover tells each address five times at once (keepalived's
// vrrp_garp_master_repeat), so that a hundred a second last for a second or two; a storm lasts.
func DefaultWeird() WeirdConfig {
	return WeirdConfig{
		Learn: 24 * time.Hour, Gratuitous: 100, Window: 5 * time.Minute, Quiet: 10 * time.Minute, Cases: 4096, Addresses: 16384,
	}
}

// Check reports the first setting that is out of range.
func (c *WeirdConfig) Check() error {
	bad := func(a netip.Addr) bool { return !a.IsValid() }
	switch {
	case slices.ContainsFunc(c.DHCPServers, bad) || slices.ContainsFunc(c.Routers, bad):
		return errors.New("weird: dhcp_servers and routers must be addresses")
	case len(c.DHCPServers) > maxAnnouncers || len(c.Routers) > maxAnnouncers:
		return errors.New("weird: dhcp_servers and routers must be at most 64 each")
	case c.Learn < time.Minute || c.Learn > 30*24*time.Hour:
		return errors.New("weird: learn must be 1m to 720h")
	case c.Gratuitous < 10 || c.Gratuitous > 1e6:
		return errors.New("weird: gratuitous_per_second must be 10 to 1000000")
	case c.Window < 10*time.Second || c.Window > time.Hour:
		return errors.New("weird: window must be 10s to 1h")
	case c.Quiet < 10*time.Second || c.Quiet > 24*time.Hour:
		return errors.New("weird: quiet must be 10s to 24h")
	case c.Cases < 64 || c.Cases > 1<<20:
		return errors.New("weird: cases must be 64 to 1048576")
	case c.Addresses < 64 || c.Addresses > 1<<20:
		return errors.New("weird: addresses must be 64 to 1048576")
	}
	return nil
}

// bytes is the memory of the tables when they are full.
func (c *WeirdConfig) bytes() int {
	const index = 8
	return c.Cases*(index+int(unsafe.Sizeof(poolEntry[weirdKey, weirdCase]{}))) +
		c.Addresses*(index+int(unsafe.Sizeof(poolEntry[decode.Addr, arpClaim]{})))
}

// NewWeird returns a Weird. It panics if cfg.Check fails.
func NewWeird(cfg WeirdConfig, site *Site) *Weird {
	if err := cfg.Check(); err != nil {
		panic(err)
	}
	return &Weird{
		cfg: cfg, site: site, cases: newPool[weirdKey, weirdCase](cfg.Cases, nil),
		link: weirdLink{claims: newPool[decode.Addr, arpClaim](cfg.Addresses, nil)},
	}
}

// Name implements Analyzer.
func (w *Weird) Name() string { return "weird" }

// Judge implements Analyzer.
func (w *Weird) Judge(e *tally.Epoch, emit func(*Finding)) {
	w.e, w.now, w.key, w.emit = e, e.End(), e.SketchKey, emit
	w.view.Observe(e)
	if e.Tick%ticksPerSecond == 0 {
		w.forget()
	}
	w.turnStorm(e.Tick / ticksPerSecond)
	for i := range e.Odds {
		w.take(&e.Odds[i])
	}
	for i := range e.Sources {
		w.private(&e.Sources[i])
	}
	w.tellRest(int64(time.Second))
}

// Finish implements Analyzer.
func (w *Weird) Finish(emit func(*Finding)) {
	if w.e == nil {
		return
	}
	w.emit = emit
	w.turnStorm(w.link.storm.second + 1)
	w.tellRest(0)
}

// take takes a peculiarity in.
func (w *Weird) take(o *tally.Odd) {
	switch o.Kind {
	case tally.OddARPClaim, tally.OddARPGratuit:
		w.claim(o)
	case tally.OddDHCPServer:
		w.announced(&w.link.dhcp, o)
	case tally.OddRouter:
		w.announced(&w.link.routers, o)
	case tally.OddLand:
		w.note(weirdLand, o.Ver, o.Dst, decode.Addr{}, o.Count, o.First, o.Last)
	case tally.OddFragment:
		w.note(weirdTeardrop, o.Ver, o.Dst, o.Src, o.Count, o.First, o.Last)
	case tally.OddSource:
		w.note(weirdMartian, o.Ver, o.Dst, o.Src, o.Count, o.First, o.Last)
	case tally.OddFlags:
		w.note(weirdFlags, o.Ver, o.Src, o.Dst, o.Count, o.First, o.Last)
	case tally.OddTTL:
		w.note(weirdTTL, o.Ver, o.Src, o.Dst, o.Count, o.First, o.Last)
	case tally.OddSplit:
		w.note(weirdSplit, o.Ver, o.Src, o.Dst, o.Count, o.First, o.Last)
	case tally.OddOverlap:
		w.note(weirdOverlap, o.Ver, o.Src, o.Dst, o.Count, o.First, o.Last)
	}
}

// private takes in what a source tried that has a private address which is none of the site's. Who gets answers has a way back, so
// its address is in use somewhere near; in a one-way view nobody is seen to get any.
func (w *Weird) private(s *tally.Source) {
	if s.Ver != 4 && s.Ver != 6 || s.Opened == 0 || s.NContacts == 0 || w.view.OneWay() || !isPrivate(s.Addr, s.Ver) {
		return
	}
	if w.site.Inside(s.Addr.Netip(s.Ver)) {
		return
	}
	var sample [tally.SampleSize]decode.Addr
	hosts := sample[:0]
	for i := range s.Contacts[:s.NContacts] {
		if dst := s.Contacts[i].Dst; !slices.Contains(hosts, dst) && w.site.Inside(dst.Netip(s.Ver)) {
			hosts = append(hosts, dst)
		}
	}
	if len(hosts) == 0 {
		return
	}
	k := weirdKey{kind: weirdPrivate, ver: s.Ver, who: s.Addr}
	if at := w.cases.find(&k, k.hash(w.key)); s.Answered+s.Proven > 0 {
		if at, _ = w.cases.at(&k, k.hash(w.key), w.now, int64(w.cfg.Learn)); at >= 0 {
			_, c := w.cases.value(at)
			c.answered = w.now
		}
		return
	} else if at >= 0 {
		if _, c := w.cases.value(at); c.answered != 0 && w.now-c.answered < int64(w.cfg.Learn) {
			return
		}
	}
	for left := uint64(s.Opened); left > 0 && len(hosts) > 0; hosts = hosts[1:] {
		n := uint64(1)
		if len(hosts) == 1 {
			n = left
		}
		w.note(weirdPrivate, s.Ver, s.Addr, hosts[0], n, s.First, s.Last)
		left -= n
	}
}

// isPrivate reports addresses that no one has in the internet: RFC 1918, 6598 (100.64.0.0/10), 3927 (169.254.0.0/16), 4193 (fc00::/7).
func isPrivate(a decode.Addr, ver uint8) bool {
	if ver == 6 {
		return a.Hi>>57 == 0xfc>>1
	}
	ip := uint32(a.Lo)
	return ip>>24 == 10 || ip>>20 == 0xac1 || ip>>16 == 0xc0a8 || ip>>22 == 0x6440>>6 || ip>>16 == 0xa9fe
}

// Costs implements Bounded.
func (w *Weird) Costs() []Cost {
	return []Cost{
		{"weird cases", w.cases.Refused + w.cases.Evicted},
		{"weird addresses", w.link.claims.Refused + w.link.claims.Evicted + w.link.dhcp.lost + w.link.routers.lost},
	}
}

// adjust implements adjustable.
func (w *Weird) adjust(cfg *Config) []string {
	next := cfg.Weird
	restart := fixed(w.cfg.Cases, &next.Cases, "weird.cases")
	restart = append(restart, fixed(w.cfg.Addresses, &next.Addresses, "weird.addresses")...)
	w.cfg = next
	return restart
}
