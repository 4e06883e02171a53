package web

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mark stands in requests, and never in an answer.
const mark = "zqx"

// TestRefused asks for what must be refused: each answer is JSON with the right status, every header that keeps browsers from harm, and
// nothing of what was sent.
func TestRefused(t *testing.T) {
	h := newHouse(t, nil).open(t)
	port := h.url[strings.LastIndexByte(h.url, ':'):]
	long := `{"reason":"` + strings.Repeat(mark, 16<<10/3) + `"}`
	const drop = "/api/v1/drops/00000000000000aa"
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		want                     int
	}{
		{"no token", "POST", "/api/v1/drops", "{}", nil, 401},
		{"no token, remove", "DELETE", drop, "", nil, 401},
		{"no token, approve", "POST", drop + "/approve", "{}", nil, 401},
		{"wrong token", "POST", "/api/v1/drops", "{}", []string{"Authorization: Bearer " + mark}, 401},
		{"a part of the token", "POST", "/api/v1/drops", "{}", []string{withToken[:len(withToken)-1]}, 401},
		{"another scheme", "POST", "/api/v1/drops", "{}", []string{"Authorization: Basic " + rightToken}, 401},
		{"wrong token, to read", "GET", "/api/v1/status", "", []string{"Authorization: Bearer " + mark}, 401},
		{"foreign origin", "POST", "/api/v1/drops", "{}", []string{withToken, "Origin: https://" + mark + ".example"}, 403},
		{"origin of another scheme", "POST", "/api/v1/drops", "{}", []string{withToken, "Origin: https://127.0.0.1" + port}, 403},
		{"origin of another port", "DELETE", drop, "", []string{withToken, "Origin: http://127.0.0.1:1"}, 403},
		{"origin null", "POST", "/api/v1/drops", "{}", []string{withToken, "Origin: null"}, 403},
		{"foreign origin, events", "GET", "/api/v1/events", "", []string{"Origin: https://" + mark + ".example"}, 403},
		{"another site, to read", "GET", "/api/v1/alerts", "", []string{"Sec-Fetch-Site: cross-site"}, 403},
		{"foreign host", "GET", "/api/v1/status", "", []string{"Host: " + mark + ".example"}, 403},
		{"foreign host, page", "GET", "/", "", []string{"Host: " + mark + ".example:9480"}, 403},
		{"another address as host", "GET", "/", "", []string{"Host: 192.0.2.1"}, 403},
		{"oversized", "POST", "/api/v1/drops", long, []string{withToken}, 413},
		{"no JSON", "POST", "/api/v1/drops", mark, []string{withToken}, 400},
		{"unknown field", "POST", "/api/v1/drops", `{"` + mark + `":1}`, []string{withToken}, 400},
		{"two objects", "POST", "/api/v1/drops", `{}{}`, []string{withToken}, 400},
		{"another type", "POST", "/api/v1/drops", `{"rate":"` + mark + `"}`, []string{withToken}, 400},
		{"no id", "DELETE", "/api/v1/drops/" + mark, "", []string{withToken}, 404},
		{"put", "PUT", "/api/v1/drops", "{}", []string{withToken}, 405},
		{"post to the page", "POST", "/", "{}", nil, 405},
		{"delete status", "DELETE", "/api/v1/status", "", []string{withToken}, 405},
		{"strange method", strings.ToUpper(mark), "/api/v1/status", "", []string{withToken}, 405},
		{"no such path", "GET", "/api/v1/" + mark, "", nil, 404},
		{"no such file", "GET", "/page/" + mark, "", nil, 404},
		{"folder", "GET", "/page/", "", nil, 404},
		{"dots", "GET", "/page/../guard.go?" + mark, "", nil, 404},
		{"hidden dots", "GET", "/page/%2e%2e/" + mark, "", nil, 404},
		{"double slash", "GET", "//" + mark + ".example/..", "", nil, 404},
		{"no alert", "GET", "/api/v1/alerts/00000000000000bb", "", nil, 404},
		{"strange alert", "GET", "/api/v1/alerts/" + mark, "", nil, 404},
		{"evidence by a path", "GET", "/api/v1/alerts/..%2f..%2f" + mark + "/evidence", "", nil, 404},
		{"strange limit", "GET", "/api/v1/alerts?limit=" + mark, "", nil, 400},
		{"limit too high", "GET", "/api/v1/alerts?limit=100000", "", nil, 400},
		{"strange cursor", "GET", "/api/v1/alerts?before=" + mark, "", nil, 400},
		{"strange severity", "GET", "/api/v1/alerts?severity=" + mark, "", nil, 400},
		{"strange state", "GET", "/api/v1/alerts?state=" + mark, "", nil, 400},
		{"too many words", "GET", "/api/v1/alerts?q=" + strings.Repeat("0+", 17), "", nil, 400},
		{"too long words", "GET", "/api/v1/alerts?q=" + strings.Repeat(mark, 86), "", nil, 400},
		{"strange seconds", "GET", "/api/v1/series?seconds=-1", "", nil, 400},
	} {
		h.wrong.from = map[netip.Prefix]*tries{} // one test at a time; the count of wrong tokens has a test of its own
		r, text := h.ask(t, c.method, c.path, c.body, c.headers...)
		var answer struct{ Error string }
		if err := json.Unmarshal([]byte(text), &answer); r.StatusCode != c.want || err != nil || answer.Error == "" {
			t.Errorf("%s: %s, %v: %s; want %d", c.name, r.Status, err, text, c.want)
		}
		if strings.Contains(strings.ToLower(text+fmt.Sprint(r.Header)), mark) {
			t.Errorf("%s: the answer repeats what was sent: %s %v", c.name, text, r.Header)
		}
		if (c.want == 405) != (r.Header.Get("Allow") != "") || (c.want == 401) != (r.Header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: headers %v", c.name, r.Header)
		}
		guarded(t, c.name, r)
	}
	if len(h.asks) > 0 {
		t.Errorf("something was changed: %q", h.asks)
	}
}

