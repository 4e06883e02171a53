package context

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strings"

	"github.com/gaissmai/bart"
)

// Format is how a file of prefixes is written.
type Format uint8

// Formats. In all of them empty lines and what follows "#" or ";" are comments.
const (
	Plain       Format = iota // one prefix or address a line
	CSV                       // the first column of comma-separated lines, quoted or not; a first line without a prefix is the heading
	DROP                      // Spamhaus DROP: "192.0.2.0/24 ; SBL123", or JSON lines with a field "cidr" since 2024
	formatCount               // number of formats
)

var formatNames = [formatCount]string{"plain", "csv", "drop"}

// String is the format in the words of the configuration.
func (f Format) String() string { return formatNames[f] }

// MarshalText implements encoding.TextMarshaler.
func (f Format) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *Format) UnmarshalText(b []byte) error {
	for i, n := range formatNames {
		if n == string(b) {
			*f = Format(i)
			return nil
		}
	}
	return fmt.Errorf("%q is no format of a list, must be one of %q", b, formatNames)
}

// MaxListed is how many prefixes a list may have: about 100 MB at worst.
const MaxListed = 1_000_000

// maxLine is the longest line of a list, in bytes.
const maxLine = 64 << 10

// List is a named set of prefixes. It does not change; safe for concurrent use.
type List struct {
	name  string
	never bool
	table bart.Lite
}

// ReadList reads a list. Errors name the file and line; a list with an error is none at all, so that what was meant to be
// spared is not spared by half.
func ReadList(cfg ListConfig, r io.Reader) (*List, error) {
	l := &List{name: cfg.Name, never: cfg.Never}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	n := 1
	for ; lines.Scan(); n++ {
		p, ok, err := parseLine(lines.Text(), cfg.Format, n == 1)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", cfg.Source(), n, err)
		}
		if !ok {
			continue
		}
		if l.table.Insert(p); l.table.Size() > MaxListed {
			return nil, fmt.Errorf("%s:%d: more than %d prefixes", cfg.Source(), n, MaxListed)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s:%d: %w", cfg.Source(), n, err)
	}
	return l, nil
}

// parseLine is the prefix of a line; ok is false for lines without one.
func parseLine(line string, f Format, first bool) (p netip.Prefix, ok bool, err error) {
	line = strings.TrimPrefix(line, "\ufeff")
	if f == DROP && strings.HasPrefix(line, "{") {
		return parseDROP(line)
	}
	if i := strings.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	if line = strings.TrimSpace(line); line == "" {
		return p, false, nil
	}
	if f == CSV {
		line, _, _ = strings.Cut(line, ",")
		line = strings.Trim(strings.TrimSpace(line), `"`)
	}
	if line == "" {
		return p, false, errNoPrefix
	}
	p, err = ParsePrefix(line)
	if err != nil && f == CSV && first {
		return p, false, nil
	}
	return p, err == nil, err
}

// Name of the list.
func (l *List) Name() string { return l.name }

// All walks its distinct prefixes, in order.
func (l *List) All() iter.Seq[netip.Prefix] { return l.table.AllSorted() }

// Never reports whether what it holds is never dropped.
func (l *List) Never() bool { return l.never }

// Len is how many distinct prefixes it has.
func (l *List) Len() int { return l.table.Size() }

// Hits reports whether the list and p have an address in common.
func (l *List) Hits(p netip.Prefix) bool {
	p = Native(p)
	return p.IsValid() && l.table.OverlapsPrefix(p)
}

// Holds reports whether one prefix of the list holds all of p.
func (l *List) Holds(p netip.Prefix) bool {
	p = Native(p)
	return p.IsValid() && l.table.LookupPrefix(p)
}
