package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"

	"weir/analyzers"
	"weir/analyzers/baseline"
	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/filter"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/capture"
	"weir/sensor/enforce"
	"weir/sensor/host"
	"weir/sensor/notify"
	"weir/sensor/policy"
	"weir/sensor/store"
	"weir/sensor/web"
)

// config is the configuration file: the sections of the components, each with its defaults. deploy/weir.yaml shows and
// explains every setting.
type config struct {
	Profile     string             `yaml:"profile"` // which defaults the rest goes over
	Site        string             `yaml:"site"`
	Sensor      string             `yaml:"sensor"` // empty: the host's name
	MemoryMiB   int                `yaml:"memory_mib"`
	Filter      string             `yaml:"filter"`
	Privacy     string             `yaml:"privacy"`
	Redact      redactConfig       `yaml:"redact"`
	Capture     capture.LiveConfig `yaml:"capture"`
	Connections conn.Config        `yaml:"connections"`
	Tally       tally.Config       `yaml:"tally"`
	Analyzers   analyzers.Config   `yaml:"analyzers"`
	Baseline    baseline.Config    `yaml:"baseline"`
	Alerts      alert.Config       `yaml:"alerts"`
	Mutes       []alert.Mute       `yaml:"mutes"`
	Networks    context.Config     `yaml:"networks"`
	Policy      policy.Config      `yaml:"policy"`
	Gate        enforce.Config     `yaml:"gate"`
	NATS        bus.Config         `yaml:"nats"`
	Store       store.Config       `yaml:"store"`
	Notify      notify.Config      `yaml:"notify"`
	Web         web.Config         `yaml:"web"`
	Metrics     metricsConfig      `yaml:"metrics"`
	Log         logConfig          `yaml:"log"`
}

// redactConfig says which texts of openings leave the sensor as a hash only.
type redactConfig struct {
	Names  bool `yaml:"names"`
	Agents bool `yaml:"agents"`
}

type logConfig struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

func defaults() config {
	alerts := alert.Defaults()
	alerts.Sensor = "" // the command's business
	return config{
		Profile:     "default",
		Site:        "default",
		MemoryMiB:   1152,
		Privacy:     "openings",
		Capture:     capture.LiveDefaults(),
		Connections: conn.Defaults(),
		Tally:       tally.Defaults(),
		Analyzers:   analyzers.Defaults(),
		Baseline:    baseline.Defaults(),
		Alerts:      alerts,
		Networks:    context.Defaults(),
		Policy:      policy.Defaults(),
		Gate:        enforce.Defaults(),
		NATS:        bus.Defaults(),
		Store:       store.Defaults(),
		Notify:      notify.Defaults(),
		Web:         web.Defaults(),
		Metrics:     defaultMetrics(),
		Log:         logConfig{Level: "info", Format: "text"},
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
		return c, mistakes(path, text, err)
	}
	return c, nil
}

// readLiveConfig is readConfig for live capture from so many interfaces by so many workers, which takes more memory than a
// replay does.
func readLiveConfig(path string, interfaces, workers int) (config, error) {
	c, err := readConfig(path)
	if err != nil {
		return c, err
	}
	if err = c.checkLive(interfaces, workers); err != nil && path == "" {
		return c, usageError{err}
	} else if err != nil {
		text, _ := os.ReadFile(path) // was read a moment ago
		return c, mistakes(path, text, err)
	}
	return c, nil
}