// guarded holds the headers of every answer.
func guarded(t *testing.T, name string, r reply) {
	t.Helper()
	for header, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
		"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := r.Header.Get(header); got != want {
			t.Errorf("%s: %s: %q", name, header, got)
		}
	}
	if r.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%s: others may read it", name)
	}
}

// TestAllowed is the other side: what must be answered is.
func TestAllowed(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Config.Names = []string{"Weir.example.org"} }).open(t)
	port := h.url[strings.LastIndexByte(h.url, ':'):]
	for _, c := range []struct {
		method, path, body string
		headers            []string
		want               int
	}{
		{"GET", "/", "", nil, 200},
		{"HEAD", "/", "", nil, 200},
		{"GET", "/", "", []string{"Sec-Fetch-Site: cross-site"}, 200}, // a link from elsewhere
		{"GET", "/page/index.html", "", []string{"Host: localhost" + port}, 200},
		{"GET", "/api/v1/status", "", []string{"Host: localhost"}, 200},
		{"GET", "/api/v1/status", "", []string{"Host: localhost:1234"}, 200}, // a tunnel
		{"GET", "/api/v1/status", "", []string{"Host: [::1]:1234"}, 200},
		{"GET", "/api/v1/status", "", []string{"Host: weir.EXAMPLE.org." + port}, 200},
		{"HEAD", "/api/v1/alerts", "", nil, 200},
		{"GET", "/api/v1/drops", "", []string{withToken}, 200},
		{"POST", "/api/v1/drops", `{"target":"203.0.113.7","for":"1h","action":"drop","rate":3,"reason":"r"}`, []string{withToken, "Origin: http://127.0.0.1" + port, "Sec-Fetch-Site: same-origin"}, 201},
		{"POST", "/api/v1/drops/00000000000000aa/approve", "", []string{withToken}, 200},
		{"DELETE", "/api/v1/drops/00000000000000aa", `{"reason":"over"}`, []string{"Authorization: bearer  " + rightToken, "Origin: http://LOCALHOST" + port, "Host: localhost" + port}, 200},
	} {
		r, text := h.ask(t, c.method, c.path, c.body, c.headers...)
		if r.StatusCode != c.want || c.method == "HEAD" && text != "" {
			t.Errorf("%s %s %q: %s: %s", c.method, c.path, c.headers, r.Status, text)
		}
		guarded(t, c.path, r)
	}
	want := []string{"add 203.0.113.7 1h drop 3 r by page@host", "approve 00000000000000aa  by page@host", "remove 00000000000000aa over by page@host"}
	if fmt.Sprint(h.asks) != fmt.Sprint(want) {
		t.Errorf("asked %q, want %q", h.asks, want)
	}
	h.fail = &Error{Status: 409, Text: "no", Guard: "gateway"}
	if r, text := h.ask(t, "POST", "/api/v1/drops", "{}", withToken); r.StatusCode != 409 || strings.TrimSpace(text) != `{"error":"no","guard":"gateway"}` {
		t.Errorf("%s %s", r.Status, text)
	}
	h.fail = errors.New("nobody")
	if r, text := h.ask(t, "POST", "/api/v1/drops", "{}", withToken); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", r.Status, text)
	}
	r, _ := h.ask(t, "GET", "/page/index.html", "")
	if again, text := h.ask(t, "GET", "/", "", "If-None-Match: "+r.Header.Get("ETag")); again.StatusCode != 304 || text != "" {
		t.Errorf("with the ETag %q: %s", r.Header.Get("ETag"), again.Status)
	}
}

