package decode

import "testing"

// TestHashOfPortsInARow spreads 200 ports in a row of one address pair over 256 sets by the low bits of their hash, for many
// seeds: at random, eight or more in one set happen once in 1,400 times, and 14 once in 10¹¹.
func TestHashOfPortsInARow(t *testing.T) {
	for seed := range uint64(2000) {
		d := NewDecoder(seed * 0x9e3779b97f4a7c15)
		k := Key{A: Addr{Lo: 0xffff0a140001}, B: Addr{Lo: 0xffffc6336417}, PortA: 61234, Proto: 6, Ver: 4}
		var sets [256]int
		for port := range uint16(200) {
			k.PortB = 1 + port
			at := &sets[d.hash(d.pair(&k), &k)%256]
			if *at++; *at == 14 {
				t.Fatalf("seed %d: 14 of 200 ports fall into one set", seed)
			}
		}
	}
}
