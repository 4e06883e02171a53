package bus

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("WEIR_BUS_WRITER"); dir != "" {
		write(dir, os.Getenv("WEIR_BUS_SERVER"), os.Getenv("WEIR_BUS_ROUND"))
		return
	}
	goleak.VerifyTestMain(m)
}

// leaveOut skips a test that cannot run here, and says why. In CI nothing is left out.
func leaveOut(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why + ", and this is CI")
	}
	t.Skip(why)
}

func logTo(t testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// embedded is a configuration for a server inside, on any port.
func embedded() Config {
	c := Defaults()
	c.Listen = "127.0.0.1:0"
	return c
}

func open(t testing.TB, cfg Config, dir string) *Bus {
	t.Helper()
	begin := time.Now()
	b, err := Open(within(t, 20*time.Second), cfg, Identity{"site.one", "web 1.example.org"}, dir, logTo(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Log("open after", time.Since(begin))
	return b
}

// serverIn is the URL of the server inside the process of a state folder.
func serverIn(t testing.TB, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "nats.url"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func closeBus(t testing.TB, b *Bus) {
	t.Helper()
	begin := time.Now()
	if err := b.Close(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
	t.Log("closed after", time.Since(begin))
}

func TestEmbedded(t *testing.T) {
	dir := t.TempDir()
	b := open(t, embedded(), dir)
	if err := b.Ready(); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := b.Alert("scan", []string{"high", "low"}[i%2], fmt.Sprintf("id%d.1", i), fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for b.Stats().Kinds[Alert].Published < 100 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	n := 0
	err := Follow(within(t, 10*time.Second), embedded(), "site.one", dir, FollowOptions{Since: time.Now().Add(-time.Hour), Severities: []string{"high"}},
		func(subject string, payload []byte) error {
			if want := fmt.Sprintf(`{"n":%d}`, 2*n); string(payload) != want || subject != "weir.v1.site_2Eone.web_201_2Eexample_2Eorg.alert.scan.high" {
				t.Errorf("%s %s, want %s", subject, payload, want)
			}
			n++
			return nil
		})
	if err != nil || n != 50 {
		t.Errorf("followed %d, %v", n, err)
	}
	t.Logf("%+v", b.Stats())
	closeBus(t, b)
	left, _ := filepath.Glob(filepath.Join(dir, "outbox", "*.seg"))
	if len(left) > 0 {
		t.Error("left", left)
	}
}
