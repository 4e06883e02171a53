package bus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// outbox keeps messages on disk until the bus has them: a queue of alerts, one of flows and one of events of
// drops, which share one bound. A queue
// is a row of segment files; records are appended to the newest and numbered without gaps, and a segment goes when all of it
// was acknowledged. When an alert needs room, the oldest segment of flows goes, then the oldest of drops, then of
// alerts; a drop takes the place of flows and older drops, a flow that of older flows.
//
// Any goroutine may append; next and acknowledge are for one goroutine. No method waits for the disk longer than a write(2)
// takes, but sync, which holds no lock meanwhile.
type outbox struct {
	dir     string
	limit   int64 // bytes of all segments
	segment int64 // bytes of one, or more if it is a single record
	log     *slog.Logger

	mu       sync.Mutex
	queues   [laneCount]queue
	bytes    int64
	buffer   []byte     // of append
	unsynced []*os.File // full segments, but of flows, that wait for sync, which closes them
	created  bool       // a segment, but of flows, was created since sync
	closed   bool
	cursor   *os.File
	saved    cursor
	health   OutboxStats
}

// queue is one kind of messages.
type queue struct {
	name         string
	durable      bool       // sync is for it
	dirty        bool       // file has what is not known to be synced
	segments     []*segment // oldest first
	file         *os.File   // newest segment, if it takes records
	next         uint64     // number of the next record
	read         uint64     // all up to this number were handed out or evicted
	acknowledged uint64     // all up to this number are with the server
	evicted      uint64     // records that went before they were handed out
	damaged      uint64     // records that could not be read
	inherited    uint64     // records found at the start, with those that cannot be read
	reader       reader
}

// segment is a file. Its name tells its first record.
type segment struct {
	path        string
	first, last uint64 // last is first-1 while it is empty
	size        int64
	found       bool // at the start, so what it lost is counted already
	gone        bool
	file        *os.File // if it is gone and was open
}

// reader is where next stands.
type reader struct {
	segment *segment
	file    *os.File
	offset  int64  // of the end of rest
	rest    []byte // read, not handed out
}

var (
	evictions   = [laneCount]Kind{Flow, Drop, Alert} // who goes first when room is needed
	errFull     = errors.New("outbox is full")
	errTooLarge = errors.New("larger than a message may be")
)

// openOutbox opens or creates the outbox of a state folder and finds what an earlier process left. The end of a segment that
// a crash cut short is cut off; a damaged segment is kept under another name, too.
func openOutbox(dir string, limit int64, log *slog.Logger) (*outbox, error) {
	err := makeWay(dir, log)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	o := &outbox{dir: dir, limit: limit, segment: min(max(limit/64, 64<<10), 1<<20), log: log}
	for k := range o.queues {
		o.queues[k].name, o.queues[k].durable = Kind(k).String(), Kind(k) != Flow
	}
	if err := o.openCursor(); err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	for k := range o.queues {
		if err := o.recover(&o.queues[k]); err != nil {
			o.cursor.Close()
			return nil, fmt.Errorf("outbox: %w", err)
		}
	}
	for _, k := range evictions {
		for o.bytes > o.limit && len(o.queues[k].segments) > 0 { // it was larger
			o.evict(&o.queues[k])
		}
	}
	return o, nil
}

