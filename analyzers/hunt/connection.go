package hunt

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"

	"weir/decode"
	"weir/decode/conn"
)

// Connection is what is kept of a connection. It has no pointers.
type Connection struct {
	First, Last        int64
	Orig, Resp         decode.Addr
	OrigPort, RespPort uint16
	Proto, Ver         uint8
	State              conn.State
	App                conn.App
	Midstream          bool
	O, R               Side
}

// Side is what one side of a connection sent.
type Side struct {
	Packets, Bytes, Payload uint64
	Retrans                 uint32
	N                       uint32  // packets with payload
	GapMs, GapDev           float32 // between these: mean and standard deviation, ms
	Flags                   uint16
}

// Connections is an Input of connections.
type Connections struct {
	all     []Connection
	keep    *Reservoir
	derived []derived
}

// derived is what a connection is among the others.
type derived struct {
	service  float32 // connections to its protocol and port
	sources  float32 // distinct originators of its responder
	breadth  float32 // distinct services that its originator tried in the same hour
	attempts float32 // connections of its originator in the same hour
	failed   float32 // share of these without an answer or refused
}

// NewConnections is an Input of so many connections at most; of more, a uniform sample.
func NewConnections(limit int) *Connections { return &Connections{keep: NewReservoir(limit)} }

// Add takes a connection at its end.
func (c *Connections) Add(r *conn.Record) {
	if r.Outer || r.Ver == 0 {
		return
	}
	c.Take(&Connection{
		First: r.First, Last: r.Last, Orig: r.Orig, Resp: r.Resp, OrigPort: r.OrigPort, RespPort: r.RespPort, Proto: r.Proto, Ver: r.Ver,
		State: r.State, App: r.App, Midstream: r.Midstream, O: side(&r.O, &r.MomO), R: side(&r.R, &r.MomR),
	})
}

func side(d *conn.Dir, m *conn.Moments) Side {
	s := Side{Packets: d.Packets, Bytes: d.IPBytes, Payload: d.Bytes, Retrans: d.Retrans, N: m.N, Flags: d.Flags}
	s.gaps(float64(m.GapSum)/1e3, float64(m.GapSqMs))
	return s
}

// gaps sets the moments of the gaps from their sum in ms and the sum of their squares.
func (s *Side) gaps(sum, squares float64) {
	if s.N > 1 {
		mean := sum / float64(s.N-1)
		s.GapMs, s.GapDev = float32(mean), float32(math.Sqrt(max(squares/float64(s.N-1)-mean*mean, 0)))
	}
}

// Take takes a connection.
func (c *Connections) Take(one *Connection) {
	if at := c.keep.Place(); at == len(c.all) {
		c.all = append(c.all, *one)
	} else if at >= 0 {
		c.all[at] = *one
	}
}

// Seen is how many connections there were, and how many of these are kept.
func (c *Connections) Seen() (all, kept int) { return c.keep.Seen(), len(c.all) }

// At is a connection that is kept.
func (c *Connections) At(i int) *Connection { return &c.all[i] }

// Of implements Input.
func (c *Connections) Of() string { return "connections" }

// Len implements Input.
func (c *Connections) Len() int { return len(c.all) }

