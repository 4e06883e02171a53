package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"unicode"

	"weir/sensor/alert"
)

// TestTableHostile fills every string of an alert with what commands a terminal: nothing of it may come out.
func TestTableHostile(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\r\n\b\u009b2J\u202e\xff\x7f"
	a := &alert.Alert{
		ID: evil, State: alert.Closed, Severity: alert.High, Analyzer: evil, Kind: evil, Summary: "before " + evil + " after",
		Subject: &alert.Party{IP: netip.MustParseAddr("fe80::1%" + evil), Port: 1, Protocol: evil},
		Victim:  &alert.Party{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Port: 2, Protocol: evil},
	}
	var out bytes.Buffer
	w := &tableWriter{table: table{out: &out, width: tableWidth}}
	if err := w.write(a); err != nil {
		t.Fatal(err)
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	for _, r := range out.String() {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%q is in the output: %q", r, out.String())
		}
	}
	if !strings.Contains(out.String(), "before ") || !strings.Contains(out.String(), " after") || !strings.Contains(out.String(), `\x1b`) {
		t.Errorf("the text is gone instead of escaped: %q", out.String())
	}
}

// TestPrintable leaves what is harmless as it is, in any language.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"":                   "",
		"plain 192.0.2.7/24": "plain 192.0.2.7/24",
		`C:\path "quoted"`:   `C:\path "quoted"`,
		"héllo 世界":           "héllo 世界",
		"a\tb\nc":            `a\tb\nc`,
		"\x1b[31m":           `\x1b[31m`,
		"\xff":               "\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestScaled checks numbers and their prefixes at the edges.
func TestScaled(t *testing.T) {
	for in, want := range map[uint64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 999_499: "999 kB", 999_500: "1 MB", 1_234_567: "1.23 MB", 1 << 63: "9.22 EB"} {
		if got := scaled(in, "B"); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
}