// parse reads exactly one YAML document; an empty one means the defaults. Unknown and repeated keys are errors.
func (c *config) parse(text []byte) error {
	before, err := profiled(text)
	if err != nil {
		return err
	}
	*c = before
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	err = d.Decode(c)
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

// goHeap is what a run needs besides its tables: blocks, decoded packets, epochs, alerts, and live the server inside.
const goHeap = 128 << 20

// Bytes of a frame that are kept live, unless capture.snaplen says so.
const (
	openingsSnaplen = 2048 // the openings of applications with their names
	headersSnaplen  = 256  // all headers, tunnels included
)

// check tells which setting cannot be.
func (c *config) check() error {
	if err := errors.Join(c.Capture.Check(), c.Connections.Check(), c.Tally.Check(), c.Analyzers.Check(), c.Baseline.Check(), c.Alerts.Check(), c.NATS.Check(), c.Metrics.Check(),
		c.Store.Check(), c.Notify.Check(), c.Web.Check(),
		c.Networks.Check(), c.Policy.Check(), c.Gate.Check(), c.Policy.CheckLists(c.listNames()), c.checkOrigins(),
		alert.CheckMutes(c.Mutes, c.listNames(), len(c.Networks.Origins) > 0)); err != nil {
		return err
	}
	if c.Site == "" {
		return errors.New("site is empty")
	}
	if _, err := c.filter(""); err != nil {
		return err
	}
	if c.Privacy != "openings" && c.Privacy != "headers" {
		return fmt.Errorf(`privacy is %q, must be "openings" or "headers"`, c.Privacy)
	}
	level, err := host.Level(c.Log.Level)
	if err == nil {
		_, err = host.Logger(io.Discard, level, c.Log.Format)
	}
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	return c.room(c.replayTables())
}

// files are those that the configuration names, and that are read again while a command runs.
func (c *config) files() []string {
	all := slices.Concat(c.NATS.Files(), c.Notify.Files(), c.Web.Files())
	for _, l := range c.Networks.Lists {
		if l.File != "" {
			all = append(all, l.File)
		}
	}
	return append(all, c.Networks.Origins...)
}

// listNames are the names of the prefix lists.
func (c *config) listNames() (names []string) {
	for _, l := range c.Networks.Lists {
		names = append(names, l.Name)
	}
	return names
}

// readNetworks reads the prefix lists, and makes of them and the section networks what a site knows of its addresses.
func (c *config) readNetworks() (*context.Networks, error) {
	var lists []*context.List
	for _, l := range c.Networks.Lists {
		list, err := c.readList(&l)
		if err != nil {
			return nil, fmt.Errorf("networks: list %s: %w", l.Name, err)
		}
		lists = append(lists, list)
	}
	var files []io.Reader
	for _, name := range c.Networks.Origins {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("networks: origins: %w", err)
		}
		files = append(files, bytes.NewReader(b))
	}
	origin, err := context.ReadOrigins(files...)
	if err != nil {
		return nil, fmt.Errorf("networks: origins %s: %w", strings.Join(c.Networks.Origins, ", "), err)
	}
	return context.New(c.Networks, lists, origin), nil
}

