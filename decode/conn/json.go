package conn

import (
	"strconv"

	"weir/decode"
)

var closeNames = [...]string{"end", "idle", "evicted", "reuse", "final"}

// String is the reason's name in records.
func (c Close) String() string { return closeNames[c] }

var actionNames = [...]string{"accept", "drop", "shadow"}

// String is the action's name in records.
func (a Action) String() string { return actionNames[a] }

// AppendJSON appends the record as a JSON object and a newline. Names are Zeek's conn.log ones where it has them, with
// their meaning: ts and duration in seconds, orig_ and resp_ for the sides. Besides: ver (4, 6), close (end, idle,
// evicted, reuse, final), action, outer, proven, midstream, disc, vlan, tunnels, rtt (seconds), community_id; for each
// side gap, retrans, zero_window, flags (tcpdump's letters); payloads, the first ten packets with payload as
// [bytes, gap in µs, 1 if the originator's]; and orig_moments and resp_moments: n, size, size_sq, gap_us, gap_sq_ms2.
// What is false, zero or unknown is left out, but for the columns of conn.log that are always set.
func (r *Record) AppendJSON(b []byte) []byte {
	j := object{append(b, '{')}
	j.key("ts")
	j.b = appendMicros(j.b, r.First)
	j.key("uid")
	j.b = append(r.UID(append(j.b, '"')), '"')
	j.key("id.orig_h")
	j.b = append(appendAddr(append(j.b, '"'), r.Orig, r.Ver), '"')
	j.number("id.orig_p", uint64(r.OrigPort))
	j.key("id.resp_h")
	j.b = append(appendAddr(append(j.b, '"'), r.Resp, r.Ver), '"')
	j.number("id.resp_p", uint64(r.RespPort))
	j.text("proto", r.protoName())
	j.number("ip_proto", uint64(r.Proto))
	j.number("ver", uint64(r.Ver))
	j.text("service", r.Service())
	if r.Last > r.First {
		j.key("duration")
		j.b = appendMicros(j.b, r.Last-r.First)
	}
	j.text("conn_state", r.State.String())
	j.text("history", r.History())
	j.number("missed_bytes", r.O.Gap+r.R.Gap)
	j.side("orig_", &r.O)
	j.side("resp_", &r.R)
	j.rest(r)
	j.key("community_id")
	j.b = append(r.CommunityID(append(j.b, '"'), 0), '"')
	return append(j.b, '}', '\n')
}

// rest appends what conn.log does not have.
func (j *object) rest(r *Record) {
	j.text("close", r.Close.String())
	j.text("action", r.Action.String())
	j.flag("outer", r.Outer)
	j.flag("proven", r.Proven)
	j.flag("midstream", r.Midstream)
	j.nonzero("disc", uint64(r.Disc))
	if r.VLAN != [2]uint16{} {
		j.key("vlan")
		j.b = append(j.b, '[')
		j.b = strconv.AppendUint(j.b, uint64(r.VLAN[0]), 10)
		if r.VLAN[1] != 0 {
			j.b = strconv.AppendUint(append(j.b, ','), uint64(r.VLAN[1]), 10)
		}
		j.b = append(j.b, ']')
	}
	j.tunnels(r.Tunnels)
	if r.RTT != 0 {
		j.key("rtt")
		j.b = appendMicros(j.b, int64(r.RTT)*1e3)
	}
	j.payloads(r)
	j.moments("orig_moments", &r.MomO)
	j.moments("resp_moments", &r.MomR)
}

func (j *object) side(prefix string, d *Dir) {
	j.number(prefix+"pkts", d.Packets)
	j.number(prefix+"ip_bytes", d.IPBytes)
	j.number(prefix+"bytes", d.Bytes)
	j.nonzero(prefix+"gap", d.Gap)
	j.nonzero(prefix+"retrans", uint64(d.Retrans))
	j.nonzero(prefix+"zero_window", uint64(d.ZeroWindow))
	if d.Flags != 0 {
		j.key(prefix + "flags")
		j.b = append(j.b, '"')
		for i, letter := range []byte(flagLetters) {
			if d.Flags>>i&1 != 0 {
				j.b = append(j.b, letter)
			}
		}
		j.b = append(j.b, '"')
	}
}

var tunnelNames = [...]string{"gre", "erspan", "ipip", "6in4", "4in6", "teredo", "vxlan", "geneve", "gtp", "l2tp", "ayiya"}

func (j *object) tunnels(set decode.Tunnels) {
	if set == 0 {
		return
	}
	j.key("tunnels")
	j.b = append(j.b, '[')
	comma := false
	for i, name := range tunnelNames {
		if set>>i&1 == 0 {
			continue
		}
		if comma {
			j.b = append(j.b, ',')
		}
		comma = true
		j.b = append(append(append(j.b, '"'), name...), '"')
	}
	j.b = append(j.b, ']')
}

func (j *object) payloads(r *Record) {
	if r.NFirst == 0 {
		return
	}
	j.key("payloads")
	j.b = append(j.b, '[')
	for i, p := range r.FirstPayload[:r.NFirst] {
		if i > 0 {
			j.b = append(j.b, ',')
		}
		j.b = strconv.AppendUint(append(j.b, '['), uint64(p.Size), 10)
		j.b = strconv.AppendUint(append(j.b, ','), uint64(p.Gap), 10)
		if p.Orig {
			j.b = append(j.b, ",1]"...)
		} else {
			j.b = append(j.b, ",0]"...)
		}
	}
	j.b = append(j.b, ']')
}

func (j *object) moments(name string, m *Moments) {
	if m.N == 0 {
		return
	}
	j.key(name)
	inner := object{append(j.b, '{')}
	inner.number("n", uint64(m.N))
	inner.number("size", m.Size)
	inner.number("size_sq", m.SizeSq)
	inner.number("gap_us", m.GapSum)
	inner.number("gap_sq_ms2", m.GapSqMs)
	j.b = append(inner.b, '}')
}

// object is a JSON object under construction. Keys and texts are constants of ours: nothing needs escapes.
type object struct{ b []byte }

func (j *object) key(name string) {
	if j.b[len(j.b)-1] != '{' {
		j.b = append(j.b, ',')
	}
	j.b = append(append(append(j.b, '"'), name...), '"', ':')
}

func (j *object) number(name string, n uint64) {
	j.key(name)
	j.b = strconv.AppendUint(j.b, n, 10)
}

func (j *object) nonzero(name string, n uint64) {
	if n != 0 {
		j.number(name, n)
	}
}

func (j *object) text(name, v string) {
	if v != "" {
		j.key(name)
		j.b = append(append(append(j.b, '"'), v...), '"')
	}
}

func (j *object) flag(name string, v bool) {
	if v {
		j.key(name)
		j.b = append(j.b, "true"...)
	}
}
