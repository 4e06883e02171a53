package conn

import (
	"slices"
	"time"

	"weir/decode"
)

// SessionEvery is the event time after which a connection that goes on tells what it carried since it told last.
const SessionEvery = 10 * time.Second

// BurstPause is the silence after which a client that speaks again makes a burst.
const BurstPause = time.Second

// Limits of a short session: what a try at a login, a look-up or a beacon stays within.
const (
	ShortClient   = 8 << 10  // payload bytes of the client
	ShortServer   = 16 << 10 // of the server
	ShortDuration = 30 * time.Second
)

// SessionStage is why a session is told.
type SessionStage uint8

// Stages.
const (
	SessionBegin SessionStage = iota // TCP: the handshake is proven, or a connection met midway has payload and packets of both sides; else the first answer. Tells no volume yet
	SessionBurst                     // the client sends payload after a pause of BurstPause
	SessionOn                        // it goes on: each SessionEvery in which it carried packets
	SessionEnd                       // it ended, for whatever reason; not before its entry goes: some seconds after FIN or RST
)

// Session tells what a connection carried since it told last. Connections without an answer tell only if they carry payload
// in four packets or more, as OneWay and never that they begin; half-open ones and outer connections of tunnels tell nothing.
type Session struct {
	Time             int64 // ns, of the report
	First            int64 // ns, of the connection's first packet
	Client, Server   decode.Addr
	ClientPort, Port uint16 // Port is the server's; those of ICMP are as in decode.Key
	Proto, Ver       uint8
	Shard            uint8
	Stage            SessionStage
	State            State // at its end; else StateOTH
	Midstream        bool  // met without its opening
	OneWay           bool
	Proven           bool      // TCP: return path of the client proven
	App              App       // by its opening, as far as that was read: not at begin
	Short            bool      // at its end: within the Short limits, both sides sent payload, and it was not cut off by the end of the input or a full table
	RTT              uint32    // µs: SYN to the ACK of the SYN-ACK; at begin; 0 unknown
	SYN              SYN       // of the client; zero if there was none
	Sent             [2]Volume // client's, server's: since it told last
	Total            [2]uint64 // payload bytes of the client and the server since it began
	Duration         int64     // ns: first packet to the last so far
}

// Volume is what one side sent.
type Volume struct {
	Packets, Bytes, Payload uint64 // IP bytes; payload of TCP by sequence numbers
	Retrans                 uint32 // packets with payload seen before
}

// told is what a connection has told of its volume: it lies apart, as only reports need it.
type told struct{ side [2]toldSide }

type toldSide struct {
	bytes, payload uint64
	packets        uint32
	retrans        uint16
	_              [2]byte
}

// begins tells whether a connection has what makes a session begin: a proven handshake; met midway, payload and packets of
// both sides and no RST; without a handshake, an answer. Of ICMP only echoes are sessions.
func (c *conn) begins() bool {
	const midway = bitMidstream | bitAnswered | bitPayload
	switch {
	case c.bits&bitOuter != 0:
		return false
	case c.proto == protoTCP:
		return c.bits&bitProven != 0 || c.bits&midway == midway && c.side[0].state != reset && c.side[1].state != reset
	case c.proto == protoICMP || c.proto == protoICMP6:
		return c.bits&bitAnswered != 0 && c.probe == ProbeEcho
	}
	return c.bits&bitAnswered != 0
}

// oneWay tells whether a connection without an answer carries enough to be told.
func (c *conn) oneWay() bool {
	return c.bits&(bitPayload|bitAnswered|bitOuter) == bitPayload && c.side[0].packets+c.side[1].packets >= 4
}

// begin tells that a session begins.
//
//go:noinline
func (s *shard) begin(c *conn, out *Out) {
	c.more |= moreBegun
	v := s.session(c, SessionBegin, out)
	if v.RTT = c.rtt; c.bits&bitMidstream != 0 {
		v.RTT = 0
	}
}

// goOn tells what a session has carried since it told last, if anything.
//
//go:noinline
func (s *shard) goOn(c *conn, stage SessionStage, out *Out) {
	t := s.told.at(int(s.slot(c)))
	if c.more&moreTold == 0 {
		*t = told{}
	}
	if c.side[0].packets == t.side[0].packets && c.side[1].packets == t.side[1].packets {
		return
	}
	v := s.session(c, stage, out)
	c.more |= moreTold
	for d := range t.side {
		x, m := &c.side[d], &t.side[d]
		v.Sent[d] = m.since(x, v.Total[d])
		*m = toldSide{bytes: x.ipBytes, payload: v.Total[d], packets: x.packets, retrans: x.retrans}
	}
}

// finish tells the end of a session, and what it carried that was not told.
//
//go:noinline
func (s *shard) finish(c *conn, why Close, out *Out) {
	v := s.session(c, SessionEnd, out)
	v.State = c.state()
	over := why != CloseFinal && why != CloseEvicted || c.bits&bitDone != 0
	v.Short = over && !v.OneWay && v.Total[0] != 0 && v.Total[1] != 0 &&
		v.Total[0] <= ShortClient && v.Total[1] <= ShortServer && v.Duration <= int64(ShortDuration)
	var t told
	if c.more&moreTold != 0 {
		t = *s.told.at(int(s.slot(c)))
	}
	for d := range t.side {
		v.Sent[d] = t.side[d].since(&c.side[d], v.Total[d])
	}
}

// since is what a side has sent beyond what was told. Payload by sequence numbers can shrink: a side may begin anew.
func (m *toldSide) since(x *side, payload uint64) Volume {
	return Volume{
		Packets: uint64(x.packets - m.packets), Bytes: x.ipBytes - m.bytes, Payload: max(payload, m.payload) - m.payload,
		Retrans: uint32(x.retrans - m.retrans),
	}
}

// session writes what all reports of a connection tell.
func (s *shard) session(c *conn, stage SessionStage, out *Out) *Session {
	n := len(out.Sessions)
	out.Sessions = slices.Grow(out.Sessions, 1)[:n+1]
	v := &out.Sessions[n]
	*v = Session{
		Time: s.now, First: c.first, Client: c.a, Server: c.b, ClientPort: c.portA, Port: c.portB, Proto: c.proto, Ver: c.ver,
		Shard: s.id, Stage: stage, Midstream: c.bits&bitMidstream != 0, OneWay: c.more&moreBegun == 0, Proven: c.bits&bitProven != 0,
		App: c.app, Duration: max(c.last-c.first, 0),
	}
	if c.bits&bitOrigB != 0 {
		v.Client, v.Server, v.ClientPort, v.Port = c.b, c.a, c.portB, c.portA
	}
	v.SYN, _ = c.syn()
	for d := range v.Total {
		if x := &c.side[d]; c.proto == protoTCP {
			v.Total[d] = x.size(&c.side[1-d])
		} else {
			v.Total[d] = x.bytes()
		}
	}
	return v
}

// syn is the header of the client's SYN, if the connection began with it.
func (c *conn) syn() (SYN, bool) {
	if c.proto != protoTCP || c.bits&bitMidstream != 0 || c.length == 0 {
		return SYN{}, false
	}
	return SYN{Layout: c.layout, Window: c.window, Len: c.length, TTL: c.ttl}, true
}
