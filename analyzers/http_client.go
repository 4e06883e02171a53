package analyzers

import (
	"fmt"
	"math/bits"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
	"weir/decode"
)

// Counters of a client's window at a web service.
const (
	clientRequests = iota
	clientAnswers
	clientMissing // answers of 404
	clientOdd     // requests by methods that the service does not know
	clientFresh   // distinct User-Agents of each second, added up
)

// webKind is a kind of finding about one client.
type webKind uint8

const (
	webProbing webKind = iota
	webAgents
	webMethods
	webKinds
)

var webKindNames = [webKinds]string{"probing", "agents", "methods"}

// webClient is what one source did at one web service.
type webClient struct {
	span    span
	missing [2]tally.HLL // distinct paths, of this half of the window and the one before
	agents  [2]tally.HLL
	half    int64
	now     tally.HLL // User-Agents of the running second
	methods uint16    // that the service does not know
	via     decode.Addr
	proven  bool
	listed  bool
	told    [webKinds]told
	second  int64  // the running one
	errors  uint32 // of 4xx in it
	each    uint32 // User-Agents in it, as far as they were added
	learned int64  // second
}

func (c *webClient) weight() uint64 {
	for i := range c.told {
		if c.told[i].emitted != 0 {
			return 1 << 40
		}
	}
	return uint64(c.span.sum[clientMissing])*4 + uint64(c.span.sum[clientOdd])*4 + uint64(c.span.sum[clientRequests])
}

// turnHalves goes on to a half of the window.
func turnHalves(half int64, at *int64, sets ...*[2]tally.HLL) {
	if half == *at {
		return
	}
	for _, s := range sets {
		s[1] = tally.HLL{}
		if half == *at+1 {
			s[1] = s[0]
		}
		s[0] = tally.HLL{}
	}
	*at = half
}

// client takes in what a source did at a web service in this tick. It is nil for those of whom nothing is remembered: that made
// no error, changed no User-Agent and used methods that the service knows, or that there is no room for.
func (h *HTTP) client(w *tally.Web, part int64) *webClient {
	unknown := h.unknownMethods(w)
	c := h.clients.find(&w.Key)
	if c == nil && unknown == 0 && w.S401+w.S403+w.S404 == 0 && !h.changed(w) {
		return nil
	}
	if c = h.clients.at(&w.Key, h.now, int64(h.cfg.Window+h.cfg.Quiet)); c == nil {
		return nil
	}
	c.span.turn(part)
	turnHalves(2*part/spanParts, &c.half, &c.missing, &c.agents)
	c.missing[0].Merge(&w.Missing)
	c.agents[0].Merge(&w.Agents)
	c.span.add(clientRequests, w.Requests)
	c.span.add(clientAnswers, w.Responses)
	c.span.add(clientMissing, w.S404)
	c.countAgents(w, (h.now-1)/1e9)
	if c.via = w.Via; w.Via == (decode.Addr{}) && !c.proven {
		c.proven = h.peers.has(w.Key.Client, w.Key.Ver, h.now)
	}
	if unknown != 0 {
		c.methods |= unknown
		c.span.add(clientOdd, max(w.OddMethods, uint32(bits.OnesCount16(unknown))))
		h.note(c, webMethods, w, uint64(max(w.OddMethods, 1)))
		h.judgeClient(&w.Key, c, webMethods)
	}
	if w.S404 > 0 {
		h.learnMissing(c, w)
		h.note(c, webProbing, w, uint64(w.S404))
		h.judgeClient(&w.Key, c, webProbing)
	}
	if c.span.sum[clientFresh] >= uint32(h.cfg.AgentsEach) {
		n := uint64(w.Requests)
		if c.told[webAgents].total == 0 {
			n = uint64(c.span.sum[clientRequests])
		}
		h.note(c, webAgents, w, n)
		h.judgeClient(&w.Key, c, webAgents)
	}
	return c
}

// countAgents adds the distinct User-Agents of each second: users who load pages make several requests with theirs.
func (c *webClient) countAgents(w *tally.Web, second int64) {
	if second != c.second {
		c.second, c.errors, c.now, c.each = second, 0, tally.HLL{}, 0
	}
	if w.Requests == 0 || w.Agent == 0 {
		return
	}
	c.now.Merge(&w.Agents)
	if n := uint32(c.now.Count()); n > c.each {
		c.span.add(clientFresh, n-c.each)
		c.each = n
	}
}

// note takes evidence of a kind in.
func (h *HTTP) note(c *webClient, kind webKind, w *tally.Web, n uint64) {
	t := &c.told[kind]
	t.rest(t.last != 0 && h.now-t.last > int64(h.cfg.Window), h.now, int64(h.cfg.Quiet))
	if t.first == 0 {
		t.first = w.First
	}
	t.last, t.news = w.Last, true
	t.total += n
}