// recover finds the segments of a queue.
func (o *outbox) recover(q *queue) error {
	paths, err := filepath.Glob(filepath.Join(o.dir, q.name+"-*.seg"))
	if err != nil {
		return err
	}
	slices.Sort(paths)
	q.read, q.next = q.acknowledged, q.acknowledged+1
	for i, path := range paths {
		s := &segment{path: path, found: true}
		if _, err := fmt.Sscanf(filepath.Base(path), q.name+"-%016x.seg", &s.first); err != nil {
			continue // not ours
		}
		if i == 0 && s.first > q.next { // what was before was evicted
			q.read, q.next = s.first-1, s.first
		}
		if err := o.scan(q, s); err != nil {
			return err
		}
		if s.size == 0 || s.last <= q.acknowledged {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		q.segments = append(q.segments, s)
		o.bytes += s.size
	}
	q.inherited = q.next - 1 - q.read
	return nil
}

// scan walks a segment that was found, and cuts off its torn end.
func (o *outbox) scan(q *queue, s *segment) error {
	b, err := os.ReadFile(s.path)
	if err != nil {
		return err
	}
	s.last = s.first - 1
	readable, holes, lost := 0, 0, q.damaged
	for at := 0; at < len(b); {
		r, begin, end, ok := nextRecord(b, at)
		if !ok {
			break
		}
		if begin > at {
			holes++
		}
		if r.number >= q.next {
			q.damaged += r.number - q.next
			q.next = r.number + 1
		}
		readable, s.last, s.size, at = readable+1, max(s.last, r.number), int64(end), end
	}
	tail := b[s.size:]
	torn := len(tail) > 0 && isTorn(tail)
	if torn {
		o.health.Torn++
		o.log.Warn("outbox: the last record of a file was not written to its end and is left out", "file", s.path, "bytes", len(tail))
	} else if len(tail) > 0 {
		holes++
		q.damaged++ // at least
		q.next++
	}
	if holes == 0 {
		if torn {
			return os.Truncate(s.path, s.size)
		}
		return nil
	}
	s.size = int64(len(b))
	o.keep(s.path, "readable", readable, "lost", q.damaged-lost)
	return nil
}

// isTorn reports whether bytes at the end of a segment look like the begin of a record whose writing was cut short, in the
// process or by a power cut that left zeros.
func isTorn(b []byte) bool {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true
	}
	_, _, err := parseRecord(b)
	head := min(len(b), 4)
	return errors.Is(err, errShort) && bytes.Equal(b[:head], binary.LittleEndian.AppendUint32(nil, recordMagic)[:head])
}

// keep gives a damaged file a second name that stays, once.
func (o *outbox) keep(path string, about ...any) {
	o.health.Damaged++
	kept, err := "", error(nil)
	if before, _ := filepath.Glob(path + ".corrupt-*"); len(before) > 0 {
		kept = before[0]
	} else {
		kept = fmt.Sprintf("%s.corrupt-%d", path, time.Now().Unix())
		err = os.Link(path, kept)
	}
	about = append([]any{"file", path, "kept", kept, "err", err}, about...)
	o.log.Error("outbox: a file is damaged; what is readable of it is sent, and the file is kept", about...)
}

// append writes a record to the end of its queue; on return it is safe from a crash of the process, and with sync also from
// one of the machine. errFull: there is no room; anything else is the disk's.
func (o *outbox) append(k Kind, r *record, sync bool) error {
	size := int64(r.size())
	if size-recordHead > maxRecord || size > o.limit/4 {
		return errTooLarge
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrClosed
	}
	for o.bytes+size > o.limit {
		if !o.room(k) {
			return errFull
		}
	}
	err := o.write(k, r)
	for k != Flow && diskFull(err) && len(o.queues[Flow].segments) > 0 { // also on a full disk flows go first
		o.evict(&o.queues[Flow])
		err = o.write(k, r)
	}
	if err != nil || !sync {
		return err
	}
	q := &o.queues[k]
	err = q.file.Sync()
	if o.created {
		err = errors.Join(err, syncFolder(o.dir))
	}
	q.dirty, o.created = false, false
	return err
}

// room evicts what may make room for a record, one segment. It reports whether there was one.
func (o *outbox) room(k Kind) bool {
	for _, other := range evictions {
		if q := &o.queues[other]; len(q.segments) > 0 {
			o.evict(q)
			return true
		}
		if other == k {
			return false
		}
	}
	return false
}

func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// write puts a record at the end of the newest segment, and its number into it.
func (o *outbox) write(k Kind, r *record) error {
	q := &o.queues[k]
	size := int64(r.size())
	if err := o.rotate(q, size); err != nil {
		return err
	}
	s := q.segments[len(q.segments)-1]
	r.number = q.next
	o.buffer = r.append(o.buffer[:0])
	if _, err := q.file.WriteAt(o.buffer, s.size); err != nil {
		r.number = 0
		_ = q.file.Truncate(s.size) // if that fails too, it is a torn end to whoever starts next
		return err
	}
	if cap(o.buffer) > 1<<20 {
		o.buffer = nil
	}
	s.size += size
	s.last = r.number
	o.bytes += size
	q.next++
	q.dirty = true
	return nil
}

// rotate sees to it that the newest segment of a queue has room.
func (o *outbox) rotate(q *queue, size int64) error {
	if q.file != nil {
		if s := q.segments[len(q.segments)-1]; s.size == 0 || s.size+size <= o.segment {
			return nil
		}
		o.retire(q)
	}
	s := &segment{path: filepath.Join(o.dir, fmt.Sprintf("%s-%016x.seg", q.name, q.next)), first: q.next, last: q.next - 1}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	q.file, q.dirty = f, false
	q.segments = append(q.segments, s)
	o.created = o.created || q.durable
	return nil
}

