package baseline

import "math"

const second = int64(1e9)

// clipSamples values that are not zero must be known before one is clipped by their quantile.
const clipSamples = 20

// Series is what is known of a key. It is valid until the next call of Store.Series or Store.Advance.
type Series struct {
	store   *Store
	roll    window
	hour    hourSum
	anchor  anchor
	known   hourNormal // of the hour in which Normal was asked last
	next    hourNormal // of the neighbouring hour, if that is near
	quant   quantiles
	bursts  bursts
	begin   int64   // second of the first value
	last    int64   // second up to which all is folded in
	active  int64   // second of the last value that was not zero
	busy    float32 // seconds with traffic in an hour, over about a day
	held    uint32  // values that LearnBelow did not take
	values  uint32  // that were not zero, in all
	place   int32   // in the store
	profile int32
	era     uint32 // Store.era up to which last counts
	samples bool   // LearnSample: quiet seconds are not zeros
	begun   bool
	frozen  bool
	pinned  bool
}

// Learn takes the value of the second in which now lies. Seconds since the last call that had none count as zeros; time in
// which the sensor did not run or the series was frozen does not. A value far above what is normal is clipped. While the
// series is frozen nothing is learned but how high it goes (see bursts): go on calling it.
func (r *Series) Learn(now int64, value float64) {
	if !(value >= 0) || math.IsInf(value, 0) {
		return
	}
	if r.frozen {
		r.bursts.top = max(r.bursts.top, float32(min(value, math.MaxFloat32)))
		return
	}
	sec := floorDiv(now, second)
	r.settle(sec)
	r.lookUp(sec)
	r.fold(sec, r.clip(value))
}

// LearnBelow is Learn, but while the series is cold a value above floor is not learned and only counted: what a sensor sees
// that was started under attack is not taken for normal. It tells whether the value was taken.
func (r *Series) LearnBelow(now int64, value, floor float64) bool {
	if !r.frozen && value > floor && !r.warm() {
		if mean, _, _ := r.Normal(now).Expected(); !(value <= r.store.cfg.Multiplier*mean) {
			r.settle(floorDiv(now, second))
			r.last = max(r.last, floorDiv(now, second))
			r.held++
			return false
		}
	}
	r.Learn(now, value)
	return !r.frozen
}

// LearnSample takes a value of a measure that has none in quiet times, like a round-trip time: quiet seconds are not zeros.
// There may be several in a second.
func (r *Series) LearnSample(now int64, value float64) {
	r.samples = true
	r.Learn(now, value)
}

// LearnRatio takes a share; a whole of 0 says nothing.
func (r *Series) LearnRatio(now int64, part, whole float64) {
	if whole > 0 {
		r.LearnSample(now, part/whole)
	}
}

// Freeze stops learning, while the key is alarmed.
func (r *Series) Freeze(now int64) {
	if !r.frozen {
		r.settle(floorDiv(now, second))
		r.frozen = true
		r.bursts.top, r.bursts.since = 0, floorDiv(now, second)
	}
}

// Thaw learns again. The frozen time is not filled with zeros, and what was known stays known.
func (r *Series) Thaw(now int64) {
	if !r.frozen {
		return
	}
	r.frozen = false
	sec := floorDiv(now, second)
	if !r.pinned && !r.samples {
		r.bursts.end(sec)
	}
	if r.begun {
		r.last = sec
		r.roll.part = floorDiv(sec, r.store.span)
		r.era = r.store.era
	}
}

// Frozen tells whether it is.
func (r *Series) Frozen() bool { return r.frozen }

// Held is how many values LearnBelow did not take: a sensor that was started under attack.
func (r *Series) Held() uint64 { return uint64(r.held) }

// Key is whose series it is.
func (r *Series) Key() Key { return r.store.table.nodes[r.place].key }

// Accept thaws, and forgets what was normal: a new level is confirmed, and learned anew. Until the first hour is learned only
// the rolling mean is known. A pinned series stays as it is.
func (r *Series) Accept(now int64) {
	r.Thaw(now)
	if r.pinned {
		return
	}
	r.roll, r.quant = window{part: r.roll.part}, quantiles{}
	r.anchor = anchor{}
	r.known, r.next, r.bursts = hourNormal{}, hourNormal{}, bursts{}
	r.hour = hourSum{hour: r.hour.hour}
	r.begin, r.begun = floorDiv(now, second), false
	if r.profile >= 0 {
		r.store.profiles[r.profile].n = [weekHours]uint16{}
	}
}

