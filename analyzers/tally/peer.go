package tally

import (
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

// MaxPeers is how many peers an epoch tells.
const MaxPeers = 1 << 12

// shardPeers is how many peers a shard keeps in a tick.
const shardPeers = 1 << 9

// Peer is the originator of TCP connections whose return path is proven.
type Peer struct {
	Addr decode.Addr
	Ver  uint8
}

func peerLess(a, b *Peer) bool { return a.Ver < b.Ver || a.Ver == b.Ver && a.Addr.Less(b.Addr) }

func (p *Peer) ref(at int) ref {
	return ref{hi: p.Addr.Hi, lo: p.Addr.Lo, ver: p.Ver, weight: 1, at: uint32(at)}
}

// peers are those of one shard and tick. Who comes when there is no room is counted.
type peers struct {
	index
	entry []Peer
	keys  keys
	lost  uint64
}

func newPeers(m *slab.Slab, k keys) *peers {
	return &peers{index: newIndex(m, shardPeers), entry: slab.Carve[Peer](m, shardPeers), keys: k}
}

// used are the entries in use.
func (t *peers) used() []Peer { return t.entry[:len(t.hash)] }

// Peer notes the originator of a proven connection: once, however often it is told.
func (s *Shard) Peer(c *conn.Peer) {
	s.used = true
	t := s.peers
	hash := t.keys.addrWith(c.Addr, uint64(c.Ver))
	tag := tag(hash)
	for _, slot := range t.bucket(hash) {
		if slot == 0 {
			break
		}
		if slot&^0xffff == tag {
			if e := &t.entry[slot&0xffff-1]; e.Addr == c.Addr && e.Ver == c.Ver {
				return
			}
		}
	}
	place, ok := t.free(hash)
	if !ok {
		t.lost++
		return
	}
	t.entry[place] = Peer{c.Addr, c.Ver}
}

// reset forgets the tick.
func (t *peers) reset() {
	t.index.reset()
	t.lost = 0
}

// peers unites the peers of the shards.
func (m *Merger) peers(e *Epoch, shards []*Shard) {
	m.refs = m.refs[:0]
	for i, s := range shards {
		if !s.used {
			continue
		}
		for place := range s.peers.used() {
			m.refs = append(m.refs, s.peers.entry[place].ref(i*places+place))
		}
	}
	e.Peers = foldPeers(e.Peers, m.ordered(), &e.Link, func(at uint32) *Peer { return &shards[at/places].peers.entry[at%places] })
}

// foldPeers keeps each peer once.
func foldPeers(dst []Peer, refs []ref, l *Link, peer func(at uint32) *Peer) []Peer {
	refs, gone, _ := thin(refs, MaxPeers)
	l.PeersLost += gone
	dst = room(dst, min(len(refs), MaxPeers))
	for i := range refs {
		if i == 0 || !refs[i].same(&refs[i-1]) {
			dst = append(dst, *peer(refs[i].at))
		}
	}
	return dst
}

func mergePeers(a, b []Peer, l *Link) []Peer {
	return foldPeers(nil, refsOf(a, b, (*Peer).ref), l, func(at uint32) *Peer { return pick(a, b, at) })
}
