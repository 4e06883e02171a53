package tally

import (
	"cmp"

	"weir/decode"
	"weir/decode/conn"
)

// Echo counts the ICMP echoes that one host sent another in one tick.
type Echo struct {
	Client, Server           decode.Addr // who asks, whom
	Ver                      uint8
	Requests, Replies        uint32
	RequestBytes, ReplyBytes uint64 // payload
	MinSize, MaxSize         uint16 // of the payloads, both ways
	Odd                      uint32 // replies that nobody asked for, or of another size than those requests of this tick that came before
	Asked                    uint64 // sizes of the requests, hashed to 64 bits
	Sizes                    HLL    // distinct payload sizes
	Contents                 HLL    // distinct payloads, by a hash of bytes 16 to 64: those before may be a time stamp
	First, Last              int64
}

// echo counts an echo request or reply, whose types these are: RFC 792, RFC 4443 section 4.
func (s *Shard) echo(p *decode.Packet, ev conn.Event, request, reply uint8) {
	k := echoKey{Ver: p.Key.Ver}
	switch p.ICMPType {
	case request:
		k.Client, _ = p.Src()
		k.Server, _ = p.Dst()
	case reply:
		k.Client, _ = p.Dst()
		k.Server, _ = p.Src()
	default:
		return
	}
	v := s.echoes.at(k, s.keys.echo(&k))
	v.count(p, p.ICMPType == request, ev&conn.EvUnasked != 0, &s.keys)
	const from, to = 16, 64
	if end := min(p.Payload+to, p.End); end > p.Payload+from && int(end) <= len(p.Data) {
		v.Contents.Add(s.keys.text(p.Data[p.Payload+from : end]))
	}
}

func (v *Echo) count(p *decode.Packet, request, unasked bool, k *keys) {
	size := uint16(min(p.PayloadLen, 0xffff))
	if v.weight() == 0 || size < v.MinSize {
		v.MinSize = size
	}
	v.MaxSize = max(v.MaxSize, size)
	hash := k.word(uint64(size))
	v.Sizes.Add(hash)
	known := uint64(1) << (hash & 63)
	if request {
		v.Requests++
		v.RequestBytes += uint64(p.PayloadLen)
		v.Asked |= known
	} else {
		if unasked || v.Asked != 0 && v.Asked&known == 0 {
			v.Odd++
		}
		v.Replies++
		v.ReplyBytes += uint64(p.PayloadLen)
	}
	v.First, v.Last = earliest(v.First, p.Time), max(v.Last, p.Time)
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
	v.Asked |= o.Asked
	v.Sizes.Merge(&o.Sizes)
	v.Contents.Merge(&o.Contents)
	v.First, v.Last = earliest(v.First, o.First), max(v.Last, o.Last)
}
