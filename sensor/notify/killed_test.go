package notify

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/sensor/alert"
)

// childConfig is what the processes of TestKilled have in common.
func childConfig(dir string) (Config, Options) {
	c := Defaults()
	c.Group = Group{Wait: 2 * time.Millisecond, Window: 5 * time.Millisecond, MaxWindow: 20 * time.Millisecond, Quiet: 50 * time.Millisecond, Details: 3, PerHour: 36000}
	c.RetryMax, c.Sync = 20*time.Millisecond, 5*time.Millisecond
	c.Channels = []Channel{{Name: "soc", Type: webhookType, URLFile: filepath.Join(dir, "url"), SecretFile: filepath.Join(dir, "secret")}}
	return c, Options{Dir: filepath.Join(dir, "queues"), Site: "home", Sensor: "tap"}
}

// child alerts without end, and says on standard output how many alerts are safe in the queue.
func child(dir string) {
	c, o := childConfig(dir)
	n, err := Open(c, o)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		n.Alert(revision(i, alert.Open))
		if i%10 == 9 {
			time.Sleep(time.Millisecond)
			s, _ := n.Stats()
			fmt.Println(s[0].Events)
		}
	}
}

// TestKilled kills a process that tells alerts, again and again (SIGKILL), while its receiver takes some time for an answer. In the end
// all that was safe is told, and messages came twice only where the answer was under way when the process died.
func TestKilled(t *testing.T) {
	t.Parallel()
	var gate atomic.Int64
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ []byte) bool {
		if gate.Add(1)%7 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return false
		}
		time.Sleep(2 * time.Millisecond)
		return true
	})
	dir := t.TempDir()
	for name, text := range map[string]string{"url": r.URL + "\n", "secret": string(receiverSecret)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 12
	safe := uint64(0)
	for range rounds {
		safe += killedChild(t, dir)
	}
	c, o := childConfig(dir)
	o.Log = slog.New(slog.DiscardHandler)
	n := open(t, c, o)
	await(t, "all is told", func() bool {
		s, _ := n.Stats()
		return s[0].Waiting == 0 && s[0].Pending == 0
	})
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	all := r.messages(t)
	once := distinct(all)
	byID := map[string]*Message{}
	for _, m := range all {
		if before := byID[m.ID]; before != nil && !cmp.Equal(before, m) {
			t.Errorf("two messages have the id %s:\n%s", m.ID, cmp.Diff(before, m))
		}
		byID[m.ID] = m
	}
	_, sum := told(once)
	t.Logf("%d kills: %d alerts were safe, %d are told in %d messages, %d of them twice", rounds, safe, sum, len(once), len(all)-len(once))
	if sum < safe || sum > safe+rounds*1000 || len(all)-len(once) > rounds || len(once) < rounds/2 {
		t.Error("something was lost, or told twice")
	}
	for i, m := range once {
		if want := fmt.Sprintf("%s-%d", once[0].ID[:8], i+1); m.ID != want {
			t.Fatalf("message %d is %s, want %s", i, m.ID, want)
		}
	}
}

// killedChild runs a child for a short while, and returns how many alerts it said were safe.
func killedChild(t *testing.T, dir string) (safe uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WEIR_NOTIFY_CHILD="+dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	read := func() bool {
		if !lines.Scan() {
			return false
		}
		if _, err := fmt.Sscan(lines.Text(), &safe); err != nil {
			t.Errorf("the child says %q", lines.Text())
			return false
		}
		return true
	}
	read()
	time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
	for read() {
	}
	_ = cmd.Wait() // that it was killed
	return safe
}
