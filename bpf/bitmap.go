//go:build linux

package bpf

import (
	"encoding/binary"
	"sync/atomic"
)

// bitmap is one of the program's bitmaps, and how many entries stand behind each of its bits. A bit whose count once reached
// the limit of its number stays set: that costs look-ups, never a verdict.
type bitmap struct {
	words  []uint64                         // the map's memory, bits / 64
	counts [bitmapBits >> 8]*[1 << 8]uint16 // grown on use, to 32 MiB at most
}

const bitmapBits = 1 << 24

// span is a run of bits.
type span struct{ first, n uint32 }

// add counts an entry and sets its bits. The entry is inserted after.
func (b *bitmap) add(s span) {
	for i := s.first; i < s.first+s.n; i++ {
		page := b.counts[i>>8]
		if page == nil {
			page = new([1 << 8]uint16)
			b.counts[i>>8] = page
		}
		switch page[i&255]++; page[i&255] {
		case 0:
			page[i&255]-- // full for good
		case 1:
			atomic.OrUint64(&b.words[i>>6], 1<<(i&63))
		}
	}
}

// remove is the reverse, after the entry was deleted.
func (b *bitmap) remove(s span) {
	for i := s.first; i < s.first+s.n; i++ {
		page := b.counts[i>>8]
		if page == nil || page[i&255] == 0 || page[i&255] == 1<<16-1 {
			continue
		}
		if page[i&255]--; page[i&255] == 0 {
			atomic.AndUint64(&b.words[i>>6], ^uint64(1<<(i&63)))
		}
	}
}

// clearUncounted clears all bits behind which nothing stands.
func (b *bitmap) clearUncounted() {
	for w := range b.words {
		var want uint64
		if page := b.counts[w>>2]; page != nil {
			for i, n := range page[w&3<<6 : w&3<<6+64] {
				if n > 0 {
					want |= 1 << i
				}
			}
		}
		atomic.StoreUint64(&b.words[w], want)
	}
}

// hash48 is the bit of a /48 in bits6, as in the program.
func hash48(addr []byte) uint32 {
	return uint32((binary.BigEndian.Uint64(addr) >> 16) * 0x9e3779b97f4a7c15 >> 40)
}

// spanOf4 is the /24s of an IPv4 prefix.
func spanOf4(addr [4]byte, bits int) span {
	return span{binary.BigEndian.Uint32(addr[:]) >> 8, 1 << max(24-bits, 0)}
}

// spanOf6 is the bit of an IPv6 prefix, none if it is shorter than /48.
func spanOf6(addr [16]byte, bits int) span {
	if bits < 48 {
		return span{}
	}
	return span{hash48(addr[:]), 1}
}
