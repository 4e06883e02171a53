package main

import (
	"cmp"
	"context"
	"encoding/json"
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

	mu        sync.Mutex
	policy    *policy.Policy
	networks  *network.Networks
	open      map[string]*answered    // alerts that are open, by id
	unwritten map[string]*policy.Drop // by key: decided, and not in the bucket yet
	others    map[string]*policy.Drop // by key: another sensor's, that is in force in the place of ours
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
	a.Subject, a.Victim = d.located(a.Subject), d.located(a.Victim)
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

// located is a party with its origin, as far as that is known. Parties are shared between revisions.
func (d *decider) located(party *alert.Party) *alert.Party {
	if party == nil || !party.IP.IsValid() {
		return party
	}
	out := *party
	out.ASN, out.Country = d.networks.Origin(party.IP)
	return &out
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

// want has a drop written. The end of ours is not that of another sensor's, which has taken its place.
func (d *decider) want(drop *policy.Drop) {
	key := drop.Key()
	other := d.others[key]
	delete(d.others, key)
	if other != nil && drop.State != policy.Requested && other.Until > time.Now().Unix() {
		delete(d.unwritten, key)
		return
	}
	d.unwritten[key] = drop
}

func (d *decider) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run writes decisions into the bucket, takes time on and saves what the policy remembers, until ctx ends.
func (d *decider) run(ctx context.Context) {
	tick := time.NewTicker(decideEvery)
	defer tick.Stop()
	var retried, saved time.Time
	for {
		select {
		case <-ctx.Done():
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
			if at.Sub(saved) >= saveEvery {
				d.save()
				saved = at
			}
		}
		d.write(ctx)
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

// write puts into the bucket what is decided. What it does not take now is tried again a second later.
func (d *decider) write(ctx context.Context) {
	d.mu.Lock()
	waiting := maps.Clone(d.unwritten)
	unsaid, last := d.unsaid, d.panic
	d.mu.Unlock()
	var err error
	if unsaid {
		err = d.say(ctx, &last)
	}
	for some := range slices.Chunk(inOrder(waiting), writers) {
		if err != nil && !errors.Is(err, bus.ErrHeld) { // a full bucket still takes what is there already
			break
		}
		if failed := d.putAll(ctx, some); failed != nil {
			err = failed
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil { // nobody needs to know of what has ended: new ones must not add up while there is no way
		maps.DeleteFunc(d.unwritten, func(_ string, drop *policy.Drop) bool { return drop.Until <= time.Now().Unix() })
	}
	if d.failed = err; err != nil && ctx.Err() == nil {
		d.seldom.Warn("wanted drops cannot be written; enforcers keep what they have, and it is tried on", "waiting", len(d.unwritten), "error", err)
	}
}

// inOrder has what relieves first, and then what was decided first.
func inOrder(waiting map[string]*policy.Drop) []*policy.Drop {
	return slices.SortedFunc(maps.Values(waiting), func(a, b *policy.Drop) int {
		if relieves := a.State != policy.Requested; relieves != (b.State != policy.Requested) {
			if relieves {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Generation, b.Generation)
	})
}

// writers is how many drops are on their way to the bucket at once: a server 10 ms away takes 1,000 in less than a second.
const writers = 16

// putAll writes drops of different keys side by side.
func (d *decider) putAll(ctx context.Context, drops []*policy.Drop) error {
	failed := make([]error, len(drops))
	var work sync.WaitGroup
	for i, drop := range drops {
		work.Go(func() {
			if failed[i] = d.put(ctx, drop); failed[i] != nil {
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.unwritten[drop.Key()] == drop {
				delete(d.unwritten, drop.Key())
			}
		})
	}
	work.Wait()
	for _, err := range failed {
		if err != nil && !errors.Is(err, bus.ErrHeld) {
			return err
		}
	}
	return errors.Join(failed...)
}

// put writes a drop into the bucket.
func (d *decider) put(ctx context.Context, drop *policy.Drop) error {
	body, err := drop.AppendLine(nil)
	if err != nil {
		return err
	}
	once, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return d.state.Put(once, drop.Key(), body[:len(body)-1])
}

// say writes a panic, or its end, into the bucket: one that came by the file of the state folder, or that somebody deleted.
func (d *decider) say(ctx context.Context, p *enforce.Panic) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	once, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := d.state.Put(once, enforce.PanicKey, body); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsaid = d.panic != *p
	return nil
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

// follow compares the bucket with the policy: at each look at all of it, and at each change, until ctx ends.
func (d *decider) follow(ctx context.Context) {
	err := d.state.Watch(ctx, d.begin, d.see, func(complete bool) {
		if complete {
			d.whole(ctx)
		}
	})
	if err != nil && ctx.Err() == nil {
		d.log.Error("the bucket of wanted drops is not looked after any more", "error", err)
	}
}

// begin is the begin of a look at all of the bucket.
func (d *decider) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found, d.old, d.unsaid = map[string]uint64{}, nil, d.panic.Generation > 0
}

// see is one entry of the bucket.
func (d *decider) see(s bus.Signed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case s.Key == enforce.PanicKey:
		d.seePanic(s)
		return
	case s.Deleted || s.Err != nil: // by hand, or by somebody whom nobody trusts
		d.mend(s.Key, 0)
		return
	}
	drop, err := policy.ParseDrop(s.Body)
	if err != nil || drop.Key() != s.Key {
		d.mend(s.Key, 0)
		return
	}
	if d.found != nil {
		d.found[s.Key] = drop.Generation
	}
	if drop.Until < time.Now().Add(-garbageAge).Unix() {
		d.old = append(d.old, s.Key)
	}
	if own := d.policy.Drop(drop.ID); own != nil && drop.State == policy.Removed && drop.Generation > own.Generation {
		d.tell(d.policy.Remove(drop.ID, cmp.Or(s.Name, s.Signer), drop.Summary, now())) // while no sensor answered
		return
	}
	d.hear(drop)
	d.mend(s.Key, drop.Generation)
}

// hear sees to it that a drop of ours stands beside another sensor's, which has its key: of one key the bucket has one.
func (d *decider) hear(drop *policy.Drop) {
	d.policy.After(drop.Generation) // else gates take what comes for old
	own := d.policy.Wanted(drop.Key())
	if own == nil || own.ID == drop.ID || own.Generation >= drop.Generation {
		return
	}
	if delete(d.others, drop.Key()); drop.State == policy.Requested {
		d.others[drop.Key()] = drop
	}
	d.tell(d.policy.Heard(drop, now()))
}

// mend has what is wanted of a key written again, if the bucket has less: within decideEvery, so that gates see, too, and tell, what
// somebody did, and a writer who does not stop is not answered faster.
func (d *decider) mend(key string, generation uint64) {
	if drop := d.policy.Wanted(key); drop != nil && drop.Generation > generation && d.unwritten[key] == nil {
		d.unwritten[key] = drop
	}
}

// whole is the end of a look at all of the bucket.
func (d *decider) whole(ctx context.Context) {
	d.mu.Lock()
	for _, drop := range d.policy.Drops() {
		if key := drop.Key(); d.found[key] < drop.Generation && d.unwritten[key] == nil {
			d.unwritten[key] = drop
		}
	}
	old := d.old
	d.found, d.old = nil, nil
	d.mu.Unlock()
	d.signal()
	for _, key := range old {
		if d.state.Purge(ctx, key) != nil {
			return // next time
		}
	}
}

// seePanic follows a panic, or its end, that somebody else wrote into the bucket.
func (d *decider) seePanic(s bus.Signed) {
	if s.Deleted || s.Err != nil {
		return // enforcers tell
	}
	if p, err := enforce.ParsePanic(s.Body); err == nil {
		d.hold(p)
		d.unsaid = d.panic.Generation > p.Generation
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

// serve answers what humans ask, until ctx ends.
func (d *decider) serve(ctx context.Context, keys *bus.Keys) {
	var work sync.WaitGroup
	work.Go(func() { d.bus.Serve(ctx, keys, commandDecide, commandDecide, d.add) })
	work.Go(func() { d.bus.Serve(ctx, keys, commandChange, "", d.change) })
	work.Go(func() { d.bus.Serve(ctx, keys, commandDrops, "", d.list) })
	work.Wait()
}

// add takes a drop that a human asks for.
func (d *decider) add(_, name string, body []byte) [][]byte {
	var ask decideRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		return reply(&decisionsReply{Error: err.Error()})
	}
	if ask.Op != opAdd || ask.Drop == nil {
		return reply(&decisionsReply{Error: fmt.Sprintf("%q is no operation of decide, or has no drop", ask.Op)})
	}
	ask.Drop.By = signedBy(ask.By, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.policy.Add(*ask.Drop, now())
	d.tell(out)
	return reply(decisionsOf(out))
}

// change removes or approves a drop, or begins or ends a panic.
func (d *decider) change(_, name string, body []byte) [][]byte {
	var ask changeRequest
	if err := json.Unmarshal(body, &ask); err != nil {
		return reply(&decisionsReply{Error: err.Error()})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	ask.By = signedBy(ask.By, name)
	wanted := d.policy.Drop(ask.ID)
	if ask.ID == "" {
		wanted = d.policy.Wanted(ask.Key)
	}
	var out []policy.Decision
	switch {
	case ask.Op == opPanic && ask.Panic != nil, ask.Op == opResume && ask.Panic != nil:
		d.hold(ask.Panic)
		return reply(decisionsOf(nil))
	case ask.Op != opRemove && ask.Op != opApprove:
		return reply(&decisionsReply{Error: fmt.Sprintf("%q is no operation of change, or lacks what it is about", ask.Op)})
	case wanted == nil:
		return reply(&decisionsReply{Decisions: []decision{}})
	case ask.Op == opRemove:
		out = d.policy.Remove(wanted.ID, ask.By, ask.Reason, now())
	default:
		out = d.policy.Approve(wanted.ID, ask.By, now())
	}
	d.tell(out)
	return reply(decisionsOf(out))
}

// signedBy is who asks, as far as that can be known: what they call themselves, and of another machine the name under which its key is
// trusted here.
func signedBy(by, name string) string {
	if name == "own" {
		return by
	}
	return fmt.Sprintf("%s, by the key of %s", shorten(by, 40), name)
}

// reply is an answer of one part.
func reply(r *decisionsReply) [][]byte {
	text, err := marshal(r)
	if err != nil {
		text = fmt.Appendf(nil, `{"error":%q}`, err)
	}
	return [][]byte{text}
}

// list tells all that is wanted, or waits for approval.
func (d *decider) list(_, _ string, _ []byte) [][]byte {
	d.mu.Lock()
	all := d.policy.Drops()
	d.mu.Unlock()
	parts, err := replyParts(all)
	if err != nil {
		d.seldom.Error("drops cannot be listed", "error", err)
	}
	return parts
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
