package store

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/decode/conn"
	"weir/sensor/alert"
)

// Cause is why something is not in the store.
type Cause uint8

// Causes.
const (
	LostQueue Cause = iota // it came faster than it was written
	LostRate               // rows_per_second
	LostDisk               // the disk was full, or failed
	CauseCount
)

var causeNames = [CauseCount]string{"queue", "rows_per_second", "disk"}

// String is the name of the cause in metrics.
func (c Cause) String() string { return causeNames[c] }

// Stats are counters since Open, and the state of the disk.
type Stats struct {
	Kinds   [KindCount]KindStats
	Free    uint64 // bytes of the disk that are free for us
	Paused  bool   // nothing is written: the disk is full, or fails
	Errors  uint64 // of the file system
	Strays  uint64 // unfinished files of a crash before, removed at the start
	Limit   uint64 // bytes of all files
	Backlog int    // rows that wait to be written
}

// KindStats are those of one kind.
type KindStats struct {
	Rows     uint64 // in finished files
	Written  uint64 // bytes of finished files
	Finished uint64 // files
	Lost     [CauseCount]uint64
	Removed  [ReasonCount]uint64 // files
	Files    uint64              // that there are
	Bytes    uint64
}

// Store writes what it is given into files of a folder, and removes the oldest. Flow and Alert never wait; one goroutine writes.
type Store struct {
	cfg    Config
	root   string
	log    *slog.Logger
	lock   *os.File
	allow  atomic.Int64 // connections that are still taken, by rows_per_second
	flows  queue[conn.Record]
	alerts queue[alertRow]
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex // of stats
	stats Stats

	w writing // the goroutine's own
}

// Bounds of what waits. A queue of connections is as long as what may come in a second, and there are two: one is filled while the other
// is written.
const (
	maxFlowQueue  = 1 << 15 // 376 bytes each
	maxAlertQueue = 1 << 12
	maxAlertBytes = 16 << 20 // of lines of JSON that wait
)

// Open makes the folder where there is none, removes what a crash left unfinished, and starts to write. Nobody else may write there.
func Open(cfg Config, folder string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	lock, err := lockFolder(folder)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, root: folder, log: log, lock: lock,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	s.flows.limit, s.flows.bytes = min(cfg.RowsPerSecond, maxFlowQueue), maxFlowQueue
	s.alerts.limit, s.alerts.bytes = maxAlertQueue, maxAlertBytes
	s.allow.Store(int64(cfg.RowsPerSecond))
	s.w.flows, s.w.alerts = files[flow]{s: s, kind: Flows}, files[alertRow]{s: s, kind: Alerts}
	s.stats.Limit = uint64(cfg.MaxMiB) << 20
	if err := s.tidy(); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), lock.Close())
	}
	s.retain(time.Now())
	go s.run()
	return s, nil
}

// lockFolder keeps others from writing into the folder, and removing what we write.
func lockFolder(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, ".lock"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("store: another process writes into %s: give each sensor its own store.folder", folder)
		}
		return nil, fmt.Errorf("store: lock of %s: %w", folder, err)
	}
	return f, nil
}

// Folder is where the store is.
func (s *Store) Folder() string { return s.root }

// Flow keeps a connection. It never waits: what does not fit is counted. One goroutine at a time.
func (s *Store) Flow(r *conn.Record) {
	if s.allow.Add(-1) < 0 {
		s.flows.lost[LostRate].Add(1)
		return
	}
	s.queued(s.flows.put(r, 1))
}

// Alert keeps a revision with its line of JSON, of which it takes copies. It never waits. One goroutine at a time.
func (s *Store) Alert(a *alert.Alert, line []byte) {
	var r alertRow
	r.fill(a, string(bytes.TrimSuffix(line, []byte("\n"))))
	s.queued(s.alerts.put(&r, r.size()))
}

// queued wakes the writer when a queue is half full; before, it looks by itself.
func (s *Store) queued(half bool) {
	if half {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Stats may be called from any goroutine.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	st := s.stats
	s.mu.Unlock()
	for c := range CauseCount {
		st.Kinds[Flows].Lost[c] += s.flows.lost[c].Load()
		st.Kinds[Alerts].Lost[c] += s.alerts.lost[c].Load()
	}
	st.Backlog = s.flows.len() + s.alerts.len()
	return st
}

// count changes the statistics.
func (s *Store) count(change func(*Stats)) {
	s.mu.Lock()
	change(&s.stats)
	s.mu.Unlock()
}

// Close writes what was given before, completes the files and ends. It can be called again.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.stop) })
	<-s.done
	return s.lock.Close()
}

// queue is two lists of the same limit: one is filled while the other is written. It grows with what is put into it, up to that.
type queue[T any] struct {
	mu    sync.Mutex
	in    []T
	size  int // of what is in
	limit int // entries
	bytes int // most of size
	lost  [CauseCount]atomic.Uint64
}

// put adds a copy, and tells whether the queue is half full.
func (q *queue[T]) put(v *T, size int) (half bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.in) >= q.limit || q.size+size > q.bytes {
		q.lost[LostQueue].Add(1)
		return true
	}
	q.in = append(q.in, *v)
	q.size += size
	return len(q.in) >= q.limit/2 || q.size >= q.bytes/2
}

// take returns what waits, and gives the list that was taken before back for use.
func (q *queue[T]) take(before []T) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.in
	q.in, q.size = before[:0], 0
	return all
}

func (q *queue[T]) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.in)
}
