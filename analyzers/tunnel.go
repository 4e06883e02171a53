package analyzers

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// Tunnel finds tunnels in ICMP (kind icmp): echo requests and replies that carry somebody's data.
//
// # Evidence
//
// An echo reply returns what the request carried (RFC 792, RFC 4443), and a ping program fills that with the same bytes each
// time, behind a time stamp. So contents say most: distinct payloads, by a hash of what lies behind the first 16 bytes, and
// how many of them there are for each request. Between two hosts, within Window (the last one or two halves of it):
//   - altered: at least Packets of them, Packets distinct payloads, and half as many again as requests and as replies: what
//     came back is not what was sent;
//   - unequal: as many, and the payloads of requests and replies differ by 16 bytes or more in the mean, in both directions
//     of at least three sizes;
//   - unasked: as many, and half as many again more replies than requests: the server speaks when it wants;
//   - changing: 200 distinct payloads that come back as they went, of 256 bytes or more in the mean. That is medium at
//     most: a monitor that sends random bytes looks the same.
//
// In a one-way view, where one of the sides is never seen: 50 distinct payloads of four sizes, medium at most.
//
// # Score
//
// 75, and 5 each for eight sizes or more, for 64 kB or more, and for more than one of the signs; capped at 89 (high). 55 for
// what is medium.
//
// # Not a tunnel
//
// Large pings, flood pings and probes for the path's MTU (one payload, whatever its size or pace), monitoring (fping,
// smokeping, check_icmp: faithful echoes; distinct payloads, if at all, are as many as requests), losses (they take away
// replies and add nothing), traceroute.
//
// # What it misses
//
// Channels in the first 16 bytes, in identifiers, sequence numbers or sizes alone, or in the pace; what is slower than Packets
// in Window; faithful echoes that carry little (a reader on the way needs no false reply); tunnels in other ICMP types.
type Tunnel struct {
	cfg   TunnelConfig
	key   uint64
	keyed bool
	now   int64 // ns, end of the last tick judged
	view  View
	pairs *pool[tunnelKey, tunnelPair]
	open  []int // places of pairs that were named and are not quiet, or wait to be judged
	f     Finding
	why   []Measure
}

// TunnelConfig holds the settings of the tunnel analyzer.
type TunnelConfig struct {
	Packets int           `yaml:"packets"` // least requests and replies, and least distinct payloads
	Window  time.Duration `yaml:"window"`
	Quiet   time.Duration `yaml:"quiet"` // an alert closes after it
	Pairs   int           `yaml:"pairs"` // pairs of hosts in the table, 480 bytes each; a power of two times 8
}

// DefaultTunnel returns the default settings. Twenty distinct payloads: the estimate of so many has an error of 10 %, so
// that half as many again as there are requests is five errors away; and an idle tunnel's keep-alives make so many within the
// window at one in half a minute. The table takes 4 MB.
func DefaultTunnel() TunnelConfig {
	return TunnelConfig{Packets: 20, Window: 10 * time.Minute, Quiet: 5 * time.Minute, Pairs: 8192}
}

// Check tells what is wrong with the settings.
func (c *TunnelConfig) Check() error {
	switch {
	case c.Packets < 10 || c.Packets > 10000:
		return errors.New("tunnel: packets must be from 10 to 10000")
	case c.Window < 10*time.Second || c.Window > 24*time.Hour || c.Quiet < time.Second:
		return errors.New("tunnel: window must be from 10s to 24h, quiet at least 1s")
	case c.Pairs < poolWays || c.Pairs > 1<<18:
		return errors.New("tunnel: pairs must be from 8 to 262144")
	}
	return nil
}

// bytes is the memory of the table.
func (c *TunnelConfig) bytes() int { return poolBytes[tunnelKey, tunnelPair](c.Pairs) }

const (
	tunnelLimit   = 89 // high
	tunnelScore   = 75
	tunnelMedium  = 55
	tunnelMore    = 5
	tunnelSizes   = 8
	tunnelBytes   = 64 << 10
	tunnelApart   = 16.0 // bytes between the mean sizes of requests and replies
	tunnelRandom  = 200  // distinct payloads that come back as they went
	tunnelLarge   = 256  // bytes of these, in the mean
	tunnelOneSide = 50
	tunnelSecond  = int64(time.Second)
)

type tunnelKey struct {
	client, server decode.Addr
	ver            uint8
}