// retire ends writing to the newest segment.
func (o *outbox) retire(q *queue) {
	if q.durable && q.dirty {
		o.unsynced = append(o.unsynced, q.file)
	} else {
		q.file.Close()
	}
	q.file = nil
}

// evict deletes the oldest segment of a queue; what was not handed out of it is lost.
func (o *outbox) evict(q *queue) {
	s := q.segments[0]
	if s.last > q.read {
		q.evicted += s.last - max(q.read, s.first-1)
		q.read = s.last
	}
	o.delete(o.detach(q))
}

// detach takes the oldest segment out of a queue. The caller deletes it, without the lock where it can: that takes a while.
func (o *outbox) detach(q *queue) *segment {
	s := q.segments[0]
	if q.file != nil && len(q.segments) == 1 {
		s.file, q.file = q.file, nil
	}
	q.segments = q.segments[1:]
	s.gone = true
	o.bytes -= s.size
	return s
}

func (o *outbox) delete(s *segment) {
	if s.file != nil {
		s.file.Close()
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		o.log.Error("outbox: cannot delete a file that is done with; its messages may be sent again", "err", err)
	}
}

// next hands out the oldest record that was not yet. It is the caller's.
func (o *outbox) next(k Kind) (record, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queues[k]
	in := &q.reader
	for {
		if in.segment != nil && in.segment.gone {
			in.close()
		}
		if len(in.rest) > 0 {
			r, begin, end, ok := nextRecord(in.rest, 0)
			if s := in.segment; (begin > 0 || !ok) && !s.found {
				o.keep(s.path)
			}
			if !ok {
				r.number = in.segment.last + 1
				end = len(in.rest)
			}
			in.rest = in.rest[end:]
			if r.number <= q.read {
				continue
			}
			if !in.segment.found {
				q.damaged += r.number - q.read - 1
			}
			if !ok {
				q.read = max(q.read, in.segment.last)
				continue
			}
			q.read = r.number
			r.payload = bytes.Clone(r.payload)
			return r, true
		}
		if !o.refill(q) {
			return record{}, false
		}
	}
}

// refill reads on in the queue's segments, without the lock.
func (o *outbox) refill(q *queue) bool {
	in := &q.reader
	if in.segment != nil && in.offset == in.segment.size && in.segment.last < q.next-1 {
		in.close()
	}
	if in.segment == nil {
		i := slices.IndexFunc(q.segments, func(s *segment) bool { return s.last > q.read })
		if i < 0 {
			q.read = q.next - 1 // what is missing cannot be read
			return false
		}
		in.segment = q.segments[i]
	}
	s, from, to := in.segment, in.offset, in.segment.size
	if from == to {
		return false
	}
	o.mu.Unlock()
	b, err := in.readAt(s.path, from, to)
	o.mu.Lock()
	in.offset = to
	in.rest = b
	if err != nil && !s.gone {
		o.log.Error("outbox: cannot read a file; its messages are lost", "file", s.path, "err", err)
		lost := s.last - min(max(q.read, s.first-1), s.last)
		q.damaged += lost
		q.read = max(q.read, s.last)
	}
	return true
}

func (r *reader) readAt(path string, from, to int64) ([]byte, error) {
	if r.file == nil {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		r.file = f
	}
	b := make([]byte, to-from)
	_, err := r.file.ReadAt(b, from)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (r *reader) close() {
	if r.file != nil {
		r.file.Close()
	}
	*r = reader{}
}

// acknowledge says that all records up to a number are with the server, or given up.
func (o *outbox) acknowledge(k Kind, number uint64) {
	o.mu.Lock()
	q := &o.queues[k]
	q.acknowledged = max(q.acknowledged, number)
	var done []*segment
	for len(q.segments) > 0 && q.segments[0].last <= q.acknowledged {
		if q.file != nil && len(q.segments) == 1 && q.segments[0].size < o.segment/4 {
			break // it takes more
		}
		done = append(done, o.detach(q))
	}
	o.mu.Unlock()
	for _, s := range done {
		o.delete(s)
	}
}

// waiting counts the records of a queue that were not handed out.
func (o *outbox) waiting(k Kind) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.queues[k].next - 1 - o.queues[k].read
}

