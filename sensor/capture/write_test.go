package capture

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir/decode"
)

// sample is n frames of growing size and time, in µs.
func sample(n int) []decode.Frame {
	frames := make([]decode.Frame, n)
	for i := range frames {
		data := make([]byte, 14+7*i%1400)
		for j := range data {
			data[j] = byte(i + j)
		}
		frames[i] = decode.Frame{Data: data, Time: 1_700_000_000e9 + int64(i)*1_234_000, WireLen: uint32(len(data) + i%3), Link: decode.LinkEthernet}
	}
	return frames
}

// variant is a kind of classic pcap.
type variant struct {
	name         string
	magic        uint32
	major, minor uint16
	header       int // bytes after the 24 of the file header
	record       int // bytes after the 16 of a record header
	scale        int64
	swapped      bool
	link         uint32
	want         decode.LinkType
	tcpdump      bool // libpcap reads it
}

var variants = []variant{
	{name: "micro", magic: 0xa1b2c3d4, major: 2, minor: 4, scale: 1000, link: 1, want: 1, tcpdump: true},
	{name: "nano", magic: 0xa1b23c4d, major: 2, minor: 4, scale: 1, link: 1, want: 1, tcpdump: true},
	{name: "navtel", magic: 0xa12b3c4d, major: 2, minor: 4, scale: 1, link: 1, want: 1},
	{name: "kuznetzov", magic: 0xa1b2cd34, major: 2, minor: 4, record: 8, scale: 1000, link: 1, want: 1, tcpdump: true},
	{name: "ixia hardware", magic: 0x1c0001ac, major: 2, minor: 4, header: 4, scale: 1, link: 1, want: 1},
	{name: "ixia software", magic: 0x1c0001ab, major: 2, minor: 4, header: 4, scale: 1000, link: 1, want: 1},
	{name: "version 2.2", magic: 0xa1b2c3d4, major: 2, minor: 2, scale: 1000, swapped: true, link: 1, want: 1, tcpdump: true},
	{name: "version 2.3 swapped", magic: 0xa1b2c3d4, major: 2, minor: 3, scale: 1000, swapped: true, link: 1, want: 1, tcpdump: true},
	{name: "version 2.3", magic: 0xa1b2c3d4, major: 2, minor: 3, scale: 1000, link: 1, want: 1, tcpdump: true},
	{name: "DG/UX", magic: 0xa1b2c3d4, major: 543, minor: 0, scale: 1000, swapped: true, link: 1, want: 1, tcpdump: true},
	{name: "AIX", magic: 0xa1b2c3d4, major: 2, minor: 2, scale: 1, swapped: true, link: 6, want: 1},
	{name: "FCS length", magic: 0xa1b2c3d4, major: 2, minor: 4, scale: 1000, link: 0x24000001, want: 1, tcpdump: true},
	{name: "raw IP as 12", magic: 0xa1b2c3d4, major: 2, minor: 4, scale: 1000, link: 12, want: decode.LinkRaw, tcpdump: true},
	{name: "raw IP as 14", magic: 0xa1b2c3d4, major: 2, minor: 4, scale: 1000, link: 14, want: decode.LinkRaw},
}

// write makes a file of the variant.
func (v *variant) write(o binary.AppendByteOrder, frames []decode.Frame) []byte {
	b := o.AppendUint32(nil, v.magic)
	b = o.AppendUint16(b, v.major)
	b = o.AppendUint16(b, v.minor)
	b = append(b, make([]byte, 8)...)
	b = o.AppendUint32(b, 262144)
	b = o.AppendUint32(b, v.link)
	b = append(b, make([]byte, v.header)...)
	for _, f := range frames {
		b = o.AppendUint32(b, uint32(f.Time/1e9))
		b = o.AppendUint32(b, uint32(f.Time%1e9/v.scale))
		lengths := []uint32{uint32(len(f.Data)), f.WireLen}
		if v.swapped {
			lengths[0], lengths[1] = lengths[1], lengths[0]
		}
		b = o.AppendUint32(b, lengths[0])
		b = o.AppendUint32(b, lengths[1])
		b = append(b, make([]byte, v.record)...)
		b = append(b, f.Data...)
	}
	return b
}

// pcapFile is a µs little-endian pcap of the frames.
func pcapFile(frames []decode.Frame) []byte { return variants[0].write(binary.LittleEndian, frames) }

// ng builds pcapng blocks in a byte order.
type ng struct {
	o binary.AppendByteOrder
	b []byte
}

func (n *ng) block(kind uint32, body ...byte) *ng {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n.b = n.o.AppendUint32(n.b, kind)
	n.b = n.o.AppendUint32(n.b, uint32(len(body)+12))
	n.b = append(n.b, body...)
	n.b = n.o.AppendUint32(n.b, uint32(len(body)+12))
	return n
}

func (n *ng) section() *ng {
	body := n.o.AppendUint32(nil, 0x1a2b3c4d)
	body = n.o.AppendUint16(body, 1)
	body = n.o.AppendUint16(body, 0)
	return n.block(0x0a0d0d0a, n.o.AppendUint64(body, 1<<64-1)...)
}

// option is a pcapng option, padded.
func (n *ng) option(code uint16, value ...byte) []byte {
	b := n.o.AppendUint16(nil, code)
	b = n.o.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (n *ng) iface(link uint16, snaplen uint32, options ...[]byte) *ng {
	body := n.o.AppendUint16(nil, link)
	body = n.o.AppendUint16(body, 0)
	body = n.o.AppendUint32(body, snaplen)
	return n.block(1, append(body, bytes.Join(options, nil)...)...)
}

func (n *ng) enhanced(id uint32, ts uint64, wire uint32, data []byte, options ...[]byte) *ng {
	body := n.o.AppendUint32(nil, id)
	body = n.o.AppendUint32(body, uint32(ts>>32))
	body = n.o.AppendUint32(body, uint32(ts))
	body = n.o.AppendUint32(body, uint32(len(data)))
	body = append(n.o.AppendUint32(body, wire), data...)
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	return n.block(6, append(body, bytes.Join(options, nil)...)...)
}

func (n *ng) obsolete(id, drops uint16, ts uint64, wire uint32, data []byte) *ng {
	body := n.o.AppendUint16(nil, id)
	body = n.o.AppendUint16(body, drops)
	body = n.o.AppendUint32(body, uint32(ts>>32))
	body = n.o.AppendUint32(body, uint32(ts))
	body = n.o.AppendUint32(body, uint32(len(data)))
	return n.block(2, append(n.o.AppendUint32(body, wire), data...)...)
}

func (n *ng) simple(wire uint32, data []byte) *ng {
	return n.block(3, append(n.o.AppendUint32(nil, wire), data...)...)
}

// save writes a file into the test's folder.
func save(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t testing.TB, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, data []byte) []byte {
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}
