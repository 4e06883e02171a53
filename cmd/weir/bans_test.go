package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/sensor/alert"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// TestTargets reads what people and keys name, and names it again.
func TestTargets(t *testing.T) {
	for _, c := range []struct{ word, key, shown string }{
		{"192.0.2.7", "address.192.0.2.7", "192.0.2.7"},
		{"192.0.2.7/32", "address.192.0.2.7", "192.0.2.7"},
		{"::ffff:192.0.2.7", "address.192.0.2.7", "192.0.2.7"},
		{"192.0.2.77/24", "prefix.192.0.2.0_24", "192.0.2.0/24"},
		{"::ffff:192.0.2.0/120", "prefix.192.0.2.0_24", "192.0.2.0/24"},
		{"2001:db8::7", "address.20010db8000000000000000000000007", "2001:db8::7"},
		{"2001:db8:1::/48", "prefix.20010db8000100000000000000000000_48", "2001:db8:1::/48"},
		{"0.0.0.0/0", "prefix.0.0.0.0_0", "0.0.0.0/0"},
		{"::/0", "prefix.00000000000000000000000000000000_0", "::/0"},
		{"198.51.100.1:443/tcp", "service.198.51.100.1.tcp.443", "198.51.100.1:443/tcp"},
		{"[2001:db8::1]:53/udp", "service.20010db8000000000000000000000001.udp.53", "[2001:db8::1]:53/udp"},
	} {
		d, err := parseTarget(c.word)
		if err != nil || d.Key() != c.key || targetOf(&d) != c.shown {
			t.Errorf("%s: key %s, %s, %v", c.word, d.Key(), targetOf(&d), err)
		}
		if keyTarget(c.key) != c.shown {
			t.Errorf("%s is shown as %s", c.key, keyTarget(c.key))
		}
	}
	for _, word := range []string{"", "192.0.2", "192.0.2.7/33", "192.0.2.7:443", "192.0.2.7:0/tcp", "192.0.2.7:443/", "192.0.2.7:443/t cp", "www.example.org", "443/tcp"} {
		if d, err := parseTarget(word); err == nil {
			t.Errorf("%q is %+v", word, d)
		}
	}
	for _, key := range []string{"panic", "address.x", "prefix.192.0.2.0", "signature.192.0.2.1.tcp.443.0123456789abcdef", "\x1b[2J"} {
		if got := keyTarget(key); got != key {
			t.Errorf("%q is shown as %q", key, got)
		}
	}
}

// TestAddForms is what weir bans add sends: the sensor must be able to read it.
func TestAddForms(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		cmd                   bansAddCmd
		action, would, refuse string
	}{
		{bansAddCmd{Target: "192.0.2.7"}, "drop", "", ""},
		{bansAddCmd{Target: "192.0.2.0/24"}, "drop", "", ""},
		{bansAddCmd{Target: "2001:db8::7", Action: "drop_new"}, "drop_new", "", ""},
		{bansAddCmd{Target: "192.0.2.7", Action: "limit_new"}, "limit_new", "", ""},
		{bansAddCmd{Target: "192.0.2.7", Action: "limit_new", Rate: 7}, "limit_new", "", ""},
		{bansAddCmd{Target: "192.0.2.7", Shadow: true}, "shadow", "drop", ""},
		{bansAddCmd{Target: "198.51.100.1:443/tcp"}, "limit", "", ""},
		{bansAddCmd{Target: "198.51.100.1:443/tcp", Rate: 500, Shadow: true}, "shadow", "limit", ""},
		{bansAddCmd{Target: "198.51.100.1:443/tcp", Action: "drop"}, "", "", "a service can be limited"},
		{bansAddCmd{Target: "192.0.2.7", Action: "limit"}, "", "", "a service can be limited"},
		{bansAddCmd{Target: "192.0.2.7", Rate: 7}, "", "", "--rate belongs to"},
		{bansAddCmd{Target: "nobody"}, "", "", "neither an address"},
		{bansAddCmd{Target: "192.0.2.7", For: "2026-01-01T00:00:00Z"}, "", "", "--for"},
		{bansAddCmd{Target: "192.0.2.7", For: "0s"}, "", "", "--for"},
		{bansAddCmd{Target: "192.0.2.7", For: "-1h"}, "", "", "--for"},
		{bansAddCmd{Target: "192.0.2.7", Reason: " "}, "", "", "--reason"},
	} {
		if c.cmd.For == "" {
			c.cmd.For = "7d"
		}
		if c.cmd.Reason == "" {
			c.cmd.Reason = "a <test> of \"forms\""
		}
		d, err := c.cmd.drop(now)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%+v: %v, want %q", c.cmd, err, c.refuse)
			}
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c.cmd, err)
			continue
		}
		text, err := marshal(decideRequest{opAdd, d, "alice"})
		var got decideRequest
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err != nil || got.Drop.Action.String() != c.action || got.Drop.Would.String() != c.would || got.Drop.Rate != c.cmd.Rate ||
			got.Drop.Reason != c.cmd.Reason || got.Drop.Until != now.Unix()+7*86400 {
			t.Errorf("%+v: %s: %+v, %v", c.cmd, text, got.Drop, err)
		}
	}
}

