package sensor

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"weir/analyzers"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/sensor/capture"
)

// heard is an analyzer that only remembers what epochs tell of openings.
type heard struct {
	requests, answers map[string]int // by client, server, port, and the class of the status
	queries           map[string]int // by client and domain
	prints            map[string]int // by kind
}

func newHeard() *heard {
	return &heard{requests: map[string]int{}, answers: map[string]int{}, queries: map[string]int{}, prints: map[string]int{}}
}

func (h *heard) Name() string                    { return "heard" }
func (h *heard) Finish(func(*analyzers.Finding)) {}
func (h *heard) Judge(e *tally.Epoch, _ func(*analyzers.Finding)) {
	for i := range e.Webs {
		w := &e.Webs[i]
		key := fmt.Sprintf("%v %v %d", w.Key.Client.Netip(w.Key.Ver), w.Key.Server.Netip(w.Key.Ver), w.Key.Port)
		if w.Requests > 0 {
			h.requests[key] += int(w.Requests)
		}
		for class, n := range w.Status {
			if n > 0 {
				h.answers[fmt.Sprintf("%s %dxx", key, class)] += int(n)
			}
		}
	}
	for i := range e.Names {
		if n := &e.Names[i]; n.Hash == 0 && n.Queries > 0 {
			h.queries[n.Client.Netip(n.Ver).String()] += int(n.Queries)
		}
	}
	for i := range e.Openings {
		h.prints[e.Openings[i].Key.Kind.String()] += int(e.Openings[i].Count)
	}
}

