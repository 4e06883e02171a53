package analyzers

import (
	"fmt"
	"math"
	"testing"
	"time"
)

func (l *logins) http() []Finding { return l.judge(NewHTTP(DefaultHTTP(), l.site)) }

// visits are requests of users for pages that are there, a request each gap, by forty users with four browsers.
func (l *logins) visits(from, gap time.Duration, n int) {
	for i := range n {
		l.request(from+time.Duration(i)*gap+time.Duration(i*i%17)*5*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%40+1), webHost,
			ask{path: fmt.Sprint("/page", i%30), status: 200, agent: fmt.Sprint("browser", i%40%4)})
	}
}

func TestHTTPProbing(t *testing.T) {
	probe := func(l *logins, n int, client string, hits int) {
		for i := range n {
			status := 404
			if i < hits {
				status = 200
			}
			l.request(time.Duration(i)*50*time.Millisecond, client, webHost, ask{path: fmt.Sprint("/word", i), status: status, agent: "ffuf"})
		}
	}
	for name, c := range map[string]struct {
		do   func(l *logins)
		want []string
	}{
		"wordlist":                {func(l *logins) { probe(l, 400, guesser, 12) }, []string{"probing by 203.0.113.9 on 10.20.0.80:80"}},
		"twelve":                  {func(l *logins) { probe(l, 12, guesser, 0) }, nil},
		"crawler with a few dead": {func(l *logins) { probe(l, 400, guesser, 370) }, nil},
		"one missing icon, often": {func(l *logins) {
			for i := range 300 {
				l.request(time.Duration(i)*time.Second, guesser, webHost, ask{path: "/favicon.ico", status: 404})
			}
		}, nil},
		"package proxy, inside": {func(l *logins) { probe(l, 400, "10.20.0.9", 0) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			c.do(l)
			found := l.http()
			want(t, found, 50, c.want...)
			if len(c.want) > 0 && (!found[0].Subject.ReturnPath || found[0].Time-worldStart > int64(5*time.Second)) {
				t.Errorf("%+v", found[0])
			}
		})
	}
}

// Clients of a service that often ask for what is not there are usual; one that asks for ten times as much is not.
func TestHTTPProbingUsual(t *testing.T) {
	l := newLogins(t)
	for i := range 4000 {
		client := i % 50
		l.request(time.Duration(i)*250*time.Millisecond, fmt.Sprintf("198.51.100.%d", client+1), webHost, ask{path: fmt.Sprint(client, i/50%16), status: 404})
	}
	want(t, l.http(), 50)
	l = newLogins(t)
	for i := range 4000 {
		client := i % 50
		l.request(time.Duration(i)*250*time.Millisecond, fmt.Sprintf("198.51.100.%d", client+1), webHost, ask{path: fmt.Sprint(client, i/50%16), status: 404})
	}
	for i := range 600 {
		l.request(900*time.Second+time.Duration(i)*100*time.Millisecond, guesser, webHost, ask{path: fmt.Sprint("w", i), status: 404})
	}
	want(t, l.http(), 50, "probing by 203.0.113.9 on 10.20.0.80:80")
}

func TestHTTPAgentsOfOne(t *testing.T) {
	for name, c := range map[string]struct {
		agent func(i int) string
		want  []string
	}{
		"rotating":                 {func(i int) string { return fmt.Sprint("agent", i%30) }, []string{"agents by 203.0.113.9 on 10.20.0.80:80"}},
		"one":                      {func(int) string { return "curl" }, nil},
		"users behind one address": {func(i int) string { return fmt.Sprint("agent", i/12%20) }, nil},
		"thirty users at once":     {func(i int) string { return fmt.Sprint("agent", i%8/2+i/100*4) }, nil},
		"five":                     {func(i int) string { return fmt.Sprint("agent", i%5) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			for i := range 200 {
				l.request(time.Duration(i)*50*time.Millisecond, guesser, webHost, ask{path: fmt.Sprint(i), status: 200, agent: c.agent(i)})
			}
			found := l.http()
			want(t, found, 30, c.want...)
			want(t, found, 50)
		})
	}
}

// A User-Agent that nobody had before, from sixty addresses, is a crowd; users of the browsers that are known, and users that come
// with a new one little by little, are none.
func TestHTTPAgentsOfMany(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(l *logins)
		want []string
	}{
		"swarm": {func(l *logins) {
			for i := range 300 {
				l.request(10*time.Minute+time.Duration(i)*300*time.Millisecond, fmt.Sprintf("203.0.113.%d", i%60+1), webHost, ask{path: "/", status: 200, agent: "swarm"})
			}
		}, []string{"agents on 10.20.0.80:80"}},
		"rush of a known browser": {func(l *logins) {
			for i := range 900 {
				l.request(10*time.Minute+time.Duration(i)*100*time.Millisecond, fmt.Sprintf("203.0.113.%d", i%200+1), webHost, ask{path: "/", status: 200, agent: "browser2"})
			}
		}, nil},
		"a new browser over hours": {func(l *logins) {
			for i := range 200 * 30 {
				if user := i % 200; user*30 < i { // one user more in each round
					l.request(10*time.Minute+time.Duration(i)*2*time.Second, fmt.Sprintf("203.0.113.%d", user+1), webHost, ask{path: "/", status: 200, agent: "browser5"})
				}
			}
		}, nil},
		"ten": {func(l *logins) {
			for i := range 300 {
				l.request(10*time.Minute+time.Duration(i)*300*time.Millisecond, fmt.Sprintf("203.0.113.%d", i%10+1), webHost, ask{path: "/", status: 200, agent: "swarm"})
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			l.visits(0, 500*time.Millisecond, 8*3600)
			c.do(l)
			want(t, l.http(), 50, c.want...)
		})
	}
}

