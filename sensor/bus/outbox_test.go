package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func newOutbox(t testing.TB, dir string, limit int64) *outbox {
	t.Helper()
	o, err := openOutbox(dir, limit, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// crash leaves the files as a killed process does.
func (o *outbox) crash() {
	for k := range o.queues {
		if f := o.queues[k].file; f != nil {
			f.Close()
		}
		o.queues[k].reader.close()
	}
	for _, f := range o.unsynced {
		f.Close()
	}
	o.cursor.Close()
}

func payloadOf(i int) []byte { return fmt.Appendf(nil, "payload %d", i) }

func fill(t testing.TB, o *outbox, k Kind, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if err := o.append(k, &record{boot: 7, sequence: uint64(i), subject: "s", id: fmt.Sprint("id", i), payload: payloadOf(i)}, false); err != nil {
			t.Fatal(err)
		}
	}
}

func drain(o *outbox, k Kind) (got []int) {
	for {
		r, ok := o.next(k)
		if !ok {
			return got
		}
		if r.boot != 7 || r.id != fmt.Sprint("id", r.sequence) || !bytes.Equal(r.payload, payloadOf(int(r.sequence))) {
			panic(fmt.Sprintf("%+v", r))
		}
		got = append(got, int(r.sequence))
	}
}

func numbers(from, to int, without ...int) (all []int) {
	for i := from; i < to; i++ {
		if !slices.Contains(without, i) {
			all = append(all, i)
		}
	}
	return all
}

func TestOutboxResumes(t *testing.T) {
	dir := t.TempDir()
	o := newOutbox(t, dir, 1<<20)
	fill(t, o, Alert, 0, 5000)
	for range 3000 {
		o.next(Alert)
	}
	o.acknowledge(Alert, 1200) // numbers count from 1
	if err := o.saveCursor(); err != nil {
		t.Fatal(err)
	}
	o.acknowledge(Alert, 2000) // and the crash comes before this is saved
	o.crash()

	o = newOutbox(t, dir, 1<<20)
	got := drain(o, Alert)
	if len(got) == 0 || got[0] < 1200 || got[0] > 2000 || got[len(got)-1] != 4999 || len(got) != 5000-got[0] {
		t.Errorf("resumed %d from %d", len(got), got[0])
	}
	inherited, evicted, damaged := o.counts(Alert)
	if int(inherited) != len(got) || evicted+damaged != 0 {
		t.Errorf("inherited %d, evicted %d, damaged %d", inherited, evicted, damaged)
	}
	fill(t, o, Alert, 5000, 5010)
	if got := drain(o, Alert); fmt.Sprint(got) != fmt.Sprint(numbers(5000, 5010)) {
		t.Error("after that", got)
	}
	o.acknowledge(Alert, 5010)
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.seg*")); len(left) > 0 {
		t.Error("left", left)
	}
}

// one segment with 100 alerts, and the offsets of its records.
func oneSegment(t *testing.T, dir string) (path string, b []byte, offsets []int) {
	o := newOutbox(t, dir, 1<<20)
	fill(t, o, Alert, 0, 100)
	o.crash()
	path = filepath.Join(dir, "alert-0000000000000001.seg")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(b); {
		_, n, err := parseRecord(b[at:])
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, at)
		at += n
	}
	return path, b, offsets
}

