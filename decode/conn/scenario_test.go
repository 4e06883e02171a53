package conn

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"weir/decode"
)

// tape plays frames to tables one by one and keeps what comes out.
type tape struct {
	t       testing.TB
	tables  *Tables
	d       *decode.Decoder
	now     int64
	out     Out
	records []Record
	steps   []string // contact stages in order
	ev      Event
	pkt     [1]decode.Packet
}

const (
	client = 0x0a000001
	server = 0xc0000201
	start  = int64(1_600_000_000e9)
)

func newTape(t testing.TB) *tape {
	p := &tape{t: t, tables: newTables(t, small()), d: decode.NewDecoder(7), now: start}
	p.out.Record = func(r *Record) { p.records = append(p.records, *r) }
	return p
}

// play shows one frame, after ms milliseconds.
func (p *tape) play(ms int64, b []byte) Event {
	p.wait(ms)
	p.d.Decode(&decode.Frame{Data: b, Time: p.now, WireLen: uint32(len(b)), Link: decode.LinkRaw}, &p.pkt[0])
	var ev [1]Event
	p.tables.Process(p.pkt[:], []uint16{0}, ev[:], &p.out)
	p.drain()
	p.ev = ev[0]
	return ev[0]
}

// wait lets event time pass, tick by tick.
func (p *tape) wait(ms int64) {
	end := p.now + ms*1e6
	for p.now < end {
		p.now = min(end, (p.now/1e8+1)*1e8)
		for s := range decode.Shards {
			p.tables.Expire(s, p.now, &p.out)
		}
		p.drain()
	}
}

func (p *tape) drain() {
	names := [...]string{"opened", "unknown", "silent", "refused", "answered", "proven"}
	for _, c := range p.out.Contacts {
		p.steps = append(p.steps, names[c.Stage])
	}
	p.out.Contacts = p.out.Contacts[:0]
}

func (p *tape) end() []Record {
	for s := range decode.Shards {
		p.tables.Flush(s, &p.out)
	}
	p.drain()
	return p.records
}

// tcp plays a segment from the client (c) or server (s): flags as tcpdump writes them, relative numbers as on the wire.
func (p *tape) tcp(ms int64, who byte, flags string, seq, ack uint32, payload int) Event {
	var f byte
	for _, l := range flags {
		f |= map[rune]byte{'F': 1, 'S': 2, 'R': 4, 'P': 8, '.': 16, 'U': 32}[l]
	}
	if who == 'c' {
		return p.play(ms, frame(nil, protoTCP, client, server, 40000, 9999, seq, ack, f, payload))
	}
	return p.play(ms, frame(nil, protoTCP, server, client, 9999, 40000, seq, ack, f, payload))
}

// segments plays a script such as "c S 100 0 0; s S. 900 101 0", ten milliseconds apart.
func (p *tape) segments(script string) {
	for line := range strings.SplitSeq(script, ";") {
		var who, flags string
		var seq, ack uint32
		var payload int
		if _, err := fmt.Sscan(line, &who, &flags, &seq, &ack, &payload); err != nil {
			p.t.Fatalf("%q: %v", line, err)
		}
		p.tcp(10, who[0], strings.ReplaceAll(flags, "0", ""), seq, ack, payload)
	}
}

