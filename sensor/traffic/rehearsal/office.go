package rehearsal

import (
	"time"
)

// shares works with files: SMB, small requests and now and then a file.
func (g *generator) shares(now int64, u *host) {
	t := g.dial(now, u, pick(g.r, []*host{g.files1, g.files1, g.files2}), 445)
	t.say(0, []byte("\x00\x00\x00\xe8\xfeSMB"), 236)
	t.say(1, []byte("\x00\x00\x01\x4c\xfeSMB"), 336)
	for range 6 + g.r.IntN(30) {
		t.say(0, []byte("\x00\x00\x00\x74\xfeSMB"), 120+g.r.IntN(100))
		t.wait(span(g.r, 200e3, 5e6))
		t.say(1, []byte("\x00\x00\x00\x80\xfeSMB"), 132+g.r.IntN(400))
		if g.r.IntN(12) == 0 {
			t.say(g.r.IntN(2), nil, int(span(g.r, 4e3, 300e3)))
		}
		t.wait(span(g.r, 2e6, 8e9))
	}
	t.close(0)
}

// intranet uses the services of the office over TLS, or the old application over HTTP, which wants a password: some users mistype.
func (g *generator) intranet(now int64, u *host) {
	if g.r.IntN(3) > 0 {
		s := pick(g.r, []*host{g.wiki, g.chat, g.git, g.app})
		now = g.lookup(now, u, s.name+".site.example", typeA)
		g.secure(g.dial(now, u, s, 443), u.client, s.name+".site.example", 2+g.r.IntN(8))
		return
	}
	now = g.lookup(now, u, "app.site.example", typeA)
	t := g.dial(now, u, g.app, 8080)
	t.get("GET", "app.site.example", "/login", u.agent, 200, 2300)
	for range g.mistakes() {
		t.wait(span(g.r, 3e9, 12e9))
		t.get("POST", "app.site.example", "/login", u.agent, 401, 1200, "Content-Length: 0")
	}
	t.wait(span(g.r, 3e9, 8e9))
	t.get("POST", "app.site.example", "/login", u.agent, 302, 0, "Content-Length: 0")
	for range 1 + g.r.IntN(8) {
		t.get("GET", "app.site.example", pick(g.r, []string{"/orders", "/orders/new", "/stock", "/report"}), u.agent, 200, int(span(g.r, 500, 30e3)))
		t.wait(span(g.r, 2e9, 30e9))
	}
	t.close(0)
}

// mistakes is how often a user mistypes before the password is right.
func (g *generator) mistakes() int { return []int{0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3}[g.r.IntN(11)] }

// poll asks for mail: IMAP over TLS, mostly for nothing.
func (g *generator) poll(now int64, u *host) {
	t := g.dial(now, u, g.mail, 993)
	t.tls(u.client, "mail.site.example")
	for range 5 {
		t.sealed(0, 40+g.r.IntN(30))
		t.wait(span(g.r, 300e3, 20e6))
		t.sealed(1, 60+g.r.IntN(200))
	}
	if g.r.IntN(6) == 0 {
		t.sealed(0, 60)
		t.sealed(1, int(span(g.r, 2e3, 80e3)))
	}
	t.close(0)
	if g.r.IntN(400) == 0 { // a password that has changed: tried again some times
		for range 1 + g.r.IntN(3) {
			t := g.dial(t.now+int64(span(g.r, 5e9, 30e9)), u, g.mail, 993)
			t.tls(u.client, "mail.site.example")
			t.sealed(0, 70)
			t.wait(2 * time.Second)
			t.sealed(1, 80)
			t.close(1)
		}
	}
}

// submit hands in a mail.
func (g *generator) submit(now int64, u *host) {
	t := g.dial(now, u, g.mail, 465)
	t.tls(u.client, "mail.site.example")
	for range 5 {
		t.sealed(0, 40+g.r.IntN(50))
		t.sealed(1, 40+g.r.IntN(40))
	}
	t.sealed(0, int(span(g.r, 1e3, 300e3)))
	t.sealed(1, 60)
	t.close(0)
	if g.r.IntN(2) > 0 {
		g.deliver(t.now+2e9, g.mail, popular(g.r, g.senders))
	}
}

// receive takes a mail from outside: who sends is looked up in blocklists, and his domain for its policy.
func (g *generator) receive(now int64) {
	who := popular(g.r, g.senders)
	if g.r.IntN(4) == 0 {
		who = outside(g.r, "mx."+word(g.r)+".example", publicAddr(g.r), linux, false)
	}
	back := reversed(who)
	domain := who.name[len("mx."):]
	g.lookup(now+1e6, g.mail, back+".in-addr.arpa", typePTR)
	for _, l := range []string{"zen.blocklist.example", "bl.blocklist.example", "dnsbl2.blocklist.example"} {
		g.lookup(now+int64(span(g.r, 2e6, 9e6)), g.mail, back+"."+l, typeA)
	}
	g.lookup(now+20e6, g.mail, "mail."+domain, typeTXT)
	g.lookup(now+25e6, g.mail, "selector1._domainkey.mail."+domain, typeTXT)
	g.deliver(now, who, g.mail)
}

