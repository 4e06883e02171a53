package tally

import (
	"encoding/binary"
	"math/bits"

	"weir/decode"
)

// keys are the words that all hashes of a shard are keyed with. They follow from the sketch key alone, so that sketches of
// several shards and machines unite.
type keys [4]uint64

// newKeys stretches one word to four by SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
// OOPSLA 2014).
func newKeys(seed uint64) (k keys) {
	for i := range k {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		k[i] = z ^ z>>31
	}
	return k
}

// fold multiplies to 128 bits and folds the halves, as wyhash does; 1 ns.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// addr hashes an address: two rounds, because the registers of a sketch want every bit good also for addresses in a row.
func (k *keys) addr(a decode.Addr) uint64 {
	return fold(fold(a.Hi^k[0], a.Lo^k[1])^k[2], a.Lo^k[3])
}

// addrWith hashes an address and one more word.
func (k *keys) addrWith(a decode.Addr, x uint64) uint64 {
	return fold(fold(a.Hi^k[0], a.Lo^k[1])^x, k[2])
}

// word hashes one word.
func (k *keys) word(x uint64) uint64 { return fold(fold(x^k[1], k[0])^k[3], k[2]) }

// port hashes a port of a protocol.
func (k *keys) port(proto uint8, port uint16) uint64 { return k.word(uint64(proto)<<16 | uint64(port)) }

// text hashes a text, never to 0.
func (k *keys) text(b []byte) uint64 {
	h := k[0] ^ uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h = fold(h^binary.LittleEndian.Uint64(b), k[1])
	}
	var rest [8]byte
	copy(rest[:], b)
	h = fold(fold(h^binary.LittleEndian.Uint64(rest[:]), k[2])^k[3], k[1])
	return max(h, 1)
}
