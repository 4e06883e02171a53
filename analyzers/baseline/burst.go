package baseline

const (
	// burstTime is the longest that a burst lasts, in seconds: what lasts longer is another level.
	burstTime = 900
	// burstSpan is how far above a recurring burst a value is no finding.
	burstSpan = 2
	// burstKeep is how many hours bursts are remembered that do not come again.
	burstKeep = weekHours
	// maxRecurring is the most that Config.Recurring can be.
	maxRecurring = 4
)

// bursts remembers what was alarmed, was short and ended by itself. The alarmed seconds are not learned, so that a host which
// fetches something big every other hour would be told for ever; once bursts were alarmed in Config.Recurring different hours,
// the least of the last of them is known. What is more than twice that is alarmed again, and as often as before.
type bursts struct {
	tops  [maxRecurring]float32 // of the last hours with an alarmed burst, the newest first
	hours uint8                 // how many of these
	last  int64                 // hour of the newest
	used  int64                 // hour in which traffic was last as high as half of what is known
	top   float32               // of the frozen time
	since int64                 // second of Freeze
}

// end notes the frozen time that ends.
func (b *bursts) end(sec int64) {
	top := b.top
	b.top = 0
	if top == 0 || sec-b.since > burstTime {
		return
	}
	hour := floorDiv(sec, hourSeconds)
	if hour-max(b.last, b.used) > burstKeep {
		b.hours = 0
	}
	if hour == b.last && b.hours > 0 {
		b.tops[0] = max(b.tops[0], top)
	} else {
		copy(b.tops[1:], b.tops[:])
		b.tops[0], b.last, b.hours = top, hour, min(b.hours+1, maxRecurring)
	}
}

// known is the level that recurs in so many hours, as of an hour; 0 if none does.
func (b *bursts) known(hour int64, recurring int) float64 {
	if recurring == 0 || int(b.hours) < recurring || hour-max(b.last, b.used) > burstKeep {
		return 0
	}
	least := b.tops[0]
	for _, top := range b.tops[1:recurring] {
		least = min(least, top)
	}
	return float64(least)
}

// use notes a learned value.
func (b *bursts) use(hour int64, value float64) {
	if b.hours > 0 && hour != b.used && value*burstSpan >= b.known(hour, int(b.hours)) {
		b.used = hour
	}
}

func (b *bursts) code(c *coder) {
	integer(c, &b.hours, 0, maxRecurring)
	for i := range b.tops[:b.hours] {
		c.float32(&b.tops[i])
	}
	integer(c, &b.last, -1<<40, 1<<40)
	integer(c, &b.used, -1<<40, 1<<40)
}
