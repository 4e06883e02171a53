package filter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/net/bpf"

	"weir/decode"
)

// expressions are judged by tcpdump's compiler, by Match and by our own compiler on the frames of the corpus.
var expressions = []string{
	"tcp", "udp", "icmp", "icmp6", "arp", "ip", "ip6", "sctp", "not tcp", "not ip and not ip6",
	"port 80", "not port 80", "tcp port 80 or 443", "udp dst port 53", "src port 53", "tcp src portrange 1-1023", "portrange 1024-65535",
	"src and dst port 53", "src or dst portrange 0-100", "not udp portrange 0-65535", "sctp port 80",
	"net 10.0.0.0/8", "src net 192.168.0.0/16", "dst net 192.168.0.0/16 and not src net 192.168.0.0/16", "net 0.0.0.0/0", "net 128.0.0.0/1",
	"host 192.168.1.1", "ip host 192.168.1.1", "arp host 192.168.1.1", "arp net 192.168.0.0/16", "dst host 255.255.255.255",
	"net ::/0", "ip6 net fe80::/10", "ip6 src net 2001::/16", "net 2000::/3", "dst host ff02::1",
	"tcp or udp and port 53", "tcp and port 80 or udp and port 53", "not (tcp or udp)", "not tcp and not udp", "! port 53 && (udp || icmp)",
	"tcp and not (port 80 or port 443) and net 10.0.0.0/8", "(src net 10.0.0.0/8 or src net 192.168.0.0/16) and not (dst net 10.0.0.0/8 or dst net 192.168.0.0/16)",
}

// tagged mean something else in tcpdump: there "vlan" moves the offsets of the words after it.
var tagged = []string{"vlan", "not vlan", "vlan 100", "vlan 100 and tcp", "not vlan 100 and not (vlan 200 or udp)"}

// maxFrames of a file are looked at.
const maxFrames = 1500

type captured struct {
	file  string
	frame decode.Frame
}

// head is what a failure shows.
func (c captured) head() []byte { return c.frame.Data[:min(len(c.frame.Data), 100)] }

// corpus calls f with the head of every file of the corpus whose link type has a compiler.
func corpus(t *testing.T, f func(c captured)) {
	t.Helper()
	root := os.Getenv("WEIR_CORPUS")
	if root == "" {
		skip(t, "WEIR_CORPUS is not set")
	}
	files := 0
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == "ground-truth" {
				return filepath.SkipDir
			}
			return err
		}
		files++
		return readCapture(path, f)
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files: %v", files, err)
	}
}

// skip fails where CI promises everything that the tests need.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// packets is what pcapgo's readers have in common.
type packets interface {
	ReadPacketData() (data []byte, length, link int, err error)
}

type classic struct{ *pcapgo.Reader }

func (c classic) ReadPacketData() ([]byte, int, int, error) {
	data, ci, err := c.Reader.ReadPacketData()
	return data, ci.Length, int(c.LinkType()), err
}

type nextGen struct{ *pcapgo.NgReader }

func (n nextGen) ReadPacketData() ([]byte, int, int, error) {
	data, ci, err := n.NgReader.ReadPacketData()
	if err != nil {
		return nil, 0, 0, err
	}
	iface, err := n.Interface(ci.InterfaceIndex)
	return data, ci.Length, int(iface.LinkType), err
}

func openCapture(r io.Reader) (packets, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		ng, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		return nextGen{ng}, err
	}
	old, err := pcapgo.NewReader(b)
	return classic{old}, err
}

// readCapture reads a file's head; what pcapgo cannot read is left out.
func readCapture(path string, f func(c captured)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := openCapture(file)
	if err != nil {
		return nil
	}
	for range maxFrames {
		data, length, link, err := r.ReadPacketData()
		if err != nil {
			return nil
		}
		frame := decode.Frame{Data: data, WireLen: uint32(max(length, len(data))), Link: decode.LinkType(link)}
		for _, known := range compiled {
			if known == frame.Link {
				f(captured{filepath.Base(path), frame})
			}
		}
	}
	return nil
}

// beyond says what tcpdump does not look through or into, and weir does; empty where both see the same header.
func beyond(p *decode.Packet) string {
	header := map[decode.Kind]uint32{decode.KindIPv6: ipv6Size}[p.Kind]
	switch {
	case p.Cut:
		return "cut: tcpdump rejects at the first load past the bytes, weir judges what is there"
	case p.Ether == 0x8035:
		return "RARP: for tcpdump it has hosts and nets, weir does not read it"
	case p.Ether == etherARP && p.Kind == decode.KindNone:
		return "ARP that is not for IPv4: for tcpdump the EtherType is enough"
	case p.Kind == decode.KindARP && p.Data[p.L3+4] != 6:
		return "ARP over hardware addresses that are not of 6 bytes: tcpdump supposes 6"
	case p.VLANs > 0:
		return "VLAN: tcpdump's words mean untagged traffic unless vlan stands before them"
	case p.Tunnels != 0:
		return "tunnel: weir judges the inner packet"
	case p.Why == decode.WhyShort || p.Why == decode.WhyLength || p.Why == decode.WhyVersion:
		return "malformed: tcpdump reads no further than the words ask, weir's decoder stops"
	case p.Kind == decode.KindIPv6 && p.L4 != p.L3+header:
		return "IPv6 extension headers: tcpdump does not follow them"
	case p.Kind != decode.KindNone && p.Ether != etherIPv4 && p.Ether != etherIPv6 && p.Ether != etherARP && p.Ether != 0:
		return "shim: MPLS, PPPoE and the like"
	}
	return ""
}

