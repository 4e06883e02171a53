package analyzers

import (
	"fmt"
	"net/netip"

	"weir/analyzers/fingerprint"
	"weir/analyzers/tally"
	"weir/decode"
)

// Kind mismatch: a source whose User-Agents name another family of systems than its SYNs show, five times within Window. Windows
// begins at another hop limit than all others, which is what can be told.
//
// Low at most, because honest users have reasons: a forward proxy, a virtual machine, a page asked for "as desktop". Where more
// than a fifth of a service's openings mismatch there is a proxy in front of it or of its users, and nothing is told.

const (
	mismatchLeast = 5
	mismatchScore = 30
	mismatchLimit = 45
)

// Counters of a mismatching source, or of its service.
const (
	mismatchAll = iota // HTTP openings; of a service only
	mismatchOf         // of these, mismatches
)

type mismatched struct {
	told
	span span
}

func (m *mismatched) weight() uint64 { return uint64(m.span.sum[mismatchAll] + m.span.sum[mismatchOf]) }

// mismatch takes in an HTTP opening.
func (a *Fingerprint) mismatch(o *tally.Opening, part int64) {
	idle := int64(a.cfg.Window + a.cfg.Quiet)
	k := tally.PairKey{Server: o.Key.Server, Port: o.Key.Port, Proto: o.Key.Proto, Ver: o.Key.Ver}
	all := a.pairs.at(&k, a.now, idle)
	if all == nil {
		return
	}
	all.span.turn(part)
	all.span.add(mismatchAll, uint32(min(o.Count, 1<<28)))
	all.span.add(mismatchOf, o.Mismatch)
	of, whole := all.span.sum[mismatchOf], all.span.sum[mismatchAll]
	if o.Mismatch == 0 {
		return
	}
	k.Client = o.Mismatched
	m := a.pairs.at(&k, a.now, idle)
	if m == nil {
		return
	}
	m.span.turn(part)
	m.rest(m.span.sum[mismatchOf] == 0, a.now, int64(a.cfg.Quiet))
	n := uint32(1)
	if o.Sources.Count() == 1 {
		n = o.Mismatch
	}
	m.span.add(mismatchOf, n)
	m.total += uint64(n)
	if m.first == 0 {
		m.first = o.First
	}
	m.last = o.Last
	mine := m.span.sum[mismatchOf]
	if mine < mismatchLeast || whole-mine < mismatchLeast*4 || (of-mine)*5 > whole-mine {
		return // of others too many, or too few are known
	}
	score := min(scoreOf(int(mine), mismatchLeast)-crowdScore+mismatchScore, 100)
	if m.emitted != 0 && a.now-m.emitted < toolRepeat {
		return
	}
	m.emitted, m.score = a.now, score
	ip := k.Client.Netip(k.Ver)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "mismatch", Time: a.now, Victim: server(&k),
		Subject: Party{Prefix: netip.PrefixFrom(ip, ip.BitLen()), ReturnPath: a.peers.has(k.Client, k.Ver, a.now)},
		Score:   score, MaxScore: mismatchLimit, Confidence: confidenceOf(&a.view), Count: m.total, Total: true,
		First: m.first, Last: m.last, Quiet: int64(a.cfg.Quiet), Attack: []string{"T1036"},
		Why: append(a.why[:0],
			Measure{Name: "mismatches", Value: float64(mine), Unit: "requests", Threshold: mismatchLeast, Window: int64(a.cfg.Window)},
			Measure{Name: "others", Value: 100 * float64(of-mine) / float64(whole-mine), Unit: "% of the service's other requests", Threshold: 20}),
		Summary: fmt.Sprintf("%s sent %d requests to %s that claim to be of %s, over TCP as %s writes it", ip, mine, where(&k),
			fingerprint.Family(o.AgentOS), fingerprint.Family(o.SYNOS)),
		Notes: []string{"a forward proxy or a virtual machine looks the same"},
	}
	a.why = f.Why
	a.emit(f)
}

// protected is a service that the operator named: a prefix, and a port or 0 for all.
type protected struct {
	prefix netip.Prefix
	port   uint16
}

// parseProtected reads an address or a prefix, with or without a port.
func parseProtected(text string) (protected, error) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return protected{netip.PrefixFrom(ap.Addr().Unmap(), ap.Addr().Unmap().BitLen()), ap.Port()}, nil
	}
	if ip, err := netip.ParseAddr(text); err == nil {
		return protected{netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), 0}, nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return protected{}, fmt.Errorf("fingerprint: protect: %q is no address, prefix, or address with port", text)
	}
	return protected{p.Masked(), 0}, nil
}

// Kind new: a print that a service of Protect never had before, once Learn is over. Medium, because the operator asked for it;
// low for User-Agents, which change with each version. The first source by hash is named.

// newPrint tells of a print that is seen for the first time.
func (a *Fingerprint) newPrint(o *tally.Opening, s *mixService, p *mixPrint) {
	if len(a.protect) == 0 || p.since < a.now/1e9*1e9 || a.now-s.since < int64(a.cfg.Learn) {
		return
	}
	k := tally.PairKey{Server: o.Key.Server, Port: o.Key.Port, Proto: o.Key.Proto, Ver: o.Key.Ver}
	ip := k.Server.Netip(k.Ver)
	guarded := false
	for _, g := range a.protect {
		guarded = guarded || g.prefix.Contains(ip) && (g.port == 0 || g.port == k.Port)
	}
	if !guarded {
		return
	}
	score := crowdScore
	if o.Key.Kind == tally.OpeningHTTP {
		score = loginLow
	}
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "new", Time: a.now, Victim: server(&k), Score: score, MaxScore: crowdLimit,
		Confidence: confidenceOf(&a.view), Count: o.Count, First: o.First, Last: o.Last, Quiet: int64(a.cfg.Quiet), Attack: []string{"T1133"},
		Why: append(a.why[:0], Measure{
			Name: "known_for", Value: float64(a.now-s.since) / 3600e9, Unit: "hours that the service's prints were learned",
			Threshold: a.cfg.Learn.Hours(),
		}),
	}
	who := "somebody"
	if o.NSample > 0 && o.Sample[0].Addr != (decode.Addr{}) {
		k.Client = o.Sample[0].Addr
		f.Subject = client(&k)
		f.Subject.ReturnPath = k.Proto == protoTCP && o.Key.Kind != tally.OpeningHTTP
		who = f.Subject.Prefix.Addr().String()
	}
	name := fmt.Sprintf("%s print %016x", o.Key.Kind, o.Key.Hash)
	if text := textOf(&o.Text); text != "" {
		name += " (" + text + ")"
	}
	f.Summary = fmt.Sprintf("%s speaks to the protected service %s with a %s that it never had before", who, where(&k), name)
	a.why = f.Why
	a.emit(f)
}