// tunnelPair is what two hosts sent each other.
type tunnelPair struct {
	half        [2]tunnelHalf // of the window: the open one and the one before
	number      int64         // of the open half
	first, last int64         // ns
	emitted     int64         // ns; 0: not named
	judged      int64         // ns
	packets     uint64        // since first
	due         bool          // to be judged, a second after the latest judgement
	listed      bool          // in Tunnel.open
}

// tunnelHalf is half a window of it.
type tunnelHalf struct {
	requests, replies        uint64
	requestBytes, replyBytes uint64
	sizes, contents          tally.HLL
}

func (h *tunnelHalf) add(o *tunnelHalf) {
	h.requests += o.requests
	h.replies += o.replies
	h.requestBytes += o.requestBytes
	h.replyBytes += o.replyBytes
	h.sizes.Merge(&o.sizes)
	h.contents.Merge(&o.contents)
}

// NewTunnel returns an analyzer with settings that Check accepts.
func NewTunnel(cfg TunnelConfig, _ *Site) *Tunnel {
	return &Tunnel{cfg: cfg, pairs: newPool[tunnelKey, tunnelPair](cfg.Pairs, nil)}
}

// Name implements Analyzer.
func (a *Tunnel) Name() string { return "tunnel" }

// Costs implements Bounded.
func (a *Tunnel) Costs() []Cost {
	return []Cost{{"tunnel evicted", a.pairs.Evicted}, {"tunnel refused", a.pairs.Refused}}
}

// Judge implements Analyzer.
func (a *Tunnel) Judge(e *tally.Epoch, emit func(*Finding)) {
	if !a.keyed { // the first epoch's key stays: it only has to be unknown to attackers
		a.key, a.keyed = scramble(e.SketchKey, 0x8ebc6af09c88c6e3), true
	}
	a.now = e.End()
	a.view.Observe(e)
	for i := range e.Echoes {
		a.observe(&e.Echoes[i], emit)
	}
	a.tellRest(emit, tunnelSecond)
}

// Finish implements Analyzer.
func (a *Tunnel) Finish(emit func(*Finding)) { a.tellRest(emit, 0) }

// tellRest judges what waits, and tells what came since the latest finding, if that is so long ago.
func (a *Tunnel) tellRest(emit func(*Finding), ago int64) {
	kept := a.open[:0]
	for _, at := range a.open {
		k, s := a.pairs.value(at)
		if s.due && a.now-s.judged >= ago {
			a.judge(k, s, emit)
		}
		if s.listed = s.due || s.emitted != 0 && a.now-s.last <= int64(a.cfg.Quiet); s.listed {
			kept = append(kept, at)
		}
	}
	a.open = kept
}

// observe takes in what two hosts sent each other in this tick.
func (a *Tunnel) observe(in *tally.Echo, emit func(*Finding)) {
	key := tunnelKey{in.Client, in.Server, in.Ver}
	h := scramble(key.client.Lo^a.key, key.client.Hi^uint64(key.ver)<<56)
	at, made := a.pairs.at(&key, scramble(h^key.server.Lo, key.server.Hi), a.now, int64(a.cfg.Window))
	if at < 0 {
		return
	}
	k, s := a.pairs.value(at)
	if number := a.now / (int64(a.cfg.Window) / 2); number != s.number {
		s.half[1], s.half[0] = s.half[0], tunnelHalf{}
		if number != s.number+1 {
			s.half[1] = tunnelHalf{}
		}
		s.number = number
	}
	if made || a.now-s.last > int64(a.cfg.Quiet) && s.emitted != 0 {
		s.first, s.packets, s.emitted = in.First, 0, 0
	}
	s.half[0].add(&tunnelHalf{
		uint64(in.Requests), uint64(in.Replies), in.RequestBytes, in.ReplyBytes, in.Sizes, in.Contents,
	})
	s.last = in.Last
	s.packets += uint64(in.Requests) + uint64(in.Replies)
	a.pairs.keep(at, s.packets, s.last+int64(a.cfg.Window))
	if s.packets < uint64(a.cfg.Packets) {
		return
	}
	s.due = true
	if a.now-s.judged >= tunnelSecond {
		a.judge(k, s, emit)
	}
	if (s.due || s.emitted != 0) && !s.listed {
		if s.listed = true; !slices.Contains(a.open, at) { // one that went may have stood there
			a.open = append(a.open, at)
		}
	}
}

// tunnelSigns is what speaks for a tunnel.
type tunnelSigns struct {
	altered, unequal, unasked, changing, oneSide bool
	all                                          tunnelHalf
	contents, sizes                              uint64
	request, reply                               float64 // mean payload
}