// zeekLog reads a log of Zeek: its rows by the names of their columns.
func zeekLog(t *testing.T, path string) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fields []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		cells := strings.Split(lines.Text(), "\t")
		switch {
		case cells[0] == "#fields":
			fields = cells[1:]
		case !strings.HasPrefix(cells[0], "#") && len(cells) == len(fields):
			row := map[string]string{}
			for i, name := range fields {
				row[name] = cells[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// TestOpeningsAsZeek holds requests, answers and questions against the logs that Zeek wrote of the same captures.
func TestOpeningsAsZeek(t *testing.T) {
	dir := corpus(t)
	for _, c := range []struct{ capture, log string }{
		{"benign/zeek__wikipedia.pcap", "scripts.base.frameworks.analyzer.request-analyzer/http.log"},
		{"decode-encap/zeek__ayiya3.pcap", "core.tunnels.ayiya/http.log"},
		{"decode-encap/zeek__mixed-vlan-mpls.pcap", "core.vlan-mpls/http.log"},
		{"decode-encap/zeek__Teredo.pcap", "core.tunnels.teredo/http.log"},
		{"decode-encap/zeek__vxlan-encapsulated-http.pcap", "core.tunnels.analyzer-confirmation/http.log"},
		{"decode-linktype/zeek__nflog-http.pcap", "core.nflog/http.log"},
		{"decode-encap/zeek__gre-pptp.pcap", "core.tunnels.gre-pptp/dns.log"},
	} {
		t.Run(filepath.Base(c.capture), func(t *testing.T) {
			want := newHeard()
			for _, row := range zeekLog(t, filepath.Join(dir, "ground-truth", c.capture, "zeek", c.log)) {
				if strings.HasSuffix(c.log, "dns.log") {
					want.queries[row["id.orig_h"]]++
					continue
				}
				key := fmt.Sprintf("%s %s %s", row["id.orig_h"], row["id.resp_h"], row["id.resp_p"])
				if row["version"] == "0.9" {
					continue // no heads
				}
				if row["method"] != "-" {
					want.requests[key]++
				}
				if code := row["status_code"]; code != "-" && code[0] != '1' {
					want.answers[key+" "+code[:1]+"xx"]++
				}
			}
			if strings.Contains(c.capture, "wikipedia") { // the capture began in the middle of one connection, whose answer tshark counts, too
				want.answers["141.142.220.118 208.80.152.2 80 3xx"]++
			}
			got := listen(t, Openings{}, filepath.Join(dir, c.capture))
			if strings.HasSuffix(c.log, "dns.log") {
				if !maps.Equal(got.queries, want.queries) {
					t.Errorf("questions %v, Zeek has %v", got.queries, want.queries)
				}
				return
			}
			if !maps.Equal(got.requests, want.requests) {
				t.Errorf("requests %v, Zeek has %v", got.requests, want.requests)
			}
			if !maps.Equal(got.answers, want.answers) {
				t.Errorf("answers %v, Zeek has %v", got.answers, want.answers)
			}
		})
	}
}

// listen replays a capture for what it opens with, and holds several workers to the same.
func listen(t *testing.T, o Openings, path string) *heard {
	t.Helper()
	var all [2]*heard
	for i, workers := range [...]int{1, 3} {
		all[i] = newHeard()
		cfg := config(workers)
		cfg.Analyzers, cfg.Openings = []analyzers.Analyzer{all[i]}, o
		e, err := New(cfg, Sinks{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		src, err := capture.Open(path, capture.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		if _, err := e.Replay(t.Context(), src); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := fmt.Sprint(*all[0]), fmt.Sprint(*all[1]); a != b {
		t.Errorf("one worker hears %s\nthree hear %s", a, b)
	}
	return all[0]
}

// TestOpeningsOff: who does not want openings gets none.
func TestOpeningsOff(t *testing.T) {
	got := listen(t, Openings{Off: true}, filepath.Join(corpus(t), "benign/zeek__wikipedia.pcap"))
	delete(got.prints, tally.OpeningSYN.String()) // that is a header
	if len(got.requests)+len(got.queries)+len(got.prints) != 0 {
		t.Errorf("read all the same: %+v", got)
	}
}

// TestSpeaker: who is believed about whom (RFC 7239 section 7.4).
func TestSpeaker(t *testing.T) {
	proxy, client := netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("198.51.100.7")
	trusted := func(a netip.Addr) bool { return a == proxy || a == netip.MustParseAddr("10.0.0.8") }
	for _, c := range []struct {
		name, from, header, value string
		want                      netip.Addr
	}{
		{"no header", "10.0.0.9", "", "", proxy},
		{"nobody trusted", "192.0.2.1", "X-Forwarded-For", "198.51.100.7", netip.MustParseAddr("192.0.2.1")},
		{"one", "10.0.0.9", "X-Forwarded-For", "198.51.100.7", client},
		{"what a client wrote itself is further left", "10.0.0.9", "X-Forwarded-For", "203.0.113.1, 198.51.100.7", client},
		{"two proxies", "10.0.0.9", "X-Forwarded-For", "203.0.113.1, 198.51.100.7, 10.0.0.8", client},
		{"only proxies", "10.0.0.9", "X-Forwarded-For", "10.0.0.8", proxy},
		{"with a port", "10.0.0.9", "X-Forwarded-For", "198.51.100.7:4711", client},
		{"nonsense", "10.0.0.9", "X-Forwarded-For", "198.51.100.7, unknown", proxy},
		{"empty", "10.0.0.9", "X-Forwarded-For", ",,", proxy},
		{"Forwarded", "10.0.0.9", "Forwarded", `for="198.51.100.7:80";proto=http;by=10.0.0.9`, client},
		{"Forwarded, two", "10.0.0.9", "Forwarded", `For=203.0.113.1, for=198.51.100.7;proto=http`, client},
		{"IPv6 named over IPv4", "10.0.0.9", "Forwarded", `for="[2001:db8::7]"`, proxy},
	} {
		t.Run(c.name, func(t *testing.T) {
			var cfg atomic.Pointer[Openings]
			cfg.Store(&Openings{Proxies: trusted})
			o := newOpenings(&cfg, nil, 1)
			head := "GET / HTTP/1.1\r\nHost: a\r\n"
			if c.header != "" {
				head += c.header + ": " + c.value + "\r\n"
			}
			r := &o.read.request
			r.Parse([]byte(head + "\r\n"))
			w := &seen{p: &decode.Packet{}, client: decode.AddrFrom(netip.MustParseAddr(c.from))}
			w.p.Key.Ver = 4
			got, via := o.speaker(w, r)
			if a := got.Netip(4); a != c.want {
				t.Errorf("speaks for %v, want %v", a, c.want)
			}
			if spoken := trusted(netip.MustParseAddr(c.from)); (via != decode.Addr{}) != spoken {
				t.Errorf("via %v", via)
			}
		})
	}
}

// TestRegisteredCollision: two names that were made to have one hash in a replay, whose key is known. They are from a search: the
// word before the last makes a factor of the hash zero, so that what stands before it does not show.
func TestRegisteredCollision(t *testing.T) {
	o := newOpenings(&atomic.Pointer[Openings]{}, nil, 0)
	long, short := []byte("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaiwjlr1r#9`k0.com"), []byte("aaaaak13t3+lg=-:.com")
	if o.hash(long) != o.hash(short) {
		t.Fatal("the hash is another one: search such names again, or drop this test")
	}
	for _, name := range [][]byte{long, short, long} {
		if got := o.registered(name); len(got) > len(name) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestBuffersReclaimed: openings that are begun and not gone on with do not keep others from being read for longer than a second.
func TestBuffersReclaimed(t *testing.T) {
	var cfg atomic.Pointer[Openings]
	cfg.Store(&Openings{})
	hello := clientHello(t)
	o, to := newOpenings(&cfg, nil, 1), tally.NewShard(tally.Defaults(), 1)
	o.tally = to
	send := func(conn uint64, at int64, seq uint32, data []byte) {
		o.now = at
		o.segment(&seen{p: &decode.Packet{Hash: conn, Time: at, Seq: seq, PayloadLen: uint32(len(data))}, data: data, port: 443})
	}
	for i := range uint64(openingBuffers) {
		send(i+1, 1e9, 0, hello[:100])
	}
	half := len(hello) / 2
	send(100, 1.5e9, 0, hello[:half])
	if o.lost != 1 {
		t.Errorf("%d lost, want 1: all buffers are in use", o.lost)
	}
	send(101, 2e9, 0, hello[:half])
	send(101, 2e9, uint32(half), hello[half:])
	if o.lost != 2 || o.nfree != 1 {
		t.Errorf("%d lost, %d buffers free, want 2 and 1: the oldest has made room for what was read whole", o.lost, o.nfree)
	}
	send(1, 2.1e9, 100, hello[100:]) // which had it
	if e := o.find(&decode.Packet{Hash: 1}); e == nil || !e.side[0].done {
		t.Errorf("what lost its buffer goes on: %+v", e)
	}
}

// clientHello is what Go's TLS sends first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	ended := make(chan error)
	go func() { ended <- tls.Client(a, &tls.Config{ServerName: "example.com"}).Handshake() }()
	hello := make([]byte, 4096)
	n, err := b.Read(hello)
	if b.Close(); err != nil || <-ended == nil {
		t.Fatal(err)
	}
	return hello[:n]
}
