package conn

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"unsafe"

	"weir/decode"
)

// trace is a sequence of decoded packets of few ends and all kinds, from bytes: six bytes make one packet.
func trace(data []byte) []decode.Packet {
	d := decode.NewDecoder(1)
	var pkts []decode.Packet
	now := start
	for ; len(data) >= 6; data = data[6:] {
		now += []int64{0, 1e6, 1e8, 1e9, 5e9, 6e9, 61e9, -2e9}[data[0]&7]
		src, dst := client+uint32(data[0]>>3&1), uint32(server)
		sport, dport := 40000+uint16(data[0]>>4&1), []uint16{80, 9999, 53, 40000}[data[0]>>5&3]
		if data[1]&1 != 0 {
			src, dst, sport, dport = dst, src, dport, sport
		}
		seq, ack, payload := 100+uint32(data[2]), 900+uint32(data[3]), int(data[4])
		var b []byte
		switch data[1] >> 1 & 7 {
		case 0:
			b = frame(nil, protoUDP, src, dst, sport, dport, 0, 0, 0, payload)
		case 1:
			b = icmp(src, dst, data[5], data[4], nil)
		case 2:
			quote := frame(nil, protoTCP, dst, src, dport, sport, seq, ack, 2, 0)
			b = icmp(src, dst, 3, 1, quote)
		case 3:
			b = frame(nil, protoUDP, src, dst, sport, dport, 0, 0, 0, payload)
			binary.BigEndian.PutUint16(b[4:], uint16(data[5]&3))
			binary.BigEndian.PutUint16(b[6:], uint16(data[5])<<8&0x2000|uint16(data[5]>>4&3))
		default:
			b = frame(nil, protoTCP, src, dst, sport, dport, seq, ack, data[5]&0x3f, payload)
		}
		var p decode.Packet
		d.Decode(&decode.Frame{Data: b, Time: now, WireLen: uint32(len(b)), Link: decode.LinkRaw}, &p)
		pkts = append(pkts, p)
	}
	return pkts
}

// result is all that a trace makes of tables.
type result struct {
	events   []Event
	contacts []Contact
	sessions []Session
	records  []Record
	stats    Stats
}

