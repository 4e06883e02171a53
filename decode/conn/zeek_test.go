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
		leaveOut(t, "WEIR_CORPUS is not set")
	}
	logs, err := filepath.Glob(filepath.Join(corpus(), "ground-truth/*/*/zeek/*/conn*.log*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no conn.log in the corpus (%v)", err)
	}
	total, same := 0, 0
	used := map[string]bool{}
	for _, log := range logs {
		run := filepath.Base(filepath.Dir(log))
		reason := zeekPart[run]
		if reason == "" {
			reason = zeekPart[filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(log))))+" "+run+"/"+filepath.Base(log)]
		}
		if reason != "" {
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
		n, equal := compare(t, run, capture, theirs, used)
		total, same = total+n, same+equal
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

// compare counts the rows of a log and those that records of the capture equal. A difference without a reason fails.
func compare(t *testing.T, run, capture string, theirs map[string][]row, used map[string]bool) (total, same int) {
	ours := map[string][]row{}
	for _, r := range recordsOf(t, capture, true) {
		o := rowOf(&r)
		ours[o.name] = append(ours[o.name], o)
	}
	for name, want := range theirs {
		got := ours[name]
		for _, w := range want {
			total++
			g := row{name: "missing"}
			if len(got) > 0 {
				g = pick(&got, w)
			}
			if w.volume == "- - - -" {
				g.volume = w.volume // that run had packets and IP bytes turned off
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
	return total, same
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
	"scripts.base.frameworks.netcontrol.packetfilter":                 "drops addresses while it runs",
	"core.pcap.dynamic-filter":                                        "changes its filter while it runs",
	"core.pcap.read-trace-with-filter":                                "reads with a filter",
	"core.print-bpf-filters":                                          "reads with a filter",
	"zeek__retransmit-fast009.pcap core.tcp.rxmit-history/conn-2.log": "is of the other capture of that run",
	"zeek__wikipedia.pcap core.tcp.rxmit-history/conn-1.log":          "is of the other capture of that run",
}

// zeekDiffers are the connections that differ, and why.
var zeekDiffers = map[string]string{
	"zeek__wikipedia.pcap tcp 173.192.163.128 80 141.142.220.235 6705": "those runs load no scripts: Zeek knows no " +
		"server ports there and takes the sender of a SYN-ACK for the originator",
	"zeek__gtp1_gn_normal_incl_fragmentation.pcap udp 239.114.155.111 2152 63.94.149.181 2152": "Zeek counts reassembled " +
		"datagrams, weir the fragments, also of datagrams that are not complete",
	"zeek__gtp1_gn_normal_incl_fragmentation.pcap tcp 10.131.47.185 1923 79.101.110.141 80": "inner segments in outer " +
		"fragments: Zeek reads them reassembled, weir what the first fragment holds",
	"zeek__vntag.pcap unknown_transport 1.1.1.1 0 1.1.2.1 0": "duration of less than 1 µs: Zeek keeps time in a double",
	"zeek__retransmit-fast009.pcap tcp 10.0.88.85 50368 192.168.0.27 80": "snaplen took all payload: Zeek takes it for " +
		"missed, weir reads headers and saw it",
}

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

// TestZeekStates compares with what single Zeek test runs printed, where there is no conn.log: endpoint states become
// conn_state, sizes and packets are as printed.
func TestZeekStates(t *testing.T) {
	if corpus() == "" {
		leaveOut(t, "WEIR_CORPUS is not set")
	}
	for _, c := range []struct{ capture, run, want string }{
		{"syn-then-ack-then-rst", "conn_state-RST-behavior/out, third line", "RSTOS0 SaR"},
		{"syn-then-stuff-then-rst", "conn_state-RST-behavior/out, fourth line", "OTH SaFR"},
		{"ssh-dups", "core.tcp.tcp-dups/out", "SF ShADTadtTtFf"},
		{"rst-inject-rae", "core.tcp.rst-after-syn/.stdout: orig SYN_SENT, resp RESET", "REJ 175 0 4 395 5 236"},
		{"fin_retransmission", "core.tcp.fin-retransmit/out: orig CLOSED, resp RESET", "RSTR 0 0 3 156 2 92"},
		{"handshake-reorder", "core.connection_flipped/out; the default ports flip it at once", "SF ^hSADadFf"},
	} {
		records := recordsOf(t, filepath.Join(corpus(), "tcp/zeek__"+c.capture+".pcap"), false)
		if len(records) != 1 {
			t.Errorf("%s: %d records", c.capture, len(records))
			continue
		}
		r := &records[0]
		history := fmt.Sprint(r.State, " ", r.History())
		volume := fmt.Sprint(r.State, " ", r.O.Bytes, " ", r.R.Bytes, " ", r.O.Packets, " ", r.O.IPBytes, " ", r.R.Packets, " ", r.R.IPBytes)
		if history != c.want && volume != c.want {
			t.Errorf("%s: %s or %s, Zeek has %s (%s)", c.capture, history, volume, c.want, c.run)
		}
	}
}
