package rehearsal

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// datagrams are packets of UDP or ICMP between two hosts, which end hands to the queue in order of time.
type exchange struct {
	g            *generator
	from, to     *host
	sport, dport uint16
	v6           bool
	now          int64
	list         []message
}

type message struct {
	at   int64
	side uint8
	size int32
	data []byte
}

// udp begins an exchange from a random port.
func (g *generator) udp(now int64, from, to *host, port uint16) *exchange {
	return &exchange{g: g, from: from, to: to, sport: uint16(32768 + g.r.IntN(28000)), dport: port, now: now}
}

// ask sends a datagram of the client; answer one of the server, which takes a while to think.
func (x *exchange) ask(data []byte, size int) {
	x.list = append(x.list, message{x.now, 0, int32(max(size, len(data))), data})
	x.now += 2*x.to.delay + 20_000
}

func (x *exchange) answer(think time.Duration, data []byte, size int) {
	x.now += int64(think)
	x.list = append(x.list, message{x.now, 1, int32(max(size, len(data))), data})
	x.now += 2*x.from.delay + 20_000
}

// end queues the datagrams.
func (x *exchange) end() {
	slices.SortStableFunc(x.list, func(a, b message) int { return cmp.Compare(a.at, b.at) })
	if len(x.list) == 0 {
		return
	}
	i := 0
	x.g.queue.push(x.list[0].at, func(int64) int64 {
		x.send(&x.list[i])
		if i++; i == len(x.list) {
			return done
		}
		return x.list[i].at
	})
}

func (x *exchange) send(m *message) {
	from, to, sport, dport := x.from, x.to, x.sport, x.dport
	if m.side == 1 {
		from, to, sport, dport = to, from, dport, sport
	}
	b := binary.BigEndian.AppendUint16(x.g.header[:0], sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	b = binary.BigEndian.AppendUint16(b, uint16(8+m.size))
	b = append(b, 0, 0)
	from.id++
	x.g.out.send(&datagram{
		at: m.at, from: from, to: to, v6: x.v6, proto: protoUDP, id: from.id, dontFrag: from.system.ids != idHost,
		l4: b, sum: 6, data: m.data, size: int(m.size),
	})
}

// ping sends echo requests a second apart, which are answered if the host lives.
func (g *generator) ping(now int64, from, to *host, count int, alive bool) {
	id := uint16(g.r.Uint32())
	body := make([]byte, 56)
	for i := range body {
		body[i] = byte(i)
	}
	seq := uint16(0)
	var request task
	echo := func(at int64, kind byte, from, to *host, seq uint16) {
		b := append(g.header[:0], kind, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, id)
		b = binary.BigEndian.AppendUint16(b, seq)
		from.id++
		g.out.send(&datagram{at: at, from: from, to: to, proto: protoICMP, id: from.id, dontFrag: kind == 8, l4: b, sum: 2, data: body, size: len(body)})
	}
	request = func(at int64) int64 {
		seq++
		echo(at, 8, from, to, seq)
		if alive {
			seq := seq
			g.queue.push(at+2*to.delay+30_000, func(at int64) int64 { echo(at, 0, to, from, seq); return done })
		}
		if int(seq) == count {
			return done
		}
		return at + int64(time.Second)
	}
	g.queue.push(now, request)
}
