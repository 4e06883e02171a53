package analyzers

import (
	"math"
	"math/bits"
	"slices"

	"weir/analyzers/tally"
	"weir/decode"
)

// ticksPerSecond is the length of the sliding window of the floors.
const ticksPerSecond = 1e9 / tally.Tick

// floodMetric is one count of the sliding window.
type floodMetric uint8

// What is counted of a victim, all of it towards the victim but the answers.
const (
	mSYN       floodMetric = iota // handshakes begun
	mDone                         // handshakes completed, or followed by traffic where no answer is captured
	mAgain                        // SYNs again, of handshakes that were begun before
	mSYNACK                       // handshakes answered
	mProven                       // handshakes completed with proof
	mBack                         // TCP packets from the victim
	mUDP                          // UDP packets without the answers such traffic has; fragments are mFrag
	mUDPBytes                     //
	mICMP                         // ICMP and ICMPv6, answered or not; fragments are mFrag
	mICMPBytes                    //
	mACK                          // TCP outside of any connection
	mACKBytes                     //
	mRST                          // RST outside of any connection
	mRSTBytes                     //
	mFrag                         // fragments of what was not answered
	mFragBytes                    //
	mAmp                          // answers that nobody asked for
	mAmpBytes                     //
	mFolded                       // packets of services that the tally folded: their ports are unknown
	mSlow                         // connections found slow in this tick
	metrics
)

// floodCounts are the counts of one victim.
type floodCounts [metrics]uint64

func (c *floodCounts) add(o *floodCounts) {
	for m := range c {
		c[m] += o[m]
	}
}

// less takes away what is explained by o, no further than to zero.
func (c *floodCounts) less(o *floodCounts) {
	for m := range c {
		c[m] -= min(c[m], o[m])
	}
}

// floodWindow is the sliding 1-second sum of a victim's ticks. The zero value is empty.
type floodWindow struct {
	tick    int64 // the newest tick in it
	slots   [ticksPerSecond][metrics]uint32
	sum     floodCounts
	second  int64        // of senders[0] and ports[0]
	senders [2]tally.HLL // distinct senders of this second and of the one before
	ports   [2]tally.HLL // distinct services of this second and of the one before
}

// advance moves the window's end to tick and drops what is a second old.
func (w *floodWindow) advance(tick int64) {
	if gone := tick - w.tick; gone >= ticksPerSecond || gone < 0 {
		w.slots, w.sum = [ticksPerSecond][metrics]uint32{}, floodCounts{}
	} else {
		for t := w.tick + 1; t <= tick; t++ {
			old := &w.slots[slotOf(t)]
			for m, n := range old {
				w.sum[m] -= uint64(n)
			}
			*old = [metrics]uint32{}
		}
	}
	w.tick = tick
	switch second := floorDiv(tick, ticksPerSecond); second - w.second {
	case 0:
	case 1:
		w.senders[1], w.ports[1] = w.senders[0], w.ports[0]
		w.senders[0], w.ports[0], w.second = tally.HLL{}, tally.HLL{}, second
	default:
		w.senders, w.ports, w.second = [2]tally.HLL{}, [2]tally.HLL{}, second
	}
}

// add adds a tick's counts; they saturate at 2³²−1 a tick, which is 343 Gbit/s of bytes.
func (w *floodWindow) add(tick int64, c *floodCounts) {
	w.advance(tick)
	slot := &w.slots[slotOf(tick)]
	for m, n := range c {
		n = min(n, uint64(math.MaxUint32-slot[m]))
		slot[m] += uint32(n)
		w.sum[m] += n
	}
}

// countBoth estimates the members of a set over this second and the one before.
func countBoth(pair *[2]tally.HLL) uint64 {
	both := pair[0]
	both.Merge(&pair[1])
	return both.Count()
}

// began is the oldest tick of the window with a count of metric m.
func (w *floodWindow) began(m floodMetric) int64 {
	for t := w.tick - ticksPerSecond + 1; t < w.tick; t++ {
		if w.slots[slotOf(t)][m] > 0 {
			return t
		}
	}
	return w.tick
}

// slowSlots divide the census interval of slow connections.
const slowSlots = 10

// slowWindow sums the slow connections that the census found over the last 9 to 10 tenths of its interval: never one twice.
type slowWindow struct {
	slot  int64 // number of the newest slot
	found [slowSlots]uint32
	sum   uint64
}

// add counts n slow connections found in tick, with slots of that many ticks.
func (s *slowWindow) add(tick, ticks int64, n uint64) {
	slot := floorDiv(tick, ticks)
	if gone := slot - s.slot; gone >= slowSlots || gone < 0 {
		s.found = [slowSlots]uint32{}
	} else {
		for t := s.slot + 1; t <= slot; t++ {
			s.found[(t%slowSlots+slowSlots)%slowSlots] = 0
		}
	}
	s.slot = slot
	s.found[(slot%slowSlots+slowSlots)%slowSlots] += uint32(n)
	s.sum = 0
	for _, n := range s.found {
		s.sum += uint64(n)
	}
}

