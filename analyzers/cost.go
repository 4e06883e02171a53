package analyzers

// Cost is how often a limit of an analyzer's state was felt: what a conclusion may lack.
type Cost struct {
	Limit string
	N     uint64
}

// Bounded is an analyzer that tells what the limits of its state have cost so far.
type Bounded interface{ Costs() []Cost }

// Costs implements Bounded.
func (a *Scan) Costs() []Cost {
	return []Cost{{"scan evicted", a.Stats.Evicted}, {"scan forgotten", a.Stats.Forgotten}, {"scan held", a.Stats.Held}}
}

// Costs implements Bounded.
func (f *Flood) Costs() []Cost { return []Cost{{"flood untracked", f.Untracked()}} }

// Costs implements Bounded.
func (a *Fingerprint) Costs() []Cost {
	return []Cost{
		{"fingerprint evicted", a.Stats.Evicted + a.mix.prints.Evicted + a.mix.services.Evicted + a.pairs.Evicted},
		{"fingerprint crowded", a.Stats.Crowded},
		{"fingerprint held", a.Stats.Held},
	}
}
