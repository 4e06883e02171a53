package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"weir/analyzers/baseline"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/host"
)

type baselineLearnCmd struct {
	Files    []string `arg:"" name:"file" help:"Captures of good traffic, as for 'weir replay'; several are read one after the other."`
	Merge    bool     `help:"Merge the files by time instead."`
	Filter   string   `placeholder:"EXPR" help:"Learn only from packets that match."`
	Out      string   `placeholder:"FILE" help:"Write the baseline here, for 'weir replay --baseline', and not into the state folder."`
	Add      bool     `help:"Learn on top of what is there already."`
	Replace  bool     `help:"Forget what is there already."`
	Unpinned bool     `help:"Do not pin: learning goes on from there."`
	Workers  int      `placeholder:"N" help:"Worker goroutines, 1 to ${workers} (default: one a core)."`
	Quiet    bool     `short:"q" help:"No progress, no summary."`
	baselineState
}

// Help is the long form of --help.
func (*baselineLearnCmd) Help() string {
	return `What the captures have is known good from then on: their means, hours of the week and distributions do not move while the sensor
learns on (it still learns keys that they do not have). A week is best, a day knows the hours of a day, some minutes know a mean.
What weir finds in them is not learned, and said: look at it first ('weir replay').`
}

// Run learns.
func (c *baselineLearnCmd) Run(ctx context.Context, std *streams) (err error) {
	if c.Add && c.Replace {
		return usageError{errors.New("--add and --replace exclude each other")}
	}
	if c.Workers < 0 || c.Workers > sensor.MaxWorkers {
		return usageError{fmt.Errorf("--workers: %d is not within 1 to %d", c.Workers, sensor.MaxWorkers)}
	}
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	path := c.Out
	if path == "" {
		state, err := host.OpenState(c.State)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, state.Close()) }()
		path = c.path()
	}
	store, err := c.begin(path, settings.Baseline)
	if err != nil {
		return err
	}
	alerts, err := c.learn(ctx, std, &settings, store)
	if err != nil {
		return err
	}
	if !c.Unpinned {
		store.Pin()
	}
	if err := writeBaseline(path, store); err != nil {
		return err
	}
	if !c.Quiet {
		fmt.Fprintf(std.err, "weir: %s knows %s\n", printable(path), knows(store))
		if alerts > 0 {
			fmt.Fprintf(std.err, "weir: %d alerts of medium severity or more in this traffic, which was not learned: is it good? 'weir replay' shows them\n", alerts)
		}
	}
	return nil
}

// begin is the baseline to learn into.
func (c *baselineLearnCmd) begin(path string, cfg baseline.Config) (*baseline.Store, error) {
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) || err == nil && c.Replace:
		return baseline.New(cfg), nil
	case err != nil:
		return nil, err
	case !c.Add:
		return nil, usageError{fmt.Errorf("%s is there already: --add learns on top of it, --replace begins anew", path)}
	}
	return readBaseline(path, cfg)
}

// learn replays the files and counts the alerts that nobody should see in good traffic.
func (c *baselineLearnCmd) learn(ctx context.Context, std *streams, settings *config, store *baseline.Store) (alerts int, err error) {
	f, err := settings.filter(c.Filter)
	if err != nil {
		return 0, usageError{err}
	}
	cfg, err := settings.engine(settings.replayTables(), store)
	if err != nil {
		return 0, err
	}
	cfg.Workers, cfg.Keep = c.Workers, keep(f)
	engine, err := sensor.New(cfg, sensor.Sinks{Alert: func(a *alert.Alert) {
		if a.State == alert.Closed && a.Severity >= alert.Medium {
			alerts++
		}
	}})
	if err != nil {
		return 0, err
	}
	defer engine.Close()
	src := newSource(ctx, c.Files, c.Merge)
	defer src.Close()
	var bar *progress
	if !c.Quiet {
		bar = startProgress(std, false, src.set)
	}
	sum, err := engine.Replay(ctx, src)
	bar.stop()
	if ctx.Err() != nil {
		return 0, fmt.Errorf("interrupted after %d packets; nothing was written", sum.Link.Packets)
	}
	return alerts, err
}
