package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"weir/sensor/capture"
)

// TestMain makes the command available to scripts and other tests as a process of its own: weir in the PATH.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main})
}

// TestScript runs testdata/script. Beside testscript's commands there are: exits (a command and its exit code), plain
// (decompress zstd), cut (the first bytes of a file) and frames (the number of frames of a capture). $PCAPS is pcaps/.
func TestScript(t *testing.T) {
	pcaps, err := filepath.Abs("../../pcaps")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(e *testscript.Env) error { e.Setenv("PCAPS", pcaps); return nil },
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "plain": plain, "cut": cut, "frames": frames},
	})
}

// exits CODE COMMAND… runs a command that must end with an exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// plain FROM TO writes what a zstd file holds.
func plain(ts *testscript.TestScript, _ bool, args []string) {
	in, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer in.Close()
	z, err := zstd.NewReader(in)
	ts.Check(err)
	defer z.Close()
	text, err := io.ReadAll(z)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

// cut FROM BYTES TO writes the first bytes of a file.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text[:n]), 0o600))
}

// frames N FILE holds the number of frames of a capture.
func frames(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	f, err := capture.Open(ts.MkAbs(args[1]), capture.Options{})
	ts.Check(err)
	defer f.Close()
	var b capture.Block
	got := 0
	for err == nil {
		err = f.Next(&b)
		got += len(b.Frames)
	}
	if !errors.Is(err, io.EOF) || got != want {
		ts.Fatalf("%s: %d frames, want %d: %v", args[1], got, want, err)
	}
}
