package filter

import (
	"testing"

	"weir/decode"
)

// FuzzMatch holds the promise of BPF on any frame: what Match accepts of a whole frame, the program accepts.
func FuzzMatch(f *testing.F) {
	ether := func(t string, rest string) []byte {
		return []byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b" + t + rest)
	}
	const udp = "\x45\x00\x00\x1c\x00\x01\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x35\x04\x00\x00\x08\x00\x00"
	const gre = "\x45\x00\x00\x34\x00\x01\x00\x00\x40\x2f\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x00\x08\x00" + udp
	const six = "\x60\x00\x00\x00\x00\x08\x3a\x40\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x80\x00\x00\x00\x00\x00\x00\x00"
	const arp = "\x00\x01\x08\x00\x06\x04\x00\x01\x00\x01\x02\x03\x04\x05\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x02"
	f.Add(ether("\x08\x00", udp), uint8(0))
	f.Add(ether("\x81\x00\x00\x07\x08\x00", udp), uint8(0))
	f.Add(ether("\x08\x00", gre), uint8(0))
	f.Add(ether("\x86\xdd", six), uint8(0))
	f.Add(ether("\x08\x06", arp), uint8(0))
	f.Add([]byte(six), uint8(1))
	f.Add([]byte("\x00\x00\x00\x01\x00\x06\x00\x01\x02\x03\x04\x05\x00\x00\x08\x00"+udp), uint8(2))
	f.Add([]byte("\x08\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x06\x00\x01\x02\x03\x04\x05\x00\x00"+udp), uint8(3))
	judges := map[decode.LinkType][]judge{}
	for _, link := range compiled {
		judges[link] = newJudges(f, link)
	}
	d := decode.NewDecoder(1)
	f.Fuzz(func(t *testing.T, frame []byte, which uint8) {
		link := compiled[int(which)%len(compiled)]
		var p decode.Packet
		d.Decode(&decode.Frame{Data: frame, WireLen: uint32(len(frame)), Link: link}, &p)
		for _, j := range judges[link] {
			if j.filter.Match(&p) && !run(t, j.ours, frame) {
				t.Fatalf("%q for link type %d: Match accepts %x, the program does not", j.expr, link, frame)
			}
		}
	})
}
