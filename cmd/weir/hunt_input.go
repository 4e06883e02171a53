package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"weir/analyzers/hunt"
	"weir/decode/conn"
	"weir/decode/filter"
	"weir/sensor"
	"weir/sensor/store"
)

// huntRows is the input of a hunt, and what became of it.
type huntRows struct {
	input      hunt.Input
	flows      *hunt.Connections // if the input is made of connections
	requests   *hunt.Requests    // if it is made of requests
	seen, kept int
	lines      int
	bad        int
	firstBad   string // "file:line: why"
	faults     int    // files of a store that could not be read to their end
	firstFault string
}

// notes say what was left out.
func (r *huntRows) notes() (lines []string) {
	if r.bad > 0 {
		lines = append(lines, fmt.Sprintf("%d of %d lines could not be read; the first: %s", r.bad, r.lines, r.firstBad))
	}
	if r.faults > 0 {
		lines = append(lines, fmt.Sprintf("%d files of the store could not be read to their end; the first: %s", r.faults, r.firstFault))
	}
	if r.kept < r.seen {
		lines = append(lines, fmt.Sprintf("%d of %d rows were judged, a uniform sample: outliers among the others are not seen", r.kept, r.seen))
	}
	return lines
}

// maxFaults is how many files of a store may be unreadable: more are no accident.
const maxFaults = 1000

// read reads all input.
func (c *huntCmd) read(ctx context.Context, std *streams, bar *huntBar) (*huntRows, error) {
	r := &huntRows{}
	if c.Vectors != "" {
		v := hunt.NewEmbeddings(c.MaxRows)
		err := r.textFile(ctx, c.Vectors, std, bar, v.Line)
		r.input = v
		r.seen, r.kept = v.Seen()
		return r, r.readable(err)
	}
	files := c.Files
	if len(files) == 0 {
		settings, err := readConfig(c.Config)
		if err != nil {
			return nil, err
		}
		files = []string{storeFolder(&settings.Store, c.State)}
	}
	sort, err := c.sort(std)
	if err != nil {
		return nil, usageError{err}
	}
	if sort != "store" && c.Last != "" || sort != "store" && sort != "capture" && c.Filter != "" || sort != "log" && c.Pattern != "" {
		return nil, usageError{fmt.Errorf("--last is for a store, --filter for captures and a store, --pattern for access logs: this is %s", sort)}
	}
	if sort == "log" {
		return r, c.readLog(ctx, r, files, std, bar)
	}
	r.flows = hunt.NewConnections(c.MaxRows)
	switch sort {
	case "capture":
		err = c.readCaptures(ctx, r.flows, files, bar)
	case "store":
		err = c.readStore(ctx, r, files, bar)
	default:
		for _, f := range files {
			if err = r.textFile(ctx, f, std, bar, func(line []byte) error {
				one, ok, err := hunt.ParseConnection(line)
				if ok && err == nil {
					r.flows.Take(&one)
				}
				return err
			}); err != nil {
				break
			}
		}
		err = r.readable(err)
	}
	if err != nil {
		return nil, err
	}
	r.seen, r.kept = r.flows.Seen()
	r.flows.Finish()
	if r.input = r.flows; c.By == "host" {
		r.input = hunt.ByHost(r.flows)
	}
	return r, nil
}

// readable refuses input of which nothing could be read.
func (r *huntRows) readable(err error) error {
	if err == nil && r.bad == r.lines && r.lines > 0 {
		return usageError{fmt.Errorf("none of %d lines can be read; the first: %s", r.lines, r.firstBad)}
	}
	return err
}

// sort is what the files are: all of one sort. Without any it is the store of the sensor.
func (c *huntCmd) sort(std *streams) (string, error) {
	if c.Input != "auto" {
		return c.Input, nil
	}
	if len(c.Files) == 0 {
		return "store", nil
	}
	sort := ""
	for _, f := range c.Files {
		one, err := sortOf(f, std)
		if err != nil {
			return "", err
		}
		if sort != "" && one != sort {
			return "", fmt.Errorf("%s is %s, those before are %s: hunt in one sort at a time", f, one, sort)
		}
		sort = one
	}
	return sort, nil
}

func sortOf(path string, std *streams) (string, error) {
	if path != "-" {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		if info.IsDir() {
			return "store", nil
		}
	}
	var begin []byte
	in, _, err := openText(path, std)
	if err != nil {
		return "", err
	}
	if path == "-" { // what was looked at is read again
		again := bufio.NewReaderSize(in, 64<<10)
		std.in = again
		begin, _ = again.Peek(64 << 10)
	} else {
		defer in.Close()
		begin, _ = io.ReadAll(io.LimitReader(in, 64<<10))
	}
	for _, magic := range []string{"\xd4\xc3\xb2\xa1", "\xa1\xb2\xc3\xd4", "\x4d\x3c\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x0a\x0d\x0d\x0a"} {
		if bytes.HasPrefix(begin, []byte(magic)) {
			if path == "-" {
				return "", errors.New("a capture on standard input: say so with --input capture")
			}
			return "capture", nil
		}
	}
	line, _, _ := bytes.Cut(bytes.TrimLeft(begin, "\r\n"), []byte("\n"))
	if hunt.IsFlow(line) {
		return "flows", nil
	}
	return "log", nil
}

