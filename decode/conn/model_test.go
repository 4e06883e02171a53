package conn

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/decode"
)

// TestIndex compares find, add and end of one shard with a Go map, with hashes that collide in index and sets.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := small()
		cfg.Conns = 48 * decode.Shards // an index of 128 slots, so that probes wrap around
		tables, err := NewTables(cfg, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer tables.Close()
		s, out := &tables.shards[3], &Out{}
		twin := map[uint16]*conn{}
		hash := func(port uint16) uint64 { return uint64(port%5)<<61 | uint64(port)<<25 | 3 }
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			k := decode.Key{PortA: uint16(rapid.IntRange(1, 60).Draw(t, "port")), Proto: protoUDP, Ver: 4}
			c := s.find(hash(k.PortA), &k)
			if c != twin[k.PortA] {
				t.Fatalf("port %d: found %p, want %p", k.PortA, c, twin[k.PortA])
			}
			switch {
			case c != nil:
				s.end(c, CloseIdle, out)
				delete(twin, k.PortA)
			case len(twin) < s.conns.n:
				c = s.add(hash(k.PortA), out)
				c.portA, c.proto, c.ver = k.PortA, protoUDP, 4
				twin[k.PortA] = c
			}
		}
		if int(s.stats.LiveConns) != len(twin) || s.stats.LongProbe != 0 {
			t.Fatalf("%d live, %d long probes, want %d and 0", s.stats.LiveConns, s.stats.LongProbe, len(twin))
		}
	})
}

// flow is a connection of the twin: what a record must say.
type flow struct {
	first, last int64
	orig        uint32
	isn         uint32
	packets     [2]int // originator, responder
	bytes       [2]int
	tcp         bool
	why         Close
}

// twin is the table as a map: UDP, and TCP handshakes with data but without FIN and RST.
type twin struct {
	flows map[string]*flow
	ended []string
}

func (w *twin) end(name string, why Close) {
	f := w.flows[name]
	delete(w.flows, name)
	w.ended = append(w.ended, fmt.Sprint(name, f.orig, f.first, f.last, f.packets, f.bytes, why))
}

func (f *flow) over(now int64, cfg *Config) bool {
	switch {
	case !f.tcp:
		return now-f.last >= int64(cfg.UDPIdle)
	case f.packets[1] == 0:
		return now-f.first >= int64(cfg.TCPAttempt)
	}
	return now-f.last >= int64(cfg.TCPIdle)
}

// TestModel plays random packets of few hosts over long times and compares all records with the twin's.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := small()
		tables, err := NewTables(cfg, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer tables.Close()
		d, w, now := decode.NewDecoder(1), twin{flows: map[string]*flow{}}, start
		var records []string
		out := &Out{Record: func(r *Record) {
			records = append(records, fmt.Sprint(recordName(r), uint32(r.Orig.Lo), r.First, r.Last,
				[2]int{int(r.O.Packets), int(r.R.Packets)}, [2]int{int(r.O.IPBytes), int(r.R.IPBytes)}, r.Close))
		}}
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			now += int64(rapid.SampledFrom([]int{0, 1, 100, 1000, 4900, 5100, 30_000, 61_000, 301_000}).Draw(t, "ms")) * 1e6
			host := uint32(rapid.IntRange(1, 3).Draw(t, "host"))
			back := rapid.Bool().Draw(t, "back")
			size := rapid.IntRange(0, 9).Draw(t, "size")
			tcp := rapid.Bool().Draw(t, "tcp")
			isn := uint32(rapid.IntRange(1, 2).Draw(t, "isn")) * 1000
			b := w.packet(now, host, back, size, tcp, isn, &cfg)
			if rapid.Bool().Draw(t, "tick") {
				for s := range decode.Shards {
					tables.Expire(s, now, out)
				}
			}
			pkts := make([]decode.Packet, 1)
			d.Decode(&decode.Frame{Data: b, Time: now, WireLen: uint32(len(b)), Link: decode.LinkRaw}, &pkts[0])
			tables.Process(pkts, []uint16{0}, make([]Event, 1), out)
		}
		for s := range decode.Shards {
			tables.Flush(s, out)
		}
		for name, f := range w.flows {
			f.why = CloseFinal
			w.end(name, CloseFinal)
		}
		for i := range records { // a flow that is over may end by the sweep or at the end of input
			records[i] = loose(records[i])
		}
		for i := range w.ended {
			w.ended[i] = loose(w.ended[i])
		}
		slices.Sort(records)
		slices.Sort(w.ended)
		if !reflect.DeepEqual(records, w.ended) {
			t.Fatalf("records\n%v\ntwin\n%v", records, w.ended)
		}
	})
}

// loose takes away the difference between a flow that the sweep found over and one that the end of input found.
func loose(s string) string {
	for _, suffix := range []string{"idle", "final"} {
		if len(s) > len(suffix) && s[len(s)-len(suffix):] == suffix {
			return s[:len(s)-len(suffix)]
		}
	}
	return s
}

func recordName(r *Record) string {
	host := min(uint32(r.Orig.Lo), uint32(r.Resp.Lo))
	return fmt.Sprintf("%d/%d ", r.Proto, host)
}

// packet enters a packet into the twin and returns its frame: a datagram, or what fits the connection's state of SYN,
// SYN-ACK and data.
func (w *twin) packet(now int64, host uint32, back bool, size int, tcp bool, isn uint32, cfg *Config) []byte {
	name, other := fmt.Sprintf("%d/%d ", protoUDP, host), uint32(1000)
	src, dst, sport, dport := host, other, uint16(40000), uint16(50000)
	if tcp {
		name = fmt.Sprintf("%d/%d ", protoTCP, host)
	}
	f := w.flows[name]
	if f != nil && f.over(now, cfg) {
		w.end(name, CloseIdle)
		f = nil
	}
	if tcp && f == nil {
		back = false // only clients open
	}
	if back {
		src, dst, sport, dport = dst, src, dport, sport
	}
	if !tcp {
		b := frame(nil, protoUDP, src, dst, sport, dport, 0, 0, 0, size)
		if f == nil {
			f = &flow{first: now, orig: src}
			w.flows[name] = f
		}
		f.add(src, now, len(b))
		return b
	}
	flags, seq, ack := byte(0x10), uint32(0), uint32(5001)
	switch {
	case f != nil && !back && f.isn != isn: // reopened with another ISN
		w.end(name, CloseReuse)
		f = nil
		fallthrough
	case f == nil:
		flags, seq, ack, size = 0x02, isn, 0, 0
		f = &flow{first: now, orig: src, isn: isn, tcp: true}
		w.flows[name] = f
	case back && f.packets[1] == 0:
		flags, seq, ack, size = 0x12, 5000, f.isn+1, 0
	case back:
		seq, ack = 5001, f.isn+1
	case f.packets[1] == 0:
		flags, seq, ack, size = 0x02, f.isn, 0, 0 // the SYN again
	default:
		seq = f.isn + 1
	}
	b := frame(nil, protoTCP, src, dst, sport, dport, seq, ack, flags, size)
	f.add(src, now, len(b))
	return b
}

func (f *flow) add(src uint32, now int64, n int) {
	d := 1
	if src == f.orig {
		d = 0
	}
	f.packets[d]++
	f.bytes[d] += n
	f.last = now
}
