package capture

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"weir/decode"
)

// corpus returns the capture files that WEIR_CORPUS holds.
func corpus(t testing.TB) []string {
	dir := os.Getenv("WEIR_CORPUS")
	if dir == "" {
		leaveOut(t, "WEIR_CORPUS is not set: no real captures to read")
	}
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.HasSuffix(path, ".pcap") || strings.HasSuffix(path, ".pcapng")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures in %s: %v", dir, err)
	}
	return files
}

// all reads a source to its end and copies what it gave.
func all(t testing.TB, s Source) ([]decode.Frame, error) {
	t.Helper()
	var frames []decode.Frame
	var b Block
	for {
		err := s.Next(&b)
		for _, f := range b.Frames {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
		if errors.Is(err, io.EOF) {
			if len(b.Frames) > 0 {
				t.Error("frames together with io.EOF")
			}
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
	}
}

// open opens a file and closes it with the test.
func open(t testing.TB, path string, o Options) *File {
	t.Helper()
	f, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// twin reads a file with gopacket's reader.
func twin(data []byte) ([]decode.Frame, error) {
	type reader interface {
		ReadPacketData() ([]byte, gopacket.CaptureInfo, error)
	}
	var r reader
	var link func(int) decode.LinkType
	if ng, err := pcapgo.NewNgReader(bytes.NewReader(data), pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true}); err == nil {
		r, link = ng, func(i int) decode.LinkType {
			f, _ := ng.Interface(i)
			return linkType(uint16(f.LinkType))
		}
	} else {
		p, err := pcapgo.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		p.SetSnaplen(0)
		r, link = p, func(int) decode.LinkType { return linkType(uint16(p.LinkType())) }
	}
	var frames []decode.Frame
	last := int64(0)
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		f := decode.Frame{Data: bytes.Clone(data), WireLen: uint32(max(info.Length, len(data))), Link: link(info.InterfaceIndex), Iface: uint16(info.InterfaceIndex)}
		if f.Time = info.Timestamp.UnixNano(); info.Timestamp.IsZero() || f.Time < 0 || f.Time > maxTime {
			f.Time = last // ours: see Counters.NoTime and BadTime
		}
		last = f.Time
		frames = append(frames, f)
	}
}

func TestCorpusAgreesWithGopacket(t *testing.T) {
	frames := 0
	for _, path := range corpus(t) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := twin(data)
		got, gotErr := all(t, open(t, path, Options{}))
		if (gotErr != nil) != (wantErr != nil) {
			t.Logf("%s: error %v, gopacket has %v", filepath.Base(path), gotErr, wantErr)
		}
		compare(t, filepath.Base(path), got, want)
		frames += len(got)
	}
	t.Logf("%d frames", frames)
}

func compare(t *testing.T, name string, got, want []decode.Frame) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d frames, want %d", name, len(got), len(want))
	}
	bad := 0
	for i := range min(len(got), len(want)) {
		g, w := &got[i], &want[i]
		if !bytes.Equal(g.Data, w.Data) || g.Time != w.Time || g.WireLen != w.WireLen || g.Link != w.Link || g.Iface != w.Iface {
			t.Errorf("%s: frame %d: got %d bytes of %d, time %d, link %d, iface %d; want %d of %d, %d, %d, %d", name, i,
				len(g.Data), g.WireLen, g.Time, g.Link, g.Iface, len(w.Data), w.WireLen, w.Time, w.Link, w.Iface)
			if bad++; bad == 3 {
				return
			}
		}
	}
}

// TestCorpusEveryWay reads every file read, piped and compressed as it was mapped.
func TestCorpusEveryWay(t *testing.T) {
	for i, path := range corpus(t) {
		if testing.Short() && i%8 != 0 {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, wantErr := all(t, open(t, path, Options{}))
		for name, f := range map[string]*File{
			"read": open(t, path, Options{NoMap: true}),
			"gzip": open(t, save(t, "in.gz", gzipped(t, data)), Options{}),
			"zstd": open(t, save(t, "in.zst", zstded(t, data)), Options{}),
		} {
			got, err := all(t, f)
			if (err != nil) != (wantErr != nil) {
				t.Errorf("%s %s: error %v, mapped %v", path, name, err, wantErr)
			}
			compare(t, path+" "+name, got, want)
		}
	}
}
