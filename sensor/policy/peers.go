package policy

import (
	"net/netip"

	"github.com/gaissmai/bart"

	"weir/analyzers/context"
)

// peers are the addresses that completed connections within the last hour. When the table is full, the one that was silent
// longest goes.
//
// A drop hurts those which were peers before its evidence began. Who became one only afterwards may be part of the attack,
// as the sources of a connection flood are: it counts neither as hurt nor as a peer.
type peers struct {
	max            int
	table          bart.Table[*peer]
	oldest, newest *peer
	hit, guilty    int // peers that drops hurt; peers that drops meet and that came with the attack
	evicted        uint64
}

type peer struct {
	ip          netip.Addr
	first, last int64 // ns
	hit, guilty int   // drops
	prev, next  *peer
}

// peerHour is how long a peer counts.
const peerHour = int64(3600e9)

// Established tells that an address completed a connection at event time now: its handshake was done, or both sides sent.
func (p *Policy) Established(ip netip.Addr, now int64) {
	p.clock(now)
	p.peers.expire(p.now)
	source := context.Single(ip)
	if !source.IsValid() {
		return
	}
	if q, ok := p.peers.table.Get(source); ok {
		p.peers.unlink(q)
		q.last = p.now
		p.peers.link(q)
		return
	}
	p.newPeer(&peer{ip: source.Addr(), first: p.now, last: p.now})
}

// newPeer adds a peer, with the drops that meet it.
func (p *Policy) newPeer(q *peer) {
	if p.peers.table.Size() >= p.peers.max {
		p.peers.evict()
	}
	p.peers.add(q)
	for _, e := range p.sources.Supernets(context.Single(q.ip)) {
		if e.hurts() {
			p.peers.adjust(q, e.since, +1)
		}
	}
}

func (t *peers) add(q *peer) {
	t.table.Insert(context.Single(q.ip), q)
	t.link(q)
}

func (t *peers) link(q *peer) {
	q.prev, q.next = t.newest, nil
	if t.newest != nil {
		t.newest.next = q
	} else {
		t.oldest = q
	}
	t.newest = q
}

func (t *peers) unlink(q *peer) {
	if q.prev != nil {
		q.prev.next = q.next
	} else {
		t.oldest = q.next
	}
	if q.next != nil {
		q.next.prev = q.prev
	} else {
		t.newest = q.prev
	}
}

func (t *peers) expire(now int64) {
	for t.oldest != nil && t.oldest.last < now-peerHour {
		t.remove(t.oldest)
	}
}

func (t *peers) evict() {
	t.remove(t.oldest)
	t.evicted++
}

func (t *peers) remove(q *peer) {
	t.count(q, -1)
	t.unlink(q)
	t.table.Delete(context.Single(q.ip))
}

// cover tells that a drop with evidence since then came (+1) or went (-1).
func (t *peers) cover(source netip.Prefix, since int64, by int) {
	if source.IsSingleIP() {
		if q, ok := t.table.Get(source); ok {
			t.adjust(q, since, by)
		}
		return
	}
	for _, q := range t.table.Subnets(source) {
		t.adjust(q, since, by)
	}
}

func (t *peers) adjust(q *peer, since int64, by int) {
	t.count(q, -1)
	if q.first < since {
		q.hit += by
	} else {
		q.guilty += by
	}
	t.count(q, +1)
}

// count adds or takes a peer to or from the sums.
func (t *peers) count(q *peer, by int) {
	switch {
	case q.hit > 0:
		t.hit += by
	case q.guilty > 0:
		t.guilty += by
	}
}

// share is how many peers all drops would hurt together with one of source, and of how many, the source itself left out. A
// source that hurts no peer is none of it: 0.
func (t *peers) share(source netip.Prefix, since int64) (hit, of int) {
	hit, of = t.hit, t.table.Size()-t.guilty
	if source.IsSingleIP() {
		switch q, ok := t.table.Get(source); {
		case !ok || q.first >= since:
			return 0, of
		case q.hit > 0:
			return hit - 1, of - 1
		case q.guilty > 0:
			return hit, of
		}
		return hit, of - 1
	}
	own := 0
	for _, q := range t.table.Subnets(source) {
		if q.first < since {
			own++
		}
		switch {
		case q.hit > 0:
		case q.first < since:
			hit++
			of += min(q.guilty, 1) // was left out
		case q.guilty == 0:
			of--
		}
	}
	if own == 0 {
		return 0, of
	}
	return hit, of
}