// Features implements Input.
func (c *Connections) Features() []Feature {
	return []Feature{
		{"sent", Amount, Bytes, "sent", "sends", "", "sent"},
		{"received", Amount, Bytes, "received", "receives", "", "received"},
		{"packets_sent", Amount, Count, "packets sent:", "has", "", "sent"},
		{"packets_received", Amount, Count, "packets received:", "has", "", "received"},
		{"duration", Amount, Millis, "lasted", "lasts", "", "time"},
		{"rate", Amount, ByteRate, "moved", "moves", "", ""},
		{"sent_to_received", Ratio, Times, "bytes sent for each received:", "has", "", "sent"},
		{"packet_size_sent", Amount, Bytes, "sent packets of", "sends", "", "sent"},
		{"packet_size_received", Amount, Bytes, "received packets of", "receives", "", "received"},
		{"pause", Amount, Millis, "paused for", "pauses for", "", "pause"},
		{"pause_spread", Amount, Millis, "its pauses differed by", "differs by", "", "pause"},
		{"retransmitted", Share, Percent, "sent again", "sends again", "", ""},
		{"service_use", Amount, Count, "its port had connections:", "has", "", "port"},
		{"destination_use", Amount, Count, "its destination had different sources:", "has", "", ""},
		{"source_services", Amount, Count, "its source tried different services in that hour:", "tries", "", "source"},
		{"source_attempts", Amount, Count, "its source had connections in that hour:", "has", "", "source"},
		{"source_failed", Share, Percent, "connections of its source that failed in that hour:", "has", "", ""},
		{"tcp", Class, Count, "", "", "was TCP", ""},
		{"udp", Class, Count, "", "", "was UDP", ""},
		{"other", Class, Count, "", "", "was neither TCP nor UDP", ""},
		{"unanswered", Class, Count, "", "", "had no answer", "answer"},
		{"refused", Class, Count, "", "", "was refused", "answer"},
		{"reset", Class, Count, "", "", "was reset", "answer"},
		{"midstream", Class, Count, "", "", "was met without its opening", ""},
		{"odd_flags", Class, Count, "", "", "had flags that no connection has", ""},
		{"high_port", Class, Count, "", "", "went to a port that no service owns (49152 and above)", "port"},
		{"user_port", Class, Count, "", "", "went to a registered port (1024 to 49151)", "port"},
	}
}

// Vector implements Input.
func (c *Connections) Vector(i int, v []float32) {
	one, among := &c.all[i], &c.derived[i]
	ms := max(float64(one.Last-one.First)/1e6, 0)
	v[0], v[1] = ln1p(float64(one.O.Payload)), ln1p(float64(one.R.Payload))
	v[2], v[3] = ln1p(float64(one.O.Packets)), ln1p(float64(one.R.Packets))
	v[4] = ln1p(ms)
	v[5] = ln1p(float64(one.O.Bytes+one.R.Bytes) / max(ms/1e3, 0.001)) // of less than a ms nobody knows a rate
	v[6] = v[0] - v[1]
	v[7], v[8] = ln1p(mean(one.O.Payload, one.O.N)), ln1p(mean(one.R.Payload, one.R.N))
	v[9], v[10] = ln1p(float64(one.O.GapMs)), ln1p(float64(one.O.GapDev))
	v[11] = float32(min(float64(one.O.Retrans+one.R.Retrans)/float64(max(one.O.Packets+one.R.Packets, 1)), 1))
	v[12], v[13], v[14], v[15], v[16] = ln1p(float64(among.service)), ln1p(float64(among.sources)), ln1p(float64(among.breadth)),
		ln1p(float64(among.attempts)), among.failed
	v[17], v[18] = is(one.Proto == tcp), is(one.Proto == udp)
	v[19] = is(one.Proto != tcp && one.Proto != udp)
	v[20], v[21] = is(one.unanswered()), is(one.State == conn.StateREJ)
	v[22] = is(one.State == conn.StateRSTO || one.State == conn.StateRSTR || one.State == conn.StateRSTOS0 || one.State == conn.StateRSTRH)
	v[23] = is(one.Midstream)
	v[24] = is(one.oddFlags())
	v[25], v[26] = is(one.ported() && one.RespPort >= 49152), is(one.ported() && one.RespPort >= 1024 && one.RespPort < 49152)
}

const (
	tcp = 6
	udp = 17
)

func (c *Connection) ported() bool     { return c.Proto == tcp || c.Proto == udp }
func (c *Connection) unanswered() bool { return c.R.Packets == 0 }
func (c *Connection) failed() bool     { return c.unanswered() || c.State == conn.StateREJ }

