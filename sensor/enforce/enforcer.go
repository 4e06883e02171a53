package enforce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"weir/sensor/policy"
)

// Options of an Enforcer.
type Options struct {
	Config    Config
	Table     Table // closed by who opened it, after Run has returned
	Guards    *policy.Guards
	Rehearse  bool           // everything is only counted, whatever is asked for
	Never     []netip.Prefix // sources from which the kernel drops nothing, whatever the entries say
	Caps      Caps
	Fresh     time.Duration // a last whole read older than this is Status.Stale; 0: two minutes
	Dir       string        // state folder: known.json. "": nothing outlives the process
	Panic     string        // file of a panic, which others may share and write; "": panic in Dir, if there is one
	Host      string        // of receipts
	Interface string
	Report    func(Receipt)    // called from Run's goroutine; it must not block, and not call Take. May be nil
	Log       *slog.Logger     // nil: slog.Default()
	Now       func() time.Time // nil: time.Now
}

// Caps bound what one enforcer takes from the bus, whoever signed it.
type Caps struct {
	Drops     int // enforced at once; 0: 20,000
	PerSecond int // new ones, ten seconds' worth at once; the state file and the first whole read are exempt. 0: 100
}

// burst is how many seconds' worth of new drops may come at once.
const burst = 10

// Instruction is what the bus says of a key, after its signature was checked.
type Instruction struct {
	Key     string
	Body    []byte // a policy.Drop or, of PanicKey, a Panic. The Enforcer's from then on
	Err     error  // why Body is not to be believed…
	Guard   string // …as a guard's name: unsigned (also if ""), forged, untrusted
	Deleted bool   // by somebody who did not sign: a bare delete or purge
	Signer  string
}

// Sampler is a Table that shows some of what it dropped.
type Sampler interface {
	// Samples calls each with the beginning of dropped frames, from the Ethernet header on, until ctx ends. The frame is each's
	// only for the call; verdict is as in Total. One caller at a time.
	Samples(ctx context.Context, each func(frame []byte, wireLen int, at time.Time, verdict string)) error
}

// Peers is a Table that lets who completed a connection pass limits. AddPeers may be called from any goroutine.
type Peers interface {
	AddPeers(peers []netip.Addr) error
}

// recaller is a Table that wants to hear of all drops that were in force when an earlier process ended, before the first Read.
type recaller interface {
	Recall(drops []*policy.Drop)
}

// pinner is a Table that outlives the process by pins, which somebody may remove.
type pinner interface {
	Repin() (anew bool, err error)
}

// Enforcer keeps a Table at what is wanted. It knows of each key the highest generation that it ever saw, and reconciles: what the
// kernel holds is read, compared with what is wanted, and mended, each Config.Every (of large tables: 20 times as long as the walk
// takes). Changes are applied as they come in. Known keys are at most 2 * Caps.Drops + 4096, of some kB each: the tombstones that
// end first go first, then nothing new is taken.
//
// The methods are safe for concurrent use. Two locks: that of the inbox, which is held for moments; and mu, which is held while the
// kernel is read and written.
type Enforcer struct {
	o     Options
	inbox inbox

	mu      sync.Mutex
	records map[string]*record
	full    bool // of records that cannot be forgotten, as of the last reconcile

	rehearse bool
	guards   *policy.Guards
	asked    uint64 // of the guards: rises with each change of them
	never    []netip.Prefix
	neverSet bool // the kernel has it

	admitted int     // drops within the caps
	tokens   float64 // new drops that may come now
	filled   time.Time

	panic   *Panic // newest; nil: never any
	heard   Panic  // newest of the bus
	void    uint64 // drops of up to this generation are: that of the last panic
	cleared bool   // of a panic that is held: the kernel is

	reading  bool            // between Begin and Whole
	read     uint64          // whole reads begun
	walk     uint64          // reconciles
	adopting bool            // until the first whole read what an earlier process left stays: it may not have saved all that it knew
	unknown  map[string]bool // keys that it left, and nobody here knows
	begun    time.Time

	bad, badBefore map[string]complaint // of keys without a record, in this whole read and the one before

	hits   map[string]*Hit // by drop id: since the last call of Hits
	status Status
	errors map[string]string // by what failed
	muffle map[string]*muffled
	out    []Receipt // told after mu is free

	dirty     bool // the state file is older than what is known
	saving    bool
	saveAfter time.Time
	saver     sync.WaitGroup
}

