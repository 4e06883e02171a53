package capture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
)

// TestTruncatedWhileRead truncates a mapped file under the reader, and under one who holds a block.
func TestTruncatedWhileRead(t *testing.T) {
	path := save(t, "in", pcapFile(sample(40_000)))
	f := open(t, path, Options{})
	var b Block
	if err := f.Next(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := touchAll(f, &b); !errors.As(err, new(*CutError)) {
		t.Errorf("a held block: error %v", err)
	}
	err := f.Next(&b)
	var cut *CutError
	if !errors.As(err, &cut) || cut.File != path || len(b.Frames) != 0 || f.Counters().Shrunk != 1 {
		t.Errorf("next block: %d frames, error %v", len(b.Frames), err)
	}
	if f.Fault(errors.New("another panic")) != nil {
		t.Error("any panic is taken for a fault of the file")
	}
}

// touchAll reads a block's frames as a worker does.
func touchAll(f *File, b *Block) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = f.Fault(r)
		}
	}()
	for _, fr := range b.Frames {
		bytes.IndexByte(fr.Data, 0xff)
	}
	return nil
}

// TestPagesBehindAreGivenBack walks a mapped file and watches the resident memory that files have.
func TestPagesBehindAreGivenBack(t *testing.T) {
	data := pcapFile(sample(60_000))
	f := open(t, save(t, "in", data), Options{})
	before, most := residentFiles(t), 0
	var b Block
	for f.Next(&b) == nil {
		most = max(most, residentFiles(t)-before)
	}
	const program = 1 << 20 // pages of this program that come in meanwhile
	if limit := keepMapped + 2*releaseStep + program; most > limit || len(data) < 2*(limit-program) {
		t.Errorf("%d bytes of %d are resident, want at most %d", most, len(data), limit)
	}
}

// residentFiles is the resident memory of mapped files in bytes (RssFile of proc_pid_status(5)).
func residentFiles(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: resident memory cannot be read")
	}
	_, after, _ := strings.Cut(string(status), "RssFile:")
	kb := 0
	if _, err := fmt.Sscan(after, &kb); err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
