package tally

import "weir/decode"

// MaxWebs is how many entries of requests an epoch tells: 416 bytes each, 3.4 MB.
const MaxWebs = 1 << 13

// WebMethod is an HTTP method.
type WebMethod uint8

// Methods (RFC 9110; PATCH: RFC 5789; PROPFIND: RFC 4918).
const (
	MethodGet WebMethod = iota
	MethodHead
	MethodPost
	MethodPut
	MethodDelete
	MethodOptions
	MethodPatch
	MethodConnect
	MethodTrace
	MethodPropfind
	MethodOther
	MethodCount
)

var methodNames = [MethodCount]string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND", "other"}

// String is the method as alerts show it.
func (m WebMethod) String() string { return methodNames[m] }

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
	Agent            uint64 // hash of the User-Agent of the latest request that had one
	AgentAt          int64  // ns: when
	Agents           HLL
	First, Last      int64
}

// Request is the head of an HTTP/1 request.
type Request struct {
	Key         PairKey     // Client: as the trusted proxy says, if there is one
	Via         decode.Addr // that proxy; zero: none
	Time        int64
	Method      WebMethod
	Path, Agent uint64 // hashes; 0 none
	Size        int    // of the head
}

// Response is the head of an HTTP/1 response.
type Response struct {
	Key    PairKey
	Via    decode.Addr
	Time   int64
	Status uint16
	Path   uint64 // of the request; 0 unknown
	Bytes  uint64 // Content-Length; 0 unknown
	Method WebMethod
}

// Request counts a request.
func (s *Shard) Request(r *Request) {
	s.used = true
	v := s.web(&r.Key, r.Via, r.Time)
	v.Requests++
	v.RequestBytes += uint64(r.Size)
	v.Methods |= 1 << r.Method
	posts := r.Method == MethodPost || r.Method == MethodPut
	switch {
	case posts:
		v.Posts++
	case r.Method >= MethodConnect:
		v.OddMethods++
	}
	if r.Path != 0 {
		path := s.keys.word(r.Path)
		v.Paths.Add(path)
		if posts {
			v.PostPaths.Add(path)
		}
	}
	if r.Agent != 0 {
		v.Agents.Add(s.keys.word(r.Agent))
		v.agent(r.Agent, r.Time)
	}
}

// Response counts a response.
func (s *Shard) Response(r *Response) {
	s.used = true
	v := s.web(&r.Key, r.Via, r.Time)
	v.Responses++
	v.AnswerBytes += r.Bytes
	class := r.Status / 100
	if class >= uint16(len(v.Status)) {
		class = 0
	}
	v.Status[class]++
	switch r.Status {
	case 401:
		v.S401++
	case 403:
		v.S403++
	case 404:
		v.S404++
	}
	if (r.Status == 404 || r.Status == 410) && r.Path != 0 {
		v.Missing.Add(s.keys.word(r.Path))
	}
}

// web finds or makes the entry of a client and service.
func (s *Shard) web(k *PairKey, via decode.Addr, time int64) *Web {
	v := s.webs.at(*k, s.keys.pair(k))
	v.First, v.Last = earliest(v.First, time), max(v.Last, time)
	if v.Via.Less(via) {
		v.Via = via // of several proxies the greatest: the order of requests does not show
	}
	return v
}

// agent notes the User-Agent of the latest request.
func (v *Web) agent(hash uint64, time int64) {
	if latest(time, v.AgentAt, hash, v.Agent) {
		v.Agent, v.AgentAt = hash, time
	}
}

func (v *Web) start(k PairKey)    { *v = Web{Key: k} }
func (v *Web) is(k PairKey) bool  { return v.Key == k }
func (v *Web) weight() uint64     { return uint64(v.Requests) + uint64(v.Responses) }
func (v *Web) order() ref         { return v.Key.order() }
func (v *Web) compare(o *Web) int { return v.Key.compare(&o.Key) }

func (v *Web) add(o *Web) {
	if v.Via.Less(o.Via) {
		v.Via = o.Via
	}
	v.Requests += o.Requests
	v.Responses += o.Responses
	for i, n := range o.Status {
		v.Status[i] += n
	}
	v.S401 += o.S401
	v.S403 += o.S403
	v.S404 += o.S404
	v.Posts += o.Posts
	v.OddMethods += o.OddMethods
	v.Methods |= o.Methods
	v.Paths.Merge(&o.Paths)
	v.Missing.Merge(&o.Missing)
	v.PostPaths.Merge(&o.PostPaths)
	v.RequestBytes += o.RequestBytes
	v.AnswerBytes += o.AnswerBytes
	if o.AgentAt != 0 {
		v.agent(o.Agent, o.AgentAt)
	}
	v.Agents.Merge(&o.Agents)
	v.First, v.Last = earliest(v.First, o.First), max(v.Last, o.Last)
}
