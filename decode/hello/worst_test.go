package hello

import (
	"bytes"
	"testing"
)

// BenchmarkWorst is the dearest input of each parser that fills MaxOpening.
func BenchmarkWorst(b *testing.B) {
	fill := func(head, part string) []byte {
		b := []byte(head)
		for len(b) < MaxOpening {
			b = append(b, part...)
		}
		return b[:MaxOpening-1]
	}
	records := append([]byte("\x00\x01\x80\x00\x00\x40\x00\xff\x00\x00\x00\x00"), bytes.Repeat([]byte("\x01a\x01b\x01c\x00\x00\x01\x00\x01"), 64)...)
	var (
		r Request
		h ClientHello
		s SSH
		m DNS
	)
	for _, c := range []struct {
		name  string
		b     []byte
		parse parser
	}{
		{"http", fill("GET / HTTP/1.1\r\n", "a:\n"), r.Parse},
		{"tls", fill("\x16\x03\x01\x00\x04\x01\x00\x20\x00", "\x16\x03\x01\x00\x01\x00"), h.Parse},
		{"ssh", fill("", "a\n"), s.Parse},
		{"dns", records, func(b []byte) (Status, int) { return m.Parse(b), 0 }},
		{"sniff", fill("", "\x01a"), func(b []byte) (Status, int) { return Status(Sniff(b, true, 53)), 0 }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.parse(c.b)
			}
		})
	}
}
