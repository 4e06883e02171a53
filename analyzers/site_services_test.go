package analyzers

import (
	"net/netip"
	"testing"

	"weir/analyzers/context"
	"weir/analyzers/tally"
	"weir/decode"
	"weir/decode/conn"
)

// TestServiceName: an operator's name goes before what a service opens with, that before its port.
func TestServiceName(t *testing.T) {
	site := NewSite(context.New(context.Config{Services: map[string]string{"8443/tcp": "portal", "10.20.0.9:2222/tcp": "bastion"}}, nil, nil), nil)
	opens := func(server string, app conn.App) {
		site.Observe(&tally.Epoch{Pairs: []tally.Pair{{Key: loginKey("198.51.100.7", server), Apps: app.Set()}}})
	}
	opens("10.20.0.22:2222", conn.AppSSH)
	opens("10.20.0.9:2222", conn.AppSSH)
	opens("10.20.0.22:443", conn.AppSSH)
	opens("10.20.0.22:8443", conn.AppHTTP)
	opens("10.20.0.22:80", conn.AppHTTP)
	opens("[2001:db8::5]:8022", conn.AppSSH)
	for _, c := range []struct{ service, want string }{
		{"10.20.0.22:2222", "ssh"},
		{"10.20.0.23:2222", ""},
		{"10.20.0.9:2222", "bastion"},
		{"10.20.0.22:443", "ssh"},
		{"10.20.0.23:443", "ssl"},
		{"10.20.0.22:8443", "portal"},
		{"10.20.0.22:80", "http"},
		{"[2001:db8::5]:8022", "ssh"},
	} {
		at := netip.MustParseAddrPort(c.service)
		if got := site.ServiceName(at.Addr(), protoTCP, at.Port()); got != c.want {
			t.Errorf("%s is called %q, want %q", c.service, got, c.want)
		}
	}
	if got := site.ServiceName(netip.MustParseAddr("10.20.0.22"), protoTCP, 0); got != "" {
		t.Errorf("a host is called %q", got)
	}
	opens("10.20.0.22:443", conn.AppTLS)
	opens("10.20.0.22:443", conn.AppTLS)
	if at := netip.MustParseAddr("10.20.0.22"); site.ServiceName(at, protoTCP, 443) != "ssl" {
		t.Error("a service that opens with TLS again is called otherwise")
	}
}

// TestServicesBounded: a million services that open with SSH take no more room than openedMost, and cost no service its own counts.
func TestServicesBounded(t *testing.T) {
	site := NewSite(nil, nil)
	usual := loginKey("198.51.100.7", "10.20.0.22:2222")
	for tick := range int64(100) {
		e := &tally.Epoch{Tick: tick, SketchKey: 7, Pairs: []tally.Pair{{Key: usual, Apps: conn.AppSSH.Set()}}}
		for i := range uint64(10_000) {
			k := usual
			k.Server = decode.Addr{Lo: 0xffff_cb00_0000 + uint64(tick)*10_000 + i}
			e.Pairs = append(e.Pairs, tally.Pair{Key: k, Apps: conn.AppSSH.Set()})
		}
		site.Observe(e)
	}
	if n := entries(site.opened.sets); n > openedMost {
		t.Errorf("%d services are remembered", n)
	}
	if !site.Speaks(&usual, conn.AppSSH) || site.opened.Evicted == 0 {
		t.Errorf("the usual service is forgotten; %d went", site.opened.Evicted)
	}
}
