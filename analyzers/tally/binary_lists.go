package tally

import (
	"encoding/binary"
	"math"

	"weir/decode/conn"
)

// Least sizes of an entry of the lists of what goes on between hosts, in bytes.
const (
	leastPairKey = 32 + 2 + 1 + 1
	leastPair    = leastPairKey + 1 + 4 + 6 + 4 + 9 + 8 + 4
	leastEcho    = 32 + 1 + 3 + 2 + 4 + 8 + 16 + 2
	leastOdd     = 1 + 1 + 32 + 8 + 1 + 2
	leastOpening = 16 + 8 + 2 + 1 + 1 + 1 + 1 + 8 + 1 + 1 + 16 + 1 + 2 + 1 + 2
	leastName    = 32 + 1 + 1 + 8 + 1 + 7 + 8 + 2 + 1 + 3 + 2
	leastWeb     = leastPairKey + 16 + 2 + 6 + 3 + 2 + 2 + 24 + 2 + 8 + 1 + 8 + 2
)

// appendLists appends the lists of what goes on between hosts.
func (e *Epoch) appendLists(b []byte, start int64) []byte {
	b = appendList(b, e.Pairs, start, (*Pair).append)
	b = appendList(b, e.Echoes, start, (*Echo).append)
	b = appendList(b, e.Odds, start, (*Odd).append)
	b = appendList(b, e.Openings, start, (*Opening).append)
	b = appendList(b, e.Names, start, (*Name).append)
	return appendList(b, e.Webs, start, (*Web).append)
}

func (e *Epoch) readLists(r *reader, start int64) {
	e.Pairs = readList(r, MaxPairs, leastPair, start, (*Pair).read, (*Pair).compare)
	e.Echoes = readList(r, MaxEchoes, leastEcho, start, (*Echo).read, (*Echo).compare)
	e.Odds = readList(r, MaxOdds, leastOdd, start, (*Odd).read, (*Odd).compare)
	e.Openings = readList(r, MaxOpenings, leastOpening, start, (*Opening).read, (*Opening).compare)
	e.Names = readList(r, MaxNames, leastName, start, (*Name).read, (*Name).compare)
	e.Webs = readList(r, MaxWebs, leastWeb, start, (*Web).read, (*Web).compare)
}

func appendList[V any](b []byte, list []V, start int64, write func(v *V, b []byte, start int64) []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for i := range list {
		b = write(&list[i], b, start)
	}
	return b
}

func readList[V any](r *reader, most, least int, start int64, read func(v *V, r *reader, start int64), compare func(a, b *V) int) []V {
	return list(r, most, least, func(v *V) { read(v, r, start) }, func(a, b *V) bool { return compare(a, b) < 0 })
}

// appendWhen appends a time that may be none.
func appendWhen(b []byte, t, start int64) []byte {
	if t == 0 {
		return append(b, 0)
	}
	return binary.AppendVarint(append(b, 1), t-start)
}

func (r *reader) when(start int64) int64 {
	if !r.bool() {
		return 0
	}
	t := r.time(start)
	if t == 0 {
		r.fail("time 0, must be left out")
	}
	return t
}

// appendSpan appends the first and the last of some times.
func appendSpan(b []byte, first, last, start int64) []byte {
	return binary.AppendVarint(binary.AppendVarint(b, first-start), last-start)
}

func (r *reader) counts(to ...*uint64) {
	for _, n := range to {
		*n = r.uvarint(math.MaxUint64)
	}
}

func (r *reader) counts32(to ...*uint32) {
	for _, n := range to {
		*n = r.count32()
	}
}

// appendText appends a text without the zeros after it.
func appendText(b []byte, text *[64]byte) []byte {
	t := padded(text)
	return append(append(b, uint8(len(t))), t...)
}

func (r *reader) text(to *[64]byte) {
	n := copy(to[:], r.bytes(int(r.below(uint8(len(to))+1))))
	if n > 0 && to[n-1] == 0 {
		r.fail("text that ends in zeros")
	}
}

func (k *PairKey) append(b []byte) []byte {
	b = appendAddr(appendAddr(b, k.Client), k.Server)
	return append(binary.LittleEndian.AppendUint16(b, k.Port), k.Proto, k.Ver)
}

