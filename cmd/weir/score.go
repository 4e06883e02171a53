package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"weir/sensor/alert"
	"weir/sensor/traffic/truth"
)

type scoreCmd struct {
	Alerts  string        `arg:"" name:"alerts" help:"JSON lines of 'weir replay --format jsonl'; '-' is standard input."`
	Truth   string        `required:"" placeholder:"FILE" help:"What is true in the capture, as 'weir generate --truth' writes it."`
	Format  string        `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl (one object at the end), or auto: a table on a terminal, jsonl otherwise."`
	Verbose bool          `help:"With jsonl: a line for each missed attack and each false alert before that object. The table always lists them."`
	WarmUp  time.Duration `default:"24h" placeholder:"TIME" help:"False alerts are counted from so long after the capture's start (default: ${default})."`
}

// Help is the long form of --help.
func (*scoreCmd) Help() string {
	return `Compares alerts with what is true: which attacks were found, how soon, and what was reported in vain.

Examples:
  weir replay --config site.yaml --format jsonl site.pcap.zst >alerts.jsonl
  weir score --truth truth.jsonl alerts.jsonl
  weir replay --config new.yaml --format jsonl -q site.pcap.zst | weir score --truth truth.jsonl --format jsonl - | jq .found

An attack is found by an alert of a right kind, by the right subject on the right victim, that opened between the attack's first
packet and ten minutes after its last. An alert of severity medium or more is false if it is about no attack's time and parties.
A truth of your own needs the same lines: docs/rehearsal.md describes them.`
}

// Run compares.
func (c *scoreCmd) Run(std *streams) error {
	f, err := readLines(c.Truth, std, truth.Read)
	if err != nil {
		return err
	}
	compared := truth.NewComparison(f, c.WarmUp)
	_, err = readLines(c.Alerts, std, func(r io.Reader) (struct{}, error) { return struct{}{}, truth.Alerts(r, compared.Add) })
	if err != nil {
		return err
	}
	score := compared.Score()
	out := bufio.NewWriter(std.out)
	if c.Format == "table" || c.Format == "auto" && isTerminal(std.out) {
		scoreTable(out, score)
	} else if err := scoreLines(out, score, c.Verbose); err != nil {
		return err
	}
	return out.Flush()
}

// readLines reads a file whose errors begin with the line: with them, "file:line: …".
func readLines[T any](path string, std *streams, read func(io.Reader) (T, error)) (T, error) {
	r := std.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			var none T
			return none, usageError{err}
		}
		defer f.Close()
		r = f
	}
	v, err := read(r)
	if err != nil {
		err = usageError{fmt.Errorf("%s:%w", path, err)}
	}
	return v, err
}

// scoreLines writes the closing object, with what was wrong before it.
func scoreLines(w io.Writer, s *truth.Score, verbose bool) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if verbose {
		for _, a := range s.Missed {
			if err := e.Encode(map[string]*truth.Attack{"missed": a}); err != nil {
				return err
			}
		}
		for _, a := range s.Wrong {
			if err := e.Encode(map[string]*alert.Alert{"false": a}); err != nil {
				return err
			}
		}
	}
	return e.Encode(s)
}

// scoreTable shows kinds, then what was missed and what was reported in vain.
func scoreTable(w *bufio.Writer, s *truth.Score) {
	rows := [][]string{{"KIND", "ATTACKS", "FOUND", "MISSED", "LATENCY", "SLOWEST", "FALSE"}}
	for _, k := range s.Kinds {
		latency, slowest := "-", "-"
		if k.Found > 0 {
			latency, slowest = took(k.Latency), took(k.Slowest)
		}
		rows = append(rows, []string{
			printable(k.Analyzer + " " + k.Kind), strconv.Itoa(k.Attacks), strconv.Itoa(k.Found), strconv.Itoa(k.Missed), latency, slowest,
			strconv.Itoa(k.False),
		})
	}
	printRows(w, rows)
	fmt.Fprintf(w, "\n%d of %d attacks found; %d false alerts of severity medium or more in %.1f days: %.2f a day (%d alerts in all)\n",
		s.Found, s.Attacks, s.False, s.Days, s.FalsePerDay, s.Alerts)
	if len(s.Missed) > 0 {
		rows = [][]string{{"MISSED", "WHAT", "OFFENDER", "VICTIM", "FIRST (UTC)", "CAPTURE"}}
		for _, a := range s.Missed {
			rows = append(rows, []string{
				printable(a.ID), printable(a.Analyzer + " " + a.Kind), party(a.Subject), party(a.Victim), moment(a.First), printable(a.Source),
			})
		}
		w.WriteByte('\n')
		printRows(w, rows)
	}
	if len(s.Wrong) > 0 {
		rows = [][]string{{"FALSE", "WHAT", "OFFENDER", "VICTIM", "FIRST (UTC)", "NUMBERS"}}
		for _, a := range s.Wrong {
			rows = append(rows, []string{
				printable(a.ID), printable(a.Analyzer + " " + a.Kind), party(a.Subject), party(a.Victim), moment(a.First), printable(a.Summary),
			})
		}
		w.WriteByte('\n')
		printRows(w, rows)
	}
}

// printRows pads each cell but the last to its column.
func printRows(w *bufio.Writer, rows [][]string) {
	widths, _ := columns(rows)
	for _, row := range rows {
		for i, cell := range row {
			w.WriteString(cell)
			if i < len(row)-1 {
				w.WriteString(strings.Repeat(" ", widths[i]-len([]rune(cell))))
			}
		}
		w.WriteByte('\n')
	}
}

func moment(t alert.Time) string { return time.Unix(0, int64(t)).UTC().Format("2006-01-02 15:04:05") }

func took(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}
