package store

import (
	"time"

	"golang.org/x/sys/unix"

	"weir/decode/conn"
)

// Times of the writing goroutine.
const (
	lookEvery   = 100 * time.Millisecond // at the queues and at the disk
	retainEvery = time.Minute
	retryAfter  = 3 * time.Second // a write that failed for another reason than a full disk
)

// reserve is what completing all open files can take of the disk, at worst: row groups of 65,536 connections of which no two are alike take
// 10 MB each, and there is another one only around a full hour. Writing pauses so much before free_mib is reached.
const reserve = 32 << 20

// lookRows is after how many rows the disk is looked at again, if they come at once.
const lookRows = 1 << 13

// writing is what the goroutine works with.
type writing struct {
	texts   texts
	flows   files[flow]
	alerts  files[alertRow]
	records []conn.Record // taken from the queue
	rows    []alertRow
	last    time.Time // look at the queues
	retry   time.Time // after an error
	paused  bool
	lost    int // rows, since it is paused
}

// run writes until Close.
func (s *Store) run() {
	defer close(s.done)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	retain := time.NewTicker(retainEvery)
	defer retain.Stop()
	s.w.last = time.Now()
	for {
		select {
		case <-s.wake:
			s.drain(time.Now())
		case now := <-look.C:
			s.replenish(now)
			s.watchDisk(now)
			s.drain(now)
			s.finishOlder(now.Add(-s.cfg.Rotate))
		case now := <-retain.C:
			s.retain(now)
		case <-s.stop:
			s.drain(time.Now())
			s.finishAll()
			return
		}
	}
}

// replenish lets as many connections in as rows_per_second allows; those of a second can come at once.
func (s *Store) replenish(now time.Time) {
	limit := int64(s.cfg.RowsPerSecond)
	more := int64(min(now.Sub(s.w.last), time.Second)) * limit / int64(time.Second)
	s.w.last = now
	for {
		have := s.allow.Load()
		if s.allow.CompareAndSwap(have, min(max(have, 0)+more, limit)) {
			return
		}
	}
}

// drain writes what waits in the queues.
func (s *Store) drain(now time.Time) {
	w := &s.w
	w.records = s.flows.take(w.records)
	for i := range w.records {
		r := &w.records[i]
		if i%lookRows == lookRows-1 {
			s.watchDisk(now)
		}
		if f := w.flows.at(r.Last/1000, now); f != nil {
			f.row().fill(r, &w.texts)
			w.flows.put(f, 0)
		}
	}
	w.rows = s.alerts.take(w.rows)
	for i := range w.rows {
		r := &w.rows[i]
		if f := w.alerts.at(r.Time, now); f != nil {
			*f.row() = *r
			w.alerts.put(f, r.size())
		}
	}
	clear(w.rows)
}

// finishOlder completes the files that were begun at a time or before it.
func (s *Store) finishOlder(than time.Time) {
	s.w.flows.older(than)
	s.w.alerts.older(than)
}

// finishAll completes all open files.
func (s *Store) finishAll() { s.finishOlder(time.Now().Add(time.Hour)) }

// lose counts rows that the disk did not take.
func (s *Store) lose(k Kind, n int) {
	s.w.lost += n
	s.count(func(st *Stats) { st.Kinds[k].Lost[LostDisk] += uint64(n) })
}

// failed notes an error of the file system: nothing is written for a while.
func (s *Store) failed(err error) {
	s.w.retry = time.Now().Add(retryAfter)
	s.count(func(st *Stats) { st.Errors++ })
	s.pause("error", err)
}

// pause stops writing, and says so once.
func (s *Store) pause(args ...any) {
	if s.w.paused {
		return
	}
	s.w.paused, s.w.lost = true, 0
	s.count(func(st *Stats) { st.Paused = true })
	s.log.Error("nothing is written into the store; detection goes on", append([]any{"folder", s.root}, args...)...)
	s.finishAll() // there is room for that
}

// watchDisk pauses while the disk has too little room, and goes on when it has.
func (s *Store) watchDisk(now time.Time) {
	free, err := freeBytes(s.root)
	if err != nil {
		s.failed(err)
		return
	}
	s.count(func(st *Stats) { st.Free = free })
	floor := uint64(s.cfg.FreeMiB)<<20 + reserve
	switch w := &s.w; {
	case !w.paused && free < floor:
		s.pause("free", free, "free_mib", s.cfg.FreeMiB)
		s.retain(now)
	case w.paused && free >= floor+reserve && now.After(w.retry):
		w.paused = false
		s.count(func(st *Stats) { st.Paused = false })
		s.log.Warn("the store is written again", "folder", s.root, "lost", w.lost)
	}
}

// freeBytes is what an ordinary user may still write on the disk of a folder.
func freeBytes(folder string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, err
	}
	return st.Bavail * uint64(st.Bsize), nil
}