func TestOutboxDamage(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(b []byte, at []int) []byte
		want    []int
		torn    int
		damaged int // records
		kept    int // files
	}{
		{"whole", func(b []byte, at []int) []byte { return b }, numbers(0, 100), 0, 0, 0},
		{"torn", func(b []byte, at []int) []byte { return b[:len(b)-3] }, numbers(0, 99), 1, 0, 0},
		{"torn head", func(b []byte, at []int) []byte { return b[:at[99]+2] }, numbers(0, 99), 1, 0, 0},
		{"zeros", func(b []byte, at []int) []byte { return append(b, make([]byte, 4096)...) }, numbers(0, 100), 1, 0, 0},
		{"payload", func(b []byte, at []int) []byte { b[at[51]-1] ^= 1; return b }, numbers(0, 100, 50), 0, 1, 1},
		{"length", func(b []byte, at []int) []byte { b[at[50]+4] ^= 0x40; return b }, numbers(0, 100, 50), 0, 1, 1},
		{"long length", func(b []byte, at []int) []byte { b[at[50]+5] ^= 0x40; return b }, numbers(0, 100, 50), 0, 1, 1},
		{"magic", func(b []byte, at []int) []byte { b[at[50]] ^= 1; return b }, numbers(0, 100, 50), 0, 1, 1},
		{"first", func(b []byte, at []int) []byte { b[at[0]+20] ^= 1; return b }, numbers(1, 100), 0, 1, 1},
		{"last", func(b []byte, at []int) []byte { b[at[99]+20] ^= 1; return b }, numbers(0, 99), 0, 1, 1},
		{"hole", func(b []byte, at []int) []byte { return append(b[:at[50]:at[50]], b[at[51]:]...) }, numbers(0, 100, 50), 0, 1, 0},
		{"all", func(b []byte, at []int) []byte { return bytes.Repeat([]byte("junk"), len(b)/4) }, nil, 0, 1, 1},
		{"empty", func(b []byte, at []int) []byte { return nil }, nil, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path, b, at := oneSegment(t, dir)
			b = test.change(b, at)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for round := range 2 { // the second time as after another crash
				o := newOutbox(t, dir, 1<<20)
				if got := drain(o, Alert); fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("got %v", got)
				}
				_, _, damaged := o.counts(Alert)
				stats := o.stats()
				if round == 0 && (int(stats.Torn) != test.torn || int(damaged) != test.damaged || int(stats.Damaged) != test.kept) {
					t.Errorf("torn %d, damaged %d, damaged files %d", stats.Torn, damaged, stats.Damaged)
				}
				if n := o.waiting(Alert); n != 0 {
					t.Errorf("%d wait", n)
				}
				kept, _ := filepath.Glob(path + ".corrupt-*")
				if len(kept) != test.kept {
					t.Errorf("kept %q", kept)
				}
				if len(kept) == 1 {
					if have, _ := os.ReadFile(kept[0]); !bytes.Equal(have, b) {
						t.Error("what was kept differs")
					}
				}
				o.crash()
			}
		})
	}
}

// Damage that comes while the process runs.
func TestOutboxDamagedUnderway(t *testing.T) {
	dir := t.TempDir()
	o := newOutbox(t, dir, 1<<20)
	fill(t, o, Alert, 0, 100)
	f, err := os.OpenFile(filepath.Join(dir, "alert-0000000000000001.seg"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("damage"), 1000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	got := drain(o, Alert)
	_, _, damaged := o.counts(Alert)
	if len(got) != 99 || damaged != 1 || o.stats().Damaged != 1 {
		t.Errorf("got %d, damaged %d, %+v", len(got), damaged, o.stats())
	}
	o.acknowledge(Alert, 100)
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
}

func TestCursorDamage(t *testing.T) {
	for name, b := range map[string][]byte{"short": []byte("cursor"), "crc": make([]byte, cursorSize), "long": make([]byte, 100)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := newOutbox(t, dir, 1<<20)
			fill(t, o, Alert, 0, 100)
			drain(o, Alert)
			o.acknowledge(Alert, 50)
			if err := o.close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "cursor"), b, 0o600); name != "crc" && err != nil {
				t.Fatal(err)
			}
			if name == "crc" {
				b = append(binary.LittleEndian.AppendUint64(nil, 1e18), make([]byte, 12)...)
				if err := os.WriteFile(filepath.Join(dir, "cursor"), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o = newOutbox(t, dir, 1<<20)
			if got := drain(o, Alert); len(got) != 100 {
				t.Errorf("%d sent again, want all", len(got))
			}
			if kept, _ := filepath.Glob(filepath.Join(dir, "cursor.corrupt-*")); len(kept) != 1 {
				t.Errorf("kept %q", kept)
			}
			o.crash()
		})
	}
}

