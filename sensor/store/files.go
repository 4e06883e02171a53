package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/parquet-go/parquet-go"
)

// maxOpen files of a kind are written at a time. Tables keep what is idle for minutes: in the minutes after a full hour connections of two
// hours end, else of one.
const maxOpen = 3

// files are those of one kind that are being written, each of another hour or day.
type files[T any] struct {
	s     *Store
	kind  Kind
	open  []*file[T]
	spare []*parquet.GenericWriter[T] // encoders of files before
}

// at returns the file for rows of a time in unix µs; nil, and a row is counted as lost, while nothing can be written.
func (fs *files[T]) at(us int64, now time.Time) *file[T] {
	if fs.s.w.paused {
		fs.s.lose(fs.kind, 1)
		return nil
	}
	for _, f := range fs.open {
		if f.holds(us) {
			return f
		}
	}
	if len(fs.open) == maxOpen {
		fs.finish(slices.MinFunc(fs.open, func(a, b *file[T]) int { return cmp.Compare(a.from, b.from) }))
	}
	f := &file[T]{batch: make([]T, 0, batchRows)}
	f.from, f.to = spanOf(fs.kind, us)
	if n := len(fs.spare); n > 0 {
		f.w, fs.spare = fs.spare[n-1], fs.spare[:n-1]
	} else {
		f.w = newWriter[T](fs.kind)
	}
	if err := f.begin(fs.s.root, folderOf(fs.kind, us), now); err != nil {
		fs.spare = append(fs.spare, f.w)
		fs.s.failed(err)
		fs.s.lose(fs.kind, 1)
		return nil
	}
	fs.open = append(fs.open, f)
	return f
}

// put takes over the row that was filled in.
func (fs *files[T]) put(f *file[T], size int) {
	if err := f.put(size); err != nil {
		f.abandon()
		fs.closed(f)
		fs.s.failed(err)
		fs.s.lose(fs.kind, f.rows)
	}
}

// older completes the files that were begun at a time or before it.
func (fs *files[T]) older(than time.Time) {
	for _, f := range slices.Clone(fs.open) {
		if !f.begun.After(than) {
			fs.finish(f)
		}
	}
}

// finish completes a file.
func (fs *files[T]) finish(f *file[T]) {
	size, err := f.finish()
	fs.closed(f)
	if err != nil {
		fs.s.failed(err)
	}
	if size == 0 {
		fs.s.lose(fs.kind, f.rows)
		return
	}
	fs.s.count(func(st *Stats) {
		k := &st.Kinds[fs.kind]
		k.Rows += uint64(f.rows)
		k.Written += uint64(size)
		k.Bytes += uint64(size)
		k.Finished++
		k.Files++
	})
}

// closed takes a file that is no longer written out of the list; its encoder serves the next one.
func (fs *files[T]) closed(f *file[T]) {
	fs.open = slices.DeleteFunc(fs.open, func(o *file[T]) bool { return o == f })
	f.w.Reset(nil)
	fs.spare = append(fs.spare, f.w)
}
