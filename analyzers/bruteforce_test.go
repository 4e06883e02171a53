package analyzers

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// logins writes epochs of sessions with login services and of HTTP requests by hand.
type logins struct {
	t     *testing.T
	epoch map[int64]*tally.Epoch // by tick since worldStart
	site  *Site
}

func newLogins(t *testing.T) *logins {
	return &logins{t: t, epoch: map[int64]*tally.Epoch{}, site: NewSite(nil, nil)}
}

// at is the epoch of a time since worldStart.
func (l *logins) at(after time.Duration) *tally.Epoch {
	tick := int64(after) / tally.Tick
	e := l.epoch[tick]
	if e == nil {
		e = &tally.Epoch{Tick: worldStart/tally.Tick + tick, SketchKey: 7}
		e.Link.Packets = 1
		l.epoch[tick] = e
	}
	return e
}

// loginKey is the key of a client and an address with port.
func loginKey(client, service string) tally.PairKey {
	s := netip.MustParseAddrPort(service)
	k := tally.PairKey{Server: decode.AddrFrom(s.Addr()), Port: s.Port(), Proto: protoTCP, Ver: 4}
	if s.Addr().Is6() {
		k.Ver = 6
	}
	if client != "" {
		k.Client = decode.AddrFrom(netip.MustParseAddr(client))
	}
	return k
}

// shape is what a session looks like.
type shape struct {
	asked, answered uint64        // payload bytes
	lasts           time.Duration // from its beginning
	print           uint64
	app             conn.App // that it opens with; a port says nothing of it
}

var denial = shapeOf(1500, 2000, 2*time.Second)

func shapeOf(asked, answered uint64, lasts time.Duration) shape {
	return shape{asked: asked, answered: answered, lasts: lasts, print: 5}
}

// session has a client open a session and end it.
func (l *logins) session(after time.Duration, client, service string, s shape) {
	k := loginKey(client, service)
	start := worldStart + int64(after)
	p := pairIn(l.at(after), k)
	p.Opened++
	p.Print = s.print
	if p.FirstOpened == 0 {
		p.FirstOpened = start
	}
	p.LastBegun = start
	p.First, p.Last = cmp.Or(p.First, start), start
	end := start + int64(s.lasts)
	p = pairIn(l.at(after+s.lasts), k)
	p.Closed++
	if s.asked > 0 && s.answered > 0 && s.asked <= 8<<10 && s.answered <= 16<<10 && s.lasts <= 30*time.Second {
		p.Short++
	}
	p.Apps |= s.app.Set()
	ms := uint64(s.lasts / time.Millisecond)
	for i, n := range [...]uint64{s.asked, s.answered} {
		p.Sizes[i].N++
		p.Sizes[i].Sum += n
		p.Sizes[i].Squares += n * n
	}
	p.Duration.N++
	p.Duration.Sum += ms
	p.Duration.Squares += ms * ms
	p.First, p.Last = cmp.Or(p.First, end), end
}

func pairIn(e *tally.Epoch, k tally.PairKey) *tally.Pair {
	for i := range e.Pairs {
		if e.Pairs[i].Key == k {
			return &e.Pairs[i]
		}
	}
	e.Pairs = append(e.Pairs, tally.Pair{Key: k})
	return &e.Pairs[len(e.Pairs)-1]
}

// ask is a request and its answer.
type ask struct {
	method int // index of methodNames
	path   string
	status int
	agent  string
	via    string // trusted proxy
	noPeer bool   // the handshake was not seen
}

func hashText(text string) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(text) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return scramble(scramble(h, 77), 5)
}