// TestTCP plays connections whose outcome follows from RFC 9293 and Zeek's documentation of conn_state and history.
func TestTCP(t *testing.T) {
	open := "c S 100 0 0; s S. 900 101 0; c . 101 901 0; "
	for _, c := range []struct{ name, script, state, history, steps, volume string }{
		{"attempt", "c S 100 0 0", "S0", "S", "opened unknown", "0 0 0"},
		{"refused", "c S 100 0 0; s R. 0 101 0", "REJ", "Sr", "opened refused", "0 0 0"},
		{"half open", "c S 100 0 0; s S. 900 101 0", "S1", "Sh", "opened answered", "0 0 0"},
		{"established", open, "S1", "ShA", "opened answered proven", "0 0 0"},
		{
			"normal", open + "c P. 101 901 5; s . 901 106 0; s P. 901 106 7; c . 106 908 0; c F. 106 908 0; s F. 908 107 0; c . 107 909 0",
			"SF", "ShADadFf", "opened answered proven", "5 7 0",
		},
		{"originator closes", open + "c F. 101 901 0; s . 901 102 0", "S2", "ShAFa", "opened answered proven", "0 0 0"},
		{"responder closes", open + "s F. 901 101 0; c . 101 902 0", "S3", "ShAf", "opened answered proven", "0 0 0"},
		{"originator resets", open + "c R. 101 901 0", "RSTO", "ShAR", "opened answered proven", "0 0 0"},
		{"responder resets", open + "s R. 901 101 0", "RSTR", "ShAr", "opened answered proven", "0 0 0"},
		{"given up", "c S 100 0 0; c R 101 0 0", "RSTOS0", "SR", "opened unknown", "0 0 0"},
		{"SYN and FIN", "c S 100 0 0; c F 101 0 0", "SH", "SF", "opened unknown", "0 0 0"},
		{"simultaneous open", "c S 100 0 0; s S 900 0 0; c S. 100 901 0; s S. 900 101 0", "S1", "Ss", "opened answered", "0 0 0"},
		{"lost SYN", "s S. 900 101 0; c . 101 901 0", "OTH", "Ha", "", ""},
		{"SYN after its answer", "s S. 900 101 0; c S 100 0 0; c . 101 901 0", "S1", "Hs^A", "", ""},
		{"mid-stream", "c P. 101 901 5; s . 901 106 0", "OTH", "Da", "", "5 0 0"},
		{"stray RST", "c R 101 0 0", "OTH", "R", "", "0 0 0"},
		{"retransmission", open + "c P. 101 901 5; c P. 101 901 5; s . 901 106 0", "S1", "ShADTa", "opened answered proven", "5 0 0"},
		{"gap", open + "c P. 111 901 5; s . 901 116 0", "S1", "ShADaG", "opened answered proven", "15 0 10"},
		{"late, no gap", open + "c P. 111 901 5; c P. 101 901 10; s . 901 116 0", "S1", "ShADTa", "opened answered proven", "15 0 0"},
		{"wrong SYN-ACK", "c S 100 0 0; s S. 900 777 0", "S1", "ShG", "opened unknown", ""},
		{"null scan", "c 0 100 0 0; s R. 0 100 0", "RSTRH", "r", "opened refused", ""},
		{"xmas scan", "c FPU 100 0 0; s R. 0 101 0", "RSTR", "Fr", "opened refused", ""},
		{"FIN scan", "c F 100 0 0", "SH", "F", "opened unknown", ""},
		{"maimon scan", "c F. 100 0 0; s R 0 0 0", "RSTR", "Fr", "opened refused", ""},
		{"ACK scan", "c . 100 0 0; s R 0 0 0", "RSTRH", "Ar", "opened refused", ""},
		{"FIN and RST", open + "c FR 101 901 0", "RSTO", "ShAI", "opened answered proven", ""},
	} {
		p := newTape(t)
		p.segments(strings.TrimRight(c.script, "; "))
		records := p.end()
		if len(records) != 1 {
			t.Errorf("%s: %d records", c.name, len(records))
			continue
		}
		r := &records[0]
		if got := r.State.String() + " " + r.History(); got != c.state+" "+c.history {
			t.Errorf("%s: %s, want %s %s", c.name, got, c.state, c.history)
		}
		if got := strings.Join(p.steps, " "); got != c.steps {
			t.Errorf("%s: contact %s, want %s", c.name, got, c.steps)
		}
		if got := fmt.Sprint(r.O.Bytes, r.R.Bytes, r.O.Gap+r.R.Gap); c.volume != "" && got != c.volume {
			t.Errorf("%s: bytes %s, want %s", c.name, got, c.volume)
		}
		if want := strings.Contains(c.steps, "proven") || c.history == "Hs^A"; r.Proven != want {
			t.Errorf("%s: proven %v", c.name, r.Proven)
		}
	}
}

