package tally

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
	"weir/analyzers/fingerprint"
	"weir/decode"
	"weir/decode/conn"
	"weir/decode/slab"
)

func v4(a uint32) decode.Addr { return decode.Addr{Lo: 0xffff<<32 | uint64(a)} }

func shards(n int, cfg Config) []*Shard {
	s := make([]*Shard, n)
	for i := range s {
		s[i] = NewShard(cfg, 7)
	}
	return s
}

// roomy holds samples of every header that a small test makes.
func roomy() Config {
	c := Defaults()
	c.Suspects, c.Normals = 1024, 1024
	return c
}

func TestMergeUnitesShards(t *testing.T) {
	cfg := Defaults()
	sh := shards(2, cfg)
	m := NewMerger(cfg)
	c := conn.Contact{Time: 1e9, Src: v4(1), Dst: v4(2), Port: 80, Proto: 6, Ver: 4}
	sh[0].Contact(&c)
	c.Dst = v4(3)
	sh[1].Contact(&c)
	c.Stage = conn.StageRefused
	sh[1].Contact(&c)
	var e Epoch
	m.Merge(&e, 10, sh)
	if len(e.Sources) != 1 {
		t.Fatalf("%d sources", len(e.Sources))
	}
	s := e.Sources[0]
	if s.Opened != 2 || s.Refused != 1 || s.NContacts != 2 || s.Hosts.Count() != 2 || s.Ports.Count() != 1 || s.Probes[conn.ProbeSYN] != 2 {
		t.Errorf("%+v", s)
	}
}

// step is one call of a shard, for traffic between two addresses.
type step struct {
	a, b decode.Addr
	on   func(*Shard)
}

func packetStep(p *decode.Packet, ev conn.Event) step {
	return step{p.Key.A, p.Key.B, func(s *Shard) { s.Packet(p, ev) }}
}

func anyStep(t *rapid.T) step {
	switch rapid.IntRange(0, 6).Draw(t, "what") {
	case 0:
		p := synPacket(t)
		p.Time, p.Key.A = rapid.Int64Range(1e9, 1e9+2).Draw(t, "time"), v4(rapid.Uint32Range(1, 9).Draw(t, "src"))
		p.Hash = p.Key.A.Lo * 0x9e3779b97f4a7c15 // of the key, as a decoder's is
		return packetStep(&p, conn.EvNew|conn.EvOrig|conn.EvAttempt)
	case 1, 2:
		c := anyContact(t)
		return step{c.Src, c.Dst, func(s *Shard) { s.Contact(c) }}
	case 3, 4:
		return anyReport(t)
	}
	return packetStep(anyPacket(t), conn.Event(rapid.Uint32Range(0, 1<<22-1).Draw(t, "event")))
}

func anySteps(t *rapid.T) []step {
	return rapid.SliceOfN(rapid.Custom(anyStep), 0, 200).Draw(t, "steps")
}

// merged is the epoch of steps over n shards.
func merged(n int, steps []step) *Epoch {
	sh, e := shards(n, roomy()), &Epoch{}
	for i := range steps {
		steps[i].on(sh[pair(steps[i].a, steps[i].b, n)])
	}
	NewMerger(roomy()).Merge(e, 10, sh)
	return e
}

// diff compares all but slices' capacity and absence.
func diff(a, b *Epoch) string {
	return cmp.Diff(a, b, ignoreBlanks, cmpopts.EquateComparable(netip.Prefix{}))
}

// TestShardsDoNotShow: while no table is full, the epoch does not depend on the number of shards, and a second run makes
// the same.
func TestShardsDoNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := anySteps(t)
		one := merged(1, steps)
		for _, n := range []int{1, 5, 64} {
			if d := diff(one, merged(n, steps)); d != "" {
				t.Fatalf("%d shards (-1 +%d):\n%s", n, n, d)
			}
		}
	})
}

// TestEpochsUnite: the union of three machines' epochs is the epoch of one that saw it all, in whatever order and grouping.
// Each machine sees address pairs of its own, so that first contacts are its own, too.
func TestEpochsUnite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := anySteps(t)
		all := merged(4, steps)
		parts := make([][]step, 3)
		for i := range steps {
			n := pair(steps[i].a, steps[i].b, 3)
			parts[n] = append(parts[n], steps[i])
		}
		order := rapid.Permutation([]int{0, 1, 2}).Draw(t, "order")
		a, b, c := merged(2, parts[order[0]]), merged(2, parts[order[1]]), merged(2, parts[order[2]])
		if rapid.Bool().Draw(t, "rightFirst") {
			unite(t, b, c)
			unite(t, a, b)
		} else {
			unite(t, a, b)
			unite(t, a, c)
		}
		if d := diff(all, a); d != "" {
			t.Fatalf("(-all +united):\n%s", d)
		}
	})
}

