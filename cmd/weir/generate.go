package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/schollz/progressbar/v3"

	"weir/sensor/traffic/rehearsal"
)

type generateCmd struct {
	Out     string  `required:"" placeholder:"FILE" help:"Write the capture here: pcap, compressed if the name ends in .zst or .gz; '-' is standard output."`
	Truth   string  `placeholder:"FILE" help:"Write here what is true in it, one JSON object a line: the site, then each attack."`
	Config  string  `placeholder:"FILE" help:"Write here the configuration that a user of this site would have: its networks."`
	Seed    uint64  `default:"1" placeholder:"N" help:"What all chance follows from. The same seed and settings give the same bytes (default: ${default})."`
	Days    int     `placeholder:"N" help:"How many days (default: 1)."`
	Hours   float64 `placeholder:"H" help:"How many hours instead."`
	Attacks int     `default:"5" placeholder:"N" help:"How many attacks, of all kinds, are in it (default: ${default})."`
	Start   string  `placeholder:"TIME" help:"When it begins, RFC 3339 or a date (default: 2026-01-05, a Monday)."`
	Rate    float64 `default:"1" placeholder:"X" help:"How much more people do than usual (default: ${default}, 4 to 6 M packets a weekday)."`
	Quiet   bool    `short:"q" help:"No progress, no summary."`
}

// Help is the long form of --help.
func (*generateCmd) Help() string {
	return `Makes a capture of a site that does not exist: 200 hosts and 40 services with working hours and weekends, and attacks in it, which are
recordings of real tools with other addresses and times. It is for rehearsals: what would my configuration find, what would it
report in vain? 'weir score' answers that.

Examples:
  weir generate --out site.pcap.zst --truth truth.jsonl --config site.yaml
  weir generate --seed 7 --days 7 --attacks 30 --out week.pcap.zst --truth week.jsonl --config week.yaml
  weir generate --hours 1 --attacks 0 --start 2026-01-05T09:00:00Z --out - | weir replay -

  weir replay --config site.yaml --format jsonl site.pcap.zst >alerts.jsonl
  weir score --truth truth.jsonl alerts.jsonl

A day has 4 to 6 million packets, takes less than a minute to make and some 160 MB (.zst). Attacks begin after the first seventh of the
time.`
}

// Run makes the capture.
func (c *generateCmd) Run(ctx context.Context, std *streams) error {
	cfg, err := c.settings()
	if err != nil {
		return usageError{err}
	}
	out, err := createCapture(c.Out, std.out)
	if err != nil {
		return usageError{err}
	}
	begin := time.Now()
	var tell func(time.Time)
	if !c.Quiet && isTerminal(std.err) {
		bar := progressbar.NewOptions64(int64(cfg.Length/time.Minute), progressbar.OptionSetWriter(std.err),
			progressbar.OptionSetDescription("generate"), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100*time.Millisecond))
		defer func() { _ = bar.Finish() }()
		tell = func(t time.Time) { _ = bar.Set64(int64(t.Sub(cfg.Start) / time.Minute)) }
	}
	made, err := rehearsal.Write(ctx, out, cfg, tell)
	if err = errors.Join(err, out.close(err)); err != nil {
		return err
	}
	var truth bytes.Buffer
	if err := made.Truth.Write(&truth); err != nil {
		return err
	}
	if err := errors.Join(writeIf(c.Truth, truth.Bytes()), writeIf(c.Config, fragment(made))); err != nil {
		return err
	}
	if !c.Quiet {
		fmt.Fprintf(std.err, "%d packets (%d bytes on the wire) of %s, %d attacks, in %s\n", made.Packets, made.Bytes, cfg.Length,
			len(made.Truth.Attacks), time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

// settings are the flags as the generator takes them.
func (c *generateCmd) settings() (rehearsal.Config, error) {
	cfg := rehearsal.Config{Seed: c.Seed, Start: rehearsal.DefaultStart, Length: 24 * time.Hour, Attacks: c.Attacks, Rate: c.Rate}
	switch {
	case c.Days != 0 && c.Hours != 0:
		return cfg, errors.New("--days and --hours are two ways to say one thing: give one")
	case c.Days < 0 || c.Hours < 0:
		return cfg, errors.New("a length must be above 0")
	case c.Days > 0:
		cfg.Length = time.Duration(min(c.Days, 1000)) * 24 * time.Hour // more is refused below, and must not overflow
	case c.Hours > 0:
		cfg.Length = time.Duration(min(c.Hours, 24000) * float64(time.Hour))
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, c.Start); err == nil {
			cfg.Start = t.UTC()
			return cfg, cfg.Check()
		}
	}
	if c.Start != "" {
		return cfg, fmt.Errorf("--start: %q is neither a date nor a time (2026-01-05, 2026-01-05T09:00:00Z)", c.Start)
	}
	return cfg, cfg.Check()
}

// fragment is the configuration of somebody who knows his site.
func fragment(m *rehearsal.Made) []byte {
	s := &m.Truth.Site
	var b strings.Builder
	list := func(name string, n int, text func(i int) string) {
		var items []string
		for i := range n {
			items = append(items, text(i))
		}
		fmt.Fprintf(&b, "  %s: [%s]\n", name, strings.Join(items, ", "))
	}
	fmt.Fprintf(&b, "# The site of weir generate --seed %d.\nnetworks:\n", s.Seed)
	list("inside", len(s.Inside), func(i int) string { return `"` + s.Inside[i].String() + `"` })
	list("trusted_proxies", len(s.TrustedProxies), func(i int) string { return `"` + s.TrustedProxies[i].String() + `"` })
	list("known_destinations", len(s.KnownDestinations), func(i int) string { return `"` + s.KnownDestinations[i].String() + `"` })
	return []byte(b.String())
}

func writeIf(path string, text []byte) error {
	if path == "" {
		return nil
	}
	return os.WriteFile(path, text, 0o644)
}

// captureFile is where a capture goes. What is not whole is removed.
type captureFile struct {
	io.Writer
	file   *os.File // nil: standard output
	finish func() error
}

func createCapture(path string, stdout io.Writer) (*captureFile, error) {
	c := &captureFile{Writer: stdout, finish: func() error { return nil }}
	if path == "-" {
		if isTerminal(stdout) {
			return nil, errors.New("--out -: a capture is not for a terminal: give it a file or a pipe")
		}
		return c, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	c.Writer, c.file = f, f
	switch {
	case strings.HasSuffix(path, ".zst"):
		z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
		if err != nil {
			return nil, err
		}
		c.Writer, c.finish = z, z.Close
	case strings.HasSuffix(path, ".gz"):
		z := gzip.NewWriter(f)
		c.Writer, c.finish = z, z.Close
	}
	return c, nil
}

// close ends the file; after an error nothing is left of it.
func (c *captureFile) close(failed error) error {
	err := c.finish()
	if c.file == nil {
		return err
	}
	err = errors.Join(err, c.file.Close())
	if info, stat := os.Stat(c.file.Name()); failed != nil && stat == nil && info.Mode().IsRegular() {
		return errors.Join(err, os.Remove(c.file.Name()))
	}
	return err
}
