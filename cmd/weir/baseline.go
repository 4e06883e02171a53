package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"weir/analyzers/baseline"
	"weir/sensor/host"
)

type baselineCmd struct {
	Show   baselineShowCmd   `cmd:"" help:"Show what is normal."`
	Export baselineExportCmd `cmd:"" help:"Write all that was learned as JSON lines."`
	Import baselineImportCmd `cmd:"" help:"Read JSON lines into what was learned."`
	Reset  baselineResetCmd  `cmd:"" help:"Forget what was learned, all or some of it."`
	Learn  baselineLearnCmd  `cmd:"" help:"Learn from captures of good traffic, and pin it."`
}

// Help is the long form of --help.
func (*baselineCmd) Help() string {
	return `Examples:
  weir baseline show --match 'service 10.0.0.5'
  weir baseline show 'service 10.0.0.5 tcp/443 packets'
  weir baseline export --out good.jsonl
  weir baseline import good.jsonl --state /var/lib/weir
  weir baseline reset --match 'host 10.0.0.9'
  weir baseline learn monday.pcap.zst tuesday.pcap.zst
  weir baseline learn --out good.baseline week.pcap.zst && weir replay --baseline good.baseline today.pcap

The file is DIR/baseline. A running sensor saves it every minute and at its end: import, reset and learn want it stopped first,
show and export tell what it saved last. docs/baseline.md tells what is learned.
Exit codes: 0 done, 1 failed, 2 wrong use.`
}

// baselineState is which baseline is meant.
type baselineState struct {
	State  string `placeholder:"DIR" default:"/var/lib/weir" type:"path" help:"State folder (default: ${default})."`
	Config string `placeholder:"FILE" help:"Configuration (YAML) with the section baseline."`
}

func (c *baselineState) path() string { return filepath.Join(c.State, baselineFile) }

// settings are those of the section baseline.
func (c *baselineState) settings() (baseline.Config, error) {
	settings, err := readConfig(c.Config)
	return settings.Baseline, err
}

// read reads the baseline of the state folder, which must have one.
func (c *baselineState) read() (*baseline.Store, error) {
	cfg, err := c.settings()
	if err != nil {
		return nil, err
	}
	s, err := readBaseline(c.path(), cfg)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("nothing was learned in %s yet: no file %s", c.State, baselineFile)
	}
	return s, err
}

// change lets f change the baseline of the state folder, or a new one, and saves it. It needs the folder for itself.
func (c *baselineState) change(f func(s *baseline.Store) error) (err error) {
	cfg, err := c.settings()
	if err != nil {
		return err
	}
	state, err := host.OpenState(c.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	s, err := readBaseline(c.path(), cfg)
	if errors.Is(err, fs.ErrNotExist) {
		s, err = baseline.New(cfg), nil
	}
	if err != nil {
		return err
	}
	if err := f(s); err != nil {
		return err
	}
	return writeBaseline(c.path(), s)
}

type baselineShowCmd struct {
	Key    string `arg:"" optional:"" help:"One key, as the list names it: its curve over the hours of the week, too."`
	Match  string `placeholder:"TEXT" help:"Only keys that contain this."`
	Limit  int    `default:"1000" help:"At most so many (default: ${default}); 0 is all."`
	Format string `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl, or auto: a table on a terminal, jsonl otherwise."`
	baselineState
}

// Run shows keys in order.
func (c *baselineShowCmd) Run(std *streams) error {
	if c.Key != "" && c.Match != "" {
		return usageError{errors.New("a key and --match exclude each other")}
	}
	if c.Key != "" {
		if _, err := baseline.ParseKey(c.Key); err != nil {
			return usageError{err}
		}
	}
	s, err := c.read()
	if err != nil {
		return err
	}
	var lines []baseline.Line
	_ = s.Each(func(l *baseline.Line) error {
		if name := l.Series + l.Spread; name == c.Key || c.Key == "" && strings.Contains(name, c.Match) {
			lines = append(lines, *l)
		}
		return nil
	})
	if c.Key != "" && len(lines) == 0 {
		return fmt.Errorf("%s is not known: 'weir baseline show' lists what is", c.Key)
	}
	slices.SortStableFunc(lines, func(a, b baseline.Line) int { return strings.Compare(a.Series+a.Spread, b.Series+b.Spread) })
	if left := len(lines) - c.Limit; c.Limit > 0 && left > 0 {
		lines = lines[:c.Limit]
		fmt.Fprintf(std.err, "weir: %d more: --limit 0 shows all, --match some\n", left)
	}
	if c.Format == "table" || c.Format == "auto" && isTerminal(std.out) {
		return c.table(std.out, lines)
	}
	for i := range lines {
		line, err := marshal(lines[i])
		if err != nil {
			return err
		}
		if err := writeLine(std.out, line); err != nil {
			return err
		}
	}
	return nil
}

func (c *baselineShowCmd) table(out io.Writer, lines []baseline.Line) error {
	w := tabwriter.NewWriter(out, 0, 0, tableGap, ' ', 0)
	fmt.Fprintln(w, "KEY\tNOW\t±\tP50\tP99\tDAY\tHOURS\tLAST\t")
	for i := range lines {
		l := &lines[i]
		name, mark := l.Series, ""
		if l.Spread != "" {
			name = l.Spread + ", by source"
		}
		if l.Pinned {
			mark = "pinned"
		}
		now, by, days := "-", "-", "-"
		if l.Rolling != nil {
			now, by = amount(l.Rolling.Mean), amount(l.Rolling.Stddev)
		}
		if l.Anchor != nil {
			days = amount(l.Anchor.Mean)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d/168\t%s\t%s\n", name, now, by, amount(float64(l.P50)), amount(float64(l.P99)), days, len(l.Hours), l.Last, mark)
	}
	if err := w.Flush(); err != nil || c.Key == "" {
		return err
	}
	for i := range lines {
		if err := drawWeek(out, &lines[i]); err != nil {
			return err
		}
	}
	return nil
}

// amount is a number of three digits.
func amount(v float64) string {
	unit := 0
	for ; v >= 999.5 && unit < 4; unit++ {
		v /= 1000
	}
	return fmt.Sprintf("%.3g", v) + []string{"", "k", "M", "G", "T"}[unit]
}

// drawWeek draws the hours of the week that are known, a line a day.
func drawWeek(out io.Writer, l *baseline.Line) error {
	if len(l.Hours) == 0 {
		return nil
	}
	top := 0.0
	for _, h := range l.Hours {
		top = max(top, h[0])
	}
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "\nmean by hour of the week (UTC), up to %s:\n     00    06    12    18\n", amount(top))
	for _, day := range []string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"} {
		fmt.Fprintf(w, "%s  ", day)
		for hour := range 24 {
			h, known := l.Hours[fmt.Sprintf("%s %02d", day, hour)]
			switch {
			case !known:
				w.WriteByte('.')
			case top == 0 || h[0] == 0:
				w.WriteByte('_')
			default:
				w.WriteString(string([]rune("▁▂▃▄▅▆▇█")[min(int(8*h[0]/top), 7)]))
			}
		}
		w.WriteByte('\n')
	}
	return w.Flush()
}

