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
	Cut        bool           // Done without all of the message: it is longer than MaxOpening, or than MaxExtensions

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

// message finds the handshake message of type typ at the start of a stream. The message is a sub-slice of b if it lies in one
// record, else of h.join; it is short with NeedMore, and where h.Cut is set.
func (h *Hello) message(b []byte, typ uint8) (message []byte, st Status, want int) {
	b = cut(b)
	client, skip, st := Proxy(b)
	if st == NeedMore {
		st, want = unfinished(b, skip)
		return nil, st, want
	}
	h.Client = client
	n, at := 0, skip // bytes joined; offset in b
	for {
		record, whole, ok := h.record(b[at:], at == skip)
		if !ok {
			return nil, NotThis, 0
		}
		if at += recordHeader; n == 0 && len(record) > 0 && record[0] != typ {
			return nil, NotThis, 0
		}
		at += len(record)
		if n == 0 {
			message = record
		} else {
			if n == len(message) && &message[0] != &h.join[0] {
				copy(h.join[:], message)
			}
			message = h.join[:n+copy(h.join[n:], record)]
		}
		n = len(message)
		size := messageHeader
		if n >= messageHeader {
			size += int(message[1])<<16 | int(message[2])<<8 | int(message[3])
			h.Size = size
			if n >= size {
				return message[:size:size], Done, 0
			}
		}
		if !whole || at >= len(b) {
			want = max(at, len(b)) + size - n
			if whole {
				want += recordHeader
			}
			st, want = unfinished(b, want)
			h.Cut = st == Done
			return message, st, want
		}
	}
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

// extensions walks the extension block that follows in c and calls set for each that is whole.
func (h *Hello) add(typ uint16) bool {
	if h.NExt == MaxExtensions {
		h.Cut = true
		return false
	}
	h.Extensions[h.NExt] = typ
	h.NExt++
	return true
}

// reset makes h as new, without touching its arrays.
func (h *Hello) reset() {
	h.Record, h.Legacy, h.Size, h.NExt = 0, 0, 0, 0
	h.SessionID, h.ALPN, h.Client, h.Cut = nil, nil, netip.AddrPort{}, false
}

// handshake gives the body of a message that came without records, as from QUIC.
func (h *Hello) handshake(message []byte, typ uint8) (st Status, want int) {
	message = cut(message)
	if len(message) > 0 && message[0] != typ {
		return NotThis, 0
	}
	if len(message) < messageHeader {
		return unfinished(message, messageHeader)
	}
	c := cursor{b: message[1:messageHeader]}
	if h.Size = messageHeader + c.u24(); len(message) >= h.Size {
		return Done, 0
	}
	st, want = unfinished(message, h.Size)
	h.Cut = st == Done
	return st, want
}