func unite(t *rapid.T, e, o *Epoch) {
	before, _ := o.AppendBinary(nil)
	if err := e.Merge(o); err != nil {
		t.Fatal(err)
	}
	if after, _ := o.AppendBinary(nil); !slices.Equal(before, after) {
		t.Fatal("Merge changed its argument")
	}
}

func TestMergeRefusesOtherTicksAndKeys(t *testing.T) {
	e := &Epoch{Tick: 3, SketchKey: 4, Link: Link{Packets: 1}}
	for _, o := range []*Epoch{{Tick: 2, SketchKey: 4}, {Tick: 3, SketchKey: 5}} {
		o.Link.Packets = 1
		var mismatch *MismatchError
		if err := e.Merge(o); !errors.As(err, &mismatch) || e.Link.Packets != 1 {
			t.Errorf("%v, %d packets", err, e.Link.Packets)
		}
	}
}

// TestEmptiesShards: nothing of a tick is left for the next one but what is remembered of contacts.
func TestEmptiesShards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := anySteps(t)
		sh, m := shards(2, Defaults()), NewMerger(Defaults())
		for i := range steps {
			steps[i].on(sh[i%2])
		}
		var e Epoch
		m.Merge(&e, 1, sh)
		m.Merge(&e, 2, sh)
		if d := diff(&Epoch{Tick: 2, SketchKey: 7}, &e); d != "" {
			t.Fatal(d)
		}
	})
}

// TestOrder compares the radix sort with the standard library's.
func TestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{0, 1, 255, 256, 1000}).Draw(t, "n")
		few := rapid.Uint64Range(0, 1<<rapid.IntRange(0, 63).Draw(t, "bits"))
		refs := make([]ref, n)
		for i := range refs {
			refs[i] = ref{hi: few.Draw(t, "hi") << 8, lo: few.Draw(t, "lo"), sub: uint32(few.Draw(t, "sub")), ver: uint8(4 + 2*(i%2)), at: uint32(i)}
		}
		want := slices.Clone(refs)
		slices.SortStableFunc(want, ref.compare)
		if got := order(refs, make([]ref, n)); !slices.Equal(got, want) {
			t.Fatal("wrong order")
		}
	})
}

// TestThin: at most so many keys stay, none with less evidence than one that went.
func TestThin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var refs []ref
		all := map[uint64]uint64{}
		for key := range uint64(rapid.IntRange(1, 60).Draw(t, "keys")) {
			for range rapid.IntRange(1, 3).Draw(t, "entries") {
				w := rapid.Uint32Range(0, 5).Draw(t, "weight")
				refs = append(refs, ref{lo: key, weight: w})
				all[key] += uint64(w)
			}
		}
		most := rapid.IntRange(1, 60).Draw(t, "most")
		kept, gone, evidence := thin(slices.Clone(refs), most)
		left := map[uint64]uint64{}
		least := ^uint64(0)
		for run := range runs(kept) {
			left[run[0].lo] = evidenceOf(run)
			least = min(least, evidenceOf(run))
		}
		if want := min(most, len(all)); len(left) != want {
			t.Fatalf("%d keys stay, want %d", len(left), want)
		}
		var lost uint64
		for key, w := range all {
			if have, ok := left[key]; ok && have != w {
				t.Fatalf("key %d was cut from %d to %d", key, w, have)
			} else if !ok {
				lost += w
				if w > least {
					t.Fatalf("key %d of %d went, one of %d stayed", key, w, least)
				}
			}
		}
		if int(gone) != len(all)-len(left) || evidence != lost {
			t.Fatalf("%d keys and %d evidence gone, want %d and %d", gone, evidence, len(all)-len(left), lost)
		}
	})
}

