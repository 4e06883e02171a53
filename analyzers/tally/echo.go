package tally

import (
	"cmp"

	"weir/decode"
)

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

// echoKey names who asks whom.
type echoKey struct {
	Client, Server decode.Addr
	Ver            uint8
}

func (k *keys) echo(e *echoKey) uint64 {
	return k.addrWith(e.Server, k.addrWith(e.Client, uint64(e.Ver)))
}

func (v *Echo) start(k echoKey) {
	*v = Echo{Client: k.Client, Server: k.Server, Ver: k.Ver}
}

func (v *Echo) is(k echoKey) bool { return echoKey{v.Client, v.Server, v.Ver} == k }
func (v *Echo) weight() uint64    { return uint64(v.Requests) + uint64(v.Replies) }
func (v *Echo) order() ref {
	return ref{ver: v.Ver, hi: v.Client.Hi, lo: v.Client.Lo, sub: lead(v.Server, v.Ver)}
}

func (v *Echo) compare(o *Echo) int {
	return cmp.Or(cmp.Compare(v.Ver, o.Ver), compareAddr(v.Client, o.Client), compareAddr(v.Server, o.Server))
}

func (v *Echo) add(o *Echo) {
	if v.weight() == 0 || o.weight() != 0 && o.MinSize < v.MinSize {
		v.MinSize = o.MinSize
	}
	v.MaxSize = max(v.MaxSize, o.MaxSize)
	v.Requests += o.Requests
	v.Replies += o.Replies
	v.RequestBytes += o.RequestBytes
	v.ReplyBytes += o.ReplyBytes
	v.Odd += o.Odd
	v.Sizes.Merge(&o.Sizes)
	v.Contents.Merge(&o.Contents)
	v.First, v.Last = earliest(v.First, o.First), max(v.Last, o.Last)
}