// TestEvents checks the events of a connection's packets one by one.
func TestEvents(t *testing.T) {
	p := newTape(t)
	for i, s := range []struct {
		who      byte
		flags    string
		seq, ack uint32
		payload  int
		want     Event
	}{
		{'c', "S", 100, 0, 0, EvNew | EvOrig | EvAttempt},
		{'c', "S", 100, 0, 0, EvOrig | EvRetrans},
		{'s', "S.", 900, 101, 0, EvAnswered},
		{'c', ".", 101, 901, 0, EvOrig | EvAnswered | EvEstablished | EvProven},
		{'c', "P.", 101, 901, 5, EvOrig | EvAnswered | EvEstablished | EvVisible},
		{'c', "P.", 101, 901, 5, EvOrig | EvAnswered | EvEstablished | EvRetrans},
		{'c', "P.", 120, 901, 5, EvOrig | EvAnswered | EvEstablished | EvGap},
		{'s', "R.", 901, 106, 0, EvAnswered | EvEstablished | EvClosed},
		{'c', "S", 500, 0, 0, EvNew | EvOrig | EvAttempt},
		{'s', "R.", 0, 501, 0, EvAnswered | EvRefusal | EvClosed},
	} {
		if got := p.tcp(10, s.who, s.flags, s.seq, s.ack, s.payload) &^ EvOpening; got != s.want {
			t.Errorf("packet %d: events %b, want %b", i, got, s.want)
		}
	}
	if rtt := p.end()[0].RTT; rtt != 30_000 {
		t.Errorf("RTT %d µs from SYN to ACK, want 30000", rtt)
	}
}

// TestSilent lets an attempt wait: five seconds of event time, in the tick in which they have passed. A retransmission
// and a new ISN go on waiting.
func TestSilent(t *testing.T) {
	p := newTape(t)
	p.tcp(0, 'c', "S", 100, 0, 0)
	p.tcp(1000, 'c', "S", 100, 0, 0)
	if ev := p.tcp(1000, 'c', "S", 200, 0, 0); ev != EvNew|EvOrig|EvAttempt {
		t.Errorf("SYN with a new ISN: %b", ev)
	}
	p.wait(2900)
	if got := strings.Join(p.steps, " "); got != "opened" {
		t.Errorf("after 4.9 s: %s", got)
	}
	p.wait(100)
	if got := strings.Join(p.steps, " "); got != "opened silent" {
		t.Errorf("after 5 s: %s", got)
	}
	if got := p.end(); len(got) != 2 || got[0].Close != CloseReuse || got[1].Close != CloseFinal {
		t.Errorf("records %+v", got)
	}
}

// TestReuse plays the same ends again after a close, after a timeout, and with the old ISN.
func TestReuse(t *testing.T) {
	p := newTape(t)
	whole := "c S 100 0 0; s S. 900 101 0; c . 101 901 0; c F. 101 901 0; s F. 901 102 0; c . 102 902 0"
	p.segments(whole)
	p.segments(whole) // both sides closed: even the same ISN is new
	p.wait(6000)      // past tcp_close_delay
	p.segments("c S 300 0 0; s S. 700 301 0; c . 301 701 0")
	p.wait(301_000) // past tcp_inactivity_timeout
	p.segments("c P. 301 701 3")
	var got []string
	for _, r := range p.end() {
		got = append(got, r.State.String()+"/"+r.Close.String())
	}
	if want := "SF/reuse SF/end S1/idle OTH/final"; strings.Join(got, " ") != want {
		t.Errorf("records %v, want %s", got, want)
	}
}

