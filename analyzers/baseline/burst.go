package baseline

const (
	// burstTime is the longest that a burst lasts, in seconds: what lasts longer is another level.
	burstTime = 900
	// burstSpan is how much bursts may differ to be alike, and how far above a recurring one a value is no finding.
	burstSpan = 2
	// burstKeep is how many hours a burst is remembered that does not come again.
	burstKeep = weekHours
)

// bursts remembers what was alarmed, was short and ended by itself. The alarmed seconds are not learned, so that a host which
// fetches something big every other hour would be told for ever; once bursts of one level (within a factor of two) were
// alarmed in Config.Recurring different hours, they are known. A level twice as high costs as many alarms again.
type bursts struct {
	known float32 // level that recurs, 0 if none
	level float32 // of those that are counted
	hours uint8   // different ones
	last  int64   // hour of the last of those
	used  int64   // hour in which traffic was last like the known level
	top   float32 // of the frozen time
	since int64   // second of Freeze
}

// end notes the frozen time that ends.
func (b *bursts) end(sec int64, recurring int) {
	top := b.top
	b.top = 0
	if top == 0 || recurring == 0 || sec-b.since > burstTime {
		return
	}
	hour := floorDiv(sec, hourSeconds)
	if hour-b.last > burstKeep {
		b.level, b.hours = 0, 0
	}
	switch alike := top <= burstSpan*b.level && burstSpan*top >= b.level; {
	case !alike:
		b.level, b.hours = top, 1
	case hour != b.last:
		b.hours = min(b.hours, 254) + 1
		b.level = max(b.level, top)
	}
	b.last = hour
	if int(b.hours) >= recurring {
		b.known, b.used = b.level, hour
	}
}

// recurring is the known level as of an hour.
func (b *bursts) recurring(hour int64) float64 {
	if hour-b.used > burstKeep {
		return 0
	}
	return float64(b.known)
}

func (b *bursts) code(c *coder) {
	c.float32(&b.known)
	c.float32(&b.level)
	integer(c, &b.hours, 0, 255)
	integer(c, &b.last, -1<<40, 1<<40)
	integer(c, &b.used, -1<<40, 1<<40)
}
