package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"weir/sensor/alert"
	"weir/sensor/policy"
)

type bansListCmd struct {
	bansReach `embed:""`
	Format    string `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl (one object a drop), or auto: a table on a terminal, jsonl otherwise."`
}

// Run lists drops that have not ended.
func (c *bansListCmd) Run(ctx context.Context, std *streams) error {
	site, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer site.Close()
	v, missing := site.look(ctx)
	for _, n := range v.notes {
		fmt.Fprintln(std.err, "weir:", printable(n))
	}
	now := time.Now()
	if c.Format == "table" || c.Format == "auto" && isTerminal(std.out) {
		return errors.Join(missing, v.table(newTable(std.out), now))
	}
	var forms []any
	for _, b := range v.live(now) {
		forms = append(forms, b.form())
	}
	for _, d := range v.refused() {
		forms = append(forms, d)
	}
	for _, f := range forms {
		line, err := marshal(f)
		if err == nil {
			err = writeLine(std.out, line)
		}
		if err != nil {
			return errors.Join(missing, err)
		}
	}
	return missing
}

var bansHead = []string{"TARGET", "ACTION", "STATE", "LEFT", "HITS", "ID"}

const (
	bansState = 2 // column
	bansID    = 5
)

var banColours = map[string]string{"applied": "10", "pending": "11", "refused": "9", "shadow": "14", "wanted": "11"}

// table writes a row for each drop, with who asked for it and why. Where rows would be wider than the terminal, the id moves
// before the reason.
func (v *overview) table(t table, now time.Time) error {
	rows, reasons := [][]string{bansHead}, []string{"REASON"}
	for _, b := range v.live(now) {
		rows = append(rows, []string{
			printable(b.target()), actionText(b.drop), b.state(), left(b.drop.Until - now.Unix()), strconv.FormatUint(b.hits(), 10), b.drop.ID,
		})
		reasons = append(reasons, printable(b.why()))
	}
	for _, d := range v.refused() {
		rows = append(rows, []string{printable(keyTarget(d.Key)), "-", d.State, "-", "-", "-"})
		reasons = append(reasons, printable("guard "+d.Guard+": what the bucket has of it is not believed"))
	}
	if len(rows) == 1 {
		return nil
	}
	widths, indent := columns(rows)
	if indent > t.width {
		for i := range rows {
			if id := rows[i][bansID]; id != "-" {
				reasons[i] = id + " " + reasons[i]
			}
			rows[i] = rows[i][:bansID]
		}
		widths, indent = columns(rows)
	}
	out := bufio.NewWriter(t.out)
	for i, r := range rows {
		used := t.row(out, r, widths, bansState, lipgloss.NewStyle().Foreground(lipgloss.Color(banColours[r[bansState]])))
		t.sentence(out, reasons[i], indent, indent-used)
	}
	return out.Flush()
}

// columns are as wide as their widest cell, with a gap.
func columns(rows [][]string) (widths []int, sum int) {
	widths = make([]int, len(rows[0]))
	for i := range widths {
		for _, r := range rows {
			widths[i] = max(widths[i], len([]rune(r[i]))+tableGap)
		}
		sum += widths[i]
	}
	return widths, sum
}

// left is a time in its two largest units.
func left(seconds int64) string {
	switch s := max(seconds, 0); {
	case s >= 86400:
		return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
	case s >= 3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	case s >= 60:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	default:
		return fmt.Sprintf("%ds", s)
	}
}

func (b *ban) target() string { return cmp.Or(targetOf(b.drop), keyTarget(b.key)) }

// why is the guard, who asked, and the reason.
func (b *ban) why() string {
	text := b.drop.Reason
	if b.drop.By != "" && b.drop.By != policy.ByPolicy {
		text = b.drop.By + ": " + text
	}
	if g := b.guard(); g != "" {
		text = "guard " + g + "; " + text
	}
	return text
}

// actionText is the action with its rate; in the shadow, what would be done.
func actionText(d *policy.Drop) string {
	text := d.Action.String()
	if d.Effect() != d.Action {
		text += " of " + d.Effect().String()
	}
	if d.Rate > 0 {
		text += " " + strconv.FormatUint(uint64(d.Rate), 10) + "/s"
	}
	return text
}

type bansShowCmd struct {
	What      string `arg:"" name:"drop" help:"Id of the drop, or its target."`
	bansReach `embed:""`
	Format    string `enum:"auto,table,jsonl" default:"auto" help:"table, jsonl (one object), or auto: text on a terminal, jsonl otherwise."`
}

// Run shows one drop: its fields, how it stands at each gate, and its events.
func (c *bansShowCmd) Run(ctx context.Context, std *streams) error {
	site, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer site.Close()
	v, missing := site.look(ctx)
	for _, n := range v.notes {
		fmt.Fprintln(std.err, "weir:", printable(n))
	}
	id := c.What
	b := v.find(c.What)
	if b != nil {
		id = b.drop.ID
	}
	events, err := site.history(ctx, id)
	if err = errors.Join(missing, err); err != nil {
		return err
	}
	if b == nil && len(events) == 0 {
		return fmt.Errorf("there is no drop %s, and there was none as far as the stream of drops goes back", printable(c.What))
	}
	form := struct {
		*banForm
		History []json.RawMessage `json:"history"`
	}{History: append([]json.RawMessage{}, events...)}
	if b != nil {
		f := b.form()
		form.banForm = &f
	}
	if c.Format == "table" || c.Format == "auto" && isTerminal(std.out) {
		return showBan(std.out, b, events)
	}
	line, err := marshal(form)
	if err != nil {
		return err
	}
	return writeLine(std.out, line)
}

// showBan writes it for people.
func showBan(w io.Writer, b *ban, events []json.RawMessage) error {
	out := bufio.NewWriter(w)
	if b != nil {
		d := b.drop
		for _, f := range [][2]string{
			{"drop", d.ID},
			{"target", b.target()},
			{"action", actionText(b.drop)},
			{"state", b.state()},
			{"created", clock(d.Created) + " UTC"},
			{"until", clock(d.Until) + " UTC"},
			{"by", d.By},
			{"alert", d.Alert},
			{"return path", d.ReturnPath},
			{"guard", b.guard()},
			{"approved by", d.Approved},
			{"reason", d.Reason},
			{"summary", d.Summary},
		} {
			if f[1] != "" {
				fmt.Fprintf(out, "%-12s %s\n", f[0], printable(f[1]))
			}
		}
		for _, e := range b.enforcers {
			fmt.Fprintf(out, "%-12s %s: %s%s, %d packets, %d bytes\n", "gate", gateText(&e), e.State, printable(because(&e)), e.Packets, e.Bytes)
		}
	}
	for _, text := range events {
		var e struct {
			Time                               alert.Time
			Schema, State, Enforcer, Interface string
			Sentence, Summary                  string
			Generation                         uint64
		}
		if json.Unmarshal(text, &e) != nil {
			continue
		}
		at := time.Unix(0, int64(e.Time))
		if e.Time == 0 {
			at = time.UnixMicro(int64(e.Generation)) // of a drop
		}
		if e.Schema == policy.RefusalSchema {
			e.State = "refused"
		}
		from := strings.TrimSpace(e.Enforcer + " " + e.Interface)
		fmt.Fprintf(out, "%s  %-9s  %s%s\n", at.UTC().Format("2006-01-02 15:04:05.000"), printable(e.State),
			printable(strings.TrimPrefix(from+": ", ": ")), printable(e.Sentence+e.Summary))
	}
	return out.Flush()
}

func gateText(e *enforced) string { return printable(e.Enforcer + " " + e.Interface + " " + e.Table) }
