package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/decode/conn"
)

// TestStoreRetains holds which files go, by age and by bytes, the oldest of all kinds first; and that nothing else is ever removed.
func TestStoreRetains(t *testing.T) {
	folder := t.TempDir()
	now := time.Now().UTC()
	write := func(name string, mib int) {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, mib<<20), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	file := func(k Kind, ago time.Duration) string {
		at := now.Add(-ago)
		return folderOf(k, at.UnixMicro()) + "/" + nameAt(at) + fileSuffix
	}
	evidence := func(name string, ago time.Duration, mib int) string {
		name = "evidence/" + name
		write(name, mib)
		if err := os.Chtimes(filepath.Join(folder, name), now, now.Add(-ago)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const hour = time.Hour
	old, young := file(Flows, 30*hour), file(Flows, 20*hour)
	write(old, 1)
	write(young, 6)
	oldAlert, alerts := file(Alerts, 60*hour), file(Alerts, 10*hour)
	write(oldAlert, 1)
	write(alerts, 6)
	oldEvidence, frames := evidence("abc.pcapng", 8*hour, 1), evidence("def.pcapng", 2*hour, 6)
	foreign := []string{
		"mine.parquet", "flows/notes.txt", "flows/date=2001-01-01/hour=01/other.parquet", "flows/date=2001-01-01/weir-20010101T010101.000000Z.parquet",
		"alerts/date=2001-01-01/weir-20010101T010101.000000Z.parquet.bak", "evidence/sub/old.pcapng", "evidence/readme",
		"flows/date=2001-01-01/hour=01/.tmp-other", ".tmp-weir-20010101T010101.000000Z",
	}
	for _, name := range foreign {
		write(name, 0)
		if err := os.Chtimes(filepath.Join(folder, name), now, now.Add(-9999*hour)); err != nil {
			t.Fatal(err)
		}
	}
	write("flows/date=2001-01-01/hour=01/.tmp-weir-20010101T010101.000000Z", 0)
	write("evidence/.tmp-abc", 0)
	if err := os.Symlink("/etc/hostname", filepath.Join(folder, "evidence/link.pcapng")); err != nil {
		t.Fatal(err)
	}
	foreign = append(foreign, "evidence/link.pcapng")

	cfg := testConfig()
	cfg.FlowsAge, cfg.AlertsAge, cfg.EvidenceAge, cfg.MaxMiB = 24*hour, 48*hour, 6*hour, 16
	s := openTest(t, cfg, folder)
	want := append(slices.Clone(foreign), alerts, frames, ".lock") // young is the oldest of 18 MiB
	slices.Sort(want)
	if got := filesOf(t, folder); !slices.Equal(got, want) {
		t.Errorf("there are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	st := s.Stats()
	for k, want := range [KindCount][ReasonCount]uint64{Flows: {1, 1, 0}, Alerts: {1, 0, 0}, Evidence: {1, 0, 0}} {
		if st.Kinds[k].Removed != want {
			t.Errorf("%v: %v files removed, want %v", Kind(k), st.Kinds[k].Removed, want)
		}
	}
	if st.Strays != 2 || st.Kinds[Alerts].Files != 1 || st.Kinds[Evidence].Bytes != 6<<20 || st.Kinds[Flows].Files != 0 {
		t.Errorf("%+v", st)
	}
	if _, err := os.Stat(filepath.Join(folder, filepath.Dir(old))); !os.IsNotExist(err) {
		t.Errorf("the folder of %s is left: %v (and %s)", old, err, oldEvidence)
	}
}

func filesOf(t *testing.T, folder string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(folder, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// TestStoreAlone holds that two processes do not write into one folder.
func TestStoreAlone(t *testing.T) {
	folder := t.TempDir()
	s := openTest(t, testConfig(), folder)
	if _, err := Open(testConfig(), folder, s.log); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second store in the folder: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openTest(t, testConfig(), folder)
}

// TestStoreBounds holds that what comes too fast is counted by cause, and that nothing else is lost.
func TestStoreBounds(t *testing.T) {
	cfg := testConfig()
	cfg.RowsPerSecond = 1000
	s := openTest(t, cfg, t.TempDir())
	const n = 50_000
	begin := time.Now()
	for i := range n {
		s.Flow(&conn.Record{First: noon.UnixNano() + int64(i), Last: noon.UnixNano() + int64(i), Ver: 4})
	}
	took := time.Since(begin)
	for i := range 2 * maxAlertQueue {
		s.Alert(alertOf(i), fmt.Appendf(nil, "{%4000d}\n", i))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	f, a := &st.Kinds[Flows], &st.Kinds[Alerts]
	most := uint64(1000 * (took.Seconds() + 1.2))
	if f.Rows+f.Lost[LostRate]+f.Lost[LostQueue] != n || f.Rows < 900 || f.Rows > most || f.Lost[LostDisk] != 0 {
		t.Errorf("of %d connections in %v: %+v", n, took, f)
	}
	if a.Rows+a.Lost[LostQueue] != 2*maxAlertQueue || a.Rows < 1000 {
		t.Errorf("of %d alerts: %+v", 2*maxAlertQueue, a)
	}
}

// TestStoreRotates holds that a file can be read a little after its time, and that nothing is written where nothing came.
func TestStoreRotates(t *testing.T) {
	folder := t.TempDir()
	cfg := testConfig()
	cfg.Rotate = time.Second
	s := openTest(t, cfg, folder)
	at := func(d time.Duration) *conn.Record {
		return &conn.Record{First: noon.Add(d).UnixNano(), Last: noon.Add(d).UnixNano(), Ver: 4}
	}
	for h := range 6 { // more hours than files that are open at a time
		s.put(at(time.Duration(h) * time.Hour))
	}
	deadline := time.Now().Add(20 * time.Second)
	for s.Stats().Kinds[Flows].Files < 6 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if got := readAll(t, folder, Query{}); len(got) != 6 {
		t.Errorf("%d connections can be read, want 6", len(got))
	}
	time.Sleep(2200 * time.Millisecond)
	if n := noStrays(t, folder); n != 6 {
		t.Errorf("%d files, want 6", n)
	}
}
