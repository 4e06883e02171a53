package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/sensor/notify"
)

// mailbox is who takes messages in the sensor's namespace, by path.
type mailbox struct {
	url string
	mu  sync.Mutex
	out bool // it takes nothing
	got map[string][]*notify.Message
}

func newMailbox(t *testing.T, ns string) *mailbox {
	t.Helper()
	m := &mailbox{got: map[string][]*notify.Message{}}
	var l net.Listener
	var err error
	within(t, ns, func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	m.url = "http://" + l.Addr().String()
	server := &http.Server{Handler: m, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go server.Serve(l) //nolint:errcheck // that it was closed
	t.Cleanup(func() { server.Close() })
	return m
}

// ServeHTTP takes a message in.
func (m *mailbox) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	one := new(notify.Message)
	if err == nil {
		err = json.Unmarshal(body, one)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	m.got[q.URL.Path] = append(m.got[q.URL.Path], one)
}

func (m *mailbox) away(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out = yes
}

// events are those that came to a path, as "opened scan.vertical".
func (m *mailbox) events(path string) (all []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.got[path] {
		for _, e := range one.Events {
			all = append(all, fmt.Sprintf("%s %s", e.What, e.Kind))
		}
	}
	return all
}

// TestSensePeople: a sensor in its sandbox tells a scan within some seconds, and takes up another channel and another URL when its configuration
// is read again; what it has not told at its end is told at its next start. No log shows a URL.
func TestSensePeople(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	box := newMailbox(t, o.far)
	secrets := t.TempDir() // not the configuration's folder: the sandbox has to know it
	write := func(name, text string) string {
		path := filepath.Join(secrets, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	first := fmt.Sprintf("{name: first, type: webhook, severity: info, url_file: %s, secret_file: %s}",
		write("url", box.url+"/first-T0SECRET\n"), write("key", strings.Repeat("k", 32)))
	o.configure(t, "notify: {channels: ["+first+"], group: {wait: 100ms}}\n")
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	s.ready(t)
	o.crowd(t, 2)
	o.probeFrom(t, 0)
	await(t, "the scan is told", func() bool {
		return strings.Contains(strings.Join(box.events("/first-T0SECRET"), ","), "opened scan.vertical")
	})
	if n := s.metric(t, "weir_notify_messages_total", `channel="first"`, `outcome="delivered"`); n < 1 {
		t.Errorf("%v messages are delivered by the metrics", n)
	}

	write("url", box.url+"/second-T0SECRET\n")
	o.configure(t, "notify: {channels: ["+first+", {name: added, type: webhook, severity: info, url: '"+box.url+"/added-T0SECRET'}], group: {wait: 100ms, window: 200ms, quiet: 300ms}}\n")
	s.reloads(t, "ok", 1)
	o.probeFrom(t, 1)
	for _, path := range []string{"/second-T0SECRET", "/added-T0SECRET"} {
		await(t, "another scan is told to "+path, func() bool { return strings.Contains(strings.Join(box.events(path), ","), "opened scan.vertical") })
	}
	box.away(true)
	s.stop(t) // closes the alerts, which nobody waits for
	text := s.err.String()
	if strings.Contains(text, "T0SECRET") {
		t.Errorf("the log shows a URL:\n%s", text)
	}
	if !strings.Contains(text, "the rest waits for the next start") {
		t.Errorf("no word of what waits:\n%s", text)
	}
	box.away(false)
	again := sense(t, o.far, "-i", "eth0", "--config", o.config, "--state", s.state)
	for _, path := range []string{"/second-T0SECRET", "/added-T0SECRET"} {
		await(t, "the scan's end is told to "+path, func() bool { return strings.Contains(strings.Join(box.events(path), ","), "ended scan.vertical") })
	}
	again.stop(t)
}
