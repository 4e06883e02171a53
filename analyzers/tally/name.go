package tally

import (
	"bytes"
	"cmp"
	"math"

	"weir/decode"
)

// MaxNames is how many names an epoch tells: 280 bytes each, 2.3 MB.
const MaxNames = 1 << 13

// Name counts the DNS questions of one client for names below one registered domain, in one tick. Hash 0 stands for all
// questions of the client: there Labels counts distinct registered domains.
type Name struct {
	Client, Server          decode.Addr // Server: the resolver asked last
	Asked                   int64       // ns: when
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

// Query is a DNS question. Name and Domain are borrowed.
type Query struct {
	Client, Server decode.Addr
	Ver            uint8
	Time           int64
	Name           []byte // lower case, no trailing dot
	Domain         []byte // the registered domain: a suffix of Name
	Type           uint16
	Size           int // of the message
	TCP            bool
}

// Answer is a DNS answer. Name and Domain are as in Query.
type Answer struct {
	Client, Server decode.Addr
	Ver            uint8
	Time           int64
	Domain, Name   []byte
	RCode          uint8
	Size           int
	Truncated      bool
}

// nameKey names the questions of a client for one domain; Hash 0: for all.
type nameKey struct {
	Client decode.Addr
	Hash   uint64
	Ver    uint8
}

func (k *keys) name(n *nameKey) uint64 {
	return k.addrWith(n.Client, fold(n.Hash^k[1], uint64(n.Ver)^k[3]))
}

// Query counts a question: for its domain, and for all of the client.
func (s *Shard) Query(q *Query) {
	s.used = true
	below := q.Name[:max(len(q.Name)-len(q.Domain)-1, 0)]
	entropy, domain := entropy(below), s.keys.text(q.Domain)
	for _, hash := range [...]uint64{domain, 0} {
		v := s.name(q.Client, q.Ver, hash, q.Domain, q.Time)
		v.Queries++
		v.asked(q.Server, q.Time)
		v.kind(q.Type)
		switch {
		case hash == 0:
			v.Labels.Add(s.keys.word(domain))
		case len(below) > 0:
			v.Labels.Add(s.keys.text(q.Name))
		}
		v.LabelBytes += uint64(len(below))
		v.Entropy += entropy
		v.MaxLabel = max(v.MaxLabel, longest(below))
		v.QueryBytes += uint64(q.Size)
		if q.TCP {
			v.TCP++
		}
	}
}

// Answer counts an answer: likewise.
func (s *Shard) Answer(a *Answer) {
	s.used = true
	for _, hash := range [...]uint64{s.keys.text(a.Domain), 0} {
		v := s.name(a.Client, a.Ver, hash, a.Domain, a.Time)
		v.Answers++
		v.AnswerBytes += uint64(a.Size)
		switch a.RCode { // RFC 1035 section 4.1.1
		case 3:
			v.NX++
		case 2, 5:
			v.Failed++
		}
	}
}

// name finds or makes the entry of a client and domain.
func (s *Shard) name(client decode.Addr, ver uint8, hash uint64, domain []byte, time int64) *Name {
	k := nameKey{client, hash, ver}
	v := s.names.at(k, s.keys.name(&k))
	if v.First == 0 && hash != 0 {
		copy(v.Domain[:], domain)
	}
	v.First, v.Last = earliest(v.First, time), max(v.Last, time)
	return v
}

// kind counts the type of a question (IANA Domain Name System Parameters; RFC 6895 for private types).
func (v *Name) kind(t uint16) {
	const (
		cname, key, mx, srv, any = 5, 25, 15, 33, 255
		null, txt, private       = 10, 16, 0xff00
	)
	switch {
	case t == txt:
		v.TXT++
	case t == null || t >= private:
		v.Null++
	case t == cname || t == key || t == mx || t == srv || t == any:
		v.Rare++
	}
}

// asked names the resolver that was asked last.
func (v *Name) asked(server decode.Addr, time int64) {
	if time > v.Asked || time == v.Asked && v.Server.Less(server) {
		v.Server, v.Asked = server, time
	}
}

// longest is the length of the longest label.
func longest(name []byte) uint8 {
	most := 0
	for {
		n := bytes.IndexByte(name, '.')
		if n < 0 {
			return uint8(min(max(most, len(name)), 255))
		}
		most, name = max(most, n), name[n+1:]
	}
}

// entropy is the Shannon entropy of the characters of a name but its dots, in 1/100 bit a character.
func entropy(name []byte) uint64 {
	var count [256]uint8
	n, sum := 0, uint64(0)
	for _, c := range name {
		if c != '.' && n < 255 {
			sum += nLogN[count[c]+1] - nLogN[count[c]]
			count[c]++
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return (100*(nLogN[n]-sum) + uint64(n)<<19) / (uint64(n) << 20) // H = log n − 1/n Σ c log c
}

// nLogN is n log₂ n in 2⁻²⁰.
var nLogN = func() (t [257]uint64) {
	for n := 2; n < len(t); n++ {
		t[n] = uint64(math.Round(float64(n) * math.Log2(float64(n)) * (1 << 20)))
	}
	return t
}()

func (v *Name) start(k nameKey)   { *v = Name{Client: k.Client, Ver: k.Ver, Hash: k.Hash} }
func (v *Name) is(k nameKey) bool { return nameKey{v.Client, v.Hash, v.Ver} == k }
func (v *Name) weight() uint64    { return uint64(v.Queries) + uint64(v.Answers) }
func (v *Name) order() ref {
	return ref{ver: v.Ver, hi: v.Client.Hi, lo: v.Client.Lo, sub: uint32(v.Hash >> 32)}
}

func (v *Name) compare(o *Name) int {
	return cmp.Or(cmp.Compare(v.Ver, o.Ver), compareAddr(v.Client, o.Client), cmp.Compare(v.Hash, o.Hash))
}

func (v *Name) add(o *Name) {
	if o.Asked != 0 {
		v.asked(o.Server, o.Asked)
	}
	if bytes.Compare(o.Domain[:], v.Domain[:]) > 0 {
		v.Domain = o.Domain
	}
	v.Queries += o.Queries
	v.Answers += o.Answers
	v.NX += o.NX
	v.Failed += o.Failed
	v.TXT += o.TXT
	v.Null += o.Null
	v.Rare += o.Rare
	v.Labels.Merge(&o.Labels)
	v.LabelBytes += o.LabelBytes
	v.Entropy += o.Entropy
	v.MaxLabel = max(v.MaxLabel, o.MaxLabel)
	v.QueryBytes += o.QueryBytes
	v.AnswerBytes += o.AnswerBytes
	v.TCP += o.TCP
	v.First, v.Last = earliest(v.First, o.First), max(v.Last, o.Last)
}
