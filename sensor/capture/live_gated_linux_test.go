package capture

import "testing"

// TestGated takes what our gate dropped off what the driver says it dropped, if the driver counts it at all.
func TestGated(t *testing.T) {
	var gate uint64
	k := newLink(&afPacket{cfg: LiveConfig{Gated: func(string) uint64 { return gate }}}, 0, "eth0")
	for _, look := range []struct {
		name            string
		gate            uint64 // in all
		dropped, remain uint64 // since the look before
	}{
		{"nothing", 0, 0, 0},
		{"loss without a gate", 0, 7, 7},
		{"a driver that counts the gate's drops", 100_000, 100_000, 0},
		{"the same, with loss", 200_000, 100_250, 250},
		{"the same, read a moment earlier", 300_000, 97_000, 0},
		{"a driver that does not count them", 400_000, 12, 12},
		{"a gate that began anew", 50, 50, 0},
	} {
		gate = look.gate
		if got := k.undropped(look.dropped); got != look.remain {
			t.Errorf("%s: %d dropped by the interface itself, want %d", look.name, got, look.remain)
		}
	}
	k.live.cfg.Gated = nil
	if got := k.undropped(5); got != 5 {
		t.Errorf("no gate: %d, want 5", got)
	}
}
