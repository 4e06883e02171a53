package decode

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// flowOf writes protocol, sender and receiver of a packet.
func flowOf(p *Packet) string {
	if p.Kind == KindNone {
		return noFlow
	}
	src, sport := p.Src()
	dst, dport := p.Dst()
	return fmt.Sprint(p.Key.Proto, " ", src.Netip(p.Key.Ver), " ", sport, " ", dst.Netip(p.Key.Ver), " ", dport)
}

func decode(d *Decoder, link LinkType, b []byte) *Packet {
	p := new(Packet)
	d.Decode(&Frame{Data: b, WireLen: uint32(len(b)), Link: link}, p)
	return p
}

func TestCrafted(t *testing.T) {
	d := NewDecoder(1)
	for _, c := range crafted {
		t.Run(c.name, func(t *testing.T) {
			p := decode(d, c.link, c.frame)
			if got := flowOf(p); got != c.flow || p.Why != c.why {
				t.Errorf("flow %q why %v, want %q %v", got, p.Why, c.flow, c.why)
			}
			if p.Tunnels != c.tunnels || int(p.Depth) != c.depth {
				t.Errorf("tunnels %b depth %d, want %b %d", p.Tunnels, p.Depth, c.tunnels, c.depth)
			}
			var vlans [2]uint16
			copy(vlans[:], c.vlans)
			if int(p.VLANs) != len(c.vlans) || p.VLAN != vlans {
				t.Errorf("tags %d %v, want %v", p.VLANs, p.VLAN, c.vlans)
			}
			if c.flow != flow4 && c.flow != flow6 {
				return
			}
			if got := string(p.Data[p.Payload:p.End]); got != "abcd" || p.PayloadLen != 4 {
				t.Errorf("payload %q of %d", got, p.PayloadLen)
			}
			if p.Seq != 1 || p.Ack != 2 || p.Flags != FlagACK|FlagPSH || p.Window != 0x1000 || p.Opt.Present != OptTS || p.Opt.TSVal != 3 || p.Opt.TSEcr != 4 || p.Opt.Len != 12 {
				t.Errorf("segment %+v", p)
			}
		})
	}
}

// TestTruncation cuts each frame at every byte, once by snaplen and once on the wire. What was cut may only be missing: the
// flow of the whole frame, one of a carrier, or none.
func TestTruncation(t *testing.T) {
	d := NewDecoder(1)
	var dirty Packet
	for _, c := range crafted {
		whole := decode(d, c.link, c.frame)
		for n := range len(c.frame) {
			for _, wire := range []int{n, len(c.frame)} {
				f := Frame{Data: slices.Clone(c.frame[:n]), WireLen: uint32(wire), Link: c.link}
				if broken := check(d, &f, &dirty); broken != "" {
					t.Fatalf("%s: %d of %d bytes: %s", c.name, n, wire, broken)
				}
				p := &dirty
				if wire > n && (p.Why == WhyShort && c.why != WhyShort || p.Kind == whole.Kind && p.L3 == whole.L3 && p.IPLen != whole.IPLen) {
					t.Errorf("%s: %d of %d bytes: a cut frame is called %v, %d bytes of IP", c.name, n, wire, p.Why, p.IPLen)
				}
				if p.Depth > whole.Depth {
					t.Errorf("%s: %d of %d bytes: %s in %d tunnels", c.name, n, wire, flowOf(p), p.Depth)
				}
			}
		}
	}
}

