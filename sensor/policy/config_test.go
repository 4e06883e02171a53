package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"weir/sensor/alert"
)

func TestConfig(t *testing.T) {
	cfg := Defaults()
	if err := cfg.Check(); err != nil {
		t.Fatal(err)
	}
	b, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := yaml.UnmarshalWithOptions(b, &back, yaml.Strict()); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if d := cmp.Diff(cfg, back, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s\n%s", d, b)
	}
	text := `
severity: high
unproven: drop_new
strikes: [1m, 1h]
rules:
  - {kind: scan.vertical, country: [DE, AT], severity: never}
  - {list: spam, asn: [64500], severity: low}
`
	if err := yaml.UnmarshalWithOptions([]byte(text), &cfg, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := []Rule{
		{Kind: "scan.vertical", Country: []string{"DE", "AT"}, Severity: Threshold{Never: true}},
		{List: "spam", ASN: []uint32{64500}, Severity: Threshold{Severity: alert.Low}},
	}
	if d := cmp.Diff(want, cfg.Rules); d != "" || cfg.Severity != alert.High || cfg.Unproven != UnprovenDropNew || len(cfg.Strikes) != 2 {
		t.Errorf("%s %+v", d, cfg)
	}
	if err := cfg.CheckLists([]string{"spam"}); err != nil {
		t.Error(err)
	}
	if err := cfg.CheckLists([]string{"office"}); err == nil || !strings.Contains(err.Error(), `rule 2 names list "spam"`) {
		t.Errorf("list that is not there: %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(c *Config){
		"longest is 0s":              func(c *Config) { c.Longest = 0 },
		"longest is 8761h":           func(c *Config) { c.Longest = 8761 * time.Hour },
		"0 strikes":                  func(c *Config) { c.Strikes = nil },
		"a strike of 192h":           func(c *Config) { c.Strikes = append(c.Strikes, 192*time.Hour) },
		"canary is 2h":               func(c *Config) { c.Canary = 2 * time.Hour },
		"forget is 0s":               func(c *Config) { c.Forget = 0 },
		"fresh is 0s":                func(c *Config) { c.Fresh = 0 },
		"confidence is 101":          func(c *Config) { c.Confidence = 101 },
		"widest_v4 is 0":             func(c *Config) { c.WidestV4 = 0 },
		"widest_v6 is 15":            func(c *Config) { c.WidestV6 = 15 },
		"widen_v4 is 23":             func(c *Config) { c.WidenV4 = 23 },
		"widen_v6 is 128":            func(c *Config) { c.WidenV6 = 128 },
		"siblings is 1":              func(c *Config) { c.Siblings = 1 },
		"unproven_rate is 0":         func(c *Config) { c.UnprovenRate = 0 },
		"max_drops is 0":             func(c *Config) { c.MaxDrops = 0 },
		"max_per_second is 10001":    func(c *Config) { c.MaxPerSecond = 10_001 },
		"established_percent is 101": func(c *Config) { c.EstablishedPercent = 101 },
		"less than established_from": func(c *Config) { c.MaxPeers = 49 },
		"rule 10 has no condition":   func(c *Config) { c.Rules = append(c.Rules, Rule{Severity: Threshold{Never: true}}) },
		"rule 1: country \"de\"":     func(c *Config) { c.Rules = []Rule{{Country: []string{"de"}}} },
	} {
		c := Defaults()
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for text, want := range map[string]string{
		"severity: grave": "is none of", "unproven: ban": "is none of", "rules: [{kind: scan, severity: grave}]": "is none of", "colour: red": "unknown field",
	} {
		c := Defaults()
		if err := yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
