package rehearsal

import (
	"fmt"
	"strings"
	"time"
)

// people lets users of the site and visitors of its services do what they do.
func (g *generator) people() {
	for i, u := range g.workstations {
		proxied := i%2 == 0
		g.often(office, 30*time.Minute, func(now int64) { g.browse(now, u, proxied) })
		g.often(office, 50*time.Minute, func(now int64) { g.shares(now, u) })
		g.often(office, 50*time.Minute, func(now int64) { g.intranet(now, u) })
		g.often(office, 3*time.Hour, func(now int64) { g.submit(now, u) })
		g.often(office, 8*time.Hour, func(now int64) { g.dial(now, u, pick(g.r, g.printers), 9100).print() })
		g.every(5*time.Minute, 10*time.Second, func(now int64) {
			if g.r.Float64() < 1.5*office(time.Unix(0, now).UTC()) {
				g.poll(now, u)
			}
		})
		g.habit(office, 6*time.Hour, func(now int64) { g.logon(now, u) })
		if i%10 == 3 { // developers
			g.often(office, 30*time.Minute, func(now int64) { g.push(now, u) })
		}
		if i%30 == 7 { // administrators
			g.often(office, time.Hour, func(now int64) { g.administer(now, u) })
		}
	}
	for _, u := range g.guests {
		g.often(office, 40*time.Minute, func(now int64) { g.browse(now, u, false) })
	}
	g.often(abroad, 10*time.Second, g.visit)
	g.often(abroad, 40*time.Second, g.receive)
	g.often(abroad, 40*time.Minute, func(now int64) { g.download(now, pick(g.r, g.visitors)) })
	g.often(office, 12*time.Minute, g.call)
	g.sharing(g.workstations[66])
}

// browse is a while at the web: some pages with time to read them.
func (g *generator) browse(now int64, u *host, proxied bool) {
	for range 1 + g.r.IntN(5) {
		g.at(now, func(now int64) { g.page(now, u, proxied) })
		now += int64(span(g.r, 3e9, 240e9))
	}
}

// page loads a page: its site, and parts of it from content networks.
func (g *generator) page(now int64, u *host, proxied bool) {
	s := popular(g.r, g.sites)
	if g.r.IntN(25) == 0 { // a typing mistake, or a name that only another network knows
		g.lookup(now, u, pick(g.r, []string{"wpad.corp.example", word(g.r) + ".example", "www." + word(g.r) + ".example"}), typeA)
	}
	g.fetch(now, u, s.name, pick(g.r, s.hosts), s.plain, proxied, 1+g.r.IntN(4))
	for range g.r.IntN(3) {
		name := fmt.Sprintf("d%08x%05x.edgecache%d.example", g.r.Uint32N(4000)*2654435761, g.r.Uint32N(50)*7919, g.r.IntN(3))
		g.fetch(now+int64(span(g.r, 20e6, 400e6)), u, name, popular(g.r, g.edges), false, proxied, 1+g.r.IntN(4))
	}
}

// fetch asks one server for some objects, over the proxy or not.
func (g *generator) fetch(now int64, u *host, name string, server *host, plain, proxied bool, objects int) {
	who := u
	if proxied {
		who = g.proxy
	}
	now = g.lookup(now, who, name, typeA)
	if proxied && !plain { // the tunnel from the client to the proxy, whose inside is the same
		t := g.dial(now-500_000, u, g.proxy, 3128)
		t.say(0, []byte("CONNECT "+name+":443 HTTP/1.1\r\nHost: "+name+":443\r\nUser-Agent: "+u.agent+"\r\nProxy-Connection: keep-alive\r\n\r\n"), 0)
		t.wait(time.Duration(4 * server.delay))
		t.say(1, []byte("HTTP/1.1 200 Connection established\r\n\r\n"), 0)
		g.secure(t, u.client, name, objects)
		g.secure(g.dial(now, g.proxy, server, 443), u.client, name, objects)
		return
	}
	if !plain && u.client == chrome && server.ip4[3]%2 == 0 { // a site that speaks HTTP/3
		g.quic(now, u, server, name, objects)
		return
	}
	if !plain {
		g.secure(g.dial(now, u, server, 443), u.client, name, objects)
		return
	}
	t := g.dial(now, who, server, 80)
	for range objects {
		path := g.path()
		status := 200
		if g.r.IntN(12) == 0 {
			status = 304
		} else if g.r.IntN(60) == 0 {
			status = 404
		}
		t.get("GET", name, path, u.agent, status, int(span(g.r, 300, 90e3)))
		t.wait(span(g.r, 1e6, 2e9))
	}
	t.close(g.r.IntN(2))
}

// secure is TLS with some requests of HTTP/2 in it.
func (g *generator) secure(t *talk, client int, name string, objects int) {
	t.tls(client, name)
	for range objects {
		t.sealed(0, int(span(g.r, 90, 900)))
		t.wait(span(g.r, 1e6, 120e6))
		t.sealed(1, int(span(g.r, 150, 44e3)))
		t.wait(span(g.r, 1e6, 3e9))
	}
	t.close(0)
}

func (g *generator) path() string {
	return pick(g.r, []string{"/", "/index.html", "/news/", "/style.css", "/app.js", "/logo.png"}) + strings.Repeat("?", g.r.IntN(2))
}

// lookup asks a resolver, which asks outside unless it knows. It returns when the answer is there.
func (g *generator) lookup(now int64, who *host, name string, kind uint16) int64 {
	resolver := g.resolver1
	if g.r.IntN(4) == 0 {
		resolver = g.resolver2
	}
	return g.resolve(now, who, resolver, name, kind)
}

