package tally

import (
	"math/bits"

	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

// IP protocols that the tallies tell apart (IANA Protocol Numbers).
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// services are the destination services of one shard and tick. When there is no room for a new one, the one with the fewest
// packets of its neighbourhood is folded into its host. Hosts are first come, first served; what does not fit is counted.
type services struct {
	known, hosts serviceTable
	keys         keys
	lost         uint64 // packets that no entry counts any more
}

// serviceTable is one bounded table of services.
type serviceTable struct {
	index
	entry   []Service
	weight  func(place int) uint64
	touched uint64 // keeps early loads from being optimised away
}

func newServiceTable(m *slab.Slab, entries int) serviceTable {
	t := serviceTable{index: newIndex(m, entries), entry: slab.Carve[Service](m, entries)}
	entry := t.entry
	t.weight = func(place int) uint64 { return entry[place].weight() }
	return t
}

// used are the entries in use, in the order in which they were made.
func (t *serviceTable) used() []Service { return t.entry[:len(t.hash)] }

// weight is the evidence of a service: its packets.
func (v *Service) weight() uint64 { return v.Packets + v.BackPackets }

// word packs what is not the address, in the order of ServiceKey.Less but for the version.
func (k *ServiceKey) word() uint64 {
	return uint64(k.Ver)<<32 | uint64(k.Proto)<<24 | uint64(k.Port)<<8 | uint64(k.Role)
}

func newServices(m *slab.Slab, entries, hosts int, k keys) *services {
	return &services{known: newServiceTable(m, entries), hosts: newServiceTable(m, hosts), keys: k}
}

// find returns the entry of a key, nil if there is none. Keys travel in registers: comparing through memory cost more than
// the look-up.
func (t *serviceTable) find(addr decode.Addr, word, hash uint64) *Service {
	tag := tag(hash)
	for _, s := range t.bucket(hash) {
		if s == 0 {
			return nil
		}
		if s&^0xffff == tag {
			if e := &t.entry[s&0xffff-1]; e.Key.Addr == addr && e.Key.word() == word {
				return e
			}
		}
	}
	return nil
}

// at finds or makes the entry of a key.
func (t *services) at(addr decode.Addr, word uint64) *Service {
	return t.find(addr, word, t.keys.addrWith(addr, word))
}

// find is at for a key whose hash is known.
func (t *services) find(addr decode.Addr, word, hash uint64) *Service {
	if e := t.known.find(addr, word, hash); e != nil {
		return e
	}
	return t.add(addr, word, hash)
}

// add makes the entry of a key.
func (t *services) add(addr decode.Addr, word, hash uint64) *Service {
	place, ok := t.known.free(hash)
	if !ok {
		place = t.known.least(hash, t.known.weight)
		t.fold(&t.known.entry[place])
		t.known.replace(place, hash)
	}
	e := &t.known.entry[place]
	*e = Service{}
	e.Key.Addr, e.Key.Ver, e.Key.Proto, e.Key.Port, e.Key.Role = addr, uint8(word>>32), uint8(word>>24), uint16(word>>8), Role(word)
	return e
}

// fold adds a service to its host.
func (t *services) fold(v *Service) {
	k := ServiceKey{Addr: v.Key.Addr, Proto: v.Key.Proto, Ver: v.Key.Ver, Role: RoleFolded}
	hash := t.keys.addrWith(k.Addr, k.word())
	host := t.hosts.find(k.Addr, k.word(), hash)
	if host == nil {
		place, ok := t.hosts.free(hash)
		if !ok {
			t.lost += v.weight()
			return
		}
		host = &t.hosts.entry[place]
		*host = Service{Key: k}
	}
	host.add(v)
}

// reset forgets the tick. Entries are cleared when they are given out.
func (t *services) reset() {
	t.known.reset()
	t.hosts.reset()
	t.lost = 0
}

// add adds the counts of o.
func (v *Service) add(o *Service) {
	v.Packets += o.Packets
	v.Bytes += o.Bytes
	v.BackPackets += o.BackPackets
	v.BackBytes += o.BackBytes
	v.Unanswered += o.Unanswered
	v.UnansweredBytes += o.UnansweredBytes
	v.Fragments += o.Fragments
	v.FragBytes += o.FragBytes
	v.StrayACK += o.StrayACK
	v.StrayACKBytes += o.StrayACKBytes
	v.StrayRST += o.StrayRST
	v.StrayRSTBytes += o.StrayRSTBytes
	v.Opened += o.Opened
	v.SYN += o.SYN
	v.SYNACK += o.SYNACK
	v.Proven += o.Proven
	v.Refused += o.Refused
	v.Slow += o.Slow
	v.Payload += o.Payload
	v.Retrans += o.Retrans
	if o.RTTN > 0 {
		v.addRTT(o)
	}
	v.Sources.Merge(&o.Sources)
}

// addRTT adds the round trips of o.
func (v *Service) addRTT(o *Service) {
	v.RTTN += o.RTTN
	v.RTT += o.RTT
	for i, n := range o.RTTs {
		v.RTTs[i] = uint16(min(uint32(v.RTTs[i])+uint32(n), 0xffff))
	}
}

// roundTrip counts the time that a handshake took, in µs.
func (v *Service) roundTrip(rtt uint32) {
	v.RTTN++
	v.RTT += uint64(rtt)
	class := min(max(bits.Len32(rtt)-7, 0), len(v.RTTs)-1)
	v.RTTs[class] = uint16(min(uint32(v.RTTs[class])+1, 0xffff))
}

// serviceOf names the service that a packet of an IP connection belongs to, and whether the packet goes to it. What is
// outside of every connection belongs to its receiver.
func serviceOf(p *decode.Packet, ev conn.Event) (addr decode.Addr, word uint64, to bool) {
	const outside = conn.EvOrig | conn.EvStray | conn.EvUntracked
	role, port, far := RoleServer, uint16(0), uint16(0) // far: the port of the other end
	to = ev&(outside|conn.EvUnasked) != 0 || p.HasQuote || p.FragOff != 0
	if to == p.Reverse {
		addr, port, far = p.Key.A, p.Key.PortA, p.Key.PortB
	} else {
		addr, port, far = p.Key.B, p.Key.PortB, p.Key.PortA
	}
	if ev&(conn.EvUnasked|conn.EvStray) == conn.EvUnasked && p.FragOff == 0 {
		role, port = RoleAnswer, far
	}
	if !hasPorts(p.Key.Proto) || p.FragOff != 0 {
		port = 0
	}
	return addr, uint64(p.Key.Ver)<<32 | uint64(p.Key.Proto)<<24 | uint64(port)<<8 | uint64(role), to
}

// hasPorts reports whether the ports of a protocol name services. Those of ICMP are types.
func hasPorts(proto uint8) bool { return proto != protoICMP && proto != protoICMPv6 }

// quotedService names the service that the packet in an ICMP error was sent to.
func quotedService(p *decode.Packet) (decode.Addr, uint64) {
	q := &p.Quote
	k := ServiceKey{Addr: q.B, Port: q.PortB, Proto: q.Proto, Ver: q.Ver}
	if p.QuoteReverse {
		k.Addr, k.Port = q.A, q.PortA
	}
	if !hasPorts(k.Proto) {
		k.Port = 0
	}
	return k.Addr, k.word()
}

// towards counts a packet to the service.
func (v *Service) towards(p *decode.Packet, ev conn.Event, k *keys) {
	bytes := uint64(p.WireLen)
	v.Packets++
	v.Bytes += bytes
	if stray(p, ev) {
		if p.Flags&decode.FlagRST != 0 {
			v.StrayRST++
			v.StrayRSTBytes += bytes
		} else {
			v.StrayACK++
			v.StrayACKBytes += bytes
		}
	} else if unanswered(p, ev) {
		v.Unanswered++
		v.UnansweredBytes += bytes
	}
	const outside = conn.EvNew | conn.EvAttempt | conn.EvStray | conn.EvUnasked | conn.EvFragment
	const rare = outside | conn.EvProven
	if ev&rare == 0 {
		return
	}
	v.Opened += bit(ev, conn.EvNew)
	v.SYN += bit(ev, conn.EvAttempt)
	v.Proven += bit(ev, conn.EvProven)
	if ev&conn.EvFragment != 0 {
		v.Fragments++
		v.FragBytes += bytes
	}
	if ev&outside != 0 {
		src, _ := p.Src()
		v.Sources.Add(k.addr(src))
	}
}

// from counts a packet of the service.
func (v *Service) from(p *decode.Packet, ev conn.Event) {
	v.BackPackets++
	v.BackBytes += uint64(p.WireLen)
	const synack = decode.FlagSYN | decode.FlagACK
	if p.Key.Proto == protoTCP && p.Flags&synack == synack && ev&conn.EvRetrans == 0 {
		v.SYNACK++
	}
	v.Opened += bit(ev, conn.EvNew)
	v.Refused += bit(ev, conn.EvRefusal)
}

// stray reports whether a packet to a service is TCP without SYN outside of any connection. More packets after the first
// one of these make a connection of their own; they stay stray until the other side is seen.
func stray(p *decode.Packet, ev conn.Event) bool {
	const inside = conn.EvAnswered | conn.EvEstablished | conn.EvUntracked | conn.EvUnasked
	return ev&conn.EvStray != 0 || ev&inside == 0 && p.Key.Proto == protoTCP && p.Flags&decode.FlagSYN == 0 && p.FragOff == 0
}

// unanswered reports whether a packet to a service belongs to a connection without any answer so far. A SYN stays
// unanswered until the handshake is complete: a flood's are answered by SYN-ACKs that prove nothing.
func unanswered(p *decode.Packet, ev conn.Event) bool {
	if p.Key.Proto == protoTCP && p.Flags&decode.FlagSYN != 0 {
		return ev&conn.EvEstablished == 0
	}
	return ev&(conn.EvAnswered|conn.EvEstablished|conn.EvUntracked|conn.EvRefusal) == 0
}

// bit is 1 if an event has bit b.
func bit(ev, b conn.Event) uint32 {
	if ev&b != 0 {
		return 1
	}
	return 0
}
