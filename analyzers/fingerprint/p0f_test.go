package fingerprint

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir/decode"
)

// skip fails where CI promises everything that the tests need.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// readCapture decodes a file and calls f with each packet.
func readCapture(t *testing.T, path string, f func(p *decode.Packet)) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := unpack(t, raw)
	d, p := decode.NewDecoder(1), new(decode.Packet)
	each := func(data []byte, length int, link decode.LinkType) {
		d.Decode(&decode.Frame{Data: data, WireLen: uint32(max(length, len(data))), Link: link}, p)
		f(p)
	}
	if magic, _ := r.Peek(4); bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		for err == nil {
			data, ci, readErr := ng.ReadPacketData()
			if err = readErr; err == nil {
				iface, _ := ng.Interface(ci.InterfaceIndex)
				each(data, ci.Length, decode.LinkType(iface.LinkType))
			}
		}
		return
	}
	old, err := pcapgo.NewReader(r)
	for err == nil {
		data, ci, readErr := old.ReadPacketData()
		if err = readErr; err == nil {
			each(data, ci.Length, decode.LinkType(old.LinkType()))
		}
	}
}

func unpack(t *testing.T, raw []byte) *bufio.Reader {
	var r io.Reader = bytes.NewReader(raw)
	var err error
	switch {
	case bytes.HasPrefix(raw, []byte{0x1f, 0x8b}):
		r, err = gzip.NewReader(r)
	case bytes.HasPrefix(raw, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(r)
}

// ends names who sent a SYN or SYN-ACK to whom.
type ends struct {
	src, dst netip.AddrPort
	synack   bool
}

// p0fLine is a SYN or SYN-ACK in p0f's log.
type p0fLine struct {
	ends
	raw string // as p0f wrote it
	os  string // "???" where p0f does not know
}

// readP0f reads the lines of a log that hold signatures of TCP.
func readP0f(t *testing.T, path string) []p0fLine {
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []p0fLine
	for text := range strings.Lines(string(raw)) {
		_, text, _ = strings.Cut(strings.TrimSpace(text), "] ")
		fields := map[string]string{}
		for field := range strings.SplitSeq(text, "|") {
			name, value, _ := strings.Cut(field, "=")
			fields[name] = value
		}
		if fields["mod"] != "syn" && fields["mod"] != "syn+ack" {
			continue
		}
		l := p0fLine{raw: fields["raw_sig"], os: fields["os"], ends: ends{src: addrPort(fields["cli"]), dst: addrPort(fields["srv"])}}
		if l.synack = fields["mod"] == "syn+ack"; l.synack {
			l.src, l.dst = l.dst, l.src
		}
		lines = append(lines, l)
	}
	return lines
}

// addrPort reads p0f's "address/port".
func addrPort(s string) netip.AddrPort {
	addr, port, _ := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	n, err2 := strconv.ParseUint(port, 10, 16)
	if err != nil || err2 != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, uint16(n))
}

// normal turns p0f's "ttl+distance" into the initial TTL, as our form has it.
func normal(raw string) string {
	field := strings.SplitN(raw, ":", 3)
	ttl, _, _ := strings.Cut(field[1], "+")
	n, _ := strconv.Atoi(ttl)
	return fmt.Sprintf("%s:%d:%s", field[0], initialTTL(uint8(n)), field[2])
}

func endsOf(p *decode.Packet, s Sig) ends {
	src, sport := p.Src()
	dst, dport := p.Dst()
	return ends{netip.AddrPortFrom(src.Netip(p.Key.Ver), sport), netip.AddrPortFrom(dst.Netip(p.Key.Ver), dport), s.SYNACK}
}

// p0f's own output over the corpus is the reference for the raw signature: all are equal.
func TestAgainstP0f(t *testing.T) {
	root := corpus(t)
	logs, err := filepath.Glob(filepath.Join(root, "ground-truth", "*", "*", "p0f.log"))
	if err != nil || len(logs) < 30 {
		t.Fatalf("%d logs: %v", len(logs), err)
	}
	lines, equal := 0, 0
	for _, log := range logs {
		name := filepath.Base(filepath.Dir(log))
		capture := filepath.Join(root, filepath.Base(filepath.Dir(filepath.Dir(log))), name)
		ours := map[ends]map[string]bool{}
		readCapture(t, capture, func(p *decode.Packet) { collect(ours, p) })
		for _, l := range readP0f(t, log) {
			lines++
			if ours[l.ends][normal(l.raw)] {
				equal++
				continue
			}
			t.Errorf("%s: %v: p0f %s, ours %v", name, l.ends, l.raw, ours[l.ends])
		}
	}
	t.Logf("%d of %d signatures equal", equal, lines)
	if lines < 2000 {
		t.Errorf("too few lines")
	}
}

func collect(all map[ends]map[string]bool, p *decode.Packet) {
	s, ok := FromPacket(p)
	if !ok {
		return
	}
	e := endsOf(p, s)
	if all[e] == nil {
		all[e] = map[string]bool{}
	}
	all[e][s.String()] = true
}

// Where both p0f and our own table of labels name a system, they name the same family.
func TestSystemsAgainstP0f(t *testing.T) {
	logs, err := filepath.Glob(filepath.Join(corpus(t), "ground-truth", "*", "*", "p0f.log"))
	if err != nil || len(logs) < 30 {
		t.Fatalf("%d logs: %v", len(logs), err)
	}
	families := map[string]string{"Linux": SystemLinux, "Windows": SystemWindows, "Mac": SystemMacOS, "MacOS": SystemMacOS, "FreeBSD": SystemFreeBSD}
	agreed, unknown := 0, 0
	for _, log := range logs {
		name := filepath.Base(filepath.Dir(log))
		systems := map[ends]map[string]string{} // by sender and signature
		readCapture(t, filepath.Join(corpus(t), filepath.Base(filepath.Dir(filepath.Dir(log))), name), func(p *decode.Packet) {
			if s, ok := FromPacket(p); ok {
				e := endsOf(p, s)
				if systems[e] == nil {
					systems[e] = map[string]string{}
				}
				systems[e][s.String()] = SystemOfLabel(Lookup(s))
			}
		})
		for _, l := range readP0f(t, log) {
			word, _, _ := strings.Cut(l.os, " ")
			ours := systems[l.ends][normal(l.raw)]
			switch {
			case ours == "" || l.os == "" || l.os == "???":
				unknown++
			case ours == families[word]:
				agreed++
			default:
				t.Errorf("%s: %v %s: p0f has %s, ours %s", name, l.src, l.raw, l.os, ours)
			}
		}
	}
	t.Logf("%d agree, %d are not known to both", agreed, unknown)
	if agreed < 100 {
		t.Error("too few")
	}
}