// request has a client ask a web service.
func (l *logins) request(after time.Duration, client, service string, q ask) {
	e := l.at(after)
	k := loginKey(client, service)
	var w *tally.Web
	for i := range e.Webs {
		if e.Webs[i].Key == k {
			w = &e.Webs[i]
		}
	}
	if w == nil {
		e.Webs = append(e.Webs, tally.Web{Key: k})
		w = &e.Webs[len(e.Webs)-1]
	}
	now := worldStart + int64(after)
	w.Requests++
	w.Responses++
	w.Status[q.status/100]++
	path := hashText(q.path)
	w.Paths.Add(path)
	switch q.status {
	case 401:
		w.S401++
	case 403:
		w.S403++
	case 404:
		w.S404++
		w.Missing.Add(path)
	}
	w.Methods |= 1 << q.method
	if q.method == 2 || q.method == 3 {
		w.Posts++
		w.PostPaths.Add(path)
	}
	if q.method > 6 {
		w.OddMethods++
	}
	if q.agent != "" {
		w.Agent = hashText(q.agent)
		w.Agents.Add(w.Agent)
	}
	w.First, w.Last = cmp.Or(w.First, now), now
	if q.via != "" {
		w.Via = decode.AddrFrom(netip.MustParseAddr(q.via))
	} else if !q.noPeer {
		e.Peers = append(e.Peers, tally.Peer{Addr: k.Client, Ver: k.Ver})
	}
}

// opening has clients open connections with one print.
func (l *logins) opening(after time.Duration, client, service string, kind tally.OpeningKind, print uint64) *tally.Opening {
	e := l.at(after)
	k := loginKey(client, service)
	key := tally.OpeningKey{Server: k.Server, Hash: print, Port: k.Port, Proto: k.Proto, Ver: k.Ver, Kind: kind}
	var o *tally.Opening
	for i := range e.Openings {
		if e.Openings[i].Key == key {
			o = &e.Openings[i]
		}
	}
	if o == nil {
		e.Openings = append(e.Openings, tally.Opening{Key: key})
		o = &e.Openings[len(e.Openings)-1]
	}
	now := worldStart + int64(after)
	o.Count++
	o.Sources.Add(hashOf(99, k.Client))
	if o.NSample < 8 {
		o.Sample[o.NSample] = tally.OpeningSource{Rank: uint64(o.NSample), Addr: k.Client}
		o.NSample++
	}
	o.First, o.Last = cmp.Or(o.First, now), now
	return o
}

// epochs are in order, their lists sorted.
func (l *logins) epochs() (out []*tally.Epoch) {
	for _, e := range l.epoch {
		slices.SortFunc(e.Pairs, func(a, b tally.Pair) int { return keyOrder(&a.Key, &b.Key) })
		slices.SortFunc(e.Webs, func(a, b tally.Web) int { return keyOrder(&a.Key, &b.Key) })
		slices.SortFunc(e.Peers, func(a, b tally.Peer) int {
			return cmp.Or(cmp.Compare(a.Ver, b.Ver), cmp.Compare(a.Addr.Hi, b.Addr.Hi), cmp.Compare(a.Addr.Lo, b.Addr.Lo))
		})
		e.Peers = slices.Compact(e.Peers)
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *tally.Epoch) int { return cmp.Compare(a.Tick, b.Tick) })
	return out
}

func keyOrder(a, b *tally.PairKey) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// judge has an analyzer judge all epochs as sensor's judge does.
func (l *logins) judge(a Analyzer) (found []Finding) {
	l.t.Helper()
	emit := func(f *Finding) {
		if f.Score < 0 || f.Score > 100 || f.MaxScore < 1 || f.MaxScore > 69 || f.Confidence < 1 || f.Confidence > 100 || f.Quiet <= 0 ||
			f.Last < f.First || f.First == 0 || f.Count == 0 || f.Summary == "" || len(f.Attack) == 0 || len(f.Why) == 0 {
			l.t.Errorf("malformed: %+v", f)
		}
		g := *f
		g.Why, g.Notes, g.Attack = slices.Clone(f.Why), slices.Clone(f.Notes), slices.Clone(f.Attack)
		found = append(found, g)
		l.site.Alarm(f)
	}
	for _, e := range l.epochs() {
		l.site.Baseline.Advance(e.End())
		l.site.Observe(e)
		a.Judge(e, emit)
	}
	a.Finish(emit)
	return found
}

