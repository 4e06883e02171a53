package store

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weir/decode"
	"weir/decode/conn"
	"weir/decode/filter"
	"weir/sensor/alert"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv("WEIR_STORE_WRITE"); folder != "" {
		writeForEver(folder)
	}
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// testConfig keeps everything, and leaves the disk what it has.
func testConfig() Config {
	c := Defaults()
	c.RowsPerSecond, c.FreeMiB = 1_000_000, 0
	return c
}

// openTest opens a store for a test, which closes it.
func openTest(t *testing.T, cfg Config, folder string) *Store {
	t.Helper()
	s, err := Open(cfg, folder, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put gives a record to the store without losing it to the queue.
func (s *Store) put(r *conn.Record) {
	for s.flows.len() >= s.flows.limit || s.allow.Load() <= 0 {
		time.Sleep(time.Millisecond)
	}
	s.Flow(r)
}

// bare takes from a record what the store does not keep.
func bare(r *conn.Record) *conn.Record {
	b := *r
	b.NFirst, b.FirstPayload, b.MomO, b.MomR = 0, [10]conn.Payload{}, conn.Moments{}, conn.Moments{}
	return &b
}

// oddRecord has a value in every field that the store keeps, of any size.
func oddRecord(rng *rand.Rand) *conn.Record {
	side := func() conn.Dir {
		return conn.Dir{
			Packets: rng.Uint64() >> 1 >> rng.IntN(63), IPBytes: rng.Uint64() >> 1 >> rng.IntN(63), Bytes: rng.Uint64() >> 1 >> rng.IntN(63),
			Gap: rng.Uint64() >> 2 >> rng.IntN(62), Retrans: rng.Uint32() >> rng.IntN(32), ZeroWindow: rng.Uint32() >> rng.IntN(32), Flags: uint16(rng.IntN(512)),
		}
	}
	r := &conn.Record{
		First: noon.UnixNano() + rng.Int64N(int64(time.Hour)), Ver: 4, Proto: []uint8{6, 17, 1, 132, 47}[rng.IntN(5)],
		OrigPort: uint16(rng.Uint32()), RespPort: []uint16{80, 53, 443, uint16(rng.Uint32())}[rng.IntN(4)],
		Orig: decode.Addr{Lo: 0xffff<<32 | uint64(rng.Uint32())}, Resp: decode.Addr{Lo: 0xffff<<32 | uint64(rng.Uint32())},
		State: conn.State(rng.IntN(13)), Close: conn.Close(rng.IntN(5)), Action: conn.Action(rng.IntN(3)),
		Outer: rng.IntN(2) == 0, Proven: rng.IntN(2) == 0, Midstream: rng.IntN(2) == 0, App: conn.App(rng.IntN(int(conn.AppCount))),
		Disc: rng.Uint32(), VLAN: [2]uint16{uint16(rng.IntN(4096)), uint16(rng.IntN(4096))}, Tunnels: decode.Tunnels(rng.IntN(1 << 11)),
		RTT: rng.Uint32(), O: side(), R: side(), NFirst: 3, MomO: conn.Moments{N: 5},
	}
	if rng.IntN(3) == 0 {
		r.Ver, r.Orig, r.Resp = 6, decode.Addr{Hi: rng.Uint64(), Lo: rng.Uint64()}, decode.Addr{Hi: rng.Uint64(), Lo: rng.Uint64()}
	}
	r.Last = r.First + rng.Int64N(int64(2*time.Hour))
	r.HistLen = uint8(rng.IntN(33))
	for i := range r.HistLen {
		r.Hist[i] = "ShADadFfRrTtGgWw^"[rng.IntN(17)]
	}
	return r
}

// written writes records and returns their lines of JSON, as the store keeps them, in the order in which they are to be read: by the
// hour of the end, and as they were given.
func written(t *testing.T, folder string, next func(i int) *conn.Record, n int) (lines []string) {
	t.Helper()
	s := openTest(t, testConfig(), folder)
	type one struct {
		hour int64
		line string
	}
	var all []one
	for i := range n {
		r := next(i)
		s.put(r)
		all = append(all, one{r.Last / int64(time.Hour), string(bare(r).AppendJSON(nil))})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	st := s.Stats().Kinds[Flows]
	if st.Rows != uint64(n) || st.Lost != [CauseCount]uint64{} {
		t.Fatalf("%d rows are written, %v lost; %d were given", st.Rows, st.Lost, n)
	}
	slices.SortStableFunc(all, func(a, b one) int { return int(a.hour - b.hour) })
	for _, o := range all {
		lines = append(lines, o.line)
	}
	return lines
}

func readAll(t *testing.T, folder string, q Query) (lines []string) {
	t.Helper()
	for r, err := range Read(t.Context(), folder, q) {
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(r.AppendJSON(nil)))
	}
	return lines
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d connections, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("connection %d is\n%s, want\n%s", i, got[i], want[i])
		}
	}
}

