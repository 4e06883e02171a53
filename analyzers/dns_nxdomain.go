package analyzers

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"weir/analyzers/tally"
)

const (
	nxWindow   = int64(600e9)
	nxWords    = 5 // times NXDomains, where the names look like words
	nxScore    = 55
	nxDoubling = 5
	nxLimit    = 69
	nxLow      = 40
	nxLetters  = 7 // of a label that can be told
)

// dnsClient is what registered domains a client asked for.
type dnsClient struct {
	half        [2]nxHalf
	number      int64 // of the open half
	first, last int64 // ns, of names that do not exist
	emitted     int64 // ns; 0: not named
	judged      int64
	count       uint64 // answers that said so, since first
	example     [64]byte
	due         bool // to be judged, a second after the latest judgement
	listed      bool // in DNS.opennx
}

type nxHalf struct {
	asked   tally.HLL // registered domains
	missing tally.HLL // of which no name existed
	random  tally.HLL // of these, such as look random
	queries uint64
}

// clientAt is what is known of a client; nil if there is no room.
func (a *DNS) clientAt(in *tally.Name) (at int, s *dnsClient) {
	key := dnsKey{client: in.Client, ver: in.Ver}
	at, _ = a.clients.at(&key, a.hash(&key), a.now, nxWindow)
	if at < 0 {
		return at, nil
	}
	_, s = a.clients.value(at)
	if number := a.now / (nxWindow / 2); number != s.number {
		s.half[1], s.half[0] = s.half[0], nxHalf{}
		if number != s.number+1 {
			s.half[1] = nxHalf{}
		}
		s.number = number
	}
	return at, s
}

// ask takes in all that a client asked.
func (a *DNS) ask(in *tally.Name) {
	a.all.Add(scramble(in.Client.Lo^a.key, in.Client.Hi))
	if _, s := a.clientAt(in); s != nil {
		s.half[0].asked.Merge(&in.Labels)
		s.half[0].queries += uint64(in.Queries)
	}
}

// missing takes in a domain of which a client was told that a name does not exist.
func (a *DNS) missing(in *tally.Name) {
	if in.NX == 0 || in.NX < in.Answers {
		return
	}
	domain := text(&in.Domain)
	name, _, registered := strings.Cut(domain, ".")
	if !registered && !strings.HasPrefix(domain, "redacted-") || strings.HasSuffix(domain, ".arpa") { // a host name without a suffix, a browser's probe, or an address
		return
	}
	at, s := a.clientAt(in)
	if s == nil {
		return
	}
	if s.emitted != 0 && a.now-s.last > int64(a.cfg.Quiet) {
		s.emitted, s.count, s.first = 0, 0, 0
	}
	if s.first == 0 || a.now-s.last > nxWindow {
		s.first, s.count = in.First, 0
	}
	hash := scramble(in.Hash, a.key)
	s.half[0].missing.Add(hash)
	if looksRandom(name) {
		s.half[0].random.Add(hash)
		s.example = in.Domain
	}
	s.count += uint64(in.NX)
	s.last = in.Last
	a.clients.keep(at, s.count, a.now+nxWindow)
	if s.count < uint64(a.cfg.NXDomains) {
		return
	}
	s.due = true
	if a.now-s.judged >= int64(time.Second) {
		k, s := a.clients.value(at)
		a.judgeNX(k, s)
	}
	if (s.due || s.emitted != 0) && !s.listed {
		s.listed = true
		a.opennx = append(a.opennx, at)
	}
}

// judgeNX names a client that asks for generated names.
func (a *DNS) judgeNX(k *dnsKey, s *dnsClient) {
	s.judged, s.due = a.now, false
	w := s.half[0]
	w.asked.Merge(&s.half[1].asked)
	w.missing.Merge(&s.half[1].missing)
	w.random.Merge(&s.half[1].random)
	missing, random, asked := w.missing.Count(), w.random.Count(), w.asked.Count()
	if missing < uint64(a.cfg.NXDomains) || 2*missing < asked {
		return
	}
	words := 2*random < missing
	if words && missing < uint64(nxWords*a.cfg.NXDomains) {
		return
	}
	s.emitted = a.now
	client := k.client.Netip(k.ver)
	f := &a.f
	*f = Finding{
		Analyzer: a.Name(), Kind: "nxdomain", Time: a.now,
		Subject:  Party{Prefix: netip.PrefixFrom(client, client.BitLen())},
		Score:    nxScore + int(nxDoubling*math.Log2(float64(missing)/float64(a.cfg.NXDomains))),
		MaxScore: nxLimit, Confidence: int(max(100-100*a.view.Loss(), 10)),
		Count: s.count, Total: true, First: s.first, Last: s.last, Quiet: int64(a.cfg.Quiet),
		Attack: []string{"T1071.004"}, Why: a.why[:0],
	}
	f.Summary = fmt.Sprintf("%s asked for names below %s domains that do not exist, of %s domains in all", client, about(uint32(missing)), about(uint32(max(asked, missing))))
	if words {
		f.MaxScore = nxLow
		f.Notes = append(f.Notes, "the domains look like words: it may be a list or a crawler")
	} else {
		f.Summary += fmt.Sprintf("; %s of them look random, like %s", about(uint32(random)), text(&s.example))
	}
	for _, m := range [...]struct {
		name  string
		value uint64
		least int
	}{{"missing_domains", missing, a.cfg.NXDomains}, {"random_domains", random, 0}, {"domains", asked, 0}} {
		f.Why = append(f.Why, Measure{Name: m.name, Value: float64(m.value), Unit: "domains", Threshold: float64(m.least), Window: nxWindow})
	}
	a.why = f.Why
	a.emit(f)
}

// looksRandom tells whether the label of a registered domain looks generated: of its letters five in a row are no vowels, or
// less than a fifth are, or letters and digits take turns more than twice. (y counts as a vowel. Of 12 random letters four in
// five have one of these.) Short labels are not told.
func looksRandom(label string) bool {
	if len(label) < nxLetters || strings.HasPrefix(label, "xn--") {
		return false
	}
	vowels, letters, run, longest, turns := 0, 0, 0, 0, 0
	digit := label[0] >= '0' && label[0] <= '9'
	for _, c := range []byte(label) {
		switch {
		case c >= '0' && c <= '9':
			if !digit {
				turns++
			}
			digit, run = true, 0
			continue
		case c >= 'a' && c <= 'z':
			if digit {
				turns++
			}
			digit = false
			letters++
			if strings.IndexByte("aeiouy", c) >= 0 {
				vowels++
				run = 0
				continue
			}
			run++
			longest = max(longest, run)
		default:
			run = 0
		}
	}
	return longest >= 5 || letters >= nxLetters && vowels*5 < letters || turns > 2
}
