// Package filter judges packets by an expression in the words of tcpdump.
//
// # Grammar
//
//	expr      = term { ("and" | "&&" | "or" | "||") term }
//	term      = ("not" | "!") term | "(" expr ")" | primitive
//	primitive = proto | vlan | [family] [dir] ["host"] address | [family] [dir] "net" cidr
//	          | [transport] [dir] "port" number | [transport] [dir] "portrange" number "-" number
//	          | value
//	proto     = family | transport | "icmp" | "icmp6"
//	family    = "ip" | "ip6" | "arp"
//	transport = "tcp" | "udp" | "sctp"
//	dir       = "src" | "dst" | "src or dst" | "src and dst"      (none: src or dst)
//	vlan      = "vlan" [id]
//	address   = IPv4 or IPv6 address; names are not looked up
//	cidr      = address "/" length, without bits beyond the length; or an address
//	value     = what the last host, net, port or portrange took: "port 80 or 443"; an address alone is a host
//
// As in tcpdump, "and" and "or" have one precedence and group to the left, "not" binds closest: "a or b and c" is
// "(a or b) and c". An empty expression accepts everything. A word that is not known is an error that names its column and
// the nearest word.
//
// # Meaning
//
// [Filter.Match] judges the innermost decoded header: inside of VLAN tags and tunnels. "tcp" and its like look at the IP
// protocol, also of later fragments; "icmp" is of IPv4 and "icmp6" of IPv6 alone. Addresses are those of IPv4, IPv6 and
// ARP. Ports are the first four bytes of TCP, UDP and SCTP; a later fragment and a frame that ends before them have none,
// so that "port 80" is false and "not port 80" true. "vlan 7" is true where one of the two outermost tags has that id,
// whether it stands in the frame or the kernel took it off; unlike tcpdump's it moves no offset for the words after it.
//
// tcpdump itself judges the outermost header: of tunnelled or tagged traffic, and of IPv6 with extension headers, it finds
// less.
package filter

import "weir/decode"

// Limits of an expression: a longer or deeper one is an error.
const (
	MaxLength = 4096 // bytes
	MaxDepth  = 64   // nested parentheses and nots
)

// Filter is a parsed expression. The zero value and nil accept everything. Safe for concurrent use.
type Filter struct {
	root *node
	prog []test // of root
}

// Match reports whether the expression holds for p's innermost header. Reads p.Data; allocates nothing; some 3 ns a word.
func (f *Filter) Match(p *decode.Packet) bool {
	if f == nil || len(f.prog) == 0 {
		return true
	}
	v := view{p: p}
	next := int16(0)
	for next >= 0 {
		t := &f.prog[next]
		if v.holds(&t.leaf) {
			next = t.onTrue
		} else {
			next = t.onFalse
		}
	}
	return next == accept
}

// view reads what leaves ask of a packet; ports are read once.
type view struct {
	p        *decode.Packet
	havePort bool
	hasPorts bool
	src, dst uint16
}

func (v *view) holds(l *leaf) bool {
	switch l.kind {
	case leafFamily:
		return inFamily(v.p.Kind, l.family)
	case leafProto:
		return v.p.Kind >= decode.KindIPv4 && v.p.Key.Proto == l.proto && inFamily(v.p.Kind, l.family)
	case leafNet:
		return inFamily(v.p.Kind, l.family) && v.inNet(l)
	case leafPort:
		return v.inPorts(l)
	case leafVLAN:
		return v.tagged(l)
	}
	return true // leafTrue
}

func inFamily(k decode.Kind, f family) bool {
	switch k {
	case decode.KindIPv4:
		return f&familyIP != 0
	case decode.KindIPv6:
		return f&familyIP6 != 0
	case decode.KindARP:
		return f&familyARP != 0
	}
	return false
}

func (v *view) inNet(l *leaf) bool {
	src, _ := v.p.Src()
	dst, _ := v.p.Dst()
	return l.dir.pick(l.covers(src), l.covers(dst))
}

func (l *leaf) covers(a decode.Addr) bool {
	return (a.Hi^l.addr.Hi)&l.mask.Hi|(a.Lo^l.addr.Lo)&l.mask.Lo == 0
}

func (v *view) inPorts(l *leaf) bool {
	if !v.havePort {
		v.readPorts()
	}
	if !v.hasPorts || l.proto != 0 && l.proto != v.p.Key.Proto {
		return false
	}
	return l.dir.pick(l.lo <= v.src && v.src <= l.hi, l.lo <= v.dst && v.dst <= l.hi)
}

// readPorts takes the ports from the bytes, not from the key: there they are also the types of ICMP.
func (v *view) readPorts() {
	v.havePort = true
	p := v.p
	if p.Kind < decode.KindIPv4 || !hasPorts(p.Key.Proto) || p.FragOff != 0 {
		return
	}
	at, end := uint64(p.L4), min(uint64(p.End), uint64(len(p.Data)))
	if at+4 > end {
		return
	}
	b := p.Data[at : at+4]
	v.src, v.dst = uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3])
	v.hasPorts = true
}

func hasPorts(proto uint8) bool {
	return proto == protoTCP || proto == protoUDP || proto == protoSCTP
}

func (v *view) tagged(l *leaf) bool {
	if v.p.VLANs == 0 || l.lo > l.hi {
		return v.p.VLANs > 0
	}
	for i := range min(int(v.p.VLANs), len(v.p.VLAN)) {
		if v.p.VLAN[i]&maxVLAN == l.lo {
			return true
		}
	}
	return false
}
