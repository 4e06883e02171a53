package hello

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

const browser = "GET /a/b?q=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nCookie: a=b\r\n" +
	"Authorization: Basic eA==\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.10\r\nContent-Length: 12\r\n\r\n"

func TestRequest(t *testing.T) {
	var r Request
	prefixes(t, []byte(browser), r.Parse)
	if st, _ := r.Parse([]byte(browser + "body\r\n\r\n")); st != Done || r.Head != len(browser) {
		t.Fatal(st, r.Head)
	}
	var order []string
	for i := range r.NFields {
		order = append(order, string(r.Name(i)))
	}
	for _, c := range []struct{ got, want any }{
		{string(r.Method), "GET"},
		{string(r.Target), "/a/b?q=1"},
		{string(r.Path), "/a/b"},
		{string(r.Host), "example.org"},
		{string(r.UserAgent), "Mozilla/5.0 (X11; Linux x86_64)"},
		{string(r.ForwardedFor), "192.0.2.10"},
		{strings.Join(order, " "), "Host User-Agent Accept Cookie Authorization X-Forwarded-For X-Forwarded-For Content-Length"},
		{r.Query && r.Cookie && r.Authorization && !r.Chunked && !r.Cut, true},
		{r.Minor, uint8(1)},
		{r.ContentLength, int64(12)},
		{r.Client.IsValid(), false},
	} {
		if c.got != c.want {
			t.Errorf("%v instead of %v", c.got, c.want)
		}
	}
}

func TestTargets(t *testing.T) {
	for line, want := range map[string]string{ // path, whether there is a query
		"GET / HTTP/1.0":                      "/ false",
		"GET /x? HTTP/1.1":                    "/x true",
		"GET http://a.example/x/y?z HTTP/1.1": "/x/y true",
		"GET http://a.example HTTP/1.1":       " false",
		"CONNECT a.example:443 HTTP/1.1":      " false",
		"OPTIONS * HTTP/1.1":                  " false",
		"GET /a b HTTP/1.1":                   "/a b false",
		"M-SEARCH * HTTP/1.1":                 " false",
	} {
		var r Request
		for _, end := range []string{"\r\n\r\n", "\n\n"} {
			if st, _ := r.Parse([]byte(line + end)); st != Done || fmt.Sprintf("%s %v", r.Path, r.Query) != want {
				t.Errorf("%s: %v, path %q, query %v", line, st, r.Path, r.Query)
			}
		}
	}
}

func TestNotHTTP(t *testing.T) {
	for _, b := range []string{
		"\x16\x03\x01", "SSH-2.0-x y\r\n", "EHLO mail.example\r\n", "GET /\r\n", "GET / HTTP/2.0\r\n", "GET  HTTP/1.1\r\n", " GET / HTTP/1.1\r\n",
		"GET / RTSP/1.0\r\n", "G\x00T", strings.Repeat("A", maxMethod+1), "GET /" + strings.Repeat("a", MaxOpening),
	} {
		var r Request
		if st, _ := r.Parse([]byte(b)); st != NotThis {
			t.Errorf("%.40q: %v", b, st)
		}
	}
}

