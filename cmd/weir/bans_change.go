package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/sensor/policy"
)

type bansAddCmd struct {
	Target    string `arg:"" name:"target" help:"Address, prefix, or service (198.51.100.1:443/tcp) whose strangers to limit."`
	For       string `required:"" placeholder:"DURATION" help:"How long: 90s, 1h, 7d. Every drop ends."`
	Reason    string `required:"" placeholder:"TEXT" help:"Why: those who find it will want to know."`
	Action    string `enum:",drop,drop_new,limit_new,limit" default:"" help:"drop, drop_new or limit_new (its new TCP connections); limit, for a service only. Default: drop; limit for a service."`
	Rate      uint32 `placeholder:"N" help:"Of limit_new: new connections/s that pass; of limit: packets/s. Default: that of the sensor's policy."`
	Shadow    bool   `help:"Only count what it would hit."`
	bansReach `embed:""`
	Format    string `enum:"auto,table,jsonl" default:"auto" help:"table (sentences), jsonl (the decision), or auto: sentences on a terminal, jsonl otherwise."`
}

// drop is what is asked for.
func (c *bansAddCmd) drop(now time.Time) (*policy.Drop, error) {
	d, err := parseTarget(c.Target)
	if err != nil {
		return nil, err
	}
	ago, err := parseSince(c.For, now)
	last := now.Sub(ago)
	if err != nil || last < time.Second {
		return nil, fmt.Errorf("--for: %q is no duration like 90s, 1h or 7d", c.For)
	}
	if strings.TrimSpace(c.Reason) == "" {
		return nil, errors.New("--reason: a drop needs a reason")
	}
	action := c.Action
	if action == "" {
		if action = policy.DropAll.String(); d.Scope == policy.ScopeService {
			action = policy.Limit.String()
		}
	}
	if err := d.Action.UnmarshalText([]byte(action)); err != nil {
		return nil, err
	}
	switch limits := d.Action == policy.Limit || d.Action == policy.LimitNew; {
	case (d.Action == policy.Limit) != (d.Scope == policy.ScopeService):
		return nil, fmt.Errorf("--action: %s is no action for %s: a service can be limited, a source dropped, drop_new or limit_new", action, c.Target)
	case c.Rate > 0 && !limits:
		return nil, fmt.Errorf("--rate belongs to limit and limit_new, not to %s", action)
	}
	if c.Shadow {
		d.Action, d.Would = policy.Shadow, d.Action
	}
	d.Schema, d.State, d.Rate, d.Reason, d.Until = policy.Schema, policy.Requested, c.Rate, c.Reason, now.Add(last).Unix()
	return &d, nil
}

// Run asks a decider, and then the gates what became of it.
func (c *bansAddCmd) Run(ctx context.Context, std *streams) error {
	drop, err := c.drop(time.Now())
	if err != nil {
		return usageError{err}
	}
	site, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer site.Close()
	drop.By = site.by
	got, err := site.order(ctx, commandDecide, decideRequest{opAdd, drop, site.by})
	if err != nil {
		return err
	}
	if len(got.decisions) == 0 {
		return errors.New("the sensor answers without a decision")
	}
	one := got.decisions[len(got.decisions)-1] // before it stands what its clock brought about
	if err := c.print(std, &one); err != nil {
		return err
	}
	switch {
	case one.Refusal != nil:
		return reported{errors.New(one.Refusal.Sentence)}
	case one.Drop == nil:
		return errors.New("the sensor answers without a decision")
	}
	if one.Drop.State == policy.Pending {
		fmt.Fprintf(std.err, "weir: it waits for 'weir bans approve %s'\n", one.Drop.ID)
		return nil
	}
	return site.await(ctx, one.Drop, std)
}

