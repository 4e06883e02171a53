package tally

import (
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

// sources are the sources of one shard and tick, by what they tried. An entry is small and holds one contact; sketches and
// the sample are given to those with a second one. When the table is full, the source with the fewest contacts of its
// neighbourhood goes; when the details are given out, a source with fewer contacts gives its own up. Both are counted.
type sources struct {
	index
	entry  []source
	detail []detail
	given  int // details in use
	weight func(place int) uint64
	keys   keys
	lost   uint64 // sources that went, or went without details
}

// source is one address. Its counters are those of Source.
type source struct {
	addr                  decode.Addr
	first, last           int64
	stage                 [conn.StageProven + 1]uint32
	repeats               uint32
	toolHits, markHits    uint32
	tool                  uint16
	place                 uint16 // of this entry
	detail                uint16 // place of its detail + 1; 0 without
	ver                   uint8
	marks                 conn.Marks
	one                   SampledContact // its first contact of the tick; valid iff contacted
	contacted, incomplete bool           // incomplete: it had contacts that no detail holds
}

// detail is what only a source with several contacts needs.
type detail struct {
	owner        uint16 // place of its source
	ncontacts    uint8
	probes       [conn.ProbeCount]uint32
	hosts, ports HLL
	contacts     [SampleSize]SampledContact
}

func newSources(m *slab.Slab, entries, details int, k keys) *sources {
	t := &sources{
		index: newIndex(m, entries), entry: slab.Carve[source](m, entries), detail: slab.Carve[detail](m, details), keys: k,
	}
	t.weight = func(place int) uint64 { return t.entry[place].weight() }
	return t
}

// used are the entries in use, in the order in which they were made.
func (t *sources) used() []source { return t.entry[:len(t.hash)] }

// weight is the evidence of a source: the steps of first contacts it made. (A handshake's completion adds none.)
func (s *source) weight() uint64 {
	return uint64(s.stage[conn.StageOpened]) + uint64(s.stage[conn.StageUnknown]) + uint64(s.stage[conn.StageSilent]) +
		uint64(s.stage[conn.StageRefused]) + uint64(s.stage[conn.StageAnswered])
}

// at finds or makes the entry of an address; hash is that of the address with its version.
func (t *sources) at(addr decode.Addr, ver uint8, time int64, hash uint64) *source {
	tag := tag(hash)
	for _, s := range t.bucket(hash) {
		if s == 0 {
			break
		}
		if s&^0xffff == tag {
			if e := &t.entry[s&0xffff-1]; e.addr == addr && e.ver == ver {
				e.first, e.last = min(e.first, time), max(e.last, time)
				return e
			}
		}
	}
	place, ok := t.free(hash)
	if !ok {
		place = t.least(hash, t.weight)
		t.lost++
		t.release(&t.entry[place])
		t.replace(place, hash)
	}
	e := &t.entry[place]
	*e = source{} // field by field: a copy of a struct just built would wait for it
	e.addr, e.ver, e.place, e.first, e.last = addr, ver, uint16(place), time, time
	return e
}

// release takes the detail of a source away.
func (t *sources) release(s *source) {
	if s.detail == 0 {
		return
	}
	last := &t.detail[t.given-1]
	if d := &t.detail[s.detail-1]; d != last {
		*d = *last
		t.entry[d.owner].detail = s.detail
	}
	t.given--
	s.detail = 0
}

// step counts a step of a first contact.
func (t *sources) step(s *source, c *conn.Contact, rank uint64) {
	s.stage[c.Stage]++
	switch {
	case s.detail != 0:
	case !s.contacted:
		s.one.set(c, rank)
		s.contacted = true
		return
	case s.one.Rank == rank:
		s.one.Stage = max(s.one.Stage, c.Stage)
		return
	case !t.give(s, c.Stage):
		return
	}
	var step SampledContact
	step.set(c, rank)
	t.detail[s.detail-1].step(&step, &t.keys)
}

func (v *SampledContact) set(c *conn.Contact, rank uint64) {
	v.Rank, v.Dst, v.Port, v.Proto, v.Probe, v.Stage = rank, c.Dst, c.Port, c.Proto, c.Probe, c.Stage
}

// give gives a detail to a source that makes its second contact, by a step of the given stage. When all are given out, the
// source with the fewest contacts of a neighbourhood gives its own up; if that has no fewer than s, there is none.
func (t *sources) give(s *source, stage conn.Stage) bool {
	if t.given == len(t.detail) {
		owner := t.poorest(s.one.Rank)
		if owner.weight() >= s.weight() {
			owner = s
		}
		if !owner.incomplete {
			owner.incomplete = true
			t.lost++
		}
		if owner == s {
			return false
		}
		t.release(owner)
	}
	d := &t.detail[t.given]
	t.given++
	s.detail = uint16(t.given)
	*d = detail{owner: s.place}
	opened := s.stage[conn.StageOpened]
	if stage == conn.StageOpened {
		opened--
	}
	d.first(s, opened, &t.keys)
	return true
}

// poorest is the source with the fewest contacts of eight with details.
func (t *sources) poorest(rank uint64) *source {
	var least *source
	for i := range uint64(min(8, len(t.detail))) {
		s := &t.entry[t.detail[(rank+i)%uint64(len(t.detail))].owner]
		if least == nil || s.weight() < least.weight() {
			least = s
		}
	}
	return least
}

// first takes over what the source's own entry knows: one contact, with which its attempts so far were made.
func (d *detail) first(s *source, opened uint32, k *keys) {
	step := s.one
	d.contacts[0], d.ncontacts = step, 1
	if opened != 0 {
		d.probes[step.Probe] = opened
		d.hosts.Add(k.addr(step.Dst))
		d.ports.Add(k.port(step.Proto, step.Port))
	}
}

// step counts a step of a first contact.
func (d *detail) step(c *SampledContact, k *keys) {
	if c.Stage == conn.StageOpened {
		d.probes[c.Probe]++
		d.hosts.Add(k.addr(c.Dst))
		d.ports.Add(k.port(c.Proto, c.Port))
	}
	d.ncontacts = sampleContact(&d.contacts, d.ncontacts, c)
}

// sampleContact adds a contact to a bottom-k sample of n, in order of rank, and returns how many it then holds. A contact
// of the same rank is the same contact: its later stage counts.
func sampleContact(sample *[SampleSize]SampledContact, n uint8, c *SampledContact) uint8 {
	i := int(n)
	for i > 0 && sample[i-1].Rank > c.Rank {
		i--
	}
	if i > 0 && sample[i-1].Rank == c.Rank {
		sample[i-1].Stage = max(sample[i-1].Stage, c.Stage)
		return n
	}
	if i == SampleSize {
		return n
	}
	copy(sample[i+1:], sample[i:n])
	sample[i] = *c
	return min(n+1, SampleSize)
}

// addTo adds the entry to a merged source.
func (t *sources) addTo(e *Source, s *source) {
	e.First, e.Last = min(e.First, s.first), max(e.Last, s.last)
	e.Tool, e.Marks = max(e.Tool, s.tool), e.Marks|s.marks
	e.ToolHits += s.toolHits
	e.MarkHits += s.markHits
	e.Repeats += s.repeats
	e.Opened += s.stage[conn.StageOpened]
	e.Unknown += s.stage[conn.StageUnknown]
	e.Silent += s.stage[conn.StageSilent]
	e.Refused += s.stage[conn.StageRefused]
	e.Answered += s.stage[conn.StageAnswered]
	e.Proven += s.stage[conn.StageProven]
	if s.detail != 0 {
		d := &t.detail[s.detail-1]
		for i, n := range d.probes {
			e.Probes[i] += n
		}
		e.Hosts.Merge(&d.hosts)
		e.Ports.Merge(&d.ports)
		for i := range d.contacts[:d.ncontacts] {
			e.NContacts = sampleContact(&e.Contacts, e.NContacts, &d.contacts[i])
		}
		return
	}
	if !s.contacted {
		return
	}
	if opened := s.stage[conn.StageOpened]; opened != 0 {
		e.Probes[s.one.Probe] += opened
		e.Hosts.Add(t.keys.addr(s.one.Dst))
		e.Ports.Add(t.keys.port(s.one.Proto, s.one.Port))
	}
	e.NContacts = sampleContact(&e.Contacts, e.NContacts, &s.one)
}

// weight is the evidence of a source, as in a shard.
func (s *Source) weight() uint64 {
	return uint64(s.Opened) + uint64(s.Unknown) + uint64(s.Silent) + uint64(s.Refused) + uint64(s.Answered)
}

// add adds the counts of o.
func (s *Source) add(o *Source) {
	s.First, s.Last = min(s.First, o.First), max(s.Last, o.Last)
	s.Tool, s.Marks = max(s.Tool, o.Tool), s.Marks|o.Marks
	s.ToolHits += o.ToolHits
	s.MarkHits += o.MarkHits
	s.Repeats += o.Repeats
	s.Opened += o.Opened
	s.Unknown += o.Unknown
	s.Silent += o.Silent
	s.Refused += o.Refused
	s.Answered += o.Answered
	s.Proven += o.Proven
	for i, n := range o.Probes {
		s.Probes[i] += n
	}
	s.Hosts.Merge(&o.Hosts)
	s.Ports.Merge(&o.Ports)
	for i := range o.Contacts[:o.NContacts] {
		s.NContacts = sampleContact(&s.Contacts, s.NContacts, &o.Contacts[i])
	}
}

// reset forgets the tick. Entries are cleared when they are given out.
func (t *sources) reset() {
	t.index.reset()
	t.given, t.lost = 0, 0
}
