package analyzers

import (
	"fmt"
	"slices"
	"time"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
	"weir/decode"
)

// The link layer.
//
// arp_conflict. An address is claimed by every ARP packet of its owner. A failover changes its MAC once, and back once. Who poisons
// caches claims it on and on, while the owner goes on, too: the MAC changes to and fro. Three changes within the window
// are low; six are medium if they last for 20 s, the newcomer claimed it in ten ticks, and the owner had it alone for 10 s before: two cards of one
// host answer the same question from the first one on. MACs of VRRP and HSRP (RFC 5798: 00:00:5e:00:01 and :02; 00:00:0c:07:ac, :9f:f) move by design: low.
//
// arp_storm. `gratuitous_per_second` in three of five seconds; medium in 30 of 60, or ten times as many.
//
// rogue_dhcp, rogue_router. With a list (`dhcp_servers`, `routers`) whoever is not on it: low, and medium from the third answer
// on. Without one, whoever was first seen less than `learn` ago, once the memory is older than that: low, and medium from
// the tenth answer on if one that is known answered, too, within ten minutes: a second server that takes over is alone. While the memory is young, the second one is for information.

// Bounds.
const (
	maxAnnouncers = 64
	arpChanges    = 3 // of MAC within the window: to, fro and to
	arpRepeated   = 6
	arpSpan       = 20e9 // ns
	arpAlone      = 10e9 // ns
	arpTicks      = 10
	stormNeed     = 3
	stormOf       = 5
	stormLasting  = 30
	rogueListed   = 3  // answers of one that is on no list
	rogueUnlisted = 10 // answers of one that is new
	weirdLinkCap  = 69
)

// weirdLink is what is known of the link layer.
type weirdLink struct {
	claims  *pool[decode.Addr, arpClaim]
	dhcp    announcers
	routers announcers
	storm   arpStorm
}

// arpOwner is one MAC of an address.
type arpOwner struct {
	mac   uint64
	since int64 // ns
	last  int64
	ticks uint64
}

// arpClaim is who claims an address: the last one first.
type arpClaim struct {
	owners [2]arpOwner
	half   int64
	count  [2]uint64 // changes in this half window, and the one before
	since  int64     // ns, of the first change
	told   int64
	fresh  uint64
	noted  bool // in the baseline, by the present owner
}

// claim takes in that a MAC claimed an address.
func (w *Weird) claim(o *tally.Odd) {
	if o.Kind == tally.OddARPGratuit {
		w.link.storm.add(o)
	}
	hash := scramble(o.Src.Lo, w.key)
	at, made := w.link.claims.at(&o.Src, hash, w.now, int64(w.cfg.Learn))
	if at < 0 {
		return
	}
	_, c := w.link.claims.value(at)
	if made {
		c.told = never
	}
	c.turn(w.now / (int64(w.cfg.Window) / 2))
	changed := c.owner(o.MAC, w.now)
	w.link.claims.keep(at, 1+c.count[0]+c.count[1], w.now+int64(w.cfg.Learn))
	c.noted = c.noted && !changed
	w.learnMAC(o, c)
	if !changed {
		return
	}
	if c.count[0]+c.count[1] == 0 {
		c.since, c.fresh = w.now, 0
	}
	c.count[0]++
	c.fresh++
	if c.count[0]+c.count[1] >= arpChanges && w.now-c.told >= int64(time.Second) && !w.knownMACs(o, c) {
		w.tellConflict(o, c)
	}
}

func (c *arpClaim) turn(half int64) {
	switch half - c.half {
	case 0:
	case 1:
		c.count = [2]uint64{0, c.count[0]}
	default:
		c.count = [2]uint64{}
	}
	c.half = half
}

