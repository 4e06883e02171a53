package hunt

import (
	"math"
	"strings"
	"testing"
	"time"
)

// TestAccessLines reads the examples of Apache's and Tomcat's documentation, and what is usual beyond it.
func TestAccessLines(t *testing.T) {
	at := time.Date(2000, 10, 10, 20, 55, 36, 0, time.UTC).UnixNano()
	for _, c := range []struct {
		pattern, line string
		want          Access
	}{
		{
			"common", `127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326`, // httpd.apache.org/docs/2.4/logs.html
			Access{Time: at, Client: "127.0.0.1", User: "frank", Method: "GET", Path: "/apache_pb.gif", Protocol: "HTTP/1.0", Status: 200, Bytes: 2326, Ms: -1},
		},
		{
			"combined", `127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326 "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"`,
			Access{
				Time: at, Client: "127.0.0.1", User: "frank", Method: "GET", Path: "/apache_pb.gif", Protocol: "HTTP/1.0", Status: 200, Bytes: 2326, Ms: -1,
				Referer: "http://www.example.com/start.html", Agent: "Mozilla/4.08 [en] (Win98; I ;Nav)",
			},
		},
		{
			`%h %l %u %t "%r" %s %b %D`, `2001:db8::7 - - [10/Oct/2000:20:55:36 +0000] "POST /a%20b?x=1&y=2 HTTP/1.1" 401 - 90`,
			Access{Time: at, Client: "2001:db8::7", Method: "POST", Path: "/a%20b", Query: "x=1&y=2", Protocol: "HTTP/1.1", Status: 401, Ms: 90},
		},
		{
			`%a %v %m %U%{x}i%q %s %B %T "%{user-agent}i" %I`, `192.0.2.1 shop GET /list`, Access{}, // see below: two fields without anything between
		},
		{
			`%a|%v|%m|%U|%q|%>s|%B|%T|"%{user-agent}i"|%I`, `192.0.2.1|shop|GET|/list|?q=a|304|0|0.250|"a \"quoted\" agent"|http-nio-8080-exec-1 and more`,
			Access{Client: "192.0.2.1", Server: "shop", Method: "GET", Path: "/list", Query: "q=a", Status: 304, Ms: 250, Agent: `a \"quoted\" agent`},
		},
		{
			"combined", `192.0.2.1 - - [10/Oct/2000:20:55:36 +0000] "\x16\x03\x01" 400 226 "-" "-"`,
			Access{Time: at, Client: "192.0.2.1", Method: `\x16\x03\x01`, Status: 400, Bytes: 226, Ms: -1},
		},
	} {
		p, err := NewPattern(c.pattern, false)
		if strings.Contains(c.pattern, "%U%{x}i") {
			if err == nil {
				t.Errorf("%s: it must be refused", c.pattern)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Parse([]byte(c.line))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
		} else if *got != c.want {
			t.Errorf("%s\n got %+v\nwant %+v", c.line, *got, c.want)
		}
	}
}

// TestPatternsRefused says what a pattern lacks.
func TestPatternsRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		"%h %s":        "a request",
		`"%r" %s`:      "a client",
		`%h "%r"`:      "a status",
		`%h "%r" %s %`: "ends in a %",
		"%h%r %s":      "nothing between",
		"%h %Z %r %s":  "nothing is called %Z",
		"%h %{x":       "nothing is called %{",
	} {
		if _, err := NewPattern(pattern, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something of %q", pattern, err, want)
		}
	}
}

