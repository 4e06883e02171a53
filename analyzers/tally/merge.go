package tally

import (
	"fmt"
	"math"
	"math/bits"

	"weir/decode"
)

// Bounds of an Epoch. What has the least evidence goes first, and is counted in Link.Loss; among equals those that stay are
// spread evenly over the order.
const (
	MaxServices = 1 << 15 // 264 bytes each: 8.7 MB
	MaxSources  = 1 << 13 // 768 bytes each: 6.3 MB
	MaxPrints   = 1 << 13 // 240 bytes each: 2 MB
	MaxHeaders  = 1 << 10 // of each class, 80 bytes each: 0.6 MB in all
)

// Merger merges the shards of one process. It holds the scratch memory: 64 bytes for each entry of the larger table of all
// shards. Not safe for concurrent use.
type Merger struct {
	refs, tmp []ref
	text      []byte
}

// NewMerger returns a Merger for the shards of this configuration.
func NewMerger(cfg Config) *Merger {
	n := cfg.merged()
	return &Merger{refs: make([]ref, 0, n), tmp: make([]ref, n), text: make([]byte, 0, 256)}
}

// merged is the most entries that are brought in order at once.
func (c Config) merged() int {
	return Shards * max(c.Services+c.Hosts, c.Sources, c.Prints, c.Pairs, c.Echoes, c.Odds, c.Openings, c.Names, c.Webs, int(ClassCount)*max(c.Suspects, c.Normals))
}

// Merge brings the counts of all shards together in e, which is overwritten, and empties the shards for the next tick; what
// they remember of contacts stays. Shards may hold the same key; the result does not depend on how packets were spread over
// workers. It costs what was used: a shard without traffic is skipped.
func (m *Merger) Merge(e *Epoch, tick int64, shards []*Shard) {
	e.Tick = tick
	if len(shards) != 0 {
		e.SketchKey = shards[0].key
	}
	e.Link = Link{}
	e.Gate.Reset()
	for _, s := range shards {
		if s.used {
			s.lost()
			e.Link.Add(&s.link)
		}
	}
	m.services(e, shards)
	m.sources(e, shards)
	m.prints(e, shards)
	m.peers(e, shards)
	m.lists(e, shards)
	e.Suspects = m.samples(e.Suspects, shards, ClassSYN, ClassNormalSYN)
	e.Normals = m.samples(e.Normals, shards, ClassNormalSYN, ClassCount)
	for _, s := range shards {
		if s.used {
			s.reset()
		}
	}
}

// lists unites what goes on between hosts.
func (m *Merger) lists(e *Epoch, shards []*Shard) {
	var pairs, echoes, odds, openings, names, webs uint64
	e.Pairs, pairs = mergeTables(m, e.Pairs, shards, func(s *Shard) *table[PairKey, Pair, *Pair] { return s.pairs })
	e.Echoes, echoes = mergeTables(m, e.Echoes, shards, func(s *Shard) *table[echoKey, Echo, *Echo] { return s.echoes })
	e.Odds, odds = mergeTables(m, e.Odds, shards, func(s *Shard) *table[oddKey, Odd, *Odd] { return s.odds })
	e.Openings, openings = mergeTables(m, e.Openings, shards, func(s *Shard) *table[OpeningKey, Opening, *Opening] { return s.openings })
	e.Names, names = mergeTables(m, e.Names, shards, func(s *Shard) *table[nameKey, Name, *Name] { return s.names })
	e.Webs, webs = mergeTables(m, e.Webs, shards, func(s *Shard) *table[PairKey, Web, *Web] { return s.webs })
	e.Link.Loss[LossPairs] += pairs
	e.Link.Loss[LossOdds] += echoes + odds
	e.Link.Loss[LossOpenings] += openings + names + webs
}

// lost moves the losses of the tables to the link.
func (s *Shard) lost() {
	s.link.Loss[LossServices] += s.services.lost
	s.link.Loss[LossSources] += s.sources.lost
	s.link.Loss[LossPrints] += s.prints.lost
	s.link.PeersLost += s.peers.lost
}

// places is how many places of a shard a ref can name: those of its services, then those of its hosts.
const places = 2 << 16

