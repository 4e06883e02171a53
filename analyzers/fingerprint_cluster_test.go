package analyzers

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"weir/analyzers/fingerprint"
	"weir/analyzers/tally"
	"weir/decode"
)

func (l *logins) prints(cfg FingerprintConfig) []Finding { return l.judge(NewFingerprint(cfg, l.site)) }

// browsers are openings of users with four browsers, one each gap.
func (l *logins) browsers(n int, gap time.Duration) {
	for i := range n {
		l.opening(time.Duration(i)*gap+time.Duration(i*i%13)*20*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%80+1), webHost, tally.OpeningTLS, uint64(1+i%80%4))
	}
}

func TestCluster(t *testing.T) {
	const from = 10 * time.Minute
	for name, c := range map[string]struct {
		do   func(l *logins)
		want []string
	}{
		"botnet": {func(l *logins) { // 40 machines, each again and again
			for i := range 400 {
				l.opening(from+time.Duration(i)*700*time.Millisecond, fmt.Sprintf("203.0.113.%d", i%40+1), webHost, tally.OpeningTLS, 99)
			}
		}, []string{"cluster on 10.20.0.80:80"}},
		"botnet, each machine once, within seconds": {func(l *logins) {
			for i := range 150 {
				l.opening(from+time.Duration(i)*30*time.Millisecond, fmt.Sprintf("203.0.113.%d", i+1), webHost, tally.OpeningTLS, 99)
			}
		}, []string{"cluster on 10.20.0.80:80"}},
		"rotation": {func(l *logins) { // two connections from each address, then the next
			for i := range 200 {
				l.opening(from+time.Duration(i)*2*time.Second+time.Duration(i*i%7)*100*time.Millisecond, fmt.Sprintf("203.0.113.%d", i/2+1), webHost, tally.OpeningTLS, 99)
			}
		}, []string{"rotation on 10.20.0.80:80"}},
		"a popular browser over as many addresses": {func(l *logins) {
			for i := range 200 {
				l.opening(from+time.Duration(i)*2*time.Second+time.Duration(i*i%7)*100*time.Millisecond, fmt.Sprintf("203.0.113.%d", i/2+1), webHost, tally.OpeningTLS, 2)
			}
		}, nil},
		"ten sources": {func(l *logins) {
			for i := range 400 {
				l.opening(from+time.Duration(i)*700*time.Millisecond, fmt.Sprintf("203.0.113.%d", i%10+1), webHost, tally.OpeningTLS, 99)
			}
		}, nil},
		"a new version over hours": {func(l *logins) {
			for i := range 80 * 80 {
				if user := i % 80; user*80 < i {
					l.opening(from+time.Duration(i)*2*time.Second, fmt.Sprintf("198.51.100.%d", user+1), webHost, tally.OpeningTLS, 99)
				}
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			l.browsers(12000, 1200*time.Millisecond)
			c.do(l)
			found := l.prints(DefaultFingerprint())
			want(t, found, 50, c.want...)
			if len(c.want) > 0 && (found[0].Subject.Prefix.IsValid() || found[0].Count < 20) {
				t.Errorf("%+v", found[0])
			}
		})
	}
}

// Clients that have prints of several kinds are one story.
func TestClusterOneStory(t *testing.T) {
	l := newLogins(t)
	for i := range 2000 {
		for kind := tally.OpeningSYN; kind <= tally.OpeningTLS; kind++ {
			l.opening(time.Duration(i)*500*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%80+1), webHost, kind, uint64(1+i%80%4))
			if i > 1000 {
				l.opening(time.Duration(i)*500*time.Millisecond, fmt.Sprintf("203.0.113.%d", i%40+1), webHost, kind, 99)
			}
		}
	}
	want(t, l.prints(DefaultFingerprint()), 50, "cluster on 10.20.0.80:80")
}

// A rush on a service that is not known yet is no crowd.
func TestClusterCold(t *testing.T) {
	l := newLogins(t)
	for i := range 3000 {
		l.opening(time.Duration(i)*50*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%200+1), webHost, tally.OpeningSYN, uint64(i%20/19+1))
	}
	want(t, l.prints(DefaultFingerprint()), 25)
}