// TestAccessJSON reads what nginx, Tomcat's JsonAccessLogValve and Caddy write.
func TestAccessJSON(t *testing.T) {
	for name, line := range map[string]string{
		"nginx":  `{"time_iso8601":"2026-11-20T08:00:00+00:00","remote_addr":"192.0.2.1","request":"GET /a?b=1 HTTP/2.0","status":"200","body_bytes_sent":"512","request_time":"0.250","http_user_agent":"curl/8.5.0"}`,
		"tomcat": `{"host":"192.0.2.1","logicalUserName":"-","user":"-","time":"[20/Nov/2026:08:00:00 +0000]","request":"GET /a?b=1 HTTP/1.1","statusCode":"200","size":"512","elapsedTime":"250","requestHeaders":{"User-Agent":"curl/8.5.0"}}`,
		"caddy":  `{"level":"info","ts":1795161600.5,"request":{"remote_ip":"192.0.2.1","method":"GET","host":"shop","uri":"/a?b=1","headers":{"User-Agent":["curl/8.5.0"]}},"duration":0.25,"size":512,"status":200}`,
	} {
		a, err := ParseAccessJSON([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a.Client != "192.0.2.1" || a.Method != "GET" || a.Path != "/a" || a.Query != "b=1" || a.Status != 200 || a.Bytes != 512 || a.Ms != 250 || a.Agent != "curl/8.5.0" {
			t.Errorf("%s: %+v", name, a)
		}
		if at := time.Unix(0, a.Time).UTC(); at.Truncate(time.Second) != time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC) {
			t.Errorf("%s: %v", name, at)
		}
	}
	if _, err := ParseAccessJSON([]byte(`{"status":200}`)); err == nil {
		t.Error("a request of nobody must be refused")
	}
}

func FuzzAccess(f *testing.F) {
	f.Add(`%h %l %u %t "%r" %s %b %D`, `127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a?b HTTP/1.0" 200 2326 7`)
	f.Add(`%a|%U|%q|%s|"%{user-agent}i"`, `::1|/x|?|200|"a\""`)
	f.Fuzz(func(t *testing.T, pattern, line string) {
		p, err := NewPattern(pattern, true)
		if err != nil {
			return
		}
		a, err := p.Parse([]byte(line))
		if err == nil {
			vectorOf(t, a)
		}
	})
}

func FuzzAccessJSON(f *testing.F) {
	f.Add(`{"remote_addr":"192.0.2.1","request":"GET /%2e%2e/'x HTTP/2.0","status":200,"bytes":1e300,"request_time":"1e9"}`)
	f.Fuzz(func(t *testing.T, line string) {
		if a, err := ParseAccessJSON([]byte(line)); err == nil {
			vectorOf(t, a)
		}
	})
}

// vectorOf makes a vector of a line that was taken: all of its numbers must be some.
func vectorOf(t *testing.T, a *Access) {
	r := NewRequests(10)
	r.Take(a)
	r.Finish()
	v := make([]float32, len(r.Features()))
	r.Vector(0, v)
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			t.Errorf("number %d of %+v is %v", i, a, x)
		}
	}
	_ = r.Row(0)
	ByClient(r).Vector(0, v)
}

func FuzzConnection(f *testing.F) {
	f.Add(`{"ts":1767571203.668919,"id.orig_h":"10.20.1.72","id.orig_p":57890,"id.resp_h":"fd00::1","id.resp_p":9100,"proto":"tcp","duration":0.001871,"conn_state":"SF","orig_pkts":8,"orig_moments":{"n":2,"gap_us":7,"gap_sq_ms2":1}}`)
	f.Fuzz(func(t *testing.T, line string) {
		one, ok, err := ParseConnection([]byte(line))
		if err != nil || !ok {
			return
		}
		c := NewConnections(10)
		c.Take(&one)
		c.Finish()
		v := make([]float32, len(c.Features()))
		c.Vector(0, v)
		for i, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				t.Errorf("number %d is %v", i, x)
			}
		}
		_ = c.Row(0)
		ByHost(c).Vector(0, v)
	})
}

func FuzzVectors(f *testing.F) {
	f.Add("id,a,b\nx,1,2\ny,3,4e38")
	f.Add(`{"id":7,"vector":[1,-2.5]}`)
	f.Fuzz(func(t *testing.T, text string) {
		e := NewEmbeddings(100)
		for line := range strings.Lines(text) {
			_ = e.Line([]byte(line))
		}
		v := make([]float32, len(e.Features()))
		for i := range e.Len() {
			e.Vector(i, v)
			_ = e.Row(i)
		}
	})
}

// TestMomentWithoutEnd: a client chooses its user name, which may look like the field behind it.
func TestMomentWithoutEnd(t *testing.T) {
	p, err := NewPattern("common", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, time := range []string{"Inf", "+infinity", "1e308", "NaN"} {
		if _, err := p.Parse([]byte(`192.0.2.1 - x [` + time + `] [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 401 5`)); err == nil {
			t.Errorf("%s is a time", time)
		}
	}
}
