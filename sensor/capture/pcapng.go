package capture

import (
	"fmt"
	"math"
	"math/bits"

	"weir/decode"
)

// Block types of pcapng (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html).
const (
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6
)

// Options of an interface description.
const (
	optEnd      = 0
	optTsResol  = 9
	optTsOffset = 14
)

// pcapng walks pcapng: any number of sections, each with its byte order and its interfaces.
type pcapng struct {
	count  *Counters
	order  order
	base   int // interfaces of the sections before: Frame.Iface counts on
	ifaces []iface
	last   int64 // time of the last frame
	ahead  ahead
}

// iface is what an interface description says about its frames.
type iface struct {
	link    decode.LinkType
	snaplen uint32 // 0: no limit
	offset  int64  // s, added to every time
	power   uint8  // times count 10^-power s, or 2^-power if binary
	binary  bool
}

func (p *pcapng) walk(w []byte, b *Block, borrow bool) (int, stop) {
	off := 0
	p.ahead.to = 0
	for len(b.Frames) < BlockFrames {
		rest := w[off:]
		if len(rest) < 12 {
			return off, stop{need: 12}
		}
		kind, length, bad := p.blockHeader(rest)
		if bad != "" {
			return off, stop{bad: bad}
		}
		skip := !p.reads(kind)
		switch {
		case !skip && length > maxRecord:
			return off, stop{bad: fmt.Sprintf("a block claims %d bytes; more than %d cannot be", length, maxRecord)}
		case length > int64(len(rest)):
			return off, stop{need: length, skip: skip}
		case skip:
			p.count.Skipped++
		default:
			full, bad := p.block(kind, rest[:length:length], b, borrow)
			if bad != "" || full {
				return off, stop{bad: bad}
			}
		}
		off += int(length)
		p.ahead.touch(w, off)
	}
	return off, stop{}
}

// blockHeader reads type and total length of the block at the start of w, which has at least 12 bytes. A section header
// sets the byte order.
func (p *pcapng) blockHeader(w []byte) (kind uint32, length int64, bad string) {
	kind = p.order.uint32(w)
	if kind == magicSection {
		switch uint32(magicOrder) {
		case order(false).uint32(w[8:]):
			p.order = false
		case order(true).uint32(w[8:]):
			p.order = true
		default:
			return 0, 0, fmt.Sprintf("a section header with byte-order magic % x", w[8:12])
		}
	}
	length = int64(p.order.uint32(w[4:]))
	if length < 12 || length%4 != 0 {
		return 0, 0, fmt.Sprintf("a block of type %#x claims %d bytes", kind, length)
	}
	return kind, length, ""
}

func (p *pcapng) reads(kind uint32) bool {
	switch kind {
	case magicSection, blockInterface, blockPacket, blockSimple, blockEnhanced:
		return true
	}
	return false
}

// block reads one whole block; full means that b has no room for its frame.
func (p *pcapng) block(kind uint32, w []byte, b *Block, borrow bool) (full bool, bad string) {
	body := w[8 : len(w)-4]
	if trailer := p.order.uint32(w[len(w)-4:]); int(trailer) != len(w) {
		return false, fmt.Sprintf("a block of %d bytes ends with length %d", len(w), trailer)
	}
	switch kind {
	case magicSection:
		return false, p.section(body)
	case blockInterface:
		return false, p.addInterface(body)
	}
	var f decode.Frame
	if bad := p.frame(kind, body, &f); bad != "" {
		return false, bad
	}
	if !borrow {
		var ok bool
		if f.Data, ok = b.keep(f.Data); !ok {
			return true, ""
		}
	}
	p.oddities(kind, &f)
	b.Frames = append(b.Frames, f)
	return false, ""
}

func (p *pcapng) section(body []byte) string {
	if len(body) < 16 {
		return "a section header that is too short"
	}
	if major := p.order.uint16(body[4:]); major != 1 {
		return fmt.Sprintf("pcapng version %d.%d, which nothing documents", major, p.order.uint16(body[6:]))
	}
	p.base += len(p.ifaces)
	p.ifaces = p.ifaces[:0]
	return ""
}

