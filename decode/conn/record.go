package conn

import "weir/decode"

// Dir holds what one side of a connection sent.
type Dir struct {
	Packets    uint64
	IPBytes    uint64 // sum of IP lengths
	Bytes      uint64 // payload: for TCP by sequence numbers as Zeek's orig_bytes, else sum of payload lengths
	Gap        uint64 // TCP: bytes that sequence numbers passed over and nobody saw
	Retrans    uint32 // packets with payload seen before
	ZeroWindow uint32
	Flags      uint16 // union of TCP flags
}

// Payload is one of the first packets that carried payload.
type Payload struct {
	Gap  uint32 // µs since the packet with payload before it, 0 for the first; saturates
	Size uint16 // bytes; saturates
	Orig bool
	_    bool
}

// Moments are sums over all packets with payload of one direction, fit to add up: n, Σx, Σx² of the sizes in bytes, and
// of the gaps in µs. They saturate.
type Moments struct {
	N               uint32
	Size, SizeSq    uint64
	GapSum, GapSqMs uint64 // Σ µs, and Σ of squared gaps in ms²
}

// State is Zeek's conn_state.
type State uint8

// States, as https://docs.zeek.org/en/master/scripts/base/protocols/conn/main.zeek.html explains them.
const (
	StateOTH State = iota
	StateS0
	StateS1
	StateSF
	StateREJ
	StateS2
	StateS3
	StateRSTO
	StateRSTR
	StateRSTOS0
	StateRSTRH
	StateSH
	StateSHR
)

var stateNames = [...]string{"OTH", "S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR"}

// String is Zeek's name of the state.
func (s State) String() string { return stateNames[s] }

// Close says why a record was made.
type Close uint8

// Reasons to close.
const (
	CloseEnd     Close = iota // FIN or RST exchange, and the linger after it
	CloseIdle                 // inactivity timeout of its protocol and state
	CloseEvicted              // the table was full and this entry had the least evidence
	CloseReuse                // the same key started anew
	CloseFinal                // the input ended
)

// Action is what the gate did to the connection's packets.
type Action uint8

// Actions.
const (
	ActionAccept Action = iota
	ActionDrop
	ActionShadow
)

// Record is a connection at its end. It has no pointers; records are passed by pointer and valid only during the call.
type Record struct {
	First, Last  int64 // ns
	Orig, Resp   decode.Addr
	OrigPort     uint16
	RespPort     uint16
	Proto, Ver   uint8
	State        State
	Close        Close
	Action       Action
	Outer        bool // a tunnel's outer connection
	Shard        uint8
	Proven       bool // return path of the originator proven
	Midstream    bool // picked up without its opening
	App          App  // by its opening
	Disc         uint32
	VLAN         [2]uint16
	Tunnels      decode.Tunnels
	RTT          uint32 // handshake, µs: SYN to the ACK of the SYN-ACK; 0 unknown
	O, R         Dir
	HistLen      uint8
	Hist         [32]byte // Zeek's history, HistLen letters
	NFirst       uint8
	FirstPayload [10]Payload
	MomO, MomR   Moments
}

// History is Zeek's history string.
func (r *Record) History() string { return string(r.Hist[:r.HistLen]) }