// owner notes a claim, and reports whether it is another's than the one before. Of three, the one that was silent longest goes.
func (c *arpClaim) owner(mac uint64, now int64) (changed bool) {
	switch mac {
	case c.owners[0].mac:
	case c.owners[1].mac:
		c.owners[0], c.owners[1], changed = c.owners[1], c.owners[0], true
	default:
		changed = c.owners[0].since != 0
		c.owners[1], c.owners[0] = c.owners[0], arpOwner{mac: mac, since: now}
	}
	if own := &c.owners[0]; own.last != now {
		own.last = now
		own.ticks++
	}
	return changed
}

// learnMAC remembers who owns an address, once for each time that it changed: but not in turns that look like poisoning.
func (w *Weird) learnMAC(o *tally.Odd, c *arpClaim) {
	if !c.noted && (c.count[0]+c.count[1] < arpRepeated || !c.poisoned()) {
		c.noted = true
		w.site.Baseline.Seen(macKey(o.Src, o.MAC), w.now)
	}
}

func macKey(a decode.Addr, mac uint64) baseline.Key {
	return baseline.Key{Kind: baseline.KindPair, Measure: baseline.MeasurePresence, Num: 1, Ver: 4, Addr: [2]uint64{a.Hi, a.Lo}, Peer: [2]uint64{0, mac}}
}

// knownMACs reports whether both MACs have claimed the address for as long as what is usual takes.
func (w *Weird) knownMACs(o *tally.Odd, c *arpClaim) bool {
	for i := range c.owners {
		first, _, known := w.site.Baseline.SeenBefore(macKey(o.Src, c.owners[i].mac))
		if !known || w.now-first < int64(w.cfg.Learn) {
			return false
		}
	}
	return true
}

// poisoned reports whether a newcomer claims what another had for itself.
func (c *arpClaim) poisoned() bool {
	a, b := &c.owners[0], &c.owners[1]
	if a.since < b.since {
		a, b = b, a // a came later
	}
	return a.since-b.since >= arpAlone && a.ticks >= arpTicks && !movesByDesign(a.mac) && !movesByDesign(b.mac)
}

// movesByDesign reports MACs of router redundancy.
func movesByDesign(mac uint64) bool {
	switch mac >> 8 {
	case 0x00005e0001, 0x00005e0002, 0x00000c07ac:
		return true
	}
	return mac>>12 == 0x00000c9ff
}

func (w *Weird) tellConflict(o *tally.Odd, c *arpClaim) {
	n := c.count[0] + c.count[1]
	f := w.finding("arp_conflict", 30, c.since, c.fresh)
	if n >= arpRepeated && c.last()-c.since >= arpSpan && c.poisoned() {
		f.Score = 55 + int(min((n-arpRepeated)/2, 14))
	}
	f.Victim, f.Attack = w.party(o.Src, 4), []string{"T1557.002"}
	f.Why = []Measure{
		{Name: "mac_changes", Value: float64(n), Unit: "changes", Threshold: arpChanges, Window: int64(w.cfg.Window)},
		{Name: "repeated", Value: float64(n), Unit: "changes", Threshold: arpRepeated, Window: int64(w.cfg.Window)},
	}
	old, late := &c.owners[1], &c.owners[0]
	if late.since < old.since {
		old, late = late, old
	}
	f.Summary = fmt.Sprintf("%v is claimed by %s and, since %v later, by %s, too: %d changes.",
		o.Src.Netip(4), macText(old.mac), time.Duration(late.since-old.since).Round(100*time.Millisecond), macText(late.mac), n)
	c.told, c.fresh = w.now, 0
	w.emit(f)
}

func (c *arpClaim) last() int64 { return max(c.owners[0].last, c.owners[1].last) }

func macText(mac uint64) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", mac>>40&0xff, mac>>32&0xff, mac>>24&0xff, mac>>16&0xff, mac>>8&0xff, mac&0xff)
}

// finding is what findings of the link layer have in common.
func (w *Weird) finding(kind string, score int, first int64, n uint64) *Finding {
	return &Finding{
		Analyzer: w.Name(), Kind: kind, Time: w.now, First: min(first, w.now), Last: w.now, Quiet: int64(w.cfg.Quiet), Count: max(n, 1),
		Score: score, MaxScore: weirdLinkCap, Confidence: 100 - int(w.view.Loss()*100+0.999),
	}
}

