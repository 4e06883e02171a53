package conn

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/decode"
)

// told writes sessions as one line each: stage, packets and payload of both sides, and what else is set.
func (p *tape) told() (lines []string) {
	for i := range p.out.Sessions {
		v := &p.out.Sessions[i]
		c, s := &v.Sent[0], &v.Sent[1]
		line := fmt.Sprintf("%s %d/%d %d/%d", [...]string{"begin", "burst", "on", "end"}[v.Stage], c.Packets, s.Packets, c.Payload, s.Payload)
		for i, is := range [...]bool{v.Short, v.Midstream, v.OneWay} {
			if is {
				line += [...]string{" short", " midway", " one way"}[i]
			}
		}
		lines = append(lines, line)
	}
	p.out.Sessions = p.out.Sessions[:0]
	return lines
}

func (p *tape) tells(what string, want ...string) {
	p.t.Helper()
	if got := p.told(); !slices.Equal(got, want) {
		p.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestSession follows one connection through all that it tells.
func TestSession(t *testing.T) {
	p := newTape(t)
	p.segments("c S 100 0 0; s S. 900 101 0")
	p.tells("half open")
	p.segments("c . 101 901 0")
	if v := p.out.Sessions[0]; v.RTT != 20_000 || v.SYN != (SYN{Window: 0xffff, Len: 40, TTL: 64}) || !v.Proven || v.Client.Netip(4).String() != "10.0.0.1" ||
		v.ClientPort != 40000 || v.Port != 9999 || v.First != start+10e6 || v.Time != start+30e6 {
		t.Errorf("%+v", v)
	}
	p.tells("handshake", "begin 0/0 0/0")
	p.segments("c P. 101 901 50; s P. 901 151 70")
	p.tells("data")
	p.tcp(990, 'c', "P.", 151, 971, 10)
	p.tells("a short pause")
	p.tcp(1000, 'c', "P.", 161, 971, 10)
	p.tells("a pause", "burst 5/2 70/70") // the packet itself is in it
	p.tcp(1000, 's', "P.", 971, 171, 10)
	p.tcp(1100, 'c', "P.", 161, 981, 10)
	p.tells("the server speaks, and a segment comes again")
	p.wait(20_000)
	if got := p.told(); len(got) != 1 || got[0] != "on 1/1 0/10" {
		t.Errorf("in 20 s: %q", got)
	}
	p.wait(30_000)
	p.tells("in silence")
	p.tcp(1, 'c', "R.", 171, 981, 0)
	p.wait(10_000)
	p.tells("its end", "on 1/0 0/0", "end 0/0 0/0")
	p.end()
	p.tells("after it")
}

// TestSessionEnds: which ends are those of short sessions.
func TestSessionEnds(t *testing.T) {
	open := "c S 100 0 0; s S. 900 101 0; c . 101 901 0; "
	for _, c := range []struct {
		name, script string
		pause        int64 // ms before the end of the input
		want         string
	}{
		{"short", open + "c P. 101 901 5; s P. 901 106 7; c F. 106 908 0; s F. 908 107 0; c . 107 909 0", 9000, "begin 0/0 0/0; end 5/3 5/7 short"},
		{"cut off after its end", open + "c P. 101 901 5; s P. 901 106 7; c F. 106 908 0; s F. 908 107 0; c . 107 909 0", 0, "begin 0/0 0/0; end 5/3 5/7 short"},
		{"cut off", open + "c P. 101 901 5; s P. 901 106 7", 0, "begin 0/0 0/0; end 3/2 5/7"},
		{"without an answer", open + "c P. 101 901 5; c F. 106 901 0; s F. 901 107 0", 9000, "begin 0/0 0/0; end 4/2 5/0"},
		{"large", open + "c P. 101 901 8193; s P. 901 8294 7; c R. 8294 908 0", 9000, "begin 0/0 0/0; end 4/2 8193/7"},
		{"refused", "c S 100 0 0; s R. 0 101 0", 9000, ""},
		{"half open", "c S 100 0 0; s S. 900 101 0; s S. 900 101 0", 90_000, ""},
		{"midway", "c P. 101 901 5; s . 901 106 0; s P. 901 106 5", 0, "begin 0/0 0/0 midway; end 1/2 5/5 midway"},
		{"strays refused", "c P. 101 901 5; s R 901 0 0; c P. 106 901 5; c P. 111 901 5", 9000, ""},
		{"three strays", "c P. 101 901 5; c P. 106 901 5; c P. 111 901 5", 9000, ""},
		{"one way", "c P. 101 901 5; c P. 106 901 5; c P. 111 901 5; c P. 116 901 5", 0, "end 4/0 20/0 midway one way"},
		{"one way without payload", "c . 101 901 0; c . 101 901 0; c . 101 901 0; c . 101 901 0; c . 101 901 0", 0, ""},
	} {
		p := newTape(t)
		p.segments(c.script)
		p.wait(c.pause)
		p.end()
		if got := strings.Join(p.told(), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestDatagramSessions: the first answer begins a session, whatever asked.
func TestDatagramSessions(t *testing.T) {
	p := newTape(t)
	query, answer := frame(nil, protoUDP, client, server, 40000, 53, 0, 0, 0, 30), frame(nil, protoUDP, server, client, 53, 40000, 0, 0, 0, 90)
	p.play(0, query)
	p.tells("a question")
	p.play(10, answer)
	p.tells("an answer", "begin 0/0 0/0")
	p.play(10, query)
	p.wait(30_000)
	p.tells("more, and silence", "on 2/1 60/90", "end 0/0 0/0 short")
	p.play(0, icmp(client, server, 8, 0, nil))
	p.play(10, icmp(server, client, 0, 0, nil))
	p.tells("an echo", "begin 0/0 0/0")
	for range 5 {
		p.play(10, frame(nil, protoUDP, client, server, 40001, 514, 0, 0, 0, 100))
	}
	p.end()
	p.tells("a log that nobody answers", "end 1/1 0/0", "end 5/0 500/0 one way")
	for i := range uint32(1000) {
		p.play(0, frame(nil, protoUDP, i, server, 40001, 80, 0, 0, 0, 100))
		p.play(0, frame(nil, protoTCP, i, server, 40001, 80, i, 0, 2, 0))
	}
	p.end()
	p.tells("a flood")
}

// TestOpenings counts the packets that openings are looked for in.
func TestOpenings(t *testing.T) {
	p := newTape(t)
	marked := func(packets, payload int, seq *uint32, who byte) (n int) {
		for range packets {
			ev := p.tcp(1, who, "P.", *seq, 0, payload)
			if *seq += uint32(payload); ev&EvOpening != 0 {
				n++
			}
		}
		return n
	}
	p.segments("c S 100 0 0; s S. 900 101 0; c . 101 901 0")
	c, s := uint32(101), uint32(901)
	if a, b, d := marked(5, 100, &c, 'c'), marked(20, 100, &s, 's'), marked(20, 0, &c, 'c'); a != 5 || b != 7 || d != 0 {
		t.Errorf("%d, %d and %d packets marked, want 5, 7 and 0", a, b, d)
	}
	p.tables.Watch(&p.pkt[0], true)
	if a := marked(30, 100, &c, 'c') + marked(3, 0, &c, 'c'); a != 30 {
		t.Errorf("watched: %d packets marked of 30", a)
	}
	p.tables.Watch(&p.pkt[0], false)
	if a := marked(3, 100, &c, 'c'); a != 0 {
		t.Errorf("done: %d packets marked", a)
	}
	if syn, ok := p.tables.SYNOf(&p.pkt[0]); !ok || syn != (SYN{Window: 0xffff, Len: 40, TTL: 64}) {
		t.Errorf("SYN %+v, %v", syn, ok)
	}

	p = newTape(t)
	p.segments("c S 100 0 0; s S. 900 101 0; c . 101 901 0")
	c = 101
	if a := marked(20, 6000, &c, 'c'); a != 2 { // the third is beyond 16 KiB
		t.Errorf("%d packets of 6000 bytes marked, want 2", a)
	}

	p = newTape(t)
	p.segments("c S 100 0 0")
	c = 101
	if a := marked(20, 10, &c, 'c'); a != 0 {
		t.Errorf("%d packets marked without an answer", a)
	}
	for name, script := range map[string]string{ // what a server answers to a client's forged address
		"a SYN, and data that does not know the SYN-ACK": "c S 100 0 0; s S. 900 101 0",
		"data out of nothing, and a RST":                 "c P. 101 901 10; s R 901 0 0",
	} {
		p = newTape(t)
		p.segments(script)
		c = 101
		if a := marked(20, 10, &c, 'c'); a != 0 {
			t.Errorf("%s: %d packets marked", name, a)
		}
	}
	p = newTape(t)
	p.segments("c P. 101 901 10; s P. 901 111 10")
	c = 111
	if a := marked(20, 10, &c, 'c'); a != 11 { // and the server's
		t.Errorf("met midway: %d packets marked, want 11", a)
	}

	p = newTape(t)
	n := 0
	for range 10 {
		if p.play(1, frame(nil, protoUDP, client, server, 40000, 443, 0, 0, 0, 1200))&EvOpening != 0 {
			n++
		}
	}
	if _, ok := p.tables.SYNOf(&p.pkt[0]); n != 6 || ok {
		t.Errorf("%d datagrams marked, want 6; SYN of UDP: %v", n, ok)
	}
	p.play(1, frame(nil, protoUDP, client, server, 40001, 443, 0, 0, 0, 1200))
	p.tables.Watch(&p.pkt[0], false) // while it is half-open
	if ev := p.play(1, frame(nil, protoUDP, client, server, 40001, 443, 0, 0, 0, 1200)); ev&EvOpening != 0 {
		t.Errorf("done after its first datagram: %b", ev)
	}
}

// TestPeculiar plays what shows that a connection is not what it seems.
func TestPeculiar(t *testing.T) {
	const peculiar = EvTTL | EvSplit | EvResend | EvOverlap
	open := "c S 100 0 0; s S. 900 101 0; c . 101 901 0; c P. 101 901 50; "
	for _, c := range []struct {
		name, script string
		want         Event // of the last segment
	}{
		{"new data", open + "c P. 151 901 50", 0},
		{"the same again", open + "c P. 101 901 50", 0},
		{"a part again", open + "c P. 111 901 10", 0},
		{"again, and more", open + "c P. 101 901 60", EvResend},
		{"the end again, and more", open + "c P. 140 901 60", EvResend},
		{"a keep-alive", open + "c P. 150 901 1", 0},
		{"a window probe, then its byte with more", open + "c . 151 901 1; c P. 151 901 50", 0},
		{"beyond a gap", open + "c P. 200 901 50", 0},
		{"split handshake", "c S 100 0 0; s S 900 0 0", EvSplit},
		{"split handshake, acknowledged first", "c S 100 0 0; s . 900 101 0; s S 900 0 0", EvSplit},
		{"answered", "c S 100 0 0; s S. 900 101 0", 0},
	} {
		p := newTape(t)
		p.segments(c.script)
		if got := p.ev & peculiar; got != c.want {
			t.Errorf("%s: %b, want %b", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		flags byte
		ttl   byte
		want  Event
	}{{0x10, 80, 0}, {0x18, 72, 0}, {0x18, 73, EvTTL}, {4, 56, 0}, {4, 55, EvTTL}, {4, 255, EvTTL}} {
		p := newTape(t)
		p.segments(strings.TrimSuffix(open, "; "))
		payload := int(c.flags&8) * 4
		b := frame(nil, protoTCP, client, server, 40000, 9999, 151, 901, c.flags, payload)
		b[8] = c.ttl
		if got := p.play(1, b) & peculiar; got != c.want {
			t.Errorf("hop limit %d after 64: %b, want %b", c.ttl, got, c.want)
		}
	}
}

// TestOverlappingFragments plays teardrop as its exploit of 1997 sent it, and what networks do to fragments.
func TestOverlappingFragments(t *testing.T) {
	piece := func(off, size int, more bool) []byte {
		b := frame(nil, protoUDP, client, server, 40000, 9999, 0, 0, 0, 4000)
		b = append(b[:20:20], b[20+off:20+off+size]...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		b[5] = 77
		field := uint16(off / 8)
		if more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], field)
		return b
	}
	for _, c := range []struct {
		name   string
		pieces [][]byte
		want   int
	}{
		{"teardrop", [][]byte{piece(0, 36, true), piece(24, 4, false)}, 1},
		{"in order", [][]byte{piece(0, 1480, true), piece(1480, 1480, true), piece(2960, 100, false)}, 0},
		{"twice", [][]byte{piece(0, 1480, true), piece(0, 1480, true), piece(1480, 1480, true), piece(1480, 1480, true), piece(2960, 100, false), piece(2960, 100, false)}, 0},
		{"out of order", [][]byte{piece(0, 1480, true), piece(2960, 100, false), piece(1480, 1480, true)}, 0},
		{"another first", [][]byte{piece(0, 1480, true), piece(0, 800, true)}, 1},
		{"longer the second time", [][]byte{piece(0, 800, true), piece(800, 400, true), piece(800, 800, true)}, 1},
	} {
		p := newTape(t)
		n := 0
		for _, b := range c.pieces {
			if p.play(1, b)&EvOverlap != 0 {
				n++
			}
		}
		if n != c.want {
			t.Errorf("%s: %d overlap, want %d", c.name, n, c.want)
		}
	}
}

// TestSessionsInTurn: of many connections that carry packets all the time, each tells about once in SessionEvery, and they
// do not tell all at once.
func TestSessionsInTurn(t *testing.T) {
	p := newTape(t)
	const conns, seconds = 200, 100
	p.tables = newTables(t, Defaults())
	p.out.Record = nil
	told, most := map[string]int{}, 0
	for s := range seconds {
		for port := range uint16(conns) {
			p.play(0, frame(nil, protoUDP, client, server, 1000+port, 9999, 0, 0, 0, 10))
			p.play(0, frame(nil, protoUDP, server, client, 9999, 1000+port, 0, 0, 0, 10))
		}
		p.wait(1000)
		n := 0
		for i := range p.out.Sessions {
			if v := &p.out.Sessions[i]; v.Stage == SessionOn {
				told[fmt.Sprint(v.ClientPort)]++
				n++
			}
		}
		if most = max(most, n); s == 0 {
			most = 0
		}
		p.out.Sessions = p.out.Sessions[:0]
	}
	for port, n := range told {
		if n < seconds/10-3 || n > seconds/10+3 {
			t.Errorf("port %s told %d times in %d s", port, n, seconds)
		}
	}
	if len(told) != conns || most > conns/4 {
		t.Errorf("%d of %d connections told, up to %d in a second", len(told), conns, most)
	}
	var pkt decode.Packet
	p.tables.Watch(&pkt, true) // of no connection
}
