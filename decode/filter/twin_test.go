package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"pgregory.net/rapid"

	"weir/decode"
)

// compiled are the link types that BPF knows.
var compiled = []decode.LinkType{
	decode.LinkEthernet, decode.LinkRaw, decode.LinkLinuxSLL, decode.LinkLinuxSLL2, decode.LinkIPv4, decode.LinkIPv6,
}

// runBPF runs a program as a kernel would and returns how much it keeps.
func runBPF(t interface{ Fatal(...any) }, ins []bpf.RawInstruction, frame []byte) int {
	all, ok := bpf.Disassemble(ins)
	if !ok {
		t.Fatal("unknown instruction")
	}
	vm, err := bpf.NewVM(all)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(frame)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// header is what the twin knows of a packet: what a person would read off it.
type header struct {
	net      string // ip, ip6, arp
	proto    uint8
	src, dst netip.Addr
	ports    bool
	sport    uint16
	dport    uint16
	vlans    []uint16
}

// condition is the twin's expression: text and meaning side by side.
type condition struct {
	text  string
	holds func(h header) bool
}

func pickEnd(dir string, src, dst bool) bool {
	switch strings.TrimSpace(dir) {
	case "src":
		return src
	case "dst":
		return dst
	case "src and dst":
		return src && dst
	}
	return src || dst
}

// Few values, so that conditions and packets meet.
var (
	v4s   = []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.1.255.7"), netip.MustParseAddr("192.168.3.4")}
	v6s   = []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:1::1"), netip.MustParseAddr("::ffff:10.0.0.1")}
	ports = []uint16{0, 1, 53, 80, 443, 65535}
	ids   = []uint16{0, 1, 7, 4095}
	dirs  = []string{"", "src ", "dst ", "src or dst ", "dst and src ", "src and dst "}
)

func drawAddr(t *rapid.T, six bool) netip.Addr {
	if six {
		return rapid.SampledFrom(v6s).Draw(t, "v6")
	}
	return rapid.SampledFrom(v4s).Draw(t, "v4")
}

func drawLeaf(t *rapid.T) condition {
	dir := rapid.SampledFrom(dirs).Draw(t, "dir")
	unordered := strings.ReplaceAll(dir, "dst and src", "src and dst")
	switch rapid.IntRange(0, 5).Draw(t, "leaf") {
	case 0:
		net := rapid.SampledFrom([]string{"ip", "ip6", "arp"}).Draw(t, "net")
		return condition{net, func(h header) bool { return h.net == net }}
	case 1:
		name := rapid.SampledFrom([]string{"tcp", "udp", "sctp", "icmp", "icmp6"}).Draw(t, "proto")
		number := map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmp6": 58}[name]
		return condition{name, func(h header) bool {
			return h.net != "arp" && h.proto == number && (name != "icmp" || h.net == "ip") && (name != "icmp6" || h.net == "ip6")
		}}
	case 2, 3:
		return drawNet(t, dir, unordered)
	case 4:
		lo, hi := rapid.SampledFrom(ports).Draw(t, "lo"), rapid.SampledFrom(ports).Draw(t, "hi")
		word, value := "portrange", fmt.Sprintf("%d-%d", lo, hi)
		if rapid.Bool().Draw(t, "one") {
			word, value, hi = "port", fmt.Sprint(lo), lo
		}
		lo, hi = min(lo, hi), max(lo, hi)
		over := rapid.SampledFrom([]string{"", "tcp ", "udp ", "sctp "}).Draw(t, "over")
		number := map[string]uint8{"tcp ": 6, "udp ": 17, "sctp ": 132}[over]
		return condition{over + dir + word + " " + value, func(h header) bool {
			return h.ports && (over == "" || h.proto == number) &&
				pickEnd(unordered, lo <= h.sport && h.sport <= hi, lo <= h.dport && h.dport <= hi)
		}}
	}
	id := rapid.SampledFrom(ids).Draw(t, "id")
	if rapid.Bool().Draw(t, "any") {
		return condition{"vlan", func(h header) bool { return len(h.vlans) > 0 }}
	}
	return condition{fmt.Sprintf("vlan %d", id), func(h header) bool {
		for _, v := range h.vlans {
			if v == id {
				return true
			}
		}
		return false
	}}
}

func drawNet(t *rapid.T, dir, unordered string) condition {
	six := rapid.Bool().Draw(t, "six")
	a := drawAddr(t, six)
	word, prefix := "host", netip.PrefixFrom(a, a.BitLen())
	value := a.String()
	if rapid.Bool().Draw(t, "net") {
		prefix = netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
		word, value = "net", prefix.String()
	}
	family := rapid.SampledFrom(map[bool][]string{false: {"", "ip ", "arp "}, true: {"", "ip6 "}}[six]).Draw(t, "family")
	if word == "host" && dir != "" && rapid.Bool().Draw(t, "bare") {
		word = ""
	}
	return condition{family + dir + word + " " + value, func(h header) bool {
		if family != "" && strings.TrimSpace(family) != h.net || (h.net == "ip6") != six {
			return false
		}
		// A mapped address in an IPv6 packet is an IPv6 address: compare as 16 bytes.
		in := func(x netip.Addr) bool { return sameBits(prefix, x) }
		return pickEnd(unordered, in(h.src), in(h.dst))
	}}
}

// sameBits compares bit by bit.
func sameBits(p netip.Prefix, a netip.Addr) bool {
	x, y := p.Addr().AsSlice(), a.AsSlice()
	for i := range p.Bits() {
		if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return len(x) == len(y)
}

func drawCondition(t *rapid.T, depth int) condition {
	if depth == 0 {
		return drawLeaf(t)
	}
	a := drawCondition(t, depth-1)
	switch rapid.IntRange(0, 4).Draw(t, "op") {
	case 0:
		not := rapid.SampledFrom([]string{"not (", "!(", "!\t("}).Draw(t, "not")
		return condition{not + a.text + ")", func(h header) bool { return !a.holds(h) }}
	case 1:
		b := drawLeaf(t) // no parentheses: groups to the left
		return condition{a.text + " and " + b.text, func(h header) bool { return a.holds(h) && b.holds(h) }}
	case 2:
		b := drawLeaf(t)
		return condition{a.text + " || " + b.text, func(h header) bool { return a.holds(h) || b.holds(h) }}
	case 3:
		b := drawCondition(t, depth-1)
		return condition{"(" + a.text + ")&&(" + b.text + ")", func(h header) bool { return a.holds(h) && b.holds(h) }}
	}
	b := drawCondition(t, depth-1)
	return condition{a.text + " or (" + b.text + ")", func(h header) bool { return a.holds(h) || b.holds(h) }}
}

// drawIP makes an IP packet or ARP, what the decoder says of it, and what the twin knows.
func drawIP(t *rapid.T) (data []byte, p decode.Packet, h header) {
	h.net = rapid.SampledFrom([]string{"ip", "ip", "ip6", "ip6", "arp"}).Draw(t, "kind")
	h.src, h.dst = drawAddr(t, h.net == "ip6"), drawAddr(t, h.net == "ip6")
	if h.net == "arp" {
		data = append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)...)
		copy(data[14:], h.src.AsSlice())
		copy(data[24:], h.dst.AsSlice())
		p.Kind, p.End = decode.KindARP, 28
		setEnds(&p, h)
		return data, p, h
	}
	h.proto = rapid.SampledFrom([]uint8{1, 2, 6, 17, 50, 58, 132}).Draw(t, "proto")
	h.ports = hasPorts(h.proto)
	body := make([]byte, 20)
	if h.ports {
		h.sport, h.dport = rapid.SampledFrom(ports).Draw(t, "sport"), rapid.SampledFrom(ports).Draw(t, "dport")
	}
	binary.BigEndian.PutUint16(body, h.sport)
	binary.BigEndian.PutUint16(body[2:], h.dport)
	if h.net == "ip" {
		data, p.FragOff = ipv4Header(t, h, len(body))
		h.ports = h.ports && p.FragOff == 0
		p.Kind, p.Key.Ver = decode.KindIPv4, 4
	} else {
		data = append([]byte{0x60, 0, 0, 0, 0, byte(len(body)), h.proto, 64}, append(h.src.AsSlice(), h.dst.AsSlice()...)...)
		p.Kind, p.Key.Ver = decode.KindIPv6, 6
	}
	p.Key.Proto, p.L4 = h.proto, uint32(len(data))
	data = append(data, body...)
	p.End = uint32(len(data))
	setEnds(&p, h)
	return data, p, h
}