func (m *Merger) services(e *Epoch, shards []*Shard) {
	m.refs = m.refs[:0]
	for i, s := range shards {
		if !s.used {
			continue
		}
		for j, t := range [...]*serviceTable{&s.services.known, &s.services.hosts} {
			for place := range t.used() {
				m.refs = append(m.refs, t.entry[place].ref(i*places+j<<16+place))
			}
		}
	}
	e.Services = foldServices(e.Services, m.ordered(), &e.Link, func(at uint32) *Service {
		t := &shards[at/places].services.known
		if at%places >= 1<<16 {
			t = &shards[at/places].services.hosts
		}
		return &t.entry[at&0xffff]
	})
}

func (m *Merger) sources(e *Epoch, shards []*Shard) {
	m.refs = m.refs[:0]
	for i, s := range shards {
		if !s.used {
			continue
		}
		for place := range s.sources.used() {
			v := &s.sources.entry[place]
			m.refs = append(m.refs, ref{hi: v.addr.Hi, lo: v.addr.Lo, ver: v.ver, weight: clip(v.weight()), at: uint32(i*places + place)})
		}
	}
	e.Sources = foldSources(e.Sources, m.ordered(), &e.Link, func(v *Source, at uint32) {
		t := shards[at/places].sources
		t.addTo(v, &t.entry[at%places])
	})
}

func (m *Merger) prints(e *Epoch, shards []*Shard) {
	m.refs = m.refs[:0]
	for i, s := range shards {
		if !s.used {
			continue
		}
		for place := range s.prints.used() {
			v := &s.prints.entry[place]
			m.refs = append(m.refs, ref{lo: v.hash, sub: synackBit(v.sig.SYNACK), weight: clip(v.count), at: uint32(i*places + place)})
		}
	}
	e.Prints = foldPrints(e.Prints, m.ordered(), &e.Link, func(v *Print, at uint32) {
		m.text = shards[at/places].prints.entry[at%places].epoch(v, m.text[:0])
	})
}

func (m *Merger) samples(dst []Header, shards []*Shard, from, to Class) []Header {
	m.refs = m.refs[:0]
	for i, s := range shards {
		if !s.used {
			continue
		}
		for c := from; c < to; c++ {
			for place := range s.samples[c].head {
				m.refs = append(m.refs, ref{lo: s.samples[c].head[place].Rank, at: uint32((i*int(ClassCount)+int(c))<<12 + place)})
			}
		}
	}
	return foldHeaders(dst, m.ordered(), func(at uint32) *Header {
		c := at >> 12
		return &shards[c/uint32(ClassCount)].samples[c%uint32(ClassCount)].head[at&(1<<12-1)]
	})
}

// ordered brings the refs in order.
func (m *Merger) ordered() []ref {
	if len(m.tmp) < len(m.refs) { // more shards than Shards
		m.tmp = make([]ref, cap(m.refs))
	}
	return order(m.refs, m.tmp[:len(m.refs)])
}

// foldServices adds up the entries of equal keys.
func foldServices(dst []Service, refs []ref, l *Link, entry func(at uint32) *Service) []Service {
	refs, _, packets := thin(refs, MaxServices)
	l.Loss[LossServices] += packets
	dst = room(dst, min(len(refs), MaxServices))
	for i := range refs {
		v := entry(refs[i].at)
		if i > 0 && refs[i].same(&refs[i-1]) {
			dst[len(dst)-1].add(v)
		} else {
			dst = append(dst, *v)
		}
	}
	return dst
}

// foldSources adds up the entries of equal addresses.
func foldSources(dst []Source, refs []ref, l *Link, add func(v *Source, at uint32)) []Source {
	refs, gone, _ := thin(refs, MaxSources)
	l.Loss[LossSources] += gone
	dst = room(dst, min(len(refs), MaxSources))
	for i := range refs {
		if r := &refs[i]; i == 0 || !r.same(&refs[i-1]) {
			dst = dst[:len(dst)+1]
			dst[len(dst)-1].restart(decode.Addr{Hi: r.hi, Lo: r.lo}, r.ver)
		}
		add(&dst[len(dst)-1], refs[i].at)
	}
	return dst
}

