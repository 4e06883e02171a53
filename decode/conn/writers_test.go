package conn

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"weir/decode"
)

// TestCommunityID checks the vectors of the specification (corelight/community-id-spec, baseline/baseline_deflt.json).
func TestCommunityID(t *testing.T) {
	for _, c := range []struct {
		proto        uint8
		src, dst     string
		sport, dport uint16
		want         string
	}{
		{58, "fe80::200:86ff:fe05:80da", "fe80::260:97ff:fe07:69ea", 135, 136, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="},
		{58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", 136, 135, "1:dGHyGvjMfljg6Bppwm3bg0LO8TY="},
		{58, "fe80::260:97ff:fe07:69ea", "fe80::200:86ff:fe05:80da", 135, 136, "1:zavyT/cezQr1fmImYCwYnMXbgck="},
		{58, "3ffe:501:1800:2345::2", "3ffe:507:0:1:200:86ff:fe05:80da", 3, 0, "1:2ObVBgIn28oZvibYZhZMBgh7WdQ="},
		{58, "3ffe:501:410:0:2c0:dfff:fe47:33e", "3ffe:507:0:1:200:86ff:fe05:80da", 1, 4, "1:hLZd0XGWojozrvxqE0dWB1iM6R0="},
		{58, "3ffe:507:0:1:200:86ff:fe05:80da", "3ffe:501:0:1001::2", 128, 129, "1:+TW+HtLHvV1xnGhV1lv7XoJrqQg="},
		{58, "fe80::200:86ff:fe05:80da", "ff02::2", 133, 134, "1:hO+sN4H+MG5MY/8hIrXPqc4ZQz0="},
		{1, "192.168.0.89", "192.168.0.1", 8, 0, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="},
		{1, "192.168.0.1", "192.168.0.89", 0, 8, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="},
		{1, "10.0.0.1", "10.0.0.2", 11, 0, "1:YHxtAirCG//0OzkcVAukqKQN9xM="},
		{6, "2001:470:e5bf:dead:4957:2174:e82c:4887", "2607:f8b0:400c:c03::1a", 63943, 25, "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
		{132, "192.168.170.56", "192.168.170.8", 7, 7, "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs="},
		{6, "66.35.250.204", "128.232.110.120", 80, 34855, "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{17, "192.168.1.52", "8.8.8.8", 54585, 53, "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
		{46, "10.1.12.2", "10.1.12.1", 0, 0, "1:KHlLkgoJW7ifUTyTSgyVfkFHzKw="},
	} {
		r := Record{
			Orig: decode.AddrFrom(netip.MustParseAddr(c.src)), Resp: decode.AddrFrom(netip.MustParseAddr(c.dst)),
			OrigPort: c.sport, RespPort: c.dport, Proto: c.proto, Ver: 4,
		}
		if strings.Contains(c.src, ":") {
			r.Ver = 6
		}
		if got := string(r.CommunityID(nil, 0)); got != c.want {
			t.Errorf("%d %s %d > %s %d: %s, want %s", c.proto, c.src, c.sport, c.dst, c.dport, got, c.want)
		}
	}
}

// sample is a record with every part set.
func sample() Record {
	r := Record{
		First: 1_600_000_000_123_456_499, Last: 1_600_000_002_623_456_499,
		Orig: decode.AddrFrom(netip.MustParseAddr("10.0.0.1")), Resp: decode.AddrFrom(netip.MustParseAddr("192.0.2.1")),
		OrigPort: 40000, RespPort: 443, Proto: protoTCP, Ver: 4, State: StateSF, Close: CloseEnd, Proven: true,
		VLAN: [2]uint16{7, 12}, Tunnels: decode.TunnelVXLAN | decode.TunnelGRE, RTT: 1500, HistLen: 7, NFirst: 2,
		O:    Dir{Packets: 5, IPBytes: 700, Bytes: 500, Gap: 3, Retrans: 1, Flags: decode.FlagSYN | decode.FlagACK},
		R:    Dir{Packets: 4, IPBytes: 900, Bytes: 740},
		MomO: Moments{N: 2, Size: 500, SizeSq: 170_000, GapSum: 1000, GapSqMs: 1},
	}
	copy(r.Hist[:], "ShADadF")
	r.FirstPayload[0] = Payload{Size: 100, Orig: true}
	r.FirstPayload[1] = Payload{Size: 740, Gap: 250}
	return r
}

// TestJSON reads the JSON form back with encoding/json.
func TestJSON(t *testing.T) {
	r := sample()
	line := r.AppendJSON(nil)
	var m map[string]any
	if err := json.Unmarshal(line, &m); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if line[len(line)-1] != '\n' {
		t.Error("no newline at the end")
	}
	for name, want := range map[string]any{
		"ts": 1600000000.123456, "id.orig_h": "10.0.0.1", "id.resp_p": 443.0, "proto": "tcp", "service": "ssl", "duration": 2.5,
		"conn_state": "SF", "history": "ShADadF", "missed_bytes": 3.0, "orig_bytes": 500.0, "resp_ip_bytes": 900.0,
		"orig_retrans": 1.0, "orig_flags": "SA", "proven": true, "rtt": 0.0015, "close": "end", "action": "accept",
		"community_id": string(r.CommunityID(nil, 0)),
	} {
		if m[name] != want {
			t.Errorf("%s: %v, want %v", name, m[name], want)
		}
	}
	nested, _ := json.Marshal([]any{m["vlan"], m["tunnels"], m["payloads"], m["orig_moments"], m["resp_moments"]})
	const want = `[[7,12],["gre","vxlan"],[[100,0,1],[740,250,0]],{"gap_sq_ms2":1,"gap_us":1000,"n":2,"size":500,"size_sq":170000},null]`
	if string(nested) != want {
		t.Errorf("nested values\n%s\nwant\n%s", nested, want)
	}
	for _, name := range []string{"outer", "midstream", "disc", "resp_gap"} {
		if v, ok := m[name]; ok {
			t.Errorf("%s: %v, want it left out", name, v)
		}
	}
}

// TestZeekLog checks that rows fit the header, and what Zeek leaves unset.
func TestZeekLog(t *testing.T) {
	r := sample()
	names := strings.Split(zeekFields(), "\t")[1:]
	col := columns(names)
	row := strings.Split(strings.TrimSuffix(string(r.AppendZeek(nil)), "\n"), "\t")
	if len(row) != len(names) {
		t.Fatalf("%d values for %d columns", len(row), len(names))
	}
	for name, want := range map[string]string{
		"ts": "1600000000.123456", "proto": "tcp", "duration": "2.500000", "orig_bytes": "500", "missed_bytes": "3",
		"history": "ShADadF", "resp_pkts": "4", "ip_proto": "6", "local_orig": "-", "tunnel_parents": "-",
	} {
		if got := row[col[name]]; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(ZeekHeader()), "\n"), "\n") {
		if n := len(strings.Split(line, "\t")) - 1; (strings.HasPrefix(line, "#fields") || strings.HasPrefix(line, "#types")) && n != len(names) {
			t.Errorf("%d columns in %s", n, line)
		}
	}
	r.Last, r.HistLen = r.First, 0
	row = strings.Split(string(r.AppendZeek(nil)), "\t")
	for _, name := range []string{"duration", "orig_bytes", "resp_bytes", "history"} {
		if got := row[col[name]]; got != "-" {
			t.Errorf("%s of a single packet: %s, want -", name, got)
		}
	}
}

// TestUID holds that a uid follows from the record and tells records apart.
func TestUID(t *testing.T) {
	r := sample()
	first := string(r.UID(nil))
	if again := string(r.UID(nil)); again != first || len(first) != 18 || first[0] != 'C' {
		t.Errorf("%s, then %s", first, again)
	}
	r.First++
	if other := string(r.UID(nil)); other == first {
		t.Errorf("another start, the same uid %s", other)
	}
}
