package baseline

import "math/bits"

// Kind is the sort of thing that is measured.
type Kind uint8

// Kinds, with the fields of Key that name one. Any kind may use Proto and Port besides.
const (
	KindLink        Kind = iota // none
	KindService                 // Ver, Addr, Proto, Port
	KindHost                    // Ver, Addr
	KindPrefix                  // Ver, Addr, Bits
	KindASN                     // Num
	KindCountry                 // Num: two letters, see Letters
	KindPair                    // Ver, Addr (the inside host), Peer
	KindSource                  // Ver, Addr
	KindName                    // Addr: 128 bits of a hash of the domain
	KindPrint                   // Addr: hash of a fingerprint
	KindHostASN                 // Ver, Addr, Num
	KindHostCountry             // Ver, Addr, Num
	KindServicePeer             // Ver, Addr, Proto, Port, Peer
	KindCount
)

var kindNames = [KindCount]string{
	"link", "service", "host", "prefix", "asn", "country", "pair", "source", "name", "print", "host_asn", "host_country", "service_peer",
}

// String is the name in exports.
func (k Kind) String() string {
	if k < KindCount {
		return kindNames[k]
	}
	return "unknown"
}

// Measure is what is measured of it, by second where nothing else is said.
type Measure uint8

// Measures.
const (
	MeasurePackets Measure = iota
	MeasureBytes
	MeasureConnections
	MeasureRequests
	MeasureErrors
	MeasureBytesOut
	MeasureBytesIn
	MeasureRTT     // ns or s, as the analyzer has it; a sample
	MeasureRetrans // share; a sample
	MeasureShortSessions
	MeasureSources
	MeasureQueries
	MeasureErrorShare // share; a sample
	MeasureAnswers
	MeasureTargets
	MeasureHalfOpen
	MeasureFailures
	MeasureDayBytes // bytes of a day; a sample
	MeasurePresence // for Seen, where nothing is measured
	MeasureCount
)

var measureNames = [MeasureCount]string{
	"packets", "bytes", "connections", "requests", "errors", "bytes_out", "bytes_in", "rtt", "retrans", "short_sessions", "sources", "queries",
	"error_share", "answers", "targets", "half_open", "failures", "day_bytes", "presence",
}

// String is the name in exports.
func (m Measure) String() string {
	if m < MeasureCount {
		return measureNames[m]
	}
	return "unknown"
}

// Key names what is measured. Fields that its kind does not need are zero. It has no pointers and compares with ==.
type Key struct {
	Kind    Kind
	Measure Measure
	Ver     uint8 // 4, 6; 0 where Addr is no address
	Bits    uint8 // of a prefix
	Proto   uint8
	Port    uint16
	Num     uint32    // AS number, country, or what else a kind needs
	Addr    [2]uint64 // as decode.Addr: Hi, Lo; IPv4 is mapped
	Peer    [2]uint64
}

// Letters is the Num of a country of two letters.
func Letters(code string) uint32 {
	if len(code) != 2 {
		return 0
	}
	return uint32(code[0])<<8 | uint32(code[1])
}

// hash is a multiply-fold as wyhash does it, keyed.
func (k *Key) hash(salt uint64) uint64 {
	a := uint64(k.Kind)<<56 | uint64(k.Measure)<<48 | uint64(k.Ver)<<40 | uint64(k.Bits)<<32 | uint64(k.Proto)<<24 | uint64(k.Port)
	h := fold(a^0xa0761d6478bd642f^salt, uint64(k.Num)^0xe7037ed1a0b428db)
	h = fold(h^k.Addr[0]^0x8ebc6af09c88c6e3, k.Addr[1]^0x589965cc75374cc3^salt)
	return fold(h^k.Peer[0]^0x1d8e4e27c47d124f, k.Peer[1]^0xeb44accab455d165^h)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
