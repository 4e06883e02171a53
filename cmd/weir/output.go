package main

import (
	"bufio"
	"cmp"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

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
		out = io.Discard
	case format == "table" || format == "auto" && isTerminal(out):
		return &tableWriter{table: newTable(out)}
	case format == "ecs":
		return &jsonWriter{out: bufio.NewWriter(out), form: (*alert.Alert).AppendECS}
	case format == "eve":
		return &jsonWriter{out: bufio.NewWriter(out), form: (*alert.Alert).AppendEVE}
	}
	return &jsonWriter{out: bufio.NewWriter(out), form: (*alert.Alert).AppendLine}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colourful tells whether to colour: on a terminal that can, unless the user said no (https://no-color.org).
func colourful(w io.Writer) bool {
	return isTerminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// width is how many columns a table may take: those of the terminal; tableWidth elsewhere.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return tableWidth
}

// jsonWriter writes every revision as a line of JSON. Lines come out as they are made: a reader may follow.
type jsonWriter struct {
	out  *bufio.Writer
	form func(a *alert.Alert, b []byte) ([]byte, error)
	buf  []byte
}

func (w *jsonWriter) write(a *alert.Alert) (err error) {
	if w.buf, err = w.form(a, w.buf[:0]); err != nil {
		return err
	}
	if _, err = w.out.Write(w.buf); err != nil {
		return err
	}
	return w.out.Flush()
}

func (w *jsonWriter) flush() error { return w.out.Flush() }

// table is where rows of alerts go.
type table struct {
	out    io.Writer
	width  int
	colour bool
}

func newTable(out io.Writer) table { return table{out, width(out), colourful(out)} }

// tableWriter shows each alert once, when the run is over and its numbers are whole; the earliest first.
type tableWriter struct {
	table
	rows []*alert.Alert
}

// Columns of a table.
const (
	tableWidth = 160 // where no terminal says otherwise
	minNumbers = 40  // of the last column; with less room, the sentence gets lines of its own
	tableGap   = 2
)

var tableHead = []string{"FIRST SEEN (UTC)", "SEVERITY", "WHAT", "OFFENDER", "VICTIM"}

const severityColumn = 1

var severityColours = map[alert.Severity]string{alert.Critical: "9", alert.High: "9", alert.Medium: "11", alert.Low: "14", alert.Info: "8"}

func (w *tableWriter) write(a *alert.Alert) error {
	if a.State == alert.Closed {
		one := *a
		w.rows = append(w.rows, &one)
	}
	return nil
}

// flush prints the table.
func (w *tableWriter) flush() error {
	if len(w.rows) == 0 {
		return nil
	}
	slices.SortStableFunc(w.rows, func(a, b *alert.Alert) int { return cmp.Compare(a.First, b.First) })
	cells := [][]string{tableHead}
	for _, a := range w.rows {
		cells = append(cells, []string{
			time.Unix(0, int64(a.First)).UTC().Format("2006-01-02 15:04:05"), printable(a.Severity.String()),
			printable(a.Analyzer + " " + a.Kind), party(a.Subject), party(a.Victim),
		})
	}
	widths := make([]int, len(tableHead))
	indent := 0
	for i := range widths {
		for _, row := range cells {
			widths[i] = max(widths[i], len([]rune(row[i]))+tableGap)
		}
		indent += widths[i]
	}
	out := bufio.NewWriter(w.out)
	for i, row := range cells {
		style := lipgloss.NewStyle()
		numbers := "NUMBERS"
		if i > 0 {
			numbers = printable(w.rows[i-1].Summary)
			style = styleOf(w.rows[i-1].Severity)
		}
		w.row(out, row, widths, severityColumn, style)
		last := len(row) - 1
		w.sentence(out, numbers, indent, widths[last]-len([]rune(row[last])))
	}
	return out.Flush()
}

func styleOf(s alert.Severity) lipgloss.Style {
	return lipgloss.NewStyle().Foreground(lipgloss.Color(severityColours[s]))
}

// row prints the cells of a row, each but the last padded to its column, and returns their width. The column of severities
// has the style. Colour takes no width.
func (w *table) row(out *bufio.Writer, cells []string, widths []int, severity int, style lipgloss.Style) (used int) {
	for i, cell := range cells {
		text := cell
		if w.colour && i == severity {
			text = style.Render(cell)
		}
		out.WriteString(text)
		used += len([]rune(cell))
		if i < len(cells)-1 {
			gap := max(widths[i]-len([]rune(cell)), tableGap)
			out.WriteString(strings.Repeat(" ", gap))
			used += gap
		}
	}
	return used
}

// sentence ends a row with the column NUMBERS, which begins after gap blanks at indent, broken between words to keep within
// the width.
func (w *table) sentence(out *bufio.Writer, text string, indent, gap int) {
	room := w.width - indent
	if room < minNumbers {
		indent, room = 2*tableGap, w.width-2*tableGap
		gap = indent
		out.WriteByte('\n')
	}
	out.WriteString(strings.Repeat(" ", gap))
	used := 0
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i > 0 && used+1+n > room:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			used = 0
		case i > 0:
			out.WriteByte(' ')
			used++
		}
		out.WriteString(word)
		used += n
	}
	out.WriteByte('\n')
}