// standing is an overview with one of each.
func standing(now time.Time) *overview {
	v := newOverview()
	add := func(id, target, reason string, until time.Duration, to func(*policy.Drop), gates ...enforced) {
		d, err := parseTarget(target)
		if err != nil {
			panic(err)
		}
		d.Schema, d.ID, d.State, d.Action, d.By, d.Reason = policy.Schema, id, policy.Requested, policy.DropAll, policy.ByPolicy, reason
		d.Created, d.Until = now.Unix()-int64(len(v.bans)), now.Add(until).Unix()
		if to != nil {
			to(&d)
		}
		v.bans[id] = &ban{drop: &d, key: d.Key(), enforcers: gates}
	}
	add("000000000000000a", "198.51.100.23", "198.51.100.23 tried 2451 ports of 10.20.0.10 in 3.1 s: 2448 refused, 3 answered", 9*time.Minute+50*time.Second, nil,
		enforced{State: "applied", Packets: 12, Last: alert.Time(1)}, enforced{State: "waiting"})
	add("000000000000000b", "2001:db8:1234:5678::/64", "four of its addresses", 47*time.Hour, func(d *policy.Drop) { d.By = "root@edge1" },
		enforced{State: "refused", Guard: "own_address"})
	add("000000000000000c", "192.0.2.0/24", "too many", time.Hour, func(d *policy.Drop) { d.State, d.Guard = policy.Pending, "cap_established" })
	add("000000000000000d", "192.0.2.9", "a rehearsal", 59*time.Second, func(d *policy.Drop) {
		d.Action, d.Would, d.Rate = policy.Shadow, policy.LimitNew, 10
	}, enforced{State: "shadow", Packets: 1 << 40})
	add("000000000000000e", "192.0.2.10", "nobody said anything", time.Hour, nil)
	add("000000000000000f", "192.0.2.11", "it is over", -time.Second, nil, enforced{State: "applied"})
	add("0000000000000010", "192.0.2.12", "removed", time.Hour, nil, enforced{State: "removed"})
	v.distrust("address.20010db8000000000000000000000007", "forged")
	return v
}

