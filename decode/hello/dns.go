package hello

import "encoding/binary"

// Bounds of the work on one message.
const (
	MaxRecords = 64 // answers that are walked
	MaxTypes   = 8  // answer types that are listed
	dnsHeader  = 12
)

// DNS is a DNS message (RFC 1035, section 4).
type DNS struct {
	ID            uint16
	Response      bool
	Opcode        uint8
	Rcode         uint8
	Authoritative bool
	Truncated     bool // the TC bit
	Questions     uint16
	Answers       uint16
	Authorities   uint16
	Additionals   uint16

	Name  Name   // of the first question; without labels where there is none
	Type  uint16 // of the first question
	Class uint16 // of the first question

	Size        int              // bytes of the message; over TCP as its length says
	AnswerBytes int              // bytes of the answer records that were walked, owner names included
	Types       [MaxTypes]uint16 // types of the first answers
	NTypes      int              // how many Types are set
	Cut         bool             // fewer answers were walked than the header says: cut, malformed, or beyond MaxRecords
}

// Parse reads a message that came in a datagram. It is Done or NotThis: header and question must be whole. About 90 ns.
func (m *DNS) Parse(b []byte) Status {
	*m = DNS{Size: len(b)}
	if len(b) < dnsHeader {
		return NotThis
	}
	end, _ := m.head(b)
	if end == 0 {
		return NotThis
	}
	m.Cut = !m.records(b, end)
	return Done
}

// ParseTCP reads the first message of a stream, behind its length (RFC 1035, section 4.2.2). A message that is longer than
// MaxOpening is Done with what that much held.
func (m *DNS) ParseTCP(b []byte) (Status, int) {
	b = cut(b)
	*m = DNS{Cut: true}
	if len(b) < 2 {
		return unfinished(b, 2+dnsHeader)
	}
	m.Size = int(binary.BigEndian.Uint16(b))
	if m.Size < dnsHeader {
		return NotThis, 0
	}
	body := b[2:min(len(b), 2+m.Size)]
	if len(body) < dnsHeader {
		return unfinished(b, 2+dnsHeader)
	}
	end, bad := m.head(body)
	whole := len(body) == m.Size
	if bad || end == 0 && (whole || len(b) == MaxOpening) {
		return NotThis, 0
	}
	if end > 0 {
		m.Cut = !m.records(body, end) || !whole
	}
	if whole {
		return Done, 0
	}
	return unfinished(b, 2+m.Size)
}

// head reads header and first question; end is the offset behind all questions, 0 where they are not whole. It is bad where
// more bytes would not help.
func (m *DNS) head(b []byte) (end int, bad bool) {
	flags := binary.BigEndian.Uint16(b[2:])
	m.ID = binary.BigEndian.Uint16(b)
	m.Response, m.Opcode, m.Rcode = flags&0x8000 != 0, uint8(flags>>11&15), uint8(flags&15)
	m.Authoritative, m.Truncated = flags&0x0400 != 0, flags&0x0200 != 0
	m.Questions, m.Answers = binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	m.Authorities, m.Additionals = binary.BigEndian.Uint16(b[8:]), binary.BigEndian.Uint16(b[10:])
	at := dnsHeader
	for i := range int(m.Questions) {
		if i == MaxRecords {
			return 0, true
		}
		after, ok := skipName(b, at)
		if !ok {
			return 0, after < 0
		}
		if after+4 > len(b) {
			return 0, false
		}
		if i == 0 {
			name := Name{b, at}
			if end := name.end(); end != endRoot {
				return 0, end == endMalformed
			}
			m.Name, m.Type, m.Class = name, binary.BigEndian.Uint16(b[after:]), binary.BigEndian.Uint16(b[after+2:])
		}
		at = after + 4
	}
	return at, false
}

// records walks the answers from offset at; true if it has come to their end.
func (m *DNS) records(b []byte, at int) bool {
	const fixed = 10 // type, class, TTL, length
	for i := range int(m.Answers) {
		after, ok := skipName(b, at)
		if !ok || after+fixed > len(b) || i == MaxRecords {
			return false
		}
		end := after + fixed + int(binary.BigEndian.Uint16(b[after+8:]))
		if end > len(b) {
			return false
		}
		if m.NTypes < MaxTypes {
			m.Types[m.NTypes] = binary.BigEndian.Uint16(b[after:])
			m.NTypes++
		}
		m.AnswerBytes += end - at
		at = end
	}
	return true
}
