package store

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"weir/decode"
	"weir/decode/conn"
)

// traffic makes connection records as a site has them, in the order in which their connections end: clients and servers by
// popularity (Zipf), ports as systems choose them, sizes and times log-normal, scanners from everywhere, starts of a Poisson process.
type traffic struct {
	rng      *rand.Rand
	now      int64 // ns, start of the next connection
	pace     float64
	clients  *rand.Zipf
	servers  *rand.Zipf
	outside  []outsider
	due      map[int64][]conn.Record // by tick of the end
	tick     int64
	ready    []conn.Record
	produced int
}

// outsider is a server of the internet, and how far away it is.
type outsider struct {
	addr netip.Addr
	rtt  float64 // µs
}

const trafficTick = int64(100 * time.Millisecond)

// newTraffic makes so many connections a second, from start on.
func newTraffic(seed uint64, start time.Time, persecond float64) *traffic {
	rng := rand.New(rand.NewPCG(seed, 1))
	t := &traffic{
		rng: rng, now: start.UnixNano(), pace: 1e9 / persecond, due: map[int64][]conn.Record{},
		clients: rand.NewZipf(rng, 1.1, 20, 3999), servers: rand.NewZipf(rng, 1.2, 10, 19_999),
	}
	for range 20_000 {
		o := outsider{addr: t.anywhere(), rtt: math.Exp(rng.NormFloat64()*0.8 + math.Log(25_000))}
		if rng.IntN(5) == 0 {
			b := [16]byte{0x2a, 0x01, 4: byte(rng.Uint32()), 5: byte(rng.Uint32()), 14: byte(rng.Uint32()), 15: byte(rng.Uint32())}
			o.addr = netip.AddrFrom16(b)
		}
		t.outside = append(t.outside, o)
	}
	t.tick = t.now / trafficTick
	return t
}

func (t *traffic) anywhere() netip.Addr {
	n := t.rng.Uint32()
	return netip.AddrFrom4([4]byte{byte(n>>24)%200 + 11, byte(n >> 16), byte(n >> 8), byte(n)})
}

// next fills in the record of the next connection that ends.
func (t *traffic) next(r *conn.Record) {
	for len(t.ready) == 0 {
		end := (t.tick + 1) * trafficTick
		for t.now < end {
			one, after := t.connection()
			at := (one.Last + int64(after)) / trafficTick
			t.due[at] = append(t.due[at], one)
			t.now += int64(t.rng.ExpFloat64() * t.pace)
		}
		t.ready = t.due[t.tick]
		delete(t.due, t.tick)
		t.tick++
	}
	*r = t.ready[0]
	t.ready = t.ready[1:]
	t.produced++
}

func (t *traffic) lognormal(median, sigma float64) float64 {
	return median * math.Exp(t.rng.NormFloat64()*sigma)
}

// connection is one that begins now, and how long after its last packet its record is made.
func (t *traffic) connection() (conn.Record, time.Duration) {
	client := netip.AddrFrom4([4]byte{10, 1, byte(t.clients.Uint64() >> 8), byte(t.clients.Uint64())})
	r := conn.Record{First: t.now, Proto: 6, Ver: 4, OrigPort: uint16(32768 + t.rng.IntN(28232)), Proven: true}
	server := t.outside[t.servers.Uint64()]
	if server.addr.Is6() {
		r.Ver = 6
		b := [16]byte{0x2a, 0x02, 0x12, 0x34, 8: byte(t.clients.Uint64()), 9: 0x1c, 11: 0xff, 12: 0xfe, 15: byte(t.clients.Uint64())}
		client = netip.AddrFrom16(b)
	}
	r.Orig, r.Resp = decode.AddrFrom(client), decode.AddrFrom(server.addr)
	switch p := t.rng.IntN(100); {
	case p < 42:
		r.RespPort = 443
		return t.stream(&r, server.rtt, 1900, 0.8, 6500, 1.7)
	case p < 47:
		r.RespPort = 80
		return t.stream(&r, server.rtt, 600, 0.9, 3000, 1.9)
	case p < 72:
		resolver := netip.AddrFrom4([4]byte{10, 1, 0, byte(2 + t.rng.IntN(2))})
		r.Orig, r.Resp, r.Ver = decode.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(t.clients.Uint64() >> 8), byte(t.clients.Uint64())})), decode.AddrFrom(resolver), 4
		r.Proto, r.RespPort = 17, 53
		return t.datagrams(&r, 2000, 40, 0.3, 130, 0.6, 1, 10*time.Second)
	case p < 79:
		r.Proto, r.RespPort = 17, 443
		return t.datagrams(&r, 5e6, 4000, 1.2, 30_000, 1.8, 1200, time.Minute)
	case p < 81:
		r.Proto, r.RespPort, r.OrigPort = 17, 123, 123
		return t.datagrams(&r, 30_000, 48, 0, 48, 0, 1, time.Minute)
	case p < 84:
		inside := netip.AddrFrom4([4]byte{10, 2, 0, byte(t.rng.IntN(40))})
		r.Orig = decode.AddrFrom(netip.AddrFrom4([4]byte{10, 1, byte(t.clients.Uint64() >> 8), byte(t.clients.Uint64())}))
		r.Resp, r.Ver, r.RespPort = decode.AddrFrom(inside), 4, []uint16{22, 445, 389, 5432, 8080, 25}[t.rng.IntN(6)]
		return t.stream(&r, 400, 3000, 1.5, 8000, 2)
	case p < 86:
		r.Orig, r.Resp, r.Ver, r.Proto, r.OrigPort, r.RespPort = decode.AddrFrom(t.anywhere()), decode.AddrFrom(t.inside()), 4, 1, 8, 0
		return t.datagrams(&r, 20_000, 64, 0.2, 64, 0.2, 64, time.Minute)
	}
	r.Orig, r.Resp, r.Ver, r.Proven = decode.AddrFrom(t.anywhere()), decode.AddrFrom(t.inside()), 4, false
	return t.probe(&r)
}

