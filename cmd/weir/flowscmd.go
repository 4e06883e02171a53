package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"charm.land/lipgloss/v2"

	"weir/decode/conn"
	"weir/decode/filter"
	"weir/sensor/store"
)

type flowsCmd struct {
	Filter []string `arg:"" optional:"" help:"Only connections that match, in the words of tcpdump: src is who opened the connection, dst who answered."`
	State  string   `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder of the sensor on this machine (default: ${default})."`
	Config string   `placeholder:"FILE" help:"Configuration (YAML), for store.folder."`
	Since  string   `placeholder:"WHEN" help:"Ended at this time or later: a duration ago (90s, 1h, 7d) or a time (2026-11-20T23:00:00Z)."`
	Until  string   `placeholder:"WHEN" help:"Ended before this time."`
	Last   string   `placeholder:"DURATION" help:"The same as --since with a duration."`
	Top    int      `placeholder:"N" help:"Add up, and show the N largest."`
	By     string   `enum:"bytes,packets,connections" default:"bytes" help:"What is largest: ${enum}."`
	Group  []string `enum:"orig,resp,pair,port,service,proto,state,hour" default:"orig" help:"What is added up: ${enum}; several with commas between."`
	Limit  int      `placeholder:"N" help:"End after N connections."`
	Format string   `enum:"auto,table,jsonl,csv,zeek" default:"auto" help:"table, jsonl, csv, zeek (conn.log), or auto: a table on a terminal, jsonl otherwise."`
	Quiet  bool     `short:"q" help:"Do not say at the end how much was shown."`
}

// Help is the long form of --help.
func (*flowsCmd) Help() string {
	return `Reads the connections that a sensor keeps on disk (store.flows), also while it runs: what it saw up to its last finished file, 5 minutes
ago at most (store.rotate). They come by the hour of their end, within an hour as the sensor closed them.

Examples:
  weir flows --last 1h host 192.0.2.7
  weir flows --since 2026-11-20T22:00:00Z --until 2026-11-21T06:00:00Z 'tcp dst port 22 and not src net 10.0.0.0/8'
  weir flows --last 1d --top 10                                    who sent and was sent most
  weir flows --last 1d --top 10 --by connections --group resp,port
  weir flows --last 7d --top 168 --by packets --group hour udp port 53
  weir flows --format csv --last 1h | duckdb -c "select * from read_csv('/dev/stdin') limit 5"

Filters know host, net, port, portrange, src, dst, ip, ip6, tcp, udp, sctp, icmp, icmp6, vlan, and, or, not. JSON lines are those of
'weir replay --flows', without payloads and moments, which are not kept. docs/flows.md describes the files, for DuckDB, Spark or Trino.
Exit codes: 0 done, 1 a file could not be read (the others are), 2 wrong use.`
}

// Run reads the store.
func (c *flowsCmd) Run(ctx context.Context, std *streams) error {
	settings, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	q, err := c.query(time.Now())
	if err != nil {
		return usageError{err}
	}
	w, err := c.writer(std.out)
	if err != nil {
		return usageError{err}
	}
	q.Columns = w.columns()
	var seen store.Progress
	q.Progress = func(p store.Progress) { seen = p }
	folder := storeFolder(&settings.Store, c.State)
	shown, err := c.read(ctx, folder, q, w)
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return noStore(folder)
	}
	if ctx.Err() != nil {
		err = nil // ended by a signal: what was found until then is shown
	}
	if end := w.end(); !errors.Is(end, syscall.EPIPE) {
		err = errors.Join(err, end)
	}
	if !c.Quiet {
		fmt.Fprintf(std.err, "weir: %d of %d connections in %d of %d files%s\n", shown, seen.Rows, seen.Read, seen.Files, w.note())
	}
	return err
}

// query is what to read; now is the wall clock.
func (c *flowsCmd) query(now time.Time) (q store.Query, err error) {
	if c.Since != "" && c.Last != "" {
		return q, errors.New("--since and --last exclude each other")
	}
	if c.Top < 0 || c.Limit < 0 {
		return q, errors.New("--top and --limit take a number of 1 or more")
	}
	for _, w := range []struct {
		flag, text string
		to         *time.Time
	}{{"--since", c.Since, &q.Since}, {"--last", c.Last, &q.Since}, {"--until", c.Until, &q.Until}} {
		if w.text == "" {
			continue
		}
		if at, err := time.Parse(time.RFC3339, w.text); err == nil && w.flag == "--until" { // it may be in the future
			*w.to = at
			continue
		}
		if *w.to, err = parseSince(w.text, now); err != nil {
			return q, errors.New(strings.Replace(err.Error(), "--since", w.flag, 1))
		}
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return q, errors.New("--until is not after --since")
	}
	q.Filter, err = filter.ParseEnds(strings.Join(c.Filter, " "))
	return q, err
}

// read hands connections on, up to the limit. Files that cannot be read are in the error, each.
func (c *flowsCmd) read(ctx context.Context, folder string, q store.Query, w flowView) (shown int, err error) {
	for r, fault := range store.Read(ctx, folder, q) {
		if fault != nil {
			err = errors.Join(err, fault)
			continue
		}
		if fault := w.show(r); fault != nil {
			return shown, errors.Join(err, fault)
		}
		if shown++; shown == c.Limit {
			break
		}
	}
	return shown, err
}

