// Package truth is what is true of a capture: which attacks are in it, by whom, on whom and when. It is one JSON object a line, the
// site first. Compare holds alerts against it.
package truth

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"weir/sensor/alert"
)

// Schema is the version of the form.
const Schema = "weir.truth/1"

// Time is event time, as in alerts.
type Time = alert.Time

// File is a whole truth.
type File struct {
	Site    Site
	Attacks []Attack // in order of First
}

// Site is the first line.
type Site struct {
	Schema            string         `json:"schema"`
	Seed              uint64         `json:"seed"`
	First             Time           `json:"first"`
	Last              Time           `json:"last"` // nothing is at or after it
	Inside            []netip.Prefix `json:"inside"`
	TrustedProxies    []netip.Addr   `json:"trusted_proxies"`
	KnownDestinations []netip.Addr   `json:"known_destinations"`
	Packets           uint64         `json:"packets"`
	Attacks           int            `json:"attacks"` // lines that follow
}

// Attack is each further line.
type Attack struct {
	ID       string         `json:"id"`
	Analyzer string         `json:"analyzer"`
	Kind     string         `json:"kind"`
	Also     []string       `json:"also,omitempty"`    // other names that are right, as analyzer.kind
	Subject  *alert.Party   `json:"subject,omitempty"` // none: forged addresses, or too many
	Parties  []netip.Prefix `json:"parties,omitempty"` // others who take part, and need not be named
	Victim   *alert.Party   `json:"victim,omitempty"`
	First    Time           `json:"first"` // packets of the attack
	Last     Time           `json:"last"`
	Packets  uint64         `json:"packets"`
	Tool     string         `json:"tool"`
	Source   string         `json:"source"`  // the capture it was made of
	Stretch  float64        `json:"stretch"` // how many times longer it takes than there
}

// Write writes a truth.
func (f *File) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	err := e.Encode(&f.Site)
	for i := range f.Attacks {
		err = errors.Join(err, e.Encode(&f.Attacks[i]))
	}
	return errors.Join(err, out.Flush())
}

// maxLine is the longest line that is read, in bytes.
const maxLine = 1 << 20

// Read reads a truth. Errors begin with the line: "3: …".
func Read(r io.Reader) (*File, error) {
	f := new(File)
	n := 0
	err := lines(r, func(at int, line []byte) error {
		if n++; n == 1 {
			return f.first(line)
		}
		var a Attack
		if err := strict(line, &a); err != nil {
			return err
		}
		if a.Analyzer == "" || a.Kind == "" || a.Last < a.First {
			return errors.New("an attack needs analyzer, kind, first, and a last that is not before it")
		}
		f.Attacks = append(f.Attacks, a)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errors.New("1: empty; the first line tells of the site")
	case f.Site.Attacks != len(f.Attacks):
		return nil, fmt.Errorf("1: %d attacks are announced, %d lines follow: the file is cut", f.Site.Attacks, len(f.Attacks))
	}
	return f, nil
}

func (f *File) first(line []byte) error {
	if err := strict(line, &f.Site); err != nil {
		return err
	}
	if f.Site.Schema != Schema {
		return fmt.Errorf("schema %q, want %q", f.Site.Schema, Schema)
	}
	if f.Site.Last <= f.Site.First {
		return errors.New("the site needs a first, and a last after it")
	}
	return nil
}

// Alerts reads alerts one by one. Errors begin with the line.
func Alerts(r io.Reader, take func(*alert.Alert)) error {
	return lines(r, func(_ int, line []byte) error {
		list, err := alert.Read(bytes.NewReader(line))
		if err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), "line 1: "))
		}
		take(list[0])
		return nil
	})
}

// lines calls do with each line that is not empty.
func lines(r io.Reader, do func(at int, line []byte) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	n := 1
	for ; s.Scan(); n++ {
		if line := bytes.TrimSpace(s.Bytes()); len(line) > 0 {
			if err := do(n, line); err != nil {
				return fmt.Errorf("%d: %w", n, err)
			}
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%d: %w", n, err)
	}
	return nil
}

// strict reads exactly one object of known fields.
func strict(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more than one JSON object in a line")
	}
	return nil
}
