package web

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Connections at once: in all, and of one address elsewhere.
const (
	maxConnections = 256
	maxOfAddress   = 96 // a browser with all streams, and some
)

// limited is a listener that accepts no more than some connections at once. Who is beyond the limit of its address is hung up on;
// beyond the limit of all, new connections wait.
type limited struct {
	net.Listener
	slots  chan struct{}
	closed chan struct{}
	once   sync.Once
	each   int

	mu   sync.Mutex
	from map[netip.Prefix]int
}

func limitConnections(l net.Listener, all, each int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, all), closed: make(chan struct{}), each: each, from: map[netip.Prefix]int{}}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.slots
			return nil, err
		}
		at, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		p := network(at.Addr().Unmap().WithZone(""))
		if l.enter(p) {
			return &limitedConn{Conn: c, leave: func() { l.leave(p) }}, nil
		}
		c.Close()
		<-l.slots
	}
}

// enter counts a connection of an address; false: it has too many. Programs of this host are one another's neighbours.
func (l *limited) enter(p netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.from[p] >= l.each && !p.Addr().IsLoopback() {
		return false
	}
	l.from[p]++
	return true
}

func (l *limited) leave(p netip.Prefix) {
	l.mu.Lock()
	if l.from[p]--; l.from[p] == 0 {
		delete(l.from, p)
	}
	l.mu.Unlock()
	<-l.slots
}

// Close implements net.Listener.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}

// certificateEvery is how often its files are looked at.
const certificateEvery = time.Minute

// certificate is read again when its file was replaced, so that a renewal needs no restart.
type certificate struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	changed time.Time // of the file that pair was read from
	looked  time.Time
}

// load reads the files.
func (c *certificate) load() error {
	info, err := os.Stat(c.cert)
	if err != nil {
		return fmt.Errorf("web: certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("web: certificate and key: %w", err)
	}
	c.pair, c.changed, c.looked = &pair, info.ModTime(), time.Now()
	return nil
}

// get is tls.Config.GetCertificate.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > certificateEvery {
		c.looked = now
		if info, err := os.Stat(c.cert); err == nil && !info.ModTime().Equal(c.changed) {
			if err := c.load(); err != nil { // the key may come a moment later
				c.log.Warn("the page's certificate cannot be read again; the one before stays", "error", err)
			}
		}
	}
	return c.pair, nil
}
