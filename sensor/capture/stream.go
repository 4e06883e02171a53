package capture

import (
	"bufio"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"weir/decode"
)

// arenaSize is the bytes of frames that a block holds at most when its source does not map its input: enough for a block
// of full Ethernet frames, and for any one frame.
const arenaSize = BlockFrames*1536 + maxFrame

// reset empties a block, whatever it held.
func (b *Block) reset() {
	if cap(b.Frames) < BlockFrames {
		b.Frames = append(b.Frames[:0], make([]decode.Frame, BlockFrames)...)
	}
	b.Frames, b.arena = b.Frames[:0], b.arena[:0]
}

// keep copies the bytes of a frame into the block; false if they do not fit.
func (b *Block) keep(data []byte) ([]byte, bool) {
	if b.arena == nil {
		b.arena = make([]byte, 0, arenaSize)
	}
	at := len(b.arena)
	if cap(b.arena)-at < len(data) {
		return nil, false
	}
	b.arena = append(b.arena, data...)
	return b.arena[at:len(b.arena):len(b.arena)], true
}

// maxWindow is how far back a zstd stream may refer, in bytes of memory: the limit of the zstd tool (--long=27).
const maxWindow = 128 << 20

// openStream sets the file up for reading, through a decompressor if its first bytes say so.
func (f *File) openStream(file *os.File) error {
	raw := bufio.NewReaderSize(&counted{file, &f.done}, 64<<10)
	head, err := raw.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	f.in = raw
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b: // RFC 1952 section 2.3.1
		r, err := gzip.NewReader(raw)
		if err != nil {
			f.packed, f.readErr = true, err
			return f.end()
		}
		f.in, f.packed = r, true
		f.closers = append(f.closers, r.Close)
	case len(head) == 4 && order(false).uint32(head) == 0xfd2fb528: // RFC 8878 section 3.1.1
		r, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
		f.in, f.packed = r, true
		f.closers = append(f.closers, func() error { r.Close(); return nil })
	}
	return nil
}

// counted counts the bytes that are read from the file.
type counted struct {
	r    io.Reader
	done *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.done.Add(int64(n))
	return n, err
}
