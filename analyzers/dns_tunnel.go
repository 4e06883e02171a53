package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

const (
	dnsWindow   = int64(3600e9)
	dnsSeconds  = 3600.0
	dnsLong     = 24.0 // characters before the domain, in the mean
	dnsLongest  = 40.0
	dnsTyped    = 8.0 // of names that are asked with types that carry data
	dnsMany     = 20  // times Rate
	dnsManyLen  = 12.0
	dnsShort    = 4  // characters of a label of an address
	dnsFast     = 10 // times Rate
	dnsReply    = 60 // bytes that an answer has more than a question
	dnsEntropy  = 3.5
	dnsScore    = 50
	dnsLimit    = 89
	dnsLow      = 45
	dnsUsersMin = 3
	dnsShare    = 10 // a tenth of the clients
	dnsNum      = 0x646e73
	dnsSuffix   = 24 // characters of the longest top-level domain
	dnsRootless = 1  // stands for the hash of a domain where there is none
)

// tunnel takes in what a client asked of a domain in this tick.
func (a *DNS) tunnel(in *tally.Name) {
	key := dnsKey{in.Client, in.Hash, in.Ver}
	length, rootless := noSuffix(&in.Domain)
	if rootless {
		key.hash = dnsRootless
	}
	at, made := a.domains.at(&key, a.hash(&key), a.now, dnsWindow/4)
	if at < 0 {
		return
	}
	k, s := a.domains.value(at)
	if made {
		s.domain = in.Domain
		s.known = a.isKnown(text(&in.Domain))
	}
	if s.known {
		return
	}
	if number := a.now / (dnsWindow / 2); number != s.number {
		s.half[1], s.half[0] = s.half[0], dnsHalf{}
		if number != s.number+1 {
			s.half[1] = dnsHalf{}
		}
		s.number = number
	}
	if s.first == 0 || s.emitted != 0 && a.now-s.last > int64(a.cfg.Quiet) {
		s.first, s.queries, s.told, s.emitted = in.First, 0, 0, 0
	}
	asked := dnsHalf{
		queries: uint64(in.Queries), answers: uint64(in.Answers), errors: uint64(in.NX) + uint64(in.Failed),
		data: uint64(in.TXT) + uint64(in.Null), rare: uint64(in.Rare), labelBytes: in.LabelBytes, entropy: in.Entropy,
		queryBytes: in.QueryBytes, answerBytes: in.AnswerBytes, names: in.Labels, maxLabel: in.MaxLabel,
	}
	if rootless { // what was taken for the domain is of the name, too
		asked.whole(in, length, scramble(in.Hash, a.key))
	}
	s.half[0].add(&asked)
	s.queries += uint64(in.Queries)
	s.last, s.server = in.Last, in.Server
	a.domains.keep(at, s.half[0].labelBytes>>4+s.half[1].labelBytes>>4, a.now+dnsWindow)
	if s.half[0].labelBytes+s.half[1].labelBytes < uint64(a.cfg.Rate*dnsSeconds/8) {
		return // what is far from a tunnel is not learned: it would be every domain there is
	}
	if b := a.learn.add(k.hash); b != nil {
		*b += in.LabelBytes
	}
	if s.emitted == 0 && in.Queries > 0 && a.may(s) {
		s.due = true
		if a.now-s.judged >= int64(time.Second) {
			a.judge(k, s)
		}
		a.list(at, s)
	}
}

// noSuffix tells how long a registered domain is, and whether it can be none that is delegated: its last label is longer than
// any in the root zone (24 characters, 2026) or has digits without being an international one, or it is longer than 64.
func noSuffix(domain *[64]byte) (length int, rootless bool) {
	from, digits := 0, false
	for i, c := range domain {
		switch {
		case c == 0:
			last := i - from
			return i, from > 0 && (last > dnsSuffix || digits && last > 3 && string(domain[from:from+4]) != "xn--")
		case c == '.':
			from, digits = i+1, false
		case c >= '0' && c <= '9':
			digits = true
		}
	}
	return len(domain), true
}

