package tally

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"

	"weir/decode"
	"weir/decode/conn"
)

// The binary form of an Epoch: a version byte, then the fields in the order of their structs. Counts are unsigned varints
// (encoding/binary), times are signed varints relative to the start of the epoch, addresses, ranks and hashes are fixed,
// little-endian. A list begins with its length. An HLL is a bitmap of its registers in use, then those.
const version = 4 // 2: peers and gate; 3: pairs to webs, and more of services; 4: applications of pairs

// Least sizes of an entry in bytes: what bounds the memory that a list's length can ask for.
const (
	leastService = 16 + 2 + 1 + 1 + 1 + 22 + 16 + 8
	leastSource  = 16 + 1 + 2 + 1 + 2 + 9 + int(conn.ProbeCount) + 16 + 1
	leastHeader  = 8 + 1 + 32 + 4 + 4 + 6 + 4 + 1
	leastPrint   = 8 + 1 + 2 + 1 + 8 + 32 + 1 + 2 + 2 + 1
	leastPeer    = 16 + 1
	leastDrop    = 2 + 1 + 1 + 1 + 1 + 2 + 1 + 1 + 3
	leastGate    = 16 + 2 + 1 + 1 + 4 // a service of the gate
)

// FormatError says where the binary form of an epoch is wrong.
type FormatError struct {
	Offset int // bytes from its start
	Reason string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("tally: epoch, offset %d: %s", e.Offset, e.Reason)
}

// AppendBinary appends the binary form of the epoch to b. The error is always nil (encoding.BinaryAppender).
func (e *Epoch) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, version)
	b = binary.AppendVarint(b, e.Tick)
	b = binary.LittleEndian.AppendUint64(b, e.SketchKey)
	for _, n := range e.Link.numbers() {
		b = binary.AppendUvarint(b, *n)
	}
	start := e.Start()
	b = binary.AppendUvarint(b, uint64(len(e.Services)))
	for i := range e.Services {
		b = e.Services[i].append(b)
	}
	b = appendList(b, e.Sources, start, (*Source).append)
	for _, list := range [...][]Header{e.Suspects, e.Normals} {
		b = appendList(b, list, start, (*Header).append)
	}
	b = appendList(b, e.Prints, start, (*Print).append)
	b = binary.AppendUvarint(b, uint64(len(e.Peers)))
	for i := range e.Peers {
		b = append(appendAddr(b, e.Peers[i].Addr), e.Peers[i].Ver)
	}
	return e.appendLists(e.Gate.append(b, start), start), nil
}

// UnmarshalBinary reads what AppendBinary wrote, into new slices. It takes only what a Merger can have made: lists within
// the bounds and in order. Its memory is at most 16 bytes for each byte of b. On error (*FormatError) e is unchanged.
func (e *Epoch) UnmarshalBinary(b []byte) error {
	r := reader{b: b}
	if v := r.byte(); v != version {
		r.fail(fmt.Sprintf("version %d, want %d", v, version))
	}
	var n Epoch
	n.Tick = r.varint()
	if n.Tick > math.MaxInt64/Tick-1 || n.Tick < math.MinInt64/Tick {
		r.fail("tick out of range")
	}
	n.SketchKey = r.uint64()
	for _, v := range n.Link.numbers() {
		*v = r.uvarint(math.MaxUint64)
	}
	start := n.Start()
	n.Services = list(&r, MaxServices, leastService, func(v *Service) { v.read(&r) },
		func(a, b *Service) bool { return a.Key.Less(&b.Key) })
	n.Sources = list(&r, MaxSources, leastSource, func(v *Source) { v.read(&r, start) }, sourceLess)
	n.Suspects = list(&r, int(ClassNormalSYN)*MaxHeaders, leastHeader, func(v *Header) { v.read(&r, start, ClassSYN, ClassNormalSYN) }, headerLess)
	n.Normals = list(&r, int(ClassCount-ClassNormalSYN)*MaxHeaders, leastHeader, func(v *Header) { v.read(&r, start, ClassNormalSYN, ClassCount) }, headerLess)
	n.Prints = list(&r, MaxPrints, leastPrint, func(v *Print) { v.read(&r, start) }, printLess)
	n.Peers = list(&r, MaxPeers, leastPeer, func(v *Peer) { v.Addr, v.Ver = r.addr(), r.byte() }, peerLess)
	n.Gate.read(&r, start)
	n.readLists(&r, start)
	if r.err == nil && r.at != len(b) {
		r.fail("bytes after the end")
	}
	if r.err != nil {
		return r.err
	}
	*e = n
	return nil
}