// TestSYN follows a handwritten SYN into the print, the sample and the service.
func TestSYN(t *testing.T) {
	p := synPacket(t)
	s := NewShard(Defaults(), 7)
	s.Packet(&p, conn.EvNew|conn.EvOrig|conn.EvAttempt)
	s.Packet(&p, conn.EvOrig|conn.EvRetrans)
	var e Epoch
	NewMerger(Defaults()).Merge(&e, 0, []*Shard{s})
	if len(e.Prints) != 1 || len(e.Suspects) == 0 || len(e.Services) != 1 || len(e.Normals) != 0 {
		t.Fatalf("%d prints, %d suspects, %d services, %d normals", len(e.Prints), len(e.Suspects), len(e.Services), len(e.Normals))
	}
	src, dst := v4(0xc0000201), v4(0xc6336402)
	sig, _ := fingerprint.FromPacket(&p)
	pr := e.Prints[0]
	if string(pr.Raw[:pr.NRaw]) != sig.String() || pr.Count != 2 || pr.Src != src || pr.Dst != dst || pr.DstPort != 80 || pr.First != 5 || pr.Sources.Count() != 1 {
		t.Errorf("print %+v, raw %q", pr, pr.Raw[:pr.NRaw])
	}
	h := e.Suspects[0]
	want := Header{
		Rank: h.Rank, Time: 5, Src: src, Dst: dst, SrcPort: 40000, DstPort: 80, Proto: 6, Ver: 4, Class: ClassSYN,
		TTL: 64, Len: 60, Flags: decode.FlagSYN, Window: 64240, Layout: p.Opt.Layout,
	}
	if h != want {
		t.Errorf("header\n%+v, want\n%+v", h, want)
	}
	if v := e.Services[0]; v.SYN != 1 || v.Opened != 1 || v.Packets != 2 || v.Unanswered != 2 || v.Bytes != 120 || v.Sources.Count() != 1 {
		t.Errorf("service %+v", v)
	}
}

// TestSampleKeepsLeastRanks draws more headers than a sample holds.
func TestSampleKeepsLeastRanks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranks := rapid.SliceOfNDistinct(rapid.Uint64Max(1<<64-2), 0, 50, rapid.ID).Draw(t, "ranks")
		k := rapid.IntRange(1, 20).Draw(t, "k")
		s := newSample(slab.Heap(1<<16), k)
		for _, r := range ranks {
			if r < s.limit {
				s.put(&Header{Rank: r})
			}
		}
		var got []uint64
		for i := range s.head {
			got = append(got, s.head[i].Rank)
		}
		slices.Sort(got)
		slices.Sort(ranks)
		if want := ranks[:min(k, len(ranks))]; !reflect.DeepEqual(append([]uint64{}, got...), append([]uint64{}, want...)) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// TestClasses: a completed contact is sampled as a normal SYN, a packet to an answered one as normal.
func TestClasses(t *testing.T) {
	p := udp(1, 2, 3, 4, 5)
	tcp := p
	tcp.Key.Proto, tcp.Flags = 6, decode.FlagACK
	for _, c := range []struct {
		p    *decode.Packet
		ev   conn.Event
		want Class
	}{
		{&p, conn.EvOrig | conn.EvNew, ClassUnanswered},
		{&p, conn.EvOrig | conn.EvAnswered, ClassNormal},
		{&p, conn.EvAnswered, ClassCount},
		{&p, conn.EvUnasked | conn.EvNew, ClassUnasked},
		{&p, conn.EvFragment, ClassFragment},
		{&p, conn.EvFragment | conn.EvOrig | conn.EvAnswered, ClassNormal},
		{&p, conn.EvFragment | conn.EvUntracked, ClassFragment},
		{&p, conn.EvUntracked, ClassCount},
		{&tcp, conn.EvStray | conn.EvOrig | conn.EvNew, ClassStray},
		{&tcp, conn.EvOrig, ClassStray},
		{&tcp, conn.EvOrig | conn.EvAnswered | conn.EvEstablished, ClassNormal},
	} {
		if got := classOf(c.p, c.ev); got != c.want {
			t.Errorf("event %b: class %d, want %d", c.ev, got, c.want)
		}
	}
	s := NewShard(Defaults(), 7)
	s.Contact(&conn.Contact{
		Time: 9, Src: v4(1), Dst: v4(2), Port: 80, Proto: 6, Ver: 4, Stage: conn.StageProven,
		SYN: conn.SYN{Layout: 7, Window: 8, Len: 60, TTL: 64},
	})
	var e Epoch
	NewMerger(Defaults()).Merge(&e, 0, []*Shard{s})
	want := Header{Time: 9, Src: v4(1), Dst: v4(2), DstPort: 80, Proto: 6, Ver: 4, Class: ClassNormalSYN, TTL: 64, Len: 60, Flags: decode.FlagSYN, Window: 8, Layout: 7}
	if len(e.Normals) != 1 {
		t.Fatalf("%d normals", len(e.Normals))
	}
	want.Rank = e.Normals[0].Rank
	if e.Normals[0] != want {
		t.Errorf("%+v", e.Normals[0])
	}
}
