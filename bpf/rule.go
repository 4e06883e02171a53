//go:build linux

package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Action is what an entry does to the packets it concerns. The numbers are the kernel program's.
type Action uint8

// Actions. New connections are TCP packets with SYN and without ACK.
const (
	ActionDrop     = Action(gateActionACTION_DROP)
	ActionDropNew  = Action(gateActionACTION_DROP_NEW)
	ActionLimitNew = Action(gateActionACTION_LIMIT_NEW) // new connections above Rate
	ActionLimit    = Action(gateActionACTION_LIMIT)     // packets above Rate
)

func (a Action) String() string {
	switch a {
	case ActionDrop:
		return "drop"
	case ActionDropNew:
		return "drop_new"
	case ActionLimitNew:
		return "limit_new"
	case ActionLimit:
		return "limit"
	}
	return fmt.Sprintf("action %d", uint8(a))
}

func (a Action) limits() bool { return a == ActionLimit || a == ActionLimitNew }

// Time is the kernel's monotonic clock, ns since boot without suspension, in steps of a jiffy (1 to 10 ms): CLOCK_MONOTONIC_COARSE,
// by which the program judges expiries.
type Time uint64

// Now reads that clock.
func Now() Time {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t) // fails for unknown clocks only
	return Time(t.Nano())
}

// FromUnix converts a wall clock time as both clocks stand now. The two drift apart when the wall clock is set, or over
// suspension: convert again at each reconciliation.
func FromUnix(t time.Time) Time {
	d := time.Until(t.Round(0)) // wall clock only
	now := Now()
	if d < 0 && Time(-d) > now {
		return 0
	}
	return now + Time(d)
}

// Unix is the reverse of FromUnix.
func (t Time) Unix() time.Time { return time.Now().Round(0).Add(time.Duration(t - Now())) }

// Rule is what an entry does, and for how long.
type Rule struct {
	Action  Action
	Shadow  bool   // count what would be dropped, and let it pass
	Rate    uint32 // of limits: packets or connections a second
	Burst   uint32 // of limits: at once; 0 means Rate, and reads back as that
	Canary  Time   // until then the entry concerns new TCP connections only
	Expires Time
}

// clockSteps is how often at least the coarse clock steps in a second (CONFIG_HZ=100). All that comes within a step must fit
// into a burst.
const clockSteps = 100

var errNoTime = errors.New("a drop without an expiry: set Expires")

func (r *Rule) check() error {
	switch {
	case r.Action < ActionDrop || r.Action > ActionLimit:
		return fmt.Errorf("unknown %s", r.Action)
	case r.Expires == 0:
		return errNoTime
	case r.Action.limits() && (r.Rate == 0 || r.Rate > 1e9):
		return fmt.Errorf("%s with a rate of %d a second, must be 1 to 1000000000", r.Action, r.Rate)
	case r.Action.limits() && r.Burst != 0 && r.Burst < r.Rate/clockSteps:
		return fmt.Errorf("%s of %d a second with a burst of %d: the kernel's clock needs at least %d", r.Action, r.Rate, r.Burst, r.Rate/clockSteps)
	}
	return nil
}

func (r *Rule) entry() gateEntry {
	e := gateEntry{Expires: uint64(r.Expires), Canary: uint64(r.Canary), Action: uint8(r.Action)}
	if r.Shadow {
		e.Flags = flagShadow
	}
	if r.Action.limits() {
		e.Rate, e.Burst = r.Rate, r.Burst
		if e.Burst == 0 {
			e.Burst = r.Rate
		}
	}
	return e
}

func (e *gateEntry) rule() Rule {
	return Rule{
		Action: Action(e.Action), Shadow: e.Flags&flagShadow != 0, Rate: e.Rate, Burst: e.Burst,
		Canary: Time(e.Canary), Expires: Time(e.Expires),
	}
}

const flagShadow = 1 // ENTRY_SHADOW

// Drop is a rule for a source: an address (/32, /128) or a prefix.
type Drop struct {
	Prefix netip.Prefix
	Rule
}

// Service is a rule for who is talked to. Port 0 means all of the protocol at the address: every port that has no entry of its own,
// later fragments, and protocols without ports.
type Service struct {
	Addr  netip.Addr
	Proto uint8
	Port  uint16
	Rule
}

// Hits is what an entry dropped, or would have dropped in the shadow.
type Hits struct {
	Packets uint64
	Bytes   uint64 // of frames
	Last    Time   // 0: nothing yet
}

// ErrWide refuses an entry for all addresses.
var ErrWide = errors.New("a drop of all addresses is refused: name a longer prefix")

// canonical is the prefix masked and, if it is of IPv4-mapped addresses, as IPv4.
func canonical(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() {
		return p, errors.New("not a prefix")
	}
	if p.Addr().Zone() != "" {
		return p, fmt.Errorf("%s: an address with a zone", p)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
