package decode

import (
	"encoding/hex"
	"strings"
	"testing"
)

// unhex reads bytes written with spaces between them.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

const macs = "020000000002 020000000001 "

var benchFrames = []struct {
	name string
	data []byte
}{
	{"tcp4", unhex(macs + "0800 45000034 1234 4000 40 06 0000 0a000001 0a000002 c001 0050 00000001 00000002 8010 1000 0000 0000 0101080a 00000003 00000004")},
}

func BenchmarkDecode(b *testing.B) {
	d := NewDecoder(1)
	for _, c := range benchFrames {
		b.Run(c.name, func(b *testing.B) {
			f := Frame{Data: c.data, WireLen: uint32(len(c.data)), Link: LinkEthernet}
			var p Packet
			b.ReportAllocs()
			for b.Loop() {
				d.Decode(&f, &p)
			}
			if p.Kind != KindIPv4 || p.Why != WhyOK || p.Key.PortA != 0xc001 || p.Opt.TSVal != 3 {
				b.Fatalf("%+v", p)
			}
		})
	}
}
