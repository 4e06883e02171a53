package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk is a file system of so many MiB.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "mounting a tmpfs needs root")
	}
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)); err != nil {
		leaveOut(t, "no tmpfs can be mounted here: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// shared is a buffer that several goroutines write to.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestStoreFullDisk fills a small disk to the last byte while connections are kept. Giving them to the store goes on without waiting, what
// is lost is counted, the disk's end is said once, and when there is room again all goes on by itself.
func TestStoreFullDisk(t *testing.T) {
	disk := smallDisk(t, 96)
	cfg := testConfig()
	cfg.FreeMiB, cfg.RowsPerSecond, cfg.Rotate = 4, 20_000, time.Second
	var log shared
	s, err := Open(cfg, filepath.Join(disk, "store"), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	given, longest := uint64(0), time.Duration(0)
	feed := func(until func(Stats) bool) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for !until(s.Stats()) {
			if time.Now().After(deadline) {
				t.Fatalf("nothing changes: %+v\n%s", s.Stats(), log.String())
			}
			for range 20 {
				r := oddRecord(rng)
				r.Last = r.First
				begin := time.Now()
				s.Flow(r)
				longest = max(longest, time.Since(begin))
				given++
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	rows := func(n uint64) func(Stats) bool {
		return func(st Stats) bool { return st.Kinds[Flows].Rows > n }
	}
	feed(rows(0))
	fill := filepath.Join(disk, "fill")
	fillUp(t, fill)
	feed(func(st Stats) bool { return st.Paused && st.Kinds[Flows].Lost[LostDisk] > 500 })
	if free, err := freeBytes(disk); err != nil || free > 4<<20+2*reserve {
		t.Errorf("%d bytes are free on the full disk: %v", free, err)
	}
	at := s.Stats().Kinds[Flows].Rows
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	feed(rows(at))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	st := s.Stats().Kinds[Flows]
	lost := st.Lost[LostQueue] + st.Lost[LostRate] + st.Lost[LostDisk]
	removed := st.Removed[RemovedDisk] // files of the first second, when there was no room
	if st.Rows+lost != given {
		t.Errorf("of %d connections %d were written and %d lost", given, st.Rows, lost)
	}
	noStrays(t, filepath.Join(disk, "store"))
	if n := uint64(len(readAll(t, filepath.Join(disk, "store"), Query{}))); n > st.Rows || n < st.Rows-at || n < 100 {
		t.Errorf("%d connections can be read; %d were written, %d before the disk was full, %d files removed", n, st.Rows, at, removed)
	}
	if longest > 200*time.Millisecond {
		t.Errorf("a connection waited %v for the store", longest)
	}
	for _, said := range []string{"nothing is written into the store", "the store is written again"} {
		if n := strings.Count(log.String(), said); n != 1 {
			t.Errorf("%d times %q:\n%s", n, said, log.String())
		}
	}
}

// fillUp writes until the disk takes nothing more.
func fillUp(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
}

// TestStoreLeavesRoom holds that what the store itself writes never takes the disk below free_mib, and that the oldest files go.
func TestStoreLeavesRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("it fills a disk")
	}
	disk := smallDisk(t, 56)
	cfg := testConfig()
	cfg.FreeMiB, cfg.Rotate, cfg.RowsPerSecond = 16, time.Second, 100_000
	s := openTest(t, cfg, filepath.Join(disk, "store"))
	rng := rand.New(rand.NewPCG(1, 1))
	if err := os.WriteFile(filepath.Join(disk, "others"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(40 * time.Second)
	for s.Stats().Kinds[Flows].Removed[RemovedDisk] == 0 && time.Now().Before(deadline) {
		for range 1000 {
			r := oddRecord(rng) // some 150 bytes each
			r.Last = r.First
			s.Flow(r)
		}
		if free, err := freeBytes(disk); err != nil || free < 16<<20 {
			t.Fatalf("%d bytes are free, %v", free, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	st := s.Stats()
	if st.Kinds[Flows].Removed[RemovedDisk] == 0 {
		t.Errorf("nothing was removed: %+v", st)
	}
	t.Logf("%+v", st)
}
