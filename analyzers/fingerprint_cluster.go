package analyzers

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
)

// Prints of what speaks to services (kinds cluster and rotation): TCP SYNs, TLS, QUIC and SSH clients. User-Agents are judged by
// the http analyzer.
//
//	cluster   one rare print from many sources to one service: Crowd.Sources of them within Window, more than Multiplier times
//	          as many as usual, and one of 20 sources of the service. Rare: at most one of 50 sources usually has it, or it
//	          was first seen within the last hour, two minutes after the service at least.
//	rotation  such a crowd that is one client behind many addresses: three connections of each at most, each at one time
//	          only, the pace even (gaps deviate by less than 60 % of their mean; independent arrivals by 100 %).
//
// A popular browser is common: its share of the service's sources is known, and a rush of it is no crowd. A new version of it
// comes over hours and days, which the usual number follows. While less than two minutes or ten sources of other prints are known
// of a service nothing is judged.
//
// What is taken for one: an application that a company installs on all machines in one hour, a monitoring service that adds 20
// probes. What is missed: a botnet whose machines have a common print, one that grows slowly, a second crowd at a service
// while one is told.
//
// Score: 50, and 5 for each doubling of the sources, at most 60. Nobody is named: sources are many.

const (
	crowdScore = 50
	crowdLimit = 60
	crowdEach  = 3 // connections of a rotating address
	crowdParts = 4 // of the window in which a rotation must have been at work
	crowdWarm  = int64(120e9)
)

// crowds judges the epoch's openings.
func (a *Fingerprint) crowds(e *tally.Epoch) {
	a.peers.note(e)
	a.mix.begin(e, int64(a.cfg.Quiet))
	a.pairs.begin(e)
	part := e.Start() / (int64(a.cfg.Window) / spanParts)
	for i := range e.Openings {
		o := &e.Openings[i]
		if o.Key.Kind == tally.OpeningHTTP {
			a.mismatch(o, part)
		}
		if o.Key.Kind > tally.OpeningHTTP {
			continue
		}
		in := mixSeen{
			kind: o.Key.Kind, hash: o.Key.Hash, count: uint32(min(o.Count, 1<<28)), sources: &o.Sources, first: o.First, last: o.Last,
			service: tally.PairKey{Server: o.Key.Server, Port: o.Key.Port, Proto: o.Key.Proto, Ver: o.Key.Ver},
		}
		s, p, first := a.mix.add(a.site, &in, part, a.now, int64(a.cfg.Window)+mixMemory*int64(a.cfg.Window)/spanParts)
		if p == nil {
			continue
		}
		p.text = o.Text
		if first {
			a.newPrint(o, s, p)
		}
		if o.Key.Kind != tally.OpeningHTTP {
			a.judgeCrowd(&in, s, p)
		}
	}
	left := a.crowded[:0]
	for i := range a.crowded {
		if a.retellCrowd(&a.crowded[i], false) {
			left = append(left, a.crowded[i])
		}
	}
	a.crowded = left
}

// judgeCrowd tells of a print with many sources, once in a second in which it has openings.
func (a *Fingerprint) judgeCrowd(in *mixSeen, s *mixService, p *mixPrint) {
	second := (a.now - 1) / 1e9
	if second == p.second {
		return
	}
	p.second = second
	print := decode.Addr{Hi: in.hash, Lo: uint64(in.kind)}
	if s.crowd.until > a.now && s.crowd.print != print {
		return // one story: the same clients have prints of several kinds
	}
	test := a.crowdTest()
	v, crowd := test.crowded(s, p, a.now)
	if !crowd && p.emitted == 0 {
		return
	}
	if p.emitted == 0 {
		kind, sure := p.turnsAround(&v, test.sources)
		if !sure {
			return
		}
		p.rotates = kind
	}
	score := scoreOf(v.sources, test.sources)
	if !p.due(score, a.now) || len(a.crowded) >= toolNamedLimit && !p.listed {
		return
	}
	s.crowd = mixCrowd{print, a.now + int64(a.cfg.Quiet)}
	_, k := in.keys()
	if !p.listed {
		a.crowded = append(a.crowded, k)
		p.listed = true
	}
	a.reportCrowd(&k, p, score, v)
}

