package analyzers

import (
	"fmt"

	"weir/analyzers/tally"
	"weir/decode"
)

// agent takes in the User-Agent of a client's latest request: one that many sources share is a crowd (see mix).
func (h *HTTP) agent(w *tally.Web, part int64) {
	if w.Agent == 0 || w.Requests == 0 {
		return
	}
	in := mixSeen{
		service: serviceOf(&w.Key), kind: tally.OpeningHTTP, hash: w.Agent, count: w.Requests, source: hashOf(h.clients.key, w.Key.Client), first: w.First, last: w.Last,
	}
	s, p, _ := h.agents.add(h.site, &in, part, h.now, int64(h.cfg.Window)+mixMemory*int64(h.cfg.Window)/spanParts)
	if p == nil {
		return
	}
	second := (h.now - 1) / 1e9
	if second == p.second {
		return
	}
	p.second = second
	agent := decode.Addr{Hi: w.Agent}
	if s.crowd.until > h.now && s.crowd.print != agent {
		return
	}
	test := crowdTest{sources: h.cfg.Sources, multiplier: h.cfg.Multiplier, warm: crowdWarm}
	v, crowd := test.crowded(s, p, h.now)
	score := scoreOf(v.sources, test.sources)
	if !crowd && p.emitted == 0 || !p.due(score, h.now) || len(h.crowds) >= toolNamedLimit && !p.listed {
		return
	}
	s.crowd = mixCrowd{agent, h.now + int64(h.cfg.Quiet)}
	_, k := in.keys()
	if !p.listed {
		h.crowds = append(h.crowds, k)
		p.listed = true
	}
	h.reportAgent(&k, p, score, v)
}

// retellAgent tells what came since the last finding at the end; it reports whether the alert goes on.
func (h *HTTP) retellAgent(k *tally.PairKey, now bool) bool {
	p := h.agents.prints.find(k)
	if p == nil || p.over(h.now, int64(h.cfg.Quiet)) {
		return false
	}
	if p.news && now {
		var v mixVerdict
		v.sources, v.sum = p.distinct()
		v.expected = float64(p.usual) * spanParts / mixUnit
		h.reportAgent(k, p, p.score, v)
	}
	return true
}

// reportAgent emits a finding of kind agents about many sources.
func (h *HTTP) reportAgent(k *tally.PairKey, p *mixPrint, score int, v mixVerdict) {
	p.emitted, p.score, p.news = h.now, max(p.score, score), false
	f := h.finding("agents", &p.told, score)
	f.Victim, f.MaxScore, f.Attack = server(k), crowdLimit, []string{"T1583.005"}
	h.add("sources", float64(v.sources), "addresses", max(float64(h.cfg.Sources), h.cfg.Multiplier*v.expected))
	f.Why[0].Baseline = &Baseline{Mean: v.expected, N: mixMemory}
	h.add("usual_share", v.usualShare, "% of the service's sources", 100.0/mixRare)
	h.add("requests_per_source", float64(p.span.sum[mixCount])/float64(max(v.sources, 1)), "requests", 0)
	f.Notes = append(f.Notes, "numbers of sources are estimates")
	f.Summary = fmt.Sprintf("About %d sources with one rare User-Agent (hash %016x) asked %s within the last %s; usual are %.1f",
		v.sources, k.Client.Hi, where(k), h.cfg.Window, v.expected)
	h.done()
}