// judged reports whether our program judges the packet rather than accept it unseen: BPF's list, read off the packet.
func judged(p *decode.Packet) bool {
	if p.Kind == decode.KindARP {
		return p.Data[p.L3+4] == 6
	}
	if p.Kind == decode.KindNone || !slices.Contains(plainProtos[:], uint32(p.Key.Proto)) {
		return false
	}
	if p.Kind == decode.KindIPv4 && p.Data[p.L3+2]|p.Data[p.L3+3] == 0 {
		return false // super-packet
	}
	if hasPorts(p.Key.Proto) && p.FragOff == 0 && p.L4+portsSize > p.End {
		return false // ends before its ports
	}
	return p.Key.Proto != protoUDP ||
		!slices.Contains(tunnelPorts[:], uint32(p.Key.PortA)) && !slices.Contains(tunnelPorts[:], uint32(p.Key.PortB))
}

// Each difference between tcpdump and Match has a cause from beyond; on all else the three agree. Match never accepts what
// our program rejects.
func TestAgainstTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		skip(t, "tcpdump is not installed")
	}
	judges := map[decode.LinkType][]judge{}
	d, p := decode.NewDecoder(1), new(decode.Packet)
	frames, compared, causes := 0, 0, map[string]int{}
	corpus(t, func(c captured) {
		if judges[c.frame.Link] == nil {
			judges[c.frame.Link] = withTheirs(t, tcpdump, c.frame.Link, newJudges(t, c.frame.Link))
		}
		d.Decode(&c.frame, p)
		frames++
		cause := beyond(p)
		for _, j := range judges[c.frame.Link] {
			compared++
			match, ours := j.filter.Match(p), run(t, j.ours, c.frame.Data)
			if match && !ours {
				t.Fatalf("%s: %q: Match accepts and the program rejects %x", c.file, j.expr, c.head())
			}
			if j.theirs == nil {
				continue
			}
			theirs := run(t, j.theirs, c.frame.Data)
			if cause == "" && (theirs != match || ours != match && judged(p)) {
				t.Errorf("%s: %q: tcpdump %v, Match %v, program %v on %x", c.file, j.expr, theirs, match, ours, c.head())
			}
			if theirs != match {
				causes[cause]++
			}
		}
	})
	t.Logf("%d frames, %d verdicts", frames, compared)
	for cause, n := range causes {
		t.Logf("%6d differ by %s", n, cause)
	}
	if frames < 10000 {
		t.Errorf("only %d frames", frames)
	}
}

type judge struct {
	expr         string
	filter       *Filter
	theirs, ours *bpf.VM // theirs: nil where the words differ
}

// newJudges compiles all expressions for a link type.
func newJudges(t testing.TB, link decode.LinkType) []judge {
	var all []judge
	for _, expr := range append(tagged, expressions...) {
		f, err := Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := f.BPF(link, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, judge{expr: expr, filter: f, ours: machine(t, ours)})
	}
	return all
}

// withTheirs adds what tcpdump compiles of the same words.
func withTheirs(t *testing.T, tcpdump string, link decode.LinkType, all []judge) []judge {
	for i := range all {
		if !slices.Contains(tagged, all[i].expr) {
			all[i].theirs = machine(t, compileTheirs(t, tcpdump, link, all[i].expr))
		}
	}
	return all
}

func machine(t testing.TB, raw []bpf.RawInstruction) *bpf.VM {
	ins, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("unknown instruction")
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func run(t testing.TB, vm *bpf.VM, frame []byte) bool {
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	return n != 0
}

// compileTheirs asks tcpdump for its program, as decimal text, for an empty capture of the link type.
func compileTheirs(t *testing.T, tcpdump string, link decode.LinkType, expr string) []bpf.RawInstruction {
	var empty bytes.Buffer
	w := pcapgo.NewWriter(&empty)
	if err := w.WriteFileHeader(maxSnaplen, 0); err != nil {
		t.Fatal(err)
	}
	head := empty.Bytes()
	head[20], head[21] = byte(link), byte(link>>8)
	cmd := exec.Command(tcpdump, "-r", "-", "-ddd", expr)
	cmd.Stdin = bytes.NewReader(head)
	out, err := cmd.Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) && bytes.Contains(failed.Stderr, []byte("expression rejects all packets")) {
		return []bpf.RawInstruction{{Op: 6}} // ret #0
	}
	if err != nil {
		t.Fatalf("tcpdump %q for link type %d: %v", expr, link, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	raw := make([]bpf.RawInstruction, len(lines)-1)
	for i, line := range lines[1:] {
		if _, err := fmt.Sscan(line, &raw[i].Op, &raw[i].Jt, &raw[i].Jf, &raw[i].K); err != nil {
			t.Fatal(err)
		}
	}
	return raw
}
