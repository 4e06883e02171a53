package tally

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

// tiny is a configuration that fills at once.
func tiny() Config {
	c := Defaults()
	c.Services, c.Hosts, c.Sources, c.Details, c.Prints = 64, 16, 64, 4, 4
	c.Pairs, c.Echoes, c.Odds, c.Openings, c.Names, c.Webs = 32, 32, 32, 32, 32, 32
	return c
}

func udp(src, dst uint32, srcPort, dstPort uint16, time int64) decode.Packet {
	p := decode.Packet{Time: time, Kind: decode.KindIPv4, WireLen: 100, IPLen: 86}
	p.Key = decode.Key{A: v4(src), B: v4(dst), PortA: srcPort, PortB: dstPort, Proto: 17, Ver: 4}
	p.Hash = uint64(src)*0x9e3779b97f4a7c15 ^ uint64(dstPort)*0xd1b54a32d192ed03
	return p
}

// TestFullServices floods ports of few hosts: host totals stay exact, and a busy service keeps its entry.
func TestFullServices(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	s, m := NewShard(tiny(), 7), NewMerger(tiny())
	busy := ServiceKey{Addr: v4(1001), Port: 53, Proto: 17, Ver: 4}
	host := map[decode.Addr]uint64{}
	const packets, share = 50000, 10
	for i := range packets {
		p := udp(rng.Uint32(), 1000+uint32(rng.IntN(8)), 9, uint16(1000+rng.IntN(60000)), int64(i))
		if i%share == 0 {
			p.Key.B, p.Key.PortB = busy.Addr, busy.Port
		}
		host[p.Key.B]++
		s.Packet(&p, conn.EvNew|conn.EvOrig)
	}
	var e Epoch
	m.Merge(&e, 1, []*Shard{s})
	for i := range e.Services {
		v := &e.Services[i]
		host[v.Key.Addr] -= v.Packets
		if v.Bytes != 100*v.Packets || v.Unanswered != v.Packets || uint64(v.Opened) != v.Packets {
			t.Errorf("counts of %+v do not fit each other", v.Key)
		}
		if v.Key == busy && v.Packets < packets/share*95/100 {
			t.Errorf("busy service has %d packets of %d", v.Packets, packets/share)
		}
	}
	for a, left := range host {
		if left != 0 {
			t.Errorf("host %x: %d packets missing", a.Lo, int64(left))
		}
	}
	if e.Link.Loss[LossServices] != 0 || len(e.Services) > 64+16 {
		t.Errorf("%d packets lost, %d services", e.Link.Loss[LossServices], len(e.Services))
	}
}

// TestFullHosts floods more hosts than fit: what no entry counts is counted as lost.
func TestFullHosts(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	sh, m := []*Shard{NewShard(tiny(), 7), NewShard(tiny(), 7)}, NewMerger(tiny())
	const packets = 20000
	for i := range packets {
		p := udp(1, rng.Uint32N(1000), 9, uint16(rng.Uint32()), int64(i))
		sh[i%2].Packet(&p, conn.EvNew|conn.EvOrig)
	}
	var e Epoch
	m.Merge(&e, 1, sh)
	sum := e.Link.Loss[LossServices]
	for i := range e.Services {
		sum += e.Services[i].Packets
	}
	if sum != packets || e.Link.Loss[LossServices] == 0 {
		t.Errorf("%d packets in all (%d lost), want %d", sum, e.Link.Loss[LossServices], packets)
	}
}

