package enforce

import (
	"errors"
	"net/netip"

	"weir/sensor/policy"
)

// fakeTable is a kernel in a map, which fails when told to.
type fakeTable struct {
	held                      map[string]Held
	never                     []netip.Prefix
	room                      int
	badPut, badDelete, badAll bool
	off                       bool // detached, and cannot be mended
	cleared, puts             int
}

var errFake = errors.New("the fake kernel says no")

func newFake() *fakeTable { return &fakeTable{held: map[string]Held{}, room: 1 << 20} }

func (f *fakeTable) Name() string { return "fake" }

func (f *fakeTable) Put(drops []*policy.Drop) map[string]error {
	failed := map[string]error{}
	for _, d := range drops {
		old, there := f.held[d.Key()]
		if f.badPut || f.badAll || !there && len(f.held) >= f.room {
			failed[d.Key()] = errFake
			continue
		}
		f.puts++
		old.Entry = EntryOf(d)
		f.held[d.Key()] = old
	}
	return failed
}

func (f *fakeTable) Delete(keys []string) error {
	if f.badDelete || f.badAll {
		return errFake
	}
	for _, k := range keys {
		delete(f.held, k)
	}
	return nil
}

func (f *fakeTable) Read(each func(Held)) error {
	if f.badAll {
		return errFake
	}
	for _, h := range f.held {
		each(h)
	}
	return nil
}

func (f *fakeTable) Never(p []netip.Prefix) error {
	if f.badAll {
		return errFake
	}
	f.never = p
	return nil
}

func (f *fakeTable) Clear() error {
	if f.badAll {
		return errFake
	}
	f.cleared++
	clear(f.held)
	return nil
}

func (f *fakeTable) Mend() (bool, error) {
	if f.off {
		return false, errFake
	}
	return false, nil
}

func (f *fakeTable) Totals() ([]Total, error) { return []Total{{Verdict: "pass", Reason: "none"}}, nil }
func (f *fakeTable) Counts() []Count          { return []Count{{"hosts4", len(f.held), f.room}} }
func (f *fakeTable) Close() error             { return nil }
