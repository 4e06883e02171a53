package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// serve answers a command until the test ends.
func serve(t *testing.T, b *Bus, k *Keys, command, group string, f func(signer, name string, body []byte) [][]byte) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { b.Serve(ctx, k, command, group, f) })
	t.Cleanup(func() { cancel(); work.Wait() })
}

func dial(t testing.TB, cfg Config, dir string, k *Keys) *Client {
	t.Helper()
	c, err := Dial(within(t, 10*time.Second), cfg, "site.one", dir, "cli", k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func openAs(t testing.TB, cfg Config, sensor string) *Bus {
	t.Helper()
	b, err := Open(within(t, 20*time.Second), cfg, Identity{"site.one", sensor}, t.TempDir(), logTo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func TestCommands(t *testing.T) {
	t.Parallel()
	s := run(t, nil)
	k := keys(t)
	one, two := openAs(t, outside(s.ClientURL()), "one"), openAs(t, outside(s.ClientURL()), "two")
	big := bytes.Repeat([]byte("x"), maxReply)
	for i, b := range []*Bus{one, two} {
		serve(t, b, k, "all", "", func(signer, name string, body []byte) [][]byte {
			if signer != k.Own() || name != "own" {
				t.Errorf("%s %s", signer, name)
			}
			if i == 1 {
				time.Sleep(500 * time.Millisecond) // longer than it is quiet
			}
			return [][]byte{body, big, fmt.Append(nil, i)}
		})
		serve(t, b, k, "one", "group", func(_, _ string, body []byte) [][]byte { return [][]byte{body} })
		serve(t, b, k, "none", "", func(_, _ string, body []byte) [][]byte { return nil })
		serve(t, b, k, "large", "group", func(_, _ string, body []byte) [][]byte { return [][]byte{make([]byte, maxReply+1)} })
		serve(t, b, k, "slow", "group", func(_, _ string, body []byte) [][]byte { time.Sleep(time.Second); return nil })
	}
	c := dial(t, outside(s.ClientURL()), "", k)
	text := `{"a":"<&>ü\n"}`
	until(t, "both serve", 5*time.Second, func() bool {
		r, err := c.Ask(within(t, 5*time.Second), "none", nil, 3*time.Second)
		return err == nil && len(r) == 0 && one.Stats().Commands.Served > 0 && two.Stats().Commands.Served > 0
	})
	r, err := c.Ask(within(t, 5*time.Second), "all", []byte(text), 5*time.Second)
	if err != nil || len(r) != 6 {
		t.Fatalf("%d, %v", len(r), err)
	}
	from := map[string]int{}
	for _, p := range r {
		if p.Err != "" {
			t.Error(p.Err)
		}
		switch from[p.From]++; from[p.From] {
		case 1:
			if string(p.Body) != text {
				t.Errorf("%s", p.Body)
			}
		case 2:
			if !bytes.Equal(p.Body, big) {
				t.Error("changed")
			}
		case 3:
			if want := map[string]string{"one": "0", "two": "1"}[p.From]; string(p.Body) != want {
				t.Errorf("%s: %s", p.From, p.Body)
			}
		}
	}
	for try := 1; ; try++ {
		begin := time.Now()
		r, err = c.Ask(within(t, 5*time.Second), "one", []byte(text), 5*time.Second)
		d := time.Since(begin)
		if err != nil || len(r) != 1 || string(r[0].Body) != text || d > replyQuiet && try == 5 {
			t.Errorf("%+v, %v after %v", r, err, d)
		}
		if d <= replyQuiet || try == 5 { // a loaded machine may be slower now and then
			break
		}
	}
	r, err = c.Ask(within(t, 5*time.Second), "large", nil, 5*time.Second)
	if err != nil || len(r) != 1 || !strings.Contains(r[0].Err, "524289 bytes") {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = c.Ask(within(t, 5*time.Second), "slow", nil, 200*time.Millisecond)
	if err != nil || len(r) != 1 || !strings.Contains(r[0].Err, "not complete within 200ms") {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err = c.Ask(within(t, 5*time.Second), "unknown", nil, 5*time.Second); err == nil || !strings.Contains(err.Error(), `nobody answers the command unknown of site "site.one"`) {
		t.Error(err)
	}
	if _, err = c.Ask(within(t, 5*time.Second), "all", make([]byte, maxBody+1), 5*time.Second); err == nil || !strings.Contains(err.Error(), "more than can be signed") {
		t.Error(err)
	}
}

func TestCommandsRefused(t *testing.T) {
	dir := t.TempDir()
	k, stranger := keys(t), keys(t)
	b := open(t, embedded(), dir)
	calls := 0
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		b.Serve(ctx, k, "c", "", func(_, _ string, _ []byte) [][]byte { calls++; return nil })
	})
	c := dial(t, embedded(), dir, stranger)
	r, err := c.Ask(within(t, 5*time.Second), "c", []byte("{}"), 3*time.Second)
	if err != nil || len(r) != 1 || !strings.Contains(r[0].Err, "refused: its signer is not trusted: "+stranger.Own()) {
		t.Fatalf("%+v, %v", r, err)
	}
	nc, err := nats.Connect(serverIn(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sign := func(site, command string, at time.Time) []byte {
		v, err := signCommand(k, site, command, []byte("{}"), at)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	good := sign("site.one", "c", time.Now())
	notCommand, err := Sign(k, "site.one", "cmd.c", []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := 0
	for _, test := range []struct {
		name  string
		value []byte
		want  string // "": done
	}{
		{"good", good, ""},
		{"again", good, ErrReplayed.Error()},
		{"changed", bytes.Replace(good, []byte("{}"), []byte("[]"), 1), ErrForged.Error()},
		{"another command", sign("site.one", "d", time.Now()), ErrForged.Error()},
		{"another site", sign("site.two", "c", time.Now()), ErrForged.Error()},
		{"bare", []byte("{}"), ErrUnsigned.Error()},
		{"empty", nil, ErrUnsigned.Error()},
		{"not a command", notCommand, ErrUnsigned.Error()},
		{"old", sign("site.one", "c", time.Now().Add(-31*time.Second)), "it is 31s old"},
		{"of the future", sign("site.one", "c", time.Now().Add(31*time.Second)), "it is -31s old"},
		{"of before the start", sign("site.one", "c", time.Now().Add(-10*time.Second)), "before the start"},
		{"good, another", sign("site.one", "c", time.Now()), ""},
	} {
		inbox := nats.NewInbox()
		sub, err := nc.SubscribeSync(inbox)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.PublishRequest("weir.v1.site_2Eone.cmd.c", inbox, test.value); err != nil {
			t.Fatal(err)
		}
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(test.name, err)
		}
		var got struct{ Error string }
		if test.want == "" {
			wanted++
		} else if err := json.Unmarshal(m.Data, &got); err != nil || !strings.Contains(got.Error, test.want) {
			t.Errorf("%s: %s, want %s", test.name, m.Data, test.want)
		}
		if err := nc.PublishMsg(&nats.Msg{Subject: "weir.v1.site_2Eone.cmd.c", Data: []byte("nobody waits")}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all refused", 5*time.Second, func() bool { return b.Stats().Commands.Refused == 11+12 })
	cancel()
	work.Wait()
	if n := b.Stats().Commands; calls != wanted || n.Served != uint64(wanted) {
		t.Errorf("%d done, want %d; %+v", calls, wanted, n)
	}
	closeBus(t, b)
}

// A command to a group that is sent again is not done by another of the group.
func TestReplayedToGroup(t *testing.T) {
	s := run(t, nil)
	k := keys(t)
	var done atomic.Int64
	for _, name := range []string{"one", "two", "three"} {
		b := openAs(t, outside(s.ClientURL()), name)
		until(t, "ready", 5*time.Second, func() bool { return b.Ready() == nil })
		serve(t, b, k, "c", "group", func(_, _ string, _ []byte) [][]byte { done.Add(1); return nil })
	}
	until(t, "all subscribed", 5*time.Second, func() bool { return s.NumSubscriptions() >= 6 && groupOf(s, "weir.v1.site_2Eone.cmd.c") == 6 })
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for i := range 20 {
		value, err := signCommand(k, "site.one", "c", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := nc.Request("weir.v1.site_2Eone.cmd.c", value, 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if n := done.Load(); n != int64(i+1) {
			t.Fatalf("%d of %d", n, i+1)
		}
	}
}

// groupOf counts the subscriptions of a subject.
func groupOf(s *server.Server, subject string) (n int) {
	z, err := s.Subsz(&server.SubszOptions{Subscriptions: true, Limit: 10_000})
	if err != nil {
		return 0
	}
	for _, sub := range z.Subs {
		if sub.Subject == subject {
			n++
		}
	}
	return n
}

// Nonces are bounded, and those of long ago are forgotten.
func TestNonces(t *testing.T) {
	k := keys(t)
	now := time.Now()
	j := &judge{keys: k, site: "s", command: "c", since: now.Add(-time.Hour), nonces: map[string]known{}}
	for i := range maxNonces {
		j.nonces[fmt.Sprint(i)] = known{at: now}
	}
	try := func(at time.Time) error {
		v, err := signCommand(k, "s", "c", nil, at)
		if err != nil {
			t.Fatal(err)
		}
		_, _, _, err = j.check(v, at, true)
		return err
	}
	if err := try(now); !errors.Is(err, ErrReplayed) || !strings.Contains(err.Error(), "4096") {
		t.Error(err)
	}
	if err := try(now.Add(2*commandAge + time.Second)); err != nil || len(j.nonces) != 1 {
		t.Error(err, len(j.nonces))
	}
}

// A server that goes away is told within the time to wait; one that comes back is used.
func TestAskAway(t *testing.T) {
	k := keys(t)
	address := freeAddress(t)
	start := func() *server.Server { return run(t, func(o *server.Options) { o.Port = portOf(t, address) }) }
	s := start()
	b := openAs(t, outside("nats://"+address), "one")
	serve(t, b, k, "c", "g", func(_, _ string, body []byte) [][]byte { return [][]byte{body} })
	c := dial(t, outside("nats://"+address), "", k)
	if r, err := c.Ask(within(t, 5*time.Second), "c", []byte("x"), 3*time.Second); err != nil || len(r) != 1 || r[0].From != "one" {
		t.Fatal(r, err)
	}
	ready := func() bool { return b.Ready() == nil }
	until(t, "ready", 5*time.Second, ready) // a server that stops while it makes streams leaves a goroutine
	stop(s)
	begin := time.Now()
	_, err := c.Ask(within(t, 5*time.Second), "c", []byte("x"), 500*time.Millisecond)
	if d := time.Since(begin); err == nil || !errors.Is(err, errAway) || !strings.Contains(err.Error(), "nats://"+address) || d > 4*time.Second {
		t.Errorf("%v after %v", err, d)
	}
	t.Log(err)
	start()
	until(t, "answered again", 15*time.Second, func() bool {
		r, err := c.Ask(within(t, 5*time.Second), "c", []byte("x"), 3*time.Second)
		return err == nil && len(r) == 1 && string(r[0].Body) == "x"
	})
	until(t, "ready", 15*time.Second, ready)
}

func TestGates(t *testing.T) {
	s := run(t, nil)
	one, two := openAs(t, outside(s.ClientURL()), "web 1"), openAs(t, outside(s.ClientURL()), "two")
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	got := make(chan string, 100)
	work.Go(func() { one.Gates(ctx, func(sensor string, p []byte) { got <- sensor + " " + string(p) }) })
	defer func() { cancel(); work.Wait() }()
	until(t, "connected", 10*time.Second, func() bool { return one.open.Load() && two.open.Load() })
	seen := map[string]bool{}
	until(t, "reports of both", 5*time.Second, func() bool {
		one.Gate([]byte("a"))
		two.Gate([]byte("b"))
		two.Health([]byte("c"))
		for len(got) > 0 {
			seen[<-got] = true
		}
		return seen["web 1 a"] && seen["two b"]
	})
	if len(seen) != 2 {
		t.Error(seen)
	}
	if n := one.Stats().Kinds[Gate]; n.Published == 0 || n.lost() != 0 {
		t.Errorf("%+v", n)
	}
}
