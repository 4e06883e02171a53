package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/decode/conn"
)

// duckdb is DuckDB in Node.js, at a version that this test was written for.
const duckdb = "@duckdb/node-api@1.5.6-r.1"

// duck runs queries in DuckDB and returns the rows of each. Values are as its JSON form has them: integers of 64 bits are texts.
func duck(t *testing.T, queries ...string) [][][]any {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			leaveOut(t, tool+" is not installed")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	folder := t.TempDir()
	npm := exec.CommandContext(ctx, "npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", duckdb)
	npm.WaitDelay = time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		leaveOut(t, fmt.Sprintf("npm cannot install %s: %v\n%s", duckdb, err, out))
	}
	in, err := json.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(ctx, "node", "testdata/query.mjs", folder)
	var stderr bytes.Buffer
	node.Stdin, node.Stderr, node.WaitDelay = bytes.NewReader(in), &stderr, time.Second
	out, err := node.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var all [][][]any
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return all
}

// TestStoreInDuckDB asks another reader what is in the files: their columns and types, counts and sums over all, of one hour by its folder,
// and by a filter; and the alerts.
func TestStoreInDuckDB(t *testing.T) {
	if testing.Short() {
		t.Skip("it installs DuckDB")
	}
	folder := t.TempDir()
	s := openTest(t, testConfig(), folder)
	site := newTraffic(11, noon.Add(59*time.Minute), 1000)
	type sums struct{ n, bytes, packets, ms int64 }
	var all, hour, dns sums
	add := func(to *sums, r *conn.Record) {
		to.n++
		to.bytes += int64(r.O.Bytes + r.R.Bytes)
		to.packets += int64(r.O.Packets + r.R.Packets)
		to.ms += (r.Last - r.First + 500) / 1000
	}
	var r, last conn.Record
	for range groupRows + 20_000 {
		site.next(&r)
		s.put(&r)
		add(&all, &r)
		if r.Last >= noon.Add(time.Hour).UnixNano() {
			add(&hour, &r)
		}
		if r.Service() == "dns" && r.State == conn.StateSF {
			add(&dns, &r)
			last = r
		}
	}
	for i := range 300 {
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
	flows := fmt.Sprintf("read_parquet('%s/flows/*/*/*.parquet', hive_partitioning = true)", folder)
	alerts := fmt.Sprintf("read_parquet('%s/alerts/*/*.parquet', hive_partitioning = true)", folder)
	const add4 = "select count(*), sum(orig_bytes + resp_bytes)::bigint, sum(orig_pkts + resp_pkts)::bigint, sum(duration_us)::bigint from "
	got := duck(
		t,
		"describe select * from "+flows,
		add4+flows,
		add4+flows+" where date = '2026-11-21' and hour = '13'",
		add4+flows+" where service = 'dns' and conn_state = 'SF'",
		fmt.Sprintf("select epoch_us(ts), epoch_us(ended), orig_h, history, rtt_us, proven from %s where orig_h = '%s' and orig_p = %d and epoch_us(ts) = %d",
			flows, last.Orig.Netip(last.Ver), last.OrigPort, last.First/1000),
		"select count(*), min(epoch_us(time)), sum(json_extract(json, '$.count')::bigint - count)::bigint, any_value(subject), any_value(subject_port) from "+alerts,
	)
	types := map[string]string{}
	for _, row := range got[0] {
		types[row[0].(string)] = row[1].(string)
	}
	want := map[string]string{"ts": "TIMESTAMP WITH TIME ZONE", "orig_h": "VARCHAR", "orig_p": "INTEGER", "orig_bytes": "BIGINT", "proven": "BOOLEAN", "date": "DATE"}
	for name, typ := range want {
		if types[name] != typ {
			t.Errorf("column %s has type %s, want %s", name, types[name], typ)
		}
	}
	for _, row := range documentedColumns(t) {
		if types[row.name] != row.typ {
			t.Errorf("docs/flows.md says that column %s has type %s; it has %q", row.name, row.typ, types[row.name])
		}
		delete(types, row.name)
	}
	delete(types, "date")
	delete(types, "hour")
	if len(types) > 0 {
		t.Errorf("docs/flows.md does not have %v", types)
	}
	for i, w := range []sums{all, hour, dns} {
		is := sums{num(got[i+1][0][0]), num(got[i+1][0][1]), num(got[i+1][0][2]), num(got[i+1][0][3])}
		if is != w || w.n < 1000 {
			t.Errorf("query %d: %+v, want %+v", i+1, is, w)
		}
	}
	row := got[4][0]
	if len(got[4]) != 1 || num(row[0]) != last.First/1000 || num(row[1]) != last.Last/1000 || row[3] != last.History() || num(row[4]) != int64(last.RTT) || row[5] != last.Proven {
		t.Errorf("one connection: %v, want %s", got[4], last.AppendJSON(nil))
	}
	if row := got[5][0]; num(row[0]) != 300 || num(row[1]) != noon.UnixMicro() || num(row[2]) != 0 || row[3] != "10.0.0.1" || num(row[4]) != 80 {
		t.Errorf("alerts: %v", row)
	}
}

// num is an integer of DuckDB's JSON form.
func num(v any) int64 {
	if f, ok := v.(float64); ok {
		return int64(f)
	}
	s, _ := v.(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return -1 << 62
	}
	return n
}

type documentedColumn struct{ name, typ string }

// documentedColumns are the rows of the table of columns of the store in docs/flows.md.
func documentedColumns(t *testing.T) (all []documentedColumn) {
	t.Helper()
	for line := range strings.Lines(readFile(t, filepath.Join("..", "..", "docs", "flows.md"))) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || strings.ToUpper(cells[2]) != cells[2] || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			all = append(all, documentedColumn{strings.Trim(name, " `"), strings.TrimSpace(cells[2])})
		}
	}
	return all
}
