// Package capture hands out frames in blocks: from capture files here, live on Linux.
package capture

import "weir/decode"

// BlockFrames is how many frames a block holds at most.
const BlockFrames = 512

// Block is a batch of frames of one source: the unit of ownership. Hold it, walk it, release it by handing it to Next
// again. Bytes of its frames are valid until then.
type Block struct {
	Frames []decode.Frame // filled by Next; at most BlockFrames
	Until  int64          // ns, set by live sources: the traffic was seen up to here, as far as the source can know; 0: nothing known
	arena  []byte         // bytes of sources that do not map their input
}

// Source yields frames in input order. Next refills b, which may be any block that the caller no longer needs, and returns
// io.EOF with no frames at the end. After any other error the frames of the same call and all before them are valid, and
// the source is at its end. Not safe for concurrent use; several blocks may be held at once.
type Source interface {
	Next(b *Block) error
	Close() error
}
