package sensor

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
)

// TestTops holds the tops against a count of everything, where a few carry most of the traffic: the last ten seconds count, and
// nothing before.
func TestTops(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var v viewer
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }
	type count map[int]uint64
	bySecond := map[int64]count{}
	begun := map[int64]count{}
	const last = 299
	for tick := int64(0); tick <= last; tick++ {
		second := tick / 10
		if bySecond[second] == nil {
			bySecond[second], begun[second] = count{}, count{}
		}
		e := &tally.Epoch{Tick: tick}
		for n := range 2000 {
			bytes := uint64(rng.IntN(100))
			if n%100 == 7 {
				bytes = 10_000 + uint64(rng.IntN(1000))*uint64(n)
			}
			for part := range uint16(2) {
				e.Pairs = append(e.Pairs, tally.Pair{
					Key:     tally.PairKey{Client: decode.AddrFrom(addr(n)), Server: decode.AddrFrom(addr(9)), Ver: 4, Proto: 6, Port: 80 + part},
					Packets: 2, Bytes: bytes / 2, BackBytes: bytes / 2,
				})
			}
			bySecond[second][n] += bytes / 2 * 4
		}
		e.Sources = append(e.Sources, tally.Source{Addr: decode.AddrFrom(addr(3)), Ver: 4, Opened: 5, Repeats: 2})
		begun[second][3] += 7
		v.tick(e)
	}
	want := count{}
	for second := int64(20); second < 30; second++ {
		for n, b := range bySecond[second] {
			want[n] += b
		}
	}
	got := v.view((last+1)*tally.Tick, &tally.Link{}, nil).Sources
	if len(got) != viewTops {
		t.Fatalf("%d sources", len(got))
	}
	for i, top := range got {
		b := top.Addr.As4()
		n := int(b[2])<<8 | int(b[3])
		if n%100 != 7 || top.Bytes != want[n] {
			t.Errorf("%d: %v with %d bytes, want %d", i, top.Addr, top.Bytes, want[n])
		}
		if i > 0 && top.Bytes > got[i-1].Bytes {
			t.Errorf("%d: not in order", i)
		}
	}
	quiet := viewer{}
	quiet.tick(&tally.Epoch{Tick: 5, Sources: []tally.Source{{Addr: decode.AddrFrom(addr(3)), Ver: 4, Opened: 5}}})
	quiet.tick(&tally.Epoch{Tick: 104})
	if s := quiet.view(11e9, &tally.Link{}, nil).Sources; len(s) != 0 {
		t.Errorf("after eleven seconds: %v", s)
	}
}

// TestViewRates holds rates over the time that passed, however long.
func TestViewRates(t *testing.T) {
	var v viewer
	v.view(1e9, &tally.Link{Packets: 100, Bytes: 1000}, nil)
	got := v.view(3e9, &tally.Link{Packets: 500, Bytes: 4000}, []analyzers.Analyzer{analyzers.NewScan(analyzers.DefaultScan())})
	if got.Packets != 200 || got.Bits != 12000 {
		t.Errorf("%v packets/s, %v bit/s", got.Packets, got.Bits)
	}
}
