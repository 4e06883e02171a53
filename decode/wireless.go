package decode

const avsMagic = 0x80211001 // first word of an AVS header; the low byte is its version

// wireless reads what a capturing driver puts before an 802.11 header.
func (w *walk) wireless(t LinkType) {
	switch t {
	case LinkRadiotap:
		w.radiotap(0)
	case LinkPrism, LinkAVS:
		w.prism(0)
	default:
		w.ieee80211(0, false)
	}
}

// prism reads the Prism header, its words in the order of the capturing host, or the AVS header, big endian: drivers wrote
// either under both link types.
func (w *walk) prism(off int) {
	if !w.need(off, 8) {
		return
	}
	size := be32(w.b[off+4:])
	if be32(w.b[off:])&^0xff != avsMagic&^0xff && size > 0xffff {
		size = size>>24 | size>>8&0xff00
	}
	if size < 8 || size > 0xffff {
		w.stop(WhyLength)
		return
	}
	w.ieee80211(off+int(size), false)
}

// radiotap reads a radiotap header (https://www.radiotap.org): only its length and whether the driver padded the 802.11
// header to four bytes.
func (w *walk) radiotap(off int) {
	if !w.need(off, 8) {
		return
	}
	size := int(w.b[off+3])<<8 | int(w.b[off+2])
	if size < 8 {
		w.stop(WhyLength)
		return
	}
	if !w.need(off, size) {
		return
	}
	const tsft, flags, more = 0x01, 0x02, 0x80 // bits of the first presence word: its bytes are little endian
	h := w.b[off : off+size]
	first, field := h[4], 8
	for word := 4; h[word+3]&more != 0; field += 4 {
		word += 4
		if word+4 > size {
			w.stop(WhyLength)
			return
		}
		if field == 4*maxAttributes {
			w.stop(WhyDepth)
			return
		}
	}
	if first&tsft != 0 {
		field = (field+7)&^7 + 8
	}
	padded := first&flags != 0 && field < size && h[field]&0x20 != 0
	w.ieee80211(off+size, padded)
}

// ieee80211 reads the header of a data frame (IEEE 802.11-2020 section 9.3.2) and the LLC header behind it. Of an
// aggregate (A-MSDU) it reads the first packet.
func (w *walk) ieee80211(off int, padded bool) {
	if !w.need(off, 2) {
		return
	}
	const (
		typeMask, typeData             = 0x0f, 0x08 // protocol version 0, type 2
		subtypeNull, subtypeQoS        = 0x40, 0x80
		toDS, fromDS, protected, order = 0x01, 0x02, 0x40, 0x80
	)
	control, flags := w.b[off], w.b[off+1]
	switch {
	case control&typeMask != typeData || control&subtypeNull != 0:
		w.stop(WhyNotIP)
		return
	case flags&protected != 0:
		w.stop(WhyEncrypted)
		return
	}
	size := 24
	if flags&(toDS|fromDS) == toDS|fromDS {
		size += 6
	}
	aggregate := false
	if control&subtypeQoS != 0 {
		if !w.need(off, size+2) {
			return
		}
		aggregate = w.b[off+size]&0x80 != 0
		size += 2
		if flags&order != 0 {
			size += 4
		}
	}
	if padded {
		size = (size + 3) &^ 3
	}
	off += size
	if aggregate {
		off += 14
	}
	w.llc(off)
}
