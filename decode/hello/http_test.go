package hello

import "testing"

// heads of requests, whole: what must be read of them.
func TestRequest(t *testing.T) {
	const browser = "GET /a/b?q=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nCookie: a=b\r\n" +
		"Authorization: Basic eA==\r\nX-Forwarded-For: 192.0.2.9\r\nX-Forwarded-For: 192.0.2.10\r\nContent-Length: 12\r\n\r\nbody"
	var r Request
	if st, want := r.Parse([]byte(browser)); st != Done || want != 0 {
		t.Fatal(st, want)
	}
	for _, c := range []struct{ got, want string }{
		{string(r.Method), "GET"},
		{string(r.Target), "/a/b?q=1"},
		{string(r.Path), "/a/b"},
		{string(r.Host), "example.org"},
		{string(r.UserAgent), "Mozilla/5.0 (X11; Linux x86_64)"},
		{string(r.ForwardedFor), "192.0.2.10"},
		{string(r.Name(2)), "Accept"},
	} {
		if c.got != c.want {
			t.Errorf("%q instead of %q", c.got, c.want)
		}
	}
	if !r.Query || !r.Cookie || !r.Authorization || r.Minor != 1 || r.ContentLength != 12 || r.NFields != 8 || r.Head != len(browser)-len("body") {
		t.Errorf("%+v", r)
	}
}