// missingSpread is the distribution of distinct missing paths over the sources of a service.
func (h *HTTP) missingSpread(k *tally.PairKey) *baseline.Spread {
	return h.site.Baseline.Spread(serviceBaseline(k, baseline.MeasureFailures), h.now)
}

// numHTTP tells what this analyzer learns of a service from what others do.
const numHTTP = 1

func serviceBaseline(k *tally.PairKey, m baseline.Measure) baseline.Key {
	return baseline.Key{
		Kind: baseline.KindService, Measure: m, Ver: k.Ver, Proto: k.Proto, Port: k.Port, Num: numHTTP,
		Addr: [2]uint64{k.Server.Hi, k.Server.Lo},
	}
}

// learnMissing has the baseline learn how many missing paths a source has, once in ten seconds in which it asks for one.
func (h *HTTP) learnMissing(c *webClient, w *tally.Web) {
	at := h.now / 10e9
	if at == c.learned || c.told[webProbing].emitted != 0 {
		return
	}
	c.learned = at
	h.missingSpread(&w.Key).Add(h.now-1, float64(both(&c.missing)))
}

// webAgentMarks is how many clients' last User-Agents are marked for each entry, in a table that clients share by hash.
const webAgentMarks = 4

// changed reports that a client of whom nothing is remembered has another User-Agent than at its last request.
func (h *HTTP) changed(w *tally.Web) bool {
	if w.Agent == 0 || w.Requests == 0 {
		return false
	}
	who := h.clients.hash(&w.Key)
	m := &h.lastAgent[who%uint64(len(h.lastAgent))]
	known := m.who == uint32(who>>32)
	before := m.agent
	*m = agentMark{uint32(who >> 32), uint32(w.Agent)}
	return known && before != uint32(w.Agent) || w.Agents.Count() > 1
}

type agentMark struct{ who, agent uint32 }

// unknownMethods are the methods of a tick's requests that the service does not know yet.
func (h *HTTP) unknownMethods(w *tally.Web) (unknown uint16) {
	k := serviceOf(&w.Key)
	s := h.services.at(&k, h.now, loginFresh)
	if s == nil {
		return 0
	}
	key := serviceBaseline(&k, baseline.MeasurePresence)
	if s.since == 0 {
		s.since, _, _ = h.site.Baseline.Seen(key, h.now)
	}
	for m := w.Methods &^ s.knows; m != 0; m &= m - 1 {
		bit := m & -m
		key.Num = numHTTP<<16 | uint32(bits.TrailingZeros16(bit)+1)
		first, _, _ := h.site.Baseline.Seen(key, h.now)
		if bit&commonMethods != 0 && first-s.since < loginFresh || h.now-first > loginFresh {
			s.knows |= bit
		} else {
			unknown |= bit
		}
	}
	return unknown
}

// judgeClient tells of a client whose evidence of a kind is enough.
func (h *HTTP) judgeClient(k *tally.PairKey, c *webClient, kind webKind) {
	score := h.scoreClient(k, c, kind)
	t := &c.told[kind]
	if score == 0 || !t.due(score, h.now) {
		return
	}
	if !c.listed {
		if len(h.open) >= loginOpen {
			h.held++
			return
		}
		h.open = append(h.open, *k)
		c.listed = true
	}
	h.reportClient(k, c, kind, score)
}

// scoreClient is the score of a client's evidence of a kind, 0 if it is not enough.
func (h *HTTP) scoreClient(k *tally.PairKey, c *webClient, kind webKind) int {
	sum := &c.span.sum
	switch kind {
	case webMethods:
		if int(sum[clientOdd]) >= h.cfg.Methods {
			return min(scoreOf(int(sum[clientOdd]), h.cfg.Methods)-20, loginLow)
		}
	case webAgents:
		each := both(&c.agents)
		if each >= h.cfg.AgentsEach && sum[clientFresh]*2 >= sum[clientRequests] {
			return min(scoreOf(int(sum[clientRequests]), 2*h.cfg.AgentsEach)-20, loginLow)
		}
	case webProbing:
		if int(sum[clientMissing]) < h.cfg.Missing || sum[clientMissing]*2 < sum[clientAnswers] {
			return 0
		}
		missing := both(&c.missing)
		others := h.missingSpread(k).Normal(h.now - 1)
		if missing < h.cfg.Missing || others.Warm && float64(missing) <= h.cfg.Multiplier*others.Mean {
			return 0
		}
		score := scoreOf(missing, h.cfg.Missing)
		if h.site.younger(loginYoung, h.now) && h.site.Inside(k.Client.Netip(k.Ver)) && h.site.Inside(k.Server.Netip(k.Ver)) {
			return min(score, loginLow)
		}
		return min(score, loginLimit)
	}
	return 0
}

