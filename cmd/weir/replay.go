package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"weir/decode/conn"
	"weir/decode/filter"
	"weir/sensor"
	"weir/sensor/alert"
	"weir/sensor/capture"
)

type replayCmd struct {
	Files       []string `arg:"" name:"file" help:"Captures: pcap or pcapng, plain, gzip or zstd; '-' is standard input. Several are read one after the other."`
	Merge       bool     `help:"Merge the files by time instead."`
	Filter      string   `placeholder:"EXPR" help:"Judge only packets that match, in the words of tcpdump: 'net 10.0.0.0/8 and not port 22'. Sees inside tunnels."`
	Format      string   `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl, or auto: a table on a terminal."`
	Config      string   `placeholder:"FILE" help:"Configuration (YAML); deploy/weir.yaml shows every setting."`
	Workers     int      `placeholder:"N" help:"Worker goroutines, 1 to 64 (default: one a core). The output does not depend on it."`
	Expect      string   `placeholder:"FILE" help:"Compare the alerts with these JSON lines: exit 1 and a diff if they differ."`
	Evidence    string   `placeholder:"DIR" help:"Write the packets of each alert of medium severity or more to a pcapng here."`
	Flows       string   `placeholder:"FILE" help:"Write every connection at its end; with '-' to standard output, in place of the alerts."`
	FlowsFormat string   `enum:"json,zeek" default:"json" help:"json (one object a line) or zeek (conn.log; lists the outer connections of tunnels, too)."`
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
	cfg, err := settings.engine()
	if err != nil {
		return err
	}
	cfg.Workers, cfg.Outer = c.Workers, c.FlowsFormat == "zeek"
	if c.Filter != "" {
		f, err := filter.Parse(c.Filter)
		if err != nil {
			return usageError{err}
		}
		cfg.Keep = f.Match
	}
	want, err := c.expected()
	if err != nil {
		return err
	}
	out := newAlertWriter(c.Format, std.out, c.Flows == "-")
	return c.replay(ctx, std, cfg, out, want)
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

// replay runs the engine and writes what it produces. What was found is written whatever went wrong later.
func (c *replayCmd) replay(ctx context.Context, std *streams, cfg sensor.Config, out alertWriter, want []*alert.Alert) error {
	var all []*alert.Alert // kept where they are needed at the end
	keep := c.Expect != "" || c.Evidence != ""
	var writeErr error
	sinks := sensor.Sinks{Alert: func(a *alert.Alert) {
		if keep {
			one := *a
			all = append(all, &one)
		}
		if c.Evidence == "" {
			writeErr = errors.Join(writeErr, out.write(a))
		}
	}}
	flows, err := c.openFlows(std)
	if err != nil {
		return err
	}
	if flows != nil {
		sinks.Record = flows.write
	}
	engine, err := sensor.New(cfg, sinks)
	if err != nil {
		return err
	}
	defer engine.Close()
	src := capture.Files(c.Files, c.Merge)
	defer src.Close()

	begin := time.Now()
	bar := startProgress(std.err, c.Quiet, src)
	sum, err := engine.Replay(ctx, src)
	bar.stop()
	if c.Evidence != "" {
		open := func() capture.Source { return capture.Files(c.Files, c.Merge) }
		err = errors.Join(err, sensor.Evidence(ctx, open, all, c.Evidence))
		for _, a := range all {
			writeErr = errors.Join(writeErr, out.write(a))
		}
	}
	err = errors.Join(err, writeErr, out.flush(), flows.close())
	if !c.Quiet {
		printSummary(std.err, sum, src.Counters(), time.Since(begin))
	}
	if c.Expect != "" {
		if diff := alert.Diff(want, all); diff != "" {
			fmt.Fprintf(std.err, "alerts differ from %s:\n%s", c.Expect, diff)
			err = errors.Join(err, reported{errors.New("alerts differ")})
		}
	}
	return err
}

// flowWriter writes connections in one of the two formats. A nil one does nothing.
type flowWriter struct {
	out    *bufio.Writer
	file   io.Closer
	format func(r *conn.Record, b []byte) []byte
	buf    []byte
}

func (c *replayCmd) openFlows(std *streams) (*flowWriter, error) {
	if c.Flows == "" {
		return nil, nil
	}
	w := &flowWriter{out: bufio.NewWriterSize(std.out, 1<<16), format: (*conn.Record).AppendJSON}
	if c.Flows != "-" {
		f, err := os.Create(c.Flows)
		if err != nil {
			return nil, err
		}
		w.out.Reset(f)
		w.file = f
	}
	if c.FlowsFormat == "zeek" {
		w.format = (*conn.Record).AppendZeek
		w.out.Write(conn.ZeekHeader())
	}
	return w, nil
}

// write appends a record; the buffer remembers the first error.
func (w *flowWriter) write(r *conn.Record) {
	w.buf = w.format(r, w.buf[:0])
	w.out.Write(w.buf)
}

func (w *flowWriter) close() error {
	if w == nil {
		return nil
	}
	err := w.out.Flush()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	return err
}