// New returns an Enforcer that knows what its state folder tells. Nothing is done before Run.
func New(o Options) (*Enforcer, error) {
	if o.Table == nil || o.Guards == nil {
		return nil, errors.New("an enforcer needs a table and guards")
	}
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	o.Caps.Drops = orElse(o.Caps.Drops, 20_000)
	o.Caps.PerSecond = orElse(o.Caps.PerSecond, 100)
	o.Fresh = orElse(o.Fresh, 2*time.Minute)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Report == nil {
		o.Report = func(Receipt) {}
	}
	e := &Enforcer{
		o: o, records: map[string]*record{}, rehearse: o.Rehearse, guards: o.Guards, asked: 1, adopting: true, never: o.Never, begun: o.Now(), filled: o.Now(),
		tokens: float64(burst * o.Caps.PerSecond), bad: map[string]complaint{}, badBefore: map[string]complaint{}, hits: map[string]*Hit{},
		errors: map[string]string{}, muffle: map[string]*muffled{}, saveAfter: o.Now(),
	}
	if o.Panic == "" && o.Dir != "" {
		e.o.Panic = filepath.Join(o.Dir, PanicFile)
	}
	e.status = Status{Table: o.Table.Name(), Interface: o.Interface, Attached: true, Refusals: map[string]uint64{}}
	e.inbox.open(e.maxKnown())
	if err := e.load(); err != nil {
		return nil, err
	}
	return e, nil
}

func orElse[T int | time.Duration](v, other T) T {
	if v <= 0 {
		return other
	}
	return v
}

func (e *Enforcer) maxKnown() int { return 2*e.o.Caps.Drops + 4096 }

// Take takes changes as they come. They are applied within milliseconds. It waits while too many are not applied yet.
func (e *Enforcer) Take(in []Instruction) { e.inbox.put(event{in: in}) }

// Begin and Whole are the brackets of a whole read of the bus: what Take was not given between them is missing there. It is kept
// until its end, and told of.
func (e *Enforcer) Begin() { e.inbox.put(event{kind: begins}) }

// Whole ends what Begin began.
func (e *Enforcer) Whole() { e.inbox.put(event{kind: ends}) }

// Guard goes on with other guards and another never-list. What they forbid now leaves the kernel.
func (e *Enforcer) Guard(g *policy.Guards, never []netip.Prefix) {
	e.inbox.put(event{kind: guards, guards: g, never: never})
}

// Rehearse begins a rehearsal, in which everything is only counted and said to be so, or ends it.
func (e *Enforcer) Rehearse(on bool) { e.inbox.put(event{kind: rehearses, on: on}) }

// Hold clears the kernel, and nothing is enforced until a Release of a higher generation.
func (e *Enforcer) Hold(p Panic) {
	p.Held = true
	e.inbox.put(event{kind: panics, panic: p})
}

// Release lets drops in that are newer than it.
func (e *Enforcer) Release(p Panic) {
	p.Held = false
	e.inbox.put(event{kind: panics, panic: p})
}

// event is what the inbox holds.
type event struct {
	kind   kind
	in     []Instruction
	guards *policy.Guards
	never  []netip.Prefix
	panic  Panic
	on     bool
}

type kind uint8

const (
	changes kind = iota
	begins
	ends
	guards
	panics
	rehearses
)

// inbox is what was not looked at yet, in order. It holds at most max instructions.
type inbox struct {
	mu     sync.Mutex
	room   *sync.Cond
	list   []event
	n, max int
	closed bool
	wake   chan struct{}
}

func (b *inbox) open(most int) {
	b.room, b.max, b.wake = sync.NewCond(&b.mu), most, make(chan struct{}, 1)
}

