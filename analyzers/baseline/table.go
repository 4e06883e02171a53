package baseline

import "math/bits"

const (
	none       = -1
	indexShare = 4 // at most so many words of index a key
	chunk      = 256
	tries      = 8
)

// node is the place of a key.
type node struct {
	key        Key
	prev, next int32 // in the order of the young
	state      uint8
}

const (
	nodeFree uint8 = iota
	nodeYoung
	nodeOld
)

// table gives keys a place in [0, limit). A key is young until it has shown that it lasts; the young are kept in the order of
// their coming. When the table is full the oldest of the young goes, as long as a quarter of the places is theirs, and else
// one of the old, which the owner names: a flood of keys that are seen once pushes out its own kind.
type table struct {
	salt       uint64
	limit      int
	index      []int32 // open addressing, linear; place + 1, 0 is empty
	nodes      []node
	free       []int32
	head, tail int32 // of the young
	young      int
}

func newTable(limit int, salt uint64) table {
	return table{salt: salt, limit: limit, index: make([]int32, 64), head: none, tail: none}
}

func (t *table) len() int { return len(t.nodes) - len(t.free) }

// find returns the place of a key, or none.
func (t *table) find(k *Key) int32 {
	mask := uint64(len(t.index) - 1)
	for at := k.hash(t.salt) & mask; ; at = (at + 1) & mask {
		id := t.index[at] - 1
		if id < 0 || t.nodes[id].key == *k {
			return id
		}
	}
}

// full tells that something must go before add.
func (t *table) full() bool { return len(t.free) == 0 && len(t.nodes) >= t.limit }

// add gives a new key a place. The table must not be full.
func (t *table) add(k *Key) int32 {
	if 2*(t.len()+1) > len(t.index) {
		t.grow()
	}
	var id int32
	if n := len(t.free); n > 0 {
		id, t.free = t.free[n-1], t.free[:n-1]
	} else {
		id = int32(len(t.nodes))
		t.nodes = append(t.nodes, node{})
	}
	t.nodes[id] = node{key: *k, state: nodeYoung}
	t.push(id)
	t.enter(id)
	return id
}

func (t *table) enter(id int32) {
	mask := uint64(len(t.index) - 1)
	at := t.nodes[id].key.hash(t.salt) & mask
	for t.index[at] != 0 {
		at = (at + 1) & mask
	}
	t.index[at] = id + 1
}

func (t *table) grow() {
	t.index = make([]int32, 2*len(t.index))
	for id := range t.nodes {
		if t.nodes[id].state != nodeFree {
			t.enter(int32(id))
		}
	}
}

// remove frees a place. What follows in the same run of the index moves up.
func (t *table) remove(id int32) {
	n := &t.nodes[id]
	mask := uint64(len(t.index) - 1)
	at := n.key.hash(t.salt) & mask
	for t.index[at] != id+1 {
		at = (at + 1) & mask
	}
	for next := at; ; {
		next = (next + 1) & mask
		if t.index[next] == 0 {
			break
		}
		home := t.nodes[t.index[next]-1].key.hash(t.salt) & mask
		if (next-home)&mask >= (next-at)&mask {
			t.index[at], at = t.index[next], next
		}
	}
	t.index[at] = 0
	if n.state == nodeYoung {
		t.cut(id)
	}
	*n = node{}
	t.free = append(t.free, id)
}

// settle makes a young key an old one.
func (t *table) settle(id int32) {
	if t.nodes[id].state == nodeYoung {
		t.cut(id)
		t.nodes[id].state = nodeOld
	}
}

// crowded tells that the young have more than their share.
func (t *table) crowded() bool { return t.young > t.limit/4 || t.young == t.len() }

// push puts a key behind all young ones.
func (t *table) push(id int32) {
	n := &t.nodes[id]
	n.prev, n.next = t.tail, none
	if t.tail != none {
		t.nodes[t.tail].next = id
	} else {
		t.head = id
	}
	t.tail = id
	t.young++
}

func (t *table) cut(id int32) {
	n := &t.nodes[id]
	if n.prev != none {
		t.nodes[n.prev].next = n.next
	} else {
		t.head = n.next
	}
	if n.next != none {
		t.nodes[n.next].prev = n.prev
	} else {
		t.tail = n.prev
	}
	t.young--
}

// indexSize is the least power of two that is at least n.
func indexSize(n int) int { return 1 << bits.Len(uint(max(n, 1)-1)) }