// whole makes of what stands before a domain the whole name, of which the domain has length.
func (h *dnsHalf) whole(in *tally.Name, length int, hash uint64) {
	if in.LabelBytes == 0 {
		h.entropy += uint64(in.Queries) * uint64(100*bitsOf(in.Domain[:length]))
	}
	h.labelBytes += uint64(in.Queries) * uint64(length)
	h.maxLabel = max(h.maxLabel, uint8(length/2))
	h.names.Add(hash)
}

// bitsOf is the Shannon entropy of a text, in bits a character.
func bitsOf(text []byte) (bits float64) {
	var count [256]int
	for _, c := range text {
		count[c]++
	}
	for _, n := range count {
		if n > 0 {
			p := float64(n) / float64(len(text))
			bits -= float64(p * math.Log2(p))
		}
	}
	return bits
}

func (h *dnsHalf) add(o *dnsHalf) {
	h.queries += o.queries
	h.answers += o.answers
	h.errors += o.errors
	h.data += o.data
	h.rare += o.rare
	h.labelBytes += o.labelBytes
	h.entropy += o.entropy
	h.queryBytes += o.queryBytes
	h.answerBytes += o.answerBytes
	h.names.Merge(&o.names)
	h.maxLabel = max(h.maxLabel, o.maxLabel)
}

// learned takes what the site asked of a domain in a second into its baseline, unless it is named.
func (a *DNS) learned(second int64, hash *uint64, bytes *uint64) {
	now := second * 1e9
	r := a.site.Baseline.Series(a.series(*hash), now)
	if a.named[*hash] {
		r.Freeze(now)
		return
	}
	r.Thaw(now)
	r.Learn(now, float64(*bytes))
}

func (a *DNS) series(hash uint64) baseline.Key {
	return baseline.Key{Kind: baseline.KindName, Measure: baseline.MeasureBytesOut, Num: dnsNum, Addr: [2]uint64{hash}}
}

// dnsSigns is what speaks for a tunnel.
type dnsSigns struct {
	all             dnsHalf
	names           float64 // distinct
	length          float64 // mean, of what stands before the domain
	entropy         float64 // bits a character
	rate            float64 // bytes of information a second
	data, rare      float64 // shares of the questions
	errors          float64 // of the answers
	question, reply float64 // mean bytes
	usual           float64 // bytes before the domain a second, 0 if not known
	hours           uint64
	users, clients  uint64
}

// signs weighs what a client asked of a domain; false if that is no tunnel.
func (a *DNS) signs(k *dnsKey, s *dnsDomain) (g dnsSigns, found bool) {
	w := &g.all
	*w = s.half[0]
	w.add(&s.half[1])
	if w.queries < uint64(a.cfg.Names) || w.maxLabel <= dnsShort {
		return g, false
	}
	queries := float64(w.queries)
	g.names = math.Min(float64(w.names.Count()), queries)
	g.length = float64(w.labelBytes) / queries
	g.entropy = float64(w.entropy) / 100 / queries
	g.rate = g.names * g.length * g.entropy / 8 / dnsSeconds
	g.data, g.rare = float64(w.data)/queries, float64(w.rare)/queries
	g.errors = mean(w.errors, w.answers)
	g.question, g.reply = mean(w.queryBytes, w.queries), mean(w.answerBytes, w.answers)
	if g.rate < a.cfg.Rate || g.names < float64(a.cfg.Names) || 2*g.names < queries {
		return g, false
	}
	long := g.length >= dnsLong
	typed := g.data >= 0.5 && g.length >= dnsTyped
	many := g.rate >= dnsMany*a.cfg.Rate && g.length >= dnsManyLen && 5*g.names >= 4*queries
	if !long && !typed && !many {
		return g, false
	}
	if r := a.site.Baseline.Find(a.series(k.hash)); r != nil {
		if n := r.Normal(a.now); n.AnchorWarm {
			g.usual, g.hours = math.Max(n.Anchor, n.Hour), n.AnchorN
			if float64(w.labelBytes) < a.cfg.Multiple*g.usual*dnsSeconds {
				return g, false
			}
		}
	}
	return g, true
}

// score is the strength of the signs.
func (g *dnsSigns) score(rate float64) int {
	n := dnsScore
	for _, sign := range [...]bool{
		g.data+g.rare >= 0.25, g.length >= dnsLongest, g.rate >= dnsFast*rate, g.reply-g.question >= dnsReply && g.all.answers > 0,
	} {
		n += 10 * boolInt(sign)
	}
	n += 5 * boolInt(g.entropy >= dnsEntropy)
	if g.errors >= 0.8 {
		n -= 15
	}
	return n
}

