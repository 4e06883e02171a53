package fingerprint

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
)

// Each print's text survives reading and writing, and nothing that fits it gets another label: no print hides another one,
// and above all no tool hides a system.
func TestPrintsStandApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pr := rapid.SampledFrom(prints).Draw(t, "print")
		p, err := parse(pr)
		if err != nil {
			t.Fatal(err)
		}
		s := p.like
		fill := func(open bool, set func()) {
			if open {
				set()
			}
		}
		fill(p.anyVer, func() { s.Ver = rapid.SampledFrom([]uint8{4, 6}).Draw(t, "ver") })
		fill(p.anyTTL, func() { s.TTL = rapid.SampledFrom([]uint8{32, 64, 128, 255}).Draw(t, "ttl") })
		fill(p.anyMSS, func() { s.MSS = rapid.SampledFrom([]uint16{0, 265, 536, 1400, 1460, 8960}).Draw(t, "mss") })
		fill(p.anyWindow, func() {
			s.Window = rapid.SampledFrom([]uint16{0, 1, 63, 512, 1024, 1480, 8192, 64240, 65535}).Draw(t, "window")
		})
		fill(p.anyScale, func() { s.WScale = rapid.Uint8Max(14).Draw(t, "scale") })
		fill(p.anyData, func() { s.Payload = rapid.Bool().Draw(t, "data") })
		s.Quirks |= p.optional & Quirks(rapid.Uint32().Draw(t, "quirks"))
		if got := Lookup(s); got != pr.label {
			t.Fatalf("%s, which fits %s of %s, is called %q", s, pr.raw, Label(pr.label).Name, Label(got).Name)
		}
		s.IPOpt += 4
		if Lookup(s) != labelNone {
			t.Fatalf("%s fits with IP options", s)
		}
		if s.IPOpt, s.EOLPad = 0, s.EOLPad+1; Lookup(s) != labelNone {
			t.Fatalf("%s fits with more padding", s)
		}
	})
}