// TestNoToken is a process that cannot change anything.
func TestNoToken(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.Token = "" }).open(t)
	for _, headers := range [][]string{nil, {withToken}, {"Authorization: Bearer "}} {
		if r, text := h.ask(t, "POST", "/api/v1/drops", "{}", headers...); r.StatusCode != 403 {
			t.Errorf("%s %s", r.Status, text)
		}
	}
	var st Status
	if h.get(t, "/api/v1/status", &st); st.Changes {
		t.Error("the status says that changes are possible")
	}
}

// TestReadOnly is one that cannot sign what it asks for: the token is of use to read only.
func TestReadOnly(t *testing.T) {
	h := newHouse(t, func(o *Options) { o.ReadOnly = true }).open(t)
	for _, headers := range [][]string{nil, {withToken}} {
		if r, text := h.ask(t, "DELETE", "/api/v1/drops/00000000000000aa", "", headers...); r.StatusCode != 403 || !strings.Contains(text, "weir keys new") {
			t.Errorf("%s %s", r.Status, text)
		}
	}
	var st Status
	if h.get(t, "/api/v1/status", &st); st.Changes || len(h.asks) > 0 {
		t.Errorf("changes are possible: %q", h.asks)
	}
}

// TestWrongTokens tries tokens: after ten wrong ones an address may not go on, but the right one passes, from there and from elsewhere.
func TestWrongTokens(t *testing.T) {
	h := newHouse(t, nil).open(t)
	for i := range 13 {
		want := 401
		if i >= maxWrong {
			want = 429
		}
		if r, _ := h.ask(t, "POST", "/api/v1/drops", "{}", fmt.Sprintf("Authorization: Bearer guess%d", i)); r.StatusCode != want {
			t.Errorf("guess %d: %s", i, r.Status)
		}
	}
	if r, _ := h.ask(t, "POST", "/api/v1/drops", "{}", withToken); r.StatusCode != 201 {
		t.Errorf("the right token among guesses: %s", r.Status)
	}
	elsewhere := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	h.client.Transport.(*http.Transport).DialContext = elsewhere.DialContext
	if r, text := h.ask(t, "POST", "/api/v1/drops", "{}", withToken); r.StatusCode != 201 {
		t.Errorf("from another address: %s %s", r.Status, text)
	}
	for i := range maxStrange { // strangers from everywhere, who count as one beyond so many
		for range maxWrong {
			h.wrong.note(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), time.Now())
		}
	}
	elsewhere.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}
	if r, text := h.ask(t, "POST", "/api/v1/drops", "{}", withToken); r.StatusCode != 201 {
		t.Errorf("among strangers: %s %s", r.Status, text)
	}
	if got := h.Stats().Refused; got[WrongToken] != maxWrong || got[TooManyWrong] != 3 {
		t.Errorf("counted were %d wrong tokens and %d too many", got[WrongToken], got[TooManyWrong])
	}
}

// TestAttempts holds the bounds of what is remembered of wrong tokens.
func TestAttempts(t *testing.T) {
	a, now := newAttempts(), time.Unix(1e9, 0)
	of := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	for i := range 5 * maxStrange {
		a.note(of(i), now)
	}
	if len(a.from) > maxStrange+1 {
		t.Errorf("%d addresses are remembered", len(a.from))
	}
	if a.may(of(1<<20), now) {
		t.Error("a stranger among too many may guess")
	}
	if !a.may(of(1), now) {
		t.Error("who is known and guessed once may not go on")
	}
	if later := now.Add(wrongTime + time.Second); !a.may(of(1<<20), later) {
		t.Error("it does not end")
	} else if a.note(of(1<<20), later); len(a.from) > 1 {
		t.Errorf("%d are remembered for ever", len(a.from))
	}
	one, same := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::ffff:2")
	for range maxWrong {
		a.note(one, now)
	}
	if a.may(same, now) || !a.may(netip.MustParseAddr("2001:db8:0:1::1"), now) {
		t.Error("of IPv6 a /64 is one address")
	}
}

