package sensor

import (
	"bytes"
	"net/netip"
	"strings"
	"unsafe"

	"weir/analyzers/fingerprint"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/hello"
)

// reader holds the parsers' memory.
type reader struct {
	client   hello.ClientHello
	server   hello.ServerHello
	request  hello.Request
	response hello.Response
	ssh      hello.SSH
	dns      hello.DNS
	quic     hello.Opener
	name     [hello.MaxNameText]byte
	shown    [hello.MaxNameText + 32]byte
	text     [64]byte
	domains  [1024]struct {
		hash uint64 // of a name
		n    uint16 // bytes of it that are its registered domain
	}
	seen tally.OpeningSeen
}

// maxPipelined is how many requests or responses of one segment are read.
const maxPipelined = 8

// opens reads what a direction opened with, b from its first byte on, and tells it or keeps it for more.
func (o *openings) opens(e *opening, s *stream, w *seen, b []byte) {
	switch e.kind {
	case hello.KindTLS:
		o.tls(s, w, b)
	case hello.KindSSH:
		o.sshBegins(s, w, b)
	case hello.KindHTTP:
		if w.side == 0 {
			o.requests(e, s, w, b)
		} else {
			o.responses(e, s, w, b)
		}
	case hello.KindDNS:
		o.messages(s, w, b)
	}
}

// more tells whether the rest of an opening is waited for.
func (o *openings) more(s *stream, w *seen, b []byte, st hello.Status, want int, readable bool) bool {
	if st != hello.NeedMore || w.cut || w.closed || len(b) >= hello.MaxOpening {
		return false
	}
	return o.keep(s, b, want, readable)
}

// finish ends the reading of a direction.
func (o *openings) finish(s *stream) {
	o.release(s)
	s.done = true
}

// tls reads a hello of either side.
func (o *openings) tls(s *stream, w *seen, b []byte) {
	r := &o.read
	if w.side == 0 {
		st, want := r.client.Parse(b)
		if o.more(s, w, b, st, want, false) {
			return
		}
		if st == hello.Done {
			print := fingerprint.JA4(&r.client, false)
			o.print(w, tally.OpeningTLS, &print, nil)
		}
	} else {
		st, want := r.server.Parse(b)
		if o.more(s, w, b, st, want, false) {
			return
		}
		if st == hello.Done {
			print := fingerprint.JA3S(&r.server)
			o.print(w, tally.OpeningTLSServer, &print, nil)
		}
	}
	o.finish(s)
}

// sshBegins reads the banner and KEXINIT of either side.
func (o *openings) sshBegins(s *stream, w *seen, b []byte) {
	r := &o.read
	st, want := r.ssh.Parse(b)
	if o.more(s, w, b, st, want, false) {
		return
	}
	if r.ssh.KexInit {
		kind := tally.OpeningSSH
		if w.side == 1 {
			kind = tally.OpeningSSHServer
		}
		print := fingerprint.SSH(&r.ssh)
		o.print(w, kind, &print, r.ssh.Software)
	}
	o.finish(s)
}

// print tells a print; text is what people know of it, nil its own.
func (o *openings) print(w *seen, kind tally.OpeningKind, print *fingerprint.Print, text []byte) {
	if print.None() {
		return
	}
	if text == nil {
		text = print.Append(o.read.text[:0])
	}
	o.read.seen = tally.OpeningSeen{
		Key:    tally.OpeningKey{Server: w.server, Hash: print.Key, Port: w.port, Proto: w.p.Key.Proto, Ver: w.p.Key.Ver, Kind: kind},
		Client: w.client, Time: w.p.Time, Text: text,
	}
	o.tally.Opening(&o.read.seen)
}

// requests reads the heads of requests. What is no head is a body: the direction goes on with the next segment.
func (o *openings) requests(e *opening, s *stream, w *seen, b []byte) {
	r := &o.read.request
	for n := 0; n < maxPipelined && len(b) > 0; n++ {
		st, want := r.Parse(b)
		if o.more(s, w, b, st, want, r.Method != nil) {
			return
		}
		if st == hello.NotThis || r.Method == nil {
			break
		}
		o.request(e, w, r)
		if st != hello.Done || r.Head == 0 || r.Head >= len(b) || r.ContentLength > 0 || r.Chunked {
			break
		}
		b = b[r.Head:]
	}
	o.release(s)
	s.begun = false // the next head may begin anywhere
}

func (o *openings) request(e *opening, w *seen, r *hello.Request) {
	e.client, e.proxy = o.speaker(w, r)
	e.path, e.method = 0, methodOf(r.Method)
	if r.Path != nil {
		e.path = o.hash(r.Path)
	}
	q := tally.Request{Key: w.key(), Via: e.proxy, Time: w.p.Time, Method: e.method, Path: e.path, Size: r.Head}
	q.Key.Client = e.client
	if r.UserAgent != nil {
		q.Agent = o.hash(r.UserAgent)
	}
	o.tally.Request(&q)
	o.agent(e, w, r)
}

