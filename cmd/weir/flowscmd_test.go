package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"weir/sensor"
	"weir/sensor/store"
)

// weirRuns runs the program within the test.
func weirRuns(t *testing.T, want int, args ...string) (out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if got := run(t.Context(), args, &streams{strings.NewReader(""), &stdout, &stderr}); got != want {
		t.Fatalf("weir %s: exit code %d, want %d: %s", strings.Join(args, " "), got, want, stderr.String())
	}
	return stdout.String(), stderr.String()
}

// storedFlows keeps the connections of a capture in a state folder, as a sensor does, and returns them as 'weir replay --flows' has them.
func storedFlows(t *testing.T, state, capture string) (all []map[string]any) {
	t.Helper()
	settings := defaults()
	settings.Store.FreeMiB = 0
	cfg, err := settings.engine(settings.replayTables(), nil)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := store.Open(settings.Store, storeFolder(&settings.Store, state), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	engine, err := sensor.New(cfg, sensor.Sinks{Record: kept.Flow})
	if err != nil {
		t.Fatal(err)
	}
	src := newSource(t.Context(), []string{capture}, false)
	if _, err = engine.Replay(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	_ = engine.Close()
	_ = src.Close()
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	out, _ := weirRuns(t, 0, "replay", "--quiet", "--flows", "-", capture)
	for line := range strings.Lines(out) {
		r := decodeLine(t, line)
		delete(r, "payloads")
		delete(r, "orig_moments")
		delete(r, "resp_moments")
		all = append(all, r)
	}
	hour := func(r map[string]any) int {
		lasted, _ := r["duration"].(float64)
		return int((r["ts"].(float64) + lasted) / 3600)
	}
	slices.SortStableFunc(all, func(a, b map[string]any) int { return hour(a) - hour(b) })
	return all
}

func decodeLine(t *testing.T, line string) (r map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return r
}

// TestFlows compares what 'weir flows' reads of the store with what 'weir replay --flows' writes of the same captures.
func TestFlows(t *testing.T) {
	for _, name := range []string{"scan/mixed-with-browsing", "benign/poll-updates-mail-ntp", "scan/nmap-sS-vertical"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			found, err := filepath.Glob("../../pcaps/" + name + "/in.pcap*")
			if err != nil || len(found) != 1 {
				t.Fatal(found, err)
			}
			state := t.TempDir()
			want := storedFlows(t, state, found[0])
			out, told := weirRuns(t, 0, "flows", "--state", state)
			var got []map[string]any
			for line := range strings.Lines(out) {
				got = append(got, decodeLine(t, line))
			}
			if len(got) != len(want) || len(got) < 20 {
				t.Fatalf("%d connections, want %d", len(got), len(want))
			}
			for i := range got {
				if !reflect.DeepEqual(got[i], want[i]) {
					t.Fatalf("connection %d is\n%v, want\n%v", i, got[i], want[i])
				}
			}
			if !strings.Contains(told, "connections in") {
				t.Errorf("it tells %q", told)
			}
			filters(t, state, want)
			tops(t, state, want)
			forms(t, state, want)
		})
	}
}

// filters holds that expressions choose what they say.
func filters(t *testing.T, state string, all []map[string]any) {
	t.Helper()
	first := all[0]["id.orig_h"].(string)
	port := func(r map[string]any, end string) bool {
		return (r["proto"] == "tcp" || r["proto"] == "udp") && r["id."+end+"_p"] == 80.0
	}
	for expr, holds := range map[string]func(r map[string]any) bool{
		"tcp":               func(r map[string]any) bool { return r["proto"] == "tcp" },
		"not tcp":           func(r map[string]any) bool { return r["proto"] != "tcp" },
		"src host " + first: func(r map[string]any) bool { return r["id.orig_h"] == first },
		"dst port 80":       func(r map[string]any) bool { return port(r, "resp") },
		"port 80 or icmp":   func(r map[string]any) bool { return port(r, "orig") || port(r, "resp") || r["ip_proto"] == 1.0 },
		"ip and not host " + first + " or ip6": func(r map[string]any) bool {
			return r["id.orig_h"] != first && r["id.resp_h"] != first || r["ver"] == 6.0
		},
	} {
		want := 0
		for _, r := range all {
			if holds(r) {
				want++
			}
		}
		out, _ := weirRuns(t, 0, append([]string{"flows", "--quiet", "--state", state}, strings.Fields(expr)...)...)
		if got := strings.Count(out, "\n"); got != want {
			t.Errorf("%s: %d connections, want %d", expr, got, want)
		}
	}
	if out, _ := weirRuns(t, 0, "flows", "--quiet", "--state", state, "--limit", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("--limit 3: %s", out)
	}
	if out, _ := weirRuns(t, 0, "flows", "--quiet", "--state", state, "--until", "2001-01-01T00:00:00Z"); out != "" {
		t.Errorf("before there was anything: %s", out)
	}
}