func TestOutboxBound(t *testing.T) {
	dir := t.TempDir()
	const limit = 1 << 20
	o := newOutbox(t, dir, limit)
	fill(t, o, Flow, 0, 5000)
	if _, evicted, _ := o.counts(Flow); evicted != 0 {
		t.Fatal("evicted", evicted)
	}
	size := int64((&record{subject: "s", id: "id1000", payload: payloadOf(1000)}).size())
	alerts := int(2 * limit / size)
	for i := range alerts {
		fill(t, o, Alert, i, i+1)
		if o.bytes > limit {
			t.Fatalf("%d bytes", o.bytes)
		}
		_, lost, _ := o.counts(Alert)
		if o.left(Flow) > 0 && lost > 0 {
			t.Fatal("an alert went before the flows")
		}
	}
	if err := o.append(Flow, &record{payload: make([]byte, limit/8)}, false); !errors.Is(err, errFull) {
		t.Error("a flow in a full outbox:", err)
	}
	_, flows, _ := o.counts(Flow)
	if left := len(drain(o, Flow)); left+int(flows) != 5000 {
		t.Errorf("%d flows left, %d evicted", left, flows)
	}
	got := drain(o, Alert)
	_, lost, _ := o.counts(Alert)
	if lost == 0 || len(got)+int(lost) != alerts || fmt.Sprint(got) != fmt.Sprint(numbers(int(lost), alerts)) {
		t.Errorf("%d alerts left, %d evicted, of %d", len(got), lost, alerts)
	}
	if int64(len(got))*size < limit*9/10 {
		t.Errorf("only %d bytes of alerts in %d", int64(len(got))*size, limit)
	}
	if err := o.append(Alert, &record{payload: make([]byte, limit/2)}, false); !errors.Is(err, errTooLarge) {
		t.Error("a large one:", err)
	}
	o.crash()

	o = newOutbox(t, dir, limit/4) // the bound was lowered
	if o.bytes > limit/4 {
		t.Errorf("%d bytes after the bound was lowered", o.bytes)
	}
	if got := drain(o, Alert); len(got) == 0 || got[len(got)-1] != alerts-1 {
		t.Error("the newest went")
	}
	o.crash()
}

// Flows go first, then drops, alerts last; a drop never takes the place of an alert.
func TestOutboxEvictions(t *testing.T) {
	o := newOutbox(t, t.TempDir(), 1<<20)
	put := func(k Kind) error { return o.append(k, &record{payload: make([]byte, 10_000)}, false) }
	evicted := func(k Kind) uint64 { _, n, _ := o.counts(k); return n }
	for _, k := range []Kind{Alert, Drop, Flow} {
		for range 30 {
			if err := put(k); err != nil {
				t.Fatal(err)
			}
		}
	}
	for o.left(Drop) > 0 {
		if err := put(Alert); err != nil {
			t.Fatal(err)
		}
		if evicted(Drop) > 0 && o.left(Flow) > 0 || evicted(Alert) > 0 {
			t.Fatalf("evicted %d flows, %d drops, %d alerts", evicted(Flow), evicted(Drop), evicted(Alert))
		}
	}
	for range 20 { // and all is alerts
		if err := put(Alert); err != nil {
			t.Fatal(err)
		}
	}
	before := evicted(Alert)
	if before == 0 {
		t.Error("it is not full")
	}
	var err error
	for range 20 {
		err = errors.Join(err, put(Drop))
	}
	if err != nil || evicted(Alert) != before || o.left(Drop) == 0 || o.left(Drop) == 20 {
		t.Error(err, evicted(Alert), before, o.left(Drop))
	}
	if err := o.append(Drop, &record{payload: make([]byte, 250_000)}, false); !errors.Is(err, errFull) || evicted(Alert) != before {
		t.Error(err, evicted(Alert), before)
	}
	o.crash()
}

