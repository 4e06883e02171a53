package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"weir/decode"
)

// weirdKind is a kind of oddity that is counted.
type weirdKind uint8

const (
	weirdLand weirdKind = iota
	weirdTeardrop
	weirdFlags
	weirdMartian
	weirdPrivate
	weirdSplit
	weirdTTL
	weirdOverlap
	weirdKinds
)

// weirdRule is what is fixed about a kind.
type weirdRule struct {
	name     string
	unit     string // of its count
	text     string // of its summary, after who and how many
	need     uint64 // within the window, to be told
	score    int    // then
	repeated uint64 // within the window, to be of medium severity; 0: never
	lasting  int64  // ns that it must have lasted for that
	cap      int
	victim   bool // counted by whom it hits
	attack   []string
}

// Numbers. One LAND packet or teardrop fragment has no honest cause; the other kinds happen by broken devices. Bad flags: nine first contacts and five seconds name a
// scan, before twenty packets in ten seconds do. Martians and private sources: leaks of misconfigured machines are a few packets.
// Resets in another's name (ttl) are few but under attack; 24 and below is for information.
var weirdRules = [weirdKinds]weirdRule{
	weirdLand:     {"land", "packets", "from its own address and port", 1, 40, 10, 0, 69, true, []string{"T1499.004"}},
	weirdTeardrop: {"teardrop", "fragments", "that overlap others of their datagram", 1, 40, 10, 0, 69, true, []string{"T1499.004"}},
	weirdFlags:    {"bad_flags", "packets", "with TCP flags that no stack sends", 3, 30, 20, 10e9, 60, false, []string{"T1595.001"}},
	weirdMartian:  {"martian", "packets", "from sources that cannot be", 3, 30, 100, 10e9, 60, true, nil},
	weirdPrivate:  {"private_source", "contacts", "from a private address that is not of the site", 3, 30, 50, 10e9, 60, false, nil},
	weirdSplit:    {"split_handshake", "SYNs", "in answer to SYNs", 1, 30, 10, 0, 60, false, nil},
	weirdTTL:      {"ttl", "packets", "with another hop limit than their connection began with", 3, 20, 0, 0, 35, false, nil},
	weirdOverlap:  {"overlap", "segments", "sent again with other bounds", 3, 20, 0, 0, 24, false, nil},
}

// maxWeird is how many parties of a kind are named at a time.
const maxWeird = 16

// weirdKey names a case; who is the zero address for all that were not named.
type weirdKey struct {
	kind weirdKind
	ver  uint8
	who  decode.Addr
}

func (k *weirdKey) hash(key uint64) uint64 {
	return scramble(k.who.Hi^uint64(k.kind)<<8^uint64(k.ver), k.who.Lo^key)
}

// weirdCase is what one party did.
type weirdCase struct {
	half     int64     // number of the half window of count[0]
	count    [2]uint64 // of this half window and the one before
	first    int64     // ns, of the evidence in the window and what it goes on from
	last     int64
	told     int64 // ns
	fresh    uint64
	other    decode.Addr // the one counterpart
	several  bool        // or there are more
	named    bool
	answered int64 // ns, of a private source
}

// add counts what came at a time.
func (c *weirdCase) add(now, window int64, n uint64, first, last int64) {
	half := now / (window / 2)
	switch gone := half - c.half; {
	case gone == 0:
	case gone == 1:
		c.count = [2]uint64{0, c.count[0]}
	default:
		c.count = [2]uint64{}
	}
	c.half = half
	if c.sum() == 0 && !c.named {
		c.first, c.fresh, c.several, c.other = first, 0, false, decode.Addr{}
	}
	c.count[0] += n
	c.fresh += n
	c.first, c.last = min(c.first, first), max(c.last, last)
}

func (c *weirdCase) sum() uint64 { return c.count[0] + c.count[1] }

// with notes the counterpart.
func (c *weirdCase) with(other decode.Addr) {
	if c.other == (decode.Addr{}) {
		c.other = other
	}
	c.several = c.several || c.other != other
}

// note counts an oddity of a party, and tells it when that makes a finding.
func (w *Weird) note(kind weirdKind, ver uint8, who, other decode.Addr, n uint64, first, last int64) {
	k := weirdKey{kind, ver, who}
	at, made := w.cases.at(&k, k.hash(w.key), w.now, int64(w.cfg.Window))
	if at < 0 {
		return
	}
	_, c := w.cases.value(at)
	if made {
		c.told = never
	}
	c.add(w.now, int64(w.cfg.Window), n, first, last)
	c.with(other)
	w.cases.keep(at, c.sum(), w.now+int64(w.cfg.Window))
	if c.sum() < weirdRules[kind].need {
		return
	}
	if !c.named {
		if same := w.count(kind); same > maxWeird || same == maxWeird && who != (decode.Addr{}) {
			if n = c.fresh; who != (decode.Addr{}) {
				c.fresh = 0
				w.note(kind, 0, decode.Addr{}, decode.Addr{}, n, first, last)
			}
			return
		}
		c.named = true
		w.named = append(w.named, k)
	}
	w.cases.keep(at, 1<<16-1, w.now+int64(w.cfg.Quiet))
	if w.now-c.told >= int64(time.Second) {
		w.tell(&k, c)
	}
}

