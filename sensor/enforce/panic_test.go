package enforce

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"weir/sensor/policy"
)

// TestPanicFileShared is about a file for several enforcers: what the bus tells one, the others read, and nothing older takes the place
// of what the command line wrote.
func TestPanicFileShared(t *testing.T) {
	file := filepath.Join(t.TempDir(), "panic")
	shared := func(o *Options) { o.Dir, o.Panic = t.TempDir(), file }
	a, b := newDesk(t, shared), newDesk(t, shared)
	b.drops(drop("10.8.0.3", time.Hour))
	tell := func(d *desk, p Panic) {
		p.Schema, p.By = PanicSchema, "alice"
		body, err := appendLine(nil, &p)
		if err != nil {
			t.Fatal(err)
		}
		d.take(Instruction{Key: PanicKey, Body: body})
	}
	first := generation()
	tell(a, Panic{Held: true, Generation: first})
	if b.step(b.look) {
		b.step(b.reconcile)
	}
	if s := b.Status(); s.Held == nil || s.Held.Generation != first || s.Enforced != 0 {
		t.Fatalf("the other enforcer does not hold: %+v", s)
	}
	resumed := Panic{By: "bob", Generation: first + 10}
	if err := WritePanic(file, resumed); err != nil {
		t.Fatal(err)
	}
	tell(a, Panic{Held: true, Generation: first + 5}) // late
	if p, err := Panicked(file); err != nil || p.Held || p.Generation != resumed.Generation {
		t.Errorf("the file holds %+v, %v", p, err)
	}
	if a.step(a.look); a.Status().Held != nil {
		t.Error("what is newer does not count")
	}
}

// TestWrong lists what is on the bus and not believed, as long as it is there.
func TestWrong(t *testing.T) {
	d := newDesk(t, nil)
	one, two := drop("10.8.0.2", time.Hour), drop("10.8.0.3", time.Hour)
	removed := changed(one, func(p *policy.Drop) { p.State = policy.Removed })
	wrong := func() (list []string) {
		d.Wrong(func(key, guard string) { list = append(list, key+" "+guard) })
		slices.Sort(list)
		return list
	}
	read := func(in ...Instruction) {
		d.Begin()
		d.Take(in)
		d.Whole()
		d.step(d.apply)
	}
	read(instruct(t, one))
	read(instruct(t, removed))
	replay, forged := instruct(t, one), Instruction{Key: "address.10.8.0.9", Guard: "forged", Err: errFake}
	want := []string{"address.10.8.0.2 replayed", "address.10.8.0.9 forged"}
	for range 3 {
		read(replay, forged, instruct(t, two))
		if got := wrong(); !slices.Equal(got, want) {
			t.Fatalf("%q, want %q", got, want)
		}
		d.Begin()
		d.step(d.apply)
		if got := wrong(); !slices.Equal(got, want) {
			t.Fatalf("while it is read again: %q, want %q", got, want)
		}
	}
	read(Instruction{Key: "address.10.8.0.2", Deleted: true}, instruct(t, two))
	if got := wrong(); len(got) > 0 {
		t.Errorf("%q, and all of it is gone", got)
	}
}
