package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"weir/decode"
)

// BenchmarkWalk reads a file of about 64 MB and reports ns a frame. "tiny" are frames of 60 bytes as in a SYN flood, "mix"
// the sizes of a simple IMIX (7 × 60, 4 × 576, 1 × 1500).
func BenchmarkWalk(b *testing.B) {
	for name, sizes := range map[string][]int{"tiny": {60}, "mix": {60, 60, 576, 60, 60, 576, 60, 1500, 576, 60, 60, 576}} {
		path := filepath.Join(b.TempDir(), name)
		frames := benchFile(b, path, sizes)
		for _, o := range []Options{{}, {NoMap: true}} {
			b.Run(fmt.Sprintf("%s/nomap=%v", name, o.NoMap), func(b *testing.B) {
				var block Block
				for range b.N {
					f, err := Open(path, o)
					if err != nil {
						b.Fatal(err)
					}
					for err == nil {
						err = f.Next(&block)
					}
					if !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
					f.Close()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(frames), "ns/frame")
			})
		}
	}
}

// benchFile writes a pcap of about 64 MB and returns its number of frames.
func benchFile(b *testing.B, path string, sizes []int) int {
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	var batch []decode.Frame
	for len(batch) < 1200 {
		n := sizes[len(batch)%len(sizes)]
		batch = append(batch, decode.Frame{Data: make([]byte, n), Time: 1_700_000_000e9, WireLen: uint32(n)})
	}
	data := pcapFile(batch)
	if _, err := file.Write(data); err != nil {
		b.Fatal(err)
	}
	frames := len(batch)
	for written := len(data); written < 64<<20; written += len(data) - 24 {
		if _, err := file.Write(data[24:]); err != nil {
			b.Fatal(err)
		}
		frames += len(batch)
	}
	return frames
}