// readCaptures replays captures without analyzers, for their connections.
func (c *huntCmd) readCaptures(ctx context.Context, to *hunt.Connections, files []string, bar *huntBar) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	f, err := settings.filter(c.Filter)
	if err != nil {
		return usageError{err}
	}
	cfg, err := settings.engine(settings.replayTables(), nil)
	if err != nil {
		return err
	}
	cfg.Analyzers, cfg.Keep = nil, keep(f)
	engine, err := sensor.New(cfg, sensor.Sinks{Record: func(r *conn.Record) { to.Add(r) }})
	if err != nil {
		return err
	}
	defer engine.Close()
	src := newSource(ctx, files, false)
	defer src.Close()
	defer bar.follow("connections", src.set)()
	_, err = engine.Replay(ctx, src)
	return err
}

// follow shows the progress of a source until the function it returns is called.
func (b *huntBar) follow(stage string, src interface{ Progress() (done, total int64) }) (stop func()) {
	if b == nil {
		return func() {}
	}
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				if done, total := src.Progress(); total > 0 {
					b.tell(stage, float64(done)/float64(total))
				}
			}
		}
	}()
	return func() {
		close(quit)
		<-over
	}
}

// readStore reads the connections that a sensor has kept.
func (c *huntCmd) readStore(ctx context.Context, to *huntRows, folders []string, bar *huntBar) error {
	q := store.Query{Progress: func(p store.Progress) { bar.tell("connections", float64(p.Read)/float64(max(p.Files, 1))) }}
	var err error
	if c.Last != "" {
		if q.Since, err = parseSince(c.Last, time.Now()); err != nil {
			return usageError{fmt.Errorf("--last: %w", err)}
		}
	}
	if q.Filter, err = ends(c.Filter); err != nil {
		return usageError{err}
	}
	for _, folder := range folders {
		for r, err := range store.Read(ctx, folder, q) {
			switch {
			case ctx.Err() != nil || r == nil && to.faults > maxFaults:
				return fmt.Errorf("%s: %w", folder, cmp.Or(ctx.Err(), err))
			case errors.Is(err, fs.ErrNotExist):
				return noStore(folder)
			case err != nil:
				if to.faults++; to.faults == 1 {
					to.firstFault = fmt.Sprintf("%s: %v", folder, err)
				}
			default:
				to.flows.Add(r)
			}
		}
	}
	return nil
}

// ends is the filter of connections that an expression means; nil for none.
func ends(expression string) (*filter.Filter, error) {
	if expression == "" {
		return nil, nil
	}
	return filter.ParseEnds(expression)
}

// readLog reads access logs.
func (c *huntCmd) readLog(ctx context.Context, r *huntRows, files []string, std *streams, bar *huntBar) error {
	parse, err := c.parser()
	if err != nil {
		return usageError{err}
	}
	r.requests = hunt.NewRequests(c.MaxRows)
	for _, f := range files {
		if err := r.textFile(ctx, f, std, bar, func(line []byte) error {
			a, err := parse(line)
			if err == nil {
				r.requests.Take(a)
			}
			return err
		}); err != nil {
			return err
		}
	}
	if err := r.readable(nil); err != nil {
		return err
	}
	r.seen, r.kept = r.requests.Seen()
	r.requests.Finish()
	if r.input = r.requests; c.By == "host" {
		r.input = hunt.ByClient(r.requests)
	}
	return nil
}

// parser reads a line by the pattern that was given; else JSON, the combined form, or the common one.
func (c *huntCmd) parser() (func([]byte) (*hunt.Access, error), error) {
	if c.Pattern != "" && c.Pattern != "json" {
		p, err := hunt.NewPattern(c.Pattern, c.Microseconds)
		if err != nil {
			return nil, err
		}
		return p.Parse, nil
	}
	combined, err := hunt.NewPattern("combined", false)
	if err != nil {
		return nil, err
	}
	common, err := hunt.NewPattern("common", false)
	return func(line []byte) (*hunt.Access, error) {
		if c.Pattern == "json" || bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("{")) {
			return hunt.ParseAccessJSON(line)
		}
		if a, err := combined.Parse(line); err == nil {
			return a, nil
		}
		return common.Parse(line)
	}, err
}
