package conn

import (
	"slices"

	"weir/decode"
)

// silentAfter is how long a contact may stay without an answer, in event time.
const silentAfter = int64(5e9)

// giveUp is how many contacts a full ring gives up at once; less than the smallest ring.
const giveUp = 8

// pending is a contact that waits for its outcome: a place in the ring, oldest first.
type pending struct {
	asked int64
	hash  uint64
}

// contact opens a contact if the first packet of a flow is one: a question to one host. Answer-shaped packets, stray
// traffic and outer tunnel packets are not; nor is anything sent to a group.
func (s *shard) contact(h *half, p *decode.Packet, asked int64, out *Out) {
	probe, ok := probeOf(p)
	if !ok || h.sender == 1 || h.bits&(bitUnasked|bitOuter) != 0 || group(p) {
		return
	}
	h.probe, h.marks = probe, marksOf(p)
	h.bits |= bitPending
	if h.asked = s.now; asked != notAsked {
		h.asked = asked
		return // the contact goes on; its place in the ring, too
	}
	s.emit(h, StageOpened, out)
	s.await(p.Hash, out)
}

// await enters a contact into the ring. A full ring gives up its oldest, several at once so that their cache misses
// overlap. It has room for more contacts than the half-open cache has: those given up were mostly overwritten before.
func (s *shard) await(hash uint64, out *Out) {
	mask := uint64(len(s.ring) - 1)
	if s.tail-s.head > mask {
		for range giveUp {
			if s.settle(s.ring[s.head&mask].hash, 0, StageUnknown, out) {
				s.stats.SilentLost++
			}
			s.head++
		}
	}
	s.ring[s.tail&mask] = pending{s.now, hash}
	s.tail++
}

// silence ends the contacts that waited long enough.
func (s *shard) silence(out *Out) {
	for s.head != s.tail {
		w := &s.ring[s.head&uint64(len(s.ring)-1)]
		if s.now-w.asked < silentAfter {
			return
		}
		s.settle(w.hash, silentAfter, StageSilent, out)
		s.head++
	}
}

// settle ends the contact of a hash if it still waits and has done so for at least the given time. An entry that took the
// place of the one in the ring waits for a place of its own.
func (s *shard) settle(hash uint64, waited int64, stage Stage, out *Out) bool {
	at := int(hash & uint64(len(s.sets)-1))
	for w := range ways {
		if s.sets[at].tag[w] != hash|1 {
			continue
		}
		h := &s.halves[at*ways+w]
		if h.bits&bitPending == 0 || s.now-h.asked < waited {
			return false
		}
		h.bits &^= bitPending
		s.emit(h, stage, out)
		return true
	}
	if s.waiting == 0 {
		return false
	}
	mask := uint64(len(s.index) - 1)
	for i, pos := 0, hash>>s.shift; i < maxProbe; i, pos = i+1, (pos+1)&mask {
		v := s.index[pos]
		if v == 0 {
			return false
		}
		if v&^slotMask != hash&^slotMask {
			continue
		}
		if c := s.conns.at(int(v&slotMask - 1)); c.hash == hash {
			if c.bits&bitPending == 0 || s.now-c.first < waited {
				return false
			}
			s.outcome(c, stage, out)
			return true
		}
	}
	return false
}

// unanswered is the outcome of a contact whose entry goes: silent if it had its time, else nobody knows.
func (s *shard) unanswered(asked int64) Stage {
	if s.now-asked >= silentAfter {
		return StageSilent
	}
	return StageUnknown
}

// progress moves the contact of a connection by a packet of side d.
func (s *shard) progress(c *conn, d int, seg *segment, out *Out) Event {
	var ev Event
	if d == 1 && c.bits&bitPending != 0 {
		switch {
		case seg.flags&flagRST != 0:
			ev = EvRefusal
			s.outcome(c, StageRefused, out)
		case c.probe != ProbeSYN || c.answersSYN(seg):
			s.outcome(c, StageAnswered, out)
			c.bits |= bitContact
		}
	}
	if d == 0 && c.proto == protoTCP && c.bits&bitProven == 0 && c.proves(seg) {
		c.bits |= bitProven
		ev |= EvProven
		s.tellPeer(c, out)
		if c.bits&bitMidstream == 0 {
			c.rtt = uint32(min((seg.now-c.first)/1e3, 1<<32-1))
		}
		if c.bits&bitContact != 0 {
			s.emitConn(c, StageProven, out)
		}
	}
	if c.more&moreBegun == 0 && c.begins() {
		s.begin(c, out)
	}
	return ev
}

