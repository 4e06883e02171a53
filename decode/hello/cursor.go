package hello

import "encoding/binary"

// cursor reads from the front of a slice. A read beyond the end makes it null: that read and all later ones give zero values,
// and bad stays set, so that a parser is straight-line code and asks once at its end.
type cursor struct {
	b   []byte
	bad bool
}

// take is the next n bytes.
func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) skip(n int) { c.take(n) }

func (c *cursor) u8() uint8 {
	if v := c.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if v := c.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (c *cursor) u24() int {
	if v := c.take(3); v != nil {
		return int(v[0])<<16 | int(v[1])<<8 | int(v[2])
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if v := c.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// list8 is a vector behind a length of one byte.
func (c *cursor) list8() []byte { return c.take(int(c.u8())) }

// list16 is a vector behind a length of two bytes.
func (c *cursor) list16() []byte { return c.take(int(c.u16())) }

// some is the next n bytes, or as many as there are.
func (c *cursor) some(n int) []byte { return c.take(min(n, len(c.b))) }
