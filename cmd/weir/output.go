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
		return &jsonWriter{out: bufio.NewWriter(io.Discard)}
	case format == "table" || format == "auto" && isTerminal(out):
		return &tableWriter{out: out, width: width(out), colour: colourful(out)}
	}
	return &jsonWriter{out: bufio.NewWriter(out)}
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

// tableWriter shows each alert once, when the run is over and its numbers are whole; the earliest first.
type tableWriter struct {
	out    io.Writer
	width  int
	colour bool
	rows   []*alert.Alert
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
			style = style.Foreground(lipgloss.Color(severityColours[w.rows[i-1].Severity]))
		}
		w.row(out, row, widths, style)
		last := len(row) - 1
		w.sentence(out, numbers, indent, widths[last]-len([]rune(row[last])))
	}
	return out.Flush()
}

// row prints the cells of a row, each but the last padded to its column. Colour takes no width.
func (w *tableWriter) row(out *bufio.Writer, cells []string, widths []int, style lipgloss.Style) {
	for i, cell := range cells {
		text := cell
		if w.colour && i == severityColumn {
			text = style.Render(cell)
		}
		out.WriteString(text)
		if i < len(cells)-1 {
			out.WriteString(strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
	}
}

// sentence ends a row with the column NUMBERS, which begins after gap blanks at indent, broken between words to keep within
// the width.
func (w *tableWriter) sentence(out *bufio.Writer, text string, indent, gap int) {
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

func party(p *alert.Party) string {
	if p == nil {
		return "-"
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