// TestScannerStaysUnderSpoofedFlood hides a scanner among sources that are seen once.
func TestScannerStaysUnderSpoofedFlood(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	cfg := Defaults()
	sh, m := shards(Shards, cfg), NewMerger(cfg)
	const spoofed, probes = 400000, 1000
	scanner := v4(0xc0000201)
	for i := range spoofed {
		c := conn.Contact{Time: int64(i), Src: v4(rng.Uint32()), Dst: v4(1), Port: 80, Proto: 6, Ver: 4}
		sh[rng.IntN(len(sh))].Contact(&c)
		if i%(spoofed/probes) == 0 {
			c.Src, c.Dst = scanner, v4(uint32(i))
			sh[rng.IntN(len(sh))].Contact(&c)
		}
	}
	var e Epoch
	m.Merge(&e, 1, sh)
	if len(e.Sources) != MaxSources {
		t.Errorf("%d sources, want %d", len(e.Sources), MaxSources)
	}
	var opened uint64
	for i := range e.Sources {
		opened += uint64(e.Sources[i].Opened)
	}
	if lost := e.Link.Loss[LossSources]; opened+lost < spoofed {
		t.Errorf("%d contacts and %d lost sources, of %d contacts", opened, lost, spoofed+probes)
	}
	for i := range e.Sources {
		if s := &e.Sources[i]; s.Addr == scanner {
			t.Logf("scanner: %d of %d contacts, %d hosts, %d sampled; %d sources lost", s.Opened, probes, s.Hosts.Count(), s.NContacts, e.Link.Loss[LossSources])
			if s.Opened < probes/2 || s.NContacts != SampleSize || s.Hosts.Count() < probes/3 {
				t.Errorf("scanner: %d contacts, %d hosts, %d sampled", s.Opened, s.Hosts.Count(), s.NContacts)
			}
			return
		}
	}
	t.Error("scanner is gone")
}

// TestSameInputSameBytes: full tables, too, make the same epoch again, in a Merger and an Epoch that were used before.
func TestSameInputSameBytes(t *testing.T) {
	m := NewMerger(tiny())
	var e Epoch
	var want string
	for run := range 3 {
		rng := rand.New(rand.NewPCG(4, 4))
		sh := []*Shard{NewShard(tiny(), 7), NewShard(tiny(), 7)}
		for i := range 5000 {
			p := udp(rng.Uint32N(500), rng.Uint32N(300), 9, uint16(rng.Uint32N(50)), int64(i))
			sh[i%2].Packet(&p, conn.EvNew|conn.EvOrig)
			sh[i%2].Contact(&conn.Contact{Time: int64(i), Src: p.Key.A, Dst: p.Key.B, Port: p.Key.PortB, Proto: 17, Ver: 4, Probe: conn.ProbeUDP})
		}
		m.Merge(&e, 1, sh)
		b, _ := e.AppendBinary(nil)
		if run == 0 {
			want = string(b)
		} else if string(b) != want {
			t.Fatalf("run %d differs", run)
		}
	}
	if e.Link.Loss[LossSources] == 0 || e.Link.Loss[LossServices] == 0 {
		t.Error("nothing was full")
	}
}

// TestFullDetails: the sources with the most contacts hold sketches and samples, though others came first.
func TestFullDetails(t *testing.T) {
	cfg := tiny()
	s, m := NewShard(cfg, 7), NewMerger(cfg)
	contact := func(src, dst uint32) {
		s.Contact(&conn.Contact{Time: 1, Src: v4(src), Dst: v4(dst), Port: 80, Proto: 6, Ver: 4})
	}
	for src := range uint32(20) {
		contact(src, 1)
		contact(src, 2)
	}
	for dst := range uint32(100) {
		contact(7, dst)
	}
	var e Epoch
	m.Merge(&e, 1, []*Shard{s})
	sampled := 0
	for i := range e.Sources {
		v := &e.Sources[i]
		if v.NContacts > 1 {
			sampled++
		}
		if v.Addr == v4(7) && (v.Opened != 100 || v.NContacts != SampleSize || v.Hosts.Count() < 70) {
			t.Errorf("%d contacts, %d sampled, %d hosts", v.Opened, v.NContacts, v.Hosts.Count())
		}
	}
	// 16 of 20 found no detail when they first needed one, and one of the other four gave its own up to 7
	if len(e.Sources) != 20 || sampled != cfg.Details || e.Link.Loss[LossSources] != 17 {
		t.Errorf("%d sources, %d with samples, %d lost; want 20, %d and 17", len(e.Sources), sampled, e.Link.Loss[LossSources], cfg.Details)
	}
}

