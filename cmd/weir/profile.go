package main

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// profiles are named sets of defaults, which the rest of a configuration goes over.
var profiles = map[string]func(*config){
	"default": func(*config) {},
	"small":   (*config).small,
}

// small fits into 256 MB and one processor: an eighth of the tables, for links up to some 100 Mbit/s and some thousand hosts. What
// finds no room is counted, as ever.
func (c *config) small() {
	c.MemoryMiB = 240
	c.Capture.RingMiB = 8
	c.Connections.Conns, c.Connections.HalfOpen, c.Connections.Extras, c.Connections.Fragments = 32768, 16384, 16384, 2048
	t := &c.Tally
	for _, n := range []*int{&t.Services, &t.Hosts, &t.Sources, &t.Details, &t.Prints, &t.Contacts, &t.Suspects, &t.Pairs, &t.Openings, &t.Names, &t.Webs} {
		*n = max(*n/8, 16)
	}
	a := &c.Analyzers
	for _, n := range []*int{
		&a.Scan.Sources, &a.Flood.MaxVictims, &a.Flood.MaxNormals, &a.Fingerprint.Sources, &a.Fingerprint.Prints, &a.Bruteforce.Pairs, &a.HTTP.Clients,
		&a.Weird.Addresses, &a.DNS.Domains, &a.Tunnel.Pairs, &a.Exfil.Pairs, &a.Beacon.Pairs, &a.Rate.Keys, &a.Rate.Pairs, &a.Rate.Hours,
		&a.Change.Services, &a.Change.Hosts, &a.Latency.Keys,
	} {
		*n /= 8
	}
	c.Baseline.Keys, c.Baseline.Profiles, c.Baseline.Spreads, c.Baseline.Seen = 8192, 2048, 512, 131072
	c.Policy.MaxPeers, c.Policy.MaxStrikes, c.Policy.MaxDrops = 8192, 8192, 2048
	c.Gate.Hosts4, c.Gate.Hosts6, c.Gate.Prefixes, c.Gate.Peers = 16384, 4096, 2048, 8192
	c.Alerts.MaxOpen /= 8
	c.NATS.StoreMiB, c.NATS.OutboxMiB = 512, 16
	c.NATS.Streams.Alerts.MaxMiB, c.NATS.Streams.Drops.MaxMiB = 128, 128
	c.Store.MaxMiB, c.Store.EvidenceMiB, c.Store.RowsPerSecond = 2048, 4, 2000
}

// profiled are the defaults of the profile that a configuration names.
func profiled(text []byte) (config, error) {
	var named struct {
		Profile string `yaml:"profile"`
	}
	c := defaults()
	if yaml.Unmarshal(text, &named) != nil || named.Profile == "" {
		return c, nil // parse says what is wrong with the text
	}
	apply, ok := profiles[named.Profile]
	if !ok {
		return c, fmt.Errorf(`profile is %q, must be "default" or "small"`, named.Profile)
	}
	apply(&c)
	return c, nil
}
