// Package context is what a site knows of its addresses: which networks are its own, whom it trusts, what it must never hurt,
// the prefix lists that its operator names, and the special ranges that the standards set apart.
package context

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/gaissmai/bart"
)

// Config is the section `networks` of the configuration. Where a prefix is asked for, an address stands for itself.
type Config struct {
	Inside            []Prefix     `yaml:"inside"`             // the site's own networks; none: the private ranges
	Own               []Prefix     `yaml:"own"`                // addresses of this site's equipment, besides those the host itself knows
	TrustedProxies    []Prefix     `yaml:"trusted_proxies"`    // who speaks for many clients: load balancers, CDN edges
	KnownDestinations []Prefix     `yaml:"known_destinations"` // where much data may go: backup, mirrors
	Never             []Prefix     `yaml:"never"`              // never dropped, never limited
	Lists             []ListConfig `yaml:"lists"`              // prefix lists in files, by name
	Origins           []string     `yaml:"origins"`            // databases (.mmdb) that tell ASN and country

	Names    map[string]string `yaml:"names"`    // of networks, by prefix or address: alerts tell them
	Services map[string]string `yaml:"services"` // names of services, by "8443", "5514/udp" or "10.20.0.10:9000/tcp"
	Refresh  time.Duration     `yaml:"refresh"`  // how often lists that have a URL are asked for
}

// Defaults are the networks of a site that nobody described.
func Defaults() Config {
	return Config{Names: map[string]string{}, Services: map[string]string{}, Refresh: time.Hour}
}

// ListConfig names prefixes in a file, or at a URL.
type ListConfig struct {
	Name   string `yaml:"name"`
	File   string `yaml:"file"`
	URL    string `yaml:"url"`    // in place of a file: http or https, a mirror of one's own rather than the origin
	Format Format `yaml:"format"` // plain, csv or drop
	Never  bool   `yaml:"never"`  // its prefixes are never dropped, like Config.Never
}

// maxLists bounds the lists: each costs a look-up.
const maxLists = 64

// Check tells which setting cannot be.
func (c *Config) Check() error {
	if len(c.Lists) > maxLists {
		return fmt.Errorf("networks: %d lists, at most %d", len(c.Lists), maxLists)
	}
	seen := map[string]bool{}
	for _, l := range c.Lists {
		switch {
		case l.Name == "" || (l.File == "") == (l.URL == ""):
			return errors.New("networks: a list needs a name, and either file or url")
		case l.URL != "" && !isWeb(l.URL):
			return fmt.Errorf("networks: list %q: %q is no http or https URL", l.Name, l.URL)
		case seen[l.Name]:
			return fmt.Errorf("networks: two lists have the name %q", l.Name)
		case l.Format >= formatCount:
			return fmt.Errorf("networks: list %q has no known format", l.Name)
		}
		seen[l.Name] = true
	}
	if c.Refresh != 0 && (c.Refresh < time.Minute || c.Refresh > 30*24*time.Hour) {
		return fmt.Errorf("networks: refresh is %v, must be 1m to 720h", c.Refresh)
	}
	_, err := newNamed(c)
	return err
}

