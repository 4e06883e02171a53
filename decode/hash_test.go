package decode

import (
	"math"
	"math/bits"
	"testing"
)

// TestSpread hashes 65,536 flows of consecutive addresses or ports, as scans and carpet bombing make them: shards and the
// low bits of hashes fill as by chance (each count within six standard deviations of a binomial).
func TestSpread(t *testing.T) {
	const n = 1 << 16
	for name, key := range map[string]func(i uint64) Key{
		"sources": func(i uint64) Key {
			return Key{A: Addr{0, mapped | 0x0a000000 + i}, B: Addr{0, mapped | 0xc0000201}, Proto: 6, Ver: 4}
		},
		"subnets": func(i uint64) Key {
			return Key{A: Addr{0, mapped | i<<16}, B: Addr{0, mapped | 0xffffffff}, Proto: 6, Ver: 4}
		},
		"both": func(i uint64) Key {
			return Key{A: Addr{0, mapped | i}, B: Addr{0, mapped | 1<<24 + i}, Proto: 6, Ver: 4}
		},
		"ipv6": func(i uint64) Key {
			return Key{A: Addr{0x20010db8 << 32, i}, B: Addr{0x20010db8<<32 | 1, 1}, Proto: 17, Ver: 6}
		},
		"ports": func(i uint64) Key { return Key{B: Addr{0, mapped | 1}, PortA: uint16(i), PortB: 80, Proto: 6, Ver: 4} },
	} {
		for seed := range uint64(3) {
			d := NewDecoder(seed)
			var shards, low, high [Shards]int
			seen := make(map[uint64]bool, n)
			for i := range uint64(n) {
				k := key(i)
				pair := d.pair(&k)
				h := d.hash(pair, &k)
				shards[shard(pair)]++
				low[h%Shards]++
				high[h>>58]++
				seen[h] = true
			}
			if len(seen) != n {
				t.Errorf("%s: %d hashes of %d keys", name, len(seen), n)
			}
			for what, counts := range map[string]*[Shards]int{"shards": &shards, "low bits": &low, "high bits": &high} {
				if what == "shards" && name == "ports" {
					continue // of one address pair
				}
				mean := float64(n) / Shards
				for i, c := range counts {
					if math.Abs(float64(c)-mean) > 6*math.Sqrt(mean) {
						t.Errorf("%s: %s: %d of %d in %d", name, what, c, n, i)
					}
				}
			}
		}
	}
}

// TestAvalanche flips each bit of a key: about half of the hash's bits change.
func TestAvalanche(t *testing.T) {
	d := NewDecoder(1)
	base := Key{A: Addr{1, 2}, B: Addr{3, 4}, PortA: 5, PortB: 6, Disc: 7, Proto: 8, Ver: 6}
	hash := func(k Key) uint64 { return d.hash(d.pair(&k), &k) }
	flip := func(name string, size int, change func(k *Key, bit uint64)) {
		for i := range size {
			k := base
			change(&k, 1<<i)
			if n := bits.OnesCount64(hash(k) ^ hash(base)); n < 12 || n > 52 { // 5 standard deviations of 32 ± 4
				t.Errorf("%s bit %d changes %d bits", name, i, n)
			}
		}
	}
	flip("A.Hi", 64, func(k *Key, b uint64) { k.A.Hi ^= b })
	flip("A.Lo", 64, func(k *Key, b uint64) { k.A.Lo ^= b })
	flip("B.Hi", 64, func(k *Key, b uint64) { k.B.Hi ^= b })
	flip("B.Lo", 64, func(k *Key, b uint64) { k.B.Lo ^= b })
	flip("PortA", 16, func(k *Key, b uint64) { k.PortA ^= uint16(b) })
	flip("PortB", 16, func(k *Key, b uint64) { k.PortB ^= uint16(b) })
	flip("Disc", 32, func(k *Key, b uint64) { k.Disc ^= uint32(b) })
	flip("Proto", 8, func(k *Key, b uint64) { k.Proto ^= uint8(b) })
	flip("Ver", 8, func(k *Key, b uint64) { k.Ver ^= uint8(b) })
}