// TestSlow sends requests that never end: headers, and a body. The server hangs up, and answers others meanwhile.
func TestSlow(t *testing.T) {
	h := newHouse(t, nil)
	if s := h.http; s.ReadHeaderTimeout != headerTime || s.ReadTimeout != bodyTime || s.WriteTimeout != answerTime || s.IdleTimeout != idleTime || s.MaxHeaderBytes != maxHeader {
		t.Errorf("timeouts: %+v", s)
	}
	h.http.ReadHeaderTimeout, h.http.ReadTimeout = 300*time.Millisecond, 600*time.Millisecond
	h.open(t)
	for name, c := range map[string]struct {
		first, want string
		within      time.Duration
	}{
		"nothing":      {"", "", 300 * time.Millisecond},
		"headers":      {"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n", "", 300 * time.Millisecond},
		"body":         {"POST /api/v1/drops HTTP/1.1\r\nHost: localhost\r\n" + withToken + "\r\nContent-Length: 100\r\n\r\n{", "HTTP/1.1 408", 600 * time.Millisecond},
		"chunked body": {"POST /api/v1/drops HTTP/1.1\r\nHost: localhost\r\n" + withToken + "\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "HTTP/1.1 408", 600 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			begin := time.Now()
			if _, err := io.WriteString(conn, c.first); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(begin.Add(10 * time.Second))
			text, err := io.ReadAll(conn)
			took := time.Since(begin)
			if err != nil || !strings.HasPrefix(string(text), c.want) || took < c.within/2 || took > c.within+5*time.Second {
				t.Errorf("after %v: %v: %q", took, err, text)
			}
		})
	}
	big := "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, big) //nolint:errcheck // the server hangs up meanwhile
	if r, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || r.StatusCode != 431 {
		t.Errorf("oversized headers: %v %v", r, err)
	} else {
		r.Body.Close()
	}
}

// TestConnections holds the bounds of connections.
func TestConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConnections(inner, 2, 1).(*limited)
	accepted := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection is accepted")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // counts once
	third := <-accepted
	if len(l.slots) != 2 {
		t.Errorf("%d slots are taken", len(l.slots))
	}
	second.Close()
	third.Close()
	far := netip.MustParsePrefix("192.0.2.1/32")
	if !l.enter(far) || l.enter(far) || len(l.from) != 1 {
		t.Error("an address elsewhere may have more than its share")
	}
	l.Close()
	for range accepted {
	}
}

// TestEvidence hands out a file by an alert's id only.
func TestEvidence(t *testing.T) {
	dir := t.TempDir()
	id := "0123456789abcdef"
	if err := os.WriteFile(filepath.Join(dir, id+".pcapng"), []byte("frames"), 0o600); err != nil {
		t.Fatal(err)
	}
	var ids []string
	h := newHouse(t, func(o *Options) {
		o.Evidence = func(id string) string {
			ids = append(ids, id)
			name := filepath.Join(dir, id+".pcapng")
			if _, err := os.Stat(name); err != nil {
				return ""
			}
			return name
		}
	}).open(t)
	r, text := h.ask(t, "GET", "/api/v1/alerts/"+id+"/evidence", "")
	if text != "frames" || r.Header.Get("Content-Type") != "application/x-pcapng" || r.Header.Get("Content-Disposition") != `attachment; filename="`+id+`.pcapng"` {
		t.Errorf("%s %q %v", r.Status, text, r.Header)
	}
	guarded(t, "evidence", r)
	for _, bad := range []string{"0123456789abcdeF", "0123456789abcde", "0123456789abcdef0", "..%2f0123456789abcdef", "%2e%2e", "0123456789abcde%00"} {
		if r, _ := h.ask(t, "GET", "/api/v1/alerts/"+bad+"/evidence", ""); r.StatusCode != 404 {
			t.Errorf("%s: %s", bad, r.Status)
		}
	}
	if r, _ := h.ask(t, "GET", "/api/v1/alerts/00000000000000bb/evidence", ""); r.StatusCode != 404 {
		t.Errorf("without a file: %s", r.Status)
	}
	if len(ids) != 2 {
		t.Errorf("files were looked for by %q", ids)
	}
}
