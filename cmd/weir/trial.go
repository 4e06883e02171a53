package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weir/analyzers"
	"weir/analyzers/baseline"
	network "weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/policy"
)

// trial replays captures to see what settings make of them; nothing is kept.
type trial struct {
	Merge    bool   `help:"Merge the files by time instead."`
	Filter   string `placeholder:"EXPR" help:"Judge only packets that match, in the words of tcpdump."`
	Baseline string `placeholder:"FILE" help:"Begin with this baseline (weir baseline learn); the file stays as it is."`
	Workers  int    `placeholder:"N" help:"Worker goroutines, 1 to ${workers} (default: one a core)."`
	Quiet    bool   `short:"q" help:"No progress, no summary."`
}

// check finds what kong cannot.
func (t *trial) check(files []string) error {
	if t.Workers < 0 || t.Workers > sensor.MaxWorkers {
		return fmt.Errorf("--workers: %d is not within 1 to %d", t.Workers, sensor.MaxWorkers)
	}
	if slices.Contains(files, "-") {
		return fmt.Errorf("the captures are read several times, which standard input cannot: give it a file")
	}
	return nil
}

// trialSinks receive what a trial produces. Any may be nil.
type trialSinks struct {
	alert       func(*alert.Alert)
	finding     func(*analyzers.Finding)            // each, before alerts are made of them
	established func(peers []netip.Addr, now int64) // who completed a handshake; before the alerts of that tick
	tick        func(now int64)                     // ns: an epoch was judged
}

// run replays the files once under settings.
func (t *trial) run(ctx context.Context, std *streams, files []string, settings *config, to trialSinks) (*sensor.Summary, error) {
	f, err := settings.filter(t.Filter)
	if err != nil {
		return nil, usageError{err}
	}
	var store *baseline.Store
	if t.Baseline != "" {
		if store, err = readBaseline(t.Baseline, settings.Baseline); err != nil {
			return nil, usageError{err}
		}
	}
	cfg, err := settings.engine(settings.replayTables(), store)
	if err != nil {
		return nil, err
	}
	cfg.Workers, cfg.Keep = t.Workers, keep(f)
	w := &onlooker{to: to}
	for i, a := range cfg.Analyzers {
		cfg.Analyzers[i] = &overheard{a, w}
	}
	cfg.Analyzers = append([]analyzers.Analyzer{w}, cfg.Analyzers...)
	sinks := sensor.Sinks{Alert: to.alert}
	if to.established != nil {
		sinks.Established = func(peers []netip.Addr) { w.peers = append(w.peers, peers...) }
	}
	engine, err := sensor.New(cfg, sinks)
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	src := newSource(ctx, files, t.Merge)
	defer src.Close()
	var bar *progress
	if !t.Quiet {
		bar = startProgress(std, false, src.set)
	}
	sum, err := engine.Replay(ctx, src)
	bar.stop()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("interrupted after %d packets", sum.Link.Packets)
	}
	return sum, err
}

// onlooker is first of the analyzers, and finds nothing: it knows what time it is.
type onlooker struct {
	to    trialSinks
	peers []netip.Addr // of this tick
}

func (w *onlooker) Name() string { return "onlooker" }

func (w *onlooker) Judge(e *tally.Epoch, _ func(*analyzers.Finding)) {
	if len(w.peers) > 0 {
		w.to.established(w.peers, e.End())
		w.peers = w.peers[:0]
	}
	if w.to.tick != nil {
		w.to.tick(e.End())
	}
}

func (w *onlooker) Finish(func(*analyzers.Finding)) {}

// overheard is an analyzer whose findings are seen before alerts are made of them.
type overheard struct {
	analyzers.Analyzer
	by *onlooker
}

func (o *overheard) Judge(e *tally.Epoch, emit func(*analyzers.Finding)) {
	o.Analyzer.Judge(e, o.hear(emit))
}

func (o *overheard) Finish(emit func(*analyzers.Finding)) { o.Analyzer.Finish(o.hear(emit)) }

func (o *overheard) hear(emit func(*analyzers.Finding)) func(*analyzers.Finding) {
	if o.by.to.finding == nil {
		return emit
	}
	return func(f *analyzers.Finding) {
		o.by.to.finding(f)
		emit(f)
	}
}

// dryRun decides about a replay's alerts as 'weir run --dry-run' does about live ones, but for what a host knows of itself.
type dryRun struct {
	policy   *policy.Policy
	networks *network.Networks
	drops    map[string]*policy.Drop // by key, as first decided
	order    []string
}

func newDryRun(settings *config) (*dryRun, error) {
	n, err := settings.readNetworks()
	if err != nil {
		return nil, err
	}
	cfg := settings.Policy
	cfg.Shadow = true
	return &dryRun{policy: policy.New(cfg, n), networks: n, drops: map[string]*policy.Drop{}}, nil
}

func (r *dryRun) judge(a *alert.Alert) {
	one := *a
	one.Subject, one.Victim = r.located(a.Subject), r.located(a.Victim)
	for _, d := range r.policy.Judge(&one, int64(a.Time)) {
		if d.Drop == nil || d.Drop.State != policy.Requested && d.Drop.State != policy.Pending {
			continue
		}
		if key := d.Drop.Key(); r.drops[key] == nil {
			r.drops[key] = d.Drop
			r.order = append(r.order, key)
		}
	}
}

// located is a party with its origin, as far as that is known.
func (r *dryRun) located(p *alert.Party) *alert.Party {
	if p == nil || !p.IP.IsValid() {
		return p
	}
	out := *p
	out.ASN, out.Country = r.networks.Origin(p.IP)
	return &out
}

func (r *dryRun) established(peers []netip.Addr, now int64) {
	for _, a := range peers {
		if !r.networks.Is(network.Own, a) {
			r.policy.Established(a, now)
		}
	}
}

// watched is how long traffic was watched: ticks with gaps of an hour and more left out, as between captures of different days.
type watched struct{ first, last, gaps int64 }

func (s *watched) tick(now int64) {
	if s.first == 0 {
		s.first = now
	} else if gap := now - s.last; gap > int64(time.Hour) {
		s.gaps += gap
	}
	s.last = max(s.last, now)
}

func (s *watched) length() time.Duration { return time.Duration(s.last - s.first - s.gaps) }

// perDay is a number in that time as one a day.
func (s *watched) perDay(n int) float64 {
	if s.length() <= 0 {
		return 0
	}
	return float64(n) / s.length().Hours() * 24
}