func (g *generator) resolve(now int64, who, resolver *host, name string, kind uint16) int64 {
	code, records := g.records(name, kind)
	x := g.udp(now, who, resolver, 53)
	id := uint16(g.r.Uint32())
	x.ask(question(id, name, kind), 0)
	think := span(g.r, 50e3, 300e3)
	key := resolver.name + name + string(rune(kind))
	if g.asked[key] < now {
		up := g.udp(now+2*resolver.delay, resolver, g.authority(name), 53)
		id := uint16(g.r.Uint32())
		up.ask(question(id, name, kind), 0)
		up.answer(span(g.r, 200e3, 5e6), reply(id, name, kind, code, records), 0)
		up.end()
		think += time.Duration(up.now - now)
		if len(g.asked) > 20000 { // bounded: the cache is emptied
			clear(g.asked)
		}
		g.asked[key] = now + int64(time.Minute)*int64(5+g.r.IntN(55))
	}
	x.answer(think, reply(id, name, kind, code, records), 0)
	x.end()
	return x.now + int64(span(g.r, 100e3, 2e6))
}

// records are what a name has: addresses, a text, or nothing.
func (g *generator) records(name string, kind uint16) (code byte, list [][]byte) {
	switch {
	case strings.HasSuffix(name, "blocklist.example") && g.r.IntN(12) > 0, strings.HasPrefix(name, "wpad"):
		return codeNX, nil
	case strings.Count(name, ".") == 1 && kind == typeA:
		return codeNX, nil
	case kind == typePTR:
		return codeOK, [][]byte{labels(nil, "host.example")}
	case kind == typeTXT:
		text := "v=spf1 include:_spf.example ip4:192.0.2.0/24 -all"
		return codeOK, [][]byte{append([]byte{byte(len(text))}, text...)}
	case kind == typeMX:
		return codeOK, [][]byte{labels([]byte{0, 10}, "mx.example")}
	}
	for range 1 + g.r.IntN(3) {
		a := publicAddr(g.r)
		list = append(list, a[:])
	}
	return codeOK, list
}

// authority is who knows a name.
func (g *generator) authority(name string) *host {
	for i := range g.sites {
		if g.sites[i].name == name {
			return g.sites[i].names
		}
	}
	if strings.HasSuffix(name, "blocklist.example") {
		return g.lists
	}
	return g.root
}

// visit is somebody from outside at the site's web servers, behind their load balancer.
func (g *generator) visit(now int64) {
	who := g.stranger()
	web := pick(g.r, g.webs)
	plain := g.r.IntN(2) == 0
	port := uint16(443)
	if plain {
		port = 80
	}
	t := g.dial(now, who, g.balancer, port)
	if !plain {
		t.tls(who.client, "www.site.example")
	}
	inner := g.dial(t.now, g.balancer, web, 8080)
	for range 1 + g.r.IntN(6) {
		path, status := g.visited()
		size := int(span(g.r, 300, 40e3))
		if status != 200 {
			size = 150
		}
		inner.now = max(inner.now, t.now+200_000)
		inner.get("GET", "www.site.example", path, who.agent, status, size, "X-Forwarded-For: "+who.addr().String())
		if plain {
			t.get("GET", "www.site.example", path, who.agent, status, size)
		} else {
			t.sealed(0, 300+g.r.IntN(200))
			t.now = max(t.now, inner.now)
			t.sealed(1, size+200)
		}
		t.wait(span(g.r, 20e6, 15e9))
	}
	inner.now = max(inner.now, t.now)
	t.close(0)
	inner.close(0)
}

// visited is a path of the site's own web service, and how it answers.
func (g *generator) visited() (path string, status int) {
	switch g.r.IntN(40) {
	case 0:
		return pick(g.r, []string{"/favicon.ico", "/robots.txt", "/old/page.html", "/apple-touch-icon.png"}), 404
	case 1, 2, 3:
		return pick(g.r, []string{"/style.css", "/logo.png", "/app.js"}), 304
	}
	return pick(g.r, []string{"/", "/products", "/about", "/style.css", "/logo.png", "/app.js", fmt.Sprintf("/item/%d", g.r.IntN(300))}), 200
}

// stranger is a visitor: one who came before, or a new one.
func (g *generator) stranger() *host {
	if g.r.IntN(10) < 7 {
		return popular(g.r, g.visitors)
	}
	s := []*system{phone, phone, windows, windows, macos, linux}[g.r.IntN(6)]
	return outside(g.r, "visitor", publicAddr(g.r), s, false)
}

// download takes a file from the FTP server: a control connection and one for the data.
func (g *generator) download(now int64, who *host) {
	t := g.dial(now, who, g.ftp, 21)
	line := func(side int, text string) { t.say(side, []byte(text+"\r\n"), 0); t.wait(span(g.r, 1e6, 500e6)) }
	line(1, "220 ftp.site.example ready")
	line(0, "USER anonymous")
	line(1, "331 Guest login ok, send your e-mail address as password.")
	line(0, "PASS guest@example")
	line(1, "230 Guest login ok.")
	line(0, "PASV")
	port := uint16(50000 + g.r.IntN(1000))
	line(1, fmt.Sprintf("227 Entering Passive Mode (10,20,1,26,%d,%d)", port>>8, port&255))
	line(0, "RETR pub/catalogue.pdf")
	data := g.dial(t.now, who, g.ftp, port)
	data.say(1, nil, int(span(g.r, 20e3, 900e3)))
	data.close(1)
	t.now = max(t.now, data.now)
	line(1, "226 Transfer complete.")
	line(0, "QUIT")
	line(1, "221 Goodbye.")
	t.close(1)
}