// agent tells the print of an HTTP client, and whether its system is that of its SYN. Behind a proxy the SYN is the proxy's.
func (o *openings) agent(e *opening, w *seen, r *hello.Request) {
	print := fingerprint.HTTP(r)
	text := r.UserAgent
	if o.cfg.Load().RedactAgents {
		text = o.redacted(text)
	}
	who := *w
	who.client = e.client
	if len(text) == 0 {
		text = noAgent
	}
	if print.None() {
		return
	}
	seen := &o.read.seen
	*seen = tally.OpeningSeen{
		Key:    tally.OpeningKey{Server: w.server, Hash: print.Key, Port: w.port, Proto: w.p.Key.Proto, Ver: w.p.Key.Ver, Kind: tally.OpeningHTTP},
		Client: who.client, Time: w.p.Time, Text: text,
	}
	if syn, ok := o.conns.SYNOf(w.p); ok && e.proxy == (decode.Addr{}) {
		claimed, stack := fingerprint.FamilyOf(fingerprint.SystemOfAgent(r.UserAgent)), fingerprint.FamilyOfTTL(syn.TTL)
		seen.Mismatch, seen.AgentOS, seen.SYNOS = !claimed.Agrees(stack), uint8(claimed), uint8(stack)
	}
	o.tally.Opening(seen)
}

var noAgent = []byte("-")

// responses reads the heads of responses. The newest request is what is answered: with pipelining that is a guess.
func (o *openings) responses(e *opening, s *stream, w *seen, b []byte) {
	r := &o.read.response
	for n := 0; n < maxPipelined && len(b) > 0; n++ {
		st, want := r.Parse(b)
		if o.more(s, w, b, st, want, r.Status != 0) {
			return
		}
		if st == hello.NotThis || r.Status == 0 {
			break
		}
		a := tally.Response{
			Key: w.key(), Via: e.proxy, Time: w.p.Time, Status: uint16(r.Status), Path: e.path, Bytes: uint64(max(r.ContentLength, 0)), Method: e.method,
		}
		if e.client != (decode.Addr{}) {
			a.Key.Client = e.client
		}
		if r.Status >= 200 || r.Status == 101 { // the others only say that an answer will come
			o.tally.Response(&a)
		}
		length := max(r.ContentLength, 0)
		if e.method == tally.MethodHead || r.Status < 200 || r.Status == 204 || r.Status == 304 {
			length = 0 // no body, whatever the header says (RFC 9112 section 6.3)
		}
		if st != hello.Done || r.Head == 0 || r.Chunked || int64(r.Head)+length >= int64(len(b)) {
			break
		}
		b = b[int64(r.Head)+length:]
	}
	o.release(s)
	s.begun = false
}

// speaker is the client that asks, and the proxy that speaks for it. Only a trusted proxy is believed: the nearest address that
// is not itself one counts (RFC 7239 section 7.4).
func (o *openings) speaker(w *seen, r *hello.Request) (client, proxy decode.Addr) {
	trusted := o.cfg.Load().Proxies
	if trusted == nil || !trusted(w.client.Netip(w.p.Key.Ver)) {
		return w.client, decode.Addr{}
	}
	named := r.Client.Addr()
	for list := forwarded(r); !named.IsValid() && len(list) > 0; {
		var last []byte
		if i := bytes.LastIndexByte(list, ','); i >= 0 {
			list, last = list[:i], list[i+1:]
		} else {
			list, last = nil, list
		}
		a, ok := address(last)
		if !ok {
			break
		}
		if !trusted(a) {
			named = a
		}
	}
	// An address of another family than the connection's would change what Key.Ver says of both: like one that is not named, it
	// counts for the proxy.
	if named = named.Unmap(); !named.IsValid() || named.Is4() != (w.p.Key.Ver == 4) {
		return w.client, w.client
	}
	return decode.AddrFrom(named), w.client
}

// forwarded is the header that names clients.
func forwarded(r *hello.Request) []byte {
	if r.ForwardedFor != nil {
		return r.ForwardedFor
	}
	return r.Forwarded
}

// address reads an element of X-Forwarded-For or Forwarded: an address, perhaps with a port, perhaps as for="…".
func address(b []byte) (netip.Addr, bool) {
	if at := bytes.Index(b, []byte("or=")); at > 0 && b[at-1]|0x20 == 'f' {
		b = b[at+3:]
		if end := bytes.IndexByte(b, ';'); end >= 0 {
			b = b[:end]
		}
	}
	if b = bytes.Trim(b, "\" \t"); len(b) == 0 {
		return netip.Addr{}, false
	}
	text := unsafe.String(&b[0], len(b)) // errors, which would keep it, are not kept
	if a, err := netip.ParseAddr(text); err == nil {
		return a.WithZone(""), true
	}
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a.Addr().WithZone(""), true
	}
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.WithZone(""), err == nil
}

var methods = [...]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND"}

func methodOf(b []byte) tally.WebMethod {
	for i, m := range methods {
		if string(b) == m {
			return tally.WebMethod(i)
		}
	}
	return tally.MethodOther
}

