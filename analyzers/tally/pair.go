package tally

import (
	"cmp"

	"weir/decode"
	"weir/decode/conn"
)

// Bounds of an Epoch's lists of what goes on between hosts. What has the least evidence goes first, and is counted in Link.Loss.
const (
	MaxPairs  = 1 << 14 // 240 bytes each: 3.9 MB
	MaxEchoes = 1 << 11 // 224 bytes each: 0.5 MB
	MaxOdds   = 1 << 11 // 72 bytes each: 0.1 MB
)

// PairKey names what one client does at one service.
type PairKey struct {
	Client, Server decode.Addr
	Port           uint16 // of the server; 0 for protocols without ports
	Proto, Ver     uint8
	_              [4]byte
}

// Less is the order of Epoch.Pairs and Epoch.Webs: by client, then server, protocol and port.
func (k *PairKey) Less(o *PairKey) bool { return k.compare(o) < 0 }

func (k *PairKey) compare(o *PairKey) int {
	return cmp.Or(
		cmp.Compare(k.Ver, o.Ver), compareAddr(k.Client, o.Client), compareAddr(k.Server, o.Server),
		cmp.Compare(k.Proto, o.Proto), cmp.Compare(k.Port, o.Port),
	)
}

func (k *PairKey) order() ref {
	return ref{ver: k.Ver, hi: k.Client.Hi, lo: k.Client.Lo, sub: lead(k.Server, k.Ver)}
}

// pair hashes the key of a pair.
func (k *keys) pair(p *PairKey) uint64 {
	return k.addrWith(p.Server, k.addrWith(p.Client, uint64(p.Ver)<<32|uint64(p.Proto)<<24|uint64(p.Port)))
}

// Pair counts the connections of one client to one service in one tick: those with traffic of both sides, and those in which
// one side sent payload without an answer. What long connections carry is told every conn.SessionEvery and at their end, so
// that volumes come in steps of it.
type Pair struct {
	Key                    PairKey
	Opened                 uint32 // begun: TCP handshakes completed, else first answers
	Bursts                 uint32 // times that a client spoke again in an open connection after a pause of conn.BurstPause
	Closed                 uint32 // ended, of those that began
	Short                  uint32 // of Closed: short ones by conn.Session.Short
	Packets, BackPackets   uint64 // client to server, and back
	Bytes, BackBytes       uint64 // IP
	Payload, BackPayload   uint64
	Retrans, BackRetrans   uint32
	RTTN                   uint32    // handshakes whose RTT is in RTT
	Apps                   conn.Apps // that the connections opened with, of those that told more than their beginning
	RTT                    uint64    // Σ µs
	Sizes                  [2]Sum    // payload bytes of the connections closed in this tick: the client's, the server's
	Duration               Sum       // ms, likewise
	Print                  uint64    // of the client's SYN (conn.SYN folded) in the connection that LastBegun is of; 0 none
	FirstOpened, LastBegun int64     // ns: beginnings of the earliest and the latest of Opened and Bursts; 0 if none
	First, Last            int64     // ns: of the reports in this tick
}

// Sum is a sum and the sum of squares, of values clipped at 2^24, over N values; it saturates.
type Sum struct {
	N, Sum, Squares uint64
}

// Add counts a value.
func (s *Sum) Add(v uint64) {
	v = min(v, 1<<24)
	s.Merge(&Sum{1, v, v * v})
}

// Merge adds the values of o.
func (s *Sum) Merge(o *Sum) {
	s.N, s.Sum, s.Squares = saturate(s.N, o.N), saturate(s.Sum, o.Sum), saturate(s.Squares, o.Squares)
}

// saturate adds, up to the most that fits.
func saturate(a, b uint64) uint64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<64 - 1
}

