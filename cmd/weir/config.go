package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode/conn"
	"weir/sensor"
	"weir/sensor/alert"
)

// config is the configuration file: the sections of the components, each with its defaults. deploy/weir.yaml shows and
// explains every setting.
type config struct {
	MemoryMiB   int              `yaml:"memory_mib"`
	Connections conn.Config      `yaml:"connections"`
	Tally       tally.Config     `yaml:"tally"`
	Analyzers   analyzers.Config `yaml:"analyzers"`
	Alerts      alert.Config     `yaml:"alerts"`
}

func defaults() config {
	alerts := alert.Defaults()
	alerts.Sensor = "" // the command's business
	return config{
		MemoryMiB:   512,
		Connections: conn.Defaults(),
		Tally:       tally.Defaults(),
		Analyzers:   analyzers.Defaults(),
		Alerts:      alerts,
	}
}

// readConfig reads a configuration file over the defaults; no path gives the defaults. Errors name file, line and column
// where they have one.
func readConfig(path string) (config, error) {
	c := defaults()
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return c, usageError{err}
	}
	if err := c.parse(text); err != nil {
		return c, usageError{fmt.Errorf("%s: %w", path, err)}
	}
	return c, nil
}

// parse reads exactly one YAML document; an empty one means the defaults. Unknown and repeated keys are errors.
func (c *config) parse(text []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	before := *c
	err := d.Decode(c)
	if errors.Is(err, io.EOF) {
		*c = before // the decoder has zeroed it
		return nil
	}
	if err != nil {
		return errors.New(position(text, err) + strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	var second any
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return errors.New("more than one YAML document")
	}
	return c.check()
}

// position restores where a bad duration stands, which the YAML package does not say: the error quotes the value, and the
// first scalar of that value is meant.
func position(text []byte, err error) string {
	message := err.Error()
	if !strings.HasPrefix(message, "time: ") {
		return ""
	}
	quoted, _ := strconv.QuotedPrefix(message[strings.LastIndex(message, ` "`)+1:])
	value, _ := strconv.Unquote(quoted)
	for _, t := range lexer.Tokenize(string(text)) {
		if t.Value == value {
			return fmt.Sprintf("[%d:%d] ", t.Position.Line, t.Position.Column)
		}
	}
	return ""
}

// goHeap is what the engine needs besides its tables: blocks, decoded packets, epochs, alerts.
const goHeap = 128 << 20

// check tells which setting cannot be.
func (c *config) check() error {
	if err := cmp.Or(c.Connections.Check(), c.Tally.Check(), c.Analyzers.Check(), c.Alerts.Check()); err != nil {
		return err
	}
	if need := c.tables() + c.Analyzers.Bytes() + goHeap; need > c.MemoryMiB<<20 {
		return fmt.Errorf("memory_mib is %d: the tables need %d at least; raise it or shrink connections, tally or analyzers", c.MemoryMiB, need>>20+1)
	}
	return nil
}

// tables is the memory that is reserved at the start.
func (c *config) tables() int { return c.Connections.Bytes() + c.Tally.Bytes(1) }

// hash identifies the settings in alerts: 12 hex digits of the SHA-256 of their canonical form.
func (c *config) hash() (string, error) {
	text, err := yaml.Marshal(c)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6]), nil
}

// engine is the engine's configuration. It also tells the Go runtime its share of the memory: the limit less the tables,
// which are off its heap.
func (c *config) engine() (sensor.Config, error) {
	hash, err := c.hash()
	if err != nil {
		return sensor.Config{}, err
	}
	debug.SetMemoryLimit(int64(c.MemoryMiB<<20 - c.tables()))
	out := sensor.Config{Conn: c.Connections, Tally: c.Tally, Alert: c.Alerts, Analyzers: analyzers.All(c.Analyzers)}
	out.Alert.Hash = hash
	return out, nil
}
