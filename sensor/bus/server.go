package bus

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// Files of the embedded server in the state folder.
const (
	storeFolder = "nats"       // JetStream's
	tokenFile   = "nats.token" // what clients must know
	urlFile     = "nats.url"   // where it listens, with the token
)

const tokenBytes = 24

// inside is the embedded server.
type inside struct {
	*server.Server
	token   string
	storage server.JetStreamConfig
	mended  time.Time
	log     *slog.Logger
}

const (
	mendRoom  = 1 << 20 // bytes
	mendEvery = 10 * time.Second
)

// startServer starts the embedded server and waits until it serves.
func startServer(cfg *Config, dir string, log *slog.Logger) (*inside, error) {
	token, err := keptToken(filepath.Join(dir, tokenFile), log)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	store := filepath.Join(dir, storeFolder)
	for _, folder := range []string{store, filepath.Join(store, server.JetStreamStoreDir)} {
		if err := makeWay(folder, log); err != nil {
			return nil, fmt.Errorf("nats: %w", err)
		}
	}
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	if err := os.Chmod(store, 0o700); err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("nats: listen: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("nats: listen: %w", err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if err := portFree(cfg.Listen); err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName: "weir", Host: host, Port: port, Authorization: token, NoSigs: true, MaxConn: 1024,
		JetStream: true, StoreDir: store, JetStreamMaxStore: int64(cfg.StoreMiB) << 20, JetStreamMaxMemory: 64 << 20,
		DisableJetStreamBanner: true,
		SyncInterval:           max(cfg.Sync, time.Second), SyncAlways: cfg.Sync == 0, // what the outbox promises, the server keeps
	}
	if cfg.Certificate != "" {
		opts.TLS, opts.TLSTimeout = true, connectTimeout.Seconds()
		opts.TLSConfig, err = server.GenTLSConfig(&server.TLSConfigOpts{CertFile: cfg.Certificate, KeyFile: cfg.Key})
		if err != nil {
			return nil, fmt.Errorf("nats: certificate and key: %w", err)
		}
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	lines := &serverLog{log: log, fatal: make(chan string, 1)}
	s.SetLoggerV2(lines, false, false, false)
	s.Start()
	if err := serves(s, lines, cfg); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	if err := writeURL(filepath.Join(dir, urlFile), s, host, token, cfg); err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, fmt.Errorf("nats: %w", err)
	}
	return &inside{Server: s, token: token, log: log, storage: server.JetStreamConfig{
		MaxMemory: opts.JetStreamMaxMemory, MaxStore: opts.JetStreamMaxStore, StoreDir: store,
		SyncInterval: opts.SyncInterval, SyncAlways: opts.SyncAlways, Strict: true,
	}}, nil
}

// makeWay sets aside what stands where a folder should be. Of damage below its own, JetStream saves what it can by itself.
func makeWay(folder string, log *slog.Logger) error {
	info, err := os.Lstat(folder)
	if err != nil || info.IsDir() || info.Mode()&os.ModeSymlink != 0 {
		return nil
	}
	aside := fmt.Sprintf("%s.corrupt-%d", folder, time.Now().Unix())
	if err := os.Rename(folder, aside); err != nil {
		return err
	}
	log.Error("the state folder is damaged: what stood in the place of a folder was set aside", "folder", folder, "kept", aside)
	return nil
}

// mend starts the server's storage anew, if there is room on the disk: JetStream gives a stream up for good at the first write
// that fails, and itself when the disk is full. What it acknowledged stays; what it did not is sent again.
func (s *inside) mend() {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.storage.StoreDir, &disk); err != nil || disk.Bavail*uint64(disk.Bsize) < mendRoom || time.Since(s.mended) < mendEvery {
		return
	}
	s.mended = time.Now()
	s.log.Warn("NATS: the server inside does not store messages: its storage is started anew")
	config := s.storage
	if err := errors.Join(s.ShutdownJetStream(), s.EnableJetStream(&config)); err != nil {
		s.log.Error("NATS: the server inside has no storage: is there room for it?", "folder", s.storage.StoreDir, "err", err)
	}
}

// serves waits until the server takes connections, or says why it does not.
func serves(s *server.Server, lines *serverLog, cfg *Config) error {
	for range 1000 { // a large store takes its time
		select {
		case line := <-lines.fatal:
			return fmt.Errorf("nats: the server inside did not start: %s", line)
		default:
		}
		if s.ReadyForConnections(30 * time.Millisecond) {
			if !s.JetStreamEnabled() {
				return fmt.Errorf("nats: the server inside has no storage: is there room for %s?", s.StoreDir())
			}
			return nil
		}
	}
	return fmt.Errorf("nats: the server inside did not serve %s within 30 s", cfg.Listen)
}

// portFree tells whether the embedded server could listen.
func portFree(address string) error {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return l.Close()
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("nats: %s is in use, by a NATS server or another weir: give another address as nats.listen, or use that server by nats.servers", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("nats: %s is not an address of this machine: give another as nats.listen", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("nats: %s needs privileges: give a port above 1023 as nats.listen", address)
	}
	return fmt.Errorf("nats: cannot listen on %s: %w; give another address as nats.listen", address, err)
}

// keptToken returns the token of a state folder and makes it at the first start.
func keptToken(path string, log *slog.Logger) (string, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if raw, err := hex.DecodeString(strings.TrimSpace(string(b))); err == nil && len(raw) == tokenBytes {
			return strings.TrimSpace(string(b)), os.Chmod(path, 0o600)
		}
		aside := fmt.Sprintf("%s.corrupt-%d", path, time.Now().Unix())
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
		log.Error("the token of the NATS server inside is damaged: it was set aside, and clients need the new one", "kept", aside)
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, tokenBytes)
	_, _ = rand.Read(raw) // never fails
	token := hex.EncodeToString(raw)
	return token, writeFile(path, token+"\n")
}

// writeURL tells clients on this machine where the server is.
func writeURL(path string, s *server.Server, host, token string, cfg *Config) error {
	scheme := "nats"
	if cfg.Certificate != "" {
		scheme = "tls"
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	port := strconv.Itoa(s.Addr().(*net.TCPAddr).Port)
	u := url.URL{Scheme: scheme, User: url.User(token), Host: net.JoinHostPort(host, port)}
	return writeFile(path, u.String()+"\n")
}

// writeFile replaces a file that only its owner may read.
func writeFile(path, content string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// serverLog passes on what the server has to say, warnings and worse.
type serverLog struct {
	log   *slog.Logger
	fatal chan string
}

// Fatalf implements server.Logger. The server does not end the process by itself.
func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
	}
	l.log.Error("NATS server: " + fmt.Sprintf(format, v...))
}

// Errorf implements server.Logger.
func (l *serverLog) Errorf(format string, v ...any) {
	l.log.Error("NATS server: " + fmt.Sprintf(format, v...))
}

// Warnf implements server.Logger.
func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Warn("NATS server: " + fmt.Sprintf(format, v...))
}

// Noticef implements server.Logger.
func (l *serverLog) Noticef(string, ...any) {}

// Debugf implements server.Logger.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements server.Logger.
func (l *serverLog) Tracef(string, ...any) {}
