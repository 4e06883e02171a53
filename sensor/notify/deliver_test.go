package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/sensor/alert"
)

// receiver stands in for whom messages go to. behave answers the nth request, from 0; it returns whether the message counts as received.
type receiver struct {
	*httptest.Server
	behave func(n int, w http.ResponseWriter, body []byte) bool

	mu       sync.Mutex
	requests []time.Time
	got      []*Message // received and answered
	problems []error
}

var receiverSecret = []byte("0123456789abcdef0123456789abcdef")

func newReceiver(t *testing.T, behave func(n int, w http.ResponseWriter, body []byte) bool) *receiver {
	t.Helper()
	r := &receiver{behave: behave}
	r.Server = httptest.NewServer(r)
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP takes a message in, as docs/notify.md says that receivers do.
func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	m := new(Message)
	if err == nil {
		err = Verify(receiverSecret, q.Header, body, time.Now())
	}
	if err == nil {
		err = json.Unmarshal(body, m)
	}
	if err == nil && (m.ID != q.Header.Get(HeaderID) || q.Method != http.MethodPost || m.Site != "home") {
		err = fmt.Errorf("%s %s with id %s", q.Method, body, q.Header.Get(HeaderID))
	}
	r.mu.Lock()
	n := len(r.requests)
	r.requests = append(r.requests, time.Now())
	if err != nil {
		r.problems = append(r.problems, err)
	}
	r.mu.Unlock()
	counts := true
	if r.behave != nil {
		counts = r.behave(n, w, body)
	}
	if counts {
		r.mu.Lock()
		r.got = append(r.got, m)
		r.mu.Unlock()
	}
}

func (r *receiver) messages(t *testing.T) []*Message {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range r.problems {
		t.Error(err)
	}
	return slices.Clone(r.got)
}

// drop ends a connection without an answer.
func drop(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		c.Close()
	}
}

// quick are settings with which a test takes milliseconds.
func quick(t *testing.T, url string) (Config, Options, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, append(receiverSecret, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Defaults()
	c.Group.Wait, c.Group.Window, c.Group.Quiet, c.Group.MaxWindow, c.Group.PerHour = 0, 20*time.Millisecond, 60*time.Millisecond, 80*time.Millisecond, 36000
	c.Timeout, c.RetryMax, c.Attempts = 5*time.Second, 10*time.Millisecond, 3
	c.Channels = []Channel{{Name: "soc", Type: webhookType, URL: Secret(url), SecretFile: secret, Severity: "info"}}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	return c, Options{Dir: filepath.Join(dir, "queues"), Site: "home", Sensor: "tap", Log: slog.New(slog.NewTextHandler(&locked{w: log}, nil))}, log
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func open(t *testing.T, c Config, o Options) *Notifier {
	t.Helper()
	n, err := Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in 10 s it did not come that %s", what)
		}
	}
}

// revision is one of an alert.
func revision(n int, state alert.State) *alert.Alert {
	return &alert.Alert{
		ID: fmt.Sprintf("%016x", n), Rev: 1 + int(state), State: state, Time: alert.Time(time.Now().UnixNano()), Analyzer: "scan", Kind: "vertical",
		Severity: alert.High, Summary: fmt.Sprintf("alert %d", n),
		Why: []alert.Measure{{Name: "ports", Value: 120, Unit: "ports", Threshold: 25, Baseline: &alert.Baseline{Mean: 2, Stddev: 1, N: 900}}},
	}
}

// told are the ids of the events that came one by one, and the number that was counted.
func told(all []*Message) (ids []string, n uint64) {
	for _, m := range all {
		for _, e := range m.Events {
			ids = append(ids, e.ID)
		}
		if m.Digest != nil {
			n += m.Digest.Events
		} else {
			n += uint64(len(m.Events))
		}
	}
	return ids, n
}