// readList reads a list from its file, or what its URL gave last.
func (c *config) readList(l *context.ListConfig) (*context.List, error) {
	if l.URL != "" {
		body, err := listMirrors.read(l.URL, c.Networks.Refresh)
		if body == nil {
			return nil, err
		}
		return context.ReadList(*l, bytes.NewReader(body))
	}
	f, err := os.Open(l.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return context.ReadList(*l, f)
}

// checkOrigins tells which rule asks for what no database tells.
func (c *config) checkOrigins() error {
	for i, r := range c.Policy.Rules {
		if len(r.ASN)+len(r.Country) > 0 && len(c.Networks.Origins) == 0 {
			return fmt.Errorf("policy: rules: number %d asks for asn or country, which networks.origins has to tell", i+1)
		}
	}
	return nil
}

// checkLive tells whether the memory suffices for live capture.
func (c *config) checkLive(interfaces, workers int) error {
	if least := c.Gate.Every + 2*time.Second; c.Analyzers.Flood.Quiet < least {
		return fmt.Errorf("analyzers: flood: quiet is %v, must be %v or more: gates tell of a blocked flood each %v (gate.every)", c.Analyzers.Flood.Quiet, least, c.Gate.Every)
	}
	return c.room(c.liveTables(interfaces, workers) + c.Policy.Bytes() + c.Store.Bytes())
}

// room tells whether there is memory for tables of so many bytes and all else.
func (c *config) room(tables int) error {
	if need := tables + c.Analyzers.Bytes() + c.Baseline.Bytes() + goHeap; need > c.MemoryMiB<<20 {
		return fmt.Errorf("memory_mib is %d: the tables need %d at least; raise it or shrink capture, connections, tally, analyzers, baseline or policy", c.MemoryMiB, need>>20+1)
	}
	return nil
}

// replayTables is the memory that is reserved at the start of a replay.
func (c *config) replayTables() int { return c.Connections.Bytes() + c.Tally.Bytes(sensor.Sets(false)) }

// liveTables is the memory that is reserved at the start of live capture: tables, rings and blocks.
func (c *config) liveTables(interfaces, workers int) int {
	live := c.live()
	return c.Connections.Bytes() + c.Tally.Bytes(sensor.Sets(true)) + live.Bytes(interfaces, workers)
}

// cores is how many workers there are unless somebody says otherwise.
func cores() int { return min(runtime.GOMAXPROCS(0), sensor.MaxWorkers) }

// hash identifies the settings in alerts: 12 hex digits of the SHA-256 of the canonical form of those that decide what is
// found.
func (c *config) hash() (string, error) {
	text, err := yaml.Marshal([]any{c.Filter, c.Privacy, c.Redact, c.Connections, c.Tally, c.Analyzers, c.Baseline, c.Networks, c.Alerts, c.Mutes})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6]), nil
}

// engine is the engine's configuration for tables of so many bytes, and the baseline that it starts from (nil: none). It also
// tells the Go runtime its share of the memory: the limit less the tables, which are off its heap.
func (c *config) engine(tables int, store *baseline.Store) (sensor.Config, error) {
	hash, err := c.hash()
	if err != nil {
		return sensor.Config{}, err
	}
	debug.SetMemoryLimit(int64(c.MemoryMiB<<20 - tables))
	networks, err := c.readNetworks()
	if err != nil {
		return sensor.Config{}, err
	}
	if store == nil {
		store = baseline.New(c.Baseline)
	}
	site := analyzers.NewSite(networks, store)
	openings := sensor.Openings{
		Off: c.Privacy == "headers", RedactNames: c.Redact.Names, RedactAgents: c.Redact.Agents, Proxies: proxies(networks),
	}
	out := sensor.Config{Openings: openings, Conn: c.Connections, Tally: c.Tally, Alert: c.Alerts, Analyzers: analyzers.All(c.Analyzers, site), Site: site}
	out.Alert.Hash, out.Alert.Mutes = hash, c.Mutes
	return out, nil
}

// proxies tells who speaks for many clients; nil if nobody does.
func proxies(n *context.Networks) func(netip.Addr) bool {
	if len(n.Members(context.TrustedProxy)) == 0 {
		return nil
	}
	return func(a netip.Addr) bool { return n.Is(context.TrustedProxy, a) }
}

// live is the configuration of live capture.
func (c *config) live() capture.LiveConfig {
	live := c.Capture
	if live.Snaplen == 0 {
		live.Snaplen = openingsSnaplen
		if c.Privacy == "headers" {
			live.Snaplen = headersSnaplen
		}
	}
	return live
}

// filter is that of the command line, else that of the file, else nil.
func (c *config) filter(flag string) (*filter.Filter, error) {
	if expression := cmp.Or(flag, c.Filter); expression != "" {
		return filter.Parse(expression)
	}
	return nil, nil
}

// keep is the filter as the engine takes it; nil keeps every packet.
func keep(f *filter.Filter) func(*decode.Packet) bool {
	if f == nil {
		return nil
	}
	return f.Match
}

// sensorName is the sensor's name in alerts and subjects.
func (c *config) sensorName() string {
	name := c.Sensor
	if name == "" {
		name, _ = os.Hostname()
	}
	return cmp.Or(name, "sensor")
}