// TestSweep lets ticks alone end what timed out, and the census find the connection that never asks.
func TestSweep(t *testing.T) {
	p := newTape(t)
	p.segments("c S 100 0 0; s S. 900 101 0; c . 101 901 0; c P. 101 901 20; s . 901 121 0") // half a request
	p.play(0, frame(nil, protoUDP, client, server, 40001, 4444, 0, 0, 0, 9))
	p.play(0, frame(nil, protoUDP, client, server, 40002, 4444, 0, 0, 0, 9))
	p.play(0, frame(nil, protoUDP, client, server, 40002, 4444, 0, 0, 0, 9))
	var slow []int64
	for range 700 {
		p.wait(100)
		for _, w := range p.out.Slow {
			if w.Resp.Netip(4).String() != "192.0.2.1" || w.RespPort != 9999 {
				t.Fatalf("slow: %+v", w)
			}
			slow = append(slow, (p.now-start)/1e9)
		}
		p.out.Slow = p.out.Slow[:0]
	}
	if len(p.records) != 2 || p.records[0].Close != CloseIdle || p.records[1].Close != CloseIdle {
		t.Errorf("after 70 s: records %+v", p.records)
	}
	if len(slow) < 3 || len(slow) > 5 || slow[0] < 30 {
		t.Errorf("seen slow at %v s, want every ten from the thirtieth on", slow)
	}
	p.tcp(0, 's', "P.", 901, 121, 100)
	p.wait(20_000)
	if len(p.out.Slow) != 0 {
		t.Errorf("slow after the responder answered: %+v", p.out.Slow)
	}
}

// TestScanFromServerPort sends probes from a server's port: they are contacts all the same.
func TestScanFromServerPort(t *testing.T) {
	for _, f := range [][]byte{
		frame(nil, protoTCP, client, server, 80, 9999, 100, 0, 0x02, 0),
		frame(nil, protoTCP, client, server, 80, 9999, 100, 0, 0x01, 0),
		frame(nil, protoTCP, client, server, 80, 9999, 100, 0, 0, 0),
		frame(nil, protoUDP, client, server, 53, 111, 0, 0, 0, 0),
	} {
		p := newTape(t)
		p.play(0, f)
		p.wait(5000)
		if got := strings.Join(p.steps, " "); got != "opened silent" {
			t.Errorf("% x: %s", f, got)
		}
	}
}

// TestLease shows a DHCP server's answer to a host that had asked everybody: no contact, unlike what comes back to other ports.
func TestLease(t *testing.T) {
	for to, want := range map[uint16]string{68: "", 69: "opened silent"} {
		p := newTape(t)
		p.play(0, frame(nil, protoUDP, server, client, 67, to, 0, 0, 0, 300))
		p.wait(5000)
		if got := strings.Join(p.steps, " "); got != want {
			t.Errorf("to port %d: %q, want %q", to, got, want)
		}
	}
}

// TestRepeats sends one SYN more often than a half-open entry counts.
func TestRepeats(t *testing.T) {
	p := newTape(t)
	for range 70_000 {
		p.tcp(0, 'c', "S", 100, 0, 0)
	}
	if r := p.end(); len(r) != 1 || r[0].O.Packets != 70_000 || r[0].O.IPBytes != 70_000*40 || r[0].State != StateS0 {
		t.Errorf("records %+v", r)
	}
}

