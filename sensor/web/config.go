package web

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Config is the section `web` of the configuration.
type Config struct {
	Listen      string   `yaml:"listen"`      // address and port of the page, or Auto; empty: nowhere
	Names       []string `yaml:"names"`       // by which it is called, besides the address and localhost
	Certificate string   `yaml:"certificate"` // file (PEM); others than this host are served with one only
	Key         string   `yaml:"key"`         // file (PEM) that belongs to it
	TokenFile   string   `yaml:"token_file"`  // empty: "web.token" in the state folder, made at the first start
}

// Auto is a Config.Listen that leaves the place, on loopback, to who opens the page.
const Auto = "auto"

// Defaults serve the page on this host.
func Defaults() Config { return Config{Listen: Auto} }

// maxNames bounds Config.Names.
const maxNames = 64

// Check tells which setting cannot be.
func (c *Config) Check() error {
	if (c.Certificate == "") != (c.Key == "") {
		return errors.New("web: certificate and key belong together: give both or none")
	}
	if len(c.Names) > maxNames {
		return fmt.Errorf("web: %d names are too many, at most %d", len(c.Names), maxNames)
	}
	for _, name := range c.Names {
		if !isHostName(name) {
			return fmt.Errorf("web: names: %q is no host name like weir.example.org; it has no port", name)
		}
	}
	if c.Listen == "" || c.Listen == Auto {
		return nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("web: listen is %q, must be an address and a port, as in 127.0.0.1:9480, or auto, or empty", c.Listen)
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return fmt.Errorf("web: listen is %q: %q is not an IP address (every interface is 0.0.0.0 or [::]); how it is called, names tells", c.Listen, host)
	}
	if !c.loopback() && c.Certificate == "" {
		return fmt.Errorf("web: listen is %q, which others can reach: give certificate and key, or listen on 127.0.0.1", c.Listen)
	}
	return nil
}

// loopback tells whether only this host can reach the page.
func (c *Config) loopback() bool {
	host, _, _ := net.SplitHostPort(c.Listen)
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Files are those that are read while it runs.
func (c *Config) Files() (all []string) {
	if c.Listen != "" && c.Certificate != "" {
		all = append(all, c.Certificate, c.Key)
	}
	return all
}

// isHostName tells whether a name may stand in a request's Host, or is an address.
func isHostName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return name != "" && len(name) <= 253 && strings.Trim(name, letters) == ""
}
