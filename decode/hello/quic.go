package hello

import (
	"bytes"
	"encoding/binary"
)

// Versions of QUIC whose Initial packets are read.
const (
	QUIC1 = 0x00000001 // RFC 9000
	QUIC2 = 0x6b3343cf // RFC 9369
)

// Long is the part of a long header that all versions of QUIC share (RFC 8999, section 5.1).
type Long struct {
	Version     uint32
	Destination []byte // connection id
	Source      []byte // connection id
	Initial     bool   // an Initial packet of a version that is read
}

// Parts of a long header (RFC 9000, section 17.2).
const (
	longForm  = 0x80
	fixedBit  = 0x40
	maxConnID = 20
)

// ParseLong reads the long header at the start of a datagram.
func ParseLong(datagram []byte) (Long, bool) {
	c := cursor{b: datagram}
	l, _ := long(&c)
	return l, !c.bad
}

// long reads a long header up to what versions differ in; c is bad where there is none.
func long(c *cursor) (l Long, first uint8) {
	first = c.u8()
	l = Long{Version: c.u32(), Destination: c.list8(), Source: c.list8()}
	if first&longForm == 0 || len(l.Destination) > maxConnID || len(l.Source) > maxConnID {
		c.bad = true
	}
	kind := first >> 4 & 3
	l.Initial = first&fixedBit != 0 && (l.Version == QUIC1 && kind == 0 || l.Version == QUIC2 && kind == 1)
	return l, first
}

// isQUIC knows a long header of a version that is read.
func isQUIC(b []byte) bool {
	l, ok := ParseLong(b)
	return ok && b[0]&fixedBit != 0 && (l.Version == QUIC1 || l.Version == QUIC2)
}

// maxCoalesced is how many packets of one datagram are looked at: Initial, 0-RTT, Handshake and one more of each.
const maxCoalesced = 6

// Opener opens Initial packets. 3 KiB; keep one and use it again. The zero Opener is ready.
type Opener struct {
	keys   initialKeys
	mask   [sampleSize]byte
	nonce  [nonceSize]byte
	header [maxHeader]byte
	plain  [maxPacket]byte
}

// Bounds of an Initial packet. Clients send 1,200 to 1,472 bytes; a longer one is not opened.
const (
	maxPacket = 2048
	maxHeader = 1024 // of it; the token is the largest part
)

// Initial opens the Initial packets in a client's datagram and writes their CRYPTO bytes to their places in buf, of which it uses
// at most MaxOpening bytes; c keeps which places are filled. Both are the caller's, from datagram to datagram.
//
// Done: buf[:c.Len()] begins with a whole handshake message, or buf is full; ClientHello.ParseMessage reads it. NeedMore: a
// later datagram of the client must bring the rest. NotThis: no Initial packet of a known version, or none that opens. Keys
// come from the connection id of the client's first packet: those that a client sends after the answer go to another id, and
// do not open.
//
// 7 µs and 3 allocations (1.8 KB) for a datagram of 1,200 bytes, 2 µs and none for a second one to the same id: whoever may
// be flooded limits how many are opened.
func (o *Opener) Initial(c *Crypto, datagram, buf []byte) Status {
	l, ok := ParseLong(datagram)
	if !ok {
		return NotThis
	}
	return o.initial(c, datagram, buf, l.Destination, false)
}

// Answer does the same with a server's datagram; client is the Destination of the client's first, whose keys it has. What
// comes is a ServerHello, for ServerHello.ParseMessage.
func (o *Opener) Answer(c *Crypto, datagram, client, buf []byte) Status {
	if len(client) > maxConnID {
		return NotThis
	}
	return o.initial(c, datagram, buf, client, true)
}

func (o *Opener) initial(c *Crypto, datagram, buf, id []byte, server bool) Status {
	opened, message := false, byte(typeClientHello)
	if server {
		message = typeServerHello
	}
	for range maxCoalesced {
		p := packet{cursor: cursor{b: datagram}}
		if !p.read(datagram) {
			break
		}
		if datagram = p.b; !p.Initial {
			continue
		}
		plain, ok := o.open(&p, id, server)
		if !ok {
			break
		}
		opened = true
		frames(plain, c, buf)
	}
	switch {
	case !opened || c.Len() > 0 && buf[0] != message:
		return NotThis
	case c.whole(buf):
		return Done
	}
	return NeedMore
}

// packet is a protected packet of a datagram.
type packet struct {
	Long
	cursor         // what follows it
	header  []byte // up to the packet number
	payload []byte // packet number and what follows
}

