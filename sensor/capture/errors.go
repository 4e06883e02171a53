package capture

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// CutError says that a file ends in the middle of a record. The frames before it were delivered.
type CutError struct {
	File   string
	Offset int64 // bytes into the (decompressed) file: where the incomplete record starts
	End    int64 // bytes that are there
	Packed bool  // offsets count decompressed bytes
	Err    error // what the decompressor said, if it was it that met the end
}

func (e *CutError) Error() string {
	s := fmt.Sprintf("%s: cut in the middle of the record at byte %d: the file ends at byte %d", e.File, e.Offset, e.End)
	if e.Offset == e.End {
		s = fmt.Sprintf("%s: cut at byte %d", e.File, e.End)
	}
	if e.Packed {
		s += " of the decompressed data"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *CutError) Unwrap() error { return e.Err }

// FormatError says that a file is not a capture, or that its bytes at Offset cannot be one's. The frames before it were
// delivered.
type FormatError struct {
	File   string
	Offset int64 // bytes into the (decompressed) file
	Packed bool  // Offset counts decompressed bytes
	What   string
	Err    error // of the decompressor, if it was its
}

func (e *FormatError) Error() string {
	at := fmt.Sprintf("byte %d", e.Offset)
	if e.Packed {
		at += " of the decompressed data"
	}
	s := fmt.Sprintf("%s: %s: %s", e.File, at, e.What)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FormatError) Unwrap() error { return e.Err }

// known are openings of files that people hand to a capture reader by mistake.
var known = []struct{ magic, what string }{
	{"\x7fELF", "looks like an ELF program"},
	{"PK\x03\x04", "looks like a zip archive: unpack it first"},
	{"\xfd7zXZ\x00", "looks like xz: decompress it first"},
	{"BZh", "looks like bzip2: decompress it first"},
	{"\x04\x22\x4d\x18", "looks like lz4: decompress it first"},
	{"\x1f\x8b", "looks like gzip within the compressed data: decompress it first"},
	{"\x28\xb5\x2f\xfd", "looks like zstd within the compressed data: decompress it first"},
	{"snoop\x00\x00\x00", "looks like a snoop capture: convert it with editcap -F pcap"},
	{"GMBU", "looks like a Network Monitor capture: convert it with editcap -F pcap"},
	{"RTSS", "looks like a Network Monitor capture: convert it with editcap -F pcap"},
	{"%PDF", "looks like a PDF document"},
	{"\x89PNG", "looks like a PNG image"},
}

// guess describes the beginning of a file that is not a capture.
func guess(head []byte) string {
	for _, k := range known {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return "not a capture file: " + k.what
		}
	}
	switch {
	case len(head) == 0:
		return "not a capture file: it is empty"
	case len(head) < 4:
		return fmt.Sprintf("not a capture file: it has only %d bytes", len(head))
	case text(head):
		return "not a capture file: looks like text"
	}
	return fmt.Sprintf("not a capture file: starts with % x", head[:4])
}

// text reports whether all of head may be the beginning of a text file.
func text(head []byte) bool {
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && len(head) >= utf8.UTFMax || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		head = head[n:]
	}
	return true
}
