//go:build linux

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// SetNever replaces the list of prefixes from which nothing is dropped, at once: at no moment is an address unlisted that is
// in the old list and in the new. Prefixes of any length are allowed.
func (g *Gate) SetNever(prefixes []netip.Prefix) error {
	var keys4 []gateNet4
	var keys6 []gateNet6
	seen := map[netip.Prefix]bool{}
	for _, p := range prefixes {
		c, err := canonical(p)
		if err != nil {
			return fmt.Errorf("never-list: %s: %w", p, err)
		}
		if seen[c] {
			continue
		}
		seen[c] = true
		if c.Addr().Is4() {
			keys4 = append(keys4, gateNet4{Bits: uint32(c.Bits()), Addr: c.Addr().As4()})
		} else {
			keys6 = append(keys6, gateNet6{Bits: uint32(c.Bits()), Addr: c.Addr().As16()})
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m, err := swap(g.maps.Never4, g.inner[gateMapNever4], uint32(len(keys4)), keys4, make([]uint32, len(keys4)))
	if err != nil {
		return err
	}
	g.never[0] = idOf(m)
	m.Close()
	m, err = swap(g.maps.Never6, g.inner[gateMapNever6], uint32(len(keys6)), keys6, make([]uint32, len(keys6)))
	if err != nil {
		return err
	}
	g.never[1] = idOf(m)
	m.Close()
	g.listed = len(seen) > 0
	g.flag(gateTableTABLE_NEVER, g.listed)
	return nil
}

// NeverInForce reports whether the kernel has the list of the last SetNever. It does not look into the list.
func (g *Gate) NeverInForce() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for family, outer := range []*ebpf.Map{g.maps.Never4, g.maps.Never6} {
		var id ebpf.MapID
		if err := outer.Lookup(uint32(0), &id); err != nil || id != g.never[family] {
			return false
		}
	}
	return g.listed == (atomic.LoadUint32(&g.control.Tables)&uint32(gateTableTABLE_NEVER) != 0)
}

// swap fills a new inner map and puts it into the outer's slot. The kernel waits until no program looks at the old one.
func swap[K, V any](outer *ebpf.Map, inner *ebpf.MapSpec, size uint32, keys []K, values []V) (*ebpf.Map, error) {
	inner = inner.Copy()
	name := inner.Name
	if inner.Type != ebpf.Array {
		inner.MaxEntries = max(size, 1)
	}
	m, err := ebpf.NewMap(inner)
	if err != nil {
		return nil, explain(name, err)
	}
	if len(keys) > 0 {
		_, err = m.BatchUpdate(keys, values, nil)
	}
	if err == nil {
		err = outer.Put(uint32(0), m)
	}
	if err != nil {
		m.Close()
		return nil, explain(name, err)
	}
	return m, nil
}

// MaxSignatures is how many there can be at once.
const MaxSignatures = 32

// MaxOpening is how many bytes of a payload a signature can compare.
const MaxOpening = 16

// Signature is a rule for packets that look alike. Fields that are not set match everything; masks say which bits count.
type Signature struct {
	ID       uint64       // the caller's; hits go on under the same ID
	To       netip.Prefix // destination; also settles the family
	Proto    uint8        // 0: any
	SrcPort  uint16       // 0: any
	DstPort  uint16       // 0: any
	MinLen   uint16       // bytes of the IP packet, header included
	MaxLen   uint16       // 0: any
	MinTTL   uint8
	MaxTTL   uint8   // 0: any
	Flags    uint16  // TCP flags, as decode.Packet.Flags…
	FlagMask uint16  // …of which these count
	Window   *uint16 // TCP window, unscaled
	Layout   *uint32 // decode.TCPOptions.Layout
	Opening  []byte  // first bytes of the payload: of TCP, UDP, SCTP; of other protocols what follows the IP header
	Mask     []byte  // of Opening; nil: all bits
	Rule
}

func (s *Signature) check() error {
	switch {
	case !s.To.IsValid() && s.Proto == 0 && s.SrcPort == 0 && s.DstPort == 0 && s.MaxLen == 0 && s.MinLen == 0 && s.MaxTTL == 0 &&
		s.MinTTL == 0 && s.FlagMask == 0 && s.Window == nil && s.Layout == nil && len(s.Opening) == 0:
		return errors.New("it compares nothing")
	case len(s.Opening) > MaxOpening:
		return fmt.Errorf("%d bytes of payload, at most %d can be compared", len(s.Opening), MaxOpening)
	case s.Mask != nil && len(s.Mask) != len(s.Opening):
		return errors.New("the mask is not as long as the bytes that it masks")
	case (s.FlagMask != 0 || s.Window != nil || s.Layout != nil) && s.Proto != protoTCP:
		return errors.New("flags, window and options are TCP's: set Proto to 6")
	case s.MaxLen != 0 && s.MinLen > s.MaxLen, s.MaxTTL != 0 && s.MinTTL > s.MaxTTL:
		return errors.New("the least is above the most")
	}
	return s.Rule.check()
}

const protoTCP = 6

// wire is the signature as the program compares it (fields and matches in gate.bpf.c).
func (s *Signature) wire() (w gateSignature, reads uint32) {
	w = gateSignature{Id: s.ID, MinLen: s.MinLen, MaxLen: s.MaxLen, MinTtl: s.MinTTL, MaxTtl: s.MaxTTL, Entry: s.entry()}
	if w.MaxLen == 0 {
		w.MaxLen = 1<<16 - 1
	}
	if w.MaxTtl == 0 {
		w.MaxTtl = 255
	}
	first := func(value, mask uint64, shift int) {
		w.Value[0] |= value & mask << shift
		w.Mask[0] |= mask << shift
	}
	if s.SrcPort != 0 {
		first(uint64(s.SrcPort), 0xffff, 48)
	}
	if s.DstPort != 0 {
		first(uint64(s.DstPort), 0xffff, 32)
	}
	if s.FlagMask != 0 || s.Window != nil || s.Layout != nil {
		first(uint64(s.Flags&^flagsCut), uint64(s.FlagMask|flagsCut), 16)
	}
	if s.Proto != 0 {
		first(uint64(s.Proto), 0xff, 8)
	}
	if s.To.IsValid() {
		p, _ := canonical(s.To)
		first(map[bool]uint64{true: 4, false: 6}[p.Addr().Is4()], 0xff, 0)
		w.Dst, w.DstMask = words(p.Addr().AsSlice()), words(ones(p.Bits()))
	}
	if s.Window != nil {
		w.Value[1] |= uint64(*s.Window) << 32
		w.Mask[1] |= 0xffff << 32
	}
	if s.Layout != nil {
		w.Value[1] |= uint64(*s.Layout)
		w.Mask[1] |= 0xffffffff
		reads |= readsLayout
	}
	if n := len(s.Opening); n > 0 {
		mask := s.Mask
		if mask == nil {
			mask = ones(8 * n)
		}
		w.OpeningBytes = uint8(n)
		w.OpeningMask, w.Opening = words(mask), words(s.Opening)
		w.Opening[0] &= w.OpeningMask[0]
		w.Opening[1] &= w.OpeningMask[1]
		reads |= readsOpening
	}
	return w, reads
}

// flagsCut stands in the flags of a TCP header that could not be read: FLAGS_CUT.
const flagsCut = 1 << 15

// READS_LAYOUT, READS_OPENING
const (
	readsLayout  = 1
	readsOpening = 2
)

// words is up to 16 bytes as the program loads them, the rest 0.
func words(b []byte) [2]uint64 {
	var full [16]byte
	copy(full[:], b)
	return [2]uint64{binary.NativeEndian.Uint64(full[:8]), binary.NativeEndian.Uint64(full[8:])}
}

// ones is a mask of n bits.
func ones(n int) []byte {
	b := make([]byte, (n+7)/8)
	for i := range n {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}

// SetSignatures replaces all signatures at once. Those whose ID was there before keep their hits.
func (g *Gate) SetSignatures(list []Signature) error {
	if len(list) > MaxSignatures {
		return &FullError{"signatures", MaxSignatures}
	}
	ids := map[uint64]bool{}
	for i := range list {
		if err := list[i].check(); err != nil {
			return fmt.Errorf("signature %d: %w", list[i].ID, err)
		}
		if ids[list[i].ID] {
			return fmt.Errorf("signature %d is there twice", list[i].ID)
		}
		ids[list[i].ID] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.setSignatures(list)
}

func (g *Gate) setSignatures(list []Signature) error {
	next := gateSignatures{Count: uint32(len(list))}
	slots := map[uint64]uint32{}
	var taken []uint32
	for i := range list {
		w, reads := list[i].wire()
		slot, ok := g.signed[w.Id]
		if !ok {
			slot = g.slots.take()
			taken = append(taken, slot)
		}
		slots[w.Id], w.Entry.Slot = slot, slot
		next.List[i] = w
		next.Reads |= reads
	}
	m, err := swap(g.maps.SignedBy, g.inner[gateMapSignedBy], 1, []uint32{0}, []gateSignatures{next})
	if err != nil {
		for _, s := range taken {
			g.slots.release(s)
		}
		return err
	}
	if g.signedIn != nil {
		g.signedIn.Close()
	}
	g.signedIn = m
	for id, slot := range g.signed {
		if _, ok := slots[id]; !ok {
			g.slots.release(slot)
		}
	}
	g.signed = slots
	g.flag(gateTableTABLE_SIGNATURES, len(list) > 0)
	return nil
}

// claimSignatures takes the slots of the list in force. One that cannot be read is replaced by an empty one.
func (g *Gate) claimSignatures() error {
	g.signed = map[uint64]uint32{}
	list, err := g.signatures()
	for i := range list.List[:list.Count] {
		if s := &list.List[i]; g.slots.claim(s.Entry.Slot) {
			g.signed[s.Id] = s.Entry.Slot
		} else {
			err = errors.New("a signature's place is taken")
		}
	}
	if err != nil {
		return g.setSignatures(nil)
	}
	return nil
}

// signatures reads the list in force.
func (g *Gate) signatures() (list gateSignatures, err error) {
	var id ebpf.MapID
	if err := g.maps.SignedBy.Lookup(uint32(0), &id); err != nil {
		return list, err
	}
	m := g.signedIn
	if !isMap(m, id) { // another process put it there; finding it by its id takes CAP_SYS_ADMIN
		other, err := ebpf.NewMapFromID(id)
		if err != nil {
			return list, err
		}
		defer other.Close()
		m = other
	}
	if err := m.Lookup(uint32(0), &list); err != nil {
		return gateSignatures{}, err
	}
	list.Count = min(list.Count, MaxSignatures)
	return list, nil
}

func isMap(m *ebpf.Map, id ebpf.MapID) bool {
	return m != nil && id != 0 && idOf(m) == id
}

// idOf is a map's, 0 if the kernel does not tell.
func idOf(m *ebpf.Map) ebpf.MapID {
	info, err := m.Info()
	if err != nil {
		return 0
	}
	id, _ := info.ID()
	return id
}

// SignatureHits is what each signature in force dropped, by ID.
func (g *Gate) SignatureHits() map[uint64]Hits {
	g.mu.Lock()
	defer g.mu.Unlock()
	hits := make(map[uint64]Hits, len(g.signed))
	for id, slot := range g.signed {
		hits[id] = g.hits(slot)
	}
	return hits
}

// Signed walks the signatures that the kernel holds, whoever put them there, in their order.
func (g *Gate) Signed(f func(id uint64, r Rule, h Hits)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	list, err := g.signatures()
	if err != nil {
		return fmt.Errorf("signatures: %w", err)
	}
	for i := range list.List[:list.Count] {
		e := &list.List[i].Entry
		f(list.List[i].Id, e.rule(), g.hits(e.Slot))
	}
	return nil
}

// AddPeers makes sources known, as having completed a connection now. The kernel learns by itself whoever has a TCP connection
// with one of its own sockets when a limited service gets a packet of it; connections that pass through must be told.
func (g *Gate) AddPeers(peers []netip.Addr) error {
	now := uint64(Now())
	for _, a := range peers {
		a = a.Unmap()
		if !a.IsValid() || a.Zone() != "" {
			return fmt.Errorf("peer %s: not an address", a)
		}
		k := gatePeerKey{Ver: 6}
		if a.Is4() {
			k.Ver = 4
		}
		copy(k.Addr[:], a.AsSlice())
		var p gatePeer
		if g.maps.Peers.Lookup(&k, &p) == nil && now-p.Seen < uint64(g.cfg.PeerAge)/4 {
			continue // fresh enough, and its allowance is not given anew
		}
		p.Seen = now
		if err := g.maps.Peers.Put(&k, &p); err != nil {
			return fmt.Errorf("peers: %w", err)
		}
	}
	return nil
}
