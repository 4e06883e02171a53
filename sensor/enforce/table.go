package enforce

import (
	"net/netip"

	"weir/sensor/policy"
)

// Table is a place of the kernel where drops are in force: the XDP gate (or its tcx mode), or nftables. An Enforcer calls it from one
// goroutine; Samples and Totals may be read beside.
type Table interface {
	// Name is what receipts and metrics call it: xdp, tcx or nftables.
	Name() string

	// Put puts drops in force, or changes those of the same key, whose hits go on. It tells by key which are not in force now,
	// and why; an empty map: all are.
	Put(drops []*policy.Drop) map[string]error

	// Delete ends drops by their keys. Those that are not there are no error.
	Delete(keys []string) error

	// Read walks all that the kernel holds, whoever put it there, expired entries too.
	Read(each func(Held)) error

	// Never replaces the list of sources from which nothing is dropped, whatever the entries say.
	Never(prefixes []netip.Prefix) error

	// Clear ends all drops, whoever put them there. It is what a panic does: as fast as can be.
	Clear() error

	// Mend looks whether the table still judges the interface's traffic, and makes it do so again where it does not (the interface
	// was deleted and is back, somebody took the program off). Anew: the never-list is to be put again; of entries Read tells.
	Mend() (anew bool, err error)

	// Totals are the frames that the table judged, by what became of them.
	Totals() ([]Total, error)

	// Counts is how many entries there are, and how many may be, by kind.
	Counts() []Count

	Close() error // what survives by Config.Survive stays in force
}

// Entry is what the kernel holds of a drop: what can be read back and compared. Times are seconds since the Unix epoch.
type Entry struct {
	Key    string        // policy.Drop.Key
	Action policy.Action // what is done, or would be in the shadow
	Shadow bool          // counted only
	Rate   uint32        // of limits
	Canary int64         // 0: none
	Until  int64
}

// EntryOf is what the kernel is to hold of a drop.
func EntryOf(d *policy.Drop) Entry {
	return Entry{d.Key(), d.Effect(), d.Action == policy.Shadow, d.Rate, d.Canary, d.Until}
}

// is reports whether the kernel does what is wanted. Its clock is not ours: a second is no difference, and neither is a canary
// that is over.
func (e Entry) is(have Entry, now int64) bool {
	if e.Canary <= now+1 && have.Canary <= now+1 {
		e.Canary, have.Canary = 0, 0
	}
	near := func(a, b int64) bool { return a-b <= 1 && b-a <= 1 }
	return e.Key == have.Key && e.Action == have.Action && e.Shadow == have.Shadow && e.Rate == have.Rate &&
		near(e.Canary, have.Canary) && near(e.Until, have.Until)
}

// Held is an entry of the kernel, with what met it since it was put there.
type Held struct {
	Entry
	Packets uint64
	Bytes   uint64
	Last    int64 // unix ns; 0: nothing yet
}

// Total counts the frames that had one verdict for one reason.
type Total struct {
	Verdict string // pass, shadow, limit, drop
	Reason  string // none, not_ip, malformed, never, peer, host, prefix, service, signature
	Packets uint64
	Bytes   uint64
	Lost    uint64 // samples that nobody read in time
}

// Count is how full a kind of entries is.
type Count struct {
	Kind        string // hosts4, hosts6, prefixes4, prefixes6, services, signatures
	Used, Limit int
}
