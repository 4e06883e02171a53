package tally

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"weir/decode"
	"weir/decode/conn"
)

// BenchmarkPacket counts packets of 100 services in 64 shards, half of them from the service, from an array of the size
// that a worker reuses.
func BenchmarkPacket(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	sh, m := shards(Shards, Defaults()), NewMerger(Defaults())
	var e Epoch
	pkts := make([]decode.Packet, 64)
	for i := range pkts {
		pkts[i] = udp(1<<24+uint32(i), uint32(rng.IntN(100)), uint16(rng.Uint32()), 443, 0)
		pkts[i].Key.Proto, pkts[i].Flags = 6, decode.FlagACK
		pkts[i].Shard = uint8(rng.IntN(Shards))
		pkts[i].Reverse = i&1 == 1
	}
	run := func(b *testing.B, ev conn.Event) {
		b.ReportAllocs()
		for i := range b.N {
			p := &pkts[i%len(pkts)]
			p.Time = int64(i) * 1000
			back := conn.Event(0)
			if i&1 == 0 {
				back = conn.EvOrig
			}
			sh[p.Shard].Packet(p, ev|back)
			if i%1_000_000 == 0 { // one tick at ten million packets a second: the merge has a benchmark of its own
				m.Merge(&e, 1, sh)
			}
		}
	}
	b.Run("known", func(b *testing.B) { run(b, conn.EvAnswered|conn.EvEstablished) })
	b.Run("new", func(b *testing.B) { run(b, conn.EvNew|conn.EvOrig) })
	syn := synPacket(b)
	b.Run("syn", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			p := &syn
			p.Time, p.Key.A.Lo = int64(i)*1000, 0xffff<<32|uint64(uint32(i)*2654435761)
			p.Hash = uint64(i) * 0x9e3779b97f4a7c15
			sh[i%Shards].Packet(p, conn.EvNew|conn.EvOrig|conn.EvAttempt)
			if i%100_000 == 0 {
				m.Merge(&e, 1, sh)
			}
		}
	})
}

// BenchmarkContact counts contacts of sources that are seen once, a million a second.
func BenchmarkContact(b *testing.B) {
	sh, m := shards(Shards, Defaults()), NewMerger(Defaults())
	var e Epoch
	b.Run("spoofed", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			src := uint32(i) * 2654435761
			sh[src>>28].Contact(&conn.Contact{Time: int64(i) * 1000, Src: v4(src), Dst: v4(1), Port: 80, Proto: 6, Ver: 4})
			if i%100_000 == 0 {
				m.Merge(&e, 1, sh)
			}
		}
	})
	b.Run("spoofed/together", func(b *testing.B) {
		b.ReportAllocs()
		var batch [64]conn.Contact
		for i := range b.N {
			src := uint32(i) * 2654435761
			batch[i%len(batch)] = conn.Contact{Time: int64(i) * 1000, Src: v4(src), Dst: v4(1), Port: 80, Proto: 6, Ver: 4, Shard: uint8(src >> 28)}
			if i%len(batch) == len(batch)-1 {
				Contacts(sh, batch[:])
			}
			if i%100_000 == 0 {
				m.Merge(&e, 1, sh)
			}
		}
	})
	b.Run("scanner", func(b *testing.B) {
		b.ReportAllocs()
		for i := range b.N {
			sh[i%Shards].Contact(&conn.Contact{Time: int64(i) * 1000, Src: v4(1), Dst: v4(uint32(i)), Port: 80, Proto: 6, Ver: 4})
		}
		m.Merge(&e, 1, sh)
	})
}

// BenchmarkMerge merges 64 shards that hold so many sources and services in all.
func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{0, 10_000, 100_000} {
		name := fmt.Sprintf("%dk", n/1000)
		if n == 0 {
			name = "idle"
		}
		b.Run(name, func(b *testing.B) {
			sh, m := shards(Shards, Defaults()), NewMerger(Defaults())
			var e Epoch
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				fillShards(sh, max(n, 10))
				b.StartTimer()
				m.Merge(&e, 1, sh)
			}
		})
	}
}

func fillShards(sh []*Shard, n int) {
	for i := range n {
		src := uint32(i) * 2654435761
		p := udp(src, uint32(i)%1000, 5, uint16(i>>4), int64(i)*1000)
		s := sh[i%len(sh)]
		s.Packet(&p, conn.EvNew|conn.EvOrig)
		s.Contact(&conn.Contact{Time: p.Time, Src: p.Key.A, Dst: p.Key.B, Port: p.Key.PortB, Proto: 17, Ver: 4, Probe: conn.ProbeUDP})
	}
}
