package context

import (
	"net/netip"
	"strings"
	"testing"
)

func TestReadList(t *testing.T) {
	for _, c := range []struct {
		name   string
		format Format
		text   string
		want   string // prefixes, or the error
	}{
		{"plain", Plain, "# office\n\n192.0.2.0/24\r\n 192.0.2.1 ; one\n2001:db8::/32 # v6\n", "192.0.2.0/24 192.0.2.1/32 2001:db8::/32"},
		{"byte order mark", Plain, "\ufeff192.0.2.0/24\n", "192.0.2.0/24"},
		{"mapped", Plain, "::ffff:192.0.2.7\n", "192.0.2.7/32"},
		{"empty", Plain, "", ""},
		{"csv", CSV, "prefix,owner\n192.0.2.0/24,a\n\"198.51.100.7\" ,b\n", "192.0.2.0/24 198.51.100.7/32"},
		{"csv without heading", CSV, "192.0.2.0/24\n", "192.0.2.0/24"},
		{"drop", DROP, "; Spamhaus DROP List 2023/01/01 - (c) 2023\n; Last-Modified\n1.10.16.0/20 ; SBL256894\n", "1.10.16.0/20"},
		{
			"drop json", DROP,
			`{"cidr":"1.10.16.0/20","sblid":"SBL256894","rir":"apnic"}` + "\n" + `{"type":"metadata","timestamp":1700000000,"size":1,"records":1}` + "\n",
			"1.10.16.0/20",
		},
		{"no prefix", Plain, "192.0.2.0/24\nhello\n", `f.txt:2: "hello" is no address and no prefix`},
		{"heading in the middle", CSV, "192.0.2.0/24,a\nprefix,owner\n", `f.txt:2: "prefix" is no address and no prefix`},
		{"empty column", CSV, "192.0.2.0/24,a\n,b\n", "f.txt:2: no prefix in this line"},
		{"host bits", Plain, "192.0.2.1/24\n", `f.txt:1: "192.0.2.1/24" has bits beyond its length: write 192.0.2.0/24`},
		{"bad json", DROP, `{"cidr":` + "\n", "f.txt:1: no JSON object"},
		{"json without prefix", DROP, `{"sblid":"x"}` + "\n", "f.txt:1: no prefix in this line"},
		{"long line", Plain, strings.Repeat("1", maxLine+1), "f.txt:1: bufio.Scanner: token too long"},
	} {
		l, err := ReadList(ListConfig{Name: c.name, File: "f.txt", Format: c.format}, strings.NewReader(c.text))
		if err != nil {
			if c.want == "" || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			continue
		}
		var got []string
		for p := range l.table.AllSorted() {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != c.want || l.Len() != len(got) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzReadList: a list that is accepted holds what it was made of.
func FuzzReadList(f *testing.F) {
	f.Add(uint8(0), "192.0.2.0/24\n")
	f.Add(uint8(1), "net,who\n192.0.2.0/24,x\n")
	f.Add(uint8(2), "{\"cidr\":\"1.10.16.0/20\"}\n1.2.3.0/24 ; SBL1\n")
	f.Fuzz(func(t *testing.T, format uint8, text string) {
		l, err := ReadList(ListConfig{Name: "x", File: "f", Format: Format(format % uint8(formatCount))}, strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("no file in %q", err)
			}
			return
		}
		for p := range l.table.All() {
			if !l.Hits(p) || !l.Holds(p) || p != Native(p) {
				t.Fatalf("%v was read and is not there", p)
			}
		}
		l.Hits(netip.Prefix{})
	})
}
