package conn

import "strconv"

// ZeekHeader returns the header lines of the log that AppendZeek's rows make: Zeek's conn.log (its ASCII writer's
// defaults) with the columns of https://docs.zeek.org/en/master/logs/conn.html, and community_id at the end as Zeek's
// policy/protocols/conn/community-id-logging adds it.
func ZeekHeader() []byte {
	return []byte("#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n" +
		"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\t" +
		"conn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\t" +
		"tunnel_parents\tip_proto\tcommunity_id\n" +
		"#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\t" +
		"string\tbool\tbool\tcount\tstring\tcount\tcount\tcount\tcount\tset[string]\tcount\tstring\n")
}

// AppendZeek appends the record as a row of conn.log, with its newline. Duration and payload bytes are unset where Zeek
// leaves them unset: where all packets came at one time. local_orig, local_resp and tunnel_parents are not known here.
func (r *Record) AppendZeek(b []byte) []byte {
	num := func(n uint64) {
		b = append(strconv.AppendUint(b, n, 10), '\t')
	}
	text := func(s string) {
		if s == "" {
			s = "-"
		}
		b = append(append(b, s...), '\t')
	}
	b = append(appendMicros(b, r.First), '\t')
	b = append(r.UID(b), '\t')
	b = append(appendAddr(b, r.Orig, r.Ver), '\t')
	num(uint64(r.OrigPort))
	b = append(appendAddr(b, r.Resp, r.Ver), '\t')
	num(uint64(r.RespPort))
	text(r.protoName())
	text(r.Service())
	if r.Last > r.First {
		b = append(appendMicros(b, r.Last-r.First), '\t')
		num(r.O.Bytes)
		num(r.R.Bytes)
	} else {
		b = append(b, "-\t-\t-\t"...)
	}
	text(r.State.String())
	b = append(b, "-\t-\t"...)
	num(r.O.Gap + r.R.Gap)
	if r.HistLen == 0 {
		text("")
	} else {
		b = append(append(b, r.Hist[:r.HistLen]...), '\t')
	}
	num(r.O.Packets)
	num(r.O.IPBytes)
	num(r.R.Packets)
	num(r.R.IPBytes)
	b = append(b, "-\t"...)
	num(uint64(r.Proto))
	return append(r.CommunityID(b, 0), '\n')
}

// protoName is Zeek's transport_proto.
func (r *Record) protoName() string {
	switch r.Proto {
	case protoTCP:
		return "tcp"
	case protoUDP:
		return "udp"
	case protoICMP, protoICMP6:
		return "icmp"
	}
	return "unknown_transport"
}

// appendMicros appends seconds with six digits behind the point, rounded as printf rounds.
func appendMicros(b []byte, ns int64) []byte {
	us := (ns + 500) / 1000
	b = strconv.AppendInt(b, us/1e6, 10)
	b = append(b, '.')
	for div := int64(1e5); div > 0; div /= 10 {
		b = append(b, byte('0'+us/div%10))
	}
	return b
}
