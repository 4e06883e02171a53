package analyzers

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"weir/analyzers/baseline"
	"weir/analyzers/tally"
)

// question is one DNS question and its answer.
type question struct {
	client string
	at     int64  // ns since the beginning
	sub    string // what stands before the domain
	domain string
	qtype  uint16 // 1 A, 16 TXT, 10 NULL, 5 CNAME
	answer int    // bytes
	nx     bool
}

// asked makes epochs of questions that are in order of time, as tally counts them.
func asked(questions []question) (out []*tally.Epoch) {
	var e *tally.Epoch
	for _, q := range questions {
		at := covertStart + q.at
		if e == nil || at/tally.Tick != e.Tick {
			e = &tally.Epoch{Tick: at / tally.Tick, SketchKey: 7}
			out = append(out, e)
		}
		name(e, q.client, 0)
		domain := name(e, q.client, scramble(textHash(q.domain), 1))
		copy(domain.Domain[:], q.domain)
		all := name(e, q.client, 0)
		for _, n := range [...]*tally.Name{domain, all} {
			n.Queries++
			n.Answers++
			if q.nx {
				n.NX++
			}
			n.First, n.Last = at, at
		}
		if q.sub != "" {
			domain.Labels.Add(scramble(textHash(q.sub), 2))
		}
		domain.LabelBytes += uint64(len(q.sub))
		domain.Entropy += uint64(100 * shannon(q.sub))
		for _, l := range strings.Split(q.sub, ".") {
			domain.MaxLabel = max(domain.MaxLabel, uint8(len(l)))
		}
		switch q.qtype {
		case 16:
			domain.TXT++
		case 10:
			domain.Null++
		case 5, 15, 33:
			domain.Rare++
		}
		domain.QueryBytes += uint64(18 + len(q.sub) + len(q.domain))
		domain.AnswerBytes += uint64(q.answer)
		all.Labels.Add(scramble(textHash(q.domain), 3))
	}
	return out
}

func name(e *tally.Epoch, client string, hash uint64) *tally.Name {
	c, ver := packed(client)
	for i := range e.Names {
		if e.Names[i].Client == c && e.Names[i].Hash == hash {
			return &e.Names[i]
		}
	}
	server, _ := packed("10.0.0.53")
	e.Names = append(e.Names, tally.Name{Client: c, Server: server, Ver: ver, Hash: hash})
	return &e.Names[len(e.Names)-1]
}

func textHash(s string) (h uint64) {
	for _, c := range []byte(s) {
		h = scramble(h, uint64(c)+77)
	}
	return h
}

func shannon(s string) (bits float64) {
	var n [256]float64
	for _, c := range []byte(s) {
		n[c]++
	}
	for _, k := range n {
		if k > 0 {
			p := k / float64(len(s))
			bits -= p * math.Log2(p)
		}
	}
	return bits
}

// letters are n random ones of an alphabet.
func letters(rng *rand.Rand, alphabet string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return string(b)
}

const (
	hexDigits = "0123456789abcdef"
	base32    = "abcdefghijklmnopqrstuvwxyz234567"
	lower     = "abcdefghijklmnopqrstuvwxyz"
)

// asks is n questions of 10.0.0.5, every so many ms.
func asks(n, ms int, make func(rng *rand.Rand, i int) question) (out []question) {
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range n {
		q := make(rng, i)
		q.at = int64(i) * int64(ms) * 1e6
		if q.client == "" {
			q.client = "10.0.0.5"
		}
		out = append(out, q)
	}
	return out
}

func judgeNames(a *DNS, questions []question) (got []Finding) {
	for _, e := range asked(questions) {
		a.Judge(e, collect(&got))
	}
	a.Finish(collect(&got))
	return got
}

