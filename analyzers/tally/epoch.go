// Package tally counts what packets and connections did, by key, in bounded tables that merge. A shard accumulates into
// its own Shard; at each tick the shards' counts are merged, in shard order, into one Epoch, which the analyzers judge.
// All counts are integers, so that the order of additions cannot show.
package tally

import (
	"weir/decode"
	"weir/decode/conn"
)

// Tick is the length of an epoch: 100 ms, in ns.
const Tick int64 = 100e6

// Epoch is the merged counters of one tick of event time. Slices are sorted by key; an Epoch is reused, so whatever an
// analyzer keeps it copies.
type Epoch struct {
	Tick      int64  // number since the Unix epoch: the epoch covers [Tick, Tick+1) × 100 ms
	SketchKey uint64 // hash key of all sketches in it; epochs of different keys do not merge
	Link      Link
	Services  []Service // by ServiceKey
	Sources   []Source  // by address
	Suspects  []Header  // sample of headers that got no answer so far, by Rank
	Normals   []Header  // sample of headers of answered connections, by Rank
	Prints    []Print   // TCP SYN and SYN-ACK fingerprints, by Hash
	Peers     []Peer    // who completed a handshake, or goes on in a connection that did, by address
	Gate      Gate
	Pairs     []Pair    // by PairKey
	Echoes    []Echo    // by client and server
	Odds      []Odd     // by kind, version, source, destination and MAC
	Openings  []Opening // by server, protocol, port, kind and hash
	Names     []Name    // by client and hash of the domain
	Webs      []Web     // by PairKey
}

// Start is the first nanosecond of the epoch.
func (e *Epoch) Start() int64 { return e.Tick * Tick }

// End is the first nanosecond after the epoch.
func (e *Epoch) End() int64 { return (e.Tick + 1) * Tick }

// Link counts everything on the link.
type Link struct {
	Packets, Bytes                 uint64 // bytes on the wire
	TCP, UDP, ICMP, ARP, Other     uint64 // packets by innermost protocol
	Fragments                      uint64
	Opened, Closed                 uint64 // connections
	Proven                         uint64 // completed handshakes with proven return path
	PeersLost                      uint64 // peers that the tick had no room for
	Payload, Retrans               uint64 // TCP packets with payload, and those seen before
	VisibleTwoWay, VisibleOneWay   uint64 // connections by EvVisible: with and without traffic of both sides
	ContactsUnknown, ContactsKnown uint64 // outcomes that the half-open cache lost, and kept
	Backward                       uint64 // frames whose time was before an earlier frame's
	Why                            [decode.WhyCount]uint64
	Loss                           [LossCount]uint64
}

// Loss is a cause of loss: what could not be counted in this epoch. It indexes Link.Loss.
type Loss uint8

// Causes. Those of the kernel and the interface count packets that were never seen.
const (
	LossKernel    Loss = iota // ring full
	LossFreeze                // times that the ring stood still, full: the packets are in LossKernel
	LossInterface             // dropped by the interface
	LossCut                   // snaplen cut into the headers
	LossConnTable             // connection table full: entry evicted or packet untracked
	LossHalfOpen              // half-open entry overwritten: outcome unknown
	LossFragTable             // fragment table full
	LossSources               // source table of the tick full: sources without an entry, or without sketches and sample
	LossServices              // service table of the tick full: packets that neither a service nor its host (RoleFolded) counts
	LossPrints                // fingerprint table of the tick full: packets of prints without an entry
	LossPairs                 // pair table of the tick full: pairs without an entry
	LossOpenings              // tables of openings, names and requests of the tick full: keys without an entry; or no buffer to put an opening together
	LossOdds                  // tables of echoes and oddities of the tick full: keys without an entry
	LossCount
)

var lossNames = [LossCount]string{"kernel", "freeze", "interface", "snaplen", "conn_table", "half_open", "frag_table", "sources", "services", "prints", "pairs", "openings", "odds"}

// String is the cause as metrics and alerts show it.
func (l Loss) String() string { return lossNames[l] }

// LossRatio is the share of packets that never reached the tallies: kernel and interface drops over all.
func (l *Link) LossRatio() float64 {
	lost := l.Lost()
	if lost == 0 {
		return 0
	}
	return float64(lost) / float64(lost+l.Packets)
}

// Lost is how many packets never reached the tallies. The kernel counts those of a frozen ring as dropped, too.
func (l *Link) Lost() uint64 { return l.Loss[LossKernel] + l.Loss[LossInterface] }

// Role tells what a Service entry counts.
type Role uint8

// Roles.
const (
	RoleServer Role = iota // packets of connections to Addr:Port; Port 0 for protocols without ports
	RoleAnswer             // answer-shaped packets to Addr from source port Port that nobody asked for (EvUnasked)
	RoleFolded             // counts of services of Addr that did not fit: Port 0, all protocols' ports of that Proto
)

// ServiceKey names a destination service.
type ServiceKey struct {
	Addr  decode.Addr
	Port  uint16
	Proto uint8
	Ver   uint8
	Role  Role
	_     [3]byte
}

