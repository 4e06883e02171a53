package capture

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
)

// Options of Open.
type Options struct {
	NoMap bool // read the file even where it could be mapped
}

// File is a capture file: classic pcap or pcapng, plain or compressed by gzip or zstd. It is a Source.
//
// On Linux a plain regular file is mapped. Its frames borrow the mapping, which Close removes: blocks must not be used
// after that. Pages behind the cursor are given back to the kernel; a block that still needs them faults them in again.
// If somebody truncates the file meanwhile, touching a frame faults: Next answers that with a *CutError; other goroutines
// that read frames set debug.SetPanicOnFault, recover, and ask Fault. All other input is read and copied into the blocks.
type File struct {
	name   string
	format format
	count  Counters
	packed bool

	window []byte // mapped: the whole file; else what is buffered of the input
	pos    int    // in window: the next record
	base   int64  // of window in the (decompressed) file

	mapped   bool
	released int // mapped: up to where pages were given back

	in      io.Reader // decompressed input; nil when mapped
	readErr error     // what ended in
	closers []func() error

	total int64
	done  atomic.Int64
	err   error // the source is at its end
}

// readSize is how many bytes of unmapped input are buffered.
const readSize = 256 << 10

// Open opens a capture file; "-" is standard input. A missing file gives the *fs.PathError of the system, another kind of
// file a *FormatError, one that ends within its file header a *CutError.
func Open(path string, o Options) (*File, error) {
	f := &File{name: path}
	if err := f.open(path, o); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) open(path string, o Options) error {
	file := os.Stdin
	if path == "-" {
		f.name = "standard input"
	} else {
		var err error
		if file, err = os.Open(path); err != nil {
			return err
		}
		f.closers = append(f.closers, file.Close)
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return &FormatError{File: f.name, What: "not a capture file: it is a folder"}
	}
	if info.Mode().IsRegular() {
		f.total = info.Size()
	}
	if path != "-" && !o.NoMap && info.Mode().IsRegular() && f.openMapped(file) {
		return nil
	}
	if err := f.openStream(file); err != nil {
		return err
	}
	return f.readHeader()
}

// openMapped maps a plain capture file and reports whether it could.
func (f *File) openMapped(file *os.File) bool {
	var head [28]byte
	n, _ := file.ReadAt(head[:], 0) // not through the mapping, which may fault
	format, header, _ := recognise(head[:n], &f.count)
	if format == nil {
		return false
	}
	window, err := mapFile(file, f.total)
	if err != nil {
		return false
	}
	_ = file.Close() // the mapping stays
	f.window, f.mapped, f.readErr = window, true, io.EOF
	f.format, f.pos = format, header
	f.closers = []func() error{func() error { return unmap(window) }}
	return true
}

// readHeader chooses the format of a stream.
func (f *File) readHeader() error {
	f.fill(28) // the longest file header
	if e := f.readErr; e != nil && !errors.Is(e, io.EOF) && len(f.window) < 4 {
		return f.end()
	}
	format, header, bad := recognise(f.window, &f.count)
	switch {
	case bad != "":
		return &FormatError{File: f.name, Packed: f.packed, What: bad}
	case format == nil:
		return f.end()
	}
	f.format, f.pos = format, header
	return nil
}

// Next implements Source. In steady state it allocates nothing.
func (f *File) Next(b *Block) (err error) {
	b.reset()
	if f.err != nil {
		return f.err
	}
	if f.mapped {
		defer f.survive(b, debug.SetPanicOnFault(true), &err)
	}
	return f.next(b)
}

func (f *File) next(b *Block) error {
	for {
		used, why := f.format.walk(f.window[f.pos:], b, f.mapped)
		f.pos += used
		if f.mapped {
			f.done.Store(int64(f.pos))
			f.release()
		}
		switch {
		case why.bad != "":
			f.err = io.EOF
			return &FormatError{File: f.name, Offset: f.base + int64(f.pos), Packed: f.packed, What: why.bad}
		case why.need == 0, len(b.Frames) > 0:
			return nil
		case why.skip && f.skip(why.need), !why.skip && f.fill(int(why.need)):
			continue
		}
		f.err = io.EOF
		return f.end()
	}
}