// severe are the kinds found, with subject and victim, of medium severity or more; each once, in order.
func severe(found []Finding, least int) (out []string) {
	for i := range found {
		f := &found[i]
		if severityScore(f) < least {
			continue
		}
		text := f.Kind
		if f.Subject.Prefix.IsValid() {
			text += " by " + f.Subject.Prefix.Addr().String()
		}
		text += fmt.Sprintf(" on %s:%d", f.Victim.Prefix.Addr(), f.Victim.Port)
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func want(t *testing.T, found []Finding, least int, kinds ...string) {
	t.Helper()
	if got := severe(found, least); !slices.Equal(got, kinds) {
		t.Errorf("found %q, want %q", got, kinds)
		for i := range found[:min(len(found), 6)] {
			t.Logf("%d %s %s %v", found[i].Score, found[i].Kind, found[i].Summary, found[i].Notes)
		}
	}
}

const (
	guesser = "203.0.113.9"
	bastion = "10.20.0.22:22"
	webHost = "10.20.0.80:80"
)

func (l *logins) brute() []Finding {
	return l.judge(NewBruteforce(DefaultBruteforce(), l.site))
}

// tries has a client try n times, one every gap.
func (l *logins) tries(n int, from, gap time.Duration, client, service string, s shape) {
	for i := range n {
		l.session(from+time.Duration(i)*gap, client, service, s)
	}
}

// Twenty tries are enough, nineteen are not; and twenty within six minutes are not.
func TestPasswordThreshold(t *testing.T) {
	for _, c := range []struct {
		n    int
		gap  time.Duration
		want []string
	}{
		{19, 5 * time.Second, nil},
		{20, 5 * time.Second, []string{"password by 203.0.113.9 on 10.20.0.22:22"}},
		{60, 16700 * time.Millisecond, nil},
		{60, 14 * time.Second, []string{"password by 203.0.113.9 on 10.20.0.22:22"}},
	} {
		l := newLogins(t)
		l.tries(c.n, 30*time.Second, c.gap, guesser, bastion, denial)
		found := l.brute()
		want(t, found, 50, c.want...)
		if len(c.want) > 0 {
			f := &found[0]
			if !f.Subject.ReturnPath || f.Count < 20 || !f.Total || f.Score != 50 || f.Attack[0] != "T1110" || f.Victim.Proto != protoTCP {
				t.Errorf("%+v", f)
			}
			if last := found[len(found)-1]; last.Count != uint64(c.n) {
				t.Errorf("%d tries are told, want %d", last.Count, c.n)
			}
		}
	}
}

// A fast tool: found in the tick of its twentieth try, told once a second, and to its end.
func TestPasswordFast(t *testing.T) {
	l := newLogins(t)
	l.tries(2000, 0, 20*time.Millisecond, guesser, bastion, shapeOf(1400, 1900, 300*time.Millisecond))
	found := l.brute()
	want(t, found, 50, "password by 203.0.113.9 on 10.20.0.22:22")
	first := time.Duration(found[0].Time - worldStart)
	if first > 900*time.Millisecond || len(found) < 38 || len(found) > 44 {
		t.Errorf("first at %s, %d findings", first, len(found))
	}
	if last := found[len(found)-1]; last.Count != 2000 || last.Score != 69 && last.Score < 69 {
		t.Errorf("%d tries, score %d", last.Count, last.Score)
	}
}

// What looks like it stays silent below medium.
func TestPasswordLookAlikes(t *testing.T) {
	for name, c := range map[string]func(*logins){
		"mistypes three times": func(l *logins) {
			l.tries(3, 0, 9*time.Second, "10.20.0.7", bastion, denial)
			l.session(40*time.Second, "10.20.0.7", bastion, shapeOf(90_000, 400_000, 10*time.Minute))
		},
		"check every minute": func(l *logins) {
			l.tries(120, 0, time.Minute, "10.20.0.5", bastion, shapeOf(1200, 1800, 200*time.Millisecond))
		},
		"check every two seconds by the clock, from inside": func(l *logins) {
			l.tries(300, 0, 2*time.Second, "10.20.0.5", "10.20.0.33:3306", shapeOf(120, 180, 5*time.Millisecond))
		},
		"IMAP every minute, five folders": func(l *logins) {
			for folder := range 3 {
				l.tries(60, time.Duration(folder)*time.Second, time.Minute, "198.51.100.7", "10.20.0.25:993", shapeOf(1300+uint64(folder)*300, 5000, time.Second))
			}
		},
		"CI with git over ssh, unlike": func(l *logins) {
			for i := range 200 {
				l.session(time.Duration(i)*3*time.Second, "10.20.0.60", "10.20.0.61:22",
					shapeOf(2600+uint64(i%7)*300, 3000+uint64(i*i%53)*200, time.Duration(i%9+1)*300*time.Millisecond))
			}
		},
		"CI with git over ssh, large": func(l *logins) {
			l.tries(200, 0, 3*time.Second, "10.20.0.60", "10.20.0.61:22", shapeOf(4000, 300_000, time.Second))
		},
		"nmap -sV": func(l *logins) {
			for i := range 16 {
				l.session(time.Duration(i)*100*time.Millisecond, guesser, "10.20.0.22:21", shapeOf(uint64(10+i*17), uint64(100+i*31), 100*time.Millisecond))
			}
		},
		"banners only": func(l *logins) { l.tries(100, 0, time.Second, guesser, bastion, shapeOf(0, 40, 50*time.Millisecond)) },
		"a browser": func(l *logins) {
			l.tries(400, 0, 200*time.Millisecond, "198.51.100.7", "10.20.0.80:443", shapeOf(1700, 5000, 2*time.Second))
		},
		"a program inside and its database, in the first hour": func(l *logins) {
			for i := range 600 {
				l.session(time.Duration(i*i%977)*300*time.Millisecond, "10.20.0.8", "10.20.0.33:3306", shapeOf(400, 700, 30*time.Millisecond))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			c(l)
			want(t, l.brute(), 50)
		})
	}
}

// The clock excuses from inside alone, and sessions that fill the time are no checks.
func TestPasswordClock(t *testing.T) {
	for _, c := range []struct {
		client string
		lasts  time.Duration
		want   int
	}{
		{"10.20.0.5", 50 * time.Millisecond, 45},
		{"10.20.0.5", 1900 * time.Millisecond, 50},
		{"198.51.100.5", 50 * time.Millisecond, 50},
	} {
		l := newLogins(t)
		l.tries(60, 0, 2*time.Second, c.client, bastion, shapeOf(1200, 1800, c.lasts))
		found := l.brute()
		if len(found) == 0 || found[0].Score != c.want {
			t.Errorf("%+v: %d findings %+v", c, len(found), found)
		}
		if c.want < 50 && !strings.Contains(strings.Join(found[0].Notes, " "), "by the clock, one every 2s") {
			t.Errorf("%q", found[0].Notes)
		}
	}
}

// Where a port is added it is watched.
func TestPasswordPorts(t *testing.T) {
	cfg := DefaultBruteforce()
	cfg.Ports = append(cfg.Ports, 443)
	l := newLogins(t)
	l.tries(50, 0, time.Second, guesser, "10.20.0.80:443", shapeOf(1700, 5000, time.Second))
	want(t, l.judge(NewBruteforce(cfg, l.site)), 50, "password by 203.0.113.9 on 10.20.0.80:443")
	l = newLogins(t)
	for i := range 400 { // a browser at the same port
		l.session(time.Duration(i)*200*time.Millisecond, "198.51.100.7", "10.20.0.80:443", shapeOf(1500+uint64(i%5)*400, 1000+uint64(i*i%97)*150, time.Second))
	}
	want(t, l.judge(NewBruteforce(cfg, l.site)), 50)
}

// SSH at any port is a login service: by what the connections open with, not by the port. The first session says so when it ends; from
// then on beginnings count, too, so that a check by the clock is known for what it is.
func TestPasswordOpening(t *testing.T) {
	for _, c := range []struct {
		name string
		app  conn.App
		want []string
	}{
		{"SSH", conn.AppSSH, []string{"password by 203.0.113.9 on 10.20.0.22:2222"}},
		{"nothing that is known", conn.AppNone, nil},
		{"HTTP", conn.AppHTTP, nil},
	} {
		l := newLogins(t)
		s := denial
		s.app = c.app
		l.tries(60, 0, 3*time.Second, guesser, "10.20.0.22:2222", s)
		found := l.brute()
		want(t, found, 50, c.want...)
		if len(found) > 0 && (!found[0].Subject.ReturnPath || found[0].Count > 21 || !slices.Contains(found[0].Notes, noteOpening)) {
			t.Errorf("%s: %+v", c.name, found[0])
		}
		got := l.site.ServiceName(netip.MustParseAddr("10.20.0.22"), protoTCP, 2222)
		if got != c.app.String() {
			t.Errorf("%s: the service is called %q", c.name, got)
		}
	}
	l := newLogins(t)
	s := shapeOf(1500, 2000, 200*time.Millisecond)
	s.app = conn.AppSSH
	l.tries(200, 0, 4*time.Second, "10.20.0.7", "10.20.0.22:2222", s)
	want(t, l.brute(), 50) // from inside, by the clock
	for range 3 {
		l.site.Observe(&tally.Epoch{Pairs: []tally.Pair{{Key: loginKey(guesser, "10.20.0.22:2222"), Apps: conn.AppTLS.Set()}}})
	}
	if got := l.site.ServiceName(netip.MustParseAddr("10.20.0.22"), protoTCP, 2222); got != "ssh" {
		t.Errorf("a stray client renames the service: %q", got)
	}
	l = newLogins(t) // one connection that says SSH, forged by whom it serves, makes no tries of others' connections
	s = denial
	s.app = conn.AppSSH
	l.session(0, "203.0.113.66", "10.20.0.22:9000", s)
	s.app = conn.AppNone
	l.tries(60, time.Second, 3*time.Second, guesser, "10.20.0.22:9000", s)
	want(t, l.brute(), 1)
}

// A source that always does so: learned within a day while it is low, silent afterwards, and found when it does six times as
// much. The attacker next to it is found at once.
func TestPasswordUsual(t *testing.T) {
	l := newLogins(t)
	const hours = 30
	at := time.Duration(0)
	for i := 0; at < hours*time.Hour; i++ {
		l.session(at, "10.20.0.8", "10.20.0.33:3306", shapeOf(400, 700, 30*time.Millisecond))
		at += time.Duration(2000+i*i%1500) * time.Millisecond
	}
	for i := range 4000 {
		l.session(hours*time.Hour+time.Duration(i)*200*time.Millisecond+time.Duration(i*i%7)*10*time.Millisecond, "10.20.0.8", "10.20.0.33:3306",
			shapeOf(400, 700, 30*time.Millisecond))
	}
	l.tries(30, 29*time.Hour, 2*time.Second, "10.20.0.66", "10.20.0.33:3306", shapeOf(120, 180, 1900*time.Millisecond))
	found := l.brute()
	want(t, found, 50, "password by 10.20.0.66 on 10.20.0.33:3306", "password by 10.20.0.8 on 10.20.0.33:3306")
	if n := slices.IndexFunc(found, func(f Finding) bool { return f.Score >= 50 }); n > 0 {
		t.Log(time.Duration(found[n].Time-worldStart), found[n].Summary)
	}
	for i := range found {
		after := time.Duration(found[i].Time - worldStart)
		if found[i].Subject.Prefix.Addr().String() == "10.20.0.8" && after > 25*time.Hour+time.Minute && after < hours*time.Hour {
			t.Fatalf("told after %s: %s", after, found[i].Summary)
		}
	}
}

// Sixty addresses with few tries each are stuffing where a baseline is known, and not where they are few, unlike, of several
// prints, or known to the service.
func TestStuffing(t *testing.T) {
	const service = "10.20.0.25:993"
	for name, c := range map[string]struct {
		sources int
		shape   func(i int) shape
		from    string
		want    []string
	}{
		"found":         {60, func(int) shape { return shapeOf(900, 4200, time.Second) }, "203.0.113.%d", []string{"stuffing on 10.20.0.25:993"}},
		"few":           {15, func(int) shape { return shapeOf(900, 4200, time.Second) }, "203.0.113.%d", nil},
		"unlike":        {60, func(i int) shape { return shapeOf(900+uint64(i%7)*200, 2000+uint64(i%11)*400, time.Second) }, "203.0.113.%d", nil},
		"many prints":   {60, func(i int) shape { s := shapeOf(900, 4200, time.Second); s.print = uint64(i%4 + 1); return s }, "203.0.113.%d", nil},
		"known clients": {60, func(int) shape { return shapeOf(900, 4200, time.Second) }, "198.51.100.%d", nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			for i := range 60 * 20 { // two hours of users, ten a minute, each now and then
				l.session(time.Duration(i)*6*time.Second, fmt.Sprintf("198.51.100.%d", i%61+1), service, shape{900 + uint64(i%9)*100, 3000 + uint64(i%13)*500, time.Second, uint64(i % 3), 0})
			}
			for try := range 5 {
				for i := range c.sources {
					l.session(2*time.Hour+time.Duration(try*c.sources+i)*200*time.Millisecond, fmt.Sprintf(c.from, i+1), service, c.shape(i))
				}
			}
			want(t, l.brute(), 50, c.want...)
		})
	}
}

// While nothing is known of a service it takes a hundred sources.
func TestStuffingCold(t *testing.T) {
	for n, found := range map[int]bool{80: false, 160: true} {
		l := newLogins(t)
		for i := range n * 3 {
			l.session(time.Duration(i)*150*time.Millisecond, fmt.Sprintf("203.0.%d.%d", i%n/100, i%n%100+1), bastion, denial)
		}
		var kinds []string
		if found {
			kinds = []string{"stuffing on 10.20.0.22:22"}
		}
		want(t, l.brute(), 50, kinds...)
	}
}

// TestWebLogin is the HTTP form.
func TestWebLogin(t *testing.T) {
	form := func(l *logins, n int, gap time.Duration, client string, post ask, get bool) {
		for i := range n {
			at := time.Duration(i)*gap + time.Duration(i*i%11)*15*time.Millisecond
			if get {
				l.request(at, client, webHost, ask{path: "/login", status: 200})
			}
			l.request(at+10*time.Millisecond, client, webHost, post)
		}
	}
	basic := ask{path: "/admin", status: 401}
	for name, c := range map[string]struct {
		do   func(l *logins)
		want []string
	}{
		"401":      {func(l *logins) { form(l, 20, time.Second, guesser, basic, false) }, []string{"web_login by 203.0.113.9 on 10.20.0.80:80"}},
		"19 × 401": {func(l *logins) { form(l, 19, time.Second, guesser, basic, false) }, nil},
		"three mistakes": {func(l *logins) {
			form(l, 3, 5*time.Second, guesser, basic, false)
			form(l, 50, 5*time.Second, guesser, ask{path: "/admin", status: 200}, false)
		}, nil},
		"401 before each 200 (curl --anyauth)": {func(l *logins) {
			form(l, 200, time.Second, guesser, basic, false)
			form(l, 200, time.Second, guesser, ask{path: "/admin", status: 200}, false)
		}, nil},
		"403 of many paths is probing": {func(l *logins) {
			for i := range 200 {
				l.request(time.Duration(i)*time.Second, guesser, webHost, ask{path: fmt.Sprint(i), status: 403})
			}
		}, nil},
		"POST and redirect, with the form before": {
			func(l *logins) { form(l, 25, time.Second, guesser, ask{method: 2, path: "/login", status: 302}, true) },
			[]string{"web_login by 203.0.113.9 on 10.20.0.80:80"},
		},
		"POST answered by 200": {
			func(l *logins) {
				form(l, 320, 200*time.Millisecond, guesser, ask{method: 2, path: "/wp-login.php", status: 200}, true)
			},
			[]string{"web_login by 203.0.113.9 on 10.20.0.80:80"},
		},
		"fewer POSTs while nothing is known": {func(l *logins) {
			form(l, 200, time.Second, guesser, ask{method: 2, path: "/wp-login.php", status: 200}, true)
		}, nil},
		"a page that talks by POST": {func(l *logins) {
			for i := range 12 {
				l.request(time.Duration(i)*100*time.Millisecond, guesser, webHost, ask{path: fmt.Sprint("/part", i), status: 200})
			}
			form(l, 600, 300*time.Millisecond, guesser, ask{method: 2, path: "/graphql", status: 200}, false)
		}, nil},
		"log shipper inside": {func(l *logins) {
			form(l, 600, 200*time.Millisecond, "10.20.0.9", ask{method: 2, path: "/_bulk", status: 200}, false)
		}, nil},
		"expired credentials inside, by the clock": {func(l *logins) {
			for i := range 100 {
				l.request(time.Duration(i)*5*time.Second, "10.20.0.9", webHost, basic)
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			c.do(l)
			found := l.brute()
			want(t, found, 50, c.want...)
			if len(c.want) > 0 && !found[0].Subject.ReturnPath {
				t.Error("return path is not proven")
			}
		})
	}
}

// Behind a trusted proxy the client is named, without a return path; the proxy never is.
func TestWebLoginVia(t *testing.T) {
	l := newLogins(t)
	for i := range 40 {
		l.request(time.Duration(i)*time.Second, guesser, webHost, ask{path: "/admin", status: 401, via: "10.20.0.2"})
	}
	found := l.brute()
	want(t, found, 50, "web_login by 203.0.113.9 on 10.20.0.80:80")
	if found[0].Subject.ReturnPath || !strings.Contains(strings.Join(found[0].Notes, " "), "10.20.0.2") {
		t.Errorf("%+v", found[0])
	}
	l = newLogins(t)
	for i := range 40 {
		l.request(time.Duration(i)*time.Second, guesser, webHost, ask{path: "/admin", status: 401, noPeer: true})
	}
	if found = l.brute(); len(found) == 0 || found[0].Subject.ReturnPath {
		t.Error("a return path that was not seen is proven")
	}
}

// Many clients of a service that POST a lot are usual there; one that posts six times as much is not.
func TestWebPostsUsual(t *testing.T) {
	l := newLogins(t)
	for i := range 3000 {
		l.request(time.Duration(i)*300*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%40+1), webHost, ask{method: 2, path: "/api", status: 200})
	}
	for i := range 300 {
		l.request(10*time.Minute+time.Duration(i)*200*time.Millisecond, guesser, webHost, ask{method: 2, path: "/api", status: 200})
	}
	found := l.brute()
	want(t, found, 50, "web_login by 203.0.113.9 on 10.20.0.80:80")
	if len(found) > 0 && (found[0].Why[0].Baseline == nil || found[0].Why[0].Value > 200) {
		t.Errorf("%+v", found[0].Why)
	}
}

func TestBruteforceCheck(t *testing.T) {
	good := DefaultBruteforce()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*BruteforceConfig){
		"ports":      func(c *BruteforceConfig) { c.Ports = []uint16{0} },
		"tries":      func(c *BruteforceConfig) { c.Tries = 2 },
		"window":     func(c *BruteforceConfig) { c.Window = time.Second },
		"posts":      func(c *BruteforceConfig) { c.Posts = 0 },
		"sources":    func(c *BruteforceConfig) { c.StuffingSources = 1 },
		"multiplier": func(c *BruteforceConfig) { c.Multiplier = math.NaN() },
		"quiet":      func(c *BruteforceConfig) { c.Quiet = 0 },
		"pairs":      func(c *BruteforceConfig) { c.Pairs = 7 },
		"services":   func(c *BruteforceConfig) { c.Services = 1 << 21 },
	} {
		c := DefaultBruteforce()
		if spoil(&c); c.Check() == nil {
			t.Errorf("%s is not checked", name)
		}
	}
}

// Settings change while it runs: a lower threshold finds what it had counted.
func TestReconfigureBruteforce(t *testing.T) {
	l := newLogins(t)
	l.tries(12, 0, 5*time.Second, guesser, bastion, denial)
	l.session(70*time.Second, guesser, bastion, denial)
	a := NewBruteforce(DefaultBruteforce(), l.site)
	var found []Finding
	for _, e := range l.epochs() {
		if e.Start() > worldStart+65e9 {
			reconfigured(t, a, func(cfg *Config) { cfg.Bruteforce.Tries = 10 })
		}
		a.Judge(e, func(f *Finding) { found = append(found, *f) })
	}
	if len(found) != 1 || found[0].Count != 13 {
		t.Errorf("%d findings", len(found))
	}
}
