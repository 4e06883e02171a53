package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/analyzers"
	"weir/analyzers/baseline"
	network "weir/analyzers/context"
	"weir/decode/conn"
	"weir/decode/filter"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/capture"
	"weir/sensor/host"
	"weir/sensor/policy"
)

type senseCmd struct {
	Interface []string `short:"i" required:"" placeholder:"IF" help:"Network interface to listen on. Repeatable: the two sides of a tap are one link."`
	State     string   `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder (default: ${default})."`
	Config    string   `placeholder:"FILE" help:"Configuration (YAML); deploy/weir.yaml shows every setting. It is read again on SIGHUP and when it changes."`
	Filter    string   `placeholder:"EXPR" help:"Judge only packets that match, in the words of tcpdump; in place of the configuration's."`
	Workers   int      `placeholder:"N" help:"Rings and worker threads, 1 to ${workers} (default: one a core)."`
	Format    string   `enum:"auto,table,jsonl,none" default:"auto" help:"Of the alerts on standard output: table, jsonl, none, or auto: a table on a terminal."`
	Muted     bool     `help:"Print alerts that a rule of the configuration mutes, too."`
	Pprof     bool     `help:"Serve Go's profiles beside the metrics."`
	Quiet     bool     `short:"q" help:"No summary at the end."`
}

// Help is the long form of --help.
func (*senseCmd) Help() string {
	return `Watches a mirror port, a tap or the traffic of this host. It changes nothing in that traffic. Alerts are published on NATS (by
default on a server inside this process) and printed; 'weir alerts' follows them from elsewhere. It needs CAP_NET_RAW.

Examples:
  sudo weir sense -i eth1
  sudo weir sense -i eth1 --state ./state --filter 'not port 4789' --format jsonl | jq .summary
  weir doctor -i eth1            what keeps this machine from capturing well
  curl localhost:9470/metrics    what it sees, and what it loses

SIGINT and SIGTERM end it when what was captured is judged and what was found is published; a second one ends it at once. So
does the end of who reads its alerts (weir sense -i eth1 | head -1), unless a service manager runs it.`
}

// drainTime is how long the end waits for the bus; what is not published by then waits in the outbox for the next start.
const drainTime = 10 * time.Second

// healthEvery is how often a sensor tells how it is.
const healthEvery = 10 * time.Second

// sensing is a running sensor.
type sensing struct {
	cmd      *senseCmd
	std      *streams
	log      *slog.Logger
	seldom   *slog.Logger // of what could be said of each alert, and each time that a link flaps
	level    slog.LevelVar
	hangup   chan os.Signal // SIGHUP
	mu       sync.Mutex     // of settings
	settings config
	state    *host.State
	bus      *bus.Bus
	metrics  *metrics
	web      *http.Server
	printer  *printer
	store    *keeping
	evidence *gathering
	notices  *notices
	page     *page
	gate     *runCmd // nil: a sensor alone
	protect  *protected
	keys     *bus.Keys
	decider  *decider
	gates    *gates // nil: others enforce
	stopped  string // what the gates did, for the summary
	blocks   *host.State
	beside   sync.WaitGroup
	peers    chan []netip.Addr
	run      atomic.Pointer[sensingRun] // the present one
	watched  bool                       // the engine was run, and is closed
	site     uint64                     // key of the sketches
	normal   *baseline.Store            // what the sensor has learned
	saves    chan []byte                // its saved forms
	counted  [alert.SeverityCount]uint64
	muted    uint64
	ended    map[string]bool // rules of mutes that have expired, and that was said
	line     []byte
	record   []byte
}

// sensingRun is one life of the engine. There is more than one only when the wall clock was set far back.
type sensingRun struct {
	live   *capture.Live
	engine *sensor.Engine
	site   *analyzers.Site
	read   sensor.Openings
	anew   context.Context // ended when the clock was set so far back that time has to begin anew
	reset  context.CancelFunc
	ended  bool // its recent frames are no longer read; under gathering.reading
}

// Run watches until it is told to stop.
func (c *senseCmd) Run(ctx context.Context, std *streams) error { return c.run(ctx, std, nil) }