// An outbox of a version that knew no drops: its cursor has two numbers.
func TestOutboxOld(t *testing.T) {
	dir := t.TempDir()
	o := newOutbox(t, dir, 1<<20)
	fill(t, o, Alert, 0, 100)
	fill(t, o, Flow, 0, 50)
	o.crash()
	b := binary.LittleEndian.AppendUint64(nil, 60) // alerts that are acknowledged
	b = binary.LittleEndian.AppendUint64(b, 20)    // flows
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(filepath.Join(dir, "cursor"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from a cursor of this version
		o = newOutbox(t, dir, 1<<20)
		alerts, flows, drops := drain(o, Alert), drain(o, Flow), drain(o, Drop)
		if fmt.Sprint(alerts) != fmt.Sprint(numbers(60, 100)) || fmt.Sprint(flows) != fmt.Sprint(numbers(20, 50)) || len(drops) != 0 || o.stats().Damaged != 0 {
			t.Errorf("%v, %v, %v", alerts, flows, drops)
		}
		if err := o.close(); err != nil {
			t.Fatal(err)
		}
	}
	o = newOutbox(t, dir, 1<<20)
	fill(t, o, Drop, 0, 10)
	drain(o, Drop)
	o.acknowledge(Drop, 4)
	if err := o.close(); err != nil {
		t.Fatal(err)
	}
	o = newOutbox(t, dir, 1<<20)
	if got := drain(o, Drop); fmt.Sprint(got) != fmt.Sprint(numbers(4, 10)) {
		t.Error(got)
	}
	o.crash()
}

// Whatever is done in whatever order, each record is handed out once in order, or counted as evicted; after a crash from the
// first that was not acknowledged.
func TestOutboxOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "outbox")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		o, err := openOutbox(dir, 256<<10, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { o.crash() }()
		type twin struct{ written, acked uint64 }
		var twins [laneCount]twin
		var last [laneCount]uint64 // sequence handed out
		var missed, evictedBefore [laneCount]uint64
		var offset [laneCount]uint64 // of sequences from numbers, which begin anew where a crash comes and nothing is left
		step := func(k Kind) {
			for range rapid.IntRange(1, 30).Draw(t, "n") {
				r, ok := o.next(k)
				if !ok {
					break
				}
				if r.sequence <= last[k] {
					t.Fatalf("%v: %d after %d", k, r.sequence, last[k])
				}
				missed[k] += r.sequence - last[k] - 1
				last[k] = r.sequence
				if r.number+offset[k] != r.sequence {
					t.Fatalf("%v: number %d+%d of %d", k, r.number, offset[k], r.sequence)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				k := Kind(rapid.IntRange(0, laneCount-1).Draw(t, "kind"))
				size := rapid.IntRange(0, 20<<10).Draw(t, "size")
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					err := o.append(k, &record{sequence: twins[k].written + 1, payload: make([]byte, size)}, false)
					if errors.Is(err, errFull) && k != Alert {
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					twins[k].written++
				}
			},
			"next": func(t *rapid.T) { step(Kind(rapid.IntRange(0, laneCount-1).Draw(t, "kind"))) },
			"acknowledge": func(t *rapid.T) {
				k := Kind(rapid.IntRange(0, laneCount-1).Draw(t, "kind"))
				if last[k] > twins[k].acked {
					twins[k].acked = rapid.Uint64Range(twins[k].acked, last[k]).Draw(t, "acked")
					o.acknowledge(k, max(twins[k].acked, offset[k])-offset[k])
				}
			},
			"crash": func(t *rapid.T) {
				if err := o.saveCursor(); err != nil {
					t.Fatal(err)
				}
				for k := range twins {
					_, evicted, _ := o.counts(Kind(k))
					evictedBefore[k] += evicted
				}
				o.crash()
				if o, err = openOutbox(dir, 256<<10, slog.New(slog.DiscardHandler)); err != nil {
					t.Fatal(err)
				}
				for k := range twins {
					q := &o.queues[k]
					offset[k] = twins[k].written + 1 - q.next
					read := q.read + offset[k]
					if read < twins[k].acked {
						t.Fatalf("acknowledged %d, resumed after %d", twins[k].acked, read)
					}
					if read > last[k] {
						missed[k] += read - last[k]
					}
					last[k] = read
				}
			},
			"": func(t *rapid.T) {
				if o.bytes > o.limit {
					t.Fatalf("%d bytes", o.bytes)
				}
				var sum int64
				files, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
				for _, f := range files {
					info, err := os.Stat(f)
					if err != nil {
						t.Fatal(err)
					}
					sum += info.Size()
				}
				if sum != o.bytes {
					t.Fatalf("%d bytes on disk, %d counted", sum, o.bytes)
				}
			},
		})
		for k := range twins {
			for r, ok := o.next(Kind(k)); ok; r, ok = o.next(Kind(k)) {
				missed[k] += r.sequence - last[k] - 1
				last[k] = r.sequence
			}
			missed[k] += twins[k].written - last[k]
			_, evicted, damaged := o.counts(Kind(k))
			if evicted+evictedBefore[k] != missed[k] || damaged != 0 {
				t.Fatalf("%v: missed %d, evicted %d, damaged %d", Kind(k), missed[k], evicted+evictedBefore[k], damaged)
			}
		}
	})
}

func TestRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := record{
			number: rapid.Uint64().Draw(t, "number"), boot: rapid.Uint64().Draw(t, "boot"), sequence: rapid.Uint64().Draw(t, "sequence"),
			subject: rapid.String().Draw(t, "subject"), id: rapid.String().Draw(t, "id"), payload: rapid.SliceOf(rapid.Byte()).Draw(t, "payload"),
		}
		b := r.append(nil)
		got, n, err := parseRecord(append(b, 1, 2, 3))
		if err != nil || n != len(b) || n != r.size() || !bytes.Equal(got.append(nil), b) {
			t.Fatalf("%+v, %d, %v", got, n, err)
		}
		for cut := range b {
			if _, _, err := parseRecord(b[:cut]); !errors.Is(err, errShort) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		flip := rapid.IntRange(0, len(b)*8-1).Draw(t, "bit")
		b[flip/8] ^= 1 << (flip % 8)
		if _, _, err := parseRecord(b); err == nil {
			t.Fatalf("bit %d flipped", flip)
		}
	})
}

func FuzzOutbox(f *testing.F) {
	r := record{number: 1, subject: "s", id: "i", payload: []byte("p")}
	f.Add(r.append(nil))
	f.Add(append([]byte("junk"), r.append(r.append(nil)[:20])...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, n, err := parseRecord(b); err == nil && !bytes.Equal(r.append(nil), b[:n]) {
			t.Errorf("%q is not what it is read as", b[:n])
		}
		for at := 0; ; {
			_, begin, end, ok := nextRecord(b, at)
			if !ok {
				break
			}
			if begin < at || end <= begin || end > len(b) {
				t.Fatalf("record at %d to %d, from %d of %d", begin, end, at, len(b))
			}
			at = end
		}
		isTorn(b)
	})
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "_", "a.b", "*", ">", "web 1", "größe", "a_b", "\x00\xff", "_2E", "$SYS"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := Token(s)
		back, err := ParseToken(token)
		if err != nil || back != s {
			t.Errorf("%q is %q is %q, %v", s, token, back, err)
		}
		for _, c := range []byte(token) { // what NATS takes in names of buckets, the strictest of all
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", rune(c)) {
				t.Errorf("%q is %q", s, token)
			}
		}
		if token == "" {
			t.Error("empty")
		}
		if raw, err := ParseToken(s); err == nil && Token(raw) != s {
			t.Errorf("%q and %q are both %q", s, Token(raw), raw)
		}
	})
}
