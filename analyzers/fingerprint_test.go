package analyzers

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/analyzers/fingerprint"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// toolLabel is the label with a name; the table's ids are its own business.
func toolLabel(t *testing.T, name string) uint16 {
	t.Helper()
	for id := uint16(1); fingerprint.Label(id).Kind != fingerprint.KindNone; id++ {
		if fingerprint.Label(id).Name == name {
			return id
		}
	}
	t.Fatalf("no label %q", name)
	return 0
}

// toolEpoch is a tick with some sources.
func toolEpoch(tick int64, sources ...tally.Source) *tally.Epoch {
	e := &tally.Epoch{Tick: worldStart/tally.Tick + tick, SketchKey: 7}
	for _, s := range sources {
		s.First, s.Last = e.Start()+1, e.End()-1
		e.Sources = append(e.Sources, s)
	}
	slices.SortFunc(e.Sources, func(a, b tally.Source) int {
		if a.Addr.Less(b.Addr) {
			return -1
		}
		return 1
	})
	return e
}

// prober is a source that sent n SYNs with a print to that many new targets.
func prober(addr string, tool uint16, attempts, targets uint32) tally.Source {
	a := netip.MustParseAddr(addr)
	ver := uint8(4)
	if a.Is6() {
		ver = 6
	}
	return tally.Source{Addr: decode.AddrFrom(a), Ver: ver, Tool: tool, ToolHits: attempts, Opened: targets}
}

func marked(addr string, marks conn.Marks, hits, opened uint32) tally.Source {
	s := prober(addr, 0, 0, opened)
	s.Marks, s.MarkHits = marks, hits
	return s
}

func judgeTools(a *Fingerprint, epochs ...*tally.Epoch) (out []Finding) {
	for _, e := range epochs {
		a.Judge(e, func(f *Finding) {
			c := *f
			c.Why = slices.Clone(f.Why)
			out = append(out, c)
		})
	}
	return out
}

