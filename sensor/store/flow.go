package store

import (
	"weir/decode"
	"weir/decode/conn"
)

// flow is a row of the flow files. Names are those of the JSON form (conn.Record.AppendJSON) without its "id."; integers are
// signed and times whole microseconds, which Spark and Trino read, too. The encodings were measured: docs/flows.md has the figures.
//
// Payloads and moments are not kept: they cost more than all the rest. uid, community_id and missed_bytes follow from what is.
type flow struct {
	TS       int64 `parquet:"ts,timestamp(microsecond),delta"`
	Ended    int64 `parquet:"ended,timestamp(microsecond),delta"`
	Nanos    int32 `parquet:"ts_ns,dict"` // of ts, beyond the microsecond
	Duration int64 `parquet:"duration_us,plain"`

	OrigH   string `parquet:"orig_h,dict"`
	OrigP   int32  `parquet:"orig_p,delta"`
	RespH   string `parquet:"resp_h,dict"`
	RespP   int32  `parquet:"resp_p,dict"`
	Proto   string `parquet:"proto,dict"`
	IPProto int32  `parquet:"ip_proto,dict"`
	Ver     int32  `parquet:"ver,dict"`
	Service string `parquet:"service,dict"`
	State   string `parquet:"conn_state,dict"`
	History string `parquet:"history,dict"`

	OrigPkts    int64  `parquet:"orig_pkts,delta"`
	OrigIPBytes int64  `parquet:"orig_ip_bytes,plain"`
	OrigBytes   int64  `parquet:"orig_bytes,plain"`
	OrigGap     int64  `parquet:"orig_gap,dict"`
	OrigRetrans int64  `parquet:"orig_retrans,dict"`
	OrigZero    int64  `parquet:"orig_zero_window,dict"`
	OrigFlags   string `parquet:"orig_flags,dict"`
	RespPkts    int64  `parquet:"resp_pkts,delta"`
	RespIPBytes int64  `parquet:"resp_ip_bytes,plain"`
	RespBytes   int64  `parquet:"resp_bytes,plain"`
	RespGap     int64  `parquet:"resp_gap,dict"`
	RespRetrans int64  `parquet:"resp_retrans,dict"`
	RespZero    int64  `parquet:"resp_zero_window,dict"`
	RespFlags   string `parquet:"resp_flags,dict"`

	Close     string `parquet:"close,dict"`
	Action    string `parquet:"action,dict"`
	Outer     bool   `parquet:"outer"`
	Proven    bool   `parquet:"proven"`
	Midstream bool   `parquet:"midstream"`
	Disc      int64  `parquet:"disc,dict"`
	VLAN      int32  `parquet:"vlan,dict"`
	VLANInner int32  `parquet:"vlan_inner,dict"`
	Tunnels   string `parquet:"tunnels,dict"`
	RTT       int64  `parquet:"rtt_us,plain"`
}

// fill makes the row of a record.
func (f *flow) fill(r *conn.Record, texts *texts) {
	*f = flow{
		TS: r.First / 1000, Ended: r.Last / 1000, Nanos: int32(r.First % 1000), Duration: (r.Last - r.First + 500) / 1000,
		OrigH: texts.address(r.Orig, r.Ver), OrigP: int32(r.OrigPort), RespH: texts.address(r.Resp, r.Ver), RespP: int32(r.RespPort),
		Proto: r.ProtoName(), IPProto: int32(r.Proto), Ver: int32(r.Ver), Service: r.Service(), State: r.State.String(),
		History:  texts.history(r),
		OrigPkts: int64(r.O.Packets), OrigIPBytes: int64(r.O.IPBytes), OrigBytes: int64(r.O.Bytes), OrigGap: int64(r.O.Gap),
		OrigRetrans: int64(r.O.Retrans), OrigZero: int64(r.O.ZeroWindow), OrigFlags: texts.flags(r.O.Flags),
		RespPkts: int64(r.R.Packets), RespIPBytes: int64(r.R.IPBytes), RespBytes: int64(r.R.Bytes), RespGap: int64(r.R.Gap),
		RespRetrans: int64(r.R.Retrans), RespZero: int64(r.R.ZeroWindow), RespFlags: texts.flags(r.R.Flags),
		Close: r.Close.String(), Action: r.Action.String(), Outer: r.Outer, Proven: r.Proven, Midstream: r.Midstream,
		Disc: int64(r.Disc), VLAN: int32(r.VLAN[0]), VLANInner: int32(r.VLAN[1]), RTT: int64(r.RTT),
	}
	if r.Tunnels != 0 {
		f.Tunnels = conn.TunnelNames(r.Tunnels)
	}
}

// textsKept is how many addresses, and how many histories, keep their text: a power of two. Some 2 MB.
const textsKept = 1 << 14

// texts remembers the text of what comes often: each place holds the last that fell on it.
type texts struct {
	addresses [textsKept]addressText
	histories [textsKept / 16]historyText
	flag      [1 << 9]string
}

type addressText struct {
	addr decode.Addr
	ver  uint8
	text string
}

type historyText struct {
	letters [32]byte
	text    string
}

const golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio: spreads what is alike

func (t *texts) address(a decode.Addr, ver uint8) string {
	at := &t.addresses[(a.Hi*golden^a.Lo)*golden>>50]
	if at.text == "" || at.addr != a || at.ver != ver {
		*at = addressText{a, ver, a.Netip(ver).String()}
	}
	return at.text
}

func (t *texts) history(r *conn.Record) string {
	h := uint64(r.HistLen)
	for _, letter := range r.Hist[:r.HistLen] {
		h = (h ^ uint64(letter)) * golden
	}
	at := &t.histories[h>>54]
	if len(at.text) != int(r.HistLen) || at.letters != r.Hist {
		*at = historyText{r.Hist, r.History()}
	}
	return at.text
}

func (t *texts) flags(set uint16) string {
	at := &t.flag[set%uint16(len(t.flag))]
	if set != 0 && *at == "" {
		*at = conn.FlagLetters(set)
	}
	return *at
}
