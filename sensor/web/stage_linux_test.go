package web_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/sensor/alert"
	"weir/sensor/web"
)

// stage is a server of the page that shows what a test tells it to. It can be reached over a line that the test can cut.
type stage struct {
	t        *testing.T
	url      string
	frames   string // file of evidence of every alert
	server   *web.Server
	line     *line
	settings web.Config
	quit     chan struct{}
	beat     sync.WaitGroup

	mu     sync.Mutex
	status web.Status
	drops  []web.Drop
	burst  int64 // unix seconds: a minute of more than usual begins
}

const stageToken = "correct horse battery staple"

// newStage serves a sensor that has watched a quiet network for two hours.
func newStage(t *testing.T) *stage { t.Helper(); return newStageOf(t, func(*web.Config) {}) }

// newStageOf is newStage with other settings than those of a page that only this host can see.
func newStageOf(t *testing.T, set func(*web.Config)) *stage {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, url: "http://" + l.Addr().String(), quit: make(chan struct{})}
	zero := 0
	s.status = web.Status{
		Version: "1.0.0", Site: "ams-1", Sensor: "edge-3", Mode: "run", Started: time.Now().Add(-127 * time.Minute),
		Interfaces: []web.Interface{{Name: "eth0", Up: true, Packets: 184_302_118}}, NotReady: []string{}, Changes: true,
		Drops: web.Counts{Wanted: &zero, Enforced: &zero, Shadow: &zero, Pending: &zero}, Loss: web.Loss{Causes: map[string]uint64{}},
	}
	s.settings = web.Config{Listen: l.Addr().String()}
	if set(&s.settings); s.settings.Certificate != "" {
		s.url = "https" + strings.TrimPrefix(s.url, "http")
	}
	s.serve(l)
	t.Cleanup(func() {
		close(s.quit)
		s.beat.Wait()
		_ = s.server.Close()
	})
	return s
}

// serve starts a server, which knows nothing yet.
func (s *stage) serve(l net.Listener) {
	s.t.Helper()
	server, err := web.New(web.Options{
		Config: s.settings, Token: stageToken, Host: "edge-3", Drops: s, Log: slog.New(slog.DiscardHandler),
		Evidence: func(string) string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.frames
		},
		Status: func() *web.Status {
			s.mu.Lock()
			defer s.mu.Unlock()
			now := s.status
			now.Now = time.Now()
			return &now
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.server, s.line = server, &line{Listener: l, held: map[net.Conn]bool{}}
	server.Serve(s.line)
}

// restart ends the server and starts another one in its place.
func (s *stage) restart() {
	s.t.Helper()
	_ = s.server.Close()
	l, err := net.Listen("tcp", s.settings.Listen)
	if err != nil {
		s.t.Fatal(err)
	}
	s.serve(l)
}

// set changes what the sensor tells of itself.
func (s *stage) set(change func(*web.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

// history tells seconds up to now, of a link with a daily sort of load; from then on a second each second.
func (s *stage) history(seconds int, learned bool) {
	begin := time.Now().Unix() - int64(seconds)
	tell := func(t int64) { s.server.Second(web.Second{Point: s.point(t, learned), Top: someTop(t)}) }
	for i := range seconds {
		tell(begin + int64(i))
	}
	s.beat.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case now := <-tick.C:
				tell(now.Unix())
			case <-s.quit:
				tick.Stop()
				return
			}
		}
	})
}

// point is one second. Its wave has no chance in it, and is no model of anything.
func (s *stage) point(t int64, learned bool) *web.Point {
	x := float64(t)
	wave := 1 + 0.12*math.Sin(x/97) + 0.07*math.Sin(x/13) + 0.05*math.Sin(x*1.7) + 0.04*math.Sin(x*0.9+1)
	if since := x - float64(s.burst); since > 0 && since < 70 {
		wave *= 1 + 1.5*math.Sin(since/70*math.Pi)
	}
	p := &web.Point{Time: t, Packets: 41_200 * wave, Bits: 287e6 * wave}
	if learned {
		p.PacketsBand = &web.PacketsBand{Mean: 41_000, Stddev: 2_900, Alarm: 88_000}
		p.BitsBand = &web.BitsBand{Mean: 285e6, Stddev: 19e6, Alarm: 590e6}
	}
	return p
}

func someTop(t int64) *web.Top {
	top := &web.Top{Time: time.Unix(t, 0), Window: 10}
	names := []string{"cdn-edge", "", "", "backup", "", "office", "", "", "monitor", "", "", ""}
	for i := range 12 {
		n := uint64(400_000 / (i + 2))
		top.Sources = append(top.Sources, web.TopSource{IP: fmt.Sprintf("203.0.113.%d", 7*i+3), Name: names[i], Packets: n / 5, Bytes: 900 * n / 5, Connections: n / 900})
	}
	for i, name := range []string{"https", "http", "dns", "ssh", "smtp", "imaps", "postgresql", "ntp"} {
		n := uint64(700_000 / (i*i + 2))
		ports := []uint16{443, 80, 53, 22, 25, 993, 5432, 123}
		protocol := "tcp"
		if name == "dns" || name == "ntp" {
			protocol = "udp"
		}
		top.Services = append(top.Services, web.TopService{IP: fmt.Sprintf("198.51.100.%d", 10+i), Port: ports[i], Protocol: protocol, Service: name, Packets: n / 4, Bytes: 640 * n / 4, Connections: n / 700})
	}
	return top
}

