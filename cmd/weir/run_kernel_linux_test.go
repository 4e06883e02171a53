package main

import (
	"encoding/binary"
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel has is read with bpftool, from the program at the interface on: whether a weir runs or not.

// Of struct signatures in bpf/gate.bpf.c: where the first signature stands, how long one is, and where in it its entry.
const (
	signaturesAt   = 8
	signatureBytes = 144
	entryAt        = 112
)

// inForce counts the drops of a scope that the kernel enforces and that have not ended.
func (c *cable) inForce(t *testing.T, scope string) (n int) {
	t.Helper()
	scope, _, _ = strings.Cut(scope, ".")
	values := c.gateMap(t, map[string]string{"address": "hosts4", "service": "services", "signature": "signed_by"}[scope])
	if scope == "signature" { // of a map of maps, in whose one slot stands the list in force
		values = mapValues(t, int(binary.NativeEndian.Uint32(values[0])))
		list := values[0]
		values = nil
		for i := range int(binary.NativeEndian.Uint32(list)) {
			values = append(values, list[signaturesAt+i*signatureBytes+entryAt:])
		}
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if int64(binary.NativeEndian.Uint64(v)) > now.Nano() {
			n++
		}
	}
	return n
}

// gateMap is what a map of the program at the far end's interface has.
func (c *cable) gateMap(t *testing.T, name string) [][]byte {
	t.Helper()
	var program struct {
		Maps []int `json:"map_ids"`
	}
	askBpftool(t, &program, "prog", "show", "id", c.program(t))
	for _, id := range program.Maps {
		var one struct{ Name string }
		if askBpftool(t, &one, "map", "show", "id", strconv.Itoa(id)); one.Name == name {
			return mapValues(t, id)
		}
	}
	t.Fatalf("the program at the interface has no map %s", name)
	return nil
}

func mapValues(t *testing.T, id int) (values [][]byte) {
	t.Helper()
	var all []struct{ Value []string }
	askBpftool(t, &all, "map", "dump", "id", strconv.Itoa(id))
	for _, one := range all {
		values = append(values, unhex(t, one.Value))
	}
	return values
}

func askBpftool(t *testing.T, answer any, args ...string) {
	t.Helper()
	out, err := exec.Command("bpftool", append([]string{"-j"}, args...)...).CombinedOutput()
	if err == nil {
		err = json.Unmarshal(out, answer)
	}
	if err != nil {
		t.Fatalf("bpftool %q: %v: %s", args, err, out)
	}
}