func (b *inbox) put(v event) {
	b.mu.Lock()
	for b.n > 0 && b.n+len(v.in) > b.max && !b.closed {
		b.room.Wait()
	}
	if !b.closed {
		b.list = append(b.list, v)
		b.n += len(v.in) + 1
	}
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []event {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list, b.n = nil, 0
	b.room.Broadcast()
	return list
}

// close lets go of all who wait. What they bring is not taken.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}

// Run works until ctx ends. It is the one goroutine that touches the Table. What is in force then stays, as far as the Table survives.
func (e *Enforcer) Run(ctx context.Context) error {
	defer e.inbox.close()
	next := time.NewTimer(time.Hour)
	defer next.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	e.step(e.reconcile) // before anything is taken: what is in the kernel already is another's or an earlier process'
	next.Reset(e.pause())
	for {
		select {
		case <-ctx.Done():
			return e.finish()
		case <-e.inbox.wake:
			if e.step(e.apply) {
				next.Reset(0)
			}
		case <-second.C:
			if e.step(e.look) {
				next.Reset(0)
			}
		case <-next.C:
			e.step(e.reconcile)
			next.Reset(e.pause())
		}
	}
}

// step works under the lock, and tells receipts after. It returns what work returned: whether to reconcile at once.
func (e *Enforcer) step(work func(now time.Time) bool) bool {
	e.mu.Lock()
	again := work(e.o.Now())
	out := e.out
	e.out = nil
	e.mu.Unlock()
	for _, r := range out {
		e.o.Report(r)
	}
	return again
}

// pause until the next reconcile.
func (e *Enforcer) pause() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(e.o.Config.Every, 20*e.status.Took)
}

// look is done each second: the file of a panic, and the state file.
func (e *Enforcer) look(now time.Time) bool {
	again := e.lookForPanic(now)
	e.save(now)
	return again
}

// apply applies what came in.
func (e *Enforcer) apply(now time.Time) (again bool) {
	var changed []*record
	for _, v := range e.inbox.take() {
		switch v.kind {
		case changes:
			for i := range v.in {
				again = e.learn(&v.in[i], now, &changed) || again
			}
		case begins:
			e.beginRead()
		case ends:
			e.endRead(now)
		case guards:
			e.neverSet = e.neverSet && slices.Equal(e.never, v.never)
			e.guards, e.never = v.guards, v.never
			e.asked++
			again = true
		case rehearses:
			again = again || v.on != e.rehearse
			e.rehearse = v.on
			for _, r := range e.records {
				r.replace(r.drop, e.rehearse)
			}
		case panics:
			if v.panic.Generation == 0 || v.panic.Generation > maxGeneration {
				v.panic.Generation = uint64(now.UnixMicro())
			}
			again = e.panicked(&v.panic, true, now) || again
		}
	}
	e.enforce(changed, now)
	return again
}

// beginRead begins a whole read.
func (e *Enforcer) beginRead() {
	e.read++
	e.reading = true
	e.bad, e.badBefore = map[string]complaint{}, e.bad
}

// endRead looks what was not in the whole read. Tombstones may be: who wrote them collects them as garbage.
func (e *Enforcer) endRead(now time.Time) {
	if !e.reading {
		return
	}
	e.reading, e.adopting = false, false
	e.status.Whole = now
	missing := 0
	for _, r := range e.records {
		gone := r.seen != e.read && r.drop.State == policy.Requested && r.drop.Until > now.Unix() && r.stand != void
		if gone && !r.missing {
			missing++
		}
		r.missing = gone
	}
	if missing > 0 {
		e.warn("missing", now, "drops are not on the bus any more and were not removed: kept until their end", "drops", missing)
	}
}

// finish ends in order: what came in is applied, the state file is written.
func (e *Enforcer) finish() error {
	e.step(e.apply)
	e.saver.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.dirty || e.o.Dir == "" {
		return nil
	}
	if err := e.snapshot().write(e.knownPath()); err != nil {
		return fmt.Errorf("state of the enforcer: %w", err)
	}
	e.dirty = false
	return nil
}

func (e *Enforcer) knownPath() string { return filepath.Join(e.o.Dir, "known.json") }

// muffled is a warning that comes often.
type muffled struct {
	last time.Time
	more int
}

// warn logs at most one line a minute of a kind, with how many were left out.
func (e *Enforcer) warn(kind string, now time.Time, text string, args ...any) {
	m := e.muffle[kind]
	if m == nil {
		m = &muffled{}
		e.muffle[kind] = m
	}
	if since := now.Sub(m.last); since >= 0 && since < time.Minute {
		m.more++
		return
	}
	if m.more > 0 {
		args = append(args, "left_out", m.more)
	}
	*m = muffled{last: now}
	e.o.Log.Warn(text, append([]any{"interface", e.o.Interface, "table", e.status.Table}, args...)...)
}

// trouble notes an error of some work, or that there is none any more.
func (e *Enforcer) trouble(what string, now time.Time, err error) {
	if err == nil {
		delete(e.errors, what)
		return
	}
	e.status.Errors++
	e.errors[what] = err.Error()
	e.warn("error "+what, now, "enforcer: "+what, "error", err)
}
