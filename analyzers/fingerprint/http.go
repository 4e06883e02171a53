package fingerprint

import (
	"crypto/sha256"

	"weir/decode/hello"
)

// maxMethod is how much of a method's name a print shows.
const maxMethod = 11

// HTTP is the print of an HTTP/1 client, our own form:
//
//	GET:1:6f1e2a9c04d7:0b1c9e3d5a7f
//
// method, minor version, then the beginnings of two SHA-256: of the header names as sent, in their order, a line feed behind
// each; and of the User-Agent, which is "-" without one. Headers that come and go with what is asked and not with who asks, and
// those that proxies add, are left out. None of a head whose end has not been seen. About 1 µs.
func HTTP(r *hello.Request) Print {
	if r.Head == 0 {
		return Print{}
	}
	var p Print
	p.write(r.Method[:min(len(r.Method), maxMethod)]...)
	p.write(':', '0'+r.Minor, ':')
	var room [2048]byte
	b := room[:0]
	for i := range r.NFields {
		if name := r.Name(i); !passing(name) {
			b = appendLine(b, name)
		}
	}
	const size = 6
	sum := sha256.Sum256(b)
	p.hex(sum[:size])
	p.write(':')
	if len(r.UserAgent) == 0 {
		p.write('-')
		return p.seal()
	}
	sum = sha256.Sum256(r.UserAgent)
	p.hex(sum[:size])
	return p.seal()
}

// passing tells whether a header depends on the request, the site or the way, not on the program.
func passing(name []byte) bool {
	switch len(name) {
	case 3:
		return sameFold(name, "via")
	case 5:
		return sameFold(name, "range")
	case 6:
		return sameFold(name, "cookie") || sameFold(name, "origin")
	case 7:
		return sameFold(name, "referer")
	case 8:
		return sameFold(name, "if-match") || sameFold(name, "if-range")
	case 9:
		return sameFold(name, "forwarded") || sameFold(name, "x-real-ip")
	case 12:
		return sameFold(name, "content-type")
	case 13:
		return sameFold(name, "authorization") || sameFold(name, "if-none-match")
	case 14:
		return sameFold(name, "content-length")
	case 15:
		return sameFold(name, "x-forwarded-for")
	case 16:
		return sameFold(name, "x-forwarded-host") || sameFold(name, "x-forwarded-port")
	case 17:
		return sameFold(name, "x-forwarded-proto") || sameFold(name, "if-modified-since") || sameFold(name, "transfer-encoding")
	}
	return false
}

// sameFold compares a name with a word in lower case, letters of either case.
func sameFold(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
