package tally

import (
	"bytes"
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
	"weir/decode"
	"weir/decode/conn"
)

// oddities is what the twin knows of echoes and peculiarities.
type oddities struct {
	odds   map[Odd]uint64 // by kind and ends, with times 0
	times  map[Odd][2]int64
	echoes map[Echo]*twinEcho // by ends
}

type twinEcho struct {
	Echo
	sizes    map[int]bool
	asked    map[int]bool
	contents [][]byte
}

func (t *oddities) odd(kind OddKind, time int64, src, dst decode.Addr, mac uint64) {
	k := Odd{Kind: kind, Ver: 4, Src: src, Dst: dst, MAC: mac}
	if t.times == nil {
		t.times = map[Odd][2]int64{}
	}
	if t.odds[k]++; t.odds[k] == 1 {
		t.times[k] = [2]int64{time, time}
	}
	t.times[k] = [2]int64{min(t.times[k][0], time), max(t.times[k][1], time)}
}

func (t *oddities) packet(p *decode.Packet, ev conn.Event) {
	src, srcPort := p.Src()
	dst, dstPort := p.Dst()
	if p.Kind == decode.KindARP {
		if len(p.Data) == 28 && src != v4(0) {
			kind := OddARPClaim
			if src == dst {
				kind = OddARPGratuit
			}
			t.odd(kind, p.Time, src, decode.Addr{}, uint64(p.Data[13]))
		}
		return
	}
	if p.Kind != decode.KindIPv4 {
		return
	}
	for bit, kind := range map[conn.Event]OddKind{conn.EvOverlap: OddFragment, conn.EvTTL: OddTTL, conn.EvSplit: OddSplit, conn.EvResend: OddOverlap} {
		if has(ev, bit) {
			t.odd(kind, p.Time, src, dst, 0)
		}
	}
	alone := !has(ev, conn.EvAnswered) && !has(ev, conn.EvEstablished)
	if alone && impossible(src.Netip(4), dst.Netip(4), p.Key.Proto, dstPort) {
		t.odd(OddSource, p.Time, src, dst, 0)
	}
	if p.FragOff != 0 {
		return
	}
	named := p.Key.Proto == 6 || p.Key.Proto == 17
	told := alone || has(ev, conn.EvOverlap|conn.EvTTL|conn.EvSplit|conn.EvResend)
	bad := p.Key.Proto == 6 && !stackSends(p.Flags)
	if src == dst && srcPort == dstPort && named && !src.Netip(4).IsLoopback() && (told || bad) {
		t.odd(OddLand, p.Time, src, dst, 0)
	}
	if bad && p.End >= 20 {
		t.odd(OddFlags, p.Time, src, dst, 0)
	}
	if p.Key.Proto == 17 && told && srcPort == 67 && dstPort == 68 && bytes.HasPrefix(p.Data, []byte{2}) {
		t.odd(OddDHCPServer, p.Time, src, decode.Addr{}, 0)
	}
	if p.Key.Proto == 1 && (p.ICMPType == 8 || p.ICMPType == 0) {
		t.echo(p, src, dst, has(ev, conn.EvUnasked))
	}
}

// stackSends lists what stacks send: PSH may stand with anything.
func stackSends(flags uint16) bool {
	const f, s, r, a, u = 1, 2, 4, 16, 32
	return slices.Contains([]uint16{s, s | u, s | a, r, r | a, f | a, f | a | u, a, a | u}, flags&^8&63)
}

func impossible(src, dst netip.Addr, proto uint8, dstPort uint16) bool {
	reserved, this := netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("0.0.0.0/8")
	switch {
	case src.IsUnspecified() && proto == 17 && dstPort == 67:
		return false
	case src.IsLoopback():
		return !dst.IsLoopback()
	}
	return this.Contains(src) || src.IsMulticast() || reserved.Contains(src)
}

func (t *oddities) echo(p *decode.Packet, src, dst decode.Addr, unasked bool) {
	k := Echo{Client: src, Server: dst, Ver: 4}
	if p.ICMPType == 0 {
		k.Client, k.Server = dst, src
	}
	v := t.echoes[k]
	if v == nil {
		v = &twinEcho{Echo: k, sizes: map[int]bool{}, asked: map[int]bool{}}
		v.First, v.MinSize = math.MaxInt64, math.MaxUint16
		t.echoes[k] = v
	}
	size := int(p.PayloadLen)
	v.First, v.Last = min(v.First, p.Time), max(v.Last, p.Time)
	v.MinSize, v.MaxSize = min(v.MinSize, uint16(size)), max(v.MaxSize, uint16(size))
	v.sizes[size] = true
	if p.ICMPType == 8 {
		v.asked[size] = true
		v.Requests, v.RequestBytes = v.Requests+1, v.RequestBytes+uint64(size)
	} else {
		if unasked || len(v.asked) > 0 && !v.asked[size] {
			v.Odd++
		}
		v.Replies, v.ReplyBytes = v.Replies+1, v.ReplyBytes+uint64(size)
	}
	if len(p.Data) > 16 {
		v.contents = append(v.contents, p.Data[16:min(64, len(p.Data))])
	}
}