func (k *PairKey) read(r *reader) {
	*k = PairKey{Client: r.addr(), Server: r.addr(), Port: r.uint16(), Proto: r.byte(), Ver: r.byte()}
}

func (s *Sum) append(b []byte) []byte { return appendCounts(b, s.N, s.Sum, s.Squares) }

func (s *Sum) read(r *reader) { r.counts(&s.N, &s.Sum, &s.Squares) }

func (p *Pair) append(b []byte, start int64) []byte {
	b = append(p.Key.append(b), uint8(p.Apps))
	b = appendCounts(b, p.Opened, p.Bursts, p.Closed, p.Short, p.Retrans, p.BackRetrans, p.RTTN)
	b = appendCounts(b, p.Packets, p.BackPackets, p.Bytes, p.BackBytes, p.Payload, p.BackPayload, p.RTT)
	b = p.Duration.append(p.Sizes[1].append(p.Sizes[0].append(b)))
	b = binary.LittleEndian.AppendUint64(b, p.Print)
	b = appendWhen(appendWhen(b, p.FirstOpened, start), p.LastBegun, start)
	return appendSpan(b, p.First, p.Last, start)
}

func (p *Pair) read(r *reader, start int64) {
	p.Key.read(r)
	if p.Apps = conn.Apps(r.byte()); p.Apps&^conn.AllApps != 0 {
		r.fail("application of no name")
	}
	r.counts32(&p.Opened, &p.Bursts, &p.Closed, &p.Short, &p.Retrans, &p.BackRetrans, &p.RTTN)
	r.counts(&p.Packets, &p.BackPackets, &p.Bytes, &p.BackBytes, &p.Payload, &p.BackPayload, &p.RTT)
	p.Sizes[0].read(r)
	p.Sizes[1].read(r)
	p.Duration.read(r)
	p.Print = r.uint64()
	p.FirstOpened, p.LastBegun = r.when(start), r.when(start)
	p.First, p.Last = r.time(start), r.time(start)
}

func (v *Echo) append(b []byte, start int64) []byte {
	b = append(appendAddr(appendAddr(b, v.Client), v.Server), v.Ver)
	b = appendCounts(b, v.Requests, v.Replies, v.Odd)
	b = appendCounts(b, v.RequestBytes, v.ReplyBytes)
	b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, v.MinSize), v.MaxSize)
	b = binary.LittleEndian.AppendUint64(b, v.Asked)
	return appendSpan(v.Contents.append(v.Sizes.append(b)), v.First, v.Last, start)
}

func (v *Echo) read(r *reader, start int64) {
	v.Client, v.Server, v.Ver = r.addr(), r.addr(), r.byte()
	r.counts32(&v.Requests, &v.Replies, &v.Odd)
	r.counts(&v.RequestBytes, &v.ReplyBytes)
	v.MinSize, v.MaxSize, v.Asked = r.uint16(), r.uint16(), r.uint64()
	v.Sizes.read(r)
	v.Contents.read(r)
	v.First, v.Last = r.time(start), r.time(start)
}

func (v *Odd) append(b []byte, start int64) []byte {
	b = appendAddr(appendAddr(append(b, uint8(v.Kind), v.Ver), v.Src), v.Dst)
	b = binary.AppendUvarint(binary.LittleEndian.AppendUint64(b, v.MAC), v.Count)
	return appendSpan(b, v.First, v.Last, start)
}

func (v *Odd) read(r *reader, start int64) {
	v.Kind, v.Ver = OddKind(r.below(uint8(OddKindCount))), r.below(8)
	v.Src, v.Dst, v.MAC, v.Count = r.addr(), r.addr(), r.uint64(), r.uvarint(math.MaxUint64)
	v.First, v.Last = r.time(start), r.time(start)
}

