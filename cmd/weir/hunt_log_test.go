package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/sensor/alert"
	"weir/sensor/traffic/truth"
)

// shopPattern is the AccessLogValve pattern of the log that shopLog writes.
const shopPattern = `%h %l %u %t "%r" %s %b %D "%{Referer}i" "%{User-Agent}i"`

// shop writes the access log of a shop for a day: browsers by the time of day, a crawler, a monitor, a partner's interface and a nightly
// export; and attacks, each from clients of its own but the download.
type shop struct {
	chance *rand.Rand
	lines  []shopLine
	start  time.Time
	truth  truth.File
}

type shopLine struct {
	at   time.Time
	text string
}

var shopAgents = []string{
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
	"Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
	"Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
}

// shopLog writes a day with so many visits, and returns what is true in it.
func shopLog(seed uint64, visits int, w io.Writer) (*truth.File, error) {
	s := &shop{chance: rand.New(rand.NewPCG(seed, 0x73686f70)), start: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}
	for range visits {
		s.visit(s.address("198.51.0.0"), s.daytime())
	}
	s.machines()
	s.stuffing()
	s.pathScan()
	s.injections()
	s.download()
	s.traversal()
	slices.SortStableFunc(s.lines, func(a, b shopLine) int { return a.at.Compare(b.at) })
	out := bufio.NewWriter(w)
	for _, line := range s.lines {
		fmt.Fprintln(out, line.text)
	}
	s.truth.Site = truth.Site{Schema: truth.Schema, Seed: seed, First: alert.Time(s.start.UnixNano()), Last: alert.Time(s.start.Add(26 * time.Hour).UnixNano()), Attacks: len(s.truth.Attacks)}
	return &s.truth, out.Flush()
}

// daytime is a time of the day, most likely in the evening.
func (s *shop) daytime() time.Time {
	for {
		at := s.chance.Float64() * 24
		if s.chance.Float64() < 0.55-0.45*math.Cos((at-8)/24*2*math.Pi) {
			return s.start.Add(time.Duration(at * float64(time.Hour)))
		}
	}
}

func (s *shop) address(base string) netip.Addr {
	b := netip.MustParseAddr(base).As4()
	b[2], b[3] = byte(s.chance.IntN(256)), byte(1+s.chance.IntN(254))
	return netip.AddrFrom4(b)
}

func (s *shop) line(at time.Time, ip netip.Addr, request string, status, size int, took float64, agent string) {
	bytes := "-"
	if size > 0 {
		bytes = fmt.Sprint(size)
	}
	s.lines = append(s.lines, shopLine{at, fmt.Sprintf(`%s - - [%s] "%s HTTP/1.1" %d %s %d "-" "%s"`, ip, at.Format("02/Jan/2006:15:04:05 -0700"), request, status, bytes, int(took), agent)})
}

// size is around a middle, within a factor of three for most.
func (s *shop) size(middle float64) int { return int(middle * math.Exp(s.chance.NormFloat64()*0.4)) }
func (s *shop) took(ms float64) float64 { return ms * math.Exp(s.chance.NormFloat64()*0.5) }

// visit is what a browser does in some minutes.
func (s *shop) visit(ip netip.Addr, at time.Time) {
	agent := shopAgents[s.chance.IntN(len(shopAgents))]
	get := func(path string, status int, middle, ms float64) {
		s.line(at, ip, path, status, s.size(middle), s.took(ms), agent)
		at = at.Add(time.Duration(s.chance.ExpFloat64() * 0.2 * float64(time.Second)))
	}
	get("GET /", 200, 14e3, 20)
	for _, asset := range []string{"css/site.css", "js/app.js", "img/logo.svg", "img/hero.jpg"} {
		if s.chance.IntN(2) == 0 {
			get("GET /static/"+asset, []int{200, 304}[s.chance.IntN(2)], 30e3, 3)
		}
	}
	if s.chance.IntN(30) == 0 {
		get("GET /favicon.ico", 404, 700, 2)
	}
	for range 2 + s.chance.IntN(12) {
		at = at.Add(time.Duration((3 + s.chance.ExpFloat64()*20) * float64(time.Second)))
		switch s.chance.IntN(10) {
		case 0, 1:
			words := []string{"lamp", "chair", "oak table", "green sofa", "shelf 80cm", "kid's bed"}
			q := strings.NewReplacer(" ", "+", "'", "%27").Replace(words[s.chance.IntN(len(words))])
			get(fmt.Sprintf("GET /search?q=%s&page=%d", q, 1+s.chance.IntN(4)), 200, 22e3, 60)
		case 2:
			get("POST /cart/add", 302, 300, 25)
			get("GET /cart", 200, 9e3, 25)
		case 3:
			if s.chance.IntN(4) == 0 {
				get("POST /login", 401, 2e3, 90)
			}
			get("POST /login", 302, 300, 110)
			get("GET /account", 200, 11e3, 40)
		case 4:
			get("GET /category/"+[]string{"living", "kitchen", "garden", "office"}[s.chance.IntN(4)], 200, 26e3, 45)
		case 5:
			if s.chance.IntN(8) == 0 {
				get(fmt.Sprintf("GET /product/%d", 90000+s.chance.IntN(999)), 404, 3e3, 15) // an old link
			}
			fallthrough
		default:
			id := 1000 + s.chance.IntN(4000)
			get(fmt.Sprintf("GET /product/%d", id), 200, 18e3, 35)
			get(fmt.Sprintf("GET /images/product/%d/large.jpg", id), 200, 140e3, 8)
		}
	}
}

