package decode

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestGopacket decodes every frame of every capture with google/gopacket, too, and compares what both say of the innermost
// IP header that gopacket reads: where it stands, addresses, protocol, ports, flags, numbers and lengths.
func TestGopacket(t *testing.T) {
	d := NewDecoder(1)
	seen := map[string]int{}
	total, compared := 0, 0
	for _, path := range captures(t) {
		name := label(path)
		frame := 0
		total += readFrames(t, path, func(f *Frame) {
			frame++
			root, ok := gopacketRoot(f.Link)
			if !ok {
				return
			}
			theirs := gopacket.NewPacket(f.Data, root, gopacket.DecodeOptions{Lazy: false, NoCopy: true})
			ref := newReference(f, theirs)
			if ref.ip == nil && ref.arp == nil {
				return
			}
			compared++
			for _, diff := range ref.compare(d, f) {
				reason := explain(name, diff)
				if reason == "" {
					t.Errorf("%s frame %d: %s\n%s", name, frame, diff, theirs.String())
				}
				seen[name+": "+reason]++
			}
		})
	}
	t.Logf("%d of %d frames compared", compared, total)
	for _, k := range known {
		n := seen[k.file+": "+k.what+": "+k.why]
		if n == 0 && corpus() != "" {
			t.Errorf("%s: %s differs no more", k.file, k.what)
		}
		t.Logf("%3d × %s: %s: %s", n, k.file, k.what, k.why)
	}
}

// gopacketRoot is the gopacket decoder of a link type.
func gopacketRoot(link LinkType) (gopacket.Decoder, bool) {
	switch link {
	case LinkIPv4:
		return layers.LayerTypeIPv4, true
	case LinkIPv6:
		return layers.LayerTypeIPv6, true
	case LinkRaw, linkRawBSD, linkRawOpenBSD:
		return layers.LinkTypeRaw, true
	case LinkEthernet, LinkPPP, LinkNull, LinkLoop, LinkFDDI, LinkIEEE80211, LinkRadiotap, LinkLinuxSLL, LinkPrism:
		return layers.LinkType(link), true
	}
	return nil, false
}

// reference is what gopacket says of a frame: its innermost IP or ARP header and the transport header behind it.
type reference struct {
	all    gopacket.Packet
	at     int // offset of ip or arp
	length int // of the IP packet by its header
	src    netip.Addr
	dst    netip.Addr
	proto  uint8
	ip     gopacket.Layer
	arp    *layers.ARP
	l4     gopacket.Layer
}

// newReference picks the innermost IP layer and the layers behind it.
func newReference(f *Frame, p gopacket.Packet) *reference {
	r := &reference{all: p}
	offset := func(l gopacket.Layer) int { return cap(f.Data) - cap(l.LayerContents()) }
	for _, l := range p.Layers() {
		if len(l.LayerContents()) == 0 { // the header that gopacket failed at
			continue
		}
		switch l := l.(type) {
		case *layers.IPv4:
			if l.IHL < 5 || len(l.LayerContents()) != int(l.IHL)*4 { // likewise
				continue
			}
			*r = reference{all: p, ip: l, at: offset(l), length: int(l.Length), proto: uint8(l.Protocol)}
			r.src, r.dst = addr(l.SrcIP), addr(l.DstIP)
		case *layers.IPv6:
			*r = reference{all: p, ip: l, at: offset(l), length: int(l.Length) + 40, proto: uint8(l.NextHeader)}
			if l.Length == 0 {
				r.length = 1 << 30
			}
			r.src, r.dst = addr(l.SrcIP), addr(l.DstIP)
		case *layers.ARP:
			if l.Protocol == layers.EthernetTypeIPv4 && l.ProtAddressSize == 4 {
				*r = reference{all: p, arp: l, at: offset(l)}
				r.src, r.dst = addr(l.SourceProtAddress), addr(l.DstProtAddress)
			}
		case *layers.IPv6HopByHop:
			r.proto = uint8(l.NextHeader)
		case *layers.IPv6Routing:
			r.proto = uint8(l.NextHeader)
		case *layers.IPv6Destination:
			r.proto = uint8(l.NextHeader)
		case *layers.IPv6Fragment:
			r.proto = uint8(l.NextHeader)
		case *layers.IPSecAH:
			r.proto = uint8(l.NextHeader)
		case *layers.TCP, *layers.UDP, *layers.SCTP, *layers.ICMPv4, *layers.ICMPv6, *layers.UDPLite:
			if r.l4 == nil {
				r.l4 = l
			}
		}
	}
	return r
}

func addr(b []byte) netip.Addr { a, _ := netip.AddrFromSlice(b); return a }