func isWeb(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// Source is where a list is read from, for a message.
func (l *ListConfig) Source() string { return cmp.Or(l.File, l.URL) }

// Host is what a running host knows of itself, from the kernel and its connections. It changes while a process runs.
type Host struct {
	Addresses   []netip.Addr // of its interfaces
	Gateways    []netip.Addr // next hops of its routes
	Resolvers   []netip.Addr // that it asks
	NATSServers []netip.Addr // that it is connected to, or may be
	SSHPeers    []netip.Addr // remote ends of established SSH sessions
}

// Origin tells where an address belongs. A nil Origin knows nothing.
type Origin interface {
	Of(ip netip.Addr) (asn uint32, country string) // 0 and "" where unknown; country as ISO 3166-1 alpha-2
}

// Role is what an address is to the site.
type Role uint8

// Roles.
const (
	Inside Role = iota
	Own
	Gateway
	Resolver
	NATSServer
	SSHPeer
	TrustedProxy
	KnownDestination
	Never // Config.Never and the lists that are marked so
	RoleCount
)

var roleNames = [RoleCount]string{
	"inside", "own", "gateway", "resolver", "nats_server", "ssh_peer", "trusted_proxy", "known_destination", "never",
}

// String is the role in the words of the configuration.
func (r Role) String() string { return roleNames[r] }

// Networks answers what an address or prefix is. It does not change: WithHost makes another one. Safe for concurrent use. A
// look-up takes some ten ns.
//
// IPv4 addresses written as IPv6 (::ffff:0:0/96) are their IPv4 addresses, in what is put in and what is asked.
type Networks struct {
	roles  [RoleCount]*bart.Lite
	fixed  [RoleCount][]netip.Prefix // of the configuration, to add a host's to
	lists  []*List
	origin Origin
	names  *named
}

// New makes Networks of a configuration that was checked, and the lists that were read for it.
func New(cfg Config, lists []*List, origin Origin) *Networks {
	n := &Networks{lists: lists, origin: origin}
	n.names, _ = newNamed(&cfg)
	if n.names == nil {
		n.names = &named{}
	}
	inside := cfg.Inside
	if len(inside) == 0 {
		inside = privatePrefixes()
	}
	for role, list := range map[Role][]Prefix{
		Inside: inside, Own: cfg.Own, TrustedProxy: cfg.TrustedProxies, KnownDestination: cfg.KnownDestinations, Never: cfg.Never,
	} {
		for _, p := range list {
			n.fixed[role] = append(n.fixed[role], p.Prefix)
		}
	}
	for r := range n.roles {
		n.roles[r] = tableOf(n.fixed[r])
	}
	return n
}

// WithHost is the same networks on a host that is now so. What the configuration names as own stays own.
func (n *Networks) WithHost(h Host) *Networks {
	out := *n
	for role, list := range map[Role][]netip.Addr{
		Own: h.Addresses, Gateway: h.Gateways, Resolver: h.Resolvers, NATSServer: h.NATSServers, SSHPeer: h.SSHPeers,
	} {
		all := slices.Clone(n.fixed[role])
		for _, a := range list {
			if a = a.Unmap().WithZone(""); a.IsValid() {
				all = append(all, netip.PrefixFrom(a, a.BitLen()))
			}
		}
		out.roles[role] = tableOf(all)
	}
	return &out
}

func tableOf(list []netip.Prefix) *bart.Lite {
	t := new(bart.Lite)
	for _, p := range list {
		t.Insert(Native(p))
	}
	return t
}

// Is reports whether an address has a role.
func (n *Networks) Is(r Role, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return n.roles[r].Contains(ip) || r == Never && n.neverListed(netip.PrefixFrom(ip, ip.BitLen())) != ""
}

// Hits reports whether a prefix and a role have an address in common.
func (n *Networks) Hits(r Role, p netip.Prefix) bool {
	p = Native(p)
	return p.IsValid() && (n.roles[r].OverlapsPrefix(p) || r == Never && n.neverListed(p) != "")
}

// Find is what of a role has an address in common with p, in words for a message: a prefix, or the name of a list.
func (n *Networks) Find(r Role, p netip.Prefix) (what string, ok bool) {
	p = Native(p)
	if !p.IsValid() {
		return "", false
	}
	for q := range n.roles[r].Supernets(p) {
		return q.String(), true
	}
	for q := range n.roles[r].Subnets(p) {
		return q.String(), true
	}
	if r == Never {
		if name := n.neverListed(p); name != "" {
			return "list " + name, true
		}
	}
	return "", false
}

// neverListed is the name of a list of what is never dropped that has an address in common with p.
func (n *Networks) neverListed(p netip.Prefix) string {
	for _, l := range n.lists {
		if l.never && l.Hits(p) {
			return l.name
		}
	}
	return ""
}

// Members are the prefixes of a role in order: what a start-up prints. Lists are left out.
func (n *Networks) Members(r Role) []netip.Prefix { return slices.Collect(n.roles[r].AllSorted()) }

// Lists are the lists that were read, in order of the configuration.
func (n *Networks) Lists() []*List { return n.lists }

// Listed are the names of the lists that hold all of a prefix, in order of the configuration.
func (n *Networks) Listed(p netip.Prefix) []string {
	var names []string
	for _, l := range n.lists {
		if l.Holds(p) {
			names = append(names, l.name)
		}
	}
	return names
}

// Origin is where an address belongs, as far as is known.
func (n *Networks) Origin(ip netip.Addr) (asn uint32, country string) {
	if n.origin == nil {
		return 0, ""
	}
	return n.origin.Of(ip.Unmap().WithZone(""))
}