func (v *Opening) append(b []byte, start int64) []byte {
	k := &v.Key
	b = binary.LittleEndian.AppendUint64(appendAddr(b, k.Server), k.Hash)
	b = append(binary.LittleEndian.AppendUint16(b, k.Port), k.Proto, k.Ver, uint8(k.Kind))
	b = v.Sources.append(binary.AppendUvarint(b, v.Count))
	b = append(b, v.NSample)
	for _, c := range v.Sample[:v.NSample] {
		b = appendAddr(binary.LittleEndian.AppendUint64(b, c.Rank), c.Addr)
	}
	b = appendAddr(appendCounts(b, v.Mismatch), v.Mismatched)
	b = append(appendWhen(b, v.MismatchAt, start), v.AgentOS, v.SYNOS)
	return appendSpan(appendText(b, &v.Text), v.First, v.Last, start)
}

func (v *Opening) read(r *reader, start int64) {
	v.Key = OpeningKey{Server: r.addr(), Hash: r.uint64(), Port: r.uint16(), Proto: r.byte(), Ver: r.byte(), Kind: OpeningKind(r.below(uint8(OpeningKindCount)))}
	v.Count = r.uvarint(math.MaxUint64)
	v.Sources.read(r)
	v.NSample = r.below(uint8(len(v.Sample)) + 1)
	for i := range v.Sample[:v.NSample] {
		v.Sample[i] = OpeningSource{r.uint64(), r.addr()}
		if i > 0 && r.err == nil && v.Sample[i-1].compare(v.Sample[i]) >= 0 {
			r.fail("sample out of order")
		}
	}
	v.Mismatch, v.Mismatched, v.MismatchAt = r.count32(), r.addr(), r.when(start)
	v.AgentOS, v.SYNOS = r.byte(), r.byte()
	r.text(&v.Text)
	v.First, v.Last = r.time(start), r.time(start)
}

func (v *Name) append(b []byte, start int64) []byte {
	b = appendWhen(appendAddr(appendAddr(b, v.Client), v.Server), v.Asked, start)
	b = appendText(binary.LittleEndian.AppendUint64(append(b, v.Ver), v.Hash), &v.Domain)
	b = appendCounts(b, v.Queries, v.Answers, v.NX, v.Failed, v.TXT, v.Null, v.Rare, v.TCP)
	b = appendCounts(v.Labels.append(b), v.LabelBytes, v.Entropy, v.QueryBytes, v.AnswerBytes)
	return appendSpan(append(b, v.MaxLabel), v.First, v.Last, start)
}

func (v *Name) read(r *reader, start int64) {
	v.Client, v.Server, v.Asked, v.Ver, v.Hash = r.addr(), r.addr(), r.when(start), r.byte(), r.uint64()
	r.text(&v.Domain)
	r.counts32(&v.Queries, &v.Answers, &v.NX, &v.Failed, &v.TXT, &v.Null, &v.Rare, &v.TCP)
	v.Labels.read(r)
	r.counts(&v.LabelBytes, &v.Entropy, &v.QueryBytes, &v.AnswerBytes)
	v.MaxLabel = r.byte()
	v.First, v.Last = r.time(start), r.time(start)
}

func (v *Web) append(b []byte, start int64) []byte {
	b = appendAddr(v.Key.append(b), v.Via)
	b = appendCounts(b, v.Requests, v.Responses, v.S401, v.S403, v.S404, v.Posts, v.OddMethods)
	b = binary.LittleEndian.AppendUint16(appendCounts(b, v.Status[:]...), v.Methods)
	b = v.Agents.append(v.PostPaths.append(v.Missing.append(v.Paths.append(b))))
	b = appendCounts(b, v.RequestBytes, v.AnswerBytes)
	b = appendWhen(binary.LittleEndian.AppendUint64(b, v.Agent), v.AgentAt, start)
	return appendSpan(b, v.First, v.Last, start)
}

func (v *Web) read(r *reader, start int64) {
	v.Key.read(r)
	v.Via = r.addr()
	r.counts32(&v.Requests, &v.Responses, &v.S401, &v.S403, &v.S404, &v.Posts, &v.OddMethods)
	for i := range v.Status {
		v.Status[i] = r.count32()
	}
	v.Methods = r.uint16()
	for _, h := range [...]*HLL{&v.Paths, &v.Missing, &v.PostPaths, &v.Agents} {
		h.read(r)
	}
	r.counts(&v.RequestBytes, &v.AnswerBytes)
	v.Agent, v.AgentAt = r.uint64(), r.when(start)
	v.First, v.Last = r.time(start), r.time(start)
}
