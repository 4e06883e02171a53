package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"

	"weir/analyzers/hunt"
)

type huntCmd struct {
	Files        []string `arg:"" optional:"" name:"file" help:"Captures, connections as JSON lines (weir replay --flows), access logs (plain, gzip or zstd; '-' is standard input) or the folder of a store. All must be of one sort. Without any: the store in the state folder."`
	State        string   `default:"/var/lib/weir" placeholder:"DIR" help:"Where a sensor keeps its state, and its store in that (default: ${default})."`
	Input        string   `enum:"auto,capture,flows,log,store" default:"auto" help:"What the files are: capture, flows, log, store, or auto: what they look like."`
	Vectors      string   `placeholder:"FILE" help:"Vectors made elsewhere instead: CSV lines 'id,number,…' or JSON lines {\"id\": …, \"vector\": [numbers]}."`
	By           string   `enum:"row,host" default:"row" help:"What is compared: row (connections, requests) or host (each host or client, hour by hour)."`
	Pattern      string   `placeholder:"PATTERN" help:"Of access logs: common, combined, or a pattern as of Tomcat's AccessLogValve and httpd's LogFormat: '%h %l %u %t \"%r\" %s %b %D' (default: JSON, combined or common, by line)."`
	Microseconds bool     `help:"%D of the pattern is in microseconds: httpd, and Tomcat from 10 on."`
	Filter       string   `placeholder:"EXPR" help:"Judge only packets of captures, or connections of a store, that match."`
	Last         string   `placeholder:"DURATION" help:"Of a store: only connections that ended so long ago or less (24h, 7d)."`
	Config       string   `placeholder:"FILE" help:"Configuration (YAML): tables and filter of captures, where the store is."`
	Eps          float64  `placeholder:"X" help:"Radius of the neighbourhood, in interquartile ranges (default: from the knee of the k-distances)."`
	MinSamples   int      `default:"20" placeholder:"N" help:"Rows within the radius that make a cluster (default: ${default})."`
	Rare         float64  `default:"0.01" placeholder:"SHARE" help:"Clusters of at most this share of all rows are listed as odd groups (default: ${default})."`
	Top          int      `default:"50" placeholder:"N" help:"Outliers that are listed (default: ${default})."`
	MaxRows      int      `default:"1000000" placeholder:"N" help:"Of more rows than this a uniform sample is judged (default: ${default})."`
	Format       string   `enum:"auto,table,jsonl,html" default:"auto" help:"table, jsonl, html (one page, nothing outside of it), or auto: by the name of --out; else a table on a terminal, jsonl otherwise."`
	Out          string   `placeholder:"FILE" help:"Write here instead of to standard output."`
	Propose      string   `placeholder:"FILE" help:"Write mute rules for what was found here, as a piece of a configuration: for what is expected, once you have looked."`
	Truth        string   `placeholder:"FILE" help:"Say precision and recall by what is true in the input (weir generate --truth)."`
	Quiet        bool     `short:"q" help:"No progress, no summary."`
}

// Help is the long form of --help.
func (*huntCmd) Help() string {
	return `Finds what is unlike all else in what was recorded: DBSCAN over robustly scaled vectors. It needs neither thresholds nor a baseline,
and says what sets each outlier apart. An outlier is unusual, which is not the same as bad: docs/hunt.md.

Examples:
  weir hunt --last 24h                                      the store of a sensor
  weir hunt --format html --out monday.html monday.pcap.zst
  weir hunt --by host flows.jsonl.gz
  weir hunt --pattern '%h %l %u %t "%r" %s %b %D' localhost_access_log.2026-11-20.txt
  zcat access.log.*.gz | weir hunt --by host -
  weir hunt --vectors embeddings.csv

The same input gives the same output, whatever the number of cores.`
}