// sync makes what was written so far, but flows, safe from a power cut.
func (o *outbox) sync() error {
	o.mu.Lock()
	full, created := o.unsynced, o.created
	o.unsynced, o.created = nil, false
	var current []*os.File
	for k := range o.queues {
		if q := &o.queues[k]; q.durable && q.dirty && q.file != nil {
			current = append(current, q.file)
		}
	}
	o.health.Syncs++
	o.mu.Unlock()
	var failed error
	for _, f := range full {
		failed = errors.Join(failed, f.Sync(), f.Close())
	}
	for _, f := range current {
		if err := f.Sync(); !errors.Is(err, os.ErrClosed) {
			failed = errors.Join(failed, err)
		}
	}
	if created {
		failed = errors.Join(failed, syncFolder(o.dir))
	}
	return failed
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// cursor is what was acknowledged, by kind. In its file are the numbers and their CRC-32C, little-endian; a file with the first
// two only is of a version that knew no drops. It is overwritten in place: so few bytes do not tear in a crash of the process,
// and if a power cut tears them, messages are sent again.
type cursor [laneCount]uint64

const cursorSize, oldCursorSize = 8*laneCount + 4, 8*2 + 4

func (o *outbox) openCursor() error {
	path := filepath.Join(o.dir, "cursor")
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil && len(b) > 0 && !o.readCursor(b) {
		aside := fmt.Sprintf("%s.corrupt-%d", path, time.Now().Unix())
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		o.health.Damaged++
		o.log.Error("outbox: the cursor is damaged and was set aside; all that the outbox holds is sent, some of it again", "kept", aside)
	}
	if o.cursor, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	return o.writeCursor(o.saved) // so that it has its place when the disk is full
}

func (o *outbox) readCursor(b []byte) bool {
	if len(b) != cursorSize && len(b) != oldCursorSize {
		return false
	}
	numbers := b[:len(b)-4]
	if binary.LittleEndian.Uint32(b[len(numbers):]) != crc32.Checksum(numbers, castagnoli) {
		return false
	}
	for k := range len(numbers) / 8 {
		o.queues[k].acknowledged = binary.LittleEndian.Uint64(b[8*k:])
		o.saved[k] = o.queues[k].acknowledged
	}
	return true
}

// saveCursor writes what was acknowledged, if that changed. If it cannot, a crash leads to messages being sent again.
func (o *outbox) saveCursor() error {
	o.mu.Lock()
	now := o.acknowledged()
	o.mu.Unlock()
	if now == o.saved {
		return nil
	}
	if err := o.writeCursor(now); err != nil {
		return err
	}
	o.mu.Lock()
	o.saved = now
	o.mu.Unlock()
	return nil
}

func (o *outbox) acknowledged() (now cursor) {
	for k := range o.queues {
		now[k] = o.queues[k].acknowledged
	}
	return now
}

func (o *outbox) writeCursor(now cursor) error {
	var b []byte
	for _, number := range now {
		b = binary.LittleEndian.AppendUint64(b, number)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err := o.cursor.WriteAt(b, 0)
	return err
}

// close ends all writing. Segments of which all is acknowledged go.
func (o *outbox) close() error {
	o.mu.Lock()
	o.closed = true
	for k := range o.queues {
		q := &o.queues[k]
		q.reader.close()
		if q.file != nil {
			o.retire(q)
		}
		for len(q.segments) > 0 && q.segments[0].last <= q.acknowledged {
			o.delete(o.detach(q))
		}
	}
	o.mu.Unlock()
	return errors.Join(o.sync(), o.saveCursor(), o.cursor.Close())
}

// left counts what is not acknowledged.
func (o *outbox) left(k Kind) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := uint64(0)
	for _, s := range o.queues[k].segments {
		if s.last > o.queues[k].acknowledged {
			n += s.last - max(s.first-1, o.queues[k].acknowledged)
		}
	}
	return int(n)
}

// stats returns the counters.
func (o *outbox) stats() OutboxStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.health
	s.Bytes, s.Limit = o.bytes, o.limit
	for k := range o.queues {
		s.Segments += len(o.queues[k].segments)
	}
	return s
}

// counts returns what became of the records of a queue.
func (o *outbox) counts(k Kind) (inherited, evicted, damaged uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := &o.queues[k]
	return q.inherited, q.evicted, q.damaged
}

// unsaved reports whether saveCursor has something to write.
func (o *outbox) unsaved() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.saved != o.acknowledged()
}
