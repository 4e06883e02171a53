package decode

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/zstd"
)

// corpus is the folder of captures that others made; empty if there is none here.
func corpus() string { return os.Getenv("WEIR_CORPUS") }

// captures lists the capture files of the corpus and of this repository's cases, named relative to their folder.
func captures(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, root := range []string{corpus(), "../pcaps"} {
		if root == "" {
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.Name() == "ground-truth" {
				return filepath.SkipDir
			}
			name := filepath.Base(path)
			for _, ext := range []string{".gz", ".zst"} {
				name = strings.TrimSuffix(name, ext)
			}
			if err == nil && !d.IsDir() && (strings.HasSuffix(name, ".pcap") || strings.HasSuffix(name, ".pcapng")) {
				files = append(files, path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(files)
	if corpus() == "" {
		t.Log("WEIR_CORPUS is not set: only the captures of pcaps/ are read")
	}
	return files
}

// label names a capture in test tables: its last two path elements.
func label(path string) string {
	return filepath.Base(filepath.Dir(path)) + "/" + filepath.Base(path)
}

// readFrames calls f for each frame of a capture, up to where the file cannot be read any more, and returns their number.
func readFrames(t testing.TB, path string, f func(*Frame)) (n int) {
	t.Helper()
	next, err := openCapture(t, path)
	if err != nil {
		t.Logf("%s: %v", label(path), err)
		return 0
	}
	for {
		data, ci, link, err := next()
		if err != nil {
			return n
		}
		n++
		f(&Frame{
			Data: data, Time: ci.Timestamp.UnixNano(), WireLen: uint32(max(ci.Length, len(data))), Link: LinkType(link),
			Iface: uint16(ci.InterfaceIndex),
		})
	}
}

type nextFrame func() ([]byte, gopacket.CaptureInfo, layers.LinkType, error)

func openCapture(t testing.TB, path string) (nextFrame, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var in io.Reader = bytes.NewReader(file)
	switch {
	case bytes.HasPrefix(file, []byte{0x1f, 0x8b}):
		in, err = gzip.NewReader(in)
	case bytes.HasPrefix(file, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		in, err = zstd.NewReader(in)
	}
	if err != nil {
		return nil, err
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
