package fingerprint

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"weir/decode/hello"
)

// kindOf is what a connection is taken for: by the first payload of either side that tells.
func kindOf(ways map[way]*opening, w way) hello.Kind {
	for i, dir := range []way{w, {w.dst, w.src, w.udp}} {
		o := ways[dir]
		if o == nil {
			continue
		}
		parts := o.datagrams
		if !w.udp {
			parts = [][]byte{o.bytes()}
		}
		for _, b := range parts {
			if k := hello.Sniff(b, i == 0, w.dst.Port()); k != hello.KindUnknown {
				return k
			}
		}
	}
	return hello.KindUnknown
}

// begun tells whether a connection's first bytes are in the midst of TLS: an alert or data, no hello.
func begun(ways map[way]*opening, w way) bool {
	for _, dir := range []way{w, {w.dst, w.src, w.udp}} {
		if o := ways[dir]; o != nil && len(o.bytes()) > 0 {
			const alert, data = 21, 23
			first := o.bytes()[0]
			return first == alert || first == data
		}
	}
	return false
}

// flowByNDPI is a flow that nDPI judged by its bytes, not by its port: transport, ends, protocol.
var flowByNDPI = regexp.MustCompile(`\t(TCP|UDP) (\S+) <?->\s+(\S+) \[proto: (?:\d+)(?:\.\d+)?/([^\].]*)[^\]]*\].*\[Confidence: DPI\]`)

// kindsNDPI are nDPI's names for what we tell apart; all others must be unknown to us. SSDP is HTTP/1 in datagrams.
var kindsNDPI = map[string]hello.Kind{
	"TLS": hello.KindTLS, "HTTP": hello.KindHTTP, "HTTP_Proxy": hello.KindHTTP, "SSDP": hello.KindHTTP, "SSH": hello.KindSSH,
	"DNS": hello.KindDNS, "MDNS": hello.KindDNS, "LLMNR": hello.KindDNS, "QUIC": hello.KindQUIC,
}

// TestSniffAgainstNDPI holds what openings are taken for against nDPI, which has hundreds of protocols.
func TestSniffAgainstNDPI(t *testing.T) {
	root := corpus(t)
	files, err := filepath.Glob(filepath.Join(root, "ground-truth", "*", "*", "ndpi.out"))
	if err != nil || len(files) < 15 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	known, others := 0, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(file))
		malformed := strings.Contains(file, "decode-malformed")
		ways := openings(t, filepath.Join(root, filepath.Base(filepath.Dir(filepath.Dir(file))), name))
		for line := range strings.Lines(string(text)) {
			f := flowByNDPI.FindStringSubmatch(line)
			if f == nil {
				continue
			}
			src, err := netip.ParseAddrPort(f[2])
			dst, err2 := netip.ParseAddrPort(f[3])
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			if src.Port() == 53 {
				src, dst = dst, src // the answer alone was seen
			}
			w := way{src, dst, f[1] == "UDP"}
			got, want := kindOf(ways, w), kindsNDPI[f[4]]
			switch {
			case got == want && want != hello.KindUnknown:
				known++
			case got == want:
				others++
			case got == hello.KindUnknown && (want == hello.KindQUIC || malformed || begun(ways, w)):
				others++ // QUIC before version 1
			default:
				t.Errorf("%s: %s, taken for %q", name, strings.TrimSpace(line[:min(len(line), 120)]), got)
			}
		}
	}
	t.Logf("%d flows told rightly, %d rightly left alone", known, others)
	if known < 100 || others < 100 {
		t.Error("too few flows")
	}
}
