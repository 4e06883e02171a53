// Package notify tells people: Slack and other webhooks. What happened is gathered so that a flood of alerts is a few messages, kept in a
// journal on disk, and sent until the receiver has it. docs/notify.md says what is guaranteed.
package notify

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"weir/sensor/alert"
)

// Config is the section `notify` of the configuration.
type Config struct {
	Channels []Channel     `yaml:"channels"`
	Group    Group         `yaml:"group"`
	Timeout  time.Duration `yaml:"timeout"`   // of one attempt, the answer included
	RetryMax time.Duration `yaml:"retry_max"` // longest pause between two attempts; the first is 1 s, each further one twice as long
	Attempts int           `yaml:"attempts"`  // of a message that the receiver refuses; then it is set aside
	QueueKiB int           `yaml:"queue_kib"` // of messages that wait, of each channel
	Sync     time.Duration `yaml:"sync"`      // a power cut loses at most what happened within this time
}

// Channel is somebody who is told.
type Channel struct {
	Name       string   `yaml:"name"`        // in metrics and logs, and of the queue's file
	Type       string   `yaml:"type"`        // slack or webhook
	URL        Secret   `yaml:"url"`         // this or URLFile
	URLFile    string   `yaml:"url_file"`    // file that holds the URL alone
	SecretFile string   `yaml:"secret_file"` // webhook: file with what messages are signed with; none: they are not
	Severity   string   `yaml:"severity"`    // least one of alerts; none: medium
	Kinds      []string `yaml:"kinds"`       // of alerts, as scan or scan.vertical; none: all
	Events     []string `yaml:"events"`      // of alerts, drops, incidents; none: all
}

// Group says how what happens is made into messages.
type Group struct {
	Wait      time.Duration `yaml:"wait"`       // what comes so soon after the first goes along with it
	Window    time.Duration `yaml:"window"`     // then there is one message a window, and each window is twice as long as the one before
	MaxWindow time.Duration `yaml:"max_window"` // but no longer than this
	Quiet     time.Duration `yaml:"quiet"`      // without news ends the row of windows
	Details   int           `yaml:"details"`    // so many are told one by one in a message, more of them in numbers
	PerHour   int           `yaml:"per_hour"`   // messages of a channel, when ten at once are used up
}

// Secret is text that no log, error or list of settings shows.
type Secret string

const masked = "(secret)"

// String hides the text.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString hides the text.
func (s Secret) GoString() string { return s.String() }

// LogValue hides the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Types of channels, and what they can be told of.
const (
	slackType   = "slack"
	webhookType = "webhook"

	ofAlerts    = "alerts"
	ofDrops     = "drops"
	ofIncidents = "incidents"
)

// maxChannels bounds the files, goroutines and metrics.
const maxChannels = 32

// Defaults tell nobody.
func Defaults() Config {
	return Config{
		Group: Group{
			Wait: time.Second, Window: 30 * time.Second, MaxWindow: 15 * time.Minute, Quiet: time.Minute, Details: 5, PerHour: 60,
		},
		Timeout: 10 * time.Second, RetryMax: 5 * time.Minute, Attempts: 5, QueueKiB: 256, Sync: time.Second,
	}
}

// Check tells which setting cannot be. It opens no file, and no error holds a URL.
func (c *Config) Check() error {
	switch {
	case c.Timeout < time.Millisecond || c.Timeout > time.Minute:
		return fmt.Errorf("notify: timeout is %v, must be 1ms to 1m", c.Timeout)
	case c.RetryMax < time.Millisecond || c.RetryMax > time.Hour:
		return fmt.Errorf("notify: retry_max is %v, must be 1ms to 1h", c.RetryMax)
	case c.Attempts < 1 || c.Attempts > 100:
		return fmt.Errorf("notify: attempts is %d, must be 1 to 100", c.Attempts)
	case c.QueueKiB < 64 || c.QueueKiB > 16<<10:
		return fmt.Errorf("notify: queue_kib is %d, must be 64 to 16384", c.QueueKiB)
	case c.Sync < 0 || c.Sync > time.Minute:
		return fmt.Errorf("notify: sync is %v, must be 0s to 1m", c.Sync)
	case len(c.Channels) > maxChannels:
		return fmt.Errorf("notify: channels: there are %d, at most %d", len(c.Channels), maxChannels)
	}
	if err := c.Group.check(); err != nil {
		return fmt.Errorf("notify: group: %w", err)
	}
	for i := range c.Channels {
		ch := &c.Channels[i]
		if err := ch.check(); err != nil {
			return fmt.Errorf("notify: channels: number %d: %w", i+1, err)
		}
		if slices.ContainsFunc(c.Channels[:i], func(o Channel) bool { return o.Name == ch.Name }) {
			return fmt.Errorf("notify: channels: number %d: name is %q, as another's", i+1, ch.Name)
		}
	}
	return nil
}

