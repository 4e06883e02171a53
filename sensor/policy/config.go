package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/sensor/alert"
)

// Config is the section `policy` of the configuration.
type Config struct {
	Shadow     bool     `yaml:"shadow"`     // rehearsal: everything is decided and counted, nothing dropped
	Severity   Severity `yaml:"severity"`   // of alerts that are acted upon, at least
	Confidence int      `yaml:"confidence"` // the same of their confidence, 0 to 100
	Rules      []Rule   `yaml:"rules"`      // exceptions by kind, list, ASN, country: the first that matches decides

	Unproven     Unproven `yaml:"unproven"`      // what a source without proven return path gets: alert, limit_new, drop_new
	UnprovenRate uint32   `yaml:"unproven_rate"` // of limit_new: new connections a second that pass
	Signatures   bool     `yaml:"signatures"`    // drop floods by header signature where one spares normal traffic
	ServiceRate  uint32   `yaml:"service_rate"`  // packets a second of strangers to a flooded service that pass; 0: no such limits

	Canary  time.Duration   `yaml:"canary"`  // at the start of a drop only new connections are dropped
	Strikes []time.Duration `yaml:"strikes"` // how long the first drop of a source lasts, the second, …
	Forget  time.Duration   `yaml:"forget"`  // one strike is forgiven after so long without another
	Longest time.Duration   `yaml:"longest"` // no drop lasts longer, extensions and hand-made ones included
	Fresh   time.Duration   `yaml:"fresh"`   // older alerts are not acted upon

	AllowPrivate bool `yaml:"allow_private"` // private addresses may be dropped
	WidestV4     int  `yaml:"widest_v4"`     // shortest prefix that may be dropped
	WidestV6     int  `yaml:"widest_v6"`
	Siblings     int  `yaml:"siblings"` // addresses of a prefix that must have been dropped for it to be
	WidenV4      int  `yaml:"widen_v4"` // prefix length that is dropped when so many siblings were; 0: never
	WidenV6      int  `yaml:"widen_v6"`

	MaxPerSecond       int     `yaml:"max_per_second"`      // new drops
	MaxDrops           int     `yaml:"max_drops"`           // in all, pending ones included
	EstablishedPercent float64 `yaml:"established_percent"` // of the last hour's peers that drops may hit without approval
	EstablishedFrom    int     `yaml:"established_from"`    // peers from which that is asked
	MaxStrikes         int     `yaml:"max_strikes"`         // sources whose strikes are remembered
	MaxPeers           int     `yaml:"max_peers"`           // peers that are remembered
}

// Rule sets another threshold for some alerts: those for which all that it names is true.
type Rule struct {
	Kind     string    `yaml:"kind"`     // "scan", "scan.vertical"; empty: all
	List     string    `yaml:"list"`     // the subject is on a list of networks.lists
	ASN      []uint32  `yaml:"asn"`      // the subject's is one of these
	Country  []string  `yaml:"country"`  // the same, ISO 3166-1 alpha-2
	Severity Threshold `yaml:"severity"` // or never
}

// Severity is an alert.Severity that a configuration can hold.
type Severity = alert.Severity

// Threshold is the least severity that is acted upon, or never.
type Threshold struct {
	Severity alert.Severity
	Never    bool
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *Threshold) UnmarshalText(b []byte) error {
	*t = Threshold{Never: string(b) == "never"}
	if t.Never {
		return nil
	}
	return t.Severity.UnmarshalText(b)
}

// MarshalText implements encoding.TextMarshaler.
func (t Threshold) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// String is the threshold in the words of the configuration.
func (t Threshold) String() string {
	if t.Never {
		return "never"
	}
	return t.Severity.String()
}

// Unproven is what a source without proven return path gets.
type Unproven uint8

// What it may get.
const (
	UnprovenAlert Unproven = iota
	UnprovenLimitNew
	UnprovenDropNew
	unprovenCount
)

var unprovenNames = [unprovenCount]string{"alert", "limit_new", "drop_new"}

// String is the choice in the words of the configuration.
func (u Unproven) String() string { return nameOf(unprovenNames[:], int(u)) }

