package slab

import (
	"testing"
	"unsafe"
)

type entry struct {
	a uint64
	b uint16
}

// TestCarve fills tables of odd sizes to their ends: they are zero, aligned, and do not overlap.
func TestCarve(t *testing.T) {
	var m Slab
	if Carve[entry](&m, 7) != nil || Carve[byte](&m, 65) != nil || Carve[entry](&m, 1000) != nil {
		t.Fatal("a zero slab gave memory out")
	}
	mapped, err := Map(m.Size())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Slab{"mapped": mapped, "heap": Heap(m.Size())} {
		a, b, c := Carve[entry](s, 7), Carve[byte](s, 65), Carve[entry](s, 1000)
		for _, p := range []unsafe.Pointer{unsafe.Pointer(&a[0]), unsafe.Pointer(&b[0]), unsafe.Pointer(&c[0])} {
			if uintptr(p)%line != 0 {
				t.Errorf("%s: a table at %p", name, p)
			}
		}
		for i := range a {
			a[i].b = 1
		}
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("%s: byte %d is %d", name, i, b[i])
			}
			b[i] = 2
		}
		for i := range c {
			if c[i] != (entry{}) {
				t.Fatalf("%s: entry %d is %v", name, i, c[i])
			}
			c[i].a = 3
		}
		for i := range a {
			if a[i] != (entry{0, 1}) {
				t.Fatalf("%s: entry %d is %v", name, i, a[i])
			}
		}
		if s.Size() != m.Size() {
			t.Errorf("%s: carved %d bytes, measured %d", name, s.Size(), m.Size())
		}
		if err := s.Unmap(); err != nil {
			t.Error(err)
		}
	}
}

// TestSmall carves more than there is.
func TestSmall(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Carve[byte](Heap(64), 1000)
}
