package fingerprint

import "strconv"

// AppendRaw appends the signature's text. It allocates only to grow b; 160 bytes always suffice but for lists of unknown
// options.
func (s Sig) AppendRaw(b []byte) []byte {
	b = append(b, '0'+s.Ver, ':')
	b = appendUint(b, s.TTL)
	b = append(b, ':')
	b = appendUint(b, s.IPOpt)
	b = append(b, ':')
	b = appendUint(b, s.MSS)
	b = append(b, ':')
	b = s.appendWindow(b)
	b = append(b, ',')
	b = appendUint(b, s.WScale)
	b = append(b, ':')
	b = s.appendLayout(b)
	b = append(b, ':')
	b = s.Quirks.append(b)
	if s.Payload {
		return append(b, ":+"...)
	}
	return append(b, ":0"...)
}

// String is the signature's text.
func (s Sig) String() string { return string(s.AppendRaw(make([]byte, 0, 96))) }

// appendWindow writes the window as a multiple where it is one: "mss*N", "mtu*N" or the number.
func (s Sig) appendWindow(b []byte) []byte {
	n, unit := s.windowUnit()
	switch unit {
	case unitMSS:
		b = append(b, "mss*"...)
	case unitMTU:
		b = append(b, "mtu*"...)
	}
	return appendUint(b, n)
}

// unit is what a window is counted in.
type unit uint8

const (
	unitByte unit = iota
	unitMSS
	unitMTU
)

// Header sizes between an MTU and an MSS.
const (
	headers4    = ipv4Min + tcpMin
	headers6    = ipv6Min + tcpMin
	timestamps  = 12 // the timestamp option with its padding
	ethernetMTU = 1500
	leastMSS    = 100 // below it, any window would be a multiple
)

// windowUnit finds what the window is a multiple of. The order is p0f's: the MSS, the MSS less timestamps, the MSS of
// Ethernet (a stack that took another interface's), then the MTU.
func (s Sig) windowUnit() (n uint16, u unit) {
	mss := uint32(s.MSS)
	if s.Window == 0 || mss < leastMSS {
		return s.Window, unitByte
	}
	headers := uint32(headers4)
	if s.Ver == 6 {
		headers = headers6
	}
	units := [...]struct {
		size uint32
		unit unit
	}{
		{mss, unitMSS},
		{s.lessTimestamps(mss), unitMSS},
		{ethernetMTU - headers4, unitMSS},
		{ethernetMTU - headers4 - timestamps, unitMSS},
		{ethernetMTU - headers, unitMSS},
		{ethernetMTU - headers - timestamps, unitMSS},
		{mss + headers4, unitMTU},
		{mss + headers, unitMTU},
		{ethernetMTU, unitMTU},
	}
	for _, x := range units {
		if w := uint32(s.Window); w%x.size == 0 {
			return uint16(w / x.size), x.unit
		}
	}
	return s.Window, unitByte
}

// lessTimestamps is the MSS less the room of the timestamp option, if the sender uses timestamps.
func (s Sig) lessTimestamps(mss uint32) uint32 {
	for i := range s.NOpt {
		if s.option(i) == kindTS && s.Quirks&QuirkZTS1 == 0 {
			return mss - timestamps
		}
	}
	return mss
}

var optionNames = [...]string{kindNOP: "nop", kindMSS: "mss", kindWScale: "ws", kindSACKOK: "sok", kindSACK: "sack", kindTS: "ts"}

// appendLayout writes the option names: "eol+N" with the bytes that follow it, "?N" for other kinds.
func (s Sig) appendLayout(b []byte) []byte {
	for i := range s.NOpt {
		if i > 0 {
			b = append(b, ',')
		}
		switch kind := s.option(i); {
		case kind == kindEOL:
			b = appendUint(append(b, "eol+"...), s.EOLPad)
		case int(kind) < len(optionNames) && optionNames[kind] != "":
			b = append(b, optionNames[kind]...)
		default:
			b = appendUint(append(b, '?'), kind)
		}
	}
	return b
}

func (q Quirks) append(b []byte) []byte {
	first := true
	for i, name := range quirkNames {
		if q&(1<<i) == 0 {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		b, first = append(b, name...), false
	}
	return b
}

func appendUint[T uint8 | uint16](b []byte, v T) []byte { return strconv.AppendUint(b, uint64(v), 10) }
