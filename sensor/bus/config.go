package bus

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"time"
)

// Config sets the bus up: the section `nats` of the configuration.
type Config struct {
	Servers     []string      `yaml:"servers"`     // nats:// or tls:// URLs of a server or cluster; none: a server inside this process
	Credentials string        `yaml:"credentials"` // file with a user's JWT and seed
	NKey        string        `yaml:"nkey"`        // file with a user's seed
	CA          string        `yaml:"ca"`          // file (PEM) of whom to trust; default: what the system trusts
	Certificate string        `yaml:"certificate"` // file (PEM): of this client, or of the server inside
	Key         string        `yaml:"key"`         // file (PEM) that belongs to the certificate
	Listen      string        `yaml:"listen"`      // address of the server inside; other than loopback needs a certificate
	StoreMiB    int           `yaml:"store_mib"`   // what the server inside may keep on disk; all streams must fit
	Replicas    int           `yaml:"replicas"`    // copies of each stream in a cluster: 1, 3 or 5
	Flows       string        `yaml:"flows"`       // publish connection records: on, off, or auto (on with servers of your own)
	OutboxMiB   int           `yaml:"outbox_mib"`  // disk for what could not be published yet
	Sync        time.Duration `yaml:"sync"`        // a power cut loses at most the alerts of this time; 0: none, each alert is synced to disk
	Streams     Streams       `yaml:"streams"`     // how much history the server keeps
	Join        string        `yaml:"-"`           // state folder of another process, whose server inside is used; no own server then
}

// Streams are the limits of the three streams of a site.
type Streams struct {
	Alerts Limits `yaml:"alerts"`
	Drops  Limits `yaml:"drops"`
	Flows  Limits `yaml:"flows"`
}

// Limits of a stream: whatever is reached first, the oldest messages go.
type Limits struct {
	MaxAge time.Duration `yaml:"max_age"`
	MaxMiB int           `yaml:"max_mib"`
}

const day = 24 * time.Hour

// stateMiB of the server's store is not for streams: wanted drops and other small state live there.
const stateMiB = 256

// Defaults are the settings of a sensor that nobody configured.
func Defaults() Config {
	return Config{
		Listen: "127.0.0.1:4222", StoreMiB: 2<<10 + stateMiB, Replicas: 1, Flows: "auto", OutboxMiB: 64, Sync: time.Second,
		Streams: Streams{
			Alerts: Limits{MaxAge: 365 * day, MaxMiB: 1 << 10},
			Drops:  Limits{MaxAge: 365 * day, MaxMiB: 1 << 10},
			Flows:  Limits{MaxAge: 90 * day, MaxMiB: 10 << 10},
		},
	}
}

// embedded reports whether the server is inside this process.
func (c *Config) embedded() bool { return len(c.Servers) == 0 && c.Join == "" }

// outside reports whether the servers are the user's own.
func (c *Config) outside() bool { return len(c.Servers) > 0 }

// flows reports whether connection records are published.
func (c *Config) flows() bool { return c.Flows == "on" || c.Flows == "auto" && c.outside() }

// Check tells which setting cannot be.
func (c *Config) Check() error {
	switch {
	case !slices.Contains([]string{"auto", "on", "off"}, c.Flows):
		return fmt.Errorf("nats: flows is %q, must be auto, on or off", c.Flows)
	case !slices.Contains([]int{1, 3, 5}, c.Replicas):
		return fmt.Errorf("nats: replicas is %d, must be 1, 3 or 5", c.Replicas)
	case c.OutboxMiB < 1 || c.OutboxMiB > 1<<20:
		return fmt.Errorf("nats: outbox_mib is %d, must be 1 to %d", c.OutboxMiB, 1<<20)
	case c.Sync < 0 || c.Sync > time.Minute:
		return fmt.Errorf("nats: sync is %v, must be 0s to 1m", c.Sync)
	case c.Credentials != "" && c.NKey != "":
		return errors.New("nats: credentials and nkey are both given: leave one out")
	case (c.Certificate == "") != (c.Key == ""):
		return errors.New("nats: certificate and key belong together: give both or none")
	}
	for _, s := range []struct {
		name string
		Limits
	}{{"alerts", c.Streams.Alerts}, {"drops", c.Streams.Drops}, {"flows", c.Streams.Flows}} {
		if s.MaxAge < time.Hour {
			return fmt.Errorf("nats: streams: %s: max_age is %v, must be 1h or more", s.name, s.MaxAge)
		}
		if s.MaxMiB < 1 || s.MaxMiB > 1<<30 {
			return fmt.Errorf("nats: streams: %s: max_mib is %d, must be 1 to %d", s.name, s.MaxMiB, 1<<30)
		}
	}
	switch {
	case c.embedded():
		return c.checkEmbedded()
	case c.Join != "" && c.outside():
		return errors.New("nats: servers are given, so there is no server inside another process to join")
	}
	for _, s := range c.Servers {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" {
			return fmt.Errorf("nats: servers: %q is not a URL like nats://nats.example.org:4222 or tls://…", redact(s))
		}
	}
	return nil
}

func (c *Config) checkEmbedded() error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("nats: listen is %q, must be an address and port like 127.0.0.1:4222", c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("nats: listen is %q: the port must be 0 to 65535", c.Listen)
	}
	a, err := netip.ParseAddr(host)
	switch loopback := err == nil && a.IsLoopback() || host == "localhost"; {
	case err != nil && host != "localhost":
		return fmt.Errorf("nats: listen is %q: %q is not an IP address (every interface is 0.0.0.0 or [::])", c.Listen, host)
	case !loopback && c.Certificate == "":
		return fmt.Errorf("nats: listen is %q, which others can reach: give certificate and key, or listen on 127.0.0.1", c.Listen)
	case c.Credentials != "" || c.NKey != "":
		return errors.New("nats: credentials and nkey are for servers of your own: give their URLs as servers, or leave the file out")
	case c.Replicas != 1:
		return fmt.Errorf("nats: replicas is %d, but the server inside is alone: give a cluster as servers, or replicas: 1", c.Replicas)
	}
	need := c.Streams.Alerts.MaxMiB + c.Streams.Drops.MaxMiB
	if c.flows() {
		need += c.Streams.Flows.MaxMiB
	}
	if c.StoreMiB < need+bucketMiB {
		return fmt.Errorf("nats: store_mib is %d, but the streams and the state may take %d: raise it to %d or lower streams.*.max_mib", c.StoreMiB, need+bucketMiB, need+stateMiB)
	}
	return nil
}

// Files are the files that the configuration names, which must stay readable: credentials are read at each connection.
func (c *Config) Files() []string {
	all := []string{c.Credentials, c.NKey, c.CA, c.Certificate, c.Key}
	return slices.DeleteFunc(all, func(path string) bool { return path == "" })
}

// checkFiles tells which of them cannot be read.
func (c *Config) checkFiles() error {
	for _, path := range c.Files() {
		if _, err := os.ReadFile(path); err != nil {
			return fmt.Errorf("nats: %w", err)
		}
	}
	return nil
}

// redact takes user, password and token out of a URL.
func redact(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "(unreadable URL)"
	}
	u.User = nil
	return u.String()
}
