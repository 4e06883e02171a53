package store

import "weir/decode/conn"

// Words of records, and what they mean.
var (
	states  = words(conn.StateOTH, conn.StateSHR)
	closes  = words(conn.CloseEnd, conn.CloseFinal)
	actions = words(conn.ActionAccept, conn.ActionShadow)
	apps    = words(conn.AppNone+1, conn.AppCount-1)
)

type named interface {
	~uint8
	String() string
}

func words[T named](first, last T) map[string]T {
	m := map[string]T{}
	for v := first; v <= last; v++ {
		m[v.String()] = v
	}
	return m
}

// record fills in what the columns that were read tell of a row. A word that this version does not know is that of the zero value.
func (g *group) record(i int, have Columns, r *conn.Record) {
	*r = conn.Record{}
	if have&ColTime != 0 {
		r.First = g.ints["ts"][i]*1000 + g.ints["ts_ns"][i]
		r.Last = r.First + g.ints["duration_us"][i]*1000
	}
	r.Orig, r.OrigPort = g.addr("orig_h", i), uint16(g.ints["orig_p"][i])
	r.Resp, r.RespPort = g.addr("resp_h", i), uint16(g.ints["resp_p"][i])
	r.Proto, r.Ver = uint8(g.ints["ip_proto"][i]), uint8(g.ints["ver"][i])
	if have&ColLink != 0 {
		r.VLAN = [2]uint16{uint16(g.ints["vlan"][i]), uint16(g.ints["vlan_inner"][i])}
		r.Disc, r.Outer = uint32(g.ints["disc"][i]), g.ints["outer"][i] != 0
		if names := g.word("tunnels", i); names != "" {
			r.Tunnels = conn.ParseTunnels(names)
		}
	}
	if have&ColService != 0 {
		if name := g.word("service", i); name != r.Service() {
			r.App = apps[name]
		}
	}
	if have&ColState != 0 {
		r.State, r.Close, r.Action = states[g.word("conn_state", i)], closes[g.word("close", i)], actions[g.word("action", i)]
		r.HistLen = uint8(copy(r.Hist[:], g.word("history", i)))
		r.Proven, r.Midstream = g.ints["proven"][i] != 0, g.ints["midstream"][i] != 0
	}
	g.side("orig_", i, have, &r.O)
	g.side("resp_", i, have, &r.R)
	if have&ColTCP != 0 {
		r.RTT = uint32(g.ints["rtt_us"][i])
	}
}

func (g *group) side(prefix string, i int, have Columns, d *conn.Dir) {
	if have&ColPackets != 0 {
		d.Packets = uint64(g.ints[prefix+"pkts"][i])
	}
	if have&ColIPBytes != 0 {
		d.IPBytes = uint64(g.ints[prefix+"ip_bytes"][i])
	}
	if have&ColBytes != 0 {
		d.Bytes = uint64(g.ints[prefix+"bytes"][i])
	}
	if have&ColTCP != 0 {
		d.Gap = uint64(g.ints[prefix+"gap"][i])
		d.Retrans, d.ZeroWindow = uint32(g.ints[prefix+"retrans"][i]), uint32(g.ints[prefix+"zero_window"][i])
		d.Flags = conn.ParseFlags(g.word(prefix+"flags", i))
	}
}
