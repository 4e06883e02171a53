package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"weir/analyzers/baseline"
	"weir/decode/conn"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

type replayCmd struct {
	Files       []string `arg:"" name:"file" help:"Captures: pcap or pcapng, plain, gzip or zstd; '-' is standard input. Several are read one after the other."`
	Merge       bool     `help:"Merge the files by time instead."`
	Filter      string   `placeholder:"EXPR" help:"Judge only packets that match, in the words of tcpdump: 'net 10.0.0.0/8 and not port 22'. Sees inside tunnels."`
	Format      string   `enum:"auto,table,jsonl,ecs,eve" default:"auto" help:"table, jsonl, ecs (Elastic Common Schema), eve (Suricata's eve.json), or auto: a table on a terminal, jsonl otherwise."`
	Config      string   `placeholder:"FILE" help:"Configuration (YAML); deploy/weir.yaml shows every setting."`
	Workers     int      `placeholder:"N" help:"Worker goroutines, 1 to ${workers} (default: one a core). The output does not depend on it."`
	Expect      string   `placeholder:"FILE" help:"Compare the alerts with these JSON lines: exit 1 and a diff if they differ."`
	Baseline    string   `placeholder:"FILE" help:"Begin with this baseline (weir baseline learn); the file stays as it is."`
	Evidence    string   `placeholder:"DIR" help:"Write the packets of each alert of medium severity or more to a pcapng here."`
	Flows       string   `placeholder:"FILE" help:"Write every connection at its end; with '-' to standard output, in place of the alerts."`
	FlowsFormat string   `enum:"json,zeek" default:"json" help:"json (one object a line) or zeek (conn.log; lists the outer connections of tunnels, too)."`
	Muted       bool     `help:"Write alerts that a rule of the configuration mutes, too."`
	Quiet       bool     `short:"q" help:"No progress, no summary."`
}

// Help is the long form of --help.
func (*replayCmd) Help() string {
	return `Examples:
  weir replay trace.pcap
  weir replay --filter 'host 192.0.2.7' --evidence cases/ monday.pcapng.zst tuesday.pcapng.zst
  weir replay --flows conn.log --flows-format zeek trace.pcap | jq .summary
  tcpdump -i eth0 -w - | weir replay -

The same files, configuration and version give the same alerts, byte for byte. JSON lines hold every revision of an alert
(open, update, closed); the table shows each alert once, at its end.`
}

// Run replays the files.
func (c *replayCmd) Run(ctx context.Context, std *streams) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	f, err := settings.filter(c.Filter)
	if err != nil {
		return usageError{err}
	}
	store, err := c.known(settings.Baseline)
	if err != nil {
		return err
	}
	cfg, err := settings.engine(settings.replayTables(), store)
	if err != nil {
		return err
	}
	cfg.Workers, cfg.Outer, cfg.Keep = c.Workers, c.FlowsFormat == "zeek", keep(f)
	want, err := c.expected()
	if err != nil {
		return err
	}
	return c.replay(ctx, std, cfg, want)
}

// known is the baseline to begin with; nil: none.
func (c *replayCmd) known(cfg baseline.Config) (*baseline.Store, error) {
	if c.Baseline == "" {
		return nil, nil
	}
	store, err := readBaseline(c.Baseline, cfg)
	if err != nil {
		return nil, usageError{err}
	}
	return store, nil
}

// check finds what kong cannot.
func (c *replayCmd) check() error {
	stdin := slices.Contains(c.Files, "-")
	switch {
	case c.Workers < 0 || c.Workers > sensor.MaxWorkers:
		return fmt.Errorf("--workers: %d is not within 1 to %d", c.Workers, sensor.MaxWorkers)
	case stdin && c.Evidence != "":
		return errors.New("--evidence reads the input again, which standard input cannot: give it a file")
	case stdin && len(c.Files) > 1 && c.Merge:
		return errors.New("--merge cannot take standard input")
	case c.FlowsFormat != "json" && c.Flows == "":
		return errors.New("--flows-format needs --flows")
	}
	flows, _ := os.Stat(c.Flows)
	for _, f := range c.Files {
		info, err := os.Stat(f)
		if err != nil {
			continue // reading it tells more
		}
		switch mode := info.Mode(); {
		case c.Evidence != "" && !mode.IsRegular() && !mode.IsDir():
			return fmt.Errorf("--evidence reads the input again, which %s cannot: give it a file", f)
		case mode.IsRegular() && flows != nil && os.SameFile(info, flows):
			return fmt.Errorf("--flows would overwrite the capture %s", f)
		}
	}
	return nil
}

