// Package conn keeps the state of connections in bounded memory: per shard a table of connections, a small cache of
// half-open ones, and a table of fragmented datagrams. States and histories follow Zeek's meaning.
package conn

import (
	"fmt"
	"time"

	"weir/decode"
	"weir/decode/slab"
)

// Tables is the state of all shards. Calls for different shards may run at once; calls for one shard may not.
type Tables struct {
	memory *slab.Slab
	shards [decode.Shards]shard
}

// NewTables reserves all memory. The seed keys the hash of fragments; the connection hash comes with each packet.
func NewTables(cfg Config, seed uint64) (*Tables, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	memory, err := slab.Map(cfg.Bytes())
	if err != nil {
		return nil, fmt.Errorf("conn: %w", err)
	}
	t := &Tables{memory: memory}
	t.carve(memory, cfg)
	for i := range t.shards {
		t.shards[i].start(cfg, seed, uint8(i))
	}
	return t, nil
}

// Close gives the memory back. The tables must not be used afterwards.
func (t *Tables) Close() error {
	memory := t.memory
	*t = Tables{}
	return memory.Unmap()
}

// Stats returns the counters of a shard.
func (t *Tables) Stats(shard int) *Stats { return &t.shards[shard].stats }

// conn is one connection: four cache lines. The first names it and holds what lookup and sweep need; then one line for
// each side; then what changes rarely.
type conn struct {
	a, b         decode.Addr
	portA, portB uint16
	disc         uint32
	proto, ver   uint8
	bits         truths
	more         uint32 // slot+1 of its extra in the low 24 bits, 0 none; above, moreBegun…
	hash         uint64 // while unused: the next free slot+1
	last         int64

	side [2]side // 0 originator, 1 responder

	first   int64
	due     uint32 // ms after first at which it ends; valid iff bitDue
	rtt     uint32 // µs
	born    uint32 // order of opening
	layout  uint32 // of the first packet, as SYN.Layout
	vlan    [2]uint16
	window  uint16 // of the first packet
	length  uint16 // of the first packet
	tunnels decode.Tunnels
	ttl     uint8 // of the first packet
	probe   Probe
	marks   Marks
	histLen uint8
	hist    [23]byte // later letters are lost
	app     App      // by its opening
	hops    [2]uint8 // TTL that a side began with; 0 none
}

// side is what one end of a connection sent: one cache line. Sequence numbers are as on the wire. Connections without
// sequence numbers keep their payload bytes in start (low half) and last (high half).
type side struct {
	packets uint32 // saturates
	flags   uint16 // low 9 bits: union of TCP flags; above: seen…
	state   endpoint
	before  endpoint // the state before this one
	ipBytes uint64

	start, last, ack uint32 // ISN; end of what was sent; end of what the peer acknowledged
	next             uint32 // end of the payload seen without a hole
	lo, hi           uint32 // payload seen beyond the hole at next; none if equal
	holes            uint32 // bytes not seen within lo…hi
	gap              uint32 // bytes acknowledged and never seen; saturates
	fin, rst         uint32 // end of the last FIN; sequence number of the last RST

	retrans, zero, gaps uint16 // packets resent, with window 0; gaps; saturate
	wraps, ackWraps     uint8  // of last and ack through 2^32
}

// truths are what is true of a connection.
type truths uint16

const (
	bitOrigB     truths = 1 << iota // the originator is the key's B
	bitPending                      // a contact waits for its outcome
	bitContact                      // the contact was answered and may become proven
	bitProven                       // EvProven happened
	bitAnswered                     // both sides sent
	bitUnasked                      // EvUnasked
	bitOuter                        // a tunnel's outer connection
	bitMidstream                    // did not start with a SYN
	bitPartial                      // Zeek's is_partial: sequence numbers of one side are a guess
	bitVisible                      // EvVisible happened
	bitPayload                      // carried payload
	bitDue                          // due is set
	bitDone                         // EvClosed happened
	bitShutOrig                     // the originator closed (Zeek's did_close)
	bitShutResp                     // the responder closed
	bitLive                         // the slot is in use
)