// Session counts what a connection tells: for its pair, what its SYN looked like, and how long the handshake took for the service.
func (s *Shard) Session(c *conn.Session) {
	s.used = true
	k := PairKey{Client: c.Client, Server: c.Server, Port: c.Port, Proto: c.Proto, Ver: c.Ver}
	if !hasPorts(k.Proto) {
		k.Port = 0
	}
	p := s.pairs.at(k, s.keys.pair(&k))
	p.session(c, s.keys.syn(&c.SYN))
	if c.Stage == conn.SessionBegin && c.Proto == protoUDP && c.Port == 67 && c.ClientPort == 68 { // a lease renewed: peculiar sees the others
		s.oddity(oddKey{Kind: OddDHCPServer, Ver: c.Ver, Src: c.Server}, c.Time)
	}
	if c.Stage != conn.SessionBegin || c.Proto != protoTCP {
		return
	}
	if c.RTT != 0 {
		v := ServiceKey{Addr: c.Server, Port: c.Port, Proto: c.Proto, Ver: c.Ver}
		s.services.at(v.Addr, v.word()).roundTrip(c.RTT)
	}
	if c.SYN != (conn.SYN{}) {
		o := OpeningKey{Server: c.Server, Hash: s.keys.syn(&c.SYN), Port: c.Port, Proto: c.Proto, Ver: c.Ver, Kind: OpeningSYN}
		s.openings.at(o, s.keys.opening(&o)).count(c.Client, c.Time, &s.keys)
	}
}

// syn hashes what makes the SYN of a system: its layout, window, length and the least hop limit that it can have begun with.
func (k *keys) syn(h *conn.SYN) uint64 {
	if *h == (conn.SYN{}) {
		return 0
	}
	begun := uint64(255)
	for _, hops := range [...]uint8{32, 64, 128} {
		if h.TTL <= hops {
			begun = uint64(hops)
			break
		}
	}
	return k.word(fold(uint64(h.Layout)<<32|uint64(h.Window)<<16|uint64(h.Len), begun^k[2])) | 1
}

func (p *Pair) session(c *conn.Session, print uint64) {
	switch c.Stage {
	case conn.SessionBegin:
		p.Opened++
		p.begun(c.Time, print)
		if c.RTT != 0 {
			p.RTTN++
			p.RTT += uint64(c.RTT)
		}
	case conn.SessionBurst:
		p.Bursts++
		p.begun(c.Time, print)
	case conn.SessionEnd:
		if c.OneWay {
			break
		}
		p.Closed++
		if c.Short {
			p.Short++
		}
		p.Sizes[0].Add(c.Total[0])
		p.Sizes[1].Add(c.Total[1])
		p.Duration.Add(uint64(c.Duration / 1e6))
	}
	p.Apps |= c.App.Set()
	client, server := &c.Sent[0], &c.Sent[1]
	p.Packets += client.Packets
	p.Bytes += client.Bytes
	p.Payload += client.Payload
	p.Retrans += client.Retrans
	p.BackPackets += server.Packets
	p.BackBytes += server.Bytes
	p.BackPayload += server.Payload
	p.BackRetrans += server.Retrans
	p.First, p.Last = earliest(p.First, c.Time), max(p.Last, c.Time)
}

// begun notes the time of a beginning, and of the latest its print.
func (p *Pair) begun(time int64, print uint64) {
	p.FirstOpened = earliest(p.FirstOpened, time)
	if latest(time, p.LastBegun, print, p.Print) {
		p.LastBegun, p.Print = time, print
	}
}

func (p *Pair) start(k PairKey)     { *p = Pair{Key: k} }
func (p *Pair) is(k PairKey) bool   { return p.Key == k }
func (p *Pair) order() ref          { return p.Key.order() }
func (p *Pair) compare(o *Pair) int { return p.Key.compare(&o.Key) }

// weight is the evidence of a pair: its packets, and what it reported of beginnings and ends.
func (p *Pair) weight() uint64 {
	return p.Packets + p.BackPackets + uint64(p.Opened) + uint64(p.Bursts) + uint64(p.Closed)
}

func (p *Pair) add(o *Pair) {
	p.Opened += o.Opened
	p.Bursts += o.Bursts
	p.Closed += o.Closed
	p.Short += o.Short
	p.Packets += o.Packets
	p.BackPackets += o.BackPackets
	p.Bytes += o.Bytes
	p.BackBytes += o.BackBytes
	p.Payload += o.Payload
	p.BackPayload += o.BackPayload
	p.Retrans += o.Retrans
	p.BackRetrans += o.BackRetrans
	p.RTTN += o.RTTN
	p.Apps |= o.Apps
	p.RTT += o.RTT
	p.Sizes[0].Merge(&o.Sizes[0])
	p.Sizes[1].Merge(&o.Sizes[1])
	p.Duration.Merge(&o.Duration)
	p.FirstOpened = earliest(p.FirstOpened, o.FirstOpened)
	if o.LastBegun != 0 {
		p.begun(o.LastBegun, o.Print)
	}
	p.First, p.Last = earliest(p.First, o.First), max(p.Last, o.Last)
}