// streamWriter shows each revision when it comes, in columns of fixed widths: what is longer, as IPv6 addresses are, moves the
// rest of its row. With little room, the parties stand before the sentence.
type streamWriter struct {
	table
	begun bool
}

var (
	streamHead   = []string{"TIME (UTC)", "STATE", "SEVERITY", "WHAT", "OFFENDER", "VICTIM"}
	streamWidths = []int{21, 8, 10, 21, 17, 19} // of "2006-01-02 15:04:05", "closed", "critical", "flood amplification", IPv4
)

const (
	streamSeverity = 2                          // column
	streamIndent   = 21 + 8 + 10 + 21 + 17 + 19 // of the last column
	streamParties  = 4                          // the first column that there is room for or not
)

func (w *streamWriter) write(a *alert.Alert) error {
	out := bufio.NewWriter(w.out)
	if !w.begun {
		w.begun = true
		w.revision(out, streamHead, lipgloss.NewStyle(), "NUMBERS")
	}
	cells := []string{
		time.Unix(0, int64(a.Time)).UTC().Format("2006-01-02 15:04:05"), printable(a.State.String()), printable(a.Severity.String()),
		printable(a.Analyzer + " " + a.Kind), party(a.Subject), party(a.Victim),
	}
	w.revision(out, cells, styleOf(a.Severity), lasted(a)+printable(a.Summary))
	return out.Flush()
}

func (w *streamWriter) flush() error { return nil }

// revision prints a row and its sentence.
func (w *streamWriter) revision(out *bufio.Writer, cells []string, style lipgloss.Style, numbers string) {
	if w.width-streamIndent < minNumbers {
		numbers = cells[streamParties] + " -> " + cells[streamParties+1] + ": " + numbers
		cells = cells[:streamParties]
	}
	gap := streamIndent - w.row(out, cells, streamWidths, streamSeverity, style)
	if gap < tableGap {
		out.WriteByte('\n')
		gap = streamIndent
	}
	w.sentence(out, numbers, streamIndent, gap)
}

// lasted tells how long the evidence of an alert went on that is closed.
func lasted(a *alert.Alert) string {
	d := time.Duration(a.Last - a.First)
	if a.State != alert.Closed || d < 0 {
		return ""
	}
	unit := time.Millisecond
	if d > 10*time.Second {
		unit = time.Second
	}
	return "after " + d.Round(unit).String() + ": "
}

func party(p *alert.Party) string {
	if p == nil {
		return "-"
	}
	if p.Name != "" {
		return printable(p.String() + " (" + p.Name + ")")
	}
	return printable(p.String())
}

// printable escapes what would not show as itself: text that came from a packet must not command the terminal.
func printable(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) && strings.ToValidUTF8(s, "") == s {
		return s
	}
	var b []byte
	for _, r := range s { // a byte that is no UTF-8 becomes U+FFFD
		if unicode.IsPrint(r) {
			b = append(b, string(r)...)
		} else {
			q := strconv.QuoteRune(r)
			b = append(b, q[1:len(q)-1]...)
		}
	}
	return string(b)
}
