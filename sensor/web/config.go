// Package web is the live page of a sensor and its HTTP API.
package web

// Config is the section `web` of the configuration.
type Config struct {
	Listen string `yaml:"listen"` // address and port of the page; empty: nowhere
}

// Defaults serve the page on this host.
func Defaults() Config { return Config{Listen: "127.0.0.1:9480"} }

// Check tells which setting cannot be.
func (c *Config) Check() error { return nil }
