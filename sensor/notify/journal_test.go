package notify

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/sensor/alert"
)

// journalled is a file with a box, ten alerts, and a message of them.
func journalled(t *testing.T) (path string, b *box) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "q")
	j, _, _, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	b = newBox()
	if err := j.rewrite(b); err != nil {
		t.Fatal(err)
	}
	var all []*entry
	for i := range 10 {
		all = append(all, &entry{Event: &detail{event(i, alert.High, Opened), true}, At: second})
	}
	all = append(all, &entry{Advance: true, At: 3 * second})
	for _, e := range all {
		if err := b.apply(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.append(all...); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return path, b
}

// TestJournalTorn cuts the file off at every byte: what is whole before that is read, and nothing is set aside.
func TestJournalTorn(t *testing.T) {
	path, want := journalled(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Outbox) != 1 {
		t.Fatalf("%d messages", len(want.Outbox))
	}
	for n := range len(text) + 1 {
		b, torn, err := readBox(text[:n])
		whole := bytes.Count(text[:n], []byte("\n"))
		if err != nil || torn != (n > 0 && text[n-1] != '\n') || (b == nil) != (whole == 0) {
			t.Fatalf("%d bytes: %v, torn %v, box %v", n, err, torn, b != nil)
		}
		if b != nil && (int(b.Total.Events) != min(whole-1, 10) || len(b.Outbox) != whole/12) {
			t.Fatalf("%d lines: %d events, %d messages", whole, b.Total.Events, len(b.Outbox))
		}
	}
}

// TestJournalDamaged changes a byte of each line: the file is set aside, what is before the damage is used, and nothing that is damaged.
func TestJournalDamaged(t *testing.T) {
	path, _ := journalled(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	at := 0
	for i, line := range lines[:len(lines)-2] { // a damaged last line counts as torn
		damaged := bytes.Clone(text)
		damaged[at+len(line)/2] ^= 4
		at += len(line)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		_, b, aside, err := openJournal(path)
		if err != nil || aside == "" {
			t.Fatalf("line %d: %v, aside %q", i, err, aside)
		}
		if (b == nil) != (i == 0) || b != nil && b.Total.Events != uint64(i-1) {
			t.Fatalf("line %d: %+v", i, b)
		}
		if kept, err := os.ReadFile(aside); err != nil || !bytes.Equal(kept, damaged) {
			t.Fatalf("line %d: not kept: %v", i, err)
		}
	}
}

// FuzzJournal: no file makes reading fail in another way than by an error.
func FuzzJournal(f *testing.F) {
	b := newBox()
	b.take(event(1, alert.High, Opened), true, second)
	var line bytes.Buffer
	for _, e := range []*entry{{Box: b}, {Advance: true, At: 9 * second}, {Done: &ended{"test-1", true}}} {
		if err := appendEntry(&line, e); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(line.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		if b, _, err := readBox(text); err == nil && b != nil && len(b.Outbox) > maxWaiting+bytes.Count(text, []byte("\n")) {
			t.Errorf("%d messages", len(b.Outbox))
		}
	})
}

// TestJournalUnwritable: while its folder is gone a channel goes on in memory, says so once, and is on disk again when the folder is.
func TestJournalUnwritable(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	cfg, o, log := quick(t, r.URL)
	cfg.Sync = 2e6
	n := open(t, cfg, o)
	c := n.channels[0]
	c.mu.Lock()
	if err := os.Rename(o.Dir, o.Dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := c.journal.close(); err != nil { // as after a write that failed
		t.Fatal(err)
	}
	c.mu.Unlock()
	for i := range 20 {
		n.Alert(revision(i, alert.Open))
	}
	await(t, "all is told", func() bool { _, sum := told(r.messages(t)); return sum == 20 })
	await(t, "it is counted", func() bool { s, _ := n.Stats(); return s[0].Disk > 2 })
	if err := os.Rename(o.Dir+".away", o.Dir); err != nil {
		t.Fatal(err)
	}
	await(t, "it is on disk again", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return !c.unsafe
	})
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if s := log.String(); strings.Count(s, "in memory only") != 1 || strings.Count(s, "on disk again") != 1 {
		t.Errorf("the log:\n%s", s)
	}
}