// oddFlags tells whether the originator's flags are those of no TCP connection: none, or the end or urgent data without any ACK.
func (c *Connection) oddFlags() bool {
	f := c.O.Flags
	return c.Proto == tcp && c.O.Packets > 0 && (f == 0 || f&decode.FlagACK == 0 && f&(decode.FlagFIN|decode.FlagURG|decode.FlagPSH) != 0)
}

func ln1p(v float64) float32 { return float32(math.Log1p(max(v, 0))) }

func is(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

func mean(sum uint64, n uint32) float64 {
	if n == 0 {
		return 0
	}
	return float64(sum) / float64(n)
}

// Finish counts what each connection is among the others. It must be called before the rest of Input.
func (c *Connections) Finish() {
	n := len(c.all)
	c.derived = make([]derived, n)
	services := map[uint32]float32{}
	targets, breadth := make([]pair, n), make([]pair, n)
	attempts, failed := map[uint64]float32{}, map[uint64]float32{}
	for i := range c.all {
		one := &c.all[i]
		services[one.service()]++
		hour := hash(one.Orig.Hi, one.Orig.Lo, uint64(one.First/3600e9))
		attempts[hour]++
		if one.failed() {
			failed[hour]++
		}
		targets[i] = pair{hash(one.Resp.Hi, one.Resp.Lo), hash(one.Orig.Hi, one.Orig.Lo)}
		breadth[i] = pair{hour, hash(one.Resp.Hi, one.Resp.Lo, uint64(one.service()))}
	}
	sources, tried := distinct(targets), distinct(breadth)
	for i := range c.all {
		one := &c.all[i]
		hour := hash(one.Orig.Hi, one.Orig.Lo, uint64(one.First/3600e9))
		c.derived[i] = derived{
			service: services[one.service()], sources: sources[hash(one.Resp.Hi, one.Resp.Lo)], breadth: tried[hour],
			attempts: attempts[hour], failed: failed[hour] / attempts[hour],
		}
	}
}

func (c *Connection) service() uint32 { return uint32(c.Proto)<<16 | uint32(c.RespPort) }

type pair struct{ key, value uint64 }

// distinct is how many different values each key has.
func distinct(all []pair) map[uint64]float32 {
	slices.SortFunc(all, func(a, b pair) int {
		switch {
		case a.key != b.key && a.key < b.key, a.key == b.key && a.value < b.value:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	out := map[uint64]float32{}
	for i, p := range all {
		if i == 0 || p != all[i-1] {
			out[p.key]++
		}
	}
	return out
}

// hash mixes numbers to one (the finaliser of SplitMix64, Steele, Lea and Flood 2014). It is the same in each run.
func hash(all ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, x := range all {
		h = (h ^ x) + 0x9e3779b97f4a7c15
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

// Row implements Input.
func (c *Connections) Row(i int) Row {
	one := &c.all[i]
	service := one.Service()
	return Row{
		Time: one.First, Subject: text(one.Orig, one.Ver), Object: text(one.Resp, one.Ver),
		What: fmt.Sprintf("%s %s", service, one.State), Tags: []string{service, one.State.String()},
	}
}

// Service is the protocol and the port in words: "tcp/443".
func (c *Connection) Service() string {
	switch c.Proto {
	case tcp:
		return "tcp/" + strconv.Itoa(int(c.RespPort))
	case udp:
		return "udp/" + strconv.Itoa(int(c.RespPort))
	case 1, 58:
		return "icmp/" + strconv.Itoa(int(c.OrigPort))
	}
	return "ip/" + strconv.Itoa(int(c.Proto))
}

// Addresses are those of both ends.
func (c *Connection) Addresses() (orig, resp netip.Addr) {
	return address(c.Orig, c.Ver), address(c.Resp, c.Ver)
}

func address(a decode.Addr, ver uint8) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.Hi)
	binary.BigEndian.PutUint64(b[8:], a.Lo)
	ip := netip.AddrFrom16(b)
	if ver == 4 {
		return ip.Unmap()
	}
	return ip
}

func text(a decode.Addr, ver uint8) string { return address(a, ver).String() }