// restart empties a source for another address. It writes the third of the entry that was in use: under a flood the merge
// is bound by memory.
func (s *Source) restart(addr decode.Addr, ver uint8) {
	clear(s.Contacts[:s.NContacts])
	s.NContacts = 0
	s.Addr, s.Ver = addr, ver
	s.Tool, s.Marks = 0, 0
	s.First, s.Last = math.MaxInt64, math.MinInt64
	s.Opened, s.Unknown, s.Silent, s.Refused, s.Answered, s.Proven = 0, 0, 0, 0, 0, 0
	s.Repeats, s.ToolHits, s.MarkHits = 0, 0, 0
	clear(s.Probes[:])
	s.Hosts, s.Ports = HLL{}, HLL{}
}

// foldPrints adds up the entries of equal signatures.
func foldPrints(dst []Print, refs []ref, l *Link, read func(v *Print, at uint32)) []Print {
	refs, _, packets := thin(refs, MaxPrints)
	l.Loss[LossPrints] += packets
	dst = room(dst, min(len(refs), MaxPrints))
	for i := range refs {
		var v Print
		read(&v, refs[i].at)
		if i > 0 && refs[i].same(&refs[i-1]) {
			dst[len(dst)-1].add(&v)
		} else {
			dst = append(dst, v)
		}
	}
	return dst
}

// foldHeaders keeps the MaxHeaders least ranks of each class.
func foldHeaders(dst []Header, refs []ref, header func(at uint32) *Header) []Header {
	var n [ClassCount]int
	dst = room(dst, min(len(refs), int(ClassCount)*MaxHeaders))
	for i := range refs {
		if h := header(refs[i].at); n[h.Class] < MaxHeaders {
			n[h.Class]++
			dst = append(dst, *h)
		}
	}
	return dst
}

// room returns dst emptied, or a new slice, with a capacity for n entries at least: the next power of two, so that growing
// ticks do not make a new one each.
func room[T any](dst []T, n int) []T {
	if n > cap(dst) {
		return make([]T, 0, 1<<bits.Len(uint(n-1)))
	}
	return dst[:0]
}

// thin keeps at most that many keys of a list in order: those with the most evidence in all their entries. It returns how
// many keys went, and their evidence.
func thin(refs []ref, most int) (kept []ref, gone, evidence uint64) {
	if len(refs) <= most {
		return refs, 0, 0
	}
	const classes = 256 // of evidence; all above counts as the last
	var have [classes]int
	keys := 0
	for run := range runs(refs) {
		have[min(evidenceOf(run), classes-1)]++
		keys++
	}
	if keys <= most {
		return refs, 0, 0
	}
	least, room := classes-1, most // the class in which keys have to go, and the room that is left there
	for ; have[least] <= room; least-- {
		room -= have[least]
	}
	kept = refs[:0]
	spread := 0
	for run := range runs(refs) {
		w := evidenceOf(run)
		class := int(min(w, classes-1))
		stays := class > least
		if class == least {
			if spread += room; spread >= have[least] {
				spread -= have[least]
				stays = true
			}
		}
		if stays {
			kept = append(kept, run...)
		} else {
			gone++
			evidence += w
		}
	}
	return kept, gone, evidence
}

// runs yields the entries of each key.
func runs(refs []ref) func(yield func([]ref) bool) {
	return func(yield func([]ref) bool) {
		for len(refs) > 0 {
			n := 1
			for n < len(refs) && refs[n].same(&refs[0]) {
				n++
			}
			if !yield(refs[:n]) {
				return
			}
			refs = refs[n:]
		}
	}
}

func evidenceOf(run []ref) (sum uint64) {
	for i := range run {
		sum += uint64(run[i].weight)
	}
	return sum
}