func TestDNSTunnel(t *testing.T) {
	words := []string{"www", "mail", "cdn", "static", "images", "api", "login", "assets-eu", "fonts", "video12", "edge-3", "a1.b"}
	for _, c := range []struct {
		name        string
		in          []question
		least, most int
	}{
		{"iodine, NULL", asks(200, 50, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, base32, 60) + "." + letters(r, base32, 50), domain: "t.example", qtype: 10, answer: 700}
		}), 85, 89},
		{"dnscat2, a beat a second", asks(600, 1000, func(r *rand.Rand, i int) question {
			return question{sub: letters(r, hexDigits, 34), domain: "evil.example", qtype: []uint16{16, 5, 15}[i%3], answer: 100}
		}), 60, 89},
		{"upload by A, 0.8 bytes a second of data", asks(150, 20_000, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, base32, 40), domain: "evil.example", qtype: 1, answer: 80}
		}), 50, 79},
		{"upload by A that gets errors", asks(1000, 1000, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, hexDigits, 60), domain: "evil.example", qtype: 1, answer: 100, nx: true}
		}), 50, 69},
		{"a tunnel of short names, fast", asks(12_000, 50, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, base32, 16), domain: "evil.example", qtype: 1, answer: 80}
		}), 50, 79},
		{"dnscat2 without a domain", asks(300, 400, func(r *rand.Rand, i int) question {
			return question{domain: "dnscat." + letters(r, hexDigits, 34), qtype: []uint16{16, 5, 15}[i%3], answer: 100}
		}), 60, 89},
		{"browsing", asks(20_000, 500, func(r *rand.Rand, _ int) question {
			return question{sub: words[r.IntN(len(words))], domain: fmt.Sprintf("site%d.example", r.IntN(200)), qtype: 1, answer: 90}
		}), 0, 0},
		{"a content network", asks(5000, 700, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, base32, 14), domain: "cloudfront.net", qtype: 1, answer: 150}
		}), 0, 0},
		{"video hosts asked again and again", asks(5000, 700, func(r *rand.Rand, _ int) question {
			return question{sub: fmt.Sprintf("r%d---sn-4g5e6nz%d", r.IntN(12), r.IntN(8)), domain: "video.example", qtype: 1, answer: 90}
		}), 0, 0},
		{"blocklist of addresses, unknown", asks(20_000, 100, func(r *rand.Rand, _ int) question {
			return question{sub: fmt.Sprintf("%d.%d.%d.%d.list", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)), domain: "blocked.example", qtype: 1, answer: 60, nx: r.IntN(3) > 0}
		}), 0, 0},
		{"blocklist of IPv6 addresses, unknown", asks(3000, 100, func(r *rand.Rand, _ int) question {
			return question{sub: strings.Join(strings.Split(letters(r, hexDigits, 32), ""), "."), domain: "blocked.example", qtype: 1, answer: 60, nx: true}
		}), 0, 0},
		{"reverse", asks(20_000, 50, func(r *rand.Rand, _ int) question {
			return question{sub: fmt.Sprintf("%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256)), domain: "10.in-addr.arpa", qtype: 12, answer: 90}
		}), 0, 0},
		{"virus scanner's lookups", asks(3000, 300, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, hexDigits, 40) + ".avqs", domain: "mcafee.com", qtype: 1, answer: 70}
		}), 0, 0},
		{"a few hashes", asks(25, 1000, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, hexDigits, 40), domain: "telemetry.example", qtype: 1, answer: 70}
		}), 0, 0},
		{"DKIM and SRV of many domains", asks(3000, 300, func(r *rand.Rand, i int) question {
			return question{sub: letters(r, base32, 16) + "._domainkey", domain: fmt.Sprintf("mail%d.example", i%900), qtype: 16, answer: 400}
		}), 0, 0},
		{"long names that are few", asks(5000, 300, func(_ *rand.Rand, i int) question {
			return question{sub: fmt.Sprintf("ip-%d.a-very-long-name-of-a-cluster.internal-services", i%20), domain: "corp.example", qtype: 1, answer: 70}
		}), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := judgeNames(NewDNS(DefaultDNS(), NewSite(nil, nil)), c.in)
			s := severest(got)
			if s < c.least || s > c.most {
				t.Fatalf("score %d, want %d to %d: %+v", s, c.least, c.most, got)
			}
			for _, f := range got {
				if f.Kind != "tunnel" || f.Subject.Prefix.String() != "10.0.0.5/32" || !strings.Contains(f.Summary, c.in[0].domain) && !strings.Contains(f.Summary, "no domain") {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// TestDNSRate: the same names are found at 0.7 bytes a second and not at half of it.
func TestDNSRate(t *testing.T) {
	for ms, found := range map[int]bool{20_000: true, 45_000: false} { // 40 characters of base32: 22 bytes by their entropy
		got := judgeNames(NewDNS(DefaultDNS(), NewSite(nil, nil)), asks(7200*1000/ms, ms, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, base32, 40), domain: "evil.example", qtype: 1, answer: 80}
		}))
		if (len(got) > 0) != found {
			t.Errorf("every %d ms: %+v", ms, got)
		}
	}
}

