package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"weir/sensor/alert"
)

// elsewhere is the configuration of a sensor that publishes to natsd.
const elsewhere = "nats: {servers: ['nats://127.0.0.1:4333'], flows: off}\n"

// natsServer starts natsd on the sensor's host. Its store lives as long as the test.
func (o *outpost) natsServer(t *testing.T) *process {
	t.Helper()
	p := spawn(t, o.far, "natsd", "4333", filepath.Join(o.dir, "natsd"))
	await(t, "natsd is ready", func() bool { return p.out.String() == "ready\n" })
	return p
}

// connect is a connection to a NATS server in a namespace.
func connect(t *testing.T, ns, url string) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, nats.SetCustomDialer(dialer{ns}), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// stored are the revisions of alerts in the stream of a server, in its order.
func stored(t *testing.T, ns, url string) (all []*alert.Alert) {
	t.Helper()
	nc := connect(t, ns, url)
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "WEIR_ALERTS_default")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for seq := s.CachedInfo().State.FirstSeq; seq <= s.CachedInfo().State.LastSeq && s.CachedInfo().State.Msgs > 0; seq++ {
		if m, err := s.GetMsg(ctx, seq); err == nil { // a damaged store has holes
			text.Write(append(m.Data, '\n'))
		}
	}
	if all, err = alert.Read(&text); err != nil {
		t.Fatal(err)
	}
	return all
}

// revisionNames name alerts by id and revision, sorted.
func revisionNames(all []*alert.Alert) (names []string) {
	for _, a := range all {
		names = append(names, fmt.Sprintf("%s.%d", a.ID, a.Rev))
	}
	slices.Sort(names)
	return names
}

// crowd gives the near host as many addresses more, from 10.9.0.10 on.
func (o *outpost) crowd(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		address(t, o.near, "eth0", fmt.Sprintf("10.9.0.%d/24", 10+i))
	}
}

// probeFrom is probe from one address of the crowd.
func (o *outpost) probeFrom(t *testing.T, i int) {
	t.Helper()
	within(t, o.near, func() {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 9, 0, byte(10+i))}, Timeout: time.Second}
		for port := 2000; port < 2040; port++ {
			if c, err := d.Dial("tcp", fmt.Sprintf("10.9.0.1:%d", port)); err == nil {
				c.Close()
			}
		}
	})
}

// TestSenseKilled kills a sensor amid a stream of alerts while its NATS server is away, and starts it again: each alert that it
// printed arrives, once.
func TestSenseKilled(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, elsewhere)
	const sources = 24
	o.crowd(t, sources)
	first := sense(t, o.far, "-i", "eth0", "--config", o.config)
	for i := range sources / 2 {
		o.probeFrom(t, i)
	}
	await(t, "some alerts are printed", func() bool { return strings.Count(first.out.String(), "\n") >= sources/3 })
	if code := first.end(t, syscall.SIGKILL); code != -1 {
		t.Fatalf("it ends with %d", code)
	}
	printed := first.printed(t)

	second := sense(t, o.far, "-i", "eth0", "--config", o.config, "--state", first.state)
	for i := sources / 2; i < sources; i++ {
		o.probeFrom(t, i)
	}
	await(t, "alerts of its second life", func() bool { return strings.Count(second.out.String(), "\n") >= sources/3 })
	o.natsServer(t)
	second.ready(t)
	printed = append(printed, second.stop(t)...)

	arrived := revisionNames(stored(t, o.far, "nats://127.0.0.1:4333"))
	for _, r := range revisionNames(printed) {
		if !slices.Contains(arrived, r) {
			t.Errorf("%s was printed and did not arrive", r)
		}
	}
	if once := slices.Compact(slices.Clone(arrived)); len(once) != len(arrived) {
		t.Errorf("%d messages, but %d revisions", len(arrived), len(once))
	}
	if len(printed) < sources {
		t.Errorf("only %d revisions were printed", len(printed))
	}
	t.Logf("%d revisions printed, %d arrived", len(printed), len(arrived))
	o.quiet(t, first.state)
}