// TestDelivery tells ten alerts, one after the other, to receivers that fail, delay and drop: all come, once and in order.
func TestDelivery(t *testing.T) {
	status := func(code int) func(int, http.ResponseWriter, []byte) bool {
		return func(n int, w http.ResponseWriter, _ []byte) bool {
			if n%3 != 2 {
				w.WriteHeader(code)
				return false
			}
			return true
		}
	}
	for _, c := range []struct {
		name   string
		behave func(n int, w http.ResponseWriter, body []byte) bool
		twice  bool // where the answer was lost
	}{
		{"all well", nil, false},
		{"500", status(500), false},
		{"503", status(503), false},
		{"408", status(408), false},
		{"429", status(429), false},
		{"too slow", func(n int, w http.ResponseWriter, _ []byte) bool {
			if n%4 == 1 {
				time.Sleep(700 * time.Millisecond)
				drop(w)
				return false
			}
			return true
		}, false},
		{"reset before the body counts", func(n int, w http.ResponseWriter, _ []byte) bool {
			if n%3 != 2 {
				drop(w)
				return false
			}
			return true
		}, false},
		{"answer lost", func(n int, w http.ResponseWriter, _ []byte) bool {
			if n%3 != 2 {
				drop(w)
			}
			return true
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, c.behave)
			cfg, o, _ := quick(t, r.URL)
			if c.name == "too slow" {
				cfg.Timeout = 500 * time.Millisecond
			}
			n := open(t, cfg, o)
			const alerts = 10
			for i := range alerts {
				n.Alert(revision(i, alert.Open))
				time.Sleep(2 * time.Millisecond)
			}
			await(t, "all is told", func() bool {
				_, told := told(distinct(r.messages(t)))
				return told == alerts
			})
			all := r.messages(t)
			if once := distinct(all); len(once) != len(all) && !c.twice {
				t.Errorf("%d messages, %d of them different", len(all), len(once))
			}
			if ids, _ := told(distinct(all)); !slices.IsSorted(ids) {
				t.Errorf("out of order: %v", ids)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// distinct leaves out what came again.
func distinct(all []*Message) (out []*Message) {
	seen := map[string]bool{}
	for _, m := range all {
		if !seen[m.ID] {
			out = append(out, m)
		}
		seen[m.ID] = true
	}
	return out
}

// TestRetryAfter: who asks to wait is not asked again before.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ []byte) bool {
		if n == 0 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return n > 0
	})
	cfg, o, _ := quick(t, r.URL)
	n := open(t, cfg, o)
	n.Alert(revision(1, alert.Open))
	await(t, "it is delivered", func() bool { return len(r.messages(t)) == 1 })
	if wait := r.requests[1].Sub(r.requests[0]); wait < time.Second {
		t.Errorf("asked again after %v", wait)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestRefused: what is refused for good is set aside after some attempts, and the next message tells it.
func TestRefused(t *testing.T) {
	t.Parallel()
	var r *receiver
	r = newReceiver(t, func(n int, w http.ResponseWriter, _ []byte) bool {
		if n < 3 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, "no_service at %s/very/secret\x1b[31m", r.URL)
		}
		return n >= 3
	})
	cfg, o, log := quick(t, r.URL+"/very/secret")
	n := open(t, cfg, o)
	n.Alert(revision(1, alert.Open))
	refused := filepath.Join(o.Dir, "soc.queue.refused")
	await(t, "it is set aside", func() bool { b, _ := os.ReadFile(refused); return bytes.HasSuffix(b, []byte("\n")) })
	n.Alert(revision(2, alert.Open))
	await(t, "the next is delivered", func() bool { return len(r.messages(t)) == 1 })
	stats, _ := n.Stats()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if m := r.messages(t)[0]; m.Aside != 1 || !strings.Contains(m.losses(), "1 message") {
		t.Errorf("it tells of %d refused", m.Aside)
	}
	if stats[0].Refused != 1 || stats[0].Failed != 3 {
		t.Errorf("%+v", stats)
	}
	if kept, _ := os.ReadFile(refused); !bytes.Contains(kept, []byte("alert 1")) || bytes.Contains(kept, []byte("secret")) {
		t.Errorf("kept: %s", kept)
	}
	for _, bad := range []string{"/very/secret", string(receiverSecret), "\x1b"} {
		if strings.Contains(log.String(), bad) {
			t.Errorf("the log shows %q:\n%s", bad, log)
		}
	}
	if !strings.Contains(log.String(), "404") {
		t.Errorf("the log does not tell why:\n%s", log)
	}
}

// TestRedirect: a redirect to another host gets nothing.
func TestRedirect(t *testing.T) {
	t.Parallel()
	other := newReceiver(t, nil)
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ []byte) bool {
		w.Header().Set("Location", other.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return false
	})
	cfg, o, _ := quick(t, r.URL)
	n := open(t, cfg, o)
	n.Alert(revision(1, alert.Open))
	await(t, "it is refused", func() bool { s, _ := n.Stats(); return s[0].Refused == 1 })
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if len(other.requests) > 0 {
		t.Error("the redirect was followed")
	}
}