func icmp(src, dst uint32, kind, code byte, quote []byte) []byte {
	b := append(frame(nil, protoUDP, src, dst, 0, 0, 0, 0, 0, 0)[:20], kind, code, 0, 0, 0, 0, 0, 0)
	b = append(b, quote...)
	b[9] = protoICMP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// TestDatagrams plays UDP and ICMP: answers, silence, refusal by ICMP, and answers that nobody asked for.
func TestDatagrams(t *testing.T) {
	query := frame(nil, protoUDP, client, server, 40000, 53, 0, 0, 0, 30)
	answer := frame(nil, protoUDP, server, client, 53, 40000, 0, 0, 0, 90)
	probe := frame(nil, protoUDP, client, server, 40000, 4444, 0, 0, 0, 0)
	syn := frame(nil, protoTCP, client, server, 40000, 9999, 100, 0, 2, 0)
	forged := frame(nil, protoTCP, client, server, 40000, 9999, 101, 0, 2, 0)
	mapped := frame(nil, protoUDP, client, 0xe00000fb, 5353, 5353, 0, 0, 0, 40)
	for _, c := range []struct {
		name   string
		frames [][]byte
		states string
		steps  string
		last   Event // of the last frame
	}{
		{"answered", [][]byte{query, answer}, "SF Dd", "opened answered", EvAnswered},
		{"asked twice", [][]byte{query, query}, "S0 D", "opened unknown", EvOrig},
		{"unasked", [][]byte{answer}, "SHR ^d", "", EvNew | EvUnasked},
		{"unasked, answered", [][]byte{answer, query}, "SF ^dD", "", EvOrig | EvAnswered},
		{"port unreachable", [][]byte{probe, icmp(server, client, 3, 3, probe)}, "S0 D,OTH ", "opened refused", EvNew | EvOrig | EvRefusal},
		{"fragmentation needed", [][]byte{probe, icmp(server, client, 3, 4, probe)}, "S0 D,OTH ", "opened unknown", EvNew | EvOrig},
		{"unreachable for TCP", [][]byte{syn, icmp(server, client, 3, 1, syn)}, "S0 S,OTH ", "opened refused", EvNew | EvOrig | EvRefusal},
		{"unreachable, wrong ISN", [][]byte{syn, icmp(server, client, 3, 1, forged)}, "S0 S,OTH ", "opened unknown", EvNew | EvOrig},
		{"time exceeded", [][]byte{probe, icmp(server, client, 11, 0, probe)}, "S0 D,OTH ", "opened unknown", EvNew | EvOrig},
		{"echo", [][]byte{icmp(client, server, 8, 0, nil), icmp(server, client, 0, 0, nil)}, "OTH ", "opened answered", EvAnswered},
		{"echo reply alone", [][]byte{icmp(server, client, 0, 0, nil)}, "OTH ", "", EvNew | EvOrig | EvUnasked},
		{"reflected to a low port", [][]byte{frame(nil, protoUDP, client, server, 123, 80, 0, 0, 0, 440)}, "SHR ^d", "", EvNew | EvUnasked},
		{"servers ask each other", [][]byte{frame(nil, protoUDP, client, server, 123, 123, 0, 0, 0, 48)}, "S0 D", "opened unknown", EvNew | EvOrig},
		{"multicast", [][]byte{mapped}, "S0 D", "", EvNew | EvOrig},
	} {
		p := newTape(t)
		for _, f := range c.frames {
			p.play(10, f)
		}
		if p.ev&^EvOpening != c.last {
			t.Errorf("%s: last events %b, want %b", c.name, p.ev, c.last)
		}
		var got []string
		for _, r := range p.end() {
			got = append(got, r.State.String()+" "+r.History())
		}
		if strings.Join(got, ",") != c.states || strings.Join(p.steps, " ") != c.steps {
			t.Errorf("%s: %q and %v, want %q and %s", c.name, got, p.steps, c.states, c.steps)
		}
	}
}

// TestTinyFragments plays what nmap -f sends: a SYN in fragments of eight bytes.
func TestTinyFragments(t *testing.T) {
	whole := frame(nil, protoTCP, client, server, 40000, 9999, 100, 0, 2, 0)
	p := newTape(t)
	for from := 0; from < 20; from += 8 {
		to := min(from+8, 20)
		b := append(append([]byte(nil), whole[:20]...), whole[20+from:20+to]...)
		b[3], b[5], b[7] = byte(len(b)), 9, byte(from/8)
		if to < 20 {
			b[6] = 0x20
		}
		p.play(1, b)
	}
	p.tcp(1, 's', "S.", 900, 101, 0)
	p.tcp(1, 'c', "R", 101, 0, 0)
	r := p.end()
	if len(r) != 1 || r[0].State != StateRSTO || r[0].History() != "ShR" || strings.Join(p.steps, " ") != "opened answered" {
		t.Errorf("%v, records %+v", p.steps, r)
	}
}

// TestTime lets packets come with older times: nothing ends early and no duration is negative.
func TestTime(t *testing.T) {
	p := newTape(t)
	p.tcp(1000, 'c', "S", 100, 0, 0)
	p.now -= 10e9
	p.tcp(0, 's', "S.", 900, 101, 0)
	p.now -= 3600e9
	p.tcp(0, 'c', ".", 101, 901, 0)
	r := p.end()
	if len(r) != 1 || r[0].State != StateS1 || r[0].Last < r[0].First {
		t.Errorf("%+v", r)
	}
	var back uint64
	for s := range decode.Shards {
		back += p.tables.Stats(s).TimeBack
	}
	if back != 2 {
		t.Errorf("%d packets counted as late, want 2", back)
	}
}

// TestFragments attributes later fragments to the connection of the first, and counts the suspicious ones.
func TestFragments(t *testing.T) {
	whole := frame(nil, protoUDP, client, server, 40000, 4444, 0, 0, 0, 2992)
	cut := func(from, to int, more bool) []byte {
		b := append(append([]byte(nil), whole[:20]...), whole[20+from:20+to]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], 77)
		off := uint16(from / 8)
		if more {
			off |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], off)
		return b
	}
	p := newTape(t)
	if ev := p.play(0, cut(1480, 2960, true)); ev != EvUntracked|EvFragment {
		t.Errorf("later fragment without a first: %b", ev)
	}
	if ev := p.play(1, cut(0, 1480, true)); ev != EvNew|EvOrig|EvFragment|EvOpening {
		t.Errorf("first fragment: %b", ev)
	}
	if ev := p.play(1, cut(1480, 2960, true)); ev != EvOrig|EvFragment {
		t.Errorf("second fragment: %b", ev)
	}
	if ev := p.play(1, cut(1400, 2000, true)); ev != EvOrig|EvFragment|EvOverlap {
		t.Errorf("overlapping fragment: %b", ev)
	}
	if ev := p.play(1, cut(0, 0, true)); ev != EvUntracked|EvFragment|EvOverlap {
		t.Errorf("first fragment without a header: %b", ev)
	}
	p.play(1, cut(2960, 3000, false))
	var s Stats
	for i := range decode.Shards {
		s.Add(p.tables.Stats(i))
	}
	if s.FragOrphan != 1 || s.FragOverlap != 2 || s.FragTiny != 1 {
		t.Errorf("counters %+v", s)
	}
	answer := cut(0, 1480, true)
	answer[5], answer[21] = 78, 53 // another datagram, from port 53
	answer[20] = 0
	more := cut(1480, 2960, true)
	more[5] = 78
	if ev := p.play(1, answer); ev != EvNew|EvUnasked|EvFragment|EvOpening {
		t.Errorf("first fragment of an answer: %b", ev)
	}
	if ev := p.play(1, more); ev != EvUnasked|EvFragment {
		t.Errorf("second fragment of an answer: %b", ev)
	}
	r := p.end()
	if len(r) != 2 || r[0].O.Packets != 4 || r[0].O.IPBytes != 1500+1500+620+60 || r[0].RespPort != 4444 {
		t.Errorf("records %+v", r)
	}
}

// frame is an IPv4 packet of the raw link type.
func frame(b []byte, proto byte, src, dst uint32, sport, dport uint16, seq, ack uint32, flags byte, payload int) []byte {
	header := 20
	if proto == protoUDP {
		header = 8
	}
	b = append(b[:0], 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0)
	binary.BigEndian.PutUint16(b[2:], uint16(20+header+payload))
	b = binary.BigEndian.AppendUint32(b, src)
	b = binary.BigEndian.AppendUint32(b, dst)
	b = binary.BigEndian.AppendUint16(b, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	if proto == protoUDP {
		b = binary.BigEndian.AppendUint16(b, uint16(8+payload))
		b = append(b, 0, 0)
	} else {
		b = binary.BigEndian.AppendUint32(b, seq)
		b = binary.BigEndian.AppendUint32(b, ack)
		b = append(b, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	}
	return append(b, make([]byte, payload)...)
}