// MarshalText implements encoding.TextMarshaler.
func (u Unproven) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *Unproven) UnmarshalText(b []byte) error {
	i := slices.Index(unprovenNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("%q is none of %q", clip(string(b), maxName), unprovenNames)
	}
	*u = Unproven(i)
	return nil
}

// Defaults are the settings of a gate that nobody configured.
//
// Severity medium is where benign captures stay below. A tool's print is evidence and no proof, so prints act from high
// on; who asks by ARP is on the same wire, where dropping IP packets helps little. Each alert of an incident is acted upon itself; a subject of
// several addresses, as an incident may have, is no source that a drop should hit. Confidence 60 lets one-way views (70)
// and amplification (80) act and stops where the sensor lost two of five packets.
//
// Ten new connections a second are more than a client behind a forged address needs, and nothing to a flood. Two hundred
// packets a second of strangers are below half of the lowest flood floor (500/s), and 5 % of a flood of eight times it;
// peers that completed a connection pass anyway.
//
// Strikes grow from what a dynamic address survives (10 min) to a day. One is forgiven a day. A week is the end of any
// drop: what still attacks then is found again at once. Alerts that were held up for five minutes tell of the past.
//
// A /24 and a /48 are what one site has. Four dropped addresses of one /64 are one host that changes its address (RFC
// 8981), so the /64 goes; in a /24 they may be neighbours, so nothing is widened there.
//
// dns, tunnel, exfil and beacon accuse hosts of one's own: to cut one off is for people, or for a rule of theirs.
//
// One hundred drops a second is what the alert manager lets through of one analyzer. 5 % of the peers of an hour is the
// most harm that a mistake may do before a human looks; below fifty peers a share says nothing.
func Defaults() Config {
	return Config{
		Severity: alert.Medium, Confidence: 60,
		Rules: []Rule{
			{Kind: "scan.arp_sweep", Severity: Threshold{Never: true}},
			{Kind: "fingerprint", Severity: Threshold{Severity: alert.High}},
			{Kind: "incident", Severity: Threshold{Never: true}},
			{Kind: "dns", Severity: Threshold{Never: true}},
			{Kind: "tunnel", Severity: Threshold{Never: true}},
			{Kind: "exfil", Severity: Threshold{Never: true}},
			{Kind: "beacon", Severity: Threshold{Never: true}},
			{Kind: "weird", Severity: Threshold{Never: true}},
			{Kind: "rate", Severity: Threshold{Never: true}},
		},
		Unproven: UnprovenLimitNew, UnprovenRate: 10, Signatures: true, ServiceRate: 200,
		Canary: 30 * time.Second, Strikes: []time.Duration{10 * time.Minute, 30 * time.Minute, 2 * time.Hour, 24 * time.Hour},
		Forget: 24 * time.Hour, Longest: 7 * 24 * time.Hour, Fresh: 5 * time.Minute,
		WidestV4: 24, WidestV6: 48, Siblings: 4, WidenV6: 64,
		MaxPerSecond: 100, MaxDrops: 20_000, EstablishedPercent: 5, EstablishedFrom: 50, MaxStrikes: 65_536, MaxPeers: 65_536,
	}
}

// Bounds of settings.
const (
	maxRate      = 1_000_000
	maxPerSecond = 10_000
	year         = 365 * 24 * time.Hour
)

// Check tells which setting cannot be.
func (c *Config) Check() error {
	return errors.Join(c.checkTimes(), c.checkPrefixes(), c.checkRules(), c.checkNumbers())
}

