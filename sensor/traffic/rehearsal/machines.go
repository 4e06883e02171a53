package rehearsal

import (
	"fmt"
	"time"
)

// machines lets the hosts do what they do by themselves.
func (g *generator) machines() {
	all := append(append(append(append([]*host(nil), g.workstations...), g.telephones...), g.printers...), g.servers...)
	for _, h := range all {
		g.every(17*time.Minute, 4*time.Second, func(now int64) { g.clocked(now, h) })
	}
	for _, h := range append(append([]*host(nil), g.workstations...), g.servers...) {
		g.every(6*time.Hour, 40*time.Minute, func(now int64) { g.update(now, h) })
		g.every(30*time.Minute, 3*time.Minute, func(now int64) { g.reputation(now, h) })
	}
	for _, h := range g.servers {
		g.every(time.Minute, 50*time.Millisecond, func(now int64) { g.ping(now, g.monitor, h, 1, true) })
		g.every(2*time.Minute, 20*time.Millisecond, func(now int64) { g.scrape(now, h) })
		g.habit(always, 90*time.Second, func(now int64) { g.log(now, h) })
	}
	g.checks()
	g.databases()
	g.nightly()
	g.dead()
	g.lan(all)
}

// clocked asks for the time: servers outside, the others the site's own.
func (g *generator) clocked(now int64, h *host) {
	to := g.clock
	if h == g.clock {
		to = pick(g.r, g.pool)
	}
	x := g.udp(now, h, to, 123)
	x.sport = 123
	x.ask(append([]byte{0x23, 2, 10, 0xe9}, make([]byte, 44)...), 0)
	x.answer(30*time.Microsecond, append([]byte{0x24, 2, 10, 0xe9}, make([]byte, 44)...), 0)
	x.end()
}

// update asks the system's maker for news; now and then there is some.
func (g *generator) update(now int64, h *host) {
	v := &g.vendors[map[*system]int{windows: 0, macos: 1, linux: 2}[h.system]]
	now = g.lookup(now, h, v.name, typeA)
	t := g.dial(now, h, pick(g.r, v.hosts), 443)
	t.tls(h.client, v.name)
	t.sealed(0, 700)
	t.sealed(1, 1500+g.r.IntN(3000))
	if g.r.IntN(5) == 0 {
		t.sealed(0, 300)
		t.sealed(1, int(span(g.r, 100e3, 5e6)))
	}
	t.close(0)
}

// reputation asks what browsers and virus scanners ask: little, of the same servers, at the same pace.
func (g *generator) reputation(now int64, h *host) {
	v := &g.vendors[3+g.r.IntN(2)]
	now = g.lookup(now, h, v.name, typeA)
	t := g.dial(now, h, v.hosts[0], 443)
	t.tls(h.client, v.name)
	t.sealed(0, 310)
	t.sealed(1, 420)
	t.close(0)
}

// scrape reads metrics of a server.
func (g *generator) scrape(now int64, h *host) {
	if h == g.metrics {
		return
	}
	t := g.dial(now, g.metrics, h, 9100)
	t.get("GET", fmt.Sprintf("%s:9100", h.addr()), "/metrics", "Prometheus/2.51.0", 200, 9000+g.r.IntN(1500))
	t.close(0)
}

// log sends lines to the log server, which never answers.
func (g *generator) log(now int64, h *host) {
	x := g.udp(now, h, g.logs, 514)
	x.sport = 40000 + uint16(h.ip4[3])
	for range 1 + g.r.IntN(3) {
		x.list = append(x.list, message{x.now, 0, int32(90 + g.r.IntN(160)), []byte("<30>Jan  1 00:00:00 ")})
		x.now += 30_000
	}
	x.end()
}

// checks are those of the monitoring: each service is tried once in five minutes.
func (g *generator) checks() {
	try := func(h *host, ports ...uint16) {
		for _, p := range ports {
			g.every(5*time.Minute, 30*time.Millisecond, func(now int64) {
				t := g.dial(now, g.monitor, h, p)
				switch p {
				case 8080:
					t.get("GET", h.name+".site.example", "/health", "check_http/v2.3.3 (monitoring-plugins 2.3.3)", 200, 20)
				case 443, 993, 465:
					t.tls(openssl, h.name+".site.example")
				}
				t.close(0)
			})
		}
	}
	for _, h := range g.webs {
		try(h, 8080)
	}
	try(g.balancer, 80, 443)
	try(g.mail, 25, 993, 465)
	try(g.ftp, 21)
	try(g.proxy, 3128)
	try(g.files1, 445)
	try(g.files2, 445)
	try(g.directory1, 389, 88)
	try(g.directory2, 389, 88)
	try(g.postgres, 5432)
	try(g.mysql, 3306)
	try(g.mssql, 1433)
	try(g.cache, 6379)
	try(g.git, 22, 443)
	try(g.builds, 8443)
	try(g.wiki, 443)
	try(g.app, 8080, 443)
	try(g.chat, 443)
	try(g.bastion, 22)
	try(g.desktop, 3389)
	for _, h := range g.printers {
		try(h, 9100)
	}
}

