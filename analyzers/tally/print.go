package tally

import (
	"weir/analyzers/fingerprint"
	"weir/decode"
	"weir/decode/slab"
)

// prints are the SYN and SYN-ACK fingerprints of one shard and tick. The text of a signature is written at the merge, not
// for each packet. When there is no room, the print with the fewest packets of its neighbourhood goes.
type prints struct {
	index
	entry  []print
	weight func(place int) uint64
	keys   keys
	lost   uint64 // packets of prints that went
}

// print is one fingerprint. Its counters are those of Print.
type print struct {
	sig         fingerprint.Sig
	hash        uint64
	count       uint64
	sources     HLL
	src, dst    decode.Addr
	first, last int64
	dstPort     uint16
	label       uint16
	ver         uint8
	tool        bool
}

func newPrints(m *slab.Slab, entries int, k keys) *prints {
	t := &prints{index: newIndex(m, entries), entry: slab.Carve[print](m, entries), keys: k}
	t.weight = func(place int) uint64 { return t.entry[place].count }
	return t
}

// used are the entries in use, in the order in which they were made.
func (t *prints) used() []print { return t.entry[:len(t.hash)] }

// at finds or makes the entry of a signature.
func (t *prints) at(sig *fingerprint.Sig) *print {
	sum := sig.Hash()
	hash := fold(sum^t.keys[0], t.keys[1])
	tag := tag(hash)
	for _, s := range t.bucket(hash) {
		if s == 0 {
			break
		}
		if s&^0xffff == tag {
			if e := &t.entry[s&0xffff-1]; e.hash == sum && e.sig.SYNACK == sig.SYNACK {
				return e
			}
		}
	}
	place, ok := t.free(hash)
	if !ok {
		place = t.least(hash, t.weight)
		t.lost += t.entry[place].count
		t.replace(place, hash)
	}
	e := &t.entry[place]
	label := fingerprint.Lookup(*sig)
	*e = print{sig: *sig, hash: sum, label: label, tool: fingerprint.Label(label).Kind == fingerprint.KindTool}
	return e
}

// add counts a packet.
func (e *print) add(p *decode.Packet, k *keys) {
	src, _ := p.Src()
	dst, port := p.Dst()
	if e.count == 0 || p.Time <= e.first {
		if e.count == 0 {
			e.last = p.Time
		}
		if e.count == 0 || earlier(p.Time, e.first, src, e.src, dst, e.dst, port, e.dstPort) {
			e.first, e.src, e.dst, e.dstPort, e.ver = p.Time, src, dst, port, p.Key.Ver
		}
	}
	e.last = max(e.last, p.Time)
	e.count++
	e.sources.Add(k.addr(src))
}

// earlier reports whether a packet is the one that a print names as its first: the least by time, then by addresses and
// port, so that it does not depend on order.
func earlier(time, time2 int64, src, src2, dst, dst2 decode.Addr, port, port2 uint16) bool {
	switch {
	case time != time2:
		return time < time2
	case src != src2:
		return src.Less(src2)
	case dst != dst2:
		return dst.Less(dst2)
	}
	return port < port2
}

// epoch writes the entry as a Print of an epoch. text is scratch.
func (e *print) epoch(v *Print, text []byte) []byte {
	*v = Print{
		Hash: e.hash, SYNACK: e.sig.SYNACK, Label: e.label, Count: e.count, Sources: e.sources,
		Src: e.src, Dst: e.dst, Ver: e.ver, DstPort: e.dstPort, First: e.first, Last: e.last,
	}
	text = e.sig.AppendRaw(text)
	v.NRaw = uint8(copy(v.Raw[:], text))
	return text
}

// add adds the counts of o, a print of the same signature.
func (v *Print) add(o *Print) {
	if earlier(o.First, v.First, o.Src, v.Src, o.Dst, v.Dst, o.DstPort, v.DstPort) {
		v.First, v.Src, v.Dst, v.DstPort, v.Ver = o.First, o.Src, o.Dst, o.DstPort, o.Ver
	}
	v.Last = max(v.Last, o.Last)
	v.Label = max(v.Label, o.Label)
	v.Count += o.Count
	v.Sources.Merge(&o.Sources)
}

// reset forgets the tick. Entries are cleared when they are given out.
func (t *prints) reset() {
	t.index.reset()
	t.lost = 0
}