// run watches, and with a gate enforces.
func (c *senseCmd) run(ctx context.Context, std *streams, gate *runCmd) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	c.Workers = c.workers()
	// Workers under load never give up their thread. Go shares out its processors in slices of 10 ms, the kernel does it in finer
	// ones: with as many processors as cores the judge and the bus wait, and rings overflow.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), c.Workers+2))
	settings, err := readLiveConfig(c.Config, len(c.Interface), c.workers())
	if err != nil {
		return err
	}
	if gate != nil && gate.DryRun {
		settings.Policy.Shadow = true
	}
	f, err := settings.filter(c.Filter)
	if err != nil {
		return usageError{err}
	}
	signal.Ignore(syscall.SIGPIPE) // Go would end the process: who reads its output may go away
	stderr := newPatient(std.err)
	defer stderr.close()
	s := &sensing{cmd: c, std: &streams{std.in, std.out, stderr}, settings: settings, hangup: make(chan os.Signal, 1), gate: gate}
	signal.Notify(s.hangup, syscall.SIGHUP)
	defer signal.Stop(s.hangup)
	if s.log, err = s.logger(); err != nil {
		return usageError{err}
	}
	s.seldom = host.Limited(s.log, time.Minute)
	begin := time.Now()
	if err := s.open(ctx, f); err != nil {
		if ctx.Err() != nil {
			err = nil // ended before it began
		}
		return errors.Join(err, s.close())
	}
	sum, err := s.watch(ctx)
	err = errors.Join(err, s.close())
	if !c.Quiet && sum != nil {
		s.tell(sum, time.Since(begin))
	}
	return err
}

// check tells what is wrong on the command line.
func (c *senseCmd) check() error {
	if c.Workers < 0 || c.Workers > sensor.MaxWorkers {
		return fmt.Errorf("--workers: %d is not within 1 to %d", c.Workers, sensor.MaxWorkers)
	}
	for i, name := range c.Interface {
		if slices.Contains(c.Interface[:i], name) {
			return fmt.Errorf("--interface: %s is named twice", name)
		}
	}
	return nil
}

// workers is how many were asked for.
func (c *senseCmd) workers() int { return cmp.Or(c.Workers, cores()) }

// logger is the log at the level of the configuration, which a reload can change.
func (s *sensing) logger() (*slog.Logger, error) {
	level, err := host.Level(s.settings.Log.Level)
	if err != nil {
		return nil, err
	}
	s.level.Set(level)
	return host.Logger(s.std.err, &s.level, s.settings.Log.Format)
}

// open takes all that the sensor needs, the interfaces last: from then on their rings fill.
func (s *sensing) open(ctx context.Context, f *filter.Filter) (err error) {
	if s.state, err = host.OpenState(s.cmd.State); err != nil {
		return err
	}
	s.state.Log = s.log
	listMirrors.keep(filepath.Join(s.state.Dir(), "lists"))
	key, err := s.state.Secret("sketch.key", 8)
	if err != nil {
		return err
	}
	s.site = binary.LittleEndian.Uint64(key)
	id := bus.Identity{Site: s.settings.Site, Sensor: s.settings.sensorName()}
	if s.bus, err = bus.Open(ctx, s.settings.NATS, id, s.state.Dir(), s.log); err != nil {
		return err
	}
	if err := s.openPolicy(id); err != nil {
		return err
	}
	if s.normal, err = openBaseline(s.state.Dir(), s.settings.Baseline, s.log); err != nil {
		return err
	}
	s.saves = make(chan []byte, 1)
	if err := errors.Join(s.openStore(), s.openEvidence(), s.openNotices(id)); err != nil {
		return err
	}
	s.metrics = newMetrics(s.observed(id))
	if s.gates != nil {
		s.gates.told = s.metrics.receipt
	}
	if at := s.settings.Metrics.Listen; at != "" {
		if s.web, err = serveHTTP(at, s.metrics.handler(s.cmd.Pprof), s.log); err != nil {
			return err
		}
	}
	if err := s.openPage(id); err != nil {
		return err
	}
	s.printer = newPrinter(s.cmd.Format, s.std.out, s.log)
	if err := s.start(f); err != nil {
		return err
	}
	s.protect.follow(func(_ policy.Config, n *network.Networks) { s.renew(n) })
	return host.Privileges(s.access(), s.log)
}

// observed is what the metrics see of the sensor.
func (s *sensing) observed(id bus.Identity) observed {
	o := observed{
		Site: id.Site, Sensor: id.Sensor, Started: time.Now(), Bus: s.bus.Stats, Ready: s.bus.Ready, Decided: s.decider.stats,
		Status: func() *sensor.Status {
			if r := s.run.Load(); r != nil {
				return r.engine.Status()
			}
			return nil
		},
		Interfaces: func() []capture.InterfaceStatus {
			if r := s.run.Load(); r != nil {
				return r.live.Interfaces()
			}
			return nil
		},
		Correction: func() time.Duration {
			if r := s.run.Load(); r != nil {
				return r.live.Clock()
			}
			return 0
		},
	}
	if s.store != nil {
		o.Store = s.store.store.Stats
	}
	if s.evidence != nil {
		o.Evidence = s.evidence.Stats
	}
	o.Noticed = s.notices.stats
	if s.gates != nil {
		s.gates.observed(&o)
	}
	return o
}

