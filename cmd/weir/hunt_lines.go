package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	huntLine   = 1 << 20   // bytes of the longest line that is read
	huntWindow = 128 << 20 // how far back a zstd stream may refer
)

// textFile hands each line of a file to take. Lines that it refuses are counted, and the first one is noted.
func (r *huntRows) textFile(ctx context.Context, path string, std *streams, bar *huntBar, take func([]byte) error) error {
	in, size, err := openText(path, std)
	if err != nil {
		return usageError{err}
	}
	defer in.Close()
	lines := bufio.NewReaderSize(in, huntLine)
	for n := 1; ; n++ {
		if n%4096 == 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if size > 0 {
				bar.tell("lines", min(float64(in.raw.n)/float64(size), 1))
			}
		}
		line, err := lines.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if trimmed := bytes.TrimRight(line, "\r\n"); long || len(bytes.TrimSpace(trimmed)) > 0 && trimmed[0] != '#' {
			r.lines++
			wrong := error(nil)
			if long {
				wrong = fmt.Errorf("a line of more than %d bytes", huntLine)
			} else {
				wrong = take(trimmed)
			}
			if wrong != nil {
				if r.bad++; r.bad == 1 {
					r.firstBad = fmt.Sprintf("%s:%d: %v", path, n, wrong)
				}
			}
		}
		if err != nil {
			return nil
		}
	}
}

// textInput is a file, decompressed.
type textInput struct {
	io.Reader
	raw   *countedReader
	close []func() error
}

// Close closes the file.
func (t *textInput) Close() (err error) {
	for _, f := range t.close {
		err = errors.Join(err, f())
	}
	return err
}

type countedReader struct {
	io.Reader
	n int64
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// openText opens a file, or standard input, and decompresses it by what it begins with. The size is 0 if nobody knows it.
func openText(path string, std *streams) (*textInput, int64, error) {
	in := &textInput{raw: &countedReader{Reader: std.in}}
	size := int64(0)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		in.raw.Reader = f
		in.close = append(in.close, f.Close)
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	buffered := bufio.NewReaderSize(in.raw, 1<<16)
	in.Reader = buffered
	magic, _ := buffered.Peek(4)
	switch {
	case strings.HasPrefix(string(magic), "\x1f\x8b"):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("%s: %w", path, err), in.Close())
		}
		in.Reader = z
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(huntWindow))
		if err != nil {
			return nil, 0, errors.Join(fmt.Errorf("%s: %w", path, err), in.Close())
		}
		in.Reader = z
		in.close = append(in.close, func() error { z.Close(); return nil })
	}
	return in, size, nil
}

// hasSuffix tells whether a name ends in any of these.
func hasSuffix(name string, ends ...string) bool {
	for _, end := range ends {
		if strings.HasSuffix(strings.ToLower(name), end) {
			return true
		}
	}
	return false
}
