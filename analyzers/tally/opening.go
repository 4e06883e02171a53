package tally

import "weir/decode"

// OpeningKind is what kind of print an opening has.
type OpeningKind uint8

// Kinds.
const (
	OpeningSYN       OpeningKind = iota // the SYN of a completed handshake: layout, window, hop limit class, length
	OpeningTLS                          // ClientHello over TCP: Text is the JA4
	OpeningQUIC                         // ClientHello over QUIC: likewise
	OpeningSSH                          // SSH client: banner and KEXINIT
	OpeningHTTP                         // HTTP/1 request: method, header order, User-Agent; Text is the User-Agent, cut
	OpeningTLSServer                    // ServerHello: JA3S
	OpeningSSHServer
	OpeningKindCount
)

var openingNames = [OpeningKindCount]string{"syn", "tls", "quic", "ssh", "http", "tls_server", "ssh_server"}

// String is the kind as alerts show it.
func (k OpeningKind) String() string { return openingNames[k] }

// OpeningKey names one print at one service.
type OpeningKey struct {
	Server     decode.Addr
	Hash       uint64
	Port       uint16
	Proto, Ver uint8
	Kind       OpeningKind
	_          [3]byte
}

// Opening counts what began at one service with one print in one tick.
type Opening struct {
	Key         OpeningKey
	Count       uint64
	Sources     HLL
	NSample     uint8
	Sample      [8]OpeningSource // bottom-k of the clients by Rank
	Mismatch    uint32           // HTTP: User-Agents of another system family than the SYN's
	Mismatched  decode.Addr      // client of the least time among these
	AgentOS     uint8            // family of the User-Agent (fingerprint.Family), of Mismatched
	SYNOS       uint8            // family of the SYN, of Mismatched
	Text        [64]byte         // zero-padded; what of the print people know
	First, Last int64
}

// OpeningSource is a sampled client.
type OpeningSource struct {
	Rank uint64
	Addr decode.Addr
}

// Name counts the DNS questions of one client for names below one registered domain, in one tick. Hash 0 stands for all
// questions of the client: there Labels counts distinct registered domains.
type Name struct {
	Client, Server          decode.Addr // Server: the resolver asked last
	Ver                     uint8
	Hash                    uint64   // of the registered domain in lower case
	Domain                  [64]byte // zero-padded, cut
	Queries, Answers        uint32
	NX, Failed              uint32 // answers: name error; server failure, refused
	TXT, Null, Rare         uint32 // questions of type TXT; NULL and private types; CNAME, MX, SRV, KEY, ANY
	Labels                  HLL    // distinct names below the domain
	LabelBytes              uint64 // Σ length of what stands before the domain, over queries
	Entropy                 uint64 // Σ Shannon entropy of that, 1/100 bit a character
	MaxLabel                uint8  // the longest single label
	QueryBytes, AnswerBytes uint64 // DNS messages
	TCP                     uint32 // of Queries
	First, Last             int64
}

// Web counts the HTTP/1 requests of one client to one service in one tick.
type Web struct {
	Key              PairKey     // Client: as the trusted proxy says, if there is one
	Via              decode.Addr // that proxy; zero: none
	Requests         uint32
	Responses        uint32
	Status           [6]uint32 // by hundreds, 1xx at [1]; [0]: others
	S401, S403, S404 uint32
	Posts            uint32 // POST and PUT requests
	OddMethods       uint32 // requests by a method other than GET, HEAD, POST, OPTIONS, PUT, DELETE, PATCH
	Methods          uint16 // bitmap of WebMethod
	Paths            HLL    // distinct paths (without query), by hash
	Missing          HLL    // distinct paths that were answered by 404 or 410
	PostPaths        HLL    // distinct paths of Posts
	RequestBytes     uint64 // heads
	AnswerBytes      uint64 // Content-Length of the responses where they say it
	Agent            uint64 // hash of the User-Agent of the latest request
	Agents           HLL
	First, Last      int64
}
