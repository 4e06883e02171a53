package hello

// Bounds of a name (RFC 1035, section 2.3.4).
const (
	maxLabel    = 63
	maxNameWire = 255
	maxPointers = 10 // no compressor nests deeper than a few; a loop of pointers ends here

	// MaxNameText is the longest text of a name: each byte escaped.
	MaxNameText = 4 * maxNameWire
)

// Name is a domain name within its message, perhaps compressed. The zero Name has no labels. It borrows the message.
type Name struct {
	msg []byte
	at  int
}

// Labels walks a name: for l := n.Labels(); ; { label, ok := l.Next(); … }.
type Labels struct {
	msg      []byte
	at       int
	left     int // of the name's bytes on the wire
	pointers int
	end      end
}

// end is how a name ends.
type end uint8

const (
	endNot       end = iota // not yet
	endRoot                 // as it should
	endShort                // the message is shorter
	endMalformed            // in a way that no further byte would change
)

// Labels starts at the name's first (leftmost) label.
func (n Name) Labels() Labels { return Labels{msg: n.msg, at: n.at, left: maxNameWire} }

// Next is the next label as sent, false at the end of the name. Case is as sent.
func (l *Labels) Next() (label []byte, ok bool) {
	for l.end == endNot {
		n := 0
		if l.at < len(l.msg) {
			n = int(l.msg[l.at])
		}
		from, to := l.at+1, l.at+1+n
		switch {
		case l.at >= len(l.msg):
			l.end = endShort
		case n == 0:
			l.end = endRoot
		case n <= maxLabel:
			if l.left -= n + 1; l.left <= 0 {
				l.end = endMalformed
			} else if to > len(l.msg) {
				l.end = endShort
			} else {
				l.at = to
				return l.msg[from:to:to], true
			}
		case n < 0xc0 || l.pointers == maxPointers:
			l.end = endMalformed
		case from == len(l.msg):
			l.end = endShort
		default:
			l.jump((n&0x3f)<<8 | int(l.msg[from]))
		}
	}
	return nil, false
}

// jump follows a pointer, which must point to what came before it (RFC 1035, section 4.1.4).
func (l *Labels) jump(to int) {
	if to >= l.at {
		l.end = endMalformed
		return
	}
	l.at = to
	l.pointers++
}

// end walks the name.
func (n Name) end() end {
	l := n.Labels()
	for l.end == endNot {
		l.Next()
	}
	return l.end
}

// Append appends the name's text: letters in lower case, labels joined by dots, no dot at the end, nothing for the root. Bytes
// that are no visible ASCII, dots within a label and backslashes are written as \DDD (RFC 1035, section 5.1), so that the text
// is a key and can be printed. It allocates only to grow dst beyond MaxNameText.
func (n Name) Append(dst []byte) []byte {
	l, first := n.Labels(), true
	for {
		label, ok := l.Next()
		if !ok {
			return dst
		}
		if !first {
			dst = append(dst, '.')
		}
		first = false
		for _, c := range label {
			switch {
			case 'A' <= c && c <= 'Z':
				dst = append(dst, c+'a'-'A')
			case c <= ' ' || c >= 0x7f || c == '.' || c == '\\':
				dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
			default:
				dst = append(dst, c)
			}
		}
	}
}

// String is the name's text; it allocates.
func (n Name) String() string { return string(n.Append(nil)) }

// skipName is the offset behind the name at offset at. False where there is none: -1 if more bytes would not help, else len(b).
func skipName(b []byte, at int) (after int, ok bool) {
	for left := maxNameWire; at < len(b); {
		switch n := int(b[at]); {
		case n == 0:
			return at + 1, true
		case n <= maxLabel:
			if left -= n + 1; left <= 0 {
				return -1, false
			}
			at += n + 1
		case n >= 0xc0:
			if at+2 > len(b) {
				return len(b), false
			}
			return at + 2, true
		default:
			return -1, false
		}
	}
	return len(b), false
}