// TestDNSAgents: what eight of eight machines ask is an agent of theirs; a domain whose volume is known must exceed it.
func TestDNSAgents(t *testing.T) {
	a := NewDNS(DefaultDNS(), NewSite(nil, nil))
	agent := func(r *rand.Rand, i int) question {
		return question{client: fmt.Sprintf("10.0.0.%d", 10+i%8), sub: letters(r, hexDigits, 40), domain: "agent.example", qtype: 1, answer: 70}
	}
	got := judgeNames(a, asks(6000, 100, agent))
	if len(got) == 0 || got[len(got)-1].MaxScore != 45 || len(got[len(got)-1].Notes) == 0 {
		t.Errorf("%+v", got)
	}
}

func TestDNSBaseline(t *testing.T) {
	agent := func(every int) func(r *rand.Rand, i int) question {
		return func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, hexDigits, 40), domain: "agent.example", qtype: 1, answer: 70}
		}
	}
	site := NewSite(nil, baseline.New(baseline.Defaults()))
	learner := NewDNS(DefaultDNS(), site)
	learner.cfg.Names = 100_000 // nothing is named while it learns
	judgeNames(learner, asks(2*86400/10, 10_000, agent(0)))
	later := func(ms int) (out []question) {
		out = asks(3600*1000/ms, ms, agent(0))
		for i := range out {
			out[i].at += 2 * exfilDay
		}
		return out
	}
	if got := judgeNames(NewDNS(DefaultDNS(), site), later(5000)); len(got) != 0 {
		t.Errorf("twice what is normal: %+v", got)
	}
	got := judgeNames(NewDNS(DefaultDNS(), site), later(1000))
	if len(got) == 0 || got[0].Why[0].Baseline == nil {
		t.Errorf("ten times what is normal: %+v", got)
	}
}

