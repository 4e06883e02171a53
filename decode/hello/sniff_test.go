package hello

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestSniff(t *testing.T) {
	query := string(message(t, dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: question("a.example.", dnsmessage.TypeA)}))
	reply := string(tunnelAnswer(t))
	tcp := func(s string) string { return string([]byte{0, byte(len(s))}) + s }
	long := "\xc3\x00\x00\x00\x01\x08abcdefgh\x00\x00\x44\x9e\x00\x00\x00\x02"
	for _, c := range []struct {
		what     string
		b        string
		toServer bool
		port     uint16
		want     Kind
	}{
		{"client hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true, 8443, KindTLS},
		{"client hello, five bytes", "\x16\x03\x01\x02\x00", true, 443, KindTLS},
		{"client hello behind PROXY", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n\x16\x03\x01\x02\x00\x01", true, 443, KindTLS},
		{"server hello", "\x16\x03\x03\x00\x7a\x02\x00\x00\x76", false, 443, KindTLS},
		{"server hello to a server", "\x16\x03\x03\x00\x7a\x02\x00\x00\x76", true, 443, KindUnknown},
		{"TLS application data", "\x17\x03\x03\x00\x7a\x02\x00\x00\x76", true, 443, KindUnknown},
		{"request", "GET / HTTP/1.1\r\nHost: a\r\n", true, 12345, KindHTTP},
		{"request, begun", "GET /very/long", true, 80, KindHTTP},
		{"request to a proxy", "CONNECT a.example:443 HTTP/1.1\r\n", true, 3128, KindHTTP},
		{"absolute", "GET http://a.exam", true, 3128, KindHTTP},
		{"WebDAV", "PROPFIND /x HTTP/1.1\r\n", true, 80, KindHTTP},
		{"response", "HTTP/1.1 200 OK\r\n", false, 8000, KindHTTP},
		{"request from a server", "GET / HTTP/1.1\r\n", false, 80, KindUnknown},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true, 80, KindHTTP2},
		{"RTSP", "OPTIONS rtsp://a/b RTSP/1.0\r\n", true, 554, KindUnknown},
		{"SIP", "INVITE sip:a@b SIP/2.0\r\n", true, 5060, KindUnknown},
		{"SMTP", "EHLO mail.example\r\n", true, 25, KindUnknown},
		{"FTP", "USER anonymous\r\n", true, 21, KindUnknown},
		{"IRC", "NICK /x\r\n", true, 6667, KindUnknown},
		{"SSH", "SSH-2.0-OpenSSH_9.2p1\r\n", false, 2222, KindSSH},
		{"SSH client", "SSH-2.0-Go\r\n", true, 22, KindSSH},
		{"DNS query", query, true, 53, KindDNS},
		{"DNS query on another port", query, true, 5300, KindDNS},
		{"DNS query from a server", query, false, 5300, KindUnknown},
		{"DNS answer", reply, false, 53, KindDNS},
		{"DNS answer on another port", reply, false, 5300, KindDNS},
		{"DNS over TCP", tcp(query), true, 53, KindDNS},
		{"DNS over TCP on another port", tcp(query), true, 5300, KindDNS},
		{"DNS over TCP, two messages", tcp(query) + tcp(query), true, 53, KindDNS},
		{"DNS over TCP, begun", tcp(reply)[:60], false, 53, KindDNS},
		{"DNS over TCP, the length", "\x00\x1d", true, 53, KindDNS},
		{"two bytes", "\x00\x1d", true, 5300, KindUnknown},
		{"NTP on the port of DNS", "\x23\x02\x06\xe8\x00\x00\x03\xff\x00\x00\x03\x7d", true, 53, KindUnknown},
		{"QUIC", long, true, 443, KindQUIC},
		{"QUIC of another version", "\xc3\xfa\xce\xb0\x0c" + long[5:], true, 443, KindUnknown},
		{"zeros", "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", true, 9999, KindUnknown},
		{"nothing", "", true, 443, KindUnknown},
		{"a byte", "G", true, 80, KindUnknown},
	} {
		b := alone([]byte(c.b))
		if got := Sniff(b, c.toServer, c.port); got != c.want {
			t.Errorf("%s: %q, not %q", c.what, got, c.want)
		}
		noAllocs(t, c.what, func() { Sniff(b, c.toServer, c.port) })
	}
}

// Any bytes are taken for something, or nothing; what is taken for a protocol with few forms reads as that.
func FuzzSniff(f *testing.F) {
	f.Add([]byte(browser), true, uint16(80))
	f.Add(clientHello(clients["tls13"]), true, uint16(443))
	f.Add(tunnelAnswer(f), false, uint16(53))
	f.Fuzz(func(t *testing.T, b []byte, toServer bool, port uint16) {
		var m DNS
		st := NeedMore
		switch k := Sniff(alone(b), toServer, port); k {
		case KindHTTP:
			if toServer {
				st, _ = new(Request).Parse(b)
			} else {
				st, _ = new(Response).Parse(b)
			}
		case KindDNS:
			if st = m.Parse(b); st == NotThis {
				st, _ = m.ParseTCP(b)
			}
		case KindQUIC:
			if _, ok := ParseLong(b); !ok {
				st = NotThis
			}
		}
		if st == NotThis && toServer {
			t.Fatalf("%q is no such thing", b)
		}
	})
}

func BenchmarkSniff(b *testing.B) {
	for name, payload := range map[string][]byte{
		"tls": clientHello(clients["browser"]), "http": []byte(browser), "unknown": make([]byte, 1000), "ssh": []byte("SSH-2.0-Go\r\n"),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Sniff(payload, true, 4000)
			}
		})
	}
}
