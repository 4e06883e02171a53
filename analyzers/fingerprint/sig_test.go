package fingerprint

import (
	"encoding/binary"
	"strings"
	"testing"
	"unsafe"

	"weir/decode"
)

// segment is a SYN to be; zero fields stay zero on the wire.
type segment struct {
	six      bool
	ttl      uint8
	tos      uint8
	id       uint16
	frag     uint16 // flags and offset
	flow     uint32
	ipOpt    int // bytes
	flags    uint16
	seq, ack uint32
	window   uint16
	urgent   uint16
	options  string
	data     string
}

func (s segment) tcp() []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	binary.BigEndian.PutUint16(b[12:], uint16(20+len(s.options))/4<<12|s.flags)
	binary.BigEndian.PutUint16(b[14:], s.window)
	binary.BigEndian.PutUint16(b[18:], s.urgent)
	return append(append(b, s.options...), s.data...)
}

func (s segment) bytes() []byte {
	tcp := s.tcp()
	if s.six {
		b := make([]byte, 40, 40+len(tcp))
		binary.BigEndian.PutUint32(b, 6<<28|uint32(s.tos)<<20|s.flow)
		binary.BigEndian.PutUint16(b[4:], uint16(len(tcp)))
		b[6], b[7] = 6, s.ttl
		return append(b, tcp...)
	}
	b := make([]byte, 20+s.ipOpt, 60+len(tcp))
	b[0], b[1], b[8], b[9] = 0x45+byte(s.ipOpt/4), s.tos, s.ttl, 6
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(tcp)))
	binary.BigEndian.PutUint16(b[4:], s.id)
	binary.BigEndian.PutUint16(b[6:], s.frag)
	return append(b, tcp...)
}

func read(data []byte) (Sig, bool) {
	var p decode.Packet
	decode.NewDecoder(1).Decode(&decode.Frame{Data: data, WireLen: uint32(len(data)), Link: decode.LinkRaw}, &p)
	return FromPacket(&p)
}

const (
	syn    = decode.FlagSYN
	synack = decode.FlagSYN | decode.FlagACK
	df     = 0x4000
)