// machines are those that belong there.
func (s *shop) machines() {
	monitor, partner, crawler := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("203.0.113.66")
	for at := s.start; at.Before(s.start.Add(24 * time.Hour)); at = at.Add(time.Minute) {
		s.line(at, monitor, "GET /health", 200, 15, s.took(1), "check_http/2.3.3")
		if at.Minute()%15 == 0 {
			s.line(at, partner, "GET /api/stock?since="+fmt.Sprint(at.Unix()), 200, s.size(90e3), s.took(200), "partner-sync/4.1")
		}
		if s.chance.IntN(2) == 0 {
			s.line(at.Add(7*time.Second), crawler, fmt.Sprintf("GET /product/%d", 1000+s.chance.IntN(4000)), 200, s.size(18e3), s.took(35),
				"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)")
		}
	}
	s.line(s.start.Add(3*time.Hour), partner, "GET /api/export/full", 200, s.size(60e6), s.took(9000), "partner-sync/4.1") // each night
}

// attack notes what is true.
func (s *shop) attack(kind string, ip netip.Addr, first, last time.Time) {
	s.truth.Attacks = append(s.truth.Attacks, truth.Attack{
		ID: fmt.Sprintf("l%03d", len(s.truth.Attacks)+1), Analyzer: "http", Kind: kind, Subject: &alert.Party{IP: ip},
		First: alert.Time(first.UnixNano()), Last: alert.Time(last.UnixNano()), Tool: "the generator of this test",
	})
}

// stuffing tries names and passwords of others, from three addresses, with a browser's User-Agent.
func (s *shop) stuffing() {
	begin := s.daytime()
	for range 3 {
		ip, at := s.address("45.83.0.0"), begin
		for range 120 + s.chance.IntN(80) {
			status := 401
			if s.chance.IntN(60) == 0 {
				status = 302
			}
			s.line(at, ip, "POST /login", status, s.size(2e3), s.took(90), shopAgents[0])
			at = at.Add(time.Duration(s.chance.ExpFloat64() * 6 * float64(time.Second)))
		}
		s.attack("stuffing", ip, begin, at)
	}
}

// pathScan asks for what other sites have.
func (s *shop) pathScan() {
	ip, begin := s.address("141.98.0.0"), s.daytime()
	at := begin
	first := []string{"admin", "wp-admin", "phpmyadmin", ".git", "backup", "old", "test", "dev", "manager", "cgi-bin", "vendor", "config", "api", "server", "owa"}
	last := []string{"", "login.php", "index.php", "config.bak", "HEAD", "setup.php", ".env", "html", "status", "db.sql", "dump.zip", "console", "shell.jsp", "info.php"}
	for _, a := range first {
		for _, b := range last {
			status := 404
			if s.chance.IntN(25) == 0 {
				status = 403
			}
			s.line(at, ip, "GET /"+a+"/"+b, status, s.size(900), s.took(3), "Mozilla/5.0 zgrab/0.x")
			at = at.Add(time.Duration(s.chance.ExpFloat64() * 0.7 * float64(time.Second)))
		}
	}
	s.attack("paths", ip, begin, at)
}

// injections looks for SQL that comes through.
func (s *shop) injections() {
	ip, begin := s.address("185.220.0.0"), s.daytime()
	at := begin
	for i := range 60 {
		probe := []string{
			"%27%20OR%20%271%27=%271", "1%27%20AND%20SLEEP(5)--%20-", "%27%20UNION%20SELECT%20NULL,NULL,NULL--", "1)%20AND%20(SELECT%20*%20FROM%20users)",
			"%27;WAITFOR%20DELAY%20%270:0:5%27--", "x%27%20AND%20EXTRACTVALUE(1,CONCAT(0x7e,VERSION()))--",
		}[i%6]
		status := []int{200, 200, 500, 400}[s.chance.IntN(4)]
		s.line(at, ip, fmt.Sprintf("GET /search?q=lamp%s&page=%d", probe, i), status, s.size(5e3), s.took(150), "sqlmap/1.8#stable (https://sqlmap.org)")
		at = at.Add(time.Duration(s.chance.ExpFloat64() * 3 * float64(time.Second)))
	}
	s.attack("sql", ip, begin, at)
}

// download takes all there is, by two clients that have browsed before.
func (s *shop) download() {
	for range 2 {
		ip, at := s.address("198.51.0.0"), s.daytime()
		s.visit(ip, at.Add(-time.Hour))
		first := at
		for range 3 {
			s.line(at, ip, "GET /account/export?all=1", 200, s.size(2.5e9), s.took(400e3), shopAgents[1])
			at = at.Add(8 * time.Minute)
		}
		s.attack("download", ip, first, at)
	}
}

// traversal looks for files outside of the site, a dozen times.
func (s *shop) traversal() {
	ip, begin := s.address("91.240.0.0"), s.daytime()
	at := begin
	for i := range 12 {
		s.line(at, ip, "GET /images/"+strings.Repeat("..%2f", 2+i%5)+"etc/passwd", []int{400, 404}[i%2], s.size(800), s.took(2), "curl/8.5.0")
		at = at.Add(time.Duration(2+s.chance.ExpFloat64()*5) * time.Second)
	}
	s.attack("traversal", ip, begin, at)
}
