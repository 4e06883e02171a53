package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/sensor/bus"
	"weir/sensor/policy"
	"weir/sensor/web"
)

// pageDrops is what the page knows and changes of drops: what 'weir bans' does, by the same commands. What the decider and the gates
// of this process know they are asked without NATS.
type pageDrops struct {
	*pageOf
	turn chan struct{} // one looks at a time

	mu     sync.Mutex // of what follows
	client *siteClient
	failed error         // why there is no client
	list   *web.DropList // as of at; nil: it is to be looked for
	at     time.Time
	forgot int // how often
}

const (
	pageDropsAge  = time.Second     // a list is that old at most
	pageDialEvery = 5 * time.Second // that a lost NATS is looked for
	pageLookTime  = 8 * time.Second
)

func newPageDrops(of *pageOf) *pageDrops {
	return &pageDrops{pageOf: of, turn: make(chan struct{}, 1), failed: errors.New("nats: not connected yet")}
}

// site is the connection to the site, which follow makes; else why there is none. Nobody waits for it.
func (d *pageDrops) site() (*siteClient, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client, d.failed
}

// dial connects, if that is not done yet.
func (d *pageDrops) dial(ctx context.Context) (*siteClient, error) {
	if c, _ := d.site(); c != nil {
		return c, nil
	}
	within, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	by := "page@" + thisHost()
	c, err := bus.Dial(within, d.settings.NATS, d.settings.Site, d.state, by, d.keys)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed = err; err == nil {
		d.client = &siteClient{c, d.settings, d.keys, by}
	}
	return d.client, err
}

func (d *pageDrops) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil {
		d.client.Close()
	}
	d.client, d.failed = nil, errors.New("the page is closed")
}

// forget has the next list looked for anew.
func (d *pageDrops) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = nil
	d.forgot++
}

// recent is a list that is young enough; nil: there is none.
func (d *pageDrops) recent() (list *web.DropList, forgot int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.at) > pageDropsAge {
		return nil, d.forgot
	}
	return d.list, d.forgot
}

// keep keeps a list for those who ask next, unless something changed since it was begun.
func (d *pageDrops) keep(list *web.DropList, forgot int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.forgot == forgot {
		d.list, d.at = list, time.Now()
	}
}

// List implements web.Drops.
func (d *pageDrops) List(ctx context.Context) (*web.DropList, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	list, forgot := d.recent()
	if list == nil {
		list = d.look(context.WithoutCancel(ctx)).page(time.Now())
		d.keep(list, forgot)
	}
	return list, nil
}

// look asks the site, and what is here.
func (d *pageDrops) look(ctx context.Context) *overview {
	ctx, cancel := context.WithTimeout(ctx, pageLookTime)
	defer cancel()
	v := newOverview()
	site, err := d.site()
	if err == nil {
		v, err = site.look(ctx)
	}
	if err != nil {
		v.notes = append(v.notes, oneLine(err.Error()))
	}
	if d.decider != nil {
		for _, one := range d.decider.drops() {
			v.add(one)
		}
		v.notes = slices.DeleteFunc(v.notes, func(n string) bool { return n == noSensorAnswers })
	}
	if d.gates != nil && !slices.Contains(v.answers, d.id.Sensor) {
		v.notes = slices.DeleteFunc(v.notes, func(n string) bool { return n == noGateAnswers })
		v.enforced(answers{replies: d.here(d.gates.answer)})
	}
	return v
}

// here is an answer of a part of this process.
func (d *pageDrops) here(parts func(signer, name string, body []byte) [][]byte, body ...byte) (all []bus.Reply) {
	for _, p := range parts("", "own", body) {
		all = append(all, bus.Reply{From: d.id.Sensor, Body: p})
	}
	return all
}

// order gives a command: to the decider of this process, and if it does not know what is meant, to those of the site.
func (d *pageDrops) order(ctx context.Context, command string, request any) (*verdicts, error) {
	if d.decider != nil {
		body, err := marshal(request)
		if err != nil {
			return nil, err
		}
		serve := d.decider.change
		if command == commandDecide {
			serve = d.decider.add
		}
		if got, err := verdictsOf(d.here(serve, body...)); err != nil || got.known {
			return got, err
		}
	}
	site, err := d.site()
	if err != nil {
		return nil, err
	}
	return site.order(ctx, command, request)
}

// Add implements web.Drops.
func (d *pageDrops) Add(ctx context.Context, ask web.Ask, by string) (*web.Drop, error) {
	drop, err := asked(&ask, time.Now())
	if err != nil {
		return nil, err
	}
	drop.By = by
	got, err := d.order(ctx, commandDecide, decideRequest{opAdd, drop, by})
	return d.outcome("add", by, drop.Reason, got, err, func(v *verdicts) []decision { return v.decisions })
}

// Approve implements web.Drops.
func (d *pageDrops) Approve(ctx context.Context, id, reason, by string) (*web.Drop, error) {
	got, err := d.order(ctx, commandChange, changeRequest{Op: opApprove, ID: id, By: by, Reason: reason})
	return d.outcome("approve", by, reason, got, err, func(v *verdicts) []decision { return v.about(id, "") })
}

// Remove implements web.Drops. Where no sensor knows the drop any more, its removal is signed here, as 'weir bans remove' does.
func (d *pageDrops) Remove(ctx context.Context, id, reason, by string) (*web.Drop, error) {
	got, err := d.order(ctx, commandChange, changeRequest{Op: opRemove, ID: id, By: by, Reason: reason})
	if err == nil && got.known || err != nil && !errors.Is(err, errNobody) {
		return d.outcome("remove", by, reason, got, err, func(v *verdicts) []decision { return v.about(id, "") })
	}
	site, err := d.site()
	if err != nil {
		return nil, err
	}
	b := d.look(ctx).bans[id]
	if b == nil {
		return nil, noDrop
	}
	if err := (&siteClient{site.Client, site.settings, site.keys, by}).retire(ctx, b, cmp.Or(reason, "no reason given")); err != nil {
		return nil, &web.Error{Status: http.StatusConflict, Text: err.Error()}
	}
	d.said("remove", by, reason, b.drop.Summary)
	out := b.page()
	return &out, nil
}