// TestDirections turns each frame's innermost addresses and ports around: key, hash and shard stay.
func TestDirections(t *testing.T) {
	d := NewDecoder(7)
	there, back := decode(d, LinkRaw, in4), decode(d, LinkRaw, v4Between("0a000002", "0a000001", protoTCP, hexes("0050c001", segment[4:])))
	there6 := decode(d, LinkRaw, in6)
	back6 := decode(d, LinkRaw, v6Between("20010db8000000000000000000000002", "20010db8000000000000000000000001", protoTCP, hexes("0050c001", segment[4:])))
	ask, answer := decode(d, LinkRaw, v4(protoICMP, "0800 0000 00010001")), decode(d, LinkRaw, v4Between("c0000202", "c0000201", protoICMP, "0000 0000 00010001"))
	same := decode(d, LinkRaw, v4Between("0a000001", "0a000001", protoUDP, udp(1, 2))) // LAND: the ports decide
	sameBack := decode(d, LinkRaw, v4Between("0a000001", "0a000001", protoUDP, udp(2, 1)))
	for _, pair := range [][2]*Packet{{there, back}, {there6, back6}, {ask, answer}, {same, sameBack}} {
		a, b := pair[0], pair[1]
		if a.Key != b.Key || a.Hash != b.Hash || a.Shard != b.Shard || a.Reverse == b.Reverse {
			t.Errorf("%s and %s: %+v %+v", flowOf(a), flowOf(b), a, b)
		}
	}
	if other := decode(NewDecoder(8), LinkRaw, in4); other.Hash == there.Hash {
		t.Error("the hash does not depend on the seed")
	}
}

// TestQuote sends ICMP errors about a flow: they carry its key and go to its shard.
func TestQuote(t *testing.T) {
	d := NewDecoder(1)
	short4, short6 := in4[:28], in6[:48]
	cases := []struct {
		name  string
		frame []byte
		flow  *Packet
	}{
		{"unreachable", v4(protoICMP, "0303 0000 00000000", short4), decode(d, LinkRaw, in4)},
		{"time exceeded", v4(protoICMP, "0b00 0000 00000000", short4), decode(d, LinkRaw, in4)},
		{"packet too big", v6(protoICMPv6, "0200 0000 00000500", in6), decode(d, LinkRaw, in6)},
		{"unreachable 6", v6(protoICMPv6, "0104 0000 00000000", short6), decode(d, LinkRaw, in6)},
		{"behind extensions", v6(protoICMPv6, "0104 0000 00000000", v6Between("20010db8000000000000000000000001", "20010db8000000000000000000000002", 0, "0600 010400000000", segment)), decode(d, LinkRaw, in6)},
	}
	for _, c := range cases {
		p := decode(d, LinkRaw, c.frame)
		if !p.HasQuote || p.Quote != c.flow.Key || p.QuoteHash != c.flow.Hash || p.Shard != c.flow.Shard || p.QuoteReverse != c.flow.Reverse || p.QuoteSeq != 1 {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"echo", v4(protoICMP, "0800 0000 00000000", in4)},
		{"ports cut", v4(protoICMP, "0303 0000 00000000", in4[:22])},
		{"later fragment", v4(protoICMP, "0303 0000 00000000", "4500001c 0007 00b9 40 06 0000 c0000201 c0000202 03e8 07d0 0100 0000")},
	} {
		if p := decode(d, LinkRaw, c.frame); p.HasQuote {
			t.Errorf("%s quotes %+v", c.name, p.Quote)
		}
	}
}