// TestSenseDamagedState damages the files of a sensor that ended with alerts in its outbox. The next one sets them aside, says so,
// and delivers what can be read.
func TestSenseDamagedState(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, elsewhere)
	const sources = 8
	o.crowd(t, sources)
	first := sense(t, o.far, "-i", "eth0", "--config", o.config)
	for i := range sources {
		o.probeFrom(t, i)
	}
	printed := revisionNames(first.stop(t))
	if !strings.Contains(first.err.String(), "alerts and 0 flows are not published; they stay in "+first.state+"/outbox for the next start") {
		t.Errorf("that alerts wait is not said:\n%s", first.err.String())
	}

	segments, _ := filepath.Glob(first.state + "/outbox/alert-*.seg")
	if len(segments) != 1 || len(printed) < sources {
		t.Fatalf("%d revisions in %q", len(printed), segments)
	}
	damage := func(path string, change func([]byte) []byte) []byte {
		t.Helper()
		text, err := os.ReadFile(path)
		if err == nil {
			text = change(text)
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	damaged := map[string][]byte{
		"outbox/" + filepath.Base(segments[0]): damage(segments[0], func(b []byte) []byte {
			copy(b[len(b)/2:], "this is not a record")
			return b
		}),
		"outbox/cursor": damage(first.state+"/outbox/cursor", func(b []byte) []byte { return append(b[:10], "nonsense"...) }),
		"sketch.key":    damage(first.state+"/sketch.key", func(b []byte) []byte { return b[:3] }),
	}

	o.natsServer(t)
	second := sense(t, o.far, "-i", "eth0", "--config", o.config, "--state", first.state)
	second.ready(t)
	second.stop(t)
	arrived := revisionNames(stored(t, o.far, "nats://127.0.0.1:4333"))
	lost := len(printed) - len(arrived)
	if lost < 1 || lost > 2 {
		t.Errorf("%d of %d revisions are lost; one record was damaged, or two", lost, len(printed))
	}
	for name, want := range damaged {
		kept, _ := filepath.Glob(filepath.Join(first.state, name) + ".corrupt-*")
		if len(kept) != 1 {
			t.Errorf("%s is kept as %q", name, kept)
			continue
		}
		if got, err := os.ReadFile(kept[0]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not kept as it was: %v", name, err)
		}
		if !strings.Contains(second.err.String(), filepath.Base(kept[0])) {
			t.Errorf("that %s is damaged is not said", name)
		}
	}
	if t.Failed() {
		t.Logf("%s", second.err.String())
	}
}

// TestSenseDamagedStore damages what the NATS server inside keeps. The next sensor does its work all the same, and so does the
// one after it.
func TestSenseDamagedStore(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, "")
	o.crowd(t, 2)
	s := sense(t, o.far, "-i", "eth0", "--config", o.config)
	o.probeFrom(t, 0)
	s.stop(t)
	stream := "nats/jetstream/$G/streams/WEIR_ALERTS_default/"
	cut := func(name string, size int64) func(dir string) error {
		return func(dir string) error { return os.Truncate(filepath.Join(dir, name), size) }
	}
	replace := func(name string) func(dir string) error {
		return func(dir string) error {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, name), []byte("junk"), 0o600)
		}
	}
	for i, c := range []struct {
		name   string
		damage func(dir string) error
		old    bool   // the alerts of before are still there
		aside  string // what is kept
	}{
		{"settings cut", cut(stream+"meta.inf", 10), true, ""},
		{"messages cut", cut(stream+"msgs/1.blk", 100), false, ""},
		{"index cut", cut(stream+"msgs/index.db", 5), true, ""},
		{"file for the stream", replace(stream + "msgs"), false, ""},
		{"file for the store", replace("nats/jetstream"), false, "nats/jetstream"},
		{"file for the folder", replace("nats"), false, "nats"},
		{"file for the outbox", replace("outbox"), true, "outbox"},
	} {
		state := filepath.Join(o.dir, fmt.Sprint("state", i))
		if err := os.CopyFS(state, os.DirFS(s.state)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(state, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = os.Chmod(state+"/sketch.key", 0o600)
		_ = os.Chmod(state+"/"+pageToken, 0o600)
		_ = os.Chmod(state+"/keys", 0o700)
		_ = os.Chmod(state+"/keys/weir.nk", 0o600)
		if err := c.damage(state); err != nil {
			t.Fatal(err)
		}
		next := sense(t, o.far, "-i", "eth0", "--config", o.config, "--state", state)
		o.probeFrom(t, 1)
		next.ready(t)
		await(t, "an alert is stored", func() bool { return len(stored(t, o.far, next.url(t))) > 0 && next.out.String() != "" })
		all := stored(t, o.far, next.url(t))
		next.stop(t)
		var before, after int
		for _, a := range all {
			if a.Subject.String() == "10.9.0.10" {
				before++
			} else {
				after++
			}
		}
		if after == 0 || c.old != (before > 0) {
			t.Errorf("%s: %d alerts of before, %d new\n%s", c.name, before, after, next.err.String())
		}
		if c.aside != "" {
			if kept, _ := filepath.Glob(filepath.Join(state, c.aside) + ".corrupt-*"); len(kept) != 1 || !strings.Contains(next.err.String(), kept[0]) {
				t.Errorf("%s: kept %q\n%s", c.name, kept, next.err.String())
			}
		}
	}
}

// TestSenseDiskFull fills the disk of the state folder while the sensor runs: alerts go out all the same, and that the disk is full
// is said once.
func TestSenseDiskFull(t *testing.T) {
	t.Parallel()
	o := newOutpost(t, elsewhere+"store: {flows: false, alerts: false, evidence: false}\n") // which would want more room than there is
	const sources = 8
	o.crowd(t, sources)
	o.natsServer(t)
	disk := smallDisk(t, "256k")
	s := sense(t, o.far, "-i", "eth0", "--config", o.config, "--state", filepath.Join(disk, "state"))
	s.ready(t)
	_ = os.WriteFile(filepath.Join(disk, "full"), make([]byte, 1<<20), 0o600) // as much as there is room for
	for i := range sources {
		o.probeFrom(t, i)
	}
	var failed float64
	await(t, "errors of the disk are counted", func() bool { failed = s.metric(t, "weir_bus_outbox_errors_total"); return failed >= sources })
	printed := revisionNames(s.stop(t))
	if arrived := revisionNames(stored(t, o.far, "nats://127.0.0.1:4333")); !slices.Equal(arrived, printed) || len(printed) < sources {
		t.Errorf("%d revisions printed, %d arrived", len(printed), len(arrived))
	}
	if n := strings.Count(s.err.String(), "the outbox cannot be written"); n < 1 || n > 3 {
		t.Errorf("%d lines say that the disk is full:\n%s", n, s.err.String())
	}
	if !strings.Contains(s.err.String(), "no space left on device; make room for "+s.state) {
		t.Errorf("what to do is not said:\n%s", s.err.String())
	}
}
