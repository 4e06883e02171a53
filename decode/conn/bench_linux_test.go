package conn

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"weir/decode"
)

// load is generated traffic: packets that are decoded already.
type load struct {
	d    *decode.Decoder
	buf  []byte
	pkts []decode.Packet
	idx  []uint16
	ev   []Event
	out  Out
}

func newLoad() *load {
	l := &load{d: decode.NewDecoder(1), buf: make([]byte, 0, 64), pkts: make([]decode.Packet, 64), ev: make([]Event, 64)}
	for i := range l.pkts {
		l.idx = append(l.idx, uint16(i))
	}
	l.out.Contacts = make([]Contact, 0, 1<<16)
	return l
}

// set decodes a frame into packet i.
func (l *load) set(i int, now int64, b []byte) {
	l.d.Decode(&decode.Frame{Data: b, Time: now, WireLen: uint32(len(b)), Link: decode.LinkRaw}, &l.pkts[i])
}

func (l *load) run(t *Tables) {
	t.Process(l.pkts, l.idx, l.ev, &l.out)
	l.out.Contacts, l.out.Peers = l.out.Contacts[:0], l.out.Peers[:0]
}

// warm starts a measurement of the thread's CPU time, which other load on the machine disturbs least; call the result at
// the end.
func warm(b *testing.B) func() {
	runtime.LockOSThread()
	cpu := func() int64 {
		var r unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &r); err != nil {
			b.Fatal(err)
		}
		return r.Utime.Nano() + r.Stime.Nano()
	}
	b.ReportAllocs()
	b.ResetTimer()
	from := cpu()
	return func() {
		b.ReportMetric(float64(cpu()-from)/float64(b.N), "cpu-ns/op")
		runtime.UnlockOSThread()
	}
}

// name is what tells one generated packet from another; the rest is kept in 64 packets, as in a worker.
type name struct {
	a, hash uint64
	shard   uint8
	reverse bool
}

func (l *load) use(i int, n name) {
	p := &l.pkts[i]
	p.Key.A.Lo, p.Hash, p.Shard, p.Reverse = n.a, n.hash, n.shard, n.reverse
}

