package baseline

import (
	"errors"
	"time"
	"unsafe"
)

// Config of a Store.
type Config struct {
	Keys     int `yaml:"keys"`     // series kept; see Bytes
	Profiles int `yaml:"profiles"` // series of them that have a profile by hour of the week
	Spreads  int `yaml:"spreads"`  // services whose distribution over sources is kept
	Seen     int `yaml:"seen"`     // things whose first time is remembered, 16 bytes each

	Window        time.Duration `yaml:"window"`         // of the rolling mean; minutes that divide by six
	Warmup        time.Duration `yaml:"warmup"`         // until a rolling mean may be judged by, in event time
	WarmupSamples int           `yaml:"warmup_samples"` // and values
	HourWarmup    time.Duration `yaml:"hour_warmup"`    // of an hour that must be learned before its mean counts
	Growth        float64       `yaml:"growth"`         // factor by which the anchor may move in a day
	Recurring     int           `yaml:"recurring"`      // hours in which bursts must have been alarmed to be known; 0: they never are
	Forget        time.Duration `yaml:"forget"`         // a series that saw nothing for so long is given up

	Z          float64 `yaml:"z"`          // standard deviations
	Multiplier float64 `yaml:"multiplier"` // of the mean
	Need       int     `yaml:"need"`       // of the last Of seconds must exceed
	Of         int     `yaml:"of"`

	Salt uint64 `yaml:"-"` // of the hashes in the first-seen memory: the site's secret. A file of another salt has no such memory.
}

// Defaults are the settings of a Store that nobody configured.
func Defaults() Config {
	return Config{
		Keys: 100_000, Profiles: 8192, Spreads: 4096, Seen: 1 << 20,
		Window: 30 * time.Minute, Warmup: 120 * time.Second, WarmupSamples: 60, HourWarmup: 15 * time.Minute,
		Growth: 1.25, Recurring: 3, Forget: 30 * 24 * time.Hour,
		Z: 5, Multiplier: 5, Need: 3, Of: 5,
	}
}

// Check tells what is wrong with the settings.
func (c *Config) Check() error {
	switch {
	case c.Keys < 64 || c.Keys > 1<<22:
		return errors.New("baseline: keys must be from 64 to 4194304")
	case c.Profiles < 0 || c.Profiles > c.Keys:
		return errors.New("baseline: profiles must be from 0 to keys")
	case c.Spreads < 16 || c.Spreads > 1<<20:
		return errors.New("baseline: spreads must be from 16 to 1048576")
	case c.Seen < seenWays || c.Seen > 1<<26:
		return errors.New("baseline: seen must be from 16 to 67108864")
	case c.Window < time.Minute || c.Window > 6*time.Hour || c.Window%(windowParts*time.Second) != 0:
		return errors.New("baseline: window must be from 1m to 6h, in steps of 6s")
	case c.Warmup < time.Second || c.Warmup > c.Window:
		return errors.New("baseline: warmup must be from 1s to window")
	case c.WarmupSamples < 2 || c.WarmupSamples > int(c.Window/time.Second):
		return errors.New("baseline: warmup_samples must be from 2 to the seconds of window")
	case c.HourWarmup < time.Minute || c.HourWarmup > time.Hour:
		return errors.New("baseline: hour_warmup must be from 1m to 1h")
	case !(c.Growth > 1 && c.Growth <= 4):
		return errors.New("baseline: growth must be above 1 and at most 4")
	case c.Recurring < 0 || c.Recurring > maxRecurring:
		return errors.New("baseline: recurring must be from 0 to 4")
	case c.Forget < 24*time.Hour || c.Forget > 3650*24*time.Hour:
		return errors.New("baseline: forget must be from 24h to 87600h")
	case !(c.Z > 0 && c.Z <= 1000) || !(c.Multiplier >= 1 && c.Multiplier <= 1e6):
		return errors.New("baseline: z must be above 0 and at most 1000, multiplier from 1 to 1000000")
	case c.Need < 1 || c.Of < c.Need || c.Of > 64:
		return errors.New("baseline: need must be at least 1, of from need to 64")
	}
	return nil
}

// Bytes is the memory of a Store when it is full.
func (c *Config) Bytes() int {
	node := int(unsafe.Sizeof(node{}))
	return c.Keys*(int(unsafe.Sizeof(Series{}))+node+4*indexShare) + c.Profiles*(int(unsafe.Sizeof(profile{}))+4) +
		c.Spreads*(int(unsafe.Sizeof(Spread{}))+node+4*indexShare) + seenBytes(c.Seen)
}
