package capture

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"weir/decode"
)

// FuzzFile reads any bytes mapped and read: the same frames, bounded memory, typed errors, no panic.
func FuzzFile(f *testing.F) {
	frames := sample(4)
	for _, v := range variants {
		f.Add(v.write(binary.LittleEndian, frames))
		f.Add(v.write(binary.BigEndian, frames))
	}
	n := &ng{o: binary.BigEndian}
	n.section().iface(1, 10, n.option(9, 0x8a), n.option(14, make([]byte, 8)...)).simple(20, frames[0].Data).enhanced(0, 1<<50, 100, frames[1].Data)
	n.block(0xbad, 1, 2, 3, 4).obsolete(0, 1, 1<<50, 100, frames[2].Data).section().iface(101, 0)
	f.Add(n.b)
	f.Add(gzipped(f, n.b))
	f.Add(zstded(f, n.b))
	seedFromCorpus(f)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "in")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		mapped, mappedErr := drain(t, path, Options{})
		read, readErr := drain(t, path, Options{NoMap: true})
		if mapped != read || (mappedErr == nil) != (readErr == nil) || mappedErr != nil && mappedErr.Error() != readErr.Error() {
			t.Errorf("mapped: %+v, %v; read: %+v, %v", mapped, mappedErr, read, readErr)
		}
	})
}

// seedFromCorpus adds the small captures of WEIR_CORPUS, if there is one.
func seedFromCorpus(f *testing.F) {
	if os.Getenv("WEIR_CORPUS") == "" {
		return
	}
	for _, path := range corpus(f) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) <= 8<<10 {
			f.Add(data)
		}
	}
}

// drained sums up what a file gave.
type drained struct {
	frames, bytes int
	sum           int64
}

func drain(t *testing.T, path string, o Options) (d drained, err error) {
	f, err := Open(path, o)
	if err == nil {
		defer f.Close()
		var b Block
		for err == nil && d.bytes < 1<<26 {
			err = f.Next(&b)
			for _, fr := range b.Frames {
				if fr.WireLen < uint32(len(fr.Data)) || fr.Time < 0 || fr.Time > maxTime || len(fr.Data) > maxFrame {
					t.Fatalf("a frame that cannot be: %d bytes of %d at %d", len(fr.Data), fr.WireLen, fr.Time)
				}
				d.frames++
				d.bytes += len(fr.Data)
				d.sum = d.sum*31 + fr.Time + int64(fr.WireLen)<<16 + int64(fr.Link)<<8 + int64(fr.Iface)
			}
		}
	}
	var cut *CutError
	var format *FormatError
	switch {
	case errors.Is(err, io.EOF):
		err = nil
	case err != nil && !errors.As(err, &cut) && !errors.As(err, &format):
		t.Fatalf("untyped error %v", err)
	}
	return d, err
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// TestClaimsAllocateNothing reads headers that claim far more than there is.
func TestClaimsAllocateNothing(t *testing.T) {
	huge := pcapFile(sample(2))
	binary.LittleEndian.PutUint32(huge[24+8:], 0xffffffff)
	section := (&ng{o: binary.LittleEndian}).section().b
	known := append(section[:len(section):len(section)], 6, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0)
	unknown := append(section[:len(section):len(section)], 99, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0)
	below := append(section[:len(section):len(section)], 6, 0, 0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0) // 16 MB, which may be
	for _, data := range [][]byte{huge, known, unknown, below} {
		path := save(t, "in", data)
		got := allocated(func() {
			if _, err := drain(t, path, Options{NoMap: true}); err == nil {
				t.Error("no error")
			}
		})
		if got > 4<<20 {
			t.Errorf("%d bytes allocated", got)
		}
	}
}

// TestBombsStream reads 64 MiB of frames out of a small compressed file.
func TestBombsStream(t *testing.T) {
	if testing.Short() {
		t.Skip("decompresses 64 MiB")
	}
	frame := sample(1)[0]
	frame.Data = make([]byte, maxFrame)
	frame.WireLen = maxFrame
	data := pcapFile(nil)
	one := pcapFile([]decode.Frame{frame})[24:]
	for range 256 {
		data = append(data, one...)
	}
	path := save(t, "bomb.gz", gzipped(t, data))
	got := allocated(func() {
		f := open(t, path, Options{})
		var b Block
		for frames := 0; ; frames += len(b.Frames) {
			if err := f.Next(&b); errors.Is(err, io.EOF) {
				if frames != 256 {
					t.Errorf("%d frames", frames)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	})
	if got > 8<<20 {
		t.Errorf("%d bytes allocated for %d", got, 256*maxFrame)
	}
}