// arpStorm counts gratuitous ARP by the second. Who sends most of it is the majority vote of Boyer and Moore, by packets.
type arpStorm struct {
	second int64
	count  uint64
	mac    uint64
	votes  uint64
	cross  baseline.Crossing
	since  int64  // ns
	fresh  uint64 // in seconds that were over
}

func (s *arpStorm) add(o *tally.Odd) {
	s.count += o.Count
	switch {
	case s.mac == o.MAC:
		s.votes += o.Count
	case s.votes >= o.Count:
		s.votes -= o.Count
	default:
		s.mac, s.votes = o.MAC, o.Count-s.votes
	}
}

// turnStorm judges the second that is over.
func (w *Weird) turnStorm(second int64) {
	s := &w.link.storm
	if second == s.second {
		return
	}
	over := s.count >= w.cfg.Gratuitous
	s.cross.Add(s.second, over)
	if over {
		if s.cross.Count(64) == 1 {
			s.since, s.fresh = s.second*1e9, 0
		}
		s.fresh += s.count
		if s.cross.Met(stormNeed, stormOf) {
			w.tellStorm(s)
		}
	}
	s.second, s.count, s.votes = second, 0, 0
}

func (w *Weird) tellStorm(s *arpStorm) {
	f := w.finding("arp_storm", 35, s.since, s.fresh)
	f.First, f.Last, f.Attack = s.since, min((s.second+1)*1e9, w.now), []string{"T1498.001"}
	if s.cross.Count(60) >= stormLasting || s.count >= 10*w.cfg.Gratuitous {
		f.Score = 55
	}
	f.Why = []Measure{
		{Name: "gratuitous_arp", Value: float64(s.count), Unit: "packets", Threshold: float64(w.cfg.Gratuitous), Window: 1e9},
		{Name: "seconds_over", Value: float64(s.cross.Count(60)), Unit: "seconds", Threshold: stormNeed, Window: 60e9},
	}
	who := "several MACs"
	if s.votes*2 > s.count {
		who = macText(s.mac)
	}
	f.Summary = fmt.Sprintf("%d gratuitous ARP packets a second, most of them by %s.", s.count, who)
	s.fresh = 0
	w.emit(f)
}

// announcers are who offers a service to the whole link: DHCP servers or routers.
type announcers struct {
	list []announcer
	lost uint64
	many int64 // ns: more than are named were told
}

type announcer struct {
	addr        decode.Addr
	ver         uint8
	first, last int64 // ns
	seen        int64 // ns, by the baseline's memory: for the first time
	n           uint64
	told        int64
	fresh       uint64
}

// announced takes in that a DHCP server answered, or a router advertised itself.
func (w *Weird) announced(all *announcers, o *tally.Odd) {
	num := uint32(2)
	if all == &w.link.routers {
		num = 3
	}
	k := baseline.Key{Kind: baseline.KindHost, Measure: baseline.MeasurePresence, Num: num, Ver: o.Ver, Addr: [2]uint64{o.Src.Hi, o.Src.Lo}}
	first, _, _ := w.site.Baseline.Seen(k, w.now)
	a := all.at(o.Src, o.Ver, w.now)
	a.seen, a.last, a.n, a.fresh = first, w.now, a.n+o.Count, a.fresh+o.Count
	if w.now-a.told >= int64(time.Second) {
		w.judgeAnnouncer(all, a)
	}
}

// judgeAnnouncer tells of an announcer that is none of the site's.
func (w *Weird) judgeAnnouncer(all *announcers, a *announcer) {
	kind, listed := "rogue_dhcp", w.cfg.DHCPServers
	if all == &w.link.routers {
		kind, listed = "rogue_router", w.cfg.Routers
	}
	if slices.Contains(listed, a.addr.Netip(a.ver)) {
		return
	}
	score, need := w.rogue(all, a, len(listed) > 0)
	if score == 0 {
		return
	}
	if a.told == never && all.count(w.now-int64(w.cfg.Quiet)) >= maxWeird {
		a.fresh = 0
		w.tellMany(kind, all)
		return
	}
	w.tellRogue(kind, a, score, need)
}

