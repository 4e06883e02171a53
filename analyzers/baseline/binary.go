package baseline

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

// The saved form: "weirbase", a version byte, a header, then series, spreads and the sets of the first-seen memory, each behind
// a 1 and each list closed by a 0, and a CRC-32C (Castagnoli) of all that, little-endian. Integers are varints
// (encoding/binary), times are relative to the header's, a float64 is the varint of its bytes in reverse (round numbers are
// short). Nothing in it depends on the machine or on the order of a map.
const (
	magic   = "weirbase"
	version = 1
	sumSize = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// FormatError says where a saved form is wrong.
type FormatError struct {
	Offset int // bytes from its start
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("baseline: offset %d: %s", e.Offset, e.Reason)
}

// Saving is a saved form that is being made, a few entries at a time, so that the judge is not held up. The Store may be used
// between the steps: each entry is as of its step.
type Saving struct {
	store *Store
	coder coder
	start int // in coder.b
	stage int
	at    int // in the stage's table
}

// Stages of a Saving.
const (
	savingQuiet = iota // folds the quiet seconds in: what ends an hour may take another series' profile
	savingSeries
	savingSpreads
	savingSeen
	saved
)

// Save begins a saved form, behind what dst has: a buffer of the last time spares memory.
func (s *Store) Save(dst []byte) *Saving {
	v := &Saving{store: s, start: len(dst)}
	dst = slices.Grow(dst, s.savedSize())
	v.coder = coder{b: append(append(dst, magic...), version), write: true, base: s.now}
	s.header(&v.coder)
	return v
}

// savedSize is about what a saved form takes, so that growing it copies nothing while the judge waits.
func (s *Store) savedSize() int {
	return 512 + 256*(s.table.len()+s.spreadAt.len()) + 12*weekHours*(len(s.profiles)-len(s.freeProf)) + 18*s.seen.n
}

// Step takes in up to n entries and tells whether that was all: 1 µs for a series, 5 with its hours of the week, 0.2 for a set
// of the first-seen memory.
func (v *Saving) Step(n int) bool {
	s, c := v.store, &v.coder
	for ; n > 0 && v.stage != saved; n-- {
		done := false
		switch v.stage {
		case savingQuiet:
			if done = v.at >= len(s.table.nodes); !done && s.table.nodes[v.at].state != nodeFree {
				s.at(int32(v.at)).settle(s.now)
			}
		case savingSeries:
			if done = v.at >= len(s.table.nodes); !done && s.table.nodes[v.at].state != nodeFree {
				s.writeSeries(c, int32(v.at))
			}
		case savingSpreads:
			if done = v.at >= len(s.spreadAt.nodes); !done && s.spreadAt.nodes[v.at].state != nodeFree {
				s.writeSpread(c, int32(v.at))
			}
		case savingSeen:
			if done = v.at >= len(s.seen.sets); !done {
				s.seen.sets[v.at].write(c)
			}
		}
		v.at++
		if done {
			if v.stage != savingQuiet {
				c.b = append(c.b, 0)
			}
			v.stage, v.at = v.stage+1, 0
			if v.stage == saved {
				c.b = binary.LittleEndian.AppendUint32(c.b, crc32.Checksum(c.b[v.start:], castagnoli))
			}
		}
	}
	return v.stage == saved
}

// Bytes is the saved form, once Step told that it is done.
func (v *Saving) Bytes() []byte { return v.coder.b }

// AppendBinary appends the saved form of all. The error is always nil (encoding.BinaryAppender).
func (s *Store) AppendBinary(dst []byte) ([]byte, error) {
	v := s.Save(dst)
	v.Step(math.MaxInt)
	return v.Bytes(), nil
}

// Load reads a saved form into a Store with other settings, if need be: keys that are too many go, a rolling mean of another
// window and a first-seen memory of another salt are left out. What was frozen is thawed. The time since it was saved does not
// count as quiet. Its memory is what cfg allows. Errors are of type *FormatError.
func Load(b []byte, cfg Config) (*Store, error) {
	fail := func(offset int, format string, args ...any) (*Store, error) {
		return nil, &FormatError{offset, fmt.Sprintf(format, args...)}
	}
	head := len(magic) + 1
	switch {
	case len(b) < head+sumSize || string(b[:len(magic)]) != magic:
		return fail(0, "not a saved baseline")
	case b[len(magic)] != version:
		return fail(len(magic), "version %d, this program reads %d", b[len(magic)], version)
	}
	body := b[:len(b)-sumSize]
	if sum, want := crc32.Checksum(body, castagnoli), binary.LittleEndian.Uint32(b[len(body):]); sum != want {
		return fail(len(body), "checksum (CRC-32C) is %08x, of the content %08x: the file is damaged or cut off", want, sum)
	}
	s := New(cfg)
	c := coder{b: body, at: head}
	if s.read(&c); c.err != nil {
		return nil, c.err
	}
	return s, nil
}

func (s *Store) read(c *coder) {
	span, keepSeen := s.header(c)
	for c.more() {
		s.readSeries(c, span == s.span)
	}
	for c.more() {
		s.readSpread(c, span == s.span)
	}
	for c.more() {
		s.readSeen(c, keepSeen)
	}
	if c.err == nil && c.at != len(c.b) {
		c.fail("bytes after the end")
	}
}

// header is what stands before the lists; it returns the span of a window's part, and whether the salt is the same.
func (s *Store) header(c *coder) (span int64, keepSeen bool) {
	span = s.span
	tag := s.saltTag()
	own := tag
	integer(c, &span, 1, 6*hourSeconds)
	integer(c, &tag, 0, math.MaxUint64)
	integer(c, &s.now, -1e10, 1e10)
	integer(c, &s.since, math.MinInt64, math.MaxInt64)
	c.base = s.now
	return span, tag == own
}

// saltTag tells salts apart without telling them.
func (s *Store) saltTag() uint64 { return fold(s.cfg.Salt^0xa0761d6478bd642f, 0xe7037ed1a0b428db) }

// coder writes fields, or reads them with a sticky error, so that each form is told once.
type coder struct {
	b     []byte
	at    int
	base  int64 // second
	write bool
	err   error
}

func (c *coder) fail(reason string) {
	if c.err == nil {
		c.err = &FormatError{c.at, reason}
	}
}

// more tells whether an entry follows.
func (c *coder) more() bool {
	var n uint8
	integer(c, &n, 0, 1)
	return c.err == nil && n == 1
}

// integer is a number between two bounds. Signed ones may be negative.
func integer[T int32 | int64 | uint8 | uint16 | uint32 | uint64](c *coder, v *T, low int64, high uint64) {
	signed := low < 0
	if c.write {
		if signed {
			c.b = binary.AppendVarint(c.b, int64(*v))
		} else {
			c.b = binary.AppendUvarint(c.b, uint64(*v))
		}
		return
	}
	if c.err != nil {
		return
	}
	var n int
	var ok bool
	if signed {
		var x int64
		x, n = binary.Varint(c.b[c.at:])
		ok = x >= low && (x < 0 || uint64(x) <= high)
		*v = T(x)
	} else {
		var x uint64
		x, n = binary.Uvarint(c.b[c.at:])
		ok = x >= uint64(low) && x <= high
		*v = T(x)
	}
	if n <= 0 || !ok {
		*v = 0
		c.fail("number out of range")
		return
	}
	c.at += n
}

// time is a second, as its distance from the header's time: within 300 years.
func (c *coder) time(v *int64) {
	d := c.base - *v
	integer(c, &d, -1e10, 1e10)
	*v = c.base - d
}

func (c *coder) flag(v *bool) {
	var n uint8
	if *v {
		n = 1
	}
	integer(c, &n, 0, 1)
	*v = n == 1
}

// float is a number that is neither negative nor infinite.
func (c *coder) float(v *float64) {
	x := reverse(math.Float64bits(*v))
	integer(c, &x, 0, math.MaxUint64)
	if f := math.Float64frombits(reverse(x)); f >= 0 && !math.IsInf(f, 0) {
		*v = f
	} else {
		c.fail("not a finite number")
		*v = 0
	}
}

func (c *coder) float32(v *float32) {
	f := float64(*v)
	c.float(&f)
	*v = float32(min(f, math.MaxFloat32))
}

func reverse(x uint64) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], x)
	return binary.BigEndian.Uint64(b[:])
}