// may tells whether what was asked can be a tunnel at all: 6 bits a character are more than names have.
func (a *DNS) may(s *dnsDomain) bool {
	bytes := s.half[0].labelBytes + s.half[1].labelBytes
	return float64(6*bytes) >= 8*a.cfg.Rate*dnsSeconds && float64(bytes) >= dnsTyped*float64(s.half[0].queries+s.half[1].queries)
}

// list keeps a place in mind that is to be judged again.
func (a *DNS) list(at int, s *dnsDomain) {
	if (s.due || s.emitted != 0) && !s.listed {
		if s.listed = true; !slices.Contains(a.open, at) { // one that went may have stood there
			a.open = append(a.open, at)
		}
	}
}

// judge names a client and its domain if they show signs.
func (a *DNS) judge(k *dnsKey, s *dnsDomain) {
	s.judged, s.due = a.now, false
	g, found := a.signs(k, s)
	if !found {
		return
	}
	g.users = a.usersOf(k)
	all := a.all
	all.Merge(&a.before)
	g.clients = max(all.Count(), g.users)
	s.emitted, s.told = a.now, s.queries
	a.report(k, s, &g)
}

// usersOf notes a client at a domain, and counts those there.
func (a *DNS) usersOf(k *dnsKey) uint64 {
	at, _ := a.users.at(&k.hash, scramble(k.hash, a.key), a.now, 24*dnsWindow)
	if at < 0 {
		return 1
	}
	_, u := a.users.value(at)
	u.clients.Add(scramble(k.client.Lo^a.key, k.client.Hi))
	n := max(u.clients.Count(), 1)
	a.users.keep(at, n, a.now+24*dnsWindow)
	return n
}

// report emits the finding of a tunnel.
func (a *DNS) report(k *dnsKey, s *dnsDomain, g *dnsSigns) {
	client, server, domain := k.client.Netip(k.ver), s.server.Netip(k.ver), text(&s.domain)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "tunnel", Time: a.now,
		Subject:  Party{Prefix: netip.PrefixFrom(client, client.BitLen())},
		Score:    g.score(a.cfg.Rate),
		MaxScore: dnsLimit, Confidence: int(max(100-100*a.view.Loss(), 10)),
		Count: s.queries, Total: true, First: s.first, Last: s.last, Quiet: int64(a.cfg.Quiet),
		Attack: []string{"T1071.004", "T1048.003"}, Why: a.why[:0],
	}
	if g.users >= dnsUsersMin && g.users*dnsShare >= g.clients {
		f.MaxScore = dnsLow
		f.Notes = append(f.Notes, fmt.Sprintf("%s clients ask for this domain so: it may be an agent that all machines run", about(uint32(g.users))))
	}
	add := func(name string, value float64, unit string, threshold float64) {
		f.Why = append(f.Why, Measure{Name: name, Value: math.Round(value*100) / 100, Unit: unit, Threshold: threshold, Window: dnsWindow})
	}
	add("information", g.rate, "bytes/s", a.cfg.Rate)
	if g.hours > 0 {
		f.Why[0].Baseline = &Baseline{Mean: g.usual, N: g.hours}
	}
	add("distinct_names", g.names, "names", float64(a.cfg.Names))
	add("queries", float64(g.all.queries), "queries", 0)
	add("mean_length", g.length, "characters", dnsLong)
	add("entropy", g.entropy, "bits/character", 0)
	add("data_types", g.data, "", 0.5)
	add("rare_types", g.rare, "", 0)
	add("errors", g.errors, "", 0)
	add("mean_question", g.question, "bytes", 0)
	add("mean_answer", g.reply, "bytes", 0)
	a.why = f.Why
	if k.hash == dnsRootless {
		domain = "no domain at all"
	}
	f.Summary = fmt.Sprintf("%s asked %s for %s distinct names below %s in %d questions, %.0f characters each with %.1f bits a character: %.1f bytes a second",
		client, server, about(uint32(g.names)), domain, g.all.queries, g.length, g.entropy, g.rate)
	a.emit(f)
}