// answersSYN tells whether a segment of the responder answers the SYN: it acknowledges the SYN (and at most what was sent
// with it), or is the other SYN of a simultaneous open.
func (c *conn) answersSYN(seg *segment) bool {
	if seg.flags&flagACK == 0 {
		return seg.flags&flagSYN != 0
	}
	x := &c.side[0]
	return seg.ack-x.start-1 <= x.last-x.start-1
}

// proves tells whether a segment of the originator proves its return path: the responder's SYN-ACK was seen, and this
// acknowledges its ISN+1 or later bytes that were sent.
func (c *conn) proves(seg *segment) bool {
	y := &c.side[1]
	if seg.flags&(flagACK|flagRST) != flagACK || y.flags&(flagSYN|flagACK) != flagSYN|flagACK || y.flags&seenSYN == 0 {
		return false
	}
	return seg.ack-y.start-1 <= y.last-y.start-1
}

// refusal attributes an ICMP error to the attempt it quotes. Only errors that say "not there" refuse, and only if what
// they quote was sent: its direction and, for TCP, its sequence number must fit.
func (s *shard) refusal(p *decode.Packet, out *Out) Event {
	const tooBig = 4 // fragmentation needed (RFC 1191): the host may well be there
	unreachable := p.Key.Proto == protoICMP && p.ICMPType == 3 && p.ICMPCode != tooBig ||
		p.Key.Proto == protoICMP6 && p.ICMPType == 1
	if !unreachable {
		return 0
	}
	if n := s.findHalf(p.QuoteHash, &p.Quote); n >= 0 {
		h := &s.halves[n]
		fits := p.QuoteReverse == (h.bits&bitOrigB != 0) && (h.proto != protoTCP || p.QuoteSeq == h.seq)
		if h.bits&bitPending == 0 || !fits {
			return 0
		}
		h.bits &^= bitPending
		s.emit(h, StageRefused, out)
		return EvRefusal
	}
	c := s.find(p.QuoteHash, &p.Quote)
	if c == nil || c.bits&bitPending == 0 || c.sender(p.QuoteReverse) != 0 {
		return 0
	}
	if x := &c.side[0]; c.proto == protoTCP && p.QuoteSeq-x.start > x.last-x.start {
		return 0
	}
	s.outcome(c, StageRefused, out)
	return EvRefusal
}

// outcome ends the waiting of a connection's contact.
func (s *shard) outcome(c *conn, stage Stage, out *Out) {
	c.bits &^= bitPending
	s.waiting--
	s.emitConn(c, stage, out)
}

// emit tells a step of a half-open entry's contact; its sender is the originator. The step is written where it will be read,
// since a copy of fields just written would wait for them.
func (s *shard) emit(h *half, stage Stage, out *Out) {
	n := len(out.Contacts)
	out.Contacts = slices.Grow(out.Contacts, 1)[:n+1]
	c := &out.Contacts[n]
	c.Src, c.Dst, c.Port = h.a, h.b, h.portB
	if h.bits&bitOrigB != 0 {
		c.Src, c.Dst, c.Port = h.b, h.a, h.portA
	}
	if h.proto != protoTCP && h.proto != protoUDP && h.proto != protoLite {
		c.Port = 0
	}
	c.Time, c.Stage, c.Shard = s.now, stage, s.id
	c.Proto, c.Ver, c.Probe, c.Marks = h.proto, h.ver, h.probe, h.marks
	c.SYN = SYN{}
	if h.probe == ProbeSYN && h.proto == protoTCP {
		c.SYN.Layout, c.SYN.Window, c.SYN.Len, c.SYN.TTL = h.layout, h.window, h.length, h.ttl
	}
}

// emitConn is emit for a connection in the table.
func (s *shard) emitConn(c *conn, stage Stage, out *Out) {
	h := half{
		a: c.a, b: c.b, portA: c.portA, portB: c.portB, proto: c.proto, ver: c.ver, bits: c.bits, probe: c.probe,
		marks: c.marks, layout: c.layout, window: c.window, length: c.length, ttl: c.ttl,
	}
	s.emit(&h, stage, out)
}

// probeOf tells how a first packet tries its target.
func probeOf(p *decode.Packet) (Probe, bool) {
	switch p.Key.Proto {
	case protoTCP:
		return probeOfTCP(p)
	case protoUDP, protoLite:
		return ProbeUDP, !leases(p)
	case protoICMP:
		return ProbeEcho, p.ICMPType == 8
	case protoICMP6:
		return ProbeEcho, p.ICMPType == 128
	}
	return ProbeOther, false
}

