package enforce

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Config is the section `gate` of the configuration. Sizes are entries; the kernel takes the memory of hosts, services and peers at
// once, that of prefixes as they come: an IPv4 host costs about 128 bytes, an IPv6 host 16 more, a known peer about 100. A table made
// much larger than what is in it is slower. Pins and Sample do not concern nftables.
type Config struct {
	Mode     Mode          `yaml:"mode"`      // auto (xdp, else nftables), xdp, tcx (drops after a sensor on the same interface has seen), nftables
	Every    time.Duration `yaml:"every"`     // the kernel is read and compared with what is wanted so often; large tables seldomer
	Survive  bool          `yaml:"survive"`   // drops outlive this process and its crash, until they expire: xdp and tcx: pinned in a bpffs
	Pins     string        `yaml:"pins"`      // folder of the pins, in a bpffs; "": /sys/fs/bpf/weir, else one is mounted at /run/weir/bpf
	Hosts4   int           `yaml:"hosts4"`    // single IPv4 addresses
	Hosts6   int           `yaml:"hosts6"`    // single IPv6 addresses
	Prefixes int           `yaml:"prefixes"`  // of each family
	Services int           `yaml:"services"`  // limited ones
	Peers    int           `yaml:"peers"`     // known ones, who pass service limits; the least recently used go first
	PeerAge  time.Duration `yaml:"peer_age"`  // that a peer stays known after it was last seen connected
	PeerNew  int           `yaml:"peer_new"`  // new connections a second of each known peer past service limits; at most twice as many at once
	PeerRate int           `yaml:"peer_rate"` // other packets likewise
	Sample   int           `yaml:"sample"`    // one of so many dropped frames is looked at by the sensor; 0: none
}

// Mode is what drops.
type Mode string

// Modes.
const (
	ModeAuto     Mode = "auto"
	ModeXDP      Mode = "xdp"
	ModeTCX      Mode = "tcx"
	ModeNFTables Mode = "nftables"
)

var modes = []string{string(ModeAuto), string(ModeXDP), string(ModeTCX), string(ModeNFTables)}

// Defaults are a gate for an edge host. Three seconds are how long a drop may be missing after somebody emptied the tables.
func Defaults() Config {
	return Config{
		Mode: ModeAuto, Every: 3 * time.Second, Survive: true,
		Hosts4: 131_072, Hosts6: 32_768, Prefixes: 16_384, Services: 1024, Peers: 65_536,
		PeerAge: time.Hour, PeerNew: 20, PeerRate: 2000, Sample: 1000,
	}
}

// Check tells which setting cannot be.
func (c *Config) Check() error {
	var wrong []error
	if !slices.Contains(modes, string(c.Mode)) {
		wrong = append(wrong, fmt.Errorf("gate: mode is %q, must be %s", c.Mode, strings.Join(modes, ", ")))
	}
	for _, n := range []struct {
		name       string
		n, min, up int
	}{
		{"hosts4", c.Hosts4, 1, 1 << 24},
		{"hosts6", c.Hosts6, 1, 1 << 24},
		{"prefixes", c.Prefixes, 1, 1 << 20},
		{"services", c.Services, 1, 1 << 20},
		{"peers", c.Peers, 1, 1 << 24},
		{"peer_new", c.PeerNew, 1, 1e9},
		{"peer_rate", c.PeerRate, 1, 1e9},
		{"sample", c.Sample, 0, 1 << 30},
	} {
		if n.n < n.min || n.n > n.up {
			wrong = append(wrong, fmt.Errorf("gate: %s is %d, must be %d to %d", n.name, n.n, n.min, n.up))
		}
	}
	if c.PeerAge < 0 {
		wrong = append(wrong, errors.New("gate: peer_age is negative"))
	}
	if c.Every < 100*time.Millisecond || c.Every > time.Minute {
		wrong = append(wrong, fmt.Errorf("gate: every is %v, must be 100ms to 1m", c.Every))
	}
	return errors.Join(wrong...)
}