// golden are real alerts: every last revision that the golden cases have, with their times moved to just before now.
func golden(t *testing.T) (all []*alert.Alert) {
	t.Helper()
	files, _ := filepath.Glob("../../pcaps/*/*/want.jsonl")
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		list, err := alert.Read(f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		newest := map[string]*alert.Alert{}
		for _, a := range list {
			newest[a.ID] = a
		}
		for _, a := range list {
			if newest[a.ID] == a {
				all = append(all, a)
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("%d golden alerts: where are they?", len(all))
	}
	slices.SortStableFunc(all, func(a, b *alert.Alert) int { return strings.Compare(a.ID, b.ID) })
	grave := slices.DeleteFunc(slices.Clone(all), func(a *alert.Alert) bool { return a.Severity < alert.High && a.Analyzer != "incident" })
	all = slices.DeleteFunc(all, func(a *alert.Alert) bool { return slices.Contains(grave, a) })
	for i, a := range grave { // are spread over the newest, so that pictures have some
		all = slices.Insert(all, len(all)-1-5*i, a)
	}
	for i, a := range all {
		shift := alert.Time(time.Now().UnixNano()) - a.Time - alert.Time(time.Duration(len(all)-i)*7*time.Second)
		a.Time, a.First, a.Last, a.Sensor = a.Time+shift, a.First+shift, a.Last+shift, "edge-3"
		if i%5 == 0 || i >= len(all)-4 {
			a.State = alert.Update
		}
		if a.Subject != nil && i%3 == 0 && a.Severity >= alert.Medium {
			a.Action = &alert.Action{Drop: "00000000000000d0", Effect: "drop"}
		}
	}
	return all
}

// tell shows alerts, no faster than the server takes them: its queue is bounded.
func (s *stage) tell(all ...*alert.Alert) {
	s.t.Helper()
	for i, a := range all {
		s.server.Alert(a, nil)
		for end := time.Now().Add(20 * time.Second); i%1000 == 999 && s.newest() != a.ID; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				s.t.Fatalf("the server has not taken alert %d", i)
			}
		}
	}
}

// newest is the id of the newest alert that the server tells of.
func (s *stage) newest() string {
	s.t.Helper()
	var list struct {
		Alerts []struct{ Alert struct{ ID string } }
	}
	r, err := http.Get(s.url + "/api/v1/alerts?limit=1")
	if err == nil {
		err = json.NewDecoder(r.Body).Decode(&list)
		_ = r.Body.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if len(list.Alerts) == 0 {
		return ""
	}
	return list.Alerts[0].Alert.ID
}

// List implements web.Drops.
func (s *stage) List(context.Context) (*web.DropList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := &web.DropList{Drops: append([]web.Drop{}, s.drops...)}
	for _, d := range s.drops {
		if d.State != "pending" {
			list.Wanted++
		}
		if d.State == "applied" || d.State == "shadow" {
			list.Enforced++
		}
	}
	return list, nil
}

// Add implements web.Drops. The host's own address is never dropped.
func (s *stage) Add(_ context.Context, ask web.Ask, by string) (*web.Drop, error) {
	a, err := netip.ParseAddr(ask.Target)
	switch {
	case err != nil:
		return nil, &web.Error{Status: 400, Text: "the target is no address"}
	case a == netip.MustParseAddr("192.0.2.1"):
		return nil, &web.Error{Status: 409, Text: "it is an address of this site or host", Guard: "own_address"}
	}
	span, _ := time.ParseDuration(ask.For)
	d := web.Drop{
		ID: fmt.Sprintf("%016s", hex.EncodeToString(a.AsSlice())), Key: "address." + ask.Target, Target: ask.Target, Action: "drop", State: "applied", Reason: ask.Reason, By: by,
		Created: time.Now(), Until: time.Now().Add(span), Gates: []web.DropGate{{Sensor: "edge-3", Interface: "eth0", Table: "hosts4", State: "applied"}},
	}
	s.mu.Lock()
	s.drops = append(s.drops, d)
	s.mu.Unlock()
	return &d, nil
}

// Remove implements web.Drops.
func (s *stage) Remove(_ context.Context, id, _, _ string) (*web.Drop, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, d := range s.drops {
		if d.ID == id {
			s.drops = slices.Delete(s.drops, i, i+1)
			return &d, nil
		}
	}
	return nil, &web.Error{Status: 404, Text: "there is no such drop"}
}

// Approve implements web.Drops.
func (s *stage) Approve(_ context.Context, id, _, by string) (*web.Drop, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.drops {
		if s.drops[i].ID == id {
			s.drops[i].State, s.drops[i].Approved, s.drops[i].Guard = "applied", by, ""
			return &s.drops[i], nil
		}
	}
	return nil, &web.Error{Status: 404, Text: "there is no such drop"}
}

// line is a listener whose connections a test can cut, and keep from coming back.
type line struct {
	net.Listener
	mu   sync.Mutex
	down bool
	held map[net.Conn]bool
}

// Accept implements net.Listener.
func (l *line) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if !l.down {
			l.held[c] = true
			l.mu.Unlock()
			return c, nil
		}
		l.mu.Unlock()
		_ = c.Close()
	}
}

// cut takes the line down, or up again.
func (l *line) cut(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	for c := range l.held {
		_ = c.Close()
		delete(l.held, c)
	}
}