func TestDNSGenerated(t *testing.T) {
	list := strings.Fields("garden window bridge market summer winter silver golden mountain river paper stone coffee planet rocket music simple global")
	wordy := func(r *rand.Rand) string {
		return list[r.IntN(len(list))] + list[r.IntN(len(list))] + fmt.Sprint(r.IntN(99))
	}
	for _, c := range []struct {
		name        string
		in          []question
		least, most int
	}{
		{"generated", asks(40, 1000, func(r *rand.Rand, _ int) question {
			return question{domain: letters(r, lower, 14) + ".info", nx: true}
		}), 55, 69},
		{"generated among browsing", asks(80, 1000, func(r *rand.Rand, i int) question {
			if i%2 == 0 {
				return question{sub: "www", domain: fmt.Sprintf("site%d.example", r.IntN(10))}
			}
			return question{domain: letters(r, base32, 16) + ".net", nx: true}
		}), 55, 69},
		{"nineteen", asks(17, 1000, func(r *rand.Rand, _ int) question { return question{domain: letters(r, lower, 14) + ".info", nx: true} }), 0, 0},
		{"too slow", asks(60, 60_000, func(r *rand.Rand, _ int) question { return question{domain: letters(r, lower, 14) + ".info", nx: true} }), 0, 0},
		{"a crawler of old links", asks(60, 1000, func(r *rand.Rand, _ int) question { return question{sub: "www", domain: wordy(r) + ".com", nx: true} }), 0, 0},
		{"a long list of old links", asks(300, 1000, func(r *rand.Rand, _ int) question { return question{sub: "www", domain: wordy(r) + ".com", nx: true} }), 40, 40},
		{"search suffix", asks(500, 100, func(r *rand.Rand, _ int) question {
			return question{sub: letters(r, lower, 10) + ".example.org", domain: "corp.example", nx: true}
		}), 0, 45},
		{"Chromium starts, often", asks(300, 5000, func(r *rand.Rand, _ int) question { return question{domain: letters(r, lower, 10), nx: true} }), 0, 0},
		{"a resolver's clients", asks(4000, 100, func(r *rand.Rand, i int) question {
			if i%5 == 0 {
				return question{domain: letters(r, lower, 12) + ".net", nx: true}
			}
			return question{sub: "www", domain: wordy(r) + ".org"}
		}), 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s int
			for _, f := range judgeNames(NewDNS(DefaultDNS(), NewSite(nil, nil)), c.in) {
				if f.Kind == "nxdomain" || c.most == 0 {
					s = max(s, min(f.Score, f.MaxScore))
				}
			}
			if s < c.least || s > c.most {
				t.Errorf("score %d, want %d to %d", s, c.least, c.most)
			}
		})
	}
}

func TestLooksRandom(t *testing.T) {
	for _, w := range strings.Fields("facebook wordpress doubleclick googlesyndication microsoftonline cloudflare office365 windowsupdate stackoverflow xn--bcher-kva strengthen t-online 1und1 web24 abcnews7") {
		if looksRandom(w) {
			t.Error(w)
		}
	}
	rng, n := rand.New(rand.NewPCG(1, 1)), 0
	for range 1000 {
		if looksRandom(letters(rng, lower, 12)) {
			n++
		}
	}
	if n < 650 {
		t.Errorf("of 1000 random names %d look so", n)
	}
}

func TestDNSCheck(t *testing.T) {
	for _, change := range []func(*DNSConfig){
		func(c *DNSConfig) { c.Known = []string{"Example.org"} }, func(c *DNSConfig) { c.Known = []string{""} },
		func(c *DNSConfig) { c.Rate = 0 }, func(c *DNSConfig) { c.Names = 1 }, func(c *DNSConfig) { c.Domains = 0 },
	} {
		c := DefaultDNS()
		if c.Check() != nil {
			t.Fatal("defaults")
		}
		if change(&c); c.Check() == nil {
			t.Errorf("%+v", c)
		}
	}
}

func BenchmarkDNS(b *testing.B) {
	a := NewDNS(DefaultDNS(), NewSite(nil, nil))
	e := &tally.Epoch{SketchKey: 7}
	client, ver := packed("10.0.0.5")
	for i := range 10_000 {
		n := tally.Name{Client: client, Ver: ver, Hash: scramble(uint64(i), 1) % 100_000, Queries: 1, Answers: 1, LabelBytes: 8, Entropy: 250, MaxLabel: 8}
		n.Client.Lo += uint64(i % 1000)
		n.Labels.Add(scramble(uint64(i), 9))
		copy(n.Domain[:], fmt.Sprintf("site%d.example", n.Hash))
		e.Names = append(e.Names, n)
	}
	b.ReportAllocs()
	for n := range b.N {
		e.Tick = covertStart/tally.Tick + int64(n)
		a.Judge(e, func(f *Finding) {})
	}
}
