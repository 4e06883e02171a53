package main

import (
	"maps"
	"slices"

	"weir/sensor"
	"weir/sensor/enforce"
	"weir/sensor/policy"
)

// policyMetrics are those of a sensor's policy.
var policyMetrics = []family[*decided]{
	gauge("drops_wanted", "Drops that are wanted, without those that wait for approval.", "", func(d *decided, put put) {
		put.count(uint64(d.Drops - d.Pending))
	}),
	gauge("drops_pending", "Drops that wait for approval.", "", func(d *decided, put put) { put.count(uint64(d.Pending)) }),
	counter("decisions_total", "Decisions of the policy for a drop, or about one that it holds.", "outcome", func(d *decided, put put) {
		put.count(d.Requested, "requested")
		put.count(d.Stats.Pending, "pending")
		put.count(d.Extended, "extended")
		put.count(d.Expired, "expired")
		put.count(d.Removed, "removed")
	}),
	gauge("decisions_unwritten", "Decisions that are not in the bucket of wanted drops yet.", "", func(d *decided, put put) {
		put.count(uint64(d.Unwritten))
	}),
	counter("drops_unknown_hits_total", "Hits that gates reported of drops which the policy does not hold any more.", "", func(d *decided, put put) {
		put.count(d.Unknown)
	}),
	gauge("policy_held", "1 while a panic holds: nothing is decided until it is resumed.", "", func(d *decided, put put) { put.flag(d.Held) }),
}

// states are the policy's tables.
func (d *decided) states() []sensor.StateSize {
	size := func(name string, used, limit int) sensor.StateSize {
		return sensor.StateSize{Name: name, Used: uint64(used), Limit: uint64(limit)}
	}
	return []sensor.StateSize{
		size("drops", d.Drops, d.MaxDrops), size("strikes", d.Strikes, d.MaxStrikes), size("peers", d.Peers, d.MaxPeers),
	}
}

// instructionGuards are what a gate refuses before it knows of what drop: policy.GuardNames has the others.
var instructionGuards = []string{"unsigned", "forged", "untrusted", "replayed", "bare_delete"}