func (g *Group) check() error {
	switch {
	case g.Wait < 0 || g.Wait > 10*time.Second:
		return fmt.Errorf("wait is %v, must be 0s to 10s", g.Wait)
	case g.Window < time.Millisecond || g.Window > time.Hour:
		return fmt.Errorf("window is %v, must be 1ms to 1h", g.Window)
	case g.MaxWindow < g.Window || g.MaxWindow > 24*time.Hour:
		return fmt.Errorf("max_window is %v, must be window (%v) to 24h", g.MaxWindow, g.Window)
	case g.Quiet < time.Millisecond || g.Quiet > time.Hour:
		return fmt.Errorf("quiet is %v, must be 1ms to 1h", g.Quiet)
	case g.Details < 1 || g.Details > 10:
		return fmt.Errorf("details is %d, must be 1 to 10", g.Details)
	case g.PerHour < 1 || g.PerHour > 36000:
		return fmt.Errorf("per_hour is %d, must be 1 to 36000", g.PerHour)
	}
	return nil
}

var (
	channelName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	kindName    = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$`)
)

func (c *Channel) check() error {
	switch {
	case !channelName.MatchString(c.Name):
		return fmt.Errorf("name is %q, must be 1 to 32 of a-z, 0-9, - and _", c.Name)
	case c.Type != slackType && c.Type != webhookType:
		return fmt.Errorf("type of %s is %q, must be slack or webhook", c.Name, c.Type)
	case (c.URL == "") == (c.URLFile == ""):
		return fmt.Errorf("%s needs either url or url_file", c.Name)
	case c.SecretFile != "" && c.Type == slackType:
		return fmt.Errorf("secret_file of %s: Slack takes no signature; its URL is the secret", c.Name)
	}
	if c.URL != "" {
		if err := checkURL(string(c.URL), c.Type); err != nil {
			return fmt.Errorf("url of %s: %w", c.Name, err)
		}
	}
	if _, err := c.least(); err != nil {
		return fmt.Errorf("severity of %s: %w", c.Name, err)
	}
	for _, k := range c.Kinds {
		if !kindName.MatchString(k) {
			return fmt.Errorf("kinds of %s: %q is no analyzer and no kind, as scan or scan.vertical", c.Name, k)
		}
	}
	for _, e := range c.Events {
		if e != ofAlerts && e != ofDrops && e != ofIncidents {
			return fmt.Errorf("events of %s: %q is none of alerts, drops, incidents", c.Name, e)
		}
	}
	return nil
}

// checkURL tells what is wrong with a URL, without showing it.
func checkURL(text, kind string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("it is not a URL like https://host/path")
	case u.Fragment != "":
		return errors.New("it has a fragment (#), which no server would see")
	case u.Scheme == "http" && kind == slackType && !isLoopback(u.Hostname()):
		return errors.New("http would tell everybody on the way the secret that it is: use https")
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// least is the least severity that is told.
func (c *Channel) least() (alert.Severity, error) {
	if c.Severity == "" {
		return alert.Medium, nil
	}
	var s alert.Severity
	err := s.UnmarshalText([]byte(c.Severity))
	return s, err
}

// wants tells whether a kind of events is told.
func (c *Channel) wants(event string) bool {
	return len(c.Events) == 0 || slices.Contains(c.Events, event)
}

// address is the URL, from its file if it is in one.
func (c *Channel) address() (string, error) {
	if c.URLFile == "" {
		return string(c.URL), nil
	}
	b, err := readSmall(c.URLFile)
	if err != nil {
		return "", fmt.Errorf("url_file: %w", err)
	}
	text := strings.TrimSpace(string(b))
	if err := checkURL(text, c.Type); err != nil {
		return "", fmt.Errorf("url_file %s: %w", c.URLFile, err)
	}
	return text, nil
}

// secret is what messages are signed with; nil: they are not. A line's end is no part of it.
func (c *Channel) secret() ([]byte, error) {
	if c.SecretFile == "" {
		return nil, nil
	}
	b, err := readSmall(c.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if len(text) < 16 {
		return nil, fmt.Errorf("secret_file %s: %d bytes are too few, 16 at least (openssl rand -hex 32)", c.SecretFile, len(text))
	}
	return []byte(text), nil
}

// readSmall reads a file of at most 4 KiB.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0 || len(b) > 4<<10:
		return nil, fmt.Errorf("%s has %d bytes or more, must have 1 to 4096", path, len(b))
	}
	return b, nil
}

// Files are those that the channels name, and that are read while a sensor runs.
func (c *Config) Files() (all []string) {
	for i := range c.Channels {
		for _, f := range []string{c.Channels[i].URLFile, c.Channels[i].SecretFile} {
			if f != "" {
				all = append(all, f)
			}
		}
	}
	return all
}
