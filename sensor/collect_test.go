package sensor

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"weir/sensor/alert"
	"weir/sensor/capture"
)

// TestCollect runs attacks as live traffic. The evidence that is written of each of their alerts, replayed, gives the same alert: of
// the same analyzer and kind, by and on the same, with the same id.
func TestCollect(t *testing.T) {
	for _, name := range []string{
		"scan/nmap-sS-vertical", "scan/nmap-horizontal", "scan/ping-sweep", "scan/nmap-udp", "bruteforce/hydra-ssh", "flood/syn-spoofed", "flood/udp",
		"flood/icmp", "http/ffuf",
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := filepath.Glob(filepath.Join("../pcaps", name, "in.pcap*"))
			if len(in) != 1 {
				t.Fatal("no such case")
			}
			dir := t.TempDir()
			alerts, c := collect(t, in[0], dir)
			found := 0
			for _, a := range alerts {
				if a.Severity < alert.Medium || a.State != alert.Closed || a.Subject == nil && a.Victim == nil {
					continue
				}
				e := c.Find(a.ID)
				if e == nil {
					t.Errorf("%s %s %v: no evidence: %+v", a.Analyzer, a.Kind, a, c.Stats())
					continue
				}
				text, err := os.ReadFile(e.File)
				if err != nil {
					t.Fatal(err)
				}
				if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != e.SHA256 {
					t.Errorf("%s: another SHA-256 than the file's", e.File)
				}
				out, _, err := replay(t, 1, nil, e.File)
				if err != nil {
					t.Fatal(err)
				}
				again := parse(t, out)
				if !slices.ContainsFunc(again, func(b *alert.Alert) bool { return slices.Equal(told([]*alert.Alert{b}), told([]*alert.Alert{a})) }) {
					t.Errorf("%s %s of %v on %v: its evidence gives %q", a.Analyzer, a.Kind, a.Subject, a.Victim, told(again))
				}
				found++
			}
			if found == 0 {
				t.Error("no alert of medium severity")
			}
			if s := c.Stats(); s.Failed+s.Skipped > 0 || int(s.Files) < found {
				t.Errorf("%+v", s)
			}
		})
	}
}

// collect runs a capture as live traffic, and its alerts' evidence into dir.
func collect(t *testing.T, in, dir string) ([]*alert.Alert, *Collector) {
	t.Helper()
	c, err := NewCollector(dir)
	if err != nil {
		t.Fatal(err)
	}
	const workers = 2
	cfg := config(workers)
	cfg.Live, cfg.Recent = true, Recent{Bytes: 16 << 20, Snaplen: 2048}
	var all []*alert.Alert
	var e *Engine
	e, err = New(cfg, Sinks{Alert: func(a *alert.Alert) {
		all = append(all, a)
		c.Alert(a)
		if err := c.Collect(e, false); err != nil { // the judge's goroutine is as good as another one, and makes the test repeatable
			t.Error(err)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var sources []capture.LiveSource
	for _, s := range spread(t, in, workers) {
		s.engine = e
		sources = append(sources, s)
	}
	if _, err := e.Live(sources); err != nil {
		t.Fatal(err)
	}
	if err := c.Collect(e, true); err != nil {
		t.Fatal(err)
	}
	return all, c
}

// TestCollectorBounds: more alerts at once than there is room for are counted, files that were not finished go, and a disk without
// room costs the evidence alone.
func TestCollectorBounds(t *testing.T) {
	dir := t.TempDir()
	stray := filepath.Join(dir, "0123456789abcdef.pcapng"+partial)
	if err := os.WriteFile(stray, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := NewCollector(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stray); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", stray, err)
	}
	for i := range 3 * collectOpen {
		id, _ := json.Marshal(i)
		c.Alert(about(string(id), alert.High, peer(1), nil, 10, 20))
		c.Alert(about(string(id), alert.High, peer(1), nil, 10, 20)) // a second revision is no second alert
	}
	if s := c.Stats(); s.Skipped < 2*collectOpen {
		t.Errorf("%d skipped", s.Skipped)
	}
	cfg := config(1)
	cfg.Live, cfg.Recent = true, Recent{Bytes: 1 << 20, Snaplen: 100}
	e, err := New(cfg, Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for i := range 10 {
		f := datagram(1, 2, int64(10+i))
		e.recent[0].add(&f)
	}
	e.recent[0].close()
	c.Room = func() bool { return false }
	if err := c.Collect(e, true); err == nil {
		t.Error("a full disk, and no error")
	}
	if s := c.Stats(); s.Failed != collectOpen || s.Files != 0 {
		t.Errorf("%+v", s)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestCollectorAgain: an alert that came while too many were open has its evidence by a later revision.
func TestCollectorAgain(t *testing.T) {
	c, err := NewCollector(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(1)
	cfg.Live, cfg.Recent = true, Recent{Bytes: 1 << 20, Snaplen: 100}
	e, err := New(cfg, Sinks{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for i := range 10 {
		f := datagram(1, 2, int64(10+i))
		e.recent[0].add(&f)
	}
	e.recent[0].close()
	gather := func(end bool) {
		t.Helper()
		if err := c.Collect(e, end); err != nil {
			t.Fatal(err)
		}
	}
	for i := range collectOpen {
		c.Alert(about(strconv.Itoa(i), alert.High, peer(1), nil, 10, 20))
	}
	gather(false)
	late := about("late", alert.High, peer(1), nil, 10, 20)
	c.Alert(late)
	gather(false)
	if s := c.Stats(); s.Skipped != 1 {
		t.Errorf("%d skipped", s.Skipped)
	}
	gather(true)
	if c.Find("late") != nil {
		t.Error("there was no place for it")
	}
	late.Rev++
	c.Alert(late)
	gather(true)
	if c.Find("late") == nil {
		t.Errorf("no evidence by the later revision: %+v", c.Stats())
	}
}
