package conn

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// row is what both sides say about a connection.
type row struct{ name, volume, bytes, state, history string }

// TestZeek compares records with the conn.log that Zeek wrote of the same capture, row by row. Rows are matched by their
// ends; those of the same ends in the order of what they say, because the logs hide the time.
func TestZeek(t *testing.T) {
	if corpus() == "" {
		t.Skip("WEIR_CORPUS is not set")
	}
	logs, err := filepath.Glob(filepath.Join(corpus(), "ground-truth/*/*/zeek/*/conn*.log*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no conn.log in the corpus (%v)", err)
	}
	total, same := 0, 0
	used := map[string]bool{}
	for _, log := range logs {
		run := filepath.Base(filepath.Dir(log))
		if reason := zeekPart[run]; reason != "" {
			t.Logf("%s left out: %s", run, reason)
			continue
		}
		folder := filepath.Dir(filepath.Dir(filepath.Dir(log)))
		capture := filepath.Join(corpus(), filepath.Base(filepath.Dir(folder)), filepath.Base(folder))
		theirs := connLog(t, log)
		if len(theirs) == 0 {
			t.Logf("%s: no comparable columns", run)
			continue
		}
		ours := map[string][]row{}
		for _, r := range recordsOf(t, capture, true) {
			o := rowOf(&r)
			ours[o.name] = append(ours[o.name], o)
		}
		for name, want := range theirs {
			got := ours[name]
			for i, w := range want {
				total++
				g := row{name: "missing"}
				if i < len(got) {
					g = pick(&got, w)
				}
				if g == w {
					same++
					continue
				}
				key := filepath.Base(capture) + " " + name
				if zeekDiffers[key] == "" {
					t.Errorf("%s: %s\n ours %+v\n zeek %+v", run, key, g, w)
				}
				used[key] = true
			}
		}
	}
	for key := range zeekDiffers {
		if !used[key] {
			t.Errorf("%s agrees now: take it out of the table", key)
		}
	}
	t.Logf("%d of %d rows agree", same, total)
	if same*100 < total*95 {
		t.Errorf("%d of %d rows agree: less than 95 %%", same, total)
	}
}

// pick takes the equal row out of rows, or else the first.
func pick(rows *[]row, want row) row {
	at := 0
	for i, r := range *rows {
		if r == want {
			at = i
			break
		}
	}
	r := (*rows)[at]
	*rows = append((*rows)[:at:at], (*rows)[at+1:]...)
	return r
}

// zeekPart are runs that show Zeek something else than the capture.
var zeekPart = map[string]string{
	"scripts.base.frameworks.netcontrol.packetfilter": "drops addresses while it runs",
	"core.pcap.dynamic-filter":                        "changes its filter while it runs",
	"core.pcap.read-trace-with-filter":                "reads with a filter",
	"core.print-bpf-filters":                          "reads with a filter",
}

// zeekDiffers are the connections that differ, and why.
var zeekDiffers = map[string]string{}

func rowOf(r *Record) row {
	w := strings.Split(strings.TrimSuffix(string(r.AppendZeek(nil)), "\n"), "\t")
	return rowFrom(w, columns(strings.Split(strings.TrimPrefix(zeekFields(), "#fields\t"), "\t")))
}

func zeekFields() string {
	for _, line := range strings.Split(string(ZeekHeader()), "\n") {
		if strings.HasPrefix(line, "#fields") {
			return line
		}
	}
	return ""
}

func columns(names []string) map[string]int {
	m := map[string]int{}
	for i, n := range names {
		m[n] = i
	}
	return m
}

func rowFrom(f []string, col map[string]int) row {
	get := func(names ...string) string {
		var parts []string
		for _, n := range names {
			parts = append(parts, f[col[n]])
		}
		return strings.Join(parts, " ")
	}
	return row{
		name:    get("proto", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p"),
		volume:  get("orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"),
		bytes:   get("duration", "orig_bytes", "resp_bytes", "missed_bytes"),
		state:   get("conn_state"),
		history: get("history"),
	}
}

// connLog reads a log's rows by connection; none if columns are missing that are to be compared.
func connLog(t *testing.T, path string) map[string][]row {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]row{}
	var col map[string]int
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "#fields\t"); ok {
			col = columns(strings.Split(rest, "\t"))
		}
		if line == "" || line[0] == '#' || col == nil {
			continue
		}
		for _, need := range []string{"proto", "id.orig_h", "duration", "history", "resp_ip_bytes"} {
			if _, ok := col[need]; !ok {
				return nil
			}
		}
		f := strings.Split(line, "\t")
		if len(f) < len(col) {
			f = append(make([]string, len(col)-len(f)), f...)
		}
		r := rowFrom(f, col)
		rows[r.name] = append(rows[r.name], r)
	}
	for _, rs := range rows {
		sort.Slice(rs, func(i, j int) bool { return fmt.Sprint(rs[i]) < fmt.Sprint(rs[j]) })
	}
	return rows
}