// benchmarkHit updates n established connections in random order, in batches of 64, with payload.
func benchmarkHit(b *testing.B, n int, record func(*Record)) {
	t := newTables(b, Defaults())
	l := newLoad()
	l.out.Record = record
	names := make([]name, n)
	for i := range n {
		src, dst := 0x0a000000+uint32(i), uint32(0xc0000201)
		for j, f := range [][]byte{
			frame(nil, protoTCP, src, dst, 40000, 80, 100, 0, 0x02, 0),
			frame(nil, protoTCP, dst, src, 80, 40000, 900, 101, 0x12, 0),
			frame(nil, protoTCP, src, dst, 40000, 80, 101, 901, 0x10, 0),
		} {
			l.set(0, 1e9+int64(i)*1000+int64(j), f)
			t.Process(l.pkts, l.idx[:1], l.ev, &l.out)
			l.out.Contacts, l.out.Peers = l.out.Contacts[:0], l.out.Peers[:0]
		}
		p := &l.pkts[0]
		names[i] = name{a: p.Key.A.Lo, hash: p.Hash, shard: p.Shard, reverse: p.Reverse}
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i := range l.pkts {
		l.set(i, 2e9, frame(nil, protoTCP, 0x0a000000, 0xc0000201, 40000, 80, 101, 901, 0x18, 4))
	}
	measure := warm(b)
	for i := 0; i < b.N; i += 64 {
		for j := range l.pkts {
			l.use(j, names[(i+j)%n])
		}
		l.run(t)
	}
	measure()
}

func BenchmarkHit256(b *testing.B)        { benchmarkHit(b, 256, nil) }
func BenchmarkHit64k(b *testing.B)        { benchmarkHit(b, 64<<10, nil) }
func BenchmarkHit64kRecords(b *testing.B) { benchmarkHit(b, 64<<10, func(*Record) {}) }

// BenchmarkSYNFlood opens a new connection with every packet, a million a second, ticks included.
func BenchmarkSYNFlood(b *testing.B) {
	t := newTables(b, Defaults())
	l := newLoad()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range l.pkts {
		l.set(i, 0, frame(nil, protoTCP, rng.Uint32(), 0xffffff01, 40000, 80, 1, 0, 2, 0))
	}
	now := int64(1e9)
	flood := func(n int) {
		for i := 0; i < n; i += 64 {
			for j := range l.pkts {
				h := rng.Uint64()
				l.use(j, name{a: 0xffff00000000 | h>>40, hash: h, shard: uint8(h>>32) % 64})
				now += 1000
				l.pkts[j].Time = now
			}
			l.run(t)
			if i%64_000 == 0 {
				for s := range decode.Shards {
					t.Expire(s, now, &l.out)
				}
			}
		}
	}
	flood(1 << 20)
	measure := warm(b)
	flood(b.N)
	measure()
}

// BenchmarkAnsweredFlood opens a connection with every two packets, SYN and SYN-ACK, and never proves it: they fill the
// table, and each new one puts an old one out.
func BenchmarkAnsweredFlood(b *testing.B) {
	cfg := Defaults()
	cfg.Conns = 1 << 16
	t := newTables(b, cfg)
	l := newLoad()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range l.pkts {
		l.set(i, 0, frame(nil, protoTCP, 1, 0xffffff01, 40000, 80, 1, 0, 2, 0))
		if i%2 == 1 {
			l.set(i, 0, frame(nil, protoTCP, 0xffffff01, 1, 80, 40000, 1, 2, 0x12, 0))
		}
	}
	now := int64(1e9)
	flood := func(n int) {
		for i := 0; i < n; i += 64 {
			for j := 0; j < 64; j += 2 {
				h := rng.Uint64()
				x := name{a: 0xffff00000000 | h>>40, hash: h, shard: uint8(h>>32) % 64}
				l.use(j, x)
				x.reverse = true
				l.use(j+1, x)
				now += 2000
				l.pkts[j].Time, l.pkts[j+1].Time = now, now
			}
			l.run(t)
		}
	}
	flood(1 << 20)
	measure := warm(b)
	flood(b.N)
	measure()
	if t.Stats(0).Evicted == 0 {
		b.Error("the table never filled")
	}
}

// BenchmarkMix decodes and updates: 64k connections at a time, two thirds TCP, that open, talk both ways, and close.
func BenchmarkMix(b *testing.B) {
	t := newTables(b, Defaults())
	l := newLoad()
	rng := rand.New(rand.NewPCG(1, 2))
	steps := make([]uint8, 64<<10)
	const snap, count = 40, 1 << 20 // cut to the headers, as from a capture with a small snaplen
	frames, wire := make([]byte, 0, snap*count), make([]uint16, 0, count)
	for range count {
		n := rng.IntN(len(steps))
		f := mixFrame(uint32(n), int(steps[n]))
		wire = append(wire, uint16(len(f)))
		frames = append(append(frames, f[:min(len(f), snap)]...), make([]byte, snap-min(len(f), snap))...)
		if steps[n]++; steps[n] == 16 {
			steps[n] = 0
		}
	}
	now := int64(1e9)
	play := func(n int) {
		for i := 0; i < n; i += 64 {
			for j := range l.pkts {
				now += 1000
				at := (i + j) % count
				l.d.Decode(&decode.Frame{Data: frames[at*snap : (at+1)*snap], Time: now, WireLen: uint32(wire[at]), Link: decode.LinkRaw}, &l.pkts[j])
			}
			l.run(t)
			if i%64_000 == 0 {
				for s := range decode.Shards {
					t.Expire(s, now, &l.out)
				}
			}
		}
	}
	play(1 << 20)
	measure := warm(b)
	play(b.N)
	measure()
}

// mixFrame is the step-th packet of a connection.
func mixFrame(n uint32, step int) []byte {
	client, server, port := 0x0a000000|n, 0xc0000200|n%200, uint16(1024+n%50000)
	isn, peer := n*7919, n*104729
	up := func(flags byte, seq, ack uint32, payload int) []byte {
		return frame(nil, protoTCP, client, server, port, 443, isn+seq, peer+ack, flags, payload)
	}
	down := func(flags byte, seq, ack uint32, payload int) []byte {
		return frame(nil, protoTCP, server, client, 443, port, peer+seq, isn+ack, flags, payload)
	}
	switch {
	case n%3 == 0 && step%2 == 0:
		return frame(nil, protoUDP, client, server, port, 53, 0, 0, 0, 40)
	case n%3 == 0:
		return frame(nil, protoUDP, server, client, 53, port, 0, 0, 0, 120)
	case step == 0:
		return up(2, 0, 0, 0)
	case step == 1:
		return down(0x12, 0, 1, 0)
	case step == 2:
		return up(0x10, 1, 1, 0)
	case step == 14:
		return up(0x11, 401, 4801, 0)
	case step == 15:
		return down(0x11, 4801, 402, 0)
	case step == 3:
		return up(0x18, 1, 1, 400)
	case step%3 == 0:
		return up(0x10, 401, uint32(step-3)*400+1, 0)
	}
	return down(0x18, uint32(step-4)*480+1, 401, 480)
}