func (t *oddities) lists(k *keys) (odds []Odd, echoes []Echo) {
	for o, n := range t.odds {
		o.Count, o.First, o.Last = n, t.times[o][0], t.times[o][1]
		odds = append(odds, o)
	}
	slices.SortFunc(odds, func(a, b Odd) int { return a.compare(&b) })
	for _, v := range t.echoes {
		for size := range v.sizes {
			v.Sizes.Add(k.word(uint64(size)))
		}
		for size := range v.asked {
			v.Asked |= 1 << (k.word(uint64(size)) & 63)
		}
		for _, c := range v.contents {
			v.Contents.Add(k.text(c))
		}
		echoes = append(echoes, v.Echo)
	}
	slices.SortFunc(echoes, func(a, b Echo) int { return a.compare(&b) })
	return odds, echoes
}

// anyARP makes p an ARP packet of few hosts, or a cut one.
func anyARP(t *rapid.T, p *decode.Packet) {
	p.Key = decode.Key{A: v4(rapid.Uint32Range(0, 2).Draw(t, "sender")), B: v4(rapid.Uint32Range(0, 2).Draw(t, "target"))}
	p.Data = make([]byte, rapid.SampledFrom([]int{28, 28, 20}).Draw(t, "captured"))
	copy(p.Data, []byte{0, 1, 8, 0, 6, 4, 0, 1, 0, 0, 0, 0, 0, rapid.ByteRange(1, 2).Draw(t, "mac")})
}

// anyOdd makes some packets peculiar, and gives those of ICMP and UDP some payload.
func anyOdd(t *rapid.T, p *decode.Packet) {
	switch p.Key.Proto {
	case 6:
		p.End = rapid.SampledFrom([]uint32{0, 20}).Draw(t, "end")
	case 1, 17:
		p.Data = make([]byte, rapid.IntRange(0, 70).Draw(t, "captured"))
		for i := range p.Data {
			p.Data[i] = byte(p.Hash & 3)
		}
		p.End = uint32(len(p.Data))
		p.PayloadLen = p.End
	}
	switch rapid.IntRange(0, 7).Draw(t, "odd") {
	case 0:
		p.Key.B, p.Key.PortB = p.Key.A, p.Key.PortA
	case 1:
		p.Key.A = v4(rapid.SampledFrom([]uint32{0, 1, 127<<24 | 1, 224 << 24, 1<<32 - 1}).Draw(t, "reserved"))
	case 2:
		p.Key.PortA, p.Key.PortB = 67, 68
	case 3:
		p.Key.A, p.Key.B = v4(127<<24|1), v4(127<<24|1)
	}
}

// TestIPv6Oddities decodes packets that were written by hand from RFC 8200, RFC 4443 and RFC 4861.
func TestIPv6Oddities(t *testing.T) {
	host, all := "\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01", "\xff\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	none, self := string(make([]byte, 16)), string(make([]byte, 15))+"\x01"
	for _, c := range []struct {
		name, src, dst string
		next, kind     byte
		want           []OddKind
		echoes         int
	}{
		{"router advertisement", host, all, 58, 134, []OddKind{OddRouter}, 0},
		{"address detection", none, all, 58, 135, nil, 0},
		{"UDP from nowhere", none, all, 17, 0, []OddKind{OddSource}, 0},
		{"from a group", all, host, 17, 0, []OddKind{OddSource}, 0},
		{"from loopback", self, host, 58, 128, []OddKind{OddSource}, 1},
		{"within loopback", self, self, 58, 128, nil, 1},
		{"echo reply", host, host, 58, 129, nil, 1},
		{"LAND", host, host, 17, 0, []OddKind{OddLand}, 0},
	} {
		frame := append([]byte{0x60, 0, 0, 0, 0, 16, c.next, 255}, c.src+c.dst...)
		frame = append(frame, c.kind, 0, 0, 0, 0, 16, 0, 0)
		frame = append(frame, make([]byte, 8)...)
		var p decode.Packet
		decode.NewDecoder(1).Decode(&decode.Frame{Data: frame, WireLen: uint32(len(frame)), Time: 5, Link: decode.LinkRaw}, &p)
		if p.Why != decode.WhyOK || p.Key.Ver != 6 {
			t.Fatalf("%s: %+v", c.name, p)
		}
		s := NewShard(Defaults(), 7)
		s.Packet(&p, conn.EvNew|conn.EvOrig)
		var e Epoch
		NewMerger(Defaults()).Merge(&e, 0, []*Shard{s})
		var got []OddKind
		for i := range e.Odds {
			got = append(got, e.Odds[i].Kind)
		}
		if !slices.Equal(got, c.want) || len(e.Echoes) != c.echoes {
			t.Errorf("%s: %v, %d echoes", c.name, got, len(e.Echoes))
		}
	}
}