// TestIndexUnderChurn: after every replacement each entry is found in its bucket once, before the first empty slot.
func TestIndexUnderChurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.IntRange(1, 40).Draw(t, "entries")
		x := newIndex(slab.Heap(1<<12), 64)
		x.hash = make([]uint64, 0, entries) // 8 buckets for few entries: some are empty when the table is full
		weight := map[int]uint64{}
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			hash := rapid.Uint64Range(0, 7).Draw(t, "bucket")<<16 | rapid.Uint64Range(0, 3).Draw(t, "tag")
			place, ok := x.free(hash)
			if !ok {
				place = x.least(hash, func(place int) uint64 { return weight[place] })
				x.replace(place, hash)
			}
			weight[place] = rapid.Uint64Range(0, 3).Draw(t, "weight")
		}
		found := map[int]uint64{}
		for b := range x.slots {
			for i, s := range x.slots[b] {
				if s == 0 {
					if i+1 < ways && x.slots[b][i+1] != 0 {
						t.Fatalf("bucket %d has a hole", b)
					}
					continue
				}
				place := int(s&0xffff) - 1
				if _, twice := found[place]; twice || &x.slots[b] != x.bucket(x.hash[place]) || s&^0xffff != tag(x.hash[place]) {
					t.Fatalf("slot %x of bucket %d is wrong", s, b)
				}
				found[place] = x.hash[place]
			}
		}
		if len(found) != len(x.hash) || len(x.hash) > entries {
			t.Fatalf("%d slots for %d entries", len(found), len(x.hash))
		}
	})
}

// TestDetailsUnderChurn: details and their owners name each other, and a source that never went without a detail has the
// sample that a set of its contacts would give.
func TestDetailsUnderChurn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := tiny()
		cfg.Sources, cfg.Details = 8, 3
		s := NewShard(cfg, 7)
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			s.Contact(&conn.Contact{
				Time: 1, Src: v4(rapid.Uint32Range(0, 12).Draw(t, "src")), Dst: v4(rapid.Uint32Range(0, 30).Draw(t, "dst")), Proto: 6, Ver: 4,
			})
		}
		src := s.sources
		for i := range src.detail[:src.given] {
			if owner := src.detail[i].owner; int(src.entry[owner].detail) != i+1 {
				t.Fatalf("detail %d belongs to source %d, which has %d", i, owner, src.entry[owner].detail)
			}
		}
		given := 0
		for i := range src.used() {
			v := &src.entry[i]
			if int(v.place) != i {
				t.Fatalf("source %d takes itself for %d", i, v.place)
			}
			n := min(1, v.weight())
			if v.detail != 0 {
				given++
				n = uint64(src.detail[v.detail-1].ncontacts)
			}
			if !v.incomplete && n != min(v.weight(), SampleSize) {
				t.Fatalf("source %d has %d contacts, %d sampled", i, v.weight(), n)
			}
		}
		if given != src.given {
			t.Fatalf("%d sources have details, %d are given", given, src.given)
		}
	})
}

// TestDocumentedSizes holds the sizes that Config and the bounds of an Epoch calculate with.
func TestDocumentedSizes(t *testing.T) {
	for name, size := range map[string][2]uintptr{
		"Service": {unsafe.Sizeof(Service{}), 264}, "source": {unsafe.Sizeof(source{}), 120}, "detail": {unsafe.Sizeof(detail{}), 688},
		"print": {unsafe.Sizeof(print{}), 176}, "Header": {unsafe.Sizeof(Header{}), 80}, "Source": {unsafe.Sizeof(Source{}), 768},
		"Pair": {unsafe.Sizeof(Pair{}), 240}, "Echo": {unsafe.Sizeof(Echo{}), 224}, "Odd": {unsafe.Sizeof(Odd{}), 72},
		"Opening": {unsafe.Sizeof(Opening{}), 424}, "Name": {unsafe.Sizeof(Name{}), 280}, "Web": {unsafe.Sizeof(Web{}), 416},
		"Print": {unsafe.Sizeof(Print{}), 240}, "ref": {unsafe.Sizeof(ref{}), 32},
	} {
		if size[0] != size[1] {
			t.Errorf("%s has %d bytes, documented are %d", name, size[0], size[1])
		}
	}
}