// Less is the order of Epoch.Services: by address, then protocol, port and role.
func (k *ServiceKey) Less(o *ServiceKey) bool {
	if k.Ver != o.Ver {
		return k.Ver < o.Ver
	}
	if k.Addr != o.Addr {
		return k.Addr.Less(o.Addr)
	}
	if k.Proto != o.Proto {
		return k.Proto < o.Proto
	}
	if k.Port != o.Port {
		return k.Port < o.Port
	}
	return k.Role < o.Role
}

// Service counts the traffic of one destination service in one tick. "To" is towards Addr.
type Service struct {
	Key                         ServiceKey
	Packets, Bytes              uint64     // to it; wire bytes
	BackPackets, BackBytes      uint64     // from it
	Unanswered, UnansweredBytes uint64     // packets to it of connections without any answer so far (TCP: without established)
	Fragments, FragBytes        uint64     // to it
	StrayACK, StrayACKBytes     uint64     // TCP without SYN and RST to it, outside of any connection or of one that began so and has no answer; not in Unanswered
	StrayRST, StrayRSTBytes     uint64     // RST likewise
	Opened                      uint32     // connections opened to it
	SYN                         uint32     // handshakes begun (EvAttempt)
	SYNACK                      uint32     // handshakes it answered (first answer of each)
	Proven                      uint32     // handshakes completed
	Refused                     uint32     // attempts it refused
	Slow                        uint32     // connections found slow by this tick's census
	Payload                     uint32     // TCP packets with payload, both ways
	Retrans                     uint32     // of these, seen before
	RTTN                        uint32     // handshakes whose RTT is in RTT
	RTT                         uint64     // Σ µs: SYN to the ACK of the SYN-ACK
	RTTs                        [16]uint16 // those by size: below 2^(i+7) µs, the last all above; saturate
	Sources                     HLL        // distinct senders of packets that opened something or were stray or unasked
}

// HLL is a HyperLogLog of 64 registers (standard error 13 %; linear counting makes it 10 % up to about 40 distinct keys, and
// 1 is exact). Zero value: empty. Union by register maximum.
type HLL [64]uint8

// Source counts what one address tried in one tick.
type Source struct {
	Addr        decode.Addr
	Ver         uint8
	Tool        uint16 // label of a scanning tool's print (analyzers/fingerprint), 0 none
	Marks       conn.Marks
	First, Last int64 // ns, of its contacts in this tick

	// First contacts with an (address, protocol, port) by stage: each counts once for as long as the shard remembers it.
	Opened, Unknown, Silent, Refused, Answered, Proven uint32
	Repeats                                            uint32 // attempts at addresses and ports it had tried before
	Probes                                             [conn.ProbeCount]uint32
	ToolHits, MarkHits                                 uint32
	Hosts, Ports                                       HLL                        // distinct addresses and (protocol, port)s among Opened
	NContacts                                          uint8                      // entries of Contacts in use, by Rank
	Contacts                                           [SampleSize]SampledContact // bottom-k sample of its first contacts
}

// SampleSize is how many contacts a source's sample holds: a bottom-k sample by hash, which unites in any order.
const SampleSize = 16

// SampledContact is one sampled first contact, at the highest stage seen in this tick.
type SampledContact struct {
	Rank  uint64 // hash of destination, protocol, port and, if it has odd flags, probe
	Dst   decode.Addr
	Port  uint16
	Proto uint8
	Probe conn.Probe
	Stage conn.Stage
}

// Class says why a header was sampled.
type Class uint8

// Classes.
const (
	ClassSYN        Class = iota // a handshake begun
	ClassStray                   // TCP outside of any connection
	ClassUnanswered              // UDP, ICMP or other without an answer so far
	ClassUnasked                 // an answer that nobody asked for
	ClassFragment
	ClassNormalSYN // the SYN of a handshake that was completed
	ClassNormal    // a packet to the responder of an answered connection
	ClassCount
)

// Header is a sampled packet header. Samples are bottom-k by Rank, a hash of the header and its time, so that they unite.
type Header struct {
	Rank             uint64
	Time             int64
	Src, Dst         decode.Addr
	SrcPort, DstPort uint16
	Proto, Ver       uint8
	Class            Class
	TTL              uint8
	Len              uint16 // IP length, saturating
	Flags            uint16 // TCP
	Window           uint16
	NPayload         uint8 // bytes of Payload in use
	_                uint8
	Layout           uint32  // TCP option layout
	Payload          [8]byte // first payload bytes
}

// Print counts one TCP SYN or SYN-ACK fingerprint.
type Print struct {
	Hash        uint64 // of the raw signature
	SYNACK      bool
	Label       uint16 // analyzers/fingerprint label, 0 none
	Count       uint64
	Sources     HLL
	Src, Dst    decode.Addr // of the least Time
	Ver         uint8
	DstPort     uint16
	First, Last int64
	NRaw        uint8
	Raw         [95]byte // the signature's text, cut
}

// Empty reports that nothing happened in the epoch: there is nothing to judge.
func (e *Epoch) Empty() bool {
	lists := len(e.Services) + len(e.Sources) + len(e.Pairs) + len(e.Echoes) + len(e.Odds) + len(e.Openings) + len(e.Names) + len(e.Webs)
	return e.Link.Packets == 0 && lists == 0 && e.Link.Loss == [LossCount]uint64{} && e.Gate.Empty()
}
