package analyzers

import (
	"testing"
	"unsafe"

	"weir/analyzers/tally"
)

// TestPool: weight defends a place, staleness gives it up, newcomers get in one time in eight, and nothing is lost uncounted.
func TestPool(t *testing.T) {
	gone := 0
	p := newPool[int, int](8, func(k, _ *int) { gone++ })
	hash := func(k int) uint64 { return scramble(uint64(k), 1) }
	at := func(k int, now int64) int { i, _ := p.at(&k, hash(k), now, 10e9); return i }
	for k := range 8 {
		if i := at(k, 0); i < 0 {
			t.Fatal("no room in an empty pool")
		} else {
			p.keep(i, 5, 100e9)
		}
	}
	if at(9, 50e9) >= 0 || p.Refused != 1 {
		t.Error("a newcomer displaced what weighs more")
	}
	p.keep(at(3, 50e9), 2, 60e9) // stale first, however heavy
	i := at(9, 61e9)
	if k, v := p.value(i); i < 0 || *k != 9 || *v != 0 || gone != 1 || p.Evicted != 0 {
		t.Error("a stale place was not given up")
	}
	if p.find(new(int), hash(0)) < 0 {
		t.Error("key 0 is gone")
	}
	before, in := p.Refused, 0
	for k := range 800 {
		if at(1000+k, 62e9+int64(k)) >= 0 {
			in++
		}
	}
	if in < 60 || in > 160 || p.Refused-before != uint64(800-in) || p.Evicted != uint64(in) {
		t.Errorf("%d of 800 newcomers found room, %d refused, %d evicted", in, p.Refused-before, p.Evicted)
	}
	for k := range 8 {
		if k != 3 && p.find(&k, hash(k)) < 0 {
			t.Errorf("%d is gone", k)
		}
	}
}

// TestPairSize: a pair of the beacon analyzer takes no more than its bound of a kilobyte.
func TestPairSize(t *testing.T) {
	if n := unsafe.Sizeof(poolEntry[tally.PairKey, beaconPair]{}); n > 1024 {
		t.Error(n)
	}
	for name, n := range map[string]int{
		"beacon": beaconBytes(), "dns": dnsBytes(), "exfil": exfilBytes(), "tunnel": tunnelBytesInAll(),
	} {
		t.Log(name, n>>10, "kB")
		if n > 16<<20 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

func beaconBytes() int      { c := DefaultBeacon(); return c.bytes() }
func dnsBytes() int         { c := DefaultDNS(); return c.bytes() }
func exfilBytes() int       { c := DefaultExfil(); return c.bytes() }
func tunnelBytesInAll() int { c := DefaultTunnel(); return c.bytes() }

// TestPoolOpens: keys that fill a pool and defend their places do not keep out one that comes again and again, and one that comes
// once displaces few of them.
func TestPoolOpens(t *testing.T) {
	p := newPool[uint64, int](poolWays, nil)
	for k := range uint64(poolWays) {
		at, _ := p.at(&k, k<<32|k, 0, int64(1e12))
		p.keep(at, 4, int64(1e12))
	}
	in := 0
	for k := range uint64(1000) {
		k += 100
		if at, _ := p.at(&k, k*0x9e3779b97f4a7c15&^(1<<32), int64(k), int64(1e12)); at >= 0 {
			in++
			p.keep(at, 4, int64(1e12))
		}
	}
	if in < 10 || in > 80 { // one in 32: 31 of a thousand, within four standard deviations and more
		t.Errorf("%d of 1000 newcomers found room among entries that weigh 4, want about 31", in)
	}
}
