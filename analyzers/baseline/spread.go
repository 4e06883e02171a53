package baseline

import "math"

// Spread is the distribution of one measure of a service over its sources: one value a source and second, or a source and
// window, as the caller has it. It is valid until the next call of Store.Spread or Store.Advance.
type Spread struct {
	store  *Store
	roll   window
	quant  quantiles
	begin  int64
	last   int64
	pinned bool
	begun  bool
}

// SpreadNormal is what is normal for a source of a service.
type SpreadNormal struct {
	Mean, Stddev float64 // over Config.Window; of the quantiles where it holds fewer than Config.WarmupSamples values
	P50, P99     float64 // over the last 7,200 values
	N            uint64  // in Config.Window
	Warm         bool
	Pinned       bool
}

// Add takes the value of a source. The caller leaves out alarmed sources; a value far above all others is clipped.
func (d *Spread) Add(now int64, value float64) {
	if !(value >= 0) || math.IsInf(value, 0) || d.pinned {
		return
	}
	sec := floorDiv(now, second)
	if !d.begun {
		d.begun, d.begin = true, sec
	}
	d.last = max(d.last, sec)
	d.roll.advance(floorDiv(sec, d.store.span))
	if d.warm() && d.quant.n >= clipSamples {
		mean, stddev := d.moments()
		cfg := &d.store.cfg
		value = min(value, max(float64(cfg.Multiplier*mean), mean+float64(cfg.Z*stddev), float64(2*float64(d.quant.top))))
	}
	d.roll.add(value)
	d.quant.add(value)
}

// Normal is what is normal for a source.
func (d *Spread) Normal(now int64) SpreadNormal {
	if d.begun && !d.pinned {
		d.last = max(d.last, floorDiv(now, second))
		d.roll.advance(floorDiv(d.last, d.store.span))
	}
	n := SpreadNormal{
		N: uint64(d.roll.count()), P50: float64(d.quant.p50), P99: float64(d.quant.p99),
		Warm: d.warm() || d.pinned, Pinned: d.pinned,
	}
	n.Mean, n.Stddev = d.moments()
	return n
}

// Exceeds tells whether a source's value is more than z standard deviations above the mean, more than a multiple of it, and
// above the 99th percentile. It is false while nothing is known.
func (n SpreadNormal) Exceeds(value, z, multiple float64) bool {
	return n.Warm && value > n.P99 && value > float64(multiple*n.Mean) &&
		value-n.Mean > float64(z*max(n.Stddev, float64(leastStddev*n.Mean)))
}

// warm tells whether enough values came, however long ago: a service that few ask at night is no stranger.
func (d *Spread) warm() bool {
	cfg := &d.store.cfg
	return d.begun && int(d.quant.n) >= cfg.WarmupSamples && d.last-d.begin >= int64(cfg.Warmup/1e9)
}

// moments are those of the window; of a window that holds few values, which may be one source's, those that a normal
// distribution with the quantiles would have.
func (d *Spread) moments() (mean, stddev float64) {
	const z99 = 2.326 // standard deviations from the median to the 99th percentile
	if d.roll.count() >= uint32(d.store.cfg.WarmupSamples) || int(d.quant.n) < d.store.cfg.WarmupSamples {
		return d.roll.moments()
	}
	mean = float64(d.quant.p50)
	return mean, (float64(d.quant.p99) - mean) / z99
}