// leases tells a DHCP server's answer: its question went to everybody, from a host that had no address yet (RFC 2131, section 4.1;
// DHCPv6: RFC 8415, section 7.2).
func leases(p *decode.Packet) bool {
	_, from := p.Src()
	_, to := p.Dst()
	return from == 67 && to == 68 || from == 547 && to == 546
}

// probeOfTCP classifies flags as nmap(1) names its scans. RST and SYN-ACK are no probes but answers, a FIN-ACK or ACK
// with payload is mid-stream traffic.
func probeOfTCP(p *decode.Packet) (Probe, bool) {
	const psh, urg = decode.FlagPSH, decode.FlagURG
	flags := p.Flags & (flagFIN | flagSYN | flagRST | flagACK | psh | urg)
	switch {
	case flags&(flagSYN|flagACK|flagRST|flagFIN) == flagSYN:
		return ProbeSYN, true
	case flags&flagRST != 0 || flags&(flagSYN|flagACK) == flagSYN|flagACK:
		return 0, false
	case flags == 0:
		return ProbeNull, true
	case flags == flagFIN:
		return ProbeFIN, true
	case flags == flagFIN|psh|urg:
		return ProbeXmas, true
	case flags == flagFIN|flagACK:
		return ProbeMaimon, p.PayloadLen == 0
	case flags == flagACK:
		return ProbeACK, p.PayloadLen == 0
	case flags&flagACK != 0:
		return 0, false
	}
	return ProbeOddTCP, true
}

// marksOf finds the habits of scanning tools in a first packet's header: ZMap's fixed IP id (zmap src/probe_modules),
// masscan's id derived from target and sequence number (masscan src/templ-pkt.c), Mirai's sequence number (scanner.c of
// its leaked source), Nmap's window and sole MSS option (nmap scan_engine_raw.cc).
func marksOf(p *decode.Packet) Marks {
	var m Marks
	if p.Key.Ver == 4 && p.IPID == 54321 {
		m |= MarkZMap
	}
	if p.Key.Proto != protoTCP {
		return m
	}
	dst, port := p.Dst()
	if p.Key.Ver == 4 && p.IPID == uint16(dst.Lo)^port^uint16(p.Seq) {
		m |= MarkMasscan
	}
	if p.Key.Ver == 4 && p.Seq == uint32(dst.Lo) {
		m |= MarkMirai
	}
	if p.Opt.Present == decode.OptMSS && p.Opt.Len == 4 && p.Window&^0x0c00 == 0 && p.Window != 0 ||
		p.Opt.Present == decode.OptMSS && p.Opt.Len == 4 && p.Window == 4096 {
		m |= MarkNmap
	}
	return m
}

// group tells whether a packet goes to many: multicast, or the limited broadcast address.
func group(p *decode.Packet) bool {
	dst, _ := p.Dst()
	if p.Key.Ver == 6 {
		return dst.Hi>>56 == 0xff
	}
	return uint32(dst.Lo)>>28 == 0xe || uint32(dst.Lo) == 0xffffffff
}

// arp keeps ARP in the half-open cache: a request is a contact, a reply answers it.
func (s *shard) arp(p *decode.Packet, out *Out) Event {
	n := s.findHalf(p.Hash, &p.Key)
	if n >= 0 && s.halfExpired(n) {
		s.endHalf(n, CloseIdle, out)
		n = -1
	}
	if n >= 0 {
		h := &s.halves[n]
		s.sets[n/ways].last[n%ways] = s.now
		if p.ARPOp == 2 && h.bits&bitPending != 0 && p.Reverse != (h.bits&bitOrigB != 0) {
			h.bits &^= bitPending
			s.emit(h, StageAnswered, out)
		}
		return EvUntracked
	}
	src, _ := p.Src()
	if dst, _ := p.Dst(); p.ARPOp != 1 || src == dst || uint32(src.Lo) == 0 {
		return EvUntracked // announcements and address probes ask nobody
	}
	s.stats.Opened++
	h := s.addHalf(p.Hash, out)
	h.a, h.b, h.disc, h.first, h.asked = p.Key.A, p.Key.B, p.Key.Disc, s.now, s.now
	if p.Reverse {
		h.bits = bitOrigB
	}
	h.bits |= bitPending
	h.probe = ProbeARP
	s.emit(h, StageOpened, out)
	s.await(p.Hash, out)
	return EvUntracked
}