// settle folds in the quiet seconds before sec.
func (r *Series) settle(sec int64) {
	if r.frozen || !r.begun {
		return
	}
	if r.era != r.store.era { // the sensor did not look
		r.resume()
	}
	if r.samples || sec-r.last <= 1 {
		return
	}
	first, last := max(r.last+1, sec-weekHours*hourSeconds), sec-1
	r.roll.zeros(first, last, r.store.span)
	r.quant.zeros(last - first + 1)
	for first <= last {
		hour := floorDiv(first, hourSeconds)
		end := min(last, hour*hourSeconds+hourSeconds-1)
		r.enter(hour)
		r.hour.n += uint32(end - first + 1)
		first = end + 1
	}
	r.last = last
}

// resume goes on after a time in which the sensor did not look (or with files that are older than what was learned): after more
// than a window the rolling mean begins anew.
func (r *Series) resume() {
	s := r.store
	r.era = s.era
	if gap := s.resumed - r.last; gap > windowParts*s.span || gap < -windowParts*s.span {
		r.roll, r.begin = window{}, s.resumed
	}
	if hour := floorDiv(s.resumed, hourSeconds); hour < r.hour.hour {
		r.enter(hour)
	}
	r.begin, r.active, r.last = min(r.begin, s.resumed), min(r.active, s.resumed), s.resumed
	r.roll.part = min(r.roll.part, floorDiv(s.resumed, s.span))
}

// fold takes in the value of a second.
func (r *Series) fold(sec int64, value float64) {
	if !r.begun {
		r.begun, r.begin, r.era = true, sec, r.store.era
	}
	r.last = max(r.last, sec)
	r.roll.advance(floorDiv(sec, r.store.span))
	r.roll.add(value)
	r.enter(floorDiv(sec, hourSeconds))
	r.hour.sum += value
	r.hour.sq += float64(value * value)
	r.hour.n++
	if !r.pinned {
		r.quant.add(value)
	}
	if value > 0 {
		r.active = r.last
		r.hour.busy++
		r.values++
		r.bursts.use(r.hour.hour, value)
		if r.values == uint32(r.store.cfg.WarmupSamples) {
			r.store.table.settle(r.place)
		}
	}
}

// enter goes on to an hour; the one before is learned.
func (r *Series) enter(hour int64) {
	if hour == r.hour.hour {
		return
	}
	if r.hour.n > 0 {
		r.learnHour()
	}
	r.hour = hourSum{hour: hour}
}

// learnHour takes the hour that ended into anchor and profile.
func (r *Series) learnHour() {
	h := &r.hour
	r.busy += float32(float64(0.1 * (float64(h.busy) - float64(r.busy))))
	cfg := &r.store.cfg
	need := uint32(cfg.HourWarmup.Seconds())
	if r.samples {
		need = uint32(cfg.WarmupSamples)
	}
	if h.n < need || r.pinned {
		return
	}
	mean, stddev := moments(h.sum, h.sq, float64(h.n))
	r.anchor.close(h.hour, mean, float64(stddev*stddev), cfg.Growth)
	if p := r.store.profileOf(r); p != nil {
		p.learn(h.hour, mean, stddev, r.anchor.mean, h.n)
	}
}

// clip bounds a value to what a single second may add to what is normal: five times the mean, five standard deviations above
// it, or twice the 99th percentile of the seconds with traffic, whichever is the most.
func (r *Series) clip(value float64) float64 {
	if !r.warm() || r.quant.n < clipSamples {
		return value
	}
	mean, stddev, _ := r.rolling().Expected()
	if value <= float64(r.store.cfg.Multiplier*mean) {
		return value
	}
	return min(value, max(float64(r.store.cfg.Multiplier*mean), mean+float64(r.store.cfg.Z*stddev), float64(2*float64(r.quant.top))))
}

// warm tells whether the rolling mean may be judged by.
func (r *Series) warm() bool {
	cfg := &r.store.cfg
	return r.begun && r.roll.count() >= uint32(cfg.WarmupSamples) && r.last-r.begin >= int64(cfg.Warmup/1e9)
}