// read cuts the packet at the start of the datagram off. Packets that are not Initial ones are cut off by their length alone.
func (p *packet) read(datagram []byte) bool {
	const retry = 3
	l, first := long(&p.cursor)
	p.Long = l
	kind := first >> 4 & 3
	if p.Version == QUIC2 {
		kind = (kind - 1) & 3 // RFC 9369, section 3.2: the types of version 1, moved by one
	}
	if p.bad || p.Version != QUIC1 && p.Version != QUIC2 || kind == retry {
		return false
	}
	if p.Initial {
		p.skip(p.varint()) // token
	}
	size := p.varint()
	p.header = datagram[:len(datagram)-len(p.b)]
	p.payload = p.take(size)
	return !p.bad
}

// varint is a variable-length integer (RFC 9000, section 16); those that no slice can hold read as the largest int.
func (c *cursor) varint() int {
	v := c.take(1)
	if v == nil {
		return 0
	}
	n := uint64(v[0] & 0x3f)
	for _, b := range c.take(1<<(v[0]>>6) - 1) {
		n = n<<8 | uint64(b)
	}
	return int(n) // 62 bits
}

// Frames that an Initial packet may hold (RFC 9000, sections 12.4 and 19).
const (
	framePadding = 0x00
	framePing    = 0x01
	frameACK     = 0x02
	frameACKECN  = 0x03
	frameCrypto  = 0x06
)

// maxFrames bounds the frames of a packet, runs of padding counted as one. Chrome scatters a hello over some thirty.
const maxFrames = 256

// frames reads the frames of an opened packet, up to the first that is no part of a handshake's beginning.
func frames(plain []byte, c *Crypto, buf []byte) {
	in := cursor{b: plain}
	for range maxFrames {
		if len(in.b) == 0 {
			return
		}
		switch kind := in.u8(); kind {
		case framePadding:
			in.b = bytes.TrimLeft(in.b, "\x00")
		case framePing:
		case frameACK, frameACKECN:
			in.acks(kind == frameACKECN)
		case frameCrypto:
			offset := in.varint()
			c.add(offset, in.take(in.varint()), buf)
		default:
			return
		}
	}
}

// acks steps over an ACK frame (RFC 9000, section 19.3).
func (c *cursor) acks(ecn bool) {
	c.varint() // largest
	c.varint() // delay
	ranges := c.varint()
	c.varint() // first range
	for i := 0; i < ranges && !c.bad; i++ {
		c.varint()
		c.varint()
	}
	if ecn {
		c.varint()
		c.varint()
		c.varint()
	}
}

// Crypto says which bytes of a CRYPTO stream have come. 68 bytes, pointer-free; the zero Crypto is empty.
type Crypto struct {
	spans [maxSpans]span // apart from one another, in order
	n     uint16
}

type span struct{ from, to uint16 }

// maxSpans is how many pieces of the stream may wait for the bytes between them; later ones are dropped.
const maxSpans = 16

// Len is how many bytes from the start of the stream have come without a gap.
func (c *Crypto) Len() int {
	if c.n == 0 || c.spans[0].from != 0 {
		return 0
	}
	return int(c.spans[0].to)
}

// whole tells whether the bytes without a gap are a whole handshake message, or fill buf.
func (c *Crypto) whole(buf []byte) bool {
	n := c.Len()
	if n < messageHeader {
		return false
	}
	size := messageHeader + int(binary.BigEndian.Uint32(buf)&0xffffff)
	return n >= min(size, len(buf), MaxOpening)
}

// add puts data to its place. What is beyond buf, and a piece for which there is no span, is dropped. Bytes that have come
// already are written again: who sends two versions of a hello is believed the second, as long as the first is not whole.
func (c *Crypto) add(offset int, data, buf []byte) {
	room := min(len(buf), MaxOpening)
	if offset < 0 || offset >= room || len(data) == 0 {
		return
	}
	data = data[:min(len(data), room-offset)]
	add := span{uint16(offset), uint16(offset + len(data))}
	merged, n := [maxSpans + 1]span{}, 0
	placed := false
	for _, s := range c.spans[:c.n] {
		switch {
		case s.to < add.from:
			merged[n], n = s, n+1
		case add.to < s.from:
			if !placed {
				merged[n], n, placed = add, n+1, true
			}
			merged[n], n = s, n+1
		default: // they touch
			add = span{min(add.from, s.from), max(add.to, s.to)}
		}
	}
	if !placed {
		merged[n], n = add, n+1
	}
	if n > maxSpans {
		return
	}
	copy(buf[offset:], data)
	c.n = uint16(copy(c.spans[:], merged[:n]))
}
