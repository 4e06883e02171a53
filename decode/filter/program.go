package filter

import "weir/decode"

// IP protocol numbers (IANA).
const (
	protoICMP  = 1
	protoIGMP  = 2
	protoTCP   = 6
	protoUDP   = 17
	protoESP   = 50
	protoICMP6 = 58
	protoSCTP  = 132
)

const maxVLAN = 0xfff

// family is a set of network protocols.
type family uint8

const (
	familyIP family = 1 << iota
	familyIP6
	familyARP
	familyAny = familyIP | familyIP6 | familyARP
)

// dir says which end a leaf asks about.
type dir uint8

const (
	dirEither dir = iota
	dirSrc
	dirDst
	dirBoth
)

func (d dir) pick(src, dst bool) bool {
	switch d {
	case dirSrc:
		return src
	case dirDst:
		return dst
	case dirBoth:
		return src && dst
	}
	return src || dst
}

type leafKind uint8

const (
	leafTrue leafKind = iota
	leafFamily
	leafProto
	leafNet
	leafPort
	leafVLAN
)

// leaf is one primitive.
type leaf struct {
	kind       leafKind
	family     family // leafFamily, leafProto, leafNet
	dir        dir    // leafNet, leafPort
	proto      uint8  // leafProto; leafPort: 0 is any with ports
	lo, hi     uint16 // leafPort: range; leafVLAN: the id in both, or lo > hi for any
	addr, mask decode.Addr
}

// node is an expression: a leaf, or one of a and, for opAnd and opOr, b.
type node struct {
	op   op
	leaf leaf
	a, b *node
}

type op uint8

const (
	opLeaf op = iota
	opNot
	opAnd
	opOr
)

// test is a leaf with where to go on: the index of a later test, accept or reject. Jumps only go forward.
type test struct {
	leaf
	onTrue, onFalse int16
}

const (
	accept int16 = -1
	reject int16 = -2
)

// program turns an expression into tests. Built from the end, so that each test knows where its successors stand. If
// loose, leaves that a kernel filter cannot judge hold in both senses: the program accepts a superset.
func program(root *node, loose bool) []test {
	if root == nil {
		return nil
	}
	b := builder{loose: loose}
	b.add(root, false, accept, reject)
	last := int16(len(b.tests) - 1)
	for i, j := 0, len(b.tests)-1; i < j; i, j = i+1, j-1 {
		b.tests[i], b.tests[j] = b.tests[j], b.tests[i]
	}
	for i := range b.tests {
		b.tests[i].onTrue = flip(b.tests[i].onTrue, last)
		b.tests[i].onFalse = flip(b.tests[i].onFalse, last)
	}
	return b.tests
}

func flip(at, last int16) int16 {
	if at < 0 {
		return at
	}
	return last - at
}

type builder struct {
	tests []test // last first
	loose bool
}

// add appends the tests of n and returns the one to begin with. negated: n stands under an odd number of nots.
func (b *builder) add(n *node, negated bool, onTrue, onFalse int16) int16 {
	switch n.op {
	case opNot:
		return b.add(n.a, !negated, onTrue, onFalse)
	case opLeaf:
		l := n.leaf
		if b.loose && l.kind == leafVLAN {
			l, negated = leaf{}, false
		}
		if negated {
			onTrue, onFalse = onFalse, onTrue
		}
		b.tests = append(b.tests, test{l, onTrue, onFalse})
		return int16(len(b.tests) - 1)
	}
	second := b.add(n.b, negated, onTrue, onFalse)
	if (n.op == opAnd) != negated { // not (a or b) is (not a) and (not b)
		return b.add(n.a, negated, second, onFalse)
	}
	return b.add(n.a, negated, onTrue, second)
}