// tops compares sums with those of a walk over all.
func tops(t *testing.T, state string, all []map[string]any) {
	t.Helper()
	type sums map[string]any
	want := map[string]*[3]float64{}
	for _, r := range all {
		key := r["id.resp_h"].(string) + " " + r["proto"].(string)
		if want[key] == nil {
			want[key] = new([3]float64)
		}
		want[key][0]++
		want[key][1] += r["orig_pkts"].(float64) + r["resp_pkts"].(float64)
		want[key][2] += r["orig_ip_bytes"].(float64) + r["resp_ip_bytes"].(float64)
	}
	out, _ := weirRuns(t, 0, "flows", "--state", state, "--top", "100000", "--by", "packets", "--group", "resp,proto")
	last, n := 0.0, 0
	for line := range strings.Lines(out) {
		r := sums(decodeLine(t, line))
		w := want[r["id.resp_h"].(string)+" "+r["proto"].(string)]
		if w == nil || r["connections"] != w[0] || r["packets"] != w[1] || r["bytes"] != w[2] {
			t.Errorf("%s, want %v", line, w)
		}
		if n++; n > 1 && r["packets"].(float64) > last {
			t.Errorf("out of order: %s", line)
		}
		last = r["packets"].(float64)
	}
	if n != len(want) {
		t.Errorf("%d groups, want %d", n, len(want))
	}
	if out, _ := weirRuns(t, 0, "flows", "--state", state, "--top", "1", "--group", "pair,port,service,state,hour", "--format", "csv"); strings.Count(out, "\n") != 2 ||
		!strings.HasPrefix(out, "id.orig_h,id.resp_h,proto,id.resp_p,service,conn_state,hour,connections,packets,bytes\n") {
		t.Errorf("--top 1 as CSV: %s", out)
	}
}

// forms compares CSV, the form of Zeek and the table with the JSON lines.
func forms(t *testing.T, state string, all []map[string]any) {
	t.Helper()
	out, _ := weirRuns(t, 0, "flows", "--state", state, "--format", "csv")
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != len(all)+1 {
		t.Fatalf("%d rows of CSV, want %d: %v", len(rows), len(all)+1, err)
	}
	zeek, _ := weirRuns(t, 0, "flows", "--state", state, "--format", "zeek")
	lines := strings.Split(strings.TrimSpace(zeek), "\n")
	lines = lines[len(lines)-len(all):]
	for i, r := range all {
		if rows[i+1][1] != r["uid"] || rows[i+1][2] != r["id.orig_h"] || strings.Split(lines[i], "\t")[1] != r["uid"] {
			t.Fatalf("row %d: %v and %s, want %v", i, rows[i+1], lines[i], r)
		}
	}
	shown, _ := weirRuns(t, 0, "flows", "--state", state, "--format", "table")
	if strings.Count(shown, "\n") != len(all)+1 || !strings.HasPrefix(shown, "BEGAN (UTC)") || !strings.Contains(shown, all[0]["id.orig_h"].(string)) {
		t.Errorf("the table:\n%.400s", shown)
	}
}

// TestFlowsWrongUse holds that a mistake is told in a line that names it, and what is missing or broken is no mistake of the user.
func TestFlowsWrongUse(t *testing.T) {
	state := t.TempDir()
	for words, want := range map[string]string{
		"arp":                            `filter: column 1: "arp" is of packets`,
		"host nowhere":                   `"nowhere" is no address`,
		"--last 1x":                      "--last: \"1x\" is neither a duration",
		"--since 1h --last 2h":           "--since and --last exclude each other",
		"--since 1h --until 2h":          "--until is not after --since",
		"--top 3 --group orig,orig":      "--group: orig is in it twice",
		"--top 3 --group pair,resp":      "--group: resp is in it twice",
		"--top 3 --group nobody":         "--group",
		"--top 3 --format zeek":          "--top has no form of Zeek's",
		"--format xml":                   "--format must be one of",
		"--limit -1":                     "--limit",
		"--since 2999-01-01T00:00:00Z":   "is in the future",
		"--until 2999-13-01T00:00:00Z x": "--until",
	} {
		if _, told := weirRuns(t, 2, append([]string{"flows", "--state", state}, strings.Fields(words)...)...); !strings.Contains(told, want) {
			t.Errorf("%s: %q, want %q", words, told, want)
		}
	}
	if _, told := weirRuns(t, 1, "flows", "--state", state); !strings.Contains(told, "there is no store in") {
		t.Errorf("without a store: %q", told)
	}
	broken := filepath.Join(state, "store/flows/date=2026-11-21/hour=21")
	if err := os.MkdirAll(broken, 0o750); err != nil {
		t.Fatal(err)
	}
	if out, told := weirRuns(t, 0, "flows", "--state", state); out != "" || !strings.Contains(told, "0 of 0 connections") {
		t.Errorf("an empty store: %q %q", out, told)
	}
	name := "weir-20261121T210000.000000Z.parquet"
	if err := os.WriteFile(filepath.Join(broken, name), []byte("PAR1 no PAR1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, told := weirRuns(t, 1, "flows", "--state", state); !strings.Contains(told, name) {
		t.Errorf("a broken file: %q", told)
	}
}

// TestFlowsForgets holds that more groups than there is memory for are forgotten, the least first, and that this is said.
func TestFlowsForgets(t *testing.T) {
	if testing.Short() {
		t.Skip("a million groups")
	}
	w, err := newTopView(3, "bytes", []string{"orig"}, "jsonl", table{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxGroups {
		w.sums[topKey{port: uint16(i), hour: int64(i >> 16)}] = topSum{bytes: uint64(i)}
	}
	w.forget()
	if len(w.sums) != maxGroups/2 || w.lost != maxGroups/2 || !strings.Contains(w.note(), "forgotten") {
		t.Errorf("%d groups, %d forgotten: %s", len(w.sums), w.lost, w.note())
	}
	if least := slices.MinFunc(slices.Collect(maps.Values(w.sums)), func(a, b topSum) int { return int(a.bytes) - int(b.bytes) }); least.bytes != maxGroups/2 {
		t.Errorf("the least that is left has %d", least.bytes)
	}
}