// TestBansTable looks at the table at the widths of terminals.
func TestBansTable(t *testing.T) {
	now := time.Now()
	for _, width := range []int{80, 120, 160} {
		var out bytes.Buffer
		if err := standing(now).table(table{out: &out, width: width}, now); err != nil {
			t.Fatal(err)
		}
		t.Log("\n" + out.String())
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		state := strings.Index(lines[0], "STATE")
		var states []string
		for _, l := range lines {
			if len(l) > width {
				t.Errorf("%d columns: a line of %d: %s", width, len(l), l)
			}
			if l[0] != ' ' {
				states = append(states, strings.Fields(l[state:])[0])
			}
		}
		if got, want := strings.Join(states, " "), "STATE applied refused pending shadow wanted refused"; got != want {
			t.Errorf("%d columns: states %q, want %q", width, got, want)
		}
		words := strings.Join(strings.Fields(out.String()), " ")
		for _, want := range []string{
			"000000000000000a", "2448 refused, 3 answered", "guard own_address; root@edge1: four of its addresses", "guard cap_established; too many",
			"9m50s", "1d23h", "shadow of limit_new 10/s", "1099511627776", "2001:db8::7", "guard forged",
		} {
			if !strings.Contains(words, want) {
				t.Errorf("%d columns: no %q", width, want)
			}
		}
	}
	var out bytes.Buffer
	if err := newOverview().table(table{out: &out, width: 80}, now); err != nil || out.Len() > 0 {
		t.Errorf("of nothing: %q, %v", out.String(), err)
	}
}

// TestBanForms is about the objects that programs read.
func TestBanForms(t *testing.T) {
	now := time.Now()
	want := map[string]string{
		"000000000000000a": "applied ", "000000000000000b": "refused own_address", "000000000000000c": "pending cap_established",
		"000000000000000d": "shadow ", "000000000000000e": "wanted ",
	}
	for _, b := range standing(now).live(now) {
		text, err := marshal(b.form())
		var got struct {
			ID, Key, State, Guard string
			IP                    netip.Addr
			Enforcers             []any
		}
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err != nil || got.State+" "+got.Guard != want[got.ID] || got.Key != b.drop.Key() || got.Enforcers == nil || strings.Count(string(text), `"state"`) != 1+len(got.Enforcers) {
			t.Errorf("%s, %v", text, err)
		}
		delete(want, got.ID)
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestSensorReadsPanicFile is a sensor whose command line reaches it by nothing but the file: it decides nothing, alerts say so, and the
// gates of the site hear of it.
func TestSensorReadsPanicFile(t *testing.T) {
	s := newDeciders(t, 1)
	d := s.all[0]
	s.drops(t, 0, time.Hour)
	s.soon(t, "wanted", func(d *policy.Drop) bool { return d.State == policy.Requested })
	if err := os.MkdirAll(filepath.Dir(d.panicFile), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(held bool) enforce.Panic {
		p := enforce.Panic{Schema: enforce.PanicSchema, Held: held, By: "alice", Generation: uint64(time.Now().UnixMicro())}
		if err := enforce.WritePanic(d.panicFile, p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	told := func(p enforce.Panic) func() bool {
		return func() bool {
			found, err := s.state.Get(t.Context(), enforce.PanicKey)
			if err != nil || found == nil {
				return false
			}
			got, err := enforce.ParsePanic(found.Body)
			return err == nil && *got == p
		}
	}
	action := func() string {
		a := &alert.Alert{
			ID: "0123456789abcdef", State: alert.Open, Time: alert.Time(now()), First: alert.Time(now()), Analyzer: "scan", Kind: "vertical", Severity: alert.High,
			Confidence: 99, Subject: &alert.Party{IP: netip.MustParseAddr("192.0.2.77")}, Summary: "a scan",
		}
		d.judge(a)
		return a.Action.Guard
	}
	await(t, "the bucket has the panic", told(write(true)))
	s.soon(t, "removed by it", func(d *policy.Drop) bool { return d.State == policy.Removed && d.Guard == "panic" })
	if got := action(); got != "panic" {
		t.Errorf("an alert is answered by guard %q", got)
	}
	await(t, "the bucket has its end", told(write(false)))
	if got := action(); got != "" {
		t.Errorf("after it an alert is answered by guard %q", got)
	}

	if err := os.WriteFile(d.panicFile, []byte("stop\n"), 0o600); err != nil { // by hand, without the program
		t.Fatal(err)
	}
	await(t, "what is no JSON holds, too", func() bool { return d.stats().Held })
}
