package sensor

import (
	"math/bits"
	"net/netip"
	"sync/atomic"

	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/hello"
)

// Openings says what of openings is read: TLS and QUIC hellos, heads of HTTP/1, the start of SSH, DNS. Content is never read.
type Openings struct {
	Off          bool // read headers only
	RedactNames  bool // no domain leaves the sensor: a keyed hash stands for it
	RedactAgents bool // likewise User-Agents

	// Proxies reports who speaks for many clients: what it forwards counts for the client that it names. nil: nobody.
	Proxies func(netip.Addr) bool
}

// Bounds of what is kept of openings, in each shard of the tallies. Sixteen shards take 6 MiB.
const (
	openingSets     = 128 // of eight connections each: 1024
	openingWays     = 8
	openingBuffers  = 32 // for openings that came in several segments
	openingInitials = 64 // of QUIC that are opened in a tick: 7 µs each, and anybody can send them

	// openingWait is how long, in ns, a buffer is kept from openings that need one. Anybody can begin and not go on.
	openingWait = int64(1e9)
)

// openings reads what the connections of one shard of the tallies open with. What it holds follows from the packets of the
// shard alone. Not safe for concurrent use; it allocates nothing but what hello's QUIC keys need.
type openings struct {
	cfg      *atomic.Pointer[Openings]
	conns    *conn.Tables
	seed     uint64
	sets     [openingSets][openingWays]opening
	buffers  [openingBuffers]buffer
	held     [openingBuffers]holder // of the buffers that are not free
	free     [openingBuffers]uint8
	nfree    int
	now      int64  // of the packet
	initials int    // of QUIC that were opened in this tick
	lost     uint64 // openings that no buffer or place was left for, or of which a segment was missing
	read     reader
	tally    *tally.Shard // of the batch
}

// opening is a connection whose opening is being read.
type opening struct {
	hash   uint64 // of the connection; 0 a free place
	last   int64
	kind   hello.Kind
	told   bool // the server spoke it, too: the connection knows
	side   [2]stream
	client decode.Addr // of the newest request
	proxy  decode.Addr
	path   uint64 // likewise
	method tally.WebMethod
}

// stream is one direction of it.
type stream struct {
	next    uint32 // sequence number of the byte behind what was taken
	begun   bool   // next is set
	done    bool
	buffer  uint8 // number+1; 0 none
	pending bool  // what is in the buffer can be told as it is, if the rest does not come
	want    int16 // bytes in the buffer that the parser waits for
}

// holder is the direction that has a buffer, and since when the buffer is as it is.
type holder struct {
	by   *stream
	last int64
}

// buffer gathers the segments of one direction.
type buffer struct {
	n      int
	crypto hello.Crypto
	bytes  [hello.MaxOpening]byte
}

func newOpenings(cfg *atomic.Pointer[Openings], conns *conn.Tables, seed uint64) *openings {
	o := &openings{cfg: cfg, conns: conns, seed: seed, nfree: openingBuffers}
	for i := range o.free {
		o.free[i] = uint8(i)
	}
	return o
}

// packet reads a packet that a connection may be opened with: ev has EvOpening.
func (o *openings) packet(p *decode.Packet, ev conn.Event, to *tally.Shard) {
	if o.cfg.Load().Off || p.End <= p.Payload || p.FragOff != 0 || ev&conn.EvOuter != 0 {
		return
	}
	if ev&conn.EvNew != 0 {
		o.forget(p)
	}
	o.tally, o.now = to, p.Time
	w := o.seen(p, ev)
	if p.Key.Proto == protoUDP {
		o.datagram(&w)
	} else if p.HasTCP() && p.Flags&decode.FlagRST == 0 {
		o.segment(&w)
	}
}

// seen is a packet with what it means to its connection.
type seen struct {
	p              *decode.Packet
	data           []byte
	client, server decode.Addr
	port           uint16
	side           int // 0: of the client
	cut            bool
	closed         bool
	begun          bool // the connection was seen from its beginning
}

// tellTale is how many bytes of an opening tell what it is, or that it is nothing that is read.
const tellTale = 16

func (o *openings) seen(p *decode.Packet, ev conn.Event) seen {
	w := seen{p: p, data: p.Data[p.Payload:p.End], cut: p.PayloadLen > p.End-p.Payload, closed: ev&conn.EvClosed != 0, begun: ev&conn.EvEstablished != 0}
	src, srcPort := p.Src()
	dst, dstPort := p.Dst()
	if ev&conn.EvOrig != 0 {
		w.client, w.server, w.port = src, dst, dstPort
	} else {
		w.client, w.server, w.port, w.side = dst, src, srcPort, 1
	}
	return w
}

func (w *seen) key() tally.PairKey {
	return tally.PairKey{Client: w.client, Server: w.server, Port: w.port, Proto: w.p.Key.Proto, Ver: w.p.Key.Ver}
}

// segment reads a TCP segment with payload.
func (o *openings) segment(w *seen) {
	e := o.find(w.p)
	if e == nil {
		kind := hello.Sniff(w.data, w.side == 0, w.port)
		if kind == hello.KindUnknown || kind == hello.KindHTTP2 || kind == hello.KindQUIC {
			if w.begun && len(w.data) >= tellTale {
				o.conns.Watch(w.p, false)
			}
			return
		}
		e = o.enter(w.p, kind)
		if kind == hello.KindHTTP || kind == hello.KindDNS {
			o.conns.Watch(w.p, true)
		}
	}
	if w.side == 1 && !e.told && hello.Sniff(w.data, false, w.port) == e.kind {
		e.told = true
		o.conns.Opened(w.p, appOf(e.kind))
	}
	if e.done() {
		return
	}
	e.last = w.p.Time
	if s := &e.side[w.side]; !s.done {
		if b := o.gather(e, s, w); b != nil {
			o.opens(e, s, w, b)
		}
	}
	if w.closed {
		o.finish(&e.side[0])
		o.finish(&e.side[1])
	}
}

