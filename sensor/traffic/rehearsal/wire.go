package rehearsal

import (
	"bufio"
	"encoding/binary"
	"io"
)

// Numbers of the headers that are written: EtherTypes, IP protocols, TCP flags.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17

	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagPSH = 8
	flagACK = 16

	ethernetHeader = 14
)

// writer writes frames as pcap with times in ns (draft-ietf-opsawg-pcap) and counts them.
type writer struct {
	out            *bufio.Writer
	buf            []byte
	packets, bytes uint64 // bytes on the wire
	last           int64  // time of the latest frame, ns
	err            error
}

// snapLen is what the head of the file says: no frame is longer.
const snapLen = 65535

func newWriter(to io.Writer) *writer {
	w := &writer{out: bufio.NewWriterSize(to, 1<<20), buf: make([]byte, 0, 4096)}
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xa1b23c4d)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], snapLen)
	binary.LittleEndian.PutUint32(head[20:], 1) // Ethernet
	_, w.err = w.out.Write(head)
	return w
}

// record is the head of a frame's record; its lengths are set by write.
const record = 16

// frame begins a record: the Ethernet header follows.
func (w *writer) frame(dst, src [6]byte, kind uint16) []byte {
	b := append(w.buf[:0], make([]byte, record)...)
	b = append(b, dst[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, kind)
}

// write ends a record whose frame had cut more bytes on the wire than b holds. Short frames are padded as Ethernet does.
func (w *writer) write(at int64, b []byte, cut int) {
	const least = record + 60
	for cut == 0 && len(b) < least {
		b = append(b, 0)
	}
	n := len(b) - record
	at = max(at, w.last) // a file is in order of time
	binary.LittleEndian.PutUint32(b[0:], uint32(at/1e9))
	binary.LittleEndian.PutUint32(b[4:], uint32(at%1e9))
	binary.LittleEndian.PutUint32(b[8:], uint32(n))
	binary.LittleEndian.PutUint32(b[12:], uint32(n+cut))
	if _, err := w.out.Write(b); w.err == nil {
		w.err = err
	}
	w.packets++
	w.bytes += uint64(n + cut)
	w.last = at
	w.buf = b[:0]
}

// datagram is one IP packet: its ends, its transport header and payload, of which all but the first bytes are zeros and cut.
type datagram struct {
	at       int64
	from, to *host
	v6       bool
	proto    byte
	id       uint16 // IPv4
	dontFrag bool
	l4       []byte // with a zero checksum
	sum      int    // offset of the checksum in l4; -1: none
	data     []byte // payload as captured
	size     int    // payload on the wire
}

// send writes a datagram with all lengths and checksums. What is cut are zeros, so that the checksum is right for it.
func (w *writer) send(d *datagram) {
	kind := uint16(etherIPv4)
	if d.v6 {
		kind = etherIPv6
	}
	b := w.frame(d.to.mac, d.from.mac, kind)
	ttl := d.from.system.ttl - d.from.hops
	length := len(d.l4) + d.size
	pseudo := uint32(d.proto) + uint32(length)
	at := len(b)
	if d.v6 {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(length))
		b = append(b, d.proto, ttl)
		b = append(b, d.from.ip6[:]...)
		b = append(b, d.to.ip6[:]...)
		pseudo += sum(b[at+8 : at+40])
	} else {
		flags := byte(0)
		if d.dontFrag {
			flags = 0x40
		}
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(20+length))
		b = binary.BigEndian.AppendUint16(b, d.id)
		b = append(b, flags, 0, ttl, d.proto, 0, 0)
		b = append(b, d.from.ip4[:]...)
		b = append(b, d.to.ip4[:]...)
		binary.BigEndian.PutUint16(b[at+10:], ^fold(sum(b[at:at+20])))
		pseudo += sum(b[at+12 : at+20])
	}
	if d.proto == protoICMP { // of version 4: without pseudo-header
		pseudo = 0
	}
	at = len(b)
	b = append(b, d.l4...)
	b = append(b, d.data...)
	if d.sum >= 0 {
		v := ^fold(pseudo + sum(b[at:]))
		if v == 0 && d.proto == protoUDP {
			v = 0xffff
		}
		binary.BigEndian.PutUint16(b[at+d.sum:], v)
	}
	w.write(d.at, b, d.size-len(d.data))
}

// sum adds 16-bit words (RFC 1071); an odd byte counts as followed by zero.
func sum(b []byte) (s uint32) {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// arp writes a request of everybody, or its answer.
func (w *writer) arp(at int64, op byte, from, to *host) {
	dst, asked := to.mac, to.mac
	if op == 1 {
		dst, asked = broadcast, [6]byte{}
	}
	b := w.frame(dst, from.mac, etherARP)
	b = append(b, 0, 1, 8, 0, 6, 4, 0, op)
	b = append(b, from.mac[:]...)
	b = append(b, from.ip4[:]...)
	b = append(b, asked[:]...)
	w.write(at, append(b, to.ip4[:]...), 0)
}

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
