package enforce

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"weir/sensor/policy"
)

// Options of an Enforcer.
type Options struct {
	Config    Config
	Table     Table // its own; closed by who opened it, after Run has returned
	Guards    *policy.Guards
	Never     []netip.Prefix // sources from which the kernel drops nothing, whatever the entries say
	Caps      Caps
	Fresh     time.Duration // a last whole read older than this makes Status.Stale; 0: two minutes
	Dir       string        // state folder: known.json, panic. "": nothing outlives the process
	Host      string        // of receipts
	Interface string
	Report    func(Receipt)    // called from Run's goroutine; it must not block. May be nil
	Log       *slog.Logger     // nil: slog.Default()
	Now       func() time.Time // nil: time.Now
}

// Caps bound what one enforcer takes from the bus, whoever signed it.
type Caps struct {
	Drops     int // enforced at once
	PerSecond int // new ones; ten seconds' worth at once. The state file and the first whole read are exempt
}

// Instruction is what the bus says of a key, after its signature was checked.
type Instruction struct {
	Key     string
	Body    []byte // a policy.Drop or, of PanicKey, a Panic. The enforcer's from then on
	Err     error  // why Body is not to be believed
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

// Enforcer keeps a Table at what is wanted.
type Enforcer struct {
	mu sync.Mutex
}

// New returns an Enforcer that knows what its state file tells. Nothing is done before Run.
func New(o Options) (*Enforcer, error) { return &Enforcer{}, nil }

// Take takes changes as they come. They are applied within milliseconds. It waits while too many are not yet applied.
func (e *Enforcer) Take(in []Instruction) {}

// Begin and Whole are the brackets of a whole read of the bus: what Take was not given between them is missing there.
func (e *Enforcer) Begin() {}

// Whole ends what Begin began.
func (e *Enforcer) Whole() {}

// Guard goes on with other guards and another never-list. What they forbid leaves the kernel.
func (e *Enforcer) Guard(g *policy.Guards, never []netip.Prefix) {}

// Hold clears the kernel and holds: see Panic.
func (e *Enforcer) Hold(p Panic) {}

// Release lets drops newer than the panic in.
func (e *Enforcer) Release(p Panic) {}

// Run works until ctx ends. It is the one goroutine that touches the Table.
func (e *Enforcer) Run(ctx context.Context) error { return nil }

// Status tells how it stands. Any goroutine.
func (e *Enforcer) Status() Status { return Status{} }

// List shows all that is known, in no order. Any goroutine; each may call the Enforcer, and must not change the drops.
func (e *Enforcer) List(each func(*policy.Drop, State)) {}

// Hits are all drops that were met since the call before. Any goroutine, one caller.
func (e *Enforcer) Hits() []Hit { return nil }
