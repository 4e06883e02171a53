package notify

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"weir/sensor/alert"
)

// TestConfigCheck: each mistake is told, in its place, and no URL is.
func TestConfigCheck(t *testing.T) {
	const secret = "T000/B000/XXXsecret"
	for _, c := range []struct {
		text, want string
	}{
		{"{name: Ops, type: slack, url: 'https://h/" + secret + "'}", "name"},
		{"{name: ops, type: mail, url: 'https://h/" + secret + "'}", "type"},
		{"{name: ops, type: slack}", "either url or url_file"},
		{"{name: ops, type: slack, url: 'https://h/" + secret + "', url_file: x}", "either url or url_file"},
		{"{name: ops, type: slack, url: 'http://h.example/" + secret + "'}", "use https"},
		{"{name: ops, type: slack, url: 'ftp://h/" + secret + "'}", "not a URL"},
		{"{name: ops, type: slack, url: 'https://h:port/" + secret + "'}", "not a URL"},
		{"{name: ops, type: webhook, url: 'https://h/#" + secret + "'}", "fragment"},
		{"{name: ops, type: slack, url: 'https://h/" + secret + "', secret_file: x}", "Slack takes no signature"},
		{"{name: ops, type: slack, url: 'https://h/" + secret + "', severity: bad}", "severity"},
		{"{name: ops, type: slack, url: 'https://h/" + secret + "', kinds: [scan vertical]}", "kinds"},
		{"{name: ops, type: slack, url: 'https://h/" + secret + "', events: [drop]}", "events"},
		{"{name: a, type: webhook, url: 'https://h/1'}, {name: a, type: webhook, url: 'https://h/2'}", "as another's"},
		{"{name: a, type: webhook, url: 'http://h/1', severity: info, kinds: [scan, flood.syn], events: [drops]}", ""},
	} {
		cfg := Defaults()
		if err := yaml.UnmarshalWithOptions([]byte("channels: ["+c.text+"]\n"), &cfg, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		err := cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "notify: channels: ")) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
		shown, yerr := yaml.Marshal(cfg)
		if text := fmt.Sprintf("%v %+v %#v %s %v", err, cfg, cfg, shown, yerr); strings.Contains(text, "secret\"") || strings.Contains(text, secret) {
			t.Errorf("%s shows the secret: %s", c.text, text)
		}
	}
	for _, text := range []string{
		"timeout: 2h", "retry_max: 0s", "attempts: 0", "queue_kib: 1", "sync: -1s", "group: {wait: 1m}", "group: {window: 0s}", "group: {max_window: 1s}",
		"group: {quiet: 0s}", "group: {details: 11}", "group: {per_hour: 0}",
	} {
		cfg := Defaults()
		if err := yaml.Unmarshal([]byte(text), &cfg); err != nil {
			t.Fatal(err)
		}
		key := strings.TrimPrefix(strings.Split(text, ":")[len(strings.Split(text, ":"))-2], " {")
		if err := cfg.Check(); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestFilter: who is told what, by severity, kind and event; and what a mute or an unchanged severity keeps back.
func TestFilter(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	cfg, o, _ := quick(t, r.URL)
	one := cfg.Channels[0]
	one.Severity, one.Kinds, one.Events = "high", []string{"scan.vertical", "incident"}, []string{ofAlerts}
	cfg.Channels[0] = one
	cfg.Group.Wait, cfg.Group.Window = 50*time.Millisecond, 50*time.Millisecond
	n := open(t, cfg, o)
	at := func(id int, state alert.State, severity alert.Severity, kind string) *alert.Alert {
		a := revision(id, state)
		a.Analyzer, a.Kind, _ = strings.Cut(kind, ".")
		a.Severity = severity
		return a
	}
	muted := at(4, alert.Open, alert.Critical, "scan.vertical")
	muted.Muted = &alert.Muted{}
	unmuted := at(4, alert.Update, alert.Critical, "scan.vertical")
	for _, a := range []*alert.Alert{
		at(1, alert.Open, alert.Medium, "scan.vertical"),   // below
		at(1, alert.Update, alert.High, "scan.vertical"),   // is told: raised
		at(1, alert.Update, alert.High, "scan.vertical"),   // no news
		at(2, alert.Open, alert.High, "scan.horizontal"),   // another kind
		at(3, alert.Open, alert.High, "incident.campaign"), // another event
		muted, unmuted, // is told when the mute ends
		at(1, alert.Closed, alert.High, "scan.vertical"), // is told
		at(9, alert.Closed, alert.High, "scan.vertical"), // of which nobody was told
	} {
		n.Alert(a)
	}
	n.Drop(&Drop{What: Banned, ID: "d"})
	await(t, "three are told", func() bool { _, sum := told(r.messages(t)); return sum == 3 })
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	var got []string
	for _, m := range r.messages(t) {
		for _, e := range m.Events {
			got = append(got, fmt.Sprintf("%s %s", e.ID[15:], e.What))
		}
	}
	if want := []string{"1 raised", "4 opened", "1 ended"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// TestDrops: a drop is told when it begins, waits for approval, and ends; not when it goes on.
func TestDrops(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	cfg, o, _ := quick(t, r.URL)
	n := open(t, cfg, o)
	for _, what := range []What{Pending, Pending, Banned, Banned, Unbanned, Banned, Expired} {
		n.Drop(&Drop{What: what, ID: "d1", Target: "192.0.2.1", Time: 1})
	}
	n.Drop(&Drop{What: Refused, Target: "192.0.2.1", Guard: "gateway", Time: 1})
	await(t, "six are told", func() bool { _, sum := told(r.messages(t)); return sum >= 6 })
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if _, sum := told(r.messages(t)); sum != 6 {
		t.Errorf("%d are told", sum)
	}
}

// TestReconfigure: a channel goes on with other settings, and what waits is not lost: neither by another URL, nor by the channel's absence
// for a while. Settings that cannot be change nothing.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	down := newReceiver(t, func(_ int, w http.ResponseWriter, _ []byte) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return false
	})
	up := newReceiver(t, nil)
	cfg, o, _ := quick(t, down.URL)
	cfg.RetryMax = time.Hour // it is not the pause that ends
	n := open(t, cfg, o)
	n.Alert(revision(1, alert.Open))
	await(t, "it failed", func() bool { s, _ := n.Stats(); return s[0].Failed > 0 })
	bad := cfg
	bad.Channels = slices.Clone(cfg.Channels)
	bad.Channels[0].URL, bad.Channels[0].URLFile = "", filepath.Join(o.Dir, "missing")
	if err := n.Reconfigure(bad); err == nil || !strings.Contains(err.Error(), "url_file") {
		t.Errorf("a missing file: %v", err)
	}
	gone := cfg
	gone.Channels = nil
	if err := n.Reconfigure(gone); err != nil {
		t.Fatal(err)
	}
	n.Alert(revision(2, alert.Open)) // tells nobody
	cfg.Channels = slices.Clone(cfg.Channels)
	cfg.Channels[0].URL = Secret(up.URL)
	if err := n.Reconfigure(cfg); err != nil {
		t.Fatal(err)
	}
	n.Alert(revision(3, alert.Open))
	await(t, "both are told", func() bool { ids, _ := told(up.messages(t)); return len(ids) == 2 })
	if ids, _ := told(up.messages(t)); ids[0] != revision(1, 0).ID || ids[1] != revision(3, 0).ID {
		t.Errorf("told %v", ids)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestClose: what is not sent at the end is said, and sent by the next process, which also reads a secret that was changed meanwhile.
func TestClose(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ []byte) bool {
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return up.Load()
	})
	cfg, o, log := quick(t, r.URL)
	n := open(t, cfg, o)
	for i := range 30 {
		n.Alert(revision(i, alert.Open))
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "the rest waits for the next start") {
		t.Errorf("the log:\n%s", log)
	}
	up.Store(true)
	n = open(t, cfg, o)
	await(t, "all is told", func() bool { _, sum := told(r.messages(t)); return sum == 30 })
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

// TestTry: a test message and what came back, without the URL.
func TestTry(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(n int, w http.ResponseWriter, _ []byte) bool {
		if n > 0 {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, "invalid_token")
		}
		if n > 1 {
			fmt.Fprint(w, strings.Repeat(" at all", 13), " /private/part/of/the/secret") // which is longer than what is shown of the answer
		}
		return true
	})
	cfg, o, _ := quick(t, r.URL+"/private/part/of/the/secret")
	answer, err := Try(t.Context(), &cfg.Channels[0], time.Second, o)
	if err != nil || answer != "200 OK" || r.messages(t)[0].Type != testType {
		t.Errorf("%q, %v", answer, err)
	}
	if _, err = Try(t.Context(), &cfg.Channels[0], time.Second, o); err == nil || err.Error() != "403 Forbidden: invalid_token" {
		t.Errorf("%v", err)
	}
	if _, err = Try(t.Context(), &cfg.Channels[0], time.Second, o); err == nil || strings.Contains(err.Error(), "/pri") {
		t.Errorf("%v", err)
	}
	r.Close()
	if _, err = Try(t.Context(), &cfg.Channels[0], time.Second, o); err == nil || strings.Contains(err.Error(), "private") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%v", err)
	}
}

