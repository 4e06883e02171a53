package main

import (
	"io"
	"testing"
	"time"

	"weir/sensor/bus"
	"weir/sensor/enforce"
)

// TestPanicAfterAnother: gates follow the newest panic, or end of one; so what an operator says now must be newer than all they know,
// even if that was made by a clock an hour ahead.
func TestPanicAfterAnother(t *testing.T) {
	ahead := uint64(time.Now().Add(time.Hour).UnixMicro())
	h := &holding{
		bansReach: &bansReach{State: t.TempDir()}, std: &streams{err: io.Discard}, settings: defaults(),
		panic: enforce.Panic{Schema: enforce.PanicSchema, By: "a", Generation: uint64(time.Now().UnixMicro())},
	}
	file := func() uint64 {
		p, err := enforce.Panicked(panicFile(h.State))
		if err != nil || p == nil {
			t.Fatal(p, err)
		}
		return p.Generation
	}
	h.write()
	if got := file(); got != h.panic.Generation || got > ahead {
		t.Errorf("generation %d", got)
	}
	if err := enforce.WritePanic(panicFile(h.State), enforce.Panic{Held: true, By: "b", Generation: ahead}); err != nil {
		t.Fatal(err)
	}
	h.write()
	if got := file(); got != ahead+1 {
		t.Errorf("after a file: generation %d, want %d", got, ahead+1)
	}

	s := newDeciders(t, 0)
	site := &siteClient{}
	body, err := marshal(enforce.Panic{Schema: enforce.PanicSchema, Held: true, By: "b", Generation: ahead + 100})
	if err == nil {
		err = s.state.Put(t.Context(), enforce.PanicKey, body)
	}
	if err != nil {
		t.Fatal(err)
	}
	keys, err := bus.OpenKeys(s.dir+"/keys", false)
	if err != nil {
		t.Fatal(err)
	}
	if site.Client, err = bus.Dial(t.Context(), h.settings.NATS, "site", s.dir, "weir", keys); err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	if err := h.look(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	if got := file(); got != ahead+101 || h.panic.Generation != got {
		t.Errorf("after the bucket: generation %d, in the file %d, want %d", h.panic.Generation, got, ahead+101)
	}
}
