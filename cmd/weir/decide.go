package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	network "weir/analyzers/context"
	"weir/decode/conn"
	"weir/sensor/alert"
	"weir/sensor/bus"
	"weir/sensor/enforce"
	"weir/sensor/host"
	"weir/sensor/policy"
)

// decider is a sensor's policy and its way out: alerts come in, and drops go into the bucket of wanted drops, each decision into
// the stream of drops. The bucket follows the policy: what somebody deletes there by hand is written again.
type decider struct {
	log, seldom *slog.Logger
	bus         *bus.Bus
	state       *bus.State
	file        string // what the policy remembers
	panicFile   string
	wake        chan struct{}
	told        func(policy.Decision) // nil: nobody; never waits

	mu        sync.Mutex
	policy    *policy.Policy
	networks  *network.Networks
	open      map[string]*answered    // alerts that are open, by id
	unwritten map[string]*policy.Drop // by key: decided, and not in the bucket yet
	others    map[string]*policy.Drop // by key: another sensor's, that is in force in the place of ours
	buried    map[string]*policy.Drop // by key: removed, until its end, so that nobody brings it back
	found     map[string]uint64       // while the bucket is read: generations by key
	old       []string                // the same: keys of what ended long ago
	panic     enforce.Panic           // the last one, or its end
	unsaid    bool                    // that the bucket does not have
	changed   bool                    // since the policy was saved
	failed    error                   // why the bucket takes no drops
}

// answered is an alert that is open, and what was done about it.
type answered struct {
	alert  *alert.Alert
	action *alert.Action
}

const (
	decideEvery = time.Second
	retryEvery  = 5 * time.Second // what was refused for a reason that passes
	saveEvery   = 10 * time.Second
	writeTime   = 5 * time.Second
	garbageAge  = 10 * time.Minute // that the bucket keeps what has ended
)

// newDecider takes up the policy where the last run left it.
func newDecider(p *protected, b *bus.Bus, state *bus.State, dir string, log *slog.Logger) (*decider, error) {
	d := &decider{
		log: log, seldom: host.Limited(log, time.Minute), bus: b, state: state, file: filepath.Join(dir, "policy.json"), panicFile: panicFile(dir),
		wake: make(chan struct{}, 1), open: map[string]*answered{}, unwritten: map[string]*policy.Drop{}, others: map[string]*policy.Drop{},
		buried: map[string]*policy.Drop{},
	}
	var err error
	p.follow(func(cfg policy.Config, n *network.Networks) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.networks = n
		if d.policy == nil {
			err = d.load(cfg, n)
			return
		}
		d.tell(d.policy.Reconfigure(cfg, n, now()))
	})
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lookForPanic()
	return d, nil
}

// now is the wall clock in ns.
func now() int64 { return time.Now().UnixNano() }

// load makes the policy of its state file. One that is damaged is set aside: drops in force are in the bucket and end there.
func (d *decider) load(cfg policy.Config, n *network.Networks) error {
	text, err := os.ReadFile(d.file)
	if errors.Is(err, os.ErrNotExist) {
		d.policy = policy.New(cfg, n)
		return nil
	}
	if err != nil {
		return err
	}
	restored, decisions, err := policy.Load(text, cfg, n, now())
	if err != nil {
		aside := fmt.Sprintf("%s.corrupt-%d", d.file, time.Now().Unix())
		if err := os.Rename(d.file, aside); err != nil {
			return err
		}
		d.log.Error("what the policy remembered is damaged: it was set aside, strikes begin anew", "error", err, "kept", aside)
		d.policy = policy.New(cfg, n)
		return nil
	}
	d.policy = restored // what the bucket lacks of it, follow finds
	d.tell(decisions)
	return nil
}

// judge answers a revision of an alert, and writes into it what is done. On the judge's goroutine.
func (d *decider) judge(a *alert.Alert) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.open[a.ID]
	out := d.policy.Judge(a, now())
	d.tell(out)
	a.Action = d.actionOf(a.ID, out)
	if a.Action == nil && before != nil {
		a.Action = before.action
	}
	if a.State >= alert.Closed {
		delete(d.open, a.ID)
		return
	}
	d.open[a.ID] = &answered{a, a.Action}
}

