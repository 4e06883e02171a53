package pcaps

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// TestSize holds what the program carries below 5 MB, and to the files of the cases.
func TestSize(t *testing.T) {
	size := 0
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		size += len(text)
		if _, err := os.Stat(path[:strings.LastIndexByte(path, '/')] + "/README.md"); err != nil {
			t.Errorf("%s: no provenance: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if size < 1e6 || size > 5e6 {
		t.Errorf("%d bytes", size)
	}
}