// TestLengths checks lengths that lie or are left open: the frame decides.
func TestLengths(t *testing.T) {
	big := func(n int) []byte { return make([]byte, n) }
	cases := []struct {
		name               string
		frame              []byte
		wire               int
		ip, payload, given int // given: captured payload
	}{
		{"total length 0", hexes("45000000 1234 4000 40 06 0000 0a000001 0a000002", segment), 0, 56, 4, 4},
		{"total length too large", hexes("4500ffff 1234 4000 40 06 0000 0a000001 0a000002", segment), 0, 56, 4, 4},
		{"cut", in4[:54], 56, 56, 4, 2},
		{"super-packet", hexes("45000000 1234 4000 40 06 0000 0a000001 0a000002", segment, big(100_000)), 0, 100_056, 100_004, 100_004},
		{"super-packet 6", hexes("60000000 0000 06 40", in6[8:], big(100_000)), 0, 100_076, 100_004, 100_004},
		{"jumbogram", hexes("60000000 0000 00 40", in6[8:40], "0600 c204 000186c8", segment, big(100_000)), 0, 40 + 0x186c8, 100_000, 100_000},
		{"udp length 0", v4(protoUDP, "0001 0002 0000 0000 61626364"), 0, 32, 4, 4},
		{"udp length too large", v4(protoUDP, "0001 0002 00ff 0000 61626364"), 0, 32, 4, 4},
		{"udp length short", v4(protoUDP, "0001 0002 000a 0000 61626364"), 0, 32, 2, 4},
	}
	d := NewDecoder(1)
	for _, c := range cases {
		var p Packet
		d.Decode(&Frame{Data: c.frame, WireLen: uint32(max(c.wire, len(c.frame))), Link: LinkRaw}, &p)
		if p.Why != WhyOK || int(p.IPLen) != c.ip || int(p.PayloadLen) != c.payload || int(p.End-p.Payload) != c.given {
			t.Errorf("%s: why %v, %d bytes of IP, %d of payload, %d captured; want %d %d %d", c.name, p.Why, p.IPLen, p.PayloadLen, p.End-p.Payload, c.ip, c.payload, c.given)
		}
	}
}

// TestTags checks that tags the kernel took off count like those in the frame.
func TestTags(t *testing.T) {
	d := NewDecoder(1)
	inBand := decode(d, LinkEthernet, eth("88a8", "0064 8100 00c8 0800", in4))
	var p Packet
	d.Decode(&Frame{Data: eth("8100", "00c8 0800", in4), Link: LinkEthernet, Tags: [2]Tag{{0x88a8, 100}}}, &p)
	if p.Key != inBand.Key || p.VLAN != inBand.VLAN || p.VLANs != 2 || p.Key.Disc == 0 || p.WireLen != inBand.WireLen {
		t.Errorf("%+v, want %+v", p.Key, inBand.Key)
	}
	discs := map[uint32]string{}
	for name, frame := range map[string][]byte{
		"none": eth("0800", in4), "vlan 100": eth("8100", "0064 0800", in4), "vlan 200": eth("8100", "00c8 0800", in4),
		"100 in 200": eth("88a8", "00c8 8100 0064 0800", in4), "200 in 100": eth("88a8", "0064 8100 00c8 0800", in4),
		"network 100": eth("0800", v4(protoUDP, udp(1, 4789, "08000000 00006400", teb, in4))),
		"network 200": eth("0800", v4(protoUDP, udp(1, 4789, "08000000 0000c800", teb, in4))),
	} {
		disc := decode(d, LinkEthernet, frame).Key.Disc
		if other, ok := discs[disc]; ok {
			t.Errorf("%s and %s share a key", name, other)
		}
		discs[disc] = name
	}
	for _, same := range [][2][]byte{
		{eth("0800", in4), eth("8100", "2000 0800", in4)}, // a priority tag
		{eth("0800", v4(protoUDP, udp(2152, 2152, "30ff 0038 00000001", in4))), eth("0800", v4(protoUDP, udp(2152, 2152, "30ff 0038 00000002", in4)))},
	} {
		if decode(d, LinkEthernet, same[0]).Key != decode(d, LinkEthernet, same[1]).Key {
			t.Errorf("% x and % x have different keys", same[0], same[1])
		}
	}
}

// TestPlainUDP sends text over the ports of tunnels: it stays UDP.
func TestPlainUDP(t *testing.T) {
	d := NewDecoder(1)
	for _, port := range []uint16{1701, 2152, 3544, 4789, 4790, 5072, 6081} {
		for _, payload := range []string{"", "hello", "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", strings.Repeat("\x00", 100), strings.Repeat("\xff", 100), strings.Repeat("`", 100)} {
			p := decode(d, LinkRaw, v4(protoUDP, udp(40000, port, []byte(payload))))
			if p.Why != WhyOK || p.Depth != 0 || p.Key.Proto != protoUDP || int(p.PayloadLen) != len(payload) {
				t.Errorf("port %d, %q: %s, why %v", port, payload, flowOf(p), p.Why)
			}
		}
	}
}

