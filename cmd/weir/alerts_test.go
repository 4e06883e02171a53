package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"weir/sensor/alert"
	"weir/sensor/bus"
)

// sensorBus is the bus of a sensor with the embedded server, and its state folder.
func sensorBus(t *testing.T) (*bus.Bus, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := openBus(t, dir, "127.0.0.1:0")
	t.Cleanup(func() { closeBus(t, b) })
	return b, dir
}

func openBus(t *testing.T, dir, listen string) *bus.Bus {
	t.Helper()
	cfg := bus.Defaults()
	cfg.Listen = listen
	b, err := bus.Open(t.Context(), cfg, bus.Identity{Site: "default", Sensor: "s1"}, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func closeBus(t *testing.T, b *bus.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// publish sends alerts and waits until the server has them.
func publish(t *testing.T, b *bus.Bus, alerts ...*alert.Alert) (lines []string) {
	t.Helper()
	for _, a := range alerts {
		line, err := a.AppendLine(nil)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
		send(t, b, a.Analyzer, a.Severity.String(), fmt.Sprintf("%s.%d", a.ID, a.Rev), bytes.TrimSpace(line))
	}
	return lines
}

func send(t *testing.T, b *bus.Bus, analyzer, severity, id string, payload []byte) {
	t.Helper()
	if err := b.Alert(analyzer, severity, id, payload); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if k := b.Stats().Kinds[bus.Alert]; k.Published == k.Accepted {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not published: %+v", b.Stats())
}

// storyOf is one alert from opening to end.
func storyOf(n int, analyzer, kind string, top alert.Severity) []*alert.Alert {
	one := alert.Alert{
		Schema: alert.Schema, ID: fmt.Sprintf("%016x", n), Sensor: "s1", Analyzer: analyzer, Kind: kind, Score: 55, Confidence: 100,
		Subject: &alert.Party{IP: netip.MustParseAddr("203.0.113.9")}, Victim: &alert.Party{IP: netip.MustParseAddr("10.20.0.10"), Port: 80, Protocol: "tcp"},
		Summary: fmt.Sprintf("Story %d, of <many> words & figures.", n), Why: []alert.Measure{},
	}
	at := time.Date(2026, 11, 20, 23, 0, n, 0, time.UTC)
	var all []*alert.Alert
	for i, state := range []alert.State{alert.Open, alert.Update, alert.Closed} {
		a := one
		a.Rev, a.State, a.Severity, a.Count = i+1, state, alert.Medium, uint64(10*i+1)
		if i > 0 {
			a.Severity = top
		}
		a.First, a.Last, a.Time = alert.Time(at.UnixNano()), alert.Time(at.Add(time.Duration(i)*61*time.Second).UnixNano()), alert.Time(at.Add(time.Duration(i)*90*time.Second).UnixNano())
		all = append(all, &a)
	}
	return all
}

// weirAlerts runs the command to its end.
func weirAlerts(t *testing.T, args ...string) (out, stderr string, code int) {
	t.Helper()
	cmd := exec.Command("weir", append([]string{"alerts"}, args...)...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait()
	if !late.Stop() {
		t.Fatal("it did not end")
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

// TestAlertsHistory reads what an embedded server holds, in all forms and with all filters.
func TestAlertsHistory(t *testing.T) {
	b, dir := sensorBus(t)
	scan, flood := storyOf(1, "scan", "vertical", alert.Medium), storyOf(2, "flood", "syn", alert.Critical)
	lines := publish(t, b, append(scan, flood...)...)
	send(t, b, "scan", "medium", "twice.1", []byte(strings.TrimSpace(lines[0]))) // again, under an id that the server does not know
	send(t, b, "scan", "medium", "spread.1", []byte(strings.ReplaceAll(strings.Replace(lines[2], `"rev":3`, `"rev":4,"of a newer sensor":1`, 1), `,"count"`, ",\r\n\t\"count\"")))
	send(t, b, "scan", "medium", "bad.1", []byte("\x1b[31mnot JSON"))
	send(t, b, "scan", "medium", "bad.2", []byte(`{"schema":"weir.alert/2","id":"1"}`))
	spread := strings.Replace(lines[2], `"rev":3`, `"rev":4,"of a newer sensor":1`, 1)

	base := []string{"--state", dir, "--no-follow"}
	for _, c := range []struct {
		args []string
		want []string
		told string
	}{
		{nil, append(append([]string{}, lines...), spread), "7 revisions of alerts: 2 open, 2 update, 3 closed; 2 messages were no alerts\n"},
		{[]string{"--severity", "high"}, lines[4:6], "2 revisions of alerts: 0 open, 1 update, 1 closed\n"},
		{[]string{"--kind", "flood"}, lines[3:6], "3 revisions of alerts: 1 open, 1 update, 1 closed\n"},
		{[]string{"--kind", "flood.syn", "--kind", "fin"}, lines[3:6], ""},
		{[]string{"--kind", "flood.udp"}, nil, "0 revisions"},
		{[]string{"--kind", "vertical", "--severity", "critical"}, nil, "0 revisions"},
		{[]string{"--since", "1h", "--severity", "critical"}, lines[4:6], ""},
		{[]string{"--since", "1ns", "--severity", "critical"}, nil, "0 revisions"},
	} {
		out, stderr, code := weirAlerts(t, append(base, c.args...)...)
		if code != exitDone || out != strings.Join(c.want, "") || !strings.HasSuffix(stderr, "\n") || !strings.Contains(stderr, c.told) {
			t.Errorf("%q: exit code %d\n%s%s\nwant %s", c.args, code, out, stderr, strings.Join(c.want, ""))
		}
		if strings.ContainsRune(stderr, '\x1b') {
			t.Errorf("%q: %q", c.args, stderr)
		}
	}
	if _, stderr, _ := weirAlerts(t, append(base, "--quiet", "--kind", "flood")...); stderr != "" {
		t.Errorf("--quiet says %q", stderr)
	}
	for format, field := range map[string]string{"ecs": "ecs", "eve": "event_type"} {
		out, _, code := weirAlerts(t, append(base, "--format", format)...)
		got := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range got {
			var o map[string]any
			if err := json.Unmarshal([]byte(line), &o); err != nil || o[field] == nil {
				t.Errorf("%s: %v: %s", format, err, line)
			}
		}
		if code != exitDone || len(got) != 7 {
			t.Errorf("%s: exit code %d, %d lines", format, code, len(got))
		}
	}
	if _, stderr, code := weirAlerts(t, append(base, "--site", "elsewhere")...); code != exitFailed || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, `no sensor of site "elsewhere"`) {
		t.Errorf("another site: exit code %d: %s", code, stderr)
	}
}

// following starts the command, and returns it with its output when the server has its first consumer.
func following(t *testing.T, args ...string) (*exec.Cmd, *bufio.Reader, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command("weir", append([]string{"alerts"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	return cmd, bufio.NewReader(out), stderr
}

// TestAlertsFollow prints history, then what comes, and ends by a signal with exit code 0.
func TestAlertsFollow(t *testing.T) {
	b, dir := sensorBus(t)
	old := publish(t, b, storyOf(1, "scan", "vertical", alert.Medium)...)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, out, stderr := following(t, "--state", dir, "--since", "1h", "--kind", "vertical")
		expect := func(lines []string) {
			t.Helper()
			for _, want := range lines {
				if got, err := out.ReadString('\n'); err != nil || got != want {
					t.Fatalf("%v\n%s\ngot  %swant %s", err, stderr, got, want)
				}
			}
		}
		expect(old)
		more := publish(t, b, storyOf(len(old)+1, "scan", "vertical", alert.High)...)
		publish(t, b, storyOf(len(old)+2, "flood", "syn", alert.High)...)
		expect(more)
		old = append(old, more...)
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(out)
		err := cmd.Wait()
		n := len(old) / 3
		if want := fmt.Sprintf("%d revisions of alerts: %d open, %d update, %d closed\n", 3*n, n, n, n); err != nil || len(rest) > 0 || stderr.String() != want {
			t.Errorf("%v: %v, %q, %q, want %q", sig, err, rest, stderr, want)
		}
	}
}

// TestAlertsNew shows without --since only what comes after the start.
func TestAlertsNew(t *testing.T) {
	b, dir := sensorBus(t)
	publish(t, b, storyOf(1, "scan", "vertical", alert.Medium)...)
	cmd, out, stderr := following(t, "--state", dir)
	lines := make(chan string, 1)
	go func() { line, _ := out.ReadString('\n'); lines <- line }()
	for n := 2; ; n++ { // until it listens
		publish(t, b, storyOf(n, "scan", "vertical", alert.Medium)[:1]...)
		select {
		case line := <-lines:
			if !strings.Contains(line, `"state":"open"`) || strings.Contains(line, "Story 1,") {
				t.Errorf("got %s", line)
			}
			_ = cmd.Process.Signal(os.Interrupt)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %s", err, stderr)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// TestAlertsRestart follows a sensor that is stopped and started again: nothing is missed, nothing comes twice.
func TestAlertsRestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b := openBus(t, dir, listen)
	want := publish(t, b, storyOf(1, "scan", "vertical", alert.High)...)
	cmd, out, stderr := following(t, "--state", dir, "--since", "1h")
	for n := 2; n < 5; n++ {
		for _, line := range want {
			if got, err := out.ReadString('\n'); err != nil || got != line {
				t.Fatalf("%v\n%s\ngot  %swant %s", err, stderr, got, line)
			}
		}
		closeBus(t, b)
		b = openBus(t, dir, listen)
		want = publish(t, b, storyOf(n, "scan", "vertical", alert.High)...)
	}
	defer closeBus(t, b)
	last := make([]string, 0, len(want))
	for range want {
		line, _ := out.ReadString('\n')
		last = append(last, line)
	}
	if !slices.Equal(last, want) {
		t.Errorf("got  %q\nwant %q", last, want)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || len(rest) > 0 || stderr.String() != "12 revisions of alerts: 4 open, 4 update, 4 closed\n" {
		t.Errorf("%v: %q, %s", err, rest, stderr)
	}
}

// TestAlertsUnread ends quietly when its reader has gone, though nothing comes that it could fail to write.
func TestAlertsUnread(t *testing.T) {
	b, dir := sensorBus(t)
	lines := publish(t, b, storyOf(1, "scan", "vertical", alert.Medium)...)
	sh := exec.Command("sh", "-c", "weir alerts --state "+dir+" --since 1h | head -n 1")
	var stderr bytes.Buffer
	sh.Stderr = &stderr
	late := time.AfterFunc(20*time.Second, func() { _ = sh.Process.Kill() })
	out, err := sh.Output()
	if !late.Stop() || err != nil || string(out) != lines[0] || stderr.Len() > 0 {
		t.Errorf("%v: %q %q", err, out, &stderr)
	}
}

// TestAlertsTerminal looks at the table as it streams, on terminals of 160 and 80 columns.
func TestAlertsTerminal(t *testing.T) {
	b, dir := sensorBus(t)
	publish(t, b, storyOf(1, "scan", "horizontal", alert.Medium)...)
	publish(t, b, storyOf(2, "flood", "amplification", alert.Critical)...)
	six := storyOf(3, "scan", "vertical", alert.High)[0]
	six.Subject.IP, six.Victim.IP = netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5678"), netip.MustParseAddr("2001:db8:1234:5678:9abc:def0:1234:5679")
	publish(t, b, six)
	for columns, want := range map[uint16]string{
		160: `TIME (UTC)           STATE   SEVERITY  WHAT                 OFFENDER         VICTIM             NUMBERS
2026-11-20 23:00:01  open    medium    scan horizontal      203.0.113.9      10.20.0.10:80/tcp  Story 1, of <many> words & figures.
2026-11-20 23:01:31  update  medium    scan horizontal      203.0.113.9      10.20.0.10:80/tcp  Story 1, of <many> words & figures.
2026-11-20 23:03:01  closed  medium    scan horizontal      203.0.113.9      10.20.0.10:80/tcp  after 2m2s: Story 1, of <many> words & figures.
2026-11-20 23:00:02  open    medium    flood amplification  203.0.113.9      10.20.0.10:80/tcp  Story 2, of <many> words & figures.
2026-11-20 23:01:32  update  critical  flood amplification  203.0.113.9      10.20.0.10:80/tcp  Story 2, of <many> words & figures.
2026-11-20 23:03:02  closed  critical  flood amplification  203.0.113.9      10.20.0.10:80/tcp  after 2m2s: Story 2, of <many> words & figures.
2026-11-20 23:00:03  open    medium    scan vertical        2001:db8:1234:5678:9abc:def0:1234:5678  [2001:db8:1234:5678:9abc:def0:1234:5679]:80/tcp
                                                                                                Story 3, of <many> words & figures.
`,
		80: `TIME (UTC)           STATE   SEVERITY  WHAT
    OFFENDER -> VICTIM: NUMBERS
2026-11-20 23:00:01  open    medium    scan horizontal
    203.0.113.9 -> 10.20.0.10:80/tcp: Story 1, of <many> words & figures.
2026-11-20 23:01:31  update  medium    scan horizontal
    203.0.113.9 -> 10.20.0.10:80/tcp: Story 1, of <many> words & figures.
2026-11-20 23:03:01  closed  medium    scan horizontal
    203.0.113.9 -> 10.20.0.10:80/tcp: after 2m2s: Story 1, of <many> words &
    figures.
2026-11-20 23:00:02  open    medium    flood amplification
    203.0.113.9 -> 10.20.0.10:80/tcp: Story 2, of <many> words & figures.
2026-11-20 23:01:32  update  critical  flood amplification
    203.0.113.9 -> 10.20.0.10:80/tcp: Story 2, of <many> words & figures.
2026-11-20 23:03:02  closed  critical  flood amplification
    203.0.113.9 -> 10.20.0.10:80/tcp: after 2m2s: Story 2, of <many> words &
    figures.
2026-11-20 23:00:03  open    medium    scan vertical
    2001:db8:1234:5678:9abc:def0:1234:5678 ->
    [2001:db8:1234:5678:9abc:def0:1234:5679]:80/tcp: Story 3, of <many> words &
    figures.
`,
	} {
		shown := terminal(t, columns, new(bytes.Buffer), nil, "alerts", "--state", dir, "--no-follow")
		if got := colour.ReplaceAllString(shown, ""); got != want {
			t.Errorf("%d columns:\n%s\nwant\n%s", columns, got, want)
		}
		if !colour.MatchString(shown) {
			t.Errorf("%d columns: no colour", columns)
		}
	}
}

// TestStreamHostile fills every string of an alert with what commands a terminal: nothing of it may come out.
func TestStreamHostile(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\r\n\b\u009b2J\u202e\xff\x7f"
	for _, columns := range []int{80, 160} {
		var out bytes.Buffer
		w := &streamWriter{table: table{out: &out, width: columns}}
		err := w.write(&alert.Alert{
			Analyzer: evil, Kind: evil, Summary: "before " + evil + " after", Subject: &alert.Party{IP: netip.MustParseAddr("fe80::1%" + evil), Port: 1, Protocol: evil},
		})
		if err != nil || strings.ContainsFunc(out.String(), func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) || !strings.Contains(out.String(), `\x1b`) {
			t.Errorf("%v: %q", err, out.String())
		}
	}
}

// TestRevisionsAreBounded remembers the last, and no more.
func TestRevisionsAreBounded(t *testing.T) {
	var s revisions
	for i := range 3 * maxRevisions {
		if !s.add(revision{uint64(i), 1}) || s.add(revision{uint64(i), 1}) || !s.add(revision{uint64(i), 2}) {
			t.Fatalf("%d is wrong", i)
		}
	}
	if len(s.known) != maxRevisions || len(s.ring) != maxRevisions {
		t.Errorf("%d and %d are remembered", len(s.known), len(s.ring))
	}
	const kept = 3*maxRevisions - maxRevisions/2
	if s.add(revision{kept, 1}) || !s.add(revision{kept - 1, 1}) {
		t.Error("not the last are remembered")
	}
}

// TestParseSince reads durations and times.
func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"90s": now.Add(-90 * time.Second), "1h30m": now.Add(-90 * time.Minute), "7d": now.AddDate(0, 0, -7), "0s": now,
		"2026-11-20T23:00:00Z": time.Date(2026, 11, 20, 23, 0, 0, 0, time.UTC), "2026-11-21T12:30:00+02:00": now.Add(-90 * time.Minute),
	} {
		if got, err := parseSince(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "d", "1", "-1d", "1.5d", "99999d", "tomorrow", "2026-11-20", "-1h", "2026-11-21T12:00:01Z"} {
		if got, err := parseSince(in, now); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}