// signs weighs a pair; see the comment of the analyzer.
func (a *Tunnel) signs(s *tunnelPair) (g tunnelSigns) {
	g.all = s.half[0]
	g.all.add(&s.half[1])
	w, least := &g.all, uint64(a.cfg.Packets)
	g.contents = w.contents.Count()
	if w.requests+w.replies < least || g.contents < least {
		return g
	}
	g.sizes = w.sizes.Count()
	g.request, g.reply = mean(w.requestBytes, w.requests), mean(w.replyBytes, w.replies)
	both := w.requests >= least/2 && w.replies >= least/2
	g.altered = both && 2*g.contents >= 3*max(w.requests, w.replies)
	g.unequal = both && g.sizes >= 3 && math.Abs(g.request-g.reply) >= tunnelApart
	g.unasked = w.requests > 0 && w.replies >= least && 2*w.replies >= 3*w.requests
	g.changing = both && g.contents >= tunnelRandom && g.request >= tunnelLarge
	g.oneSide = (w.requests == 0 || w.replies == 0) && g.contents >= tunnelOneSide && g.sizes >= 4
	return g
}

func mean(sum, n uint64) float64 { return float64(sum) / float64(max(n, 1)) }

// score is the strength of the signs, 0 if there are none.
func (g *tunnelSigns) score() int {
	strong := boolInt(g.altered) + boolInt(g.unequal) + boolInt(g.unasked)
	if strong == 0 {
		if g.changing || g.oneSide {
			return tunnelMedium
		}
		return 0
	}
	n := tunnelScore
	if strong > 1 {
		n += tunnelMore
	}
	if g.sizes >= tunnelSizes {
		n += tunnelMore
	}
	if g.all.requestBytes+g.all.replyBytes >= tunnelBytes {
		n += tunnelMore
	}
	return n
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// judge names a pair that shows signs.
func (a *Tunnel) judge(k *tunnelKey, s *tunnelPair, emit func(*Finding)) {
	s.judged, s.due = a.now, false
	g := a.signs(s)
	score := g.score()
	if score == 0 {
		return
	}
	s.emitted = a.now
	client, server := k.client.Netip(k.ver), k.server.Netip(k.ver)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "icmp", Time: a.now,
		Subject: Party{Prefix: netip.PrefixFrom(client, client.BitLen())},
		Victim:  Party{Prefix: netip.PrefixFrom(server, server.BitLen())},
		Score:   score, MaxScore: tunnelLimit, Confidence: int(max(100-100*a.view.Loss(), 10)),
		Count: s.packets, Total: true, First: s.first, Last: s.last, Quiet: int64(a.cfg.Quiet),
		Attack: []string{"T1095"}, Why: a.why[:0],
	}
	add := func(name string, value float64, unit string, threshold float64) {
		f.Why = append(f.Why, Measure{Name: name, Value: value, Unit: unit, Threshold: threshold, Window: int64(a.cfg.Window)})
	}
	add("requests", float64(g.all.requests), "packets", 0)
	add("replies", float64(g.all.replies), "packets", 0)
	add("distinct_payloads", float64(g.contents), "payloads", float64(a.cfg.Packets))
	add("distinct_sizes", float64(g.sizes), "sizes", 0)
	add("mean_request", math.Round(g.request), "bytes", 0)
	add("mean_reply", math.Round(g.reply), "bytes", 0)
	a.why = f.Why
	f.Summary = fmt.Sprintf("%s and %s exchanged %d echo requests and %d replies with %s distinct payloads of %s sizes: %s", client, server,
		g.all.requests, g.all.replies, about(uint32(g.contents)), about(uint32(g.sizes)), g.words())
	if score == tunnelMedium {
		f.MaxScore = tunnelMedium
		f.Notes = append(f.Notes, "a monitor that sends random bytes looks the same")
	}
	if g.all.requests == 0 || g.all.replies == 0 {
		f.Notes = append(f.Notes, "one side only was seen")
	}
	emit(f)
}

// words says which signs there are.
func (g *tunnelSigns) words() string {
	switch {
	case g.altered:
		return "the replies do not return what was sent"
	case g.unequal:
		return fmt.Sprintf("requests carry %.0f bytes in the mean, replies %.0f", g.request, g.reply)
	case g.unasked:
		return "replies that nobody asked for"
	case g.changing:
		return "large payloads that change with each request"
	}
	return "payloads that change with each packet"
}

// adjust implements adjustable.
func (a *Tunnel) adjust(cfg *Config) []string {
	next := cfg.Tunnel
	restart := fixed(a.cfg.Pairs, &next.Pairs, "tunnel.pairs")
	a.cfg = next
	return restart
}
