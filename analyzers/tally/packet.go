package tally

import (
	"weir/decode"
	"weir/decode/conn"
)

// ahead is how many packets are looked up together.
const ahead = 32

// lookup is what a packet counts for: a service, and where it was found.
type lookup struct {
	shard *Shard
	entry *Service // a guess; nil without one
	addr  decode.Addr
	word  uint64
	hash  uint64
	to    bool
}

// Packets counts the packets pkts[idx[i]] and what they meant to their connections, each as Packet of its shard. It works in
// stages, so that the cache misses of many packets overlap: the lines of the index, then the entries, then the counting. What
// the early stages found is a guess: an earlier packet may have pushed the entry out. The caller owns all shards named.
func Packets(shards []*Shard, pkts []decode.Packet, idx []uint16, ev []conn.Event) {
	var found [ahead]lookup
	for len(idx) > 0 {
		n := min(len(idx), ahead)
		for i, k := range idx[:n] {
			found[i].seek(shards[pkts[k].Shard%Shards], &pkts[k], ev[i])
		}
		for i := range found[:n] {
			if l := &found[i]; l.shard != nil {
				l.shard.touched += uint64(l.shard.services.known.bucket(l.hash)[0])
			}
		}
		for i := range found[:n] {
			if l := &found[i]; l.shard != nil {
				l.entry = l.shard.services.known.likely(l.hash)
			}
		}
		for i, k := range idx[:n] {
			if ev[i]&conn.EvOuter == 0 {
				shards[pkts[k].Shard%Shards].count(&pkts[k], ev[i], &found[i])
			}
		}
		idx, ev = idx[n:], ev[n:]
	}
}

// Packet counts one packet and what it meant to its connection.
func (s *Shard) Packet(p *decode.Packet, ev conn.Event) {
	if ev&conn.EvOuter != 0 {
		return
	}
	var l lookup
	l.seek(s, p, ev)
	s.count(p, ev, &l)
}

// seek names the service that a packet counts for, if any.
func (l *lookup) seek(s *Shard, p *decode.Packet, ev conn.Event) {
	l.shard, l.entry = nil, nil
	if p.Kind < decode.KindIPv4 || ev&conn.EvOuter != 0 {
		return
	}
	l.shard = s
	l.addr, l.word, l.to = serviceOf(p, ev)
	l.hash = s.keys.addrWith(l.addr, l.word)
}

// likely returns the first entry whose slot fits a hash, and loads it; nil if there is none.
func (t *serviceTable) likely(hash uint64) *Service {
	tag := tag(hash)
	for _, s := range t.bucket(hash) {
		if s == 0 {
			return nil
		}
		if s&^0xffff == tag {
			e := &t.entry[s&0xffff-1]
			t.touched += e.Key.Addr.Hi + e.UnansweredBytes
			return e
		}
	}
	return nil
}

// count counts a packet whose service was looked up.
func (s *Shard) count(p *decode.Packet, ev conn.Event, l *lookup) {
	s.used = true
	s.link.count(p, ev)
	if l.shard == nil {
		if p.Kind == decode.KindARP {
			s.arp(p)
		}
		return
	}
	v := l.entry
	if v == nil || v.Key.Addr != l.addr || v.Key.word() != l.word {
		v = s.services.find(l.addr, l.word, l.hash)
	}
	if l.to {
		v.towards(p, ev, &s.keys)
	} else {
		v.from(p, ev)
	}
	if p.PayloadLen != 0 && p.Key.Proto == protoTCP {
		v.Payload++
		v.Retrans += bit(ev, conn.EvRetrans)
	}
	if unusual(p, ev) {
		s.peculiar(p, ev)
	}
	if class := classOf(p, ev); class < ClassCount {
		if rank := s.keys.rankPacket(p); rank < s.samples[class].limit {
			var h Header
			header(&h, p, class, rank)
			s.samples[class].put(&h)
		}
	}
	if p.HasQuote && ev&conn.EvRefusal != 0 {
		s.services.at(quotedService(p)).Refused++
	}
	if p.Key.Proto == protoTCP && p.Flags&decode.FlagSYN != 0 {
		s.print(p, ev)
	}
}
