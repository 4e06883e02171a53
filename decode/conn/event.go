package conn

import "weir/decode"

// Event tells what one packet meant to its connection. Bits combine; the batch update returns one per packet.
type Event uint32

// Event bits.
const (
	EvNew         Event = 1 << iota // the packet opened a connection entry (half-open ones included)
	EvOrig                          // sent by the originator (else by the responder)
	EvAnswered                      // the connection has traffic of both sides (this packet included)
	EvEstablished                   // TCP: handshake completed with the return path proven; stays set from then on
	EvProven                        // this packet completed it: the originator acknowledged the responder's ISN+1
	EvAttempt                       // TCP: a SYN that asks for a connection: new, or with another ISN than before (no retransmission)
	EvStray                         // TCP without SYN that belongs to no known connection (mid-stream or backscatter)
	EvUnasked                       // shaped like an answer (SYN-ACK, echo reply, UDP) and nothing was asked; stays set on the entry until the other side speaks
	EvRefusal                       // a RST or ICMP error that refused an unanswered attempt
	EvRetrans                       // TCP payload or SYN/FIN seen before
	EvGap                           // TCP sequence jumped over bytes that were not seen
	EvZeroWindow                    // TCP advertised window 0 (without RST)
	EvFragment                      // any IP fragment
	EvClosed                        // this packet ended the connection
	EvUntracked                     // not counted in any connection: not IP, or the table refused it
	EvVisible                       // once a connection: the fourth packet of a TCP connection that carries payload; a two-way view has seen both sides by now
	EvOuter                         // a tunnel's outer connection: for flow records only, never tallied
	EvOpening                       // carries payload that an application may open with: see Tables.Watch
	EvOverlap                       // a fragment that overlaps others of its datagram, and is none of them again
	EvTTL                           // TCP and UDP: a hop limit that is more than 8 from what the side began with; looked at with SYN, FIN, RST and the first packets with payload
	EvSplit                         // TCP: a SYN answered by a bare SYN: a split handshake, or a simultaneous open
	EvResend                        // TCP: payload that begins within what was sent and ends beyond it: sent again, cut otherwise
)

// Probe is how a contact was tried.
type Probe uint8

// Probes. The TCP flag scans are named as in nmap(1).
const (
	ProbeSYN    Probe = iota
	ProbeNull         // no flag
	ProbeFIN          // FIN alone
	ProbeXmas         // FIN, PSH, URG
	ProbeACK          // ACK alone, outside of any connection
	ProbeMaimon       // FIN, ACK, outside of any connection
	ProbeOddTCP       // other flags outside of any connection
	ProbeUDP
	ProbeEcho // ICMP or ICMPv6 echo request
	ProbeARP  // ARP request
	ProbeOther
	ProbeCount
)

// Stage is a step in the life of a contact. A contact emits StageOpened, then at most one of Refused, Silent and Unknown,
// or Answered and possibly Proven after it.
type Stage uint8

// Stages. As outcomes they form a join: Unknown < Silent < Refused < Answered.
const (
	StageOpened   Stage = iota // tried
	StageUnknown               // its half-open entry was overwritten: nobody knows
	StageSilent                // no answer within 5 s of event time
	StageRefused               // RST or ICMP unreachable
	StageAnswered              // SYN-ACK, UDP or echo or ARP reply
	StageProven                // TCP: the source acknowledged the answer's ISN+1: its return path is proven
)

// Contact is one step of one attempt of a source to reach an address and port. Repeats of the same attempt (SYN
// retransmissions) emit nothing; whether it is the source's first contact there is the tally's business.
type Contact struct {
	Time     int64 // ns, of this step
	Src, Dst decode.Addr
	Port     uint16 // destination port; 0 for echo and ARP
	Proto    uint8  // IP protocol; 0 for ARP
	Ver      uint8
	Probe    Probe
	Stage    Stage
	Marks    Marks
	Shard    uint8
	SYN      SYN // valid iff Probe is ProbeSYN: the header of the attempt, also at later stages
}

// Marks are header peculiarities of scanning tools seen on the attempt: evidence, not proof.
type Marks uint8

// Marks.
const (
	MarkZMap    Marks = 1 << iota // IP id 54321
	MarkMasscan                   // IP id = (destination ^ port ^ sequence) & 0xffff
	MarkMirai                     // sequence = destination address
	MarkNmap                      // a window of nmap's probes (1024, 2048, 3072, 4096) with its option layout (MSS alone)
)

// SYN is what a connection keeps of the header that opened it.
type SYN struct {
	Layout uint32 // decode.TCPOptions.Layout
	Window uint16
	Len    uint16 // IP length
	TTL    uint8
	_      [3]byte
}

// Slow is a connection that a census found slow: established and long-lived, with few bytes and a responder that has
// nothing to say because the originator does not finish asking (slowloris) or reading. Census visits every connection once
// in SlowEvery of event time.
type Slow struct {
	Resp     decode.Addr
	RespPort uint16
	Ver      uint8
	Shard    uint8
}

// Peer is the originator of a TCP connection whose return path is proven: told when the handshake is completed, and again
// every PeerEvery while the connection carries packets. So are, without that proof, those of connections that began out of
// sight and in which both sides send payload.
type Peer struct {
	Addr  decode.Addr
	Ver   uint8
	Shard uint8
}

// Out collects what a batch or an expiry produced besides events. The caller drains and truncates the slices. Record, if
// not nil, is called for each connection at its end; the record is valid only during the call. While Record is nil, sizes
// and gaps of payload packets are not kept. Opening, if not nil, is called for each packet with EvOpening or EvProven before the
// next one is looked at, so that Tables.Watch counts from there on, however packets are cut into batches.
type Out struct {
	Contacts []Contact
	Slow     []Slow
	Peers    []Peer
	Sessions []Session
	Record   func(*Record)
	Opening  func(*decode.Packet, Event)
}