// databases keep connections for an hour, with questions of the applications in them.
func (g *generator) databases() {
	for _, c := range []struct {
		from, to *host
		port     uint16
	}{
		{g.app, g.postgres, 5432},
		{g.wiki, g.postgres, 5432},
		{g.webs[0], g.mysql, 3306},
		{g.webs[1], g.mysql, 3306},
		{g.webs[2], g.mysql, 3306},
		{g.app, g.mssql, 1433},
		{g.webs[0], g.cache, 6379},
		{g.chat, g.cache, 6379},
		{g.git, g.postgres, 5432},
		{g.builds, g.git, 443},
	} {
		g.every(time.Hour, time.Minute, func(now int64) {
			t := g.dial(now, c.from, c.to, c.port)
			for t.now < now+int64(58*time.Minute) {
				t.say(0, nil, 80+g.r.IntN(600))
				t.wait(span(g.r, 200e3, 20e6))
				t.say(1, nil, int(span(g.r, 100, 9e3)))
				t.wait(span(g.r, 1e9, 60e9))
			}
			t.close(0)
		})
	}
}

// nightly are the backups: every server to the backup host from one o'clock on, and that to the known destination outside at four.
func (g *generator) nightly() {
	day := int64(24 * time.Hour)
	midnight := g.start - g.start%day
	for i, h := range g.servers {
		if h == g.backup {
			continue
		}
		first := midnight + int64(time.Hour) + int64(i)*int64(6*time.Minute)
		g.daily(first, func(now int64) {
			t := g.dial(now, h, g.backup, 22)
			t.ssh(0, true)
			t.say(0, nil, 9_000_000+g.r.IntN(6_000_000))
			t.say(1, nil, 100)
			t.close(0)
		})
	}
	g.daily(midnight+int64(4*time.Hour), func(now int64) {
		t := g.dial(g.lookup(now, g.backup, "vault.backup.example", typeA), g.backup, g.vault, 443)
		t.tls(goTLS, "vault.backup.example")
		t.sealed(0, 70_000_000+g.r.IntN(20_000_000))
		t.sealed(1, 300)
		t.close(0)
	})
}

// daily is once a day at about a time.
func (g *generator) daily(first int64, do func(now int64)) {
	if first < g.start {
		first += int64(24 * time.Hour)
	}
	g.queue.push(first, func(now int64) int64 {
		do(now + g.r.Int64N(int64(3*time.Minute)))
		first += int64(24 * time.Hour)
		return first
	})
}

// dead are hosts that are gone and still asked for: an old printer (refused by nobody), a server switched off, a service outside
// that refuses.
func (g *generator) dead() {
	for _, i := range []int{4, 40, 93} {
		u := g.workstations[i]
		g.every(5*time.Minute, 5*time.Second, func(now int64) { g.attempts(now, u, g.gone[0], 9100, false) })
		g.habit(office, time.Hour, func(now int64) { g.attempts(now, u, g.gone[1], 445, false) })
		g.habit(office, 30*time.Minute, func(now int64) { g.attempts(now, u, g.gone[2], 443, true) })
	}
}

// sharing is one user who shares files with strangers: a third of them is gone.
func (g *generator) sharing(u *host) {
	g.often(office, 5*time.Minute, func(now int64) {
		for range 3 + g.r.IntN(6) {
			p := pick(g.r, g.peers)
			port := uint16(6881 + int(p.ip4[3])*37)
			now += int64(span(g.r, 100e6, 20e9))
			alive := p.ip4[2]%3 != 0
			g.at(now, func(now int64) { g.strange(now, u, p, port, alive) })
		}
	})
}

// strange asks a peer for others, and those who answer for data.
func (g *generator) strange(now int64, u, p *host, port uint16, alive bool) {
	x := g.udp(now, u, p, port)
	x.sport = 6881
	x.ask([]byte("d1:ad2:id20:"), 104)
	if alive {
		x.answer(time.Millisecond, []byte("d1:rd2:id20:"), 280)
	}
	x.end()
	if g.r.IntN(2) == 0 {
		return
	}
	if !alive {
		g.attempts(now+50e6, u, p, port, p.ip4[1]%2 == 0)
		return
	}
	t := g.dial(now+200e6, u, p, port)
	t.say(0, []byte("\x13BitTorrent protocol"), 68)
	t.say(1, []byte("\x13BitTorrent protocol"), 68)
	for range 2 + g.r.IntN(6) {
		t.say(0, nil, 17)
		t.say(1, nil, 16397)
	}
	t.close(0)
}

// reversed is an address as names of its reverse zone have it.
func reversed(h *host) string {
	a := h.ip4
	return fmt.Sprintf("%d.%d.%d.%d", a[3], a[2], a[1], a[0])
}