func TestToolPrint(t *testing.T) {
	nmap, linux := toolLabel(t, "nmap"), toolLabel(t, "linux")
	cases := []struct {
		name  string
		in    tally.Source
		score int // 0: no finding
	}{
		{"one SYN", prober("198.51.100.23", nmap, 1, 1), 0},
		{"one target twice", prober("198.51.100.23", nmap, 2, 1), 30},
		{"two targets", prober("198.51.100.23", nmap, 2, 2), 35},
		{"fifteen targets are low", prober("198.51.100.23", nmap, 15, 15), 49},
		{"sixteen targets are medium", prober("198.51.100.23", nmap, 16, 16), 50},
		{"many more contacts than prints", prober("198.51.100.23", nmap, 2, 1000), 35},
		{"a thousand targets", prober("2001:db8::1", nmap, 1000, 1000), 79},
		{"the kernel's print", prober("198.51.100.23", linux, 1000, 1000), 0},
		{"a label of a newer sensor", prober("198.51.100.23", 60000, 1000, 1000), 0},
		{"two marks", marked("198.51.100.23", conn.MarkZMap, 2, 2), 0},
		{"three marks", marked("198.51.100.23", conn.MarkZMap, 3, 3), 37},
		{"three marks among six", marked("198.51.100.23", conn.MarkZMap, 3, 6), 37},
		{"three marks among seven", marked("198.51.100.23", conn.MarkZMap, 3, 7), 0},
		{"marks by chance", marked("198.51.100.23", conn.MarkMasscan|conn.MarkZMap, 30, 900000), 0},
	}
	for _, c := range cases {
		got := judgeTools(NewFingerprint(DefaultFingerprint(), NewSite(nil, nil)), toolEpoch(0, c.in))
		if c.score == 0 {
			if len(got) != 0 {
				t.Errorf("%s: %+v", c.name, got[0])
			}
			continue
		}
		if len(got) != 1 || got[0].Score != c.score || got[0].MaxScore != 60 || got[0].Kind != "tool" || got[0].Analyzer != "fingerprint" {
			t.Errorf("%s: %+v", c.name, got)
			continue
		}
		f := got[0]
		if want := c.in.Addr.Netip(c.in.Ver); f.Subject.Prefix.Addr() != want || f.Subject.Prefix.Bits() != want.BitLen() || f.Subject.ReturnPath {
			t.Errorf("%s: subject %+v", c.name, f.Subject)
		}
		if f.Count != uint64(max(c.in.ToolHits, c.in.MarkHits)) || !f.Total || f.First != toolEpoch(0).Start()+1 || f.Last != toolEpoch(0).End()-1 {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

func TestToolIsNamed(t *testing.T) {
	nmap, system := toolLabel(t, "nmap"), toolLabel(t, "nmap-os")
	a := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	got := judgeTools(a,
		toolEpoch(0, marked("198.51.100.23", conn.MarkMirai|conn.MarkZMap, 3, 3)),
		toolEpoch(10, prober("198.51.100.23", nmap, 2, 2)),
		toolEpoch(20, prober("198.51.100.23", system, 1, 1)),
		toolEpoch(30, prober("198.51.100.23", nmap, 1, 1)))
	want := []string{"mirai", "nmap writes", "nmap-os", "nmap-os"}
	if len(got) != len(want) {
		t.Fatalf("%d findings", len(got))
	}
	for i, f := range got {
		if !strings.Contains(f.Summary, want[i]) || !strings.HasPrefix(f.Summary, "198.51.100.23 ") {
			t.Errorf("%q instead of %q", f.Summary, want[i])
		}
	}
	if last := got[3]; last.Why[0].Name != "print_attempts" || last.Why[0].Value != 4 || last.Why[0].Threshold != 2 {
		t.Errorf("%+v", last.Why)
	}
}

// Evidence adds up over ticks, repeats come once a second at most, and what is idle for longer than Keep is forgotten.
func TestToolOverTime(t *testing.T) {
	masscan := toolLabel(t, "masscan")
	one := prober("198.51.100.23", masscan, 1, 1)
	a := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	var ticks []int64
	for tick := int64(0); tick < 40; tick += 2 {
		for range judgeTools(a, toolEpoch(tick, one)) {
			ticks = append(ticks, tick)
		}
	}
	if !slices.Equal(ticks, []int64{2, 12, 22, 30}) { // 30: the sixteenth contact, medium
		t.Errorf("found in ticks %v", ticks)
	}
	late := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	got := judgeTools(late,
		toolEpoch(0, prober("198.51.100.23", masscan, 2, 2)),
		toolEpoch(1, prober("198.51.100.23", masscan, 2, 2)),   // too soon
		toolEpoch(2, prober("198.51.100.23", masscan, 30, 30)), // the severity rises
		toolEpoch(3, prober("198.51.100.23", masscan, 6, 6)),
		toolEpoch(11), toolEpoch(12), toolEpoch(13), toolEpoch(30))
	var counts []uint64
	for _, f := range got {
		counts = append(counts, f.Count)
	}
	if !slices.Equal(counts, []uint64{2, 34, 40}) || got[2].Time != toolEpoch(12).End() {
		t.Errorf("counts %v", counts)
	}
	hour := int64(time.Hour) / tally.Tick
	slow := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	if got := judgeTools(slow, toolEpoch(0, one), toolEpoch(hour-1, one)); len(got) != 1 {
		t.Errorf("within the hour: %d findings", len(got))
	}
	gone := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	if got := judgeTools(gone, toolEpoch(0, one), toolEpoch(hour+1, one)); len(got) != 0 {
		t.Errorf("after the hour: %d findings", len(got))
	}
}

// Contacts without a mark count from the first mark on, in ticks that show no tool, too.
func TestToolShareOverTime(t *testing.T) {
	a := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	got := judgeTools(a,
		toolEpoch(0, marked("198.51.100.23", conn.MarkZMap, 2, 2)),
		toolEpoch(1, prober("198.51.100.23", 0, 0, 100)),
		toolEpoch(2, marked("198.51.100.23", conn.MarkZMap, 40, 40)))
	if len(got) != 0 {
		t.Errorf("42 of 142: %+v", got)
	}
	if got = judgeTools(a, toolEpoch(3, marked("198.51.100.23", conn.MarkZMap, 60, 60))); len(got) != 1 {
		t.Errorf("102 of 202: %d findings", len(got))
	}
}

// address numbers addresses of 10.0.0.0/8.
func address(n int) string {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()
}

// Spoofed floods: many sources in each tick are a crowd; a trickle of them names a handful.
func TestToolFlood(t *testing.T) {
	hping := toolLabel(t, "hping3")
	for _, perTick := range []int{1, 8, 9, 500} {
		a := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
		subjects := map[netip.Prefix]bool{}
		for tick := range int64(600) {
			var in []tally.Source
			for i := range perTick {
				in = append(in, prober(address((int(tick)*perTick+i)%200), hping, 3, 3))
			}
			for _, f := range judgeTools(a, toolEpoch(tick, in...)) {
				subjects[f.Subject.Prefix] = true
			}
		}
		want := 0
		if perTick <= 8 {
			want = 8
		}
		if len(subjects) != want {
			t.Errorf("%d sources a tick: %d named, want %d", perTick, len(subjects), want)
		}
		if perTick > 8 && a.Stats.Crowded != uint64(600*perTick) || perTick <= 8 && a.Stats.Held == 0 {
			t.Errorf("%d sources a tick: %+v", perTick, a.Stats)
		}
	}
}

// When those named are quiet there is room again; another tool has room of its own.
func TestToolRoom(t *testing.T) {
	nmap, zmap := toolLabel(t, "nmap"), toolLabel(t, "zmap")
	a := NewFingerprint(DefaultFingerprint(), NewSite(nil, nil))
	for i := range 8 {
		if len(judgeTools(a, toolEpoch(int64(i), prober(address(i), nmap, 5, 5)))) != 1 {
			t.Fatalf("source %d is not named", i)
		}
	}
	if got := judgeTools(a, toolEpoch(8, prober(address(8), nmap, 5, 5))); len(got) != 0 {
		t.Error("a ninth of one tool is named")
	}
	if got := judgeTools(a, toolEpoch(9, prober(address(9), zmap, 5, 5))); len(got) != 1 {
		t.Error("another tool has no room")
	}
	if got := judgeTools(a, toolEpoch(3100, prober(address(8), nmap, 5, 5))); len(got) != 1 {
		t.Error("no room after quiet")
	}
}

// The full table keeps those with the most evidence.
func TestToolTableFull(t *testing.T) {
	cfg := DefaultFingerprint()
	cfg.Sources, cfg.Attempts = 64, 100
	nmap := toolLabel(t, "nmap")
	a := NewFingerprint(cfg, NewSite(nil, nil))
	judgeTools(a, toolEpoch(0, prober("198.51.100.23", nmap, 90, 90)))
	for tick := range int64(5000) {
		judgeTools(a, toolEpoch(tick+1, prober(address(int(tick)), nmap, 1, 1)))
	}
	if a.Stats.Evicted < 4000 {
		t.Errorf("%d evicted", a.Stats.Evicted)
	}
	if got := judgeTools(a, toolEpoch(6000, prober("198.51.100.23", nmap, 10, 10))); len(got) != 1 {
		t.Error("the source with the most evidence went")
	}
}

func TestFingerprintCheck(t *testing.T) {
	good := DefaultFingerprint()
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*FingerprintConfig){
		"attempts": func(c *FingerprintConfig) { c.Attempts = 0 },
		"contacts": func(c *FingerprintConfig) { c.Contacts = 0 },
		"keep":     func(c *FingerprintConfig) { c.Keep = time.Minute },
		"quiet":    func(c *FingerprintConfig) { c.Quiet = 0 },
		"crowd":    func(c *FingerprintConfig) { c.Crowd = 0 },
		"named":    func(c *FingerprintConfig) { c.Named = 1000 },
		"sources":  func(c *FingerprintConfig) { c.Sources = 7 },
	} {
		c := DefaultFingerprint()
		if spoil(&c); c.Check() == nil {
			t.Errorf("%s is not checked", name)
		}
	}
}

// TestToolLoss loses a third of the packets before a tool shows itself.
func TestToolLoss(t *testing.T) {
	lossy := toolEpoch(0)
	lossy.Link.Packets, lossy.Link.Loss[tally.LossKernel] = 20, 10
	found := judgeTools(NewFingerprint(DefaultFingerprint(), NewSite(nil, nil)), lossy, toolEpoch(1, prober("192.0.2.1", toolLabel(t, "nmap"), 5, 5)))
	if len(found) != 1 || found[0].Confidence != 66 {
		t.Errorf("%+v, want one finding with confidence 66", found)
	}
}
