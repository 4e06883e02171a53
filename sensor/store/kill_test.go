package store

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"weir/decode/conn"
)

// writeForEver is the child of TestStoreKilled: it writes connections and alerts until it is killed, and says when a file is finished.
func writeForEver(folder string) {
	cfg := testConfig()
	cfg.Rotate = 20 * time.Millisecond // looked at each 100 ms
	s, err := Open(cfg, folder, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	site := newTraffic(uint64(os.Getpid()), time.Now(), 500)
	var r conn.Record
	told := false
	for i := 0; ; i++ {
		site.next(&r)
		s.put(&r)
		if !told && i%100 == 0 && s.Stats().Kinds[Flows].Finished > 0 {
			fmt.Println("writing")
			told = true
		}
		if i%40 == 0 {
			a := alertOf(i)
			line, _ := a.AppendLine(nil)
			s.Alert(a, line)
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// TestStoreKilled kills a writing process at random points. All files that have their name can be read to the last row, and the next
// start removes what has not.
func TestStoreKilled(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 4
	}
	folder := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	strays := 0
	for range kills {
		left := unfinished(t, folder)
		strays += len(left)
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), "WEIR_STORE_WRITE="+folder)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "writing\n" {
			t.Fatalf("%q: %v", line, err)
		}
		for _, name := range left {
			if _, err := os.Stat(name); !os.IsNotExist(err) {
				t.Errorf("%s is left after a start: %v", name, err)
			}
		}
		time.Sleep(time.Duration(rng.Int64N(int64(400 * time.Millisecond))))
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
	}
	strays += len(unfinished(t, folder))
	rows := 0
	for _, err := range Read(t.Context(), folder, Query{}) {
		if rows++; err != nil {
			t.Error(err)
		}
	}
	s := openTest(t, testConfig(), folder)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files := noStrays(t, folder)
	t.Logf("%d kills, %d files with %d connections, %d unfinished files were left by kills", kills, files, rows, strays)
	if rows == 0 || files < 3 || strays == 0 {
		t.Errorf("nothing was put to the test")
	}
	if n := count(Read(t.Context(), folder, Query{Columns: ColEnds})); n != rows {
		t.Errorf("%d connections after the start, %d before", n, rows)
	}
}

// unfinished are the temporary files.
func unfinished(t *testing.T, folder string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*", "date=*", "hour=*", ".tmp-*"))
	more, err2 := filepath.Glob(filepath.Join(folder, "*", "date=*", ".tmp-*"))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	return append(found, more...)
}