// count is how many were told since a time.
func (l *announcers) count(since int64) (n int) {
	for i := range l.list {
		if l.list[i].told > since {
			n++
		}
	}
	return n
}

// tellMany tells of more than are named.
func (w *Weird) tellMany(kind string, all *announcers) {
	if w.now-all.many < int64(time.Second) {
		return
	}
	all.many = w.now
	f := w.finding(kind, 45, w.now, 1)
	f.Why = []Measure{{Name: "named", Value: maxWeird, Unit: "addresses", Threshold: maxWeird}}
	f.Summary = fmt.Sprintf("More than %d addresses do what %s says of those that are named.", maxWeird, kind)
	w.emit(f)
}

// tellAnnouncers tells what came since findings that are as old as that.
func (w *Weird) tellAnnouncers(age int64) {
	for _, all := range [...]*announcers{&w.link.dhcp, &w.link.routers} {
		for i := range all.list {
			if a := &all.list[i]; a.told != never && a.fresh > 0 && w.now-a.told >= age {
				w.judgeAnnouncer(all, a)
			}
		}
	}
}

// at is the entry of an announcer, made if it is new; in place of the one that was silent longest if there is no room.
func (l *announcers) at(addr decode.Addr, ver uint8, now int64) *announcer {
	oldest := 0
	for i := range l.list {
		if l.list[i].addr == addr && l.list[i].ver == ver {
			return &l.list[i]
		}
		if l.list[i].last < l.list[oldest].last {
			oldest = i
		}
	}
	made := announcer{addr: addr, ver: ver, first: now, told: never}
	if len(l.list) < maxAnnouncers {
		l.list = append(l.list, made)
		return &l.list[len(l.list)-1]
	}
	l.lost++
	l.list[oldest] = made
	return &l.list[oldest]
}

// rogue is the score of an announcer that is on no list, 0 if it is none; and how many answers make it medium.
func (w *Weird) rogue(all *announcers, a *announcer, listed bool) (score int, need uint64) {
	learn := int64(w.cfg.Learn)
	young := w.now-w.site.Baseline.Since() < learn
	rival := false // another that was there before, or in the same tick of a lesser address
	for i := range all.list {
		o := &all.list[i]
		rival = rival || o != a && (o.first < a.first || o.first == a.first && o.addr.Less(a.addr)) && a.last-o.last < int64(10*time.Minute)
	}
	switch {
	case listed && a.n >= rogueListed:
		return 60, rogueListed
	case listed:
		return 45, rogueListed
	case !young && w.now-a.seen >= learn:
		return 0, 0
	case young && rival:
		return 20, 0
	case young:
		return 0, 0
	case a.n >= rogueUnlisted && rival:
		return 55, rogueUnlisted
	}
	return 35, rogueUnlisted
}

func (w *Weird) tellRogue(kind string, a *announcer, score int, need uint64) {
	f := w.finding(kind, score, a.first, a.fresh)
	f.Subject, f.Attack = w.party(a.addr, a.ver), []string{"T1557"}
	what := "advertises itself as a router"
	if kind == "rogue_dhcp" {
		f.Attack, what = []string{"T1557.003"}, "answers as a DHCP server"
	}
	f.Why = []Measure{{Name: "answers", Value: float64(a.n), Unit: "packets", Threshold: float64(need)}}
	why := "it is on no list of the site's"
	switch {
	case score == 20:
		why = "it is the second one, and not known for long"
		f.Notes = append(f.Notes, "nothing is known of the site yet: either may be right")
	case score == 35 || need == rogueUnlisted:
		why = "it was not there before"
	}
	f.Summary = fmt.Sprintf("%v %s, %d times: %s.", a.addr.Netip(a.ver), what, a.n, why)
	a.told, a.fresh = w.now, 0
	w.emit(f)
}
