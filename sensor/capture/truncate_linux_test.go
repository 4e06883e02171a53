package capture

import (
	"errors"
	"os"
	"runtime/debug"
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
	sum := byte(0)
	for _, fr := range b.Frames {
		for _, c := range fr.Data {
			sum += c
		}
	}
	if sum == 1 {
		return nil
	}
	return nil
}