// refusals counts those of the policy and of all gates. All guards are there from the start, so that the first refusal is an
// increase.
func refusals(s *sample, put put) {
	names := policy.GuardNames()
	if d := s.decided; d != nil {
		for i, n := range d.Refused {
			put.count(n, "policy", names[i])
		}
	}
	if s.gates == nil {
		return
	}
	sums := map[string]uint64{}
	for _, name := range append(names, instructionGuards...) {
		sums[name] = 0
	}
	for i := range s.gates {
		for name, n := range s.gates[i].Refusals {
			sums[name] += n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		put.count(sums[name], "gate", name)
	}
}

// gateMetrics are those of the gate at an interface.
var gateMetrics = []family[*enforce.Status]{
	gateGauge("attached", "1 while the table judges the interface's traffic.", "", func(g *enforce.Status, put put) { put.flag(g.Attached) }),
	gateGauge("held", "1 while a panic holds: nothing is enforced until it is resumed.", "", func(g *enforce.Status, put put) {
		put.flag(g.Held != nil)
	}),
	gateGauge("drops_wanted", "Drops that are asked for and have not ended: enforced, refused or failed.", "", func(g *enforce.Status, put put) {
		put.count(uint64(g.Wanted))
	}),
	gateGauge("drops_enforced", "Drops in force in the kernel, those of a rehearsal too.", "", func(g *enforce.Status, put put) {
		put.count(uint64(g.Enforced))
	}),
	gateGauge("drops_shadow", "Drops in force that only count.", "", func(g *enforce.Status, put put) { put.count(uint64(g.Shadow)) }),
	gateGauge("drops_refused", "Wanted drops that a guard holds back now.", "guard", func(g *enforce.Status, put put) {
		for _, name := range policy.GuardNames() {
			put.count(uint64(g.Refused[name]), name)
		}
	}),
	gateGauge("drops_failed", "Wanted drops that the kernel did not take.", "", func(g *enforce.Status, put put) { put.count(uint64(g.Failed)) }),
	gateGauge("drops_pending", "Drops that wait for approval; they are not wanted yet.", "", func(g *enforce.Status, put put) {
		put.count(uint64(g.Pending))
	}),
	gateGauge("drops_missing", "Wanted drops that are not on the bus any more without having been removed; they are kept until their end.", "", func(g *enforce.Status, put put) {
		put.count(uint64(g.Missing))
	}),
	gateGauge("keys_known", "Keys of drops whose last generation is remembered, so that an older one is known as replayed.", "", func(g *enforce.Status, put put) {
		put.count(uint64(g.Known))
	}),
	gateGauge("drift", "Entries that the last look at the kernel found other than they had been put there, and mended.", "", func(g *enforce.Status, put put) {
		put.count(uint64(driftNow(g)))
	}),
	gateCounter("drift_total", "Entries that were found other than they had been put into the kernel, and mended, by what was wrong.", "kind", func(g *enforce.Status, put put) {
		put.count(uint64(g.DriftTotal.Missing), "missing")
		put.count(uint64(g.DriftTotal.Foreign), "foreign")
		put.count(uint64(g.DriftTotal.Changed), "changed")
	}),
	gateGauge("found_entries", "Entries of an earlier process that were in force at the start: adopted, or removed because nobody wants them.", "kind", func(g *enforce.Status, put put) {
		put.count(uint64(g.Adopted), "adopted")
		put.count(uint64(g.Alien), "removed")
	}),
	gateGauge("reconciled_timestamp_seconds", "When the kernel was last read and compared with what is wanted, in seconds since the Unix epoch.", "", func(g *enforce.Status, put put) {
		if !g.Reconciled.IsZero() {
			put(seconds(g.Reconciled))
		}
	}),
	gateGauge("reconcile_duration_seconds", "How long the last look at the kernel took.", "", func(g *enforce.Status, put put) { put(g.Took.Seconds()) }),
	gateGauge("read_timestamp_seconds", "When the wanted drops were last read whole from the bus, in seconds since the Unix epoch.", "", func(g *enforce.Status, put put) {
		if !g.Whole.IsZero() {
			put(seconds(g.Whole))
		}
	}),
	gateGauge("stale", "1 while the last whole read of the wanted drops is too long ago: removals may be missed, and drops end by their own time only.", "", func(g *enforce.Status, put put) {
		put.flag(!g.Stale.IsZero())
	}),
	gateCounter("receipts_total", "Drops that came into force, and ended by their time or otherwise; refusals are counted by guard.", "state", func(g *enforce.Status, put put) {
		put.count(g.Applied, enforce.ReceiptApplied)
		put.count(g.Expired, enforce.ReceiptExpired)
		put.count(g.Removed, enforce.ReceiptRemoved)
	}),
	gateCounter("errors_total", "Work that failed: attaching, reading or writing the kernel's tables, the state file.", "", func(g *enforce.Status, put put) {
		put.count(g.Errors)
	}),
	gateCounter("packets_total", "Frames that were judged, by what became of them and why; limit: dropped above a rate.", "verdict reason", func(g *enforce.Status, put put) {
		for _, t := range g.Totals {
			put.count(t.Packets, t.Verdict, t.Reason)
		}
	}),
	gateCounter("bytes_total", "Bytes of the frames that were judged, by what became of them and why.", "verdict reason", func(g *enforce.Status, put put) {
		for _, t := range g.Totals {
			put.count(t.Bytes, t.Verdict, t.Reason)
		}
	}),
	gateGauge("entries", "Entries of the kernel's tables, by kind.", "kind", func(g *enforce.Status, put put) {
		for _, c := range g.Counts {
			put.count(uint64(c.Used), c.Kind)
		}
	}),
	gateGauge("entries_limit", "Entries that the kernel's tables hold at most, by kind.", "kind", func(g *enforce.Status, put put) {
		for _, c := range g.Counts {
			put.count(uint64(c.Limit), c.Kind)
		}
	}),
}

func gateGauge(name, help, labels string, read func(*enforce.Status, put)) family[*enforce.Status] {
	return gauge("gate_"+name, help, "interface table "+labels, atGate(read))
}

func gateCounter(name, help, labels string, read func(*enforce.Status, put)) family[*enforce.Status] {
	return counter("gate_"+name, help, "interface table "+labels, atGate(read))
}

// atGate puts the first two labels.
func atGate(read func(*enforce.Status, put)) func(*enforce.Status, put) {
	return func(g *enforce.Status, put put) {
		read(g, func(v float64, labels ...string) { put(v, append([]string{g.Interface, g.Table}, labels...)...) })
	}
}

// driftNow is what the last reconcile found: Drift is that of the last one that found any.
func driftNow(g *enforce.Status) int {
	if g.Reconciled.IsZero() || g.Drift.Time.Before(g.Reconciled) {
		return 0
	}
	return g.Drift.Sum()
}

// gateLosses are what the gates could not show or keep.
func gateLosses(gates []enforce.Status) []loss {
	var samples, hits, tombstones uint64
	for i := range gates {
		g := &gates[i]
		hits += g.Unasked
		tombstones += g.Forgotten
		for _, t := range g.Totals {
			samples += t.Lost
		}
	}
	return []loss{{"gate", "samples", samples}, {"gate", "hits", hits}, {"gate", "tombstones", tombstones}}
}
