package decode

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestWireshark compares the TCP and UDP flows that the decoder sees with tshark's conversations: the same ends, inner and
// outer, in as many frames.
func TestWireshark(t *testing.T) {
	if corpus() == "" {
		leaveOut(t, "WEIR_CORPUS is not set")
	}
	lists, err := filepath.Glob(filepath.Join(corpus(), "ground-truth/*/*/tshark-conv.txt"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("no conversations in the corpus (%v)", err)
	}
	total, same := 0, 0
	for _, list := range lists {
		folder := filepath.Dir(list)
		capture := filepath.Join(corpus(), filepath.Base(filepath.Dir(folder)), filepath.Base(folder))
		theirs, complete := conversations(t, list)
		ours := flowsOf(t, capture)
		names := map[string]bool{}
		for key := range theirs {
			names[key] = true
		}
		for key := range ours {
			if (strings.HasPrefix(key, "tcp") || strings.HasPrefix(key, "udp")) && complete {
				names[key] = true
			}
		}
		reason, used := wiresharkDiffers[label(capture)], false
		for key := range names {
			total++
			switch {
			case ours[key].packets == theirs[key]:
				same++
			case reason != "":
				used = true
			default:
				t.Errorf("%s %s: %d frames, tshark has %d", label(capture), key, ours[key].packets, theirs[key])
			}
		}
		if reason != "" {
			t.Logf("%s: %s", label(capture), reason)
			if !used {
				t.Errorf("%s differs no more", label(capture))
			}
		}
	}
	t.Logf("%d of %d conversations of %d captures agree", same, total, len(lists))
}

// wiresharkDiffers are the captures with other conversations, and why.
var wiresharkDiffers = map[string]string{
	"attack-amp/stopddos__amp.dns.RRSIG.fragmented.pcap":        reassembled,
	"decode-encap/zeek__gtp1_gn_normal_incl_fragmentation.pcap": reassembled,
	"ip-frag/pcpp__ip4_fragments.pcap":                          reassembled,
	"ip-frag/pcpp__ip6_fragments.pcap":                          reassembled,
	"ip-frag/zeek__fragmented-1.pcap":                           reassembled,
	"ip-frag/zeek__fragmented-4.pcap":                           reassembled,
	"ip-frag/zeek__fragmented-syn.pcap":                         reassembled,
	"ip-frag/zeek__ipv6-fragmented-dns.pcap":                    reassembled,
	"decode-encap/tcpdump__bigtcp-ipv4-vxlan-ipv4.pcap":         "total length 0: a packet still to be cut into segments, which tshark reads by option only",
	"decode-encap/zeek__Teredo.pcap":                            "Teredo between peers on other ports than the server's: Zeek reads it, tshark by option only",
	"tcp/zeek__truncated-header.pcap":                           "a TCP header that snaplen cut behind the ports",
}

const reassembled = "tshark shows whole datagrams where their last fragment arrives, weir each fragment"

// conversations reads tshark's tables of UDP and TCP conversations: frames by name. The corpus cuts long lists before their
// last table, the protocols: of such captures only the listed conversations can be compared.
func conversations(t *testing.T, path string) (frames map[string]int, complete bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	conns := map[string]int{}
	proto := ""
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[1] == "Conversations" {
			proto = strings.ToLower(fields[0])
		}
		if len(fields) < 10 || fields[1] != "<->" || !slices.Contains([]string{"tcp", "udp"}, proto) {
			continue
		}
		a, portA := end(t, fields[0])
		b, portB := end(t, fields[2])
		n, err := strconv.Atoi(fields[9])
		if err != nil {
			t.Fatalf("%s: %s", path, line)
		}
		conns[name(proto, a, b, portA, portB)] += n
	}
	return conns, strings.Contains(string(text), "Protocol Hierarchy")
}

// end splits address:port, where IPv6 has no brackets.
func end(t *testing.T, s string) (netip.Addr, uint16) {
	i := strings.LastIndexByte(s, ':')
	a, err1 := netip.ParseAddr(s[:i])
	port, err2 := strconv.ParseUint(s[i+1:], 10, 16)
	if err1 != nil || err2 != nil {
		t.Fatalf("%s: %v %v", s, err1, err2)
	}
	return a, uint16(port)
}