// What conn.more holds above the slot of an extra, which takes no more than 24 bits (Config.Check).
const (
	moreBegun = 1 << 24        // the session was told
	moreTold  = 1 << 25        // its entry of told is set
	looksAt   = 26             // openings: see opening.go
	moreLooks = 0xf << looksAt // 15 for done
)

// shard is the state of one shard.
type shard struct {
	conns  lane[conn]
	told   lane[told] // by slot of the connection
	index  []uint64   // open addressing: tag (40 bits, the hash's upper) and slot+1 (24 bits); 0 empty
	sets   []set
	halves []half // of set i: ways*i…
	ring   []pending
	extras lane[extra]
	frags  []frag

	shift    uint // hash to index position
	used     int  // conns[used:] were never used
	free     uint32
	hand     int // next slot of the eviction's clock
	exUsed   int
	exFree   uint32
	head     uint64 // ring: next to pop
	tail     uint64 // ring: next to push
	waiting  int    // connections in the table whose contact waits
	now      int64  // running maximum of packet time and ticks
	born     uint32
	sweep    sweep
	timeouts timeouts
	seed     uint64
	id       uint8
	stats    Stats
	rec      Record   // the one that is being handed over
	_        [64]byte // no cache line is shared with the next shard
}

// timeouts are Config's, in ns.
type timeouts struct {
	attempt, handshake, idle, close, partial, udp, dns, icmp, fragment int64
}

// lane is a shard's part of a table of all shards. Entries of one number lie side by side, so that tables of which the
// shards use little touch few pages: zeroing all of them costs a short replay more than its packets.
type lane[T any] struct {
	all []T
	id  int
	n   int // entries of this shard
}

func (l *lane[T]) at(i int) *T { return &l.all[i*decode.Shards+l.id] }

// carve divides the memory.
func (t *Tables) carve(m *slab.Slab, cfg Config) {
	z := cfg.shard()
	conns, extras := slab.Carve[conn](m, decode.Shards*z.conns), slab.Carve[extra](m, decode.Shards*z.extras)
	tolds := slab.Carve[told](m, decode.Shards*z.conns)
	for i := range t.shards {
		s := &t.shards[i]
		s.conns, s.extras = lane[conn]{conns, i, z.conns}, lane[extra]{extras, i, z.extras}
		s.told = lane[told]{tolds, i, z.conns}
		s.index = slab.Carve[uint64](m, z.index)
		s.sets = slab.Carve[set](m, z.sets)
		s.halves = slab.Carve[half](m, z.sets*ways)
		s.ring = slab.Carve[pending](m, z.ring)
		s.frags = slab.Carve[frag](m, z.frags)
	}
}

func (s *shard) start(cfg Config, seed uint64, id uint8) {
	for n := len(s.index); n > 1; n /= 2 {
		s.shift++
	}
	s.shift = 64 - s.shift
	s.seed, s.id = seed, id
	ns := func(d time.Duration) int64 { return d.Nanoseconds() }
	s.timeouts = timeouts{
		ns(cfg.TCPAttempt), ns(cfg.TCPHandshake), ns(cfg.TCPIdle), ns(cfg.TCPClose),
		ns(cfg.TCPPartial), ns(cfg.UDPIdle), ns(cfg.DNSIdle), ns(cfg.ICMPIdle), ns(cfg.Fragment),
	}
}

const (
	slotMask = 1<<24 - 1
	maxProbe = 64 // index slots a lookup visits: eight cache lines
	nearby   = 8  // connections the eviction chooses from
)

// find returns the connection of a key, or nil.
func (s *shard) find(hash uint64, k *decode.Key) *conn {
	mask := uint64(len(s.index) - 1)
	for i, pos := 0, hash>>s.shift; i < maxProbe; i, pos = i+1, (pos+1)&mask {
		v := s.index[pos]
		if v == 0 {
			return nil
		}
		if v&^slotMask == hash&^slotMask {
			if c := s.conns.at(int(v&slotMask - 1)); c.is(hash, k) {
				return c
			}
		}
	}
	return nil
}

