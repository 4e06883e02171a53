package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// TestJournalNonsense: what has the right checksum and makes no sense is an error, and no panic of what works with the box.
func TestJournalNonsense(t *testing.T) {
	for _, text := range []string{
		`{"box":{"seed":"a","group":{"Details":5},"active":true,"details":[{"first":true}],"fresh":{"events":1}},"at":1}`,
		`{"box":{"seed":"a","group":{"Details":5},"outbox":[{"size":1}]},"at":1}`,
		`{"box":{"seed":"a","group":{"Details":5},"outbox":[{"id":"a-1","events":[null],"size":1}]},"at":1}`,
		`{"box":{"seed":"a","group":{}},"at":1}`,
	} {
		b, _, err := readBox(summed([]byte(text + "\n" + `{"event":{"what":"opened"},"at":2}` + "\n")))
		if b != nil || !errors.Is(err, errBox) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// summed gives lines their checksums.
func summed(text []byte) (out []byte) {
	for line := range bytes.Lines(text) {
		if body, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			out = fmt.Appendf(out, "%08x %s\n", crc32.Checksum(body, castagnoli), body)
		}
	}
	return out
}

// FuzzJournal: no lines make reading fail in another way than by an error, and what was read can be worked with.
func FuzzJournal(f *testing.F) {
	b := newBox()
	b.take(event(1, alert.High, Opened), true, second)
	var text []byte
	for _, e := range []*entry{{Box: b}, {Advance: true, At: 9 * second}, {Done: &ended{"test-1", true}}, {Event: &detail{event(2, alert.High, Opened), true}, At: 10 * second}} {
		line, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		text = append(append(text, line...), '\n')
	}
	f.Add(text)
	c := Channel{Type: webhookType}
	f.Fuzz(func(t *testing.T, text []byte) {
		b, _, err := readBox(summed(text))
		if b == nil {
			return
		}
		if err == nil && len(b.Outbox) > maxWaiting+bytes.Count(text, []byte("\n"))+len(text)/8 {
			t.Errorf("%d messages", len(b.Outbox))
		}
		b.begin(Defaults().Group, 1<<20, b.Now, true)
		b.take(event(3, alert.High, Opened), true, b.Now)
		for range 2 * maxWaiting {
			b.advance(b.Now + 1<<40)
			if m := b.head(); m != nil {
				if _, err := c.body(m); err != nil {
					t.Error(err)
				}
				if err := b.done(m.ID, true, b.Now); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestJournalFull: when the file cannot be written anew, what comes until it can is not taken for kept, and is in it then.
func TestJournalFull(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ []byte) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return false
	})
	cfg, o, _ := quick(t, r.URL)
	cfg.Sync = time.Hour // settle is called here
	n := open(t, cfg, o)
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	c := n.channels[0]
	n.Alert(revision(1, alert.Open))
	await(t, "a message waits", func() bool { s, _ := n.Stats(); return s[0].Waiting == 1 })
	block := filepath.Join(o.Dir, "soc.queue.new") // as a full disk
	if err := os.Mkdir(block, 0o700); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.journal.size = rewriteBytes + 1
	c.mu.Unlock()
	c.settle()
	n.Alert(revision(2, alert.Open))
	failed := func() uint64 { s, _ := n.Stats(); return s[0].Failed }
	before := failed()
	await(t, "it is tried on", func() bool { return failed() > before+3 })
	if err := os.Remove(block); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	safe := !c.unsafe
	c.mu.Unlock()
	if safe {
		t.Error("calls are missing in the file, and it counts as safe")
	}
	c.settle()
	c.mu.Lock()
	defer c.mu.Unlock()
	text, err := os.ReadFile(c.journal.path)
	if err != nil {
		t.Fatal(err)
	}
	b, torn, err := readBox(text)
	if err != nil || torn || c.unsafe {
		t.Fatalf("%v, torn %v, unsafe %v", err, torn, c.unsafe)
	}
	if got, want := b.Fresh.Events+uint64(len(b.Outbox)), c.box.Fresh.Events+uint64(len(c.box.Outbox)); got != want || want < 2 {
		t.Errorf("%d in the file, %d in memory", got, want)
	}
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
