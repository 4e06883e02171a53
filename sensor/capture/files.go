package capture

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	"weir/decode"
)

// Set is several capture files as one Source: one after the other, or merged by time. A cut file does not hide the others:
// its *CutError comes at the end of all, joined with those of other files. Any other error ends the set. Frame.Iface counts
// within each file.
type Set struct {
	paths  []string
	merge  bool
	files  []*File // opened so far; all stay open until Close, because blocks borrow from them
	at     int     // not merged: the file being read
	queues []*queue
	cut    []error
	err    error
	seen   atomic.Pointer[[]*File] // for Progress
	total  atomic.Int64
}

// Files returns the files in the given order, or merged by time (files that are in order of time themselves give one order
// of time; frames of the same time come in the order of the files). Nothing is opened before the first Next. Merging keeps
// all files open at once.
func Files(paths []string, merge bool) *Set {
	return &Set{paths: paths, merge: merge && len(paths) > 1}
}

// Next implements Source.
func (s *Set) Next(b *Block) error {
	b.reset()
	if s.err == nil && s.seen.Load() == nil {
		s.err = s.start()
	}
	if s.err != nil {
		return s.err
	}
	if s.merge {
		return s.nextMerged(b)
	}
	for s.at < len(s.paths) {
		if s.at == len(s.files) {
			if err := s.open(); err != nil {
				return s.stop(err)
			}
		}
		err := s.files[s.at].Next(b)
		if err == nil {
			return nil
		}
		if err = s.passed(err); err != nil {
			return s.stop(err)
		}
		if !s.files[s.at].mapped {
			_ = s.files[s.at].Close() // blocks do not borrow from it
		}
		s.at++
		if len(b.Frames) > 0 {
			return nil
		}
	}
	return s.finish()
}

// start looks at all files, so that a missing one is an error at once and Progress knows the total.
func (s *Set) start() error {
	total, known := int64(0), true
	for _, p := range s.paths {
		if p == "-" {
			known = false
			continue
		}
		info, err := os.Stat(p)
		if err != nil {
			return err
		}
		known = known && info.Mode().IsRegular()
		total += info.Size()
	}
	if known {
		s.total.Store(total)
	}
	s.seen.Store(&[]*File{})
	for s.merge && len(s.files) < len(s.paths) {
		if err := s.open(); err != nil {
			return err
		}
		s.queues = append(s.queues, &queue{file: s.files[len(s.files)-1]})
	}
	return nil
}

// open opens the next file.
func (s *Set) open() error {
	f, err := Open(s.paths[len(s.files)], Options{})
	if err != nil {
		return err
	}
	s.files = append(s.files, f)
	files := s.files
	s.seen.Store(&files)
	return nil
}

// passed takes the end of one file; what it returns ends the set.
func (s *Set) passed(err error) error {
	var cut *CutError
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.As(err, &cut):
		s.cut = append(s.cut, err)
		return nil
	}
	return err
}

func (s *Set) stop(err error) error {
	s.err = io.EOF
	return errors.Join(append(s.cut, err)...)
}

func (s *Set) finish() error {
	s.err = io.EOF
	if len(s.cut) > 0 {
		return errors.Join(s.cut...)
	}
	return io.EOF
}

// Progress is like that of File, over all files.
func (s *Set) Progress() (done, total int64) {
	if files := s.seen.Load(); files != nil {
		for _, f := range *files {
			n, _ := f.Progress()
			done += n
		}
	}
	return done, s.total.Load()
}

// Counters returns the oddities of all files so far; call it from the goroutine that calls Next.
func (s *Set) Counters() Counters {
	var c Counters
	for _, f := range s.files {
		c.add(&f.count)
	}
	return c
}

// Fault is like that of File, for all files.
func (s *Set) Fault(recovered any) error {
	if files := s.seen.Load(); files != nil {
		for _, f := range *files {
			if err := f.Fault(recovered); err != nil {
				return err
			}
		}
	}
	return nil
}

// Close closes all files. Frames of mapped files are gone.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	s.err = os.ErrClosed
	return errors.Join(errs...)
}

// queue is one file of a merge, and its frames that are not yet handed out.
type queue struct {
	file  *File
	block Block
	at    int   // next frame of block
	end   error // what file ended with
}

// peek returns the next frame of the file, nil at its end.
func (q *queue) peek() *decode.Frame {
	for q.at == len(q.block.Frames) {
		if q.end != nil {
			return nil
		}
		q.end, q.at = q.file.Next(&q.block), 0
	}
	return &q.block.Frames[q.at]
}

// nextMerged fills b with the earliest frames of all files. With few files a scan of all heads beats a heap.
func (s *Set) nextMerged(b *Block) error {
	for len(b.Frames) < BlockFrames {
		var from *queue
		var first *decode.Frame
		for i := 0; i < len(s.queues); i++ {
			q := s.queues[i]
			f := q.peek()
			if f == nil {
				s.queues = append(s.queues[:i], s.queues[i+1:]...)
				i--
				if err := s.passed(q.end); err != nil {
					return s.stop(err)
				}
				continue
			}
			if first == nil || f.Time < first.Time {
				from, first = q, f
			}
		}
		if first == nil {
			break
		}
		f := *first
		if !from.file.mapped {
			data, ok := b.keep(f.Data)
			if !ok {
				return nil
			}
			f.Data = data
		}
		b.Frames = append(b.Frames, f)
		from.at++
	}
	if len(b.Frames) == 0 {
		return s.finish()
	}
	return nil
}