// TestTLS: who shows a certificate that nobody vouches for gets nothing, and the message waits.
func TestTLS(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	r.Server = httptest.NewUnstartedServer(r)
	r.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	r.StartTLS()
	defer r.Close()
	cfg, o, log := quick(t, r.URL)
	n := open(t, cfg, o)
	n.Alert(revision(1, alert.Open))
	await(t, "attempts fail", func() bool { s, _ := n.Stats(); return s[0].Failed >= 4 })
	s, _ := n.Stats()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if len(r.requests) > 0 || s[0].Waiting != 1 || s[0].Refused > 0 || !strings.Contains(log.String(), "certificate") {
		t.Errorf("%d requests, %+v\n%s", len(r.requests), s, log)
	}
}

// TestFlood: 10,000 alerts, opened and closed, while the receiver is away and when it comes back, are at most ten messages with an end,
// and none is lost.
func TestFlood(t *testing.T) {
	t.Parallel()
	for _, away := range []bool{false, true} {
		t.Run(fmt.Sprint("away ", away), func(t *testing.T) {
			t.Parallel()
			var back sync.Map
			r := newReceiver(t, func(_ int, w http.ResponseWriter, _ []byte) bool {
				if _, ok := back.Load("back"); away && !ok {
					w.WriteHeader(http.StatusBadGateway)
					return false
				}
				return true
			})
			cfg, o, _ := quick(t, r.URL)
			cfg.Group.Window, cfg.Group.MaxWindow, cfg.Group.Quiet = 100*time.Millisecond, 2*time.Second, 300*time.Millisecond
			n := open(t, cfg, o)
			const alerts = 10_000
			for state := alert.Open; state <= alert.Closed; state += 2 {
				for i := range alerts {
					n.Alert(revision(i, state))
					if i%4000 == 3999 {
						await(t, "there is room", func() bool { return len(n.intake) == 0 })
					}
				}
			}
			if away {
				await(t, "it failed", func() bool { s, _ := n.Stats(); return s[0].Failed > 3 })
				back.Store("back", true)
			}
			await(t, "there is an end", func() bool {
				all := r.messages(t)
				return len(all) > 0 && all[len(all)-1].Type == endType
			})
			all := r.messages(t)
			last := all[len(all)-1]
			_, sum := told(all)
			t.Logf("%d messages: %s", len(all), last.Summary)
			if len(all) > 10 || sum != 2*alerts || last.Total.Opened != alerts || last.Total.Ended != alerts || last.Open != 0 || last.Missed > 0 {
				t.Errorf("%d messages, %d events told; the last: %+v", len(all), sum, last)
			}
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMissed: what comes faster than it is taken is counted, never waited for, and told.
func TestMissed(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	cfg, o, _ := quick(t, r.URL)
	n := open(t, cfg, o)
	n.mu.Lock() // nobody is handed anything
	const alerts = maxIntake + 2*maxBatch + 1000
	for i := range alerts {
		n.Alert(revision(i, alert.Open))
	}
	n.mu.Unlock()
	missed := uint64(0)
	await(t, "all is accounted for", func() bool {
		all := r.messages(t)
		_, sum := told(all)
		missed = 0
		for _, m := range all {
			missed += m.Missed
		}
		return sum+missed == alerts
	})
	_, lost := n.Stats()
	if missed == 0 || lost != missed {
		t.Errorf("%d missed are told, %d counted", missed, lost)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