var noDrop = &web.Error{Status: http.StatusNotFound, Text: "there is no such drop"}

// outcome is the drop that the last of some decisions is about, or why there is none.
func (d *pageDrops) outcome(what, by, reason string, got *verdicts, err error, of func(*verdicts) []decision) (*web.Drop, error) {
	d.forget()
	if err != nil {
		return nil, err
	}
	list := of(got)
	if len(list) == 0 && !got.known {
		return nil, noDrop
	}
	if len(list) == 0 {
		return nil, &web.Error{Status: http.StatusConflict, Text: "the drop is not pending"}
	}
	one := list[len(list)-1] // before it stands what the decider's clock brought about
	if r := one.Refusal; r != nil {
		d.said(what, by, reason, r.Sentence)
		return nil, &web.Error{Status: http.StatusConflict, Text: r.Sentence, Guard: r.Guard}
	}
	d.said(what, by, reason, one.Drop.Summary)
	out := (&ban{drop: one.Drop, key: one.Drop.Key()}).page()
	return &out, nil
}

// said tells the log who did what; the stream of drops has it, too.
func (d *pageDrops) said(what, by, reason, outcome string) {
	d.log.Log(context.Background(), slog.LevelInfo, "a drop was asked for on the page", "what", what, "by", by, "reason", reason, "outcome", outcome)
}

// asked is the drop that a person asks for.
func asked(ask *web.Ask, now time.Time) (*policy.Drop, error) {
	bad := func(text string) error { return &web.Error{Status: http.StatusBadRequest, Text: text} }
	if _, err := parseTarget(ask.Target); err != nil {
		return nil, bad("target is neither an address, nor a prefix, nor a service like 198.51.100.1:443/tcp or [2001:db8::1]:53/udp")
	}
	if ago, err := parseSince(ask.For, now); err != nil || now.Sub(ago) < time.Second {
		return nil, bad("for is no duration like 90s, 1h or 7d")
	}
	if strings.TrimSpace(ask.Reason) == "" {
		return nil, bad("a drop needs a reason")
	}
	if !slices.Contains([]string{"", "drop", "drop_new", "limit_new", "limit"}, ask.Action) {
		return nil, bad("action is none of drop, drop_new, limit_new and limit")
	}
	c := bansAddCmd{Target: ask.Target, For: ask.For, Reason: ask.Reason, Action: ask.Action, Rate: ask.Rate, Shadow: ask.Shadow}
	drop, err := c.drop(now)
	if err != nil {
		return nil, bad("a service can be limited, a source dropped, drop_new or limit_new; rate belongs to limit and limit_new")
	}
	return drop, nil
}

// follow tells of changes of the site's drops, until ctx ends.
func (d *pageDrops) follow(ctx context.Context, changed func()) {
	news := make(chan struct{}, 1)
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { d.settle(ctx, news, changed) })
	for {
		if site, err := d.dial(ctx); err == nil {
			_ = site.Drops(ctx, time.Time{}, true, func(string, []byte) error { // an error ends with the next try
				select {
				case news <- struct{}{}:
				default:
				}
				return nil
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pageDialEvery):
		}
	}
}

// settle tells of changes that came together once.
func (d *pageDrops) settle(ctx context.Context, news <-chan struct{}, changed func()) {
	const together = 200 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
		d.forget()
		changed()
		select {
		case <-ctx.Done():
			return
		case <-time.After(together):
		}
	}
}

// page is the list as the page has it.
func (v *overview) page(now time.Time) *web.DropList {
	out := &web.DropList{Drops: []web.Drop{}, Notes: v.notes}
	for _, b := range v.live(now) {
		one := b.page()
		out.Drops = append(out.Drops, one)
		if b.drop.State == policy.Requested {
			out.Wanted++
		}
		if one.State == "applied" || one.State == "shadow" {
			out.Enforced++
		}
	}
	for _, w := range v.refused() {
		out.Notes = append(out.Notes, "guard "+w.Guard+": what the bucket has of "+keyTarget(w.Key)+" is not believed")
	}
	return out
}

// page is a drop as the page has it.
func (b *ban) page() web.Drop {
	d := b.drop
	out := web.Drop{
		ID: d.ID, Key: b.key, Target: b.target(), Scope: d.Scope.String(), Action: d.Action.String(), Would: d.Would.String(), Rate: d.Rate, State: b.state(),
		Guard: b.guard(), Reason: d.Reason, Summary: d.Summary, By: d.By, Approved: d.Approved, Alert: d.Alert, Until: time.Unix(d.Until, 0).UTC(),
		Gates: []web.DropGate{},
	}
	if d.Created != 0 {
		out.Created = time.Unix(d.Created, 0).UTC()
	}
	for _, e := range b.enforcers {
		out.Packets += e.Packets
		out.Bytes += e.Bytes
		if at := time.Unix(0, int64(e.Last)).UTC(); e.Last != 0 && at.After(out.Last) {
			out.Last = at
		}
		out.Gates = append(out.Gates, web.DropGate{Sensor: e.Enforcer, Interface: e.Interface, Table: e.Table, State: e.State, Guard: e.Guard, Error: e.Error})
	}
	return out
}

// drops are all that are wanted, or wait for approval.
func (d *decider) drops() []*policy.Drop {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.policy.Drops()
}
