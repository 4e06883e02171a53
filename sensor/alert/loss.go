package alert

import "weir/analyzers/tally"

// lossSpan and lossSpans make the time before an alert's first finding whose loss counts for it: a minute. What was lost then
// may be what its evidence lacks: an answer that is missed at the end of five seconds was lost at their beginning.
const (
	lossSpan  = 5 * int64(1e9) // ns
	lossSpans = 12
)

// losses counts what the link lost, in all and of late.
type losses struct {
	total  lossSum
	recent [lossSpans]recentLoss
	oneWay bool
}

type recentLoss struct {
	number int64 // of the span
	sum    lossSum
}

// lossSum is packets that were counted and what was lost, by cause.
type lossSum struct {
	packets uint64
	causes  [tally.LossCount]uint64
}

func (s *lossSum) add(link *tally.Link) {
	s.packets += link.Packets
	for i, n := range link.Loss {
		s.causes[i] += n
	}
}

func (s *lossSum) subtract(o *lossSum) {
	s.packets -= o.packets
	for i, n := range o.causes {
		s.causes[i] -= n
	}
}

// observe takes in a tick that ends at now.
func (l *losses) observe(link *tally.Link, oneWay bool, now int64) {
	l.oneWay = oneWay
	l.total.add(link)
	number := now / lossSpan
	at := &l.recent[number%lossSpans]
	if at.number != number {
		*at = recentLoss{number: number}
	}
	at.sum.add(link)
}

// before is what was lost up to a minute before now: what an alert that opens now has nothing to do with.
func (l *losses) before(now int64) lossSum {
	base := l.total
	for i := range l.recent {
		if r := &l.recent[i]; r.number > now/lossSpan-lossSpans {
			base.subtract(&r.sum)
		}
	}
	return base
}

// since is the public form of what was lost since base.
func (l *losses) since(base *lossSum, oneWay bool) Loss {
	lost := l.total
	lost.subtract(base)
	sum := tally.Link{Packets: lost.packets, Loss: lost.causes}
	out := Loss{Ratio: round(sum.LossRatio()), OneWay: oneWay}
	for i, n := range lost.causes {
		if n == 0 {
			continue
		}
		if out.Causes == nil {
			out.Causes = map[string]uint64{}
		}
		out.Causes[tally.Loss(i).String()] = n
	}
	return out
}