// clip saturates.
func clip(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

func synackBit(synack bool) uint32 {
	if synack {
		return 1
	}
	return 0
}

// ref stands for the entry in a merge.
func (v *Service) ref(at int) ref {
	k := &v.Key
	return ref{
		ver: k.Ver, hi: k.Addr.Hi, lo: k.Addr.Lo, sub: uint32(k.Proto)<<24 | uint32(k.Port)<<8 | uint32(k.Role),
		weight: clip(v.weight()), at: uint32(at),
	}
}

// MismatchError says why two epochs do not merge.
type MismatchError struct {
	Field     string // "tick" or "sketch key"
	Have, Got int64
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("tally: epochs of different %s do not merge: %d and %d", e.Field, e.Have, e.Got)
}

// Merge unites e with o, an epoch of another machine for the same tick. While no table is full the order of merges does not
// show. On error e is unchanged. It allocates new slices; o stays as it is, and shares no memory with e.
func (e *Epoch) Merge(o *Epoch) error {
	if e.Tick != o.Tick {
		return &MismatchError{"tick", e.Tick, o.Tick}
	}
	if e.SketchKey != o.SketchKey {
		return &MismatchError{"sketch key", int64(e.SketchKey), int64(o.SketchKey)}
	}
	e.Link.Add(&o.Link)
	e.Services = mergeServices(e.Services, o.Services, &e.Link)
	e.Sources = mergeSources(e.Sources, o.Sources, &e.Link)
	e.Prints = mergePrints(e.Prints, o.Prints, &e.Link)
	e.Suspects = mergeHeaders(e.Suspects, o.Suspects)
	e.Normals = mergeHeaders(e.Normals, o.Normals)
	e.Peers = mergePeers(e.Peers, o.Peers, &e.Link)
	e.Gate = e.Gate.merged(&o.Gate)
	e.mergeLists(o)
	return nil
}

// mergeLists unites what goes on between hosts.
func (e *Epoch) mergeLists(o *Epoch) {
	var pairs, echoes, odds, openings, names, webs uint64
	e.Pairs, pairs = mergeRows[PairKey](e.Pairs, o.Pairs, MaxPairs)
	e.Echoes, echoes = mergeRows[echoKey](e.Echoes, o.Echoes, MaxEchoes)
	e.Odds, odds = mergeRows[oddKey](e.Odds, o.Odds, MaxOdds)
	e.Openings, openings = mergeRows[OpeningKey](e.Openings, o.Openings, MaxOpenings)
	e.Names, names = mergeRows[nameKey](e.Names, o.Names, MaxNames)
	e.Webs, webs = mergeRows[PairKey](e.Webs, o.Webs, MaxWebs)
	e.Link.Loss[LossPairs] += pairs
	e.Link.Loss[LossOdds] += echoes + odds
	e.Link.Loss[LossOpenings] += openings + names + webs
}

// pick is entry at of two lists in a row.
func pick[T any](a, b []T, at uint32) *T {
	if int(at) < len(a) {
		return &a[at]
	}
	return &b[int(at)-len(a)]
}

// refsOf are the refs of two lists in a row, in order.
func refsOf[T any](a, b []T, read func(v *T, at int) ref) []ref {
	refs := make([]ref, 0, len(a)+len(b))
	for _, list := range [...][]T{a, b} {
		for i := range list {
			refs = append(refs, read(&list[i], len(refs)))
		}
	}
	return order(refs, make([]ref, len(refs)))
}

func mergeServices(a, b []Service, l *Link) []Service {
	refs := refsOf(a, b, (*Service).ref)
	return foldServices(nil, refs, l, func(at uint32) *Service { return pick(a, b, at) })
}

func mergeSources(a, b []Source, l *Link) []Source {
	refs := refsOf(a, b, func(v *Source, at int) ref {
		return ref{hi: v.Addr.Hi, lo: v.Addr.Lo, ver: v.Ver, weight: clip(v.weight()), at: uint32(at)}
	})
	return foldSources(nil, refs, l, func(v *Source, at uint32) { v.add(pick(a, b, at)) })
}

func mergePrints(a, b []Print, l *Link) []Print {
	refs := refsOf(a, b, func(v *Print, at int) ref {
		return ref{lo: v.Hash, sub: synackBit(v.SYNACK), weight: clip(v.Count), at: uint32(at)}
	})
	return foldPrints(nil, refs, l, func(v *Print, at uint32) { *v = *pick(a, b, at) })
}

func mergeHeaders(a, b []Header) []Header {
	refs := refsOf(a, b, func(v *Header, at int) ref { return ref{lo: v.Rank, at: uint32(at)} })
	return foldHeaders(nil, refs, func(at uint32) *Header { return pick(a, b, at) })
}
