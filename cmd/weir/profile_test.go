package main

import (
	"strings"
	"testing"
)

// smallest is the memory that the small profile is for: 256 MB.
const smallest = 256_000_000

// TestProfileSmall: the small profile is a configuration that can be, that fits where it says it fits, and that the rest of a file
// goes over.
func TestProfileSmall(t *testing.T) {
	c := defaults()
	if err := c.parse([]byte("profile: small\nconnections: {connections: 16384}\n")); err != nil {
		t.Fatal(err)
	}
	if c.Connections.Conns != 16384 || c.Connections.HalfOpen == defaults().Connections.HalfOpen {
		t.Errorf("connections: %+v", c.Connections)
	}
	if err := c.parse([]byte("profile: small\n")); err != nil {
		t.Fatal(err)
	}
	if err := c.checkLive(1, 1); err != nil || c.MemoryMiB<<20 > smallest {
		t.Errorf("memory_mib is %d: %v", c.MemoryMiB, err)
	}
	if err := c.parse([]byte("profile: tiny\n")); err == nil || !strings.Contains(err.Error(), `profile is "tiny"`) {
		t.Errorf("tiny: %v", err)
	}
}
