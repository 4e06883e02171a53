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
	config     *config // as a whole; never changed
	settings   policy.Config
	configured *network.Networks
	servers    []string // of NATS
	host       network.Host
	told       []func(policy.Config, *network.Networks)
}

func newProtected(settings *config, log *slog.Logger) (*protected, error) {
	p := &protected{log: host.Limited(log, time.Minute)}
	if err := p.configure(settings); err != nil {
		return nil, err
	}
	f, err := host.ReadFacts()
	if err != nil {
		return nil, err
	}
	p.resolve(context.Background(), p.servers)
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
	own := *settings
	p.config = &own
	p.settings, p.configured, p.servers = settings.Policy, networks, settings.NATS.Servers
	p.tell()
	return nil
}

// learn takes in what the host knows of itself now.
func (p *protected) learn(f host.Facts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.host = network.Host{
		Addresses: f.Addresses, Gateways: f.Gateways, Resolvers: f.Resolvers, SSHPeers: f.SSHPeers, NATSServers: p.host.NATSServers,
	}
	p.tell()
}

// watch follows the host, the files and URLs of lists, and the names of its NATS servers, until ctx ends.
func (p *protected) watch(ctx context.Context) {
	var work sync.WaitGroup
	work.Go(func() { p.watchServers(ctx) })
	work.Go(func() { p.watchLists(ctx) })
	host.WatchFacts(ctx, p.log, p.learn)
	work.Wait()
}

// follow calls f with what is protected, now and after each change. It must not block.
func (p *protected) follow(f func(policy.Config, *network.Networks)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, f)
	f(p.settings, p.networks())
}

// now is what is protected at this moment.
func (p *protected) now() *network.Networks {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.networks()
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

const (
	lookupEvery = 30 * time.Second
	lookupTime  = 2 * time.Second // of a name
	maxServers  = 256             // addresses that are remembered
)

// watchServers follows the names of NATS servers until ctx ends. Resolvers may be slow while the link is flooded: who waits for them
// is nobody else.
func (p *protected) watchServers(ctx context.Context) {
	tick := time.NewTicker(lookupEvery)
	defer tick.Stop()
	for {
		p.mu.Lock()
		servers := p.servers
		p.mu.Unlock()
		if p.resolve(ctx, servers) {
			p.mu.Lock()
			p.tell()
			p.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// resolve looks up the names of servers, and tells whether there is an address that was not known. Those of before stay: connections to
// them may go on, and a name that has no address now had one.
func (p *protected) resolve(ctx context.Context, servers []string) (more bool) {
	for _, s := range servers {
		u, err := url.Parse(s)
		if err != nil {
			continue
		}
		once, cancel := context.WithTimeout(ctx, lookupTime)
		found, err := net.DefaultResolver.LookupNetIP(once, "ip", u.Hostname()) // of an address itself
		cancel()
		if err != nil && ctx.Err() == nil {
			p.log.Warn("the name of a NATS server is not found: addresses that it had stay protected, new ones are not", "server", u.Hostname(), "error", err)
		}
		p.mu.Lock()
		for _, a := range found {
			a = a.Unmap().WithZone("")
			if known := p.host.NATSServers; !slices.Contains(known, a) && len(known) < maxServers {
				p.host.NATSServers = append(slices.Clip(known), a) // the list before may be in use
				more = true
			}
		}
		p.mu.Unlock()
	}
	return more
}