// appOf is the application of a kind. It is told when the server speaks it: anybody can say anything to a server.
func appOf(k hello.Kind) conn.App {
	switch k {
	case hello.KindTLS:
		return conn.AppTLS
	case hello.KindHTTP:
		return conn.AppHTTP
	case hello.KindSSH:
		return conn.AppSSH
	case hello.KindDNS:
		return conn.AppDNS
	}
	return conn.AppNone
}

// done tells whether there is nothing more to read. The entry stays, so that what follows is not taken for another opening; it is
// the first to go.
func (e *opening) done() bool { return e.side[0].done && e.side[1].done }

// gather returns what of the direction's opening is there, this segment included; nil if the segment brings nothing.
func (o *openings) gather(e *opening, s *stream, w *seen) []byte {
	data, seq := w.data, w.p.Seq
	if w.p.Flags&decode.FlagSYN != 0 {
		seq++
	}
	if s.begun {
		switch gap := int32(seq - s.next); {
		case gap < 0 && int(-gap) >= len(data):
			return nil
		case gap < 0:
			data = data[-gap:]
		case gap > 0: // a segment is missing, or late: what was gathered ends here
			o.giveUp(e, s, w)
		}
	}
	s.begun, s.next = true, seq+w.p.PayloadLen
	if s.buffer == 0 {
		return data
	}
	b := &o.buffers[s.buffer-1]
	b.n += copy(b.bytes[b.n:], data)
	if b.n < int(s.want) && !w.cut && !w.closed {
		return nil // a drip of small segments is not read again and again
	}
	return b.bytes[:b.n]
}

// keep holds what was read so far until the next segment comes. Without a buffer the opening is told as it is.
func (o *openings) keep(s *stream, b []byte, want int, pending bool) (kept bool) {
	// At least a quarter more each time: the reading of a whole opening costs no more than five times its last.
	s.pending, s.want = pending, int16(min(max(want, len(b)+len(b)/4), hello.MaxOpening))
	if s.buffer == 0 {
		if o.nfree == 0 && !o.reclaim() {
			o.lost++
			return false
		}
		o.nfree--
		s.buffer = o.free[o.nfree] + 1
	}
	n := s.buffer - 1
	o.held[n] = holder{s, o.now}
	o.buffers[n].n = copy(o.buffers[n].bytes[:], b) // what was read of it is gone
	return true
}

// reclaim frees the buffer that has waited longest, if that is openingWait.
func (o *openings) reclaim() bool {
	oldest := &o.held[0]
	for i := range o.held {
		if o.held[i].last < oldest.last {
			oldest = &o.held[i]
		}
	}
	if o.now-oldest.last < openingWait {
		return false
	}
	o.lost++
	o.release(oldest.by)
	return true
}

// release gives the direction's buffer back.
func (o *openings) release(s *stream) {
	if s.buffer != 0 {
		o.free[o.nfree] = s.buffer - 1
		o.nfree++
		s.buffer, s.pending = 0, false
	}
}

// giveUp ends what was gathered of a direction: the rest does not come.
func (o *openings) giveUp(e *opening, s *stream, w *seen) {
	if s.buffer == 0 {
		return
	}
	o.lost++
	if s.pending {
		b := &o.buffers[s.buffer-1]
		was := *w
		was.cut = true
		o.opens(e, s, &was, b.bytes[:b.n])
	}
	o.release(s)
}

// find is the entry of a packet's connection, nil without one.
func (o *openings) find(p *decode.Packet) *opening {
	set := &o.sets[p.Hash%openingSets]
	for i := range set {
		if set[i].hash == p.Hash {
			return &set[i]
		}
	}
	return nil
}

// forget drops what is known of a connection whose key begins anew.
func (o *openings) forget(p *decode.Packet) {
	if e := o.find(p); e != nil {
		o.drop(e)
	}
}

// enter makes the entry of a packet's connection: in a free place, else in that of one that is done, else of the one that was
// quiet longest.
func (o *openings) enter(p *decode.Packet, kind hello.Kind) *opening {
	set := &o.sets[p.Hash%openingSets]
	e := &set[0]
	for i := range set {
		switch x := &set[i]; {
		case x.hash == 0:
			e = x
		case e.hash != 0 && x.before(e):
			e = x
		}
	}
	o.drop(e)
	*e = opening{hash: p.Hash, kind: kind, last: p.Time}
	return e
}

// before tells which of two entries goes first.
func (e *opening) before(o *opening) bool {
	if a, b := e.done(), o.done(); a != b {
		return a
	}
	return e.last < o.last
}

func (o *openings) drop(e *opening) {
	for i := range e.side {
		if e.side[i].buffer != 0 {
			o.lost++
			o.release(&e.side[i])
		}
	}
	*e = opening{}
}

// hash is a keyed hash of some bytes, in the manner of wyhash's short inputs; 0 stands for none.
func (o *openings) hash(b []byte) uint64 {
	h := o.seed ^ uint64(len(b))*0x9e3779b97f4a7c15
	for len(b) > 0 {
		var word uint64
		n := min(len(b), 8)
		for i, c := range b[:n] {
			word |= uint64(c) << (8 * i)
		}
		hi, lo := bits.Mul64(h^word^0xa0761d6478bd642f, word^0xe7037ed1a0b428db^o.seed)
		h = hi ^ lo
		b = b[n:]
	}
	hi, lo := bits.Mul64(h^0x8ebc6af09c88c6e3, 0x589965cc75374cc3^o.seed)
	return max(hi^lo, 1)
}