// deliver is SMTP from one server to another.
func (g *generator) deliver(now int64, from, to *host) {
	t := g.dial(now, from, to, 25)
	line := func(side int, text string) { t.say(side, []byte(text+"\r\n"), 0); t.wait(span(g.r, 500e3, 30e6)) }
	line(1, "220 "+to.name+" ESMTP Postfix")
	line(0, "EHLO "+from.name)
	line(1, "250-"+to.name+"\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250 8BITMIME")
	line(0, "MAIL FROM:<a@"+from.name+">\r\nRCPT TO:<b@"+to.name+">\r\nDATA")
	line(1, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>")
	t.say(0, []byte("Received: from "+from.name+"\r\n"), int(span(g.r, 1500, 200e3)))
	t.wait(span(g.r, 20e6, 500e6))
	line(1, "250 2.0.0 Ok: queued")
	line(0, "QUIT")
	line(1, "221 2.0.0 Bye")
	t.close(0)
}

// logon is what a workstation asks its directory.
func (g *generator) logon(now int64, u *host) {
	dc := pick(g.r, []*host{g.directory1, g.directory2})
	g.lookup(now, u, "_ldap._tcp.site.example", typeA)
	k := g.dial(now+3e6, u, dc, 88)
	k.say(0, nil, 1500+g.r.IntN(300))
	k.say(1, nil, 1480+g.r.IntN(300))
	k.close(0)
	t := g.dial(k.now+2e6, u, dc, 389)
	for range 4 + g.r.IntN(5) {
		t.say(0, nil, 120+g.r.IntN(300))
		t.say(1, nil, 200+g.r.IntN(2500))
	}
	t.close(0)
}

// print sends a document.
func (t *talk) print() {
	t.say(0, nil, int(span(t.g.r, 30e3, 500e3)))
	t.wait(2 * time.Second)
	t.close(0)
}

// push works with the repository over SSH, with a key.
func (g *generator) push(now int64, u *host) {
	t := g.dial(now, u, g.git, 22)
	t.ssh(0, true)
	t.say(0, nil, 300)
	t.say(1, nil, 1800+g.r.IntN(4000))
	t.say(g.r.IntN(2), nil, int(span(g.r, 500, 90e3)))
	t.say(1, nil, 100)
	t.close(0)
}

// administer is a session over SSH: passwords that are mistyped now and then, keys, output.
func (g *generator) administer(now int64, u *host) {
	t := g.dial(now, u, pick(g.r, g.servers), 22)
	if t.to.system == windows {
		t.to = g.bastion
	}
	wrong := g.mistakes()
	if wrong == 3 { // sshd ends the connection; the user comes again
		t.ssh(3, false)
		t.close(1)
		t = g.dial(t.now+int64(span(g.r, 2e9, 30e9)), u, t.to, 22)
		wrong = 0
	}
	t.ssh(wrong+1, true)
	for range 40 + g.r.IntN(200) {
		t.say(0, nil, 36)
		t.wait(span(g.r, 500e3, 3e6))
		t.say(1, nil, 36)
		if g.r.IntN(10) == 0 {
			t.say(1, nil, int(span(g.r, 100, 12e3)))
			t.wait(span(g.r, 1e9, 90e9))
		}
		t.wait(span(g.r, 60e6, 900e6))
	}
	t.close(0)
}

// call is a telephone call: SIP with the exchange, then RTP both ways, 50 packets a second.
func (g *generator) call(now int64) {
	u := pick(g.r, g.telephones)
	x := g.udp(now, u, g.exchange, 5060)
	x.sport = 5060
	x.ask([]byte("INVITE sip:200@10.20.1.80 SIP/2.0\r\n"), 900)
	x.answer(20*time.Millisecond, []byte("SIP/2.0 180 Ringing\r\n"), 500)
	x.now += int64(span(g.r, 2e9, 15e9))
	x.answer(0, []byte("SIP/2.0 200 OK\r\n"), 850)
	x.ask([]byte("ACK sip:200@10.20.1.80 SIP/2.0\r\n"), 400)
	begin := x.now
	length := int64(span(g.r, 20e9, 200e9))
	x.now += length
	x.ask([]byte("BYE sip:200@10.20.1.80 SIP/2.0\r\n"), 420)
	x.answer(10*time.Millisecond, []byte("SIP/2.0 200 OK\r\n"), 400)
	x.end()
	rtp := g.udp(begin, u, g.exchange, uint16(10000+2*g.r.IntN(500)))
	rtp.sport = uint16(16384 + 2*g.r.IntN(500))
	for at := begin; at < begin+length; at += 20e6 {
		for side := range uint8(2) {
			rtp.list = append(rtp.list, message{at + int64(side)*int64(9e6) + int64(g.r.IntN(2e6)), side, 172, rtpHead})
		}
	}
	rtp.end()
}

var rtpHead = []byte{0x80, 0}