func ipv4Header(t *rapid.T, h header, body int) (data []byte, fragOff uint32) {
	options := 4 * rapid.IntRange(0, 10).Draw(t, "options")
	data = make([]byte, 20+options)
	data[0], data[8], data[9] = 0x45+byte(options/4), 64, h.proto
	binary.BigEndian.PutUint16(data[2:], uint16(len(data)+body))
	frag := rapid.SampledFrom([]uint16{0, 0, 0x4000, 0x2000, 0x2001, 0x1000, 0x1fff}).Draw(t, "frag")
	binary.BigEndian.PutUint16(data[6:], frag)
	copy(data[12:], h.src.AsSlice())
	copy(data[16:], h.dst.AsSlice())
	return data, uint32(frag&0x1fff) * 8
}

func setEnds(p *decode.Packet, h header) {
	p.Key.A, p.Key.B = decode.AddrFrom(h.src), decode.AddrFrom(h.dst)
	if p.Key.B.Less(p.Key.A) {
		p.Key.A, p.Key.B, p.Reverse = p.Key.B, p.Key.A, true
	}
}

// linkHeader is the link layer before an untagged packet.
func linkHeader(link decode.LinkType, net string) []byte {
	ether := map[string][]byte{"ip": {8, 0}, "ip6": {0x86, 0xdd}, "arp": {8, 6}}[net]
	switch link {
	case decode.LinkEthernet:
		return append(make([]byte, 12), ether...)
	case decode.LinkLinuxSLL:
		return append(make([]byte, 14), ether...)
	case decode.LinkLinuxSLL2:
		return append(ether, make([]byte, 18)...)
	}
	return nil
}