func slotOf(tick int64) int64 { return (tick%ticksPerSecond + ticksPerSecond) % ticksPerSecond }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// floodVictim is the state of one key that is under load: about 1.9 kB.
type floodVictim struct {
	key tally.ServiceKey // a host: address alone; a prefix: its first address alone
	floodWindow
	cusum    cusum
	slow     slowWindow
	strength uint32                // per mille of the nearest floor; valid for newcomers, and within end
	said     [floodKinds + 1]int64 // tick of the last finding of each kind
	ran      [floodKinds + 1]int64 // last tick in which the alarm of each kind ran: said, or held by a gate
	since    [floodKinds + 1]int64 // first tick of the evidence of the running alarm
	subject  [floodKinds + 1]decode.Addr
	changes  [floodKinds + 1]uint8 // how often the running alarm named another subject
	tail     [floodKinds + 1]*floodTail
	alarmed  int64 // of a host: last tick in which an alarm of it, its services or its prefix held
	shielded int64 // last tick in which a gate dropped packets to it, whoever sent them
}

// never is a tick before all others, far enough from the end of int64 to be subtracted.
const never = math.MinInt64 / 4

// victims is a bounded table of the victims of one level. Keys are looked up in ascending order within a tick, so that one
// pass over the epoch and one over the table meet each other: no hash, no map, nothing depends on their order. What does
// not fit is the least evidence, and is counted.
type victims struct {
	limit int
	known []*floodVictim // by key
	fresh []*floodVictim // of this tick, by key
	free  []*floodVictim
	at    int    // place in known that the pass has reached
	bar   uint32 // strength that a newcomer of this tick must have, per mille
	lost  uint64 // victims that were not kept for want of room
}

func (t *victims) begin() { t.at, t.bar = 0, 0 }

// find returns the victim of k, nil if it is not tracked.
func (t *victims) find(k *tally.ServiceKey) *floodVictim {
	for t.at < len(t.known) && t.known[t.at].key.Less(k) {
		t.at++
	}
	if t.at < len(t.known) && t.known[t.at].key == *k {
		return t.known[t.at]
	}
	return nil
}

// admit starts to track k; nil if there is no room for evidence as weak as that.
func (t *victims) admit(k *tally.ServiceKey, strength uint32) *floodVictim {
	for len(t.fresh) >= t.limit && t.bar < 1000 {
		t.bar = min(max(2*t.bar, 10), 1000)
		t.fresh = slices.DeleteFunc(t.fresh, func(v *floodVictim) bool {
			weak := v.strength < t.bar
			if weak {
				t.lost++
				t.free = append(t.free, v)
			}
			return weak
		})
	}
	if len(t.fresh) >= t.limit || strength < t.bar {
		t.lost++
		return nil
	}
	var v *floodVictim
	if n := len(t.free); n > 0 {
		v, t.free = t.free[n-1], t.free[:n-1]
	} else {
		v = new(floodVictim)
	}
	*v = floodVictim{key: *k, strength: strength, alarmed: never, shielded: never}
	for i := range v.said {
		v.said[i], v.ran[i] = never, never
	}
	t.fresh = append(t.fresh, v)
	return v
}

// among calls f for the tracked victims with lo ≤ key ≤ hi, newcomers of this tick included.
func (t *victims) among(lo, hi *tally.ServiceKey, f func(*floodVictim)) {
	for _, list := range [2][]*floodVictim{t.known, t.fresh} {
		i, _ := slices.BinarySearchFunc(list, lo, func(v *floodVictim, k *tally.ServiceKey) int { return compareKeys(&v.key, k) })
		for ; i < len(list) && !hi.Less(&list[i].key); i++ {
			f(list[i])
		}
	}
}

func compareKeys(a, b *tally.ServiceKey) int {
	switch {
	case a.Less(b):
		return -1
	case b.Less(a):
		return 1
	}
	return 0
}

// end takes the newcomers in; then it forgets who had no traffic for keep ticks, and above the limit those with the least
// strength.
func (t *victims) end(tick, keep int64, strength func(*floodCounts) uint32) {
	if len(t.fresh) == 0 {
		return
	}
	all := make([]*floodVictim, 0, len(t.known)+len(t.fresh))
	known, fresh := t.known, t.fresh
	for len(known) > 0 || len(fresh) > 0 {
		if len(fresh) == 0 || len(known) > 0 && known[0].key.Less(&fresh[0].key) {
			v := known[0]
			known = known[1:]
			if tick-v.tick > keep {
				t.free = append(t.free, v)
				continue
			}
			all = append(all, v)
		} else {
			all = append(all, fresh[0])
			fresh = fresh[1:]
		}
	}
	clear(t.fresh)
	t.fresh = t.fresh[:0]
	t.known = t.shed(all, tick, strength)
}

// shed drops the weakest above the limit; among equals by powers of two, those that come first.
func (t *victims) shed(all []*floodVictim, tick int64, strength func(*floodCounts) uint32) []*floodVictim {
	over := len(all) - t.limit
	if over <= 0 {
		return all
	}
	t.lost += uint64(over)
	var weak [33]int // victims by bit length of their strength
	for _, v := range all {
		v.strength = 0
		if tick-v.tick < ticksPerSecond {
			v.strength = strength(&v.sum)
		}
		weak[bits.Len32(v.strength)]++
	}
	for class, n := range weak {
		weak[class] = min(n, over)
		over -= weak[class]
	}
	return slices.DeleteFunc(all, func(v *floodVictim) bool {
		class := bits.Len32(v.strength)
		if weak[class] == 0 {
			return false
		}
		weak[class]--
		t.free = append(t.free, v)
		return true
	})
}
