package enforce

import (
	"bytes"
	"testing"
	"time"

	"weir/sensor/policy"
)

// FuzzKnown reads anything as a state file, and writes what it took for one to the same again.
func FuzzKnown(f *testing.F) {
	k := &known{head: knownHead{Schema: KnownSchema, Records: 1, Panic: &Panic{Schema: PanicSchema, Held: true, By: "x", Generation: 5}, Void: 5}}
	k.list = []savedState{{drop("10.8.0.2", time.Hour), 1 << 31, 0, 0}}
	b, err := k.bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte(`{"schema":"weir.known/1","records":0}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		head, list, err := parseKnown(b)
		if err != nil {
			return
		}
		k := &known{head: head}
		for _, r := range list {
			k.list = append(k.list, savedState{r.drop, r.keep, r.applied, r.void})
		}
		once, err := k.bytes()
		if err != nil {
			t.Fatal(err)
		}
		head2, list2, err := parseKnown(once)
		if err != nil || len(list2) != len(list) || head2.Void != head.Void {
			t.Fatalf("%v: %s", err, once)
		}
		for i := range list {
			list[i].drop, list2[i].drop = sameForm(t, list[i].drop), sameForm(t, list2[i].drop)
			if !same(list[i].drop, list2[i].drop) || list[i].keep != list2[i].keep {
				t.Fatalf("%+v became %+v", list[i], list2[i])
			}
		}
	})
}

// sameForm is a drop as it is read again.
func sameForm(t *testing.T, d *policy.Drop) *policy.Drop {
	b, err := d.AppendLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d, err = policy.ParseDrop(bytes.TrimSpace(b)); err != nil {
		t.Fatal(err)
	}
	return d
}

// FuzzPanic reads anything as a panic.
func FuzzPanic(f *testing.F) {
	f.Add([]byte(`{"schema":"weir.panic/1","held":true,"by":"alice","generation":1,"reason":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParsePanic(b); (p == nil) == (err == nil) {
			t.Errorf("%+v, %v", p, err)
		}
	})
}
