package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

func TestFollowFilters(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	defer closeBus(t, b)
	for i, kind := range []string{"scan", "flood", "scan", "odd.name"} {
		for _, severity := range []string{"low", "high", "critical"} {
			if err := b.Alert(kind, severity, fmt.Sprint(i, severity), fmt.Append(nil, i, " ", severity)); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "published", 5*time.Second, published(b, Alert, 12))
	middle := time.Now()
	if err := b.Alert("scan", "info", "late", []byte("late")); err != nil {
		t.Fatal(err)
	}
	until(t, "published", 5*time.Second, published(b, Alert, 13))
	past := middle.Add(-time.Minute)
	for _, test := range []struct {
		opt  FollowOptions
		want string
	}{
		{FollowOptions{Since: past}, "0 low,0 high,0 critical,1 low,1 high,1 critical,2 low,2 high,2 critical,3 low,3 high,3 critical,late"},
		{FollowOptions{Since: past, Analyzer: "scan"}, "0 low,0 high,0 critical,2 low,2 high,2 critical,late"},
		{FollowOptions{Since: past, Analyzer: "odd.name", Severities: []string{"high"}}, "3 high"},
		{FollowOptions{Since: past, Severities: []string{"high", "critical"}}, "0 high,0 critical,1 high,1 critical,2 high,2 critical,3 high,3 critical"},
		{FollowOptions{Since: past, Analyzer: "none"}, ""},
		{FollowOptions{Since: middle}, "late"},
		{FollowOptions{Since: time.Now().Add(time.Hour)}, ""},
		{FollowOptions{}, ""},
	} {
		var got []string
		err := Follow(within(t, 5*time.Second), embedded(), "site.one", dir, test.opt, func(_ string, p []byte) error { got = append(got, string(p)); return nil })
		if err != nil || strings.Join(got, ",") != test.want {
			t.Errorf("%+v: %v, %v", test.opt, got, err)
		}
	}
	stop := errors.New("stop")
	opt := FollowOptions{Since: past, Follow: true}
	if err := Follow(within(t, 5*time.Second), embedded(), "site.one", dir, opt, func(string, []byte) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestFollowErrors(t *testing.T) {
	each := func(string, []byte) error { return nil }
	dir, address := t.TempDir(), freeAddress(t)
	err := Follow(within(t, 10*time.Second), embedded(), "s", dir, FollowOptions{Follow: true}, each)
	if err == nil || !strings.Contains(err.Error(), dir+"/nats.url") || !strings.Contains(err.Error(), "no sensor has run") {
		t.Error(err)
	}
	if err := writeFile(dir+"/nats.url", "nats://secret@"+address+"\n"); err != nil {
		t.Fatal(err)
	}
	err = Follow(within(t, 10*time.Second), embedded(), "s", dir, FollowOptions{Follow: true}, each)
	if err == nil || !strings.Contains(err.Error(), "nats://"+address) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	err = Follow(within(t, 10*time.Second), outside("nats://"+address), "s", "", FollowOptions{Follow: true}, each)
	if err == nil || !strings.Contains(err.Error(), "nats://"+address) {
		t.Error(err)
	}
	s := run(t, nil)
	err = Follow(within(t, 10*time.Second), outside(s.ClientURL()), "un seen", "", FollowOptions{Follow: true}, each)
	if err == nil || !strings.Contains(err.Error(), "WEIR_ALERTS_un_20seen") || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// A reader sees each alert once and in order though the server is restarted under it, from its first moment on.
func TestFollowThroughRestarts(t *testing.T) {
	address, store := freeAddress(t), t.TempDir()
	start := func() *server.Server {
		return run(t, func(o *server.Options) { o.Port, o.StoreDir = portOf(t, address), store })
	}
	s := start()
	cfg := outside("nats://" + address)
	b := open(t, cfg, t.TempDir())
	until(t, "ready", 10*time.Second, func() bool { return b.Ready() == nil })
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	var got []string
	var n atomic.Int64
	var failed error
	work.Go(func() {
		failed = Follow(ctx, cfg, "site.one", "", FollowOptions{Follow: true}, func(_ string, p []byte) error {
			got = append(got, string(p))
			n.Add(1)
			return nil
		})
	})
	time.Sleep(300 * time.Millisecond) // it is there, and has seen nothing
	var want []string
	for i := range 4 {
		stop(s)
		for j := range 50 {
			want = append(want, fmt.Sprint(i, " ", j))
			if err := b.Alert("scan", "low", want[len(want)-1], []byte(want[len(want)-1])); err != nil {
				t.Fatal(err)
			}
		}
		s = start()
		until(t, "published", 10*time.Second, published(b, Alert, uint64(len(want))))
	}
	until(t, "all followed", 30*time.Second, func() bool { return n.Load() >= int64(len(want)) })
	stop(s) // and it ends while it waits for a server
	begin := time.Now()
	cancel()
	work.Wait()
	if d := time.Since(begin); failed != nil || d > writeTimeout {
		t.Errorf("ended after %v: %v", d, failed)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d of %d: %v", len(got), len(want), got)
	}
	closeBus(t, b)
}

func TestHealth(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	nc, err := nats.Connect(serverIn(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("weir.v1.*.*.health")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.Health(fmt.Appendf(nil, `{"n":%d}`, i))
		m, err := sub.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "weir.v1.site_2Eone.web_201_2Eexample_2Eorg.health" || string(m.Data) != fmt.Sprintf(`{"n":%d}`, i) ||
			m.Header.Get(SequenceHeader) != fmt.Sprint(i+1) || len(m.Header.Get(BootHeader)) != 16 {
			t.Errorf("%+v", m)
		}
	}
	b.Health([]byte("last"))
	closeBus(t, b) // which flushes
	if m, err := sub.NextMsg(5 * time.Second); err != nil || string(m.Data) != "last" {
		t.Error(err)
	}
	if s := b.Stats().Kinds[Health]; s.Published != 4 || s.lost() != 0 {
		t.Errorf("%+v", s)
	}
}