func (c *Config) checkNumbers() error {
	var wrong []error
	for _, n := range []struct {
		name            string
		value, min, max int
	}{
		{"confidence", c.Confidence, 0, 100},
		{"unproven_rate", int(c.UnprovenRate), 1, maxRate},
		{"service_rate", int(c.ServiceRate), 0, maxRate},
		{"siblings", c.Siblings, 2, 256},
		{"max_per_second", c.MaxPerSecond, 1, maxPerSecond},
		{"max_drops", c.MaxDrops, 1, 1_000_000},
		{"established_from", c.EstablishedFrom, 1, 1_000_000},
		{"max_strikes", c.MaxStrikes, 1, 1_000_000},
		{"max_peers", c.MaxPeers, 1, 1_000_000},
	} {
		if n.value < n.min || n.value > n.max {
			wrong = append(wrong, fmt.Errorf("policy: %s is %d, must be %d to %d", n.name, n.value, n.min, n.max))
		}
	}
	if !(c.EstablishedPercent >= 0 && c.EstablishedPercent <= 100) {
		wrong = append(wrong, fmt.Errorf("policy: established_percent is %v, must be 0 to 100", c.EstablishedPercent))
	}
	if c.MaxPeers < c.EstablishedFrom {
		wrong = append(wrong, fmt.Errorf("policy: max_peers is %d, less than established_from %d", c.MaxPeers, c.EstablishedFrom))
	}
	if c.Severity >= alert.SeverityCount || c.Unproven >= unprovenCount {
		wrong = append(wrong, errors.New("policy: severity or unproven is none that there is"))
	}
	return errors.Join(wrong...)
}

func (c *Config) checkTimes() error {
	switch {
	case c.Longest < time.Minute || c.Longest > year:
		return fmt.Errorf("policy: longest is %v, must be 1m to 8760h: every drop ends", c.Longest)
	case len(c.Strikes) == 0 || len(c.Strikes) > 16:
		return fmt.Errorf("policy: %d strikes, must be 1 to 16", len(c.Strikes))
	case c.Canary < 0 || c.Canary > time.Hour:
		return fmt.Errorf("policy: canary is %v, must be 0s to 1h", c.Canary)
	case c.Forget < time.Minute || c.Forget > year:
		return fmt.Errorf("policy: forget is %v, must be 1m to 8760h", c.Forget)
	case c.Fresh < time.Second || c.Fresh > 24*time.Hour:
		return fmt.Errorf("policy: fresh is %v, must be 1s to 24h", c.Fresh)
	}
	for _, s := range c.Strikes {
		if s < time.Second || s > c.Longest {
			return fmt.Errorf("policy: a strike of %v, must be 1s to longest (%v)", s, c.Longest)
		}
	}
	return nil
}

// A /8 and a /16 are the widest that a configuration may allow: hand-made drops of a whole provider, and no more.
func (c *Config) checkPrefixes() error {
	switch {
	case c.WidestV4 < 8 || c.WidestV4 > 32:
		return fmt.Errorf("policy: widest_v4 is %d, must be 8 to 32", c.WidestV4)
	case c.WidestV6 < 16 || c.WidestV6 > 128:
		return fmt.Errorf("policy: widest_v6 is %d, must be 16 to 128", c.WidestV6)
	case c.WidenV4 != 0 && (c.WidenV4 < c.WidestV4 || c.WidenV4 > 31):
		return fmt.Errorf("policy: widen_v4 is %d, must be 0 or widest_v4 (%d) to 31", c.WidenV4, c.WidestV4)
	case c.WidenV6 != 0 && (c.WidenV6 < c.WidestV6 || c.WidenV6 > 127):
		return fmt.Errorf("policy: widen_v6 is %d, must be 0 or widest_v6 (%d) to 127", c.WidenV6, c.WidestV6)
	}
	return nil
}

func (c *Config) checkRules() error {
	if len(c.Rules) > 1000 {
		return fmt.Errorf("policy: %d rules, at most 1000", len(c.Rules))
	}
	for i, r := range c.Rules {
		if r.Kind == "" && r.List == "" && len(r.ASN) == 0 && len(r.Country) == 0 {
			return fmt.Errorf("policy: rule %d has no condition: set severity instead", i+1)
		}
		for _, country := range r.Country {
			if len(country) != 2 || country != strings.ToUpper(country) {
				return fmt.Errorf("policy: rule %d: country %q, must be two capital letters", i+1, country)
			}
		}
	}
	return nil
}

// CheckLists tells which rule names a list that there is none of.
func (c *Config) CheckLists(names []string) error {
	for i, r := range c.Rules {
		if r.List != "" && !slices.Contains(names, r.List) {
			return fmt.Errorf("policy: rule %d names list %q, which networks.lists does not have", i+1, r.List)
		}
	}
	return nil
}

// Bytes is about how much memory full tables of a policy take.
func (c *Config) Bytes() int { return 1000*c.MaxDrops + 200*(c.MaxStrikes+c.MaxPeers) }