// TestVerify: what a receiver refuses.
func TestVerify(t *testing.T) {
	now, body := time.Unix(1_762_050_848, 0), []byte(`{"id":"a-1"}`)
	h := http.Header{}
	h.Set(HeaderTimestamp, "1762050848")
	h.Set(HeaderSignature, "v1=fe9c7ec3a5b5ac1e6b1a94d4d2c3ef7ca3e2b7c1a2a7a7b8bb9ef1f1c1c5b6f0")
	if Verify(receiverSecret, h, body, now) == nil {
		t.Error("a wrong signature passes")
	}
	// printf '1762050848.{"id":"a-1"}' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
	h.Set(HeaderSignature, "v1=d82356ea9cf46f64cea26841f1258c1cc62722c5cdcbbd21bb751e76c6866079")
	for _, c := range []struct {
		secret string
		body   string
		at     time.Time
		ok     bool
	}{
		{string(receiverSecret), string(body), now, true},
		{string(receiverSecret), string(body), now.Add(299 * time.Second), true},
		{string(receiverSecret), string(body), now.Add(301 * time.Second), false},
		{string(receiverSecret), string(body), now.Add(-301 * time.Second), false},
		{string(receiverSecret), string(body) + " ", now, false},
		{"another", string(body), now, false},
	} {
		if err := Verify([]byte(c.secret), h, []byte(c.body), c.at); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// TestSecretFiles: what cannot be a URL or a secret is told at the start, with the file's name and not its text.
func TestSecretFiles(t *testing.T) {
	for _, c := range []struct{ name, url, secret string }{
		{"short secret", "https://h.example/x", "short"},
		{"no URL", "h.example/private", strings.Repeat("s", 32)},
		{"empty", "", strings.Repeat("s", 32)},
		{"large", strings.Repeat("x", 5000), strings.Repeat("s", 32)},
	} {
		cfg, o, _ := quick(t, "https://h.example")
		dir := t.TempDir()
		one := &cfg.Channels[0]
		one.URL, one.URLFile, one.SecretFile = "", filepath.Join(dir, "u"), filepath.Join(dir, "s")
		if err := os.WriteFile(one.URLFile, []byte(c.url), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(one.SecretFile, []byte(c.secret), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(cfg, o); err == nil || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "private") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
