package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/web"
)

// openPage begins to serve the page.
func (s *sensing) openPage(id bus.Identity) (err error) {
	mode := "sense"
	if s.gate != nil {
		mode = "run"
	}
	s.page, err = openPage(&pageOf{
		settings: s.settings, id: id, mode: mode, auto: sensePage, state: s.state.Dir(), token: s.state.Dir(), metrics: s.metrics, decider: s.decider, gates: s.gates,
		protect: s.protect, keys: s.keys, log: s.log, seldom: s.seldom, rehearses: s.rehearses,
		run: s.run.Load,
	})
	return err
}

// rehearses tells whether nothing is to be dropped here.
func (s *sensing) rehearses() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gate != nil && s.settings.Policy.Shadow
}

// openPage begins to serve the page of a gate. Its alerts are those of the site's sensors.
func (b *blocking) openPage(id bus.Identity) (err error) {
	b.page, err = openPage(&pageOf{
		settings: b.settings, id: id, mode: "block", auto: blockPage, state: b.cmd.State, token: b.state.Dir(), metrics: b.metrics, gates: b.gates, protect: b.protect,
		keys: b.keys, log: b.log, seldom: b.log, rehearses: func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.rehearses()
		},
	})
	return err
}

// Where pages are, unless the configuration says otherwise: a sensor and a gate may share a host, and a configuration.
const (
	sensePage = "127.0.0.1:9480"
	blockPage = "127.0.0.1:9481"
)

// pageToken is the file in the state folder that holds the token, unless the configuration names another.
const pageToken = "web.token"

// pageOf is what a process has to show. What does not run is nil.
type pageOf struct {
	settings  config
	id        bus.Identity
	mode      string // sense, run, block
	auto      string // where web.Auto is
	state     string // folder, by which the bus is found
	token     string // folder of the token
	metrics   *metrics
	decider   *decider
	gates     *gates
	protect   *protected
	keys      *bus.Keys
	rehearses func() bool
	run       func() *sensingRun // the present life of the engine; nil: there is none
	log       *slog.Logger
	seldom    *slog.Logger
}

// page is the live page and its API. A nil one serves nothing.
type page struct {
	*pageOf
	server *web.Server
	drops  *pageDrops
	view   pageView
	counts atomic.Pointer[web.Counts] // of drops, as the last status told them
	stop   context.CancelFunc
	work   sync.WaitGroup
}

// openPage listens, and serves until close.
func openPage(of *pageOf) (*page, error) {
	cfg := of.settings.Web
	if cfg.Listen == "" {
		return nil, nil //nolint:nilnil // a nil page serves nothing
	}
	if cfg.Listen == web.Auto {
		cfg.Listen = of.auto
	}
	file := cmp.Or(cfg.TokenFile, filepath.Join(of.token, pageToken))
	token, err := readToken(file, cfg.TokenFile == "")
	if err != nil {
		return nil, err
	}
	p := &page{pageOf: of}
	p.drops = newPageDrops(of)
	p.server, err = web.New(web.Options{
		Config: cfg, Token: token, Host: thisHost(), Status: p.status, Drops: p.drops, Evidence: of.evidence(), Log: of.log,
		ReadOnly: of.decider == nil && of.keys.Own() == "",
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, listenError("web.listen", cfg.Listen, err)
	}
	p.server.Serve(l)
	of.metrics.page.Store(p.server)
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	p.view.follow(of.protect)
	p.work.Go(func() { p.seconds(ctx) })
	p.work.Go(func() { p.drops.follow(ctx, p.server.DropsChanged) })
	p.work.Go(func() { p.past(ctx) })
	of.log.Info("the page is served", "url", pageURL(&cfg, l.Addr()), "token", file)
	return p, nil
}

// pageURL is where to look.
func pageURL(cfg *web.Config, at net.Addr) string {
	u := url.URL{Scheme: "http", Host: at.String(), Path: "/"}
	if cfg.Certificate != "" {
		u.Scheme = "https"
		if len(cfg.Names) > 0 {
			_, port, _ := net.SplitHostPort(u.Host)
			u.Host = net.JoinHostPort(cfg.Names[0], port)
		}
	}
	return u.String()
}

// evidence finds the frames of an alert, by an id of 16 hex digits.
func (of *pageOf) evidence() func(id string) string {
	folder := storeFolder(&of.settings.Store, of.state)
	return func(id string) string {
		name := filepath.Join(folder, "evidence", id+".pcapng")
		if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
			return ""
		}
		return name
	}
}

// alert shows a revision. On the judge's goroutine: it never waits.
func (p *page) alert(a *alert.Alert, _ []byte) {
	if p != nil {
		p.server.Alert(a, nil)
	}
}

// close ends the page's connections.
func (p *page) close() error {
	if p == nil {
		return nil
	}
	p.stop()
	err := p.server.Close()
	p.work.Wait()
	p.drops.close()
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	return nil
}

// engine is what the engine shows now; nil without one.
func (of *pageOf) engine() *sensor.Engine {
	if of.run == nil {
		return nil
	}
	if r := of.run(); r != nil {
		return r.engine
	}
	return nil
}
