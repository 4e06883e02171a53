package capture

import (
	"fmt"

	"weir/decode"
)

// pcap walks classic pcap (https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html) and its variants.
type pcap struct {
	count   *Counters
	order   order
	swapped bool  // captured and wire length stand in the order of versions before 2.3
	perhaps bool  // version 2.3: either order, the smaller is the captured length
	record  int   // bytes of a record header
	scale   int64 // ns of a unit of the sub-second part
	link    decode.LinkType
	ahead   ahead
}

// readHeader takes version and link type from the file header; it returns what is wrong with it.
func (p *pcap) readHeader(h []byte) (bad string) {
	major, minor := p.order.uint16(h[4:]), p.order.uint16(h[6:])
	link := uint16(p.order.uint32(h[20:])) // the upper bits tell the length of the frame check sequence
	switch {
	case major < 2:
		return fmt.Sprintf("pcap version %d.%d, which nothing documents", major, minor)
	case major == 543, major == 2 && minor < 3: // 543: DG/UX
		p.swapped = true
	case major == 2 && minor == 3:
		p.perhaps = true
	}
	// AIX writes version 2.2, nanoseconds and RFC 1573 interface types: 6 is Ethernet, 24 loopback.
	if major == 2 && minor == 2 && p.scale == 1000 && (link == 6 || link == 24) {
		p.scale = 1
		link = map[uint16]uint16{6: 1, 24: 0}[link]
	}
	p.link = linkType(link)
	return ""
}

func (p *pcap) walk(w []byte, b *Block, borrow bool) (int, stop) {
	off, n, why := 0, len(b.Frames), stop{}
	frames := b.Frames[:BlockFrames]
	p.ahead.to = 0
	for n < BlockFrames {
		if len(w)-off < p.record {
			why.need = int64(p.record)
			break
		}
		h := w[off : off+p.record]
		caplen, wire := p.order.uint32(h[8:]), p.order.uint32(h[12:])
		if p.swapped || p.perhaps && caplen > wire {
			caplen, wire = wire, caplen
		}
		if caplen > maxFrame {
			why.bad = fmt.Sprintf("a record claims %d bytes; more than %d cannot be", caplen, maxFrame)
			break
		}
		end := off + p.record + int(caplen)
		if end > len(w) {
			why.need = int64(end - off)
			break
		}
		data := w[off+p.record : end : end]
		if !borrow {
			var ok bool
			if data, ok = b.keep(data); !ok {
				break
			}
		}
		if wire < caplen {
			wire = caplen
			p.count.ShortWire++
		}
		f := &frames[n]
		f.Data, f.Time = data, p.time(p.order.uint32(h), p.order.uint32(h[4:]))
		f.WireLen, f.Link, f.Iface, f.Tags = wire, p.link, 0, [2]decode.Tag{}
		off = end
		n++
		p.ahead.touch(w, off)
	}
	b.Frames = frames[:n]
	return off, why
}

// time is the capture time in ns. A sub-second part of just a second comes from rounding and is carried; one of two or more
// is garbage and taken for 0, so that a broken record cannot move the clock.
func (p *pcap) time(sec, sub uint32) int64 {
	ns := int64(sub) * p.scale
	if ns >= 1e9 {
		p.count.BadSubsecond++
		if ns >= 2e9 {
			ns = 0
		}
	}
	return int64(sec)*1e9 + ns
}