// access is what is still needed when all is open.
func (s *sensing) access() host.Access {
	a := host.Access{Capabilities: []string{"CAP_NET_RAW"}, ReadWrite: append(s.store.folders(), s.state.Dir())}
	if s.gates != nil {
		a.Capabilities = append(a.Capabilities, gateCapabilities...)
		a.ReadWrite = append(a.ReadWrite, pinFolders(&s.settings)...)
	}
	a.ReadOnly = append(a.ReadOnly, host.NameFiles()...) // also resolv.conf and sshd_config, which tell what is never dropped
	a.ReadOnly = append(a.ReadOnly, s.settings.files()...)
	if s.cmd.Config != "" {
		a.ReadOnly = append(a.ReadOnly, s.cmd.Config)
	}
	return a
}

// start opens the interfaces and makes an engine for them.
func (s *sensing) start(f *filter.Filter) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := new(sensingRun)
	r.anew, r.reset = context.WithCancel(context.Background())
	var err error
	live := s.settings.live()
	if s.gates != nil {
		live.Gated = s.gates.gated
	}
	if r.live, err = openLive(live, s.cmd.Interface, s.cmd.workers(), f, func(e capture.LiveEvent) { s.event(r, e) }); err != nil {
		return err
	}
	cfg, err := s.settings.engine(s.settings.liveTables(len(s.cmd.Interface), r.live.Workers()), s.normal)
	if err != nil {
		return errors.Join(err, r.live.Close())
	}
	cfg.Recent = recent(&s.settings.Store)
	cfg.Live, cfg.Workers, cfg.Keep, cfg.SketchKey, cfg.Seed = true, r.live.Workers(), keep(f), s.site, secret()
	cfg.Alert.Sensor = s.settings.sensorName()
	sinks := sensor.Sinks{Alert: s.alert, Established: s.established, Baseline: s.learned}
	if s.bus.FlowsEnabled() || s.store.flows() {
		sinks.Record = s.flow
	}
	if r.engine, err = sensor.New(cfg, sinks); err != nil {
		return errors.Join(err, r.live.Close())
	}
	r.site, r.read = cfg.Site, cfg.Openings
	s.run.Store(r)
	s.renew(s.protect.now())
	return nil
}

// renew gives the present engine the networks as they are now.
func (s *sensing) renew(n *network.Networks) {
	if r := s.run.Load(); r != nil {
		r.site.Renew(n)
		read := r.read
		read.Proxies = proxies(n)
		r.engine.SetOpenings(read)
	}
}

// secret is a random seed: who knows it can make the tables slow.
func secret() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// event tells what happened to the interfaces and the clock.
func (s *sensing) event(r *sensingRun, e capture.LiveEvent) {
	level := slog.LevelWarn
	if e.Kind == capture.InterfaceUp || e.Kind == capture.InterfaceReopened {
		level = slog.LevelInfo
	}
	s.seldom.Log(context.Background(), level, e.String())
	if e.Kind == capture.ClockReset {
		s.log.Warn("event time begins anew: what was known of connections and sources is forgotten")
		r.reset()
	}
}

// watch runs the engine until ctx ends, and what goes on beside it.
func (s *sensing) watch(ctx context.Context) (*sensor.Summary, error) {
	s.watched = true
	beside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.pulse(beside)
	s.startPolicy(beside)
	s.beside.Go(func() { s.keepBaseline(beside) })
	s.beside.Go(func() { s.evidence.run(beside) })
	s.beside.Go(func() { (&reloader{s.cmd.Config, s.hangup, s.log, s.metrics, s.reconfigure}).run(beside) })
	go host.Watchdog(beside, func() bool { return s.metrics.stuck(time.Now()) == nil }) //nolint:errcheck // a request that makes no sense
	s.log.Info("watching", "interfaces", strings.Join(s.cmd.Interface, ", "), "workers", s.run.Load().live.Workers(), "version", version)
	announce(host.Ready, s.log)
	ctx, unread := context.WithCancel(ctx)
	defer unread()
	if s.printer != nil && !serviced(s.std.out) {
		whenUnread(beside, s.std.out, unread)
	}
	for {
		r := s.run.Load()
		ended := context.AfterFunc(ctx, func() {
			announce(host.Stopping, s.log)
			r.live.Stop()
		})
		reset := context.AfterFunc(r.anew, r.live.Stop)
		sum, err := r.engine.Live(r.sources())
		ended()
		reset()
		s.evidence.collect(r, true)
		err = errors.Join(err, r.live.Close(), r.engine.Close())
		if err != nil || ctx.Err() != nil || r.anew.Err() == nil {
			return sum, err
		}
		if !s.restart(ctx) {
			return sum, nil
		}
	}
}