// flowView shows connections, one by one or added up.
type flowView interface {
	columns() store.Columns
	show(r *conn.Record) error
	end() error
	note() string // for the summary
}

// writer chooses the form.
func (c *flowsCmd) writer(out io.Writer) (flowView, error) {
	format := c.Format
	if format == "auto" {
		if format = "jsonl"; isTerminal(out) {
			format = "table"
		}
	}
	buffered := bufio.NewWriterSize(out, 1<<16)
	switch {
	case c.Top > 0 && format == "zeek":
		return nil, errors.New("--top has no form of Zeek's: use table, jsonl or csv")
	case c.Top > 0:
		return newTopView(c.Top, c.By, c.Group, format, newTable(out))
	case format == "table":
		return &flowTable{table: newTable(out), out: buffered}, nil
	case format == "csv":
		return newFlowCSV(buffered)
	case format == "zeek":
		_, err := buffered.Write(conn.ZeekHeader())
		return &flowLines{buffered, (*conn.Record).AppendZeek, nil}, err
	}
	return &flowLines{buffered, (*conn.Record).AppendJSON, nil}, nil
}

// flowLines writes a line for each connection.
type flowLines struct {
	out  *bufio.Writer
	form func(r *conn.Record, b []byte) []byte
	buf  []byte
}

func (*flowLines) columns() store.Columns { return store.AllColumns }
func (*flowLines) note() string           { return "" }
func (w *flowLines) end() error           { return w.out.Flush() }

func (w *flowLines) show(r *conn.Record) error {
	w.buf = w.form(r, w.buf[:0])
	_, err := w.out.Write(w.buf)
	return err
}

// flowCSV has the columns of conn.log, with a line of their names. What is unset is empty.
type flowCSV struct {
	flowLines
	csv *csv.Writer
}

func newFlowCSV(out *bufio.Writer) (*flowCSV, error) {
	w := &flowCSV{flowLines{out, (*conn.Record).AppendZeek, nil}, csv.NewWriter(out)}
	for line := range strings.Lines(string(conn.ZeekHeader())) {
		if names, ok := strings.CutPrefix(line, "#fields\t"); ok {
			return w, w.csv.Write(strings.Split(strings.TrimSpace(names), "\t"))
		}
	}
	return w, errors.New("conn.log has no names") // not reached
}

func (w *flowCSV) show(r *conn.Record) error {
	w.buf = w.form(r, w.buf[:0])
	cells := strings.Split(strings.TrimSuffix(string(w.buf), "\n"), "\t")
	for i, cell := range cells {
		if cell == "-" {
			cells[i] = ""
		}
	}
	return w.csv.Write(cells)
}

func (w *flowCSV) end() error {
	w.csv.Flush()
	return errors.Join(w.csv.Error(), w.out.Flush())
}

// flowTable shows connections in columns of fixed widths: what is longer, as IPv6 addresses are, moves the rest of its row.
type flowTable struct {
	table
	out   *bufio.Writer
	begun bool
}

var (
	flowHead   = []string{"BEGAN (UTC)", "LASTED", "PROTO", "FROM", "TO", "SERVICE", "STATE", "PACKETS", "BYTES"}
	flowWidths = []int{25, 10, 7, 23, 23, 10, 8, 16, 0}
)

func (*flowTable) columns() store.Columns {
	return store.ColTime | store.ColEnds | store.ColService | store.ColState | store.ColPackets | store.ColBytes
}

func (*flowTable) note() string { return "" }
func (w *flowTable) end() error { return w.out.Flush() }

func (w *flowTable) show(r *conn.Record) error {
	if !w.begun {
		w.begun = true
		w.line(flowHead)
	}
	w.line([]string{
		time.Unix(0, r.First).UTC().Format("2006-01-02 15:04:05.000"), shortTime(time.Duration(r.Last - r.First)), protocolOf(r),
		endOf(r, r.Orig.Netip(r.Ver).String(), r.OrigPort), endOf(r, r.Resp.Netip(r.Ver).String(), r.RespPort), orDash(r.Service()), r.State.String(),
		fmt.Sprintf("%d > %d", r.O.Packets, r.R.Packets), fmt.Sprintf("%s > %s", scaled(r.O.Bytes, "B"), scaled(r.R.Bytes, "B")),
	})
	return nil
}

func (w *flowTable) line(cells []string) {
	w.row(w.out, cells, flowWidths, -1, lipgloss.NewStyle())
	w.out.WriteByte('\n') // an error stays, and shows at the end
}

// shortTime is a duration in a few characters.
func shortTime(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// protocolOf is the name of the transport, or its number.
func protocolOf(r *conn.Record) string {
	if name := r.ProtoName(); name != "unknown_transport" {
		return name
	}
	return strconv.Itoa(int(r.Proto))
}

// endOf is an address with its port, if its protocol has ports.
func endOf(r *conn.Record, addr string, port uint16) string {
	switch r.Proto {
	case 6, 17, 132:
		if r.Ver == 6 {
			addr = "[" + addr + "]"
		}
		return addr + ":" + strconv.Itoa(int(port))
	}
	return addr
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