func (a *Fingerprint) crowdTest() crowdTest {
	return crowdTest{sources: a.cfg.Cluster, multiplier: a.cfg.Multiplier, warm: crowdWarm}
}

// turnsAround reports a rotation, and whether there was enough to tell: addresses that come once may be a botnet's first requests,
// so that a crowd of them waits until its pace is known, unless it is large.
func (p *mixPrint) turnsAround(v *mixVerdict, least int) (rotates, sure bool) {
	once := 10*v.sum <= 13*v.sources && int(p.span.sum[mixCount]) <= crowdEach*v.sources
	if !once || v.sources >= coldFactor*least {
		return false, true
	}
	if p.span.parts(mixCount) < crowdParts {
		return false, false
	}
	return p.pace.steady(), true
}

// retellCrowd tells what came since the last finding; it reports whether the alert goes on.
func (a *Fingerprint) retellCrowd(k *tally.PairKey, now bool) bool {
	p := a.mix.prints.find(k)
	if p == nil || p.over(a.now, int64(a.cfg.Quiet)) {
		return false
	}
	if p.news && now {
		var v mixVerdict
		v.sources, v.sum = p.distinct()
		v.expected = float64(p.usual) * spanParts / mixUnit
		a.reportCrowd(k, p, p.score, v)
	}
	return true
}

// textOf is what of a print people know, "" if nothing.
func textOf(text *[64]byte) string {
	b, _, _ := bytes.Cut(text[:], []byte{0})
	return strings.ToValidUTF8(string(b), "?")
}

// reportCrowd emits a finding of kind cluster or rotation.
func (a *Fingerprint) reportCrowd(k *tally.PairKey, p *mixPrint, score int, v mixVerdict) {
	p.emitted, p.score, p.news = a.now, max(p.score, score), false
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "cluster", Time: a.now, Victim: server(k), Score: score, MaxScore: crowdLimit,
		Confidence: confidenceOf(&a.view), Count: p.total, Total: true, First: p.first, Last: p.last, Quiet: int64(a.cfg.Quiet),
		Why: a.why[:0], Attack: []string{"T1583.005"}, Notes: []string{"numbers of sources are estimates"},
	}
	window := int64(a.cfg.Window)
	count := float64(p.span.sum[mixCount])
	f.Why = append(f.Why,
		Measure{
			Name: "sources", Value: float64(v.sources), Unit: "addresses", Threshold: max(float64(a.cfg.Cluster), a.cfg.Multiplier*v.expected),
			Window: window, Baseline: &Baseline{Mean: v.expected, N: mixMemory},
		},
		Measure{Name: "usual_share", Value: v.usualShare, Unit: "% of the service's sources", Threshold: 100.0 / mixRare},
		Measure{Name: "connections_per_source", Value: count / float64(max(v.sources, 1)), Unit: "connections", Window: window},
		Measure{Name: "gap_mean", Value: float64(p.pace.mean()) / 1e3, Unit: "s"},
	)
	a.why = f.Why
	kind := tally.OpeningKind(k.Client.Lo - 1)
	name := fmt.Sprintf("%s print %016x", kind, k.Client.Hi)
	if text := textOf(&p.text); text != "" {
		name += " (" + text + ")"
	}
	f.Summary = fmt.Sprintf("About %d sources with one rare %s spoke to %s within the last %s; usual are %.1f",
		v.sources, name, where(k), a.cfg.Window, v.expected)
	if p.rotates {
		f.Kind, f.Attack = "rotation", []string{"T1090.003"}
		f.Summary = fmt.Sprintf("One client with the rare %s seems to have spoken to %s from about %d addresses within the last %s, every %s",
			name, where(k), v.sources, a.cfg.Window, time.Duration(p.pace.mean()*1e6))
	}
	a.emit(f)
}