func sourceLess(a, b *Source) bool { return a.Ver < b.Ver || a.Ver == b.Ver && a.Addr.Less(b.Addr) }

func headerLess(a, b *Header) bool { return a.Rank <= b.Rank }

func printLess(a, b *Print) bool { return a.Hash < b.Hash || a.Hash == b.Hash && !a.SYNACK && b.SYNACK }

// reader is a cursor with a sticky error: after the first one it reads zeros.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &FormatError{r.at, reason}
	}
	r.at = len(r.b)
}

// list reads a list of at most most entries of at least least bytes that ascend by less.
func list[T any](r *reader, most, least int, read func(*T), less func(a, b *T) bool) []T {
	n := int(r.uvarint(uint64(most)))
	if n > (len(r.b)-r.at)/least {
		r.fail(fmt.Sprintf("list of %d entries is longer than the input", n))
		return nil
	}
	if n == 0 {
		return nil
	}
	v := make([]T, n)
	for i := range v {
		read(&v[i])
		if i > 0 && r.err == nil && !less(&v[i-1], &v[i]) {
			r.fail("list out of order")
		}
		if r.err != nil {
			return nil
		}
	}
	return v
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b)-r.at {
		r.fail("unexpected end")
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) byte() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// below reads a byte below n.
func (r *reader) below(n uint8) uint8 {
	b := r.byte()
	if b >= n && r.err == nil {
		r.fail(fmt.Sprintf("%d, must be below %d", b, n))
		return 0
	}
	return b
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// uvarint reads a number of at most most, in its shortest form.
func (r *reader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b[r.at:])
	return r.number(v, v, n, most)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b[r.at:])
	return int64(r.number(uint64(v), uint64(v)<<1^uint64(v>>63), n, math.MaxUint64))
}

// number takes a varint of n bytes whose value v was coded as c.
func (r *reader) number(v, c uint64, n int, most uint64) uint64 {
	switch {
	case n <= 0:
		r.fail("bad number")
	case n != max(1, (bits.Len64(c)+6)/7):
		r.fail("number not in its shortest form")
	case v > most:
		r.fail(fmt.Sprintf("%d, must be at most %d", v, most))
	default:
		r.at += n
		return v
	}
	return 0
}

func (r *reader) count32() uint32 { return uint32(r.uvarint(math.MaxUint32)) }

func (r *reader) addr() decode.Addr { return decode.Addr{Hi: r.uint64(), Lo: r.uint64()} }

func (r *reader) bool() bool { return r.below(2) == 1 }

// time reads a time; the sum wraps like the difference that was written.
func (r *reader) time(start int64) int64 { return start + r.varint() }

func appendAddr(b []byte, a decode.Addr) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, a.Hi), a.Lo)
}

