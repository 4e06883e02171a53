package bus

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sys/unix"
)

// smallDisk is a folder on a file system of its own, of so many bytes.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		leaveOut(t, "mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		leaveOut(t, "cannot mount a tmpfs: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir, address := smallDisk(t, 1<<20), freeAddress(t)
	b := open(t, outside("nats://"+address), dir)
	t.Cleanup(func() { _ = b.Close(within(t, time.Second)) })
	payload := make([]byte, 1000)
	failed, lost := 0, 0
	n := 0
	for ; lost == 0 || n%1000 > 0; n++ {
		err := b.Alert("scan", "high", fmt.Sprintf("%d.1", n), payload)
		if err == nil {
			continue
		}
		failed++
		if !strings.Contains(err.Error(), "make room for "+dir) || strings.Contains(err.Error(), "\n") {
			t.Fatal(err)
		}
		if strings.Contains(err.Error(), "the alert is lost") {
			lost++
		}
		if n > 50_000 {
			t.Fatal("memory has no bound")
		}
	}
	stats := b.Stats()
	if s := stats.Kinds[Alert]; int(s.Dropped[Disk]) != lost || int(s.lost()) != lost || int(stats.DiskErrors) < failed {
		t.Errorf("%d failed, %d lost: %+v", failed, lost, s)
	}
	balanced(t, b)
	t.Logf("%d alerts: %d not on disk, %d lost", n, failed, lost)
	s := run(t, func(o *server.Options) { o.Port = portOf(t, address) })
	until(t, "published", 20*time.Second, func() bool { return b.open.Load() && b.idle() })
	if err := b.Alert("scan", "high", "after.1", payload); err != nil {
		t.Error("with the disk free again:", err)
	}
	until(t, "published", 20*time.Second, b.idle)
	closeBus(t, b)
	ids, _ := stored(t, s.ClientURL(), "WEIR_ALERTS_site_2Eone")
	if len(ids) != n-lost+1 {
		t.Errorf("%d arrived, of %d with %d lost", len(ids), n+1, lost)
	}
}

// The server inside is on the full disk, too, and stops storing. Once there is room again it goes on.
func TestFullDiskEmbedded(t *testing.T) {
	if testing.Short() {
		t.Skip("it publishes until a disk is full")
	}
	t.Parallel()
	dir := smallDisk(t, 16<<20)
	ballast := filepath.Join(dir, "ballast")
	b := open(t, embedded(), dir)
	t.Cleanup(func() { _ = b.Close(within(t, time.Second)) })
	if err := os.WriteFile(ballast, make([]byte, 12<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 1000)
	var want []string
	for n, failed := 0, 0; failed < 500 && n < 30_000; n++ {
		id := fmt.Sprintf("%d.1", n)
		err := b.Alert("scan", "high", id, payload)
		if err != nil {
			failed++
		}
		if err == nil || !strings.Contains(err.Error(), "the alert is lost") {
			want = append(want, id)
		}
		if n%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	time.Sleep(time.Second)
	t.Log(b.Ready(), b.Stats())
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	until(t, "published once there is room", 60*time.Second, b.idle)
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
	balanced(t, b)
	url, err := os.ReadFile(filepath.Join(dir, "nats.url"))
	if err != nil {
		t.Fatal(err)
	}
	ids, _ := stored(t, strings.TrimSpace(string(url)), "WEIR_ALERTS_site_2Eone")
	have := map[string]bool{}
	for _, id := range ids {
		have[id] = true
	}
	missing := 0
	for _, id := range want {
		if !have[id] {
			missing++
		}
	}
	if missing > 0 || len(have) != len(want) {
		t.Errorf("%d of %d are missing; %d arrived, %d different", missing, len(want), len(ids), len(have))
	}
	closeBus(t, b)
}