// replay plays a trace in batches of the given sizes in turn. Ticks come after fixed packets, whatever the batches.
func replay(t testing.TB, cfg Config, pkts []decode.Packet, sizes ...int) result {
	tables, err := NewTables(cfg, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	var res result
	out := &Out{Record: func(r *Record) { res.records = append(res.records, *r) }}
	const tick = 16
	var idx []uint16
	ev := make([]Event, tick)
	for i := 0; len(pkts) > 0; {
		end := min(tick, len(pkts))
		for at := 0; at < end; i++ {
			idx = idx[:0]
			for n := min(sizes[i%len(sizes)], end-at); n > 0; n-- {
				idx = append(idx, uint16(at))
				at++
			}
			tables.Process(pkts, idx, ev, out)
			res.events = append(res.events, ev[:len(idx)]...)
		}
		for s := range decode.Shards {
			tables.Expire(s, pkts[end-1].Time, out)
		}
		pkts = pkts[end:]
	}
	for s := range decode.Shards {
		tables.Flush(s, out)
		res.stats.Add(tables.Stats(s))
	}
	res.contacts, res.sessions = out.Contacts, out.Sessions
	return res
}

// tiny tables are full at once: a shard has four connections, four half-open entries, four extras.
func tiny() Config {
	c := Defaults()
	c.Conns, c.HalfOpen, c.Extras, c.Fragments = decode.Shards, decode.Shards, decode.Shards, decode.Shards
	return c
}

// roomy tables are small, too, but hold any trace of these tests.
func roomy() Config {
	c := Defaults()
	c.Conns, c.HalfOpen, c.Extras, c.Fragments = 64*decode.Shards, 64*decode.Shards, 64*decode.Shards, 16*decode.Shards
	return c
}

// check holds what must be true of any trace: no packet is lost or counted twice, nothing is left, contacts end once.
func (res *result) check(t testing.TB, pkts []decode.Packet) {
	var packets, bytes, recorded, recordedBytes uint64
	for i, ev := range res.events {
		if ev&EvUntracked == 0 {
			packets++
			bytes += uint64(pkts[i].IPLen)
		}
		if ev&EvProven != 0 && ev&(EvOrig|EvEstablished|EvAnswered) != EvOrig|EvEstablished|EvAnswered {
			t.Fatalf("packet %d: events %b", i, ev)
		}
	}
	for _, r := range res.records {
		recorded += r.O.Packets + r.R.Packets
		recordedBytes += r.O.IPBytes + r.R.IPBytes
		if r.Last < r.First || r.State > StateSHR || int(r.HistLen) > len(r.Hist) || r.O.Packets+r.R.Packets == 0 {
			t.Fatalf("record %+v", r)
		}
	}
	if packets != recorded || bytes != recordedBytes {
		t.Fatalf("%d packets with %d bytes, records have %d with %d", packets, bytes, recorded, recordedBytes)
	}
	if s := res.stats; s.LiveConns != 0 || s.LiveHalfOpen != 0 || s.Opened != s.Ended {
		t.Fatalf("after the end: %+v", s)
	}
	type place struct {
		src, dst decode.Addr
		port     uint16
		proto    uint8
	}
	stages := map[place]*[6]int{}
	for _, c := range res.contacts {
		k := place{c.Src, c.Dst, c.Port, c.Proto}
		n := stages[k]
		if n == nil {
			n = new([6]int)
			stages[k] = n
		}
		n[c.Stage]++
		ended := n[StageUnknown] + n[StageSilent] + n[StageRefused] + n[StageAnswered]
		if ended > n[StageOpened] || n[StageProven] > n[StageAnswered] {
			t.Fatalf("contact %+v: stages %v", k, n)
		}
	}
	res.checkSessions(t)
	for k, n := range stages {
		if n[StageUnknown]+n[StageSilent]+n[StageRefused]+n[StageAnswered] != n[StageOpened] {
			t.Fatalf("contact %+v never ended: %v", k, n)
		}
	}
}

// checkSessions holds what must be true of the sessions of any trace: what they tell of a connection adds up to its record,
// and each that begins ends.
func (res *result) checkSessions(t testing.TB) {
	type name struct {
		orig, resp         decode.Addr
		origPort, respPort uint16
		proto              uint8
		first              int64
	}
	type sums struct {
		records, begun, ended, oneWay       int
		packets, bytes, payload, udpPayload [2]uint64 // payload: of sessions
	}
	all := map[name]*sums{}
	at := func(n name) *sums {
		if all[n] == nil {
			all[n] = &sums{}
		}
		return all[n]
	}
	for i := range res.sessions {
		v := &res.sessions[i]
		n := at(name{v.Client, v.Server, v.ClientPort, v.Port, v.Proto, v.First})
		switch {
		case v.Stage == SessionBegin:
			n.begun++
		case v.Stage == SessionEnd && v.OneWay:
			n.oneWay++
		case v.Stage == SessionEnd:
			n.ended++
		}
		if v.OneWay && (v.Stage == SessionBegin || v.Stage == SessionBurst) || v.RTT != 0 && (v.Midstream || !v.Proven) || v.Time < v.First {
			t.Fatalf("session %+v", v)
		}
		for d := range v.Sent {
			n.packets[d] -= v.Sent[d].Packets
			n.bytes[d] -= v.Sent[d].Bytes
			n.payload[d] += v.Sent[d].Payload
		}
	}
	for i := range res.records {
		r := &res.records[i]
		n := at(name{r.Orig, r.Resp, r.OrigPort, r.RespPort, r.Proto, r.First})
		n.records++
		for d, x := range [...]*Dir{&r.O, &r.R} {
			n.packets[d] += x.Packets
			n.bytes[d] += x.IPBytes
			n.udpPayload[d] += x.Bytes
		}
	}
	for k, n := range all {
		if n.begun != n.ended || n.ended+n.oneWay > n.records {
			t.Fatalf("%+v: %+v", k, n)
		}
		if n.records == 1 && n.ended+n.oneWay == 1 && (n.packets != [2]uint64{} || n.bytes != [2]uint64{} || k.proto != protoTCP && n.payload != n.udpPayload) {
			t.Fatalf("%+v: told and recorded differ: %+v", k, n)
		}
	}
}

// FuzzTrace plays any sequence of packets through roomy and tiny tables.
func FuzzTrace(f *testing.F) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		f.Add(randomBytes(rng, 600))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pkts := trace(data[:min(len(data), 6000)])
		for _, cfg := range []Config{roomy(), tiny()} {
			res := replay(t, cfg, pkts, 16)
			res.check(t, pkts)
		}
	})
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestBatches plays the same traces in batches of other sizes: all results are equal, in order.
func TestBatches(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20 {
		pkts := trace(randomBytes(rng, 6000))
		for _, cfg := range []Config{roomy(), tiny()} {
			want := replay(t, cfg, pkts, 1)
			want.check(t, pkts)
			for _, sizes := range [][]int{{16}, {3, 1, 7}, {64, 2}} {
				if got := replay(t, cfg, pkts, sizes...); !reflect.DeepEqual(got, want) {
					t.Fatalf("batches of %v change the result", sizes)
				}
			}
		}
	}
}

