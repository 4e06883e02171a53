//go:build linux

package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// frame describes a frame to build. What is 0 gets a usual value.
type frame struct {
	src, dst     string // 192.0.2.1 to 198.51.100.1, or 2001:db8::1 to 2001:db8:ff::1
	proto        uint8  // TCP
	sport, dport uint16 // 40000 to 80
	flags        uint16 // SYN
	window       uint16
	ttl          uint8 // 64
	options      []byte
	payload      []byte
	fragment     uint16 // IPv4's word; IPv6: a fragment header with this word (offset in the upper 13 bits)
	withFragment bool
	vlans        []uint16 // EtherTypes of tags, outermost first
	ext          []byte   // IPv6: kinds of extension headers, 8 bytes each
	raw          []byte   // instead of the transport header
	ipOptions    int      // bytes, IPv4
	cut          int      // the frame ends here
	length       int      // IPv4 total, IPv6 payload length, -1: 0
}

const (
	syn = 1 << 1
	ack = 1 << 4
)

func (f frame) bytes() []byte {
	src, dst := netip.MustParseAddr(or(f.src, "192.0.2.1")), netip.MustParseAddr(or(f.dst, "198.51.100.1"))
	if f.dst == "" && src.Is6() {
		dst = netip.MustParseAddr("2001:db8:ff::1")
	}
	b := make([]byte, 12)
	b[0], b[6] = 2, 2
	for i, v := range f.vlans {
		b = binary.BigEndian.AppendUint16(b, v)
		b = binary.BigEndian.AppendUint16(b, uint16(100+i))
	}
	proto := or(f.proto, 6)
	upper := f.raw
	if upper == nil {
		upper = f.transport(proto)
	}
	if src.Is4() {
		b = f.ipv4(append(b, 8, 0), src, dst, proto, upper)
	} else {
		b = f.ipv6(append(b, 0x86, 0xdd), src, dst, proto, upper)
	}
	if f.cut != 0 {
		b = b[:f.cut]
	}
	return b
}

func (f frame) transport(proto uint8) (b []byte) {
	switch proto {
	case 6:
		b = binary.BigEndian.AppendUint16(b, or(f.sport, 40000))
		b = binary.BigEndian.AppendUint16(b, or(f.dport, 80))
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 0)
		flags := or(f.flags, syn)
		b = append(b, uint8(5+len(f.options)/4)<<4|uint8(flags>>8&1), uint8(flags))
		b = binary.BigEndian.AppendUint16(b, f.window)
		b = append(b, 0, 0, 0, 0)
		b = append(b, f.options...)
	case 17, 132, 136:
		b = binary.BigEndian.AppendUint16(b, or(f.sport, 40000))
		b = binary.BigEndian.AppendUint16(b, or(f.dport, 80))
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(f.payload)))
		b = append(b, 0, 0)
		if proto == 132 {
			b = append(b, 0, 0, 0, 0)
		}
	}
	return append(b, f.payload...)
}

func (f frame) ipv4(b []byte, src, dst netip.Addr, proto uint8, upper []byte) []byte {
	total := uint16(20 + f.ipOptions + len(upper))
	if f.length != 0 {
		total = uint16(max(f.length, 0))
	}
	b = append(b, 0x40|uint8(5+f.ipOptions/4), 0)
	b = binary.BigEndian.AppendUint16(b, total)
	b = append(b, 0, 1)
	b = binary.BigEndian.AppendUint16(b, f.fragment)
	b = append(b, or(f.ttl, 64), proto, 0, 0)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	b = append(b, slices.Repeat([]byte{1}, f.ipOptions)...)
	return append(b, upper...)
}

func (f frame) ipv6(b []byte, src, dst netip.Addr, proto uint8, upper []byte) []byte {
	kinds := slices.Clone(f.ext)
	if f.withFragment {
		kinds = append(kinds, 44)
	}
	kinds = append(kinds, proto)
	size := 8*(len(kinds)-1) + len(upper)
	if f.length != 0 {
		size = max(f.length, 0)
	}
	b = append(b, 0x60, 0, 0, 0, byte(size>>8), byte(size), kinds[0], or(f.ttl, 64))
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	for i, k := range kinds[:len(kinds)-1] {
		switch k {
		case 44:
			b = append(b, kinds[i+1], 0, byte(f.fragment>>8), byte(f.fragment), 0, 0, 0, 7)
		default: // of 8 bytes: length 0, for AH too (8 = (0+2)×4)
			b = append(b, kinds[i+1], 0, 1, 4, 0, 0, 0, 0)
		}
	}
	return append(b, upper...)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
