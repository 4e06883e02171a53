package enforce

import (
	"os/exec"
	"testing"
	"time"
)

// TestOpenOtherMode holds that nothing drops on unseen when the mode changes: what survived of the mode before is taken off.
func TestOpenOtherMode(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("nft"); err != nil {
		leaveOut(t, "no nft")
	}
	for _, c := range []struct{ from, to Mode }{
		{ModeXDP, ModeNFTables}, {ModeTCX, ModeNFTables}, {ModeNFTables, ModeXDP}, {ModeNFTables, ModeTCX}, {ModeXDP, ModeTCX}, {ModeTCX, ModeXDP},
	} {
		t.Run(string(c.from)+" to "+string(c.to), func(t *testing.T) {
			t.Parallel()
			w := newWire(t)
			cfg := smallGate()
			cfg.Survive, cfg.Pins, cfg.Mode = true, bpffsDir(t), c.from
			a := w.start(t, cfg, nil)
			a.Take([]Instruction{instruct(t, drop("10.8.0.2", time.Hour))})
			a.enforced(t, 1)
			a.end()
			if w.reach(t, "10.8.0.2") {
				t.Fatal("the drop does not survive")
			}
			cfg.Mode = c.to
			a = w.start(t, cfg, nil)
			a.Begin()
			a.Whole()
			for try := 0; !w.reach(t, "10.8.0.2"); try++ { // 300 ms each
				if try == 20 {
					t.Fatal("a drop of the mode before is in force, and nobody knows of it")
				}
			}
			a.Take([]Instruction{instruct(t, drop("10.8.0.3", time.Hour))})
			a.enforced(t, 1)
			if w.reach(t, "10.8.0.3") {
				t.Error("the new mode does not drop")
			}
		})
	}
}
