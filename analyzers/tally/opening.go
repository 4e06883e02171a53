package tally

import (
	"bytes"
	"cmp"
	"slices"

	"weir/decode"
)

// MaxOpenings is how many openings an epoch tells: 424 bytes each, 1.7 MB.
const MaxOpenings = 1 << 12

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
	MismatchAt  int64            // that time
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

// OpeningSeen is an opening that was read.
type OpeningSeen struct {
	Key      OpeningKey
	Client   decode.Addr
	Time     int64
	Text     []byte
	Mismatch bool // HTTP: the User-Agent's system family is another than the SYN's
	AgentOS  uint8
	SYNOS    uint8
}

// Opening counts an opening.
func (s *Shard) Opening(o *OpeningSeen) {
	s.used = true
	v := s.openings.at(o.Key, s.keys.opening(&o.Key))
	v.count(o.Client, o.Time, &s.keys)
	v.tell(o.Text)
	if o.Mismatch {
		v.Mismatch++
		v.mismatched(o.Client, o.Time, o.AgentOS, o.SYNOS)
	}
}

// opening hashes the key of an opening.
func (k *keys) opening(o *OpeningKey) uint64 {
	return k.addrWith(o.Server, fold(o.Hash^k[1], uint64(o.Port)<<24|uint64(o.Proto)<<16|uint64(o.Ver)<<8|uint64(o.Kind)^k[3]))
}

// count counts the opening of a client.
func (v *Opening) count(client decode.Addr, time int64, k *keys) {
	v.Count++
	v.First, v.Last = earliest(v.First, time), max(v.Last, time)
	hash := k.addr(client)
	v.Sources.Add(hash)
	v.sample(OpeningSource{fold(hash^k[0], k[1]), client})
}

// sample enters a client into the sample.
func (v *Opening) sample(c OpeningSource) {
	n := int(v.NSample)
	at, known := slices.BinarySearchFunc(v.Sample[:n], c, OpeningSource.compare)
	if known || at == len(v.Sample) {
		return
	}
	copy(v.Sample[at+1:], v.Sample[at:])
	v.Sample[at] = c
	v.NSample = uint8(min(n+1, len(v.Sample)))
}

func (c OpeningSource) compare(o OpeningSource) int {
	return cmp.Or(cmp.Compare(c.Rank, o.Rank), compareAddr(c.Addr, o.Addr))
}

// tell keeps what people know of the print: one print has one text, nearly always; of several the greatest.
func (v *Opening) tell(text []byte) {
	text = text[:min(len(text), len(v.Text))]
	if bytes.Compare(text, padded(&v.Text)) > 0 {
		v.Text = [64]byte{}
		copy(v.Text[:], text)
	}
}

// padded is a text without the zeros after it.
func padded(text *[64]byte) []byte { return bytes.TrimRight(text[:], "\x00") }

// mismatched names the client of a mismatch if none is earlier.
func (v *Opening) mismatched(client decode.Addr, time int64, agent, syn uint8) {
	c := cmp.Or(cmp.Compare(time, v.MismatchAt), compareAddr(client, v.Mismatched), cmp.Compare(agent, v.AgentOS), cmp.Compare(syn, v.SYNOS))
	if v.MismatchAt == 0 || c < 0 {
		v.Mismatched, v.MismatchAt, v.AgentOS, v.SYNOS = client, time, agent, syn
	}
}

func (v *Opening) start(k OpeningKey)   { *v = Opening{Key: k} }
func (v *Opening) is(k OpeningKey) bool { return v.Key == k }
func (v *Opening) weight() uint64       { return v.Count }
func (v *Opening) order() ref {
	k := &v.Key
	return ref{ver: k.Ver, hi: k.Server.Hi, lo: k.Server.Lo, sub: uint32(k.Proto)<<24 | uint32(k.Port)<<8 | uint32(k.Kind)}
}

func (v *Opening) compare(o *Opening) int {
	a, b := &v.Key, &o.Key
	return cmp.Or(
		cmp.Compare(a.Ver, b.Ver), compareAddr(a.Server, b.Server), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port),
		cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Hash, b.Hash),
	)
}

func (v *Opening) add(o *Opening) {
	v.Count += o.Count
	v.First, v.Last = earliest(v.First, o.First), max(v.Last, o.Last)
	v.Sources.Merge(&o.Sources)
	for _, c := range o.Sample[:o.NSample] {
		v.sample(c)
	}
	v.tell(padded(&o.Text))
	v.Mismatch += o.Mismatch
	if o.MismatchAt != 0 {
		v.mismatched(o.Mismatched, o.MismatchAt, o.AgentOS, o.SYNOS)
	}
}
