// Package web is the live page of a process and its HTTP API; docs/api.md describes it. It is a window: what it shows it is
// given (Server.Alert, Server.Second, Options), and what a person changes goes through Drops. Everything from packets is hostile
// text: it leaves as JSON in which no string can be taken for markup.
//
// It lives in real time: timeouts, streams and the count of wrong tokens go by the clock of the process.
package web

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"weir/sensor/alert"
)

// Bounds of a request.
const (
	headerTime = 5 * time.Second
	bodyTime   = 10 * time.Second // header and body
	answerTime = 30 * time.Second // to take a short answer
	fileTime   = 5 * time.Minute  // to take a long one
	idleTime   = time.Minute      // of a connection between two requests
	maxHeader  = 16 << 10
	maxBody    = 16 << 10
)

// Drops are those of the site. Methods are called from many goroutines; what cannot be done is an *Error, other errors count as 503.
// by names who asks.
type Drops interface {
	List(ctx context.Context) (*DropList, error)
	Add(ctx context.Context, ask Ask, by string) (*Drop, error)
	Remove(ctx context.Context, id, reason, by string) (*Drop, error)
	Approve(ctx context.Context, id, reason, by string) (*Drop, error)
}

// Options are what a Server shows, and who may change it.
type Options struct {
	Config   Config
	Token    string                 // of who may change, and from elsewhere read; "": nobody may
	Host     string                 // this machine's name, in who asked for a change
	Status   func() *Status         // from any goroutine
	Drops    Drops                  // nil: none are known
	ReadOnly bool                   // nothing can be changed, whoever asks
	Evidence func(id string) string // file of an alert's frames, "" without; nil: there are none
	Log      *slog.Logger
}

// Server serves the page. Its methods may be called from any goroutine.
type Server struct {
	opt     Options
	private bool // only this host can reach it
	names   map[string]bool
	log     *slog.Logger
	hub     *hub
	files   map[string]*file
	wrong   *attempts
	http    *http.Server
	pair    *certificate // nil: no TLS
	stop    chan struct{}
	ending  sync.Once
	work    sync.WaitGroup
}

// New makes a server, of settings that were checked. It serves nothing yet.
func New(opt Options) (*Server, error) {
	var boot [6]byte
	_, _ = rand.Read(boot[:]) // never fails
	s := &Server{
		opt: opt, private: opt.Config.loopback(), log: opt.Log, hub: newHub(hex.EncodeToString(boot[:])), files: pageFiles(), wrong: newAttempts(),
		names: map[string]bool{}, stop: make(chan struct{}),
	}
	for _, name := range opt.Config.Names {
		s.names[hostName(name)] = true
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // bounds of connections are bounds of requests
	s.http = &http.Server{
		Handler: s.handler(), ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug), Protocols: protocols,
		ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
	}
	if opt.Config.Certificate != "" {
		s.pair = &certificate{cert: opt.Config.Certificate, key: opt.Config.Key, log: opt.Log}
		if err := s.pair.load(); err != nil {
			return nil, err
		}
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.pair.get, NextProtos: []string{"http/1.1"}}
	}
	return s, nil
}

// Serve serves what connects to the listener, until Close; it returns at once.
func (s *Server) Serve(l net.Listener) {
	s.work.Go(func() { s.hub.run(s.stop) })
	l = limitConnections(l, maxConnections, maxOfAddress)
	if s.http.TLSConfig != nil {
		l = tls.NewListener(l, s.http.TLSConfig)
	}
	s.work.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the page is no longer served", "error", err)
		}
	})
}

// Close ends all connections. It waits for what the server does.
func (s *Server) Close() (err error) {
	s.ending.Do(func() {
		close(s.stop)
		err = s.http.Close()
		s.work.Wait()
	})
	return err
}

// Alert shows a revision, which is not changed any more. Text is its JSON as it was published; nil: it is made of the alert. It never
// waits.
func (s *Server) Alert(a *alert.Alert, text []byte) { s.hub.put(entry{alert: a, text: text}) }

// Past is Alert for one from before, of which there may be many at once, the oldest first: it waits for its turn, until ctx or the server
// ends. In lists they come behind those of Alert, and no one of those gives way to them.
func (s *Server) Past(ctx context.Context, a *alert.Alert, text []byte) {
	select {
	case s.hub.queue <- entry{a, text, true}:
	case <-s.stop:
	case <-ctx.Done():
	}
}

// Second is what is new of a second; parts that are nil are not.
type Second struct {
	Point *Point
	Top   *Top
	Near  *Near
}

// brief is what of the status goes with each second.
type brief struct {
	AlertsOpen *uint64  `json:"alerts_open,omitempty"`
	Drops      Counts   `json:"drops"`
	NotReady   []string `json:"not_ready"`
	Loss       Loss     `json:"loss"`
	Panic      *Panic   `json:"panic"`
}

// Second shows what is new, and the status.
func (s *Server) Second(now Second) {
	st := s.opt.Status()
	out := struct {
		Point  *Point `json:"point,omitempty"`
		Top    *Top   `json:"top,omitempty"`
		Status brief  `json:"status"`
	}{now.Point, now.Top, brief{st.AlertsOpen, st.Drops, st.NotReady, st.Loss, st.Panic}}
	s.hub.mu.Lock()
	if now.Point != nil {
		s.hub.series.add(*now.Point)
	}
	if now.Top != nil {
		s.hub.top = now.Top
	}
	if now.Near != nil {
		s.hub.near = now.Near
	}
	s.hub.mu.Unlock()
	s.tell("second", out)
	if now.Near != nil {
		s.tell("near", now.Near)
	}
}

// DropsChanged has readers ask for the drops again.
func (s *Server) DropsChanged() { s.tell("drops", struct{}{}) }

func (s *Server) tell(name string, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		s.log.Error("the page cannot show it", "event", name, "error", err)
		return
	}
	s.hub.tell(name, text)
}

// Stats are what metrics show of a Server. Counters are since the start.
type Stats struct {
	Streams int    // open
	Lost    uint64 // alerts that did not fit into the queue
	Slow    uint64 // streams that were cut off because their reader was too slow
	Refused [reasonCount]uint64
}

// Stats returns them.
func (s *Server) Stats() Stats {
	out := Stats{Streams: s.hub.streams(), Lost: s.hub.lost.Load(), Slow: s.hub.slow.Load()}
	for i := range out.Refused {
		out.Refused[i] = s.wrong.refused[i].Load()
	}
	return out
}

// remote is who asks.
func remote(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap().WithZone("")
}
