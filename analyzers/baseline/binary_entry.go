package baseline

import (
	"encoding/binary"
	"math"
	"math/bits"
)

func (k *Key) code(c *coder) {
	kind, measure := uint8(k.Kind), uint8(k.Measure)
	integer(c, &kind, 0, uint64(KindCount)-1)
	integer(c, &measure, 0, uint64(MeasureCount)-1)
	k.Kind, k.Measure = Kind(kind), Measure(measure)
	integer(c, &k.Ver, 0, math.MaxUint8)
	integer(c, &k.Bits, 0, math.MaxUint8)
	integer(c, &k.Proto, 0, math.MaxUint8)
	integer(c, &k.Port, 0, math.MaxUint16)
	integer(c, &k.Num, 0, math.MaxUint32)
	for i := range k.Addr {
		integer(c, &k.Addr[i], 0, math.MaxUint64)
		integer(c, &k.Peer[i], 0, math.MaxUint64)
	}
}

func (s *Store) writeSeries(c *coder, id int32) {
	c.b = append(c.b, 1)
	n := &s.table.nodes[id]
	n.key.code(c)
	integer(c, &n.state, 0, math.MaxUint8)
	r := *s.at(id)
	r.Thaw(s.now * second)
	r.code(c)
	known := r.profile != none
	if c.flag(&known); known {
		s.profiles[r.profile].code(c)
	}
}

func (s *Store) readSeries(c *coder, sameWindow bool) {
	var k Key
	var state uint8
	k.code(c)
	integer(c, &state, uint64Young, uint64(nodeOld))
	if c.err != nil {
		return
	}
	r := s.place(&k)
	r.code(c)
	if !sameWindow {
		r.roll = window{part: floorDiv(r.last, s.span)}
	}
	if state == nodeOld {
		s.table.settle(r.place)
	}
	var known bool
	if c.flag(&known); !known || c.err != nil {
		return
	}
	var p profile
	p.code(c)
	if own := s.profileOf(r); own != nil {
		p.owner = r.place
		*own = p
	}
}

const uint64Young = int64(nodeYoung)

func (r *Series) code(c *coder) {
	for _, t := range [...]*int64{&r.begin, &r.last, &r.active} {
		c.time(t)
	}
	for _, f := range [...]*bool{&r.samples, &r.begun, &r.pinned} {
		c.flag(f)
	}
	integer(c, &r.held, 0, math.MaxUint32)
	integer(c, &r.values, 0, math.MaxUint32)
	c.float32(&r.busy)
	r.roll.code(c)
	r.hour.code(c)
	r.anchor.code(c)
	r.quant.code(c)
	r.bursts.code(c)
}

func (w *window) code(c *coder) {
	integer(c, &w.part, -1<<40, 1<<40)
	integer(c, &w.open, 0, windowParts-1)
	for i := range w.sum {
		integer(c, &w.n[i], 0, math.MaxUint32)
		c.float(&w.sum[i])
		c.float(&w.sq[i])
	}
	if !c.write && c.err == nil {
		w.addUp()
	}
}

func (h *hourSum) code(c *coder) {
	integer(c, &h.hour, -1<<40, 1<<40)
	integer(c, &h.n, 0, math.MaxUint32)
	integer(c, &h.busy, 0, math.MaxUint32)
	c.float(&h.sum)
	c.float(&h.sq)
}

func (a *anchor) code(c *coder) {
	c.flag(&a.warm)
	integer(c, &a.hours, 0, math.MaxUint32)
	integer(c, &a.days, 0, math.MaxUint32)
	integer(c, &a.dayHours, 0, math.MaxUint32)
	integer(c, &a.dayFrom, -1<<40, 1<<40)
	for _, f := range [...]*float64{&a.mean, &a.variance, &a.daySum, &a.dayVar} {
		c.float(f)
	}
}

// code writes the buckets that are not empty, each behind its distance from the one before.
func (q *quantiles) code(c *coder) {
	integer(c, &q.zero, 0, quantileLimit)
	integer(c, &q.due, 0, 2*quantileLimit)
	for _, f := range [...]*float32{&q.p50, &q.p99, &q.top} {
		c.float32(f)
	}
	var used uint8
	for _, n := range q.count {
		if n > 0 {
			used++
		}
	}
	integer(c, &used, 0, quantileBuckets)
	for i := -1; used > 0 && c.err == nil; used-- {
		step := uint8(1)
		if c.write {
			for q.count[i+int(step)] == 0 {
				step++
			}
		}
		integer(c, &step, 1, uint64(quantileBuckets-1-i))
		if i += int(step); c.err == nil {
			integer(c, &q.count[i], 1, quantileLimit)
		}
	}
	q.n = 0
	for _, n := range q.count {
		q.n += uint32(n)
	}
	if q.zero+q.n > quantileLimit {
		c.fail("more values in quantiles than they hold")
	}
}

// code writes a bitmap of the hours that are known, then those.
func (p *profile) code(c *coder) {
	var known [3]uint64
	for i, n := range p.n {
		if n > 0 {
			known[i/64] |= 1 << (i % 64)
		}
	}
	for w := range known {
		integer(c, &known[w], 0, math.MaxUint64>>(64*(w+1)-min(64*(w+1), weekHours)))
		for m := known[w]; m != 0 && c.err == nil; m &= m - 1 {
			i := 64*w + bits.TrailingZeros64(m)
			integer(c, &p.n[i], 1, math.MaxUint16)
			c.float32(&p.mean[i])
			c.float32(&p.stddev[i])
		}
	}
}

func (s *Store) writeSpread(c *coder, id int32) {
	c.b = append(c.b, 1)
	s.spreadAt.nodes[id].key.code(c)
	s.spread(id).code(c)
}

func (s *Store) readSpread(c *coder, sameWindow bool) {
	var k Key
	if k.code(c); c.err != nil {
		return
	}
	d := s.placeSpread(&k)
	d.code(c)
	if !sameWindow {
		d.roll = window{part: floorDiv(d.last, s.span)}
	}
}

func (d *Spread) code(c *coder) {
	c.time(&d.begin)
	c.time(&d.last)
	c.flag(&d.begun)
	c.flag(&d.pinned)
	d.roll.code(c)
	d.quant.code(c)
}

// write writes a set that is not empty: its entries, the one seen first in front.
func (m *seenSet) write(c *coder) {
	used := uint8(0)
	for int(used) < seenWays && m.hash[used] != 0 {
		used++
	}
	if used == 0 {
		return
	}
	c.b = append(c.b, 1, used)
	for i := range used {
		c.b = binary.LittleEndian.AppendUint64(c.b, m.hash[i])
		c.b = binary.AppendUvarint(c.b, uint64(m.first[i]))
		c.b = binary.AppendUvarint(c.b, uint64(m.last[i]-m.first[i]))
	}
}

func (s *Store) readSeen(c *coder, keep bool) {
	var used uint8
	integer(c, &used, 1, seenWays)
	for ; used > 0 && c.err == nil; used-- {
		if len(c.b)-c.at < 8 {
			c.fail("cut off")
			return
		}
		hash := binary.LittleEndian.Uint64(c.b[c.at:])
		if hash&1 == 0 {
			c.fail("not a hash")
			return
		}
		c.at += 8
		var first, span uint32
		integer(c, &first, 0, math.MaxUint32)
		integer(c, &span, 0, uint64(math.MaxUint32-first))
		if keep && c.err == nil {
			s.seen.note(hash, first)
			s.seen.note(hash, first+span)
		}
	}
}
