package conn

// record builds the record of a connection that ends and hands it over.
func (s *shard) record(c *conn, why Close, out *Out) {
	if out.Record == nil {
		return
	}
	o, r := &c.side[0], &c.side[1]
	s.rec = Record{
		First: c.first, Last: max(c.last, c.first),
		Orig: c.a, Resp: c.b, OrigPort: c.portA, RespPort: c.portB,
		Proto: c.proto, Ver: c.ver, Shard: s.id, State: c.state(), Close: why,
		Outer: c.bits&bitOuter != 0, Proven: c.bits&bitProven != 0, Midstream: c.bits&bitMidstream != 0, App: c.app,
		Disc: c.disc, VLAN: c.vlan, Tunnels: c.tunnels, RTT: c.rtt, HistLen: c.histLen,
		O: o.dir(r, c.proto), R: r.dir(o, c.proto),
	}
	if c.bits&bitOrigB != 0 {
		s.rec.Orig, s.rec.Resp, s.rec.OrigPort, s.rec.RespPort = c.b, c.a, c.portB, c.portA
	}
	copy(s.rec.Hist[:], c.hist[:c.histLen])
	if n := c.more & slotMask; n != 0 {
		s.extras.at(int(n - 1)).fill(&s.rec)
	}
	out.Record(&s.rec)
}

func (x *side) dir(peer *side, proto uint8) Dir {
	d := Dir{
		Packets: uint64(x.packets), IPBytes: x.ipBytes, Retrans: uint32(x.retrans), ZeroWindow: uint32(x.zero),
		Flags: x.flags & flagMask,
	}
	if proto == protoTCP {
		d.Bytes, d.Gap = x.size(peer), uint64(x.gap)
	} else {
		d.Bytes, d.Flags = x.bytes(), 0
	}
	return d
}

func (x *extra) fill(rec *Record) {
	rec.NFirst = x.n
	for i := range x.n {
		rec.FirstPayload[i] = Payload{Gap: x.gap[i], Size: x.size[i], Orig: x.orig>>i&1 != 0}
	}
	moments := func(m *sums) Moments {
		return Moments{N: m.n, Size: m.size, SizeSq: m.sizeSq, GapSum: m.gapSum, GapSqMs: m.gapSqMs}
	}
	rec.MomO, rec.MomR = moments(&x.side[0]), moments(&x.side[1])
}
