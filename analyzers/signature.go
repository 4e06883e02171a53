package analyzers

import (
	"encoding/hex"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"weir/analyzers/tally"
)

// Bounds of a signature.
const (
	MinAttackSample = 50   // headers of the flood
	MinNormalSample = 100  // headers of the victim's normal traffic: fewer cannot show a share of 1 %
	maxAttackSample = 2048 // more are thinned evenly
	coverPercent    = 80   // of the flood at least
	sparePercent    = 1    // of normal traffic at most
	narrowPercent   = 1    // of the flood that the narrowing may lose
)

// ExtractSignature finds the smallest set of header conditions that covers ≥ 80 % of the attack headers and hits ≤ 1 % of
// the normal ones; among equally small sets the one that hits the fewest normal headers, then the one that covers the most
// of the attack, then the first in the order below. Nil if there is none or a sample is smaller than its minimum.
//
// The set is then narrowed: each further condition that costs at most 1 % of what is covered is added, because the sample of normal
// traffic does not have all that is normal. "length 40" tells a bare SYN from all of a hundred headers with TCP timestamps, and
// would drop the bare ACKs of the next client without.
//
// Conditions: protocol, src_port, dst_port, length (of the IP packet), tcp_window, tcp_flags, tcp_options (the layout hash)
// equal one value; payload begins with 1 to 8 bytes; the TTL lies in a range, which is written as two fields and counts
// as one condition. A header without the field does not match.
//
// The search is exact: a condition of the set must cover 80 % by itself, and only one value of a field can, so there is one
// candidate a field, eight for the payload, and for each choice of them the best TTL range by two pointers. Deterministic;
// at most 1,152 choices, some milliseconds for full samples.
func ExtractSignature(attack, normal []tally.Header) *Signature {
	if len(attack) < MinAttackSample || len(normal) < MinNormalSample {
		return nil
	}
	s := newSignatureSearch(thin(attack), normal)
	s.run()
	s.narrow()
	return s.result()
}

// thin takes at most maxAttackSample headers at even distances.
func thin(h []tally.Header) []tally.Header {
	if len(h) <= maxAttackSample {
		return h
	}
	out := make([]tally.Header, maxAttackSample)
	for i := range out {
		out[i] = h[i*len(h)/maxAttackSample]
	}
	return out
}

// headerField is a field that a condition can ask for; ok is false for headers without it.
type headerField struct {
	name string
	get  func(h *tally.Header) (v uint64, ok bool)
	text func(v uint64) string
}

func decimal(v uint64) string { return strconv.FormatUint(v, 10) }

func ports(h *tally.Header) bool {
	return (h.Proto == protoTCP || h.Proto == protoUDP) && (h.SrcPort != 0 || h.DstPort != 0)
}

// firstPayload is the place in headerFields of the payload prefixes, one for each length, of which a set holds one.
const firstPayload = 7

var headerFields = [firstPayload + 8]headerField{
	{"protocol", func(h *tally.Header) (uint64, bool) { return uint64(h.Proto), true }, protocolName},
	{"src_port", func(h *tally.Header) (uint64, bool) { return uint64(h.SrcPort), ports(h) && h.SrcPort != 0 }, decimal},
	{"dst_port", func(h *tally.Header) (uint64, bool) { return uint64(h.DstPort), ports(h) }, decimal},
	{"length", func(h *tally.Header) (uint64, bool) { return uint64(h.Len), true }, decimal},
	{"tcp_window", func(h *tally.Header) (uint64, bool) { return uint64(h.Window), h.Proto == protoTCP && ports(h) }, decimal},
	{"tcp_flags", func(h *tally.Header) (uint64, bool) { return uint64(h.Flags), h.Proto == protoTCP && ports(h) }, flagNames},
	{
		"tcp_options", func(h *tally.Header) (uint64, bool) { return uint64(h.Layout), h.Proto == protoTCP && ports(h) },
		func(v uint64) string {
			return hex.EncodeToString([]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		},
	},
	payloadField(1), payloadField(2), payloadField(3), payloadField(4), payloadField(5), payloadField(6), payloadField(7), payloadField(8),
}

func payloadField(n int) headerField {
	get := func(h *tally.Header) (v uint64, ok bool) {
		for _, b := range h.Payload[:n] {
			v = v<<8 | uint64(b)
		}
		return v, int(h.NPayload) >= n
	}
	text := func(v uint64) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(v >> (8 * (n - 1 - i)))
		}
		return hex.EncodeToString(b)
	}
	return headerField{"payload", get, text}
}