// A head that is not all there tells what is.
func TestRequestPartial(t *testing.T) {
	var r Request
	if st, want := r.Parse([]byte("POST /login HTTP/1.1\r\nHost: a\r\nUser-Ag")); st != NeedMore || want != 39 || string(r.Path) != "/login" || string(r.Host) != "a" || !r.Cut || r.Head != 0 {
		t.Errorf("%v %d %+v", st, want, r.Host)
	}
	long := "GET /x HTTP/1.1\r\nHost: a\r\nCookie: " + strings.Repeat("c", MaxOpening) + "\r\n\r\n"
	if st, want := r.Parse([]byte(long)); st != Done || want != 0 || !r.Cut || r.Head != 0 || string(r.Host) != "a" {
		t.Errorf("%v %d", st, want)
	}
	for n, host := range map[int]string{MaxFields - 1: "h", MaxFields: "", 3 * MaxFields: ""} {
		many := "GET /x HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", n) + "Host: h\r\n"
		if st, _ := r.Parse([]byte(many)); st != NeedMore || string(r.Host) != host || r.Head != 0 {
			t.Errorf("%d fields, no end: %v, %q", n, st, r.Host)
		}
		for _, end := range []string{"\r\n", "\n"} {
			prefixes(t, []byte(many+end), r.Parse)
			if st, _ := r.Parse([]byte(many + end + "a: b\n\n")); st != Done || r.NFields != MaxFields || string(r.Host) != host || r.Head != len(many)+len(end) || r.Cut {
				t.Errorf("%d fields: %v, %d, %q, head of %d", n, st, r.NFields, r.Host, r.Head)
			}
		}
	}
}

func TestResponse(t *testing.T) {
	const head = "HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 153\r\n\r\n"
	var r Response
	prefixes(t, []byte(head), r.Parse)
	if r.Parse([]byte(head + "<html>")); r.Status != 404 || string(r.Server) != "nginx" || r.ContentLength != 153 || r.Head != len(head) || r.NFields != 2 {
		t.Errorf("%+v", r)
	}
	if st, _ := r.Parse([]byte(head[:len("HTTP/1.1 404")])); st != NeedMore || r.Status != 404 {
		t.Errorf("%v %d", st, r.Status)
	}
	for _, b := range []string{"HTTP/2 200 OK", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 2000 x\r\n", "HTTP/1.1  200", "ICY 200 OK", "HTTP/1.x 200"} {
		if st, _ := r.Parse([]byte(b)); st != NotThis {
			t.Errorf("%q: %v", b, st)
		}
	}
}

