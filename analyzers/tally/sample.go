package tally

import (
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

// sample is a bottom-k sample of headers of one class: those with the k least ranks of the tick. The rank is a keyed hash
// of the header and its time: the sample does not depend on order, and samples unite by keeping the least ranks again.
type sample struct {
	head  []Header // cap is k; once full, a heap with the highest rank on top
	limit uint64   // a header of this rank or above does not enter
}

func newSample(m *slab.Slab, k int) sample {
	return sample{head: slab.Carve[Header](m, k)[:0], limit: ^uint64(0)}
}

// put enters a header of a rank below the limit.
func (s *sample) put(h *Header) {
	if len(s.head) < cap(s.head) {
		s.head = append(s.head, *h)
		if len(s.head) < cap(s.head) {
			return
		}
		for i := len(s.head)/2 - 1; i >= 0; i-- {
			s.sink(i)
		}
	} else {
		s.head[0] = *h
		s.sink(0)
	}
	s.limit = s.head[0].Rank
}

// sink moves a header down the heap, below those of higher rank.
func (s *sample) sink(i int) {
	for {
		child := 2*i + 1
		if child >= len(s.head) {
			return
		}
		if child+1 < len(s.head) && s.head[child+1].Rank > s.head[child].Rank {
			child++
		}
		if s.head[i].Rank >= s.head[child].Rank {
			return
		}
		s.head[i], s.head[child] = s.head[child], s.head[i]
		i = child
	}
}

func (s *sample) reset() { s.head, s.limit = s.head[:0], ^uint64(0) }

// classOf says why a packet's header may be sampled; ClassCount: not at all. Packets of answered connections count as
// normal in the direction to the responder, which is where a gate would meet them.
func classOf(p *decode.Packet, ev conn.Event) Class {
	const inside = conn.EvAnswered | conn.EvEstablished
	switch {
	case ev&conn.EvFragment != 0 && ev&inside == 0: // also one whose datagram is not known
		return ClassFragment
	case ev&conn.EvUntracked != 0:
		return ClassCount
	case ev&conn.EvUnasked != 0:
		return ClassUnasked
	case ev&(conn.EvOrig|conn.EvStray) == 0:
		return ClassCount
	case p.Key.Proto == protoTCP && p.Flags&decode.FlagSYN != 0:
		if ev&conn.EvEstablished != 0 {
			return ClassCount
		}
		return ClassSYN
	case ev&inside != 0:
		return ClassNormal
	case p.Key.Proto == protoTCP:
		return ClassStray
	}
	return ClassUnanswered
}

// rankPacket is the rank of a packet's header: over its connection, time and what tells packets of one connection and
// time apart.
func (k *keys) rankPacket(p *decode.Packet) uint64 {
	rest := uint64(p.Seq)<<32 | uint64(p.IPID)<<16 | uint64(uint16(p.IPLen))
	return fold(fold(p.Hash^k[0], uint64(p.Time)^k[1])^rest, k[2])
}

// header copies what a sample keeps of a packet.
func header(h *Header, p *decode.Packet, class Class, rank uint64) {
	*h = Header{
		Rank: rank, Time: p.Time, Class: class,
		Proto: p.Key.Proto, Ver: p.Key.Ver,
		TTL: p.TTL, Len: uint16(min(p.IPLen, 0xffff)),
	}
	h.Src, h.SrcPort = p.Src()
	h.Dst, h.DstPort = p.Dst()
	if p.FragOff != 0 {
		return
	}
	if p.Key.Proto == protoTCP {
		h.Flags, h.Window, h.Layout = p.Flags, p.Window, p.Opt.Layout
	}
	if p.Payload < p.End && int(p.End) <= len(p.Data) {
		h.NPayload = uint8(copy(h.Payload[:], p.Data[p.Payload:p.End]))
	}
}

// headerOfSYN is the header of the handshake that a completed contact began with. Its source port is not known any more.
func headerOfSYN(h *Header, c *conn.Contact, k *keys) {
	*h = Header{
		Time: c.Time, Class: ClassNormalSYN,
		Src: c.Src, Dst: c.Dst, DstPort: c.Port, Proto: c.Proto, Ver: c.Ver,
		TTL: c.SYN.TTL, Len: c.SYN.Len, Flags: decode.FlagSYN, Window: c.SYN.Window, Layout: c.SYN.Layout,
	}
	h.Rank = fold(k.addrWith(c.Src, uint64(c.Time))^uint64(c.Port), k.addr(c.Dst))
}

// rankContact is the rank of a contact in the sample of its source: over the destination, protocol and port, and the probe
// if it has odd flags (see Shard.first).
func (k *keys) rankContact(c *conn.Contact) uint64 {
	probe := uint64(0)
	if oddFlags(c.Probe) {
		probe = uint64(c.Probe)
	}
	// A round more than a table needs: after one, the ranks of ports in a row are evenly spaced, and with an unlucky key those of
	// one host take the whole sample.
	return fold(k.addrWith(c.Dst, probe<<24|uint64(c.Proto)<<16|uint64(c.Port))^k[3], k[1])
}
