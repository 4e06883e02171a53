package decode

// plain decodes the common frame in one straight line: untagged Ethernet, IPv4 without options and not a fragment, and TCP,
// or UDP on no tunnel's port. It returns false, with p untouched, for any other; the walk would give the same packet, at
// twice the cost.
func (d *Decoder) plain(f *Frame, p *Packet) bool {
	const l3, l4 = 14, 34
	if f.Link != LinkEthernet || f.Tags[0] != (Tag{}) || f.Tags[1] != (Tag{}) || len(f.Data) < l4+20 {
		return false
	}
	b := f.Data[: l4+20 : l4+20]
	wire := max(f.WireLen, uint32(len(f.Data)))
	total := uint32(be16(b[l3+2:]))
	proto := b[l3+9]
	if be16(b[12:]) != etherIPv4 || b[l3] != 0x45 || total < 40 || l3+total > wire || be16(b[l3+6:])&0x3fff != 0 {
		return false
	}
	end := min(l3+total, uint32(len(f.Data)))
	var head, payload uint32
	switch proto {
	case protoTCP:
		head = uint32(b[l4+12]>>4) * 4
		if head < 20 || l4+head > end {
			return false
		}
		payload = total - 20 - head
		p.Seq, p.Ack = be32(b[l4+4:]), be32(b[l4+8:])
		p.Flags = uint16(b[l4+12]&1)<<8 | uint16(b[l4+13])
		p.Window = be16(b[l4+14:])
		p.Opt = TCPOptions{}
		if head > 20 {
			p.Opt.parse(f.Data[l4+20 : l4+head])
		}
	case protoUDP:
		src, dst, size := be16(b[l4:]), be16(b[l4+2:]), uint32(be16(b[l4+4:]))
		if size < 8 || size > total-20 || tunnelPort(src) || tunnelPort(dst) || b[l4+8]>>4 == 6 {
			return false
		}
		head, payload = 8, size-8
		p.Seq, p.Ack, p.Flags, p.Window = 0, 0, 0, 0
	default:
		return false
	}

	p.Time, p.Data, p.WireLen = f.Time, f.Data, wire
	k := &p.Key
	from := uint64(be32(b[l3+12:]))<<16 | uint64(be16(b[l4:]))
	to := uint64(be32(b[l3+16:]))<<16 | uint64(be16(b[l4+2:]))
	first, second := min(from, to), max(from, to)
	p.Reverse = to < from
	k.A.Hi, k.A.Lo, k.PortA = 0, mapped|first>>16, uint16(first)
	k.B.Hi, k.B.Lo, k.PortB = 0, mapped|second>>16, uint16(second)
	k.Disc, k.Proto, k.Ver = 0, proto, 4
	pair := d.pair(k)
	p.Hash, p.Shard = d.hash(pair, k), shard(pair)
	p.L2, p.L3, p.L4, p.Payload, p.End = 0, l3, l4, l4+head, end
	p.IPLen, p.PayloadLen = total, payload
	p.FragID, p.FragOff = 0, 0
	p.IPID, p.Ether = be16(b[l3+4:]), etherIPv4
	p.VLAN, p.Tunnels, p.Why, p.Kind = [2]uint16{}, 0, WhyOK, KindIPv4
	p.Frag, p.MoreFrag, p.DF = false, false, b[l3+6]&0x40 != 0
	p.TTL, p.TOS, p.VLANs, p.Depth = b[l3+8], b[l3+1], 0, 0
	p.HasMAC, p.Cut, p.Outer = true, wire > uint32(len(f.Data)), false
	p.ICMPType, p.ICMPCode, p.ARPOp = 0, 0, 0
	p.HasQuote, p.QuoteReverse, p.QuoteSeq = false, false, 0
	return true
}