// TestMemoryIsConstant counts ten million sources that are seen once, over many ticks.
func TestMemoryIsConstant(t *testing.T) {
	n := 10_000_000
	if testing.Short() {
		n = 1_000_000
	}
	cfg := Defaults()
	sh, m := shards(Shards, cfg), NewMerger(cfg)
	var e Epoch
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			src := uint32(i) * 2654435761 // a bijection: all are distinct
			p := udp(src, 1, uint16(i), uint16(i>>3), int64(i)*1000)
			p.Key.Proto, p.Flags = 6, decode.FlagSYN
			s := sh[src>>28]
			s.Packet(&p, conn.EvNew|conn.EvOrig|conn.EvAttempt)
			s.Contact(&conn.Contact{Time: p.Time, Src: p.Key.A, Dst: p.Key.B, Port: p.Key.PortB, Proto: 6, Ver: 4})
			if i%100_000 == 0 {
				m.Merge(&e, int64(i), sh)
			}
		}
	}
	flood(0, 300_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	flood(300_000, n)
	runtime.ReadMemStats(&after)
	t.Logf("%d sources: %d bytes of heap, %d allocations in the flood", n, after.HeapAlloc, after.Mallocs-before.Mallocs)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
		t.Errorf("the flood allocated %d bytes", grown)
	}
	if after.HeapAlloc > 128<<20 { // the tables of 16 shards, the scratch of the merge, an epoch
		t.Errorf("heap of %d bytes, must stay below 128 MiB", after.HeapAlloc)
	}
	runtime.KeepAlive(sh)
}

func TestNoAllocation(t *testing.T) {
	s := NewShard(tiny(), 7)
	i, text := uint32(0), [20]byte{1, 2, '.', 4}
	syn := synPacket(t)
	for name, f := range map[string]func(){
		"Packet/known": func() { p := udp(1, 2, 3, 4, 1); s.Packet(&p, conn.EvOrig|conn.EvAnswered) },
		"Packet/new":   func() { i++; p := udp(i, i/2, 3, uint16(i), int64(i)); s.Packet(&p, conn.EvOrig|conn.EvNew) },
		"Packet/syn": func() {
			i++
			p := syn
			p.Time, p.Key.PortB = int64(i), uint16(i)
			s.Packet(&p, conn.EvOrig|conn.EvNew|conn.EvAttempt)
		},
		"Contact": func() {
			i++
			c := conn.Contact{Time: int64(i), Src: v4(i / 3), Dst: v4(i), Port: 80, Proto: 6, Ver: 4}
			s.Contact(&c)
			c.Stage = conn.StageAnswered
			s.Contact(&c)
			c.Stage = conn.StageProven
			s.Contact(&c)
		},
		"Session": func() {
			i++
			s.Session(&conn.Session{Time: int64(i), Client: v4(i / 3), Server: v4(i), Port: 80, Proto: 6, Ver: 4, Stage: conn.SessionStage(i % 4), RTT: 9, SYN: conn.SYN{Len: 60}})
		},
		"Opening": func() {
			i++
			s.Opening(&OpeningSeen{Key: OpeningKey{Server: v4(i / 3), Hash: uint64(i)}, Client: v4(i), Time: 1, Text: text[:], Mismatch: true})
		},
		"Query": func() {
			i++
			s.Query(&Query{Client: v4(i / 3), Server: v4(1), Ver: 4, Time: 1, Name: text[:], Domain: text[i%16:], Type: 1})
			s.Answer(&Answer{Client: v4(i / 3), Server: v4(1), Ver: 4, Time: 1, Name: text[:], Domain: text[i%16:]})
		},
		"Request": func() {
			i++
			s.Request(&Request{Key: PairKey{Client: v4(i / 3)}, Time: 1, Path: uint64(i), Agent: 1})
			s.Response(&Response{Key: PairKey{Client: v4(i / 3)}, Time: 1, Path: uint64(i), Status: 404})
		},
		"Slow": func() { s.Slow(&conn.Slow{Resp: v4(9), RespPort: 80, Ver: 4}) },
		"Lose": func() { s.Lose(LossKernel, 1) },
	} {
		if n := testing.AllocsPerRun(5000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// synPacket decodes the SYN of a Linux client, written by hand from RFC 791 and RFC 9293.
func synPacket(t interface{ Fatalf(string, ...any) }) decode.Packet {
	frame := []byte{
		0x45, 0, 0, 60, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // IPv4, DF, TTL 64
		0x9c, 0x40, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, // 40000 > 80, SYN, window 64240
		2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7, // MSS 1460, SACK permitted, timestamps, NOP, scale 7
	}
	var p decode.Packet
	decode.NewDecoder(1).Decode(&decode.Frame{Data: frame, WireLen: uint32(len(frame)), Time: 5, Link: decode.LinkRaw}, &p)
	if p.Why != decode.WhyOK || p.Flags != decode.FlagSYN {
		t.Fatalf("decoded to %+v", p)
	}
	return p
}