// restart begins anew, however long an interface is away meanwhile; false: ctx ended before.
func (s *sensing) restart(ctx context.Context) bool {
	for {
		err := s.start(s.filter())
		if err == nil {
			return true
		}
		s.seldom.Error("capture cannot begin anew; it is tried on", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return false
		}
	}
}

// filter is the one in use.
func (s *sensing) filter() *filter.Filter {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, _ := s.settings.filter(s.cmd.Filter) // was parsed before
	return f
}

func (r *sensingRun) sources() (all []capture.LiveSource) {
	for w := range r.live.Workers() {
		all = append(all, r.live.Source(w))
	}
	return all
}

// serviced tells whether a service manager runs this process, or reads its output: then nobody waits at the other end of it, and
// the sensor goes on without.
func serviced(out io.Writer) bool {
	if os.Getenv("NOTIFY_SOCKET") != "" {
		return true
	}
	var st syscall.Stat_t
	f, isFile := out.(*os.File)
	return isFile && syscall.Fstat(int(f.Fd()), &st) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// pulse publishes the health messages.
func (s *sensing) pulse(ctx context.Context) {
	reporter := newHealthReporter(s.metrics)
	ticker := time.NewTicker(healthEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			s.bus.Health(reporter.message(now))
			s.sayExpired(now)
		case <-ctx.Done():
			return
		}
	}
}

// alert hands a revision on: to the bus, which keeps it, to the metrics and to standard output. On the judge's goroutine.
func (s *sensing) alert(a *alert.Alert) {
	switch {
	case a.State != alert.Closed:
	case a.Muted != nil:
		s.muted++
	default:
		s.counted[a.Severity]++
	}
	s.decider.judge(a)
	s.evidence.alert(a)
	line, err := a.AppendLine(s.line[:0])
	if err == nil {
		s.line = line
		err = s.bus.Alert(a.Analyzer, a.Severity.String(), fmt.Sprintf("%s.%d", a.ID, a.Rev), line[:len(line)-1])
	}
	if err != nil {
		s.seldom.Error("an alert is not safe on disk", "id", a.ID, "rev", a.Rev, "error", err)
	}
	s.metrics.alert(a, time.Now())
	s.store.alert(a, line)
	s.notices.alert(a)
	s.page.alert(a, line)
	if a.Muted == nil || s.cmd.Muted {
		s.printer.put(a)
	}
}

// flow publishes and keeps a connection at its end. On the judge's goroutine.
func (s *sensing) flow(r *conn.Record) {
	if s.gates != nil {
		r.Action = s.decider.acting(r.Orig.Netip(r.Ver))
	}
	s.store.flow(r)
	if s.bus.FlowsEnabled() {
		s.record = r.AppendJSON(s.record[:0])
		s.bus.Flow(s.record[:len(s.record)-1])
	}
}

// close gives back what was opened, the last first.
func (s *sensing) close() (err error) {
	if r := s.run.Load(); r != nil && !s.watched {
		err = errors.Join(r.live.Close(), r.engine.Close())
	}
	s.beside.Wait()
	s.saveBaseline()
	err = errors.Join(err, s.page.close(), s.notices.close(), s.store.close())
	if s.gates != nil {
		d := s.gates.dropped()
		s.stopped = fmt.Sprintf("%d packets dropped, %s", d.Packets, scaled(d.Bytes, "B"))
		err = errors.Join(err, s.gates.close())
	}
	s.printer.close()
	if s.bus != nil {
		drain, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		if left := s.bus.Close(drain); left != nil {
			s.log.Warn("not all could be published; the rest waits for the next start", "left", left)
		}
	}
	if s.web != nil {
		err = errors.Join(err, s.web.Close())
	}
	if s.blocks != nil {
		err = errors.Join(err, s.blocks.Close())
	}
	if s.state != nil {
		err = errors.Join(err, s.state.Close())
	}
	return err
}

// tell says on standard error what the sensor did.
func (s *sensing) tell(sum *sensor.Summary, took time.Duration) {
	if s.cmd.Format == "table" || s.cmd.Format == "auto" && isTerminal(s.std.out) {
		fmt.Fprintln(s.std.err)
	}
	printSummary(s.std.err, &outcome{Summary: sum, alerts: s.counted, muted: s.muted, gate: s.stopped, took: took})
}
