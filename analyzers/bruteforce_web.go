package analyzers

import (
	"fmt"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
	"weir/decode"
)

// Counters of a source's window at a web service.
const (
	webDenied    = iota // answers of 401 and 403
	webAnswers          // all of them
	webPosts            // POST and PUT requests
	webRedirects        // answers of 3xx
	webRequests         // all of them
	webGood             // answers of 2xx
)

// webForm says what makes requests look like tries.
type webForm uint8

const (
	formNone     webForm = iota
	formDenied           // 401 and 403
	formRedirect         // POSTs to one form, answered by redirects
	formPosts            // POSTs to one form
)

// Paths that tries go to: the form, where it posts to, where that leads, a style or a script.
const (
	webPaths     = 5
	webPostPaths = 2
)

// webTries is what one source did at one web service.
type webTries struct {
	told
	span   span
	paths  [2]tally.HLL // of this window's half and the one before
	posted [2]tally.HLL
	half   int64
	pace   pace
	via    decode.Addr
	second int64 // of the last value that the baseline learned
	form   webForm
	proven bool
}

func (t *webTries) weight() uint64 {
	if t.emitted != 0 {
		return 1 << 40
	}
	return uint64(t.span.sum[webDenied] + t.span.sum[webPosts])
}

// web takes in what a source did at a web service in this tick.
func (a *Bruteforce) web(w *tally.Web, e *tally.Epoch) {
	denied := w.S401 + w.S403
	t := a.webs.find(&w.Key)
	if t == nil {
		if denied == 0 && w.Posts == 0 {
			return
		}
		if t = a.webs.at(&w.Key, a.now, a.idle()); t == nil {
			return
		}
	}
	t.span.turn(a.part(e))
	t.rest(t.span.sum[webDenied]+t.span.sum[webPosts] == 0, a.now, int64(a.cfg.Quiet))
	t.turn(2 * t.span.at / spanParts)
	t.paths[0].Merge(&w.Paths)
	t.posted[0].Merge(&w.PostPaths)
	t.span.add(webDenied, denied)
	t.span.add(webAnswers, w.Responses)
	t.span.add(webPosts, w.Posts)
	t.span.add(webRedirects, w.Status[3])
	t.span.add(webRequests, w.Requests)
	t.span.add(webGood, w.Status[2])
	t.pace.add(w.First, w.Requests)
	t.via = w.Via
	if w.Via == (decode.Addr{}) && !t.proven {
		t.proven = a.peers.has(w.Key.Client, w.Key.Ver, a.now)
	}
	if denied == 0 && w.Posts == 0 {
		return
	}
	if t.first == 0 {
		t.first = w.First
	}
	t.last, t.news = w.Last, true
	t.total += uint64(max(denied, w.Posts))
	a.learnPosts(t, w)
	a.judgeWeb(&w.Key, t)
}

// turn goes on to a half of the window.
func (t *webTries) turn(half int64) {
	if half == t.half {
		return
	}
	keep := tally.HLL{}
	if half == t.half+1 {
		keep = t.paths[0]
	}
	t.paths = [2]tally.HLL{{}, keep}
	if keep = (tally.HLL{}); half == t.half+1 {
		keep = t.posted[0]
	}
	t.posted = [2]tally.HLL{{}, keep}
	t.half = half
}

func both(h *[2]tally.HLL) int {
	all := h[0]
	all.Merge(&h[1])
	return int(all.Count())
}

// recentPeers remembers who completed a TCP handshake, or went on in such a connection, within the last minute: a request comes some
// ticks after its handshake. Addresses share places by hash; the last one has it.
type recentPeers struct {
	key   uint64
	place []peerMark
}

type peerMark struct{ who, second uint32 }

const (
	peerPlaces = 1 << 12
	peerSpan   = 60 // s
)

func newRecentPeers() recentPeers { return recentPeers{place: make([]peerMark, peerPlaces)} }

func (r *recentPeers) at(addr decode.Addr, ver uint8) (*peerMark, uint32) {
	h := scramble(addr.Lo^r.key, addr.Hi^uint64(ver)<<56)
	return &r.place[h%peerPlaces], uint32(h >> 32)
}

// note takes in an epoch's peers.
func (r *recentPeers) note(e *tally.Epoch) {
	if r.key == 0 {
		r.key = scramble(e.SketchKey, 0x9e3779b97f4a7c15) | 1
	}
	second := uint32(e.Start() / 1e9)
	for i := range e.Peers {
		m, who := r.at(e.Peers[i].Addr, e.Peers[i].Ver)
		*m = peerMark{who, second}
	}
}

// has reports whether an address is one of them.
func (r *recentPeers) has(addr decode.Addr, ver uint8, now int64) bool {
	m, who := r.at(addr, ver)
	return m.who == who && m.second != 0 && uint32(now/1e9)-m.second <= peerSpan
}

// numPosts tells the spread of POSTs from that of sessions.
const numPosts = 1

// postsSpread is the distribution of POSTs over the sources of a service: of each second in which one sends some.
func (a *Bruteforce) postsSpread(k *tally.PairKey) *baseline.Spread {
	return a.site.Baseline.Spread(baseline.Key{
		Kind: baseline.KindService, Measure: baseline.MeasureShortSessions, Ver: k.Ver, Proto: k.Proto, Port: k.Port,
		Addr: [2]uint64{k.Server.Hi, k.Server.Lo}, Num: numPosts,
	}, a.now)
}