// Headers of the PROXY protocol: the examples of its specification, section 2, and its limits.
func TestProxy(t *testing.T) {
	const v2 = "\r\n\r\n\x00\r\nQUIT\n"
	six := strings.Repeat("\x20\x01\x0d\xb8", 4)
	for _, c := range []struct {
		header, client string
	}{
		{"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"},
		{"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324"},
		{"PROXY TCP6 2001:db8::1 2001:db8::2 65535 65535\r\n", "[2001:db8::1]:65535"},
		{"PROXY UNKNOWN\r\n", ""},
		{"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", ""},
		{v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x01\xbb", "192.0.2.1:1234"},
		{v2 + "\x21\x21\x00\x24" + six + six + "\x04\xd2\x01\xbb", "[2001:db8:2001:db8:2001:db8:2001:db8]:1234"},
		{v2 + "\x21\x11\x00\x0f\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x01\xbb\x04\x00\x00", "192.0.2.1:1234"}, // with a TLV
		{v2 + "\x20\x00\x00\x00", ""}, // LOCAL, a health check
		{v2 + "\x21\x31\x00\x00", ""}, // UNIX
	} {
		client, n, st := Proxy([]byte(c.header))
		if st != Done || n != len(c.header) || c.client != "" && client != netip.MustParseAddrPort(c.client) || client.IsValid() != (c.client != "") {
			t.Errorf("%q: %v %d %v", c.header, client, n, st)
		}
		whole := c.header + browser
		var r Request
		prefixes(t, []byte(whole), r.Parse)
		if r.Parse([]byte(whole)); r.Client != client || r.Head != len(whole) || string(r.Name(0)) != "Host" {
			t.Errorf("%q: %v, head of %d", c.header, r.Client, r.Head)
		}
		if k := Sniff([]byte(whole), true, 80); k != KindHTTP {
			t.Errorf("%q: %v", c.header, k)
		}
	}
	for _, b := range []string{"PROXY TCP4 a b 1 2\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 70000 1\r\n", "PROXY " + strings.Repeat("x", 200), v2 + "\x11\x11\x00\x0c", v2 + "\x21\x11\xff\xff", "POST /"} {
		if _, n, st := Proxy([]byte(b)); st != NotThis || n != 0 {
			t.Errorf("%.30q: %d %v", b, n, st)
		}
	}
}

func TestHTTPAllocs(t *testing.T) {
	request, response := []byte(browser), []byte("HTTP/1.1 200 OK\r\nServer: a\r\n\r\n")
	r, s := new(Request), new(Response)
	noAllocs(t, "request", func() { r.Parse(request) })
	noAllocs(t, "response", func() { s.Parse(response) })
	proxied := []byte("PROXY TCP6 2001:db8::1 2001:db8::2 65535 65535\r\n" + browser)
	noAllocs(t, "PROXY", func() { r.Parse(proxied) })
}

func BenchmarkRequest(b *testing.B) {
	head := []byte(browser)
	var r Request
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		r.Parse(head)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(browser))
	f.Add([]byte("GET http://a.example/x?y HTTP/1.0\n\n"))
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nPOST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"))
	f.Add([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x01\xbbGET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Request
		st := lawful(t, b, r.Parse, func() bool { return r.Cut })
		if st == Done && !r.Cut && (r.Head < 14 || r.Head > len(b)) {
			t.Fatalf("head of %d bytes", r.Head)
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
		if err != nil || len(b) > MaxOpening || theirs.ProtoMajor != 1 || strange(b) || len(theirs.Method) > maxMethod {
			return
		}
		if st != Done {
			t.Fatalf("net/http reads it, we do not: %v", st)
		}
		if string(r.Method) != theirs.Method || string(r.Target) != theirs.RequestURI || int(r.Minor) != theirs.ProtoMinor {
			t.Fatalf("%q %q %d, net/http has %q %q %d", r.Method, r.Target, r.Minor, theirs.Method, theirs.RequestURI, theirs.ProtoMinor)
		}
		if string(r.UserAgent) != theirs.Header.Get("User-Agent") || r.Cookie != has(theirs.Header, "Cookie") || r.Authorization != has(theirs.Header, "Authorization") {
			t.Fatalf("%q, net/http has %v", r.UserAgent, theirs.Header)
		}
		if theirs.URL.Host == "" && string(r.Host) != theirs.Host {
			t.Fatalf("host %q, net/http has %q", r.Host, theirs.Host)
		}
		if values := theirs.Header.Values("X-Forwarded-For"); len(values) > 0 && string(r.ForwardedFor) != values[len(values)-1] {
			t.Fatalf("%q, net/http has %q", r.ForwardedFor, values)
		}
		if !r.Chunked && r.ContentLength >= 0 && r.ContentLength != theirs.ContentLength {
			t.Fatalf("length %d, net/http has %d", r.ContentLength, theirs.ContentLength)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.0 503\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Response
		st := lawful(t, b, r.Parse, func() bool { return r.Cut })
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(b)), nil)
		if err == nil {
			defer theirs.Body.Close()
		}
		if err != nil || len(b) > MaxOpening || theirs.ProtoMajor != 1 || strange(b) || theirs.StatusCode < 100 {
			return
		}
		if st != Done || r.Status != theirs.StatusCode || string(r.Server) != theirs.Header.Get("Server") {
			t.Fatalf("%v %d %q, net/http has %d %q", st, r.Status, r.Server, theirs.StatusCode, theirs.Header.Get("Server"))
		}
	})
}

func has(h http.Header, name string) bool { return h.Values(name) != nil }

// strange tells whether a header is folded over lines, or of a form that net/http mends and we pass over, or may be one too many.
func strange(b []byte) bool {
	return bytes.Count(b, []byte("\n")) > MaxFields || bytes.Contains(b, []byte("\n ")) || bytes.Contains(b, []byte("\n\t")) || bytes.Contains(b, []byte("\r\r"))
}