func protocolName(v uint64) string {
	switch v {
	case protoICMP:
		return "icmp"
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMPv6:
		return "icmpv6"
	}
	return decimal(v)
}

// flagNames writes TCP flags in the order of the header, from the lowest bit: "syn", "syn,ack"; "none".
func flagNames(v uint64) string {
	var names []string
	for i, name := range []string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae"} {
		if v>>i&1 != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ",")
}

// bitset is a set of sample indices.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (b bitset) and(o bitset) {
	for i := range b {
		b[i] &= o[i]
	}
}

func (b bitset) count() (n int) {
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// each calls f with the members in order.
func (b bitset) each(f func(i int)) {
	for at, w := range b {
		for ; w != 0; w &= w - 1 {
			f(at*64 + bits.TrailingZeros64(w))
		}
	}
}

// condition is the one candidate of a field, with the headers that match it.
type condition struct {
	field          *headerField
	value          uint64
	payload        bool
	attack, normal bitset
}

// choice is a set of conditions that covers and spares enough.
type choice struct {
	conditions     []int // places in the search's conditions
	size           int   // conditions, a TTL range being one
	ttl            bool
	low, high      int // TTL
	attack, normal int // headers matched
}

// better is the order of preference.
func (c *choice) better(o *choice) bool {
	switch {
	case o.size == 0 || c.size != o.size:
		return o.size == 0 || c.size < o.size
	case c.normal != o.normal:
		return c.normal < o.normal
	}
	return c.attack > o.attack
}

type signatureSearch struct {
	attack, normal []tally.Header
	need, spare    int // headers to cover at least, to hit at most
	conditions     []condition
	chosen         []int
	best           choice
}

func newSignatureSearch(attack, normal []tally.Header) *signatureSearch {
	s := &signatureSearch{
		attack: attack, normal: normal,
		need:  (len(attack)*coverPercent + 99) / 100,
		spare: len(normal) * sparePercent / 100,
	}
	for i := range headerFields {
		s.propose(&headerFields[i], i >= firstPayload)
	}
	return s
}

// propose makes a condition of the value of a field that covers enough by itself, if there is one. A majority candidate
// (Boyer, Moore: MJRTY, 1981) is the only one that can.
func (s *signatureSearch) propose(f *headerField, payload bool) {
	var value uint64
	lead := 0
	for i := range s.attack {
		switch v, ok := f.get(&s.attack[i]); {
		case ok && lead == 0:
			value, lead = v, 1
		case ok && v == value:
			lead++
		case lead > 0:
			lead--
		}
	}
	match := func(list []tally.Header) bitset {
		b := newBitset(len(list))
		for i := range list {
			if v, ok := f.get(&list[i]); ok && v == value {
				b[i/64] |= 1 << (i % 64)
			}
		}
		return b
	}
	if a := match(s.attack); a.count() >= s.need {
		s.conditions = append(s.conditions, condition{f, value, payload, a, match(s.normal)})
	}
}

// run tries all sets.
func (s *signatureSearch) run() {
	all := func(n int) bitset {
		b := newBitset(n)
		for i := range n {
			b[i/64] |= 1 << (i % 64)
		}
		return b
	}
	s.extend(0, all(len(s.attack)), all(len(s.normal)))
}

// extend judges the chosen conditions, which match the given headers, with and without a TTL range, and goes on to sets
// with more conditions from place next on as long as these can be as small as the best one.
func (s *signatureSearch) extend(next int, attack, normal bitset) {
	covered, hit := attack.count(), normal.count()
	if covered < s.need {
		return
	}
	size := len(s.chosen)
	if size > 0 && hit <= s.spare {
		s.consider(choice{size: size, attack: covered, normal: hit})
		return
	}
	if s.best.size != 0 && size+1 > s.best.size {
		return
	}
	for i := next; i < len(s.conditions); i++ {
		c := &s.conditions[i]
		if c.payload && size > 0 && s.conditions[s.chosen[size-1]].payload {
			break
		}
		a, n := slices.Clone(attack), slices.Clone(normal)
		a.and(c.attack)
		n.and(c.normal)
		s.chosen = append(s.chosen, i)
		s.extend(i+1, a, n)
		s.chosen = s.chosen[:size]
	}
	s.withTTL(attack, normal)
}

func (s *signatureSearch) consider(c choice) {
	c.conditions = s.chosen
	if c.better(&s.best) {
		c.conditions = slices.Clone(s.chosen)
		s.best = c
	}
}

// withTTL adds the best TTL range to the chosen conditions: for each lower end the least upper end that covers enough, and
// on as long as no normal header has such a TTL.
func (s *signatureSearch) withTTL(attack, normal bitset) {
	var a, n [257]int // counts below the TTL
	attack.each(func(i int) { a[int(s.attack[i].TTL)+1]++ })
	normal.each(func(i int) { n[int(s.normal[i].TTL)+1]++ })
	for t := range 256 {
		a[t+1] += a[t]
		n[t+1] += n[t]
	}
	high := 0
	for low := range 256 {
		for high < 255 && a[high+1]-a[low] < s.need {
			high++
		}
		if a[high+1]-a[low] < s.need {
			return
		}
		end := high
		for next := high + 1; next < 256 && n[next+1] == n[high+1]; next++ {
			if a[next+1] > a[next] {
				end = next
			}
		}
		if hit := n[end+1] - n[low]; hit <= s.spare && a[low+1] > a[low] {
			s.consider(choice{size: len(s.chosen) + 1, ttl: true, low: low, high: end, attack: a[end+1] - a[low], normal: hit})
		}
	}
}

// narrow adds conditions to the best set, in the order of the fields, the longest opening of the payload first. A TTL range is not
// narrowed: distances of sources that were not sampled may differ.
func (s *signatureSearch) narrow() {
	if s.best.size == 0 {
		return
	}
	attack, normal := s.matched(&s.best)
	hasPayload := slices.ContainsFunc(s.best.conditions, func(i int) bool { return s.conditions[i].payload })
	least := max(s.need, s.best.attack-s.best.attack*narrowPercent/100)
	for _, i := range s.narrowing() {
		c := &s.conditions[i]
		if slices.Contains(s.best.conditions, i) || c.payload && hasPayload {
			continue
		}
		a, n := slices.Clone(attack), slices.Clone(normal)
		a.and(c.attack)
		n.and(c.normal)
		if a.count() < least {
			continue
		}
		attack, normal, hasPayload = a, n, hasPayload || c.payload
		s.best.conditions = append(s.best.conditions, i)
	}
	slices.Sort(s.best.conditions)
	s.best.attack, s.best.normal = attack.count(), normal.count()
}

// narrowing is the order in which conditions are added.
func (s *signatureSearch) narrowing() (order []int) {
	for i := range s.conditions {
		if !s.conditions[i].payload {
			order = append(order, i)
		}
	}
	for i := len(s.conditions) - 1; i >= 0 && s.conditions[i].payload; i-- {
		order = append(order, i)
	}
	return order
}

// matched are the headers that a choice matches.
func (s *signatureSearch) matched(c *choice) (attack, normal bitset) {
	match := func(list []tally.Header, of func(*condition) bitset) bitset {
		b := newBitset(len(list))
		for i := range list {
			ttl := int(list[i].TTL)
			if !c.ttl || ttl >= c.low && ttl <= c.high {
				b[i/64] |= 1 << (i % 64)
			}
		}
		for _, i := range c.conditions {
			b.and(of(&s.conditions[i]))
		}
		return b
	}
	return match(s.attack, func(c *condition) bitset { return c.attack }), match(s.normal, func(c *condition) bitset { return c.normal })
}

// result writes the best set down in the order of the fields, nil if there is none.
func (s *signatureSearch) result() *Signature {
	if s.best.size == 0 {
		return nil
	}
	g := &Signature{
		Attack:  float64(s.best.attack) / float64(len(s.attack)),
		Normal:  float64(s.best.normal) / float64(len(s.normal)),
		NAttack: len(s.attack),
		NNormal: len(s.normal),
	}
	for _, i := range s.best.conditions {
		c := &s.conditions[i]
		g.Fields = append(g.Fields, Field{c.field.name, c.field.text(c.value)})
	}
	if s.best.ttl {
		g.Fields = append(g.Fields, Field{"ttl_min", strconv.Itoa(s.best.low)}, Field{"ttl_max", strconv.Itoa(s.best.high)})
	}
	return g
}