func (c *conn) is(hash uint64, k *decode.Key) bool {
	return c.hash == hash && c.a == k.A && c.b == k.B && c.portA == k.PortA && c.portB == k.PortB &&
		c.disc == k.Disc && c.proto == k.Proto && c.ver == k.Ver
}

// link enters slot n under hash. It fails if the probe would be too long.
func (s *shard) link(hash uint64, n uint32) bool {
	mask := uint64(len(s.index) - 1)
	for i, pos := 0, hash>>s.shift; i < maxProbe; i, pos = i+1, (pos+1)&mask {
		if s.index[pos] == 0 {
			s.index[pos] = hash&^slotMask | uint64(n+1)
			return true
		}
	}
	return false
}

// unlink takes slot n out and closes the hole: what stands behind it moves up, so that no lookup ends early.
func (s *shard) unlink(hash uint64, n uint32) {
	mask := uint64(len(s.index) - 1)
	pos, want := hash>>s.shift, hash&^slotMask|uint64(n+1)
	for s.index[pos] != want {
		pos = (pos + 1) & mask
	}
	for next := (pos + 1) & mask; s.index[next] != 0; next = (next + 1) & mask {
		home := s.index[next] >> s.shift
		if (next-home)&mask >= (next-pos)&mask {
			s.index[pos] = s.index[next]
			pos = next
		}
	}
	s.index[pos] = 0
}

// add makes room for a connection and enters it. The new connection is zero but for its name.
func (s *shard) add(hash uint64, out *Out) *conn {
	if s.free == 0 && s.used == s.conns.n {
		s.stats.Evicted++
		s.end(s.leastEvidence(), CloseEvicted, out)
	}
	n := s.free
	if n != 0 {
		n--
		s.free = uint32(s.conns.at(int(n)).hash)
	} else {
		n = uint32(s.used)
		s.used++
	}
	for !s.link(hash, n) {
		s.stats.LongProbe++
		s.end(s.conns.at(int(s.index[hash>>s.shift]&slotMask-1)), CloseEvicted, out)
	}
	c := s.conns.at(int(n))
	*c = conn{hash: hash, bits: bitLive}
	s.stats.LiveConns++
	return c
}

// leastEvidence chooses who leaves the full table, among the few slots at the clock hand: first those that are over, then
// those nobody answered, then those without a proven return path; among equals the longest idle.
func (s *shard) leastEvidence() *conn {
	var worst *conn
	worstRank := 4
	for range min(nearby, s.conns.n) {
		c := s.conns.at(s.hand)
		if s.hand++; s.hand == s.conns.n {
			s.hand = 0
		}
		if r := c.rank(); r < worstRank || r == worstRank && c.last < worst.last {
			worst, worstRank = c, r
		}
	}
	return worst
}

func (c *conn) rank() int {
	switch {
	case c.bits&bitDone != 0:
		return 0
	case c.bits&bitAnswered == 0:
		return 1
	case c.proto == protoTCP && c.bits&bitProven == 0:
		return 2
	}
	return 3
}

// end takes a connection out of the table: a contact that still waits ends with it, and the record goes out.
func (s *shard) end(c *conn, why Close, out *Out) {
	if c.bits&bitPending != 0 {
		s.outcome(c, s.unanswered(c.first), out)
	}
	if c.more&moreBegun != 0 || c.oneWay() {
		s.finish(c, why, out)
	}
	s.record(c, why, out)
	if n := c.more & slotMask; n != 0 {
		s.freeExtra(n)
	}
	n := s.slot(c)
	s.unlink(c.hash, n)
	c.bits = 0
	c.hash = uint64(s.free)
	s.free = n + 1
	s.stats.LiveConns--
	s.stats.Ended++
}
