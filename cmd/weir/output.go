package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"

	"weir/sensor/alert"
)

// alertWriter writes alerts to standard output.
type alertWriter interface {
	write(a *alert.Alert) error
	flush() error
}

// newAlertWriter chooses the form; discard is for when standard output carries something else.
func newAlertWriter(format string, out io.Writer, discard bool) alertWriter {
	switch {
	case discard:
		return &jsonWriter{out: bufio.NewWriter(io.Discard)}
	case format == "table" || format == "auto" && isTerminal(out):
		return &tableWriter{out: out, colour: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
	}
	return &jsonWriter{out: bufio.NewWriter(out)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// jsonWriter writes every revision as a line of JSON. Lines come out as they are made: a reader may follow.
type jsonWriter struct {
	out *bufio.Writer
	buf []byte
}

func (w *jsonWriter) write(a *alert.Alert) (err error) {
	if w.buf, err = a.AppendLine(w.buf[:0]); err != nil {
		return err
	}
	if _, err = w.out.Write(w.buf); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *jsonWriter) flush() error { return w.out.Flush() }

// tableWriter shows each alert once, at its end, when its numbers are whole.
type tableWriter struct {
	out    io.Writer
	colour bool
	rows   []*alert.Alert
}

func (w *tableWriter) write(a *alert.Alert) error {
	if a.State == alert.Closed {
		one := *a
		w.rows = append(w.rows, &one)
	}
	return nil
}

var severityColours = map[alert.Severity]string{alert.Critical: "9", alert.High: "9", alert.Medium: "11", alert.Low: "14", alert.Info: "8"}

// flush prints the table. Colour goes on the severity's cell after the columns are aligned, so that it takes no width.
func (w *tableWriter) flush() error {
	if len(w.rows) == 0 {
		return nil
	}
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "FIRST SEEN (UTC)\tSEVERITY\tWHAT\tOFFENDER\tVICTIM\tNUMBERS")
	for _, a := range w.rows {
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s\t%s\t%s\n", time.Unix(0, int64(a.First)).UTC().Format("2006-01-02 15:04:05"),
			a.Severity, a.Analyzer, a.Kind, party(a.Subject), party(a.Victim), a.Summary)
	}
	t.Flush()
	for i, line := range strings.SplitAfter(text.String(), "\n") {
		if w.colour && i > 0 && i <= len(w.rows) {
			s := w.rows[i-1].Severity
			style := lipgloss.NewStyle().Foreground(lipgloss.Color(severityColours[s]))
			line = strings.Replace(line, s.String(), style.Render(s.String()), 1)
		}
		if _, err := io.WriteString(w.out, line); err != nil {
			return err
		}
	}
	return nil
}

func party(p *alert.Party) string {
	if p == nil {
		return "-"
	}
	return p.String()
}