// Match and the compiled program agree with the twin on plain packets; on tagged ones Match agrees and BPF accepts at least
// as much.
func TestMatchesTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCondition(t, rapid.SampledFrom([]int{0, 0, 1, 2, 4}).Draw(t, "depth"))
		f, err := Parse(c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		for range 100 {
			data, p, h := drawIP(t)
			link := rapid.SampledFrom(compiled[:4]).Draw(t, "link")
			if h.net == "arp" && link == decode.LinkRaw {
				link = decode.LinkEthernet
			}
			head := linkHeader(link, h.net)
			p.Data = append(head, data...)
			p.L4, p.End = p.L4+uint32(len(head)), p.End+uint32(len(head))
			inBand := link == decode.LinkEthernet && rapid.Bool().Draw(t, "inBand")
			drawTags(t, &p, &h, inBand)
			checkTwin(t, f, c, &p, h, link)
		}
	})
}

// drawTags puts up to two VLAN tags on a packet: in the frame, or taken off by the kernel.
func drawTags(t *rapid.T, p *decode.Packet, h *header, inBand bool) {
	n := rapid.IntRange(0, 2).Draw(t, "tags")
	for i := range n {
		id := rapid.SampledFrom(ids).Draw(t, "tag")
		h.vlans = append(h.vlans, id)
		p.VLAN[i], p.VLANs = id, uint8(n)
	}
	if !inBand {
		return
	}
	for i := n - 1; i >= 0; i-- {
		p.Data = append(append(append([]byte{}, p.Data[:12]...), 0x81, 0, byte(h.vlans[i]>>8), byte(h.vlans[i])), p.Data[12:]...)
		p.L4, p.End = p.L4+4, p.End+4
	}
}

func checkTwin(t *rapid.T, f *Filter, c condition, p *decode.Packet, h header, link decode.LinkType) {
	want := c.holds(h)
	if got := f.Match(p); got != want {
		t.Fatalf("%s on %+v: Match says %v", c.text, h, got)
	}
	ins, err := f.BPF(link, 96)
	if errors.Is(err, ErrTooLong) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	kept := runBPF(t, ins, p.Data)
	if kept != 0 && kept != 96 {
		t.Fatalf("keeps %d bytes", kept)
	}
	exact := len(h.vlans) == 0 && !strings.Contains(c.text, "vlan")
	if (kept == 0) == want && (exact || want) {
		t.Fatalf("%s on %+v, link %d: the program says %v", c.text, h, link, kept != 0)
	}
}

func TestBPFLinks(t *testing.T) {
	f, err := Parse("tcp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.BPF(decode.LinkPPP, 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("PPP: %v", err)
	}
	var none *Filter
	ins, err := none.BPF(decode.LinkPPP, 0)
	if err != nil || runBPF(t, ins, nil) != maxSnaplen || !none.Match(&decode.Packet{}) {
		t.Errorf("no filter: %v", err)
	}
	long, err := Parse(strings.Repeat("net 2001:db8::/100 or ", 180) + "tcp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := long.BPF(decode.LinkEthernet, 0); !errors.Is(err, ErrTooLong) {
		t.Errorf("long: %v", err)
	}
}

func TestMatchAllocates(t *testing.T) {
	f, err := Parse("not (src net 10.0.0.0/8 and dst port 443) and (vlan 7 or portrange 1-1024 or ip6 host 2001:db8::1) or udp")
	if err != nil {
		t.Fatal(err)
	}
	p := decode.Packet{Kind: decode.KindIPv4, Data: make([]byte, 60), L4: 34, End: 60, Key: decode.Key{Proto: 6, Ver: 4}}
	if n := testing.AllocsPerRun(100, func() { f.Match(&p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	f, err := Parse("tcp and (port 80 or 443) and not src net 10.0.0.0/8")
	if err != nil {
		b.Fatal(err)
	}
	p := decode.Packet{Kind: decode.KindIPv4, Data: make([]byte, 60), L4: 34, End: 60, Key: decode.Key{Proto: 6, Ver: 4}}
	p.Data[36], p.Data[37] = 1, 187
	for b.Loop() {
		if !f.Match(&p) {
			b.Fatal("rejected")
		}
	}
}