// A rush on a service that is not known yet is no crowd.
func TestHTTPFlashCrowdCold(t *testing.T) {
	l := newLogins(t)
	for i := range 3000 {
		l.request(time.Duration(i)*10*time.Millisecond, fmt.Sprintf("198.51.%d.%d", 100+i%3, i%200+1), webHost, ask{path: "/", status: 200, agent: "curl"})
	}
	want(t, l.http(), 25)
}

func TestHTTPMethods(t *testing.T) {
	l := newLogins(t)
	for i := range 14 {
		l.request(time.Duration(i)*time.Second, guesser, webHost, ask{method: 8 + i%3, path: "/", status: 405})
	}
	found := l.http()
	want(t, found, 25, "methods by 203.0.113.9 on 10.20.0.80:80")
	want(t, found, 50)
	// PROPFIND that a service has had for more than an hour.
	l = newLogins(t)
	for i := range 1500 {
		l.request(time.Duration(i)*5*time.Second, fmt.Sprintf("198.51.100.%d", i%40+1), webHost, ask{method: 9, path: "/dav", status: 207})
	}
	found = l.http()
	want(t, found, 25)
	l = newLogins(t)
	l.visits(0, 10*time.Second, 800)
	for i := range 30 { // DELETE at a site that never had one
		l.request(2*time.Hour+time.Duration(i)*time.Second, guesser, webHost, ask{method: 4, path: "/page1", status: 405})
	}
	want(t, l.http(), 25, "methods by 203.0.113.9 on 10.20.0.80:80")
}

func TestHTTPErrors(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(l *logins)
		want []string
	}{
		"a release that breaks": {func(l *logins) {
			for i := range 400 {
				l.request(10*time.Minute+time.Duration(i)*50*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%40+1), webHost, ask{path: "/page1", status: 500})
			}
		}, []string{"errors on 10.20.0.80:80"}},
		"missing pages that all ask for": {func(l *logins) {
			for i := range 400 {
				l.request(10*time.Minute+time.Duration(i)*50*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%40+1), webHost, ask{path: "/page1", status: 404})
			}
		}, []string{"errors on 10.20.0.80:80"}},
		"one client's": {func(l *logins) {
			for i := range 400 {
				l.request(10*time.Minute+time.Duration(i)*50*time.Millisecond, guesser, webHost, ask{path: "/x", status: 404})
			}
		}, nil},
		"two seconds": {func(l *logins) {
			for i := range 40 {
				l.request(10*time.Minute+time.Duration(i)*50*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%40+1), webHost, ask{path: "/page1", status: 500})
			}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogins(t)
			l.visits(0, 150*time.Millisecond, 5000)
			for i := range 100 { // what there is always
				l.request(time.Duration(i)*7*time.Second, "198.51.100.3", webHost, ask{path: "/old", status: 404})
			}
			c.do(l)
			want(t, l.http(), 50, c.want...)
		})
	}
}

func TestHTTPSpike(t *testing.T) {
	for rate, kinds := range map[int][]string{200: {"spike on 10.20.0.80:80"}, 30: nil} {
		l := newLogins(t)
		l.visits(0, 150*time.Millisecond, 5000)
		for i := range rate * 8 {
			l.request(10*time.Minute+time.Duration(i)*time.Second/time.Duration(rate), fmt.Sprintf("198.51.100.%d", i%40+1), webHost,
				ask{path: "/page1", status: 200, agent: "browser1"})
		}
		want(t, l.http(), 50, kinds...)
	}
	l := newLogins(t) // cold: held
	for i := range 2000 {
		l.request(time.Duration(i)*5*time.Millisecond, fmt.Sprintf("198.51.100.%d", i%40+1), webHost, ask{path: "/page1", status: 200, agent: "browser1"})
	}
	want(t, l.http(), 25)
}

// Behind a trusted proxy the clients are named, without a return path.
func TestHTTPVia(t *testing.T) {
	l := newLogins(t)
	for i := range 100 {
		l.request(time.Duration(i)*50*time.Millisecond, guesser, webHost, ask{path: fmt.Sprint(i), status: 404, via: "10.20.0.2"})
	}
	found := l.http()
	want(t, found, 50, "probing by 203.0.113.9 on 10.20.0.80:80")
	if len(found) == 0 || found[0].Subject.ReturnPath {
		t.Error("a header proves no return path")
	}
}

func TestHTTPCheck(t *testing.T) {
	good := DefaultHTTP()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*HTTPConfig){
		"missing":  func(c *HTTPConfig) { c.Missing = 1 },
		"methods":  func(c *HTTPConfig) { c.Methods = 0 },
		"agents":   func(c *HTTPConfig) { c.AgentsEach = 1 },
		"sources":  func(c *HTTPConfig) { c.Sources = 1 },
		"window":   func(c *HTTPConfig) { c.Window = 0 },
		"errors":   func(c *HTTPConfig) { c.ErrorsPerSecond = 0 },
		"requests": func(c *HTTPConfig) { c.RequestsPerSecond = math.Inf(1) },
		"surge":    func(c *HTTPConfig) { c.Surge = 0 },
		"quiet":    func(c *HTTPConfig) { c.Quiet = 0 },
		"clients":  func(c *HTTPConfig) { c.Clients = 1 },
		"services": func(c *HTTPConfig) { c.Services = 1 << 20 },
	} {
		c := DefaultHTTP()
		if spoil(&c); c.Check() == nil {
			t.Errorf("%s is not checked", name)
		}
	}
}
