package analyzers

import "weir/analyzers/tally"

// View tells whether the sensor sees both directions of the traffic. Where it does not, an answer that is missing means
// nothing, and detectors that count missing answers must not judge by them.
//
// The zero value is ready: a two-way view until shown otherwise. One goroutine at a time. Cost per epoch: O(1) where
// something was answered, else one pass over its services.
type View struct {
	span   [viewSpans]viewSpan
	oneWay bool
	loss   float64
	heard  int64 // number of the last span in which anybody answered anything, + 1
	now    int64
}

type viewSpan struct {
	number         int64
	twoWay, oneWay uint64
	lost, packets  uint64
}

const (
	viewSpanTicks = 50 // 5 s
	viewSpans     = 12 // a minute
	viewEnough    = 10 // visible connections that make a judgement; with fewer the last one stands
)

// Observe takes an epoch in; epochs come in order of time.
func (v *View) Observe(e *tally.Epoch) {
	v.now = e.Tick / viewSpanTicks
	at := &v.span[v.now%viewSpans]
	if at.number != v.now {
		*at = viewSpan{number: v.now}
	}
	at.twoWay += e.Link.VisibleTwoWay
	at.oneWay += e.Link.VisibleOneWay
	at.lost += e.Link.Lost()
	at.packets += e.Link.Packets
	for i := range e.Services {
		if s := &e.Services[i]; s.BackPackets > 0 || s.Refused > 0 {
			v.heard = v.now + 1
			break
		}
	}
	var two, one, lost, packets uint64
	for i := range v.span {
		if s := &v.span[i]; s.number > v.now-viewSpans && s.number <= v.now {
			two, one = two+s.twoWay, one+s.oneWay
			lost, packets = lost+s.lost, packets+s.packets
		}
	}
	if all := two + one; all >= viewEnough {
		v.oneWay = one*10 >= all*9
	}
	v.loss = 0
	if lost > 0 {
		v.loss = float64(lost) / float64(lost+packets)
	}
}

// Loss is the share of packets within the last minute that the sensor did not see: an answer that is missed at the end of
// five seconds was lost at their beginning.
func (v *View) Loss() float64 { return v.loss }

// OneWay reports a one-way view: at least 90 % of the TCP connections with payload that became visible within the last
// minute showed one direction only. It is a property of where the sensor stands, so with fewer than ten visible
// connections in the minute the last judgement stands; before the first the view counts as two-way.
func (v *View) OneWay() bool { return v.oneWay }

// Mute reports that nobody answered anything within the last minute: a one-way view without payload (a recording of a
// scanner's packets alone) cannot be told from a network where nothing answers.
func (v *View) Mute() bool { return v.heard == 0 || v.now+1-v.heard >= viewSpans }
