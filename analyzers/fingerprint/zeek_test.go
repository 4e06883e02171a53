package fingerprint

import (
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"weir/decode/hello"
)

// zeekRow is a row of a log by column; unset and empty values are "".
type zeekRow map[string]string

func readZeek(t *testing.T, path string) (rows []zeekRow) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var columns []string
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if f[0] == "#fields" {
			columns = f[1:]
		}
		if strings.HasPrefix(f[0], "#") || len(f) != len(columns) {
			continue
		}
		row := zeekRow{}
		for i, c := range columns {
			if f[i] != "-" && f[i] != "<empty>" && f[i] != "(empty)" {
				row[c] = f[i]
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// way is the direction from the originator of a row's connection.
func (r zeekRow) way(udp bool) way {
	end := func(host, port string) netip.AddrPort {
		addr, _ := netip.ParseAddr(r[host])
		n, _ := strconv.ParseUint(r[port], 10, 16)
		return netip.AddrPortFrom(addr, uint16(n))
	}
	return way{end("id.orig_h", "id.orig_p"), end("id.resp_h", "id.resp_p"), udp}
}

// Requests, responses and DNS messages read as Zeek reads them: the first of each connection.
func TestAgainstZeek(t *testing.T) {
	root := corpus(t)
	http, dns := 0, 0
	for _, name := range []string{"http.log", "dns.log"} {
		logs, err := filepath.Glob(filepath.Join(root, "ground-truth", "*", "*", "zeek", "*", name))
		if err != nil || len(logs) == 0 {
			t.Fatalf("no %s: %v", name, err)
		}
		for _, log := range logs {
			capture := filepath.Dir(filepath.Dir(filepath.Dir(log)))
			ways := openings(t, filepath.Join(root, filepath.Base(filepath.Dir(capture)), filepath.Base(capture)))
			for _, row := range readZeek(t, log) {
				switch name {
				case "http.log":
					http += row.http(t, ways)
				case "dns.log":
					dns += row.dns(t, ways)
				}
			}
		}
	}
	t.Logf("%d requests, %d questions equal", http, dns)
	if http < 24 || dns < 4 {
		t.Error("too few")
	}
}

func (r zeekRow) http(t *testing.T, ways map[way]*opening) int {
	w := r.way(false)
	if r["trans_depth"] != "1" || ways[w] == nil || r["version"] == "0.9" {
		return 0
	}
	var q hello.Request
	q.Parse(ways[w].bytes())
	for _, c := range []struct{ column, got string }{
		{"method", string(q.Method)},
		{"host", string(q.Host)},
		{"uri", string(q.Target)},
		{"user_agent", string(q.UserAgent)},
	} {
		want := r[c.column]
		if c.column == "host" && want != "" { // without the port
			c.got, _, _ = strings.Cut(c.got, ":")
		}
		if c.column == "uri" { // Zeek decodes it
			c.got, _ = url.PathUnescape(c.got)
		}
		if c.got != want && r["method"] != "" && (c.got != "" || !q.Cut) { // fragments are not put together here
			t.Errorf("%v: %s %q, Zeek has %q", w.src, c.column, c.got, want)
		}
	}
	var a hello.Response
	if back := ways[way{w.dst, w.src, false}]; back != nil && r["status_code"] != "" {
		a.Parse(back.bytes())
		if status := strconv.Itoa(a.Status); status != r["status_code"] && status != r["info_code"] {
			t.Errorf("%v: status %s, Zeek has %s", w.src, status, r["status_code"])
		}
	}
	return 1
}

func (r zeekRow) dns(t *testing.T, ways map[way]*opening) int {
	w := r.way(true)
	var messages [][]byte
	for _, dir := range []way{w, {w.dst, w.src, true}} {
		if o := ways[dir]; o != nil {
			messages = append(messages, o.datagrams...)
		}
	}
	found := func(response bool) bool {
		return slices.ContainsFunc(messages, func(b []byte) bool {
			var m hello.DNS
			return m.Parse(b) == hello.Done && strconv.Itoa(int(m.ID)) == r["trans_id"] && m.Name.String() == strings.ToLower(r["query"]) &&
				strconv.Itoa(int(m.Type)) == r["qtype"] && m.Response == response && (!response || strconv.Itoa(int(m.Rcode)) == r["rcode"])
		})
	}
	if len(messages) == 0 {
		return 0 // its fragments are not put together here
	}
	if !found(false) && !found(true) {
		t.Errorf("%v: %s %s %s not found", w.src, r["trans_id"], r["query"], r["qtype_name"])
	}
	return 1
}
