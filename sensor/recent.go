package sensor

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync/atomic"

	"weir/decode"
	"weir/decode/slab"
)

// Recent says how many of the last frames a live engine keeps, for evidence.
type Recent struct {
	Bytes   int // of all workers together; 0: none
	Snaplen int // bytes of a frame
}

// chunkBytes is the memory of one chunk of a worker's recent frames. A full one is closed, and may be read from then on.
const chunkBytes = 256 << 10

// Frames above so many bytes are bulk, of which so many are kept.
const (
	bulkFrame = 1024
	bulkSnap  = 192
)

// recent keeps the last frames of one worker in a ring of chunks. The worker writes, one other goroutine reads: a chunk that is
// being read is passed over by the worker, one that is being written by the reader. Neither waits.
type recent struct {
	chunks  []chunk
	at      int // that is being written, if open; else the last one that was
	open    bool
	used    int    // bytes of it
	serial  uint64 // of the chunk that was closed last
	snaplen int
	closing atomic.Bool   // the reader asks for what is in the open chunk
	lost    atomic.Uint64 // frames that found no chunk
}

type chunk struct {
	mem    []byte
	used   int           // valid while it is closed
	serial atomic.Uint64 // of its closing; 0: it never was
	state  atomic.Int32
}

// States of a chunk.
const (
	chunkClosed int32 = iota
	chunkWritten
	chunkRead
)

// Layout of a frame in a chunk: these, then its bytes, filled up to a multiple of 8.
const (
	recentTime   = 0
	recentWire   = 8
	recentLength = 12
	recentLink   = 16
	recentIface  = 18
	recentTags   = 20 // two of TPID and TCI
	recentHeader = 32
)

// newRecent makes one of the memory given.
func newRecent(mem []byte, snaplen int) *recent {
	r := &recent{snaplen: snaplen, chunks: make([]chunk, len(mem)/chunkBytes)}
	for i := range r.chunks {
		r.chunks[i].mem = mem[i*chunkBytes : (i+1)*chunkBytes]
	}
	return r
}

// add keeps a frame. A copy of its first snaplen bytes; no allocation.
func (r *recent) add(f *decode.Frame) {
	n := r.keeps(len(f.Data))
	need := recentHeader + (n+7)&^7
	if (!r.open || r.used+need > chunkBytes) && !r.next() {
		r.lost.Add(1)
		return
	}
	b := r.chunks[r.at].mem[r.used : r.used+need]
	r.used += need
	binary.LittleEndian.PutUint64(b[recentTime:], uint64(f.Time))
	binary.LittleEndian.PutUint32(b[recentWire:], f.WireLen)
	binary.LittleEndian.PutUint32(b[recentLength:], uint32(n))
	binary.LittleEndian.PutUint16(b[recentLink:], uint16(f.Link))
	binary.LittleEndian.PutUint16(b[recentIface:], f.Iface)
	for i, t := range f.Tags {
		binary.LittleEndian.PutUint16(b[recentTags+4*i:], t.TPID)
		binary.LittleEndian.PutUint16(b[recentTags+4*i+2:], t.TCI)
	}
	copy(b[recentHeader:], f.Data[:n])
}

// keeps is how many bytes of a frame are kept. Those of bulk say no more by all they carry, and to copy them costs memory bandwidth.
func (r *recent) keeps(n int) int {
	if n > bulkFrame {
		n = bulkSnap
	}
	return min(n, r.snaplen)
}

// next closes the open chunk, and opens the one after it that nobody reads.
func (r *recent) next() bool {
	r.close()
	for i := range r.chunks {
		at := (r.at + 1 + i) % len(r.chunks)
		if r.chunks[at].state.CompareAndSwap(chunkClosed, chunkWritten) {
			r.at, r.used, r.open = at, 0, true
			return true
		}
	}
	return false
}

// close lets the open chunk be read.
func (r *recent) close() {
	if !r.open {
		return
	}
	r.open = false
	r.serial++
	c := &r.chunks[r.at]
	c.used = r.used
	c.serial.Store(r.serial)
	c.state.Store(chunkClosed)
}

// tick is called at the end of each tick: what the reader asked for can be read then.
func (r *recent) tick() {
	if r.closing.Load() && r.closing.Swap(false) {
		r.close()
	}
}

// read yields the frames of closed chunks with a serial above after, oldest first, and returns the last serial. Frames are valid
// during the call. One goroutine at a time.
func (r *recent) read(after uint64, yield func(serial uint64, f *decode.Frame)) (last uint64) {
	last = after
	type closed struct {
		at     int
		serial uint64
	}
	var all []closed
	for i := range r.chunks {
		if serial := r.chunks[i].serial.Load(); serial > after {
			all = append(all, closed{i, serial})
		}
	}
	slices.SortFunc(all, func(a, b closed) int { return cmp.Compare(a.serial, b.serial) })
	for _, c := range all {
		s := &r.chunks[c.at]
		if !s.state.CompareAndSwap(chunkClosed, chunkRead) {
			continue // it is written to again, and comes back under a new serial
		}
		if s.serial.Load() == c.serial {
			s.frames(func(f *decode.Frame) { yield(c.serial, f) })
			last = c.serial
		}
		s.state.Store(chunkClosed)
	}
	return last
}

// frames yields what a chunk holds.
func (s *chunk) frames(yield func(*decode.Frame)) {
	var f decode.Frame
	for b := s.mem[:s.used]; len(b) > 0; {
		n := int(binary.LittleEndian.Uint32(b[recentLength:]))
		f = decode.Frame{
			Time: int64(binary.LittleEndian.Uint64(b[recentTime:])), WireLen: binary.LittleEndian.Uint32(b[recentWire:]),
			Link: decode.LinkType(binary.LittleEndian.Uint16(b[recentLink:])), Iface: binary.LittleEndian.Uint16(b[recentIface:]),
			Data: b[recentHeader : recentHeader+n : recentHeader+n],
		}
		for i := range f.Tags {
			f.Tags[i] = decode.Tag{TPID: binary.LittleEndian.Uint16(b[recentTags+4*i:]), TCI: binary.LittleEndian.Uint16(b[recentTags+4*i+2:])}
		}
		yield(&f)
		b = b[recentHeader+(n+7)&^7:]
	}
}

// newRecents makes the recent frames of so many workers, and the memory to give back; none if they are off.
func newRecents(cfg Recent, workers int) ([]*recent, *slab.Slab, error) {
	if cfg.Bytes == 0 {
		return make([]*recent, workers), nil, nil
	}
	each := max(cfg.Bytes/workers/chunkBytes, 4) * chunkBytes
	memory, err := slab.Map(each * workers)
	if err != nil {
		return nil, nil, err
	}
	all := make([]*recent, workers)
	for i := range all {
		all[i] = newRecent(slab.Carve[byte](memory, each), cfg.Snaplen)
	}
	return all, memory, nil
}
