package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Sizes of what is written. What a file holds in memory is the row group that it writes: its dictionaries, a page of each column, and the
// pages that are compressed already. Of connections that is some 10 MB; several times that where no two values are alike.
const (
	groupRows  = 1 << 16
	batchRows  = 512
	pageBytes  = 64 << 10
	groupBytes = 8 << 20 // of alerts, whose rows are of any length
)

// schemas stand in the metadata of files, under the key "weir.schema".
var schemas = [...]string{Flows: "weir.flow/1", Alerts: "weir.alert/1"}

// file is a Parquet file that is being written. It has its name only when it is whole: before, the name begins with ".tmp-".
type file[T any] struct {
	folder string // below the root
	path   string // of the temporary file
	name   string // that it will have
	begun  time.Time
	from   int64 // rows of times from here, in unix µs
	to     int64 // to before here
	f      *os.File
	w      *parquet.GenericWriter[T]
	batch  []T
	rows   int // in all, those of the batch too
	group  int // rows in the row group
	bytes  int // of texts of any length in the row group
}

// newWriter makes what encodes files of a kind; Reset makes it fit for the next one.
func newWriter[T any](k Kind) *parquet.GenericWriter[T] {
	return parquet.NewGenericWriter[T](nil,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedFastest, Concurrency: 1}), parquet.PageBufferSize(pageBytes),
		parquet.KeyValueMetadata("weir.schema", schemas[k]), parquet.CreatedBy("weir", "", ""))
}

// begin makes the file, and its folder where there is none. Errors are of the file system.
func (f *file[T]) begin(root, folder string, now time.Time) error {
	if err := makeFolders(root, folder); err != nil {
		return err
	}
	f.folder, f.begun = folder, now
	if err := f.claim(filepath.Join(root, folder), now); err != nil {
		return err
	}
	f.w.Reset(f.f)
	return nil
}

// claim opens the temporary file of the first name from a time on that no other file has: none is overwritten when it gets its name. The
// folder is locked, so the name stays free until then.
func (f *file[T]) claim(folder string, at time.Time) (err error) {
	for ; ; at = at.Add(time.Microsecond) {
		f.name = nameAt(at)
		f.path = filepath.Join(folder, tempPrefix+f.name)
		if _, err := os.Lstat(filepath.Join(folder, f.name+fileSuffix)); err == nil {
			continue
		}
		if f.f, err = os.OpenFile(f.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// row is where to put the next row; put takes it over when it is filled in, with the size of what it has of any length.
func (f *file[T]) row() *T {
	f.batch = f.batch[:len(f.batch)+1]
	return &f.batch[len(f.batch)-1]
}

func (f *file[T]) put(bytes int) error {
	f.rows++
	f.bytes += bytes
	if len(f.batch) < cap(f.batch) && f.bytes < groupBytes {
		return nil
	}
	return f.flush()
}

// holds tells whether rows of a time in unix µs belong into the file.
func (f *file[T]) holds(us int64) bool { return f.from <= us && us < f.to }

// flush hands the batch to the encoder, and ends the row group when it is full.
func (f *file[T]) flush() error {
	_, err := f.w.Write(f.batch)
	f.group += len(f.batch)
	clear(f.batch)
	f.batch = f.batch[:0]
	if err == nil && (f.group >= groupRows || f.bytes >= groupBytes) {
		f.group, f.bytes = 0, 0
		err = f.w.Flush()
	}
	return err
}

// finish completes the file under its name, durably, and tells its size.
func (f *file[T]) finish() (size int64, err error) {
	if err = f.flush(); err == nil {
		err = f.w.Close()
	}
	if err == nil {
		err = f.f.Sync()
	}
	if err != nil {
		f.abandon()
		return 0, err
	}
	info, err := f.f.Stat()
	err = errors.Join(err, f.f.Close())
	final := filepath.Join(filepath.Dir(f.path), f.name+fileSuffix)
	if err == nil {
		err = os.Rename(f.path, final)
	}
	if err != nil {
		_ = os.Remove(f.path)
		return 0, err
	}
	return info.Size(), syncFolder(filepath.Dir(f.path))
}

// abandon removes a file that cannot be completed.
func (f *file[T]) abandon() {
	clear(f.batch)
	f.batch = f.batch[:0]
	_ = f.f.Close() // nothing of it is needed
	_ = os.Remove(f.path)
}

// makeFolders makes a folder below the root, durably.
func makeFolders(root, folder string) error {
	at := filepath.Join(root, folder)
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	if err := os.MkdirAll(at, 0o750); err != nil {
		return err
	}
	for at != root {
		at = filepath.Dir(at)
		if err := syncFolder(at); err != nil {
			return err
		}
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync of %s: %w", path, err)
	}
	return nil
}
