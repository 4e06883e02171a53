package filter

import (
	"fmt"

	"weir/decode"
)

// Ends is what is known of a connection when its packets are gone: where packets have a source, it has who opened it, and where they have
// a destination, who answered.
type Ends struct {
	Orig, Resp         decode.Addr
	OrigPort, RespPort uint16
	Proto, Ver         uint8
	VLAN               [2]uint16 // the outermost first; 0: none
}

// ParseEnds reads an expression to judge connections by. What only packets have is an error: "arp".
func ParseEnds(expr string) (*Filter, error) {
	f, err := Parse(expr)
	if err != nil {
		return nil, err
	}
	for _, t := range split(expr) {
		if t.text == "arp" {
			return nil, &Error{t.col, fmt.Sprintf("%q is of packets: there are no connections of it", t.text)}
		}
	}
	return f, nil
}

// MatchEnds reports whether the expression holds for a connection. Allocates nothing.
func (f *Filter) MatchEnds(e *Ends) bool {
	if f == nil || len(f.prog) == 0 {
		return true
	}
	next := int16(0)
	for next >= 0 {
		t := &f.prog[next]
		if e.holds(&t.leaf) {
			next = t.onTrue
		} else {
			next = t.onFalse
		}
	}
	return next == accept
}

func (e *Ends) holds(l *leaf) bool {
	kind := decode.KindIPv4
	if e.Ver == 6 {
		kind = decode.KindIPv6
	}
	switch l.kind {
	case leafFamily:
		return inFamily(kind, l.family)
	case leafProto:
		return e.Proto == l.proto && inFamily(kind, l.family)
	case leafNet:
		return inFamily(kind, l.family) && l.dir.pick(l.covers(e.Orig), l.covers(e.Resp))
	case leafPort:
		if !hasPorts(e.Proto) || l.proto != 0 && l.proto != e.Proto {
			return false
		}
		return l.dir.pick(l.lo <= e.OrigPort && e.OrigPort <= l.hi, l.lo <= e.RespPort && e.RespPort <= l.hi)
	case leafVLAN:
		if e.VLAN == [2]uint16{} || l.lo > l.hi {
			return e.VLAN != [2]uint16{}
		}
		return e.VLAN[0]&maxVLAN == l.lo || e.VLAN[1] != 0 && e.VLAN[1]&maxVLAN == l.lo
	}
	return true // leafTrue
}
