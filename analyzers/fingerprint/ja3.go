package fingerprint

import (
	"crypto/md5"
	"strconv"

	"weir/decode/hello"
)

// roomJA3 is the text of all usual hellos; a longer one is built on the heap.
const roomJA3 = 1024

// JA3 is the MD5 of AppendJA3's text (https://github.com/salesforce/ja3). None of a hello that was cut. It depends on the order of
// extensions, which browsers have shuffled since 2023: their JA3 changes with every connection, their JA4 does not. About
// 1 µs.
func JA3(h *hello.ClientHello) Print {
	if !printable(h) {
		return Print{}
	}
	var room [roomJA3]byte
	return md5Print(AppendJA3(room[:0], h))
}

// AppendJA3 appends version, cipher suites, extensions, groups and point formats, all decimal, GREASE left out.
func AppendJA3(b []byte, h *hello.ClientHello) []byte {
	b = strconv.AppendUint(b, uint64(h.Legacy), 10)
	b = appendCodes(append(b, ','), h.Ciphers)
	b = appendTypes(append(b, ','), &h.Hello)
	b = append(appendCodes(append(b, ','), h.Groups), ',')
	for i, v := range h.Points {
		if i > 0 {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}

// JA3S is the MD5 of AppendJA3S's text. None of a hello that was cut.
func JA3S(h *hello.ServerHello) Print {
	if h.Cut || h.Size == 0 {
		return Print{}
	}
	var room [roomJA3]byte
	return md5Print(AppendJA3S(room[:0], h))
}

// AppendJA3S appends version, cipher suite and extensions of a server's hello, decimal.
func AppendJA3S(b []byte, h *hello.ServerHello) []byte {
	b = strconv.AppendUint(b, uint64(h.Legacy), 10)
	b = strconv.AppendUint(append(b, ','), uint64(h.Cipher), 10)
	return appendTypes(append(b, ','), &h.Hello)
}

func md5Print(text []byte) Print {
	var p Print
	sum := md5.Sum(text)
	p.hex(sum[:])
	return p.seal()
}

// appendCodes appends code points in decimal, dashes between them.
func appendCodes(b []byte, codes hello.Codes) []byte {
	first := true
	for i := range codes.Len() {
		b, first = appendCode(b, codes.At(i), first)
	}
	return b
}

// appendTypes appends the types of a hello's extensions.
func appendTypes(b []byte, h *hello.Hello) []byte {
	first := true
	for _, v := range h.Extensions[:h.NExt] {
		b, first = appendCode(b, v, first)
	}
	return b
}

func appendCode(b []byte, v uint16, first bool) ([]byte, bool) {
	if hello.GREASE(v) {
		return b, first
	}
	if !first {
		b = append(b, '-')
	}
	return strconv.AppendUint(b, uint64(v), 10), false
}
