package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/host"
)

type blockCmd struct {
	Interface []string `short:"i" required:"" placeholder:"IF" help:"Network interface at which to drop. Repeatable."`
	State     string   `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder; a sensor with the same one is found through it (default: ${default})."`
	Config    string   `placeholder:"FILE" help:"Configuration (YAML); deploy/weir.yaml shows every setting. It is read again on SIGHUP and when it changes."`
	DryRun    bool     `help:"Rehearse: count what would be dropped, and drop nothing."`
	Detach    bool     `help:"Take the gate off, with all its drops, and end. No weir needs to run."`
}

// Help is the long form of --help.
func (*blockCmd) Help() string {
	return `Drops what sensors ask for, by XDP (else nftables), before this host's network stack sees it. It decides nothing itself: it takes the
signed drops of the site from NATS, asks the guards once more with what it knows of this host, and tells what became of each.
The servers are those of the configuration (nats.servers); without any, the server inside the sensor with the same state folder.
It believes the keys that 'weir keys trust' was given, and the one of its own state folder.

Examples:
  sudo weir block -i eth0                    beside a weir sense on this host
  sudo weir block -i eth0 --config /etc/weir/weir.yaml
  sudo weir keys trust UDX… --name sensor1   whose drops to believe
  sudo weir block -i eth0 --detach           take the gate off, drop nothing

It needs CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON, and CAP_SYS_ADMIN to mount a bpffs where there is none. Drops survive its end and
lapse by themselves (gate.survive: true). docs/gate.md tells more.`
}

// blocking is a running gate without a sensor.
type blocking struct {
	cmd      *blockCmd
	log      *slog.Logger
	level    slog.LevelVar
	hangup   chan os.Signal
	mu       sync.Mutex // of settings
	settings config
	protect  *protected
	keys     *bus.Keys
	state    *host.State
	bus      *bus.Bus
	gates    *gates
	metrics  *metrics
	web      *http.Server
	page     *page
}

// blockListen is where the metrics of a gate are, unless the configuration says otherwise.
const blockListen = "127.0.0.1:9471"

// Run enforces until it is told to stop.
func (c *blockCmd) Run(ctx context.Context, std *streams) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	if c.Detach {
		return c.detach(&settings, std)
	}
	if settings.Metrics == defaultMetrics() {
		settings.Metrics.Listen = blockListen
	}
	signal.Ignore(syscall.SIGPIPE)
	stderr := newPatient(std.err)
	defer stderr.close()
	b := &blocking{cmd: c, settings: settings, hangup: make(chan os.Signal, 1)}
	signal.Notify(b.hangup, syscall.SIGHUP)
	defer signal.Stop(b.hangup)
	level, err := host.Level(settings.Log.Level)
	if err != nil {
		return usageError{err}
	}
	b.level.Set(level)
	if b.log, err = host.Logger(stderr, &b.level, settings.Log.Format); err != nil {
		return usageError{err}
	}
	if err := b.open(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(err, b.close())
	}
	if b.rehearses() {
		fmt.Fprintln(stderr, "rehearsal: nothing is dropped; what would be is counted")
	}
	for _, line := range b.protect.lines() {
		fmt.Fprintln(stderr, "never dropped:", printable(line))
	}
	b.enforce(ctx)
	return b.close()
}

// detach takes gates off.
func (c *blockCmd) detach(settings *config, std *streams) (err error) {
	for _, name := range c.Interface {
		one := enforce.Detach(name, settings.Gate.Pins)
		if one == nil {
			fmt.Fprintf(std.err, "%s: no gate is attached now, and nothing is dropped\n", printable(name))
		}
		err = errors.Join(err, one)
	}
	return err
}

