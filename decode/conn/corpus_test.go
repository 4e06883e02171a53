package conn

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"weir/decode"
)

func corpus() string { return os.Getenv("WEIR_CORPUS") }

type nextFrame func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error)

// readFrames calls f for each frame of a capture, until the first that cannot be read.
func readFrames(t testing.TB, path string, f func(*decode.Frame)) {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next, err := openCapture(file)
	if err != nil {
		t.Logf("%s: %v", path, err)
		return
	}
	for {
		data, ci, link, err := next()
		if err != nil {
			return
		}
		f(&decode.Frame{
			Data: data, Time: ci.Timestamp.UnixNano(), WireLen: uint32(max(ci.Length, len(data))),
			Link: decode.LinkType(link), Iface: uint16(ci.InterfaceIndex),
		})
	}
}

func openCapture(file []byte) (nextFrame, error) {
	var in io.Reader = bytes.NewReader(file)
	if bytes.HasPrefix(file, []byte{0x1f, 0x8b}) {
		var err error
		if in, err = gzip.NewReader(in); err != nil {
			return nil, err
		}
	}
	buffered := bufio.NewReader(in)
	if magic, _ := buffered.Peek(4); bytes.Equal(magic, []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		r, err := pcapgo.NewNgReader(buffered, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			return nil, err
		}
		return func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
			data, ci, err := r.ReadPacketData()
			if err != nil {
				return nil, ci, 0, err
			}
			i, err := r.Interface(ci.InterfaceIndex)
			return data, ci, i.LinkType, err
		}, nil
	}
	r, err := pcapgo.NewReader(buffered)
	if err != nil {
		return nil, err
	}
	r.SetSnaplen(0)
	return func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error) {
		data, ci, err := r.ReadPacketData()
		return data, ci, r.LinkType(), err
	}, nil
}

// small are sizes for tests, a few MiB.
func small() Config {
	c := Defaults()
	c.Conns, c.HalfOpen, c.Extras, c.Fragments = 1<<14, 1<<14, 1<<14, 1<<10
	return c
}

func newTables(t testing.TB, cfg Config) *Tables {
	t.Helper()
	tables, err := NewTables(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tables.Close(); err != nil {
			t.Error(err)
		}
	})
	return tables
}

// recordsOf runs a capture through decoder and tables, ticks included, outer tunnel connections included.
func recordsOf(t testing.TB, path string, withOuter bool) []Record {
	var records []Record
	d := decode.NewDecoder(1)
	tables := newTables(t, small())
	out := &Out{Record: func(r *Record) { records = append(records, *r) }}
	var ev [1]Event
	pkts := make([]decode.Packet, 1)
	tick := int64(0)
	readFrames(t, path, func(f *decode.Frame) {
		if f.Time/1e8 > tick {
			tick = f.Time / 1e8
			for i := range decode.Shards {
				tables.Expire(i, tick*1e8, out)
			}
		}
		d.Decode(f, &pkts[0])
		depth := int(pkts[0].Depth)
		if withOuter {
			for i := range depth {
				if d.DecodeOuter(f, &pkts[0], i) {
					tables.Process(pkts, []uint16{0}, ev[:], out)
				}
			}
			d.Decode(f, &pkts[0])
		}
		tables.Process(pkts, []uint16{0}, ev[:], out)
		out.Contacts = out.Contacts[:0]
	})
	for i := range decode.Shards {
		tables.Flush(i, out)
	}
	return records
}

// TestCorpus plays every capture through roomy and tiny tables and holds what must be true of any traffic.
func TestCorpus(t *testing.T) {
	if corpus() == "" {
		leaveOut(t, "WEIR_CORPUS is not set")
	}
	files, err := filepath.Glob(filepath.Join(corpus(), "*/*cap*"))
	if err != nil || len(files) < 100 {
		t.Fatalf("%d captures (%v)", len(files), err)
	}
	d, total := decode.NewDecoder(1), 0
	for _, file := range files {
		if strings.Contains(file, "ground-truth") {
			continue
		}
		var pkts []decode.Packet
		readFrames(t, file, func(f *decode.Frame) {
			var p decode.Packet
			d.Decode(f, &p)
			p.Data = nil
			if len(pkts) < 100_000 {
				pkts = append(pkts, p)
			}
		})
		total += len(pkts)
		for _, cfg := range []Config{roomy(), tiny()} {
			res := replay(t, cfg, pkts, 16)
			res.check(t, pkts)
		}
	}
	t.Logf("%d captures, %d packets", len(files), total)
}
