package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	network "weir/analyzers/context"
	"weir/sensor/host"
	"weir/sensor/policy"
)

// protected is what must never be dropped here: what the configuration says, and what this host knows of itself. Who decides and
// who enforces are told when it changes.
type protected struct {
	log *slog.Logger

	mu         sync.Mutex
	settings   policy.Config
	configured *network.Networks
	servers    []string // of NATS
	host       network.Host
	told       []func(policy.Config, *network.Networks)
}

func newProtected(settings *config, log *slog.Logger) (*protected, error) {
	p := &protected{log: log}
	if err := p.configure(settings); err != nil {
		return nil, err
	}
	f, err := host.ReadFacts()
	if err != nil {
		return nil, err
	}
	p.learn(f)
	return p, nil
}

// configure goes on with other settings, whose prefix lists it reads.
func (p *protected) configure(settings *config) error {
	networks, err := settings.readNetworks()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settings, p.configured, p.servers = settings.Policy, networks, settings.NATS.Servers
	p.tell()
	return nil
}

// learn takes in what the host knows of itself now.
func (p *protected) learn(f host.Facts) {
	p.mu.Lock()
	servers := p.servers
	p.mu.Unlock()
	known := network.Host{
		Addresses: f.Addresses, Gateways: f.Gateways, Resolvers: f.Resolvers, SSHPeers: f.SSHPeers, NATSServers: serverAddresses(servers),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.host = known
	p.tell()
}

// watch follows the host until ctx ends.
func (p *protected) watch(ctx context.Context) { host.WatchFacts(ctx, p.log, p.learn) }

// follow calls f with what is protected, now and after each change. It must not block.
func (p *protected) follow(f func(policy.Config, *network.Networks)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, f)
	f(p.settings, p.networks())
}

func (p *protected) tell() {
	for _, f := range p.told {
		f(p.settings, p.networks())
	}
}

func (p *protected) networks() *network.Networks { return p.configured.WithHost(p.host) }

// lines say in words what is never dropped.
func (p *protected) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return policy.New(p.settings, p.networks()).Protected()
}

// spared are the sources from which the kernel drops nothing, whatever its entries say. What a host needs to find its neighbours
// and its address is among them.
func spared(n *network.Networks) []netip.Prefix {
	list := []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/32"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("::/128"),
		netip.MustParsePrefix("fe80::/10"),
	}
	for _, r := range []network.Role{network.Never, network.Own, network.Gateway, network.Resolver, network.NATSServer, network.SSHPeer, network.TrustedProxy} {
		list = append(list, n.Members(r)...)
	}
	for _, l := range n.Lists() {
		if l.Never() {
			list = slices.AppendSeq(list, l.All())
		}
	}
	return list
}

// serverAddresses are the addresses of NATS servers, by URL. A name that has none now has none here: the address in use stays
// protected until the next look.
func serverAddresses(urls []string) (all []netip.Addr) {
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			all = append(all, a.Unmap())
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		found, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
		cancel()
		for _, a := range found {
			all = append(all, a.Unmap())
		}
	}
	return all
}