// count is how many of a kind are named.
func (w *Weird) count(kind weirdKind) (n int) {
	for i := range w.named {
		if w.named[i].kind == kind {
			n++
		}
	}
	return n
}

// forget gives up the names of who has been quiet.
func (w *Weird) forget() {
	kept := w.named[:0]
	for _, k := range w.named {
		at := w.cases.find(&k, k.hash(w.key))
		if at < 0 {
			continue
		}
		if _, c := w.cases.value(at); w.now-c.last > int64(w.cfg.Quiet) && c.fresh == 0 {
			c.named = false
			continue
		}
		kept = append(kept, k)
	}
	w.named = kept
}

// tellRest tells what came since the findings that are as old as that.
func (w *Weird) tellRest(age int64) {
	for i := range w.named {
		k := w.named[i]
		if at := w.cases.find(&k, k.hash(w.key)); at >= 0 {
			if _, c := w.cases.value(at); c.fresh > 0 && w.now-c.told >= age {
				w.tell(&k, c)
			}
		}
	}
	w.tellAnnouncers(age)
}

// score is the strength of a case.
func (w *Weird) score(k *weirdKey, c *weirdCase) int {
	const low = 45
	r, n := &weirdRules[k.kind], c.sum()
	score := r.score
	switch {
	case k.kind == weirdTTL && n >= 10*r.need && !w.site.Scanning(k.who.Netip(k.ver), w.now):
		score = 30
	case r.repeated == 0 || n < r.repeated || c.last-c.first < r.lasting:
	case k.who == decode.Addr{} || w.toldByOthers(k, c):
		score = low
	default:
		score = 55 + int(5*math.Log2(float64(n)/float64(r.repeated)))
	}
	return min(score, r.cap)
}

// toldByOthers reports whether a flood or another finding tells of the same: scanners' flags, floods of forged sources.
func (w *Weird) toldByOthers(k *weirdKey, c *weirdCase) bool {
	who := k.who.Netip(k.ver)
	if weirdRules[k.kind].victim {
		return w.site.FloodedHost(who, w.now)
	}
	return k.kind == weirdFlags && w.site.Scanning(who, w.now) || !c.several && w.site.FloodedHost(c.other.Netip(k.ver), w.now)
}

// tell tells of a case.
func (w *Weird) tell(k *weirdKey, c *weirdCase) {
	r := &weirdRules[k.kind]
	f := &Finding{
		Analyzer: w.Name(), Kind: r.name, Time: w.now, First: c.first, Last: c.last, Quiet: int64(w.cfg.Quiet), Count: c.fresh,
		Score: w.score(k, c), MaxScore: r.cap, Confidence: 100 - int(w.view.Loss()*100+0.999), Attack: r.attack,
		Why: []Measure{{Name: r.name, Value: float64(c.sum()), Unit: r.unit, Threshold: float64(r.need), Window: int64(w.cfg.Window)}},
	}
	if r.repeated > 0 {
		f.Why = append(f.Why, Measure{Name: "repeated", Value: float64(c.sum()), Unit: r.unit, Threshold: float64(r.repeated), Window: int64(w.cfg.Window)})
	}
	who, other := w.party(k.who, k.ver), Party{}
	if !c.several && c.other != (decode.Addr{}) {
		other = w.party(c.other, k.ver)
	}
	amount := fmt.Sprintf("%d %s %s", c.sum(), r.unit, r.text)
	switch {
	case k.who == decode.Addr{}:
		f.Summary = fmt.Sprintf("%s, of more parties than are named.", amount)
	case r.victim:
		f.Victim, f.Subject = who, other
		f.Summary = fmt.Sprintf("%v gets %s%s.", who.Prefix.Addr(), amount, counterpart(", by ", other))
	default:
		f.Subject, f.Victim = who, other
		f.Summary = fmt.Sprintf("%v sends %s%s.", who.Prefix.Addr(), amount, counterpart(" to ", other))
	}
	if k.kind == weirdMartian {
		f.Subject = Party{} // it cannot be
	}
	f.Notes = append(f.Notes, "a header shows what was sent, not who sent it: addresses may be forged")
	c.told, c.fresh = w.now, 0
	w.emit(f)
}

func (w *Weird) party(a decode.Addr, ver uint8) Party {
	if a == (decode.Addr{}) {
		return Party{}
	}
	ip := a.Netip(ver)
	return Party{Prefix: netip.PrefixFrom(ip, ip.BitLen())}
}

func counterpart(word string, p Party) string {
	if !p.Prefix.IsValid() {
		return ""
	}
	return word + p.Prefix.Addr().String()
}
