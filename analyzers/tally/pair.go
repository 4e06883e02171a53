package tally

import "weir/decode"

// PairKey names what one client does at one service.
type PairKey struct {
	Client, Server decode.Addr
	Port           uint16 // of the server; 0 for protocols without ports
	Proto, Ver     uint8
	_              [4]byte
}

// Less is the order of Epoch.Pairs and Epoch.Webs: by client, then server, protocol and port.
func (k *PairKey) Less(o *PairKey) bool {
	switch {
	case k.Ver != o.Ver:
		return k.Ver < o.Ver
	case k.Client != o.Client:
		return k.Client.Less(o.Client)
	case k.Server != o.Server:
		return k.Server.Less(o.Server)
	case k.Proto != o.Proto:
		return k.Proto < o.Proto
	}
	return k.Port < o.Port
}

// Pair counts the connections of one client to one service in one tick: those with traffic of both sides, and those in which
// one side sent payload without an answer. What long connections carry is told every conn.SessionEvery and at their end, so
// that volumes come in steps of it.
type Pair struct {
	Key                    PairKey
	Opened                 uint32 // begun: TCP handshakes completed, else first answers
	Bursts                 uint32 // times that a client spoke again in an open connection after a pause of conn.BurstPause
	Closed                 uint32 // ended
	Short                  uint32 // of Closed: short ones by conn.Session.Short
	Packets, BackPackets   uint64 // client to server, and back
	Bytes, BackBytes       uint64 // IP
	Payload, BackPayload   uint64
	Retrans, BackRetrans   uint32
	RTTN                   uint32 // handshakes whose RTT is in RTT
	RTT                    uint64 // Σ µs
	Sizes                  [2]Sum // payload bytes of the connections closed in this tick: the client's, the server's
	Duration               Sum    // ms, likewise
	Print                  uint64 // of the client's SYN (conn.SYN folded) in the newest connection opened; 0 none
	FirstOpened, LastBegun int64  // ns: beginnings of the earliest and the latest of Opened and Bursts; 0 if none
	First, Last            int64  // ns: of the reports in this tick
}

// Sum is a sum and the sum of squares, of values clipped at 2^24, over N values; it saturates.
type Sum struct {
	N, Sum, Squares uint64
}

// Echo counts the ICMP echoes that one host sent another in one tick.
type Echo struct {
	Client, Server           decode.Addr // who asks, whom
	Ver                      uint8
	Requests, Replies        uint32
	RequestBytes, ReplyBytes uint64 // payload
	MinSize, MaxSize         uint16 // of the payloads, both ways
	Odd                      uint32 // replies of another size than any request in this tick, or without a request
	Sizes                    HLL    // distinct payload sizes
	Contents                 HLL    // distinct payloads, by a hash of bytes 16 to 64: those before may be a time stamp
	First, Last              int64
}

// OddKind is a peculiarity that packets showed.
type OddKind uint8

// Kinds.
const (
	OddLand       OddKind = iota // source and destination are the same (LAND)
	OddFlags                     // TCP flags that no stack sends: SYN with FIN or RST, FIN without ACK in a connection, …
	OddFragment                  // overlapping fragments (teardrop)
	OddSource                    // a source that cannot be: loopback, multicast, broadcast, 0.0.0.0/8, 240.0.0.0/4 (Packet.Src); DHCP's 0.0.0.0 is none
	OddTTL                       // the hop limit of one side changed within a connection by more than 8
	OddSplit                     // TCP split handshake: a SYN answered by a bare SYN
	OddOverlap                   // a TCP segment again with another length that overlaps what was seen
	OddARPClaim                  // no oddity by itself: who said to have which address. Src the address, MAC whose
	OddARPGratuit                // gratuitous ARP: likewise
	OddDHCPServer                // a DHCP server answered: Src
	OddRouter                    // an IPv6 router advertisement: Src
	OddKindCount
)

var oddNames = [OddKindCount]string{
	"land", "flags", "fragment", "source", "ttl", "split", "overlap", "arp_claim", "arp_gratuitous", "dhcp_server", "router",
}

// String is the kind as alerts show it.
func (k OddKind) String() string { return oddNames[k] }

// Odd counts one peculiarity between two hosts in one tick. Zero where a field has no meaning.
type Odd struct {
	Kind        OddKind
	Ver         uint8
	Src, Dst    decode.Addr
	MAC         uint64 // 48 bits
	Count       uint64
	First, Last int64
}