// print writes the decision: sentences go to standard output, a refusal's to standard error, as every failure does.
func (c *bansAddCmd) print(std *streams, d *decision) error {
	if c.Format == "table" || c.Format == "auto" && isTerminal(std.out) {
		if d.Refusal != nil {
			fmt.Fprintln(std.err, "weir:", printable(d.Refusal.Sentence))
			return nil
		}
		_, err := fmt.Fprintf(std.out, "%s  %s\n", d.Drop.ID, printable(d.Drop.Summary))
		return err
	}
	if d.Refusal != nil {
		fmt.Fprintln(std.err, "weir:", printable(d.Refusal.Sentence))
	}
	line, err := marshal(d)
	if err != nil {
		return err
	}
	return writeLine(std.out, line)
}

// await tells what the gates make of a drop, as soon as all that answer have one, and for three seconds. All refusing it is a failure.
func (c *siteClient) await(ctx context.Context, d *policy.Drop, std *streams) error {
	within, cancel := context.WithTimeout(ctx, receiptTime)
	defer cancel()
	var told []enforced
	var notes []string
	for {
		v := newOverview()
		v.bans[d.ID] = &ban{drop: d, key: d.Key()}
		v.enforced(<-c.begin(within, commandEnforced))
		var got []enforced
		silent := map[string]bool{}
		for _, name := range v.answers {
			silent[name] = true
		}
		for _, e := range v.bans[d.ID].enforcers {
			if e.Generation >= d.Generation && e.State != "waiting" {
				got = append(got, e)
				delete(silent, e.Enforcer)
			}
		}
		if len(got) >= len(told) { // the last look may have been cut short
			told, notes = got, v.notes
		}
		if len(silent) == 0 || within.Err() != nil {
			break
		}
		select {
		case <-within.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	refused := 0
	for _, e := range told {
		switch e.State {
		case "applied":
			fmt.Fprintf(std.err, "weir: applied at %s\n", gateText(&e))
		case "shadow":
			fmt.Fprintf(std.err, "weir: rehearsed at %s: counted only\n", gateText(&e))
		default:
			refused++
			fmt.Fprintf(std.err, "weir: %s at %s\n", e.State+printable(because(&e)), gateText(&e))
		}
	}
	if len(told) == 0 {
		fmt.Fprintln(std.err, "weir: wanted, but no gate has told that it is in force yet")
		for _, n := range notes {
			fmt.Fprintln(std.err, "weir:", printable(n))
		}
	}
	if refused > 0 && refused == len(told) {
		return reported{errors.New("refused by all gates")}
	}
	return nil
}

// because is the guard and the reason of a gate.
func because(e *enforced) string {
	switch {
	case e.Guard != "" && e.Error != "":
		return fmt.Sprintf(" (guard %s: %s)", e.Guard, e.Error)
	case e.Guard != "":
		return fmt.Sprintf(" (guard %s)", e.Guard)
	case e.Error != "":
		return fmt.Sprintf(" (%s)", e.Error)
	}
	return ""
}

type bansRemoveCmd struct {
	What      string `arg:"" name:"drop" help:"Id of the drop, or its target."`
	Reason    string `required:"" placeholder:"TEXT" help:"Why."`
	bansReach `embed:""`
}

// Run ends a drop: by the sensor that decided on it, and where none does, by a tombstone of our own.
func (c *bansRemoveCmd) Run(ctx context.Context, std *streams) error {
	if strings.TrimSpace(c.Reason) == "" {
		return usageError{errors.New("--reason: a removal needs a reason")}
	}
	site, v, err := c.meet(ctx, c.What, std)
	if err != nil {
		return err
	}
	defer site.Close()
	id, key, err := v.named(c.What)
	if err != nil {
		return usageError{err}
	}
	got, err := site.order(ctx, commandChange, changeRequest{Op: opRemove, ID: id, Key: key, By: site.by, Reason: c.Reason})
	if err == nil && got.known {
		return printDecisions(std, got.about(id, key))
	}
	if err != nil && !errors.Is(err, errNobody) {
		return err
	}
	b := v.bans[id]
	if b == nil {
		return errors.Join(fmt.Errorf("there is no drop %s", printable(c.What)), err)
	}
	if err := site.retire(ctx, b, c.Reason); err != nil {
		return err
	}
	fmt.Fprintln(std.err, "weir: no sensor knows this drop, or none answers; its removal was signed here, for the gates")
	_, err = fmt.Fprintf(std.out, "%s  %s\n", id, printable(b.drop.Summary))
	return err
}

// meet connects, and looks what there is: for commands about a drop, which may be given without it.
func (r *bansReach) meet(ctx context.Context, what string, std *streams) (*siteClient, *overview, error) {
	if strings.TrimSpace(what) == "" {
		return nil, nil, usageError{errors.New("which drop? Give its id or its target")}
	}
	site, err := r.dial(ctx)
	if err != nil {
		return nil, nil, err
	}
	v, err := site.look(ctx)
	if err != nil {
		fmt.Fprintln(std.err, "weir:", printable(err.Error()))
	}
	return site, v, nil
}

// retire ends a drop that no sensor answers for.
func (c *siteClient) retire(ctx context.Context, b *ban, reason string) error {
	switch id := b.drop.ID; {
	case b.drop.State != policy.Requested && b.drop.State != policy.Pending:
		return fmt.Errorf("the drop %s is %s already", id, b.drop.State)
	case b.drop.Created == 0:
		return fmt.Errorf("the drop %s is known to gates only, and no sensor answers who could remove it: it ends at %s UTC; 'weir bans panic' ends all",
			id, clock(b.drop.Until))
	}
	return c.bury(ctx, b.drop, reason)
}

// bury writes a drop's tombstone.
func (c *siteClient) bury(ctx context.Context, d *policy.Drop, reason string) error {
	d.Generation = max(d.Generation+1, uint64(time.Now().UnixMicro()))
	d.State, d.Guard = policy.Removed, ""
	d.Summary = shorten(fmt.Sprintf("Removed %s by %s: %s", targetOf(d), c.by, reason), 500)
	line, err := d.AppendLine(nil)
	if err != nil {
		return err
	}
	line = line[:len(line)-1]
	writing, cancel := context.WithTimeout(ctx, bucketTime)
	defer cancel()
	if err := c.State().Put(writing, d.Key(), line); err != nil {
		return err
	}
	return c.Drop("removed", fmt.Sprintf("%s.%d", d.ID, d.Generation), line)
}

// shorten cuts a text to at most n bytes of valid UTF-8.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// printDecisions prints drops to standard output, and fails for refusals.
func printDecisions(std *streams, list []decision) error {
	var failed error
	for _, d := range list {
		if d.Refusal != nil {
			failed = errors.Join(failed, errors.New(d.Refusal.Sentence))
		} else if _, err := fmt.Fprintf(std.out, "%s  %s\n", d.Drop.ID, printable(d.Drop.Summary)); err != nil {
			return err
		}
	}
	return failed
}

type bansApproveCmd struct {
	What      string `arg:"" name:"drop" help:"Id of the pending drop, or its target."`
	bansReach `embed:""`
}

// Run lets a pending drop go on, if the guards still let it pass.
func (c *bansApproveCmd) Run(ctx context.Context, std *streams) error {
	site, v, err := c.meet(ctx, c.What, std)
	if err != nil {
		return err
	}
	defer site.Close()
	id, key, err := v.named(c.What)
	if err != nil {
		return usageError{err}
	}
	got, err := site.order(ctx, commandChange, changeRequest{Op: opApprove, ID: id, Key: key, By: site.by})
	if err != nil {
		return err
	}
	list := got.about(id, key)
	switch {
	case !got.known:
		return fmt.Errorf("no sensor has a drop %s", printable(c.What))
	case len(list) == 0:
		return fmt.Errorf("the drop %s is not pending", printable(c.What))
	}
	if err := printDecisions(std, list); err != nil {
		return err
	}
	return site.await(ctx, list[len(list)-1].Drop, std)
}
