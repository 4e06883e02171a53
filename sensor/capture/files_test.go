package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
)

// parts deals frames to n files by pick and writes them, every second one compressed.
func parts(t testing.TB, dir string, frames []decode.Frame, n int, pick func(i int) int) (paths []string, split [][]decode.Frame) {
	split = make([][]decode.Frame, n)
	for i, f := range frames {
		split[pick(i)] = append(split[pick(i)], f)
	}
	for i, p := range split {
		data := pcapFile(p)
		if i%2 == 1 {
			data = gzipped(t, data)
		}
		paths = append(paths, filepath.Join(dir, fmt.Sprint("part", i)))
		if err := os.WriteFile(paths[i], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return paths, split
}

func TestFilesInOrder(t *testing.T) {
	paths, split := parts(t, t.TempDir(), sample(5000), 4, func(i int) int { return i % 4 })
	s := Files(paths, false)
	defer s.Close()
	got, err := all(t, s)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "in order", got, slices.Concat(split...))
	if done, total := s.Progress(); done != total || total == 0 {
		t.Errorf("progress %d of %d", done, total)
	}
}

// TestMergeIsAStableSort compares the merge with its slow twin: all frames sorted by time, those of one time by file.
func TestMergeIsAStableSort(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		frames := sample(rapid.IntRange(0, 1500).Draw(r, "frames"))
		step := rapid.SampledFrom([]int64{0, 1000, 1e6}).Draw(r, "step")
		for i := range frames {
			frames[i].Time = 1_700_000_000e9 + int64(i/3)*step // three frames of each time
		}
		n := rapid.IntRange(1, 5).Draw(r, "files")
		seed := rapid.IntRange(1, 1000).Draw(r, "seed")
		paths, split := parts(t, dir, frames, n, func(i int) int { return i * seed / 7 % n })
		want := slices.Concat(split...)
		slices.SortStableFunc(want, func(a, b decode.Frame) int { return int(a.Time - b.Time) })
		s := Files(paths, true)
		defer s.Close()
		var got []decode.Frame
		for {
			b := new(Block)
			err := s.Next(b)
			got = append(got, b.Frames...)
			if err != nil {
				break
			}
		}
		if len(got) != len(want) {
			r.Fatalf("%d frames, want %d", len(got), len(want))
		}
		for i := range got {
			if got[i].Time != want[i].Time || !bytes.Equal(got[i].Data, want[i].Data) {
				r.Fatalf("frame %d differs", i)
			}
		}
	})
}

func TestMergeAgreesWithMergecap(t *testing.T) {
	mergecap, err := exec.LookPath("mergecap")
	if err != nil {
		leaveOut(t, "not compared: mergecap is not installed")
	}
	frames := sample(3000)
	var paths []string
	for i := range 3 {
		var part []decode.Frame
		for j, f := range frames {
			if j*j%3 == i || i == 2 && j%2 == 0 {
				part = append(part, f)
			}
		}
		paths = append(paths, save(t, fmt.Sprint(i), pcapFile(part)))
	}
	out := filepath.Join(t.TempDir(), "out")
	if msg, err := exec.Command(mergecap, append([]string{"-F", "pcap", "-w", out}, paths...)...).CombinedOutput(); err != nil {
		t.Fatalf("mergecap: %v %s", err, msg)
	}
	want, err := all(t, open(t, out, Options{}))
	if err != nil {
		t.Fatal(err)
	}
	s := Files(paths, true)
	defer s.Close()
	got, err := all(t, s)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "mergecap", got, want)
}

func TestCutFileDoesNotHideOthers(t *testing.T) {
	for _, merge := range []bool{false, true} {
		a, b := sample(700), sample(900)
		cut := pcapFile(a)
		paths := []string{save(t, "a", cut[:len(cut)-1]), save(t, "b", pcapFile(b)), save(t, "c", cut[:len(cut)-2])}
		s := Files(paths, merge)
		got, err := all(t, s)
		s.Close()
		if len(got) != 699+900+699 {
			t.Errorf("merge %v: %d frames", merge, len(got))
		}
		var first *CutError
		if !errors.As(err, &first) || first.File != paths[0] || !strings.Contains(err.Error(), paths[2]) {
			t.Errorf("merge %v: error %v", merge, err)
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	good := save(t, "good", pcapFile(sample(3)))
	for _, merge := range []bool{false, true} {
		s := Files([]string{good, filepath.Join(t.TempDir(), "missing")}, merge)
		if got, err := all(t, s); len(got) != 0 || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing, merge %v: %d frames, error %v", merge, len(got), err)
		}
		s.Close()
		s = Files([]string{good, save(t, "text", []byte("text"))}, merge)
		if _, err := all(t, s); !errors.As(err, new(*FormatError)) {
			t.Errorf("text, merge %v: error %v", merge, err)
		}
		s.Close()
	}
}