func (t *traffic) inside() netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, byte(100 + t.rng.IntN(4)), byte(t.rng.Uint32())})
}

// probe is an attempt of a scanner of the internet.
func (t *traffic) probe(r *conn.Record) (conn.Record, time.Duration) {
	ports := []uint16{23, 22, 80, 443, 445, 3389, 8080, 2323, 5900, 6379}
	if r.RespPort = uint16(t.rng.IntN(65536)); t.rng.IntN(3) > 0 {
		r.RespPort = ports[t.rng.IntN(len(ports))]
	}
	r.O = conn.Dir{Packets: 1, IPBytes: uint64(40 + 4*t.rng.IntN(6)), Flags: decode.FlagSYN}
	r.State, r.Close, r.Last = conn.StateS0, conn.CloseIdle, r.First
	set(r, "S")
	if t.rng.IntN(3) == 0 {
		r.State, r.Close = conn.StateREJ, conn.CloseEnd
		r.R = conn.Dir{Packets: 1, IPBytes: 40, Flags: decode.FlagRST | decode.FlagACK}
		r.Last += int64(t.lognormal(60_000, 0.7)) * 10
		set(r, "Sr")
	}
	return *r, 5 * time.Second
}

func set(r *conn.Record, history string) { r.HistLen = uint8(copy(r.Hist[:], history)) }

// stream is a TCP connection of the given medians and deviations.
func (t *traffic) stream(r *conn.Record, rtt, up, upSigma, down, downSigma float64) (conn.Record, time.Duration) {
	r.RTT = uint32(rtt * (1 + 0.1*t.rng.ExpFloat64()))
	r.O.Bytes, r.R.Bytes = uint64(t.lognormal(up, upSigma)), uint64(t.lognormal(down, downSigma))
	up, down = float64(r.O.Bytes/1400), float64(r.R.Bytes/1400)
	r.O.Packets = uint64(5+up+down/2) + uint64(t.rng.IntN(4))
	r.R.Packets = uint64(4+down+up/2) + uint64(t.rng.IntN(3))
	r.O.IPBytes, r.R.IPBytes = r.O.Bytes+52*r.O.Packets+8, r.R.Bytes+52*r.R.Packets+8
	r.O.Flags = decode.FlagSYN | decode.FlagACK | decode.FlagPSH | decode.FlagFIN
	r.R.Flags = r.O.Flags
	r.State, r.Close = conn.StateSF, conn.CloseEnd
	r.Last = r.First + int64(float64(r.RTT)*1000*(2+t.rng.ExpFloat64())) + int64(t.lognormal(6e8, 2.2))
	h := []byte("ShADad")
	if t.rng.IntN(4) == 0 {
		h = []byte("ShADda")
	}
	if t.rng.IntN(12) == 0 {
		r.R.Retrans = uint32(1 + t.rng.ExpFloat64()*3)
		r.R.IPBytes += uint64(r.R.Retrans) * 1452
		h = append(h, 't')
	}
	if t.rng.IntN(20) == 0 {
		r.O.Retrans = 1
		h = append(h, 'T')
	}
	if t.rng.IntN(100) == 0 {
		r.R.Gap = uint64(t.rng.IntN(100_000))
		h = append(h, 'g')
	}
	switch t.rng.IntN(8) {
	case 0:
		r.State = conn.StateRSTO
		r.O.Flags |= decode.FlagRST
		h = append(h, 'R')
	case 1:
		r.State = conn.StateRSTR
		r.R.Flags = r.R.Flags&^decode.FlagFIN | decode.FlagRST
		h = append(h, "Fr"...)
	case 2:
		h = append(h, "fFa"...)
	case 3:
		r.State, r.Close = conn.StateS1, conn.CloseIdle
		set(r, string(h))
		return *r, 5 * time.Minute
	default:
		h = append(h, "FfA"...)
	}
	set(r, string(h))
	return *r, 5 * time.Second
}

// datagrams is a connection of UDP or ICMP.
func (t *traffic) datagrams(r *conn.Record, wait, up, upSigma, down, downSigma, each float64, idle time.Duration) (conn.Record, time.Duration) {
	r.O.Bytes, r.R.Bytes = uint64(t.lognormal(up, upSigma)), uint64(t.lognormal(down, downSigma))
	r.O.Packets, r.R.Packets = 1, 1
	if each > 1 {
		r.O.Packets += uint64(float64(r.O.Bytes) / each * (1 + t.rng.Float64()))
		r.R.Packets += uint64(float64(r.R.Bytes) / each * (1 + 0.2*t.rng.Float64()))
	}
	r.O.IPBytes, r.R.IPBytes = r.O.Bytes+28*r.O.Packets, r.R.Bytes+28*r.R.Packets
	r.State, r.Close = conn.StateSF, conn.CloseIdle
	r.Last = r.First + int64(t.lognormal(wait*1000, 1.2))
	set(r, "Dd")
	if t.rng.IntN(30) == 0 {
		r.R, r.State, r.Last, r.Proven = conn.Dir{}, conn.StateS0, r.First, false
		set(r, "D")
	}
	return *r, idle
}