// compare decodes f as deep as gopacket did and lists the differences.
func (r *reference) compare(d *Decoder, f *Frame) (diffs []string) {
	var p Packet
	for depth := range maxTunnels + 1 {
		w := walk{p: &p, max: uint8(depth)}
		w.begin(f)
		w.link(f.Link)
		d.seal(&p)
		if p.Kind != KindNone && int(p.L3) >= r.at {
			break
		}
	}
	check := func(what string, ours, theirs any) {
		if fmt.Sprint(ours) != fmt.Sprint(theirs) {
			diffs = append(diffs, fmt.Sprintf("%s: ours %v, gopacket's %v (why %v)", what, ours, theirs, p.Why))
		}
	}
	if p.Kind == KindNone || int(p.L3) != r.at {
		check("header", fmt.Sprint(p.Kind, p.L3), fmt.Sprint(r.at))
		return diffs
	}
	src, sport := p.Src()
	dst, dport := p.Dst()
	check("source", src.Netip(p.Key.Ver), r.src)
	check("destination", dst.Netip(p.Key.Ver), r.dst)
	if r.arp != nil {
		check("operation", p.ARPOp, r.arp.Operation)
		return diffs
	}
	check("protocol", p.Key.Proto, r.proto)
	if want := min(r.length, int(p.WireLen)-r.at); int(p.IPLen) != want && p.Depth == 0 || int(p.IPLen) > want {
		check("IP length", p.IPLen, want)
	}
	if v4, ok := r.ip.(*layers.IPv4); ok {
		check("IPv4", fmt.Sprint(p.TTL, p.TOS, p.IPID, p.FragOff, p.MoreFrag, p.DF), fmt.Sprint(v4.TTL, v4.TOS, v4.Id,
			int(v4.FragOffset)*8, v4.Flags&layers.IPv4MoreFragments != 0, v4.Flags&layers.IPv4DontFragment != 0))
	}
	if v6, ok := r.ip.(*layers.IPv6); ok {
		check("IPv6", fmt.Sprint(p.TTL, p.TOS), fmt.Sprint(v6.HopLimit, v6.TrafficClass))
	}
	if r.l4 == nil || p.FragOff != 0 {
		return diffs
	}
	check("transport offset", p.L4, cap(f.Data)-cap(r.l4.LayerContents()))
	captured := min(p.PayloadLen, p.End-p.Payload)
	switch l := r.l4.(type) {
	case *layers.TCP:
		check("ports", fmt.Sprint(sport, dport), fmt.Sprint(uint16(l.SrcPort), uint16(l.DstPort)))
		check("TCP", fmt.Sprint(p.Seq, p.Ack, p.Window, p.Flags), fmt.Sprint(l.Seq, l.Ack, l.Window, flagsOf(l)))
		check("payload", captured, len(l.LayerPayload()))
		if p.L4+uint32(l.DataOffset)*4 <= p.End && p.Opt.Present&OptBad == 0 { // else not valid, or gopacket gave up
			check("options", optionsOf(&p.Opt), gopacketOptions(l))
		}
	case *layers.UDP:
		check("ports", fmt.Sprint(sport, dport), fmt.Sprint(uint16(l.SrcPort), uint16(l.DstPort)))
		check("payload", captured, len(l.LayerPayload()))
	case *layers.UDPLite:
		check("ports", fmt.Sprint(sport, dport), fmt.Sprint(uint16(l.SrcPort), uint16(l.DstPort)))
	case *layers.SCTP:
		check("ports", fmt.Sprint(sport, dport), fmt.Sprint(uint16(l.SrcPort), uint16(l.DstPort)))
		check("payload", captured, len(l.LayerPayload()))
	case *layers.ICMPv4:
		check("ICMP", fmt.Sprint(p.ICMPType, p.ICMPCode), fmt.Sprint(l.TypeCode.Type(), l.TypeCode.Code()))
		check("payload", captured, len(l.LayerPayload()))
	case *layers.ICMPv6:
		check("ICMP", fmt.Sprint(p.ICMPType, p.ICMPCode), fmt.Sprint(l.TypeCode.Type(), l.TypeCode.Code()))
	}
	return diffs
}

func flagsOf(l *layers.TCP) (f uint16) {
	for i, set := range []bool{l.FIN, l.SYN, l.RST, l.PSH, l.ACK, l.URG, l.ECE, l.CWR, l.NS} {
		if set {
			f |= 1 << i
		}
	}
	return f
}

func optionsOf(o *TCPOptions) string {
	return fmt.Sprint(o.Len, o.MSS, o.WScale, o.TSVal, o.TSEcr, o.Present&^OptBad, o.Layout)
}

// gopacketOptions summarises gopacket's list as TCPOptions does.
func gopacketOptions(l *layers.TCP) string {
	var o TCPOptions
	o.Len = l.DataOffset*4 - 20
	size, kinds := 0, fnv.New32a()
	for _, option := range l.Options {
		size += max(int(option.OptionLength), 1)
		kinds.Write([]byte{uint8(option.OptionType) + 1})
		if option.OptionType > tcpNop {
			o.value(uint8(option.OptionType), option.OptionData)
		}
	}
	for ; size < int(o.Len); size++ {
		kinds.Write([]byte{tcpEnd + 1})
	}
	if o.Len > 0 {
		o.Layout = max(kinds.Sum32(), 1)
	}
	return optionsOf(&o)
}

// known lists the differences from gopacket by capture, what differs, and why.
var known = []struct{ file, what, why string }{
	{"decode-encap/tcpdump__bigtcp-ipv4-vxlan-ipv4.pcap", "IP length", "total length 0 in a packet of 80 kB: gopacket takes it modulo 65,536"},
	{"decode-encap/tcpdump__bigtcp-ipv4-vxlan-ipv4.pcap", "payload", "as above"},
	{"decode-encap/zeek__pppoe-over-qinq.pcap", "payload", "the PPPoE length is below that of the IP packet inside; Zeek counts as weir does"},
	{"decode-malformed/ndpi__fuzz-2006-06-26-2594.pcap", "header", "gopacket does not look at the IP version"},
	{"decode-malformed/tcpdump__gre-heapoverflow-1.pcap", "header", "gopacket does not look at the IP version"},
}

// explain gives the reason for a known difference; "" if there is none.
func explain(file, diff string) string {
	for _, k := range known {
		if k.file == file && strings.HasPrefix(diff, k.what+":") {
			return k.what + ": " + k.why
		}
	}
	return ""
}