func (p *pcapng) addInterface(body []byte) string {
	if len(body) < 8 {
		return "an interface description that is too short"
	}
	if len(p.ifaces) > math.MaxUint16 {
		return fmt.Sprintf("more than %d interfaces in a section", len(p.ifaces))
	}
	i := iface{link: linkType(p.order.uint16(body)), snaplen: p.order.uint32(body[4:]), power: 6}
	for o := body[8:]; len(o) >= 4; {
		code, n := p.order.uint16(o), int(p.order.uint16(o[2:]))
		if code == optEnd || n > len(o)-4 {
			break
		}
		value := o[4 : 4+n]
		if code == optTsResol && n == 1 {
			i.power, i.binary = value[0]&0x7f, value[0]&0x80 != 0
		}
		if code == optTsOffset && n == 8 {
			i.offset = int64(p.order.uint64(value))
		}
		o = o[min(len(o), 4+(n+3)&^3):]
	}
	p.ifaces = append(p.ifaces, i)
	return ""
}

// frame reads a packet block of any of the three kinds.
func (p *pcapng) frame(kind uint32, body []byte, f *decode.Frame) string {
	fixed := 20
	if kind == blockSimple {
		fixed = 4
	}
	if len(body) < fixed {
		return "a packet block that is too short"
	}
	id := uint32(0)
	switch kind {
	case blockEnhanced:
		id = p.order.uint32(body)
	case blockPacket:
		id = uint32(p.order.uint16(body))
	}
	if id >= uint32(len(p.ifaces)) {
		return fmt.Sprintf("a packet of interface %d, but the section describes %d", id, len(p.ifaces))
	}
	i := &p.ifaces[id]
	data, wire := body[fixed:], p.order.uint32(body[fixed-4:])
	var caplen uint32
	if kind == blockSimple {
		caplen = min(wire, uint32(len(data)))
		if i.snaplen != 0 {
			caplen = min(caplen, i.snaplen)
		}
	} else {
		caplen = p.order.uint32(body[12:])
		ts := uint64(p.order.uint32(body[4:]))<<32 | uint64(p.order.uint32(body[8:]))
		f.Time = i.time(ts)
	}
	if caplen > maxFrame || int(caplen) > len(data) {
		return fmt.Sprintf("a packet claims %d bytes in a block of %d", caplen, len(body)+12)
	}
	f.Data, f.WireLen, f.Link = data[:caplen:caplen], wire, i.link
	f.Iface = uint16(min(p.base+int(id), math.MaxUint16))
	return ""
}

// oddities counts and mends what cannot be in a frame that is about to be handed out.
func (p *pcapng) oddities(kind uint32, f *decode.Frame) {
	switch {
	case kind == blockSimple:
		f.Time = p.last
		p.count.NoTime++
	case f.Time < 0 || f.Time > maxTime:
		f.Time = p.last
		p.count.BadTime++
	}
	p.last = f.Time
	if f.WireLen < uint32(len(f.Data)) {
		f.WireLen = uint32(len(f.Data))
		p.count.ShortWire++
	}
}

// time converts a count of the interface's units to ns, saturating.
func (i *iface) time(ts uint64) int64 {
	sec, ns := uint64(0), uint64(0)
	switch {
	case i.binary && i.power < 64:
		sec = ts >> i.power
		hi, lo := bits.Mul64(ts&(1<<i.power-1), 1e9)
		ns = hi<<(64-i.power) | lo>>i.power
	case i.binary:
		hi, _ := bits.Mul64(ts, 1e9)
		ns = hi >> (i.power - 64)
	case i.power < 20:
		unit := pow10[i.power]
		sec = ts / unit
		hi, lo := bits.Mul64(ts%unit, 1e9)
		ns, _ = bits.Div64(hi, lo, unit)
	case i.power < 29:
		ns = ts / pow10[i.power-9]
	}
	const limit = int64(math.MaxInt64)/1e9 - 1
	whole := addSat(int64(min(sec, math.MaxInt64)), i.offset)
	return max(-limit, min(whole, limit))*1e9 + int64(ns)
}

var pow10 = func() (p [20]uint64) {
	p[0] = 1
	for i := 1; i < len(p); i++ {
		p[i] = 10 * p[i-1]
	}
	return p
}()

// addSat adds without overflow.
func addSat(a, b int64) int64 {
	s := a + b
	if a > 0 && b > 0 && s < 0 {
		return math.MaxInt64
	}
	if a < 0 && b < 0 && s >= 0 {
		return math.MinInt64
	}
	return s
}