// TestStoreReadsWhatWasWritten compares, over the JSON form, records of any values, in files of one and of several row groups.
func TestStoreReadsWhatWasWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	odd := func(int) *conn.Record { return oddRecord(rng) }
	site := newTraffic(3, noon, 2000)
	var r conn.Record
	real := func(int) *conn.Record {
		site.next(&r)
		return &r
	}
	many := groupRows + 5000
	if testing.Short() {
		many = 5000
	}
	for name, c := range map[string]struct {
		next func(int) *conn.Record
		n    int
	}{"odd": {odd, 3000}, "site": {real, many}, "one": {odd, 1}} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			want := written(t, folder, c.next, c.n)
			same(t, readAll(t, folder, Query{}), want)
			noStrays(t, folder)
		})
	}
}

// TestStoreHoursAgain has connections of more hours than there are open files, by turns. All are written in the same moment, each into another
// file: none replaces one that is finished.
func TestStoreHoursAgain(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	folder := t.TempDir()
	want := written(t, folder, func(i int) *conn.Record {
		r := oddRecord(rng)
		r.First = noon.Add(time.Duration(i%(maxOpen+1)) * time.Hour).UnixNano()
		r.Last = r.First
		return r
	}, 3*(maxOpen+1))
	same(t, readAll(t, folder, Query{}), want)
	noStrays(t, folder)
}

// noStrays holds that there are no unfinished files, and none without rows.
func noStrays(t *testing.T, folder string) (files int) {
	t.Helper()
	_ = filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
			return nil
		}
		if name, _ := filepath.Rel(folder, path); e.Type().IsRegular() && name != ".lock" {
			files++
			if !fileName.MatchString(name) {
				t.Errorf("a stray file: %s", name)
			}
			if info, _ := e.Info(); info.Mode().Perm() != 0o640 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
		return nil
	})
	return files
}

// TestReadRange compares a time range and a filter with a walk over all that was written.
func TestReadRange(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	var all []*conn.Record
	folder := t.TempDir()
	written(t, folder, func(int) *conn.Record {
		all = append(all, oddRecord(rng))
		return all[len(all)-1]
	}, 4000)
	slices.SortStableFunc(all, func(a, b *conn.Record) int { return int(a.Last/int64(time.Hour) - b.Last/int64(time.Hour)) })
	for _, c := range []struct {
		since, until time.Time
		expr         string
		holds        func(r *conn.Record) bool
	}{
		{expr: "", holds: func(*conn.Record) bool { return true }},
		{since: noon.Add(time.Hour), holds: func(*conn.Record) bool { return true }},
		{until: noon.Add(90 * time.Minute), holds: func(*conn.Record) bool { return true }},
		{since: noon.Add(45 * time.Minute), until: noon.Add(130 * time.Minute), holds: func(*conn.Record) bool { return true }},
		{expr: "tcp", holds: func(r *conn.Record) bool { return r.Proto == 6 }},
		{since: noon.Add(30 * time.Minute), expr: "udp dst port 53", holds: func(r *conn.Record) bool { return r.Proto == 17 && r.RespPort == 53 }},
		{expr: "ip6 and not port 80", holds: func(r *conn.Record) bool {
			ports := r.Proto == 6 || r.Proto == 17 || r.Proto == 132
			return r.Ver == 6 && (!ports || r.OrigPort != 80 && r.RespPort != 80)
		}},
		{expr: "src net 128.0.0.0/1 or vlan 7", holds: func(r *conn.Record) bool {
			return r.Ver == 4 && r.Orig.Netip(4).As4()[0] >= 128 || r.VLAN[0] == 7 || r.VLAN[1] == 7
		}},
		{since: noon.Add(24 * time.Hour), holds: func(*conn.Record) bool { return false }},
	} {
		f, err := filter.ParseEnds(c.expr)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, r := range all {
			ended := time.UnixMicro(r.Last / 1000)
			if c.holds(r) && (c.since.IsZero() || !ended.Before(c.since)) && (c.until.IsZero() || ended.Before(c.until)) {
				want = append(want, string(bare(r).AppendJSON(nil)))
			}
		}
		if len(want) == 0 && c.since != noon.Add(24*time.Hour) {
			t.Errorf("%+v: nothing to find", c.expr)
		}
		same(t, readAll(t, folder, Query{Since: c.since, Until: c.until, Filter: f}), want)
	}
}