// TestNoAllocation plays established connections, new ones and a flood, ticks included.
func TestNoAllocation(t *testing.T) {
	tables := newTables(t, small())
	rng := rand.New(rand.NewPCG(7, 8))
	pkts := trace(randomBytes(rng, 6*64))
	idx, ev := make([]uint16, 64), make([]Event, 64)
	for i := range idx {
		idx[i] = uint16(i)
	}
	out := &Out{Contacts: make([]Contact, 0, 4096), Slow: make([]Slow, 0, 64), Sessions: make([]Session, 0, 256), Record: func(*Record) {}}
	now := start
	allocs := testing.AllocsPerRun(1000, func() {
		for i := range pkts {
			p := &pkts[i]
			now += 1e6
			p.Time = now
			if i%4 == 0 {
				p.Key.A.Lo, p.Hash = 0xffff<<32|uint64(rng.Uint32()), rng.Uint64()
			}
		}
		tables.Process(pkts, idx, ev, out)
		for s := range decode.Shards {
			tables.Expire(s, now, out)
		}
		out.Contacts, out.Slow, out.Peers, out.Sessions = out.Contacts[:0], out.Slow[:0], out.Peers[:0], out.Sessions[:0]
	})
	if allocs != 0 {
		t.Errorf("%v allocations for 64 packets", allocs)
	}
}

