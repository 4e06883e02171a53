package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// journal keeps a box on disk: one file, of which the first line is the whole box and each further line one call of its methods. Who
// makes the same calls has the same box. A line is the CRC-32C of its text in 8 hex digits, a space, and the text (JSON).
//
// A call is in the file when write(2) has returned, so that the end of the process, however it comes, loses none; sync brings it to the
// disk. The file is written anew, with the box alone, when it has grown by rewriteBytes. Not safe for concurrent use.
type journal struct {
	path  string
	file  *os.File
	size  int64 // since it was written anew
	dirty bool  // something is not synced
	line  bytes.Buffer
}

// rewriteBytes is what a file grows by before it is written anew.
const rewriteBytes = 1 << 20

// entry is a line: one of its fields is set.
type entry struct {
	Box     *box    `json:"box,omitempty"`
	Begin   *begun  `json:"begin,omitempty"`
	Event   *detail `json:"event,omitempty"` // take
	Advance bool    `json:"advance,omitempty"`
	Done    *ended  `json:"done,omitempty"`
	Missed  uint64  `json:"missed,omitempty"`
	At      int64   `json:"at"`
}

type begun struct {
	Group Group `json:"group"`
	Limit int   `json:"limit"`
	Anew  bool  `json:"anew,omitempty"`
}

type ended struct {
	ID        string `json:"id"`
	Delivered bool   `json:"delivered"`
}

// apply makes the call that an entry is about.
func (b *box) apply(e *entry) error {
	switch {
	case e.Begin != nil && e.Begin.Group.Details < 1:
		return errBox
	case e.Begin != nil:
		b.begin(e.Begin.Group, e.Begin.Limit, e.At, e.Begin.Anew)
	case e.Event != nil && e.Event.Event != nil:
		b.take(e.Event.Event, e.Event.First, e.At)
	case e.Advance:
		b.advance(e.At)
	case e.Done != nil:
		return b.done(e.Done.ID, e.Done.Delivered, e.At)
	case e.Missed > 0:
		b.miss(e.Missed)
	}
	return nil
}

var errBox = errors.New("it is no box of messages")

// check tells whether a box that was read can be worked with: a checksum tells what was written, not that it makes sense.
func (b *box) check() error {
	if b.Group.Details < 1 || slices.ContainsFunc(b.Details, func(d detail) bool { return d.Event == nil }) {
		return errBox
	}
	for _, q := range b.Outbox {
		if q.Message == nil || q.ID == "" || slices.Contains(q.Events, nil) {
			return errBox
		}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendEntry adds a line.
func appendEntry(w *bytes.Buffer, e *entry) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%08x %s\n", crc32.Checksum(text, castagnoli), text)
	return nil
}

// parseEntry reads a line without its end.
func parseEntry(line []byte) (*entry, error) {
	if len(line) < 10 || line[8] != ' ' || fmt.Sprintf("%08x", crc32.Checksum(line[9:], castagnoli)) != string(line[:8]) {
		return nil, errors.New("its checksum is wrong")
	}
	e := new(entry)
	if err := json.Unmarshal(line[9:], e); err != nil {
		return nil, err
	}
	return e, nil
}

// readBox reads a file up to its end, or to the first line that is damaged: nothing behind that can be relied on. nil: there is no box.
// torn tells that only the last line is, which a crash of the machine leaves.
func readBox(text []byte) (b *box, torn bool, err error) {
	for n := 1; len(text) > 0; n++ {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			return b, true, nil
		}
		e, err := parseEntry(line)
		switch {
		case err != nil && len(rest) == 0:
			return b, true, nil
		case err != nil:
		case e.Box != nil && n == 1:
			if err = e.Box.check(); err == nil {
				b = e.Box
			}
		case b == nil || e.Box != nil:
			err = errors.New("it does not begin with a box, or has two")
		default:
			err = b.apply(e)
		}
		if err != nil {
			return b, false, fmt.Errorf("line %d: %w", n, err)
		}
		text = rest
	}
	return b, false, nil
}

// openJournal reads the box of a file, if there is one. A damaged file is set aside (aside is its new name) and what was before the damage
// is used.
func openJournal(path string) (j *journal, b *box, aside string, err error) {
	j = &journal{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil, "", nil
	}
	if err != nil {
		return nil, nil, "", err
	}
	b, _, damaged := readBox(text)
	if damaged != nil {
		aside = fmt.Sprintf("%s.corrupt-%d", path, time.Now().Unix())
		if err := os.Rename(path, aside); err != nil {
			return nil, nil, "", err
		}
	}
	return j, b, aside, nil
}

// rewrite makes the file anew: it is the old one or the new one, whenever the machine stops.
func (j *journal) rewrite(b *box) error {
	j.line.Reset()
	if err := appendEntry(&j.line, &entry{Box: b, At: b.Now}); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(j.line.Bytes())
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(j.path))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	old := j.file
	j.file, j.size, j.dirty = f, 0, false
	if old != nil {
		return old.Close()
	}
	return nil
}

// errUnwritten asks for rewrite.
var errUnwritten = errors.New("its file could not be written before")

// append adds entries.
func (j *journal) append(entries ...*entry) error {
	if j.file == nil {
		return errUnwritten
	}
	j.line.Reset()
	for _, e := range entries {
		if err := appendEntry(&j.line, e); err != nil {
			return err
		}
	}
	n, err := j.file.Write(j.line.Bytes())
	j.size += int64(n)
	j.dirty = true
	if err != nil { // behind half a line nothing can be read: only rewriting helps
		err = errors.Join(err, j.file.Close())
		j.file = nil
	}
	return err
}

// sync brings what was appended to the disk.
func (j *journal) sync() error {
	if j.file == nil {
		return errUnwritten
	}
	if !j.dirty {
		return nil
	}
	j.dirty = false
	return j.file.Sync()
}

func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.sync(), j.file.Close())
	j.file = nil
	return err
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// asideBytes bounds the file of messages that were set aside.
const asideBytes = 1 << 20

// setAside keeps a message that its receiver refused: a line of JSON in a file beside the journal. When that is full, nothing is added.
func (j *journal) setAside(body []byte) (err error) {
	f, err := os.OpenFile(j.path+".refused", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if end+int64(len(body)) > asideBytes {
		return fmt.Errorf("%s.refused is full (%d KiB): look at it and remove it", j.path, asideBytes>>10)
	}
	_, err = f.Write(append(bytes.Clone(body), '\n'))
	return err
}
