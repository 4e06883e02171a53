package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/sensor/alert"
)

const rightToken = "the-right-token-of-this-test"

// house is a server that a test asks, and its drops.
type house struct {
	*Server
	url    string
	client *http.Client

	mu   sync.Mutex
	asks []string // what was asked of drops
	fail error
	drop Drop
}

// newHouse serves on loopback, unless change says otherwise. What it started has ended when the test does.
func newHouse(t *testing.T, change func(*Options)) *house {
	t.Helper()
	before := goleak.IgnoreCurrent()
	h := &house{drop: Drop{ID: "00000000000000aa", Target: "203.0.113.7", Gates: []DropGate{}}}
	opt := Options{
		Config: Config{Listen: "127.0.0.1:0"}, Token: rightToken, Host: "host", Drops: h, Log: slog.New(slog.DiscardHandler),
		Status: func() *Status {
			return &Status{Mode: "run", Interfaces: []Interface{}, Loss: Loss{Causes: map[string]uint64{}}, NotReady: []string{}}
		},
	}
	if change != nil {
		change(&opt)
	}
	var err error
	if h.Server, err = New(opt); err != nil {
		t.Fatal(err)
	}
	h.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		h.client.CloseIdleConnections()
		goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")) // half a second of net/http's own
	})
	return h
}

// open begins to serve.
func (h *house) open(t *testing.T) *house {
	t.Helper()
	l, err := net.Listen("tcp", h.opt.Config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	h.Serve(l)
	scheme := "http"
	if h.opt.Config.Certificate != "" {
		scheme = "https"
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	h.url = scheme + "://127.0.0.1:" + port
	return h
}

func (h *house) asked(format string, args ...any) (*Drop, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asks = append(h.asks, fmt.Sprintf(format, args...))
	if h.fail != nil {
		return nil, h.fail
	}
	d := h.drop
	return &d, nil
}

func (h *house) List(context.Context) (*DropList, error) {
	return &DropList{Drops: []Drop{h.drop}, Wanted: 1, Enforced: 1}, nil
}

func (h *house) Add(_ context.Context, ask Ask, by string) (*Drop, error) {
	return h.asked("add %s %s %s %d %s by %s", ask.Target, ask.For, ask.Action, ask.Rate, ask.Reason, by)
}

func (h *house) Remove(_ context.Context, id, reason, by string) (*Drop, error) {
	return h.asked("remove %s %s by %s", id, reason, by)
}

func (h *house) Approve(_ context.Context, id, reason, by string) (*Drop, error) {
	return h.asked("approve %s %s by %s", id, reason, by)
}

// request makes one; headers are "Name: value".
func (h *house) request(t *testing.T, method, path, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
	return r
}

// reply is an answer, whose body was read.
type reply struct {
	Proto, Status          string
	ProtoMajor, StatusCode int
	Header                 http.Header
}

// ask sends a request and reads the answer.
func (h *house) ask(t *testing.T, method, path, body string, headers ...string) (reply, string) {
	t.Helper()
	r, err := h.client.Do(h.request(t, method, path, body, headers...))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{r.Proto, r.Status, r.ProtoMajor, r.StatusCode, r.Header}, string(text)
}

// get reads JSON, which must be there.
func (h *house) get(t *testing.T, path string, into any) {
	t.Helper()
	r, text := h.ask(t, http.MethodGet, path, "")
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s: %s", path, r.Status, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("%s: %v: %s", path, err, text)
	}
}

const withToken = "Authorization: Bearer " + rightToken

// some is a revision of an alert.
func some(id, rev int) *alert.Alert {
	return &alert.Alert{
		Schema: alert.Schema, ID: fmt.Sprintf("%016x", id), Rev: rev, Analyzer: "scan", Kind: "vertical", Severity: alert.Medium, Sensor: "s",
		Why: []alert.Measure{}, Summary: fmt.Sprintf("alert %d", id),
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// took is how many alerts the hub has taken in.
func (h *house) took() uint64 {
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	return h.hub.seq
}
