package hello

import (
	"encoding/binary"
	"net/netip"
)

// Record layer and handshake (RFC 8446, sections 4 and 5; RFC 5246).
const (
	recordHandshake = 22
	recordHeader    = 5
	maxRecord       = 1<<14 + 256 // bytes of a plaintext record, with the slack that RFC 8446 gives middle boxes
	messageHeader   = 4
	typeClientHello = 1
	typeServerHello = 2

	// MaxExtensions is how many extensions of a hello are listed; a browser sends 16 to 20, IANA has registered some 60.
	MaxExtensions = 96

	// maxParts is how many records a hello may be split over. Programs use one; some that mean to pass filters use a few.
	maxParts = 64
)

// Extensions that are read (IANA TLS ExtensionType Values).
const (
	ExtServerName   = 0
	ExtGroups       = 10
	ExtPointFormats = 11
	ExtSignatures   = 13
	ExtALPN         = 16
	ExtVersions     = 43
)

// Codes is a list of two-byte code points, as on the wire.
type Codes []byte

// Len is the number of code points.
func (c Codes) Len() int { return len(c) / 2 }

// At is the i-th code point, i below Len.
func (c Codes) At(i int) uint16 { return binary.BigEndian.Uint16(c[2*i:]) }

// Protocols is a list of ALPN names, each behind a byte of length, as on the wire.
type Protocols []byte

// First is the first name, nil without one.
func (p Protocols) First() []byte {
	c := cursor{b: p}
	return c.list8()
}

// GREASE tells whether a code point is one of the reserved values that mean nothing (RFC 8701).
func GREASE(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// Hello is what a ClientHello and a ServerHello have alike.
type Hello struct {
	Record     uint16 // version of the first record; 0 where the message came in QUIC
	Legacy     uint16 // legacy_version, 0x0303 since TLS 1.2
	SessionID  []byte
	Extensions [MaxExtensions]uint16 // types in order
	NExt       int                   // how many there are
	ALPN       Protocols
	Client     netip.AddrPort // from a PROXY header before the first record; invalid without one
	Size       int            // bytes of the handshake message, header included
	Cut        bool           // not all of the message was read: NeedMore, or beyond MaxOpening, MaxExtensions, 64 records

	join [MaxOpening]byte // of a message that is split over records
}

// Has tells whether the hello has an extension.
func (h *Hello) Has(ext uint16) bool {
	for _, e := range h.Extensions[:h.NExt] {
		if e == ext {
			return true
		}
	}
	return false
}

// message finds the handshake message of type typ at the start of a stream, as much as there is of it; Done where that is all
// of it or more than MaxOpening is not looked at. It is a sub-slice of b if it lies in one record, else of h.join.
func (h *Hello) message(b []byte, typ uint8) (message []byte, st Status, want int) {
	b = cut(b)
	client, at, st := Proxy(b)
	if st == NeedMore {
		st, want = unfinished(b, at)
		return nil, st, want
	}
	h.Client = client
	for n := range maxParts {
		first := n == 0
		part, whole, ok := h.record(b[at:], first)
		if !ok || first && len(part) > 0 && part[0] != typ {
			return nil, NotThis, 0
		}
		at += recordHeader + len(part)
		message = h.append(message, part, first)
		size := messageHeader
		if len(message) >= messageHeader {
			size = h.size(message)
		}
		if len(message) >= size {
			return message[:size:size], Done, 0
		}
		if !whole || at >= len(b) {
			if want = at + size - len(message); whole {
				want += recordHeader
			}
			st, want = unfinished(b, want)
			return message, st, want
		}
	}
	return message, Done, 0
}

// append joins the parts of a message; a single part stays where it is.
func (h *Hello) append(message, part []byte, first bool) []byte {
	if first {
		return part
	}
	n := len(message)
	if &message[0] != &h.join[0] {
		copy(h.join[:], message)
	}
	return h.join[:n+copy(h.join[n:], part)]
}

// size reads a message's length.
func (h *Hello) size(message []byte) int {
	c := cursor{b: message[1:]}
	h.Size = messageHeader + c.u24()
	return h.Size
}

// record is the payload of the handshake record at the start of b, as much as there is. Not ok where b is no such record.
func (h *Hello) record(b []byte, first bool) (payload []byte, whole, ok bool) {
	for i, c := range b[:min(len(b), 3)] {
		if i == 0 && c != recordHandshake || i == 1 && c != 3 || i == 2 && c > 4 {
			return nil, false, false
		}
	}
	if len(b) < recordHeader {
		return nil, false, true
	}
	if first {
		h.Record = binary.BigEndian.Uint16(b[1:])
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	if size == 0 || size > maxRecord {
		return nil, false, false
	}
	payload = b[recordHeader:min(recordHeader+size, len(b))]
	return payload, len(payload) == size, true
}

// extensions is the cursor over the extension block that follows in c, as much as there is of it. With a whole message it
// must be all there.
func (c *cursor) extensions(whole bool) cursor {
	if len(c.b) == 0 {
		return cursor{bad: c.bad}
	}
	if whole {
		return cursor{b: c.list16(), bad: c.bad}
	}
	return cursor{b: c.some(int(c.u16())), bad: c.bad}
}

// extension is the next extension of a block, listed; not ok at the end of the block and behind MaxExtensions.
func (h *Hello) extension(c *cursor) (typ uint16, body cursor, ok bool) {
	if len(c.b) == 0 || h.NExt == MaxExtensions {
		return 0, body, false
	}
	typ = c.u16()
	body.b = c.list16()
	if c.bad {
		return 0, body, false
	}
	h.Extensions[h.NExt] = typ
	h.NExt++
	return typ, body, true
}

// ended is the status of a hello whose message ended with st; c is the cursor over its extensions.
func (h *Hello) ended(st Status, want int, whole bool, c *cursor) (Status, int) {
	if whole && (c.bad || h.Legacy>>8 != 3) {
		return NotThis, 0
	}
	h.Cut = !whole || len(c.b) > 0
	return st, want
}

// reset makes h as new, without touching its arrays.
func (h *Hello) reset() {
	h.Record, h.Legacy, h.Size, h.NExt = 0, 0, 0, 0
	h.SessionID, h.ALPN, h.Client, h.Cut = nil, nil, netip.AddrPort{}, true
}

// handshake is a message that came without records, as in QUIC: as much as there is of it.
func (h *Hello) handshake(b []byte, typ uint8) (message []byte, st Status, want int) {
	b = cut(b)
	if len(b) > 0 && b[0] != typ {
		return nil, NotThis, 0
	}
	size := messageHeader
	if len(b) >= messageHeader {
		size = h.size(b)
	}
	if len(b) >= size {
		return b[:size:size], Done, 0
	}
	st, want = unfinished(b, size)
	return b, st, want
}