// learnPosts has the baseline learn how many POSTs a source had in its window, at each second in which it sends one.
func (a *Bruteforce) learnPosts(t *webTries, w *tally.Web) {
	second := (a.now - 1) / 1e9
	if w.Posts == 0 || second == t.second || t.emitted != 0 {
		return
	}
	t.second = second
	a.postsSpread(&w.Key).Add(a.now-1, float64(min(t.span.sum[webPosts], uint32(a.cfg.Posts))))
}

// judgeWeb tells of a source whose requests look like tries.
func (a *Bruteforce) judgeWeb(k *tally.PairKey, t *webTries) {
	form, tries, need := a.formOf(k, t)
	if form == formNone {
		return
	}
	score := scoreOf(tries, need)
	if a.routineWeb(k, t, form) {
		score = min(score, loginLow)
	}
	if !t.due(score, a.now) || !a.follows(&a.openWeb, k, &t.told) {
		return
	}
	t.form = form
	a.reportWeb(k, t, score)
}

// formOf is what a source's requests look like, how many tries they are, and how many it takes.
func (a *Bruteforce) formOf(k *tally.PairKey, t *webTries) (form webForm, tries, need int) {
	sum := &t.span.sum
	least := uint32(min(a.cfg.Tries, a.cfg.Posts))
	if max(sum[webDenied], sum[webPosts]) < least || both(&t.paths) > webPaths {
		return formNone, 0, 0
	}
	need = a.cfg.Tries
	if n := sum[webDenied]; int(n) >= need && uint64(n)*100 >= uint64(sum[webAnswers])*loginShare {
		return formDenied, int(n), need
	}
	posts := sum[webPosts]
	if posts*4 < sum[webRequests] || both(&t.posted) > webPostPaths {
		return formNone, 0, 0
	}
	if int(posts) >= need && uint64(sum[webRedirects])*100 >= uint64(posts)*loginShare {
		return formRedirect, int(posts), need
	}
	need = a.cfg.Posts
	others := a.postsSpread(k).Normal(a.now - 1)
	if !others.Warm {
		need *= coldFactor
	}
	if int(posts) < need || uint64(sum[webGood])*100 < uint64(posts)*loginShare ||
		others.Warm && float64(posts) <= a.cfg.Multiplier*others.Mean {
		return formNone, 0, 0
	}
	return formPosts, int(posts), need
}

// routineWeb reports what an inside client may do without being an attacker: ask by the clock with credentials that have expired,
// or send its data by POST, which the sensor has not had the time to know.
func (a *Bruteforce) routineWeb(k *tally.PairKey, t *webTries, form webForm) bool {
	if !a.site.Inside(k.Client.Netip(k.Ver)) {
		return false
	}
	return t.pace.clockwork() || form == formPosts && a.site.younger(loginYoung, a.now) && a.site.Inside(k.Server.Netip(k.Ver))
}

// retellWeb tells what came since the last finding, once it may be told; it reports whether the alert goes on.
func (a *Bruteforce) retellWeb(k *tally.PairKey, now bool) bool {
	t := a.webs.find(k)
	if t == nil || t.over(a.now, int64(a.cfg.Quiet)) {
		return false
	}
	if t.news && (now || a.now-t.emitted >= loginRepeat) {
		a.reportWeb(k, t, t.score)
	}
	return true
}

// reportWeb emits a finding of kind web_login.
func (a *Bruteforce) reportWeb(k *tally.PairKey, t *webTries, score int) {
	f := a.finding("web_login", &t.told, score)
	f.Subject, f.Victim = client(k), server(k)
	f.Subject.ReturnPath = t.proven && t.via == (decode.Addr{})
	f.Attack = []string{"T1110"}
	sum := &t.span.sum
	var what string
	switch t.form {
	case formDenied:
		a.add("denied", float64(sum[webDenied]), "answers of 401 or 403", float64(a.cfg.Tries))
		a.add("denied_share", 100*float64(sum[webDenied])/float64(max(sum[webAnswers], 1)), "%", loginShare)
		what = fmt.Sprintf("%d of its %d answers were 401 or 403", sum[webDenied], sum[webAnswers])
	case formRedirect:
		a.add("posts", float64(sum[webPosts]), "requests", float64(a.cfg.Tries))
		a.add("redirects", float64(sum[webRedirects]), "answers of 3xx", loginShare*float64(sum[webPosts])/100)
		what = fmt.Sprintf("it sent %d POSTs and was redirected %d times", sum[webPosts], sum[webRedirects])
	default:
		a.add("posts", float64(sum[webPosts]), "requests", float64(a.cfg.Posts))
		if n := a.postsSpread(k).Normal(a.now - 1); n.Warm {
			f.Why[0].Baseline = &Baseline{Mean: n.Mean, Stddev: n.Stddev, N: n.N}
			f.Why[0].Threshold = max(f.Why[0].Threshold, a.cfg.Multiplier*n.Mean)
		}
		what = fmt.Sprintf("it sent %d POSTs", sum[webPosts])
	}
	a.add("paths", float64(both(&t.paths)), "paths", webPaths)
	if t.form != formDenied {
		f.Notes = append(f.Notes, "judged by the number of POSTs to one form: the answers do not tell a wrong password from a right one")
	}
	if t.via != (decode.Addr{}) {
		f.Notes = append(f.Notes, fmt.Sprintf("the address is what the trusted proxy %s says", t.via.Netip(6).Unmap()))
	}
	if score <= loginLow {
		f.Notes = append(f.Notes, "low, because programs inside work so: by the clock, or not known for a day yet")
	}
	f.Summary = fmt.Sprintf("%s tries credentials at %s: %s within the last %s, at about %d paths", f.Subject.Prefix.Addr(), where(k), what,
		a.cfg.Window, both(&t.paths))
	a.done()
}
