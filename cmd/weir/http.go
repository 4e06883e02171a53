package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsConfig says where the metrics are served.
type metricsConfig struct {
	Listen string `yaml:"listen"` // address and port; empty: nowhere
}

func defaultMetrics() metricsConfig { return metricsConfig{Listen: "127.0.0.1:9470"} }

// Check tells what cannot be listened on, without trying.
func (c *metricsConfig) Check() error {
	if c.Listen == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(c.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("metrics: listen is %q, must be an address and a port, as in 127.0.0.1:9470, or empty", c.Listen)
	}
	return nil
}

const index = `weir: a packet sensor

/metrics  for Prometheus; docs/metrics.md explains each
/healthz  200 while the work goes on, 503 and what stands still otherwise
/readyz   200 while all that is needed is there and all that is wanted is done, 503 and the reasons otherwise
`

// handler serves the metrics, whether the process lives and is ready, and with the flag Go's profiles.
func (m *metrics) handler(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: 4,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		var reasons []string
		if err := m.stuck(time.Now()); err != nil {
			reasons = []string{err.Error()}
		}
		verdict(w, reasons)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { verdict(w, m.ready(time.Now())) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, index) })
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and the profiles by name
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// verdict answers ok, or what is wrong, a line each.
func verdict(w http.ResponseWriter, reasons []string) {
	if len(reasons) == 0 {
		writeText(w, http.StatusOK, "ok\n")
		return
	}
	writeText(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n")+"\n")
}

func writeText(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	io.WriteString(w, text) //nolint:errcheck // the client has gone
}

// serveHTTP serves h at addr until the server that it returns is closed. It listens before it returns.
func serveHTTP(addr string, h http.Handler, log *slog.Logger) (*http.Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError("metrics.listen", addr, err)
	}
	if at, err := netip.ParseAddrPort(listener.Addr().String()); err == nil && !at.Addr().IsLoopback() {
		log.Warn("metrics can be read from other hosts, without a password", "listen", at.String())
	}
	server := &http.Server{
		Addr: listener.Addr().String(), Handler: h, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are no longer served", "error", err)
		}
	}()
	return server, nil
}

// listenError says how to mend what keeps the address of a setting from being listened on.
func listenError(setting, addr string, err error) error {
	mend := "is not an address to listen on; it has the form 127.0.0.1:9470"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		mend = "is in use; stop who listens there (ss -ltnp), or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		mend = "is no address of this host"
	case errors.Is(err, syscall.EACCES):
		mend = "needs privileges; choose a port from 1024 on"
	}
	return fmt.Errorf("%s: %s %s (%w)", setting, addr, mend, err)
}
