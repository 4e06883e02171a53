package hunt

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"weir/decode"
	"weir/decode/conn"
)

// flow is a line of `weir replay --flows`, as far as it is used. Zeek's conn.log as JSON has most of it.
type flow struct {
	TS          float64 `json:"ts"`
	Orig        string  `json:"id.orig_h"`
	OrigPort    uint16  `json:"id.orig_p"`
	Resp        string  `json:"id.resp_h"`
	RespPort    uint16  `json:"id.resp_p"`
	Proto       string  `json:"proto"`
	IPProto     uint8   `json:"ip_proto"`
	Duration    float64 `json:"duration"`
	State       string  `json:"conn_state"`
	OrigPackets uint64  `json:"orig_pkts"`
	OrigIP      uint64  `json:"orig_ip_bytes"`
	OrigBytes   uint64  `json:"orig_bytes"`
	OrigRetrans uint32  `json:"orig_retrans"`
	OrigFlags   string  `json:"orig_flags"`
	RespPackets uint64  `json:"resp_pkts"`
	RespIP      uint64  `json:"resp_ip_bytes"`
	RespBytes   uint64  `json:"resp_bytes"`
	RespRetrans uint32  `json:"resp_retrans"`
	RespFlags   string  `json:"resp_flags"`
	Outer       bool    `json:"outer"`
	Midstream   bool    `json:"midstream"`
	OrigMoments moments `json:"orig_moments"`
	RespMoments moments `json:"resp_moments"`
}

type moments struct {
	N       uint32 `json:"n"`
	GapUs   uint64 `json:"gap_us"`
	GapSqMs uint64 `json:"gap_sq_ms2"`
}

// IsFlow tells whether a line is one of connections.
func IsFlow(line []byte) bool {
	var f struct {
		Orig *string `json:"id.orig_h"`
		Resp *string `json:"id.resp_h"`
	}
	return json.Unmarshal(line, &f) == nil && f.Orig != nil && f.Resp != nil
}

// ParseConnection reads a line of connections. ok is false for what is left out: the outer connections of tunnels.
func ParseConnection(line []byte) (c Connection, ok bool, err error) {
	var f flow
	if err := json.Unmarshal(line, &f); err != nil {
		return c, false, fmt.Errorf("not JSON of a connection: %w", err)
	}
	orig, err := netip.ParseAddr(f.Orig)
	if err != nil {
		return c, false, fmt.Errorf("id.orig_h %q is no address", short(f.Orig))
	}
	resp, err := netip.ParseAddr(f.Resp)
	if err != nil {
		return c, false, fmt.Errorf("id.resp_h %q is no address", short(f.Resp))
	}
	first, duration := f.TS*1e9, f.Duration*1e9
	if !(first >= 0 && duration >= 0 && first+duration < math.MaxInt64) {
		return c, false, errors.New("ts or duration is no time")
	}
	c = Connection{
		First: int64(first), Last: int64(first) + int64(duration), OrigPort: f.OrigPort, RespPort: f.RespPort, Proto: f.protocol(), Ver: 6,
		Midstream: f.Midstream,
		O:         Side{Packets: f.OrigPackets, Bytes: f.OrigIP, Payload: f.OrigBytes, Retrans: f.OrigRetrans, N: f.OrigMoments.N, Flags: flags(f.OrigFlags)},
		R:         Side{Packets: f.RespPackets, Bytes: f.RespIP, Payload: f.RespBytes, Retrans: f.RespRetrans, N: f.RespMoments.N, Flags: flags(f.RespFlags)},
	}
	c.O.gaps(float64(f.OrigMoments.GapUs)/1e3, float64(f.OrigMoments.GapSqMs))
	c.R.gaps(float64(f.RespMoments.GapUs)/1e3, float64(f.RespMoments.GapSqMs))
	if orig.Unmap().Is4() && resp.Unmap().Is4() {
		c.Ver = 4
	}
	c.Orig, c.Resp = packed(orig), packed(resp)
	for s := conn.StateOTH; s <= conn.StateSHR; s++ {
		if s.String() == f.State {
			c.State = s
		}
	}
	return c, !f.Outer, nil
}

func (f *flow) protocol() uint8 {
	switch {
	case f.IPProto != 0:
		return f.IPProto
	case f.Proto == "tcp":
		return tcp
	case f.Proto == "udp":
		return udp
	case f.Proto == "icmp":
		return 1
	}
	return 0
}

// flags reads tcpdump's letters.
func flags(s string) (set uint16) {
	for _, letter := range s {
		for i, l := range "FSRPAUEWe" {
			if l == letter {
				set |= 1 << i
			}
		}
	}
	return set
}

func packed(a netip.Addr) decode.Addr {
	b := a.As16()
	var out decode.Addr
	for i := range 8 {
		out.Hi = out.Hi<<8 | uint64(b[i])
		out.Lo = out.Lo<<8 | uint64(b[8+i])
	}
	return out
}

// short is a text as an error may quote it.
func short(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
