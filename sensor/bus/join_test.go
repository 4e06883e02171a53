package bus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// join is a configuration for the server inside the process of a state folder.
func join(dir string) Config {
	c := Defaults()
	c.Join = dir
	return c
}

// A gate's process joins the server inside a sensor's, that is not there yet, restarts with another port, or gets another token.
func TestJoin(t *testing.T) {
	dir := t.TempDir()
	k := keys(t)
	gate := openAs(t, join(dir), "gate")
	until(t, "it says what it waits for", 5*time.Second, func() bool {
		err := gate.Ready()
		return err != nil && strings.Contains(err.Error(), "not connected to the server of "+dir) && strings.Contains(err.Error(), "nats.url: no such file")
	})
	t.Log(gate.Ready())
	if err := gate.Drop("applied", "a.1", []byte("{}")); err != nil {
		t.Error(err)
	}
	w := watched(t, gate.State(k))
	ports := map[string]bool{}
	for i := range 3 {
		if i == 2 {
			if err := os.Remove(filepath.Join(dir, "nats.token")); err != nil {
				t.Fatal(err)
			}
		}
		sensor := open(t, embedded(), dir)
		ports[serverIn(t, dir)] = true
		put(t, sensor.State(k), "k", string(rune('a'+i)))
		w.soon(t, 10*time.Second, map[string]string{"k": string(rune('a' + i))})
		until(t, "ready", 10*time.Second, func() bool { return gate.Ready() == nil && gate.idle() })
		if url := serverIn(t, dir); strings.Contains(gate.link.where, "@") || !strings.Contains(url, "@") {
			t.Error(gate.link.where, url)
		}
		if i == 0 {
			if ids, _ := stored(t, serverIn(t, dir), "WEIR_DROPS_site_2Eone"); len(ids) != 1 || ids[0] != "a.1" {
				t.Error(ids)
			}
		}
		closeBus(t, sensor)
	}
	if len(ports) != 3 {
		t.Error("the port did not change")
	}
	if gate.FlowsEnabled() {
		t.Error("flows to a server inside, unasked")
	}
	if err := writeFile(filepath.Join(dir, "nats.url"), "junk\n"); err != nil {
		t.Fatal(err)
	}
	until(t, "it says what is damaged", 15*time.Second, func() bool {
		err := gate.Ready()
		return err != nil && strings.Contains(err.Error(), "nats.url is damaged")
	})
}

func TestJoinTLS(t *testing.T) {
	ca, cert, key, _, _ := certificates(t)
	cfg := embedded()
	cfg.Listen, cfg.Certificate, cfg.Key, cfg.CA = "0.0.0.0:0", cert, key, ca
	dir := t.TempDir()
	gateCfg := cfg
	gateCfg.Join = dir
	gate := openAs(t, gateCfg, "gate")
	sensor := open(t, cfg, dir)
	until(t, "ready", 10*time.Second, func() bool { return gate.Ready() == nil })
	closeBus(t, sensor)
}

func TestJoinCheck(t *testing.T) {
	c := join("/x")
	c.Servers = []string{"nats://a"}
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "to join") {
		t.Error(err)
	}
}

func TestClient(t *testing.T) {
	dir, address := t.TempDir(), freeAddress(t)
	k := keys(t)
	for cfg, want := range map[*Config]string{new(embedded()): dir + "/nats.url", new(outside("nats://" + address)): "no server at nats://" + address} {
		if _, err := Dial(within(t, 5*time.Second), *cfg, "site.one", dir, "cli", k); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b := open(t, embedded(), dir)
	if _, err := Dial(within(t, 0), embedded(), "site.one", dir, "cli", k); err == nil {
		t.Error("dialled after the end")
	}
	c := dial(t, embedded(), dir, k)
	past := time.Now().Add(-time.Minute)
	if err := b.Drop("requested", "a.1", []byte("1")); err != nil {
		t.Fatal(err)
	}
	until(t, "published", 5*time.Second, published(b, Drop, 1))
	for range 2 { // the second is a duplicate
		if err := c.Drop("panic", "b.1", []byte("2")); err != nil {
			t.Fatal(err)
		}
	}
	read := func(c *Client, since time.Time) (all []string) {
		t.Helper()
		err := c.Drops(within(t, 5*time.Second), since, false, func(subject string, p []byte) error {
			all = append(all, subject+" "+string(p))
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return all
	}
	want := "weir.v1.site_2Eone.web_201_2Eexample_2Eorg.drop.requested 1,weir.v1.site_2Eone.cli.drop.panic 2"
	if got := strings.Join(read(c, past), ","); got != want {
		t.Error(got)
	}
	if got := read(c, time.Now().Add(time.Minute)); got != nil {
		t.Error(got)
	}
	if err := c.State().Put(within(t, 5*time.Second), "k", []byte("v")); err != nil {
		t.Error(err)
	}
	n := 0
	if err := b.State(k).Read(within(t, 5*time.Second), func(e Signed) { n++ }); err != nil || n != 1 {
		t.Error(n, err)
	}
	// It goes on through a restart with another port, also while it follows.
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan string, 10)
	done := make(chan error)
	go func() {
		done <- c.Drops(ctx, past, true, func(_ string, p []byte) error { got <- string(p); return nil })
	}()
	if a, b := <-got, <-got; a != "1" || b != "2" {
		t.Error(a, b)
	}
	closeBus(t, b)
	b = open(t, embedded(), dir)
	if err := c.Drop("resumed", "c.1", []byte("3")); err != nil {
		t.Error(err)
	}
	if p := <-got; p != "3" {
		t.Error(p)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	other, err := Dial(within(t, 5*time.Second), embedded(), "elsewhere", dir, "cli", k)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Drops(within(t, 5*time.Second), past, false, nil)
	if err == nil || !strings.Contains(err.Error(), `no stream WEIR_DROPS_elsewhere: no sensor of site "elsewhere"`) {
		t.Error(err)
	}
	if err := other.Drop("x", "x", nil); err == nil || !strings.Contains(err.Error(), "has no stream for") {
		t.Error(err)
	}
	asked := make(chan error)
	serve(t, b, k, "long", "g", func(_, _ string, _ []byte) [][]byte { time.Sleep(300 * time.Millisecond); return nil })
	short, stop := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer stop()
	if _, err := c.Ask(short, "long", nil, 5*time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	go func() {
		_, err := c.Ask(context.Background(), "long", nil, 5*time.Second)
		asked <- err
	}()
	time.Sleep(50 * time.Millisecond)
	c.Close()
	if err := <-asked; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	other.Close()
	if err := other.Drop("x", "x", nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := other.Ask(within(t, time.Second), "c", nil, time.Second); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	closeBus(t, b)
}