func (c *replayCmd) expected() ([]*alert.Alert, error) {
	if c.Expect == "" {
		return nil, nil
	}
	f, err := os.Open(c.Expect)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	want, err := alert.Read(f)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", c.Expect, err)}
	}
	return want, nil
}

// outputs are where the results of a replay go. The first error of writing them stops the replay.
type outputs struct {
	alerts     alertWriter
	flows      *flowWriter
	keep       bool           // all alerts are needed at the end
	hold       bool           // and written only then
	all        []*alert.Alert // if keep
	severities [alert.SeverityCount]uint64
	showMuted  bool
	muted      uint64 // that were not shown
	err        error
	stop       context.CancelCauseFunc
}

// take counts an alert's revision, keeps it and writes it, each as needed.
func (o *outputs) take(a *alert.Alert) {
	if a.Muted != nil && !o.showMuted {
		if a.State == alert.Closed {
			o.muted++
		}
		return
	}
	if a.State == alert.Closed {
		o.severities[a.Severity]++
	}
	if o.keep {
		one := *a
		o.all = append(o.all, &one)
	}
	if !o.hold {
		o.failed(o.alerts.write(a))
	}
}

func (o *outputs) failed(err error) {
	if err != nil && o.err == nil {
		o.err = err
		o.stop(err)
	}
}

// finish writes what was held back and empties the buffers.
func (o *outputs) finish() error {
	if o.hold {
		for _, a := range o.all {
			if o.err == nil {
				o.failed(o.alerts.write(a))
			}
		}
	}
	if o.err == nil {
		o.failed(o.alerts.flush())
	}
	o.failed(o.flows.close())
	return o.err
}

// replay runs the engine and writes what it produces. What was found is written whatever went wrong later.
func (c *replayCmd) replay(ctx context.Context, std *streams, cfg sensor.Config, want []*alert.Alert) error {
	if c.Evidence != "" { // before a long run, not after it
		if err := os.MkdirAll(c.Evidence, 0o750); err != nil {
			return err
		}
	}
	flows, err := c.openFlows(std)
	if err != nil {
		return err
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	out := &outputs{
		alerts: newAlertWriter(c.Format, std.out, c.Flows == "-"), flows: flows, stop: stop,
		keep: c.Expect != "" || c.Evidence != "", hold: c.Evidence != "",
		showMuted: c.Muted,
	}
	sinks := sensor.Sinks{Alert: out.take}
	if flows != nil {
		sinks.Record = func(r *conn.Record) { out.failed(flows.write(r)) }
	}
	engine, err := sensor.New(cfg, sinks)
	if err != nil {
		return err
	}
	defer engine.Close()
	src := newSource(running, c.Files, c.Merge)
	defer src.Close()

	begin := time.Now()
	var bar *progress
	if !c.Quiet {
		bar = startProgress(std, c.Format != "auto" && c.Format != "table" || c.Flows == "-", src.set)
	}
	sum, err := engine.Replay(running, src)
	bar.stop()
	if running.Err() != nil { // its error is not the input's
		err = nil
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted after %d packets", sum.Link.Packets)
		if c.Evidence != "" {
			err = errors.Join(err, errors.New("no evidence was written"))
		}
	} else if c.Evidence != "" && out.err == nil {
		err = errors.Join(err, c.evidence(ctx, cfg, out.all))
	}
	err = errors.Join(err, out.finish())
	if !c.Quiet && (err == nil || sum.Link.Packets > 0) {
		printSummary(std.err, &outcome{Summary: sum, files: src.counters(), alerts: out.severities, muted: out.muted, took: time.Since(begin)})
	}
	if c.Expect != "" && ctx.Err() == nil {
		err = errors.Join(err, c.compare(std, want, out.all))
	}
	return err
}

func (c *replayCmd) evidence(ctx context.Context, cfg sensor.Config, all []*alert.Alert) error {
	open := func() capture.Source { return capture.Files(c.Files, c.Merge) }
	err := sensor.Evidence(ctx, open, cfg.Keep, all, c.Evidence)
	if ctx.Err() != nil {
		return errors.New("interrupted while writing evidence")
	}
	return err
}

// compare tells how the alerts differ from those expected.
func (c *replayCmd) compare(std *streams, want, got []*alert.Alert) error {
	diff := alert.Diff(want, got)
	if diff == "" {
		return nil
	}
	fmt.Fprintf(std.err, "alerts differ from %s:\n", printable(c.Expect))
	for line := range strings.Lines(diff) {
		fmt.Fprintln(std.err, printable(strings.TrimSuffix(line, "\n")))
	}
	return reported{errors.New("alerts differ")}
}