type baselineExportCmd struct {
	Out string `placeholder:"FILE" help:"Write here, whole or not at all (default: standard output)."`
	baselineState
}

// Run exports.
func (c *baselineExportCmd) Run(std *streams) error {
	s, err := c.read()
	if err != nil {
		return err
	}
	if c.Out == "" {
		return s.Export(std.out)
	}
	var b strings.Builder
	if err := s.Export(&b); err != nil {
		return err
	}
	return host.WriteFile(c.Out, []byte(b.String()))
}

type baselineImportCmd struct {
	File string `arg:"" help:"What 'weir baseline export' wrote, changed or not; '-' is standard input."`
	Pin  bool   `help:"Pin all that is known then: learning does not move it any more."`
	baselineState
}

// Run imports: all lines or, if one is wrong, none.
func (c *baselineImportCmd) Run(std *streams) error {
	in := std.in
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usageError{err}
		}
		defer f.Close()
		in = f
	}
	var told string
	err := c.change(func(s *baseline.Store) error {
		if err := s.Import(in); err != nil {
			return fmt.Errorf("%s: %w; nothing was imported", c.File, err)
		}
		if c.Pin {
			s.Pin()
		}
		told = knows(s)
		return nil
	})
	if err == nil {
		fmt.Fprintf(std.err, "weir: %s knows %s\n", printable(c.path()), told)
	}
	return err
}

// knows says how much a baseline knows.
func knows(s *baseline.Store) string {
	n := map[string]int{}
	for _, size := range s.Sizes() {
		n[size.Table] = size.N
	}
	return fmt.Sprintf("%d series (%d with hours of the week), %d distributions over sources, %d first times", n["series"], n["profiles"], n["spreads"], n["seen"])
}

type baselineResetCmd struct {
	Match string `placeholder:"TEXT" help:"Only keys that contain this: 'host 10.0.0.9 '. Without it all is forgotten, first times, too."`
	baselineState
}

// Run forgets.
func (c *baselineResetCmd) Run(std *streams) error {
	if c.Match == "" {
		state, err := host.OpenState(c.State)
		if err != nil {
			return err
		}
		err = errors.Join(os.Remove(c.path()), state.Close())
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(std.err, "weir: there was nothing to forget")
			return nil
		}
		if err == nil {
			fmt.Fprintln(std.err, "weir: all is forgotten; learning begins anew")
		}
		return err
	}
	n := 0
	err := c.change(func(s *baseline.Store) error {
		n = s.Forget(func(k baseline.Key) bool { return strings.Contains(k.String(), c.Match) })
		return nil
	})
	if err == nil {
		fmt.Fprintf(std.err, "weir: %d keys are forgotten\n", n)
	}
	return err
}
