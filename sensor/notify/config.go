// Package notify tells people: Slack and other webhooks.
package notify

// Config is the section `notify` of the configuration.
type Config struct{}

// Defaults tell nobody.
func Defaults() Config { return Config{} }

// Check tells which setting cannot be.
func (c *Config) Check() error { return nil }
