package baseline

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// String is the key in words: "service 10.0.0.5 tcp/443 packets", "prefix 192.0.2.0/24 bytes", "pair 10.0.0.5 >198.51.100.7
// bytes_out", "asn AS64500 connections", "country DE packets", "name =0:0123456789abcdef0123456789abcdef queries". What is no
// address of its version stands as =VERSION:HEX, what is no AS and no country as #NUMBER. ParseKey is its inverse.
func (k Key) String() string {
	b := append(make([]byte, 0, 96), k.Kind.String()...)
	if k.Ver != 0 || k.Bits != 0 || k.Addr != [2]uint64{} {
		b = appendAddr(append(b, ' '), k.Ver, k.Addr)
		if k.Bits != 0 {
			b = strconv.AppendUint(append(b, '/'), uint64(k.Bits), 10)
		}
	}
	if k.Peer != [2]uint64{} {
		b = appendAddr(append(b, " >"...), k.Ver, k.Peer)
	}
	if k.Proto != 0 || k.Port != 0 {
		b = append(append(b, ' '), protocolName(k.Proto)...)
		b = strconv.AppendUint(append(b, '/'), uint64(k.Port), 10)
	}
	switch code := []byte{byte(k.Num >> 8), byte(k.Num)}; {
	case k.Num == 0:
	case k.Kind == KindASN, k.Kind == KindHostASN:
		b = strconv.AppendUint(append(b, " AS"...), uint64(k.Num), 10)
	case k.Num>>16 == 0 && isCountry(string(code)):
		b = append(append(b, ' '), code...)
	default:
		b = strconv.AppendUint(append(b, " #"...), uint64(k.Num), 10)
	}
	return string(append(append(b, ' '), k.Measure.String()...))
}

func appendAddr(b []byte, ver uint8, a [2]uint64) []byte {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], a[0])
	binary.BigEndian.PutUint64(raw[8:], a[1])
	switch addr := netip.AddrFrom16(raw); {
	case ver == 4 && addr.Is4In6():
		return addr.Unmap().AppendTo(b)
	case ver == 6:
		return addr.AppendTo(b)
	}
	b = strconv.AppendUint(append(b, '='), uint64(ver), 10)
	return hex.AppendEncode(append(b, ':'), raw[:])
}

var protocols = []struct {
	number uint8
	name   string
}{{1, "icmp"}, {6, "tcp"}, {17, "udp"}, {58, "icmp6"}, {132, "sctp"}}

func protocolName(n uint8) string {
	for _, p := range protocols {
		if p.number == n {
			return p.name
		}
	}
	return strconv.Itoa(int(n))
}

func isCountry(s string) bool {
	return len(s) == 2 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// ParseKey reads a key in words.
func ParseKey(s string) (k Key, err error) {
	words := strings.Fields(s)
	if len(words) < 2 || len(words) > 6 {
		return k, fmt.Errorf("%.100q is not a key: want a kind, what it is of, and a measure, like \"service 10.0.0.5 tcp/443 packets\"", s)
	}
	first, last := words[0], words[len(words)-1]
	kind, measure := slices.Index(kindNames[:], first), slices.Index(measureNames[:], last)
	if kind < 0 {
		return k, fmt.Errorf("%.40q is not a kind: want one of %s", first, strings.Join(kindNames[:], ", "))
	}
	if measure < 0 {
		return k, fmt.Errorf("%.40q is not a measure: want one of %s", last, strings.Join(measureNames[:], ", "))
	}
	k.Kind, k.Measure = Kind(kind), Measure(measure)
	for _, word := range words[1 : len(words)-1] {
		if !k.parse(word) {
			return k, fmt.Errorf("%.60q in key %.100q is neither an address, a prefix, >peer, protocol/port, ASnumber, country, nor #number", word, s)
		}
	}
	return k, nil
}

// parse reads one word of a key.
func (k *Key) parse(word string) bool {
	if peer, ok := strings.CutPrefix(word, ">"); ok {
		ver, a, ok := parseAddr(peer)
		k.Peer = a
		return ok && (ver == k.Ver || k.Ver == 0)
	}
	if n, ok := strings.CutPrefix(word, "#"); ok {
		return parseNumber(n, 32, &k.Num)
	}
	if n, ok := strings.CutPrefix(word, "AS"); ok && len(n) > 0 {
		return parseNumber(n, 32, &k.Num)
	}
	if isCountry(word) {
		k.Num = Letters(word)
		return true
	}
	where, number, two := strings.Cut(word, "/")
	if ver, a, ok := parseAddr(where); ok {
		k.Ver, k.Addr = ver, a
		return !two || parseNumber(number, 8, &k.Bits)
	}
	for _, p := range protocols {
		if p.name == where {
			where = strconv.Itoa(int(p.number))
		}
	}
	return two && parseNumber(where, 8, &k.Proto) && parseNumber(number, 16, &k.Port)
}

func parseNumber[T uint8 | uint16 | uint32](s string, bits int, v *T) bool {
	n, err := strconv.ParseUint(s, 10, bits)
	*v = T(n)
	return err == nil
}

func parseAddr(s string) (ver uint8, a [2]uint64, ok bool) {
	var raw [16]byte
	if s, ok := strings.CutPrefix(s, "="); ok {
		v, text, _ := strings.Cut(s, ":")
		if n, err := hex.Decode(raw[:], []byte(text[:min(len(text), 32)])); err != nil || n != 16 || len(text) != 32 || !parseNumber(v, 8, &ver) {
			return 0, a, false
		}
	} else {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return 0, a, false
		}
		raw, ver = addr.As16(), 6
		if addr.Is4() {
			ver = 4
		}
	}
	return ver, [2]uint64{binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])}, true
}
