package decode

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// BenchmarkDecode decodes 64 frames of one kind, warm in cache, with random addresses.
func BenchmarkDecode(b *testing.B) {
	syn := hexes("c001 0050 00000001 00000000 a002 ffff 0000 0000 020405b4 0402 080a 00000003 00000000 01 030307")
	for _, c := range []struct {
		name  string
		frame []byte
		addr  int // offset of the innermost IPv4 addresses, or of the low halves' ends of the IPv6 source
	}{
		{"tcp4", eth("0800", in4), 26},
		{"syn4", eth("0800", v4(protoTCP, syn)), 26},
		{"udp4", eth("0800", v4(protoUDP, udp(40000, 53, make([]byte, 32)))), 26},
		{"tcp6", eth("86dd", in6), 34},
		{"vlan", eth("8100", "0064 0800", in4), 30},
		{"icmp", eth("0800", v4(protoICMP, "0303 0000 00000000", in4)), 26},
		{"vxlan", eth("0800", v4(protoUDP, udp(40000, 4789, shim8, teb, in4))), 76},
		{"gre", eth("0800", v4(protoGRE, "0000 0800", in4)), 50},
		{"lldp", eth("88cc", "0207 04 020000000001"), 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			d := NewDecoder(1)
			frames := make([]Frame, 64)
			random := rand.New(rand.NewPCG(1, 2))
			for i := range frames {
				data := append([]byte(nil), c.frame...)
				if c.addr != 0 {
					binary.BigEndian.PutUint64(data[c.addr:], random.Uint64())
				}
				frames[i] = Frame{Data: data, WireLen: uint32(len(data)), Link: LinkEthernet}
			}
			packets := make([]Packet, 64)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.Decode(&frames[i&63], &packets[i&63])
			}
		})
	}
}