// end is the error for input that has no whole record any more.
func (f *File) end() error {
	at, end := f.base+int64(f.pos), f.base+int64(len(f.window))
	var path *fs.PathError
	switch err := f.readErr; {
	case errors.Is(err, io.EOF) && at == end:
		return io.EOF
	case errors.Is(err, io.EOF):
		return &CutError{File: f.name, Offset: at, End: end, Packed: f.packed}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &CutError{File: f.name, Offset: at, End: end, Packed: true, Err: err}
	case errors.As(err, &path):
		return err
	default:
		return &FormatError{File: f.name, Offset: end, Packed: true, What: "cannot be decompressed", Err: err}
	}
}

// fill reads until the window holds need bytes from the next record on; false if the input ends before that. It allocates
// only for bytes that are there.
func (f *File) fill(need int) bool {
	if len(f.window)-f.pos >= need {
		return true
	}
	if f.mapped {
		return false
	}
	f.base += int64(f.pos)
	f.window = f.window[:copy(f.window, f.window[f.pos:])]
	f.pos = 0
	for len(f.window) < need && f.readErr == nil {
		if len(f.window) == cap(f.window) {
			f.window = append(make([]byte, 0, max(readSize, 2*cap(f.window))), f.window...)
		}
		f.read()
	}
	return len(f.window) >= need
}

// read reads once into the free part of the window.
func (f *File) read() {
	n, err := f.in.Read(f.window[len(f.window):cap(f.window)])
	f.window = f.window[:len(f.window)+n]
	f.readErr = err
}

// skip drops the next n bytes of the input; false if it ends before that.
func (f *File) skip(n int64) bool {
	if f.mapped {
		return false
	}
	f.count.Skipped++
	start := f.base + int64(f.pos)
	for end := start + n; ; f.read() {
		if have := f.base + int64(len(f.window)); have >= end {
			f.pos = int(end - f.base)
			return true
		}
		f.base += int64(len(f.window))
		f.window, f.pos = f.window[:0], 0
		if f.readErr != nil {
			f.pos = int(start - f.base) // where the skipped record starts, for the error
			return false
		}
	}
}

// survive turns a fault on the mapping into an error: the file was truncated.
func (f *File) survive(b *Block, before bool, err *error) {
	debug.SetPanicOnFault(before)
	r := recover()
	if r == nil {
		return
	}
	cut := f.Fault(r)
	if cut == nil {
		panic(r)
	}
	b.reset()
	f.count.Shrunk++
	f.err, *err = io.EOF, cut
}

// Fault tells whether what a goroutine recovered is a fault on this file's mapping, because somebody truncated the file,
// and is then the error to report. It is safe to call from any goroutine until Close.
func (f *File) Fault(recovered any) error {
	fault, ok := recovered.(interface{ Addr() uintptr })
	if !f.mapped || !ok || !within(f.window, fault.Addr()) {
		return nil
	}
	done := f.done.Load()
	return &CutError{File: f.name, Offset: done, End: done, Err: errors.New("somebody truncated it while it was read")}
}

// Progress returns how many bytes of the file (compressed, where it is) are done and how many there are, 0 if that is not
// known. It is cheap and safe to call from any goroutine.
func (f *File) Progress() (done, total int64) { return f.done.Load(), f.total }

// Counters returns the oddities so far; call it from the goroutine that calls Next.
func (f *File) Counters() Counters { return f.count }

// Name is the path, or "standard input".
func (f *File) Name() string { return f.name }

// Close gives back the file and the mapping. Frames of a mapped file are gone.
func (f *File) Close() error {
	var errs []error
	for i := len(f.closers) - 1; i >= 0; i-- {
		errs = append(errs, f.closers[i]())
	}
	f.closers, f.window, f.pos, f.err = nil, nil, 0, fs.ErrClosed
	return errors.Join(errs...)
}