func TestMismatch(t *testing.T) {
	for name, c := range map[string]struct {
		mine, others int
		want         []string
	}{
		"one source":     {12, 0, []string{"mismatch by 203.0.113.9 on 10.20.0.80:80"}},
		"four requests":  {4, 0, nil},
		"behind a proxy": {12, 90, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			for i := range 200 {
				client := fmt.Sprintf("198.51.100.%d", i%40+1)
				o := l.opening(time.Duration(i)*time.Second, client, webHost, tally.OpeningHTTP, uint64(1+i%4))
				if i < c.others {
					o.Mismatch, o.Mismatched = 1, decode.AddrFrom(netip.MustParseAddr(client))
				}
			}
			for i := range c.mine {
				o := l.opening(150*time.Second+time.Duration(i)*time.Second, guesser, webHost, tally.OpeningHTTP, 7)
				o.Mismatch, o.Mismatched = 1, decode.AddrFrom(netip.MustParseAddr(guesser))
				o.AgentOS, o.SYNOS = uint8(fingerprint.FamilyWindows), uint8(fingerprint.FamilyUnix)
			}
			found := l.prints(DefaultFingerprint())
			want(t, found, 25, c.want...)
			want(t, found, 50)
		})
	}
}

func TestNewPrint(t *testing.T) {
	cfg := DefaultFingerprint()
	cfg.Learn = time.Hour
	for name, c := range map[string]struct {
		protect []string
		print   uint64
		at      time.Duration
		want    []string
	}{
		"new":           {[]string{"10.20.0.80:80"}, 99, 90 * time.Minute, []string{"new by 203.0.113.9 on 10.20.0.80:80"}},
		"of the prefix": {[]string{"10.20.0.0/24"}, 99, 90 * time.Minute, []string{"new by 203.0.113.9 on 10.20.0.80:80"}},
		"known":         {[]string{"10.20.0.80"}, 2, 90 * time.Minute, nil},
		"too early":     {[]string{"10.20.0.80"}, 99, 30 * time.Minute, nil},
		"another port":  {[]string{"10.20.0.80:443"}, 99, 90 * time.Minute, nil},
		"none":          {nil, 99, 90 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Protect = c.protect
			if err := cfg.Check(); err != nil {
				t.Fatal(err)
			}
			l := newLogins(t)
			l.browsers(1000, 6*time.Second)
			for i := range 5 {
				l.opening(c.at+time.Duration(i)*time.Second, guesser, webHost, tally.OpeningTLS, c.print)
			}
			found := l.prints(cfg)
			want(t, found, 50, c.want...)
			if len(found) > 1 {
				t.Errorf("%d findings of one print", len(found))
			}
		})
	}
	cfg.Protect = []string{"server"}
	if cfg.Check() == nil {
		t.Error("a name is taken for an address")
	}
}

// The same epochs give the same findings.
func TestLoginsDeterministic(t *testing.T) {
	run := func() (out []string) {
		l := newLogins(t)
		for i := range 3000 {
			at := time.Duration(i) * 90 * time.Millisecond
			client := fmt.Sprintf("203.0.113.%d", i*i%97+1)
			l.session(at, client, bastion, denial)
			l.request(at, client, webHost, ask{method: i % 3, path: fmt.Sprint(i % 9), status: 200 + i%3*100 + i%2, agent: fmt.Sprint(i % 50)})
			l.opening(at, client, webHost, tally.OpeningTLS, uint64(i%7))
		}
		for _, a := range []Analyzer{
			NewBruteforce(DefaultBruteforce(), l.site), NewHTTP(DefaultHTTP(), l.site), NewFingerprint(DefaultFingerprint(), l.site),
		} {
			for _, f := range l.judge(a) {
				for i := range f.Why {
					f.Summary += fmt.Sprint(f.Why[i].Value, f.Why[i].Threshold)
				}
				out = append(out, fmt.Sprint(f.Kind, f.Time, f.Subject, f.Victim, f.Score, f.Count, f.First, f.Last, f.Summary))
			}
		}
		return out
	}
	if a, b := run(), run(); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("%d and %d findings differ", len(a), len(b))
	}
}
