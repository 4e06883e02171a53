package filter

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"weir/decode"
)

// Error is a mistake in an expression.
type Error struct {
	Col int    // 1-based byte of the expression
	Msg string // what is wrong, and what would be right
}

func (e *Error) Error() string { return fmt.Sprintf("filter: column %d: %s", e.Col, e.Msg) }

// Parse reads an expression; the package comment has its grammar. Errors are *Error.
func Parse(expr string) (*Filter, error) {
	if len(expr) > MaxLength {
		return nil, &Error{MaxLength + 1, fmt.Sprintf("longer than %d bytes", MaxLength)}
	}
	p := parser{tokens: split(expr), end: len(expr) + 1}
	if len(p.tokens) == 0 {
		return &Filter{}, nil
	}
	root, err := p.expr()
	if err != nil {
		return nil, err
	}
	if t, ok := p.peek(); ok {
		if t.text == ")" {
			return nil, &Error{t.col, `")" without "("`}
		}
		return nil, &Error{t.col, fmt.Sprintf(`expected "and" or "or" before %q`, t.text)}
	}
	return &Filter{root: root, prog: program(root, false)}, nil
}

type token struct {
	text string
	col  int
}

// split cuts an expression at blanks; "(", ")", "!", "&&" and "||" are tokens of their own.
func split(expr string) []token {
	var tokens []token
	for i := 0; i < len(expr); {
		n := 1
		switch c := expr[i]; {
		case blank(c):
			i++
			continue
		case strings.HasPrefix(expr[i:], "&&"), strings.HasPrefix(expr[i:], "||"):
			n = 2
		case !mark(c):
			for i+n < len(expr) && !blank(expr[i+n]) && !mark(expr[i+n]) {
				n++
			}
		}
		tokens = append(tokens, token{expr[i : i+n], i + 1})
		i += n
	}
	return tokens
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func mark(c byte) bool { return c == '(' || c == ')' || c == '!' || c == '&' || c == '|' }

type parser struct {
	tokens []token
	end    int // column after the expression
	depth  int
	last   qualifier // of the last host, net, port or portrange, for a value alone
}

// qualifier is what stands before a value.
type qualifier struct {
	proto string // "" or a word of protoLeaf
	dir   dir
	kind  string // host, net, port, portrange
}

func (p *parser) peek() (token, bool) {
	if len(p.tokens) == 0 {
		return token{"", p.end}, false
	}
	return p.tokens[0], true
}

// take consumes the next token if it is one of words.
func (p *parser) take(words ...string) (token, bool) {
	t, ok := p.peek()
	if ok {
		for _, w := range words {
			if t.text == w {
				p.tokens = p.tokens[1:]
				return t, true
			}
		}
	}
	return t, false
}

func (p *parser) expr() (*node, error) {
	left, err := p.term()
	for err == nil {
		t, ok := p.take("and", "&&", "or", "||")
		if !ok {
			return left, nil
		}
		op := opAnd
		if t.text == "or" || t.text == "||" {
			op = opOr
		}
		var right *node
		right, err = p.term()
		left = &node{op: op, a: left, b: right}
	}
	return nil, err
}

func (p *parser) term() (*node, error) {
	if t, ok := p.take("not", "!"); ok {
		return p.nested(t, func() (*node, error) {
			n, err := p.term()
			return &node{op: opNot, a: n}, err
		})
	}
	if t, ok := p.take("("); ok {
		return p.nested(t, func() (*node, error) {
			n, err := p.expr()
			if _, ok := p.take(")"); err == nil && !ok {
				err = &Error{t.col, `"(" without ")"`}
			}
			return n, err
		})
	}
	l, err := p.primitive()
	return &node{leaf: l}, err
}

// nested bounds the depth of what f reads.
func (p *parser) nested(t token, f func() (*node, error)) (*node, error) {
	if p.depth == MaxDepth {
		return nil, &Error{t.col, fmt.Sprintf("nested deeper than %d", MaxDepth)}
	}
	p.depth++
	defer func() { p.depth-- }()
	return f()
}

// protoLeaf is what a protocol word means alone.
func protoLeaf(word string) (leaf, bool) {
	switch word {
	case "ip":
		return leaf{kind: leafFamily, family: familyIP}, true
	case "ip6":
		return leaf{kind: leafFamily, family: familyIP6}, true
	case "arp":
		return leaf{kind: leafFamily, family: familyARP}, true
	case "tcp":
		return leaf{kind: leafProto, family: familyIP | familyIP6, proto: protoTCP}, true
	case "udp":
		return leaf{kind: leafProto, family: familyIP | familyIP6, proto: protoUDP}, true
	case "sctp":
		return leaf{kind: leafProto, family: familyIP | familyIP6, proto: protoSCTP}, true
	case "icmp":
		return leaf{kind: leafProto, family: familyIP, proto: protoICMP}, true
	case "icmp6":
		return leaf{kind: leafProto, family: familyIP6, proto: protoICMP6}, true
	}
	return leaf{}, false
}

func (p *parser) primitive() (leaf, error) {
	start, ok := p.peek()
	if !ok {
		return leaf{}, &Error{p.end, "the expression ends where a condition is expected"}
	}
	if _, ok := p.take("vlan"); ok {
		return p.vlan()
	}
	if looksLikeValue(start.text) {
		q := p.last
		if q.kind == "" {
			q.kind = "host"
		}
		return p.value(q)
	}
	var q qualifier
	alone, isProto := protoLeaf(start.text)
	if isProto {
		p.tokens = p.tokens[1:]
		q.proto = start.text
	}
	var hasDir bool
	if q.dir, hasDir = p.direction(); !hasDir {
		q.dir = dirEither
	}
	t, ok := p.take("host", "net", "port", "portrange")
	next, more := p.peek()
	switch {
	case ok:
		q.kind = t.text
	case hasDir || more && q.proto != "" && looksLikeValue(next.text):
		q.kind = "host"
	case isProto:
		return alone, nil
	default:
		return leaf{}, unknown(start)
	}
	p.last = q
	return p.value(q)
}

// direction reads "src", "dst", "src or dst" or "src and dst".
func (p *parser) direction() (dir, bool) {
	first, ok := p.take("src", "dst")
	if !ok {
		return dirEither, false
	}
	d, other := dirSrc, "dst"
	if first.text == "dst" {
		d, other = dirDst, "src"
	}
	if len(p.tokens) < 2 || p.tokens[1].text != other {
		return d, true
	}
	switch p.tokens[0].text {
	case "or", "||":
		d = dirEither
	case "and", "&&":
		d = dirBoth
	default:
		return d, true
	}
	p.tokens = p.tokens[2:]
	return d, true
}

func (p *parser) vlan() (leaf, error) {
	l := leaf{kind: leafVLAN, lo: 1}
	t, ok := p.peek()
	if !ok || t.text[0] < '0' || t.text[0] > '9' {
		return l, nil
	}
	p.tokens = p.tokens[1:]
	id, err := strconv.ParseUint(t.text, 10, 16)
	if err != nil || id > maxVLAN {
		return l, &Error{t.col, fmt.Sprintf("%q is no VLAN id (0 to %d)", t.text, maxVLAN)}
	}
	l.lo, l.hi = uint16(id), uint16(id)
	return l, nil
}

// value reads what q.kind takes.
func (p *parser) value(q qualifier) (leaf, error) {
	t, ok := p.peek()
	if !ok || mark(t.text[0]) {
		return leaf{}, &Error{t.col, fmt.Sprintf("%q needs a value", q.kind)}
	}
	p.tokens = p.tokens[1:]
	if q.kind == "port" || q.kind == "portrange" {
		return portLeaf(q, t)
	}
	return netLeaf(q, t)
}

func portLeaf(q qualifier, t token) (leaf, error) {
	l := leaf{kind: leafPort, dir: q.dir}
	switch q.proto {
	case "":
	case "tcp", "udp", "sctp":
		alone, _ := protoLeaf(q.proto)
		l.proto = alone.proto
	default:
		return l, &Error{t.col, fmt.Sprintf("%q has no ports: only tcp, udp and sctp do", q.proto)}
	}
	first, second, isRange := strings.Cut(t.text, "-")
	if isRange != (q.kind == "portrange") {
		if isRange {
			return l, &Error{t.col, fmt.Sprintf("%q is a range: write portrange %s", t.text, t.text)}
		}
		return l, &Error{t.col, fmt.Sprintf("%q is no range: write it as 1000-2000", t.text)}
	}
	if !isRange {
		second = first
	}
	lo, err := strconv.ParseUint(first, 10, 16)
	hi, err2 := strconv.ParseUint(second, 10, 16)
	if err != nil || err2 != nil {
		return l, &Error{t.col, fmt.Sprintf("%q is no port (a number from 0 to 65535)", t.text)}
	}
	l.lo, l.hi = uint16(min(lo, hi)), uint16(max(lo, hi))
	return l, nil
}

func netLeaf(q qualifier, t token) (leaf, error) {
	l := leaf{kind: leafNet, dir: q.dir}
	if strings.Contains(t.text, "/") && q.kind == "host" {
		return l, &Error{t.col, fmt.Sprintf("%q is a network: write net %s", t.text, t.text)}
	}
	prefix, err := parsePrefix(t)
	if err != nil {
		return l, err
	}
	bits := prefix.Bits()
	if l.family = familyIP6; prefix.Addr().Is4() {
		l.family, bits = familyIP|familyARP, bits+96
	}
	switch alone, _ := protoLeaf(q.proto); {
	case q.proto == "":
	case alone.kind != leafFamily:
		return l, &Error{t.col, fmt.Sprintf("%q does not go before an address: write %s and %s %s", q.proto, q.proto, q.kind, t.text)}
	case alone.family&l.family == 0:
		return l, &Error{t.col, fmt.Sprintf("%q is no address of %q", t.text, q.proto)}
	default:
		l.family = alone.family
	}
	l.addr, l.mask = decode.AddrFrom(prefix.Addr()), maskOf(bits)
	return l, nil
}

// parsePrefix reads an address or a network in CIDR form.
func parsePrefix(t token) (netip.Prefix, error) {
	wrong := func(format string, args ...any) (netip.Prefix, error) {
		return netip.Prefix{}, &Error{t.col, fmt.Sprintf(format, args...)}
	}
	if !strings.Contains(t.text, "/") {
		a, err := netip.ParseAddr(t.text)
		if err != nil || a.Zone() != "" {
			return wrong("%q is no address (names are not looked up; a network is written like 10.0.0.0/8)", t.text)
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(t.text)
	if err != nil {
		return wrong("%q is no network (write it like 10.0.0.0/8)", t.text)
	}
	if prefix.Masked() != prefix {
		return wrong("%q has bits beyond its length: write %s", t.text, prefix.Masked())
	}
	return prefix, nil
}

// maskOf is the mask of the first n of 128 bits.
func maskOf(n int) decode.Addr {
	ones := ^uint64(0)
	if n <= 64 {
		return decode.Addr{Hi: ones << (64 - n)}
	}
	return decode.Addr{Hi: ones, Lo: ones << (128 - n)}
}

// looksLikeValue tells an address or a number from a word.
func looksLikeValue(s string) bool {
	return s[0] >= '0' && s[0] <= '9' || strings.Contains(s, ":")
}