func TestPrintsReadBack(t *testing.T) {
	for _, pr := range prints {
		if strings.Contains(pr.raw, "*") || strings.Contains(pr.raw, "?") {
			continue
		}
		if p, _ := parse(pr); p.like.String() != pr.raw {
			t.Errorf("%s reads back as %s", pr.raw, p.like)
		}
	}
	for _, bad := range []string{"", "4:64:0:0:1,0::", "4:64:0:0:x,0:::0", "4:64:0:0:1,0:foo::0", "4:64:0:0:1,0::foo:0", "4:64:*:0:1,0:::0", "4:64:0:0:1,0:?256::0"} {
		if _, err := parse(print{raw: bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// SYNs of recordings that are not in the tree, as p0f 3.09b wrote them, with the window as a number.
func TestLookup(t *testing.T) {
	for raw, want := range map[string]string{
		"4:64:0:1460:64240,10:mss,sok,ts,nop,ws:df,id+,ecn:0":         "linux", // tcp_ecn=1
		"6:64:0:1440:64800,10:mss,sok,ts,nop,ws:ecn,flow:0":           "linux",
		"6:64:0:8940:62580,10:mss,sok,ts,nop,ws:flow:0":               "linux", // MTU 9000
		"4:64:0:1460:64240,10:mss,sok,ts,nop,ws,?34,nop,nop:df,id+:0": "linux", // TCP Fast Open
		"4:64:0:1460:64240,10:mss,sok,ts,nop,ws,?30:df,id+:0":         "linux", // Multipath TCP
		"4:64:0:1460:2920,0:mss,sok,ts,nop,ws:df,id+:0":               "linux", // SO_RCVBUF of 2 KB
		"4:32:0:1460:5840,2:mss,sok,ts,nop,ws::0":                     "",      // traceroute -T
		"4:32:0:0:0,0:::0": "", // tcptraceroute
		"4:128:0:1460:8192,8:mss,nop,ws,nop,nop,sok:df,id+:0":          "", // Windows, of which we have none to run
		"4:64:0:1460:65535,6:mss,nop,ws,nop,nop,ts,sok,eol+1:df,ecn:0": "", // macOS
		"6:255:0:1460:1024,0:mss::0":                                   "nmap",
		"4:32:0:1460:1024,0:mss::0":                                    "nmap",
		"4:64:0:1460:1024,0:mss:df,id+:0":                              "", // nmap sets no DF
		"4:64:0:536:1024,0:mss::0":                                     "", // nor another MSS
		"6:64:0:1460:3,10:ws,nop,mss,sok,nop,nop:ecn,flow,uptr+:0":     "nmap-os",
		"4:255:0:0:1024,0:::0":                                         "masscan",
		"4:64:0:0:1024,0:::0":                                          "",
		"4:255:0:0:65535,0:::0":                                        "zmap",
		"4:64:0:0:512,0:::+":                                           "hping3",
		"4:64:0:0:64,0:::0":                                            "", // hping3 -w 64
		"4:64:0:0:1480,0:::0":                                          "nping",
		"6:64:0:0:8192,0::seq-:0":                                      "scapy",
		"4:255:0:0:38092,0::df,id+,ecn:+":                              "t50",
	} {
		p, err := parse(print{raw: raw})
		if err != nil {
			t.Fatal(err)
		}
		if got := Label(Lookup(p.like)).Name; got != want {
			t.Errorf("%s is called %q, want %q", raw, got, want)
		}
		if p.like.SYNACK = true; Label(Lookup(p.like)).Kind == KindTool {
			t.Errorf("%s as an answer is a tool", raw)
		}
	}
}

func TestLabels(t *testing.T) {
	for id, info := range labels {
		if id > 0 && (info.Name == "" || info.Kind == KindNone || info.Note == "") {
			t.Errorf("label %d: %+v", id, info)
		}
	}
	if Label(uint16(len(labels))) != (Info{}) {
		t.Error("an unknown id has a label")
	}
}

// wantPrints are the labels of the SYNs in the recorded cases of pcaps/fingerprint; "" is a SYN without one.
var wantPrints = map[string][]string{
	"hping3-syn":          {"hping3"},
	"linux-curl":          {"linux"},
	"linux-no-timestamps": {"linux"},
	"linux-ssh":           {"linux"},
	"masscan":             {"masscan"},
	"nmap-O":              {"nmap", "nmap-os"},
	"nmap-sT":             {"linux"}, // the kernel connects
	"nmap-sV":             {"linux", "nmap"},
	"zmap":                {"zmap"},
	"cluster":             {"linux"}, // these four are about more than the SYN
	"mismatch":            {"linux"},
	"new":                 {"linux"},
	"rotation":            {"linux"},
}

func TestRecordedTools(t *testing.T) {
	cases, err := filepath.Glob("../../pcaps/fingerprint/*/in.pcap*")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, path := range cases {
		name := filepath.Base(filepath.Dir(path))
		seen[name] = true
		if got := synLabels(t, path); !slices.Equal(got, wantPrints[name]) {
			t.Errorf("%s: %q, want %q", name, got, wantPrints[name])
		}
	}
	for name := range wantPrints {
		if !seen[name] {
			t.Errorf("no recording of %s", name)
		}
	}
}

// synLabels are the names of the labels of a capture's SYNs.
func synLabels(t *testing.T, path string) []string {
	names := map[string]bool{}
	readCapture(t, path, func(p *decode.Packet) {
		if s, ok := FromPacket(p); ok && !s.SYNACK {
			names[Label(Lookup(s)).Name] = true
		}
	})
	return slices.Sorted(maps.Keys(names))
}

// No tool is seen in benign captures, ours and the corpus's.
func TestBenignHasNoTool(t *testing.T) {
	paths, err := filepath.Glob("../../pcaps/benign/*/in.pcap*")
	if err != nil || len(paths) < 10 {
		t.Fatalf("%d benign cases: %v", len(paths), err)
	}
	if root := os.Getenv("WEIR_CORPUS"); root != "" {
		more, err := filepath.Glob(filepath.Join(root, "benign", "*.pcap*"))
		if err != nil || len(more) < 10 {
			t.Fatalf("%d benign files: %v", len(more), err)
		}
		paths = append(paths, more...)
	}
	for _, path := range paths {
		readCapture(t, path, func(p *decode.Packet) {
			if s, ok := FromPacket(p); ok && Label(Lookup(s)).Kind == KindTool {
				t.Errorf("%s: %s is called %s", path, s, Label(Lookup(s)).Name)
			}
		})
	}
}
