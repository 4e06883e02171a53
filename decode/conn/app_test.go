package conn

import (
	"testing"
	"unsafe"

	"weir/decode"
)

// TestServiceName holds names by opening against those by port.
func TestServiceName(t *testing.T) {
	for _, c := range []struct {
		proto uint8
		port  uint16
		app   App
		want  string
	}{
		{protoTCP, 22, AppNone, "ssh"},
		{protoTCP, 22, AppTLS, "ssl"},
		{protoTCP, 2222, AppNone, ""},
		{protoTCP, 2222, AppSSH, "ssh"},
		{protoTCP, 443, AppHTTP, "http"},
		{protoTCP, 853, AppDNS, "dns"},
		{protoUDP, 853, AppNone, ""},
		{protoUDP, 4433, AppQUIC, "quic"},
		{protoICMP, 8, AppNone, ""},
	} {
		r := Record{Proto: c.proto, RespPort: c.port, App: c.app}
		if got := r.Service(); got != c.want {
			t.Errorf("%d/%d opened with %q: %q, want %q", c.proto, c.port, c.app, got, c.want)
		}
	}
	if got := (AppSSH.Set() | AppTLS.Set() | AppNone.Set()).String(); got != "ssl,ssh" {
		t.Errorf("a set: %q", got)
	}
	if got := AllApps.String(); got != "ssl,http,ssh,dns,quic" {
		t.Errorf("all: %q", got)
	}
	if n := unsafe.Sizeof(Record{}); n != 376 {
		t.Errorf("a record has %d bytes, had 376 before it told the application", n)
	}
}

// TestOpened follows what a connection opened with to its session and its record, in the table and while one packet of it was seen.
func TestOpened(t *testing.T) {
	p := newTape(t)
	p.segments("c S 100 0 0; s S. 900 101 0; c . 101 901 0; s P. 901 101 20")
	pkt := p.pkt[0]
	if n := testing.AllocsPerRun(100, func() { p.tables.Opened(&pkt, AppSSH) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	p.segments("c R. 101 921 0")
	p.wait(10_000)
	p.segments("c S 500 0 0; s S. 1900 501 0; c . 501 1901 0; s P. 1901 501 20") // the same ports anew
	p.end()
	var sessions []App
	for i := range p.out.Sessions {
		sessions = append(sessions, p.out.Sessions[i].App)
	}
	if len(p.records) != 2 || p.records[0].App != AppSSH || p.records[0].Service() != "ssh" || p.records[1].App != AppNone {
		t.Errorf("records %+v", p.records)
	}
	if want := []App{AppNone, AppSSH, AppNone, AppNone}; len(sessions) != 4 || [4]App(sessions) != [4]App(want) {
		t.Errorf("sessions %v, want %v: begin and end of both", sessions, want)
	}

	p = newTape(t)
	p.play(0, frame(nil, protoUDP, server, client, 5000, 40000, 0, 0, 0, 60))
	p.tables.Opened(&p.pkt[0], AppDNS)
	p.play(10, frame(nil, protoUDP, client, server, 40000, 5000, 0, 0, 0, 30))
	p.end()
	if len(p.records) != 1 || p.records[0].App != AppDNS || p.records[0].O.Packets != 1 || p.records[0].R.Packets != 1 {
		t.Errorf("from one packet on: %+v", p.records)
	}
	p.tables.Opened(&decode.Packet{}, AppTLS) // of no connection
}
