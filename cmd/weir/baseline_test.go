package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/analyzers/baseline"
)

// TestBaselineSetAside: a damaged file is kept under another name and said, twice in a second, too; a good one is taken up.
func TestBaselineSetAside(t *testing.T) {
	dir, cfg := t.TempDir(), baseline.Defaults()
	path := filepath.Join(dir, baselineFile)
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	for range 2 {
		if err := os.WriteFile(path, []byte("weirbase but no more"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openBaseline(dir, cfg, log)
		if err != nil || s.Since() != 0 {
			t.Fatalf("%v, %v", s, err)
		}
	}
	if kept, _ := filepath.Glob(path + ".corrupt-*"); len(kept) != 2 {
		t.Errorf("kept %v", kept)
	}
	if n := strings.Count(said.String(), "version 32, this program reads 1"); n != 2 {
		t.Errorf("said:\n%s", &said)
	}
	s := baseline.New(cfg)
	s.Series(baseline.Key{Kind: baseline.KindLink}, 1e18).Learn(1e18, 7)
	if err := writeBaseline(path, s); err != nil {
		t.Fatal(err)
	}
	if s, err := openBaseline(dir, cfg, log); err != nil || s.Since() != 1e18 {
		t.Errorf("%v, %v", s, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // not damaged: somebody must look
		t.Fatal(err)
	}
	if _, err := openBaseline(dir, cfg, log); err == nil {
		t.Error("a folder was taken")
	}
}