// TestSpoofedFlood opens ten million connections from as many sources in ten seconds (one with -short): memory is what was reserved, and a
// connection that was established before goes on.
func TestSpoofedFlood(t *testing.T) {
	p := newTape(t)
	p.segments("c S 100 0 0; s S. 900 101 0; c . 101 901 0")
	packets := 10_000_000
	if testing.Short() {
		packets = 1_000_000
	}
	cfg := small()
	rng := rand.New(rand.NewPCG(9, 10))
	var before, after runtime.MemStats
	p.out.Record = nil
	p.out.Contacts = make([]Contact, 0, 1024)
	runtime.ReadMemStats(&before)
	var unknown, opened int
	var ev [1]Event
	b := make([]byte, 0, 64)
	for range packets {
		p.now += 1000
		b = frame(b, protoTCP, rng.Uint32(), server, uint16(rng.Uint32()), 80, rng.Uint32(), 0, 2, 0)
		p.d.Decode(&decode.Frame{Data: b, Time: p.now, WireLen: uint32(len(b)), Link: decode.LinkRaw}, &p.pkt[0])
		p.tables.Process(p.pkt[:], []uint16{0}, ev[:], &p.out)
		for _, c := range p.out.Contacts {
			switch c.Stage {
			case StageOpened:
				opened++
			case StageUnknown:
				unknown++
			default:
				t.Fatalf("spoofed SYN: %+v", c)
			}
		}
		p.out.Contacts = p.out.Contacts[:0]
	}
	runtime.ReadMemStats(&after)
	var s Stats
	for i := range decode.Shards {
		s.Add(p.tables.Stats(i))
	}
	if opened < packets-1000 || unknown < int(s.Overwritten) || unknown > int(s.Overwritten+s.SilentLost) || s.LiveHalfOpen > uint64(cfg.HalfOpen) || s.LiveConns != 1 {
		t.Errorf("%d opened, %d unknown, counters %+v", opened, unknown, s)
	}
	if len(p.out.Sessions) > 1 { // the connection from before it
		t.Errorf("%d sessions of spoofed SYNs", len(p.out.Sessions))
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if got := p.tcp(10, 'c', "P.", 101, 901, 5); got != EvOrig|EvAnswered|EvEstablished|EvVisible|EvOpening {
		t.Errorf("established connection after the flood: %b", got)
	}
}

// TestFullTable fills the table with established connections and others: those without evidence leave first.
func TestFullTable(t *testing.T) {
	cfg := tiny()
	cfg.Conns = 64 * decode.Shards
	tables := newTables(t, cfg)
	s, out := &tables.shards[0], &Out{}
	evicted := map[string]int{}
	out.Record = func(r *Record) {
		if r.Close == CloseEvicted {
			evicted[fmt.Sprint(r.Proto, r.Proven)]++
		}
	}
	s.now = start
	for i := range 64 + 32 {
		c := s.add(uint64(i)<<40|1<<63, out)
		c.proto, c.ver, c.first, c.last = protoTCP, 4, start, start
		if i%2 == 0 {
			c.bits |= bitAnswered | bitProven
		}
	}
	if len(evicted) != 1 || evicted["6 false"] != 32 || s.stats.Evicted != 32 {
		t.Errorf("evicted %v, counters %+v", evicted, s.stats)
	}
}

// TestDefaultsFit holds the promise of Defaults and of the sizes that Config's comments name.
func TestDefaultsFit(t *testing.T) {
	if n := Defaults().Bytes(); n > 222<<20+1<<19 {
		t.Errorf("%d MiB", n>>20)
	}
	sizes := [...]uintptr{
		unsafe.Sizeof(conn{}), unsafe.Sizeof(side{}), unsafe.Sizeof(set{}), unsafe.Sizeof(half{}),
		unsafe.Sizeof(extra{}), unsafe.Sizeof(sums{}), unsafe.Sizeof(frag{}), unsafe.Sizeof(told{}),
	}
	if want := [...]uintptr{256, 64, 64, 128, 192, 64, 72, 48}; sizes != want {
		t.Errorf("sizes of conn, side, set, half, extra, sums, frag, told: %d, want %d", sizes, want)
	}
	if a, b := unsafe.Offsetof(conn{}.side), unsafe.Offsetof(half{}.first); a != 64 || b != 64 {
		t.Errorf("the first cache lines of conn and half have %d and %d bytes", a, b)
	}
	for _, bad := range []func(*Config){
		func(c *Config) { c.Conns = 0 }, func(c *Config) { c.HalfOpen = 1 << 31 }, func(c *Config) { c.UDPIdle = 0 },
	} {
		c := Defaults()
		bad(&c)
		if tables, err := NewTables(c, 1); err == nil {
			tables.Close()
			t.Errorf("accepted %+v", c)
		}
	}
}
