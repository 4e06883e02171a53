package decode

import "math/bits"

// expand derives the secret words of the hash from a seed (SplitMix64, Steele et al. 2014).
func expand(seed uint64) (s [5]uint64) {
	for i := range s {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		s[i] = z ^ z>>31
	}
	return s
}

// seal brings the key, written as sender and receiver, into canonical order and hashes it.
func (d *Decoder) seal(p *Packet) {
	p.Reverse, p.Shard = false, 0
	if p.Kind == KindNone {
		return
	}
	p.Reverse = p.Key.order()
	pair := d.pair(&p.Key)
	p.Hash = d.hash(pair, &p.Key)
	if p.HasQuote {
		p.QuoteReverse = p.Quote.order()
		pair = d.pair(&p.Quote)
		p.QuoteHash = d.hash(pair, &p.Quote)
	}
	p.Shard = shard(pair)
}

// order puts the smaller end first and reports whether it had to swap. Without a branch: the direction of the next packet
// cannot be predicted.
func (k *Key) order() bool {
	_, less := bits.Sub64(uint64(k.PortB), uint64(k.PortA), 0)
	_, less = bits.Sub64(k.B.Lo, k.A.Lo, less)
	_, less = bits.Sub64(k.B.Hi, k.A.Hi, less)
	mask := -less
	hi, lo, port := (k.A.Hi^k.B.Hi)&mask, (k.A.Lo^k.B.Lo)&mask, (k.PortA^k.PortB)&uint16(mask)
	k.A.Hi ^= hi
	k.B.Hi ^= hi
	k.A.Lo ^= lo
	k.B.Lo ^= lo
	k.PortA ^= port
	k.PortB ^= port
	return less != 0
}

// pair hashes the address pair of a key in canonical order by a keyed multiply-fold as in wyhash
// (https://github.com/wangyi-fudan/wyhash): 1 to 2 ns, and unlike a CRC not linear.
func (d *Decoder) pair(k *Key) uint64 {
	s := &d.secret
	return mum(k.A.Hi^s[0], k.A.Lo^s[1]) ^ mum(k.B.Hi^s[2], k.B.Lo^s[3])
}

// hash completes the hash of a key from that of its address pair. The multiply-fold alone leaves low bits that step evenly for
// ports in a row: with an unlucky seed a port scan falls into a few sets of the half-open table. So its bits are spread
// upwards once more, and the tables, which take the low ones, get the highest.
func (d *Decoder) hash(pair uint64, k *Key) uint64 {
	rest := uint64(k.PortA)<<48 | uint64(k.PortB)<<32 | uint64(k.Disc)
	return bits.ReverseBytes64(mum(pair^(uint64(k.Proto)<<8|uint64(k.Ver)), rest^d.secret[4]) * 0x9e3779b97f4a7c15)
}

// shard takes the top bits of a multiplicative (Fibonacci) hash.
func shard(pair uint64) uint8 { return uint8(pair * 0x9e3779b97f4a7c15 >> (64 - 6)) }

// The shift in shard takes 6 bits.
var _ = [1]struct{}{}[Shards-1<<6]

// mum multiplies to 128 bits and folds the halves.
func mum(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// fold adds an identifier to a key's discriminator. Two VLAN ids are kept exactly. The discriminator takes the VLAN ids of
// the innermost link layer and the network identifier of VXLAN and GENEVE, which both directions of a connection share.
// Tunnel endpoint ids of GTP, sessions of L2TP and ERSPAN and keys of GRE may differ by direction and are left out.
func fold(disc, id uint32) uint32 { return bits.RotateLeft32(disc, 12) ^ id }