// actionOf is what decisions do about an alert: the hardest of its drops, else why there is none.
func (d *decider) actionOf(id string, decisions []policy.Decision) (action *alert.Action) {
	for _, one := range decisions {
		switch r := one.Refusal; {
		case r == nil && one.Drop.Alert == id && (one.Drop.State == policy.Requested || one.Drop.State == policy.Pending):
			return &alert.Action{Drop: one.Drop.ID, Effect: effectOf(one.Drop)}
		case r != nil && r.Alert == id && r.Drop != "":
			action = &alert.Action{Drop: r.Drop, Effect: effectOf(d.policy.Drop(r.Drop))}
		case r != nil && r.Alert == id && action == nil:
			action = &alert.Action{Guard: r.Guard}
		}
	}
	return action
}

// effectOf is what a drop does, in a word.
func effectOf(d *policy.Drop) string {
	switch {
	case d == nil:
		return ""
	case d.State == policy.Pending:
		return d.State.String()
	}
	return d.Action.String()
}

// passing are guards whose reasons pass while an attack goes on: their alerts are asked about again.
var passing = []string{"panic", "cap_rate", "cap_total", "ssh_peer", "gateway", "resolver", "nats_server", "own_address"}

// retry asks again about alerts that are still open and were refused for a reason that may have passed.
func (d *decider) retry() {
	for _, id := range slices.Sorted(maps.Keys(d.open)) {
		o := d.open[id]
		if o.action == nil || !slices.Contains(passing, o.action.Guard) {
			continue
		}
		again := *o.alert
		again.Time = alert.Time(now()) // it is open: its evidence goes on
		var news []policy.Decision
		for _, one := range d.policy.Judge(&again, now()) {
			if one.Refusal == nil || one.Refusal.Alert != id || one.Refusal.Guard != o.action.Guard { // that is told
				news = append(news, one)
			}
		}
		d.tell(news)
		if action := d.actionOf(id, news); action != nil {
			o.action = action
		}
	}
}

// acting is what the gate here does to a source's packets.
func (d *decider) acting(source netip.Addr) conn.Action {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch drop := d.policy.Over(source); {
	case drop == nil:
		return conn.ActionAccept
	case drop.Action == policy.Shadow:
		return conn.ActionShadow
	}
	return conn.ActionDrop
}

// hit tells that packets met a drop, the last of them at a time in unix ns.
func (d *decider) hit(id string, last int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.policy.Hit(id, last)
}

// established tells who completed connections.
func (d *decider) established(peers []netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range peers {
		if !d.networks.Is(network.Own, a) { // of connections that we made
			d.policy.Established(a, now())
		}
	}
}

// tell publishes decisions, and has drops written into the bucket. The caller holds mu.
func (d *decider) tell(decisions []policy.Decision) {
	for _, one := range decisions {
		if d.told != nil {
			d.told(one)
		}
		var event, id string
		var line []byte
		var err error
		if r := one.Refusal; r != nil {
			event, id = "refused", fmt.Sprintf("%s.%s.%d", cmp.Or(r.Alert, "hand"), r.Guard, int64(r.Time))
			line, err = r.AppendLine(nil)
		} else {
			drop := one.Drop
			d.want(drop)
			event, id = drop.State.String(), fmt.Sprintf("%s.%d", drop.ID, drop.Generation)
			line, err = drop.AppendLine(nil)
			d.log.Debug("drop "+event, "summary", drop.Summary, "id", drop.ID)
		}
		if err == nil {
			err = d.bus.Drop(event, id, line[:len(line)-1])
		}
		if err != nil {
			d.seldom.Error("a decision is not safe on disk", "id", id, "error", err)
		}
	}
	if len(decisions) > 0 {
		d.changed = true
		d.signal()
	}
}