func appendCounts[T uint16 | uint32 | uint64](b []byte, counts ...T) []byte {
	for _, n := range counts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

// numbers are all counters of the link.
func (l *Link) numbers() []*uint64 {
	n := []*uint64{
		&l.Packets, &l.Bytes, &l.TCP, &l.UDP, &l.ICMP, &l.ARP, &l.Other, &l.Fragments, &l.Opened, &l.Closed, &l.Proven, &l.PeersLost,
		&l.Payload, &l.Retrans, &l.VisibleTwoWay, &l.VisibleOneWay, &l.ContactsUnknown, &l.ContactsKnown, &l.Backward,
	}
	for i := range l.Why {
		n = append(n, &l.Why[i])
	}
	for i := range l.Loss {
		n = append(n, &l.Loss[i])
	}
	return n
}

func (h *HLL) append(b []byte) []byte {
	var used uint64
	for i, r := range h {
		if r != 0 {
			used |= 1 << i
		}
	}
	b = binary.LittleEndian.AppendUint64(b, used)
	for _, r := range h {
		if r != 0 {
			b = append(b, r)
		}
	}
	return b
}

// mostRank is the highest value of a register: the rank of a hash whose lower 58 bits are 0.
const mostRank = 59

func (h *HLL) read(r *reader) {
	for used := r.uint64(); used != 0; used &= used - 1 {
		v := r.below(mostRank + 1)
		if v == 0 {
			r.fail("empty register in use")
			return
		}
		h[bits.TrailingZeros64(used)] = v
	}
}

func (v *Service) append(b []byte) []byte {
	b = appendAddr(b, v.Key.Addr)
	b = binary.LittleEndian.AppendUint16(b, v.Key.Port)
	b = append(b, v.Key.Proto, v.Key.Ver, uint8(v.Key.Role))
	b = appendCounts(b, v.Packets, v.Bytes, v.BackPackets, v.BackBytes, v.Unanswered, v.UnansweredBytes,
		v.Fragments, v.FragBytes, v.StrayACK, v.StrayACKBytes, v.StrayRST, v.StrayRSTBytes)
	b = appendCounts(b, v.Opened, v.SYN, v.SYNACK, v.Proven, v.Refused, v.Slow, v.Payload, v.Retrans, v.RTTN)
	b = appendCounts(appendCounts(b, v.RTT), v.RTTs[:]...)
	return v.Sources.append(b)
}

func (v *Service) read(r *reader) {
	v.Key = ServiceKey{Addr: r.addr(), Port: r.uint16(), Proto: r.byte(), Ver: r.byte(), Role: Role(r.below(uint8(RoleFolded) + 1))}
	for _, n := range [...]*uint64{
		&v.Packets, &v.Bytes, &v.BackPackets, &v.BackBytes, &v.Unanswered, &v.UnansweredBytes,
		&v.Fragments, &v.FragBytes, &v.StrayACK, &v.StrayACKBytes, &v.StrayRST, &v.StrayRSTBytes,
	} {
		*n = r.uvarint(math.MaxUint64)
	}
	for _, n := range [...]*uint32{&v.Opened, &v.SYN, &v.SYNACK, &v.Proven, &v.Refused, &v.Slow, &v.Payload, &v.Retrans, &v.RTTN} {
		*n = r.count32()
	}
	v.RTT = r.uvarint(math.MaxUint64)
	for i := range v.RTTs {
		v.RTTs[i] = uint16(r.uvarint(math.MaxUint16))
	}
	v.Sources.read(r)
}

func (s *Source) append(b []byte, start int64) []byte {
	b = appendAddr(b, s.Addr)
	b = append(b, s.Ver)
	b = binary.LittleEndian.AppendUint16(b, s.Tool)
	b = append(b, uint8(s.Marks))
	b = binary.AppendVarint(b, s.First-start)
	b = binary.AppendVarint(b, s.Last-start)
	b = appendCounts(b, s.Opened, s.Unknown, s.Silent, s.Refused, s.Answered, s.Proven, s.Repeats, s.ToolHits, s.MarkHits)
	b = appendCounts(b, s.Probes[:]...)
	b = s.Ports.append(s.Hosts.append(b))
	b = append(b, s.NContacts)
	for i := range s.Contacts[:s.NContacts] {
		c := &s.Contacts[i]
		b = binary.LittleEndian.AppendUint64(b, c.Rank)
		b = appendAddr(b, c.Dst)
		b = binary.LittleEndian.AppendUint16(b, c.Port)
		b = append(b, c.Proto, uint8(c.Probe), uint8(c.Stage))
	}
	return b
}

func (s *Source) read(r *reader, start int64) {
	s.Addr, s.Ver, s.Tool, s.Marks = r.addr(), r.byte(), r.uint16(), conn.Marks(r.byte())
	s.First, s.Last = r.time(start), r.time(start)
	for _, n := range [...]*uint32{&s.Opened, &s.Unknown, &s.Silent, &s.Refused, &s.Answered, &s.Proven, &s.Repeats, &s.ToolHits, &s.MarkHits} {
		*n = r.count32()
	}
	for i := range s.Probes {
		s.Probes[i] = r.count32()
	}
	s.Hosts.read(r)
	s.Ports.read(r)
	s.NContacts = r.below(SampleSize + 1)
	for i := range s.Contacts[:s.NContacts] {
		s.Contacts[i] = SampledContact{
			Rank: r.uint64(), Dst: r.addr(), Port: r.uint16(), Proto: r.byte(),
			Probe: conn.Probe(r.below(uint8(conn.ProbeCount))), Stage: conn.Stage(r.below(uint8(conn.StageProven) + 1)),
		}
		if i > 0 && r.err == nil && s.Contacts[i-1].Rank >= s.Contacts[i].Rank {
			r.fail("sample out of order")
		}
	}
}

func (h *Header) append(b []byte, start int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.Rank)
	b = binary.AppendVarint(b, h.Time-start)
	b = appendAddr(appendAddr(b, h.Src), h.Dst)
	for _, n := range [...]uint16{h.SrcPort, h.DstPort, h.Len, h.Flags, h.Window} {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	b = append(b, h.Proto, h.Ver, uint8(h.Class), h.TTL)
	b = binary.LittleEndian.AppendUint32(b, h.Layout)
	b = append(b, h.NPayload)
	return append(b, h.Payload[:h.NPayload]...)
}

// read reads a header of the classes from and on, but not to.
func (h *Header) read(r *reader, start int64, from, to Class) {
	h.Rank, h.Time, h.Src, h.Dst = r.uint64(), r.time(start), r.addr(), r.addr()
	for _, n := range [...]*uint16{&h.SrcPort, &h.DstPort, &h.Len, &h.Flags, &h.Window} {
		*n = r.uint16()
	}
	h.Proto, h.Ver, h.Class, h.TTL = r.byte(), r.byte(), Class(r.below(uint8(to))), r.byte()
	if h.Class < from && r.err == nil {
		r.fail("class of another list")
	}
	h.Layout = r.uint32()
	h.NPayload = r.below(uint8(len(h.Payload)) + 1)
	copy(h.Payload[:], r.bytes(int(h.NPayload)))
}

func (v *Print) append(b []byte, start int64) []byte {
	b = binary.LittleEndian.AppendUint64(b, v.Hash)
	b = append(b, uint8(synackBit(v.SYNACK)))
	b = binary.LittleEndian.AppendUint16(b, v.Label)
	b = binary.AppendUvarint(b, v.Count)
	b = v.Sources.append(b)
	b = append(appendAddr(appendAddr(b, v.Src), v.Dst), v.Ver)
	b = binary.LittleEndian.AppendUint16(b, v.DstPort)
	b = binary.AppendVarint(b, v.First-start)
	b = binary.AppendVarint(b, v.Last-start)
	b = append(b, v.NRaw)
	return append(b, v.Raw[:v.NRaw]...)
}

func (v *Print) read(r *reader, start int64) {
	v.Hash, v.SYNACK, v.Label, v.Count = r.uint64(), r.bool(), r.uint16(), r.uvarint(math.MaxUint64)
	v.Sources.read(r)
	v.Src, v.Dst, v.Ver, v.DstPort = r.addr(), r.addr(), r.byte(), r.uint16()
	v.First, v.Last = r.time(start), r.time(start)
	v.NRaw = r.below(uint8(len(v.Raw)) + 1)
	copy(v.Raw[:], r.bytes(int(v.NRaw)))
}

func (g *Gate) numbers() []*uint64 {
	return []*uint64{&g.Packets, &g.Bytes, &g.ShadowPackets, &g.ShadowBytes, &g.Other, &g.OtherBytes, &g.Unplaced}
}

func (g *Gate) append(b []byte, start int64) []byte {
	for _, n := range g.numbers() {
		b = binary.AppendUvarint(b, *n)
	}
	b = binary.AppendUvarint(b, uint64(len(g.Drops)))
	for i := range g.Drops {
		b = g.Drops[i].append(b, start)
	}
	b = binary.AppendUvarint(b, uint64(len(g.Services)))
	for i := range g.Services {
		b = g.Services[i].append(b)
	}
	return b
}

func (g *Gate) read(r *reader, start int64) {
	for _, n := range g.numbers() {
		*n = r.uvarint(math.MaxUint64)
	}
	g.Drops = list(r, MaxGateDrops, leastDrop, func(d *GateDrop) { d.read(r, start) },
		func(a, b *GateDrop) bool { return a.compare(b) < 0 })
	g.Services = list(r, MaxGateServices, leastGate, func(s *GateService) { s.read(r) },
		func(a, b *GateService) bool { return a.Key.Less(&b.Key) })
}

func (d *GateDrop) append(b []byte, start int64) []byte {
	for _, name := range [...]string{d.ID, d.Alert, d.Kind} {
		b = append(append(b, uint8(len(name))), name...)
	}
	b = appendPrefix(appendPrefix(b, d.Source), d.Victim)
	b = binary.LittleEndian.AppendUint16(b, d.Port)
	b = append(b, d.Proto, uint8(boolBit(d.Shadow)))
	b = appendCounts(b, d.Packets, d.Bytes)
	return binary.AppendVarint(b, d.Last-start)
}

func (d *GateDrop) read(r *reader, start int64) {
	d.ID, d.Alert, d.Kind = r.name(), r.name(), r.name()
	if d.ID == "" && r.err == nil {
		r.fail("drop without id")
	}
	d.Source, d.Victim = r.prefix(), r.prefix()
	d.Port, d.Proto, d.Shadow = r.uint16(), r.byte(), r.bool()
	d.Packets, d.Bytes = r.uvarint(math.MaxUint64), r.uvarint(math.MaxUint64)
	d.Last = r.time(start)
}

func (s *GateService) append(b []byte) []byte {
	b = appendAddr(b, s.Key.Addr)
	b = binary.LittleEndian.AppendUint16(b, s.Key.Port)
	b = append(b, s.Key.Proto, s.Key.Ver)
	return appendCounts(b, s.Packets, s.Bytes, s.SampledPackets, s.SampledBytes)
}

func (s *GateService) read(r *reader) {
	s.Key = ServiceKey{Addr: r.addr(), Port: r.uint16(), Proto: r.byte(), Ver: r.byte()}
	for _, n := range [...]*uint64{&s.Packets, &s.Bytes, &s.SampledPackets, &s.SampledBytes} {
		*n = r.uvarint(math.MaxUint64)
	}
}

// name reads an id.
func (r *reader) name() string { return string(r.bytes(int(r.below(MaxGateName + 1)))) }

// appendPrefix appends 0 for none, else 4 or 6, the length and the address.
func appendPrefix(b []byte, p netip.Prefix) []byte {
	if !p.IsValid() {
		return append(b, 0)
	}
	b = append(b, verOf(p.Addr()), uint8(p.Bits()))
	return append(b, p.Addr().AsSlice()...)
}

func (r *reader) prefix() netip.Prefix {
	size := 0
	switch ver := r.byte(); ver {
	case 0:
		return netip.Prefix{}
	case 4, 6:
		size = map[uint8]int{4: 4, 6: 16}[ver]
	default:
		r.fail("prefix of no IP version")
	}
	bits := r.below(uint8(8*size) + 1)
	a, ok := netip.AddrFromSlice(r.bytes(size))
	if !ok {
		return netip.Prefix{}
	}
	p := netip.PrefixFrom(a, int(bits))
	if plain(p) != p && r.err == nil {
		r.fail("prefix with bits beyond its length")
	}
	return p
}