// open takes all that the gate needs, the interfaces last.
func (b *blocking) open(ctx context.Context) (err error) {
	if b.state, err = host.OpenState(filepath.Join(b.cmd.State, blockFolder)); err != nil {
		return err
	}
	b.state.Log = b.log
	if b.keys, err = bus.OpenKeys(filepath.Join(b.cmd.State, keysFolder), false); err != nil {
		return err
	}
	id := bus.Identity{Site: b.settings.Site, Sensor: b.settings.sensorName()}
	cfg := b.settings.NATS
	cfg.Flows = "off" // a gate sees no connections, and the server of a sensor may have no room for their stream
	if len(cfg.Servers) == 0 {
		cfg.Join = b.cmd.State
	}
	if b.bus, err = bus.Open(ctx, cfg, id, b.state.Dir(), b.log); err != nil {
		return err
	}
	if b.protect, err = newProtected(&b.settings, b.log); err != nil {
		return err
	}
	if b.gates, err = openGates(&b.settings, b.cmd.Interface, b.state.Dir(), b.cmd.DryRun, b.protect, b.bus, id, b.log); err != nil {
		return err
	}
	seen := observed{Site: id.Site, Sensor: id.Sensor, Started: time.Now(), Bus: b.bus.Stats, Ready: b.bus.Ready}
	b.gates.observed(&seen)
	b.metrics = newMetrics(seen)
	b.gates.told = b.metrics.receipt
	if at := b.settings.Metrics.Listen; at != "" {
		if b.web, err = serveHTTP(at, b.metrics.handler(false), b.log); err != nil {
			return err
		}
	}
	if err := b.openPage(id); err != nil {
		return err
	}
	return host.Privileges(b.access(), b.log)
}

// rehearses tells whether nothing is to be dropped.
func (b *blocking) rehearses() bool { return b.cmd.DryRun || b.settings.Policy.Shadow }

// access is what is still needed when all is open.
func (b *blocking) access() host.Access {
	a := host.Access{
		Capabilities: gateCapabilities,
		ReadOnly:     slices.Concat(host.NameFiles(), []string{b.cmd.State}, b.settings.files()),
		ReadWrite:    append([]string{b.state.Dir()}, pinFolders(&b.settings)...),
	}
	if b.cmd.Config != "" {
		a.ReadOnly = append(a.ReadOnly, b.cmd.Config)
	}
	return a
}

// enforce runs the gates until ctx ends, and what goes on beside them.
func (b *blocking) enforce(ctx context.Context) {
	var beside sync.WaitGroup
	beside.Go(func() { b.protect.watch(ctx) })
	beside.Go(func() { (&reloader{b.cmd.Config, b.hangup, b.log, b.metrics, b.reconfigure}).run(ctx) })
	beside.Go(func() { b.pulse(ctx) })
	go host.Watchdog(ctx, func() bool { return b.metrics.stuck(time.Now()) == nil }) //nolint:errcheck // a request that makes no sense
	b.log.Info("enforcing", "interfaces", b.gates.names(), "version", version)
	announce(host.Ready, b.log)
	b.gates.run(ctx, b.bus.State(b.keys), b.keys)
	announce(host.Stopping, b.log)
	beside.Wait()
}

// pulse publishes the health messages.
func (b *blocking) pulse(ctx context.Context) {
	reporter := newHealthReporter(b.metrics)
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			b.bus.Health(reporter.message(now))
		case <-ctx.Done():
			return
		}
	}
}

// reconfigure gives the running gate what can change while it runs: what is protected, guards, the level of the log.
func (b *blocking) reconfigure() error {
	next, err := readConfig(b.cmd.Config)
	if err != nil {
		return err
	}
	level, err := host.Level(next.Log.Level)
	if err != nil {
		return err
	}
	if err := b.protect.configure(&next); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings.Networks, b.settings.Policy, b.settings.Log.Level = next.Networks, next.Policy, next.Log.Level
	b.level.Set(level)
	b.log.Info("the configuration was read again")
	used := next // but for what a gate takes at its start
	used.Web, used.Gate, used.NATS = b.settings.Web, b.settings.Gate, b.settings.NATS
	tellFixed(b.log, fixed(&used, &next))
	return nil
}

// close gives back what was opened, the last first. What is in force stays so, by gate.survive.
func (b *blocking) close() (err error) {
	err = b.page.close()
	if b.web != nil {
		err = errors.Join(err, b.web.Close())
	}
	if b.gates != nil {
		err = errors.Join(err, b.gates.close())
	}
	if b.bus != nil {
		drain, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if left := b.bus.Close(drain); left != nil {
			b.log.Warn("not all could be published; the rest waits for the next start", "left", left)
		}
	}
	if b.state != nil {
		err = errors.Join(err, b.state.Close())
	}
	return err
}