func TestOuter(t *testing.T) {
	d := NewDecoder(1)
	frame := Frame{Data: eth("0800", v4(protoUDP, udp(2152, 2152, "30ff 0068 00000001", v4Between("0a000009", "0a00000a", protoUDP, udp(40000, 3544, in6))))), Link: LinkEthernet}
	var p Packet
	for depth, want := range []string{"17 192.0.2.1 2152 192.0.2.2 2152", "17 10.0.0.9 40000 10.0.0.10 3544"} {
		if !d.DecodeOuter(&frame, &p, depth) || flowOf(&p) != want || !p.Outer || int(p.Depth) != depth {
			t.Errorf("depth %d: %s, %+v", depth, flowOf(&p), p)
		}
	}
	if d.DecodeOuter(&frame, &p, 2) || d.DecodeOuter(&frame, &p, -1) {
		t.Error("found a third tunnel")
	}
	frame.Data = eth("0800", v4(protoGRE, "0000 0800", in4))
	if d.DecodeOuter(&frame, &p, 0) {
		t.Error("GRE makes an outer connection")
	}
}

// TestOptions reads the option list of a Linux SYN and broken ones.
func TestOptions(t *testing.T) {
	var o TCPOptions
	o.parse(hexes("020405b4 0402 080a 00000001 00000002 01 030307"))
	if o.MSS != 1460 || o.WScale != 7 || o.TSVal != 1 || o.TSEcr != 2 || o.Len != 20 || o.Present != OptMSS|OptSACKOK|OptTS|OptWScale {
		t.Errorf("%+v", o)
	}
	layouts := map[uint32]bool{}
	for _, list := range []string{"020405b4 0402 0101", "020405b4 0101 0402", "020405b4 0402 0000", "020405b4 0402 0100", "0101080a0000000100000002", "0101050a0000000100000002"} {
		var o TCPOptions
		o.parse(hexes(list))
		if layouts[o.Layout] || o.Layout == 0 || o.Present&OptBad != 0 {
			t.Errorf("%s: %+v", list, o)
		}
		layouts[o.Layout] = true
	}
	for _, list := range []string{"02040505 0400 0101", "0204", "080a0000", "02010000"} {
		var o TCPOptions
		o.parse(hexes(list))
		if o.Present&OptBad == 0 {
			t.Errorf("%s: %+v", list, o)
		}
	}
}

// TestAllocs decodes every crafted frame without allocating.
func TestAllocs(t *testing.T) {
	d := NewDecoder(1)
	var p Packet
	frames := make([]Frame, len(crafted))
	for i, c := range crafted {
		frames[i] = Frame{Data: c.frame, Link: c.link}
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range frames {
			d.Decode(&frames[i], &p)
			d.DecodeOuter(&frames[i], &p, 0)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestICMPPorts checks the table against Zeek's (ICMP.cc, ICMP4_counterpart and ICMP6_counterpart).
func TestICMPPorts(t *testing.T) {
	answers := map[uint8][][2]uint8{
		4: {{8, 0}, {13, 14}, {15, 16}, {10, 9}, {17, 18}},
		6: {{128, 129}, {133, 134}, {135, 136}, {130, 131}, {139, 140}, {144, 145}},
	}
	for ver, pairs := range answers {
		other := map[uint8]uint8{}
		for _, p := range pairs {
			other[p[0]], other[p[1]] = p[1], p[0]
		}
		for kind := range 256 {
			want, ok := other[uint8(kind)]
			if !ok {
				want = 77 // the code
			}
			if a, b := icmpPorts(ver, uint8(kind), 77); a != uint16(kind) || b != uint16(want) {
				t.Errorf("version %d type %d: %d %d, want %d", ver, kind, a, b, want)
			}
		}
	}
}
