package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestReadSmall swaps a file while it is read, for one that must not be: what was looked at is what is read.
func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	file, public, next := filepath.Join(dir, "web.token"), filepath.Join(dir, "public"), filepath.Join(dir, "next")
	good := []byte("a token for its owner alone")
	if err := os.WriteFile(public, bytes.Repeat([]byte("x"), 2*maxTokenFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "own"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			from := public
			if i%2 == 0 {
				from = filepath.Join(dir, "own")
			}
			_ = os.Link(from, next) // the reader tells if there is nothing to swap
			_ = os.Rename(next, file)
		}
	}()
	defer func() { close(stop); <-done }()
	read := 0
	for end := time.Now().Add(20 * time.Second); read < 10_000 && time.Now().Before(end); {
		text, err := readSmall(file)
		if err != nil {
			continue // of the public one, or not there yet
		}
		if read++; !bytes.Equal(text, good) {
			t.Fatalf("read %d of %d bytes that nobody looked at: %.20q", read, len(text), text)
		}
	}
	if read < 10_000 {
		t.Errorf("%d files were read", read)
	}
}
