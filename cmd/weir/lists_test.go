package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"weir/analyzers"
	network "weir/analyzers/context"
	"weir/sensor/policy"
)

// TestMirrors fetches a list: once while it is fresh, by ETag when not, and from the copy while the mirror is away.
func TestMirrors(t *testing.T) {
	var asked, whole atomic.Int32
	text := atomic.Pointer[string]{}
	set := func(s string) { text.Store(&s) }
	set("192.0.2.0/24\n")
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		tag := `"` + *text.Load() + `"`
		tag = tag[:5] + `"`
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		whole.Add(1)
		_, _ = w.Write([]byte(*text.Load()))
	}))
	m := &mirrors{known: map[string]*mirrored{}, dir: t.TempDir()}
	expect := func(what, want string, age time.Duration, total, bodies int32, fails bool) {
		t.Helper()
		body, err := m.read(mirror.URL, age)
		if string(body) != want || (err != nil) != fails || asked.Load() != total || whole.Load() != bodies {
			t.Errorf("%s: %q, %v, asked %d times, %d whole", what, body, err, asked.Load(), whole.Load())
		}
	}
	expect("first", "192.0.2.0/24\n", time.Hour, 1, 1, false)
	expect("fresh", "192.0.2.0/24\n", time.Hour, 1, 1, false)
	expect("not changed", "192.0.2.0/24\n", 0, 2, 1, false)
	set("198.51.100.0/24\n")
	expect("changed", "198.51.100.0/24\n", 0, 3, 2, false)
	mirror.Close()
	expect("away", "198.51.100.0/24\n", 0, 3, 2, true)
	m = &mirrors{known: map[string]*mirrored{}, dir: m.dir}
	expect("away, after a restart", "198.51.100.0/24\n", 0, 3, 2, true)
	m = &mirrors{known: map[string]*mirrored{}}
	expect("away, and no copy", "", 0, 3, 2, true)
}

// TestNetworksReachAnalyzers: what a reload, or a change of a list, makes of the networks is what the analyzers see in the next epoch.
func TestNetworksReachAnalyzers(t *testing.T) {
	list := filepath.Join(t.TempDir(), "office.txt")
	write := func(text string) {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("192.0.2.0/24\n")
	settings := defaults()
	settings.Networks.Lists = []network.ListConfig{{Name: "office", File: list}}
	p := &protected{log: slog.New(slog.DiscardHandler)}
	if err := p.configure(&settings); err != nil {
		t.Fatal(err)
	}
	site := analyzers.NewSite(nil, nil)
	p.follow(func(_ policy.Config, n *network.Networks) { site.Renew(n) })
	known, listed := netip.MustParseAddr("203.0.113.9"), netip.MustParsePrefix("198.51.100.1/32")
	site.Begin(0)
	if site.Networks.Is(network.KnownDestination, known) || len(site.Networks.Listed(listed)) != 0 {
		t.Fatal("known before it was said")
	}
	next := settings
	if err := next.parse([]byte("networks:\n  known_destinations: [203.0.113.0/24]\n  lists: [{name: office, file: " + list + "}]\n")); err != nil {
		t.Fatal(err)
	}
	if err := p.configure(&next); err != nil {
		t.Fatal(err)
	}
	if site.Networks.Is(network.KnownDestination, known) {
		t.Error("networks changed within an epoch")
	}
	if site.Begin(1); !site.Networks.Is(network.KnownDestination, known) {
		t.Error("the analyzers do not see what a reload says")
	}
	before := p.listState()
	write("198.51.100.0/24\n")
	if p.listState() == before {
		t.Fatal("a change of a file does not show")
	}
	if err := p.reread(); err != nil {
		t.Fatal(err)
	}
	if site.Begin(2); len(site.Networks.Listed(listed)) != 1 || !site.Networks.Is(network.KnownDestination, known) {
		t.Error("the analyzers do not see what a list says")
	}
	write("nothing\n")
	if err := p.reread(); err == nil {
		t.Error("a damaged list is taken")
	}
	if site.Begin(3); len(site.Networks.Listed(listed)) != 1 {
		t.Error("a damaged list changed what the analyzers see")
	}
}
