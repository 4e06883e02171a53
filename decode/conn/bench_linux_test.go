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
	l.out.Contacts = l.out.Contacts[:0]
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
func benchmarkHit(b *testing.B, n int) {
	t := newTables(b, Defaults())
	l := newLoad()
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
			l.out.Contacts = l.out.Contacts[:0]
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

func BenchmarkHit256(b *testing.B) { benchmarkHit(b, 256) }
func BenchmarkHit64k(b *testing.B) { benchmarkHit(b, 64<<10) }

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
