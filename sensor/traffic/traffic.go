// Package traffic makes captures for benchmarks and tests of bounds: the same bytes for the same kind, count and seed. It
// serves measurement only; what an analyzer must find is shown by captures of real tools (pcaps).
package traffic

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// Kinds are the kinds of traffic that Write knows.
var Kinds = []string{"mix", "synflood", "scan", "sources", "ports"}

// start is the first packet's time: 2026-01-01 00:00:00 UTC, ns.
const start = 1767225600e9

// Write writes a pcap of n packets of a kind: mix (64 k concurrent TCP and UDP connections, IMIX sizes, a fifth IPv6, a
// tenth VLAN-tagged; 500 kpps), synflood (SYNs of a million sources to one service; 500 kpps), scan (half mix, half SYNs of one
// source to 65,536 ports of each of 16 hosts), sources (SYNs of as many spoofed sources as packets; 1 Mpps) or ports (one source's SYNs
// to as many ports; 200 kpps).
func Write(w io.Writer, kind string, n int) error {
	out := bufio.NewWriterSize(w, 1<<20)
	s, err := NewStream(kind)
	if err != nil {
		return err
	}
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b23c4d) // pcap with ns (draft-ietf-opsawg-pcap)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], 262144)
	binary.LittleEndian.PutUint32(head[20:], 1)
	out.Write(head)
	var rec [16]byte
	memory := make([]byte, MaxFrame)
	for range n {
		frame, now := s.Next(memory)
		binary.LittleEndian.PutUint32(rec[0:], uint32(now/1e9))
		binary.LittleEndian.PutUint32(rec[4:], uint32(now%1e9))
		binary.LittleEndian.PutUint32(rec[8:], uint32(len(frame)))
		binary.LittleEndian.PutUint32(rec[12:], uint32(len(frame)))
		out.Write(rec[:])
		out.Write(frame)
	}
	return out.Flush() // bufio keeps the first error
}

// MaxFrame is how long a frame can be.
const MaxFrame = 1514

// Stream makes the frames of a kind of traffic one by one, without end.
type Stream struct {
	g    generator
	step func(i int)
	n    int
}

// NewStream is for one of Kinds.
func NewStream(kind string) (*Stream, error) {
	s := &Stream{g: generator{rnd: 0x9e3779b97f4a7c15, now: start}}
	var err error
	s.step, err = s.g.step(kind)
	return s, err
}

// Next makes the next frame in memory, which has MaxFrame bytes, and tells its time in ns since 1970. Payload is what was in
// the memory.
func (s *Stream) Next(memory []byte) (frame []byte, now int64) {
	s.g.frame = memory
	s.step(s.n)
	s.n++
	return memory[:s.g.size], s.g.now
}

type generator struct {
	rnd   uint64
	now   int64
	frame []byte
	size  int
	flows []flow
	mixed int // packets of the mix so far
}

// step returns the function that emits the i-th packet.
func (g *generator) step(kind string) (func(i int), error) {
	switch kind {
	case "mix":
		g.startFlows()
		return func(int) { g.now += 2000; g.mix() }, nil
	case "synflood":
		return func(i int) { g.now += 2000; g.syn(uint32(g.random()%1e6), 0, 80) }, nil
	case "scan":
		g.startFlows()
		return func(i int) {
			g.now += 2000
			if i%2 == 0 {
				g.mix()
				return
			}
			g.syn(scanner, byte(i>>17&15), uint16(i>>1))
		}, nil
	case "sources":
		return func(i int) { g.now += 1000; g.syn(uint32(i)*2654435761, 0, 80) }, nil
	case "ports":
		return func(i int) { g.now += 5000; g.syn(scanner, byte(i>>16), uint16(i)) }, nil
	}
	return nil, fmt.Errorf("kind of traffic %q: known are %v", kind, Kinds)
}

const scanner = 0xc6336407 // 198.51.100.7

// random is xorshift64* (Vigna 2016).
func (g *generator) random() uint64 {
	g.rnd ^= g.rnd >> 12
	g.rnd ^= g.rnd << 25
	g.rnd ^= g.rnd >> 27
	return g.rnd * 2685821657736338717
}

// syn emits a bare 60-byte SYN from src to 10.20.0.host.
func (g *generator) syn(src uint32, host byte, port uint16) {
	f := flow{src: src, dst: 0x0a140000 | uint32(host), sport: uint16(g.random()), dport: port, proto: 6}
	f.isn = uint32(g.random())
	g.emit(&f, true, tcpSYN, f.isn, 0, 0)
}

const (
	concurrent = 65536
	tcpFIN     = 1
	tcpSYN     = 2
	tcpPSH     = 8
	tcpACK     = 16
)

