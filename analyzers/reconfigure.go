package analyzers

import "time"

// adjustable is an analyzer whose settings can change while it runs.
type adjustable interface {
	adjust(cfg *Config) (restart []string)
}

// Reconfigure gives running analyzers new settings, which Check accepts. Thresholds, floors, windows and ports count from the
// next epoch on; what the analyzers know of sources and victims stays, and alerts that are open go on under their identity.
// Sizes of tables stay as they are: those that differ are returned by their place in the configuration
// ("analyzers.scan.sources") and need a restart.
//
// To be called between epochs, by the goroutine that judges. Cost: no more than 130 kB are written.
func Reconfigure(all []Analyzer, cfg Config) (restart []string) {
	for _, a := range all {
		if a, ok := a.(adjustable); ok {
			restart = append(restart, a.adjust(&cfg)...)
		}
	}
	return restart
}

// fixed keeps a size as it is, and names it if that is not what was wanted.
func fixed(now int, next *int, name string) (restart []string) {
	if *next != now {
		restart = []string{"analyzers." + name}
	}
	*next = now
	return restart
}

// adjust implements adjustable. A walk stays where it is, whatever its steps were: it crosses at the source's next outcome if
// the threshold is now below it, and the failures that a crossing needs (crossed) are counted, not weighed.
func (a *Scan) adjust(cfg *Config) []string {
	next := cfg.Scan
	restart := fixed(a.cfg.Sources, &next.Sources, "scan.sources")
	a.cfg, a.step = next, newSteps(&next)
	a.table.set(next.Keep, a.step.up)
	return restart
}

// set takes in how long sources are kept, and what a failure adds to their walk.
func (t *scanTable) set(keep time.Duration, up int64) {
	t.keep, t.up, t.single.period = int64(keep), up, int64(keep)/2
}

// adjust implements adjustable. Windows of the last second stay: a flood that runs below the old floor and above the new one
// is found in the next tick.
func (f *Flood) adjust(cfg *Config) []string {
	next := cfg.Flood
	restart := fixed(f.cfg.MaxVictims, &next.MaxVictims, "flood.max_victims")
	restart = append(restart, fixed(f.cfg.MaxNormals, &next.MaxNormals, "flood.max_normals")...)
	f.set(&next)
	return restart
}

// set takes in the settings that can change.
func (f *Flood) set(cfg *FloodConfig) {
	f.cfg, f.floors = *cfg, floorsOf(cfg)
	clear(f.reflects[:])
	for _, p := range cfg.AmplificationPorts {
		f.reflects[p] = true
	}
	clear(f.oneWay[:])
	for _, p := range cfg.OneWayPorts {
		f.oneWay[p] = true
	}
}

// adjust implements adjustable.
func (a *Fingerprint) adjust(cfg *Config) []string {
	next := cfg.Fingerprint
	restart := fixed(a.cfg.Sources, &next.Sources, "fingerprint.sources")
	restart = append(restart, fixed(a.cfg.Prints, &next.Prints, "fingerprint.prints")...)
	restart = append(restart, fixed(a.cfg.Services, &next.Services, "fingerprint.services")...)
	a.change(&next)
	return restart
}
