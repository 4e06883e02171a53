package hello

import "encoding/binary"

// Versions of QUIC whose Initial packets are read (RFC 9000, RFC 9369).
const (
	QUIC1 = 0x00000001
	QUIC2 = 0x6b3343cf
)

// Long is the part of a QUIC long header that all versions share (RFC 8999, section 5.1).
type Long struct {
	Version     uint32
	Destination []byte // connection id
	Source      []byte // connection id
	Initial     bool   // an Initial packet of a known version
}

// ParseLong reads the long header at the start of a datagram.
func ParseLong(datagram []byte) (Long, bool) {
	l, _, ok := long(datagram)
	return l, ok
}

const (
	longForm  = 0x80
	fixedBit  = 0x40
	maxConnID = 20 // RFC 9000, section 17.2
)

func long(b []byte) (l Long, rest cursor, ok bool) {
	c := cursor{b: b}
	first := c.u8()
	if first&longForm == 0 {
		return l, c, false
	}
	l.Version = c.u32()
	l.Destination = c.list8()
	l.Source = c.list8()
	if c.bad || len(l.Destination) > maxConnID || len(l.Source) > maxConnID {
		return Long{}, c, false
	}
	kind := first >> 4 & 3
	l.Initial = first&fixedBit != 0 && (l.Version == QUIC1 && kind == 0 || l.Version == QUIC2 && kind == 1)
	return l, c, true
}

// isQUIC knows a long header of a known version.
func isQUIC(b []byte) bool {
	if len(b) < 7 || b[0]&(longForm|fixedBit) != longForm|fixedBit {
		return false
	}
	v := binary.BigEndian.Uint32(b[1:])
	_, ok := ParseLong(b)
	return ok && (v == QUIC1 || v == QUIC2)
}

// Crypto says which bytes of a client's CRYPTO stream have come. Pointer-free; the zero Crypto is empty. The bytes themselves
// are in a buffer of the caller's, who keeps both from datagram to datagram.
type Crypto struct {
	spans [maxSpans]span
	n     uint8
}

type span struct{ from, to uint16 }

const maxSpans = 8

// Opener opens Initial packets. It holds memory for that, 4 KiB: keep one and use it again. The zero Opener is ready.
type Opener struct {
	plain [MaxOpening]byte
}

// Initial opens the Initial packets in a client's datagram and writes their CRYPTO bytes into buf, at most MaxOpening bytes, at their
// place in the stream; c keeps which places are filled. Done: buf[:c.Len()] begins with a whole handshake message, or
// buf is full: ClientHello.ParseMessage reads it. NeedMore: a later datagram of the client must bring the rest. NotThis: no
// Initial packet of a known version, or none that its key opens (a server's, or a later one of a client: their keys are
// those of the client's first).
func (o *Opener) Initial(c *Crypto, datagram, buf []byte) Status {
	return NotThis
}

// Len is how many bytes from the start of the stream have come without a gap.
func (c *Crypto) Len() int {
	if c.n == 0 || c.spans[0].from != 0 {
		return 0
	}
	return int(c.spans[0].to)
}