// Run hunts.
func (c *huntCmd) Run(ctx context.Context, std *streams) error {
	cfg := hunt.Config{Eps: c.Eps, MinSamples: c.MinSamples, Rare: c.Rare, Top: c.Top}
	if err := errors.Join(c.check(), cfg.Check()); err != nil {
		return usageError{err}
	}
	begin := time.Now()
	if slices.Contains(append(c.Files, c.Vectors), "-") {
		std = &streams{interruptible(ctx, std.in), std.out, std.err}
	}
	bar := c.bar(std)
	rows, err := c.read(ctx, std, bar)
	if err != nil {
		return stopped(ctx, err)
	}
	result, err := hunt.Run(ctx, rows.input, cfg, bar.tell)
	if err != nil {
		return stopped(ctx, err)
	}
	bar.end()
	report := &huntReport{Result: result, rows: rows, cmd: c}
	if c.Truth != "" {
		if report.truth, err = c.compare(report, std); err != nil {
			return err
		}
	}
	if err := c.write(std, report); err != nil {
		return err
	}
	if c.Propose != "" {
		if err := os.WriteFile(c.Propose, report.proposal(time.Now()), 0o644); err != nil {
			return err
		}
	}
	if !c.Quiet {
		for _, line := range append(rows.notes(), report.truth.lines()...) {
			fmt.Fprintln(std.err, printable(line))
		}
		fmt.Fprintf(std.err, "in %s\n", time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

// interruptible is a reader whose wait ends with a context: a read from a pipe that is silent cannot be called off, and is left behind for
// the rest of the process.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		_ = in.CloseWithError(err) // nil is the end
	}()
	context.AfterFunc(ctx, func() { _ = in.CloseWithError(ctx.Err()) })
	return out
}

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

func (c *huntCmd) check() error {
	switch {
	case c.Vectors != "" && (len(c.Files) > 0 || c.By == "host" || c.Pattern != "" || c.Filter != "" || c.Last != ""):
		return errors.New("--vectors stands alone: no files, --by, --pattern, --filter or --last")
	case c.MaxRows < 100 || c.MaxRows > hunt.MaxRows:
		return fmt.Errorf("--max-rows is %d, must be within 100 to %d", c.MaxRows, hunt.MaxRows)
	}
	for _, out := range []string{c.Out, c.Propose} {
		info, err := os.Stat(out)
		if err != nil {
			continue
		}
		for _, f := range append(slices.Clone(c.Files), c.Vectors, c.Truth) {
			if in, err := os.Stat(f); err == nil && os.SameFile(in, info) {
				return fmt.Errorf("%s is read and would be overwritten", out)
			}
		}
	}
	return nil
}

// write writes the findings.
func (c *huntCmd) write(std *streams, r *huntReport) error {
	var out bytes.Buffer
	var err error
	switch c.format(std) {
	case "table":
		r.table(&out, width(std.out))
	case "html":
		err = r.page(&out)
	default:
		err = r.jsonl(&out)
	}
	if err != nil {
		return err
	}
	if c.Out != "" {
		return os.WriteFile(c.Out, out.Bytes(), 0o644)
	}
	_, err = std.out.Write(out.Bytes())
	return err
}

func (c *huntCmd) format(std *streams) string {
	switch {
	case c.Format != "auto":
		return c.Format
	case hasSuffix(c.Out, ".html", ".htm"):
		return "html"
	case c.Out == "" && isTerminal(std.out) || hasSuffix(c.Out, ".txt"):
		return "table"
	}
	return "jsonl"
}

// huntBar shows how far a hunt is, on a terminal only.
type huntBar struct {
	bar   *progressbar.ProgressBar
	stage string
}

func (c *huntCmd) bar(std *streams) *huntBar {
	if c.Quiet || !isTerminal(std.err) {
		return nil
	}
	return &huntBar{bar: progressbar.NewOptions(1000, progressbar.OptionSetWriter(std.err), progressbar.OptionClearOnFinish(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(false))}
}

// tell shows a stage and the share of it that is done.
func (b *huntBar) tell(stage string, share float64) {
	if b == nil {
		return
	}
	if stage != b.stage {
		b.stage = stage
		b.bar.Describe(stage)
	}
	_ = b.bar.Set(int(share * 999)) // a terminal that went away is no failure
}

func (b *huntBar) end() {
	if b != nil {
		_ = b.bar.Finish()
	}
}
