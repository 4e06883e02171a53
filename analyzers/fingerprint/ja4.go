package fingerprint

import (
	"crypto/sha256"
	"slices"

	"weir/decode/hello"
)

// maxCodes is how many cipher suites, groups and signature algorithms each a hello may have that gets a print. IANA has
// registered some 350 suites; the largest hello of a real program, OpenSSL's with all of its own, has below 200.
const maxCodes = 512

// printable tells whether a hello gets a print: it was read to its end and is no larger than programs' are.
func printable(h *hello.ClientHello) bool {
	return !h.Cut && h.Size > 0 && max(h.Ciphers.Len(), h.Groups.Len(), h.Signatures.Len()) <= maxCodes
}

// JA4 is the fingerprint of a TLS client (https://github.com/FoxIO-LLC/ja4, JA4 alone, BSD-3-Clause):
//
//	t13d1516h2_8daaf6152771_e5627efa2ab1
//
// transport (t for TCP, q for QUIC), version, d with a server name and i without, numbers of cipher suites and of extensions, first
// and last character of the first ALPN name; then the sorted suites, and the sorted extensions with the signature algorithms
// in order, each as the beginning of a SHA-256. GREASE is left out everywhere. A character of the ALPN name that is no letter
// or digit is written as 9: so do FoxIO's programs, where its text asks for hexadecimal digits. None of a hello that was
// cut. About 1 µs.
func JA4(h *hello.ClientHello, quic bool) Print {
	if !printable(h) {
		return Print{}
	}
	var p Print
	var room [maxCodes]uint16
	ciphers := meaningful(room[:0], h.Ciphers)
	slices.Sort(ciphers)
	p.head(h, quic, len(ciphers))

	var text [5 * 2 * maxCodes]byte
	p.digest(appendHex(text[:0], ciphers))
	p.write('_')
	extensions, _ := types(room[:0], &h.Hello)
	slices.Sort(extensions)
	b := appendHex(text[:0], extensions)
	if signatures := meaningful(room[:0], h.Signatures); len(signatures) > 0 {
		b = appendHex(append(b, '_'), signatures)
	}
	p.digest(b)
	return p.seal()
}

// head writes the readable part.
func (p *Print) head(h *hello.ClientHello, quic bool, ciphers int) {
	transport, name := byte('t'), byte('i')
	if quic {
		transport = 'q'
	}
	if h.Has(hello.ExtServerName) {
		name = 'd'
	}
	var room [hello.MaxExtensions]uint16
	_, extensions := types(room[:0], &h.Hello)
	version := versionJA4(h.Version())
	p.write(transport, version[0], version[1], name)
	p.two(ciphers)
	p.two(extensions)
	first, last := byte('0'), byte('0')
	if alpn := h.ALPN.First(); len(alpn) > 0 {
		first, last = alphanumeric(alpn[0]), alphanumeric(alpn[len(alpn)-1])
	}
	p.write(first, last, '_')
}

// two writes a number in two digits, 99 for all above.
func (p *Print) two(n int) {
	n = min(n, 99)
	p.write('0'+byte(n/10), '0'+byte(n%10))
}

// digest writes the beginning of a list's SHA-256, zeros for an empty list.
func (p *Print) digest(text []byte) {
	const size = 6
	var sum [sha256.Size]byte
	if len(text) > 0 {
		sum = sha256.Sum256(text)
	}
	p.hex(sum[:size])
}

func alphanumeric(c byte) byte {
	if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
		return c
	}
	return '9'
}

// versionJA4 is a version in two characters.
func versionJA4(v uint16) string {
	switch v {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	}
	return "00"
}

// meaningful appends the code points that are not GREASE.
func meaningful(dst []uint16, codes hello.Codes) []uint16 {
	for i := range codes.Len() {
		if v := codes.At(i); !hello.GREASE(v) {
			dst = append(dst, v)
		}
	}
	return dst
}

// types appends the extensions that are hashed: neither GREASE nor server name nor ALPN, which differ by destination. n is
// how many there are with these two.
func types(dst []uint16, h *hello.Hello) (list []uint16, n int) {
	for _, v := range h.Extensions[:h.NExt] {
		if hello.GREASE(v) {
			continue
		}
		n++
		if v != hello.ExtServerName && v != hello.ExtALPN {
			dst = append(dst, v)
		}
	}
	return dst, n
}

// appendHex appends code points in four hexadecimal digits, commas between them.
func appendHex(b []byte, codes []uint16) []byte {
	const digits = "0123456789abcdef"
	for i, v := range codes {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, digits[v>>12], digits[v>>8&15], digits[v>>4&15], digits[v&15])
	}
	return b
}
