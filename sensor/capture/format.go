package capture

import (
	"encoding/binary"

	"weir/decode"
)

const (
	maxFrame  = 256 << 10 // bytes: MAXIMUM_SNAPLEN of libpcap; longer records are a broken file
	maxRecord = 16 << 20  // bytes of a pcapng block that is read: libpcap's INITIAL_MAX_BLOCKSIZE
	lookAhead = 4 << 10   // bytes: how far ahead of the cursor the walk touches the input
	cacheLine = 64        // bytes
)

// maxTime is the latest capture time that is passed on: 2^62 ns, in the year 2116. Classic pcap's unsigned seconds end in
// 2106. Times stay well below the end of int64, so that adding a window to one cannot overflow.
const maxTime = 1 << 62

// Counters count oddities of capture files. One writer: read them when the source is at its end or from its goroutine.
type Counters struct {
	BadTime      uint64 // pcapng times before 1970 or after 2116: they take that of the frame before
	BadSubsecond uint64 // pcap records with a sub-second part of a second (carried) or of two and more (taken for 0)
	NoTime       uint64 // pcapng simple packets: they have no time and take that of the frame before
	ShortWire    uint64 // frames with a wire length below their captured length: raised
	Skipped      uint64 // pcapng blocks of other kinds than packets and interfaces
	Shrunk       uint64 // mapped files that were truncated while they were read
}

func (c *Counters) add(o *Counters) {
	c.BadTime += o.BadTime
	c.BadSubsecond += o.BadSubsecond
	c.NoTime += o.NoTime
	c.ShortWire += o.ShortWire
	c.Skipped += o.Skipped
	c.Shrunk += o.Shrunk
}

// format walks the records of one capture format.
type format interface {
	// walk appends the frames of w, which starts at a record, to b until b is full or w ends. It returns how many bytes
	// are done and why it stopped there. Frames borrow w if borrow is set and are copied into b otherwise.
	walk(w []byte, b *Block, borrow bool) (used int, why stop)
}

// stop is why a walk stopped. The zero value: the block is full.
type stop struct {
	need int64  // the record at the end of what was used goes on beyond the window and has at least so many bytes
	skip bool   // it is of no interest: need is its length
	bad  string // it cannot be: what is wrong with it
}

// order is a byte order: true is big-endian.
type order bool

func (o order) uint16(b []byte) uint16 {
	if o {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (o order) uint32(b []byte) uint32 {
	if o {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (o order) uint64(b []byte) uint64 {
	if o {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// ahead touches the input before the walk gets there: the walk is a chain of dependent cache misses, and a plain early load
// of every line takes half of its time away.
type ahead struct {
	to   int  // of the window: touched so far
	sink byte // keeps the loads alive
}

// touch loads a byte of every cache line of w up to lookAhead beyond off.
func (a *ahead) touch(w []byte, off int) {
	to := min(off+lookAhead, len(w))
	t, sum := max(a.to, off), a.sink
	for ; t < to; t += cacheLine {
		sum += w[t]
	}
	a.to, a.sink = t, sum
}

// magics of classic pcap in the byte order of their writer. Sources: libpcap sf-pcap.c, Wireshark wiretap/libpcap.c.
const (
	magicMicro     = 0xa1b2c3d4
	magicNano      = 0xa1b23c4d
	magicNavtel    = 0xa12b3c4d // Navtel: nanoseconds
	magicKuznetzov = 0xa1b2cd34 // Kuznetzov's patch: 8 more bytes a record (interface, protocol, packet type)
	magicIxiaHW    = 0x1c0001ac // Ixia lcap by hardware: nanoseconds, 4 more bytes of file header
	magicIxiaSW    = 0x1c0001ab // Ixia lcap by software: the same in microseconds

	magicSection = 0x0a0d0d0a // pcapng; the same in both byte orders
	magicOrder   = 0x1a2b3c4d // pcapng, in the section header
)

// recognise returns the reader of a file that starts with head and the length of its file header. Without a reader, bad
// says why the file is no capture; if that is empty, the header is not complete.
func recognise(head []byte, c *Counters) (f format, header int, bad string) {
	if len(head) < 4 {
		return nil, 0, guess(head)
	}
	if binary.LittleEndian.Uint32(head) == magicSection {
		return &pcapng{count: c}, 0, ""
	}
	for _, o := range []order{false, true} {
		p := &pcap{count: c, order: o, record: 16, scale: 1000}
		header = 24
		switch o.uint32(head) {
		case magicMicro:
		case magicNano, magicNavtel:
			p.scale = 1
		case magicKuznetzov:
			p.record = 24
		case magicIxiaHW:
			p.scale, header = 1, 28
		case magicIxiaSW:
			header = 28
		default:
			continue
		}
		if len(head) < header {
			return nil, header, ""
		}
		if bad := p.readHeader(head); bad != "" {
			return nil, 0, bad
		}
		return p, header, ""
	}
	return nil, 0, guess(head)
}

// linkType maps the raw IP numbers that some systems wrote (DLT_RAW is 12, on OpenBSD 14) to the registered one.
func linkType(n uint16) decode.LinkType {
	if n == 12 || n == 14 {
		return decode.LinkRaw
	}
	return decode.LinkType(n)
}
