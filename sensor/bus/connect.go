package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	connectTimeout = 2 * time.Second
	writeTimeout   = 5 * time.Second  // a server that takes no bytes for so long is left
	pingInterval   = 10 * time.Second // and one that is silent for two of these
	firstRetry     = 100 * time.Millisecond
	lastRetry      = 5 * time.Second
)

// dialer dials connections that close when its context ends, so that nobody waits for a server that stands still.
type dialer struct{ ctx context.Context }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, connectTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &dialed{conn, context.AfterFunc(d.ctx, func() { conn.Close() })}, nil
}

type dialed struct {
	net.Conn
	stop func() bool
}

// Close closes the connection.
func (d *dialed) Close() error {
	d.stop()
	return d.Conn.Close()
}

// options of a connection to servers of the user's, or to the embedded one of another process.
func (c *Config) options(ctx context.Context, name string) ([]nats.Option, error) {
	if err := c.checkFiles(); err != nil {
		return nil, err
	}
	opts := []nats.Option{
		nats.Name(name), nats.SetCustomDialer(dialer{ctx}), nats.Timeout(connectTimeout), nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(pingInterval), nats.MaxReconnects(-1), nats.CustomReconnectDelay(retryDelay),
		nats.ReconnectBufSize(-1), // nothing waits where it is not counted
		nats.IgnoreAuthErrorAbort(),
	}
	if c.Credentials != "" {
		opts = append(opts, nats.UserCredentials(c.Credentials))
	}
	if c.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("nats: nkey: %s: %w", c.NKey, err)
		}
		opts = append(opts, o)
	}
	if c.CA != "" && !c.embedded() { // within a process nobody listens
		opts = append(opts, nats.RootCAs(c.CA))
	}
	if c.Certificate != "" && c.outside() {
		opts = append(opts, nats.ClientCert(c.Certificate, c.Key))
	}
	if c.Join != "" {
		j := joiner{dialer{ctx}, c.Join}
		opts = append(opts, nats.SetCustomDialer(j), nats.TokenHandler(j.token), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers())
	}
	return opts, nil
}

// joiner finds the server inside another process at each attempt to connect, as that may have been restarted with another
// port.
type joiner struct {
	dialer
	dir string // state folder of that process
}

func (j joiner) find() (*url.URL, error) {
	path := filepath.Join(j.dir, urlFile)
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: only the sensor's own user may read it, and root (sudo)", err)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("%w: no sensor has run with the state folder %s, and nats.servers names no other server", err, j.dir)
	case err != nil:
		return nil, err
	}
	u, err := url.Parse(strings.TrimSpace(string(b)))
	if err != nil || u.Host == "" || u.User == nil {
		return nil, fmt.Errorf("%s is damaged: the next start of the sensor writes it anew", path)
	}
	return u, nil
}

// Dial implements nats.CustomDialer.
func (j joiner) Dial(network, _ string) (net.Conn, error) {
	u, err := j.find()
	if err != nil {
		return nil, err
	}
	return j.dialer.Dial(network, u.Host)
}

func (j joiner) token() string {
	u, err := j.find()
	if err != nil {
		return ""
	}
	return u.User.Username()
}

// retryDelay is how long to wait after having tried all servers some times.
func retryDelay(attempts int) time.Duration {
	d := min(firstRetry<<min(max(attempts-1, 0), 10), lastRetry)
	return d - time.Duration(rand.Int64N(int64(d)/4+1)) // not all sensors at once
}

// sparse logs a repeated event at most once in a while, with how often it came.
type sparse struct {
	mu   sync.Mutex
	last time.Time
	held int
}

const sparseEvery = 30 * time.Second

func (s *sparse) log(log *slog.Logger, level slog.Level, message string, about ...any) {
	s.mu.Lock()
	held := s.held
	now := time.Now()
	if !s.last.IsZero() && now.Sub(s.last) < sparseEvery {
		s.held++
		s.mu.Unlock()
		return
	}
	s.last, s.held = now, 0
	s.mu.Unlock()
	if held > 0 {
		about = append(about, "unlogged", held)
	}
	log.Log(context.Background(), level, message, about...)
}

// explain makes an error of the connection one that says what to do.
func explain(err error) error {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return fmt.Errorf("%w: the server refuses us: check credentials, nkey, certificate or the token in the URL", err)
	case errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("%w: use tls:// for servers with TLS and nats:// for those without", err)
	}
	return err
}