// What each field and quirk means stands in p0f's README, section 5; the texts here were written from it by hand.
func TestRaw(t *testing.T) {
	const mss, ws, sok, ts = "\x02\x04\x05\xb4", "\x03\x03\x07", "\x04\x02", "\x08\x0a\x00\x00\x00\x09\x00\x00\x00\x00"
	cases := []struct {
		name string
		s    segment
		want string
	}{
		{"bare", segment{ttl: 64, id: 1, seq: 1, flags: syn, window: 512}, "4:64:0:0:512,0:::0"},
		{
			"a usual SYN",
			segment{ttl: 60, id: 7, frag: df, seq: 1, flags: syn, window: 64240, options: mss + sok + ts + "\x01" + ws},
			"4:64:0:1460:mss*44,7:mss,sok,ts,nop,ws:df,id+:0",
		},
		{"far away", segment{ttl: 65, id: 1, seq: 1, flags: syn, window: 1}, "4:128:0:0:1,0:::0"},
		{"beyond 128", segment{ttl: 129, id: 1, seq: 1, flags: syn, window: 1}, "4:255:0:0:1,0:::0"},
		{"last hops", segment{ttl: 1, id: 1, seq: 1, flags: syn, window: 1}, "4:32:0:0:1,0:::0"},
		{"DF and no id", segment{ttl: 64, frag: df, seq: 1, flags: syn}, "4:64:0:0:0,0::df:0"},
		{"neither DF nor id", segment{ttl: 64, seq: 1, flags: syn}, "4:64:0:0:0,0::id-:0"},
		{"reserved bit", segment{ttl: 64, id: 1, frag: 0x8000, seq: 1, flags: syn}, "4:64:0:0:0,0::0+:0"},
		{"ECT", segment{ttl: 64, id: 1, tos: 2, seq: 1, flags: syn}, "4:64:0:0:0,0::ecn:0"},
		{"ECN setup", segment{ttl: 64, id: 1, seq: 1, flags: syn | decode.FlagECE | decode.FlagCWR}, "4:64:0:0:0,0::ecn:0"},
		{"DSCP is no ECN", segment{ttl: 64, id: 1, tos: 0xb8, seq: 1, flags: syn}, "4:64:0:0:0,0:::0"},
		{"IP options", segment{ttl: 64, id: 1, ipOpt: 8, seq: 1, flags: syn}, "4:64:8:0:0,0:::0"},
		{"IPv6", segment{six: true, ttl: 64, seq: 1, flags: syn, window: 3}, "6:64:0:0:3,0:::0"},
		{"flow label", segment{six: true, ttl: 64, flow: 0x80000, seq: 1, flags: syn}, "6:64:0:0:0,0::flow:0"},
		{"IPv6 ECT", segment{six: true, ttl: 64, tos: 1, seq: 1, flags: syn}, "6:64:0:0:0,0::ecn:0"},
		{"sequence 0", segment{ttl: 64, id: 1, flags: syn}, "4:64:0:0:0,0::seq-:0"},
		{"stray acknowledgement", segment{ttl: 64, id: 1, seq: 1, ack: 4, flags: syn}, "4:64:0:0:0,0::ack+:0"},
		{"ACK of 0", segment{ttl: 64, id: 1, seq: 1, flags: synack}, "4:64:0:0:0,0::ack-:0"},
		{"SYN-ACK", segment{ttl: 64, id: 1, seq: 1, ack: 1, flags: synack}, "4:64:0:0:0,0:::0"},
		{"urgent pointer", segment{ttl: 64, id: 1, seq: 1, urgent: 1, flags: syn}, "4:64:0:0:0,0::uptr+:0"},
		{"URG", segment{ttl: 64, id: 1, seq: 1, urgent: 1, flags: syn | decode.FlagURG}, "4:64:0:0:0,0::urgf+:0"},
		{"PSH and data", segment{ttl: 64, id: 1, seq: 1, flags: syn | decode.FlagPSH, data: "x"}, "4:64:0:0:0,0::pushf+:+"},
		{
			"own timestamp 0",
			segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x01\x01\x08\x0a\x00\x00\x00\x00\x00\x00\x00\x00"},
			"4:64:0:0:0,0:nop,nop,ts:ts1-:0",
		},
		{
			"peer's timestamp",
			segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x01\x01\x08\x0a\x00\x00\x00\x01\x00\x00\x01\x00"},
			"4:64:0:0:0,0:nop,nop,ts:ts2+:0",
		},
		{
			"peer's timestamp in an answer",
			segment{ttl: 64, id: 1, seq: 1, ack: 1, flags: synack, options: "\x01\x01\x08\x0a\x00\x00\x00\x01\x00\x00\x01\x00"},
			"4:64:0:0:0,0:nop,nop,ts::0",
		},
		{"end and padding", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: sok + "\x00\x00"}, "4:64:0:0:0,0:sok,eol+1::0"},
		{"data after the end", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: sok + "\x00\x02"}, "4:64:0:0:0,0:sok,eol+1:opt+:0"},
		{"scale 15", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x03\x03\x0f\x01"}, "4:64:0:0:0,15:ws,nop:exws:0"},
		{"scale 14", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x03\x03\x0e\x01"}, "4:64:0:0:0,14:ws,nop::0"},
		{"unknown option", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\xfe\x04ab"}, "4:64:0:0:0,0:?254::0"},
		{"option without end", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x01\x01\xfe\x09"}, "4:64:0:0:0,0:nop,nop,?254:bad:0"},
		{"wrong size", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x02\x03\x05\xb4"}, "4:64:0:1460:0,0:mss:bad:0"},
		{"SACK of 2", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x01\x01\x05\x02"}, "4:64:0:0:0,0:nop,nop,sack:bad:0"},
		{
			"more than 24",
			segment{ttl: 64, id: 1, seq: 1, flags: syn, options: strings.Repeat("\x01", 28)},
			"4:64:0:0:0,0:" + strings.Repeat("nop,", 23) + "nop:bad:0",
		},
		{"MTU", segment{ttl: 64, id: 1, seq: 1, flags: syn, window: 3000, options: mss}, "4:64:0:1460:mtu*2,0:mss::0"},
		{
			"MSS less timestamps",
			segment{ttl: 64, id: 1, seq: 1, flags: syn, window: 13880, options: "\x02\x04\x05\x78" + "\x01\x01" + ts},
			"4:64:0:1400:mss*10,0:mss,nop,nop,ts::0",
		},
		{"MTU of Ethernet", segment{ttl: 64, id: 1, seq: 1, flags: syn, window: 3000, options: "\x02\x04\x05\x14"}, "4:64:0:1300:mtu*2,0:mss::0"},
		{"SACK of 34", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x05\x22" + strings.Repeat("\x01", 34)}, "4:64:0:0:0,0:sack,nop,nop::0"},
		{"SACK of 35", segment{ttl: 64, id: 1, seq: 1, flags: syn, options: "\x05\x23" + strings.Repeat("\x01", 34)}, "4:64:0:0:0,0:sack:bad:0"},
		{"tiny MSS", segment{ttl: 64, id: 1, seq: 1, flags: syn, window: 198, options: "\x02\x04\x00\x63"}, "4:64:0:99:198,0:mss::0"},
	}
	for _, c := range cases {
		s, ok := read(c.s.bytes())
		if !ok || s.String() != c.want {
			t.Errorf("%s: got %s, want %s", c.name, s, c.want)
		}
		if s.SYNACK != (c.s.flags&decode.FlagACK != 0) {
			t.Errorf("%s: SYNACK is %v", c.name, s.SYNACK)
		}
	}
}

func TestNoSignature(t *testing.T) {
	whole := segment{ttl: 64, flags: syn, options: "\x02\x04\x05\xb4"}.bytes()
	for name, data := range map[string][]byte{
		"ACK":      segment{flags: decode.FlagACK}.bytes(),
		"SYN-FIN":  segment{flags: syn | decode.FlagFIN}.bytes(),
		"SYN-RST":  segment{flags: syn | decode.FlagRST}.bytes(),
		"cut":      whole[:len(whole)-1],
		"cut more": whole[:30],
		"fragment": segment{flags: syn, frag: 1}.bytes(),
		"empty":    nil,
	} {
		if s, ok := read(data); ok {
			t.Errorf("%s: %s", name, s)
		}
	}
	if _, ok := FromPacket(&decode.Packet{Flags: syn, Kind: decode.KindIPv4, Key: decode.Key{Proto: 6}}); ok {
		t.Error("a packet without bytes has a signature")
	}
}

// Hashes meet those of other sensors and releases: they were computed from the formula in another language.
func TestHash(t *testing.T) {
	bare, _ := read(segment{ttl: 64, id: 1, seq: 1, flags: syn, window: 512}.bytes())
	linux, _ := FromPacket(linuxSYN())
	if bare.Hash() != 0xec46b5820f5cd332 || linux.Hash() != 0x430935e6491756ef {
		t.Errorf("%#x and %#x", bare.Hash(), linux.Hash())
	}
	answer := bare
	answer.SYNACK = true
	if answer.Hash() == bare.Hash() {
		t.Error("SYN and SYN-ACK have one hash")
	}
}

func TestCost(t *testing.T) {
	if n := unsafe.Sizeof(Sig{}); n > 48 {
		t.Errorf("%d bytes", n)
	}
	p := linuxSYN()
	buf := make([]byte, 0, 160)
	if n := testing.AllocsPerRun(100, func() {
		s, ok := FromPacket(p)
		if !ok || Lookup(s) == 0 || s.Hash() == 0 {
			t.Fatal("no label")
		}
		buf = s.AppendRaw(buf[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func linuxSYN() *decode.Packet {
	data := segment{
		ttl: 60, id: 7, frag: df, seq: 1, flags: syn, window: 64240,
		options: "\x02\x04\x05\xb4\x04\x02\x08\x0a\x00\x00\x00\x09\x00\x00\x00\x00\x01\x03\x03\x07",
	}.bytes()
	p := new(decode.Packet)
	decode.NewDecoder(1).Decode(&decode.Frame{Data: data, WireLen: uint32(len(data)), Link: decode.LinkRaw}, p)
	return p
}

func BenchmarkFromPacket(b *testing.B) {
	p := linuxSYN()
	for b.Loop() {
		FromPacket(p)
	}
}

func BenchmarkLookup(b *testing.B) {
	s, _ := FromPacket(linuxSYN())
	for b.Loop() {
		Lookup(s)
	}
}

func BenchmarkHash(b *testing.B) {
	s, _ := FromPacket(linuxSYN())
	for b.Loop() {
		s.Hash()
	}
}

// Any bytes: no panic, text within bounds, and one text for one signature.
func FuzzFromPacket(f *testing.F) {
	f.Add(segment{ttl: 64, flags: syn, options: "\x02\x04\x05\xb4\x04\x02\x00\x00"}.bytes())
	f.Add(segment{six: true, ttl: 64, flags: synack, options: "\x05\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x01\x01"}.bytes())
	f.Add(segment{ttl: 64, flags: syn, ipOpt: 40, options: strings.Repeat("\x13\x02", 20)}.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		s, ok := read(data)
		if !ok {
			return
		}
		text := s.String()
		if s.NOpt > MaxOptions || len(text) > 220 || strings.Count(text, ":") != 7 {
			t.Fatalf("%d options, %s", s.NOpt, text)
		}
		again, _ := read(data)
		if again != s || again.Hash() != s.Hash() || int(Lookup(s)) >= len(labels) {
			t.Fatal("not the same twice")
		}
	})
}
