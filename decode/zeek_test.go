package decode

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestZeek compares the flows that the decoder sees in a capture with Zeek's conn.log of it: each connection of the log has
// to be there, outer tunnel connections included, with as many packets and bytes.
func TestZeek(t *testing.T) {
	if corpus() == "" {
		leaveOut(t, "WEIR_CORPUS is not set")
	}
	logs, err := filepath.Glob(filepath.Join(corpus(), "ground-truth/*/*/zeek/*/conn.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no conn.log in the corpus (%v)", err)
	}
	rows, same := 0, 0
	for _, log := range logs {
		if reason := zeekPart[filepath.Base(filepath.Dir(log))]; reason != "" {
			t.Logf("%s left out: %s", label(log), reason)
			continue
		}
		folder := filepath.Dir(filepath.Dir(filepath.Dir(log)))
		category := filepath.Base(filepath.Dir(folder))
		capture := filepath.Join(corpus(), category, filepath.Base(folder))
		ours := flowsOf(t, capture)
		for key, theirs := range connLog(t, log) {
			rows++
			name := label(capture) + " " + filepath.Base(filepath.Dir(log)) + " " + key
			switch got, ok := ours[key]; {
			case !ok:
				t.Errorf("%s: not decoded", name)
			case zeekDiffers[filepath.Base(capture)+" "+key] != "":
				t.Logf("%s: %+v, Zeek has %+v: %s", name, got, theirs, zeekDiffers[filepath.Base(capture)+" "+key])
			case got != theirs && theirs != (volume{}):
				t.Errorf("%s: %+v, Zeek has %+v", name, got, theirs)
			default:
				same++
			}
		}
	}
	t.Logf("%d of %d connections of %d logs agree", same, rows, len(logs))
}

// zeekPart are runs in which Zeek was told to look at a part of the capture only.
var zeekPart = map[string]string{
	"scripts.base.frameworks.netcontrol.packetfilter": "drops addresses while it runs",
	"core.pcap.dynamic-filter":                        "changes its filter while it runs",
}

// zeekDiffers are the connections of which weir sees other volumes, and why.
var zeekDiffers = map[string]string{
	"zeek__gtp1_gn_normal_incl_fragmentation.pcap tcp 10.131.47.185 1923 79.101.110.141 80":    "Zeek reassembles the outer fragments: weir has the first ones' bytes, and 4 whose second is missing",
	"zeek__gtp1_gn_normal_incl_fragmentation.pcap udp 239.114.155.111 2152 63.94.149.181 2152": "the same",
}

// volume is the size of a flow, both directions together.
type volume struct{ packets, bytes int }

// flowsOf decodes a capture into flows by key, those of outer tunnel packets included.
func flowsOf(t *testing.T, path string) map[string]volume {
	d := NewDecoder(1)
	flows := map[string]volume{}
	add := func(p *Packet) {
		v := flows[keyName(p)]
		flows[keyName(p)] = volume{v.packets + 1, v.bytes + int(p.IPLen)}
	}
	readFrames(t, path, func(f *Frame) {
		var p, outer Packet
		d.Decode(f, &p)
		if p.Kind != KindIPv4 && p.Kind != KindIPv6 {
			return
		}
		add(&p)
		for depth := range int(p.Depth) {
			if d.DecodeOuter(f, &outer, depth) {
				add(&outer)
			}
		}
	})
	return flows
}

func keyName(p *Packet) string {
	proto := map[uint8]string{protoTCP: "tcp", protoUDP: "udp", protoICMP: "icmp", protoICMPv6: "icmp"}[p.Key.Proto]
	if proto == "" {
		proto = "unknown_transport"
	}
	return name(proto, p.Key.A.Netip(p.Key.Ver), p.Key.B.Netip(p.Key.Ver), p.Key.PortA, p.Key.PortB)
}

// name writes a connection with its ends in order.
func name(proto string, a, b netip.Addr, portA, portB uint16) string {
	ends := []string{fmt.Sprintf("%v %d", a, portA), fmt.Sprintf("%v %d", b, portB)}
	slices.Sort(ends)
	return proto + " " + strings.Join(ends, " ")
}

// connLog reads Zeek's connections by name. A log that was cut to fewer columns gives no volumes.
func connLog(t *testing.T, path string) map[string]volume {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	column := map[string]int{}
	conns := map[string]volume{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if fields[0] == "#fields" {
			for i, f := range fields[1:] {
				column[f] = i
			}
		}
		if strings.HasPrefix(line, "#") || column["id.resp_p"] == 0 || len(fields) < len(column) {
			continue
		}
		number := func(name string) int {
			i, ok := column[name]
			if !ok {
				return 0
			}
			n, _ := strconv.Atoi(fields[i])
			return n
		}
		orig, err1 := netip.ParseAddr(fields[column["id.orig_h"]])
		resp, err2 := netip.ParseAddr(fields[column["id.resp_h"]])
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %s", path, line)
		}
		key := name(fields[column["proto"]], orig, resp, uint16(number("id.orig_p")), uint16(number("id.resp_p")))
		v := conns[key]
		conns[key] = volume{
			v.packets + number("orig_pkts") + number("resp_pkts"),
			v.bytes + number("orig_ip_bytes") + number("resp_ip_bytes"),
		}
	}
	return conns
}
