package sensor

import (
	"encoding/binary"
	"testing"

	"weir/analyzers/tally"
)

// TestFullTables fills the tables of sources many times over within a tick, with SYNs that bear a tool's print: packets and
// contacts then compete for the same entries, and who wins must not depend on the number of workers.
func TestFullTables(t *testing.T) {
	const ip = 14 // Ethernet
	frames := made(t, "sources", 200_000)
	for i := range frames {
		f := &frames[i]
		f.Time = frames[0].Time + int64(i)*400
		if i%3 == 0 { // some come back after they lost their entry
			binary.BigEndian.PutUint32(f.Data[ip+12:], 0x0b000000|uint32(i%997))
		}
		binary.BigEndian.PutUint16(f.Data[ip+20+14:], 512) // hping3's window, of SYNs without options
	}
	out := same(t, frames)
	if n := out.sum.Link.Loss[tally.LossSources]; n < 10_000 {
		t.Errorf("%d sources lost their entries: the tables were not full", n)
	}
}
