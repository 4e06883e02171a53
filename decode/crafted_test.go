package decode

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// hexes joins byte slices and hexadecimal text, in which spaces do not count.
func hexes(parts ...any) (b []byte) {
	for _, part := range parts {
		switch v := part.(type) {
		case []byte:
			b = append(b, v...)
		case string:
			raw, err := hex.DecodeString(strings.ReplaceAll(v, " ", ""))
			if err != nil {
				panic(fmt.Sprintf("%q: %v", v, err))
			}
			b = append(b, raw...)
		}
	}
	return b
}

// eth is an Ethernet header with type t (in hexadecimal) before a payload.
func eth(t string, payload ...any) []byte {
	return hexes("020000000002 020000000001", t, hexes(payload...))
}

// v4 is an IPv4 packet between outer addresses.
func v4(proto uint8, payload ...any) []byte {
	return v4Between("c0000201", "c0000202", proto, payload...)
}

func v4Between(src, dst string, proto uint8, payload ...any) []byte {
	b := hexes("45000000 12344000 40000000", src, dst, hexes(payload...))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[9] = proto
	return b
}

// v6 is an IPv6 packet between outer addresses.
func v6(next uint8, payload ...any) []byte {
	return v6Between("20010db8000f00000000000000000001", "20010db8000f00000000000000000002", next, payload...)
}

func v6Between(src, dst string, next uint8, payload ...any) []byte {
	b := hexes("60000000 0000 00 40", src, dst, hexes(payload...))
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	b[6] = next
	return b
}

// udp is a UDP datagram.
func udp(src, dst uint16, payload ...any) []byte {
	b := hexes("0000000000000000", hexes(payload...))
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	return b
}

// The innermost packets of the crafted frames: a TCP segment with a timestamp option and four bytes of payload, between
// 10.0.0.1:49153 and 10.0.0.2:80, or the same between 2001:db8::1 and 2001:db8::2.
var (
	segment = hexes("c001 0050 00000001 00000002 8018 1000 0000 0000 0101080a 00000003 00000004 61626364")
	in4     = v4Between("0a000001", "0a000002", protoTCP, segment)
	in6     = v6Between("20010db8000000000000000000000001", "20010db8000000000000000000000002", protoTCP, segment)
)

// Flows as crafted frames expect them.
const (
	flow4   = "6 10.0.0.1 49153 10.0.0.2 80"
	flow6   = "6 2001:db8::1 49153 2001:db8::2 80"
	outer4  = "192.0.2.1 192.0.2.2"
	noFlow  = ""
	radio   = "0000 0800 00000000"                                         // radiotap without fields
	dataQoS = "8802 0000 020000000003 020000000002 020000000001 0000 0000" // 802.11 from the access point
	snapIP  = "aaaa03 000000 0800"                                         // LLC and SNAP before IPv4
	pppoeIP = "1100 0001 0042 0021"                                        // PPPoE session with IPv4
	teb     = "020000000004 020000000003 0800"                             // an inner Ethernet header before IPv4
	shim8   = "08000000 00000100"                                          // VXLAN with network 1
	sll     = "0000 0001 0006 020000000001 0000 0800"                      // Linux cooked mode, IPv4
	sll2    = "0800 0000 00000002 0001 00 06 020000000001 0000"            // version 2, IPv4
	prismOK = "44000000 90000000"                                          // Prism header of 144 bytes
	avsOK   = "80211001 00000040"                                          // AVS header of 64 bytes
	nflogLE = "02000000 0800 0a00 70726600 3c00 0900"                      // NFLOG: a prefix, then the payload
	nflogBE = "02000000 0008 000a 70726600 003c 0009"                      // the same of a big-endian host
	hopByHo = "2b00 010400000000"                                          // hop-by-hop, then routing
	routing = "2c02 0200 00000000 20010db8000000000000000000000009"        // routing type 2 of 24 bytes, then fragment
	atomic  = "3c00 0000 00000007"                                         // fragment header of a whole packet, then destination
	destOpt = "3300 010400000000"                                          // destination options, then AH
	authTCP = "0604 0000 00000100 00000001 000102030405060708090a0b"       // AH with a 96-bit value, then TCP
	sigHead = "4052 1129"                                                  // AYIYA: 16-byte identity, 20-byte signature, forward IPv6
	ayiyaOK = sigHead + "4a000000 20010db8000000000000000000000001" + "0102030405060708090a0b0c0d0e0f1011121314"
)