// retell tells what came since the last findings, once it may be told; it reports whether an alert goes on.
func (h *HTTP) retell(k *tally.PairKey, now bool) bool {
	c := h.clients.find(k)
	if c == nil {
		return false
	}
	c.listed = false
	for kind := range webKinds {
		t := &c.told[kind]
		if t.over(h.now, int64(h.cfg.Quiet)) {
			continue
		}
		c.listed = true
		if t.news && (now || h.now-t.emitted >= loginRepeat) {
			h.reportClient(k, c, kind, t.score)
		}
	}
	return c.listed
}

var methodNames = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND", "other"}

// commonMethods are those that any service may have.
const commonMethods = 1<<7 - 1

func namesOf(methods uint16) (text string) {
	for i, name := range methodNames {
		if methods>>i&1 != 0 {
			text += " " + name
		}
	}
	return text[min(len(text), 1):]
}

// reportClient emits a finding about one client.
func (h *HTTP) reportClient(k *tally.PairKey, c *webClient, kind webKind, score int) {
	t := &c.told[kind]
	t.emitted, t.score, t.news = h.now, max(t.score, score), false
	f := h.finding(webKindNames[kind], t, score)
	f.Subject, f.Victim = client(k), server(k)
	f.Subject.ReturnPath = c.proven && c.via == (decode.Addr{})
	sum := &c.span.sum
	who := f.Subject.Prefix.Addr()
	switch kind {
	case webProbing:
		missing := both(&c.missing)
		f.MaxScore, f.Attack = loginLimit, []string{"T1595.003"}
		h.add("missing_paths", float64(missing), "distinct paths", float64(h.cfg.Missing))
		if n := h.missingSpread(k).Normal(h.now - 1); n.Warm {
			f.Why[0].Baseline = &Baseline{Mean: n.Mean, Stddev: n.Stddev, N: n.N}
			f.Why[0].Threshold = max(f.Why[0].Threshold, h.cfg.Multiplier*n.Mean)
		}
		h.add("missing_share", 100*float64(sum[clientMissing])/float64(max(sum[clientAnswers], 1)), "% of answers", 50)
		f.Summary = fmt.Sprintf("%s asked %s for about %d paths that are not there: %d of its %d answers within the last %s were 404",
			who, where(k), missing, sum[clientMissing], sum[clientAnswers], h.cfg.Window)
		f.Notes = append(f.Notes, "the number of paths is an estimate")
		if score <= loginLow {
			f.Notes = append(f.Notes, "low, because programs inside ask so and the sensor has not watched for a day")
		}
	case webAgents:
		agents := both(&c.agents)
		f.MaxScore, f.Attack = loginLow, []string{"T1036"}
		h.add("agents", float64(agents), "User-Agents", float64(h.cfg.AgentsEach))
		h.add("agents_each_second", 100*float64(sum[clientFresh])/float64(max(sum[clientRequests], 1)), "% of requests", 50)
		f.Summary = fmt.Sprintf("%s used about %d User-Agents in %d requests to %s within the last %s, nearly each request of a second another",
			who, agents, sum[clientRequests], where(k), h.cfg.Window)
		f.Notes = append(f.Notes, "many users behind one address whose programs poll look the same")
	case webMethods:
		f.MaxScore, f.Attack = loginLow, []string{"T1190"}
		h.add("requests", float64(sum[clientOdd]), "requests by unknown methods", float64(h.cfg.Methods))
		f.Summary = fmt.Sprintf("%s sent %s at least %d requests by methods that it does not know within the last %s: %s",
			who, where(k), sum[clientOdd], h.cfg.Window, namesOf(c.methods))
	}
	if c.via != (decode.Addr{}) {
		f.Notes = append(f.Notes, fmt.Sprintf("the address is what the trusted proxy %s says", c.via.Netip(6).Unmap()))
	}
	h.done()
}

// finding begins a finding.
func (h *HTTP) finding(kind string, t *told, score int) *Finding {
	h.f = Finding{
		Analyzer: h.Name(), Kind: kind, Time: h.now, Score: score, MaxScore: loginLimit, Confidence: confidenceOf(&h.view),
		Count: t.total, Total: true, First: t.first, Last: t.last, Quiet: int64(h.cfg.Quiet), Why: h.why[:0],
	}
	return &h.f
}

// add appends a measure over the window.
func (h *HTTP) add(name string, value float64, unit string, threshold float64) {
	h.f.Why = append(h.f.Why, Measure{Name: name, Value: value, Unit: unit, Threshold: threshold, Window: int64(h.cfg.Window)})
}

// done emits the finding.
func (h *HTTP) done() {
	h.why = h.f.Why
	h.emit(&h.f)
}
