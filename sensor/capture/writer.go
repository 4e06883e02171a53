package capture

import (
	"bufio"
	"encoding/binary"
	"io"

	"weir/decode"
)

// Writer writes frames as pcapng: one section in little-endian byte order, an interface for each link type, times in ns.
// Not safe for concurrent use.
type Writer struct {
	w     *bufio.Writer
	links []decode.LinkType // by interface number
	buf   []byte
	err   error
}

// NewWriter begins a section with interfaces of the given link types; Write adds others where it meets them. Errors come
// from Write or Flush.
func NewWriter(w io.Writer, links ...decode.LinkType) *Writer {
	p := &Writer{w: bufio.NewWriter(w)}
	b := p.begin(magicSection)
	b = binary.LittleEndian.AppendUint32(b, magicOrder)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	p.end(binary.LittleEndian.AppendUint64(b, 1<<64-1)) // length of the section: not given
	for _, l := range links {
		p.iface(l)
	}
	return p
}

// Write appends a frame. VLAN tags that the kernel took off are put back into an Ethernet frame.
func (p *Writer) Write(f *decode.Frame) error {
	id := p.iface(f.Link)
	b := p.begin(blockEnhanced)
	b = binary.LittleEndian.AppendUint32(b, uint32(id))
	b = binary.LittleEndian.AppendUint32(b, uint32(uint64(f.Time)>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Time))
	lengths := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	start := len(b)
	b = appendTagged(b, f)
	caplen := len(b) - start
	binary.LittleEndian.PutUint32(b[lengths:], uint32(caplen))
	binary.LittleEndian.PutUint32(b[lengths+4:], f.WireLen+uint32(caplen-len(f.Data)))
	p.end(b)
	return p.err
}

// Flush writes out what is buffered.
func (p *Writer) Flush() error {
	if err := p.w.Flush(); p.err == nil {
		p.err = err
	}
	return p.err
}

// appendTagged appends the bytes of a frame with its VLAN tags in front of the EtherType.
func appendTagged(b []byte, f *decode.Frame) []byte {
	const macs = 12
	if f.Link != decode.LinkEthernet || len(f.Data) < macs || f.Tags[0] == (decode.Tag{}) {
		return append(b, f.Data...)
	}
	b = append(b, f.Data[:macs]...)
	for _, t := range f.Tags {
		if t != (decode.Tag{}) {
			b = binary.BigEndian.AppendUint16(b, t.TPID)
			b = binary.BigEndian.AppendUint16(b, t.TCI)
		}
	}
	return append(b, f.Data[macs:]...)
}

// iface returns the number of the interface of a link type and describes it first if it is new.
func (p *Writer) iface(link decode.LinkType) int {
	for i, l := range p.links {
		if l == link {
			return i
		}
	}
	b := p.begin(blockInterface)
	b = binary.LittleEndian.AppendUint16(b, uint16(link))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0) // no snaplen
	b = binary.LittleEndian.AppendUint16(b, optTsResol)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = append(b, 9, 0, 0, 0) // 10^-9 s, padding
	p.end(binary.LittleEndian.AppendUint32(b, optEnd))
	p.links = append(p.links, link)
	return len(p.links) - 1
}

// begin starts a block; end pads it, sets both its lengths and writes it.
func (p *Writer) begin(kind uint32) []byte {
	return binary.LittleEndian.AppendUint64(p.buf[:0], uint64(kind))
}

func (p *Writer) end(b []byte) {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	n := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], n)
	p.buf = binary.LittleEndian.AppendUint32(b, n)
	if _, err := p.w.Write(p.buf); p.err == nil {
		p.err = err
	}
}