// flow is a conversation between a client and a server, a step at a time.
type flow struct {
	src, dst     uint32
	sport, dport uint16
	proto        byte
	v6, vlan     bool
	at, packets  int
	isn          uint32
	seq, ack     uint32 // next of the client and of the server
}

func (g *generator) startFlows() {
	g.flows = make([]flow, concurrent)
	for i := range g.flows {
		g.newFlow(&g.flows[i])
	}
}

func (g *generator) newFlow(f *flow) {
	r := g.random()
	ports := [...]uint16{443, 80, 443, 25, 993, 8080, 443, 22}
	*f = flow{
		src: 0xc6120000 | uint32(r&0x3fff), dst: 0x0a140000 | g.server(), sport: uint16(32768 + r>>32&0x7fff),
		dport: ports[r>>48&7], proto: 6, v6: r>>56&7 == 0 || r>>56&7 == 5, vlan: r>>59%10 == 0,
		packets: 8 + int(r>>20&31), isn: uint32(r >> 13),
	}
	if r>>60&3 == 0 {
		f.proto, f.dport = 17, 53
		f.packets = 2
		if r>>52&3 == 0 {
			f.dport, f.packets = 443, 24
		}
	}
	f.seq, f.ack = f.isn+1, ^f.isn+1
}

// server is a number below 512, the smaller the more often, as popularity goes: its length in bits is uniform from 4 to 9.
func (g *generator) server() uint32 {
	r := g.random()
	return uint32(r>>8) & (1<<(4+r%6) - 1)
}

// mix emits the next packet of a random flow.
func (g *generator) mix() {
	g.mixed++
	f := &g.flows[g.random()%uint64(min(concurrent, 64+g.mixed/8))] // not all connections begin at once
	client := f.at%2 == 0
	size := [...]int{18, 18, 18, 18, 18, 18, 18, 524, 524, 524, 524, 1400}[g.random()%12]
	switch {
	case f.proto == 17:
		g.emit(f, client, 0, 0, 0, size)
	case f.at == 0:
		g.emit(f, true, tcpSYN, f.isn, 0, 0)
	case f.at == 1:
		g.emit(f, false, tcpSYN|tcpACK, ^f.isn, f.seq, 0)
	case f.at == 2:
		g.emit(f, true, tcpACK, f.seq, f.ack, 0)
	case f.at >= f.packets:
		g.emit(f, client, tcpFIN|tcpACK, g.side(f, client, 1), g.other(f, client), 0)
	default:
		g.emit(f, client, tcpPSH|tcpACK, g.side(f, client, size), g.other(f, client), size)
	}
	if f.at++; f.at > f.packets+1 || f.proto == 17 && f.at >= f.packets {
		g.newFlow(f)
	}
}

// side returns a side's next sequence number and moves it on by n.
func (g *generator) side(f *flow, client bool, n int) uint32 {
	p := &f.seq
	if !client {
		p = &f.ack
	}
	*p += uint32(n)
	return *p - uint32(n)
}

func (g *generator) other(f *flow, client bool) uint32 {
	if client {
		return f.ack
	}
	return f.seq
}

// emit makes one frame of a flow.
func (g *generator) emit(f *flow, client bool, flags byte, seq, ack uint32, payload int) {
	src, dst, sport, dport := f.src, f.dst, f.sport, f.dport
	if !client {
		src, dst, sport, dport = dst, src, dport, sport
	}
	b := append(g.frame[:0], 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
	if f.vlan {
		b = append(b, 0x81, 0, 0, 7)
	}
	l4 := 20
	if f.proto == 17 {
		l4 = 8
	}
	if f.v6 {
		b = append(b, 0x86, 0xdd, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(l4+payload))
		b = append(b, f.proto, 57)
		for _, a := range [...]uint32{src, dst} {
			b = append(b, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0)
			b = binary.BigEndian.AppendUint32(b, a)
		}
	} else {
		b = append(b, 8, 0, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+l4+payload))
		b = append(b, byte(seq>>8), byte(seq), 0x40, 0, 57, f.proto, 0, 0)
		b = binary.BigEndian.AppendUint32(b, src)
		b = binary.BigEndian.AppendUint32(b, dst)
	}
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	if f.proto == 17 {
		b = binary.BigEndian.AppendUint16(b, uint16(8+payload))
		b = append(b, 0, 0)
	} else {
		b = binary.BigEndian.AppendUint32(b, seq)
		b = binary.BigEndian.AppendUint32(b, ack)
		b = append(b, 0x50, flags, 0x72, 0x10, 0, 0, 0, 0)
	}
	g.size = max(len(b)+payload, 60)
}