// crafted are frames of every kind of header; flow and the rest are what the RFCs say of them. tshark 4 reads the same
// flows in all but these: it takes version 6 under IPv4's EtherType, GRE version 2 and NFLOG's other byte order another way,
// and needs to be told of pseudowires, L2TPv3 cookies and 802.11 in GRE.
var crafted = []struct {
	name    string
	link    LinkType
	frame   []byte
	flow    string
	why     Why
	tunnels Tunnels
	depth   int
	vlans   []uint16
}{
	{"tcp4", LinkEthernet, eth("0800", in4), flow4, WhyOK, 0, 0, nil},
	{"tcp6", LinkEthernet, eth("86dd", in6), flow6, WhyOK, 0, 0, nil},
	{"padding", LinkEthernet, eth("0800", in4, "000000000000"), flow4, WhyOK, 0, 0, nil},
	{"options", LinkEthernet, eth("0800", "46000040 1234 4000 40 06 0000 0a000001 0a000002 94040000", segment), flow4, WhyOK, 0, 0, nil},
	{"udp", LinkEthernet, eth("0800", v4(protoUDP, udp(1000, 2000, "0102"))), "17 192.0.2.1 1000 192.0.2.2 2000", WhyOK, 0, 0, nil},
	{"udp length", LinkEthernet, eth("0800", v4(protoUDP, "03e8 07d0 0007 0000 0102")), "17 192.0.2.1 1000 192.0.2.2 2000", WhyLength, 0, 0, nil},
	{"udplite", LinkEthernet, eth("0800", v4(protoUDPLite, "03e8 07d0 0008 0000 0102")), "136 192.0.2.1 1000 192.0.2.2 2000", WhyOK, 0, 0, nil},
	{"sctp", LinkEthernet, eth("0800", v4(protoSCTP, "03e8 07d0 00000001 00000000 01000004")), "132 192.0.2.1 1000 192.0.2.2 2000", WhyOK, 0, 0, nil},
	{"echo", LinkEthernet, eth("0800", v4(protoICMP, "0800 0000 00010001 6162")), "1 192.0.2.1 8 192.0.2.2 0", WhyOK, 0, 0, nil},
	{"echo6", LinkEthernet, eth("86dd", v6(protoICMPv6, "8100 0000 00010001 6162")), "58 2001:db8:f::1 129 2001:db8:f::2 128", WhyOK, 0, 0, nil},
	{"icmp over ipv6", LinkEthernet, eth("86dd", v6(protoICMP, "0800 0000 00010001")), "1 2001:db8:f::1 0 2001:db8:f::2 0", WhyProto, 0, 0, nil},
	{"igmp", LinkEthernet, eth("0800", v4(2, "1600 0000 e0000001")), "2 192.0.2.1 0 192.0.2.2 0", WhyProto, 0, 0, nil},
	{"esp", LinkEthernet, eth("0800", v4(50, "00000001 00000001 01020304")), "50 192.0.2.1 0 192.0.2.2 0", WhyProto, 0, 0, nil},
	{"ah", LinkEthernet, eth("0800", v4Between("0a000001", "0a000002", protoAH, authTCP, segment)), flow4, WhyOK, 0, 0, nil},
	{"extensions", LinkEthernet, eth("86dd", v6Between("20010db8000000000000000000000001", "20010db8000000000000000000000002", 0,
		hopByHo, routing, atomic, destOpt, authTCP, segment)), flow6, WhyOK, 0, 0, nil},
	{
		"many extensions", LinkEthernet, eth("86dd", v6(60, strings.Repeat("3c00 010400000000", 20), "3b00 010400000000")),
		"60 2001:db8:f::1 0 2001:db8:f::2 0", WhyDepth, 0, 0, nil,
	},
	{"no next header", LinkEthernet, eth("86dd", v6(59)), "59 2001:db8:f::1 0 2001:db8:f::2 0", WhyProto, 0, 0, nil},
	{"mobility", LinkEthernet, eth("86dd", v6(135, "3b00 0500 0000 0000")), "135 2001:db8:f::1 0 2001:db8:f::2 0", WhyProto, 0, 0, nil},
	{"extension past the end", LinkEthernet, eth("86dd", v6(60, "0609 010400000000")), "60 2001:db8:f::1 0 2001:db8:f::2 0", WhyLength, 0, 0, nil},
	{"first fragment", LinkEthernet, eth("0800", "4500001c 0007 2000 40 11 0000 c0000201 c0000202 03e8 07d0 0100 0000"), "17 192.0.2.1 1000 192.0.2.2 2000", WhyOK, 0, 0, nil},
	{"later fragment", LinkEthernet, eth("0800", "4500001c 0007 00b9 40 06 0000 c0000201 c0000202 03e8 07d0 0100 0000"), "6 192.0.2.1 0 192.0.2.2 0", WhyFragment, 0, 0, nil},
	{"later fragment 6", LinkEthernet, eth("86dd", v6(protoFragment, "1100 0101 00000007 03e807d0")), "17 2001:db8:f::1 0 2001:db8:f::2 0", WhyFragment, 0, 0, nil},
	{"tiny fragment", LinkEthernet, eth("0800", "4500001c 0007 2000 40 06 0000 c0000201 c0000202 03e8 07d0 0000 0001"), "6 192.0.2.1 1000 192.0.2.2 2000", WhyShort, 0, 0, nil},
	{"data offset", LinkEthernet, eth("0800", v4(protoTCP, "03e8 07d0 00000001 00000002 4002 1000 0000 0000")), "6 192.0.2.1 1000 192.0.2.2 2000", WhyLength, 0, 0, nil},
	{"header length", LinkEthernet, eth("0800", "44000014 1234 4000 40 06 0000 0a000001 0a000002"), noFlow, WhyLength, 0, 0, nil},
	{"total length", LinkEthernet, eth("0800", "45000013 1234 4000 40 06 0000 0a000001 0a000002"), noFlow, WhyLength, 0, 0, nil},
	{"version", LinkEthernet, eth("0800", in6), noFlow, WhyVersion, 0, 0, nil},
	{"arp", LinkEthernet, eth("0806", "0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"), "0 10.0.0.1 0 10.0.0.2 0", WhyOK, 0, 0, nil},
	{"lldp", LinkEthernet, eth("88cc", "0207 04 020000000001"), noFlow, WhyNotIP, 0, 0, nil},
	{"spanning tree", LinkEthernet, eth("0026", "424203 0000"), noFlow, WhyNotIP, 0, 0, nil},
	{"snap", LinkEthernet, eth("0040", snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"llc", LinkEthernet, eth("0040", "060603", in4), flow4, WhyOK, 0, 0, nil},
	{"vlan", LinkEthernet, eth("8100", "2064 0800", in4), flow4, WhyOK, 0, 0, []uint16{100}},
	{"qinq", LinkEthernet, eth("88a8", "0064 8100 00c8 86dd", in6), flow6, WhyOK, 0, 0, []uint16{100, 200}},
	{"three tags", LinkEthernet, eth("9100", "0064 8100 00c8 8100 012c 0800", in4), flow4, WhyOK, 0, 0, []uint16{100, 200, 300}},
	{"tags without end", LinkEthernet, eth("8100", strings.Repeat("0001 8100", 40)), noFlow, WhyDepth, 0, 0, []uint16{1, 1, 16: 0}[:16]},
	{"vlan snap", LinkEthernet, eth("8100", "0064 0040", snapIP, in4), flow4, WhyOK, 0, 0, []uint16{100}},
	{"mpls", LinkEthernet, eth("8847", "00010040 00020140", in4), flow4, WhyOK, 0, 0, nil},
	{"mpls 6", LinkEthernet, eth("8847", "00020140", in6), flow6, WhyOK, 0, 0, nil},
	{"pseudowire", LinkEthernet, eth("8847", "00020140 00000000", teb, in4), flow4, WhyOK, 0, 0, nil},
	{"pseudowire without control word", LinkEthernet, eth("8847", "00020140", teb, in4), flow4, WhyOK, 0, 0, nil},
	{"pbb", LinkEthernet, eth("88a8", "0064 88e7 00000001", teb, in4), flow4, WhyOK, 0, 0, []uint16{100}},
	{"vntag", LinkEthernet, eth("8926", "00010002 0800", in4), flow4, WhyOK, 0, 0, nil},
	{"cisco metadata", LinkEthernet, eth("8909", "0101 0001 0010 0800", in4), flow4, WhyOK, 0, 0, nil},
	{"fabricpath", LinkEthernet, eth("8903", "0001", teb, in4), flow4, WhyOK, 0, 0, nil},
	{"pppoe", LinkEthernet, eth("8864", pppoeIP, in4), flow4, WhyOK, 0, 0, nil},
	{"pppoe lcp", LinkEthernet, eth("8864", "1100 0001 000a c021 01010008"), noFlow, WhyNotIP, 0, 0, nil},
	{"nsh", LinkEthernet, eth("894f", "0fc20201 00000001", in4), flow4, WhyOK, 0, 0, nil},

	{"raw", LinkRaw, in4, flow4, WhyOK, 0, 0, nil},
	{"raw 6", LinkRaw, in6, flow6, WhyOK, 0, 0, nil},
	{"raw neither", LinkRaw, hexes("00010203"), noFlow, WhyVersion, 0, 0, nil},
	{"ipv4", LinkIPv4, in4, flow4, WhyOK, 0, 0, nil},
	{"ipv6", LinkIPv6, in6, flow6, WhyOK, 0, 0, nil},
	{"sll", LinkLinuxSLL, hexes(sll, in4), flow4, WhyOK, 0, 0, nil},
	{"sll2", LinkLinuxSLL2, hexes(sll2, in4), flow4, WhyOK, 0, 0, nil},
	{"sll llc", LinkLinuxSLL, hexes("0000 0001 0006 020000000001 0000 0004", "060603", in4), flow4, WhyOK, 0, 0, nil},
	{"sll other 802.3", LinkLinuxSLL, hexes("0000 0001 0006 020000000001 0000 0001 ffff"), noFlow, WhyNotIP, 0, 0, nil},
	{"sll netlink", LinkLinuxSLL, hexes("0000 0338 0006 000000000000 0000 0000 00000010"), noFlow, WhyNotIP, 0, 0, nil},
	{"sll wlan", LinkLinuxSLL, hexes("0000 0321 0006 020000000001 0000 0019", dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"sll prism", LinkLinuxSLL, hexes("0000 0322 0006 020000000001 0000 0019", prismOK, make([]byte, 136), dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"sll radiotap", LinkLinuxSLL, hexes("0000 0323 0006 020000000001 0000 0019", radio, dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"null", LinkNull, hexes("02000000", in4), flow4, WhyOK, 0, 0, nil},
	{"null big-endian", LinkNull, hexes("00000002", in4), flow4, WhyOK, 0, 0, nil},
	{"null 6", LinkNull, hexes("1e000000", in6), flow6, WhyOK, 0, 0, nil},
	{"null with cisco hdlc", LinkNull, hexes("0f00 0800", in4), flow4, WhyOK, 0, 0, nil},
	{"loop", LinkLoop, hexes("00000018", in6), flow6, WhyOK, 0, 0, nil},
	{"ppp", LinkPPP, hexes("ff03 0021", in4), flow4, WhyOK, 0, 0, nil},
	{"ppp bare", LinkPPP, hexes("0057", in6), flow6, WhyOK, 0, 0, nil},
	{"ppp compressed", LinkPPP, hexes("21", in4), flow4, WhyOK, 0, 0, nil},
	{"ppp hdlc", LinkPPPHDLC, hexes("ff03 0021", in4), flow4, WhyOK, 0, 0, nil},
	{"cisco hdlc", LinkCiscoHDLC, hexes("0f00 0800", in4), flow4, WhyOK, 0, 0, nil},
	{"pppoe link", LinkPPPoE, hexes(pppoeIP, in4), flow4, WhyOK, 0, 0, nil},
	{"nflog", LinkNFLOG, hexes(nflogLE, in4), flow4, WhyOK, 0, 0, nil},
	{"nflog big-endian", LinkNFLOG, hexes(nflogBE, in4), flow4, WhyOK, 0, 0, nil},
	{"nflog without end", LinkNFLOG, hexes("02000000", strings.Repeat("0400 0a00", 100), "3c00 0900", in4), noFlow, WhyDepth, 0, 0, nil},
	{"nflog length", LinkNFLOG, hexes("02000000 0200 0a00 70726600"), noFlow, WhyLength, 0, 0, nil},
	{"frame relay", LinkFrameRly, hexes("1841 03 cc", in4), flow4, WhyOK, 0, 0, nil},
	{"frame relay snap", LinkFrameRly, hexes("1841 03 00 80 000000 86dd", in6), flow6, WhyOK, 0, 0, nil},
	{"frame relay bridged", LinkFrameRly, hexes("1841 03 00 80 0080c2 0007", teb, in4), flow4, WhyOK, 0, 0, nil},
	{"frame relay ppp", LinkFrameRly, hexes("1841 03 cf 0021", in4), flow4, WhyOK, 0, 0, nil},
	{"frame relay 6", LinkFrameRly, hexes("1841 03 8e", in6), flow6, WhyOK, 0, 0, nil},
	{"frame relay lmi", LinkFrameRly, hexes("0001 03 08 00 75 95"), noFlow, WhyNotIP, 0, 0, nil},
	{"frame relay cisco", LinkFrameRly, hexes("1841 0800", in4), flow4, WhyOK, 0, 0, nil},
	{"fddi", LinkFDDI, hexes("50 020000000002 020000000001", snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"fddi management", LinkFDDI, hexes("41 020000000002 020000000001 0102"), noFlow, WhyNotIP, 0, 0, nil},
	{"wlan", LinkIEEE80211, hexes(dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"wlan four addresses", LinkIEEE80211, hexes("0803 0000 020000000003 020000000002 020000000001 0000 020000000004", snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"wlan aggregate", LinkIEEE80211, hexes("8802 0000 020000000003 020000000002 020000000001 0000 8000 020000000002 020000000001 0048", snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"wlan encrypted", LinkIEEE80211, hexes("8842 0000 020000000003 020000000002 020000000001 0000 0000", snapIP, in4), noFlow, WhyEncrypted, 0, 0, nil},
	{"wlan beacon", LinkIEEE80211, hexes("8000 0000 020000000003 020000000002 020000000001 0000"), noFlow, WhyNotIP, 0, 0, nil},
	{"radiotap", LinkRadiotap, hexes(radio, dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"radiotap padded", LinkRadiotap, hexes("0000 1100 03000000 0102030405060708 20", dataQoS, "0000", snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"radiotap presence words", LinkRadiotap, hexes("0000 0d00 02000080 00000000 20", dataQoS, "0000", snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"radiotap without end", LinkRadiotap, hexes("0000 9801", strings.Repeat("00000080", 100), "00000000", dataQoS, snapIP, in4), noFlow, WhyDepth, 0, 0, nil},
	{"prism", LinkPrism, hexes(prismOK, make([]byte, 136), dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"avs", LinkAVS, hexes(avsOK, make([]byte, 56), dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"avs under prism", LinkPrism, hexes(avsOK, make([]byte, 56), dataQoS, snapIP, in4), flow4, WhyOK, 0, 0, nil},
	{"usb", 220, hexes("0102"), noFlow, WhyLinkType, 0, 0, nil},

	{"gre", LinkEthernet, eth("0800", v4(protoGRE, "0000 0800", in4)), flow4, WhyOK, TunnelGRE, 1, nil},
	{"gre fields", LinkEthernet, eth("0800", v4(protoGRE, "b000 86dd 00000000 00000001 00000002", in6)), flow6, WhyOK, TunnelGRE, 1, nil},
	{"gre routing", LinkEthernet, eth("0800", v4(protoGRE, "4000 0800 00000000 0800 00 04 0a000009 0000 00 00", in4)), flow4, WhyOK, TunnelGRE, 1, nil},
	{"gre bridge", LinkEthernet, eth("86dd", v6(protoGRE, "2000 6558 00000100", teb, in4)), flow4, WhyOK, TunnelGRE, 1, nil},
	{"gre mpls", LinkEthernet, eth("0800", v4(protoGRE, "0000 8847 00020140", in4)), flow4, WhyOK, TunnelGRE, 1, nil},
	{"gre wlan", LinkEthernet, eth("0800", v4(protoGRE, "0000 9000", dataQoS, snapIP, in4)), flow4, WhyOK, TunnelGRE, 1, nil},
	{"gre unknown", LinkEthernet, eth("0800", v4(protoGRE, "0000 88cc 0207")), "47 192.0.2.1 0 192.0.2.2 0", WhyNotIP, 0, 0, nil},
	{"gre version", LinkEthernet, eth("0800", v4(protoGRE, "0002 0800", in4)), "47 192.0.2.1 0 192.0.2.2 0", WhyVersion, 0, 0, nil},
	{"pptp", LinkEthernet, eth("0800", v4(protoGRE, "3081 880b 0042 0001 00000001 00000002 ff03 0021", in4)), flow4, WhyOK, TunnelGRE, 1, nil},
	{"pptp acknowledgement", LinkEthernet, eth("0800", v4(protoGRE, "2081 880b 0000 0001 00000002")), "47 192.0.2.1 0 192.0.2.2 0", WhyProto, 0, 0, nil},
	{"erspan", LinkEthernet, eth("0800", v4(protoGRE, "0000 88be", teb, in4)), flow4, WhyOK, TunnelERSPAN, 1, nil},
	{"erspan II", LinkEthernet, eth("0800", v4(protoGRE, "1000 88be 00000001 10010001 00000000", teb, in4)), flow4, WhyOK, TunnelERSPAN, 1, nil},
	{"erspan III", LinkEthernet, eth("0800", v4(protoGRE, "1000 22eb 00000001 20010001 00000000 00000000", teb, in4)), flow4, WhyOK, TunnelERSPAN, 1, nil},
	{"erspan III subheader", LinkEthernet, eth("0800", v4(protoGRE, "1000 22eb 00000001 20010001 00000000 00000001 0000000000000000", teb, in4)), flow4, WhyOK, TunnelERSPAN, 1, nil},
	{"erspan vlan", LinkEthernet, eth("0800", v4(protoGRE, "1000 88be 00000001 10010001 00000000 020000000004 020000000003 8100 0064 0800", in4)), flow4, WhyOK, TunnelERSPAN, 1, []uint16{100}},
	{"4in4", LinkEthernet, eth("0800", v4(protoIPv4, in4)), flow4, WhyOK, TunnelIPIP, 1, nil},
	{"6in6", LinkEthernet, eth("86dd", v6(protoIPv6, in6)), flow6, WhyOK, TunnelIPIP, 1, nil},
	{"6in4", LinkEthernet, eth("0800", v4(protoIPv6, in6)), flow6, WhyOK, Tunnel6in4, 1, nil},
	{"4in6", LinkEthernet, eth("86dd", v6(protoIPv4, in4)), flow4, WhyOK, Tunnel4in6, 1, nil},
	{"4in4 of garbage", LinkEthernet, eth("0800", v4(protoIPv4, make([]byte, 40))), "4 192.0.2.1 0 192.0.2.2 0", WhyVersion, 0, 0, nil},
	{"teredo", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 3544, in6))), flow6, WhyOK, TunnelTeredo, 1, nil},
	{"teredo indications", LinkEthernet, eth("0800", v4(protoUDP, udp(3544, 40000, "0001 00 00 0102030405060708 00 0000 efff fffffffe", in6))), flow6, WhyOK, TunnelTeredo, 1, nil},
	{
		"teredo peers", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 40001, v6Between("20010000000000000000000000000001", "20010db8000000000000000000000002", protoTCP, segment)))),
		"6 2001::1 49153 2001:db8::2 80", WhyOK, TunnelTeredo, 1, nil,
	},
	{"vxlan", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4789, shim8, teb, in4))), flow4, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan group policy", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4789, "88000007 00000100", teb, in4))), flow4, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan vlans", LinkEthernet, eth("8100", "0064 0800", v4(protoUDP, udp(40000, 4789, shim8, "020000000004 020000000003 8100 00c8 0800", in4))), flow4, WhyOK, TunnelVXLAN, 1, []uint16{100, 200}},
	{"vxlan in vxlan", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4789, shim8, teb, v4(protoUDP, udp(40000, 4789, shim8, teb, in4))))), flow4, WhyOK, TunnelVXLAN, 2, nil},
	{"vxlan arp", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4789, shim8, "ffffffffffff 020000000003 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000002"))), "0 10.0.0.1 0 10.0.0.2 0", WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan lldp", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4789, shim8, "020000000004 020000000003 88cc 0207"))), "17 192.0.2.1 40000 192.0.2.2 4789", WhyNotIP, 0, 0, nil},
	{"vxlan-gpe", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4790, "0c000001 00000100", in4))), flow4, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan-gpe nsh", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4790, "0c000004 00000100 0fc20203 00000001", teb, in4))), flow4, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan-gpe 6", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4790, "0c000002 00000100", in6))), flow6, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan-gpe mpls", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4790, "0c000005 00000100 00020140", in4))), flow4, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan-gpe as vxlan", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4790, shim8, teb, in4))), flow4, WhyOK, TunnelVXLAN, 1, nil},
	{"vxlan-gpe unknown", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 4790, "0c000009 00000100", in4))), "17 192.0.2.1 40000 192.0.2.2 4790", WhyNotIP, 0, 0, nil},
	{"nsh in nsh", LinkEthernet, eth("894f", "0fc20204 00000001 0fc20202 00000001", in6), flow6, WhyOK, 0, 0, nil},
	{"nsh length", LinkEthernet, eth("894f", "0fc10201 00000001", in4), noFlow, WhyLength, 0, 0, nil},
	{"geneve", LinkEthernet, eth("86dd", v6(protoUDP, udp(40000, 6081, "0200 6558 00000100 0102800100000001", teb, in4))), flow4, WhyOK, TunnelGENEVE, 1, nil},
	{"geneve ip", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 6081, "0000 86dd 00000100", in6))), flow6, WhyOK, TunnelGENEVE, 1, nil},
	{"gtp", LinkEthernet, eth("0800", v4(protoUDP, udp(2152, 2152, "30ff 0038 00000001", in4))), flow4, WhyOK, TunnelGTP, 1, nil},
	{"gtp sequence", LinkEthernet, eth("0800", v4(protoUDP, udp(2152, 2152, "32ff 003c 00000001 0007 00 00", in4))), flow4, WhyOK, TunnelGTP, 1, nil},
	{"gtp extensions", LinkEthernet, eth("0800", v4(protoUDP, udp(2152, 2152, "34ff 0044 00000001 0000 00 85 01 0001 85 01 0002 00", in4))), flow4, WhyOK, TunnelGTP, 1, nil},
	{"gtp echo", LinkEthernet, eth("0800", v4(protoUDP, udp(2152, 2152, "3201 0004 00000000 0001 0000"))), "17 192.0.2.1 2152 192.0.2.2 2152", WhyOK, 0, 0, nil},
	{"l2tp", LinkEthernet, eth("0800", v4(protoUDP, udp(1701, 1701, "4002 0044 0001 0002 ff03 0021", in4))), flow4, WhyOK, TunnelL2TP, 1, nil},
	{"l2tp fields", LinkEthernet, eth("0800", v4(protoUDP, udp(1701, 1701, "4a02 004c 0001 0002 0001 0002 0002 0000 ff03 0021", in4))), flow4, WhyOK, TunnelL2TP, 1, nil},
	{"l2tp control", LinkEthernet, eth("0800", v4(protoUDP, udp(1701, 1701, "c802 000c 0001 0000 0001 0002"))), "17 192.0.2.1 1701 192.0.2.2 1701", WhyOK, 0, 0, nil},
	{"l2tpv3 udp", LinkEthernet, eth("0800", v4(protoUDP, udp(1701, 1701, "0003 0000 00000001 01020304", teb, in4))), flow4, WhyOK, TunnelL2TP, 1, nil},
	{"l2tpv3 ppp", LinkEthernet, eth("0800", v4(protoUDP, udp(1701, 1701, "0003 0000 00000001 ff030021", in4))), flow4, WhyOK, TunnelL2TP, 1, nil},
	{"l2tpv3 ip", LinkEthernet, eth("0800", v4(protoL2TP, "00000001 0102030405060708", teb, in4)), flow4, WhyOK, TunnelL2TP, 1, nil},
	{"l2tpv3 control", LinkEthernet, eth("0800", v4(protoL2TP, "00000000 c8030014 00000000 00000000")), "115 192.0.2.1 0 192.0.2.2 0", WhyProto, 0, 0, nil},
	{"ayiya", LinkEthernet, eth("0800", v4(protoUDP, udp(40000, 5072, ayiyaOK, in6))), flow6, WhyOK, TunnelAYIYA, 1, nil},
	{"teredo in gtp", LinkEthernet, eth("0800", v4(protoUDP, udp(2152, 2152, "30ff 0068 00000001", v4(protoUDP, udp(40000, 3544, in6))))), flow6, WhyOK, TunnelGTP | TunnelTeredo, 2, nil},
	{"tunnels without end", LinkEthernet, eth("0800", nest(9, in4)), "4 192.0.2.1 0 192.0.2.2 0", WhyDepth, TunnelIPIP, 8, nil},
}

// nest wraps a packet n times in IPv4.
func nest(n int, packet []byte) []byte {
	for range n {
		packet = v4(protoIPv4, packet)
	}
	return packet
}
