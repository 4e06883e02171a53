package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"charm.land/lipgloss/v2"
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
	v, err := site.look(ctx)
	if err != nil {
		return err
	}
	for _, n := range v.notes {
		fmt.Fprintln(std.err, "weir:", printable(n))
	}
	all := v.live(time.Now())
	if c.Format == "table" || c.Format == "auto" && isTerminal(std.out) {
		return bansTable(std.out, all)
	}
	for _, b := range all {
		line, err := marshal(b.form())
		if err != nil {
			return err
		}
		if err := writeLine(std.out, line); err != nil {
			return err
		}
	}
	return nil
}

var bansHead = []string{"TARGET", "ACTION", "STATE", "UNTIL (UTC)", "HITS", "BY", "ID"}

const bansState = 2 // column

// bansTable writes a row for each drop, with its reason.
func bansTable(w io.Writer, all []*ban) error {
	rows := [][]string{bansHead}
	for _, b := range all {
		rows = append(rows, []string{
			printable(targetOf(b.drop)), actionText(b), b.state(), clock(b.drop.Until), strconv.FormatUint(b.hits(), 10), printable(b.drop.By), b.drop.ID,
		})
	}
	widths := make([]int, len(bansHead))
	indent := 0
	for i := range widths {
		for _, r := range rows {
			widths[i] = max(widths[i], len([]rune(r[i]))+tableGap)
		}
		indent += widths[i]
	}
	out := bufio.NewWriter(w)
	t := newTable(w)
	for i, r := range rows {
		reason := "REASON"
		if i > 0 {
			reason = printable(all[i-1].drop.Reason)
		}
		used := t.row(out, r, widths, bansState, lipgloss.NewStyle().Bold(i > 0))
		t.sentence(out, reason, indent, indent-used)
	}
	return out.Flush()
}

// actionText is the action with its rate; in the shadow, what would be done.
func actionText(b *ban) string {
	text := b.drop.Action.String()
	if b.drop.Effect() != b.drop.Action {
		text += " of " + b.drop.Effect().String()
	}
	if b.drop.Rate > 0 {
		text += " " + strconv.FormatUint(uint64(b.drop.Rate), 10) + "/s"
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
	v, err := site.look(ctx)
	if err != nil {
		return err
	}
	for _, n := range v.notes {
		fmt.Fprintln(std.err, "weir:", printable(n))
	}
	id := c.What
	b := v.find(c.What)
	if b != nil {
		id = b.drop.ID
	}
	events, err := site.history(ctx, id)
	if err != nil {
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
			{"drop", d.ID}, {"target", targetOf(d)}, {"action", actionText(b)}, {"state", b.state()}, {"created", clock(d.Created) + " UTC"},
			{"until", clock(d.Until) + " UTC"}, {"by", d.By}, {"alert", d.Alert}, {"return path", d.ReturnPath}, {"guard", d.Guard},
			{"approved by", d.Approved}, {"reason", d.Reason}, {"summary", d.Summary},
		} {
			if f[1] != "" {
				fmt.Fprintf(out, "%-12s %s\n", f[0], printable(f[1]))
			}
		}
		for _, e := range b.enforcers {
			fmt.Fprintf(out, "%-12s %s: %s, %d packets, %d bytes", "gate", gateText(&e), e.State, e.Packets, e.Bytes)
			if e.Guard != "" || e.Error != "" {
				fmt.Fprintf(out, " (%s %s)", printable(e.Guard), printable(e.Error))
			}
			fmt.Fprintln(out)
		}
	}
	for _, text := range events {
		var e struct {
			Time                                          any
			State, Enforcer, Interface, Sentence, Summary string
			Generation                                    uint64
		}
		if json.Unmarshal(text, &e) != nil {
			continue
		}
		at, said := "", e.Summary
		if s, ok := e.Time.(string); ok {
			at, said = s, e.Sentence
		} else if e.Generation > 0 {
			at = time.UnixMicro(int64(e.Generation)).UTC().Format(time.RFC3339Nano)
		}
		fmt.Fprintf(out, "%-30s %-10s %s\n", printable(at), printable(e.State), printable(said))
	}
	return out.Flush()
}

func gateText(e *enforced) string { return printable(e.Enforcer + " " + e.Interface + " " + e.Table) }
