package fingerprint

import (
	"encoding/binary"
	"encoding/hex"
)

// maxPrint is the longest text of a print: JA4 has 36 characters, an HTTP print at most 39.
const maxPrint = 39

// Print is the fingerprint of an application's opening: a short text that people compare, and a key that tables count by.
// Comparable, 48 bytes, no pointer; the zero Print means that there is none.
type Print struct {
	Key  uint64 // a fixed function of the text: the same in every process, machine and release
	text [maxPrint]byte
	n    uint8
}

// None tells whether p is the zero Print.
func (p *Print) None() bool { return p.n == 0 }

// Append appends the text.
func (p *Print) Append(b []byte) []byte { return append(b, p.text[:p.n]...) }

// String is the text; it allocates.
func (p Print) String() string { return string(p.text[:p.n]) }

// write adds to the text what there is room for.
func (p *Print) write(b ...byte) { p.n += uint8(copy(p.text[p.n:], b)) }

// hex adds bytes in hexadecimal.
func (p *Print) hex(b []byte) {
	if room := maxPrint - int(p.n); 2*len(b) <= room {
		p.n += uint8(hex.Encode(p.text[p.n:], b))
	}
}

// seal sets the key. It is not keyed: who chooses a hello can choose another's print as well.
func (p *Print) seal() Print {
	h := uint64(p.n) ^ 0x9e3779b97f4a7c15
	for i := 0; i < len(p.text)-7; i += 8 {
		h = fold(h^binary.LittleEndian.Uint64(p.text[i:]), 0xd6e8feb86659fd93)
	}
	var last [8]byte
	copy(last[:], p.text[len(p.text)/8*8:])
	p.Key = fold(h^binary.LittleEndian.Uint64(last[:]), 0xaef17502108ef2d9)
	return *p
}
