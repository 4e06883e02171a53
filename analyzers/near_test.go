package analyzers

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// TestNearest holds what is kept against a sort of all that was offered within the last seconds.
func TestNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n nearest
		now := int64(0)
		newest := map[byte]Near{}
		for range rapid.IntRange(1, 200).Draw(t, "offers") {
			now += rapid.Int64Range(0, 1e9).Draw(t, "later")
			who := rapid.ByteRange(0, 40).Draw(t, "who")
			value := rapid.Float64Range(0, 1.5).Draw(t, "value")
			x := Near{Subject: Party{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, who}), 32)}, Value: value, Threshold: 1, Time: now}
			if n.wants(x.Share()) {
				n.put(x)
				newest[who] = x
			}
		}
		last, seen := 2.0, 0
		n.each(now, func(x *Near) {
			seen++
			if x.Share() > last || x.Share() < nearFrom || x.Share() >= 1 {
				t.Fatalf("share %v after %v", x.Share(), last)
			}
			if now-x.Time > nearKeep {
				t.Fatalf("%v ns old", now-x.Time)
			}
			if who := x.Subject.Prefix.Addr().As4()[3]; newest[who] != *x {
				t.Fatalf("%v is not the newest of %d: %v", *x, who, newest[who])
			}
			last = x.Share()
		})
		if seen > nearPlaces {
			t.Fatalf("%d places", seen)
		}
	})
}

// TestNearestKeepsHighest: with more than there is room for, the highest stay.
func TestNearestKeepsHighest(t *testing.T) {
	var n nearest
	for i := range 100 {
		share := float64(i*37%100) / 101
		if n.wants(share) {
			n.put(Near{Kind: string(rune('a' + i)), Value: share, Threshold: 1})
		}
	}
	least := 1.0
	n.each(0, func(x *Near) { least = min(least, x.Share()) })
	if len(n.list) != nearPlaces || least < float64(100-nearPlaces)/101-1e-9 {
		t.Errorf("%d kept, the least %v", len(n.list), least)
	}
}
