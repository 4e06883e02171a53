package analyzers

import (
	"errors"
	"unsafe"

	"weir/analyzers/tally"
)

// Config holds the settings of all analyzers.
type Config struct {
	Scan        ScanConfig        `yaml:"scan"`
	Flood       FloodConfig       `yaml:"flood"`
	Fingerprint FingerprintConfig `yaml:"fingerprint"`
	Bruteforce  BruteforceConfig  `yaml:"bruteforce"`
	HTTP        HTTPConfig        `yaml:"http"`
	Weird       WeirdConfig       `yaml:"weird"`
	DNS         DNSConfig         `yaml:"dns"`
	Tunnel      TunnelConfig      `yaml:"tunnel"`
	Exfil       ExfilConfig       `yaml:"exfil"`
	Beacon      BeaconConfig      `yaml:"beacon"`
	Rate        RateConfig        `yaml:"rate"`
	Change      ChangeConfig      `yaml:"change"`
	Latency     LatencyConfig     `yaml:"latency"`
}

// Defaults are the settings of analyzers that nobody configured.
func Defaults() Config {
	return Config{
		Scan: DefaultScan(), Flood: DefaultFlood(), Fingerprint: DefaultFingerprint(), Bruteforce: DefaultBruteforce(), HTTP: DefaultHTTP(),
		Weird: DefaultWeird(), DNS: DefaultDNS(), Tunnel: DefaultTunnel(), Exfil: DefaultExfil(), Beacon: DefaultBeacon(),
		Rate: DefaultRate(), Change: DefaultChange(), Latency: DefaultLatency(),
	}
}

// Check tells what is wrong with the settings.
func (c *Config) Check() error {
	return errors.Join(c.Scan.Check(), c.Flood.Check(), c.Fingerprint.Check(), c.Bruteforce.Check(), c.HTTP.Check(), c.Weird.Check(),
		c.DNS.Check(), c.Tunnel.Check(), c.Exfil.Check(), c.Beacon.Check(),
		c.Rate.Check(), c.Change.Check(), c.Latency.Check())
}

// Bytes is the memory of the analyzers' tables when they are full.
func (c *Config) Bytes() int {
	scan := c.Scan.Sources * int(unsafe.Sizeof(scanSource{}))
	victims := 3 * c.Flood.MaxVictims * int(unsafe.Sizeof(floodVictim{}))
	normals := c.Flood.MaxNormals * keepNormals * int(unsafe.Sizeof(tally.Header{}))
	tools := c.Fingerprint.Sources * int(unsafe.Sizeof(toolSource{}))
	return scan + victims + normals + tools + c.Fingerprint.mixBytes() + c.Bruteforce.bytes() + c.HTTP.bytes() + c.Weird.bytes() +
		c.DNS.bytes() + c.Tunnel.bytes() + c.Exfil.bytes() + c.Beacon.bytes() +
		c.Rate.bytes() + c.Change.bytes() + c.Latency.bytes()
}

// All returns the analyzers, in the order in which they judge an epoch. They share the site.
func All(cfg Config, site *Site) []Analyzer {
	return []Analyzer{
		NewScan(cfg.Scan),
		NewFlood(cfg.Flood, site),
		NewFingerprint(cfg.Fingerprint, site),
		NewBruteforce(cfg.Bruteforce, site),
		NewHTTP(cfg.HTTP, site),
		NewDNS(cfg.DNS, site),
		NewTunnel(cfg.Tunnel, site),
		NewExfil(cfg.Exfil, site),
		NewBeacon(cfg.Beacon, site),
		NewRate(cfg.Rate, site),
		NewChange(cfg.Change, site),
		NewLatency(cfg.Latency, site),
		NewWeird(cfg.Weird, site),
	}
}