func (d *decider) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run writes decisions into the bucket and takes time on, until ctx ends.
func (d *decider) run(ctx context.Context) {
	tick := time.NewTicker(decideEvery)
	defer tick.Stop()
	var saving sync.WaitGroup
	saving.Go(func() { d.keep(ctx) })
	var retried time.Time
	for {
		select {
		case <-ctx.Done():
			saving.Wait()
			d.end()
			return
		case <-d.wake:
		case at := <-tick.C:
			d.mu.Lock()
			d.lookForPanic()
			d.lookForClock()
			d.tell(d.policy.Advance(now()))
			if at.Sub(retried) >= retryEvery {
				d.retry()
				retried = at
			}
			d.mu.Unlock()
		}
		d.write(ctx)
	}
}

// keep saves now and then what the policy remembers, until ctx ends. It may take a second, for which no drop must wait.
func (d *decider) keep(ctx context.Context) {
	for wait := decideEvery; ; wait = saveEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			d.save()
		}
	}
}

// lookForClock lets the policy go on when the clock was set back. The caller holds mu.
func (d *decider) lookForClock() {
	p, decisions, err := d.policy.Back(now())
	if err != nil {
		d.seldom.Error("the clock was set back, and the policy stays ahead of it: it refuses alerts as too old until a restart", "error", err)
	}
	if p != d.policy {
		d.log.Warn("the clock was set back: the policy goes on with the time that it tells now")
		d.policy, d.changed = p, true
		d.tell(decisions)
	}
}

// end writes and saves what is left.
func (d *decider) end() {
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	d.write(ctx)
	d.save()
}

// save keeps what the policy remembers. The file is complete or the one before.
func (d *decider) save() {
	d.mu.Lock()
	if !d.changed {
		d.mu.Unlock()
		return
	}
	saved := d.policy.Saved()
	d.changed = false
	d.mu.Unlock()
	text, err := saved.AppendJSON(nil) // half a second, for which the judge must not wait
	if err == nil {
		err = host.WriteFile(d.file, text)
	}
	if err != nil {
		d.seldom.Error("what the policy remembers cannot be saved: a restart begins without strikes", "error", err)
		d.mu.Lock()
		d.changed = true
		d.mu.Unlock()
	}
}

// lookForPanic reads the file that the command line writes, with which a panic needs no bus. The folder may be root's alone, of a gate
// beside this sensor: then the gate tells by the bus. The caller holds mu.
func (d *decider) lookForPanic() {
	p, err := enforce.Panicked(d.panicFile)
	if errors.Is(err, fs.ErrPermission) {
		return
	}
	if err != nil {
		d.seldom.Warn("the file of a panic is not understood: it counts as one", "error", err)
	}
	if p != nil {
		d.hold(p)
	}
}

// hold begins or ends a panic, if that is news.
func (d *decider) hold(p *enforce.Panic) {
	if p.Generation <= d.panic.Generation {
		return
	}
	d.panic, d.unsaid = *p, true
	d.panic.Schema = enforce.PanicSchema
	d.policy.After(p.Generation)
	if p.Held {
		d.tell(d.policy.Panic(p.By, now()))
		for _, o := range d.open { // those are asked about again when it is over
			o.action = &alert.Action{Guard: "panic"}
		}
	} else {
		d.tell(d.policy.Resume(now()))
		d.retry()
	}
	d.changed = true
}

// signedBy is who asks, as far as that can be known: what they call themselves, and of another machine the name under which its key is
// trusted here.
func signedBy(by, name string) string {
	if name == "own" {
		return by
	}
	return fmt.Sprintf("%s, by the key of %s", shorten(by, 40), name)
}

// stats are the policy's counters and sizes, and how many decisions the bucket does not have yet.
func (d *decider) stats() decided {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := decided{Stats: d.policy.Stats(), Unwritten: len(d.unwritten), Held: d.policy.Held() != nil, Bucket: d.failed}
	s.Drops, s.Strikes, s.Peers = d.policy.Sizes()
	s.MaxDrops, s.MaxStrikes, s.MaxPeers = d.policy.Limits()
	s.Pending = d.policy.Pending()
	return s
}

// decided is what metrics show of a decider.
type decided struct {
	policy.Stats
	Drops, Strikes, Peers          int
	MaxDrops, MaxStrikes, MaxPeers int
	Pending                        int // of Drops: they wait for approval
	Unwritten                      int
	Held                           bool  // a panic
	Bucket                         error // why wanted drops cannot be written
}
