package enforce

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weir/sensor/policy"
)

// Status is how an Enforcer stands. Wanted = Enforced + all of Refused + Failed.
type Status struct {
	Table     string `json:"table"` // xdp, tcx, nftables
	Interface string `json:"interface"`
	Attached  bool   `json:"attached"` // the table judges the interface's traffic

	Known    int            `json:"known"`    // keys whose generation is remembered, tombstones included
	Wanted   int            `json:"wanted"`   // drops that are asked for and have not ended
	Enforced int            `json:"enforced"` // those in force in the kernel, as last put or read
	Shadow   int            `json:"shadow"`   // of Enforced: counted only
	Refused  map[string]int `json:"refused"`  // of Wanted: held back now, by guard
	Failed   int            `json:"failed"`   // of Wanted: the kernel did not take them
	Pending  int            `json:"pending"`  // wait for approval
	Missing  int            `json:"missing"`  // in force, but not on the bus any more without having been removed

	Drift      Drift  `json:"drift"`       // what nobody asked for and the last reconcile that found any mended
	DriftTotal Drift  `json:"drift_total"` // all since the start
	Adopted    int    `json:"adopted"`     // entries of an earlier process that were found at the start and are wanted
	Alien      int    `json:"alien"`       // those that were found then and are not, as far as is known: removed after the first whole read
	Held       *Panic `json:"held,omitempty"`

	Reconciled time.Time     `json:"reconciled,omitzero"` // last
	Took       time.Duration `json:"took"`                // that one
	Stale      time.Time     `json:"stale,omitzero"`      // last whole read of the bus, or the start: zero while it is younger than Options.Fresh
	Whole      time.Time     `json:"whole,omitzero"`      // last whole read of the bus
	Saved      time.Time     `json:"saved,omitzero"`      // the state file

	Applied   uint64            `json:"applied"` // receipts, by state
	Expired   uint64            `json:"expired"`
	Removed   uint64            `json:"removed"`
	Refusals  map[string]uint64 `json:"refusals"`  // by guard, receipts or not
	Unasked   uint64            `json:"unasked"`   // drops whose hits were not told because nobody called Hits
	Forgotten uint64            `json:"forgotten"` // tombstones that had to go before their end

	Totals []Total `json:"totals"`
	Counts []Count `json:"counts"`

	Error  string `json:"error,omitempty"` // the last, while it lasts
	Errors uint64 `json:"errors"`
}

// Drift is by how many entries the kernel differed from what had been put there.
type Drift struct {
	Missing int       `json:"missing"`
	Foreign int       `json:"foreign"`
	Changed int       `json:"changed"`
	Time    time.Time `json:"time,omitzero"`
}

// Sum is all of it.
func (d Drift) Sum() int { return d.Missing + d.Foreign + d.Changed }

// State is how a drop stands at this enforcer.
type State struct {
	State   string    // applied, shadow, waiting (for its turn), refused, failed, pending, void (panic), expired, removed
	Guard   string    // of refused and void
	Error   string    // of refused and failed: the reason
	Packets uint64    // that met it
	Bytes   uint64    // of frames
	Last    int64     // unix ns, 0: nothing yet
	Since   time.Time // it is in force
	Missing bool      // it is not on the bus any more
}

// Hit is what met a drop since the call of Hits before.
type Hit struct {
	ID      string
	Alert   string // id
	Key     string
	Source  netip.Prefix    // invalid for the scopes service and signature
	Service *policy.Service // nil for the scopes address and prefix
	Action  policy.Action
	Packets uint64
	Bytes   uint64
	Last    int64 // unix ns
}

// Status tells how it stands. Any goroutine; it waits while the kernel is read or written, and walks all known keys.
func (e *Enforcer) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.status
	s.Known, s.Refused, s.Refusals = len(e.records), map[string]int{}, maps.Clone(s.Refusals)
	s.Totals, s.Counts = slices.Clone(s.Totals), slices.Clone(s.Counts)
	for _, r := range e.records {
		s.count(r)
	}
	if e.panic != nil && e.panic.Held {
		held := *e.panic
		s.Held = &held
	}
	if last := e.lastWhole(); e.o.Now().Sub(last) > e.o.Fresh {
		s.Stale = last
	}
	var texts []string
	for _, what := range slices.Sorted(maps.Keys(e.errors)) {
		texts = append(texts, what+": "+e.errors[what])
	}
	s.Error = strings.Join(texts, "; ")
	return s
}

func (e *Enforcer) lastWhole() time.Time {
	if e.status.Whole.IsZero() {
		return e.begun
	}
	return e.status.Whole
}

func (s *Status) count(r *record) {
	if r.wanted() {
		s.Wanted++
	}
	if r.missing && r.wanted() {
		s.Missing++
	}
	switch r.stand {
	case inForce:
		s.Enforced++
		if r.want.Shadow {
			s.Shadow++
		}
	case refused:
		s.Refused[r.guard]++
	case failed, waiting:
		s.Failed++
	case pending:
		s.Pending++
	}
}

// List shows all that is known, tombstones too, in no order. Any goroutine; each may call the Enforcer, and must not change the drops.
func (e *Enforcer) List(each func(*policy.Drop, State)) {
	e.mu.Lock()
	type item struct {
		drop  *policy.Drop
		state State
	}
	list := make([]item, 0, len(e.records))
	for _, r := range e.records {
		list = append(list, item{r.drop, r.state()})
	}
	e.mu.Unlock()
	for _, i := range list {
		each(i.drop, i.state)
	}
}

// Wrong shows what the bus says of keys and is not believed, by guard; of a key that was removed, or is in force otherwise, too. Any
// goroutine; each must not call the Enforcer.
func (e *Enforcer) Wrong(each func(key, guard string)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, c := range e.badBefore {
		if _, again := e.bad[key]; !again && e.reading && e.records[key] == nil {
			each(key, c.guard)
		}
	}
	for key, c := range e.bad {
		if e.records[key] == nil {
			each(key, c.guard)
		}
	}
	for key, r := range e.records {
		if r.wrong.guard != "" {
			each(key, r.wrong.guard)
		}
	}
}

func (r *record) state() State {
	s := State{State: standings[r.stand], Packets: r.packets, Bytes: r.bytes, Last: r.last, Since: r.since, Missing: r.missing && r.wanted()}
	switch r.stand {
	case inForce:
		if r.want.Shadow {
			s.State = "shadow"
		}
	case refused:
		s.Guard, s.Error = r.guard, r.why
	case failed:
		s.Error = r.why
	case void:
		s.Guard = "panic"
	case pending, removed:
		s.Guard = r.drop.Guard
	}
	return s
}

// Hits are all drops that were met since the call before, as far as the kernel was read meanwhile. Any goroutine, one caller.
func (e *Enforcer) Hits() []Hit {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]Hit, 0, len(e.hits))
	for _, h := range e.hits {
		list = append(list, *h)
	}
	clear(e.hits)
	return list
}
