package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/sensor"
	"weir/sensor/bus"
)

// serveTest serves m on a free port until the test ends, and asks it.
func serveTest(t *testing.T, m *metrics, profiles bool) (ask func(method, path, accept string) (int, http.Header, string)) {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	server, err := serveHTTP("127.0.0.1:0", m.handler(profiles), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, leaks)
	})
	return func(method, path, accept string) (int, http.Header, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+server.Addr+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		answer, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header, string(body)
	}
}

func TestHTTP(t *testing.T) {
	o := observedAll()
	o.Started = time.Now()
	ask := serveTest(t, newMetrics(o), false)
	for _, c := range []struct {
		method, path, accept string
		code                 int
		kind, text           string
	}{
		{"GET", "/", "", 200, "text/plain", "/metrics"},
		{"GET", "/metrics", "", 200, "text/plain; version=0.0.4", "\nweir_one_way 1\n"},
		{"GET", "/metrics", "application/openmetrics-text; version=1.0.0", 200, "application/openmetrics-text", "\n# EOF\n"},
		{"GET", "/metrics", "", 200, "", "\ngo_goroutines "},
		{"GET", "/metrics", "", 200, "", "\nprocess_open_fds "},
		{"HEAD", "/metrics", "", 200, "text/plain", ""},
		{"GET", "/healthz", "", 200, "text/plain", "ok\n"},
		{"GET", "/readyz", "", 200, "text/plain", "ok\n"},
		{"POST", "/metrics", "", 405, "", ""},
		{"DELETE", "/healthz", "", 405, "", ""},
		{"GET", "/debug/pprof/", "", 404, "", ""},
		{"GET", "/nothing", "", 404, "", ""},
	} {
		code, header, body := ask(c.method, c.path, c.accept)
		if code != c.code || !strings.HasPrefix(header.Get("Content-Type"), c.kind) || !strings.Contains(body, c.text) {
			t.Errorf("%s %s: %d, %s, %.300q", c.method, c.path, code, header.Get("Content-Type"), body)
		}
	}
}

func TestHTTPProfiles(t *testing.T) {
	o := observedAll()
	ask := serveTest(t, newMetrics(o), true)
	for path, text := range map[string]string{"/debug/pprof/": "heap", "/debug/pprof/goroutine?debug=1": "goroutine profile"} {
		if code, _, body := ask("GET", path, ""); code != 200 || !strings.Contains(body, text) {
			t.Errorf("%s: %d, %.200q", path, code, body)
		}
	}
}

// TestHTTPNotReady holds that both verdicts say why.
func TestHTTPNotReady(t *testing.T) {
	m := newMetrics(observed{
		Started: time.Now().Add(-time.Hour), Status: func() *sensor.Status { return nil },
		Ready: func() error { return fmt.Errorf("nats: no server") },
	})
	ask := serveTest(t, m, false)
	const stuck = "nothing was judged within 1h0m0s of the start\n"
	if code, _, body := ask("GET", "/healthz", ""); code != 503 || body != stuck {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, _, body := ask("GET", "/readyz", ""); code != 503 || body != stuck+"nats: no server\n" {
		t.Errorf("/readyz: %d %q", code, body)
	}
}

// TestHTTPSlowClient holds that a client that never ends its request is let go of, and that one cannot send headers without end.
func TestHTTPSlowClient(t *testing.T) {
	m := newMetrics(observedAll())
	server, err := serveHTTP("127.0.0.1:0", m.handler(false), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if server.ReadHeaderTimeout == 0 || server.ReadTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 {
		t.Error("a timeout is missing")
	}
	c, err := net.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nA: %s\r\n\r\n", strings.Repeat("a", 64<<10))
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of headers: %s", answer.Status)
	}
}

func TestMetricsConfig(t *testing.T) {
	if c := defaultMetrics(); c.Check() != nil || c.Listen != "127.0.0.1:9470" {
		t.Errorf("the default is %+v", c)
	}
	for listen, good := range map[string]bool{
		"": true, ":9470": true, "[::1]:9470": true, "localhost:9470": true, "127.0.0.1": false, "9470": false, "::1:9470": false, "127.0.0.1:http": false,
		"127.0.0.1:70000": false,
	} {
		if err := (&metricsConfig{listen}).Check(); (err == nil) != good {
			t.Errorf("%q: %v", listen, err)
		}
	}
}

func TestServeErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, want := range map[string]string{
		taken.Addr().String(): taken.Addr().String() + " is in use; stop who listens there (ss -ltnp), or choose another port",
		"192.0.2.1:9470":      "192.0.2.1:9470 is no address of this host",
		"9470":                "9470 is not an address to listen on; it has the form 127.0.0.1:9470",
	} {
		server, err := serveHTTP(addr, http.NotFoundHandler(), slog.New(slog.DiscardHandler))
		if err == nil {
			server.Close()
			t.Errorf("%s could be listened on", addr)
		} else if !strings.HasPrefix(err.Error(), "metrics.listen: "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// TestServeOpen holds that it is said when others can read the metrics.
func TestServeOpen(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, ":0": true, "0.0.0.0:0": true} {
		var log bytes.Buffer
		server, err := serveHTTP(addr, http.NotFoundHandler(), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Logf("%s: %v", addr, err) // a host without IPv6
			continue
		}
		server.Close()
		if got := strings.Contains(log.String(), "other hosts"); got != want {
			t.Errorf("%s: said so is %v: %s", addr, got, &log)
		}
	}
}

// TestMetricsOfBus scrapes a real bus with its server inside: what was given to it is published, and its end is told.
func TestMetricsOfBus(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := bus.Defaults()
	cfg.Listen = "127.0.0.1:0"
	b, err := bus.Open(t.Context(), cfg, bus.Identity{Site: "home", Sensor: "tap"}, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m := newMetrics(observed{
		Started: time.Now(), Status: func() *sensor.Status { return &sensor.Status{} }, Bus: b.Stats, Ready: b.Ready,
	})
	for i := range 7 {
		if err := b.Alert("scan", "high", fmt.Sprint(i, ".1"), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	b.Health(newHealthReporter(m).message(time.Now()))
	ask := serveTest(t, m, false)
	body := ""
	for until := time.Now().Add(10 * time.Second); !strings.Contains(body, "\nweir_bus_published_total{kind=\"alert\"} 7\n"); {
		if time.Now().After(until) {
			t.Fatalf("the alerts were not published:\n%s", body)
		}
		_, _, body = ask("GET", "/metrics", "")
	}
	if !strings.Contains(body, "\nweir_bus_accepted_total{kind=\"health\"} 1\n") || !strings.Contains(body, "\nweir_bus_connected 1\n") {
		t.Error(body)
	}
	if code, _, why := ask("GET", "/readyz", ""); code != 200 {
		t.Errorf("/readyz: %d %s", code, why)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if code, _, why := ask("GET", "/readyz", ""); code != 503 || strings.Count(why, "\n") != 1 {
		t.Errorf("/readyz of a closed bus: %d %q", code, why)
	}
}
