package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"weir/sensor/notify"
	"weir/sensor/policy"
)

// TestNotifyTest tries channels that work, refuse, and are not there; the address, which is a secret, shows nowhere.
func TestNotifyTest(t *testing.T) {
	var agents []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		agents = append(agents, q.Header.Get("User-Agent")+" "+q.URL.Path)
		if strings.HasPrefix(q.URL.Path, "/bad") {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprint(w, "ok\x1b[1m")
	}))
	defer server.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := fmt.Sprintf("{name: ops, type: slack, url_file: %s}", file("url", server.URL+"/good/T0SECRET\n"))
	bad := fmt.Sprintf("{name: soc, type: webhook, url: '%s/bad/T0SECRET', secret_file: %s}", server.URL, file("key", strings.Repeat("k", 32)))
	away := "{name: away, type: webhook, url: 'http://127.0.0.1:1/T0SECRET'}"
	config := func(channels ...string) string {
		return file(fmt.Sprintf("%d.yaml", len(channels)), "notify: {channels: ["+strings.Join(channels, ", ")+"]}\n")
	}
	wrong := file("wrong.yaml", "notify:\n  channels:\n    - {name: ops, type: slack, url: 'http://hooks.example/T0SECRET'}\n")
	for _, c := range []struct {
		args     []string
		code     int
		out, err string
	}{
		{[]string{"--config", config(good)}, exitDone, "ops (slack): delivered in", ""},
		{[]string{"--config", config(good, bad, away)}, exitFailed, "soc (webhook): failed: 404 Not Found: ok", ""},
		{[]string{"--config", config(good, bad, away)}, exitFailed, "away (webhook): failed: dial tcp 127.0.0.1:1: connect: connection refused", ""},
		{[]string{"--config", config(good, bad, away), "--channel", "ops"}, exitDone, "ops (slack): delivered in", ""},
		{[]string{"--config", config(good, bad, away), "--channel", "opps"}, exitUsage, "", `there is no "opps"; there are ops, soc, away`},
		{[]string{"--config", config()}, exitUsage, "", "has no channel"},
		{[]string{"--config", wrong}, exitUsage, "", "wrong.yaml:2:3: notify: channels: number 1: url of ops: http would"},
	} {
		var out, errs strings.Builder
		code := run(t.Context(), append([]string{"notify", "test"}, c.args...), &streams{strings.NewReader(""), &out, &errs})
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.err) || c.err == "" && errs.Len() > 0 {
			t.Errorf("%q: exit code %d\n%s%s", c.args, code, &out, &errs)
		}
		if text := out.String() + errs.String(); strings.Contains(text, "T0SECRET") || strings.Contains(text, "\x1b") {
			t.Errorf("%q shows\n%s", c.args, text)
		}
	}
	if len(agents) != 6 || agents[0] != "weir/"+version+" /good/T0SECRET" {
		t.Errorf("asked: %q", agents)
	}
}

// TestTold: what people are told of the decisions about drops.
func TestTold(t *testing.T) {
	drop := func(state policy.State, change func(*policy.Drop)) policy.Decision {
		d := &policy.Drop{
			ID: "d1", State: state, Scope: policy.ScopeAddress, IP: netip.MustParseAddr("192.0.2.1"), Action: policy.DropAll,
			Created: 1000, Until: 1600, By: "policy", Alert: "a1", Reason: "because", Summary: "drop 192.0.2.1",
		}
		if change != nil {
			change(d)
		}
		return policy.Decision{Drop: d}
	}
	for _, c := range []struct {
		name string
		in   policy.Decision
		what notify.What // "": nothing is told
	}{
		{"new", drop(policy.Requested, nil), notify.Banned},
		{"extended", drop(policy.Requested, func(d *policy.Drop) { d.Extended = 1 }), ""},
		{"pending", drop(policy.Pending, nil), notify.Pending},
		{"removed", drop(policy.Removed, func(d *policy.Drop) { d.Guard = "gateway" }), notify.Unbanned},
		{"expired", drop(policy.Expired, nil), notify.Expired},
		{"refused by hand", policy.Decision{Refusal: &policy.Refusal{Guard: "gateway", Subject: "192.0.2.1", By: "hand"}}, notify.Refused},
		{"alert refused", policy.Decision{Refusal: &policy.Refusal{Guard: "gateway", Alert: "a1"}}, ""},
	} {
		got := told(c.in)
		if (got == nil) != (c.what == "") || got != nil && got.What != c.what {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
	got := told(drop(policy.Requested, func(d *policy.Drop) { d.Action, d.Would = policy.Shadow, policy.DropAll }))
	want := &notify.Drop{
		What: notify.Banned, Time: got.Time, ID: "d1", Target: "192.0.2.1", Reason: "because", Summary: "drop 192.0.2.1", Seconds: 600,
		Action: policy.DropAll.String(), By: "policy", Alert: "a1", Rehearsed: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
