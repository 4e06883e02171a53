package main

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"weir/sensor/host"
)

// TestServersStayProtected: addresses of NATS servers outlive a name that is not found any more, and a change of what the host knows.
func TestServersStayProtected(t *testing.T) {
	p := &protected{log: slog.New(slog.DiscardHandler)}
	settings := defaults()
	settings.NATS.Servers = []string{"nats://192.0.2.1:4222", "tls://token@[2001:db8::1]:4222", "nats://localhost"}
	if err := p.configure(&settings); err != nil {
		t.Fatal(err)
	}
	if !p.resolve(context.Background(), p.servers) {
		t.Error("nothing new at the first look")
	}
	first := slices.Clone(p.host.NATSServers)
	for _, want := range []string{"192.0.2.1", "2001:db8::1", "127.0.0.1"} {
		if !slices.Contains(first, netip.MustParseAddr(want)) {
			t.Errorf("%s is missing in %v", want, first)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for _, ctx := range []context.Context{context.Background(), gone} {
		if p.resolve(ctx, p.servers) {
			t.Error("something new at a later look")
		}
	}
	p.learn(host.Facts{SSHPeers: []netip.Addr{netip.MustParseAddr("192.0.2.7")}})
	if !slices.Equal(p.host.NATSServers, first) {
		t.Errorf("%v, before %v", p.host.NATSServers, first)
	}
}