// TestReadPrunes holds that hours and row groups outside of the range are not looked at, and files that are being written neither.
func TestReadPrunes(t *testing.T) {
	folder := t.TempDir()
	at := noon
	written(t, folder, func(i int) *conn.Record { // an hour of a row group and a half, and a minute of the next one
		at = at.Add(time.Hour / (groupRows * 3 / 2))
		return &conn.Record{First: at.UnixNano(), Last: at.UnixNano(), Ver: 4, Proto: 6}
	}, groupRows*3/2+1000)
	for _, c := range []struct {
		since, until time.Time
		files        int
		rows         int64
	}{
		{time.Time{}, time.Time{}, 2, groupRows*3/2 + 1000},
		{noon.Add(time.Hour), noon.Add(2 * time.Hour), 1, 1000},
		{noon.Add(-time.Hour), noon.Add(time.Minute), 1, groupRows},
		{noon.Add(50 * time.Minute), noon.Add(time.Hour), 1, groupRows / 2},
		{noon.Add(5 * time.Hour), time.Time{}, 0, 0},
	} {
		var p Progress
		for _, err := range Read(t.Context(), folder, Query{Since: c.since, Until: c.until, Progress: func(now Progress) { p = now }}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if p.Files != c.files || p.Read != c.files || p.Rows < c.rows-2 || p.Rows > c.rows {
			t.Errorf("from %v to %v: %+v, want %d files and %d rows", c.since, c.until, p, c.files, c.rows)
		}
	}
}

// TestReadDamaged holds that a broken file is an error that names it, and that the others are read.
func TestReadDamaged(t *testing.T) {
	folder := t.TempDir()
	rng := rand.New(rand.NewPCG(2, 2))
	written(t, folder, func(i int) *conn.Record {
		r := oddRecord(rng)
		r.Last = r.First // two hours at most
		return r
	}, 500)
	whole := readAll(t, folder, Query{})
	names, err := flowFiles(folder, time.Time{}, time.Time{})
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, names[0]))
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(names[0], "hour=12", "hour=11", 1)
	if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, broken)), 0o750); err != nil {
		t.Fatal(err)
	}
	for cut := range 60 {
		damaged := slices.Clone(text[:len(text)-cut*len(text)/60])
		if cut == 0 { // the whole length with flipped bytes
			for range 200 {
				damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
			}
		}
		if err := os.WriteFile(filepath.Join(folder, broken), damaged, 0o640); err != nil {
			t.Fatal(err)
		}
		good, errs := 0, 0
		for _, err := range Read(t.Context(), folder, Query{}) {
			if err == nil {
				good++
			} else if errs++; !strings.Contains(err.Error(), broken) {
				t.Errorf("the error does not name the file: %v", err)
			}
		}
		if errs != 1 || good < len(whole) {
			t.Errorf("cut by %d of 60: %d errors, %d good rows of %d", cut, errs, good, len(whole))
		}
	}
}

// TestStoreAlerts reads the columns of alerts back.
func TestStoreAlerts(t *testing.T) {
	folder := t.TempDir()
	s := openTest(t, testConfig(), folder)
	for i := range 3000 {
		a := alertOf(i)
		line, err := a.AppendLine(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Alert(a, line)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats().Kinds[Alerts]; st.Rows != 3000 || st.Finished != 1 {
		t.Errorf("%+v", st)
	}
	noStrays(t, folder)
	if errs := count(Read(context.Background(), folder, Query{})); errs != 0 {
		t.Errorf("alerts are taken for connections: %d", errs)
	}
}

func count[T any](seq func(func(T, error) bool)) (n int) {
	seq(func(T, error) bool { n++; return true })
	return n
}

func alertOf(i int) *alert.Alert {
	at := alert.Time(noon.Add(time.Duration(i) * time.Millisecond).UnixNano())
	return &alert.Alert{
		Schema: alert.Schema, ID: fmt.Sprintf("%016x", i), Rev: 1 + i%3, Time: at, First: at, Last: at, Sensor: "here", Analyzer: "scan", Kind: "vertical",
		Severity: alert.Medium, Score: 60, Count: uint64(i), Subject: &alert.Party{IP: decode.Addr{Lo: 0xffff0a000001}.Netip(4), Port: 80, Protocol: "tcp"},
		Summary: "a \"quoted\" sentence with ünïcödé", Why: []alert.Measure{{Name: "ports", Value: float64(i)}},
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
