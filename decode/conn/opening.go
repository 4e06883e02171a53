package conn

import "weir/decode"

// Limits of EvOpening: how much of a connection may hold the opening of an application.
const (
	openingTCP   = 12       // packets with payload, of both sides
	openingUDP   = 6        // likewise
	openingBytes = 16 << 10 // what a side of a TCP connection may have sent; post-quantum key shares and long cookies fit
)

// A connection counts in bits of conn.more how many packets were marked, up to openingTCP; or stands for:
const (
	looksWatched = 14 // all are marked
	looksDone    = 15 // none is
)

// Watch says what is to become of a packet's connection, whatever was marked so far: EvOpening with each packet that carries
// payload, or with none. Until it is said, TCP connections that are sessions (see Session) have it with the first 12 while
// neither side has sent more than 16 KiB, those of UDP with the first 6. The packet is of a shard that the caller owns;
// its connection may be gone.
func (t *Tables) Watch(p *decode.Packet, on bool) {
	s := &t.shards[p.Shard%decode.Shards]
	looks := uint32(looksDone)
	if on {
		looks = looksWatched
	}
	if c := s.find(p.Hash, &p.Key); c != nil {
		c.more = c.more&^moreLooks | looks<<looksAt
	} else if n := s.findHalf(p.Hash, &p.Key); n >= 0 {
		s.halves[n].looks = uint8(looks)
	}
}

// SYNOf is the header of the SYN that began a packet's connection; false if it is not known.
func (t *Tables) SYNOf(p *decode.Packet) (SYN, bool) {
	if c := t.shards[p.Shard%decode.Shards].find(p.Hash, &p.Key); c != nil {
		return c.syn()
	}
	return SYN{}, false
}

// closer looks at what not every packet of a connection is looked at for: whether it may belong to an opening, and whether it
// came as far as those before it.
//
//go:noinline
func (c *conn) closer(d int, p *decode.Packet) Event {
	if p.Outer {
		c.more |= moreLooks
		return 0
	}
	var ev Event
	first := c.more&moreLooks>>looksAt <= 1
	if p.PayloadLen > 0 && c.looks() {
		ev = EvOpening
	}
	if !first && (c.proto != protoTCP || p.Flags&(flagSYN|flagFIN|flagRST) == 0) {
		return ev // the hop limits lie in a cache line that most packets do not need
	}
	const far = 8
	switch at := &c.hops[d]; {
	case *at == 0:
		*at = p.TTL
	case c.proto != protoTCP && c.proto != protoUDP:
	case p.TTL > *at+min(far, 255-*at) || p.TTL < *at-min(far, *at):
		ev |= EvTTL
	}
	return ev
}

// looks tells whether a packet with payload may belong to an opening, and counts it.
func (c *conn) looks() bool {
	n := c.more & moreLooks >> looksAt
	most := uint32(openingTCP)
	switch {
	case n == looksWatched:
		return true
	case n == looksDone:
		return false
	case c.proto == protoUDP:
		most = openingUDP
	case c.proto != protoTCP:
		c.more |= moreLooks
		return false
	case !c.begins():
		return false // a flood, a view of one side, or what somebody sends under another's address
	case max(c.side[0].last-c.side[0].start, c.side[1].last-c.side[1].start) > openingBytes:
		c.more |= moreLooks
		return false
	}
	if n++; n >= most {
		n = looksDone
	}
	c.more = c.more&^moreLooks | n<<looksAt
	return true
}