// datagram reads DNS over UDP, and QUIC's first packets of a client.
func (o *openings) datagram(w *seen) {
	switch hello.Sniff(w.data, w.side == 0, w.port) {
	case hello.KindDNS:
		if st := o.read.dns.Parse(w.data); st == hello.Done {
			o.message(w, false)
			o.conns.Watch(w.p, true) // many questions may follow in one flow
		}
	case hello.KindQUIC:
		if w.side == 0 {
			o.quicInitial(w)
		}
	default:
		if len(w.data) >= tellTale {
			o.conns.Watch(w.p, false)
		}
	}
}

// quicInitial gathers a client's first datagrams until the hello is whole.
func (o *openings) quicInitial(w *seen) {
	e := o.find(w.p)
	if e == nil {
		e = o.enter(w.p, hello.KindQUIC)
	}
	s := &e.side[0]
	if e.last = w.p.Time; s.done {
		return
	}
	if s.buffer == 0 {
		if !o.keep(s, nil, 0, false) {
			o.finish(&e.side[1])
			s.done = true
			return
		}
		o.buffers[s.buffer-1].crypto = hello.Crypto{}
	}
	b := &o.buffers[s.buffer-1]
	if o.initials++; o.initials > openingInitials {
		o.lost++
		o.finish(s)
		o.finish(&e.side[1])
		return
	}
	switch o.read.quic.Initial(&b.crypto, w.data, b.bytes[:]) {
	case hello.NeedMore:
		return
	case hello.Done:
		if st, _ := o.read.client.ParseMessage(b.bytes[:b.crypto.Len()]); st == hello.Done {
			o.conns.Opened(w.p, conn.AppQUIC) // that it decrypts is proof enough
			print := fingerprint.JA4(&o.read.client, true)
			o.print(w, tally.OpeningQUIC, &print, nil)
		}
	}
	o.finish(&e.side[0])
	o.finish(&e.side[1])
}

// messages reads DNS over TCP: messages one behind the other, each after its length.
func (o *openings) messages(s *stream, w *seen, b []byte) {
	for n := 0; n < maxPipelined && len(b) > 0; n++ {
		st, want := o.read.dns.ParseTCP(b)
		if o.more(s, w, b, st, want, false) {
			return
		}
		if st != hello.Done {
			break
		}
		o.message(w, true)
		next := 2 + o.read.dns.Size
		if next >= len(b) {
			break
		}
		b = b[next:]
	}
	o.release(s)
	s.begun = false
}

// message tells a DNS question or answer. Multicast DNS asks a whole link and is nobody's resolver's.
func (o *openings) message(w *seen, tcp bool) {
	m := &o.read.dns
	if m.Questions == 0 || m.Opcode != 0 || w.port == 5353 || w.port == 5355 || w.port == 137 {
		return
	}
	name := m.Name.Append(o.read.name[:0])
	domain := o.registered(name)
	if o.cfg.Load().RedactNames {
		name, domain = o.redactName(name, domain)
	}
	client, server := w.client, w.server
	if m.Response != (w.side == 1) { // who asks is the client, whatever the connection began with
		client, server = server, client
	}
	if m.Response {
		if w.side == 1 && !tcp {
			o.conns.Opened(w.p, conn.AppDNS)
		}
		o.tally.Answer(&tally.Answer{
			Client: client, Server: server, Ver: w.p.Key.Ver, Time: w.p.Time, Name: name, Domain: domain,
			RCode: m.Rcode, Size: m.Size, Truncated: m.Truncated,
		})
		return
	}
	o.tally.Query(&tally.Query{
		Client: client, Server: server, Ver: w.p.Key.Ver, Time: w.p.Time, Name: name, Domain: domain,
		Type: m.Type, Size: m.Size, TCP: tcp,
	})
}

// registered is hello.Registered, remembered: that allocates.
func (o *openings) registered(name []byte) []byte {
	h := o.hash(name)
	k := &o.read.domains[h%uint64(len(o.read.domains))]
	if k.hash != h || int(k.n) > len(name) { // a replay's hash is no secret, and may be met on purpose
		k.hash, k.n = h, uint16(len(hello.Registered(name)))
	}
	return name[len(name)-int(k.n):]
}

// redacted is a short text that stands for another: the same of the same, under this sensor's secret.
func (o *openings) redacted(b []byte) []byte {
	const digits = "0123456789abcdef"
	h := o.hash(b)
	text := append(o.read.shown[:0], "redacted-"...)
	for i := 60; i >= 16; i -= 4 {
		text = append(text, digits[h>>i&15])
	}
	return text
}

// redactName is a name whose registered domain is redacted; what stands before it keeps its measures.
func (o *openings) redactName(name, domain []byte) (shown, below []byte) {
	text := o.redacted(domain)
	n := len(name) - len(domain)
	if n+len(text) > len(o.read.name) {
		n = 0
	}
	shown = append(o.read.name[:n], text...)
	return shown, shown[n:]
}
